"""Settings: the environment and back, and every wrong one named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import ConfigurationError
from serving.settings import EndpointSettings, settings_from_environment


@given(
    frac=st.floats(0, 1),
    size=st.floats(0.001, 400),
    n=st.integers(1, 10_000),
    pointer=st.none() | st.just(Path("/srv/pointer.json")),
)
def test_to_the_environment_and_back(frac: float, size: float, n: int, pointer: Path | None) -> None:
    settings = EndpointSettings(
        sample_raw_frac=frac,
        max_request_mb=size,
        max_images_per_request=n,
        pointer=pointer,
        log_dir=Path("/srv/log"),
        raw_dir=Path("/srv/raw"),
    )
    assert settings_from_environment({**settings.as_environment(), "HOME": "/root"}) == settings


def test_relative_paths_count_from_where_they_were_stated() -> None:
    assert EndpointSettings(log_dir=Path("log")).as_environment()["REGRAFT_LOG_DIR"] == str(Path.cwd() / "log")


def test_empty_variables_count_as_unset() -> None:
    assert settings_from_environment({"REGRAFT_POINTER": "", "REGRAFT_THREADS": ""}) == EndpointSettings()


def test_all_wrong_ones_are_named_together() -> None:
    wrong = {"REGRAFT_THREADS": "many", "REGRAFT_SAMPLE_RAW_FRAC": "2", "REGRAFT_MAX_REQUEST_MB": "-1", "REGRAFT_TIMEOUT_SECONDS": "nan"}
    with pytest.raises(ConfigurationError, match=r"wrong settings of the endpoint: .*docs/guides/endpoint.md") as caught:
        settings_from_environment(wrong)
    assert {finding.where for finding in caught.value.findings} == set(wrong)
    assert "(got 'many')" in str(caught.value)


def test_sampling_needs_a_folder() -> None:
    with pytest.raises(ConfigurationError, match="sample_raw_frac is above 0 and raw_dir is not set"):
        settings_from_environment({"REGRAFT_SAMPLE_RAW_FRAC": "0.5"})


def test_the_budget_holds_one_request() -> None:
    with pytest.raises(ConfigurationError, match="max_buffered_mb is 1; it must be at least max_request_mb, 16"):
        settings_from_environment({"REGRAFT_MAX_BUFFERED_MB": "1"})
