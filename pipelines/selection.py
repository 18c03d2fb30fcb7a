"""Stage `select` for `backbone: {kind: best_of}`: which of several backbones suits this very data.

All candidates are ranked by the transferability of their features (LogME and H-score, no training); the best few are probed, and of these
the cheapest is taken that the validation split cannot tell from the best.

backbone.json   the choice
ranking.json    all candidates with their scores and what became of them, and why others were refused; nothing in it depends on time
costs.json      seconds of each candidate
speed.json      features per second of each candidate: the forward pass alone, on ready tensors

Letters for shapes: n samples, d features, k labels.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipelines.backbones import select_backbone
from pipelines.config import BestOfBackbones, ProbeMethod, ProjectConfig, SingleBackbone, TimmBackbone, plain_method
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import DataError
from pipelines.intervals import clopper_pearson
from pipelines.progress import Progress, silent
from pipelines.selected_backbone import SelectedBackbone, write_selected
from pipelines.training.choice import Choice, Verdict, Way, choose
from pipelines.training.gathering import material_for
from pipelines.training.linear import frozen_logits, train_probe
from pipelines.training.material import Material
from pipelines.training.ranking import h_score, log_me, order_by_transferability
from pipelines.training.time_plan import forward_seconds
from pipelines.training.validation import ValidationResult, measure

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """A candidate with what its features of the training samples are worth.

    Attributes:
        selected: Which backbone it is. Its samples are not kept: decoded ones of many candidates would fill the memory.
        n_train, n_validation: Samples.
        log_me, h_score: Higher is better.
        n_features, n_parameters: Of the backbone.
        forward_flops: Floating point operations for one sample: what its use costs, on any machine.
        seconds: What its features took; little where they were kept from an earlier run.
        features_per_second: Of the forward pass alone, on ready tensors.
    """

    selected: SelectedBackbone
    n_train: int
    n_validation: int
    log_me: float
    h_score: float
    n_features: int
    n_parameters: int
    forward_flops: int
    seconds: float
    features_per_second: float


@dataclass(frozen=True)
class Probed:
    """How well a linear probe on a candidate's features does on the validation split."""

    result: ValidationResult
    seconds: float


def select_best(
    backbone: BestOfBackbones,
    samples: Path,
    data: Path,
    config: ProjectConfig,
    features: Path,
    out: Path,
    progress: Progress = silent,
) -> None:
    """Ranks, probes and chooses.

    Args:
        backbone: The candidates.
        samples: `samples.csv` with splits.
        data: The folder that sample paths are relative to.
        config: The project's.
        features: Folder of features that are kept between runs; training finds them there.
        out: Empty directory.
        progress: Told after every batch of features and every candidate.

    Raises:
        ConfigurationError: A candidate cannot be resolved.
        DataError: A split has no samples, or no candidate can be ranked, each with its reason: its features are not finite.
    """

    def material(selected: SelectedBackbone) -> Material:
        # A probe leaves no checkpoints.
        return material_for(selected, samples, data, config, features, features, progress)

    names = candidate_names(backbone.candidates)
    scored: dict[int, Scored] = {}
    refused: dict[int, DataError] = {}
    for place, candidate in enumerate(backbone.candidates):
        selected = select_backbone(candidate).model_copy(update={"candidate": place})
        try:
            scored[place] = _scored(material(selected))
        except DataError as error:
            _log.warning("backbone %s is not ranked: %s", names[place], error.got)
            refused[place] = error
        progress("ranking backbones", place + 1, len(backbone.candidates))
    _raise_for_none(names, scored, refused)
    order = _order(scored)
    probed = {place: _probed(material(scored[place].selected), probe_section(config)) for place in order[: backbone.n_probed]}
    # Cheapest first: of equals the first that was listed.
    cost_order = sorted(scored, key=lambda place: (scored[place].forward_flops, scored[place].n_parameters, place))
    places = list(probed)
    choice = choose([Way(names[place], cost_order.index(place), probed[place].result) for place in places], simpler="cheaper")
    write_selected(scored[places[choice.kept]].selected, out / "backbone.json")
    ranking = _ranking(names, scored, order, probed, choice) | _refusals(names, refused)
    (out / "ranking.json").write_bytes(canonical_json(ranking))
    (out / "costs.json").write_bytes(canonical_json(_costs(names, scored, probed)))
    speed: dict[str, JsonValue] = {names[place]: round(one.features_per_second, 1) for place, one in scored.items()}
    (out / "speed.json").write_bytes(canonical_json(speed))


def probe_section(config: ProjectConfig) -> ProbeMethod:
    """How candidates are probed: as the project's own method probes, where it does."""
    method = plain_method(config.method)
    section = method if isinstance(method, ProbeMethod) else getattr(method, "probe", None)
    return section if isinstance(section, ProbeMethod) else ProbeMethod()


