"""What a remote on another machine adds: errors of its client in words, and secrets that stay out of git and of every message."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.core.errors import ConfigurationError

if TYPE_CHECKING:
    from dvc.repo import Repo

# Of DVC's remotes, whatever their kind. An access key's id is no secret by itself, but names an account.
SECRET_SETTINGS = frozenset(
    {
        "access_key_id",
        "account_key",
        "client_secret",
        "connection_string",
        "gdrive_client_secret",
        "oss_key_id",
        "oss_key_secret",
        "password",
        "sas_token",
        "secret_access_key",
        "session_token",
        "sse_customer_key",
        "token",
    }
)
_SECRET_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_CONNECTION_STRING")
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")
_MIN_SECRET_CHARACTERS = 4  # a shorter text would be masked inside of words


def transfer_errors(*further: type[Exception]) -> tuple[type[Exception], ...]:
    """What reading from or writing to a remote may raise; asked for when an error is there, so that no client is imported for it."""
    from dvc_objects.errors import ObjectDBError

    botocore = sys.modules.get("botocore.exceptions")  # S3: no credentials, no such endpoint; neither is an OSError
    return (OSError, ObjectDBError, *further, *([botocore.BotoCoreError, botocore.ClientError] if botocore else []))


def refuse_secrets_in_git(repo: Repo) -> None:
    """Looks at `.dvc/config`, which git keeps.

    Raises:
        ConfigurationError: A remote's password or key stands in it.
    """
    remotes = repo.config.load_one("repo").get("remote", {})
    found = [(name, setting) for name, settings in remotes.items() for setting in settings if setting in SECRET_SETTINGS]
    if found or any(_USER_IN_URL.search(str(settings.get("url", ""))) and _has_password(settings["url"]) for settings in remotes.values()):
        listed = ", ".join(f"{setting} of the remote {name}" for name, setting in found) or "a password in a remote's url"
        raise ConfigurationError(
            got=f"a secret in .dvc/config, which git keeps: {listed}.",
            allowed="secrets in .dvc/config.local, which git ignores, or in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).",
            next_step="change the secret where it was issued if the file was ever pushed; then `dvc remote modify --unset NAME SETTING` "
            "and `dvc remote modify --local NAME SETTING VALUE`.",
        )


def _has_password(url: str) -> bool:
    return ":" in url.partition("://")[2].partition("@")[0]


def masked(text: str, repo: Repo | None = None) -> str:
    """The text with every secret that this process knows of replaced, and without user names in addresses."""
    for secret in sorted(_secrets(repo), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _USER_IN_URL.sub("***@", text)


def _secrets(repo: Repo | None) -> Iterator[str]:
    values = [os.environ.get(name, "") for name in _SECRET_VARIABLES]
    if repo is not None:
        remotes = repo.config.get("remote", {}).values()
        values += [str(value) for settings in remotes for name, value in settings.items() if name in SECRET_SETTINGS]
    yield from {value for value in values if len(value) >= _MIN_SECRET_CHARACTERS}
