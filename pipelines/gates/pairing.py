"""Two evaluations laid side by side: row i of every array is the same test sample."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import TestAnswers
from pipelines.core.errors import DataError, Finding
from pipelines.core.label_sets import LabelsPerSample, members_of
from pipelines.gates.paired_metrics import Scored

_MAX_FINDINGS = 100


@dataclass(frozen=True, eq=False)
class Pairs:
    """n test samples with the answers of both models, n at least 0.

    Attributes:
        domains: [n].
        known: [n], whether the champion has the sample's true label, or all labels of its set, among its own.
        candidate_correct, champion_correct: [n].
        slices: By column that `data.slices` names: [n], the sample's value; empty where the labels table says nothing.
        scored: What macro-F1 or AUROC is made from; None where accuracy is compared.
    """

    domains: NDArray[np.str_]
    known: NDArray[np.bool_]
    candidate_correct: NDArray[np.bool_]
    champion_correct: NDArray[np.bool_]
    slices: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    scored: Scored | None = None

    @property
    def n(self) -> int:
        """Samples."""
        return len(self.domains)

    @property
    def n_wins(self) -> int:
        """Samples that the candidate gets right and the champion wrong."""
        return int((self.candidate_correct & ~self.champion_correct).sum())

    @property
    def n_losses(self) -> int:
        """Samples that the champion gets right and the candidate wrong."""
        return int((self.champion_correct & ~self.candidate_correct).sum())

    def where(self, mask: NDArray[np.bool_]) -> Pairs:
        """The samples that the mask [n] keeps."""
        return Pairs(
            domains=self.domains[mask],
            known=self.known[mask],
            candidate_correct=self.candidate_correct[mask],
            champion_correct=self.champion_correct[mask],
            slices={name: values[mask] for name, values in self.slices.items()},
            scored=self.scored.where(mask) if self.scored else None,
        )


def pair(
    candidate: TestAnswers,
    champion: TestAnswers,
    champion_labels: Collection[str],
    champion_answers: LabelsPerSample = "one",
    metric: Literal["accuracy", "macro_f1", "auroc"] = "accuracy",
) -> Pairs:
    """Pairs two evaluations by sample id; the order of the rows does not matter.

    Args:
        candidate: Its answers.
        champion: Its answers on the same test samples.
        champion_labels: All labels that the champion can answer.
        champion_answers: `many`: it can answer any set of them, the empty one included.
        metric: What will be compared.

    Raises:
        DataError: The ids differ, or a sample has another true label or domain in the two: they are not the same samples. Or AUROC is to
            be compared and an evaluation holds no probabilities.
    """
    order, champion_order = np.argsort(candidate.ids), np.argsort(champion.ids)
    _refuse_other_ids(candidate, champion)
    _refuse_other_samples(candidate, champion, order, champion_order)
    return Pairs(
        domains=candidate.domains[order],
        known=np.array(
            [_can_answer(label, champion_labels, champion_answers) for label in candidate.labels[order].tolist()], dtype=np.bool_
        ),
        candidate_correct=candidate.correct[order],
        champion_correct=champion.correct[champion_order],
        slices={name: values[order] for name, values in candidate.slices.items()},
        scored=None if metric == "accuracy" else _scored(metric, candidate, champion, order, champion_order),
    )


def _scored(
    metric: Literal["macro_f1", "auroc"],
    candidate: TestAnswers,
    champion: TestAnswers,
    order: NDArray[np.intp],
    champion_order: NDArray[np.intp],
) -> Scored:
    true = _sets(candidate.labels[order], candidate.labels_per_sample)
    labels = tuple(sorted(set().union(*true) | set(candidate.label_names)))
    columns = _given if metric == "macro_f1" else _probabilities
    return Scored(
        metric=metric,
        labels=labels,
        targets=_membership(true, labels),
        candidate=columns(candidate, labels)[order],
        champion=columns(champion, labels)[champion_order],
    )


def _sets(texts: NDArray[np.str_], labels_per_sample: LabelsPerSample) -> list[frozenset[str]]:
    return [frozenset([text] if labels_per_sample == "one" else members_of(text)) for text in texts.tolist()]


def _membership(sets: list[frozenset[str]], labels: tuple[str, ...]) -> NDArray[np.bool_]:
    # [n, l]; a label that has no column is left out: where it was given, the sample's own label was missed.
    column = {label: place for place, label in enumerate(labels)}
    found = np.zeros((len(sets), len(labels)), dtype=np.bool_)
    for row, members in enumerate(sets):
        found[row, [column[label] for label in members if label in column]] = True
    return found


def _given(answers: TestAnswers, labels: tuple[str, ...]) -> NDArray[np.float64]:
    return _membership(_sets(answers.predicted, answers.labels_per_sample), labels).astype(np.float64)


def _probabilities(answers: TestAnswers, labels: tuple[str, ...]) -> NDArray[np.float64]:
    if answers.probabilities is None:
        raise DataError(
            got="an evaluation without the probabilities of all labels.",
            allowed="predictions.csv with probabilities.safetensors beside it: AUROC is made from them.",
            next_step="evaluate the bundle again with `regraft evaluate`; the stage writes both files itself.",
        )
    # A model without the label never says so: 0 for all samples, whose AUROC is a half.
    found = np.zeros((answers.n, len(labels)))
    for place, label in enumerate(labels):
        if label in answers.label_names:
            found[:, place] = answers.probabilities[:, answers.label_names.index(label)]
    return found


def _can_answer(label: str, champion_labels: Collection[str], champion_answers: LabelsPerSample) -> bool:
    return label in champion_labels if champion_answers == "one" else set(members_of(label)) <= set(champion_labels)


def _refuse_other_ids(candidate: TestAnswers, champion: TestAnswers) -> None:
    only_candidate = np.setdiff1d(candidate.ids, champion.ids)
    only_champion = np.setdiff1d(champion.ids, candidate.ids)
    findings = [Finding(str(name), "is missing in the champion's evaluation") for name in only_candidate]
    findings += [Finding(str(name), "is missing in the candidate's evaluation") for name in only_champion]
    if findings:
        raise _not_the_same(
            f"evaluations on different test samples: {len(only_candidate)} ids are only in the candidate's"
            f" and {len(only_champion)} only in the champion's.",
            findings,
        )


def _refuse_other_samples(candidate: TestAnswers, champion: TestAnswers, order: NDArray[np.intp], champion_order: NDArray[np.intp]) -> None:
    findings: list[Finding] = []
    for name in ("labels", "domains"):
        ours, theirs = getattr(candidate, name)[order], getattr(champion, name)[champion_order]
        rows = np.flatnonzero(ours != theirs)
        findings += [
            Finding(str(candidate.ids[order][row]), f"has the {name[:-1]} {str(ours[row])!r} and {str(theirs[row])!r}") for row in rows
        ]
    if findings:
        raise _not_the_same(
            f"evaluations that disagree on {len(findings)} true labels or domains, first: {findings[0].where} {findings[0].problem}.",
            findings,
        )


def _not_the_same(got: str, findings: list[Finding]) -> DataError:
    return DataError(
        got=got,
        allowed="two evaluations of the same test samples: the same ids, each with one true label and one domain.",
        next_step="evaluate the champion again on the test split of this run with `regraft evaluate`.",
        findings=findings[:_MAX_FINDINGS],
    )