def candidate_names(candidates: Sequence[SingleBackbone]) -> list[str]:
    """For people: the architecture or the shipped name, with the weights' name where two are alike, numbered where that is not enough."""
    names = [candidate.name for candidate in candidates]
    named = [_with_weights(candidate) if names.count(candidate.name) > 1 else candidate.name for candidate in candidates]
    return [f"{name} #{place + 1}" if named.count(name) > 1 else name for place, name in enumerate(named)]


def _with_weights(candidate: SingleBackbone) -> str:
    if not isinstance(candidate, TimmBackbone):
        return candidate.name
    weights = candidate.weights.stem if candidate.weights else str(candidate.hub)
    return weights if weights.startswith(f"{candidate.name}.") else f"{candidate.name} ({weights})"


def _scored(material: Material) -> Scored:
    started = time.monotonic()
    features = material.features(material.train)
    seconds = time.monotonic() - started
    targets = material.train.targets
    network = material.fresh_backbone(0.0)
    return Scored(
        selected=material.selected,
        n_train=len(material.train),
        n_validation=len(material.validation),
        log_me=log_me(features, targets),
        h_score=h_score(features, targets),
        n_features=features.shape[1],
        n_parameters=sum(parameter.numel() for parameter in network.parameters()),
        forward_flops=_forward_flops(network, material),
        seconds=seconds,
        features_per_second=len(material.validation) / forward_seconds(material),
    )


def _raise_for_none(names: Sequence[str], scored: Mapping[int, Scored], refused: Mapping[int, DataError]) -> None:
    if not scored:
        raise DataError(
            got=f"no backbone that can be ranked. {' '.join(f'{names[place]}: {error.got}' for place, error in refused.items())}",
            allowed="at least one with finite features, and samples that a label divides.",
            next_step=next(iter(refused.values())).next_step,
        )


def _order(scored: Mapping[int, Scored]) -> list[int]:
    places = list(scored)
    found = order_by_transferability([one.log_me for one in scored.values()], [one.h_score for one in scored.values()])
    return [places[index] for index in found]


def _refusals(names: Sequence[str], refused: Mapping[int, DataError]) -> dict[str, JsonValue]:
    rows: list[JsonValue] = [{"backbone": names[place], "candidate": place, "reason": error.got} for place, error in refused.items()]
    return {"refused": rows}


def _forward_flops(network: nn.Module, material: Material) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    sample = torch.from_numpy(material.train.batch([0])).to(next(network.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(sample)
    return int(counter.get_total_flops())


def _probed(material: Material, section: ProbeMethod) -> Probed:
    started = time.monotonic()
    logits = frozen_logits(material, train_probe(material, section).network)
    result = measure(logits, material.validation.targets, material.config.labels_per_sample)
    return Probed(result, time.monotonic() - started)


def _ranking(
    names: Sequence[str], scored: Mapping[int, Scored], order: Sequence[int], probed: Mapping[int, Probed], choice: Choice
) -> dict[str, JsonValue]:
    places = list(probed)
    verdicts = dict(zip(places, choice.verdicts, strict=True))
    rows: list[JsonValue] = []
    for rank, place in enumerate(order, start=1):
        one, verdict = scored[place], verdicts.get(place)
        row: dict[str, JsonValue] = {
            "backbone": names[place],
            "candidate": place,
            "origin": one.selected.spec.origin,
            "rank": rank,
            "log_me": one.log_me,
            "h_score": one.h_score,
            "n_features": one.n_features,
            "n_parameters": one.n_parameters,
            "forward_flops": one.forward_flops,
            "outcome": "ranked",
            "reason": f"rank {rank} by transferability; the best {len(places)} were probed",
        }
        if verdict is not None:
            row |= _probe_row(probed[place].result, verdict)
        rows.append(row)
    kept = places[choice.kept]
    return {
        "n_train": scored[kept].n_train,
        "n_validation": scored[kept].n_validation,
        "chosen": kept,
        "reason": choice.reason,
        "candidates": rows,
    }


def _probe_row(result: ValidationResult, verdict: Verdict) -> dict[str, JsonValue]:
    accuracy = clopper_pearson(int(result.correct.sum()), len(result.correct))
    return {
        "outcome": "kept" if verdict.is_kept else "probed",
        "reason": verdict.reason,
        "log_loss": result.log_loss if math.isfinite(result.log_loss) else None,
        "accuracy": {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high, "n": accuracy.n},
    }


def _costs(names: Sequence[str], scored: Mapping[int, Scored], probed: Mapping[int, Probed]) -> dict[str, JsonValue]:
    costs: dict[str, JsonValue] = {f"{names[place]}: features": round(one.seconds, 3) for place, one in scored.items()}
    return costs | {f"{names[place]}: probe": round(one.seconds, 3) for place, one in probed.items()}
