from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pipelines.code_digest import code_digest, reachable_modules
from pipelines.store import RECORD, StageStore, is_complete

ROOT = Path(__file__).resolve().parents[2]


def write_number(out: Path) -> None:
    (out / "number.txt").write_text("1")


def test_finished_work_is_not_done_again(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    first = store.run("train", {"a": 1}, "pipelines.split", write_number)
    second = store.run("train", {"a": 1}, "pipelines.split", lambda out: pytest.fail("it ran again"))
    assert (first.cached, second.cached) == (False, True)
    assert first.path == second.path
    assert first.seconds == second.seconds


@pytest.mark.parametrize("key", [{"a": 2}, {"a": 1, "b": 1}, {"a": "1"}, {}])
def test_another_key_is_other_work(tmp_path: Path, key: dict[str, int]) -> None:
    store = StageStore(tmp_path)
    first = store.run("train", {"a": 1}, "pipelines.split", write_number)
    assert store.run("train", key, "pipelines.split", write_number).fingerprint != first.fingerprint


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(out: Path) -> None:
        write_number(out)
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        StageStore(tmp_path).run("train", {}, "pipelines.split", fail)
    assert list((tmp_path / "train").iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "shorter", "extra"])
def test_a_damaged_output_is_made_again(tmp_path: Path, damage: str) -> None:
    store = StageStore(tmp_path)
    path = store.run("train", {}, "pipelines.split", write_number).path
    if damage == "missing":
        (path / "number.txt").unlink()
    elif damage == "shorter":
        (path / "number.txt").write_text("")
    else:
        (path / "other.txt").write_text("x")
    assert not is_complete(path)
    again = store.run("train", {}, "pipelines.split", write_number)
    assert not again.cached
    assert (again.path / "number.txt").read_text() == "1"


def test_kill_9_in_the_middle_leaves_no_output(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from pipelines.store import StageStore
        def slow(out):
            (out / "half.txt").write_text("half")
            print("written", flush=True)
            time.sleep(60)
        StageStore(Path({str(tmp_path)!r})).run("train", {{}}, "pipelines.split", slow)
    """)
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert not list((tmp_path / "train").glob("*/" + RECORD))
    again = StageStore(tmp_path).run("train", {}, "pipelines.split", write_number)
    assert sorted(path.name for path in again.path.iterdir()) == ["number.txt", RECORD]


def test_the_code_digest_follows_lazy_imports() -> None:
    reached = reachable_modules("pipelines.package")
    assert {"pipelines.package", "pipelines.core.predict", "pipelines.core.preprocess", "pipelines.config"} <= reached
    assert "flows.retrain" not in reached


def test_the_code_digest_changes_with_a_module_far_below(tmp_path: Path) -> None:
    """Editing a helper of a helper changes the fingerprint: what task-source cache keys miss."""
    import shutil

    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
    program = "from pipelines.code_digest import code_digest; print(code_digest('pipelines.evaluate'))"

    def digest() -> str:
        return subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    before = digest()
    assert before == digest()
    assert before.strip() == code_digest("pipelines.evaluate")
    with (tmp_path / "pipelines" / "core" / "heads.py").open("a") as file:
        file.write("\n# changed\n")
    assert digest() != before
