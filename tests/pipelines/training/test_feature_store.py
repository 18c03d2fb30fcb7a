from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.exclusive import exclusive
from pipelines.training import feature_store
from pipelines.training.feature_store import UNUSED_DAYS, RowStore

ROOT = Path(__file__).resolve().parents[3]
KEY = {"kind": "test"}


def row(identity: str, shape: tuple[int, ...] = (3,)) -> np.ndarray:
    """Another one for each sample, the same each time."""
    return np.random.default_rng(list(identity.encode())).standard_normal(shape, np.float32)


def append(root: Path, *identities: str, shape: tuple[int, ...] = (3,)) -> RowStore:
    store = RowStore(root, KEY)
    with store.writing():
        store.append(identities, np.stack([row(identity, shape) for identity in identities]))
    return store


def holds(store: RowStore, *identities: str) -> bool:
    """Whether exactly these rows of a to h are there, each as it was written."""
    missing = store.missing("abcdefgh")
    assert all(np.array_equal(store.read(identity), row(identity)) for identity in "abcdefgh" if identity not in missing)
    return sorted(set("abcdefgh") - set(missing)) == sorted(identities)


def test_rows_are_there_again(tmp_path: Path) -> None:
    assert RowStore(tmp_path, KEY).missing(["a", "b", "a"]) == ["a", "b"]
    assert holds(append(tmp_path, "a", "b"), "a", "b")
    assert holds(append(tmp_path, "c"), "a", "b", "c")
    assert holds(RowStore(tmp_path, KEY), "a", "b", "c")
    assert RowStore(tmp_path, KEY).read("z") is None


def test_rows_have_any_shape(tmp_path: Path) -> None:
    append(tmp_path, "a", "b", shape=(2, 3, 4))
    store = RowStore(tmp_path, KEY)
    assert store.missing("ab") == []
    assert np.array_equal(store.read("b"), row("b", (2, 3, 4)))


def test_another_key_is_another_space(tmp_path: Path) -> None:
    append(tmp_path, "a")
    assert RowStore(tmp_path, {"kind": "other"}).missing("a") == ["a"]


def test_opening_writes_nothing(tmp_path: Path) -> None:
    RowStore(tmp_path / "none", KEY)
    assert not (tmp_path / "none").exists()


def test_a_sample_that_is_there_is_not_written_twice(tmp_path: Path) -> None:
    store = append(tmp_path, "a", "b")
    size = (store.folder / "rows").stat().st_size
    assert holds(append(tmp_path, "b", "a"), "a", "b")
    assert (store.folder / "rows").stat().st_size == size


def test_rows_of_another_shape_are_a_bug(tmp_path: Path) -> None:
    append(tmp_path, "a")
    with pytest.raises(ValueError, match=r"rows of shape \(4,\) in a space of \(3,\)"):
        append(tmp_path, "b", shape=(4,))


