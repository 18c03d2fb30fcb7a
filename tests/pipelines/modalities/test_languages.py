from __future__ import annotations

import pytest

from pipelines.modalities.languages import main_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The soup was cold and nobody wanted to eat it.", "en"),
        ("Die Suppe war kalt und niemand wollte sie essen.", "de"),
        ("La soupe était froide et personne ne voulait la manger.", "fr"),
        ("La sopa estaba fría y nadie quería comerla.", "es"),
        ("Суп был холодным, и никто не хотел его есть.", "ru"),
        ("スープは冷たかったので、誰も食べたがらなかった。", "ja"),
        ("היה קר מאוד ואף אחד לא רצה לאכול את המרק", "he"),
        ("THE SOUP WAS COLD AND NOBODY WANTED TO EAT IT.", "en"),
    ],
)
def test_languages_are_told_apart(text: str, language: str) -> None:
    assert main_language(text) == language


@pytest.mark.parametrize("text", ["ok", "123 456 789", "😀😀😀", "https://example.org/x?y=1"])
def test_of_what_is_too_short_or_no_language_nothing_is_said(text: str) -> None:
    assert main_language(text) == ""


def test_the_beginning_counts() -> None:
    english, german = "The soup was cold and nobody wanted to eat it. ", "Die Suppe war kalt und niemand wollte sie essen. "
    assert main_language(english * 30 + german * 300) == "en"
