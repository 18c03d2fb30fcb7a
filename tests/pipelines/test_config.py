from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.conf_template import ConfDefaults, render_conf
from pipelines.config import AutoMethod, load_config
from pipelines.core.errors import ConfigurationError
from pipelines.labels_table import COLUMNS
from tests.pipelines.planted import project


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "conf" / "p.yaml"
    path.parent.mkdir()
    path.write_text(render_conf("my-photos", "image", ["ant", "bee"], 300, ConfDefaults("A minute.")), encoding="utf-8")
    return path


def edit(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return path


def test_the_template_is_a_valid_configuration(conf: Path) -> None:
    config = load_config(conf)
    assert (config.project, config.labels) == ("my-photos", ("ant", "bee"))
    assert config.method == AutoMethod()  # what is written out is what holds where nothing is written


@given(st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=2, max_size=5, unique=True))
def test_any_label_survives_the_template(labels: list[str]) -> None:
    text = render_conf("my-photos", "image", labels, 300, ConfDefaults("A minute."))
    assert yaml.safe_load(text)["labels"] == labels


def test_all_errors_come_at_once_with_path_value_and_what_is_allowed(conf: Path) -> None:
    edit(conf, labels=["ant"], sead=1, split={"train": 0.9, "validation": 0.9, "test": 0.1})
    with pytest.raises(ConfigurationError) as caught:
        load_config(conf)
    where = {finding.where: finding.problem for finding in caught.value.findings}
    assert set(where) == {"labels", "sead", "split"}
    assert "at least 2 items" in where["labels"]
    assert "'sead' is no key here; allowed" in where["sead"]
    assert "1.9; it must be 1" in where["split"]


_FILE = {"kind": "timm", "name": "x", "weights": "x.safetensors"}
_FLOOR = {"kind": "min_metric", "floor": 0.9}


