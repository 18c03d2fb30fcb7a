"""Checkpoints of a training: one file that holds tensors, counters and the identity of what it belongs to.

A file is written beside its place, forced to disk and renamed; the one before it goes only then. Its name ends in the start of its
sha256, so that what a crash or a disk damaged is seen before anything of it is used. Nothing is pickled: safetensors, with the counters
as JSON in its header.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipelines.core.bundle import file_sha256
from pipelines.core.errors import IntegrityError
from pipelines.training.network_tensors import apart

if TYPE_CHECKING:
    import torch

_LOGGER = logging.getLogger(__name__)
_CHECKPOINT = re.compile(r"(?:step|epoch)-(?P<number>\d{9})-(?P<digest>[0-9a-f]{16})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        tensors: By name, on the CPU.
        state: What else was given to `save`.
    """

    tensors: dict[str, torch.Tensor]
    state: dict[str, JsonValue]


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one training.

    Attributes:
        path: Made when first written to.
        identity: Of the training: a checkpoint with another one is never used.
    """

    path: Path
    identity: str

    def save(self, number: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, JsonValue]) -> None:
        """Writes checkpoint `number` and then removes the ones before it.

        Args:
            number: Steps done; the highest is the one that is loaded.
            tensors: Any device; what is stored is a copy.
            state: Counters; floats come back to the bit.
        """
        written = self._write("step", number, tensors, state)
        for path in self._listed("step"):
            if path != written:
                path.unlink(missing_ok=True)

    def save_epoch(self, number: int, tensors: Mapping[str, torch.Tensor]) -> str:
        """Writes the weights after epoch `number`, which stay.

        Returns:
            The file's name, for `load_epoch`.
        """
        return self._write("epoch", number, tensors, {}).name

    def load(self) -> Checkpoint | None:
        """The newest checkpoint that is whole and of this training; each that is not is named in the log."""
        return next((found for path in self._listed("step") if (found := self._read(path)) is not None), None)

    def has(self, name: str) -> bool:
        """Whether what `save_epoch` wrote under `name` is there and whole; what is wrong with it is said in the log."""
        problem = self._problem(self.path / name)
        if problem is not None:
            _LOGGER.warning("checkpoint %s is not used: %s", name, problem)
        return problem is None

    def load_epoch(self, name: str) -> dict[str, torch.Tensor]:
        """What `save_epoch` wrote under `name`.

        Raises:
            IntegrityError: It is not what was written, or gone.
        """
        import safetensors.torch

        problem = self._problem(self.path / name)
        if problem is not None:
            raise IntegrityError(
                got=f"the weights of an epoch, {name}, which cannot be used: {problem}.",
                allowed="files that nothing else writes to while a training runs.",
                next_step="start the training again: it begins anew.",
            )
        tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(self.path / name)
        return tensors

    def _listed(self, kind: str) -> Sequence[Path]:
        return sorted((path for path in self.path.glob(f"{kind}-*.safetensors") if _CHECKPOINT.fullmatch(path.name)), reverse=True)

    def _write(self, kind: str, number: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, JsonValue]) -> Path:
        import safetensors.torch

        self.path.mkdir(parents=True, exist_ok=True)
        for abandoned in self.path.glob("partial-*"):
            abandoned.unlink(missing_ok=True)
        partial = self.path / f"partial-{os.getpid()}"
        safetensors.torch.save_file(apart(tensors), partial, {"identity": self.identity, "state": json.dumps(dict(state))})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        path = self.path / f"{kind}-{number:09d}-{file_sha256(partial)[:16]}.safetensors"
        partial.replace(path)
        _force_to_disk(self.path)
        return path

    def _read(self, path: Path) -> Checkpoint | None:
        import safetensors.torch

        problem = self._problem(path)
        if problem is not None:
            _LOGGER.warning("checkpoint %s is not used: %s", path.name, problem)
            return None
        return Checkpoint(safetensors.torch.load_file(path), json.loads(_header(path)["state"]))

    def _problem(self, path: Path) -> str | None:
        named = _CHECKPOINT.fullmatch(path.name)
        if named is None or not path.is_file():
            return "there is no such file"
        if file_sha256(path)[:16] != named["digest"]:
            return "its content is not what was written"
        return None if _header(path).get("identity") == self.identity else "it belongs to another training"


def _header(path: Path) -> dict[str, str]:
    import safetensors

    with safetensors.safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _force_to_disk(folder: Path) -> None:
    # A rename is only sure to survive a power cut when its folder was synced too.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def with_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under `prefix/name`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def of_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that `with_prefix` put under `prefix`, under their own names."""
    return {name.removeprefix(f"{prefix}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}
