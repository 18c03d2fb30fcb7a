"""The endpoint's settings: environment variables into one frozen object, checked whole before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.core.errors import ConfigurationError, Finding

PREFIX = "REGRAFT_"
# It was of images when there were no other inputs.
_OLD_NAMES = {"REGRAFT_MAX_IMAGES_PER_REQUEST": "REGRAFT_MAX_INPUTS_PER_REQUEST"}


class EndpointSettings(BaseModel):
    """How an endpoint serves. Each field is the environment variable REGRAFT_ + its name in capitals; an empty one counts as unset.

    Attributes:
        pointer: JSON file that names the bundle to serve; it is watched. Unset: the bundle inside the Bento, for good.
        log_dir: Folder of the request log. Unset: nothing is logged, and monitoring has nothing to see.
        raw_dir: Folder for raw inputs that were drawn for keeping.
        sample_raw_frac: Share of samples whose raw bytes are kept, in [0, 1]; above 0 it needs `raw_dir`.
        max_request_mb: Larger bodies are answered with 413. 1 MB is 1,000,000 bytes.
        max_inputs_per_request: More are answered with 413.
        max_request_megapixels: Pixels of all images of a request together; more are answered with 422. Bounds memory and time, which
            bytes do not: an image of 50 million pixels fits 50 kB.
        max_request_characters: Of all texts of a request together; more are answered with 422.
        max_request_seconds: Of all sounds of a request together; more are answered with 422.
        timeout_seconds: From the request's first byte to its answer; then 408 while it is still arriving, else 504.
        threads: Requests that are worked on at once.
        max_waiting: Requests that may wait for a thread; more are answered with 503.
        max_buffered_mb: Bytes of all bodies in memory at once; more are answered with 503.
        poll_seconds: How often the pointer is read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pointer: Path | None = None
    log_dir: Path | None = None
    raw_dir: Path | None = None
    sample_raw_frac: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_request_mb: Annotated[float, Field(gt=0, le=1_000)] = 16
    max_inputs_per_request: Annotated[int, Field(ge=1, le=10_000)] = 64
    max_request_megapixels: Annotated[float, Field(gt=0, le=10_000)] = 100
    max_request_characters: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000_000
    max_request_seconds: Annotated[int, Field(ge=1, le=100_000)] = 600
    # BentoML ends a request after 300 s with an answer of its own; ours must come first.
    timeout_seconds: Annotated[float, Field(gt=0, le=240)] = 30
    threads: Annotated[int, Field(ge=1, le=64)] = 2
    max_waiting: Annotated[int, Field(ge=0, le=10_000)] = 64
    max_buffered_mb: Annotated[float, Field(gt=0)] = 512
    poll_seconds: Annotated[float, Field(gt=0, le=60)] = 0.5

    @property
    def max_request_bytes(self) -> int:
        """`max_request_mb` in bytes."""
        return int(self.max_request_mb * 1_000_000)

    @property
    def max_request_pixels(self) -> int:
        """`max_request_megapixels` in pixels."""
        return int(self.max_request_megapixels * 1_000_000)

    @model_validator(mode="after")
    def _sampling_has_a_folder(self) -> EndpointSettings:
        if self.sample_raw_frac > 0 and self.raw_dir is None:
            raise ValueError("sample_raw_frac is above 0 and raw_dir is not set; give raw_dir, or set sample_raw_frac to 0")
        if self.max_buffered_mb < self.max_request_mb:
            raise ValueError(f"max_buffered_mb is {self.max_buffered_mb:g}; it must be at least max_request_mb, {self.max_request_mb:g}")
        return self

    def as_environment(self) -> dict[str, str]:
        """The variables that `settings_from_environment` reads back as these settings."""
        stated = self.model_dump(exclude_none=True)
        return {f"{PREFIX}{name.upper()}": str(value.absolute() if isinstance(value, Path) else value) for name, value in stated.items()}


def settings_from_environment(environment: Mapping[str, str]) -> EndpointSettings:
    """Reads the settings from environment variables; other variables are left alone.

    Raises:
        ConfigurationError: Names each variable that is wrong, its value and what is allowed.
    """
    names = {f"{PREFIX}{name.upper()}": name for name in EndpointSettings.model_fields}
    _refuse_old_names(environment)
    try:
        return EndpointSettings.model_validate({field: environment[name] for name, field in names.items() if environment.get(name)})
    except ValidationError as error:
        findings = [
            Finding(_variable(item["loc"]), f"{item['msg']} (got {_shown(item['input'])})") for item in error.errors(include_url=False)
        ]
        raise ConfigurationError(
            got="wrong settings of the endpoint: " + "; ".join(f"{finding.where}: {finding.problem}" for finding in findings) + ".",
            allowed="the variables and values that docs/guides/endpoint.md lists.",
            next_step="correct the variables and start the endpoint again.",
            findings=findings,
        ) from error


def _refuse_old_names(environment: Mapping[str, str]) -> None:
    # Left alone like any other variable, an old name would take its limit away without a word.
    old = {name: new for name, new in _OLD_NAMES.items() if environment.get(name)}
    if old:
        raise ConfigurationError(
            got=f"settings of the endpoint under names that it had before: {', '.join(sorted(old))}.",
            allowed=f"{', '.join(sorted(old.values()))}.",
            next_step="rename the variables and start the endpoint again.",
            findings=[Finding(name, f"is called {new} now") for name, new in sorted(old.items())],
        )


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + str(location[0]).upper() if location else "the settings together"


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else "several of them"
