from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.code_digest import _imported_modules, _is_module, code_digest, reachable_modules
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


SLOW_WORK = """
import sys, time
from pathlib import Path
from pipelines.store import StageStore
root, seconds = Path(sys.argv[1]), float(sys.argv[2])
def work(out):
    print("begun", flush=True)
    time.sleep(seconds)
    (out / "number.txt").write_text("1")
output = StageStore(root).run("train", {}, "pipelines.progress", work)
print("cached" if output.cached else "made", (output.path / "number.txt").read_text(), flush=True)
"""


def start_work(root: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SLOW_WORK, str(root), str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_want_the_same_do_it_once(tmp_path: Path) -> None:
    first, second = start_work(tmp_path, 1), start_work(tmp_path, 1)
    said = sorted((process.communicate(timeout=60)[0].split("\n") for process in (first, second)), key=len)
    assert said == [["cached 1", ""], ["begun", "made 1", ""]]
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_damaged_output_is_made_again_once_by_two_processes(tmp_path: Path) -> None:
    """Neither removes what the other has just installed."""
    path = StageStore(tmp_path).run("train", {}, "pipelines.progress", write_number).path
    (path / "number.txt").unlink()
    said = [process.communicate(timeout=60)[0] for process in [start_work(tmp_path, 0.5) for _ in range(2)]]
    assert sorted(said) == ["begun\nmade 1\n", "cached 1\n"]
    assert is_complete(path)


def test_threads_of_one_process_wait_for_each_other_too(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(out: Path) -> None:
        time.sleep(0.2)
        made.append(out)

    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda _: StageStore(tmp_path).run("train", {}, "pipelines.progress", make), range(4)))
    assert len(made) == 1
    assert sorted(output.cached for output in outputs) == [False, True, True, True]


def test_kill_9_leaves_no_lock_and_its_folder_is_swept(tmp_path: Path) -> None:
    with start_work(tmp_path, 60) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.kill()
    assert len(list((tmp_path / "train").iterdir())) == 1
    output = StageStore(tmp_path).run("train", {}, "pipelines.progress", write_number)
    assert list((tmp_path / "train").iterdir()) == [output.path]


def test_old_folders_are_swept_unless_somebody_still_works_in_them(tmp_path: Path) -> None:
    with start_work(tmp_path, 60) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        busy = next((tmp_path / "train").iterdir())
        dead, young = (tmp_path / "train" / f".{'0' * 63}{number}-abc" for number in (1, 2))
        for folder in (dead, young):
            folder.mkdir()
        for folder in (busy, dead):
            os.utime(folder, (0, 0))
        output = StageStore(tmp_path).run("train", {"other": 1}, "pipelines.progress", write_number)
        assert set((tmp_path / "train").iterdir()) == {busy, young, output.path}
        process.kill()


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_the_output_has_the_mode_that_the_umask_gives(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        path = StageStore(tmp_path).run("train", {}, "pipelines.split", write_number).path
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o777 & ~mask


def test_an_unreadable_record_is_no_output(tmp_path: Path) -> None:
    path = StageStore(tmp_path).run("train", {}, "pipelines.split", write_number).path
    (path / RECORD).write_text("{")
    assert not is_complete(path)
    assert not StageStore(tmp_path).run("train", {}, "pipelines.split", write_number).cached


def test_the_code_digest_follows_lazy_imports() -> None:
    reached = reachable_modules("pipelines.package")
    assert {"pipelines.package", "pipelines.core.predict", "pipelines.core.preprocess", "pipelines.config"} <= reached
    assert "flows.retrain" not in reached


BLOCKS = """
class A:
    import pipelines.in_class
    async def method(self):
        async with self:
            import pipelines.in_with
try:
    import pipelines.in_try
except OSError:
    for _ in ():
        import pipelines.in_except
else:
    while True:
        import pipelines.in_while
finally:
    match 1:
        case 1:
            from pipelines import in_case
if False:
    pass
elif True:
    import pipelines.in_elif
else:
    import pipelines.in_else
"""


def test_the_code_digest_follows_imports_in_every_kind_of_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"in_{block}" for block in ("class", "with", "try", "except", "while", "case", "elif", "else")}
    (tmp_path / "pipelines").mkdir()
    for name in (*names, "__init__", "in_nothing"):
        (tmp_path / "pipelines" / f"{name}.py").touch()
    (tmp_path / "pipelines" / "whole.py").write_text(BLOCKS)
    monkeypatch.setattr("pipelines.code_digest._package_root", lambda: tmp_path)
    _is_module.cache_clear()
    _imported_modules.cache_clear()
    try:
        assert reachable_modules("pipelines.whole") == {"pipelines", "pipelines.whole", *(f"pipelines.{name}" for name in names)}
    finally:
        _is_module.cache_clear()
        _imported_modules.cache_clear()


@pytest.mark.parametrize("library", ["torch", "transformers", "tokenizers", "peft"])
def test_the_code_digest_changes_with_a_library_that_makes_numbers(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    installed = importlib.metadata.version
    before = code_digest.__wrapped__("pipelines.evaluate")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.0" if name == library else installed(name))
    assert code_digest.__wrapped__("pipelines.evaluate") != before


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
