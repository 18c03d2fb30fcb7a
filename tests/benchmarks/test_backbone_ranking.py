"""The benchmark's arithmetic; its measurements need ../shared."""

import pytest

from benchmarks.backbone_ranking import ARCHITECTURES, LABELS_PER_CLASS, N_TEST, N_VALIDATION_PER_CLASS, draw, labelled_files, taus

ACCURACIES = (0.9, 0.8, 0.7, 0.6)


def rows(log_me: tuple[float, ...], h_score: tuple[float, ...]) -> list[dict[str, float]]:
    names = ("log_me", "h_score", "fine_tuned_accuracy", "probe_accuracy")
    return [dict(zip(names, values, strict=True)) for values in zip(log_me, h_score, ACCURACIES, ACCURACIES, strict=True)]


def test_the_same_order_is_1_and_its_choice_costs_nothing() -> None:
    found = taus(rows((4.0, 3.0, 2.0, 1.0), (1.0, 2.0, 3.0, 4.0)))
    assert (found["tau_log_me"], found["tau_h_score"], found["tau_probe_accuracy"]) == (1, -1, 1)
    assert (found["log_me_chosen_minus_best"], found["h_score_chosen_minus_best"]) == (0, -0.3)


def test_the_combined_order_is_that_of_the_mean_ranks() -> None:
    found = taus(rows((4.0, 3.0, 2.0, 1.0), (3.0, 4.0, 2.0, 1.0)))
    assert found["tau_combined"] == 1
    assert found["tau_h_score"] < 1


@pytest.mark.shared("that no sample of a draw is in two splits, and that all labels have their share")
def test_a_draw_shares_no_sample_between_splits() -> None:
    files = labelled_files("hymenoptera")
    samples = draw(files, LABELS_PER_CLASS[0], 100, seed=0)
    assert len({sample.id for sample in samples}) == len(samples) == 2 * (LABELS_PER_CLASS[0] + N_VALIDATION_PER_CLASS + 50)
    larger = draw(files, LABELS_PER_CLASS[1], N_TEST, seed=0)
    assert {sample.id for sample in samples if sample.split == "validation"} == {s.id for s in larger if s.split == "validation"}
    assert set(ARCHITECTURES.values()) == {"mobilenetv2_100", "mobilenetv1_100", "mobilenetv1_075", "mobilenetv1_025"}
