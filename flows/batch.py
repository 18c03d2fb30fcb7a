"""The flow `batch`: a folder or a table of inputs through the champion, to a file of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import JsonValue

from flows.artifacts import publish_links, publish_markdown, publish_table
from flows.batch_prediction import predict_batch
from flows.run_progress import shown_on_page
from flows.session import open_session
from flows.tasks import StepPolicy, carried_out_as, in_task, time_limit, watcher
from pipelines.batch_prediction import BatchSummary

_N_STEPS = 2


def _run_name() -> str:
    return f"batch-{Path(flow_run.parameters['inputs']).name or 'inputs'}"


@flow(name="batch", flow_run_name=_run_name, persist_result=False)
def batch_flow(workspace: str, inputs: str, out: str, conf: str | None = None) -> dict[str, Any]:
    """Predicts every input that `inputs` names with the champion.

    Args:
        workspace: Its folder.
        inputs: A folder, or a table: with the column `path`, of texts `text`; on the machine of the worker.
        out: The `.csv` or `.parquet` file of predictions; replaced in one step when all are there.
        conf: Conf file; needed where there are several.

    Returns:
        `out`, `bundle`, `n_predicted`, `n_problems`, `n_truncated`, `n_by_label`.
    """
    session = open_session(Path(workspace), Path(conf) if conf else None)
    operation = session.config.operation
    limit = time_limit("this batch", operation.batch_timeout_minutes, "operation.batch_timeout_minutes")
    with carried_out_as(StepPolicy.of(operation)), shown_on_page(_N_STEPS), limit:
        summary = predict_batch(session, Path(inputs), Path(out), watcher(), in_task)
    _publish(summary)
    return summary.as_json()


def _publish(summary: BatchSummary) -> None:
    publish_markdown("batch", f"{summary.in_words}.")
    rows: list[dict[str, JsonValue]] = [{"label": label, "n": n} for label, n in summary.n_by_label.items()]
    if rows:
        publish_table("answers", rows, "How often each label was the answer.")
    publish_links("predictions", {"predictions": summary.out})
