from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.batch_prediction import predict_files
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.core.predict import Predictor
from tests.serving.conftest import LABELS, make_bundle


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
    assert rows["problem"].tolist()[1] == "cannot be read (No such file or directory)"
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
    with pytest.raises(DataError, match=r"table\.parquet, which cannot be read"):
        predict_files(predictor, tmp_path / "table.parquet", tmp_path / "out.csv")
