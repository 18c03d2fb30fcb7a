from __future__ import annotations

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.training.label_counts import label_counts, refuse_rare_labels

ONE = np.array([0, 0, 2, 2, 2, 1])
MANY = np.array([[1, 0, 1], [1, 1, 0], [1, 0, 0]], dtype=np.float32)


def test_samples_of_each_label_are_counted() -> None:
    assert label_counts(ONE, ("ant", "bee", "cow", "dog")) == {"ant": 2, "bee": 1, "cow": 3, "dog": 0}
    assert label_counts(MANY, ("ant", "bee", "cow")) == {"ant": 3, "bee": 1, "cow": 1}


def test_labels_with_too_few_samples_are_named() -> None:
    refuse_rare_labels(ONE, ("ant", "bee", "cow"), 1, "stop.")
    expected = r"training samples: 1 of 'bee', 0 of 'dog'\. Allowed: at least 2 of every label\. Next: label more\."
    with pytest.raises(DataError, match=expected):
        refuse_rare_labels(ONE, ("ant", "bee", "cow", "dog"), 2, "label more.")


def test_labels_that_all_samples_or_none_have_are_named() -> None:
    refuse_rare_labels(MANY[:, 1:], ("bee", "cow"), 2, "stop.")
    targets = np.concatenate([MANY, np.zeros((3, 1))], axis=1)
    with pytest.raises(DataError, match=r"all with 'ant', none with 'dog'\. Allowed: for every label at least one .* without"):
        refuse_rare_labels(targets, ("ant", "bee", "cow", "dog"), 1, "label more.")


def test_a_long_list_is_cut_and_complete_in_the_findings() -> None:
    labels = [f"label {number}" for number in range(30)]
    with pytest.raises(DataError, match="1 of 'label 7', and 22 more labels") as caught:
        refuse_rare_labels(np.arange(30), labels, 2, "label more.")
    assert [finding.problem for finding in caught.value.findings][-1] == "1 of 'label 29'"
