"""How much macro-F1 and AUROC fall short of 1, and what each test sample has to do with it.

Both are means over the labels of a ratio of counts. To first order such a ratio is a mean of one contribution for each sample, its
influence, and the influences' squares sum up to its variance (for AUROC: DeLong et al. 1988, https://doi.org/10.2307/2531595; for macro-F1:
Takahashi et al. 2022, https://doi.org/10.1007/s10489-021-02635-5). Letters: n samples, l labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import TestAnswers
from pipelines.core.errors import DataError
from pipelines.core.label_sets import members_of

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LabelLoss:
    """1 minus a metric.

    Attributes:
        value: In [0, 1].
        influences: float64 [n], what each sample adds to `value`, to first order; they sum up to 0.
        heaviest: What one more sample, as wrong as can be, would add.
        heaviest_without_loss: The same where all answers are right.
    """

    value: float
    influences: NDArray[np.float64]
    heaviest: float
    heaviest_without_loss: float

    @property
    def variance(self) -> float:
        """Of `value`, over test sets of this size."""
        return float(np.square(self.influences).sum())


def label_matrix(texts: NDArray[np.str_], names: tuple[str, ...], labels_per_sample: str) -> Flags:
    """Bool [n, l]: which of `names` each text means.

    Args:
        texts: [n], a label each, or the text of a set of them where `labels_per_sample` is `many`.
        names: [l].
        labels_per_sample: Of the project.
    """
    if labels_per_sample == "one":
        return np.asarray(texts[:, None] == np.array(names)[None, :])
    sets = {text: frozenset(members_of(text)) for text in set(texts.tolist())}
    return np.array([[name in sets[text] for name in names] for text in texts.tolist()], dtype=bool).reshape(len(texts), len(names))


def all_labels(answers: TestAnswers) -> tuple[str, ...]:
    """The labels that the bundle can answer, then those that only the samples have."""
    texts = sorted(set(answers.labels.tolist()))
    found = texts if answers.labels_per_sample == "one" else [name for text in texts for name in members_of(text)]
    answered = answers.label_names or tuple(sorted(set(answers.predicted.tolist()) - {""}) if answers.labels_per_sample == "one" else ())
    return tuple(dict.fromkeys([*answered, *found]))


def macro_f1_loss(true: Flags, predicted: Flags, *, exclusive: bool) -> LabelLoss:
    """1 - macro-F1.

    Args:
        true: [n, l]; every label has a sample.
        predicted: [n, l].
        exclusive: Whether a sample has one label, so that one wrong answer touches two labels at most.
    """
    n_labels = true.shape[1]
    wrong, either = true ^ predicted, true.astype(np.int64) + predicted
    mentions = either.sum(axis=0)
    losses = wrong.sum(axis=0) / mentions
    influences = ((wrong - losses * either) / mentions).sum(axis=1) / n_labels
    heaviest = _heaviest_f1(mentions, exclusive=exclusive)
    return LabelLoss(float(losses.mean()), influences, heaviest, _heaviest_f1(2 * true.sum(axis=0), exclusive=exclusive))


def _heaviest_f1(mentions: NDArray[np.int64], *, exclusive: bool) -> float:
    shares = np.sort(1 / mentions)
    return float((shares[-2:] if exclusive else shares).sum() / len(mentions))


def auroc_loss(true: Flags, probabilities: NDArray[np.float64], *, exclusive: bool) -> LabelLoss:
    """1 - the mean over labels of the area under the ROC curve of the label against all others; a tie counts one half.

    Args:
        true: [n, l]; every label has a sample with it and one without.
        probabilities: [n, l].
        exclusive: Whether a sample has one label.
    """
    n_with = true.sum(axis=0)
    n_without = len(true) - n_with
    beaten = np.column_stack([_share_beaten(true[:, place], probabilities[:, place]) for place in range(true.shape[1])])
    areas = (beaten * true).sum(axis=0) / n_with
    influences = (np.where(true, 1 / n_with, 1 / n_without) * (areas - beaten)).mean(axis=1)
    if exclusive:
        # The sample's own label counts it among n_with, every other label among n_without.
        heaviest = float((1 / n_with + (1 / n_without).sum() - 1 / n_without).max() / len(n_with))
    else:
        heaviest = float((1 / np.minimum(n_with, n_without)).mean())
    return LabelLoss(float(1 - areas.mean()), influences, heaviest, heaviest)


def _share_beaten(true: Flags, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n]: of a sample with the label the share of those without it that it is ranked above; of the others the reverse."""
    from scipy.stats import rankdata

    among_all = rankdata(scores)
    among_own = np.empty(len(scores))
    among_own[true], among_own[~true] = rankdata(scores[true]), rankdata(scores[~true])
    n_below_of_other = among_all - among_own
    n_with = true.sum()
    return np.asarray(np.where(true, n_below_of_other / (len(true) - n_with), 1 - n_below_of_other / n_with))


def probabilities_of(answers: TestAnswers, names: tuple[str, ...]) -> NDArray[np.float64]:
    """float64 [n, l]; of a label that the bundle does not have 0.

    Raises:
        DataError: The evaluation kept no probabilities.
    """
    if answers.probabilities is None:
        raise DataError(
            got="an evaluation without the probabilities of the labels.",
            allowed="one with probabilities.safetensors: auroc and calibration are measured on them.",
            next_step="evaluate the bundle again; evaluations of this version write that file.",
        )
    known = {name: place for place, name in enumerate(answers.label_names)}
    missing = np.zeros(answers.n)
    return np.column_stack([answers.probabilities[:, known[name]] if name in known else missing for name in names])
