from __future__ import annotations

from itertools import count
from uuid import UUID

import pytest

from flows.run_progress import RunProgress, shown_on_page
from flows.tasks import in_task, watched_by, watcher
from tests.flows.conftest import Stack


def test_outside_of_a_run_it_only_passes_on() -> None:
    told: list[tuple[str, int, int]] = []
    progress = RunProgress(lambda *args: told.append(args), n_steps=3)
    for step in (("train", 0, 1), ("epochs", 1, 4), ("train", 1, 1)):
        progress(*step)
    progress.end()
    assert told == [("train", 0, 1), ("epochs", 1, 4), ("train", 1, 1)]
    assert progress.n_done == 1


@pytest.mark.slow
def test_the_runs_page_has_a_bar_for_its_steps_and_one_inside_a_step(stack: Stack) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
    from prefect.runtime import flow_run

    from flows.heartbeat import without_heartbeat

    def train() -> None:
        watcher()("reading", 1, 2)
        watcher()("reading", 2, 2)
        for epoch in range(1, 5):
            watcher()("Epochs (fine-tuning)", epoch, 4)

    seconds = count(step=3)
    seen: list[dict[str, tuple[float, str]]] = []

    def look(run: str) -> None:
        with get_client(sync_client=True) as client:
            found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run)])))
        seen.append({str(item.key): (float(item.data), str(item.description)) for item in found})  # type: ignore[arg-type]

    def body() -> None:
        with shown_on_page(4, lambda: next(seconds)):
            in_task("split", lambda: None)
            in_task("train", train)
            in_task("package", lambda: None)
            look(str(flow_run.id))
        look(str(flow_run.id))

    with without_heartbeat(), watched_by(lambda *_: None):
        flow(name="progress", persist_result=False)(body)()
    assert seen[0]["steps"] == (50.0, "package runs (2 of about 4 steps done)")
    assert seen[0]["progress-epochs-fine-tuning"] == (100.0, "Epochs (fine-tuning): 4 of 4")
    assert seen[0].keys() == {"steps", "progress-epochs-fine-tuning"}, "what is over in seconds needs no bar"
    assert seen[1]["steps"] == (100.0, "all 3 steps are done")
