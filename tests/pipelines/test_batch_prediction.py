from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.batch_prediction import predict_files
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.core.predict import Predictor
from pipelines.text_rows import text_paths
from tests.serving.conftest import LABELS, make_audio_bundle, make_bundle, make_text_bundle, wav


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("bundle") / "first"
    make_bundle(folder)
    return Predictor.load(folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 images, more than one batch, in folders; a text file, a broken image, and one cut short."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for index in range(70):
        folder = root / f"day {index % 3}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{index:02d}.PNG")
    (root / "notes.txt").write_text("no image")
    (root / "day 0" / "00 broken.png").write_bytes(b"no image either")
    whole = (root / "day 1" / "01.PNG").read_bytes()
    (root / "day 1" / "cut.png").write_bytes(whole[: len(whole) // 2])
    return root


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_input_has_a_row_with_the_predictors_own_answer(predictor: Predictor, images: Path, tmp_path: Path, suffix: str) -> None:
    told: list[tuple[int, int]] = []
    summary = predict_files(predictor, images, tmp_path / f"out{suffix}", lambda _, done, total: told.append((done, total)))
    table = pd.read_csv(summary.out, keep_default_na=True) if suffix == ".csv" else pd.read_parquet(summary.out)
    assert list(table.columns) == ["path", "label", "confidence", "bundle", "problem", *(f"p({label})" for label in LABELS)]
    assert list(table["path"]) == sorted(path.relative_to(images).as_posix() for path in images.rglob("*") if path.suffix.lower() == ".png")
    assert (summary.n_predicted, summary.n_problems, sum(summary.n_by_label.values())) == (70, 2, 70)
    assert told == [(64, 72), (72, 72)]
    assert set(table["bundle"]) == {predictor.bundle}
    broken = table[table["problem"].fillna("") != ""]
    assert set(broken["path"]) == {"day 0/00 broken.png", "day 1/cut.png"}
    assert broken["label"].isna().all()
    right = table[table["problem"].fillna("") == ""]
    for row in right.sample(10, random_state=0).to_dict(orient="records"):
        answer = predictor.predict([(images / row["path"]).read_bytes()])
        assert row["label"] == answer.labels[0]
        np.testing.assert_allclose([row[f"p({label})"] for label in LABELS], answer.probabilities[0], atol=1e-6)
        np.testing.assert_allclose(row["confidence"], answer.confidences[0], atol=1e-6)
    assert list(tmp_path.iterdir()) == [summary.out], "nothing is left beside it"


@pytest.mark.parametrize("name", ["some.csv", "some.CSV"])
def test_a_table_names_its_inputs_in_its_order_and_missing_ones_are_said(
    predictor: Predictor, images: Path, tmp_path: Path, name: str
) -> None:
    table = images / name
    paths = ["day 2/02.PNG", "gone.png", "day 0/00.PNG", "day 2/02.PNG", "day 1"]
    pd.DataFrame({"path": paths, "customer": "x"}).to_csv(table, index=False)
    try:
        summary = predict_files(predictor, table, tmp_path / "out.parquet")
    finally:
        table.unlink()
    rows = pd.read_parquet(summary.out)
    assert list(rows["path"]) == paths
    assert rows["problem"].tolist()[1] == "no such file"
    assert rows["label"].notna().tolist() == [True, False, True, True, False]


def test_an_earlier_file_stays_where_a_batch_fails(predictor: Predictor, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("before")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(predictor, images, out, interrupted)
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["out.txt", "missing/out.csv", "folder.csv"])
def test_a_file_that_cannot_be_written_is_refused_first(predictor: Predictor, images: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigurationError, match=r"as the file of predictions.*ends in \.csv or \.parquet, in a folder that is there"):
        predict_files(predictor, images, tmp_path / name)


def test_sources_that_name_nothing(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no folder and no table at .*correct the path"):
        predict_files(predictor, tmp_path / "gone", tmp_path / "out.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty, which names no image"):
        predict_files(predictor, tmp_path / "empty", tmp_path / "out.csv")
    (tmp_path / "table.csv").write_text("file\na.png\n")
    with pytest.raises(DataError, match=r"with the columns file.*a column named path"):
        predict_files(predictor, tmp_path / "table.csv", tmp_path / "out.csv")
    (tmp_path / "table.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"table\.parquet, which does not read as Parquet"):
        predict_files(predictor, tmp_path / "table.parquet", tmp_path / "out.csv")


TEXTS = ["this story is great", 'a "weak", cheap\ncharger', "great \N{THUMBS UP SIGN}", "   ", "this story is great"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("bundle") / "texts"
    make_text_bundle(folder)
    return Predictor.load(folder)


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("bundle") / "sounds"
    make_audio_bundle(folder)
    return Predictor.load(folder)


def write_texts(table: Path) -> Path:
    frame = pd.DataFrame({"customer": range(len(TEXTS)), "text": TEXTS})
    match table.suffix:
        case ".csv":
            frame.to_csv(table, index=False)
        case ".parquet":
            frame.to_parquet(table)
        case ".jsonl":
            table.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict(orient="records")))
    return table


def check_answers(predictor: Predictor, table: pd.DataFrame, contents: dict[str, bytes]) -> None:
    for row in table[table["label"].notna()].to_dict(orient="records"):
        answer = predictor.predict([contents[row["path"]]])
        assert (row["label"], row["bundle"], row["problem"]) == (answer.labels[0], predictor.bundle, "")
        np.testing.assert_allclose(row["confidence"], answer.confidences[0], atol=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_each_text_of_a_table_without_labels_has_a_row_that_does_not_repeat_it(reader: Predictor, tmp_path: Path, suffix: str) -> None:
    source = write_texts(tmp_path / f"new{suffix}")
    summary = predict_files(reader, source, tmp_path / "out.parquet")
    table = pd.read_parquet(summary.out)
    paths = text_paths(TEXTS, source.name)
    assert list(table["path"]) == paths
    assert paths[4] == f"{paths[0]}.2"
    assert (summary.n_predicted, summary.n_problems) == (4, 1)
    assert table["problem"].tolist() == ["", "", "", "a text of 3 characters with nothing to read in it", ""]
    check_answers(reader, table, dict(zip(paths, map(str.encode, TEXTS), strict=True)))
    assert "story" not in table.to_csv()


def test_texts_that_are_longer_than_the_model_reads_are_said(reader: Predictor, tmp_path: Path) -> None:
    texts = ["great " * 60, "great " * 30, "great " * 31, "   "]  # of 32 tokens two are special ones
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "new.csv", index=False)
    summary = predict_files(reader, tmp_path / "new.csv", tmp_path / "out.parquet")
    unread = pd.read_parquet(summary.out)["unread_frac"]
    np.testing.assert_allclose(unread, [30 / 60, 0, 1 / 31, np.nan], atol=1e-6)
    assert summary.n_truncated == summary.as_json()["n_truncated"] == 2
    assert summary.in_words.endswith("; 1 could not be read (column problem); 2 were longer than the model reads (column unread_frac)")


def test_a_tsv_of_texts_and_lines_that_are_none(reader: Predictor, tmp_path: Path) -> None:
    (tmp_path / "new.tsv").write_text('label\ttext\n?\ta "great" story\nonly one cell\n')
    summary = predict_files(reader, tmp_path / "new.tsv", tmp_path / "out.parquet")
    rows = pd.read_parquet(summary.out)
    assert list(rows["path"]) == [*text_paths(['a "great" story'], "new.tsv"), "new.tsv line 3"]
    assert rows["problem"].tolist() == ["", "has 1 cells, the header has 2"]
    (tmp_path / "new.jsonl").write_text('{"text": "great", "label": ["a", "b"], "domain": {}}\n[1]\n{"text": ["great"]}\n{}\n')
    rows = pd.read_parquet(predict_files(reader, tmp_path / "new.jsonl", tmp_path / "out.parquet").out)
    assert rows["label"].notna().tolist() == [True, False, False, False]
    assert list(rows["path"])[2:] == ["new.jsonl line 2", "new.jsonl line 3"]
    assert rows["problem"].str.contains("great").sum() == 0


def test_text_files_of_a_folder(reader: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "day 1").mkdir(parents=True)
    contents = {"a.txt": b"a great story", "day 1/b.TXT": b"weak", "day 1/torn.txt": b"gr\xff", "x.png": b"no text"}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    rows = pd.read_parquet(predict_files(reader, source, tmp_path / "out.parquet").out)
    assert list(rows["path"]) == ["a.txt", "day 1/b.TXT", "day 1/torn.txt"]
    assert rows["problem"].tolist() == ["", "", "3 bytes whose byte 2 is not UTF-8"]
    check_answers(reader, rows, contents)


def test_sounds_of_a_folder_and_of_a_table(listener: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    contents = {"a.wav": wav(0.5), "b.FLAC": wav(0.8, 900, kind="FLAC"), "c.ogg": wav(0.4, 200, kind="OGG")}
    contents["torn.wav"] = b"RIFF and no more"
    for name, content in {**contents, "x.png": b"no sound"}.items():
        (source / name).write_bytes(content)
    summary = predict_files(listener, source, tmp_path / "out.parquet")
    rows = pd.read_parquet(summary.out)
    assert list(rows["path"]) == list(contents)
    assert (summary.n_predicted, summary.n_problems) == (3, 1)
    check_answers(listener, rows, contents)
    pd.DataFrame({"path": ["c.ogg", "gone.wav", "a.wav"]}).to_csv(source / "some.csv", index=False)
    some = pd.read_parquet(predict_files(listener, source / "some.csv", tmp_path / "some.parquet").out)
    assert some["label"].notna().tolist() == [True, False, True]
    check_answers(listener, some, contents)


def test_sources_of_another_kind_are_refused(reader: Predictor, listener: Predictor, images: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"which names no text.*at least one: \.txt.*holds the texts, or a table with the column text"):
        predict_files(reader, tmp_path / "images", tmp_path / "out.csv")
    with pytest.raises(DataError, match=r"which names no sound.*\.wav, \.flac, \.ogg"):
        predict_files(listener, tmp_path / "images", tmp_path / "out.csv")
    (tmp_path / "paths.csv").write_text("path\na.txt\n")
    with pytest.raises(DataError, match=r"paths\.csv without the column text; it has 1 columns.*columns text, each once\."):
        predict_files(reader, tmp_path / "paths.csv", tmp_path / "out.csv")
    with pytest.raises(DataError, match=r"with the columns customer, text.*a column named path"):
        predict_files(listener, write_texts(tmp_path / "texts.csv"), tmp_path / "out.csv")
    (tmp_path / "texts.csv").write_text("text\n")
    with pytest.raises(DataError, match=r"texts\.csv without a single row.*with its text\."):
        predict_files(reader, tmp_path / "texts.csv", tmp_path / "out.csv")
    with pytest.raises(ConfigurationError, match=r"a folder of sounds, or a table \(\.csv, \.parquet\) with the column path"):
        predict_files(listener, write_texts(tmp_path / "texts.jsonl"), tmp_path / "out.csv")
