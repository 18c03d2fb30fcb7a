from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import logging

class Kept(logging.Handler):
    def close(self):
        print("closed")

logging.getLogger().addHandler(Kept())
{first}
import gto, dvc.repo.artifacts
print("imported", gto.api.register.__name__)
"""


@pytest.mark.parametrize(
    ("first", "closed"),
    [
        ("from pipelines.versioning.gto_import import import_gto; import_gto()", 0),
        ("pass", 1),  # fails when GTO leaves logging alone: the workaround can go then
    ],
)
def test_an_import_of_gto_closes_no_handler_of_this_process(first: str, closed: int) -> None:
    # os._exit: at its end the interpreter closes every handler anyway.
    program = _PROGRAM.format(first=first) + "import os, sys; sys.stdout.flush(); os._exit(0)\n"
    lines = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split("\n")
    assert lines.count("closed") == closed
    assert "imported register" in lines
