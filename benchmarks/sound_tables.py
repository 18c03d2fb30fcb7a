"""Puts the numbers of `results/sound_transfer*.csv` into docs/guides/audio.md: `python -m benchmarks.sound_tables`.

A test compares them.
"""

from __future__ import annotations

import json

from benchmarks.gate_power import markdown_table
from benchmarks.machine import RESULTS
from benchmarks.tables import Row, read, rendered

GUIDE = RESULTS.parents[1] / "docs" / "guides" / "audio.md"
NAMES = {
    "fastai": "fastai `fine_tune` on spectrograms",
    "fastai_one_cycle": "fastai `fit_one_cycle`, the whole network",
    "sklearn": "scikit-learn on the frozen features",
    "auto": "`auto` with 15 % of fastai's time",
    "default": "`auto` as it is by default",
}


def render(text: str) -> str:
    """The guide's text with the table made anew."""
    return rendered(text, {"sound_transfer": table})


def table() -> str:
    """A row for each number of labels and contender: each speaker's accuracy, their mean, the difference to the better peer, and time."""
    rows = read("sound_transfer_summary")
    speakers = list(dict.fromkeys(row["dataset"] for row in read("sound_transfer")))
    header = ("clips a digit", "", *speakers, "mean", "minus the better peer", "of the processor", "by the clock")
    return markdown_table(header, [_cells(row, speakers) for row in rows]) + "\n\n" + _explained(rows)


def _cells(row: Row, speakers: list[str]) -> list[str]:
    low, high = (100 * float(row[f"difference_{end}"]) for end in ("low", "high"))
    difference = f"{100 * float(row['difference_mean']):+.1f} ({low:+.1f} to {high:+.1f})"
    return [
        row["labels_per_class"],
        NAMES[row["contender"]],
        *(_accuracy(row, speaker) for speaker in speakers),
        f"{100 * float(row['accuracy_mean']):.1f}",
        "" if row["contender"] == row["best_peer"] else difference,
        f"{float(row['cpu_seconds_median']):.0f} s ({100 * float(row['cpu_share_of_best_peer']):.0f} %)",
        f"{float(row['seconds_median']):.0f} s ({100 * float(row['time_share_of_best_peer']):.0f} %)",
    ]


def _accuracy(row: Row, speaker: str) -> str:
    wanted = (row["labels_per_class"], row["contender"], speaker)
    found = [
        float(run["accuracy"]) for run in read("sound_transfer") if (run["labels_per_class"], run["contender"], run["dataset"]) == wanted
    ]
    return f"{100 * sum(found) / len(found):.1f}" if found else ""


def _explained(rows: list[Row]) -> str:
    about = json.loads((RESULTS / "sound_transfer.json").read_bytes())
    settings, later = about["settings"], [NAMES[name] for name in about.get("measured_in_a_run_of_their_own", ())]
    runs = ", ".join(sorted({f"{row['n_speakers']} speakers in {row['n_runs']} runs" for row in rows}))
    return (
        "Accuracy in % on a speaker whom training never heard"
        f" ({10 * settings['takes_of_the_speaker_to_judge_by']} clips; chance is 10), from the same weights and files:"
        f" {settings['speakers_learnt_from']} speakers to learn from, another to choose by. n: {runs}. Differences are means over speakers"
        f" in points with their 95 % interval; times are medians, their share is of the better peer's. {_machine('sound_transfer')}."
        + (f" Measured after the others, in a run of their own: {'; '.join(later)}." if later else "")
    )


def _machine(name: str) -> str:
    about = json.loads((RESULTS / f"{name}.json").read_bytes())
    n_threads = about["settings"]["threads"]
    return f"{about['processor']}, {n_threads} thread{'s' if n_threads > 1 else ''} on {about['cores']} cores that other jobs share"


if __name__ == "__main__":
    GUIDE.write_text(render(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
