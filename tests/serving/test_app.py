"""The routes over a real model, without a server between."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from pipelines.core.predict import Predictor
from pipelines.core.request_log import read_feedback, read_requests
from serving.app import build_app
from serving.endpoint import Endpoint
from tests.serving.routes import failure, serving


def files(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{index}.png", image)) for index, image in enumerate(images)]


def as_json(*images: bytes, **more: Any) -> dict[str, Any]:
    return {"images": [{"content_base64": base64.b64encode(image).decode()} for image in images], **more}


@pytest.fixture(scope="module")
def module_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def served(bundle: Any, module_log: Path) -> Any:
    with serving(bundle.path, log_dir=module_log, max_request_mb=1, max_inputs_per_request=4, max_request_megapixels=5) as both:
        yield both


@pytest.fixture(scope="module")
def endpoint(served: Any) -> Any:
    return served[0]


@pytest.fixture(scope="module")
def client(served: Any) -> Any:
    return served[1]


class TestPredict:
    def test_answers_what_the_predictor_answers(self, client: TestClient, bundle: Any, small_images: list[bytes]) -> None:
        expected = Predictor.load(bundle.path, verify=False).predict(small_images)
        for response in (client.post("/predict", files=files(*small_images)), client.post("/predict", json=as_json(*small_images))):
            answer = response.json()
            assert response.status_code == 200
            assert answer["bundle"] == bundle.id
            assert [one["label"] for one in answer["predictions"]] == list(expected.labels)
            rows = np.array([list(one["probabilities"].values()) for one in answer["predictions"]])
            np.testing.assert_allclose(rows, expected.probabilities, rtol=0, atol=1e-6)
            assert [one["probability"] for one in answer["predictions"]] == rows.max(axis=1).tolist()
            assert list(answer["predictions"][0]["probabilities"]) == ["cat", "dog", "owl"]

    def test_every_id_is_new_and_every_answer_is_logged(
        self, client: TestClient, module_log: Path, bundle: Any, small_images: list[bytes]
    ) -> None:
        answers = [client.post("/predict", files=files(*small_images), data={"domain": "scanner-2"}).json() for _ in range(2)]
        ids = [one["id"] for answer in answers for one in answer["predictions"]]
        assert len(set(ids)) == 6
        logged = {record["request_id"]: record for record in read_requests(module_log)}
        for answer in answers:
            for one in answer["predictions"]:
                record = logged[one["id"]]
                assert (record["label"], record["bundle"], record["domain"]) == (one["label"], bundle.id, "scanner-2")
                np.testing.assert_allclose(record["probabilities"], list(one["probabilities"].values()), rtol=1e-5)
                assert (len(record["embedding"]), len(record["statistics"]), record["raw_sha256"]) == (4, 6, None)

    def test_the_logged_signals_are_those_of_the_predictor(
        self, client: TestClient, module_log: Path, bundle: Any, small_images: list[bytes]
    ) -> None:
        identity = client.post("/predict", files=files(small_images[0])).json()["predictions"][0]["id"]
        record = next(record for record in read_requests(module_log) if record["request_id"] == identity)
        expected = Predictor.load(bundle.path, verify=False).predict(small_images[:1])
        np.testing.assert_allclose(record["embedding"], expected.embeddings[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(record["statistics"], expected.statistics[0], rtol=1e-4)
        assert record["domain"] == "default"

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/vnd.bentoml+pickle",
            "application/vnd.bentoml+arrow",
            "application/x-www-form-urlencoded",
            "application/octet-stream",
            "image/png",
            "text/plain",
            "application/jsonx",
            "application/json, application/vnd.bentoml+pickle",
            "",
        ],
    )
    def test_other_encodings_are_refused(self, client: TestClient, content_type: str) -> None:
        body = failure(client.post("/predict", content=b"\x80\x04N.", headers={"content-type": content_type}), 415, "wrong_content_type")
        assert "multipart/form-data or application/json" in body["message"]

    def test_no_or_two_content_types_are_refused(self, client: TestClient) -> None:
        failure(client.post("/predict", content=b"{}"), 415, "wrong_content_type")
        twice = [("content-type", "application/json"), ("content-type", "application/vnd.bentoml+pickle")]
        failure(client.post("/predict", content=b"{}", headers=twice), 415, "wrong_content_type")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"", "not valid UTF-8 JSON"),
            (b"\xff\xfe", "not valid UTF-8 JSON"),
            (b"[]", "the body: this has the wrong type"),
            (b"{}", "images: this key is missing"),
            (b'{"images": []}', "images: there must be at least one"),
            (b'{"images": [{"content_base64": 7}]}', "images.0.content_base64: this must be a string"),
            (b'{"images": [{"url": "http://169.254.169.254/"}]}', "images.0.(unknown key): this key is not known"),
            (b'{"images": ["http://169.254.169.254/"]}', "images.0: this has the wrong type"),
            (b'{"images": [{"content_base64": ""}], "secret-word": 1}', "(unknown key): this key is not known"),
            (b'{"images": [], "images": [{"content_base64": ""}]}', "the same key twice"),
            (b'{"images": NaN}', "NaN or Infinity"),
            (b'{"images": -Infinity}', "NaN or Infinity"),
            (b'{"images": ' + b"[" * 200_000, "nested too deeply"),
            (b'{"images": ' + b'{"a":' * 100_000, "nested too deeply"),
            (b'{"images": ' + b"9" * 10_000 + b"}", "not valid UTF-8 JSON"),
            (b'{"images": [{"content_base64": ""}], "domain": "a b"}', "domain: this does not have the allowed form"),
            (b'{"images": [{"content_base64": ""}], "domain": "a\\n"}', "domain: this does not have the allowed form"),
        ],
    )
    def test_wrong_json_is_refused_without_quoting_it(self, client: TestClient, body: bytes, said: str) -> None:
        message = failure(client.post("/predict", content=body, headers={"content-type": "application/json"}), 400, "wrong_json")["message"]
        assert said in message
        assert "169.254" not in message
        assert "secret" not in message

    @pytest.mark.parametrize("text", ["?", "YQ", "YQ==\n", "Y Q=", "YQ==YQ==", "\N{OWL}"])
    def test_wrong_base64_names_its_place(self, client: TestClient, small_images: list[bytes], text: str) -> None:
        body = as_json(small_images[0])
        body["images"].append({"content_base64": text})
        assert "images[1]" in failure(client.post("/predict", json=body), 422, "wrong_base64")["message"]

    def test_half_a_character_is_not_base64(self, client: TestClient) -> None:
        body = b'{"images": [{"content_base64": "\\ud800"}]}'
        failure(client.post("/predict", content=body, headers={"content-type": "application/json"}), 422, "wrong_base64")

    def test_bad_images_are_named_together(self, client: TestClient, small_images: list[bytes]) -> None:
        images = [b"no image", small_images[0], small_images[1][:60], b""]
        message = failure(client.post("/predict", files=files(*images)), 422, "bad_image")["message"]
        assert message.startswith("3 of 4 images cannot be used: images[0]: 8 bytes that do not decode")
        assert "images[2]: 60 bytes" in message
        assert "images[3]: 0 bytes" in message
        assert "images[1]" not in message

    def test_one_image_with_more_pixels_than_the_bundle_allows(self, client: TestClient, helpers: Any) -> None:
        image = helpers["encoded"](Image.new("1", (2100, 2000)))
        message = failure(client.post("/predict", files=files(image)), 422, "bad_image")["message"]
        assert "images[0]: an image of 2100 x 2000 = 4200000 pixels" in message

    def test_a_decompression_bomb_is_refused_before_it_is_decoded(self, client: TestClient, helpers: Any) -> None:
        bomb = helpers["encoded"](Image.new("1", (15_000, 15_000)))
        assert len(bomb) < 50_000
        started = time.perf_counter()
        failure(client.post("/predict", files=files(bomb)), 422, "too_many_pixels")
        assert time.perf_counter() - started < 0.5

    def test_pixels_count_over_all_images(self, client: TestClient, helpers: Any) -> None:
        images = [helpers["encoded"](Image.new("1", (1500, 1200)))] * 3
        message = failure(client.post("/predict", files=files(*images)), 422, "too_many_pixels")["message"]
        assert "5400000 pixels together; the limit is 5000000" in message
        assert client.post("/predict", files=files(*images[:2])).status_code == 200

    def test_a_long_strip_is_not_blown_up_for_a_crop(
        self, start_endpoint: Callable[..., Endpoint], helpers: Any, tmp_path: Path, small_images: list[bytes]
    ) -> None:
        helpers["make_bundle"](tmp_path / "crop", fit="crop", n_goldens=1)
        one = start_endpoint(tmp_path / "crop")
        strip = helpers["encoded"](Image.new("1", (200_000, 1)))
        with TestClient(build_app(lambda: one)) as client:
            message = failure(client.post("/predict", files=files(small_images[0], strip)), 422, "bad_image")["message"]
            assert "images[1]: an image of 200000 x 1 pixels, too long a strip" in message
            assert client.post("/predict", files=files(small_images[0])).status_code == 200

    def test_the_form(self, client: TestClient, small_images: list[bytes]) -> None:
        image = small_images[0]
        post = client.post
        failure(post("/predict", files=files(*[image] * 5)), 413, "too_large")
        failure(post("/predict", json=as_json(*[image] * 5)), 413, "too_large")
        failure(post("/predict", files=[("domain", ("", b"a"))]), 400, "wrong_form")
        failure(post("/predict", files=[("picture", ("a.png", image))]), 400, "wrong_form")
        failure(post("/predict", files=files(image), data={"domain": ["a", "b"]}), 400, "wrong_form")
        failure(post("/predict", files=files(image), data={"domain": "a\n"}), 400, "wrong_form")
        failure(post("/predict", files=files(image), data={"domain": "../x"}), 400, "wrong_form")
        # An address in place of a file is text, and text is never fetched.
        failure(post("/predict", files=[("images", (None, b"http://127.0.0.1:1/x.png"))]), 400, "wrong_form")
        failure(post("/predict", content=b"--x\r\n", headers={"content-type": "multipart/form-data"}), 400, "wrong_form")

    def test_too_many_bytes(self, client: TestClient) -> None:
        message = failure(client.post("/predict", files=files(bytes(1_000_001))), 413, "too_large")["message"]
        assert "1000000 bytes" in message

    def test_the_body_is_measured_while_it_arrives(self, client: TestClient, endpoint: Endpoint) -> None:
        n_sent = 0

        def chunks() -> Any:
            nonlocal n_sent
            while True:
                n_sent += 1
                yield bytes(100_000)
                assert n_sent < 50, "read on after the limit"

        # The test client collects a body before it calls the application, so the application is called directly.
        answer = call(endpoint, chunks())
        assert answer["status"] == 413
        assert n_sent == 11
        assert endpoint.body_reader.n_buffered_bytes == 0

    def test_a_wrong_length_header_is_refused(self, endpoint: Endpoint) -> None:
        for length in (b"-1", b"1e9", b"", b"9" * 30, "²".encode()):
            assert call(endpoint, iter([b""]), (b"content-length", length))["status"] == 400
        assert call(endpoint, iter([b""]), (b"content-length", b"1000001"))["status"] == 413

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
    @given(body=st.binary(max_size=400), content_type=st.sampled_from(["application/json", "multipart/form-data; boundary=x"]))
    @example(body=b"--x\r\n" * 20_000, content_type="multipart/form-data; boundary=x")
    @example(body=b"--x\r\n" + b"a:b\r\n" * 50_000 + b"\r\n\r\n--x--", content_type="multipart/form-data; boundary=x")
    def test_random_bytes_never_break_it(self, client: TestClient, body: bytes, content_type: str) -> None:
        assert client.post("/predict", content=body, headers={"content-type": content_type}).status_code in (400, 413, 422)

    @settings(max_examples=60, derandomize=True)
    @given(
        body=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["images", "content_base64", "domain", "x"]), inner, max_size=3)
            ),
        )
    )
    def test_random_json_never_breaks_it(self, client: TestClient, body: Any) -> None:
        for route in ("/predict", "/feedback"):
            response = client.post(route, content=json.dumps(body).encode(), headers={"content-type": "application/json"})
            assert response.status_code in (400, 422)

    @settings(max_examples=60, derandomize=True)
    @given(data=st.data())
    def test_damaged_images_never_break_it(self, client: TestClient, data: st.DataObject) -> None:
        stream = io.BytesIO()
        kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
        pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(stream, kind)
        image = bytearray(stream.getvalue())
        for _ in range(data.draw(st.integers(1, 6))):
            image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
        response = client.post("/predict", files=files(bytes(image)))
        assert response.status_code in (200, 422), response.text


def call(endpoint: Endpoint, chunks: Any, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """Calls the application as a server does, chunk by chunk."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        chunk = next(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), *headers],
        "server": ("test", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    asyncio.run(build_app(lambda: endpoint)(scope, receive, send))
    return dict(sent[0])


class TestFeedback:
    def test_one_and_many(self, client: TestClient, module_log: Path, bundle: Any) -> None:
        ids = [uuid.uuid4().hex for _ in range(3)]
        one = client.post("/feedback", json={"id": ids[0], "label": "owl"}).json()
        many = client.post("/feedback", json={"feedback": [{"id": identity, "label": "cat"} for identity in ids[1:]]}).json()
        assert (one["bundle"], one["n_accepted"], many["n_accepted"]) == (bundle.id, 1, 2)
        logged = {record["request_id"]: record["label"] for record in read_feedback(module_log)}
        assert [logged[identity] for identity in ids] == ["owl", "cat", "cat"]

    def test_a_label_may_be_any_word(self, client: TestClient) -> None:
        failure(client.post("/feedback", json={"id": "a" * 32, "label": "feedback"}), 422, "unknown_label")

    def test_an_unknown_label_names_the_allowed_ones_and_nothing_is_taken(self, client: TestClient, module_log: Path) -> None:
        good, bad = uuid.uuid4().hex, uuid.uuid4().hex
        body = {"feedback": [{"id": good, "label": "owl"}, {"id": bad, "label": "secret-word"}]}
        message = failure(client.post("/feedback", json=body), 422, "unknown_label")["message"]
        assert "at 1; its labels: cat, dog, owl" in message
        assert "secret-word" not in message
        assert good not in {record["request_id"] for record in read_feedback(module_log)}

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"id": "A" * 32, "label": "owl"}, "id: this does not have the allowed form"),
            ({"id": "a" * 32 + "\n", "label": "owl"}, "id: this does not have the allowed form"),
            ({"id": "../../etc/passwd", "label": "owl"}, "id: this does not have the allowed form"),
            ({"id": "a" * 32}, "label: this key is missing"),
            ({"id": "a" * 32, "label": "owl", "more": 1}, "(unknown key): this key is not known"),
            ({"feedback": []}, "feedback: there must be at least one"),
            ({"feedback": [{"id": "a" * 32, "label": "owl"}] * 1001}, "feedback: this has the wrong type"),
        ],
    )
    def test_wrong_feedback(self, client: TestClient, body: Any, said: str) -> None:
        assert said in failure(client.post("/feedback", json=body), 400, "wrong_json")["message"]

    def test_forms_are_not_taken(self, client: TestClient) -> None:
        failure(client.post("/feedback", files=files(b"")), 415, "wrong_content_type")

    def test_without_a_log_feedback_is_refused_not_dropped(self, start_endpoint: Callable[..., Endpoint], bundle: Any) -> None:
        one = start_endpoint(bundle.path)
        with TestClient(build_app(lambda: one)) as client:
            failure(client.post("/feedback", json={"id": "a" * 32, "label": "owl"}), 503, "not_logged")
            assert client.get("/model").json()["request_log"] is False


