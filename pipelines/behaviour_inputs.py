"""The inputs that a team's tests name: files of the workspace, or texts in the team's own file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.behaviour import BehaviourTests, DirectionTest, InvarianceTest, read_behaviour
from pipelines.behaviour_alterations import altered_text
from pipelines.config import BehaviourGate, ProjectConfig
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, DataError, Finding

_MAX_FINDINGS = 100


@dataclass(frozen=True)
class TestInput:
    """One input of a test.

    Attributes:
        name: Of a file, relative to the workspace; of a text its place in the team's file.
        text: The text itself; nothing of a file.
    """

    __test__ = False

    name: str
    text: str | None = None

    def read(self, root: Path) -> bytes:
        """Its content; a file is relative to the workspace `root`."""
        return (root / self.name).read_bytes() if self.text is None else self.text.encode()

    def sha256(self, root: Path) -> str:
        """Of its content.

        Raises:
            DataError: The file cannot be read.
        """
        if self.text is not None:
            return hashlib.sha256(self.text.encode()).hexdigest()
        try:
            return file_sha256(root / self.name)
        except OSError as error:
            raise DataError(
                got=f"the input {self.name} of a behaviour test, which cannot be read ({error.strerror}).",
                allowed="files that this user may read.",
                next_step="correct its permissions, or narrow `files` of the tests.",
            ) from error


def inputs_of(root: Path, test: InvarianceTest | DirectionTest) -> tuple[TestInput, ...]:
    """The texts of a test in their order, or the files that its pattern names, sorted, relative to the workspace `root`."""
    if test.files is None:
        return tuple(TestInput(f"{test.name}, text {number}", text) for number, text in enumerate(test.texts, 1))
    return tuple(TestInput(name) for name in sorted(path.relative_to(root).as_posix() for path in root.glob(test.files) if path.is_file()))


def input_digests(root: Path, tests: BehaviourTests) -> dict[str, str]:
    """sha256 of every input, by its name.

    Args:
        root: The workspace.
        tests: Of the team's file.

    Raises:
        ConfigurationError: A test's pattern names no file.
        DataError: A file cannot be read.
    """
    empty = [Finding(test.name, f"no file is called {test.files}") for test in tests.all if not inputs_of(root, test)]
    if empty:
        raise ConfigurationError(
            got="behaviour tests without input: " + "; ".join(f"{finding.where}: {finding.problem}" for finding in empty) + ".",
            allowed="patterns, relative to the workspace, that name at least one file each.",
            next_step="add the files, or correct `files` of the tests.",
            findings=empty,
        )
    inputs = {one.name: one for test in tests.all for one in inputs_of(root, test)}
    return {name: inputs[name].sha256(root) for name in sorted(inputs)}


def check_behaviour(root: Path, config: ProjectConfig) -> None:
    """Looks, before hours of training, whether the file of a gate `behaviour` and every input can be read; no gate, nothing to do.

    Args:
        root: The workspace.
        config: The project's.

    Raises:
        ConfigurationError: As `read_behaviour` and `input_digests`.
        DataError: Inputs do not decode, or are texts that their test leaves as they are: all are listed.
    """
    for gate in config.gates:
        if isinstance(gate, BehaviourGate):
            tests = read_behaviour(root, gate.file, config.task, config.labels)
            input_digests(root, tests)
            _refuse_unusable([*_unusable_files(root, tests, config.task), *_unusable_texts(root, tests, config.task)], config.task)


def _unusable_files(root: Path, tests: BehaviourTests, task: str) -> list[Finding]:
    from pipelines.input_files import Unusable, inspect_files
    from pipelines.modalities.inspection import INPUTS

    names = sorted({one.name for test in tests.all for one in inputs_of(root, test) if one.text is None})
    looked = zip(names, inspect_files(root, names, INPUTS[task].inspect, links_may_leave=True), strict=True)
    return [Finding(name, found.problem) for name, found in looked if isinstance(found, Unusable)]


def _unusable_texts(root: Path, tests: BehaviourTests, task: str) -> list[Finding]:
    """Texts of the team's file that cannot be read, and those of any kind that are not altered."""
    return [finding for test in tests.all if task == "text" for finding in _text_findings(inputs_of(root, test), test, root)]


def _text_findings(inputs: Iterable[TestInput], test: InvarianceTest | DirectionTest, root: Path) -> Iterable[Finding]:
    from pipelines.input_files import Unusable
    from pipelines.modalities.text_inputs import inspect_text

    for one in inputs:
        content = one.read(root)
        if isinstance(found := inspect_text(content), Unusable):
            if one.text is not None:  # files have been looked at
                yield Finding(one.name, found.problem)
        elif test.alter is not None:
            try:
                altered_text(content, test.alter)
            except DataError as error:
                yield Finding(one.name, error.got.rstrip("."))


def _refuse_unusable(unusable: Sequence[Finding], task: str) -> None:
    from pipelines.modalities.inspection import INPUTS

    if unusable:
        noun = INPUTS[task].noun
        raise DataError(
            got=f"{len(unusable)} inputs of behaviour tests that cannot be used, the first: {unusable[0].where} {unusable[0].problem}.",
            allowed="image files that decode." if task == "image" else f"{noun}s that can be read, and that `alter` changes.",
            next_step="replace them, or narrow `files` of the tests.",
            findings=unusable[:_MAX_FINDINGS],
        )
