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
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from pipelines.conf_yaml import read_mapping
from pipelines.config import BehaviourGate, ProjectConfig
from pipelines.config.section import Fraction, Positive, Section
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, DataError, Finding

_MAX_FINDINGS = 100
_ALTERATIONS = ("flip", "rotate_degrees", "crop_frac", "blur_px", "brightness", "jpeg")


class Alteration(Section):
    """One change of a picture.

    Attributes:
        flip: `horizontal` changes left and right, `vertical` top and bottom.
        rotate_degrees: Counter-clockwise, at the same size.
        crop_frac: Share of each side that is kept, about the centre.
        blur_px: Standard deviation of a Gaussian blur.
        brightness: Added to the brightness, which is in [0, 1].
        jpeg: Saved as JPEG of that quality.
    """

    flip: Literal["horizontal", "vertical"] | None = None
    rotate_degrees: Annotated[float, Field(ge=-180, le=180)] | None = None
    crop_frac: Annotated[float, Field(gt=0, lt=1)] | None = None
    blur_px: Positive | None = None
    brightness: Annotated[float, Field(ge=-1, le=1)] | None = None
    jpeg: Annotated[int, Field(ge=1, le=95)] | None = None

    @model_validator(mode="after")
    def _just_one(self) -> Alteration:
        if len(self.chosen) != 1:
            raise ValueError(f"give exactly one of {', '.join(_ALTERATIONS)}")
        return self

    @property
    def chosen(self) -> tuple[tuple[str, Any], ...]:
        """The one name with its value."""
        return tuple((name, getattr(self, name)) for name in _ALTERATIONS if getattr(self, name) is not None)


class _Test(Section):
    """What both kinds of tests have.

    Attributes:
        name: For the decision; no two tests have the same.
        files: A file or a glob pattern, relative to the workspace and below it.
        min_share: Share of the files that must pass.
    """

    name: Annotated[str, Field(min_length=1, max_length=120)]
    files: str
    min_share: Annotated[float, Field(gt=0, le=1)] = 1.0

    @field_validator("files")
    @classmethod
    def _in_the_workspace(cls, pattern: str) -> str:
        path = PurePosixPath(pattern)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise ValueError("give a path or pattern below the workspace, without a leading / and without ..")
        if any("**" in part and part != "**" for part in path.parts):
            raise ValueError("** stands for folders and is a part of the path by itself: **/*.png")
        return pattern


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


def read_behaviour(root: Path, file: str, labels: Sequence[str]) -> BehaviourTests:
    """Reads the file of a gate `behaviour`.

    Args:
        root: The workspace.
        file: Relative to it.
        labels: The project's.

    Raises:
        ConfigurationError: It is missing, no YAML, or has wrong entries or labels that the project does not have: all are listed.
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
    unknown = [test for test in tests.direction if test.subject not in labels]
    if unknown:
        problem = f"is no label of the project; allowed: {', '.join(labels)}"
        raise _wrong_entries(file, [Finding(test.name, f"{test.subject!r} {problem}") for test in unknown])
    return tests


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


def files_of(root: Path, test: InvarianceTest | DirectionTest) -> tuple[str, ...]:
    """The files that a test's pattern names, sorted, relative to the workspace `root`."""
    return tuple(sorted(path.relative_to(root).as_posix() for path in root.glob(test.files) if path.is_file()))


def input_digests(root: Path, tests: BehaviourTests) -> dict[str, str]:
    """sha256 of every input file, by its path relative to the workspace `root`.

    Raises:
        ConfigurationError: A test's pattern names no file.
        DataError: A file cannot be read.
    """
    empty = [Finding(test.name, f"no file is called {test.files}") for test in tests.all if not files_of(root, test)]
    if empty:
        raise ConfigurationError(
            got="behaviour tests without input: " + "; ".join(f"{finding.where}: {finding.problem}" for finding in empty) + ".",
            allowed="patterns, relative to the workspace, that name at least one file each.",
            next_step="add the files, or correct `files` of the tests.",
            findings=empty,
        )
    return {name: _digest(root, name) for name in sorted({name for test in tests.all for name in files_of(root, test)})}


def _digest(root: Path, name: str) -> str:
    try:
        return file_sha256(root / name)
    except OSError as error:
        raise DataError(
            got=f"the input {name} of a behaviour test, which cannot be read ({error.strerror}).",
            allowed="files that this user may read.",
            next_step="correct its permissions, or narrow `files` of the tests.",
        ) from error


def check_behaviour(root: Path, config: ProjectConfig) -> None:
    """Looks, before hours of training, whether the file of a gate `behaviour` and every input can be read; no gate, nothing to do.

    Args:
        root: The workspace.
        config: The project's.

    Raises:
        ConfigurationError: As `read_behaviour` and `input_digests`.
        DataError: Inputs do not decode: all are listed.
    """
    for gate in config.gates:
        if isinstance(gate, BehaviourGate):
            _check_inputs(root, input_digests(root, read_behaviour(root, gate.file, config.labels)))


def _check_inputs(root: Path, inputs: Iterable[str]) -> None:
    from pipelines.image_files import inspect_images
    from pipelines.input_files import Unusable

    looked = zip(inputs, inspect_images(root, list(inputs), links_may_leave=True), strict=True)
    unusable = [Finding(name, found.problem) for name, found in looked if isinstance(found, Unusable)]
    if unusable:
        raise DataError(
            got=f"{len(unusable)} inputs of behaviour tests that cannot be used, the first: {unusable[0].where} {unusable[0].problem}.",
            allowed="image files that decode.",
            next_step="replace them, or narrow `files` of the tests.",
            findings=unusable[:_MAX_FINDINGS],
        )
