"""Pairing by id, and evaluations that are not of the same samples."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.answers import TestAnswers
from pipelines.core.errors import DataError
from pipelines.gates.pairing import pair


def reordered(answers: TestAnswers, order: np.ndarray) -> TestAnswers:
    columns = ("ids", "domains", "labels", "predicted", "confidences")
    return TestAnswers(*(getattr(answers, name)[order] for name in columns))


def two_models(answers, n: int = 200) -> tuple[TestAnswers, TestAnswers]:
    rng = np.random.default_rng(0)
    labels, domains = rng.choice(["cat", "dog", "new"], n), rng.choice(["photo", "scan"], n)
    return answers(rng.random(n) < 0.9, domains, labels), answers(rng.random(n) < 0.8, domains, labels)


def test_counts_match_a_loop_over_the_ids(answers) -> None:
    candidate, champion = two_models(answers)
    champion = reordered(champion, np.random.default_rng(1).permutation(champion.n))
    theirs = dict(zip(champion.ids, champion.correct, strict=True))
    pairs = pair(candidate, champion, ("cat", "dog"))
    assert pairs.n_wins == sum(ours and not theirs[name] for name, ours in zip(candidate.ids, candidate.correct, strict=True))
    assert pairs.n_losses == sum(theirs[name] and not ours for name, ours in zip(candidate.ids, candidate.correct, strict=True))
    assert pairs.known.sum() == np.isin(candidate.labels, ["cat", "dog"]).sum()
    assert pairs.where(pairs.domains == "scan").n == (candidate.domains == "scan").sum()


def test_another_set_of_ids_is_refused(answers) -> None:
    candidate, champion = two_models(answers)
    other = replace(champion, ids=np.where(champion.ids == "id00007", "stranger", champion.ids))
    with pytest.raises(DataError, match="1 ids are only in the candidate's and 1 only in the champion's") as caught:
        pair(candidate, other, ("cat", "dog"))
    assert {finding.where for finding in caught.value.findings} == {"id00007", "stranger"}


def test_a_champion_with_fewer_samples_is_refused(answers) -> None:
    candidate, champion = two_models(answers)
    with pytest.raises(DataError, match="10 ids are only in the candidate's and 0 only in the champion's"):
        pair(candidate, reordered(champion, np.arange(190)), ("cat", "dog"))


def test_a_shuffled_pairing_is_refused(answers) -> None:
    """Ids against the wrong rows: the set of ids is right, and every pair is wrong."""
    candidate, champion = two_models(answers)
    shuffled = replace(champion, ids=np.random.default_rng(2).permutation(champion.ids))
    with pytest.raises(DataError, match=r"disagree on [0-9]+ true labels or domains"):
        pair(candidate, shuffled, ("cat", "dog"))


def test_another_domain_is_refused(answers) -> None:
    candidate, champion = two_models(answers)
    moved = replace(champion, domains=np.where(champion.ids == "id00003", "fax", champion.domains))
    with pytest.raises(DataError, match=r"id00003 has the domain '[a-z]+' and 'fax'"):
        pair(candidate, moved, ("cat", "dog"))


@pytest.mark.parametrize(
    ("kind", "known"), [("many", [True, True, True, False, False]), ("one", [False, True, False, False, False])], ids=["sets", "one label"]
)
def test_a_champion_knows_a_set_if_it_knows_all_of_it(kind: str, known: list[bool]) -> None:
    ids, labels = np.array(list("abcde")), np.array(["", "cat", "cat|dog", "cat|owl", "owl"])
    both = TestAnswers(ids, np.full(5, "default"), labels, labels, np.ones(5), "many")
    assert pair(both, both, ("cat", "dog"), kind).known.tolist() == known