@pytest.mark.parametrize("name", ["rows", "index", "space.json"])
def test_a_file_cut_off_anywhere_loses_only_what_is_cut_off(tmp_path: Path, name: str) -> None:
    whole = append(tmp_path / "whole", "a", "b", "c").folder
    content = (whole / name).read_bytes()
    for length in range(0, len(content), {"rows": 1, "index": 8, "space.json": 19}[name]):
        root = tmp_path / f"{length}"
        folder = root / whole.name
        shutil.copytree(whole, folder)
        (folder / name).write_bytes(content[:length])
        size = {"rows": 12, "index": feature_store._RECORD.size, "space.json": len(content)}[name]
        kept = "abc"[: length // size]
        assert holds(RowStore(root, KEY), *kept)
        # It goes on from there, and what had been lost comes back.
        assert holds(append(root, "d"), *kept, "d")
        assert holds(append(root, "a", "b", "c"), "a", "b", "c", "d")
        shutil.rmtree(root)


@settings(max_examples=60)
@given(name=st.sampled_from(["rows", "index"]), place=st.integers(0, 10_000), change=st.integers(1, 255))
def test_a_changed_byte_costs_one_row_and_is_repaired(tmp_path_factory: pytest.TempPathFactory, name: str, place: int, change: int) -> None:
    root = tmp_path_factory.mktemp("store")
    file = append(root, "a", "b", "c").folder / name
    content = bytearray(file.read_bytes())
    place %= len(content)
    content[place] ^= change
    file.write_bytes(content)
    hit = "abc"[place // (len(content) // 3)]
    assert holds(RowStore(root, KEY), *set("abc") - {hit})
    store = RowStore(root, KEY)
    assert store.missing("abc") == [hit]
    with store.writing():
        assert store.missing("abc") == [hit]
        store.append([hit], row(hit)[None])
    assert holds(store, "a", "b", "c")
    assert holds(RowStore(root, KEY), "a", "b", "c")


def test_rows_in_each_others_places_are_none(tmp_path: Path) -> None:
    file = append(tmp_path, "a", "b", "c").folder / "rows"
    content = file.read_bytes()
    file.write_bytes(content[12:24] + content[:12] + content[24:])
    assert holds(RowStore(tmp_path, KEY), "c")


def test_records_in_each_others_places_are_none(tmp_path: Path) -> None:
    file = append(tmp_path, "a", "b", "c").folder / "index"
    content, size = file.read_bytes(), feature_store._RECORD.size
    file.write_bytes(content[size : 2 * size] + content[:size] + content[2 * size :])
    assert holds(RowStore(tmp_path, KEY), "c")


def test_a_row_without_its_record_was_never_written(tmp_path: Path) -> None:
    """The order of writing: a kill in between leaves rows that no record names, and the next ones take their place."""
    folder = append(tmp_path, "a").folder
    with (folder / "rows").open("ab") as file:
        file.write(row("x").tobytes() + b"half")
    assert holds(append(tmp_path, "b"), "a", "b")


def test_deleting_everything_while_it_is_open_is_allowed(tmp_path: Path) -> None:
    store = append(tmp_path, "a", "b")
    shutil.rmtree(tmp_path)
    assert holds(store, "a", "b")  # the files live as long as they are mapped
    append(tmp_path, "c")
    with store.writing():
        assert holds(store, "c")


def test_two_that_write_see_each_other(tmp_path: Path) -> None:
    first, second = RowStore(tmp_path, KEY), RowStore(tmp_path, KEY)
    with first.writing():
        first.append(["a"], row("a")[None])
    with second.writing():
        assert holds(second, "a")
        second.append(["b"], row("b")[None])
    with first.writing():
        assert holds(first, "a", "b")


def test_many_threads_with_stores_of_their_own_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda identity: append(tmp_path, identity), "abcdefgh" * 3))
    store = RowStore(tmp_path, KEY)
    assert holds(store, *"abcdefgh")
    assert (store.folder / "rows").stat().st_size == 8 * 12


def test_a_full_disk_cuts_off_what_it_could_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = append(tmp_path, "a")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with store.writing(), pytest.raises(OSError, match="No space left"):
        store.append(["b"], row("b")[None])
    assert (store.folder / "rows").stat().st_size == 12
    monkeypatch.undo()
    assert holds(append(tmp_path, "c"), "a", "c")


def test_short_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:5])))
    assert holds(append(tmp_path, "a", "b"), "a", "b")


def test_spaces_that_nobody_used_for_long_go(tmp_path: Path) -> None:
    old = append(tmp_path, "a").folder
    other = RowStore(tmp_path, {"kind": "other"})
    age = time.time() - (UNUSED_DAYS + 1) * 86_400
    for held in (True, False):
        os.utime(old / "space.json", (age, age))
        with exclusive(tmp_path / ".locks" / old.name) if held else exclusive(tmp_path / "unrelated"), other.writing():
            pass
        assert old.exists() == held
    recent = append(tmp_path, "a").folder
    os.utime(recent / "space.json", (age, age))
    RowStore(tmp_path, KEY)  # used
    with other.writing():
        assert recent.exists()


_WRITER = """
import sys
from pathlib import Path
from tests.pipelines.training.test_feature_store import KEY, RowStore, row
import numpy as np
store = RowStore(Path(sys.argv[1]), KEY)
print("ready", flush=True)
number = 0
while True:
    with store.writing():
        names = [f"{number}-{i}" for i in range(20)]
        store.append(names, np.stack([row(name, (4_000,)) for name in names]))
    number += 1
    print(number, flush=True)
"""


@pytest.mark.slow
def test_kill_at_any_time_leaves_whole_rows(tmp_path: Path) -> None:
    """What the writer had said was written is there; nothing torn is; the next writer goes on at once."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            first = int(writer.stdout.readline())
            time.sleep(float(rng.uniform(0.0, 0.15)))
            writer.send_signal(signal.SIGKILL)
            promised = [first, *(int(line) for line in writer.stdout.read().split("\n")[:-1])]
        store = RowStore(tmp_path, KEY)
        names = [f"{number}-{place}" for number in range(max(promised)) for place in range(20)]
        assert store.missing(names) == []
        everything = [f"{number}-{place}" for number in range(max(promised) + 2) for place in range(20)]
        torn = set(store.missing(everything))
        assert all(np.array_equal(store.read(name), row(name, (4_000,))) for name in everything if name not in torn)
        shutil.rmtree(tmp_path / store.folder.name)
