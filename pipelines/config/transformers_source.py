"""Where the files of a model of the library transformers are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import model_validator

from pipelines.config.section import CommitId, Section, Sha256


class TransformersSource(Section):
    """A model in a folder, of which the conf file states what its files must be, or in a repository of the Hub at a commit.

    Attributes:
        sha256, tokenizer_sha256: Of `folder`'s model.safetensors and tokenizer.json; needed with `folder`.
        hub: Repository on the Hugging Face Hub; needs `revision`, a full commit id.
    """

    # The keys of which one must be given, each in the words of the error.
    sources: ClassVar[Mapping[str, str]] = {
        "folder": "folder (with sha256 and tokenizer_sha256)",
        "hub": "hub (with revision, a full commit id)",
    }

    folder: Path | None = None
    sha256: Sha256 | None = None
    tokenizer_sha256: Sha256 | None = None
    hub: str | None = None
    revision: CommitId | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(getattr(self, name) is not None for name in self.sources) != 1:
            *others, last = self.sources.values()
            raise ValueError(f"give one of {', '.join(others)} and {last}")
        if self.folder is not None and (self.sha256 is None or self.tokenizer_sha256 is None):
            raise ValueError("folder needs sha256 and tokenizer_sha256: those of its model.safetensors and tokenizer.json")
        if self.hub is not None and self.revision is None:
            raise ValueError("hub needs revision, a full commit id of 40 hex digits: a branch name may change under you")
        return self
