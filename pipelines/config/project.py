"""The whole conf file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.config.adaptation import AdaptMethod, Method
from pipelines.config.backbones import Backbone
from pipelines.config.card import CardSection
from pipelines.config.compute import ComputeSection
from pipelines.config.data import DataSection, SplitSection
from pipelines.config.gates import SHIPPING_GATES, AdaptationGate, Gate, MinMetricGate, SlicesGate
from pipelines.config.methods import AutoMethod
from pipelines.config.operation import BundleSection, MonitorSection, OperationSection, ServingSection, TriggerSection
from pipelines.config.section import Section
from pipelines.config.tasks import (
    adaptation_problem,
    backbone_problem,
    data_problem,
    gate_problem,
    method_problem,
    pairs_problem,
    with_task_defaults,
    zero_shot_problem,
)
from pipelines.config.zero_shot import ZeroShotSection
from pipelines.core.label_sets import SEPARATOR, LabelsPerSample

# What a bundle depends on; the other sections may change without a retraining.
LEARNING_SECTIONS = frozenset(
    {"project", "task", "labels", "labels_per_sample", "data", "split", "backbone", "method", "device", "compute", "seed", "bundle"}
)
# Where files and programs lie on this machine and how many threads it has, for `model_dump(exclude=…)`: no part of what a run depends on,
# and never written into what it makes.
MACHINE_PATHS: Any = {
    "backbone": {"weights": True, "folder": True, "candidates": {"__all__": {"weights"}}},
    "compute": {"launch", "n_workers"},
    "zero_shot": {"clip": {"folder"}},
}


class ProjectConfig(Section):
    """The whole file.

    Attributes:
        project: Name of the model in git tags, events and the endpoint.
        task: What a sample is: an image file, a text in a column of the labels table, or a sound file.
        labels: All allowed labels, in the order of the model's outputs.
        labels_per_sample: `many`: a sample has any number of the labels, written with | between them (`cat|dog`), or none.
        adaptation: How `regraft retrain --adapt`, and drift without labels (`trigger.adapt_without_labels`), adapt the method's result.
        device: Where training runs; a missing GPU is an error, never a silent change to the CPU.
        seed: Of everything random in training.
    """

    project: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{1,40}[a-z0-9]$")]
    task: Literal["image", "text", "audio"]
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    labels_per_sample: LabelsPerSample = "one"
    data: DataSection = DataSection()
    split: SplitSection = SplitSection()
    backbone: Backbone
    method: Method = AutoMethod()
    adaptation: AdaptMethod = AdaptMethod()
    device: Literal["cpu", "cuda"] = "cpu"
    compute: ComputeSection = ComputeSection()
    seed: int = 0
    gates: Annotated[tuple[Gate, ...], Field(min_length=1)]
    zero_shot: ZeroShotSection = ZeroShotSection()
    bundle: BundleSection = BundleSection()
    serving: ServingSection = ServingSection()
    monitor: MonitorSection = MonitorSection()
    trigger: TriggerSection = TriggerSection()
    operation: OperationSection = OperationSection()
    card: CardSection = CardSection()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, values: Any) -> Any:
        return with_task_defaults(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _fits_the_task(self) -> ProjectConfig:
        problems = (
            backbone_problem(self.task, self.backbone),
            method_problem(self.task, self.method),
            pairs_problem(self.labels_per_sample, self.compute.processes, self.method),
            gate_problem(self.task, self.gates),
            data_problem(self.task, self.data),
            zero_shot_problem(self.task, self.labels, self.zero_shot),
            self._adaptation_problem(),
        )
        if problem := next(filter(None, problems), ""):
            raise ValueError(problem)
        return self

    def _adaptation_problem(self) -> str:
        if isinstance(self.method, AdaptMethod):
            problem = self.adaptation_problem()
            return f"method: {problem}" if problem else ""
        # Few projects ever adapt: what the section's defaults do not suit is refused where an adaptation may start by itself.
        starts = self.trigger.adapt_without_labels
        if starts and self.adaptation.unlabelled is not None:
            return "adaptation: unlabelled names one snapshot, and trigger.adapt_without_labels adapts to the inputs of its day; remove one"
        problem = self.adaptation_problem() if starts else method_problem(self.task, self.adapting)
        return f"adaptation: {problem}" if problem else ""

    def adaptation_problem(self) -> str:
        """Why `regraft retrain --adapt` cannot run under this configuration; empty where it can."""
        return adaptation_problem(self.task, self.labels_per_sample, self.compute.processes, self.adapting)

    @property
    def adapting(self) -> AdaptMethod:
        """How a run adapts: as the method says where it is `adapt`; else the section `adaptation`, of what the method gives."""
        return self.method if isinstance(self.method, AdaptMethod) else self.adaptation.model_copy(update={"source": self.method})

    @model_validator(mode="after")
    def _no_duplicates(self) -> ProjectConfig:
        doubles = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if doubles:
            raise ValueError(f"labels are listed twice: {', '.join(doubles)}")
        names = [_gate_name(gate) for gate in self.gates]
        if len(set(names)) != len(names):
            raise ValueError(f"gates are listed twice: {', '.join(sorted({name for name in names if names.count(name) > 1}))}")
        return self

    @model_validator(mode="after")
    def _asks_before_it_serves(self) -> ProjectConfig:
        if all(isinstance(gate, AdaptationGate) for gate in self.gates):
            raise ValueError(
                "the only gate is adaptation, which asks nothing of a model that was not adapted; add another, such as min_metric"
            )
        if all(isinstance(gate, (*SHIPPING_GATES, AdaptationGate)) for gate in self.gates):
            kinds = ", ".join(gate.kind for gate in self.gates)
            raise ValueError(
                f"gates are all on the served Bento ({kinds}); give at least one on what the model answers, such as min_metric"
            )
        return self

    @model_validator(mode="after")
    def _adapts_to_something(self) -> ProjectConfig:
        if isinstance(self.method, AdaptMethod) and self.method.unlabelled is None:
            raise ValueError(
                "method adapt names no unlabelled samples; `regraft retrain --adapt` makes a snapshot of those that the endpoint has kept,"
                " and adapts by the section `adaptation`"
            )
        if isinstance(self.method, AdaptMethod) and not any(isinstance(gate, AdaptationGate) for gate in self.gates):
            raise ValueError("method adapt needs the gate adaptation: add {kind: adaptation} to the gates")
        if self.adaptation.source != AdaptMethod().source:
            raise ValueError("adaptation names a source; it is the project's method that is adapted: remove it")
        return self

    @model_validator(mode="after")
    def _gates_name_what_there_is(self) -> ProjectConfig:
        columns = ("domain", "label", *self.data.slices)
        for gate in self.gates:
            if isinstance(gate, MinMetricGate) and gate.label is not None and gate.label not in self.labels:
                raise ValueError(f"min_metric asks for the recall of {gate.label!r}; labels are {', '.join(self.labels)}")
            unknown = [name for name in gate.by if name not in columns] if isinstance(gate, SlicesGate) else []
            if unknown:
                raise ValueError(f"slices is by {', '.join(unknown)}; there are {', '.join(columns)} (data.slices names further columns)")
        return self

    @model_validator(mode="after")
    def _sets_can_be_written(self) -> ProjectConfig:
        if self.labels_per_sample == "one":
            return self
        unfit = [label for label in self.labels if not label or label != label.strip() or SEPARATOR in label]
        if unfit:
            shown = ", ".join(map(repr, unfit))
            raise ValueError(f"with labels_per_sample: many a label is not empty, has no blank at its ends and no {SEPARATOR}: {shown}")
        return self


def _gate_name(gate: Gate) -> str:
    """Several floors may be asked for, each of another metric or label; there is one of every other gate."""
    if not isinstance(gate, MinMetricGate):
        return gate.kind
    return " ".join((gate.kind, gate.metric, gate.label or "")).strip()
