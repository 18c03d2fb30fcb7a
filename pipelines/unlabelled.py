"""Snapshots of unlabelled samples, inputs that an endpoint kept or that somebody has collected, as a part of the dataset version.

    data/unlabelled/files/                 the inputs, each named by the start of its sha256; texts are files, too
    data/unlabelled/NAME/samples.csv       id, path, domain, arrival of a snapshot's samples; NAME is the start of its sha256

They lie below `data/` and not beside it: what a model was adapted to is then named by the very digest that names what it was trained on,
DVC keeps and pushes it, and `regraft reproduce` finds it. Snapshots are only ever added; two of them share the files they have in common.
A split is not needed: nothing is judged on unlabelled samples. But a sample of the labelled data must not be among them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pipelines.core.errors import ConfigurationError, DataError, Finding, IntegrityError
from pipelines.dataset import Sample
from pipelines.input_files import Unusable, inspect_files, read_file
from pipelines.known_content import KnownContent
from pipelines.known_texts import KnownTexts
from pipelines.modalities.inspection import INPUTS, InputFile, content_digest, extension_of
from pipelines.staging import replace_file
from pipelines.text_rows import text_bytes

FOLDER = "unlabelled"
_COLUMNS = ("id", "path", "domain", "arrival")
_N_NAME_DIGITS, _N_FILE_DIGITS = 16, 32
_MAX_FINDINGS = 20


@dataclass(frozen=True)
class UnlabelledSample:
    """An input without a label.

    Attributes:
        id: sha256 of its bytes.
        path: Relative to `data/`.
        domain: What the client said of its origin.
        arrival: Day as YYYY-MM-DD, or empty.
    """

    id: str
    path: str
    domain: str
    arrival: str


@dataclass(frozen=True)
class RawInput:
    """An input that may become an unlabelled sample.

    Attributes:
        folder: That the file lies in, or the table of a text.
        path: Of the file, relative to `folder`: one that leads out of it, or to what is no file, is not read.
        domain, arrival: As of an `UnlabelledSample`.
        sha256: Of its bytes, where that is known: a file with others is not used.
        text: The input itself, where it stands in a table.
        problem: Why a row of a table is no input; empty where it is one.
    """

    folder: Path
    path: str
    domain: str
    arrival: str
    sha256: str = ""
    text: str | None = None
    problem: str = ""


@dataclass(frozen=True)
class Snapshot:
    """Unlabelled samples under a name that says which they are.

    Attributes:
        name: 16 hex digits.
        samples: In the order of their ids.
        n_known: Inputs left out because their bytes, or the same picture, text or sound, are in the labelled data.
        n_unusable: Inputs left out because they are not there any more, are not what their name says, or do not decode.
        n_found: All inputs that there were, copies of each other included.
        n_not_drawn: Those of them that were not looked at, because there were enough.
    """

    name: str
    samples: tuple[UnlabelledSample, ...]
    n_known: int
    n_unusable: int
    n_found: int
    n_not_drawn: int


def add_snapshot(
    data: Path, inputs: Iterable[RawInput], known: KnownContent | KnownTexts, n_most: int, staging: Path, task: str = "image"
) -> Snapshot:
    """Adds a snapshot of the first usable inputs to the data; the same inputs give the same snapshot and change nothing.

    Args:
        data: The data folder.
        inputs: In the order of preference; with the same bytes the first counts.
        known: Of the labelled data, its files hashed.
        n_most: Samples at most.
        staging: A folder for unfinished files on the same file system, emptied. Nothing is in the data before all are chosen: what a
            person stops meanwhile leaves no file there that no table names.
        task: What the inputs are.

    Raises:
        DataError: None of the inputs can be used.
    """
    with _emptied(staging):
        chosen, counts = _chosen(data, inputs, known, n_most, staging, task)
        samples = tuple(sample for _, sample in sorted(chosen.items()))
        table = _as_table(samples)
        for sample in samples:
            _move(staging / sample.path, data / sample.path)
        snapshot = Snapshot(_name(table), samples, counts["known"], counts["unusable"], counts["found"], counts["not drawn"])
        place = data / FOLDER / snapshot.name / "samples.csv"
        if not place.is_file():  # last: a table names only what is there
            replace_file(place, table, staging)
    return snapshot


def _chosen(
    data: Path, inputs: Iterable[RawInput], known: KnownContent | KnownTexts, n_most: int, staging: Path, task: str
) -> tuple[dict[str, UnlabelledSample], Counter[str]]:
    """The samples by their ids, their files in `staging`, and how many inputs had which outcome."""
    chosen: dict[str, UnlabelledSample] = {}
    counts: Counter[str] = Counter()
    for item in inputs:
        counts["found"] += 1
        if len(chosen) >= n_most:
            counts["not drawn"] += 1
        elif item.sha256 not in chosen:
            content, outcome = _judged(item, known, task)
            if isinstance(outcome, str):
                counts[outcome] += 1
            elif outcome.id not in chosen:
                chosen[outcome.id] = outcome
                if not (data / outcome.path).is_file():  # at once: thousands of sounds would not fit into memory
                    replace_file(staging / outcome.path, content, staging)
    if not chosen:
        raise DataError(
            got=f"no unlabelled input: {counts['known']} are known to the labelled data, {counts['unusable']} cannot be used.",
            allowed=f"{INPUTS[task].noun}s that nobody has labelled: raw inputs of requests, or a folder or table of them.",
            next_step="set serving.sample_raw_frac above 0 and let the endpoint answer requests, or name others.",
        )
    return chosen, counts


def _judged(item: RawInput, known: KnownContent | KnownTexts, task: str) -> tuple[bytes, UnlabelledSample | Literal["known", "unusable"]]:
    content = _content(item)
    found = Unusable("") if content is None else INPUTS[task].inspect(content)
    if content is None or isinstance(found, Unusable) or item.sha256 not in ("", found.id):
        return b"", "unusable"
    is_known = known.labels_of_bytes(found.id) or known.labels_of_copies(found)
    return content, "known" if is_known else _sample(item, found)


def remove_unnamed(data: Path) -> None:
    """Removes inputs that no snapshot names: those of a process that was killed while it moved them into the data."""
    named = {path for table in (data / FOLDER).glob("*/samples.csv") for path in _paths(table)}
    for file in (data / FOLDER / "files").glob("*"):
        if file.relative_to(data).as_posix() not in named:
            file.unlink()


def _paths(table: Path) -> list[str]:
    with table.open(encoding="utf-8", newline="") as file:
        return [row["path"] for row in csv.DictReader(file)]


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    # Whoever was killed left files here; they are nobody's now.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(staged: Path, target: Path) -> None:
    if staged.is_file():  # else it was in the data before
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)


def read_unlabelled(data: Path, name: str, key: str = "method.unlabelled") -> list[UnlabelledSample]:
    """The samples of a snapshot, in the order of their ids.

    Args:
        data: The data folder.
        name: Of the snapshot.
        key: Of the conf file, that names it.

    Raises:
        ConfigurationError: There is none of that name.
        IntegrityError: Its table is not as it was made.
    """
    place = data / FOLDER / name / "samples.csv"
    try:
        table = place.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            got=f"{key} {name}, of which there is no data/{FOLDER}/{name}/samples.csv.",
            allowed=f"a snapshot of the dataset version in use: {', '.join(snapshot_names(data)) or 'there is none'}.",
            next_step="run `regraft retrain --adapt`, which makes one, or get the data with `dvc pull`.",
        ) from error
    if _name(table) != name:
        raise IntegrityError(
            got=f"data/{FOLDER}/{name}/samples.csv, whose content is not what its name says.",
            allowed="a snapshot as it was made.",
            next_step="go back with `dvc checkout data.dvc`, or make a new snapshot with `regraft retrain --adapt`.",
        )
    return [UnlabelledSample(**row) for row in csv.DictReader(io.StringIO(table.decode()))]


def snapshot_names(data: Path) -> list[str]:
    """Of all snapshots of the data."""
    return sorted(path.parent.name for path in (data / FOLDER).glob("*/samples.csv"))


def unlabelled_digests(data: Path, unlabelled: Sequence[UnlabelledSample], task: str) -> dict[str, str]:
    """What copies in other bytes share, by the id of each sample; those that do not decode have none."""
    found = inspect_files(data, [item.path for item in unlabelled], INPUTS[task].inspect)
    return {one.id: content_digest(one) for one in found if not isinstance(one, Unusable)}


def refuse_judged_samples(samples: Sequence[Sample], unlabelled: Sequence[UnlabelledSample], contents: Mapping[str, str]) -> None:
    """A sample that a model is judged by must not have been adapted to, labelled or not.

    Args:
        samples: Of all splits.
        unlabelled: Of the snapshot.
        contents: By the id of either, what copies in other bytes share.

    Raises:
        DataError: Test, validation or holdout samples have the bytes, or the content in other bytes, of unlabelled ones.
    """
    judged = {contents.get(sample.id, sample.id): sample for sample in samples if sample.split != "train"}
    places = [(contents.get(item.id, item.id), item) for item in unlabelled]
    shared = [(judged[content], item) for content, item in places if content in judged]
    if shared:
        raise DataError(
            got=f"{len(shared)} unlabelled samples with the content of samples that the model is judged by.",
            allowed="unlabelled samples of which none is in the test, validation or holdout split, in whatever bytes.",
            next_step="they were labelled after the snapshot was made: make a new one with `regraft retrain --adapt`.",
            findings=[Finding(item.path, f"is {sample.path} ({sample.split})") for sample, item in shared[:_MAX_FINDINGS]],
        )


def _content(item: RawInput) -> bytes | None:
    if item.problem:
        return None
    if item.text is not None:
        return text_bytes(item.text)
    content = read_file(item.folder, item.path, links_may_leave=True)
    return None if isinstance(content, Unusable) else content


def _sample(item: RawInput, found: InputFile) -> UnlabelledSample:
    path = f"{FOLDER}/files/{found.id[:_N_FILE_DIGITS]}{extension_of(found)}"
    return UnlabelledSample(found.id, path, item.domain, item.arrival)


def _as_table(samples: Sequence[UnlabelledSample]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(sample) for sample in samples)
    return text.getvalue().encode()


def _name(table: bytes) -> str:
    return hashlib.sha256(table).hexdigest()[:_N_NAME_DIGITS]
