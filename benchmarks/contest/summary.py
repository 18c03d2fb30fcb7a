"""From single runs to statements: paired differences over seeds, and ratios of time."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy import stats


def summarise(rows: Sequence[Mapping[str, object]], peers: Sequence[str], floor: str, ours: Sequence[str]) -> list[dict[str, object]]:
    """A row for each dataset, number of labels and method of ours, against the peer with the better mean accuracy there."""
    cells: dict[tuple[str, int], dict[str, list[Mapping[str, object]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cells[str(row["dataset"]), int(str(row["labels_per_class"]))][str(row["contender"])].append(row)
    return [line for key, contenders in cells.items() for line in _lines(key, contenders, peers, floor, ours)]


def _lines(
    key: tuple[str, int], contenders: Mapping[str, list[Mapping[str, object]]], peers: Sequence[str], floor: str, ours: Sequence[str]
) -> Iterator[dict[str, object]]:
    accuracies = {name: np.array([float(str(row["accuracy"])) for row in found]) for name, found in contenders.items()}
    seconds = {name: [float(str(row["seconds"])) for row in found] for name, found in contenders.items()}
    cpu = {name: [float(str(row.get("cpu_seconds") or "nan")) for row in found] for name, found in contenders.items()}
    best = max((peer for peer in peers if peer in accuracies), key=lambda peer: accuracies[peer].mean())
    for name in ours:
        low, high = paired_interval(accuracies[name] - accuracies[best])
        yield {
            "dataset": key[0],
            "labels_per_class": key[1],
            "method": name,
            "n_seeds": len(accuracies[name]),
            "accuracy_median": round(float(np.median(accuracies[name])), 4),
            "best_peer": best,
            "best_peer_accuracy_median": round(float(np.median(accuracies[best])), 4),
            f"{floor}_accuracy_median": round(float(np.median(accuracies[floor])), 4),
            "difference_mean": round(float((accuracies[name] - accuracies[best]).mean()), 4),
            "difference_low": round(low, 4),
            "difference_high": round(high, 4),
            "seconds_median": round(statistics.median(seconds[name]), 2),
            "time_share_of_best_peer": round(statistics.median(seconds[name]) / statistics.median(seconds[best]), 3),
            "cpu_share_of_best_peer": _share(cpu[name], cpu[best]),
        }


def _share(ours: Sequence[float], others: Sequence[float]) -> float | str:
    """Of the medians; empty where they were not measured."""
    share = float(np.median(ours) / np.median(others))
    return "" if np.isnan(share) else round(share, 3)


def paired_interval(differences: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean difference over seeds; no spread gives the mean itself."""
    mean, n = float(differences.mean()), len(differences)
    if n < 2 or float(differences.std()) == 0.0:
        return mean, mean
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * float(differences.std(ddof=1)) / n**0.5
    return mean - half, mean + half
