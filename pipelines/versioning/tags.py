"""The registry as git keeps it: GTO's annotated tags, read in one git call and written by GTO.

    digits@v0.0.1      a registered version: the commit that holds the bundle's .dvc file and its records
    digits#prod#2      the second change of champion, at the commit of the version that became it
    digits@v0.0.1!, digits#prod!#3, digits@deprecated    made by hand with `gto deregister`, `unassign`, `deprecate`

Reading avoids GTO's import for the sake of `regraft status`. Names and order are GTO's own: by the tag's time in whole seconds, then
by name; a test compares both with GTO and with DVC.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.versioning import git
from pipelines.versioning.gto_import import import_gto

STAGE = "prod"
TagAction = Literal["register", "deregister", "assign", "unassign", "deprecate", "create"]

_NAME = r"[a-zA-Z0-9]([a-zA-Z0-9-/_]*[a-zA-Z0-9])?"
_PART = r"(0|[1-9]\d*)"
_PRERELEASE = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER = rf"{_PART}\.{_PART}\.{_PART}(-{_PRERELEASE}(\.{_PRERELEASE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
_TAG = re.compile(
    rf"(?P<artifact>([a-zA-Z0-9-_./]+=)?{_NAME})"
    rf"(((#(?P<stage>{_NAME})|@(?P<version>v{_SEMVER}))(?P<cancel>!?))|@((?P<deprecated>deprecated)|(?P<created>created)))(#(?P<counter>[0-9]+))?"
)
_FIELDS = (
    "objecttype",
    "refname:strip=2",
    "*objectname",
    "taggerdate:unix",
    "taggername",
    "taggeremail",
    "contents:subject",
    "contents:body",
)
_CLOCK_WAIT_SECONDS = 5


@dataclass(frozen=True)
class TagName:
    """The parts of a tag's name.

    Attributes:
        artifact: The project.
        version: Of registrations and deregistrations.
        stage: Of assignments and unassignments.
        counter: The number at the end.
    """

    artifact: str
    action: TagAction
    version: str | None = None
    stage: str | None = None
    counter: int | None = None


@dataclass(frozen=True)
class RegistryTag:
    """One tag with what it says.

    Attributes:
        tag: Its whole name.
        commit: The commit that it points at.
        made_at: When, in UTC, to the second.
        made_by: `Name <email>`.
        text: The message without the record.
        record: The JSON that Regraft put into the message; empty for a tag made by hand.
    """

    tag: str
    name: TagName
    commit: str
    made_at: datetime.datetime
    made_by: str
    text: str
    record: Mapping[str, JsonValue]


def parse_tag_name(name: str) -> TagName | None:
    """Reads a tag's name as GTO does; None if it is none of GTO's."""
    match = _TAG.fullmatch(name)
    if match is None:
        return None
    counter = int(match["counter"]) if match["counter"] else None
    artifact = match["artifact"].replace("=", ":")
    if match["version"]:
        return TagName(artifact, "deregister" if match["cancel"] else "register", version=match["version"], counter=counter)
    if match["stage"]:
        return TagName(artifact, "unassign" if match["cancel"] else "assign", stage=match["stage"], counter=counter)
    return TagName(artifact, "deprecate" if match["deprecated"] else "create", counter=counter)


def read_tags(root: Path, project: str) -> list[RegistryTag]:
    """All tags of a project, oldest first.

    Raises:
        ConfigurationError: The workspace is no git repository of its own.
        IntegrityError: git cannot read a tag or the commit that it names.
    """
    git.require_top_level(root)
    fields = "%00".join(f"%({field})" for field in _FIELDS)
    try:
        output = git.run_git(root, "for-each-ref", f"--format={fields}%00", f"refs/tags/{project}@*", f"refs/tags/{project}#*")
    except git.GitRefusedError as error:
        raise IntegrityError(
            got=f"registry tags of {project} that git cannot read: {error.got}",
            allowed="annotated tags whose commits are in the repository.",
            next_step="run `git fsck`, then fetch what is missing with `git fetch --tags` from a clone that has it.",
        ) from error
    tags = [_parse_record(record.split(b"\0")) for record in output.split(b"\0\n") if record]
    return sorted((tag for tag in tags if tag is not None and tag.name.artifact == project), key=lambda tag: (tag.made_at, tag.tag))


def _parse_record(values: list[bytes]) -> RegistryTag | None:
    kind, tag, commit, unix_seconds, name, email, subject, body = (value.decode(errors="replace") for value in values)
    parsed = parse_tag_name(tag)
    if kind != "tag" or parsed is None:  # GTO passes over lightweight tags too
        return None
    made_at = datetime.datetime.fromtimestamp(int(unix_seconds), tz=datetime.UTC)
    record = _read_json(body)
    text = subject if record else f"{subject}\n{body}".strip()
    return RegistryTag(tag, parsed, commit, made_at, f"{name} {email}", text, record)


def _read_json(body: str) -> dict[str, JsonValue]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def gto_writing(root: Path, after: datetime.datetime | None) -> Iterator[git.Identity]:
    """What GTO needs to write a tag: an identity, a second of its own, and no signature (see `git`); its errors come out in words.

    GTO and DVC order tags by whole seconds, so two in one second have no order.

    Args:
        root: The workspace.
        after: Time of the latest tag.

    Raises:
        ConfigurationError: No identity, a clock that is behind the latest tag, or GTO refused.
    """
    import_gto()
    from gto.exceptions import GTOException
    from scmrepo.exceptions import SCMError

    author = git.identity(root)
    if after is not None:
        _wait_until_after(after)
    try:
        with _tags_unsigned():
            yield author
    except (GTOException, SCMError) as error:
        raise ConfigurationError(
            got=f"GTO, which refused: {error}.",
            allowed="a registry that GTO can read and write.",
            next_step="compare `gto show` with `git tag --list`.",
        ) from error


def _wait_until_after(moment: datetime.datetime) -> None:
    seconds = moment.timestamp() + 1 - time.time()
    if seconds > _CLOCK_WAIT_SECONDS:
        raise ConfigurationError(
            got=f"a clock that says {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC, "
            f"while the registry's latest tag is of {moment:%Y-%m-%d %H:%M:%S} UTC.",
            allowed="a clock that has passed the latest tag: the registry is ordered by time.",
            next_step="set this machine's clock, then run the command again.",
        )
    if seconds > 0:
        time.sleep(seconds)


@contextmanager
def _tags_unsigned() -> Iterator[None]:
    # dulwich, which GTO writes with, reads settings from these variables, as git does.
    count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    added = {"GIT_CONFIG_COUNT": str(count + 1), f"GIT_CONFIG_KEY_{count}": "tag.gpgSign", f"GIT_CONFIG_VALUE_{count}": "false"}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
