"""What the bundle carries, how it is served and watched, and what may start a retraining."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from pipelines.config.section import Fraction, Section


class BundleSection(Section):
    """What the bundle carries besides the model.

    Attributes:
        n_goldens: Test samples whose answers are stored and must be reproduced.
        n_compact_embedding: Numbers that an embedding is cut down to in the request log and the drift reference.
        max_reference_samples: Test samples that drift is measured against.
    """

    n_goldens: Annotated[int, Field(ge=4, le=256)] = 16
    n_compact_embedding: Annotated[int, Field(ge=2, le=128)] = 32
    max_reference_samples: Annotated[int, Field(ge=50)] = 2_000


class ServingSection(Section):
    """The endpoint.

    Attributes:
        host: Address to listen at.
        port: TCP port to listen at.
        timeout_seconds: A request that takes longer is answered with an error.
        max_request_mb: Larger requests are answered with 413.
        max_inputs_per_request: More are answered with 413.
        sample_raw_frac: Share of inputs whose raw bytes are kept, so that feedback can become training data. 0 keeps none.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 3000
    # The bounds are those of `serving.settings.EndpointSettings`, so that what passes here also serves.
    max_request_mb: Annotated[float, Field(gt=0, le=512)] = 16
    max_inputs_per_request: Annotated[int, Field(ge=1, le=10_000)] = 64
    timeout_seconds: Annotated[int, Field(ge=1, le=240)] = 30
    sample_raw_frac: Fraction = 0.0

    @model_validator(mode="before")
    @classmethod
    def _inputs_are_not_all_images(cls, content: Any) -> Any:
        if isinstance(content, dict) and "max_images_per_request" in content:
            raise ValueError("max_images_per_request was renamed, as inputs may be texts, too: write max_inputs_per_request")
        return content


class MonitorSection(Section):
    """Windows of traffic against the reference.

    Attributes:
        window: Latest requests that make a window.
        min_window: Fewer is `insufficient_data`, whatever the tests would need.
        false_alarms_per_year: Expected number of false alarms a year, over all windows and tests together, however often the monitor looks.
        harmful_loss_frac: Loss of accuracy from which on a change counts as harm; 0.05 is five points.
        seed: Of permutations and resamples.
    """

    window: Annotated[int, Field(ge=20)] = 1_000
    min_window: Annotated[int, Field(ge=20)] = 100
    false_alarms_per_year: Annotated[float, Field(ge=0.01, le=365)] = 1.0
    harmful_loss_frac: Annotated[float, Field(gt=0, lt=1)] = 0.05
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _no_rate_of_a_window(cls, content: Any) -> Any:
        if isinstance(content, dict) and "false_alarm_rate" in content:
            raise ValueError(
                "false_alarm_rate, the chance of one window, was replaced: write `false_alarms_per_year: 1` for one false alarm"
                " a year, however often the monitor looks"
            )
        if isinstance(content, dict) and "n_permutations" in content:
            raise ValueError("n_permutations is no key any more: the tests draw as many as their level needs; take the line out")
        return content


class TriggerSection(Section):
    """When drift may start a retraining: only with something to learn from, and not again and again.

    Attributes:
        min_new_labels: Labels that came in since the champion's dataset version.
        cooldown_minutes: Between two retrainings, whatever became of the first.
        on_harmless_drift: Whether a change that costs no accuracy (`monitor.harmful_loss_frac`) may start one, too.
    """

    min_new_labels: Annotated[int, Field(ge=1)] = 50
    cooldown_minutes: Annotated[float, Field(ge=0)] = 60
    on_harmless_drift: bool = False
