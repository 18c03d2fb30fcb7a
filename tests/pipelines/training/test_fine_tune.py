from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from pipelines.config import LpFtMethod
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.core.preprocess import ImagePreprocess
from pipelines.dataset import read_samples
from pipelines.progress import silent
from pipelines.training.augment import shift_scale_rotate
from pipelines.training.fine_tune import Epoch, _warmup_cosine, best_epoch, fine_tune, trainable_groups
from pipelines.training.inputs import SampleInputs

PREPROCESS = ImagePreprocess(color="L", height_px=32, width_px=32, mean=(0.5,), std=(0.5,))
LABELS = ("0", "1", "2", "3")


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    backbone = timm.create_model("test_resnet", in_chans=1, num_classes=0)
    return nn.Sequential(backbone, nn.Linear(backbone.num_features, len(LABELS)))


def inputs(folder: Path) -> tuple[SampleInputs, SampleInputs]:
    return tuple(  # type: ignore[return-value]
        SampleInputs(read_samples(folder / "samples.csv", split), folder / "data", PREPROCESS, LABELS) for split in ("train", "validation")
    )


def method(**changes: object) -> LpFtMethod:
    values: dict[str, object] = {"kind": "lp_ft", "n_upper_blocks": 1, "epochs": 3, "batch_size": 32, "learning_rate": 3e-3}
    return LpFtMethod.model_validate(values | changes)


def test_it_learns_and_keeps_the_best_epoch(digits_folder: Path) -> None:
    train, validation = inputs(digits_folder)
    model = network()
    curve = fine_tune(model, train, validation, method(n_upper_blocks=3), seed=0, progress=silent)
    assert curve[0].train_loss is None
    assert min(epoch.validation_log_loss for epoch in curve[1:]) < curve[0].validation_log_loss
    assert all(not parameter.isnan().any() for parameter in model.parameters())


def test_bit_for_bit_the_same_and_other_with_another_seed(digits_folder: Path) -> None:
    train, validation = inputs(digits_folder)

    def run(seed: int) -> list[torch.Tensor]:
        model = network()
        fine_tune(model, train, validation, method(epochs=1), seed, silent)
        return [parameter.clone() for parameter in model.state_dict().values()]

    first, second, other = run(0), run(0), run(1)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_lower_blocks_and_batch_norm_statistics_stay(digits_folder: Path) -> None:
    train, validation = inputs(digits_folder)
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    upper = {id(parameter) for group in trainable_groups(model[0], 1) for parameter in group}
    names = {f"0.{name}" for name, parameter in model[0].named_parameters() if id(parameter) in upper} | {"1.weight", "1.bias"}
    fine_tune(model, train, validation, method(epochs=1, early_stopping_epochs=9), seed=0, progress=silent)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed <= names
    assert {"1.weight", "1.bias"} <= changed


def test_a_ruinous_rate_leaves_the_start(digits_folder: Path) -> None:
    """The start counts as an epoch: fine-tuning never ends worse than the probe on validation."""
    train, validation = inputs(digits_folder)
    model = network()
    curve = fine_tune(model, train, validation, method(learning_rate=1e-9, epochs=1), seed=0, progress=silent)
    ruined = network()
    worse = fine_tune(ruined, train, validation, method(learning_rate=50.0, epochs=1, n_upper_blocks=3), seed=0, progress=silent)
    assert best_epoch(worse) == 0
    assert worse[0].validation_log_loss == curve[0].validation_log_loss
    assert torch.equal(ruined[1].weight, network()[1].weight)


def test_no_blocks_leave_the_probe_as_it_is(digits_folder: Path) -> None:
    train, validation = inputs(digits_folder)
    model = network()
    curve = fine_tune(model, train, validation, method(n_upper_blocks=0, learning_rate=1.0), seed=0, progress=silent)
    assert [epoch.number for epoch in curve] == [0]
    assert curve == fine_tune(network(), train, validation, method(learning_rate=1e-9, epochs=1), seed=0, progress=silent)[:1]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), network().state_dict().values(), strict=True))


def test_a_loss_that_is_not_finite_names_the_batch(digits_folder: Path) -> None:
    train, validation = inputs(digits_folder)
    with pytest.raises(DataError, match=r"training loss of (nan|inf) in the batch with \d{4}\.png.*lower method.learning_rate"):
        fine_tune(network(), train, validation, method(learning_rate=1e30, warmup_frac=0), seed=0, progress=silent)


def test_more_blocks_than_there_are(digits_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"n_upper_blocks 99\. Allowed: 0 to \d"):
        trainable_groups(network()[0], 99)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "mobilenetv2_100", "efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224"])
def test_blocks_of_timms_architectures_from_the_top(name: str) -> None:
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0)
    one, two = trainable_groups(backbone, 1), trainable_groups(backbone, 2)
    assert len(one) == 1
    assert len(two) == 2
    assert {id(p) for p in one[0]} == {id(p) for p in two[0]}


def test_the_schedule() -> None:
    rates = [_warmup_cosine(step, 10, 100) for step in range(100)]
    assert rates[9] == 1.0
    assert all(a < b for a, b in pairwise(rates[:10]))
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert 0 <= rates[-1] < 0.01


def test_the_best_epoch_is_the_first_of_equals() -> None:
    curve = [Epoch(number, None, loss, 0.5) for number, loss in enumerate([0.5, 0.3, 0.3, 0.4])]
    assert best_epoch(curve) == 1


def test_augmentation_is_seeded_small_and_keeps_the_shape() -> None:
    batch = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 1, 32, 32)).astype(np.float32))
    first = shift_scale_rotate(batch, torch.Generator().manual_seed(1))
    assert first.shape == batch.shape
    assert torch.equal(first, shift_scale_rotate(batch, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, shift_scale_rotate(batch, torch.Generator().manual_seed(2)))
    constant = torch.full((2, 1, 8, 8), 0.25)
    torch.testing.assert_close(shift_scale_rotate(constant, torch.Generator().manual_seed(1)), constant)
