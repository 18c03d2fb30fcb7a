"""The stage `train` as one of several processes: `python -m pipelines.training.job JOB.json`, started by torchrun or `accelerate launch`.

What passes between these processes and the one that waits for them (`pipelines.training.launch`) lies beside JOB.json:

    events.jsonl    progress and warnings of the main process, a line each
    error-N.json    why process N stopped, where the error is one of Regraft's own
    alive-….lock    locked by the waiting process; when that is gone, however it ended, these end too
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from pipelines.config import ProjectConfig
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import ConfigurationError, RegraftError
from pipelines.exclusive import if_free
from pipelines.training.memory import is_out_of_memory

EVENTS = "events.jsonl"
_WATCH_SECONDS = 1.0


class TrainJob(BaseModel):
    """JOB.json: what `pipelines.training.train.train` is called with. All paths are absolute, on a file system that all machines share.

    Attributes:
        host: Of the process that waits for this job.
        alive: Name of the file beside JOB.json that the waiting process keeps locked, another one in every launch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: Path
    data: Path
    selected: Path
    config: ProjectConfig
    features: Path
    checkpoints: Path
    out: Path
    host: str
    alive: str


@dataclass(frozen=True)
class EventFile:
    """Progress and warnings as lines of JSON, appended so that a reader sees whole lines as they come."""

    path: Path

    def progress(self, activity: str, done: int, total: int) -> None:
        """A `pipelines.progress.Progress`."""
        self._append({"activity": activity, "done": done, "total": total})

    def log(self, record: logging.LogRecord) -> None:
        """Takes what a logger of Regraft says."""
        self._append({"logger": record.name, "level": record.levelno, "message": record.getMessage()})

    def _append(self, event: dict[str, object]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def run_job(path: Path) -> None:
    """Trains as one of the processes; the main one writes the stage's output.

    Raises:
        RegraftError: As in one process; it has been written beside the job.
    """
    job = read_job(path)
    if job.host == socket.gethostname():
        threading.Thread(target=_end_with_parent, args=(path.parent / job.alive,), daemon=True).start()
    try:
        _train(job, path.parent)
    except RegraftError as error:
        _write_error(error, path.parent)
        raise
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            _write_error(_no_memory(error), path.parent)
        raise


def read_job(path: Path) -> TrainJob:
    """Reads JOB.json.

    Raises:
        ConfigurationError: It is missing or damaged.
    """
    try:
        return TrainJob.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            got=f"the job file {path}, which cannot be read: {str(error).splitlines()[0]}.",
            allowed="a file that `regraft retrain` wrote, on a file system that every machine of the training sees at the same path.",
            next_step="set compute.processes in the conf file and run `regraft retrain`; it starts these processes itself.",
        ) from error


def _write_error(error: RegraftError, folder: Path) -> None:
    (folder / f"error-{os.environ.get('RANK', '0')}.json").write_bytes(canonical_json(error_as_json(error)))


def _no_memory(error: BaseException) -> ConfigurationError:
    said = (str(error) or type(error).__name__).splitlines()[0]
    return ConfigurationError(
        got=f"training processes of which one ran out of memory in the middle of a step: {said}.",
        allowed="parts of a batch that fit; with several processes no step can be repeated by one of them alone.",
        next_step="set compute.micro_batch_size in the conf file to half of what was tried; batches stay as they are.",
    )


def error_as_json(error: RegraftError) -> dict[str, JsonValue]:
    """What an error says, for another process to raise again."""
    findings: list[JsonValue] = [asdict(finding) for finding in error.findings]
    return {"code": error.code, "got": error.got, "allowed": error.allowed, "next_step": error.next_step, "findings": findings}


def _train(job: TrainJob, folder: Path) -> None:
    from pipelines.training.runtime import Runtime
    from pipelines.training.train import KeptFolders, train

    runtime = Runtime.start(job.config)
    kept = KeptFolders(job.features, job.checkpoints)
    if runtime.is_main:
        events = EventFile(folder / EVENTS)
        _forward_logs(events)
        train(job.samples, job.data, job.selected, job.config, kept, job.out, events.progress)
    else:
        # All processes end with the same network; what the others would write is not needed.
        spare = Path(tempfile.mkdtemp(prefix="regraft-"))
        try:
            train(job.samples, job.data, job.selected, job.config, kept, spare)
        finally:
            shutil.rmtree(spare, ignore_errors=True)
    runtime.barrier()
    runtime.leave()


def _forward_logs(events: EventFile) -> None:
    handler = logging.Handler(logging.INFO)
    handler.emit = events.log  # type: ignore[method-assign]
    logger = logging.getLogger("pipelines")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _end_with_parent(alive: Path) -> None:
    while True:
        with if_free(alive) as free:
            if free:
                # Collectives block in native code: nothing gentler reaches the main thread.
                os._exit(1)
        time.sleep(_WATCH_SECONDS)


def main(arguments: list[str]) -> int:
    """The command line of one process."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m pipelines.training.job JOB.json\n")
        return ConfigurationError.exit_code
    try:
        run_job(Path(arguments[0]))
    except RegraftError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    from torch.distributed.elastic.multiprocessing.errors import record

    # torchrun then ends its log with the traceback of the process that failed first.
    sys.exit(record(main)(sys.argv[1:]))
