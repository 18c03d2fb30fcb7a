"""The team's own examples, in a small YAML file: inputs that must be answered alike, or in a given way.

In the manner of the invariance and directional expectation tests of CheckList (Ribeiro et al. 2020, https://arxiv.org/abs/2005.04118); its
minimum functionality tests are a `direction` with a label.

    invariance:
      - name: a mirrored lesion is the same lesion
        files: behaviour/lesion-*.png
        alter: {flip: horizontal}
        max_change: 0.1
    direction:
      - name: the reference picture of a seven
        files: behaviour/seven.png
        label: "7"
      - name: darkness hides a crack
        files: behaviour/crack-*.png
        alter: {brightness: -0.4}
        lowers: crack

Of texts the inputs may stand in the file itself:

    invariance:
      - name: a name is only a name
        texts: [Anna found the soup cold., The book that Anna lent me]
        alter: {replace: {Anna: Mehmet}}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field, ValidationError, field_validator, model_validator

from pipelines.behaviour_alterations import ALTERATIONS, Alteration
from pipelines.conf_yaml import read_mapping
from pipelines.config.section import Fraction, Section
from pipelines.core.errors import ConfigurationError, Finding


class _Test(Section):
    """What both kinds of tests have.

    Attributes:
        name: For the decision; no two tests have the same.
        files: A file or a glob pattern, relative to the workspace and below it; of texts `.txt` files in UTF-8, a text each.
        texts: In place of files, the texts themselves.
        min_share: Share of the inputs that must pass.
    """

    name: Annotated[str, Field(min_length=1, max_length=120)]
    files: str | None = None
    texts: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    min_share: Annotated[float, Field(gt=0, le=1)] = 1.0

    @field_validator("files")
    @classmethod
    def _in_the_workspace(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        path = PurePosixPath(pattern)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise ValueError("give a path or pattern below the workspace, without a leading / and without ..")
        if any("**" in part and part != "**" for part in path.parts):
            raise ValueError("** stands for folders and is a part of the path by itself: **/*.png")
        return pattern

    @model_validator(mode="after")
    def _some_input(self) -> _Test:
        if (self.files is None) == (not self.texts):
            raise ValueError("give exactly one of files, texts")
        return self


class InvarianceTest(_Test):
    """The altered input gets the answer of the input itself.

    Attributes:
        alter: What is done to the input.
        max_change: Largest change of any label's probability; null asks for the same answer only.
    """

    alter: Alteration
    max_change: Fraction | None = None


class DirectionTest(_Test):
    """The input, altered where `alter` says so, is answered in a given way: one of `label`, `not_label`, `raises`, `lowers`.

    Attributes:
        alter: What is done to the input first; `raises` and `lowers` compare with the input itself.
        label: The answer; where a sample has any number of labels, one of the answer's.
        not_label: What the answer is not, or not among.
        raises, lowers: The label whose probability the alteration changes.
        by: By how much at least; 0 asks for any change in that direction.
    """

    alter: Alteration | None = None
    label: str | None = None
    not_label: str | None = None
    raises: str | None = None
    lowers: str | None = None
    by: Fraction = 0.0

    @model_validator(mode="after")
    def _just_one(self) -> DirectionTest:
        asked = [name for name in ("label", "not_label", "raises", "lowers") if getattr(self, name) is not None]
        if len(asked) != 1:
            raise ValueError("give exactly one of label, not_label, raises, lowers")
        if asked[0] in ("raises", "lowers") and self.alter is None:
            raise ValueError(f"{asked[0]} compares with an altered input: give alter")
        if asked[0] in ("label", "not_label") and self.by > 0:
            raise ValueError(f"by belongs to raises and lowers, not to {asked[0]}")
        return self

    @property
    def subject(self) -> str:
        """The label that is spoken of."""
        return next(label for label in (self.label, self.not_label, self.raises, self.lowers) if label is not None)


class BehaviourTests(Section):
    """The whole file."""

    invariance: tuple[InvarianceTest, ...] = ()
    direction: tuple[DirectionTest, ...] = ()

    @property
    def all(self) -> tuple[InvarianceTest | DirectionTest, ...]:
        """In the order of the file."""
        return (*self.invariance, *self.direction)

    @model_validator(mode="after")
    def _some_and_named_differently(self) -> BehaviourTests:
        names = [test.name for test in self.all]
        if not names:
            raise ValueError("give at least one test under invariance or direction: a file that asks nothing shows nothing")
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            raise ValueError(f"tests have the same name: {', '.join(doubles)}")
        return self


def read_behaviour(root: Path, file: str, task: str, labels: Sequence[str]) -> BehaviourTests:
    """Reads the file of a gate `behaviour`.

    Args:
        root: The workspace.
        file: Relative to it.
        task: The project's.
        labels: The project's.

    Raises:
        ConfigurationError: It is missing, no YAML, or has wrong entries, changes of another task's inputs or labels that the project does
            not have: all are listed.
    """
    if not (root / file).is_file():
        raise ConfigurationError(
            got=f"a gate behaviour whose file {file} does not exist.",
            allowed="a YAML file of the workspace with tests under invariance or direction.",
            next_step="write it (docs/gates.md shows one), correct `file` of the gate in the conf file, or remove the gate.",
        )
    try:
        tests = BehaviourTests.model_validate(read_mapping(root / file))
    except ValidationError as error:
        found = [Finding(_dotted(item["loc"]), item["msg"].removeprefix("Value error, ")) for item in error.errors(include_url=False)]
        raise _wrong_entries(file, found) from error
    if unfit := [*_unknown_labels(tests, labels), *_unfit(tests, task)]:
        raise _wrong_entries(file, unfit)
    return tests


def _unknown_labels(tests: BehaviourTests, labels: Sequence[str]) -> list[Finding]:
    problem = f"is no label of the project; allowed: {', '.join(labels)}"
    return [Finding(test.name, f"{test.subject!r} {problem}") for test in tests.direction if test.subject not in labels]


def _unfit(tests: BehaviourTests, task: str) -> list[Finding]:
    allowed = ALTERATIONS[task]
    problem = f"is not for task: {task}; take {', '.join(allowed)}"
    named = [(test.name, test.alter.chosen[0][0]) for test in tests.all if test.alter is not None]
    found = [Finding(where, f"{name} {problem}") for where, name in named if name not in allowed]
    inline = [test for test in tests.all if test.texts and task != "text"]
    return [*found, *(Finding(test.name, f"texts is not for task: {task}; give files") for test in inline)]


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(the whole file)"


def _wrong_entries(file: str, findings: Sequence[Finding]) -> ConfigurationError:
    return ConfigurationError(
        got=f"{file} with {len(findings)} wrong {'entry' if len(findings) == 1 else 'entries'}: "
        + "; ".join(f"{finding.where}: {finding.problem}" for finding in findings)
        + ".",
        allowed="tests under invariance and direction, with the keys that docs/gates.md lists and labels of the project.",
        next_step=f"correct {'it' if len(findings) == 1 else 'them'} and run the command again.",
        findings=findings,
    )
