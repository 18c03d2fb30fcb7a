"""The entry point `regraft`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence

import typer

from flows.cli import approve, demo, endpoint, labels, learn, predict, registry, setup, trigger, watch
from flows.cli.console import print_error
from flows.environment import CONSOLE_LOG_LEVEL
from pipelines.core.errors import RegraftError

app = typer.Typer(
    name="regraft",
    help="Production transfer learning: graft a pretrained backbone onto your data and keep the result healthy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (demo, setup, labels, learn, predict, approve, registry, endpoint, watch, trigger):
    group.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command. Exit codes: 0 done, 1 refused, 2 wrong use or configuration, 3 bad data, 4 internal."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Progress is shown instead; the run's page has the whole log. Read by Prefect when it is imported, later than this.
    os.environ.setdefault(CONSOLE_LOG_LEVEL, "WARNING")
    # What a service manager sends; as an exception it reaches every `with` block, so that no server is left behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        app(args=given)
    except RegraftError as error:
        print_error(error, as_json="--json" in given)
        raise SystemExit(error.exit_code) from None
    # The edge of the process: Python itself would end with 1, which means that a gate refused.
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        print_error(unexpected(error), as_json="--json" in given)
        raise SystemExit(RegraftError.exit_code) from None


def unexpected(error: Exception) -> RegraftError:
    """What a person is told of an error that nobody foresaw."""
    return RegraftError(
        got=f"an unexpected {type(error).__name__}: {error}",
        allowed="an error that says what to do; this one does not.",
        next_step="run `regraft doctor`; if it finds nothing, report this with the traceback.",
    )
