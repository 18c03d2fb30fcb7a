"""Stage `learning_curve`: how the error of a probe falls with the number of training samples, and what twice as many would bring.

The probe is fitted on the kept features of growing parts of the training split and judged on the validation split: the test split is
left alone. It stands in for the candidate, which may be fine-tuned: training that at every size would cost many trainings.

learning_curve.json   `points` by size, `fit`: whether a power law holds, and its forecast

Letters for shapes: r draws, s sizes, v validation samples, n training samples, d features, k labels, b resamplings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.config import ProbeMethod
from pipelines.core.bundle import canonical_json
from pipelines.intervals import clopper_pearson
from pipelines.power_law import PowerLaws, fit_power_laws
from pipelines.training.material import Material
from pipelines.training.probe import fit_probe
from pipelines.training.validation import measure

N_DRAWS = 5
N_SIZES = 7
_LEAST_SAMPLES = 16
_LEAST_SAMPLES_PER_LABEL = 3
_SMALLEST_FRAC = 1 / 32
# A law has three unknowns; it is checked by what it says of a set twice as large, and forecasts no further than that.
_LEAST_SIZES_BELOW_HALF = 3
_FACTOR = 2
_N_RESAMPLINGS = 1_000
# What a law is wrong by and what it forecasts is skewed where its floor is 0, and 95 % of the resamplings cover too little. With 99 % of
# them the tests find: a law that holds is said not to in at most 5 %, and a gain is inside its interval in at least 90 %.
_INTERVAL = (0.005, 0.995)


@dataclass(frozen=True, eq=False)
class Measured:
    """Probes of every size and draw, judged on the same validation samples.

    Attributes:
        sizes: int64 [s], growing; the last is the whole training split, where all draws are one.
        correct: bool [r, s, v].
        log_losses: float64 [r, s], in nats, after calibration.
        groups: int64 [v]: validation samples of one group belong together.
    """

    sizes: NDArray[np.int64]
    correct: NDArray[np.bool_]
    log_losses: NDArray[np.float64]
    groups: NDArray[np.int64]


def learning_curve(material: Material, section: ProbeMethod, out: Path) -> None:
    """Measures the curve and writes `learning_curve.json`.

    Args:
        material: Of the training.
        section: How the probe is fitted.
        out: Empty directory.

    Raises:
        DataError: Not even the whole training split can be learnt from; or a feature is not finite.
    """
    measured = measure_curve(material, section)
    n_train, groups = len(material.train), len({sample.group for sample in material.train.samples})
    record: dict[str, JsonValue] = {
        "n_train": n_train,
        "n_train_groups": groups,
        "n_validation": len(material.validation),
        "n_draws": N_DRAWS,
        **describe(measured, material.config.seed),
    }
    (out / "learning_curve.json").write_bytes(canonical_json(record))


def measure_curve(material: Material, section: ProbeMethod) -> Measured:
    """Fits the probes. The strength is chosen once for each size, by cross-validation on its first draw."""
    features, held_out = material.features(material.train), material.features(material.validation)
    targets, labels, seed = material.train.targets, material.config.labels, material.config.seed
    orders = [draw_order(targets, np.random.default_rng([seed, draw])) for draw in range(N_DRAWS)]
    sizes = curve_sizes(targets, len(labels), orders)
    correct = np.zeros((N_DRAWS, len(sizes), len(material.validation)), dtype=np.bool_)
    losses = np.zeros((N_DRAWS, len(sizes)))
    for place, size in enumerate(sizes):
        chosen = section
        for draw, order in enumerate(orders):
            if draw and size == len(targets):
                correct[draw, place], losses[draw, place] = correct[0, place], losses[0, place]
                continue
            rows = np.sort(order[:size])
            probe = fit_probe(features[rows], targets[rows], labels, chosen, seed)
            chosen = section.model_copy(update={"strengths": (probe.strength,)})
            result = measure(held_out @ probe.weight.T + probe.bias, material.validation.targets, material.config.labels_per_sample)
            correct[draw, place], losses[draw, place] = result.correct, result.log_loss
        material.progress("learning curve", place + 1, len(sizes))
    _, groups = np.unique([sample.group for sample in material.validation.samples], return_inverse=True)
    return Measured(sizes, correct, losses, groups.astype(np.int64))


def draw_order(targets: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """Training samples in the order in which a draw takes them: a larger set holds the smaller ones.

    Args:
        targets: One label a sample: [n]; every beginning has the labels in their shares, two of each at the front. Many: [n, k]; at random.
        rng: Of the draw.
    """
    shuffled = rng.permutation(len(targets))
    if np.ndim(targets) == 2:
        return shuffled
    ranks, turns = np.empty(len(targets)), np.empty(len(targets), dtype=np.int64)
    for label in np.unique(targets):
        places = shuffled[targets[shuffled] == label]
        turns[places] = np.arange(len(places))
        ranks[places] = (np.arange(len(places)) + rng.random()) / len(places)
    return np.asarray(np.lexsort((ranks, turns >= 2)))


def curve_sizes(targets: NDArray[Any], n_labels: int, orders: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Sizes [s] in equal ratios up to all n samples, of which every draw can be learnt from; the last is n."""
    n = len(targets)
    smallest = min(n, max(_LEAST_SAMPLES, _LEAST_SAMPLES_PER_LABEL * n_labels, round(n * _SMALLEST_FRAC)))
    sizes = np.unique(np.geomspace(smallest, n, N_SIZES).round().astype(np.int64))
    if np.ndim(targets) == 2:
        sizes = np.array([size for size in sizes if size == n or all(np.ptp(targets[order[:size]], axis=0).all() for order in orders)])
    return sizes