class TestModel:
    def test_names_what_answers(self, client: TestClient, bundle: Any) -> None:
        from serving.source_digest import own_root, source_digest

        model = client.get("/model").json()
        assert (model["bundle"], model["project"], model["labels"]) == (bundle.id, "test-animals", ["cat", "dog", "owl"])
        assert (model["backbone"], model["refused"], model["request_log"]) == ("test_resnet", None, True)
        assert model["code_digest"] == source_digest(own_root())

    def test_without_a_model_nothing_is_answered_and_the_reason_is_said(
        self, start_endpoint: Callable[..., Endpoint], damaged_bundle: Any, helpers: Any
    ) -> None:
        one = start_endpoint(damaged_bundle.path, wait=False)
        helpers["wait_until"](lambda: one.slot.refused is not None)
        with TestClient(build_app(lambda: one)) as client:
            response = client.post("/predict", files=files(b""))
            assert "weights.safetensors changed" in failure(response, 503, "not_ready")["message"]
            assert response.headers["retry-after"] == "2"
            model = client.get("/model").json()
            assert (model["bundle"], model["labels"]) == (None, None)
            assert "weights.safetensors changed" in model["refused"]["reason"]


@contextmanager
def busy(endpoint: Endpoint) -> Iterator[threading.Event]:
    """Holds one thread of the endpoint's pool until the event is set or the block ends."""
    release = threading.Event()
    holder = threading.Thread(target=lambda: asyncio.run(endpoint.pool.run(lambda _: release.wait(20), 20)))
    holder.start()
    try:
        while endpoint.pool._n_taken == 0:
            time.sleep(0.001)
        yield release
    finally:
        release.set()
        holder.join()


