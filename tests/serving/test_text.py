"""The routes over a model of texts: what it takes, what it refuses, and what it says of both."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipelines.core.modalities.text import TEXT_STATISTICS
from pipelines.core.predict import Predictor
from pipelines.core.request_log import read_requests
from serving.app import build_app
from tests.serving.routes import failure, serving

TEXTS = ["this story is great", "A weak, cheap charger!", "Das Bild ist \N{THUMBS DOWN SIGN}", "قصة رائعة"]
WORD = "secretword"


@pytest.fixture(scope="module")
def module_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def served(text_bundle: Any, module_log: Path) -> Any:
    limits = {"max_inputs_per_request": 8, "max_request_characters": 200_000, "max_request_mb": 12}
    with serving(text_bundle.path, log_dir=module_log, raw_dir=module_log / "raw", sample_raw_frac=1, **limits) as both:
        yield both


@pytest.fixture(scope="module")
def endpoint(served: Any) -> Any:
    return served[0]


@pytest.fixture(scope="module")
def client(served: Any) -> Any:
    return served[1]


def post(client: TestClient, body: bytes) -> Any:
    return client.post("/predict", content=body, headers={"content-type": "application/json"})


class TestPredict:
    def test_answers_what_the_predictor_answers(self, client: TestClient, text_bundle: Any) -> None:
        expected = Predictor.load(text_bundle.path, verify=False).predict([text.encode() for text in TEXTS])
        answer = client.post("/predict", json={"texts": TEXTS}).json()
        assert answer["bundle"] == text_bundle.id
        assert [one["label"] for one in answer["predictions"]] == list(expected.labels)
        rows = np.array([list(one["probabilities"].values()) for one in answer["predictions"]])
        np.testing.assert_allclose(rows, expected.probabilities, rtol=0, atol=1e-6)
        assert len(set(rows[:, 0])) == len(TEXTS)

    def test_an_answer_does_not_depend_on_its_neighbours(self, client: TestClient) -> None:
        alone = [client.post("/predict", json={"texts": [text]}).json()["predictions"][0]["probabilities"] for text in TEXTS]
        together = client.post("/predict", json={"texts": TEXTS}).json()["predictions"]
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(list(one.values()), list(other["probabilities"].values()), rtol=0, atol=1e-6)

    def test_the_log_has_the_statistics_of_texts_and_the_kept_text(self, client: TestClient, module_log: Path) -> None:
        text = "read the GREAT story \N{OWL} 12"
        identity = client.post("/predict", json={"texts": [text], "domain": "shop-2"}).json()["predictions"][0]["id"]
        record = next(record for record in read_requests(module_log) if record["request_id"] == identity)
        assert record["domain"] == "shop-2"
        statistics = dict(zip(TEXT_STATISTICS, record["statistics"], strict=True))
        assert statistics["log2_characters"] == pytest.approx(np.log2(len(text)), rel=1e-4)
        assert statistics["digit_frac"] == pytest.approx(2 / len(text), rel=1e-4)
        assert (module_log / "raw" / record["raw_sha256"]).read_bytes() == text.encode()
        assert text not in "".join(path.read_text() for path in (module_log / "requests").iterdir())

    def test_a_text_that_is_longer_than_the_model_reads_is_answered_and_said(self, client: TestClient) -> None:
        short, long = "great story", "the story " * 10_000
        answered = client.post("/predict", json={"texts": [short, long]}).json()["predictions"]
        assert "unread_frac" not in answered[0]
        assert answered[1]["unread_frac"] == pytest.approx(1 - 30 / 20_000, abs=1e-6)

    def test_the_model_says_what_it_takes(self, client: TestClient) -> None:
        assert client.get("/model").json()["takes"] == "texts"


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "status", "code", "said"),
        [
            (b'{"texts": [""]}', 422, "bad_text", "texts[0]: a text of 0 characters with nothing to read in it"),
            (b'{"texts": ["fine", " \\n\\t "]}', 422, "bad_text", "1 of 2 texts cannot be used: texts[1]: a text of 4 characters"),
            (b'{"texts": ["\\u0000\\u0007\\u200b"]}', 422, "bad_text", "nothing to read"),
            (b'{"texts": ["fine", "\\ud800"]}', 422, "wrong_unicode", "texts[1] holds half a character"),
            (b'{"texts": ["\\udc00 and more"]}', 422, "wrong_unicode", "texts[0]"),
            (b'{"texts": ["\xff\xfe"]}', 400, "wrong_json", "not valid UTF-8 JSON"),
            (b'{"texts": ["caf\xe9"]}', 400, "wrong_json", "not valid UTF-8 JSON"),
            (b'{"texts": ["raw \n break"]}', 400, "wrong_json", "not valid UTF-8 JSON"),
            (b'{"texts": "one text"}', 400, "wrong_json", "texts: this has the wrong type"),
            (b'{"texts": [["one"]]}', 400, "wrong_json", "texts.0: this must be a string"),
            (b'{"texts": [7]}', 400, "wrong_json", "texts.0: this must be a string"),
            (b'{"texts": [{"text": "one"}]}', 400, "wrong_json", "texts.0: this must be a string"),
            (b'{"texts": []}', 400, "wrong_json", "texts: there must be at least one"),
            (b"{}", 400, "wrong_json", "texts: this key is missing"),
            (b'{"texts": ["one"], "texts": ["two"]}', 400, "wrong_json", "the same key twice"),
            (b'{"texts": ["one"], "domain": "a b"}', 400, "wrong_json", "domain: this does not have the allowed form"),
            (b'{"texts": ' + b"[" * 200_000, 400, "wrong_json", "nested too deeply"),
            (b'{"texts": [' + b'{"a":' * 100_000, 400, "wrong_json", "nested too deeply"),
        ],
    )
    def test_each_has_a_code_and_a_next_step(self, client: TestClient, body: bytes, status: int, code: str, said: str) -> None:
        assert said in failure(post(client, body), status, code)["message"]

    def test_ten_megabytes_of_text_are_refused_before_they_are_tokenised(self, client: TestClient) -> None:
        started = time.perf_counter()
        body = failure(client.post("/predict", json={"texts": ["great story " * 840_000]}), 422, "too_many_characters")
        assert time.perf_counter() - started < 2
        assert "10080000 characters together; the limit is 200000" in body["message"]
        assert "shorten" in body["next_step"]

    def test_characters_count_over_all_texts_and_not_their_bytes(self, client: TestClient) -> None:
        text = "\N{OWL}" * 70_000
        assert client.post("/predict", json={"texts": [text] * 2}).status_code == 200
        assert "210000 characters" in failure(client.post("/predict", json={"texts": [text] * 3}), 422, "too_many_characters")["message"]

    def test_one_text_with_more_characters_than_the_bundle_allows(self, client: TestClient) -> None:
        message = failure(client.post("/predict", json={"texts": ["fine", "a" * 160_000]}), 422, "bad_text")["message"]
        assert "texts[1]: a text of 160000 characters" in message

    def test_too_many_texts(self, client: TestClient) -> None:
        assert "9 texts; the limit is 8" in failure(client.post("/predict", json={"texts": ["fine"] * 9}), 413, "too_large")["message"]

    def test_images_get_told_what_the_model_takes(self, client: TestClient, small_images: list[bytes]) -> None:
        for response in (
            client.post("/predict", json={"images": [{"content_base64": "YQ=="}]}),
            client.post("/predict", files=[("images", ("0.png", small_images[0]))]),
            client.post("/predict", files=[("texts", ("0.txt", b"a text"))]),
        ):
            body = failure(response, 422, "wrong_kind")
            assert "the model that serves takes texts, as JSON and in no other way" in body["message"]
            assert '{"texts": ["one", "two"]}' in body["next_step"]

    def test_texts_get_told_what_a_model_of_images_takes(self, start_endpoint: Any, bundle: Any) -> None:
        one = start_endpoint(bundle.path)
        with TestClient(build_app(lambda: one)) as other:
            for response in (
                other.post("/predict", json={"texts": ["a text"]}),
                other.post("/predict", files=[("texts", ("0.txt", b"a text"))]),
            ):
                body = failure(response, 422, "wrong_kind")
                assert "takes images, as files of a form or as JSON" in body["message"]
                assert "images=@cat.png" in body["next_step"]
            assert other.get("/model").json()["takes"] == "images"

    def test_no_word_of_a_text_is_repeated_or_logged(self, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        for body in (
            {"texts": [WORD, ""]},
            {"texts": [WORD * 20_000]},
            {"texts": [WORD], WORD: 1},
            {"texts": [{WORD: 1}]},
            {"images": [WORD]},
            {"texts": [WORD], "domain": f"{WORD} {WORD}"},
        ):
            response = client.post("/predict", json=body)
            assert response.status_code in (400, 413, 422)
            assert WORD not in response.text
        assert WORD not in caplog.text


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors])
@given(texts=st.lists(st.text(st.characters(codec=None), max_size=60), min_size=1, max_size=4))
def test_any_text_is_answered_or_refused_with_a_reason(client: TestClient, texts: list[str]) -> None:
    response = post(client, json.dumps({"texts": texts}).encode())
    assert response.status_code in (200, 422), response.text
    if response.status_code == 200:
        assert len(response.json()["predictions"]) == len(texts)
    else:
        failure(response, 422, response.json()["code"])
        assert response.json()["code"] in ("bad_text", "wrong_unicode")


class TestDescription:
    def test_it_is_of_the_model_that_serves(self, client: TestClient) -> None:
        document = client.get("/openapi.json").json()
        content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
        assert content == {"application/json": {"schema": {"$ref": "#/components/schemas/JsonTextsRequest"}}}
        assert document["components"]["schemas"]["JsonTextsRequest"]["required"] == ["texts"]
        assert "JsonImagesRequest" not in document["components"]["schemas"]

    def test_it_changes_with_the_model(self, start_endpoint: Any, bundle: Any, text_bundle: Any, tmp_path: Path, helpers: Any) -> None:
        from serving.pointer import write_pointer

        pointer = tmp_path / "pointer.json"
        write_pointer(pointer, bundle.id, bundle.path)
        one = start_endpoint(tmp_path / "none", pointer=pointer, poll_seconds=0.02)
        with TestClient(build_app(lambda: one)) as client:
            image_forms = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
            assert set(image_forms) == {"multipart/form-data", "application/json"}
            write_pointer(pointer, text_bundle.id, text_bundle.path)
            helpers["wait_until"](lambda: one.slot.current.predictor.bundle == text_bundle.id)
            text_forms = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
            assert set(text_forms) == {"application/json"}
            assert client.post("/predict", json={"texts": ["great"]}).status_code == 200

    def test_without_a_model_every_form_is_described(self, start_endpoint: Any, tmp_path: Path) -> None:
        one = start_endpoint(tmp_path / "none", wait=False, pointer=tmp_path / "none.json")
        with TestClient(build_app(lambda: one)) as client:
            content = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
        references = {schema["$ref"].rpartition("/")[2] for schema in content["application/json"]["schema"]["oneOf"]}
        assert references == {"JsonImagesRequest", "JsonTextsRequest", "JsonSoundsRequest"}
        assert [form["required"] for form in content["multipart/form-data"]["schema"]["oneOf"]] == [["images"], ["sounds"]]
