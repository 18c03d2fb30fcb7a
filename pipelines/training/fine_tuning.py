"""Methods that train by gradient."""

from __future__ import annotations

from pydantic import JsonValue

from pipelines.config import LpFtMethod
from pipelines.training.fine_tune import best_epoch, fine_tune
from pipelines.training.linear import train_probe
from pipelines.training.material import Material, Trained


def train_lp_ft(material: Material, method: LpFtMethod) -> Trained:
    """Method `lp_ft`: the probe's solution as the head's start, then fine-tuning."""
    start = train_probe(material, method.probe)
    curve = fine_tune(start.network, material.train, material.validation, method, material.config.seed, material.progress)
    rows: list[JsonValue] = [dict(epoch.as_row()) for epoch in curve]
    return Trained(start.network, start.record | {"method": "lp_ft", "curve": rows, "best_epoch": best_epoch(curve)})