class TestLimitsOfTime:
    def test_a_late_answer_is_504_and_is_not_logged(
        self, start_endpoint: Callable[..., Endpoint], bundle: Any, tmp_path: Path, small_images: list[bytes]
    ) -> None:
        one = start_endpoint(bundle.path, log_dir=tmp_path, timeout_seconds=0.1, threads=1)
        with TestClient(build_app(lambda: one)) as client, busy(one):
            failure(client.post("/predict", files=files(*small_images)), 504, "timeout")
        one.stop()
        assert list(read_requests(tmp_path)) == []

    def test_a_full_pool_is_503_with_retry_after(
        self, start_endpoint: Callable[..., Endpoint], bundle: Any, small_images: list[bytes]
    ) -> None:
        one = start_endpoint(bundle.path, threads=1, max_waiting=0)
        with TestClient(build_app(lambda: one)) as client:
            with busy(one):
                response = client.post("/predict", files=files(*small_images))
                failure(response, 503, "overloaded")
                assert response.headers["retry-after"] == "1"
            assert client.post("/predict", files=files(*small_images)).status_code == 200

    def test_bodies_share_one_budget(self, start_endpoint: Callable[..., Endpoint], bundle: Any) -> None:
        one = start_endpoint(bundle.path, max_request_mb=1, max_buffered_mb=1)
        one.body_reader.n_buffered_bytes = 900_000  # of other requests
        assert call(one, iter([bytes(200_000)]))["status"] == 503
        assert one.body_reader.n_buffered_bytes == 900_000


