"""The contenders as processes that wait for jobs: each is started once, and only one of them works at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from benchmarks.transfer.job import Job, Outcome
from benchmarks.transfer.tasks import ROOT

PEERS = ("fastai", "timm")
OURS = ("probe", "auto")
_HERE = Path(__file__).resolve().parent


class Contender:
    """One process; `do` waits for its outcome."""

    def __init__(self, name: str, process: subprocess.Popen[str], said: IO[str]) -> None:
        self.name, self._process, self._said = name, process, said

    def do(self, job: Job) -> Outcome:
        """Raises SystemExit with what the process said where it ended instead."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "job.json"
            path.write_text(json.dumps(asdict(job)))
            if self._process.stdin is None or self._process.stdout is None:
                raise SystemExit(f"{self.name} was started without pipes")
            print(path, file=self._process.stdin, flush=True)
            if not self._process.stdout.readline():
                self._said.seek(0)
                raise SystemExit(f"{self.name} ended at {job.architecture}, seed {job.seed}:\n{self._said.read()[-3000:]}")
            return Outcome(**json.loads(path.with_suffix(".outcome.json").read_text()))


def peers_versions(peers_python: Path) -> dict[str, str]:
    """Of the packages in the peers' environment."""
    program = (
        "import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in ('fastai', 'timm', 'torch', 'torchvision')}))"
    )
    return dict(json.loads(subprocess.run([str(peers_python), "-c", program], check=True, capture_output=True).stdout))


@contextmanager
def contenders(peers_python: Path, names: Sequence[str] = (*PEERS, "sklearn", *OURS)) -> Iterator[Mapping[str, Contender]]:
    """Contenders by name."""
    commands = {name: [str(peers_python), str(_HERE / f"{name}_peer.py")] for name in PEERS}
    commands["sklearn"] = [sys.executable, "-m", "benchmarks.transfer.sklearn_floor"]
    commands |= {method: [sys.executable, "-m", "benchmarks.transfer.ours", method] for method in OURS}
    with ExitStack() as stack:
        yield {name: stack.enter_context(_started(name, command)) for name, command in commands.items() if name in names}


@contextmanager
def _started(name: str, command: Sequence[str]) -> Iterator[Contender]:
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=said, text=True) as process,
    ):
        try:
            yield Contender(name, process, said)
        finally:
            process.terminate()
