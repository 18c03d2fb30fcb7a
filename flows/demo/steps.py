"""Steps of the demo, timed and shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

from flows.cli.console import shown_progress, stderr_console
from pipelines.progress import Progress


@dataclass
class Steps:
    """What the demo has done so far.

    Attributes:
        seconds: Wall time by step.
    """

    console: Console = field(default_factory=stderr_console)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, headline: str) -> Iterator[Progress]:
        """Shows a headline and progress, and times what is done inside."""
        self.console.print(f"\n[bold]{len(self.seconds) + 1}. {headline}[/]", highlight=False)
        started = time.perf_counter()
        with shown_progress(quiet=False) as progress:
            yield progress
        self.seconds[name] = round(time.perf_counter() - started, 1)

    def tell(self, text: str) -> None:
        """One line of news."""
        self.console.print(f"  {text}", highlight=False, soft_wrap=True)
