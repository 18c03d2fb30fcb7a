from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

from pipelines.backbones import load_backbone, select_backbone
from pipelines.config import ProjectConfig, TransformersBackbone
from pipelines.continue_pretraining import Continued, continue_pretraining
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, DataError, IntegrityError, RefusedError
from pipelines.masked_language import training
from pipelines.masked_language.loss import MaskedLoss
from pipelines.masked_language.model import load_language_model
from pipelines.masked_language.training import PretrainingSettings
from pipelines.modalities.text_inputs import text_digest
from pipelines.training.step import StepPart
from pipelines.transformer_files import described
from tests.pipelines.conftest import tiny_config
from tests.pipelines.tiny_texts import sentences, text_config, write_word_model
from tests.pipelines.training.gradient_cases import StoppedError, stopping_at

ROWS = [text for text, _ in sentences(220)]
# A network that knows nothing takes larger steps than a pretrained one.
SETTINGS = PretrainingSettings(epochs=2, learning_rate=2e-3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_word_model(tmp_path_factory.mktemp("model") / "bert")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(ROWS))
    return file


def run(model: Path, texts: Path, name: str = "out", **changes: Any) -> Continued:
    given = {"settings": SETTINGS, "test_digests": (), "checkpoints": texts.parent / "checkpoints", "out": texts.parent / name}
    return continue_pretraining(text_config(model), texts, **given | changes)


def test_hidden_tokens_of_a_planted_corpus_are_guessed_better(model: Path, texts: Path, tmp_path: Path) -> None:
    """Words of two topics, and few of all words: a network that has read knows what is likely."""
    said: list[str] = []
    done = run(model, texts, tell=said.append)
    before, after = done.outcome.before, done.outcome.after
    assert after.loss < before.loss - 0.1
    assert before.n_tokens == after.n_tokens > 20
    assert said[0].startswith("220 rows: 0 left out because they are in the workspace's test split")
    assert "no head for masked language modelling" in said[1]
    record = json.loads((tmp_path / "out" / "continued_pretraining.json").read_text())
    assert (record["loss_before"], record["loss_after"]) == (before.loss, after.loss)
    assert (record["texts"]["n_train"], record["texts"]["n_held_out"]) == (209, 11)
    assert record["head"] == "new"
    assert record["from"]["weights_sha256"] == file_sha256(model / "model.safetensors")
    assert str(tmp_path) not in json.dumps(record)
    assert not (tmp_path / "checkpoints").exists()


def test_the_conf_lines_name_what_was_written(model: Path, texts: Path, tmp_path: Path) -> None:
    done = run(model, texts, "weights/read-on")
    lines = done.conf_lines(tmp_path)
    assert yaml.safe_load(lines)["backbone"]["folder"] == "weights/read-on"
    content = yaml.safe_load(lines)["backbone"] | {"folder": tmp_path / "weights" / "read-on"}
    config = ProjectConfig.model_validate(text_config(model).model_dump() | {"backbone": content})
    assert isinstance(config.backbone, TransformersBackbone)
    assert (config.backbone.pooling, config.backbone.max_tokens) == ("mean", 48)
    chosen = select_backbone(config.backbone)
    ids = torch.tensor([[2, 7, 8, 3]])
    new, old = load_backbone(config.backbone, chosen).eval(), load_backbone(text_config(model).backbone, chosen_of(model)).eval()  # type: ignore[arg-type]
    with torch.inference_mode():
        assert not torch.allclose(new(ids), old(ids), atol=1e-3)
    assert done.conf_lines(Path("/elsewhere")).splitlines()[2] == f"  folder: {tmp_path}/weights/read-on"
    # And it can be read on from, with the head that it has now.
    files, spec, _ = described(config.backbone)
    assert not load_language_model(files, spec, 0).has_new_head


def chosen_of(model: Path) -> Any:
    backbone = text_config(model).backbone
    assert isinstance(backbone, TransformersBackbone)
    return select_backbone(backbone)


