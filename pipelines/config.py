"""A project's configuration: one YAML file in `conf/`, checked whole before anything runs.

Frozen, no unknown keys, all errors at once, each with its path, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipelines.conf_yaml import apply_override, read_mapping
from pipelines.core.errors import ConfigurationError, Finding
from pipelines.core.preprocess import ImagePreprocess

Fraction = Annotated[float, Field(ge=0, le=1)]
Level = Annotated[float, Field(gt=0.5, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(_Section):
    """What the data must look like.

    Attributes:
        labels_table: Relative to `data/` and below it; a .csv or .parquet file.
        min_samples_per_class: Fewer is refused.
        max_duplicate_frac: Share of samples with the bytes of another; more is a warning.
    """

    labels_table: str = "labels.csv"
    min_samples_per_class: Annotated[int, Field(ge=3)] = 10
    max_duplicate_frac: Fraction = 0.05

    @field_validator("labels_table")
    @classmethod
    def _below_data(cls, name: str) -> str:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix not in (".csv", ".parquet"):
            raise ValueError("give a path below data/, without a leading / and without .., that ends in .csv or .parquet")
        return name


class SplitSection(_Section):
    """Shares of the splits. A sample's split is a hash of its group or content with `salt`, so it never moves."""

    train: Annotated[float, Field(gt=0, lt=1)] = 0.6
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(gt=0, lt=1)] = 0.25
    salt: str = "regraft"

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitSection:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + validation + test is {total:g}; it must be 1")
        return self


class ShippedBackbone(_Section):
    """A backbone that comes with the project, in `backbones/`."""

    kind: Literal["shipped"]
    name: str = "omniglot_resnet"


class TimmBackbone(_Section):
    """A backbone of timm, from a local safetensors file or from the Hub.

    Attributes:
        name: timm's name of the architecture, for example `mobilenetv2_100`.
        weights: A safetensors file, its path relative to the workspace; a JSON file of the same stem beside it may state mean, std,
            input_size, crop_pct, pad_type, sha256, licence.
        sha256: Of `weights`; needed where no JSON file beside it states it.
        hub: Repository on the Hugging Face Hub, for example `timm/resnet18.a1_in1k`; needs `revision`, a full commit id.
        in_channels: 1 sums the first layer's filters over the colours, as timm does.
        model_args: Arguments of timm's constructor, for example `{pad_type: same}`.
        preprocess: Replaces what the weights' own description says.
    """

    kind: Literal["timm"]
    name: str
    weights: Path | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    hub: str | None = None
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    in_channels: Literal[1, 3] = 3
    model_args: dict[str, bool | int | float | str] = {}
    preprocess: ImagePreprocess | None = None

    @model_validator(mode="after")
    def _one_source(self) -> TimmBackbone:
        if (self.weights is None) == (self.hub is None):
            raise ValueError("give either weights (a safetensors file) or hub (a repository) with revision (a full commit id)")
        if self.hub is not None and self.revision is None:
            raise ValueError("hub needs revision, a full commit id of 40 hex digits: a branch name may change under you")
        return self


class ProbeMethod(_Section):
    """A linear probe on frozen features: multinomial logistic regression.

    Attributes:
        strengths: Inverse L2 strengths (scikit-learn's C) to choose from by cross-validation on the training split.
        folds: Of that cross-validation.
    """

    kind: Literal["probe"]
    strengths: tuple[Annotated[float, Field(gt=0)], ...] = (0.01, 0.1, 1.0, 10.0)
    folds: Annotated[int, Field(ge=2)] = 3


class LpFtMethod(_Section):
    """Linear probe, then fine-tuning from it (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).

    Attributes:
        probe: The head's start.
        n_upper_blocks: How many of the last blocks are trained, and the head with them; 0 is the probe alone: nothing is trained after it.
        learning_rate: Peak, of the head; each block below has `layer_decay` times that of the one above.
        early_stopping_epochs: Stop after as many epochs without a better validation loss; the best epoch's weights are kept.
    """

    kind: Literal["lp_ft"]
    probe: ProbeMethod = ProbeMethod(kind="probe")
    n_upper_blocks: Annotated[int, Field(ge=0)] = 2
    epochs: Annotated[int, Field(ge=1)] = 12
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.7
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_frac: Fraction = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    early_stopping_epochs: Annotated[int, Field(ge=1)] = 4
    augment: Literal["none", "shift_scale_rotate"] = "shift_scale_rotate"