class TestFaultsOfOurs:
    def test_a_bug_is_500_and_its_message_is_not_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        def broken() -> Endpoint:
            raise ZeroDivisionError("-".join(("secret", "word")))  # the log may quote this line, not its value

        with caplog.at_level(logging.DEBUG), TestClient(build_app(broken), raise_server_exceptions=False) as client:
            body = failure(client.get("/model"), 500, "internal")
        assert "secret-word" not in caplog.text + str(body)
        assert f"request {body['request_id']} failed with ZeroDivisionError at" in caplog.text
        assert "test_app.py" in caplog.text

    def test_a_4xx_leaves_nothing_in_the_log(self, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            client.post("/predict", content=b"--secret-word", headers={"content-type": "multipart/form-data; boundary=x"})
            client.post("/predict", content=b'{"secret-word": 1}', headers={"content-type": "application/json"})
            client.post("/predict", files=files(b"secret-word"))
        ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
        assert [record.getMessage() for record in ours] == []


def test_wrong_methods_and_paths(client: TestClient) -> None:
    response = client.get("/predict")
    assert "POST only" in failure(response, 405, "wrong_method")["message"]
    assert response.headers["allow"] == "POST"
    failure(client.get("/docs"), 404, "http")
    failure(client.post("/predict/", files=files(b"")), 404, "http")


def test_openapi_describes_every_route_and_body(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/predict", "/feedback", "/model"}
    assert set(document["paths"]["/predict"]["post"]["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    text = json.dumps(document)
    references = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references <= set(document["components"]["schemas"])
    assert "http://" not in text
    assert "https://" not in text
