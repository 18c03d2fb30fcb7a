"""A batch through the champion, with or without Prefect around it."""

from __future__ import annotations

from pathlib import Path

from flows.learning import RunStep
from flows.promotion import champion_bundle
from flows.session import Session
from pipelines.batch_prediction import BatchSummary
from pipelines.core.errors import ConfigurationError
from pipelines.progress import Progress


def predict_batch(session: Session, source: Path, out: Path, progress: Progress, run_step: RunStep | None = None) -> BatchSummary:
    """Fetches the champion's bundle where it is not there yet, and predicts with it.

    Args:
        session: Of the workspace.
        source: See `pipelines.batch_prediction.predict_files`.
        out: See there.
        progress: Told the inputs done, of all.
        run_step: How each step is run; None: just so.

    Raises:
        ConfigurationError: There is no champion, no such source, or a file that cannot be written there.
        DataError: The source names no input.
    """
    if run_step is None:
        return _predict(_champion(session), source, out, progress)
    bundle = run_step("fetch champion", _champion, session)
    return run_step("predict", _predict, bundle, source, out, progress)


def _champion(session: Session) -> Path:
    from pipelines.versioning.registry import champion

    record = champion(session.workspace.root, session.config.project)
    if record is None:
        raise ConfigurationError(
            got=f"the workspace {session.workspace.root.name}, which has no champion to predict with.",
            allowed="a workspace with a promoted model.",
            next_step="run `regraft retrain` first.",
        )
    return champion_bundle(session, record)


def _predict(bundle: Path, source: Path, out: Path, progress: Progress) -> BatchSummary:
    from pipelines.batch_prediction import predict_files
    from pipelines.core.predict import Predictor

    return predict_files(Predictor.load(bundle), source, out, progress)
