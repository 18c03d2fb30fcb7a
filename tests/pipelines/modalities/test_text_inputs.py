from __future__ import annotations

import hashlib

import pytest

from pipelines.input_files import Unusable
from pipelines.modalities.text_inputs import TextInput, encoding_damage, inspect_text, main_script, personal_data, text_digest


def test_a_text_is_described() -> None:
    found = inspect_text("Grüße an alle".encode())
    assert isinstance(found, TextInput)
    assert (found.id, found.n_characters, found.n_bytes) == (hashlib.sha256("Grüße an alle".encode()).hexdigest(), 13, 15)
    assert (found.script, found.language, found.damage, found.personal) == ("LATIN", "de", "", "")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", "\u200b".encode()])
def test_what_cannot_be_read_is_no_sample(data: bytes) -> None:
    assert isinstance(inspect_text(data), Unusable)


def test_copies_share_a_digest() -> None:
    assert text_digest("Hello   World") == text_digest("hello\nworld") == text_digest("ＨＥＬＬＯ world ")
    assert text_digest("hello world") != text_digest("helloworld")


@pytest.mark.parametrize(
    ("text", "script"),
    [("hello", "LATIN"), ("Привет мир", "CYRILLIC"), ("שלום", "HEBREW"), ("مرحبا ok", "ARABIC"), ("漢字", "CJK"), ("123 🎉", "")],
)
def test_the_script_is_that_of_most_letters(text: str, script: str) -> None:
    assert main_script(text) == script


def test_damaged_encodings_are_found_and_whole_ones_are_not() -> None:
    for text in ("Grüße aus Köln", "voilà l'été", "señor niño", "🎉 party", "naïve café"):
        assert encoding_damage(text) == ""
        if not text.startswith("🎉"):
            assert "another encoding" in encoding_damage(text.encode().decode("cp1252", "replace").replace("\ufffd", ""))
    assert "U+FFFD" in encoding_damage("caf\ufffd")


def _luhn(digits: str) -> bool:
    """By the rule as it is usually told: from the right double every second digit, subtract 9 above 9."""
    total = 0
    for place, character in enumerate(digits[::-1]):
        value = int(character) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


@pytest.mark.parametrize("number", ["4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009", "6011000000000004"])
def test_card_numbers_are_found_by_their_check_digit(number: str) -> None:
    digits = "".join(character for character in number if character.isdigit())
    assert _luhn(digits)
    assert personal_data(f"my card is {number}, thanks") == "a card number"
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert personal_data(f"my card is {wrong}") == ""


@pytest.mark.parametrize("text", ["call 0000 0000 0000 0000", "12345", "order 99999999999999999999999999", "pi is 3.14159265358979323846"])
def test_other_numbers_are_no_cards(text: str) -> None:
    assert personal_data(text) == ""


def test_addresses_are_found_and_never_repeated() -> None:
    found = inspect_text(b"write to jane.doe+x@mail.example.org or 4111 1111 1111 1111")
    assert isinstance(found, TextInput)
    assert found.personal == "an e-mail address, a card number"
    assert "jane" not in repr(found)
    assert "4111" not in repr(found)
    assert personal_data("@someone said 3@4 and a@b") == ""
