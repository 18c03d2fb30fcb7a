"""The demo's texts: product reviews where their file is at hand, else sentences of the documentation of the project's own dependencies.

Sentences of documentation come with what is installed, as the demo's digits come with scikit-learn: the docstrings of NumPy, pandas and
scikit-learn (each BSD-3-Clause), read from their sources without running them. The label is the library. Old domain are the sentences
that say what a function or class is for, new domain those that describe a parameter. Other versions of the libraries give other texts.
"""

from __future__ import annotations

import ast
import csv
import gzip
import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.labels_append import csv_line
from pipelines.near_duplicate_texts import shingles, similar_texts
from pipelines.split import unit_hash
from pipelines.staging import is_vacant, staged_folder

LIBRARIES = ("numpy", "pandas", "sklearn")
SUMMARIES, PARAMETERS = "summaries", "parameters"
REVIEW_COLUMNS = ("domain", "label", "text")
# Two draws: which texts, and which of them are held out.
_SALT, _HOLDOUT_SALT = "texts", "texts-holdout"
_LEAST_CHARACTERS, _MOST_CHARACTERS = 40, 300
# Copies of other projects, and tests, whose docstrings are about something else.
_OTHER_FOLDERS = frozenset({"tests", "test", "testing", "externals", "_lib", "f2py", "distutils", "_vendor"})
_PARAMETERS = re.compile(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n-{3,}|\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class LabelledText:
    """A text with its label and where it comes from."""

    text: str
    label: str
    domain: str


def materialise_texts(target: Path, texts: Sequence[LabelledText], holdout_frac: float) -> None:
    """Writes `labels.csv` with the texts; a share of them, chosen by hash, is `holdout`: no stage uses them.

    Raises:
        ConfigurationError: `target` holds something already.
    """
    if not is_vacant(target):
        raise ConfigurationError(
            got=f"the folder {target}, which is not empty.",
            allowed="a new or empty folder.",
            next_step="choose another folder, or move the files away.",
        )
    splits = ["holdout" if unit_hash(item.text, _HOLDOUT_SALT) < holdout_frac else "" for item in texts]
    lines = [csv_line(("text", "label", "domain", "split"))]
    lines += [csv_line((item.text, item.label, item.domain, split)) for item, split in zip(texts, splits, strict=True)]
    with staged_folder(target) as staging:
        (staging / "labels.csv").write_bytes("".join(f"{line}\n" for line in lines).encode())


def chosen(texts: Sequence[LabelledText], domain: str, n_per_label: int) -> list[LabelledText]:
    """So many of each label of a domain, those with the smallest hashes of their content; in the order of these."""
    ordered = sorted((item for item in texts if item.domain == domain), key=lambda item: unit_hash(item.text, _SALT))
    counts: dict[str, int] = {}
    kept = []
    for item in ordered:
        counts[item.label] = counts.get(item.label, 0) + 1
        if counts[item.label] <= n_per_label:
            kept.append(item)
    return kept


def without_near_duplicates(texts: Sequence[LabelledText]) -> list[LabelledText]:
    """The texts without those that are nearly the same as one before them."""
    places, _ = similar_texts([shingles(item.text.encode()) for item in texts])
    later = {int(place) for place in places[:, 1]}
    return [item for place, item in enumerate(texts) if place not in later]


def review_texts(file: Path) -> list[LabelledText]:
    """The reviews of a compressed table (.csv.gz) with the columns domain, label and text; each text once.

    Raises:
        DataError: The table lacks a column, or cannot be read.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, f"cannot be read ({type(error).__name__})") from error
    if not rows or any(row.get(column) is None for row in rows for column in REVIEW_COLUMNS):
        raise _unreadable(file, "lacks rows or cells")
    return _once(LabelledText(row["text"].strip(), row["label"], row["domain"]) for row in rows)


def _unreadable(file: Path, problem: str) -> DataError:
    return DataError(
        got=f"the table of reviews {file.name}, which {problem}.",
        allowed=f"a .csv.gz in UTF-8 with the columns {', '.join(REVIEW_COLUMNS)}.",
        next_step="name another file with --reviews, or leave the option out.",
    )


def documentation_texts() -> list[LabelledText]:
    """Sentences of 40 to 300 characters from the docstrings of what is public in the installed libraries; each text once."""
    return _once(text for library in LIBRARIES for file in _sources(library) for text in _sentences(library, file))


def _once(texts: Iterator[LabelledText]) -> list[LabelledText]:
    first: dict[str, LabelledText] = {}
    for item in texts:
        first.setdefault(" ".join(item.text.casefold().split()), item)
    return list(first.values())


def _sources(library: str) -> list[Path]:
    found = importlib.util.find_spec(library)
    root = Path(next(iter(found.submodule_search_locations or []), "")) if found else Path()
    files = sorted(root.rglob("*.py")) if found else []
    return [file for file in files if not _OTHER_FOLDERS.intersection(file.relative_to(root).parts)]


def _sentences(library: str, file: Path) -> Iterator[LabelledText]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            docstring = ast.get_docstring(node) or ""
            described = _parameters(docstring)
            for domain, text in [(SUMMARIES, docstring.split("\n\n")[0]), *((PARAMETERS, one) for one in described)]:
                line = " ".join(text.split())
                if _LEAST_CHARACTERS <= len(line) <= _MOST_CHARACTERS and "---" not in line:
                    yield LabelledText(line, library, domain)


def _parameters(docstring: str) -> list[str]:
    """What numpydoc's section Parameters says of each, without names and types."""
    section = _PARAMETERS.search(docstring)
    entries = re.split(r"^(?=\S)", section.group(1), flags=re.MULTILINE) if section else []
    return [entry.partition("\n")[2] for entry in entries]
