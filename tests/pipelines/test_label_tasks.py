"""A budget is spent as it says; what is handed out can be read again, and what is damaged is left out."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import IntegrityError
from pipelines.label_queue import LabelQueue, Waiting
from pipelines.label_tasks import HANDED_OUT, Pick, pick, read_tasks, shown_texts, write_tasks
from tests.pipelines.planted import picture
from tests.pipelines.tiny_sounds import as_file, sound


def waiting(number: int, n_labels: int = 3, size: int = 4) -> Waiting:
    rng = np.random.default_rng(number)
    return Waiting(
        request_id=f"{number:032x}",
        raw_sha256=hashlib.sha256(picture(number)).hexdigest(),
        time=f"2026-11-21T09:30:00.{number:06d}Z",
        bundle="a" * 16,
        domain="default",
        label="ant",
        probabilities=rng.dirichlet(np.ones(n_labels)).astype(np.float32),
        embedding=rng.normal(size=size).astype(np.float32),
        uncertainty=0.5,
        draw_position=0.1,
    )


def queue(n_drawn: int, n_uncertain: int) -> LabelQueue:
    everyone = [waiting(number) for number in range(n_drawn + n_uncertain)]
    return LabelQueue(n_drawn + n_uncertain, n_drawn + n_uncertain, tuple(everyone[:n_drawn]), tuple(everyone[n_drawn:]))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    for number in range(20):
        (tmp_path / "raw" / hashlib.sha256(picture(number)).hexdigest()).write_bytes(picture(number))
    return tmp_path / "raw"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("n_drawn", "n_uncertain", "budget", "random_frac", "expected"),
    [
        (20, 50, 10, 0.2, (2, 8)),
        (20, 50, 10, 0.0, (0, 10)),
        (20, 50, 10, 1.0, (10, 0)),
        (1, 50, 10, 0.5, (1, 9)),
        (20, 3, 10, 0.2, (7, 3)),
        (2, 3, 10, 0.2, (2, 3)),
        (0, 0, 10, 0.2, (0, 0)),
    ],
)
def test_a_budget_is_spent(n_drawn: int, n_uncertain: int, budget: int, random_frac: float, expected: tuple[int, int]) -> None:
    given = queue(n_drawn, n_uncertain)
    picks = pick(given, budget, random_frac, "one", 0)
    assert (sum(one.picked_by == "random" for one in picks), sum(one.picked_by == "uncertain" for one in picks)) == expected
    assert len({one.waiting.request_id for one in picks}) == len(picks)
    assert [one.waiting for one in picks if one.picked_by == "random"] == list(given.drawn[: expected[0]])
    assert {one.waiting.request_id for one in picks if one.picked_by == "uncertain"} <= {one.request_id for one in given.uncertain}


def test_the_seed_decides() -> None:
    given = queue(0, 60)
    assert pick(given, 10, 0.2, "one", 1) == pick(given, 10, 0.2, "one", 1)
    assert pick(given, 10, 0.2, "one", 1) != pick(given, 10, 0.2, "one", 2)


def test_an_embedding_of_another_size_or_without_numbers_is_passed_over() -> None:
    odd, broken = waiting(0, size=7), waiting(1)
    broken.embedding[0] = np.nan
    given = LabelQueue(9, 9, (), (odd, broken, *(waiting(number) for number in range(2, 9))))
    assert {one.waiting.request_id for one in pick(given, 9, 0.0, "one", 0)} == {f"{number:032x}" for number in range(2, 9)}


def test_what_is_handed_out_is_read_again(raw: Path, folder: Path) -> None:
    picks = pick(queue(5, 15), 10, 0.2, "one", 0)
    tasks, n_left_out = write_tasks(picks, raw, folder, "one")
    assert (len(tasks), n_left_out) == (10, 0)
    assert list(read_tasks([folder]).values()) == tasks
    for one, task in zip(picks, tasks, strict=True):
        assert hashlib.sha256((folder / task.path).read_bytes()).hexdigest() == task.sha256 == one.waiting.raw_sha256
        assert task.path.endswith(".png")
        assert task.confidence == pytest.approx(float(one.waiting.probabilities.max()), abs=1e-4)


def test_what_was_handed_out_twice_has_the_place_of_the_last_time(raw: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder, numbers in zip(folders, ([0, 1], [0]), strict=True):
        folder.mkdir()
        write_tasks([Pick(waiting(number), "random") for number in numbers], raw, folder, "one")
    assert list(read_tasks(folders)) == [waiting(number).request_id for number in (1, 0)]


def test_of_a_set_the_least_certain_label_is_the_confidence(raw: Path, folder: Path) -> None:
    one = waiting(0)
    one.probabilities[:] = [0.9, 0.4, 0.01]
    tasks, _ = write_tasks([Pick(one, "random")], raw, folder, "many")
    assert tasks[0].confidence == pytest.approx(0.6)


def test_what_is_gone_or_damaged_is_left_out(raw: Path, folder: Path) -> None:
    picks = [Pick(waiting(number), "uncertain") for number in range(4)]
    (raw / picks[0].waiting.raw_sha256).unlink()
    (raw / picks[1].waiting.raw_sha256).write_bytes(picture(99))
    (raw / picks[2].waiting.raw_sha256).write_bytes(b"no image")
    tasks, n_left_out = write_tasks(picks, raw, folder, "one")
    assert ([task.request_id for task in tasks], n_left_out) == ([f"{3:032x}"], 3)


def handed_out(kind: str, contents: list[bytes], raw: Path, folder: Path) -> list[str | None]:
    """Where each content went."""
    names = [hashlib.sha256(content).hexdigest() for content in contents]
    for name, content in zip(names, contents, strict=True):
        (raw / name).write_bytes(content)
    picks = [Pick(replace(waiting(number), raw_sha256=name), "random") for number, name in enumerate(names)]
    paths = {task.sha256: task.path for task in write_tasks(picks, raw, folder, "one", kind)[0]}
    return [paths.get(name) for name in names]


def test_sounds_are_handed_out_with_the_ending_of_their_content(raw: Path, folder: Path) -> None:
    contents = [as_file(sound("low", 1), kind=kind) for kind in ("WAV", "FLAC", "OGG")]
    found = handed_out("audio", [*contents, picture(50), b"soup with salt"], raw, folder)
    names = [hashlib.sha256(content).hexdigest()[:32] for content in contents]
    assert found == [f"sounds/{name}{suffix}" for name, suffix in zip(names, (".wav", ".flac", ".ogg"), strict=True)] + [None, None]


def test_texts_are_handed_out_as_they_are_and_shown_as_they_are_read(raw: Path, folder: Path) -> None:
    plain, odd = "soup ⛵\r\nwith salt".encode(), "\N{ZERO WIDTH NO-BREAK SPACE}soup\0with salt".encode()
    found = handed_out("text", [plain, odd, picture(50), b"  \n"], raw, folder)
    assert [found[0], found[1]] == [f"texts/{hashlib.sha256(content).hexdigest()[:32]}.txt" for content in (plain, odd)]
    assert found[2:] == [None, None]
    assert [(folder / str(path)).read_bytes() for path in found[:2]] == [plain, odd]
    tasks = list(read_tasks([folder]).values())
    assert [task.shown_sha256 for task in tasks] == ["", hashlib.sha256(b"soup with salt").hexdigest()]
    assert shown_texts(tasks, raw) == {tasks[0].sha256: plain.decode(), tasks[1].sha256: "soup with salt"}
    (raw / tasks[0].sha256).unlink()
    assert list(shown_texts(tasks, raw)) == [tasks[1].sha256]


def test_the_record_of_images_has_no_more_than_before(raw: Path, folder: Path) -> None:
    write_tasks([Pick(waiting(0), "random")], raw, folder, "one")
    assert "shown_sha256" not in (folder / HANDED_OUT).read_text()


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"request_id": "x"}]', b"[1]"])
def test_a_record_that_cannot_be_read_is_named(folder: Path, content: bytes) -> None:
    (folder / HANDED_OUT).write_bytes(content)
    with pytest.raises(IntegrityError, match=r"out/handed_out\.json, which cannot be read .* Next: remove that folder") as error:
        read_tasks([folder])
    assert error.value.exit_code == 3
