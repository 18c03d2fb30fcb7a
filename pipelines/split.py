"""Stage `split`: which samples may be learnt from, and which only judged by.

A sample's split is a hash of its own key and nothing else, so it never moves, whatever is added, removed or sorted anew. The key is
its group where the labels table gives one, else its decoded pixels: copies of a picture, in another file format too, stay together. Of a
text the key is its content without case and white space.
A group that reads `pixels:` and the digest of a picture stands for that picture's own key: so a near-duplicate that came later shares the
split of a sample that has no group, and that sample's row stays as it was (`pipelines.shared_groups` writes them, docs/adr/0009).
A split that the table states itself wins. Of files with the same bytes one is a sample.

What a rule on single samples cannot keep together is refused and named: one group, or one picture, in two of train, validation and
test. That takes a picture that lies in two groups, or splits that the table states itself.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from pipelines.config import ProjectConfig, SplitSection
from pipelines.core.errors import DataError, Finding
from pipelines.core.label_sets import members_of
from pipelines.dataset import SAMPLE_COLUMNS, SPLITS, Split, slice_columns
from pipelines.manifest import SAMPLES
from pipelines.modalities.inspection import INPUTS, read_inputs

COPIES, CONTENTS = "copies.csv", "contents.csv"
_DIGEST = "content_digest"
_USED: tuple[Split, ...] = ("train", "validation", "test")
_NEEDED: tuple[Split, ...] = ("train", "test")
_LIKE_A_PICTURE = re.compile("pixels:[0-9a-f]{64}")


def unit_hash(key: str, salt: str) -> float:
    """A number in [0, 1) that depends on the two strings only, spread evenly over keys."""
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    # 53 bits are what a float holds exactly; with 64 the largest hashes would round up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def split_of(key: str, section: SplitSection) -> Split:
    """The split of everything with this key.

    Test lies first on the scale, then validation, then train: moving samples between train and validation leaves the test split alone.
    """
    position = unit_hash(key, section.salt)
    if position < section.test:
        return "test"
    return "validation" if position < section.test + section.validation else "train"


def picture_key(pixel_digest: str) -> str:
    """The key of a sample without a group; also the group that puts another sample where that picture is."""
    return f"pixels:{pixel_digest}"


def group_key(group: str) -> str:
    """The key of a sample with this group."""
    return group if _LIKE_A_PICTURE.fullmatch(group) else f"group:{group}"


def assign_splits(manifest: Path, config: ProjectConfig, out: Path) -> None:
    """Writes samples.csv with a split for every sample, in the manifest's order, copies.csv with what was left out of it, and contents.csv.

    Of files with the same bytes the first in the table's order stays: a sample counts once, in the loss and in the gates.

    Args:
        manifest: Output of stage `manifest`.
        config: Its `labels`, `labels_per_sample` and `split` are used.
        out: Gets samples.csv; copies.csv: `path` and `copy_of`, the path that stays; and contents.csv: `id` and `content_digest`, which
            samples with the same content in other bytes share, in the order of samples.csv.

    Raises:
        DataError: A class without a sample in train or in test (where a sample has any number of labels: also one that all samples there
            have), no sample at all in validation, a group or a picture in two splits, or an unknown split in the table.
    """
    table = _keyed_samples(manifest)
    table["split"] = [_split(key, fixed, config.split) for key, fixed in zip(table["key"], table["split"], strict=True)]
    _refuse_unknown(table)
    # Before copies are left out: one of them may be what tears a group.
    _refuse_torn(table, INPUTS[config.task].noun)
    is_copy = table["id"].duplicated()
    if config.labels_per_sample == "one":
        _refuse_missing(table[~is_copy], config.labels)
    else:
        _refuse_one_sided(table[~is_copy], config.labels)
    columns = [*SAMPLE_COLUMNS, *slice_columns(table.columns)]
    table.loc[~is_copy, columns].to_csv(out / SAMPLES, index=False, lineterminator="\n")
    table.loc[~is_copy, ["id", _DIGEST]].to_csv(out / CONTENTS, index=False, lineterminator="\n")
    _copies(table, is_copy).to_csv(out / COPIES, index=False, lineterminator="\n")


def _copies(table: pd.DataFrame, is_copy: pd.Series[bool]) -> pd.DataFrame:
    first = table.groupby("id")["path"].transform("first")
    return pd.DataFrame({"path": table["path"], "copy_of": first})[is_copy]


def _split(key: str, fixed: str, section: SplitSection) -> str:
    return fixed or split_of(key, section)


def _keyed_samples(manifest: Path) -> pd.DataFrame:
    samples = pd.read_csv(manifest / SAMPLES, dtype=str, keep_default_na=False)
    listed, inputs = read_inputs(manifest)
    digests = inputs[["path", listed.digest]].rename(columns={listed.digest: _DIGEST})
    table = samples.merge(digests, on="path", how="left", validate="one_to_one")
    # The manifest writes the id for a sample whose row gives no group.
    grouped = table["group"] != table["id"]
    table["key"] = table["group"].map(group_key).where(grouped, listed.key + table[_DIGEST])
    # Who counts samples by group, as a fold does, must find a picture and its near-duplicates in one.
    is_named = ~grouped & table["key"].isin(table.loc[grouped, "group"])
    table["group"] = table["group"].mask(is_named, table["key"])
    return table


def _refuse_unknown(table: pd.DataFrame) -> None:
    wrong = table[~table["split"].isin(SPLITS)]
    if len(wrong):
        raise DataError(
            got=f"{len(wrong)} samples with an unknown split.",
            allowed=f"{', '.join(SPLITS)}, or nothing: then a hash decides.",
            next_step="correct the column split of the labels table.",
            findings=[Finding(str(path), f"the split {split!r}") for path, split in zip(wrong["path"], wrong["split"], strict=True)],
        )


def _refuse_torn(table: pd.DataFrame, noun: str) -> None:
    used = table[table["split"].isin(_USED)]
    findings = [*_torn(used, "key", "the group"), *_torn(used, _DIGEST, f"the {noun}")]
    if findings:
        raise DataError(
            got=f"{len(findings)} groups or {noun}s that lie in more than one of train, validation and test.",
            allowed="each in one split: what is judged by must not be learnt from.",
            next_step=f"give copies of a {noun} the same group, delete the copies, or correct the column split of the labels table.",
            findings=findings,
        )


def _torn(used: pd.DataFrame, column: str, what: str) -> list[Finding]:
    n_splits = used.groupby(column)["split"].nunique()
    torn = used[used[column].isin(n_splits[n_splits > 1].index)]
    if column == "key":
        torn = torn[torn["key"].str.startswith("group:") | torn["key"].isin(used["group"])]
    places: dict[str, list[str]] = defaultdict(list)
    for row in torn.itertuples():
        places[str(getattr(row, column))].append(f"{row.path} ({row.split})")
    return [Finding(_name(what, key), f"lies in {', '.join(found)}") for key, found in places.items()]


def _name(what: str, key: str) -> str:
    if key.startswith("pixels:"):
        return f"the near-duplicates of the picture {key.removeprefix('pixels:')[:12]}"
    return f"{what} {key.removeprefix('group:')!r}" if key.startswith("group:") else f"{what} {key[:12]}"


def _refuse_missing(table: pd.DataFrame, labels: Sequence[str]) -> None:
    counts = Counter(zip(table["label"], table["split"], strict=True))
    short = [label for label in labels if any(not counts.get((label, split)) for split in _NEEDED)]
    no_validation = not any(counts.get((label, "validation")) for label in labels)
    if short or no_validation:
        missing = [f"{len(short)} of {len(labels)} classes without a sample in train or in test: {', '.join(short)}"] if short else []
        missing += ["no sample in validation, of any class"] if no_validation else []
        raise DataError(
            got=f"{'; '.join(missing)}.",
            allowed="at least one sample of every class in train and one in test, and at least one sample in validation.",
            next_step="add samples of these classes (or more groups), or state splits in the column split of the labels table.",
            findings=[Finding(label, _shortage(label, counts)) for label in (labels if no_validation else short)],
        )


def _refuse_one_sided(table: pd.DataFrame, labels: Sequence[str]) -> None:
    """With any number of labels a sample, each label is a question of its own: both answers must be there to learn it and to judge it."""
    sizes = Counter(table["split"])
    rows = zip(table["label"].tolist(), table["split"].tolist(), strict=True)
    counts = Counter((label, split) for text, split in rows for label in members_of(text))
    findings = [
        Finding(label, _one_sided(counts[label, split], split))
        for label in labels
        for split in _NEEDED
        if counts[label, split] in (0, sizes[split])
    ]
    if findings or not sizes["validation"]:
        n_short = len({finding.where for finding in findings})
        missing = [f"{n_short} of {len(labels)} labels that no sample or every sample has in train or in test"] if findings else []
        missing += ["no sample in validation"] if not sizes["validation"] else []
        raise DataError(
            got=f"{'; '.join(missing)}.",
            allowed="of every label a sample with it and one without it in train, likewise in test, and at least one sample in validation.",
            next_step="add samples with and without these labels (or more groups), or state splits in the column split of the table.",
            findings=findings,
        )


def _one_sided(n_with: int, split: Split) -> str:
    return f"all {n_with} samples in {split} have it" if n_with else f"no sample in {split} has it"


def _shortage(label: str, counts: Mapping[tuple[str, str], int]) -> str:
    return "has " + ", ".join(f"{counts.get((label, split), 0)} in {split}" for split in SPLITS)


def n_copies(out: Path) -> int:
    """Rows of the labels table that this stage left out because another row has the same bytes."""
    return len(pd.read_csv(out / COPIES))


def content_digests(out: Path) -> dict[str, str]:
    """What copies in other bytes share, by the id of each sample."""
    table = pd.read_csv(out / CONTENTS, dtype=str, keep_default_na=False)
    return dict(zip(table["id"], table[_DIGEST], strict=True))
