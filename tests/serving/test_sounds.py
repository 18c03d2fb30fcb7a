"""The routes over a model of sounds: what it takes, what it refuses, and what it says of both."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipelines.core.predict import Predictor
from pipelines.core.request_log import read_requests
from pipelines.core.sound_statistics import AUDIO_STATISTICS
from serving.app import build_app
from serving.client import EndpointClient

Wav = Callable[..., bytes]


@pytest.fixture
def wav(helpers: dict[str, Callable[..., Any]]) -> Wav:
    return helpers["wav"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def client(start_endpoint: Any, audio_bundle: Any, log: Path) -> Any:
    limits = {"max_inputs_per_request": 6, "max_request_seconds": 30, "max_request_mb": 4}
    endpoint = start_endpoint(audio_bundle.path, log_dir=log, raw_dir=log / "raw", sample_raw_frac=1, **limits)
    with TestClient(build_app(lambda: endpoint), raise_server_exceptions=False) as client:
        yield client


def as_json(*sounds: bytes) -> dict[str, Any]:
    return {"sounds": [{"content_base64": base64.b64encode(sound).decode()} for sound in sounds]}


def uploaded(client: TestClient, *sounds: bytes) -> Any:
    return client.post("/predict", files=[("sounds", (f"{place}.wav", sound)) for place, sound in enumerate(sounds)])


def test_answers_what_the_predictor_answers_in_both_forms(client: TestClient, audio_bundle: Any, wav: Wav) -> None:
    sounds = [wav(0.3), wav(1.7, 2_000, 44_100), wav(0.9, 200, kind="FLAC"), wav(0.9, 900, kind="OGG")]
    expected = Predictor.load(audio_bundle.path, verify=False).predict(sounds)
    for response in (uploaded(client, *sounds), client.post("/predict", json=as_json(*sounds))):
        assert response.status_code == 200, response.text
        rows = np.array([list(one["probabilities"].values()) for one in response.json()["predictions"]])
        np.testing.assert_allclose(rows, expected.probabilities, rtol=0, atol=1e-6)
        assert [one["label"] for one in response.json()["predictions"]] == list(expected.labels)


def test_the_log_has_the_statistics_of_sounds_and_the_kept_file(client: TestClient, log: Path, wav: Wav) -> None:
    sound = wav(0.5)
    identity = uploaded(client, sound).json()["predictions"][0]["id"]
    (record,) = [one for one in read_requests(log) if one["request_id"] == identity]
    said = dict(zip(AUDIO_STATISTICS, record["statistics"], strict=True))
    assert said["log2_seconds"] == pytest.approx(-1)
    assert (log / "raw" / record["raw_sha256"]).read_bytes() == sound


def test_the_model_says_what_it_takes(client: TestClient) -> None:
    assert client.get("/model").json()["takes"] == "sounds"
    assert "JsonSoundsRequest" in client.get("/openapi.json").text


@pytest.mark.parametrize(
    ("case", "status", "code", "said"),
    [
        ("nothing", 422, "bad_sound", "sounds[0]: 0 bytes that do not open as a sound file"),
        ("torn", 422, "bad_sound", "a sound file"),
        ("no samples", 422, "bad_sound", "without a sample of sound"),
        ("an image", 422, "bad_sound", "none of these formats"),
        ("25 seconds", 422, "bad_sound", "a sound file of 25 s"),
        ("40 seconds", 422, "too_many_seconds", "40 seconds together; the limit is 30"),
        ("an hour", 422, "too_many_seconds", "3600 seconds together; the limit is 30"),
    ],
)
def test_each_bad_sound_is_named(
    client: TestClient, wav: Wav, small_images: list[bytes], case: str, status: int, code: str, said: str
) -> None:
    contents = {
        "nothing": b"",
        "torn": wav(0.5, kind="FLAC")[:600],
        "no samples": wav(0),
        "an image": small_images[0],
        "25 seconds": wav(25),
        "40 seconds": wav(40),
        # An hour of silence takes little space: what its header states is what counts.
        "an hour": wav(3_600, 0, 1_000, "FLAC"),
    }
    response = client.post("/predict", json=as_json(contents[case]))
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert said in response.json()["message"]
    assert response.json()["next_step"]


def test_images_get_told_what_the_model_takes(client: TestClient, small_images: list[bytes]) -> None:
    response = client.post("/predict", files=[("images", ("a.png", small_images[0]))])
    assert (response.status_code, response.json()["code"]) == (422, "wrong_kind")
    assert "takes sounds, as files of a form or as JSON" in response.json()["message"]


def test_wrong_base64_is_named(client: TestClient) -> None:
    response = client.post("/predict", json={"sounds": [{"content_base64": "%%%"}]})
    assert response.json()["code"] == "wrong_base64"
    assert response.json()["message"].startswith("sounds[0].content_base64")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda tail: b"RIFF$\0\0\0WAVEfmt " + tail)))
def test_any_bytes_are_answered_or_refused_with_a_reason(client: TestClient, content: bytes) -> None:
    response = client.post("/predict", json=as_json(content))
    assert response.status_code in (200, 422)
    assert response.status_code == 200 or response.json()["next_step"]


@pytest.mark.slow
def test_a_bento_of_sounds_answers_over_http(audio_bundle: Any, tmp_path: Path, free_port: int, wav: Wav) -> None:
    from serving.build import build_bento
    from serving.process import serve_bento
    from serving.settings import EndpointSettings

    built = build_bento(audio_bundle.path, "test-sounds", tmp_path / "bentoml")
    requirements = (built.path / "env" / "python" / "requirements.txt").read_text()
    assert "soundfile==" in requirements
    assert "transformers" not in requirements
    with (
        serve_bento(built.path, "127.0.0.1", free_port, EndpointSettings(), tmp_path / "server.log") as running,
        EndpointClient(running.url) as asked,
    ):
        answer = asked.predict([wav(0.4), wav(1.5)], kind="audio")
    expected = Predictor.load(audio_bundle.path, verify=False).predict([wav(0.4), wav(1.5)])
    assert [one.label for one in answer.predictions] == list(expected.labels)