def describe(measured: Measured, seed: int) -> dict[str, JsonValue]:
    """Points with 95 % intervals and the fit, from resampling draws and groups of validation samples together."""
    accuracies = _resampled(measured, np.random.default_rng([seed, N_DRAWS]))
    low, high = np.quantile(accuracies, (0.025, 0.975), axis=0)
    mean = measured.correct.mean(axis=(0, 2))
    n_validation = measured.correct.shape[2]
    # Where nothing is wrong, resampling finds nothing wrong either.
    exact = [clopper_pearson(round(value * n_validation), n_validation) for value in mean]
    points: list[JsonValue] = [
        {
            "n": int(size),
            "accuracy": {
                "value": float(mean[place]),
                "low": min(float(low[place]), exact[place].low),
                "high": max(float(high[place]), exact[place].high),
            },
            "log_loss": float(measured.log_losses[:, place].mean()),
        }
        for place, size in enumerate(measured.sizes)
    ]
    return {"points": points, "fit": describe_fit(measured.sizes, 1 - mean, 1 - accuracies, n_validation)}


def _resampled(measured: Measured, rng: np.random.Generator) -> NDArray[np.float64]:
    """[b, s]: accuracies of as many draws and groups, drawn with replacement; the same ones at every size, as the sizes share both."""
    n_draws, n_groups = len(measured.correct), int(measured.groups.max()) + 1
    members = np.bincount(measured.groups, minlength=n_groups)
    hits = np.stack([[np.bincount(measured.groups, weights=row, minlength=n_groups) for row in draw] for draw in measured.correct])
    draws = rng.multinomial(n_draws, np.full(n_draws, 1 / n_draws), size=_N_RESAMPLINGS) / n_draws
    groups = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=_N_RESAMPLINGS)
    return np.asarray(np.einsum("rsg,br,bg->bs", hits, draws, groups, optimize=True) / (groups @ members)[:, None])


def describe_fit(sizes: NDArray[np.int64], errors: NDArray[np.float64], resampled: NDArray[np.float64], n_validation: int) -> JsonValue:
    """Whether a power law holds and what it says of twice the samples.

    The law that is fitted to sizes up to a half foretells the error of the whole. Where the 99 % interval of what it is wrong by leaves 0
    out, it does not hold, and nothing is forecast.

    Args:
        sizes: [s].
        errors: [s], means over draws.
        resampled: [b, s], of resamplings.
        n_validation: Samples that the errors were counted on.

    Returns:
        `outcome` (`fits`, `does_not_fit`, `insufficient_data`), `reason`; with a law `floor`, `scale`, `exponent`, `n_largest`; of a law
        that fits `forecast`: `n`, `accuracy` and `gain`, each with its interval.
    """
    half = sizes * _FACTOR <= sizes[-1]
    if half.sum() < _LEAST_SIZES_BELOW_HALF:
        n_needed = 4 * int(sizes[0])
        return {
            "outcome": "insufficient_data",
            "reason": f"{sizes[-1]} training samples are too few for a law over their number: about {n_needed} are needed.",
        }
    if not errors[half].any():
        return {"outcome": "insufficient_data", "reason": "the probe makes no errors on the validation split, so none can become fewer."}
    both = np.concatenate([errors[None], resampled])
    foretold = fit_power_laws(sizes[half], both[:, half]).errors(sizes[-1:])[:, 0]
    low, high = (float(value) for value in np.quantile((both[:, -1] - foretold)[1:], _INTERVAL))
    checked = f"fitted to up to {sizes[half][-1]} samples it foretold {_percent(1 - foretold[0])} at {sizes[-1]}"
    if low > 0 or high < 0:
        return {
            "outcome": "does_not_fit",
            "reason": f"a power law does not hold here: {checked}, where it was {_percent(1 - errors[-1])}. Nothing is forecast.",
        }
    laws = fit_power_laws(sizes, both)
    return _forecast(laws, int(sizes[-1]), n_validation, f"{checked}, where it was {_percent(1 - errors[-1])}")


def _forecast(laws: PowerLaws, n_train: int, n_validation: int, checked: str) -> dict[str, JsonValue]:
    now, then = laws.errors([n_train, _FACTOR * n_train]).T
    gain = _interval(now - then)
    n_then = _FACTOR * n_train
    if gain["low"] * n_validation < 0.5:
        says = f"whether {n_then} training samples instead of {n_train} would make the probe better cannot be told"
    else:
        says = f"{n_then} training samples instead of {n_train} would make the probe better"
    points = f"{100 * gain['value']:.1f} points ({100 * gain['low']:.1f} to {100 * gain['high']:.1f})"
    return {
        "outcome": "fits",
        "reason": f"{says}: the power law says {points} of accuracy. {checked[:1].upper()}{checked[1:]}.",
        "n_largest": int(laws.n_largest),
        "floor": float(laws.floor[0]),
        "scale": float(laws.scale[0]),
        "exponent": float(laws.exponent[0]),
        "forecast": {"n": n_then, "accuracy": {**_interval(1 - then)}, "gain": {**gain}},
    }


def _interval(values: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.quantile(values[1:], _INTERVAL)
    return {"value": float(values[0]), "low": float(min(low, values[0])), "high": float(max(high, values[0]))}


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
