from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.exclusive import only_writer
from pipelines.core.errors import RefusedError
from pipelines.workspace import Workspace
from tests.conftest import ROOT

HOLD = """
import sys, time
from pathlib import Path
from flows.exclusive import only_writer
from pipelines.workspace import Workspace
with only_writer(Workspace(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_retraining_is_told_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RefusedError, match="a retraining or an ingestion of this workspace that is under way"), only_writer(workspace):
            pass
        other.kill()
        other.wait()
    with only_writer(workspace):
        pass
