"""The tables that are checked: the manifest, joined and counted, so that every rule is one on a column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipelines.core.label_sets import LabelsPerSample, members_of
from pipelines.label_rows import Problem, ProblemKind
from pipelines.manifest import SAMPLES, read_problems
from pipelines.modalities.inspection import read_inputs
from pipelines.validate.language_shares import language_table

_UNUSABLE: tuple[ProblemKind, ...] = ("row", "file")
# Numbers among the columns of the inputs.
_SIZES = ("width_px", "height_px", "n_characters", "seconds", "clipped_frac", "silent_frac")

_IN_WORDS = ("damage", "personal")
# A text in a script of so few others was hardly meant to be there, or there are too few of them to learn from; so with a sound's rate.
_RARE_FRAC = 0.05


def manifest_tables(
    manifest: Path, labels: Sequence[str], labels_per_sample: LabelsPerSample = "one", max_language_rise: float = 1.0
) -> dict[str, pd.DataFrame]:
    """The tables to check, by name.

    Args:
        manifest: Output of stage `manifest`.
        labels: Of the conf file.
        labels_per_sample: Likewise.
        max_language_rise: Likewise, of `data`.

    Returns:
        `samples`: a row for each sample and for each row of the labels table that makes none: path, label, split, id, width_px and
        height_px (of texts n_characters, script, rare_script, damage, personal; of sounds seconds, clipped_frac, silent_frac, rare_rate),
        labels_per_picture (different labels, or sets of them, under which the same picture is listed), wrong_label (the label where it is
        none of the conf file's, or no set of them; None: it is), problem (None: usable).
        `classes`: label, n_samples, n_without (usable samples that do not have it); a row for each label of the conf file.
        `notes`: where, note.
        `languages`, of texts alone: see `pipelines.validate.language_shares`.
    """
    problems = read_problems(manifest)
    samples = _samples(manifest, problems)
    notes = [(problem.where, problem.problem) for problem in problems if problem.kind == "note"]
    usable = samples[samples["id"].notna()]
    languages = {"languages": language_table(usable, max_language_rise)} if "language" in usable else {}
    return {
        "samples": samples,
        "classes": _classes(samples["label"].dropna(), labels, labels_per_sample),
        "notes": pd.DataFrame(notes, columns=["where", "note"], dtype=object),
        **languages,
    }


def _classes(texts: pd.Series[str], labels: Sequence[str], labels_per_sample: LabelsPerSample) -> pd.DataFrame:
    names = texts if labels_per_sample == "one" else texts.map(members_of).explode()
    counts = names.value_counts()
    n_samples = [int(counts.get(label, 0)) for label in labels]
    return pd.DataFrame({"label": list(labels), "n_samples": n_samples, "n_without": [len(texts) - n for n in n_samples]})


def _samples(manifest: Path, problems: Sequence[Problem]) -> pd.DataFrame:
    samples = pd.read_csv(manifest / SAMPLES, dtype=str, keep_default_na=False)
    listed, inputs = read_inputs(manifest)
    table = samples.merge(inputs.drop(columns=["id", "mode"], errors="ignore"), on="path", how="left", validate="one_to_one")
    table["labels_per_picture"] = table.groupby(listed.digest)["label"].transform("nunique")
    # What a column says in words is wrong with a text; nothing where it says nothing.
    if "script" in table:
        table["rare_script"] = _rare(table["script"])
    if "rate_hz" in table:
        table["rare_rate"] = _rare(table["rate_hz"])
    for column in _IN_WORDS:
        if column in table:
            table[column] = table[column].where(table[column] != "")
    wrong = [problem.where for problem in problems if problem.kind == "label"]
    table["wrong_label"] = table["label"].where(table["path"].isin(wrong))
    unusable = _problem_by_place(problems)
    table = table.merge(unusable, on="path", how="outer", sort=False)
    return table.astype({name: float for name in _SIZES if name in table}, errors="ignore")


def _rare(kinds: pd.Series[str]) -> pd.Series[str]:
    """The scripts of texts, or rates of sounds, that few have, and nothing for the others; numbers and signs have no script."""
    stated = kinds[kinds != ""]
    shares = stated.value_counts(normalize=True)
    return kinds.where(kinds.map(shares) < _RARE_FRAC)


def _problem_by_place(problems: Sequence[Problem]) -> pd.DataFrame:
    texts: dict[str, str] = {}
    for problem in problems:
        if problem.kind in _UNUSABLE:
            texts[problem.where] = f"{texts[problem.where]}; {problem.problem}" if problem.where in texts else problem.problem
    return pd.DataFrame({"path": list(texts), "problem": list(texts.values())}, dtype=object)
