"""From speakers to a statement: paired differences over held-out speakers, the unit that a user's next speaker is drawn from."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.contest.summary import paired_interval
from benchmarks.sound_transfer.contenders import CONTEST

# Of one contender: a speaker's runs.
BySpeaker = Mapping[str, Sequence[Mapping[str, object]]]


def over_speakers(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """A row for each number of labels and contender, beside the peer that is right more often there.

    A speaker with several seeds counts once, by their mean.
    """
    cells: dict[int, dict[str, dict[str, list[Mapping[str, object]]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        cells[int(str(row["labels_per_class"]))][str(row["contender"])][str(row["dataset"])].append(row)
    return [_line(number, name, contenders) for number, contenders in sorted(cells.items()) for name in contenders]


def _line(number: int, name: str, contenders: Mapping[str, BySpeaker]) -> dict[str, object]:
    best = _better_peer(contenders)
    accuracies, others = (_by_speaker(contenders[one], "accuracy") for one in (name, best))
    values = list(accuracies.values())
    differences = np.array([accuracies[speaker] - others[speaker] for speaker in accuracies])
    low, high = paired_interval(differences)
    wall, cpu = ({one: statistics.median(_by_speaker(contenders[one], column).values()) for one in (name, best)} for column in _TIMES)
    return {
        "labels_per_class": number,
        "contender": name,
        "n_speakers": len(values),
        "n_runs": sum(len(found) for found in contenders[name].values()),
        "accuracy_mean": round(statistics.fmean(values), 4),
        "accuracy_min": round(min(values), 4),
        "accuracy_max": round(max(values), 4),
        "best_peer": best,
        "difference_mean": round(float(differences.mean()), 4),
        "difference_low": round(low, 4),
        "difference_high": round(high, 4),
        "seconds_median": round(wall[name], 2),
        "time_share_of_best_peer": round(wall[name] / wall[best], 3),
        "cpu_seconds_median": round(cpu[name], 2),
        "cpu_share_of_best_peer": round(cpu[name] / cpu[best], 3),
    }


_TIMES = ("seconds", "cpu_seconds")


def _better_peer(contenders: Mapping[str, BySpeaker]) -> str:
    """Of those that were measured on every speaker."""
    n_speakers = max(len(found) for found in contenders.values())
    whole = [peer for peer in CONTEST.peers if len(contenders.get(peer, {})) == n_speakers]
    return max(whole, key=lambda peer: statistics.fmean(_by_speaker(contenders[peer], "accuracy").values()))


def _by_speaker(found: BySpeaker, column: str) -> dict[str, float]:
    return {speaker: statistics.fmean(float(str(row[column])) for row in rows) for speaker, rows in found.items()}
