from __future__ import annotations

import re
import shutil
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from pipelines.config import ProjectConfig
from pipelines.core.errors import DataError, RegraftError
from pipelines.manifest import build_manifest
from pipelines.validate import raise_for_validation, validate
from pipelines.validate.report import CheckResult, ValidationReport, read_report
from tests.pipelines.planted import (
    add_line,
    as_csv,
    picture,
    project,
    project_of_sets,
    tree,
    write_dataset,
    write_files,
    write_sets,
)

# Great Expectations 1.24 imports them, once, when the first of these tests runs.
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_(constants|parse)' is deprecated:DeprecationWarning")

CRITICAL = ["enough_rows", "rows_usable", "labels_known", "labels_agree", "splits_known", "two_classes", "samples_per_class"]
WARNINGS = ["few_copies", "width", "height", "columns_known"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data")
    return tmp_path / "data"


def validated(data: Path, config: ProjectConfig | None = None) -> Path:
    manifest, out = data.parent / "manifest", data.parent / "validation"
    for folder in (manifest, out):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    build_manifest(data, config or project(), manifest)
    validate(manifest, config or project(), out)
    return out


def check(out: Path, name: str) -> CheckResult:
    return next(item for item in read_report(out).checks if item.name == name)


def not_passed(report: ValidationReport) -> list[str]:
    return [item.name for item in report.checks if item.outcome != "passed"]


def test_faultless_data_pass(data: Path) -> None:
    out = validated(data)
    report = read_report(out)
    assert [item.name for item in report.checks] == CRITICAL + WARNINGS
    assert [item.severity for item in report.checks] == ["critical"] * 7 + ["warning"] * 4
    assert not_passed(report) == []
    assert (report.success, report.n_samples, report.n_samples_per_class) == (True, 16, {"ant": 8, "bee": 8})
    raise_for_validation(out)
    assert "Every check passed." in (out / "data_docs" / "index.html").read_text()


def test_same_data_same_bytes(data: Path) -> None:
    assert tree(validated(data)) == tree(validated(data))


def plant_unreadable(data: Path) -> None:
    write_files(data, {"images/ant_0.png": b"no image", "images/bee_1.png": picture(1)[:50]})


def plant_missing(data: Path) -> None:
    (data / "images" / "ant_0.png").unlink()


def plant_unknown_label(data: Path) -> None:
    write_files(data, {"images/wasp.png": picture(77)})
    add_line(data, "images/wasp.png,wasp")


def plant_twin(data: Path) -> None:
    write_files(data, {"images/twin.png": picture(0)})
    add_line(data, "images/twin.png,bee")


def plant_unknown_split(data: Path) -> None:
    write_files(data, {"labels.csv": (data / "labels.csv").read_bytes().replace(b'"\n', b'",\n').replace(b'"label",', b'"label","split"')})
    write_files(data, {"new.png": picture(78)})
    add_line(data, "new.png,ant,dev")


def plant_small_class(data: Path) -> None:
    lines = (data / "labels.csv").read_text().splitlines()
    bees = [line for line in lines if line.endswith('"bee"')]
    (data / "labels.csv").write_text("\n".join([line for line in lines if line not in bees] + bees[:2]) + "\n")


@pytest.mark.parametrize(
    ("plant", "failed", "unexpected"),
    [
        (
            plant_unreadable,
            "rows_usable",
            [
                ("images/ant_0.png", "8 bytes that do not decode as an image (UnidentifiedImageError)"),
                ("images/bee_1.png", "50 bytes that do not decode as an image (OSError)"),
            ],
        ),
        (plant_missing, "rows_usable", [("images/ant_0.png", "no such file")]),
        (plant_unknown_label, "labels_known", [("images/wasp.png", "the label 'wasp' is not in the conf file's labels")]),
        (
            plant_twin,
            "labels_agree",
            [
                ("images/ant_0.png", "labelled 'ant' and the same picture as images/twin.png (labelled 'bee')"),
                ("images/twin.png", "labelled 'bee' and the same picture as images/ant_0.png (labelled 'ant')"),
            ],
        ),
        (plant_unknown_split, "splits_known", [("new.png", "the split 'dev' is none of train, validation, test, holdout or empty")]),
        (plant_small_class, "samples_per_class", [("bee", "the class has 2 samples, fewer than 3")]),
    ],
)
def test_each_fault_fails_its_own_check(data: Path, plant: object, failed: str, unexpected: list[tuple[str, str]]) -> None:
    plant(data)  # type: ignore[operator]
    out = validated(data)
    assert [name for name in not_passed(read_report(out)) if name in CRITICAL] == [failed]
    assert [(item.where, item.problem) for item in check(out, failed).unexpected] == unexpected
    with pytest.raises(DataError, match=rf"failed 1 of 11 checks: {failed} \(.*\)\. Allowed: .*data_docs/index\.html\.") as caught:
        raise_for_validation(out)
    assert [(item.where, item.problem) for item in caught.value.findings] == unexpected
    assert not read_report(out).success


def test_too_few_rows_and_a_single_class(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_files(data, {"a.png": picture(1), "labels.csv": b"path,label\na.png,ant\n"})
    out = validated(data)
    assert not_passed(read_report(out)) == ["enough_rows", "two_classes", "samples_per_class"]
    assert check(out, "enough_rows").observed == "1"
    with pytest.raises(DataError, match="failed 3 of 11 checks"):
        raise_for_validation(out)


def test_a_dataset_without_one_usable_file_fails(tmp_path: Path) -> None:
    """An empty table passes every expectation on columns: it must not pass here."""
    data = tmp_path / "data"
    write_files(data, {"labels.csv": as_csv([("path", "label"), *((f"{n}.png", "ant") for n in range(9))])})
    out = validated(data)
    assert {"rows_usable", "two_classes", "samples_per_class"} <= set(not_passed(read_report(out)))
    assert check(out, "rows_usable").outcome == "failed"
    assert len(check(out, "rows_usable").unexpected) == 9
    assert read_report(out).n_samples == 0


def plant_copies(data: Path) -> None:
    write_files(data, {"copy.png": picture(0)})
    add_line(data, "copy.png,ant")


def plant_small_pictures(data: Path) -> None:
    write_files(data, {"low.png": picture(80, (20, 7)), "narrow.png": picture(81, (5, 20))})
    add_line(data, "low.png,ant")
    add_line(data, "narrow.png,ant")


def plant_unknown_column(data: Path) -> None:
    lines = (data / "labels.csv").read_text().splitlines()
    (data / "labels.csv").write_text("\n".join([lines[0] + ",weather", *(line + ",sun" for line in lines[1:])]) + "\n")


@pytest.mark.parametrize(
    ("plant", "warned", "unexpected"),
    [
        (plant_copies, ["few_copies"], [("copy.png", "has the bytes of another"), ("images/ant_0.png", "has the bytes of another")]),
        (plant_small_pictures, ["width", "height"], [("narrow.png", "is 5 px wide"), ("low.png", "is 7 px high")]),
        (
            plant_unknown_column,
            ["columns_known"],
            [("labels.csv", "the column 'weather' is not used; Regraft knows path, label, group, domain, arrival, split")],
        ),
    ],
)
def test_warnings_refuse_nothing(data: Path, plant: object, warned: list[str], unexpected: list[tuple[str, str]]) -> None:
    plant(data)  # type: ignore[operator]
    out = validated(data)
    report = read_report(out)
    assert not_passed(report) == warned
    assert [(item.where, item.problem) for name in warned for item in check(out, name).unexpected] == unexpected
    assert report.success
    raise_for_validation(out)


def test_allowed_share_of_copies(data: Path) -> None:
    plant_copies(data)
    lenient = project(data={"min_samples_per_class": 3, "max_duplicate_frac": 0.2})
    assert not_passed(read_report(validated(data, lenient))) == []


def test_a_check_that_cannot_run_is_an_error_and_no_bad_data(data: Path) -> None:
    out = validated(data)
    images = pd.read_csv(data.parent / "manifest" / "images.csv")
    images.assign(width_px="wide").to_csv(data.parent / "manifest" / "images.csv", index=False)
    validate(data.parent / "manifest", project(), out)
    assert check(out, "width").outcome == "error"
    assert check(out, "width").unexpected == ()
    assert "of the same type" in str(check(out, "width").error)
    assert not_passed(read_report(out)) == ["width"]
    assert not read_report(out).success
    with pytest.raises(RegraftError, match=r"1 checks that did not work: width .*nothing is known to be wrong with the data") as caught:
        raise_for_validation(out)
    assert type(caught.value) is RegraftError
    assert "Not decided." in (out / "data_docs" / "index.html").read_text()


def test_all_faults_are_in_one_table(data: Path) -> None:
    for plant in (plant_unreadable, plant_unknown_label, plant_twin):
        plant(data)
    with pytest.raises(DataError, match="failed 2 of 11 checks") as caught:
        raise_for_validation(validated(data))
    assert [item.where for item in caught.value.findings] == ["images/ant_0.png", "images/bee_1.png", "images/wasp.png"]


class Loads(HTMLParser):
    """Everything in a page that a browser would fetch, follow or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, name) for name, _ in attrs if name in ("src", "href", "srcset", "action", "data") or name.startswith("on")]
        if tag in ("script", "link", "iframe", "img", "object", "embed", "base", "form"):
            self.found.append((tag, ""))


def loads_of(page: str) -> list[tuple[str, str]]:
    parser = Loads()
    parser.feed(page)
    return parser.found


@pytest.mark.parametrize("plant", [None, plant_unknown_label])
def test_the_page_loads_nothing(data: Path, plant: object) -> None:
    if plant:
        plant(data)  # type: ignore[operator]
    page = (validated(data) / "data_docs" / "index.html").read_text()
    assert loads_of(page) == []
    assert not re.search(r"https?:|//[a-z]|url\(|@import", page)


def test_a_page_with_a_remote_part_would_be_seen() -> None:
    assert loads_of('<img src="https://example.org/x.png"><script></script>') == [("img", "src"), ("img", ""), ("script", "")]


HOSTILE = '<img src=x onerror="alert(1)">'


def test_names_and_labels_cannot_become_markup(data: Path) -> None:
    write_files(data, {f"{HOSTILE}.png": picture(0)})
    quoted = HOSTILE.replace('"', '""')
    add_line(data, f'"{quoted}.png","{quoted}"')
    add_line(data, f'"{quoted}.gif","{quoted}"')
    config = project(labels=["ant", "bee", "<script>alert(2)</script>"])
    page = (validated(data, config) / "data_docs" / "index.html").read_text()
    assert loads_of(page) == []
    assert page.count("&lt;img src=x onerror=") >= 4
    assert "&lt;script&gt;alert(2)" in page


def test_long_lists_are_cut_on_the_page_only(data: Path) -> None:
    for number in range(300):
        add_line(data, f"gone_{number}.png,ant")
    out = validated(data)
    assert len(check(out, "rows_usable").unexpected) == 300
    page = (out / "data_docs" / "index.html").read_text()
    assert "and 100 more: all are in validation.json" in page
    assert len(page) < 200_000


def test_nothing_is_left_in_the_temporary_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    validated(data)
    assert list(own.iterdir()) == []
    assert capfd.readouterr() == ("", "")


CRITICAL_OF_SETS = [name if name != "two_classes" else "samples_without_class" for name in CRITICAL]


def test_faultless_sets_of_labels_pass(tmp_path: Path) -> None:
    write_sets(tmp_path / "data")
    out = validated(tmp_path / "data", project_of_sets())
    report = read_report(out)
    assert [item.name for item in report.checks] == CRITICAL_OF_SETS + WARNINGS
    assert not_passed(report) == []
    assert (report.n_samples, report.n_samples_per_class) == (24, {"ant": 12, "bee": 12})
    raise_for_validation(out)


def test_a_cell_that_is_no_set_is_refused_in_the_manifests_words(tmp_path: Path) -> None:
    write_sets(tmp_path / "data")
    for number, cell in enumerate(("ant|ant", "bee|wasp")):
        write_files(tmp_path / "data", {f"images/new{number}.png": picture(500 + number)})
        add_line(tmp_path / "data", f"images/new{number}.png,{cell}")
    out = validated(tmp_path / "data", project_of_sets())
    assert not_passed(read_report(out)) == ["labels_known"]
    assert [(item.where, item.problem) for item in check(out, "labels_known").unexpected] == [
        ("images/new0.png", "the label 'ant|ant' names 'ant' twice"),
        ("images/new1.png", "the label 'wasp' is not in the conf file's labels"),
    ]
    with pytest.raises(DataError, match="labels_known"):
        raise_for_validation(out)


def test_the_same_picture_under_two_sets_is_refused(tmp_path: Path) -> None:
    write_sets(tmp_path / "data")
    write_files(tmp_path / "data", {"images/twin.bmp": picture(3, file_format="BMP")})
    add_line(tmp_path / "data", "images/twin.bmp,ant")
    assert not_passed(read_report(validated(tmp_path / "data", project_of_sets()))) == ["labels_agree"]


@pytest.mark.parametrize(
    ("cells", "failed", "problem"),
    [
        (["ant|bee"] * 8 + ["ant"] * 8, "samples_without_class", "the class is missing from 0 samples only, fewer than 3"),
        (["ant|bee"] * 2 + ["ant"] * 8 + [""] * 8, "samples_per_class", "the class has 2 samples, fewer than 3"),
    ],
)
def test_a_label_that_all_or_hardly_any_samples_have_is_refused(tmp_path: Path, cells: list[str], failed: str, problem: str) -> None:
    write_files(tmp_path / "data", {f"{number}.png": picture(number) for number in range(len(cells))})
    rows = [("path", "label"), *((f"{number}.png", cell) for number, cell in enumerate(cells))]
    (tmp_path / "data" / "labels.csv").write_bytes(as_csv(rows))
    out = validated(tmp_path / "data", project_of_sets())
    assert not_passed(read_report(out)) == [failed]
    assert [item.problem for item in check(out, failed).unexpected] == [problem]
