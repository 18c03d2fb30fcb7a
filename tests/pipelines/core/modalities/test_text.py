from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.bundle import file_sha256
from pipelines.core.errors import DataError, IntegrityError
from pipelines.core.modalities.adapters import modality_of
from pipelines.core.modalities.text import BUCKET_TOKENS, TEXT_STATISTICS, TextModality, TextPreprocess, bucket_tokens, decode_text, padded
from tests.pipelines.tiny_texts import write_model

READABLE = [
    "plain",
    "äöü ß",
    "emoji 👩‍👩‍👧 only 🎉",
    "שלום עולם",
    "مرحبا",
    "日本語のテキスト",
    "tab\tand\nline",
    "🎉",
    "a\u0301",
    "\ufeffwith a mark",
]


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def modality(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextModality:
    folder = write_model(tmp_path_factory.mktemp("model"), request.param)
    spec = TextPreprocess(tokenizer_sha256=file_sha256(folder / "tokenizer.json"), max_tokens=16)
    found = modality_of(spec, folder)
    assert isinstance(found, TextModality)
    return found


@pytest.mark.parametrize("text", READABLE)
def test_every_script_becomes_tokens_and_finite_statistics(modality: TextModality, text: str) -> None:
    decoded = modality.decode(text.encode())
    statistics = modality.input_statistics(decoded)
    assert decoded.n_tokens >= 1
    assert not decoded.text.startswith("\ufeff")
    assert statistics.shape == (len(TEXT_STATISTICS),)
    assert np.isfinite(statistics).all()
    assert modality.to_array(decoded).dtype == np.int64


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "0 characters with nothing to read"),
        (b" \n\t ", "4 characters with nothing to read"),
        ("\u200b\u200e".encode(), "nothing to read"),
        (b"\x00\x01", "nothing to read"),
        (b"caf\xe9", "byte 3 is not UTF-8.*Allowed: text in UTF-8"),
        (b"\xed\xa0\x80", "byte 0 is not UTF-8"),  # a lone surrogate
        (b"x" * 41, "41 characters.*at most 40 characters.*cut the text"),
        (b"x" * 200, "200 bytes of text.*at most 40 characters"),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        decode_text(data, max_characters=40)


def test_a_text_of_which_no_token_comes_is_refused(modality: TextModality) -> None:
    if modality.decode(b"soup").n_unknown is None:
        pytest.fail("no tokeniser")
    with pytest.raises(DataError, match=r"makes no token|nothing to read"):
        # The byte-level tokeniser makes tokens of everything that there is.
        modality.tokenize("" if modality._tokenizer[1] < 0 else "\u200d")


def test_control_characters_separate_words() -> None:
    assert decode_text(b"one\x00two\x7fthree\x0cfour", 100) == "one two three four"


def test_a_hundred_thousand_characters_are_cut_and_that_is_told(modality: TextModality) -> None:
    decoded = modality.decode(b"soup " * 20_000)
    assert len(decoded.ids) == 16
    assert decoded.is_truncated
    assert decoded.n_tokens >= 20_000
    share = modality.input_statistics(decoded)[TEXT_STATISTICS.index("truncated_frac")]
    assert share == pytest.approx(1 - decoded.n_kept / decoded.n_tokens)
    assert share > 0.99
    short = modality.decode(b"soup and salt")
    assert not short.is_truncated
    assert modality.input_statistics(short)[-1] == 0


def test_special_tokens_survive_the_cut(modality: TextModality) -> None:
    if modality._tokenizer[1] < 0:
        assert modality.decode(b"soup").n_unknown == 0  # bytes have no unknown word
        return
    ids = modality.decode(b"soup " * 100).ids
    assert (ids[0], ids[-1]) == (2, 3)
    decoded = modality.decode("soup 🎉 soup 🎉".encode())
    assert decoded.n_unknown == 2
    assert decoded.n_tokens == 4


def test_statistics_are_what_they_are_called(modality: TextModality) -> None:
    by_name = dict(zip(TEXT_STATISTICS, modality.input_statistics(modality.decode("Ab1 É?".encode())).tolist(), strict=True))
    assert by_name["log2_characters"] == pytest.approx(np.log2(6))
    assert by_name["letter_frac"] == pytest.approx(3 / 6)
    assert by_name["digit_frac"] == pytest.approx(1 / 6)
    assert by_name["upper_frac"] == pytest.approx(2 / 3)
    assert by_name["non_ascii_frac"] == pytest.approx(1 / 6)
    assert by_name["mean_word_length"] == pytest.approx(2.5)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_padding_keeps_ids_in_front(lengths: list[int]) -> None:
    arrays = [np.arange(length, dtype=np.int64) for length in lengths]
    batch = padded(arrays)
    assert batch.shape == (len(lengths), max(lengths))
    for row, array in zip(batch, arrays, strict=True):
        assert (row[: len(array)] == array).all()
        assert (row[len(array) :] == -1).all()


@given(st.integers(1, 512))
def test_a_bucket_holds_its_text_and_little_more(n_tokens: int) -> None:
    length = bucket_tokens(n_tokens, 512)
    assert n_tokens <= length <= max(8, 1.5 * n_tokens + 8)
    assert length in BUCKET_TOKENS


def test_the_stated_size_is_the_number_of_characters(modality: TextModality) -> None:
    for text in READABLE:
        assert modality.stated_size(text.encode()) == len(text)


def test_another_tokeniser_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    spec = TextPreprocess(tokenizer_sha256="0" * 64, max_tokens=16)
    with pytest.raises(IntegrityError, match=r"tokenizer.json with sha256 [0-9a-f]{64} instead of 0000.*dvc checkout"):
        modality_of(spec, folder).decode(b"soup")
    (folder / "tokenizer.json").write_text("{}")
    broken = TextPreprocess(tokenizer_sha256=file_sha256(folder / "tokenizer.json"), max_tokens=16)
    with pytest.raises(IntegrityError, match="cannot read"):
        modality_of(broken, folder).decode(b"soup")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(IntegrityError, match=r"no file tokenizer.json"):
        modality_of(broken, folder).decode(b"soup")
    with pytest.raises(IntegrityError, match="without the folder"):
        modality_of(broken)
