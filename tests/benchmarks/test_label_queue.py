"""Numbers in the guide on labels come from the benchmark's files, and the files say what its text claims."""

from __future__ import annotations

from benchmarks.label_queue_table import GUIDE, render
from benchmarks.tables import read


def gains() -> dict[tuple[str, str, int], tuple[float, float, float]]:
    """Accuracy, gain and its standard error, by traffic, pick and labels."""
    rows = [row for row in read("label_queue_summary") if row["traffic"] != "none"]
    numbers = ("accuracy_usps", "gain_usps", "gain_usps_error")
    return {(row["traffic"], row["pick"], int(row["n_labels"])): tuple(float(row[name]) for name in numbers) for row in rows}  # type: ignore[misc]


def test_its_tables_are_the_csvs() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert render(text) == text


def test_the_queue_is_better_than_chance_and_a_hundred_beat_four_hundred() -> None:
    found = gains()
    for traffic in ("usps", "mixed", "bursts"):
        for n in (100, 400):
            _, gain, error = found[traffic, "queue", n]
            assert gain > 2 * error
        assert found[traffic, "queue", 100][0] >= found[traffic, "random", 400][0]


def test_what_differs_pays_in_bursts_and_the_random_fifth_costs_little() -> None:
    found = gains()
    assert found["bursts", "chosen", 100][0] > found["bursts", "uncertain", 100][0]
    costs = [found[traffic, "chosen", n][0] - found[traffic, "queue", n][0] for traffic in ("usps", "mixed", "bursts") for n in (100, 400)]
    assert max(costs) <= 0.002
    assert max(gain for _, gain, _ in found.values()) <= 0.011


def test_the_accuracy_before_any_label() -> None:
    (row,) = [row for row in read("label_queue_summary") if row["traffic"] == "none"]
    assert f"It is {100 * float(row['accuracy_usps']):.1f} % before any label" in GUIDE.read_text(encoding="utf-8")


def test_memory_is_flat_and_time_is_linear() -> None:
    short, long = read("label_queue_speed")
    assert int(long["n_lines"]) == 10 * int(short["n_lines"])
    assert float(long["added_memory_mib"]) - float(short["added_memory_mib"]) < 20
    assert float(long["read_seconds"]) < 30