def test_a_killed_one_goes_on_to_the_same_file(model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = training._plan
    monkeypatch.setattr(training, "_plan", lambda *given: dataclasses.replace(planned(*given), seconds_between_checkpoints=0.0))
    run(model, texts, "whole")
    with pytest.raises(StoppedError):
        run(model, texts, "killed", progress=stopping_at(9))
    assert list((tmp_path / "checkpoints").rglob("step-*.safetensors"))
    assert not (tmp_path / "killed").exists()
    steps: list[int] = []
    run(model, texts, "killed", progress=lambda _, done, __: steps.append(done))
    assert min(steps) > 1
    for name in ("model.safetensors", "continued_pretraining.json", "tokenizer.json", "config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_labels_are_not_looked_at(model: Path, tmp_path: Path) -> None:
    """Planted: labels that contradict, and cells that are none."""
    files = []
    for name, labels in (("a.csv", ["cooking"] * 220), ("b.csv", ["", "nonsense", "-1", "sailing"] * 55)):
        (tmp_path / name).write_text("\n".join(["label,text", *(f"{label},{text}" for label, text in zip(labels, ROWS, strict=True))]))
        run(model, tmp_path / name, f"of-{name}")
        files.append((tmp_path / f"of-{name}" / "model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_texts_of_the_test_split_are_not_read(model: Path, texts: Path, tmp_path: Path) -> None:
    """With them in the file and without them the result is the same."""
    judged = {text_digest(text) for text in ROWS[:40]}
    done = run(model, texts, "with", test_digests=judged)
    assert done.texts.counts.n_of_test == 40
    (tmp_path / "others.txt").write_text("\n".join(ROWS[40:]))
    run(model, tmp_path / "others.txt", "without", test_digests=judged)
    assert (tmp_path / "with" / "model.safetensors").read_bytes() == (tmp_path / "without" / "model.safetensors").read_bytes()


def test_a_new_head_learns_alone_at_first(model: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    planned = training._plan

    def watched(*given: Any) -> Any:
        plan = planned(*given)
        judge = plan.judge

        def keep() -> tuple[float, float]:
            seen.append({name: tensor.clone() for name, tensor in plan.network[0].model.state_dict().items()})
            result: tuple[float, float] = judge()
            return result

        everything = {id(parameter) for parameter in plan.network.parameters()}
        trained = [id(parameter) for group in (plan.network[1].parameters(), *plan.groups) for parameter in group]
        assert sorted(trained) == sorted(everything)  # each once
        return dataclasses.replace(plan, judge=keep)

    monkeypatch.setattr(training, "_plan", watched)
    run(model, texts)

    def changed(before: int, after: int) -> set[str]:
        return {name.split(".")[0] for name, tensor in seen[before].items() if not torch.equal(tensor, seen[after][name])}

    assert changed(0, 1) == {"cls"}
    assert changed(1, 2) == {"bert", "cls"}
    seen.clear()
    whole = write_word_model(tmp_path / "whole", whole=True)
    run(whole, texts, "of-whole")
    assert changed(0, 1) == {"bert", "cls"}


@pytest.mark.parametrize("first_wrong_round", [1, 2])
def test_a_loss_that_did_not_fall_writes_nothing(
    model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_wrong_round: int
) -> None:
    """Planted: a loss with the wrong sign; from the start, or once the new head has learnt, which is no gain of the backbone's."""

    class Wrong(MaskedLoss):
        def __call__(self, view: Any, inputs: Any, targets: Any, part: StepPart) -> torch.Tensor:
            loss = super().__call__(view, inputs, targets, part)
            return loss if part.epoch < first_wrong_round else -loss

    monkeypatch.setattr(training, "MaskedLoss", Wrong)
    words = r"a loss on \d+ hidden tokens of held-out texts that did not fall: \d\.\d{4} before, \d+\.\d{4} after"
    with pytest.raises(RefusedError, match=words):
        run(model, texts)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "checkpoints").exists()


def test_a_pass_reads_every_text_but_the_few_that_do_not_divide(model: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[int, set[int]] = {}

    class Watched(MaskedLoss):
        def __call__(self, view: Any, inputs: Any, targets: Any, part: StepPart) -> torch.Tensor:
            read.setdefault(part.epoch, set()).update(targets.tolist())
            return super().__call__(view, inputs, targets, part)

    monkeypatch.setattr(training, "MaskedLoss", Watched)
    done = run(model, texts, settings=SETTINGS.model_copy(update={"epochs": 1}))
    assert (done.outcome.rounds_per_epoch, len(done.outcome.curve)) == (6, 8)  # the start, the head's own round, and the pass
    assert [len(read[number]) for number in range(1, 8)] == [34] * 7
    assert len(set().union(*(read[number] for number in range(1, 7)))) == 6 * 34 <= done.texts.counts.n_train


def test_too_little_time_says_so_and_keeps_what_was_done(model: Path, texts: Path, tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"minutes": 1e-9})
    with pytest.raises(
        ConfigurationError,
        match=r"a deadline that was over in round 1, before a round in which the backbone was trained.*2 rounds.*raise --minutes",
    ):
        run(model, texts, settings=short)
    assert list((tmp_path / "checkpoints").rglob("step-*.safetensors"))


def test_bad_requests(model: Path, texts: Path, tmp_path: Path, tiny_weights: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "something").touch()
    with pytest.raises(ConfigurationError, match=r"--out .*out, which exists.*never changes under its name"):
        run(model, texts)
    with pytest.raises(ConfigurationError, match=r"whose backbone is of kind timm.*kind transformers: only these read texts"):
        continue_pretraining(tiny_config(tiny_weights), texts, (), SETTINGS, tmp_path / "c", tmp_path / "new")
    (tmp_path / "few.txt").write_text("\n".join(ROWS[:20]))
    with pytest.raises(DataError, match="20 different texts of 20 rows"):
        run(model, tmp_path / "few.txt", "new")
    damaged = write_word_model(tmp_path / "damaged")
    config = text_config(damaged)
    state = safetensors.torch.load_file(damaged / "model.safetensors")
    safetensors.torch.save_file({name: tensor + 1 for name, tensor in state.items()}, damaged / "model.safetensors")
    with pytest.raises(IntegrityError, match=r"model\.safetensors with sha256"):
        continue_pretraining(config, texts, (), SETTINGS, tmp_path / "c", tmp_path / "new")
    assert not (tmp_path / "new").exists()
