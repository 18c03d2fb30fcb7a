"""GTO's API, imported without its set-up of logging.

GTO 1.10 calls `logging.config.dictConfig` while it is imported (gto/log.py). That closes every handler of the process while it holds
logging's lock; Prefect's handler then waits for its own thread, which waits for that lock: the run stands still for ever. It happens
when a record happens to be on its way, so seldom that it looks like chance. Remove this file when GTO's import leaves logging alone.
"""

from __future__ import annotations

import sys
from types import ModuleType


def import_gto() -> ModuleType:
    """GTO's `api` module. DVC imports GTO too: whoever has it do so calls this first."""
    sys.modules.setdefault("gto.log", ModuleType("gto.log", "Empty: logging is this process's own business."))
    import gto.api

    api: ModuleType = gto.api
    return api
