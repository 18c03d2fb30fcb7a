"""The gate `licence`: weights and data are used under licences that the team allows. Exact, on what the sealed bundle says of itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipelines.config import LicenceGate
from pipelines.core.bundle import read_manifest
from pipelines.core.errors import IntegrityError
from pipelines.gates.decision import Decision

# What descriptions say where they say nothing.
_SAY_NOTHING = ("", "unknown", "other", "none", "noassertion")


def licence(rule: LicenceGate, bundle: Path) -> tuple[Decision, Decision]:
    """Compares the licences of the backbone's weights and of the data with the lists of the conf file, letters' case aside.

    A licence that nobody stated refuses: it is not known to be allowed.

    Args:
        rule: Of the conf file.
        bundle: The sealed bundle; its manifest states the weights' licence, its lineage that of the data.

    Raises:
        IntegrityError: The bundle has no manifest or lineage.
    """
    manifest, _ = read_manifest(bundle)
    weights, data = manifest.backbone.licence, _data_licence(bundle)
    name = manifest.backbone.name
    to_state = (
        "state it as `licence` in the JSON file beside the weights, or choose a backbone that states one",
        "state it as `data.licence` in the conf file",
    )
    return (
        _decide(rule, f"the licence of the weights of {name}", weights, rule.weights, to_state[0], "gates.licence.weights"),
        _decide(rule, "the licence of the data", data, rule.data, to_state[1], "gates.licence.data"),
    )


def _data_licence(bundle: Path) -> str:
    try:
        stated = json.loads((bundle / "lineage.json").read_bytes())["config"]["data"].get("licence")
    except (OSError, ValueError, KeyError) as error:
        raise IntegrityError(
            got=f"the bundle {bundle.name}, whose lineage.json does not say what it was made with ({type(error).__name__}).",
            allowed="the lineage that packaging writes.",
            next_step="package it again with `regraft retrain`.",
        ) from error
    return str(stated or "")


def _decide(rule: LicenceGate, what: str, found: str, allowed: Sequence[str], to_state: str, key: str) -> Decision:
    listed = ", ".join(allowed)
    if _key(found) in _SAY_NOTHING:
        outcome, reason = False, f"{what} is not stated{f' ({found})' if found else ''}; {to_state}."
    elif _key(found) in {_key(name) for name in allowed}:
        outcome, reason = True, f"{what} is {found}, which is allowed."
    else:
        outcome, reason = False, f"{what} is {found}; allowed are {listed}: use another, or add it to {key} once it has been agreed to."
    return Decision(
        gate=rule.kind,
        condition=f"{what} is allowed",
        outcome="pass" if outcome else "refuse",
        statistic=None,
        n=1,
        reason=reason,
        detail={"test": "exact", "licence": found, "allowed": list(allowed)},
    )


def _key(name: str) -> str:
    return name.strip().casefold()
