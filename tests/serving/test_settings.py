"""Settings: the environment and back, and every wrong one named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pipelines.config import ServingSection
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
        max_inputs_per_request=n,
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


def test_a_limit_under_its_old_name_is_refused_and_not_left_alone() -> None:
    with pytest.raises(ConfigurationError, match=r"REGRAFT_MAX_IMAGES_PER_REQUEST.*Allowed: REGRAFT_MAX_INPUTS_PER_REQUEST"):
        settings_from_environment({"REGRAFT_MAX_IMAGES_PER_REQUEST": "4"})
    assert settings_from_environment({"REGRAFT_MAX_IMAGES_PER_REQUEST": ""}) == EndpointSettings()


def test_sampling_needs_a_folder() -> None:
    with pytest.raises(ConfigurationError, match="sample_raw_frac is above 0 and raw_dir is not set"):
        settings_from_environment({"REGRAFT_SAMPLE_RAW_FRAC": "0.5"})


def test_the_budget_holds_one_request() -> None:
    with pytest.raises(ConfigurationError, match="max_buffered_mb is 1; it must be at least max_request_mb, 16"):
        settings_from_environment({"REGRAFT_MAX_BUFFERED_MB": "1"})


def _limits(model: type[BaseModel], name: str) -> dict[str, float]:
    found = model.model_fields[name].metadata
    return {sign: getattr(item, sign) for item in found for sign in ("ge", "gt", "le", "lt") if getattr(item, sign, None) is not None}


def test_what_the_conf_file_allows_also_serves(tmp_path: Path) -> None:
    """The two models state their limits apart; a value that passes `regraft check` must not fail when the endpoint starts."""
    both = sorted(set(ServingSection.model_fields) & set(EndpointSettings.model_fields))
    assert both == ["max_inputs_per_request", "max_request_mb", "sample_raw_frac", "timeout_seconds"]
    for name in both:
        section, settings = _limits(ServingSection, name), _limits(EndpointSettings, name)
        assert "le" in section, name
        assert section["le"] <= settings["le"], name
        assert section.get("ge", section.get("gt", 0)) >= settings.get("ge", settings.get("gt", 0)), name
    largest = {name: _limits(ServingSection, name)["le"] for name in both}
    EndpointSettings.model_validate(ServingSection.model_validate(largest).model_dump(include=set(both)) | {"raw_dir": tmp_path})
