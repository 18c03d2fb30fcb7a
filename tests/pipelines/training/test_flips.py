from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

from pipelines.dataset import Sample
from pipelines.training.flips import LEVEL, MARGIN, judge_flip, tolerated_flips


@dataclass
class Images:
    pixels: np.ndarray
    targets: np.ndarray
    samples: tuple[Sample, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, indices: np.ndarray) -> np.ndarray:
        return self.pixels[indices]


def probe_of_pixels(pixels: np.ndarray, targets: np.ndarray, backbone: nn.Module | None = None) -> nn.Sequential:
    """A linear classifier on pixels or features."""
    backbone = backbone or nn.Flatten()
    with torch.inference_mode():
        features = torch.cat([backbone.eval()(part) for part in torch.from_numpy(pixels).split(64)]).numpy()
    mean, scale = features.mean(0), features.std(0) + 1e-3
    fitted = LogisticRegression(max_iter=500, C=0.1).fit((features - mean) / scale, targets)
    weight = fitted.coef_ if len(fitted.coef_) > 1 else np.concatenate([-fitted.coef_, fitted.coef_]) / 2
    bias = fitted.intercept_ if len(fitted.coef_) > 1 else np.concatenate([-fitted.intercept_, fitted.intercept_]) / 2
    head = nn.Linear(features.shape[1], len(weight))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight / scale))
        head.bias.copy_(torch.from_numpy(bias - (weight / scale) @ mean))
    return nn.Sequential(backbone, head)


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Sequential, Images]:
    loaded = load_digits()
    pixels = (loaded.images / 16).astype(np.float32)[:, None]
    return probe_of_pixels(pixels[:1_000], loaded.target[:1_000]), Images(pixels[1_000:], loaded.target[1_000:])


def test_flipped_digits_are_other_digits(digits: tuple[nn.Sequential, Images], caplog: pytest.LogCaptureFixture) -> None:
    network, validation = digits
    with caplog.at_level(logging.INFO, "pipelines.training.flips"):
        assert tolerated_flips("auto", network, validation, "one") == ()
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "horizontal flips: refused",
        "vertical flips: refused",
    ]
    assert "a loss of 5 points is not ruled out; of 797 validation samples" in caplog.text


