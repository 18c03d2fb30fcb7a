from __future__ import annotations

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from flows.report.markdown import code, escaped, escaped_paragraphs, render

TEXT = st.text(alphabet=st.sampled_from("ab1 \\`*_[]()<>|~&!#+-=.:/\n\t$\"'"), max_size=30)


def visible(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())


@given(TEXT)
def test_what_is_escaped_is_seen_as_it_was_in_a_sentence_an_item_and_a_cell(text: str) -> None:
    line = " ".join(text.split())
    if not line:
        return
    assert visible(render(f"So: {escaped(text)} end")) == " ".join(f"So: {line} end".split())
    assert visible(render(f"- {escaped(text)}")) == line
    assert visible(render(f"| a |\n| --- |\n| {escaped(text)} |")) == f"a {line}"


@given(st.text(max_size=60))
def test_no_text_becomes_a_tag(text: str) -> None:
    for page in (render(text), render(escaped_paragraphs(text)), render(code(text))):
        tags = set(re.findall(r"<([a-zA-Z]+)", page))
        assert not tags & {"script", "img", "a", "iframe", "svg", "style"}


def test_paragraphs_stay_apart() -> None:
    assert render(escaped_paragraphs("a\nb\n\n\nc")) == "<p>a b</p>\n<p>c</p>\n"
