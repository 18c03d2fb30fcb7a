"""A project's configuration: one YAML file in `conf/`, checked whole before anything runs.

Frozen, no unknown keys, all errors at once, each with its path, the value and what is allowed. One module for each part of the file.
"""

from pipelines.config.backbones import Backbone, BestOfBackbones, ShippedBackbone, SingleBackbone, TimmBackbone, TransformersBackbone
from pipelines.config.card import CardSection
from pipelines.config.compute import ComputeSection
from pipelines.config.data import DataSection, SplitSection
from pipelines.config.gates import (
    SHIPPING_GATES,
    BeatsChampionGate,
    BehaviourGate,
    CalibrationGate,
    Gate,
    GoldensGate,
    HumanApprovalGate,
    LatencyGate,
    LeakageGate,
    LicenceGate,
    MinMetricGate,
    NegativeTransferGate,
    RobustnessGate,
    SizeGate,
    SlicesGate,
    TestReuseGate,
)
from pipelines.config.load import load_config
from pipelines.config.methods import (
    AugmentSection,
    AutoMethod,
    FineTuneMethod,
    GradualMethod,
    LpFtMethod,
    Method,
    ProbeMethod,
    PrototypeMethod,
    Recipe,
    ScratchMethod,
)
from pipelines.config.operation import BundleSection, MonitorSection, ServingSection, TriggerSection
from pipelines.config.project import LEARNING_SECTIONS, MACHINE_PATHS, ProjectConfig

__all__ = [
    "LEARNING_SECTIONS",
    "MACHINE_PATHS",
    "SHIPPING_GATES",
    "AugmentSection",
    "AutoMethod",
    "Backbone",
    "BeatsChampionGate",
    "BehaviourGate",
    "BestOfBackbones",
    "BundleSection",
    "CalibrationGate",
    "CardSection",
    "ComputeSection",
    "DataSection",
    "FineTuneMethod",
    "Gate",
    "GoldensGate",
    "GradualMethod",
    "HumanApprovalGate",
    "LatencyGate",
    "LeakageGate",
    "LicenceGate",
    "LpFtMethod",
    "Method",
    "MinMetricGate",
    "MonitorSection",
    "NegativeTransferGate",
    "ProbeMethod",
    "ProjectConfig",
    "PrototypeMethod",
    "Recipe",
    "RobustnessGate",
    "ScratchMethod",
    "ServingSection",
    "ShippedBackbone",
    "SingleBackbone",
    "SizeGate",
    "SlicesGate",
    "SplitSection",
    "TestReuseGate",
    "TimmBackbone",
    "TransformersBackbone",
    "TriggerSection",
    "load_config",
]
