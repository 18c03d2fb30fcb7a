"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="The workspace's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, no progress: for machines.")]
ConfOption = Annotated[Path | None, typer.Option("--conf", help="Conf file; needed where conf/ has several.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Replaces a key for this run: --set method.budget_minutes=5. May be given several times.")
]
WhyOption = Annotated[str, typer.Option("--why", help="The reason; it is kept in the registry.")]
HERE = Path()