def test_a_task_with_a_mirror_is_flipped_that_way_alone() -> None:
    """Squares that lie high or low: left and right do not matter."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((400, 1, 12, 12), np.float32)
    targets = rng.integers(0, 2, 400)
    for row, low in enumerate(targets):
        top, left = rng.integers(0, 4) + 6 * low, rng.integers(0, 10)
        pixels[row, 0, top : top + 2, left : left + 2] = 1
    network = probe_of_pixels(pixels[:200], targets[:200])
    validation = Images(pixels[200:], targets[200:])
    assert tolerated_flips("auto", network, validation, "one") == ("horizontal",)
    few = Images(pixels[200:258], targets[200:258])
    assert tolerated_flips("auto", network, few, "one") == ()


def test_many_labels() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 2)) < 0.5).astype(np.float32)
    pixels = np.zeros((200, 1, 8, 8), np.float32)
    pixels[:, 0, 1] = targets[:, :1]  # a line at the top
    pixels[:, 0, :, 1] = pixels[:, 0, :, 6] = targets[:, 1:]  # a line on either side
    head = nn.Linear(64, 2)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-0.5)
        head.weight[0, 8 + 3] = head.weight[1, 4 * 8 + 1] = 1.0
    assert tolerated_flips("auto", nn.Sequential(nn.Flatten(), head), Images(pixels, targets), "many") == ("horizontal",)
    pixels[:, 0, :, 6] = 0
    assert tolerated_flips("auto", nn.Sequential(nn.Flatten(), head), Images(pixels, targets), "many") == ()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("none", ()), ("horizontal", ("horizontal",)), ("vertical", ("vertical",)), ("both", ("horizontal", "vertical"))],
)
def test_what_is_stated_is_taken_at_its_word(setting: str, expected: tuple[str, ...], digits: tuple[nn.Sequential, Images]) -> None:
    assert tolerated_flips(setting, *digits, "one") == expected  # type: ignore[arg-type]


def test_the_network_keeps_its_mode(digits: tuple[nn.Sequential, Images]) -> None:
    network, validation = digits
    for training in (True, False):
        network.train(training)
        tolerated_flips("auto", network, validation, "one")
        assert network.training is training


def answers(n: int, n_right: int, n_losses: int = 0, n_wins: int = 0) -> tuple[np.ndarray, np.ndarray]:
    as_is = np.arange(n) < n_right
    flipped = as_is.copy()
    flipped[:n_losses] = False
    flipped[n - n_wins :] = True
    return as_is, flipped


def test_no_change_in_enough_samples_is_tolerated_and_in_fewer_is_not() -> None:
    for n, expected in [(58, False), (59, True), (500, True)]:
        assert judge_flip(*answers(n, n), np.arange(n) % 2).tolerated is expected


def test_a_network_that_knows_nothing_notices_nothing() -> None:
    evidence = judge_flip(*answers(500, 150), np.arange(500) % 4)
    assert not evidence.tolerated
    assert "knows too little" in evidence.reason


def test_a_harmed_class_is_enough_to_refuse() -> None:
    """The b and d of fifty letters: 4 points of accuracy, within the margin, and the two classes are lost."""
    targets = np.arange(2_000) % 50
    as_is, flipped = np.ones(2_000, dtype=bool), np.ones(2_000, dtype=bool)
    flipped[targets < 2] = False
    evidence = judge_flip(as_is, flipped, targets)
    assert evidence.p_value <= 1 - LEVEL
    assert not evidence.tolerated
    assert "class numbers [0, 1] get worse" in evidence.reason
    scattered = flipped.copy()
    scattered[:] = True
    scattered[np.random.default_rng(0).choice(2_000, 30, replace=False)] = False
    assert judge_flip(as_is, scattered, targets).tolerated


def test_a_harmed_label_of_many_is_enough_to_refuse() -> None:
    targets = (np.random.default_rng(0).random((2_000, 8)) < 0.3).astype(np.float32)
    targets[:, 7] = np.arange(2_000) < 30
    as_is = np.ones(2_000, dtype=bool)
    evidence = judge_flip(as_is, targets[:, 7] == 0, targets)
    assert not evidence.tolerated
    assert "7" in evidence.reason


@given(st.integers(60, 400), st.data())
def test_the_verdict_follows_from_its_parts(n: int, data: st.DataObject) -> None:
    n_losses, n_wins = data.draw(st.integers(0, 12)), data.draw(st.integers(0, 12))
    as_is, flipped = answers(n, n - n_wins, n_losses, n_wins)
    targets = np.arange(n) % 2
    evidence = judge_flip(as_is, flipped, targets)
    assert (evidence.n, evidence.n_wins, evidence.n_losses) == (n, n_wins, n_losses)
    if evidence.tolerated:
        assert evidence.p_value <= 1 - LEVEL
        # An independent, conditional look: the observed loss itself must be well inside of the margin.
        assert n_losses - n_wins < MARGIN * n
        for label in range(2):
            of_label = targets == label
            losses, wins = int((as_is & ~flipped & of_label).sum()), int((flipped & ~as_is & of_label).sum())
            assert losses + wins == 0 or binomtest(losses, losses + wins, alternative="greater").pvalue > (1 - LEVEL) / 2


def test_a_harmful_flip_is_seldom_tolerated_and_a_harmless_one_mostly() -> None:
    """Error rate and power at 300 samples: a true loss of the margin is tolerated in at most 5 %, up to three sigma of 1,000 draws."""
    rng = np.random.default_rng(0)
    targets = np.arange(300) % 3

    def share(loss_rate: float, win_rate: float) -> float:
        tolerated = 0
        for _ in range(1_000):
            draw = rng.random(300)
            as_is = draw >= win_rate
            flipped = (draw < win_rate) | (draw < 1 - loss_rate)
            tolerated += judge_flip(as_is, flipped, targets).tolerated
        return tolerated / 1_000

    assert share(MARGIN + 0.02, 0.02) <= 0.05 + 3 * (0.05 * 0.95 / 1_000) ** 0.5
    assert share(0.02, 0.02) >= 0.8


def photos(folders: dict[str, list[Path]], weights: Path, n_train: int) -> tuple[nn.Sequential, Images]:
    import safetensors.torch
    import timm

    from pipelines.core.preprocess import ImagePreprocess, preprocess

    spec = ImagePreprocess(color="RGB", height_px=96, width_px=96, fit="crop", mean=(0.5,) * 3, std=(0.5,) * 3)
    backbone = timm.create_model("mobilenetv2_100", num_classes=0, pad_type="same")
    state = safetensors.torch.load_file(weights)
    backbone.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("classifier.")})
    pixels = {name: preprocess([path.read_bytes() for path in paths], spec) for name, paths in folders.items()}
    train = np.concatenate([part[:n_train] for part in pixels.values()])
    rest = np.concatenate([part[n_train:] for part in pixels.values()])
    numbers = list(enumerate(pixels.values()))
    network = probe_of_pixels(train, np.repeat([number for number, _ in numbers], n_train), backbone)
    return network, Images(rest, np.concatenate([np.full(len(part) - n_train, number) for number, part in numbers]))


def flowers(shared: Path) -> dict[str, list[Path]]:
    return {folder.name: sorted(folder.glob("*.jpg"))[:120] for folder in sorted((shared / "data" / "flowers").iterdir())}


def hymenoptera(shared: Path) -> dict[str, list[Path]]:
    return {name: sorted((shared / "data" / "hymenoptera").rglob(f"{name}/*.jpg"))[:190] for name in ("ants", "bees")}


@pytest.mark.slow
@pytest.mark.shared("that photos of flowers and insects may be flipped left to right")
@pytest.mark.parametrize("files", [flowers, hymenoptera], ids=["flowers", "hymenoptera"])
def test_photos_may_be_flipped_left_to_right(shared_dir: Path, files: Callable[[Path], dict[str, list[Path]]]) -> None:
    network, validation = photos(files(shared_dir), shared_dir / "weights" / "mobilenetv2_100.coral_qat_in1k.safetensors", n_train=20)
    assert "horizontal" in tolerated_flips("auto", network, validation, "one")
