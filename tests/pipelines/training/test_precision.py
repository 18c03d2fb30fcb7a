"""Which precision is taken, and that either gives the same bits every time."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.core.errors import ConfigurationError
from pipelines.training import precision
from pipelines.training.precision import MAX_ROUNDING, Precision, choose_precision, has_bf16, rounding
from pipelines.training.runtime import Runtime

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _says_all_again() -> None:
    precision._say_once.cache_clear()


def with_instructions(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True} | dict.fromkeys(names, True))


def sound_network() -> nn.Module:
    import timm

    torch.manual_seed(0)
    network: nn.Module = timm.create_model("test_resnet", num_classes=0)
    return network


class Drowned(nn.Module):
    """What tells samples apart is small beside what they share: bfloat16 has 8 bits for both."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 16)
        nn.init.constant_(self.layer.bias, 1_000.0)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(batch.flatten(1)[:, :8])
        return result


def images(n_samples: int = 16) -> torch.Tensor:
    return torch.randn(n_samples, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "found"), [("avx512_bf16", True), ("amx_bf16", True), ("bf16", True), ("avx512_f", False)])
def test_a_processor_has_bfloat16_where_it_has_the_instructions(monkeypatch: pytest.MonkeyPatch, name: str, found: bool) -> None:
    with_instructions(monkeypatch, name)
    assert has_bf16(CPU) is found


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_is_asked_for_instructions_of_its_own(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or supported)
    assert has_bf16(torch.device("cuda")) is supported


def test_fp32_is_fp32_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with_instructions(monkeypatch, "avx512_bf16")
    assert choose_precision("fp32", sound_network(), images(), CPU).name == "fp32"


def test_bf16_on_a_processor_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_instructions(monkeypatch)
    with pytest.raises(ConfigurationError, match=r"bf16 on a cpu without bfloat16 instructions.*Next: set compute\.precision: auto"):
        choose_precision("bf16", sound_network(), images(), CPU)


def test_bf16_is_taken_at_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    with_instructions(monkeypatch, "avx512_bf16")
    assert choose_precision("bf16", Drowned(), images(), CPU) == Precision("bf16", "compute.precision is bf16")


def test_auto_takes_bf16_where_it_changes_little(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with_instructions(monkeypatch, "avx512_bf16")
    with caplog.at_level(logging.INFO):
        found = choose_precision("auto", sound_network(), images(), CPU)
    assert found.name == "bf16"
    assert found.reason.startswith("bfloat16 moves features by 0.0")
    assert caplog.records == []


def test_auto_without_instructions_says_why_it_stays_at_fp32_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_instructions(monkeypatch)
    with caplog.at_level(logging.INFO):
        found = [choose_precision("auto", sound_network(), images(), CPU) for _ in range(2)]
    assert found == [Precision("fp32", "this cpu has no bfloat16 instructions")] * 2
    assert [record.getMessage() for record in caplog.records] == ["computing in float32: this cpu has no bfloat16 instructions"]


@pytest.mark.parametrize(
    ("network", "batch"),
    [
        (Drowned(), images()),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)), images().index_fill(0, torch.tensor([2]), math.nan)),
        (nn.Flatten(), images(1)),  # one sample differs from nothing
    ],
    ids=["what all share drowns the rest", "not finite", "a single sample"],
)
def test_auto_refuses_bf16_where_the_comparison_fails(monkeypatch: pytest.MonkeyPatch, network: nn.Module, batch: torch.Tensor) -> None:
    with_instructions(monkeypatch, "avx512_bf16")
    found = choose_precision("auto", network, batch, CPU)
    assert found.name == "fp32"
    assert "bfloat16 moves features by" in found.reason


def test_rounding_agrees_with_a_slow_calculation() -> None:
    layer = nn.Linear(6, 5)
    batch = torch.randn(7, 6)
    exact = layer(batch).detach().numpy()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = layer(batch).detach().float().numpy()
    moved = sum((a - b) ** 2 for a, b in zip(rounded.ravel().tolist(), exact.ravel().tolist(), strict=True))
    spread = sum((a - b) ** 2 for row in exact.tolist() for a, b in zip(row, exact.mean(axis=0).tolist(), strict=True))
    assert rounding(layer, batch, CPU) == pytest.approx(math.sqrt(moved / spread), rel=1e-4)


def test_the_comparison_leaves_the_network_as_it_was() -> None:
    network = sound_network().train()
    frozen = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rounding(network, images(), CPU)
    assert network.training
    assert not frozen.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_the_same_bits_in_either_precision(name: str) -> None:
    """Also where the processor imitates bfloat16: three steps of all weights, twice."""

    def trained() -> str:
        runtime = Runtime(CPU).at(Precision(name, "this test"))
        network = runtime.prepare(nn.Sequential(sound_network(), nn.Linear(96, 4)))
        optimizer = torch.optim.AdamW(network.parameters())
        for _ in range(3):
            with runtime.autocast():
                loss = nn.functional.cross_entropy(network(images()), torch.arange(16) % 4)
            optimizer.zero_grad()
            runtime.backward(loss)
            optimizer.step()
        content = b"".join(tensor.detach().numpy().tobytes() for tensor in network.state_dict().values())
        return hashlib.sha256(content).hexdigest()

    assert trained() == trained()


@pytest.mark.slow
@pytest.mark.shared("that bfloat16 keeps what a probe on real pretrained weights answers, where the comparison lets it pass")
@pytest.mark.parametrize("name", ["mobilenetv2_100.coral_qat_in1k", "mobilenetv2_100.keras_ptq_in1k"])
def test_the_limit_holds_for_real_weights_and_they_answer_the_same(shared_dir: Path, name: str) -> None:
    from sklearn.linear_model import LogisticRegression

    from pipelines.backbones import load_backbone, select_backbone
    from pipelines.config import TimmBackbone
    from pipelines.core.preprocess import decode_image, image_to_array

    weights = shared_dir / "weights" / f"{name}.safetensors"
    entry = TimmBackbone(kind="timm", name=json.loads(weights.with_suffix(".json").read_text())["arch"], weights=weights)
    selected = select_backbone(entry)
    files = sorted((shared_dir / "data" / "flowers").rglob("*.jpg"))
    chosen = random.Random(0).sample(files, 96)
    arrays = [image_to_array(decode_image(file.read_bytes(), selected.preprocess), selected.preprocess) for file in chosen]
    batch = torch.from_numpy(np.stack(arrays)).to(memory_format=torch.channels_last)
    network = load_backbone(entry, selected).to(memory_format=torch.channels_last)
    assert rounding(network, batch[:32], CPU) < MAX_ROUNDING
    exact, rounded = (precision._outputs(network, batch, CPU, bf16=bf16).numpy() for bf16 in (False, True))
    probe = LogisticRegression(C=0.01, max_iter=2_000).fit(exact[:64], [file.parent.name for file in chosen[:64]])
    assert (probe.predict(exact) == probe.predict(rounded)).mean() > 0.9
