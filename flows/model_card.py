"""The model card: what the registered model is, what was measured of this very bundle, and its limits.

Sections follow Mitchell et al. 2019 (https://arxiv.org/abs/1810.03993). What only a person can say comes from `card` in the conf file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.learning import Candidate
from flows.learning_report import read_learning
from flows.pages import percent, write_page
from flows.report.accuracy import SliceTable, slice_tables
from flows.report.baselines import BaselineRow, baseline_rows
from flows.report.card_header import with_header
from flows.report.card_limits import limits
from flows.report.content import sample_counts
from flows.report.markdown import code, escaped, escaped_paragraphs, render
from pipelines.answers import read_answers
from pipelines.config import AdaptMethod, ProjectConfig
from pipelines.core.bundle import BundleManifest, read_manifest
from pipelines.core.modalities.adapters import Preprocess
from pipelines.core.modalities.audio import AudioPreprocess
from pipelines.core.preprocess import ImagePreprocess
from pipelines.package import what_it_says
from pipelines.truncation import read_truncation

if TYPE_CHECKING:
    from pipelines.gates.decision import Judgement

_NOT_STATED = "Not stated"


def model_card(config: ProjectConfig, candidate: Candidate, judgement: Judgement) -> str:
    """Markdown with the metadata header that the Hugging Face Hub reads."""
    manifest, identity = read_manifest(candidate.bundle)
    evaluated = candidate.outputs["evaluate"].path
    evaluation = _read(evaluated / "evaluation.json")
    lineage = _read(candidate.bundle / "lineage.json")
    answers = read_answers(evaluated / "predictions.csv", config.labels_per_sample)
    tables = slice_tables(answers, None)
    baselines = baseline_rows(answers, candidate.outputs["split"].path, None, {})
    sections = {
        "": f"{escaped(what_it_says(config))} Bundle `{identity}`.",
        "Intended use": _stated(config.card.intended_use, "card.intended_use"),
        "Out of scope": _stated(config.card.out_of_scope, "card.out_of_scope"),
        "Owners": _items(escaped(owner) for owner in config.card.owners) or _stated(None, "card.owners"),
        "Measured, on the test split, from this very bundle": _measured(config, evaluation, tables, baselines),
        "Gates": _gates(judgement),
        "Data": _data(config, candidate, lineage),
        "Training": _training(config, candidate, manifest, lineage),
        "Limits": _items(limits(config, evaluation, tables, judgement)),
        "Cost and environment": _cost(config, candidate, manifest),
        "How to reproduce": _reproduce(config, candidate, lineage),
        "Citation": _stated(config.card.citation, "card.citation"),
    }
    parts = [f"# {config.project}", *(f"## {title}\n\n{text}" if title else text for title, text in sections.items())]
    return with_header("\n\n".join(parts) + "\n", config, manifest, evaluation, str(lineage["dataset"]))


def write_card_page(target: Path, title: str, card: str) -> None:
    """The card as an HTML page; its metadata header stands below as it is."""
    from markupsafe import Markup

    _, header, body = card.split("---\n", 2)
    # Safe: the renderer escapes all HTML that the card's text holds.
    write_page("markdown.html.j2", target, title=title, body=Markup(render(body)), header=header.strip())  # noqa: S704


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def _stated(text: str | None, key: str) -> str:
    return escaped_paragraphs(text) if text else f"{_NOT_STATED} (`{key}` in the conf file)."


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _gates(judgement: Judgement) -> str:
    decisions = _items(_gate(decision.model_dump()) for decision in judgement.decisions)
    if judgement.forced is None:
        return decisions
    who, why = escaped(judgement.forced.by), escaped(judgement.forced.reason)
    return f"**Forced**: {who} promoted it although not every gate passed: {why}\n\n{decisions}"


def _gate(decision: dict[str, Any]) -> str:
    return f"**{decision['outcome']}** {escaped(decision['gate'])}, {escaped(decision['condition'])}: {escaped(decision['reason'])}"


def _measured(config: ProjectConfig, evaluation: dict[str, Any], tables: Sequence[SliceTable], baselines: Sequence[BaselineRow]) -> str:
    rows = [
        ("all" if table.column == "all test samples" else table.column, escaped(row.value), str(row.candidate.n), percent(row.candidate))
        for table in tables
        for row in table.rows
    ]
    shortened = [table for table in tables if table.n_values > len(table.rows)]
    texts = [
        _table(("by", "value", "n", "accuracy (95 % interval)"), rows),
        *(f"By {escaped(table.column)}: the {len(table.rows)} least accurate of {table.n_values}." for table in shortened),
        *_by_label(evaluation),
        *(f"Beside it, {escaped(row.says)}: {percent(row.accuracy)}." for row in baselines if row.accuracy),
        f"Log loss {evaluation['log_loss']:.3f} nats; expected calibration error {evaluation['expected_calibration_error']:.3f} "
        "(10 bins, biased upwards with few samples). Intervals are Clopper-Pearson's, each for itself.",
    ]
    if config.labels_per_sample == "many":
        texts.insert(0, "Accuracy counts a sample only where its whole set of labels is right.")
    return "\n\n".join(texts)


def _by_label(evaluation: dict[str, Any]) -> list[str]:
    """Where a sample has any number of labels, how each is found."""
    if "by_label" not in evaluation:
        return []
    rows = [
        (escaped(label), str(row["n"]), *(f"{100 * row[name]:.1f} %" for name in ("precision", "recall", "f1")))
        for label, row in evaluation["by_label"].items()
    ]
    return [_table(("label", "samples with it", "precision", "recall", "F1"), rows)]


def _data(config: ProjectConfig, candidate: Candidate, lineage: dict[str, Any]) -> str:
    counts = sample_counts(candidate.outputs["split"].path)
    splits = [split for split in ("train", "validation", "test", "holdout") if any(split in row for row in counts.values())]
    rows = [(escaped(domain), *(str(row.get(split, 0)) for split in splits)) for domain, row in counts.items()]
    training = _read(candidate.outputs["train"].path / "training.json")
    facts = [f"Dataset version `{lineage['dataset']}`", f"Licence of the data: {_licence(config.data.licence, 'data.licence')}"]
    if "label_counts" in training:
        facts.append(f"Training samples by label: {_listed(training['label_counts'])}")
    if "truncation" in candidate.outputs:
        facts.append(read_truncation(candidate.outputs["truncation"].path).in_words)
    return f"{_items(facts)}\n\n{_table(('domain', *splits), rows)}"


def _training(config: ProjectConfig, candidate: Candidate, manifest: BundleManifest, lineage: dict[str, Any]) -> str:
    backbone = manifest.backbone
    return _items(
        [
            f"Backbone {code(backbone.name)} ({escaped(backbone.origin)}), licence of its weights: {escaped(backbone.licence)}"
            f"{_chosen_backbone(candidate)}",
            f"{_method(config, candidate)}, seed {config.seed}",
            f"Input: {_input(manifest.preprocess)}; temperature {manifest.temperature:.3f}",
            f"Licence of this model: {_licence(config.card.licence, 'card.licence')}",
            f"Libraries: {_listed(lineage['versions'])}",
        ]
    )


def _input(spec: Preprocess) -> str:
    if isinstance(spec, ImagePreprocess):
        return f"images, {spec.height_px} x {spec.width_px} px, {spec.color}"
    if isinstance(spec, AudioPreprocess):
        patches = f"{spec.max_patches} patches of {spec.log_mel.n_mels} bands x {spec.patch_frames} frames"
        return f"sounds, at {spec.sample_rate_hz:,} Hz, at most {patches} of each"
    return f"texts, the first {spec.max_tokens} tokens of each"


def _cost(config: ProjectConfig, candidate: Candidate, manifest: BundleManifest) -> str:
    seconds = {name: output.seconds for name, output in candidate.outputs.items()}
    processes = f"{config.compute.processes} process{'es' if config.compute.processes > 1 else ''}"
    megabytes = (candidate.bundle / "weights.safetensors").stat().st_size / 1e6
    return _items(
        [
            f"Made in {sum(seconds.values()):.0f} s of stages, of these training {seconds.get('train', 0.0):.0f} s, on `device: "
            f"{config.device}` ({processes})",
            f"Weights of {megabytes:.1f} MB, float32, {len(manifest.labels)} labels",
            "Energy and emissions: not measured",
        ]
    )


def _reproduce(config: ProjectConfig, candidate: Candidate, lineage: dict[str, Any]) -> str:
    cut = _read(candidate.outputs["train"].path / "training.json").get("cut_by_budget")
    exact = (
        "A time limit cut the training, so another machine may get another result."
        if cut
        else "On the same kind of machine with the same library versions the bundle comes out the same, bit for bit."
    )
    return (
        f"Check out the git tag of this version (`git tag --list '{config.project}@*'`), get data version `{lineage['dataset']}` with "
        f"`dvc pull data.dvc` and run `regraft retrain`. {exact} `lineage.json` in the bundle has the whole configuration."
    )


def _licence(stated: str | None, key: str) -> str:
    return escaped(stated) if stated else f"not stated (`{key}` in the conf file)"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{escaped(name)} {value}" for name, value in values.items())


def _method(config: ProjectConfig, candidate: Candidate) -> str:
    learning = read_learning(candidate.outputs["train"].path, None)
    if isinstance(config.method, AdaptMethod):
        training = _read(candidate.outputs["train"].path / "training.json")
        unlabelled = f"{training['n_unlabelled']} unlabelled samples (`data/unlabelled/{config.method.unlabelled}`)"
        return f"Method `{config.method.source.kind}`, adapted by `{config.method.by}` to {unlabelled}"
    trained = f": trained were {learning.trained_share}" if learning.trained_share else ""
    return f"Method `{config.method.kind}`{trained}" + (f": {escaped(learning.reason)} (validation)" if learning.kept else "")


def _chosen_backbone(candidate: Candidate) -> str:
    learning = read_learning(None, candidate.outputs["select"].path)
    return f"; chosen among {len(learning.ranking)}: {escaped(learning.ranking_reason)}" if learning.ranking else ""
