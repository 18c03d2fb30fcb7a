"""Asks a sealed bundle the team's own examples, through its own `Predictor`, and says of each input whether it passed.

Writes `behaviour.json`: of each test what was asked and how many inputs must pass, of each input its sha256 and the answers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipelines.behaviour import BehaviourTests, DirectionTest, InvarianceTest
from pipelines.behaviour_alterations import altered
from pipelines.behaviour_inputs import TestInput, inputs_of
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import IntegrityError
from pipelines.core.label_sets import members_of
from pipelines.core.predict import Predictions, Predictor

_RESULTS = "behaviour.json"


class InputResult(BaseModel):
    """What became of one input of a test.

    Attributes:
        file: Its name: relative to the workspace, or the place of a text in the team's file.
        sha256: Of its content.
        passed: Whether it was answered as asked.
        said: The answers, in a few words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    passed: bool
    said: str


class TestResult(BaseModel):
    """What became of one test.

    Attributes:
        name: Of the test.
        asked: In a few words.
        n_needed: Inputs that must pass.
        inputs: All of them.
    """

    __test__ = False
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    asked: str
    n_needed: int
    inputs: tuple[InputResult, ...]

    @property
    def n_passed(self) -> int:
        """Inputs that passed."""
        return sum(found.passed for found in self.inputs)


def ask_behaviour(bundle: Path, root: Path, tests: BehaviourTests, inputs: Mapping[str, str], out: Path) -> None:
    """Writes `behaviour.json`.

    Args:
        bundle: A sealed bundle; its hashes and goldens are checked first.
        root: The workspace, which file names are relative to.
        tests: What is asked.
        inputs: sha256 of every input, by its name.
        out: Empty directory.

    Raises:
        IntegrityError: An input changed since its sha256 was taken, or the bundle is not what its manifest says.
        DataError: An input does not decode, or is a text that its test leaves as it is.
    """
    predictor = Predictor.load(bundle)
    results = [_ask(predictor, root, test, inputs) for test in tests.all]
    (out / _RESULTS).write_bytes(canonical_json([result.model_dump(mode="json") for result in results]))


def read_behaviour_results(folder: Path) -> tuple[TestResult, ...]:
    """What `ask_behaviour` wrote, in the order of the team's file."""
    return tuple(TestResult.model_validate(entry) for entry in json.loads((folder / _RESULTS).read_bytes()))


def _ask(predictor: Predictor, root: Path, test: InvarianceTest | DirectionTest, inputs: Mapping[str, str]) -> TestResult:
    asked = inputs_of(root, test)
    contents = [_content(root, one, inputs) for one in asked]
    before = predictor.predict(contents)
    spec = predictor.manifest.preprocess
    after = before if test.alter is None else predictor.predict([altered(content, test.alter, spec) for content in contents])
    if isinstance(test, InvarianceTest):
        found = _invariance(test, before, after)
    else:
        found = _direction(test, before, after, predictor.manifest.labels)
    return TestResult(
        name=test.name,
        asked=_asked(test),
        n_needed=math.ceil(test.min_share * len(asked) - 1e-9),
        inputs=tuple(
            InputResult(file=one.name, sha256=inputs[one.name], passed=passed, said=said)
            for one, (passed, said) in zip(asked, found, strict=True)
        ),
    )


def _content(root: Path, one: TestInput, inputs: Mapping[str, str]) -> bytes:
    content = one.read(root)
    if hashlib.sha256(content).hexdigest() != inputs.get(one.name):
        raise IntegrityError(
            got=f"the input {one.name} of a behaviour test, which changed or came while the tests ran.",
            allowed="files that stay as they are while a run reads them.",
            next_step="run the command again.",
        )
    return content


def _asked(test: InvarianceTest | DirectionTest) -> str:
    change = f" after {test.alter.in_words}" if test.alter else ""
    if isinstance(test, InvarianceTest):
        limit = "" if test.max_change is None else f", no probability changed by more than {test.max_change:g}"
        return f"the same answer{change}{limit}"
    if test.label is not None or test.not_label is not None:
        return f"{'' if test.label is not None else 'not '}{test.subject}{change}"
    least = f", by {test.by:g} or more" if test.by else ""
    return f"a {'higher' if test.raises is not None else 'lower'} probability of {test.subject}{change}{least}"


def _invariance(test: InvarianceTest, before: Predictions, after: Predictions) -> list[tuple[bool, str]]:
    changes = np.abs(after.probabilities - before.probabilities).max(axis=1)
    limit = 1.0 if test.max_change is None else test.max_change
    return [
        (first == then and change <= limit, f"{_shown(first)}, then {_shown(then)}; a probability changed by {change:.3g}")
        for first, then, change in zip(before.labels, after.labels, changes.tolist(), strict=True)
    ]


def _direction(test: DirectionTest, before: Predictions, after: Predictions, labels: Sequence[str]) -> list[tuple[bool, str]]:
    if test.label is not None or test.not_label is not None:
        has = [test.subject in _answered(label, after) for label in after.labels]
        return [(one == (test.label is not None), _shown(label)) for one, label in zip(has, after.labels, strict=True)]
    column = labels.index(test.subject)
    first, then = before.probabilities[:, column], after.probabilities[:, column]
    gains = (then - first) * (1 if test.raises is not None else -1)
    said = [f"a probability of {one:.3g}, then {other:.3g}" for one, other in zip(first.tolist(), then.tolist(), strict=True)]
    return list(zip(_is_enough(gains, test.by), said, strict=True))


def _is_enough(gains: NDArray[np.float64], by: float) -> list[bool]:
    return [bool(enough) for enough in (gains > 0) & (gains >= by)]


def _answered(label: str, answers: Predictions) -> list[str]:
    return [label] if answers.thresholds is None else members_of(label)


def _shown(label: str) -> str:
    return label or "no label"
