from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.after import greedy_soup, interpolate, wise_ft

State = Mapping[str, torch.Tensor]
POINTS = st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=7)


def state(x: float, y: float, count: int = 0) -> dict[str, torch.Tensor]:
    return {
        "weight": torch.tensor([x, y], dtype=torch.float32),
        "running_mean": torch.tensor([x], dtype=torch.float32),
        "count": torch.tensor(count),
    }


def bowl(minimum: tuple[float, float] = (0.5, -0.25)) -> object:
    centre = torch.tensor(minimum)
    return lambda at: float((at["weight"] - centre).square().sum())


def bumpy(at: State) -> float:
    x, y = at["weight"].double().tolist()
    return math.sin(5 * x) + math.cos(7 * y) + 0.1 * (x * x + y * y)


def slow_soup(points: list[tuple[float, float]], losses: list[float], evaluate: object) -> tuple[list[int], float]:
    """The paper's Recipe 1, on tuples."""
    order = sorted(range(len(points)), key=lambda number: losses[number])
    ingredients: list[int] = []
    best = math.inf
    for number in order:
        mean = np.mean([points[index] for index in [*ingredients, number]], axis=0)
        loss = evaluate({"weight": torch.tensor(mean, dtype=torch.float32)}) if ingredients else losses[number]  # type: ignore[operator]
        if loss <= best:
            ingredients.append(number)
            best = loss
    return ingredients, best


@given(POINTS, st.sampled_from(["bowl", "bumpy"]))
def test_the_soup_equals_the_papers_recipe_and_is_never_worse_than_the_best(points: list[tuple[float, float]], kind: str) -> None:
    points = [(float(np.float32(x)), float(np.float32(y))) for x, y in points]
    evaluate = bowl() if kind == "bowl" else bumpy
    states = [state(*point) for point in points]
    losses = [evaluate(each) for each in states]  # type: ignore[operator]
    soup, record = greedy_soup(states, losses, evaluate)  # type: ignore[arg-type]
    ingredients, best = slow_soup(points, losses, evaluate)
    assert record["ingredients"] == ingredients
    assert record["log_loss"] == pytest.approx(best)
    assert evaluate(soup) <= min(losses)  # type: ignore[operator]
    assert evaluate(soup) == record["log_loss"]  # type: ignore[operator]
    assert record["n_tried"] == len(points)


def test_two_states_on_either_side_of_the_minimum_are_averaged() -> None:
    states = [state(1, 0, count=3), state(0, -0.5, count=5)]
    soup, record = greedy_soup(states, [bowl()(each) for each in states], bowl())  # type: ignore[operator,arg-type]
    assert record == {"ingredients": [0, 1], "log_loss": 0.0, "n_tried": 2}
    assert soup["weight"].tolist() == [0.5, -0.25]
    assert soup["running_mean"].tolist() == [0.5]
    assert soup["count"].dtype == torch.int64
    assert soup["count"].item() == 3


def test_each_state_is_asked_for_once_and_none_is_changed() -> None:
    states = [state(x, 0.1 * x, count=int(x)) for x in range(6)]
    before = [{name: tensor.clone() for name, tensor in each.items()} for each in states]
    asked: list[int] = []

    class Asked(list[State]):
        def __getitem__(self, number: int) -> State:  # type: ignore[override]
            asked.append(number)
            return super().__getitem__(number)

    soup, record = greedy_soup(Asked(states), [3.0, 1.0, 2.0, 0.0, 5.0, 4.0], lambda at: -float(at["weight"][0]))
    assert asked == [3, 1, 2, 0, 5, 4]
    assert all(torch.equal(one[name], other[name]) for one, other in zip(states, before, strict=True) for name in one)
    kept = np.mean([states[number]["weight"].double().numpy() for number in record["ingredients"]], axis=0)  # type: ignore[union-attr]
    assert np.array_equal(soup["weight"].numpy(), kept.astype(np.float32))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_mean_that_cannot_be_measured_is_not_taken(bad: float) -> None:
    soup, record = greedy_soup([state(1, 0), state(0, 1)], [0.5, 0.6], lambda _: bad)
    assert record["ingredients"] == [0]
    assert soup["weight"].tolist() == [1, 0]


