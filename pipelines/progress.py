"""How long work tells its watcher where it is, whoever shows it: a terminal, a Prefect run page, nobody."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives one call per step of long work."""

    def __call__(self, activity: str, done: int, total: int) -> None:
        """Tells that `done` of `total` steps of `activity` are finished; done equals total at the end."""


def silent(activity: str, done: int, total: int) -> None:
    """Shows nothing."""


def named(progress: Progress, name: str) -> Progress:
    """The same under another name than that of whoever tells."""

    def told(activity: str, done: int, total: int) -> None:
        progress(name, done, total)

    return told
