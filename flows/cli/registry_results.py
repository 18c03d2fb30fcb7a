"""How versions, their history and their comparison are printed for people; machines get the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flows.cli.console import print_json
from flows.pages import percent
from flows.records import Accuracy

if TYPE_CHECKING:
    from flows.garbage import Removable
    from flows.reproduction import Reproduction

_OUTCOME_COLOURS = {"same": "green", "equivalent": "green", "insufficient_data": "yellow"}


def print_account(content: Mapping[str, Any], *, as_json: bool) -> None:
    """All that is known of a registered version."""
    if as_json:
        print_json(content)
        return
    for name, value in _account_lines(content):
        _print(f"{name:16}{value}")
    for promotion in content["promotions"]:
        _print(f"{promotion['kind']:16}{promotion['promoted_at']}: {promotion['why']}")
    _print_decisions(content["decision"].get("decisions", []) if isinstance(content["decision"], dict) else [])


def _account_lines(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("version", "bundle", "commit", "registered_at"):
        yield name.replace("_", " "), content[name]
    yield "data", content["dataset"]
    yield "", _changes(content["data"]["changes"], f"against {content['data']['parent']}: ")
    yield "split", _shown(content["split"])
    yield "workspace", _workspace(content["workspace"])
    backbone = content["backbone"]
    yield "backbone", f"{backbone['name']} ({backbone['origin']}), weights sha256 {_shown(backbone['weights_sha256'])}"
    yield "method", content["method"]["kept"] or _shown(content["method"]["configured"])
    yield "seed", _shown(content["seed"])
    yield "libraries", _listed(content["libraries"])
    yield "hardware", _listed(content["hardware"])
    for name, value in _accuracies(content["metrics"]):
        yield name, value
    yield "run", _listed(content["run"])
    yield "trigger", _listed(content["trigger"])


def _workspace(state: Mapping[str, Any] | None) -> str:
    if state is None:
        return "not recorded"
    dirty = f"with changes ({state['n_patch_bytes']} bytes, sha256 {state['patch_sha256']})" if state["is_dirty"] else "clean"
    return f"commit {state['commit']}, {dirty}, {state['n_untracked']} untracked files"


def _changes(changes: Mapping[str, Any] | None, where: str = "") -> str:
    if changes is None:
        return "the first version: there is none to compare its data with"
    if "unknown" in changes:
        return f"{where}cannot be told: {changes['unknown']}"
    kinds = [kind for kind in ("added", "removed", "relabelled") if changes[kind]]
    parts = [f"{kind} {sum(changes[kind].values())} ({_listed(changes[kind])})" for kind in kinds]
    return f"{where}{'; '.join(parts) if parts else 'the same samples and labels'} ({changes['n_old']} -> {changes['n_new']})"


def _accuracies(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "accuracy" in metrics:
        yield "accuracy", _accuracy(metrics["accuracy"])
    for domain, value in metrics.get("accuracy_by_domain", {}).items():
        yield f"  {domain}", _accuracy(value)


def _accuracy(value: Mapping[str, Any]) -> str:
    accuracy = Accuracy.model_validate(value)
    return f"{percent(accuracy)}, n = {accuracy.n}"


def _print_decisions(decisions: Sequence[Mapping[str, Any]]) -> None:
    if not decisions:
        return
    from rich.table import Table

    table = Table("gate", "decision", "n", "why")
    for decision in decisions:
        table.add_row(decision["condition"], decision["outcome"], str(decision["n"]), decision["reason"])
    _stdout().print(table)


def print_champion_at(content: Mapping[str, Any], *, as_json: bool) -> None:
    """Who was champion at a moment."""
    if as_json:
        print_json(content)
        return
    champion = content["champion"]
    if champion is None:
        _print(f"At {content['at']} no model was champion yet.")
        return
    _print(f"At {content['at']} the champion was {champion['version']} (bundle {champion['bundle']}, dataset {champion['dataset']}),")
    _print(f"since {champion['promoted_at']}, by {champion['kind']}: {champion['why']}")


def print_comparison(content: Mapping[str, Any], *, as_json: bool) -> None:
    """Two versions side by side."""
    if as_json:
        print_json(content)
        return
    from rich.table import Table

    table = Table("", content["a"]["version"], content["b"]["version"])
    for name, a, b in _compared_rows(content):
        table.add_row(name, a, b)
    _stdout().print(table)
    _print(f"data, from {content['a']['version']} to {content['b']['version']}: {_changes(content['data'])}")
    _print(f"on the same samples: {_paired(content['paired'])}")


def _compared_rows(content: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in ("bundle", "commit", "registered_at"):
        yield name.replace("_", " "), content["a"][name], content["b"][name]
    for part in ("config", "backbone", "libraries", "hardware", "code"):
        for path, values in content[part].items():
            yield f"{part}: {path}", _shown(values["a"]), _shown(values["b"])
    methods = content["method"]
    kept = {side: _shown(methods[side]["kept"] or methods[side]["configured"]) for side in ("a", "b")}
    yield "method kept", kept["a"], kept["b"]
    metrics = {side: dict(_accuracies(content["metrics"][side])) for side in ("a", "b")}
    for name in dict.fromkeys([*metrics["a"], *metrics["b"]]):
        yield name, metrics["a"].get(name, ""), metrics["b"].get(name, "")
    decisions = {side: {row["condition"]: row["outcome"] for row in content["decisions"][side]} for side in ("a", "b")}
    for condition in dict.fromkeys([*decisions["a"], *decisions["b"]]):
        yield condition, decisions["a"].get(condition, ""), decisions["b"].get(condition, "")


def _paired(paired: Mapping[str, Any]) -> str:
    if "unknown" in paired:
        return str(paired["unknown"])
    difference = paired["accuracy_b_minus_a"]
    shown = ", ".join(f"{100 * difference[name]:+.2f}" for name in ("low", "high"))
    return (
        f"accuracy {100 * difference['value']:+.2f} points ({shown}; {paired['interval']}), n = {difference['n']}: "
        f"{paired['n_b_alone_right']} became right, {paired['n_a_alone_right']} became wrong"
    )


def print_reproduction(found: Reproduction, *, as_json: bool) -> None:
    """What came of making a version again."""
    if as_json:
        print_json(asdict(found))
        return
    _stdout().print(f"[bold {_OUTCOME_COLOURS.get(found.outcome, 'red')}]{found.outcome}[/] {found.version}", highlight=False)
    _print(found.reason)
    for name in ("bundle", "weights_sha256"):
        _print(f"{name.replace('_', ' ')}: {found.expected[name]} registered, {found.got[name]} made now")
    for circumstance in found.circumstances:
        _print(f"not as it was: {circumstance}")
    for path, values in found.metrics.items():
        _print(f"{path}: {_shown(values['a'])} registered, {_shown(values['b'])} now")


def print_garbage(found: Sequence[Removable], *, as_json: bool) -> None:
    """What may go."""
    n_bytes = sum(thing.n_bytes for thing in found)
    if as_json:
        print_json({"removed": False, "n_bytes": n_bytes, "found": [asdict(thing) for thing in found]})
        return
    from rich.table import Table

    table = Table("what", "name", "MB", "why")
    for thing in found:
        table.add_row(thing.kind, thing.name, f"{thing.n_bytes / 1e6:.1f}", thing.why)
    if found:
        _stdout().print(table)
    _print(f"{len(found)} things that nothing needs, {n_bytes / 1e6:.1f} MB" if found else "Nothing to remove.")


def print_removed(found: Sequence[Removable], n_bytes: int, *, as_json: bool) -> None:
    """What is gone."""
    if as_json:
        print_json({"removed": True, "n_bytes": n_bytes, "found": [asdict(thing) for thing in found]})
    else:
        _print(f"{n_bytes / 1e6:.1f} MB removed")


def _listed(values: Mapping[str, Any] | None) -> str:
    return "not recorded" if values is None else ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _print(text: str) -> None:
    _stdout().print(text, markup=False, highlight=False, soft_wrap=True)


def _stdout() -> Any:
    from rich.console import Console

    return Console()