def test_states_without_a_finite_loss() -> None:
    _, record = greedy_soup([state(1, 0), state(0, 1)], [math.nan, math.inf], lambda _: math.nan)
    assert record == {"ingredients": [0], "log_loss": None, "n_tried": 2}
    _, record = greedy_soup([state(1, 0), state(0, 1)], [math.nan, 2.0], lambda _: 1.0)
    assert record["ingredients"] == [1, 0]


@given(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), st.tuples(st.floats(-3, 3), st.floats(-3, 3)), st.sampled_from(["bowl", "bumpy"]))
def test_wise_ft_is_the_best_of_the_grid_and_never_worse_than_an_end(
    start: tuple[float, float], end: tuple[float, float], kind: str
) -> None:
    evaluate = bowl() if kind == "bowl" else bumpy
    found, record = wise_ft(state(*start), state(*end), evaluate)  # type: ignore[arg-type]
    loss = evaluate(found)  # type: ignore[operator]
    assert loss == record["log_loss"]
    assert loss <= evaluate(state(*start))  # type: ignore[operator]
    assert loss <= evaluate(state(*end))  # type: ignore[operator]
    path = record["path"]
    assert [point["alpha"] for point in path] == [step / 10 for step in range(11)]  # type: ignore[union-attr,index,call-overload]
    assert record["alpha"] == min(path, key=lambda point: (point["log_loss"], point["alpha"]))["alpha"]  # type: ignore[union-attr,arg-type,index,call-overload]
    json.dumps(record, allow_nan=False)


def test_ties_go_to_the_start() -> None:
    found, record = wise_ft(state(1, 0), state(0, 1), lambda _: 0.25)
    assert record["alpha"] == 0
    assert found["weight"].tolist() == [1, 0]


def test_the_ends_are_exact_and_the_middle_is_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    start, end = ({"w": torch.randn(100, generator=generator), "n": torch.tensor(count)} for count in (1, 2))
    assert interpolate(start, end, 0.0) is start
    assert interpolate(start, end, 1.0) is end
    torch.testing.assert_close(interpolate(start, end, 0.5)["w"], (start["w"] + end["w"]) / 2)
    assert interpolate(start, end, 0.5)["n"].item() == 2
    assert interpolate(start, end, 0.5)["w"].dtype == torch.float32


def test_points_that_cannot_be_measured_are_not_taken() -> None:
    found, record = wise_ft(state(1, 0), state(0, 1), lambda at: math.nan if float(at["weight"][0]) < 0.85 else 1.0)
    assert record["alpha"] == 0
    assert found["weight"].tolist() == [1, 0]
    assert record["path"][-1] == {"alpha": 1.0, "log_loss": None}  # type: ignore[index]
    json.dumps(record, allow_nan=False)
    _, record = wise_ft(state(1, 0), state(0, 1), lambda _: math.nan)
    assert (record["alpha"], record["log_loss"]) == (0, None)


@given(st.integers(1, 9), st.integers(0, 99))
def test_equal_tensors_stay_the_same_to_the_bit(n: int, seed: int) -> None:
    """Frozen blocks must ship as they came."""
    tensor = torch.randn(50, generator=torch.Generator().manual_seed(seed)) * 1e-3
    tried: list[State] = []
    soup, record = greedy_soup([{"w": tensor.clone()} for _ in range(n)], [0.0] * n, lambda at: tried.append(at) or 0.0)
    assert len(record["ingredients"]) == n  # type: ignore[arg-type]
    assert all(torch.equal(at["w"], tensor) for at in (*tried, soup))
    for step in range(11):
        assert torch.equal(interpolate({"w": tensor}, {"w": tensor.clone()}, step / 10)["w"], tensor)
