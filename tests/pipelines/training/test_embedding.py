from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.core.text_network import TextNetwork
from pipelines.training.embedding import batch_size, embed, embedded
from pipelines.training.precision import FP32, Precision
from tests.pipelines.training.photos import photos


@dataclass
class Noise:
    """Sample number i is the i-th noise image of a fixed sequence, wherever it is asked for."""

    numbers: Sequence[int]
    size_px: int = 32
    channels: int = 3
    samples: Any = ()
    targets: NDArray[Any] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        shape = (self.channels, self.size_px, self.size_px)
        return np.stack([np.random.default_rng(self.numbers[int(index)]).standard_normal(shape, np.float32) for index in indices])


def network(name: str, **arguments: Any) -> torch.nn.Module:
    import timm

    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, num_classes=0, **arguments)


SMALL = [("test_resnet", 32), ("test_efficientnet", 32), ("test_convnext", 32), ("test_vit", 64), ("test_nfnet", 32), ("test_byobnet", 32)]
REAL = [
    ("mobilenetv2_100", 64),
    ("resnet10t", 64),
    ("convnext_atto", 64),
    ("vit_tiny_patch16_224", 96),
    ("vgg11", 32),
    ("efficientnet_b0", 64),
]


def same_bits_for_any_company(name: str, size_px: int) -> None:
    backbone = network(name, **({"img_size": size_px} if "vit" in name else {}))
    everyone = embed(backbone, Noise(range(37), size_px))
    order = np.random.default_rng(1).permutation(37)
    assert np.array_equal(embed(backbone, Noise(order, size_px)), everyone[order])
    for few in ([5], [36, 0, 17], list(range(3, 36))):
        assert np.array_equal(embed(backbone, Noise(few, size_px)), everyone[few])


@pytest.mark.parametrize(("name", "size_px"), SMALL)
def test_features_do_not_depend_on_who_shares_the_batch(name: str, size_px: int) -> None:
    same_bits_for_any_company(name, size_px)


@pytest.mark.slow
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(("name", "size_px"), REAL)
def test_features_of_real_architectures_do_not_depend_on_who_shares_the_batch(name: str, size_px: int, n_threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        same_bits_for_any_company(name, size_px)
    finally:
        torch.set_num_threads(before)


def test_equals_the_network_on_the_whole(tmp_path: Path) -> None:
    inputs, backbone = photos(tmp_path, range(40)), network("test_resnet")
    told = []
    features = embed(backbone, inputs, lambda *step: told.append(step), "embedding")
    with torch.inference_mode():
        expected = backbone.eval()(torch.from_numpy(inputs.batch(range(40)))).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert features.dtype == np.float32
    assert told == [("embedding", 32, 40), ("embedding", 40, 40)]


class Ids:
    """Sample number i is a text of four tokens."""

    samples: Any = ()
    targets: NDArray[Any] = np.empty(0)

    def __init__(self, n: int) -> None:
        self.ids = np.random.default_rng(0).integers(0, 9, (n, 4))

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        return self.ids[np.asarray(indices)]


class Looked(torch.nn.Module):
    """A transformer that is a table of states; notes the shapes that it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(pad_token_id=0)
        self.table = torch.nn.Embedding(9, 3)
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        self.shapes.append(tuple(input_ids.shape))
        return SimpleNamespace(last_hidden_state=self.table(input_ids))


def test_batches_of_texts_are_small_since_every_length_has_one_to_be_filled_up() -> None:
    model, ids = Looked(), Ids(11)
    rows = embed(torch.nn.Sequential(TextNetwork(model, "mean"), torch.nn.Identity()), ids)
    assert model.shapes == [(8, 4), (8, 4)]
    np.testing.assert_allclose(rows, model.table.weight.detach().numpy()[ids.ids].mean(axis=1), rtol=1e-6)
    assert batch_size(torch.nn.Linear(1, 1)) == 32


def test_one_channel_and_batch_norm_are_exact_too() -> None:
    backbone = network("test_resnet", in_chans=1)
    everyone = embed(backbone, Noise(range(33), channels=1))
    assert np.array_equal(embed(backbone, Noise([32], channels=1)), everyone[[32]])


def test_autocast_computes_in_bfloat16_and_gives_float32() -> None:
    backbone = network("test_resnet")
    exact, rounded = (embed(backbone, Noise(range(4)), precision=precision) for precision in (FP32, Precision("bf16", "test")))
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, atol=0.1 * np.abs(exact).max())


def test_places_are_told_with_their_rows() -> None:
    backbone = network("test_resnet")
    everyone = embed(backbone, Noise(range(50)))
    places = np.array([49, 3, 20])
    ((chosen, rows),) = embedded(backbone, Noise(range(50)), places, n_workers=1)
    assert np.array_equal(chosen, places)
    assert np.array_equal(rows, everyone[places])


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    from PIL import Image

    inputs = photos(tmp_path, range(3))
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    with pytest.raises(Exception, match=r"1\.png of the data that changed") as caught:
        embed(network("test_resnet"), inputs)
    assert not isinstance(caught.value, DataError)


class Small(torch.nn.Module):
    """Has memory for so many samples at once."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.scale, self.room, self.sizes = torch.nn.Parameter(torch.tensor(2.0)), room, list[int]()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return batch.mean((2, 3)) * self.scale


def test_out_of_memory_is_said_once_and_goes_on_with_fewer_at_once(caplog: pytest.LogCaptureFixture) -> None:
    small, source = Small(8), Noise(range(40))
    with caplog.at_level(logging.WARNING):
        features = embed(small, source)
    np.testing.assert_allclose(features, 2 * source.batch(range(40)).mean((2, 3)), rtol=1e-4, atol=1e-6)
    assert small.sizes == [32, 16, *[8] * 8]
    assert [record.args for record in caplog.records] == [(32, 16), (16, 8)]


def test_where_not_one_sample_fits_it_ends() -> None:
    with pytest.raises(ConfigurationError, match="one sample that does not fit into memory"):
        embed(Small(0), Noise(range(3)))


def test_other_errors_of_the_network_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"expected input.*to have 3 channels, but got 1 channels"):
        embed(network("test_resnet"), Noise(range(3), channels=1))
