"""Does the change cost accuracy? A change that costs nothing is reported, and starts nothing by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from monitoring.quality import AccuracyLoss, LabelledStretch, Quality
from monitoring.signals.result import SignalResult
from monitoring.signals.run import OUT_OF_DISTRIBUTION

HarmName = Literal["costs", "costs_nothing", "unknown"]


class Harm(BaseModel):
    """What a change costs.

    Attributes:
        harm: `costs`: accuracy was lost, and the best guess is at least `harmful_loss_frac`. `costs_nothing`: with 95 % confidence less
            than that. `unknown`: neither can be said.
        basis: What it rests on: labels of the requests since the drift began, or estimates from confidence.
        n_labelled: Labelled requests since the drift began, at most the latest 400.
        loss: The estimate; without labels the larger of two.
        harmful_loss_frac: As configured.
        reason: For people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    harm: HarmName
    basis: Literal["labels", "estimates"]
    n_labelled: int = 0
    loss: AccuracyLoss
    harmful_loss_frac: float
    reason: str


def judge_harm(judged: Quality, signals: Sequence[SignalResult], harmful_loss_frac: float, labelled: LabelledStretch | None) -> Harm:
    """Labels decide where they can. Else both estimates must agree; and they are not believed to be harmless out of distribution.

    Both estimates read confidences, which are calibrated where the reference lies. On inputs far from it a network may be sure and wrong,
    so there `costs_nothing` takes labels.

    Args:
        judged: Of the window.
        signals: Of the window, with `out_of_distribution`.
        harmful_loss_frac: Loss of accuracy from which on a change counts as harm, in (0, 1).
        labelled: Of the requests since the drift began (`quality.labelled_since`); None where none of them has a label.
    """
    n_labelled = labelled.n_labelled if labelled else 0
    if judged.degraded:
        loss = labelled.loss if labelled else judged.expected_loss
        return _harm("costs", "labels", n_labelled, loss, harmful_loss_frac, "the error rate on labelled requests has risen")
    if labelled is not None and (name := read_loss(labelled.loss, harmful_loss_frac)) != "unknown":
        why = f"by {labelled.n_labelled} labelled requests {_text(labelled.loss)}"
        return _harm(name, "labels", n_labelled, labelled.loss, harmful_loss_frac, why)
    estimates = (judged.expected_loss, judged.thresholded_loss)
    worst = max(estimates, key=lambda loss: loss.value)
    names = {read_loss(loss, harmful_loss_frac) for loss in estimates}
    found: HarmName = names.pop() if len(names) == 1 else "unknown"
    reason = f"by confidence {_text(worst)}"
    far = next((signal for signal in signals if signal.name == OUT_OF_DISTRIBUTION), None)
    if found == "costs_nothing" and far is not None and far.drifted:
        found, reason = "unknown", f"{reason}, but {100 * far.statistic:.0f} % of the requests lie where confidence means little"
    return _harm(found, "estimates", n_labelled, worst, harmful_loss_frac, reason)


def read_loss(loss: AccuracyLoss, harmful_loss_frac: float) -> HarmName:
    """What an interval says about a loss; the two clear answers exclude each other."""
    if loss.low > 0 and loss.value >= harmful_loss_frac:
        return "costs"
    return "costs_nothing" if loss.high < harmful_loss_frac else "unknown"


def _harm(
    name: HarmName, basis: Literal["labels", "estimates"], n_labelled: int, loss: AccuracyLoss, harmful_loss_frac: float, why: str
) -> Harm:
    words = {"costs": "It costs accuracy", "costs_nothing": "It costs next to nothing", "unknown": "What it costs is unknown"}
    reason = f"{words[name]}: {why}."
    return Harm(harm=name, basis=basis, n_labelled=n_labelled, loss=loss, harmful_loss_frac=harmful_loss_frac, reason=reason)


def _text(loss: AccuracyLoss) -> str:
    points = f"{100 * loss.low:+.1f} to {100 * loss.high:+.1f}"
    return f"{100 * loss.value:+.1f} points are lost (95 % interval {points})"