def test_several_floors_each_of_another_metric(conf: Path) -> None:
    gates = [_FLOOR, _FLOOR | {"metric": "recall", "label": "ant"}, _FLOOR | {"metric": "recall", "label": "bee"}]
    assert len(load_config(edit(conf, gates=gates)).gates) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["a", "a"]}, "labels are listed twice: a"),
        ({"gates": []}, "gates: tuple should have at least 1 item"),
        ({"gates": [{"kind": "goldens"}, {"kind": "goldens"}]}, "gates are listed twice: goldens"),
        ({"gates": [{"kind": "beats_champion"}]}, "gates.0.beats_champion.without_champion: field required"),
        ({"backbone": {"kind": "timm", "name": "x"}}, "either weights .* or hub"),
        ({"backbone": {"kind": "best_of", "candidates": [_FILE, _FILE | {"sha256": "0" * 64}]}}, "candidates are listed twice: x"),
        ({"gates": [_FLOOR, _FLOOR | {"floor": 0.8}]}, "gates are listed twice: min_metric accuracy"),
        ({"gates": [_FLOOR | {"label": "1"}]}, "metric: recall names its label, and no other metric has one"),
        ({"gates": [{"kind": "slices"}]}, "give floor, max_gap or both"),
        ({"gates": [{"kind": "behaviour", "file": "/tests.yaml"}]}, "below the workspace"),
        ({"backbone": {"kind": "timm", "name": "x", "hub": "a/b"}}, "hub needs revision"),
        (
            {"method": {"kind": "magic"}},
            "does not match any of the expected tags: 'auto', 'probe', 'prototype', 'fine_tune', 'lp_ft', 'gradual', 'scratch'",
        ),
        ({"data": {"labels_table": "/etc/labels.csv"}}, r"data\.labels_table: .*below data/.*got '/etc/labels\.csv'"),
        ({"data": {"labels_table": "../labels.csv"}}, "below data/"),
        ({"data": {"labels_table": "tables/../../labels.csv"}}, "below data/"),
        ({"data": {"labels_table": "labels.xlsx"}}, r"ends in \.csv or \.parquet"),
        ({"data": {"labels_table": ""}}, r"ends in \.csv or \.parquet"),
        ({"serving": {"timeout_seconds": 241}}, r"serving\.timeout_seconds: .*less than or equal to 240"),
        ({"serving": {"max_request_mb": 513}}, r"serving\.max_request_mb: .*less than or equal to 512"),
        ({"serving": {"max_inputs_per_request": 10_001}}, r"serving\.max_inputs_per_request: .*10000"),
        ({"serving": {"max_images_per_request": 4}}, r"serving: .*max_images_per_request was renamed.* write max_inputs_per_request"),
        ({"method": {"kind": "lp_ft", "augment": {"gain_db": 6}}}, "gain_db makes sounds louder or quieter, and the task is image"),
        ({"method": {"kind": "auto", "budget_minutes": float("inf")}}, r"method\.auto\.budget_minutes: .*finite number"),
        ({"monitor": {"false_alarm_rate": 0.01}}, "monitor: .*false_alarm_rate.* was replaced: write `false_alarms_per_year: 1`"),
        ({"monitor": {"n_permutations": 999}}, "n_permutations is no key any more: .*take the line out"),
        ({"monitor": {"false_alarms_per_year": 0}}, r"monitor\.false_alarms_per_year: .*greater than or equal to 0\.01"),
    ],
)
def test_wrong_values(conf: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_config(edit(conf, **changes))


def test_overrides_pass_the_same_checks(conf: Path) -> None:
    assert load_config(conf, ["method.fine_tune.epochs=3"]).method.model_dump()["fine_tune"]["epochs"] == 3
    with pytest.raises(ConfigurationError, match="epochs"):
        load_config(conf, ["method.fine_tune.epochs=0"])
    with pytest.raises(ConfigurationError, match=r"--set method\.epochs\. Allowed: --set a\.b=c"):
        load_config(conf, ["method.epochs"])
    with pytest.raises(ConfigurationError, match="project is no section"):
        load_config(conf, ["project.name=x"])


def test_a_table_may_lie_deeper_in_the_data(conf: Path) -> None:
    assert load_config(edit(conf, data={"labels_table": "tables/all.parquet"})).data.labels_table == "tables/all.parquet"


def test_the_second_of_two_sections_is_refused(conf: Path) -> None:
    """PyYAML would keep the weaker gates of the second without a word."""
    before = conf.read_text().splitlines()
    first = next(number for number, line in enumerate(before, start=1) if line.startswith("gates:"))
    conf.write_text("\n".join([*before, "gates:", "  - kind: goldens", ""]))
    with pytest.raises(ConfigurationError, match=rf"the key 'gates' is on line {first} and again on line {len(before) + 1}\."):
        load_config(conf)


@pytest.mark.parametrize("override", ["gates=[{kind: goldens}]", "gates.0.floor=0", "gates.0={kind: goldens}", " gates =[]"])
def test_no_override_changes_a_gate(conf: Path, override: str) -> None:
    with pytest.raises(ConfigurationError, match="gates: they are changed in the conf file, where git sees it"):
        load_config(conf, [override])


@pytest.mark.parametrize("value", ["[", "{a: 1, a: 2}", "2026-99-99", "'"])
def test_an_override_that_is_no_yaml(conf: Path, value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--set method\.folds=.*: its value is no YAML \("):
        load_config(conf, [f"method.folds={value}"])


def test_weights_are_relative_to_the_workspace(conf: Path) -> None:
    edit(conf, backbone={"kind": "timm", "name": "resnet18", "weights": "weights/w.safetensors"})
    config = load_config(conf)
    assert config.backbone.model_dump()["weights"] == conf.parent.parent / "weights" / "w.safetensors"


@pytest.mark.parametrize("text", ["[1]", "a: [", "\x00", ""])
def test_what_is_no_mapping_is_said(conf: Path, text: str) -> None:
    conf.write_text(text)
    with pytest.raises(ConfigurationError, match=r"p\.yaml"):
        load_config(conf)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_config(tmp_path / "none.yaml")


def test_the_reference_page_is_the_models() -> None:
    from pipelines.config_reference import render_reference

    page = Path(__file__).resolve().parents[2] / "docs" / "guides" / "configuration.md"
    assert page.read_text(encoding="utf-8") == render_reference()


@pytest.mark.parametrize("label", ["", " ant", "ant ", "ant|bee", "|"])
def test_a_label_that_no_set_could_name_is_refused_for_sets_only(conf: Path, label: str) -> None:
    edit(conf, labels=[label, "bee"])
    assert load_config(conf).labels == (label, "bee")
    edit(conf, labels_per_sample="many")
    with pytest.raises(ConfigurationError, match=r"no blank at its ends and no \|") as caught:
        load_config(conf)
    assert repr(label) in str(caught.value)


def test_the_template_says_that_labels_are_sets_where_they_are(conf: Path) -> None:
    assert "labels_per_sample" not in conf.read_text(encoding="utf-8")
    defaults = ConfDefaults("A minute.", labels_per_sample="many")
    conf.write_text(render_conf("my-photos", "image", ["ant", "bee"], 300, defaults), encoding="utf-8")
    config = load_config(conf)
    assert (config.labels, config.labels_per_sample) == (("ant", "bee"), "many")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"slices": ["domain"]}}, r"name further columns of the labels table, not 'domain'"),
        ({"data": {"slices": ["age", "age"]}}, "name each column once"),
        ({"gates": [{"kind": "min_metric", "metric": "recall", "label": "owl", "floor": 0.5}]}, "asks for the recall of 'owl'"),
        ({"gates": [{"kind": "slices", "by": ["age"], "floor": 0.5}]}, "slices is by age; there are domain, label"),
    ],
)
def test_gates_and_slices_name_what_there_is(changes: dict[str, object], message: str) -> None:
    """Before the training, not after it."""
    with pytest.raises(ValidationError, match=message):
        project(**changes)


def test_a_gate_may_be_by_a_further_column() -> None:
    gate = {"kind": "slices", "by": ["domain", "label", "age"], "max_gap": 0.1}
    assert project(data={"slices": ["age"]}, gates=[gate]).data.slices == ("age",)


def test_the_names_of_the_tables_own_columns_are_the_same_everywhere() -> None:
    from pipelines.config import data

    assert data._LABELS_COLUMNS == COLUMNS
