"""Draws of spoken digits keep speakers apart; the guide's table comes from the result files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.machine import RESULTS
from benchmarks.sound_tables import GUIDE, render
from benchmarks.sound_transfer.summary import over_speakers
from benchmarks.sound_transfer.tasks import DIGITS, SPEAKERS, draw, speaker_of
from benchmarks.tables import read


def test_the_table_is_the_file() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert render(text) == text


def test_the_file_says_what_its_rows_say() -> None:
    written, made = read("sound_transfer_summary"), over_speakers(read("sound_transfer"))
    assert written == [{key: str(value) for key, value in row.items()} for row in made]


def test_all_contenders_are_there_for_every_speaker_measured() -> None:
    rows = read("sound_transfer")
    runs = {(row["dataset"], row["labels_per_class"], row["seed"]) for row in rows}
    assert len({dataset for dataset, _, _ in runs}) == len(SPEAKERS)
    assert {(row["dataset"], row["labels_per_class"], row["seed"], row["contender"]) for row in rows} >= {
        (*run, name) for run in runs for name in ("fastai", "sklearn", "auto", "default")
    }
    assert json.loads((RESULTS / "sound_transfer.json").read_bytes())["settings"]["threads"] >= 1


def test_what_the_text_says() -> None:
    accuracies = {row["contender"]: float(row["accuracy_mean"]) for row in read("sound_transfer_summary")}
    assert max(accuracies["sklearn"], accuracies["auto"]) < 0.35
    assert accuracies["default"] > accuracies["sklearn"] + 0.2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("unheard", SPEAKERS)
def test_no_speaker_is_on_two_sides(unheard: str, seed: int) -> None:
    job = draw(unheard, 24, seed, n_threads=1)
    heard, chosen_by, judged = ({speaker_of(path) for path, _ in rows} for rows in (job.train, job.validation, job.test))
    assert judged == {unheard}
    assert len(heard) == 4
    assert len(chosen_by) == 1
    assert not heard & chosen_by
    assert unheard not in heard | chosen_by
    assert len({path for path, _ in (*job.train, *job.validation, *job.test)}) == len(job.train) + len(job.validation) + len(job.test)
    assert all(sum(label == digit for _, label in job.train) == 24 for digit in DIGITS)


def test_each_seed_chooses_by_another_speaker() -> None:
    jobs = [draw("theo", 24, seed, n_threads=1) for seed in range(5)]
    assert {speaker_of(job.validation[0][0]) for job in jobs} == set(SPEAKERS) - {"theo"}


def run(speaker: str, contender: str, accuracy: float) -> dict[str, object]:
    return {"labels_per_class": 4, "contender": contender, "dataset": speaker, "accuracy": accuracy, "seconds": 1.0, "cpu_seconds": 1.0}


def test_a_speaker_counts_once_however_many_seeds_it_has() -> None:
    rows = [run("theo", "fastai", 0.2), run("theo", "fastai", 0.4), run("lucas", "fastai", 0.5)]
    rows += [run("theo", "auto", 0.4), run("theo", "auto", 0.4), run("lucas", "auto", 0.9)]
    auto = next(row for row in over_speakers(rows) if row["contender"] == "auto")
    assert (auto["n_speakers"], auto["n_runs"]) == (2, 3)
    assert auto["accuracy_mean"] == pytest.approx(0.65)
    assert auto["difference_mean"] == pytest.approx((0.1 + 0.4) / 2)
    assert float(str(auto["difference_low"])) < 0 < float(str(auto["difference_high"]))


def test_ours_are_beside_the_better_of_the_peers_that_heard_every_speaker() -> None:
    rows = [run(speaker, name, accuracy) for speaker in ("theo", "lucas") for name, accuracy in (("fastai", 0.3), ("auto", 0.8))]
    partial = [*rows, run("theo", "fastai_one_cycle", 0.9)]
    assert {row["best_peer"] for row in over_speakers(partial)} == {"fastai"}
    whole = [*partial, run("lucas", "fastai_one_cycle", 0.9)]
    assert {row["best_peer"] for row in over_speakers(whole)} == {"fastai_one_cycle"}
    assert next(row for row in over_speakers(whole) if row["contender"] == "auto")["difference_mean"] == pytest.approx(-0.1)


@pytest.mark.shared("that the peer's pictures are the patches that Regraft's network is given")
def test_pictures_are_the_patches_to_a_step(tmp_path: Path) -> None:
    from dataclasses import replace

    from benchmarks.sound_transfer.pictures import MEAN, STD, with_pictures
    from pipelines.core.modalities.audio import AudioModality, AudioPreprocess

    job = draw("theo", 4, 0, n_threads=1)
    job = with_pictures(replace(job, train=job.train[:2], validation=job.validation[:1], test=job.test[:1]), tmp_path)
    modality = AudioModality(AudioPreprocess())
    for path, _ in (*job.train, *job.test):
        patches = modality.to_array(modality.decode(Path(path).read_bytes()))[:, 0]
        pictures = np.stack([np.asarray(Image.open(picture)) for picture in job.pictures[path]]) / 255
        np.testing.assert_allclose((pictures - MEAN) / STD, patches, atol=0.5 / 255 / STD + 1e-6)