class MinMetricGate(_Section):
    """The lower end of the metric's confidence interval on the test split clears a floor."""

    kind: Literal["min_metric"]
    metric: Literal["accuracy"] = "accuracy"
    floor: Fraction
    level: Level = 0.95
    min_n: Annotated[int, Field(ge=1)] = 30


class BeatsChampionGate(_Section):
    """Paired on the same test samples: not worse than the champion by more than a margin, overall and on every domain.

    Where drift began the run, also better than the champion on the domains that are new since it was trained.

    Attributes:
        margin: Loss of accuracy that would be acceptable, in [0, 1].
        level: Of the one-sided test; 0.95 promotes a candidate that is worse by the margin in at most 5 % of runs.
        min_n: Test samples needed overall and on each drifted domain; fewer is `insufficient_data`. Other domains that are small
            are pooled (docs/gates.md).
        without_champion: What a first run gets. There is nothing to compare with, so the conf file must say it.
    """

    kind: Literal["beats_champion"]
    margin: Fraction = 0.03
    level: Level = 0.95
    min_n: Annotated[int, Field(ge=1)] = 30
    without_champion: Literal["pass", "refuse"]


class GoldensGate(_Section):
    """A fresh process that loads the sealed bundle gives the stored answers for the stored inputs."""

    kind: Literal["goldens"]


Backbone = Annotated[ShippedBackbone | TimmBackbone, Field(discriminator="kind")]
Method = Annotated[ProbeMethod | LpFtMethod, Field(discriminator="kind")]
Gate = Annotated[MinMetricGate | BeatsChampionGate | GoldensGate, Field(discriminator="kind")]


class BundleSection(_Section):
    """What the bundle carries besides the model."""

    n_goldens: Annotated[int, Field(ge=4, le=256)] = 16
    n_compact_embedding: Annotated[int, Field(ge=2, le=128)] = 32
    max_reference_samples: Annotated[int, Field(ge=50)] = 2_000


