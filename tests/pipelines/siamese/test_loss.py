from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.core.errors import ConfigurationError
from pipelines.core.preprocess import ImagePreprocess
from pipelines.siamese import loss
from pipelines.siamese.heads import SiameseHeads
from pipelines.siamese.loss import SiameseLoss, negative_cosine, output_spread
from pipelines.siamese.views import Views
from pipelines.training.step import StepPart

SPEC = ImagePreprocess(color="L", height_px=8, width_px=8, mean=(0.5,), std=(0.5,))
VIEWS = Views(SPEC, (), 0.2)


def network() -> nn.Sequential:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()), SiameseHeads(144, 16, 4)).double().train()


def batch(n: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, 1, 8, 8)))


def slow_batch_norm(rows: Any) -> Any:
    return (rows - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-5)


def slow_heads(heads: SiameseHeads, features: Any) -> tuple[Any, Any]:
    """Projections and predictions by hand, new batch norms having a scale of 1 and a shift of 0."""
    state = {name: tensor.numpy() for name, tensor in heads.state_dict().items()}
    hidden = features
    for place in (0, 3):
        hidden = np.maximum(slow_batch_norm(hidden @ state[f"projector.{place}.weight"].T), 0)
    projected = hidden @ state["projector.6.weight"].T + state["projector.6.bias"]
    hidden = np.maximum(slow_batch_norm(projected @ state["predictor.0.weight"].T), 0)
    return projected, hidden @ state["predictor.3.weight"].T + state["predictor.3.bias"]


def slow_loss(predictions: Any, projections: Any) -> float:
    total = 0.0
    for one, other in zip(predictions, projections, strict=True):
        dot = sum(a * b for a, b in zip(one, other, strict=True))
        total -= dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))
    return total / len(predictions)


def test_the_loss_is_that_of_a_slow_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equations 1 to 4 of the paper with loops, of the views that were really made."""
    made: list[torch.Tensor] = []
    original = Views.of

    def kept(self: Views, images: torch.Tensor, seeds: Any) -> torch.Tensor:
        made.append(original(self, images, seeds))
        return made[-1]

    monkeypatch.setattr(Views, "of", kept)
    model, images = network(), batch()
    given = SiameseLoss(VIEWS, seed=3)(model, images, torch.arange(6), StepPart(1, 0, 0, 1)).item()
    with torch.no_grad():
        features = [model[0](view).numpy() for view in made]
    (z1, p1), (z2, p2) = (slow_heads(model[1], part) for part in features)  # type: ignore[arg-type]
    assert not torch.equal(made[0], made[1])
    assert given == pytest.approx(slow_loss(p1, z2) / 2 + slow_loss(p2, z1) / 2, abs=1e-5)


def test_projections_get_no_gradient() -> None:
    predictions, projections = (batch().flatten(1).requires_grad_(True) for _ in range(2))
    predictions.retain_grad()
    negative_cosine(predictions, projections.roll(1, 0)).sum().backward()
    assert projections.grad is None
    assert predictions.grad is not None
    assert predictions.grad.abs().sum() > 0


def test_without_the_predictor_nothing_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only way to the weights is through predictions; planted: with a gradient through projections there is another."""
    model = network()
    for parameter in model[1].predictor.parameters():  # type: ignore[union-attr]
        nn.init.zeros_(parameter)
    step = StepPart(1, 0, 0, 1)

    def gradient() -> float:
        model.zero_grad()
        SiameseLoss(VIEWS, 0)(model, batch(), torch.arange(6), step).backward()
        return sum(float(parameter.grad.abs().sum()) for parameter in model[0].parameters() if parameter.grad is not None)

    assert gradient() == 0
    nn.init.normal_(model[1].predictor[3].bias)  # type: ignore[union-attr, index, arg-type]
    assert gradient() == 0  # a constant prediction: what depends on the image is stopped
    monkeypatch.setattr(loss, "negative_cosine", lambda p, z: -torch.nn.functional.cosine_similarity(p, z, dim=1))
    assert gradient() > 0


def test_views_depend_on_image_and_round_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    monkeypatch.setattr(Views, "of", lambda _, images, seeds: seen.append(list(seeds)) or images)
    step = SiameseLoss(VIEWS, 0)
    for names, place in (([5, 7], (1, 0)), ([7, 5, 9], (1, 4)), ([5, 7], (2, 0))):
        step(network(), batch(len(names)), torch.tensor(names), StepPart(*place, 0, 1))
    first, second = seen[0], seen[1]
    assert len({*first, *second}) == 4  # two views of two images
    assert (seen[2][:2], seen[3][:2]) == (first[::-1], second[::-1])
    assert not {*seen[4], *seen[5]} & {*first, *second}


def test_one_image_at_once_is_refused() -> None:
    whole = SiameseLoss(VIEWS, 0)
    with pytest.raises(ConfigurationError, match=r"one image that goes through the network at once.*micro_batch_size"):
        whole(network(), batch(1), torch.arange(1), StepPart(1, 0, 0, 6))
    # 3 rows in parts of 2 and 1: the step's norms do not take statistics then.
    assert whole(network().eval(), batch(1), torch.arange(1), StepPart(1, 0, 1, 2)).isfinite()


def test_spread() -> None:
    """Of outputs anywhere about 1, of one output 0 whatever its length, and by a slow oracle."""
    rng = np.random.default_rng(0)
    assert output_spread(rng.normal(size=(4000, 64))) == pytest.approx(1, abs=0.02)
    assert output_spread(np.outer(rng.uniform(0.1, 9, size=50), rng.normal(size=64))) == pytest.approx(0, abs=1e-12)
    assert output_spread(np.zeros((5, 3))) == 0
    rows = rng.normal(size=(7, 3)) + 1
    scaled = [[value / math.sqrt(sum(other * other for other in row)) for value in row] for row in rows]
    stds = [math.sqrt(sum((row[k] - sum(r[k] for r in scaled) / 7) ** 2 for row in scaled) / 7) for k in range(3)]
    assert output_spread(rows) == pytest.approx(sum(stds) / 3 * math.sqrt(3))
