"""The drift report: one HTML page with our verdict and Evidently's charts, readable without network.

Evidently shows, it does not decide: its own embedding detectors raise false alarms (docs/adr/0003-own-drift-tests.md), and its
default method changes with the sample size. Each of its columns gets the signal's own p-value as a custom test and the signal's own
threshold, so both always agree.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring.narrowing import narrowed
from monitoring.reference import Reference
from monitoring.report_header import header_html
from monitoring.signals.classifier import held_out_scores
from monitoring.signals.novelty import novelty_scores
from monitoring.signals.result import SignalResult
from monitoring.signals.run import OUT_OF_DISTRIBUTION, Strictness
from monitoring.verdict import Verdict
from monitoring.where import embedding_distances
from monitoring.window import Window
from pipelines.excerpts import Excerpt

REPORT_FILE = "drift.html"
_MAX_SHOWN_SETS = 20
# The browser itself refuses to load anything from anywhere.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline';"
    " img-src data: blob:; font-src data:; worker-src blob:"
)
_PAGE = '<!DOCTYPE html><html lang="en"><head><meta charset="UTF-8"><title>Drift</title></head><body></body></html>'


def write_report(
    window: Window,
    reference: Reference,
    verdict: Verdict,
    out: Path,
    *,
    evidently_workspace: Path | None = None,
    project: str = "regraft",
    excerpts: Mapping[str, Excerpt] | None = None,
    trigger: str = "",
) -> Path:
    """Writes `drift.html` into `out`.

    Args:
        window: What was judged.
        reference: What it was judged against.
        verdict: The judgement. Without signals (insufficient data) the page has no charts.
        out: Directory; made if it is not there.
        evidently_workspace: Also keep the charts in this Evidently workspace, for `evidently ui --workspace`.
        project: Of that workspace; made if it is not there.
        excerpts: Of requests, by the name of the raw input.
        trigger: HTML of the decision about a retraining (`monitoring.report_trigger`).

    Returns:
        Path of the page: one file, no remote address is ever loaded.
    """
    out.mkdir(parents=True, exist_ok=True)
    page = _PAGE
    if verdict.signals:
        snapshot = evidently_snapshot(window, reference, verdict)
        page = snapshot.get_html_str(as_iframe=False)
        if evidently_workspace is not None:
            _keep(snapshot, evidently_workspace, project, [signal.name for signal in verdict.signals])
    path = out / REPORT_FILE
    path.write_text(_with_header(page, header_html(verdict, excerpts) + trigger), encoding="utf-8")
    return path


def evidently_snapshot(window: Window, reference: Reference, verdict: Verdict) -> Any:
    """Evidently's report of the same signals: an `evidently.core.report.Snapshot`.

    Args:
        window: What was judged.
        reference: What it was judged against.
        verdict: With signals; each becomes one column with its p-value and threshold.
    """
    with _without_import_noise():
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift
    window, reference = narrowed(window, reference)
    tables = _tables(window.every(verdict.burst_length), reference, Strictness(verdict.level, verdict.seed, verdict.window_id))
    numbers = [name for name in tables[0] if name != "predicted_class"]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=["predicted_class"])
    before, now = (Dataset.from_pandas(table, data_definition=definition) for table in tables)
    methods = [(signal, _register(signal, verdict.window_id)) for signal in verdict.signals]
    metrics = [ValueDrift(column=signal.name, method=method, threshold=signal.threshold) for signal, method in methods]
    metadata = {"verdict": verdict.verdict, "bundle": verdict.bundle, "window": verdict.window_id}
    with np.errstate(all="ignore"):  # constant columns have no spread to draw a histogram over
        return Report(metrics, include_tests=True).run(now, before, timestamp=verdict.last_at, metadata=metadata, tags=[verdict.verdict])


def _tables(window: Window, reference: Reference, strictness: Strictness) -> tuple[pd.DataFrame, pd.DataFrame]:
    # Scalars only: a column for each embedding dimension takes Evidently a minute.
    before, now = _embedding_columns(window, reference, strictness)
    shown = [*reference.answers, *window.answers]
    shown = shown if reference.thresholds is None else _shown_answers(shown)

    def named(statistics: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return dict(zip(reference.statistic_names, statistics.T, strict=True))

    return (
        _table(before, reference.confidences, named(reference.statistics), shown[: reference.n_samples]),
        _table(now, window.confidences, named(window.statistics), shown[reference.n_samples :]),
    )


def _shown_answers(answers: list[str]) -> list[str]:
    """What a chart shows: a set may be answered once only, and there may be as many sets as requests."""
    common = {answer for answer, _ in Counter(answers).most_common(_MAX_SHOWN_SETS)}
    return [(answer or "(none)") if answer in common else "(other sets)" for answer in answers]


def _embedding_columns(window: Window, reference: Reference, strictness: Strictness) -> tuple[dict[str, Any], dict[str, Any]]:
    """One number a sample for each test of the embeddings; a test that leaves samples out has fewer."""
    sides = reference.embeddings, window.embeddings
    scores = novelty_scores(*sides, strictness.generator(OUT_OF_DISTRIBUTION))
    columns = {
        "embedding": embedding_distances(window, reference),
        "classifier": held_out_scores(*sides, strictness.generator("classifier")),
        OUT_OF_DISTRIBUTION: (scores.reference, scores.window),
    }
    before, now = ({name: pd.Series(pair[side]) for name, pair in columns.items()} for side in (0, 1))
    return before, now


def _table(embeddings: dict[str, Any], confidences: Any, statistics: Mapping[str, Any], labels: list[str]) -> pd.DataFrame:
    columns: dict[str, Any] = {**embeddings, "confidence": confidences}
    # Evidently writes category names into a script element as they are.
    columns["predicted_class"] = [label.replace("<", "‹") for label in labels]
    return pd.DataFrame({**columns, **statistics})


def _register(signal: SignalResult, window_id: str) -> str:
    """Registers the signal's result as an Evidently test, and returns the name it has there."""
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    def already_tested(_reference: pd.Series, _window: pd.Series, _kind: Any, threshold: float) -> tuple[float, bool]:
        return signal.p_value, signal.p_value <= threshold

    # The registry is global: the window's id keeps reports that are made at the same time apart.
    name = f"regraft_{window_id}_{signal.name}"
    kinds = [ColumnType.Numerical, ColumnType.Categorical]
    test = StatTest(name=name, display_name=f"p-value, {signal.detail}", allowed_feature_types=kinds, default_threshold=signal.threshold)
    register_stattest(test, already_tested)
    return name


def _keep(snapshot: Any, folder: Path, project: str, names: Sequence[str]) -> None:
    from evidently.ui.workspace import Workspace

    folder.mkdir(parents=True, exist_ok=True)
    workspace = Workspace.create(str(folder))
    found = workspace.search_project(project)
    workspace.add_run((found[0] if found else _new_project(workspace, project, names)).id, snapshot)


def _new_project(workspace: Any, name: str, signals: Sequence[str]) -> Any:
    """A project with one panel: the p-value of each signal over time."""
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import line_plot_panel

    project = workspace.create_project(name)
    values = [PanelMetric(legend=signal, metric="ValueDrift", metric_labels={"column": signal}) for signal in signals]
    note = "At or below its limit a signal moved; each window has limits of its own, by the false alarms a year."
    project.dashboard.add_panel(line_plot_panel("p-values of the signals", values, note))
    return project


def _with_header(page: str, header: str) -> str:
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    head, body = page.replace("<head>", f"<head>{policy}", 1).split("<body>", 1)
    return f"{head}<body>{header}{body}"


@contextmanager
def _without_import_noise() -> Iterator[None]:
    # Evidently 0.7 imports deprecated names of NumPy and litestar.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
