"""`regraft backbones continue-pretraining` as a user runs it: texts on a BERT of a few thousand weights, images on the shipped backbone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.app import main
from flows.continued_pretraining import digests_of_test_split
from flows.new_workspace import init_workspace
from flows.session import open_session
from pipelines.backbones import select_backbone
from pipelines.config import TimmBackbone, TransformersBackbone
from pipelines.dataset import read_sample, read_samples
from pipelines.modalities.text_inputs import text_digest
from pipelines.progress import silent
from pipelines.sample_data import digit_files
from pipelines.stages import Stages
from tests.flows.conftest import preserved_environment
from tests.pipelines.tiny_texts import backbone_entry, sentences, write_table, write_word_model

ROWS = sentences(260)
QUICK = ["--epochs", "1", "--learning-rate", "2e-3"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """120 labelled texts; the other 140 are not in it."""
    root = tmp_path_factory.mktemp("texts")
    with preserved_environment(), pytest.MonkeyPatch.context() as patch:
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")
        patch.setenv("DVC_SITE_CACHE_DIR", str(root / "dvc-site"))
        patch.setenv("DVC_GLOBAL_CONFIG_DIR", str(root / "dvc-global"))
        init_workspace(root / "topics", write_table(root / "source.csv", ROWS[:120]), "text")
        conf = root / "topics" / "conf" / "topics.yaml"
        content = yaml.safe_load(conf.read_text(encoding="utf-8")) | {"backbone": backbone_entry(write_word_model(root / "bert"))}
        conf.write_text(yaml.safe_dump(content | {"method": {"kind": "probe"}}), encoding="utf-8")
        yield root / "topics"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """All of them, the labelled ones in other cases."""
    (tmp_path / "texts.txt").write_text("\n".join([*(text.upper() for text, _ in ROWS[:120]), *(text for text, _ in ROWS[120:])]))
    return tmp_path / "texts.txt"


def command(workspace: Path, *arguments: str) -> int:
    return command_of(workspace, *QUICK, *arguments)


def command_of(workspace: Path, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["backbones", "continue-pretraining", "--workspace", str(workspace), *arguments])
    return int(str(ended.value.code or 0))


def test_the_digests_are_those_of_the_test_split(workspace: Path) -> None:
    session = open_session(workspace)
    stages = Stages(session.workspace, session.config)
    from pipelines.versioning.dataset import dataset_version

    split = stages.split(stages.manifest(dataset_version(workspace).digest)).path / "samples.csv"
    judged = [read_sample(workspace / "data", sample).decode() for sample in read_samples(split, "test")]
    assert len(judged) > 5
    assert digests_of_test_split(session, silent) == {text_digest(text) for text in judged}


def test_the_lines_it_prints_are_those_of_a_conf_file_that_works(
    workspace: Path, texts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    n_test = len(digests_of_test_split(open_session(workspace), silent))
    assert command(workspace, "--texts", str(texts), "--out", str(workspace / "weights" / "read-on")) == 0
    shown = capsys.readouterr()
    assert f"260 rows: {n_test} left out because they are in the workspace's test split" in shown.err
    assert "held-out texts:" in shown.err
    stated: Any = yaml.safe_load(shown.out)
    assert stated["backbone"]["folder"] == "weights/read-on"
    conf = workspace / "conf" / "topics.yaml"
    before = conf.read_text(encoding="utf-8")
    conf.write_text(yaml.safe_dump(yaml.safe_load(before) | stated), encoding="utf-8")
    backbone = open_session(workspace).config.backbone
    conf.write_text(before, encoding="utf-8")
    assert isinstance(backbone, TransformersBackbone)
    assert select_backbone(backbone).spec.origin == "read-on"


def test_machines_get_one_object(workspace: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(workspace, "--texts", str(texts), "--out", str(tmp_path / "out"), "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["backbone"]["folder"] == str(tmp_path / "out")
    assert content["loss_after"] < content["loss_before"]
    assert content["held_out_tokens"] > 10
    assert content["texts"]["n_of_test"] > 5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--texts", "nowhere.csv", "--out", "new"], 3, "--texts nowhere.csv, which is no file."),
        (["--texts", "TEXTS", "--out", "CONF"], 2, "which exists."),
        (["--texts", "TEXTS", "--out", "new", "--set", "task=image"], 2, "which task: image does not take"),
        (["--images", "CONF", "--out", "new"], 2, "--images for a conf file whose backbone is of kind transformers"),
        (["--images", "CONF", "--texts", "TEXTS", "--out", "new"], 2, "--images "),
        (["--texts", "TEXTS", "--least-area", "0.5", "--out", "new"], 2, " with --least-area."),
        (["--out", "new"], 2, "neither of the two."),
    ],
)
def test_wrong_use(workspace: Path, texts: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str) -> None:
    places = {"TEXTS": str(texts), "CONF": str(workspace / "conf")}
    assert command(workspace, *(places.get(argument, argument) for argument in arguments), "--json") == code
    assert words in json.loads(capsys.readouterr().out)["error"]["got"]


@pytest.mark.slow
def test_images_but_those_that_the_workspace_is_judged_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pictures of the data are given, and one that is torn: those of the test split are left out."""
    monkeypatch.setenv("COLUMNS", "400")
    with preserved_environment():
        for role in ("AUTHOR", "COMMITTER"):
            monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
            monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")
        for number, (name, content) in enumerate(sorted(item for item in digit_files().items() if item[0].endswith(".png"))[:180]):
            place = tmp_path / "source" / ("even", "odd")[int(Path(name).stem[-1]) % 2] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        root = init_workspace(tmp_path / "digits", tmp_path / "source", "image").root
        n_test = len(digests_of_test_split(open_session(root), silent))
        assert n_test > 10
        everything = tmp_path / "everything"
        shutil.copytree(root / "data", everything)
        (everything / "torn.png").write_bytes(b"none")
        given = ["--images", str(everything), "--epochs", "1", "--batch-size", "32", "--out", str(root / "weights" / "looked-on")]
        assert command_of(root, *given) == 0
        shown = capsys.readouterr()
        assert (
            f"181 images: {n_test} left out because they are in the workspace's test or holdout split, 0 copies, 1 unreadable" in shown.err
        )
        assert "left out: torn.png: " in shown.err
        assert "Spread of their outputs: 0." in shown.err
        stated: Any = yaml.safe_load(shown.out)
        assert stated["backbone"]["weights"] == "weights/looked-on/resnet10t.looked-on.safetensors"
        conf = root / "conf" / "digits.yaml"
        conf.write_text(yaml.safe_dump(yaml.safe_load(conf.read_text(encoding="utf-8")) | stated), encoding="utf-8")
        monkeypatch.chdir(root)
        backbone = open_session(root).config.backbone
        assert isinstance(backbone, TimmBackbone)
        assert select_backbone(backbone).spec.origin == "resnet10t.looked-on.safetensors"
