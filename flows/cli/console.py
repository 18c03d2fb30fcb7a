"""What a person sees: progress on stderr, results on stdout, errors in three parts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import RegraftError
from pipelines.progress import Progress, silent

if TYPE_CHECKING:
    from rich.console import Console

_MOST_FINDINGS = 50


def stderr_console() -> Console:
    """The console for progress and errors, so that stdout holds results alone."""
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[Progress]:
    """Shows progress bars on stderr, one for each activity; nothing where `quiet`."""
    if quiet:
        yield silent
        return
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with RichProgress(*columns, console=stderr_console()) as bars:
        rows: dict[str, Any] = {}

        def report(activity: str, done: int, total: int) -> None:
            if activity not in rows or bars.tasks[rows[activity]].finished:
                rows[activity] = bars.add_task(activity, total=total)
            bars.update(rows[activity], completed=done, total=total)

        yield report


def print_json(value: Any) -> None:
    """One JSON object on stdout, for machines."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def print_error(error: RegraftError, *, as_json: bool) -> None:
    """An error with its findings: in words on stderr, or as JSON on stdout."""
    if as_json:
        findings = [{"where": finding.where, "problem": finding.problem} for finding in error.findings]
        content = {"code": error.code, "got": error.got, "allowed": error.allowed, "next_step": error.next_step, "findings": findings}
        print_json({"error": content})
        return
    from rich.markup import escape
    from rich.table import Table

    console = stderr_console()
    if error.findings:
        table = Table("where", "problem", title=f"{len(error.findings)} findings", title_justify="left")
        for finding in error.findings[:_MOST_FINDINGS]:
            table.add_row(escape(finding.where), escape(finding.problem))
        console.print(table)
        if len(error.findings) > _MOST_FINDINGS:
            console.print(f"and {len(error.findings) - _MOST_FINDINGS} more; --json lists all of them")
    console.print(f"[bold red]Got:[/] {escape(error.got)}", highlight=False)
    console.print(f"[bold]Allowed:[/] {escape(error.allowed)}", highlight=False)
    console.print(f"[bold]Next:[/] {escape(error.next_step)}", highlight=False)
