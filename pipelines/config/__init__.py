"""A project's configuration: one YAML file in `conf/`, checked whole before anything runs.

Frozen, no unknown keys, all errors at once, each with its path, the value and what is allowed. One module for each part of the file.
"""

from pipelines.config.backbones import Backbone, BestOfBackbones, ShippedBackbone, SingleBackbone, TimmBackbone
from pipelines.config.compute import ComputeSection
from pipelines.config.data import DataSection, SplitSection
from pipelines.config.gates import BeatsChampionGate, Gate, GoldensGate, MinMetricGate
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
    "AugmentSection",
    "AutoMethod",
    "Backbone",
    "BeatsChampionGate",
    "BestOfBackbones",
    "BundleSection",
    "ComputeSection",
    "DataSection",
    "FineTuneMethod",
    "Gate",
    "GoldensGate",
    "GradualMethod",
    "LpFtMethod",
    "Method",
    "MinMetricGate",
    "MonitorSection",
    "ProbeMethod",
    "ProjectConfig",
    "PrototypeMethod",
    "Recipe",
    "ScratchMethod",
    "ServingSection",
    "ShippedBackbone",
    "SingleBackbone",
    "SplitSection",
    "TimmBackbone",
    "TriggerSection",
    "load_config",
]
