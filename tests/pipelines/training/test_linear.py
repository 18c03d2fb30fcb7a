from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.config import ProbeMethod, ProjectConfig, PrototypeMethod
from pipelines.core.errors import DataError
from pipelines.progress import silent
from pipelines.training.inputs import SampleInputs
from pipelines.training.linear import frozen_logits, train_probe, with_head
from pipelines.training.material import Material
from pipelines.training.probe import fit_probe
from pipelines.training.prototype import fit_prototypes, train_prototype
from pipelines.training.train import METHODS

LABELS = ("ant", "bee", "cow")
PROBE = ProbeMethod(strengths=(0.1, 1.0))


class Backbone(nn.Module):
    """[b, 1, 2, 3] -> [b, 12], with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layer = nn.Linear(6, 12)
        self.layer.weight.data = torch.randn(12, 6, generator=generator)
        self.layer.bias.data.zero_()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(batch.flatten(1)))


class Images:
    """Samples in memory, of a class each, or of the classes from theirs on."""

    def __init__(self, n: int, seed: int, many: bool) -> None:
        classes = np.arange(n) % len(LABELS)
        noise = np.random.default_rng(seed).normal(size=(n, 1, 2, 3)).astype(np.float32)
        self.images = noise + 5 * np.eye(6, dtype=np.float32)[classes].reshape(n, 1, 2, 3)
        self.targets: Any = (classes[:, None] <= [0, 1, 1]).astype(np.float32) if many else classes

    def __len__(self) -> int:
        return len(self.images)


def material(*, many: bool = False, read_only: bool = False, n: int = 30) -> Material:
    def features(inputs: SampleInputs) -> Any:
        with torch.inference_mode():
            values = Backbone()(torch.from_numpy(cast("Any", inputs).images)).numpy().copy()
        values.flags.writeable = not read_only
        return values

    config = ProjectConfig.model_validate(
        {
            "project": "tiny",
            "task": "image",
            "labels": LABELS,
            "labels_per_sample": "many" if many else "one",
            "backbone": {"kind": "shipped"},
            "gates": [{"kind": "min_metric", "floor": 0.5}],
        }
    )
    return Material(
        fresh_backbone=lambda _: Backbone(),
        selected=cast("Any", None),
        train=cast("Any", Images(n, 0, many)),
        validation=cast("Any", Images(9, 1, many)),
        config=config,
        features=features,
        kept_activations=Path("unused"),
        checkpoints=Path("unused"),
        progress=silent,
    )


def network_logits(network: nn.Module, inputs: Any) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(inputs.images)).numpy()


@pytest.mark.parametrize("many", [False, True])
def test_the_probe_is_the_fitted_head_on_the_pretrained_backbone(many: bool) -> None:
    given = material(many=many)
    trained = train_probe(given, PROBE)
    expected = fit_probe(given.features(given.train), given.train.targets, LABELS, PROBE, seed=0)
    np.testing.assert_array_equal(trained.network[1].weight.detach().numpy(), expected.weight)
    logits = given.features(given.train) @ expected.weight.T + expected.bias
    np.testing.assert_allclose(network_logits(trained.network, given.train), logits, atol=1e-5)


@pytest.mark.parametrize("many", [False, True])
def test_the_prototypes_are_a_head_on_the_pretrained_backbone(many: bool) -> None:
    given = material(many=many)
    trained = train_prototype(given, PrototypeMethod(kind="prototype"))
    expected = fit_prototypes(given.features(given.train), given.train.targets, LABELS)
    np.testing.assert_array_equal(trained.network[1].bias.detach().numpy(), expected.bias)
    logits = network_logits(trained.network, given.validation)
    correct = (logits > 0) == given.validation.targets if many else logits.argmax(axis=1) == given.validation.targets
    assert correct.mean() > 0.7
    assert trained.record == {"method": "prototype", "n_train": 30, "label_counts": trained.record["label_counts"]}


def test_the_record_tells_strengths_losses_folds_and_label_counts() -> None:
    record = train_probe(material(), PROBE).record
    assert (record["method"], record["n_train"], record["label_counts"]) == ("probe", 30, {"ant": 10, "bee": 10, "cow": 10})
    probe = cast("dict[str, Any]", record["probe"])
    losses = {row["strength"]: row["log_loss"] for row in probe["cross_validation"]}
    assert set(losses) == {0.1, 1.0}
    assert probe["strength"] == min(losses, key=lambda strength: losses[strength])
    assert (probe["folds"], probe["class_weights"]) == (3, "none")


def test_label_counts_of_many_labels_a_sample() -> None:
    assert train_probe(material(many=True), PROBE).record["label_counts"] == {"ant": 10, "bee": 20, "cow": 20}


def test_validation_logits_come_from_kept_features_and_are_those_of_the_network() -> None:
    given = material(read_only=True)
    for trained in (train_probe(given, PROBE), train_prototype(given, PrototypeMethod(kind="prototype"))):
        assert trained.validation_logits is not None
        assert trained.validation_logits.dtype == np.float32
        np.testing.assert_allclose(trained.validation_logits, network_logits(trained.network, given.validation), atol=1e-5)
        np.testing.assert_array_equal(frozen_logits(given, trained.network), trained.validation_logits)


def test_a_label_with_one_sample_is_named_and_prototypes_learn_from_it() -> None:
    with pytest.raises(DataError, match=r"1 of 'bee', 1 of 'cow'.*method prototype"):
        train_probe(material(n=3 + 1), PROBE)
    assert train_prototype(material(n=3), PrototypeMethod(kind="prototype")).record["n_train"] == 3


def test_a_head_is_put_on_as_it_is() -> None:
    prototypes = fit_prototypes(np.eye(3, dtype=np.float32), np.arange(3), LABELS)
    network = with_head(nn.Linear(3, 3), prototypes)
    np.testing.assert_array_equal(network[1].weight.detach().numpy(), prototypes.weight)


def test_both_methods_are_in_the_table() -> None:
    assert METHODS["probe"] is train_probe
    assert METHODS["prototype"] is train_prototype
