from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.baselines import Outcome
from pipelines.dataset import Sample, Split
from pipelines.plain_training import read_plain_training, target_samples, write_plain_training
from pipelines.unlabelled import UnlabelledSample


def sample(name: str, domain: str, split: Split = "test", arrival: str = "") -> Sample:
    return Sample(name, f"{name}.png", "a", name, domain, arrival, split)


def unlabelled(domain: str, arrival: str = "2026-11-10") -> UnlabelledSample:
    return UnlabelledSample("9" * 64, "unlabelled/files/9.png", domain, arrival)


TRAINED = sample("t", "old", "train")


@pytest.mark.parametrize(
    ("one", "is_of_target"),
    [
        (sample("a", "new"), True),
        (sample("a", "new", "validation"), False),
        (sample("a", "new", "train"), False),
        (sample("a", "other"), False),
        (sample("a", "old", arrival="2026-11-10"), True),
        (sample("a", "old", arrival="2026-12-01"), True),
        (sample("a", "old", arrival="2026-11-09"), False),
        (sample("a", "old"), False),
    ],
    ids=["new domain", "validation", "train", "another domain", "the same day", "later", "earlier", "no arrival"],
)
def test_a_sample_of_the_target(one: Sample, is_of_target: bool) -> None:
    found = target_samples([TRAINED, one], [unlabelled("old"), unlabelled("old", "2026-11-12"), unlabelled("new")])
    assert found == ([one] if is_of_target else [])


def test_a_domain_that_training_has_and_inputs_without_a_date() -> None:
    assert target_samples([TRAINED, sample("a", "old", arrival="2026-11-10")], [unlabelled("old", "")]) == []


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_plain_training(Outcome("failed", why="no memory"), [TRAINED, sample("a", "new")], [unlabelled("new")], tmp_path)
    read = read_plain_training(tmp_path, "one")
    assert (read.plain.state, read.plain.why, read.plain.answers) == ("failed", "no memory", None)
    assert (read.target_ids, read.domains) == (frozenset("a"), ("new",))