class ServingSection(_Section):
    """The endpoint.

    Attributes:
        max_request_mb: Larger requests are answered with 413.
        max_images_per_request: More are answered with 413.
        sample_raw_frac: Share of inputs whose raw bytes are kept, so that feedback can become training data. 0 keeps none.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 3000
    # The bounds are those of `serving.settings.EndpointSettings`, so that what passes here also serves.
    max_request_mb: Annotated[float, Field(gt=0, le=512)] = 16
    max_images_per_request: Annotated[int, Field(ge=1, le=10_000)] = 64
    timeout_seconds: Annotated[int, Field(ge=1, le=240)] = 30
    sample_raw_frac: Fraction = 0.0


class MonitorSection(_Section):
    """Windows of traffic against the reference.

    Attributes:
        window: Latest requests that make a window.
        min_window: Fewer is `insufficient_data`.
        false_alarm_rate: Chance that a window of unchanged traffic is called drift, over all signals together.
        n_permutations: Of the embedding test; at least 10 / false_alarm_rate.
    """

    window: Annotated[int, Field(ge=20)] = 1_000
    min_window: Annotated[int, Field(ge=20)] = 100
    false_alarm_rate: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    n_permutations: Annotated[int, Field(ge=99)] = 1_999
    seed: int = 0

    @model_validator(mode="after")
    def _p_values_fine_enough(self) -> MonitorSection:
        if self.n_permutations < 10 / self.false_alarm_rate:
            raise ValueError(
                f"n_permutations must be at least 10 / false_alarm_rate = {10 / self.false_alarm_rate:g}, or no p-value is small enough"
            )
        return self


class TriggerSection(_Section):
    """When drift may start a retraining: only with something to learn from, and not again and again."""

    min_new_labels: Annotated[int, Field(ge=1)] = 50
    cooldown_minutes: Annotated[float, Field(ge=0)] = 60


# What a bundle depends on; the other sections may change without a retraining.
LEARNING_SECTIONS = frozenset({"project", "task", "labels", "data", "split", "backbone", "method", "device", "seed", "bundle"})


class ProjectConfig(_Section):
    """The whole file.

    Attributes:
        project: Name of the model in git tags, events and the endpoint.
        labels: All allowed labels, in the order of the model's outputs.
        device: Where training runs; a missing GPU is an error, never a silent change to the CPU.
        seed: Of everything random in training.
    """

    project: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{1,40}[a-z0-9]$")]
    task: Literal["image"]
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    data: DataSection = DataSection()
    split: SplitSection = SplitSection()
    backbone: Backbone
    method: Method
    device: Literal["cpu", "cuda"] = "cpu"
    seed: int = 0
    gates: Annotated[tuple[Gate, ...], Field(min_length=1)]
    bundle: BundleSection = BundleSection()
    serving: ServingSection = ServingSection()
    monitor: MonitorSection = MonitorSection()
    trigger: TriggerSection = TriggerSection()

    @model_validator(mode="after")
    def _no_duplicates(self) -> ProjectConfig:
        doubles = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if doubles:
            raise ValueError(f"labels are listed twice: {', '.join(doubles)}")
        kinds = [gate.kind for gate in self.gates]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"gates are listed twice: {', '.join(sorted({kind for kind in kinds if kinds.count(kind) > 1}))}")
        return self


def load_config(path: Path, overrides: Sequence[str] = ()) -> ProjectConfig:
    """Reads a conf file.

    Args:
        path: The YAML file.
        overrides: `a.b=c` items, as given with `--set`; the value is read as YAML and passes the same checks. Gates are refused.

    Raises:
        ConfigurationError: The file is missing, no YAML mapping, has a key twice, or has wrong values: all of them are listed.
    """
    content = read_mapping(path)
    for override in overrides:
        apply_override(content, override)
    try:
        return _with_absolute_weights(ProjectConfig.model_validate(content), path)
    except ValidationError as error:
        findings = [Finding(_dotted(item["loc"]), _describe(item)) for item in error.errors(include_url=False)]
        raise ConfigurationError(
            got=f"{path.name} with {len(findings)} wrong {'entry' if len(findings) == 1 else 'entries'}: "
            + "; ".join(f"{finding.where}: {finding.problem}" for finding in findings)
            + ".",
            allowed="the keys and values that docs/guides/configuration.md lists.",
            next_step=f"correct {'it' if len(findings) == 1 else 'them'} and run the command again.",
            findings=findings,
        ) from error


def _with_absolute_weights(config: ProjectConfig, path: Path) -> ProjectConfig:
    if not isinstance(config.backbone, TimmBackbone) or config.backbone.weights is None:
        return config
    workspace = path.absolute().parent.parent
    backbone = config.backbone.model_copy(update={"weights": workspace / config.backbone.weights.expanduser()})
    return config.model_copy(update={"backbone": backbone})


def _allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at this place; a union's part of the location is the kind that was chosen."""
    section: Any = ProjectConfig
    for part in location:
        candidates = [section] if not get_args(section) else [*_models(section)]
        fields = {name: field.annotation for model in candidates for name, field in getattr(model, "model_fields", {}).items()}
        chosen = [model for model in candidates if _kind(model) == part]
        section = chosen[0] if chosen else fields.get(str(part), section)
    models = _models(section)
    return sorted({name for model in models for name in model.model_fields})


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _kind(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return str(get_args(field.annotation)[0]) if field else None


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(the whole file)"


def _describe(item: Any) -> str:
    value = item["input"]
    if item["type"] == "extra_forbidden":
        return f"{str(item['loc'][-1])!r} is no key here; allowed: {', '.join(_allowed_keys(item['loc'][:-1]))}"
    shown = "" if item["type"] == "missing" or isinstance(value, dict) else f" (got {value!r})"
    return f"{item['msg'][:1].lower()}{item['msg'][1:]}{shown}"
