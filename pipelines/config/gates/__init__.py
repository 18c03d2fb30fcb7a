"""The conditions on a candidate, one section for each kind of gate."""

from typing import Annotated

from pydantic import Field

from pipelines.config.gates.on_adaptation import AdaptationGate
from pipelines.config.gates.on_answers import BeatsChampionGate, CalibrationGate, MinMetricGate, SlicesGate
from pipelines.config.gates.on_behaviour import (
    BehaviourGate,
    GoldensGate,
    LeakageGate,
    LicenceGate,
    NegativeTransferGate,
    RobustnessGate,
    TestReuseGate,
)
from pipelines.config.gates.on_shipping import HumanApprovalGate, LatencyGate, SizeGate

# Asked of the built and served Bento, after all others passed.
SHIPPING_GATES = (SizeGate, LatencyGate, HumanApprovalGate)

Gate = Annotated[
    MinMetricGate
    | BeatsChampionGate
    | NegativeTransferGate
    | CalibrationGate
    | SlicesGate
    | RobustnessGate
    | BehaviourGate
    | LeakageGate
    | LicenceGate
    | TestReuseGate
    | AdaptationGate
    | GoldensGate
    | SizeGate
    | LatencyGate
    | HumanApprovalGate,
    Field(discriminator="kind"),
]

__all__ = [
    "SHIPPING_GATES",
    "AdaptationGate",
    "BeatsChampionGate",
    "BehaviourGate",
    "CalibrationGate",
    "Gate",
    "GoldensGate",
    "HumanApprovalGate",
    "LatencyGate",
    "LeakageGate",
    "LicenceGate",
    "MinMetricGate",
    "NegativeTransferGate",
    "RobustnessGate",
    "SizeGate",
    "SlicesGate",
    "TestReuseGate",
]
