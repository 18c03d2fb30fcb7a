"""The contenders as processes that wait for jobs: each is started once, and only one of them works at a time."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from benchmarks.contest.job import Draw, Outcome

ROOT = Path(__file__).resolve().parents[2]
PEERS_PYTHON = ROOT / ".regraft" / "peers" / "bin" / "python"
# Nothing that a library has to report leaves the machine, and nothing is looked up that is not there.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}


class Contender:
    """One process; `do` waits for its outcome."""

    def __init__(self, name: str, process: subprocess.Popen[str], said: IO[str]) -> None:
        self.name, self._process, self._said = name, process, said

    def do(self, job: Draw) -> Outcome:
        """Raises SystemExit with what the process said where it ended instead."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "job.json"
            path.write_text(json.dumps(asdict(job)))
            if self._process.stdin is None or self._process.stdout is None:
                raise SystemExit(f"{self.name} was started without pipes")
            print(path, file=self._process.stdin, flush=True)
            if not self._process.stdout.readline():
                self._said.seek(0)
                raise SystemExit(f"{self.name} ended at seed {job.seed}:\n{self._said.read()[-3000:]}")
            return Outcome(**json.loads(path.with_suffix(".outcome.json").read_text()))


def versions_in(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Of packages in another environment."""
    program = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {tuple(packages)}}}))"
    return dict(json.loads(subprocess.run([str(python), "-c", program], check=True, capture_output=True).stdout))


@contextmanager
def contenders(commands: Mapping[str, Sequence[str]]) -> Iterator[Mapping[str, Contender]]:
    """Contenders by name.

    Args:
        commands: Of each name; the repository's root is where they start.
    """
    with ExitStack() as stack:
        yield {name: stack.enter_context(_started(name, command)) for name, command in commands.items()}


@contextmanager
def _started(name: str, command: Sequence[str]) -> Iterator[Contender]:
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=said, text=True, env=os.environ | _OFFLINE) as process,
    ):
        try:
            yield Contender(name, process, said)
        finally:
            process.terminate()
