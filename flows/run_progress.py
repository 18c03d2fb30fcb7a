"""How far a run is, on its page in Prefect: a bar for its steps, and one for each long activity inside a step, such as fine-tuning."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from flows.artifacts import publish_progress, update_progress
from flows.tasks import watched_by, watcher
from pipelines.progress import Progress

# Each update is a write to the server's database, and SQLite has one writer.
_SECONDS_BETWEEN_UPDATES = 5.0
_BEFORE_THE_END_PERCENT = 95.0


@dataclass
class _Bar:
    artifact: UUID | None
    shown_at: float


@dataclass
class RunProgress:
    """A `Progress` that shows on the run's page what it is told, and passes it on.

    Attributes:
        outer: Told everything, too.
        n_steps: About how many steps the run has: some depend on what it finds, so the bar says "about".
        clock: In seconds.
    """

    outer: Progress
    n_steps: int
    clock: Callable[[], float] = time.monotonic
    n_done: int = 0
    _steps: _Bar | None = None
    _bars: dict[str, _Bar] = field(default_factory=dict)

    def __call__(self, activity: str, done: int, total: int) -> None:
        """Takes note of a step (`total` is 1) or of progress inside one."""
        self.outer(activity, done, total)
        if total == 1:
            self._step(activity, ended=done == 1)
        elif total > 1:
            self._inside(activity, done, total)

    def end(self) -> None:
        """Every step is done."""
        if self._steps is not None:
            update_progress(self._steps.artifact, 100.0, f"all {self.n_done} steps are done")

    def _step(self, name: str, *, ended: bool) -> None:
        self.n_done += ended
        percent = min(_BEFORE_THE_END_PERCENT, 100.0 * self.n_done / self.n_steps)
        text = f"{name} {'is done' if ended else 'runs'} ({self.n_done} of about {max(self.n_steps, self.n_done + 1)} steps done)"
        now = self.clock()
        if self._steps is None:
            self._steps = _Bar(publish_progress("steps", percent, text), now)
        elif not ended:  # the end of one step is followed by the begin of the next
            update_progress(self._steps.artifact, percent, text)
            self._steps.shown_at = now

    def _inside(self, activity: str, done: int, total: int) -> None:
        text, percent, now = f"{activity}: {done} of {total}", 100.0 * done / total, self.clock()
        bar = self._bars.setdefault(activity, _Bar(None, now))
        is_due = now - bar.shown_at >= _SECONDS_BETWEEN_UPDATES
        if bar.artifact is not None and (is_due or done >= total):
            update_progress(bar.artifact, percent, text)
        elif is_due and done < total:  # a short activity needs no bar
            bar.artifact = publish_progress(_key(activity), percent, text)
        bar.shown_at = now if is_due else bar.shown_at


def _key(activity: str) -> str:
    """An artifact's key may only have some characters."""
    return re.sub(r"[^a-z0-9]+", "-", f"progress {activity}".lower()).strip("-")


@contextmanager
def shown_on_page(n_steps: int, clock: Callable[[], float] = time.monotonic) -> Iterator[RunProgress]:
    """Shows the tasks inside on the page of the run around it; a run that fails keeps the bar where it was.

    Args:
        n_steps: About how many tasks there are.
        clock: In seconds.
    """
    shown = RunProgress(watcher(), n_steps, clock)
    with watched_by(shown):
        yield shown
    shown.end()
