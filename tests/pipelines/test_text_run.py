"""A project of texts through the stages, from the table to a bundle that is loaded and asked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import data_stages
from pipelines.core.bundle import read_manifest
from pipelines.core.errors import DataError, IntegrityError
from pipelines.core.predict import Predictor
from pipelines.dataset import read_samples
from pipelines.feedback import NewSample
from pipelines.import_data import import_samples
from pipelines.ingest import add_samples, ingest_folder
from pipelines.labels_table import read_labels_table
from pipelines.stages import Stages
from pipelines.workspace import Workspace
from tests.pipelines.packaged_run import check_the_same_bundle, check_the_same_features, packaged
from tests.pipelines.tiny_texts import sentences, text_config, write_model, write_table


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("bert", {"kind": "probe"}),
        ("gpt2", {"kind": "prototype"}),
        ("bert", {"kind": "lp_ft", "epochs": 1, "n_upper_blocks": 1, "augment": {"policy": "token_dropout"}}),
        ("gpt2", {"kind": "scratch", "epochs": 1}),
        ("gpt2", {"kind": "setfit", "epochs": 1, "pairs_per_sample": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else value["kind"],
)
def test_texts_become_a_bundle(tmp_path: Path, kind: str, method: dict[str, Any]) -> None:
    folder = write_model(tmp_path / "model", kind)
    config = text_config(folder, method=method)
    source = write_table(tmp_path / "source.csv", sentences(120))
    run = packaged(tmp_path / "w", source, config)
    manifest, _ = read_manifest(run.bundle)
    assert manifest.task == "text"
    assert "tokenizer.json" in manifest.files
    if method["kind"] in ("probe", "prototype"):
        # Even untrained features of these texts can be told apart: their words are others.
        assert run.evaluation["accuracy"]["value"] >= 0.8
    answers = Predictor.load(run.bundle).predict(["soup with salt 🎉".encode(), b"the anchor " * 200])
    assert np.isfinite(answers.statistics).all()
    assert answers.statistics.shape == (2, 9)
    check_the_same_bundle(run, source, tmp_path / "other")


def test_answers_do_not_depend_on_what_else_is_asked(tmp_path: Path) -> None:
    config = text_config(write_model(tmp_path / "model"))
    bundle = packaged(tmp_path / "w", write_table(tmp_path / "source.csv", sentences(120)), config).bundle
    predictor = Predictor.load(bundle)
    texts = [text.encode() for text, _ in sentences(70, seed=5)]
    together = predictor.predict(texts).probabilities
    alone = np.concatenate([predictor.predict([text]).probabilities for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert np.array_equal(predictor.predict(texts[::-1]).labels[::-1], predictor.predict(texts).labels)
    (bundle / "tokenizer.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"tokenizer.json changed"):
        Predictor.load(bundle)


def test_features_are_the_same_bits_whoever_shares_the_batch(tmp_path: Path) -> None:
    config = text_config(write_model(tmp_path / "model"))
    check_the_same_features(packaged(tmp_path / "w", write_table(tmp_path / "source.csv", sentences(120)), config), tmp_path)


def test_bad_texts_are_named_and_never_shown(tmp_path: Path) -> None:
    rows = [*sentences(60), ("   ", "cooking"), ("secret.person@example.org wrote", "cooking"), ("soup", "baking")]
    rows += [("the same soup", "cooking"), ("THE  same soup", "sailing"), *[("a copy of soup", "cooking")] * 2]
    (tmp_path / "data").mkdir()
    write_table(tmp_path / "data" / "labels.csv", rows)
    stages = Stages(Workspace(tmp_path), text_config(write_model(tmp_path / "model")))
    report = json.loads((stages.validate(stages.manifest("d")).path / "validation.json").read_text())
    by_name = {check["name"]: check for check in report["checks"]}
    failed = {name for name, check in by_name.items() if check["outcome"] == "failed"}
    assert failed == {"rows_usable", "labels_known", "labels_agree", "personal_data"}
    assert by_name["rows_usable"]["unexpected"][0]["problem"] == "a text of 3 characters with nothing to read in it"
    assert by_name["personal_data"]["severity"] == "warning"
    assert [item["problem"] for item in by_name["personal_data"]["unexpected"]] == ["seems to hold an e-mail address"]
    assert "secret" not in json.dumps(report)
    assert "the same text" in by_name["labels_agree"]["unexpected"][0]["problem"]
    manifest = stages.manifest("d").path
    assert "secret" not in "".join(path.read_text() for path in manifest.glob("*.csv"))


def test_copies_share_a_split_and_near_copies_are_found(tmp_path: Path) -> None:
    rows = sentences(120)
    rows += [(text.upper(), label) for text, label in rows[:10]] + [(f"{text} today", label) for text, label in rows[20:30]]
    config = text_config(write_model(tmp_path / "model"))
    import_samples(write_table(tmp_path / "source.csv", rows), tmp_path / "w" / "data", task="text")
    stages = Stages(Workspace(tmp_path / "w"), config)
    split = stages.split(stages.manifest("d"))
    from pipelines.dataset import read_sample

    splits: dict[str, set[str]] = {}
    for sample in read_samples(split.path / "samples.csv"):
        splits.setdefault(read_sample(tmp_path / "w" / "data", sample).decode().lower(), set()).add(sample.split)
    assert all(len(found) == 1 for found in splits.values())
    found = json.loads((data_stages.near_duplicates(stages, split).path / "near_duplicates.json").read_text())
    assert found["n_pairs"] >= 15


def test_texts_are_ingested_into_the_table_once(tmp_path: Path) -> None:
    config = text_config(write_model(tmp_path / "model"))
    import_samples(write_table(tmp_path / "source.csv", sentences(60)), tmp_path / "w" / "data", task="text")
    data, known = tmp_path / "w" / "data", sentences(60)
    new = [
        ("new soup\r\nwith salt", "cooking"),
        (known[0][0].upper(), known[0][1]),
        (known[1][0], "cooking"),
        ("tide", "baking"),
        (" ", "cooking"),
    ]
    table = write_table(tmp_path / "new.csv", new)
    summary = ingest_folder(table, data, config, "phone")
    assert (summary.n_added, summary.n_known) == (1, 1)
    assert len(summary.findings) == 3
    last = read_labels_table(data / "labels.csv", holds="texts").rows[-1]
    assert (last.text, last.label, last.domain) == ("new soup\r\nwith salt", "cooking", "phone")
    assert ingest_folder(table, data, config, "phone").n_added == 0
    raw = tmp_path / "raw"
    raw.mkdir()
    said = "feedback on a sail ⛵".encode()
    sha256 = hashlib.sha256(said).hexdigest()
    (raw / sha256).write_bytes(said)
    assert add_samples(data, [NewSample(sha256, "sailing")], raw, config).n_added == 1
    assert add_samples(data, [NewSample(sha256, "sailing")], raw, config).n_known == 1
    assert read_labels_table(data / "labels.csv", holds="texts").rows[-1].text.encode() == said


def test_folders_of_text_files_become_a_table(tmp_path: Path) -> None:
    for number, (text, label) in enumerate(sentences(6)):
        (tmp_path / "source" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / label / f"{number}.txt").write_bytes(text.encode())
    summary = import_samples(tmp_path / "source", tmp_path / "data", task="text")
    assert summary.n_all == 6
    assert sorted((row.text, row.label) for row in read_labels_table(tmp_path / "data" / "labels.csv", holds="texts").rows) == sorted(
        sentences(6)
    )
    (tmp_path / "source" / "cooking" / "bad.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match="1 fault") as raised:
        import_samples(tmp_path / "source", tmp_path / "again", task="text")
    assert [(finding.where, finding.problem) for finding in raised.value.findings] == [("cooking/bad.txt", "byte 0 is not UTF-8")]
    assert not (tmp_path / "again").exists()
