"""What the bundle carries, how it is served and watched, and what may start a retraining."""

from __future__ import annotations

from typing import Annotated

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


class MonitorSection(Section):
    """Windows of traffic against the reference.

    Attributes:
        window: Latest requests that make a window.
        min_window: Fewer is `insufficient_data`.
        false_alarm_rate: Chance that a window of unchanged traffic is called drift, over all signals together.
        n_permutations: Of the embedding test; at least 10 / false_alarm_rate.
        seed: Of those permutations.
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


class TriggerSection(Section):
    """When drift may start a retraining: only with something to learn from, and not again and again.

    Attributes:
        min_new_labels: Labels that came in since the champion's dataset version.
        cooldown_minutes: Between two retrainings, whatever became of the first.
    """

    min_new_labels: Annotated[int, Field(ge=1)] = 50
    cooldown_minutes: Annotated[float, Field(ge=0)] = 60
