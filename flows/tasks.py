"""How a plain function becomes a task of a Prefect run, who watches, how long it may take, and when it is tried again.

Prefect's cache keys cannot see the code that a task calls, so its cache is off everywhere: the stage store decides what is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from flows.retries import another_try_can_help
from pipelines.config import OperationSection
from pipelines.core.errors import RegraftError
from pipelines.progress import Progress, silent

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun

P = ParamSpec("P")
R = TypeVar("R")

_JITTER_FRAC = 0.5


@dataclass(frozen=True)
class StepPolicy:
    """How the tasks of a run are carried out.

    Attributes:
        n_retries: Further tries, where another one can help (`flows.retries`).
        retry_delay_seconds: Before the first of them; doubled each time, with jitter.
        timeout_seconds: Of each try; None: no limit.
    """

    n_retries: int = 0
    retry_delay_seconds: float = 10.0
    timeout_seconds: float | None = None

    @classmethod
    def of(cls, operation: OperationSection) -> StepPolicy:
        """As the conf file says."""
        return cls(operation.n_retries, operation.retry_delay_seconds, operation.task_timeout_minutes * 60)

    @property
    def delays_seconds(self) -> list[float]:
        """Of the retries, in order."""
        return [self.retry_delay_seconds * 2**index for index in range(self.n_retries)]


# A flow's parameters travel through Prefect's API as JSON; who watches does not.
_watcher: ContextVar[Progress] = ContextVar("watcher", default=silent)
_policy: ContextVar[StepPolicy | None] = ContextVar("policy", default=None)


@dataclass(frozen=True)
class _Limit:
    what: str
    seconds: float
    key: str
    ends_at: float  # on the monotonic clock

    @property
    def left_seconds(self) -> float:
        return max(0.001, self.ends_at - time.monotonic())

    def error(self) -> RegraftError:
        return RegraftError(
            got=f"{self.what}, which had not ended after {self.seconds:g} s.",
            allowed=f"an end in that time ({self.key}).",
            next_step=f"look at the run's log for what it was doing; give it more time with {self.key}, or less to do.",
        )


_run_limit: ContextVar[_Limit | None] = ContextVar("run_limit", default=None)


@contextmanager
def watched_by(progress: Progress) -> Iterator[None]:
    """Tells `progress` of every task that runs inside, and lets stages reach it through `watcher`."""
    token = _watcher.set(progress)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def carried_out_as(policy: StepPolicy) -> Iterator[None]:
    """The tasks inside get these retries and time limits."""
    token = _policy.set(policy)
    try:
        yield
    finally:
        _policy.reset(token)


def watcher() -> Progress:
    """Who watches this run."""
    return _watcher.get()


def in_task(name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs `function` as a task called `name` of the flow run around it; what it raises is raised here.

    Raises:
        RegraftError: It took longer than its time limit, or than what was left of its run's.
    """
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.task_engine import TaskRunTimeoutError

    # A closure without parameters: Prefect would search arguments for futures and keep a copy of each.
    def body() -> R:
        return function(*args, **kwargs)

    policy = _policy.get() or StepPolicy()
    limit = _step_limit(name, policy)
    seconds = limit.left_seconds if limit else None
    watcher()(name, 0, 1)
    try:
        result = task(name=name, cache_policy=NO_CACHE, persist_result=False, timeout_seconds=seconds, **_retries(policy))(body)()
    except TaskRunTimeoutError as error:
        if limit is None:
            raise
        raise limit.error() from error
    watcher()(name, 1, 1)
    return result


@contextmanager
def time_limit(what: str, minutes: float, key: str) -> Iterator[None]:
    """Ends what runs inside after some minutes, a call into native code only when it returns.

    Prefect's own limit stands on the decorator and is read at import; this one is the conf file's. A process has one alarm clock, and this
    takes it; a task inside is ended by an exception between two of its instructions, at its own limit or at this one.

    Args:
        what: Named in the error.
        minutes: Wall time.
        key: Of the conf file, named in the error.

    Raises:
        RegraftError: It took longer.
    """
    from prefect.flow_engine import FlowRunTimeoutError
    from prefect.utilities.timeout import timeout

    limit = _Limit(what, minutes * 60, key, time.monotonic() + minutes * 60)
    token = _run_limit.set(limit)
    try:
        with timeout(limit.seconds, timeout_exc_type=FlowRunTimeoutError):
            yield
    except FlowRunTimeoutError as error:
        raise limit.error() from error
    finally:
        _run_limit.reset(token)


def _step_limit(name: str, policy: StepPolicy) -> _Limit | None:
    """The step's own, or its run's where that ends earlier."""
    limits = [limit for limit in [_run_limit.get()] if limit is not None]
    if policy.timeout_seconds is not None:
        ends_at = time.monotonic() + policy.timeout_seconds
        limits.append(_Limit(f"the step {name!r}", policy.timeout_seconds, "operation.task_timeout_minutes", ends_at))
    return min(limits, key=lambda limit: limit.ends_at, default=None)


def _retries(policy: StepPolicy) -> dict[str, Any]:
    if not policy.n_retries:
        return {}
    return {
        "retries": policy.n_retries,
        "retry_delay_seconds": policy.delays_seconds,
        "retry_jitter_factor": _JITTER_FRAC,
        "retry_condition_fn": _is_worth_another_try,
    }


def _is_worth_another_try(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.data, BaseException) and another_try_can_help(state.data)
