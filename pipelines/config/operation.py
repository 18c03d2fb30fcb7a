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
    """What may start a retraining by itself: only something to learn from, and not again and again.

    Attributes:
        min_new_labels: Labels that came in since the champion's dataset version; fewer, and drift asks for labels instead. Where it is
            unknown whether drift costs anything, each start in the last 28 days doubles it.
        retrain_at_new_labels: So many new labels start a retraining although nothing has drifted; null: never.
        cooldown_minutes: Between two of these retrainings, whatever became of the first. Those that a person or a schedule starts do
            not count.
        failure_cooldown_minutes: After one of them that failed with an error, or after the second in a row that was killed; doubled for
            each further one in a row, up to a day. A run that gets to an outcome ends it, whoever started it.
        max_retrainings_per_week: Of these retrainings, in any seven days; interrupted ones count, too.
        on_harmless_drift: Whether a change that costs no accuracy (`monitor.harmful_loss_frac`) may start one, too.
        adapt_without_labels: Whether harmful drift without enough labels starts an adaptation to unlabelled inputs; its candidate is
            judged by the gates like any other.
        min_unlabelled: Raw inputs kept since the last adaptation that make one worth while.
    """

    min_new_labels: Annotated[int, Field(ge=1)] = 50
    retrain_at_new_labels: Annotated[int, Field(ge=1)] | None = None
    cooldown_minutes: Annotated[float, Field(ge=0)] = 60
    failure_cooldown_minutes: Annotated[float, Field(ge=0)] = 60
    max_retrainings_per_week: Annotated[int, Field(ge=1)] = 7
    on_harmless_drift: bool = False
    adapt_without_labels: bool = False
    min_unlabelled: Annotated[int, Field(ge=20)] = 200

    @model_validator(mode="after")
    def _not_below_the_least(self) -> TriggerSection:
        if self.retrain_at_new_labels is not None and self.retrain_at_new_labels < self.min_new_labels:
            raise ValueError(
                f"retrain_at_new_labels is {self.retrain_at_new_labels}, less than min_new_labels ({self.min_new_labels}), below which"
                " nothing is started; raise it, or lower min_new_labels"
            )
        return self


class OperationSection(Section):
    """How runs are carried out on a Prefect server: time limits, retries, notifications, and what the reconciler makes good.

    Attributes:
        notify_block: Prefect notification block, `TYPE/NAME`, for example `slack-webhook/team` or `custom-webhook/team`; `regraft deploy`
            tells it of failed runs, runs that wait for a person, promotions, refusals and alarms. null: nobody is told.
        retrain_timeout_minutes: Of one retraining, without the time that it waits for a person.
        batch_timeout_minutes: Of one batch of predictions.
        monitor_timeout_minutes: Of one look at the traffic, and of one reconciliation.
        task_timeout_minutes: Of one step of a run, its waiting for the device included.
        n_retries: Of a step that failed because something could not be reached: a remote, the Hub, the server. Nothing else is retried.
        retry_delay_seconds: Before the first of them; doubled each time, and up to half of it is added at random.
        device_wait_minutes: How long a training waits for another one to leave the GPU, or the processor where `device` is cpu.
        reconcile_hours: An alarm or a crashed run that is older is left alone.
        max_resumes: How often a run that crashed is started again.
    """

    notify_block: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9-]*$")] | None = None
    retrain_timeout_minutes: Annotated[float, Field(gt=0)] = 2_880
    batch_timeout_minutes: Annotated[float, Field(gt=0)] = 1_440
    monitor_timeout_minutes: Annotated[float, Field(gt=0)] = 60
    task_timeout_minutes: Annotated[float, Field(gt=0)] = 1_440
    n_retries: Annotated[int, Field(ge=0, le=10)] = 3
    retry_delay_seconds: Annotated[float, Field(gt=0, le=3_600)] = 10
    device_wait_minutes: Annotated[float, Field(ge=0)] = 720
    reconcile_hours: Annotated[float, Field(gt=0, le=168)] = 24
    max_resumes: Annotated[int, Field(ge=0, le=10)] = 2
