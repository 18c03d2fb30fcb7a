"""Markdown that holds other people's text: written so that it stays text, and rendered without markup of theirs."""

from __future__ import annotations

import re

# What CommonMark and GitHub's tables read as markup inside a line. An underscore counts only where a word ends.
_MARKUP = re.compile(r"([\\`*\[\]<>|~&!$])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINE_START = re.compile(r"^(\s*)([#+=-]|\d+[.)])", re.MULTILINE)


def escaped(text: str) -> str:
    """One line that shows `text` as it is, wherever it stands: in a sentence, a list or a table."""
    line = " ".join(text.split())
    return _LINE_START.sub(_escaped_start, _MARKUP.sub(lambda found: "\\" + found.group(0), line))


def escaped_paragraphs(text: str) -> str:
    """As `escaped`, empty lines kept: they part paragraphs."""
    return "\n\n".join(escaped(part) for part in re.split(r"\n\s*\n", text.strip()))


def code(text: str) -> str:
    """Text in a code span; a backtick in it would end the span."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def render(markdown: str) -> str:
    """HTML of CommonMark with tables. HTML in it is shown as text, links and pictures are not made: the page needs nothing else."""
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink", "html_inline", "html_block"])
    rendered: str = renderer.render(markdown)
    return rendered


def _escaped_start(found: re.Match[str]) -> str:
    mark = found.group(2)
    return found.group(1) + (f"{mark[:-1]}\\{mark[-1]}" if mark[0].isdigit() else f"\\{mark}")
