"""The routes where an image has any number of labels."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.core.predict import Predictor
from pipelines.core.request_log import read_feedback, read_requests
from serving.app import build_app
from serving.endpoint import Endpoint
from serving.schemas import PredictAnswer
from serving.settings import EndpointSettings


@pytest.fixture
def client(bundle_of_sets: Any, tmp_path: Path) -> Iterator[TestClient]:
    endpoint = Endpoint(EndpointSettings(log_dir=tmp_path / "log"), bundle_of_sets.path)
    endpoint.start()
    while endpoint.slot.current is None:
        time.sleep(0.01)
    with TestClient(build_app(lambda: endpoint), raise_server_exceptions=False) as client:
        yield client
    endpoint.stop()


def files(images: list[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{index}.png", image)) for index, image in enumerate(images)]


def test_answers_name_every_label_that_reaches_its_threshold(client: TestClient, bundle_of_sets: Any, helpers: Any) -> None:
    images = [helpers["png"](seed) for seed in range(12)]
    expected = Predictor.load(bundle_of_sets.path, verify=False).predict(images)
    response = client.post("/predict", files=files(images))
    assert response.status_code == 200
    assert len(set(expected.labels)) > 1
    thresholds = client.get("/model").json()["thresholds"]
    for answer, label in zip(response.json()["predictions"], expected.labels, strict=True):
        assert answer.keys() == {"id", "label", "labels", "probability", "probabilities"}
        named = [name for name, p in answer["probabilities"].items() if p >= thresholds[name]]
        assert (answer["labels"], answer["label"], "|".join(named)) == (named, label, label)
        chances = [p if name in named else 1 - p for name, p in answer["probabilities"].items()]
        assert answer["probability"] == pytest.approx(math.prod(chances))
    assert PredictAnswer.model_validate(response.json()).predictions[0].labels is not None


def test_the_document_says_what_feedback_takes(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Feedback"]["properties"]["label"]
    assert [kind["type"] for kind in schema["anyOf"]] == ["string", "array"]


def test_the_model_says_how_many_labels_an_image_has(client: TestClient, tmp_path: Path) -> None:
    model = client.get("/model").json()
    assert (model["labels_per_sample"], model["thresholds"]) == ("many", {"cat": 0.55, "dog": 0.45, "owl": 0.5})


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        ([], ""),
        ("", ""),
        (["owl", "cat"], "cat|owl"),
        ("owl|cat", "cat|owl"),
        (" dog | cat ", "cat|dog"),
        ("cat|dog|owl", "cat|dog|owl"),
        (["dog"], "dog"),
    ],
)
def test_feedback_is_logged_in_one_form(client: TestClient, tmp_path: Path, sent: str | list[str], logged: str) -> None:
    answer = client.post("/feedback", json={"id": uuid.uuid4().hex, "label": sent})
    assert (answer.status_code, answer.json()["n_accepted"]) == (200, 1)
    assert [line["label"] for line in read_feedback(tmp_path / "log")] == [logged]


@pytest.mark.parametrize("sent", [["yak"], "yak", "cat|yak", ["cat", "cat"], "cat|cat", "cat|", ["cat|dog"], [""]])
def test_what_is_no_set_of_the_bundles_labels_is_refused(client: TestClient, tmp_path: Path, sent: str | list[str]) -> None:
    fine = {"id": uuid.uuid4().hex, "label": "cat"}
    answer = client.post("/feedback", json={"feedback": [fine, {"id": uuid.uuid4().hex, "label": sent}]})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_label")
    assert "at 1; its labels: cat, dog, owl." in answer.json()["message"]
    assert "each once" in answer.json()["next_step"]
    assert list(read_feedback(tmp_path / "log")) == []


@pytest.mark.parametrize("sent", [{"cat": True}, [1], [["cat"]], None])
def test_feedback_of_a_wrong_form(client: TestClient, sent: Any) -> None:
    answer = client.post("/feedback", json={"id": uuid.uuid4().hex, "label": sent})
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_json")
    assert "label: this must be a string, or a list of strings." in answer.json()["message"]


def test_predictions_are_logged_as_texts_of_sets(client: TestClient, tmp_path: Path, small_images: list[bytes]) -> None:
    predictions = client.post("/predict", files=files(small_images)).json()["predictions"]
    logged = {line["request_id"]: line for line in read_requests(tmp_path / "log")}
    for prediction in predictions:
        assert logged[prediction["id"]]["label"] == prediction["label"]
        assert logged[prediction["id"]]["probabilities"] == pytest.approx(tuple(prediction["probabilities"].values()), rel=1e-5)


def test_one_label_an_image_answers_as_ever_and_takes_no_list(bundle: Any, tmp_path: Path, small_images: list[bytes]) -> None:
    endpoint = Endpoint(EndpointSettings(log_dir=tmp_path / "one"), bundle.path)
    endpoint.start()
    while endpoint.slot.current is None:
        time.sleep(0.01)
    with TestClient(build_app(lambda: endpoint)) as client:
        answer = client.post("/predict", files=files(small_images)).json()
        assert answer.keys() == {"request_id", "bundle", "predictions"}
        assert all(prediction.keys() == {"id", "label", "probability", "probabilities"} for prediction in answer["predictions"])
        assert all(prediction["probability"] == max(prediction["probabilities"].values()) for prediction in answer["predictions"])
        model = client.get("/model").json()
        assert (model["labels_per_sample"], model["thresholds"]) == ("one", None)
        for sent in (["cat"], [], "cat|dog"):
            refused = client.post("/feedback", json={"id": uuid.uuid4().hex, "label": sent})
            assert (refused.status_code, refused.json()["code"]) == (422, "unknown_label")
    endpoint.stop()
