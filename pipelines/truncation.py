"""Stage `truncation`: which texts of the data are longer than the backbone reads, said before it is trained.

Writes `truncation.json`; counts alone, no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipelines.core.bundle import canonical_json
from pipelines.core.modalities.text import TextModality
from pipelines.dataset import Sample, Split, read_sample, read_samples
from pipelines.progress import Progress, silent

_RESULTS = "truncation.json"
_USED: tuple[Split, ...] = ("train", "validation", "test")
_CHUNK = 256


class Cut(BaseModel):
    """How many texts of a split are cut off.

    Attributes:
        n: Texts.
        n_truncated: Of which the backbone sees the beginning alone.
        unread_frac: Share of these texts' tokens that it does not see; 0 where there are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    n_truncated: int
    unread_frac: Annotated[float, Field(ge=0, lt=1)]


class Truncation(BaseModel):
    """What `truncation.json` holds.

    Attributes:
        max_tokens: That the backbone reads of a text, special ones included.
        all: Of the splits together.
        by_split: Of those that have texts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int
    all: Cut
    by_split: dict[Split, Cut]

    @property
    def in_words(self) -> str:
        """A sentence for logs, pages and cards."""
        limit = f"the {self.max_tokens} tokens that the backbone reads"
        if not self.all.n_truncated:
            return f"None of {self.all.n} texts is longer than {limit}."
        share = self.all.n_truncated / self.all.n
        counts = ", ".join(f"{split} {cut.n_truncated} of {cut.n}" for split, cut in self.by_split.items())
        return (
            f"{self.all.n_truncated} of {self.all.n} texts ({share:.1%}) are longer than {limit} ({counts}): of these "
            f"it does not see {self.all.unread_frac:.1%} of the tokens."
        )


def measure_truncation(samples: Path, data: Path, modality: TextModality, out: Path, progress: Progress = silent) -> None:
    """Tokenises every text that is used and writes `truncation.json`.

    Args:
        samples: `samples.csv` with splits.
        data: The folder that sample paths are relative to.
        modality: Of the selected backbone.
        out: Empty directory.
        progress: Told after every 256 texts.

    Raises:
        IntegrityError: A text changed since it was listed.
    """
    listed = read_samples(samples, *_USED)
    tokens: dict[Split, list[tuple[int, int]]] = {}
    for start in range(0, len(listed), _CHUNK):
        for sample in listed[start : start + _CHUNK]:
            tokens.setdefault(sample.split, []).append(_tokens(data, sample, modality))
        progress("truncation", min(start + _CHUNK, len(listed)), len(listed))
    by_split = {split: _cut(tokens[split]) for split in _USED if split in tokens}
    found = Truncation(max_tokens=modality.spec.max_tokens, all=_cut([one for rows in tokens.values() for one in rows]), by_split=by_split)
    (out / _RESULTS).write_bytes(canonical_json(found.model_dump(mode="json")))


def read_truncation(folder: Path) -> Truncation:
    """What `measure_truncation` wrote."""
    return Truncation.model_validate_json((folder / _RESULTS).read_bytes())


def _tokens(data: Path, sample: Sample, modality: TextModality) -> tuple[int, int]:
    """How many tokens a text has, and how many of them the backbone sees."""
    text = modality.decode(read_sample(data, sample))
    return text.n_tokens, text.n_kept


def _cut(tokens: Sequence[tuple[int, int]]) -> Cut:
    cut = [(n_tokens, n_kept) for n_tokens, n_kept in tokens if n_kept < n_tokens]
    n_all, n_kept = sum(n for n, _ in cut), sum(n for _, n in cut)
    return Cut(n=len(tokens), n_truncated=len(cut), unread_frac=(n_all - n_kept) / n_all if cut else 0.0)
