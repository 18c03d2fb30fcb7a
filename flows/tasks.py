"""How a plain function becomes a task of a Prefect run, and who watches.

Prefect's cache keys cannot see the code that a task calls, so its cache is off everywhere: the stage store decides what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from pipelines.progress import Progress, silent

P = ParamSpec("P")
R = TypeVar("R")

# A flow's parameters travel through Prefect's API as JSON; who watches does not.
_watcher: ContextVar[Progress] = ContextVar("watcher", default=silent)


@contextmanager
def watched_by(progress: Progress) -> Iterator[None]:
    """Tells `progress` of every task that runs inside, and lets stages reach it through `watcher`."""
    token = _watcher.set(progress)
    try:
        yield
    finally:
        _watcher.reset(token)


def watcher() -> Progress:
    """Who watches this run."""
    return _watcher.get()


def in_task(name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs `function` as a task called `name` of the flow run around it; what it raises is raised here."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    # A closure without parameters: Prefect would search arguments for futures and keep a copy of each.
    def body() -> R:
        return function(*args, **kwargs)

    watcher()(name, 0, 1)
    result = task(name=name, cache_policy=NO_CACHE, persist_result=False)(body)()
    watcher()(name, 1, 1)
    return result
