"""Ours and fastai on the same draws of spoken digits, one after the other in one run: `make bench-sound-peers`. Needs ../shared.

Each of six speakers is judged by in turn; training hears four others, the fifth is chosen by. Writes results/sound_transfer.csv (a row for
each contender, held-out speaker and seed) and results/sound_transfer_summary.csv (paired differences over speakers), anew after each
draw. All start from the same weights and hear the same files. The budget of `auto` is 15 % of the time that fastai took on that draw;
`default` is a conf file that says nothing of the method. `--only SPEAKER --add` measures one speaker beside those that the file has;
`--again NAME` measures a contender alone, on the draws that the file has, after a change.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.contest.cells import (
    BUDGET_FRAC,
    Drawn,
    Results,
    cell_of,
    cell_options,
    in_order,
    is_wanted,
    other_rows,
    read_rows,
    rows_of,
    seeds_of,
)
from benchmarks.contest.processes import contenders, versions_in
from benchmarks.machine import write_results
from benchmarks.sound_transfer.contenders import COMMAND, CONTEST, PEERS_PACKAGES, commands
from benchmarks.sound_transfer.job import FASTAI_BATCH_SIZE, FASTAI_EPOCHS, SoundJob
from benchmarks.sound_transfer.pictures import with_pictures
from benchmarks.sound_transfer.summary import over_speakers
from benchmarks.sound_transfer.tasks import N_LEARNT_FROM, N_TEST_TAKES, N_VALIDATION_TAKES, SPEAKERS, WEIGHTS, draw

# Six takes of each digit and speaker.
LABELS_PER_CLASS = 6 * N_LEARNT_FROM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cell_options(parser, "sound_transfer")
    parser.set_defaults(labels=[LABELS_PER_CLASS])
    parser.add_argument("--again", nargs="*", help="Names of contenders to measure alone, beside the others' rows in the result file.")
    options = parser.parse_args()
    about = _about(options)
    if names := options.again or (CONTEST.ours if options.ours_again else ()):
        _measure_again(names, options, about)
        return
    rows, contest = other_rows(options), CONTEST.without(options.without)
    with contenders(commands(options.peers)) as everyone:
        for speaker in SPEAKERS:
            for number in [number for number in options.labels if is_wanted(speaker, number, options)]:
                with tempfile.TemporaryDirectory() as folder:
                    drawn = _drawn(speaker, number, options.threads, Path(folder))
                    for measured in contest.measure((speaker, number), seeds_of(options), drawn, everyone):
                        rows = in_order(rows + measured, SPEAKERS)
                        _write(options.name, rows, about)


def _measure_again(names: Sequence[str], options: argparse.Namespace, about: dict[str, object]) -> None:
    """Same draws, same machine, another time: the result file says so."""
    rows = read_rows(options.name)
    about["measured_in_a_run_of_their_own"] = list(names)
    commands_again = {name: command for name, command in commands(options.peers).items() if name in names}
    draws = sorted({(*cell_of(row), int(str(row["seed"]))) for row in rows if is_wanted(*cell_of(row), options)})
    with contenders(commands_again) as everyone:
        for speaker, number, seed in draws:
            own = [row for row in rows if (*cell_of(row), int(str(row["seed"]))) == (speaker, number, seed)]
            budget = BUDGET_FRAC * min(float(str(row["seconds"])) for row in own if row["contender"] in CONTEST.peers)
            with tempfile.TemporaryDirectory() as folder:
                job = _drawn(speaker, number, options.threads, Path(folder))(seed, budget)
                measured = rows_of((speaker, number), job, {name: everyone[name].do(job) for name in everyone})
            replaced = [row for row in own if row["contender"] in everyone]
            rows = in_order([row for row in rows if row not in replaced] + measured, SPEAKERS)
            _write(options.name, rows, about)


def _drawn(speaker: str, labels_per_class: int, n_threads: int, folder: Path) -> Drawn:
    made: dict[int, SoundJob] = {}

    def drawn(seed: int, budget_seconds: float) -> SoundJob:
        if seed not in made:
            (pictures := folder / str(seed)).mkdir()
            made[seed] = with_pictures(draw(speaker, labels_per_class, seed, n_threads), pictures)
        return replace(made[seed], budget_seconds=budget_seconds)

    return drawn


def _write(name: str, rows: Results, about: dict[str, object]) -> None:
    write_results(name, COMMAND, rows, about)
    write_results(f"{name}_summary", COMMAND, over_speakers(rows), about)


def _about(options: argparse.Namespace) -> dict[str, object]:
    return {
        "peers_versions": versions_in(options.peers, PEERS_PACKAGES),
        "settings": {
            "weights": WEIGHTS.name,
            "threads": options.threads,
            "speakers_learnt_from": N_LEARNT_FROM,
            "takes_of_the_speaker_to_choose_by": N_VALIDATION_TAKES,
            "takes_of_the_speaker_to_judge_by": N_TEST_TAKES,
            "fastai_epochs": FASTAI_EPOCHS,
            "fastai_batch_size": FASTAI_BATCH_SIZE,
            "budget_share_of_peer": BUDGET_FRAC,
        },
        "measured": "contenders in turn on every draw, in one run, on a machine that other jobs share",
    }


if __name__ == "__main__":
    main()
