"""Files of a repository on the Hugging Face Hub at a commit: fetched, or taken from the cache of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import ConfigurationError


def hub_files(section: str, repository: str | None, revision: str | None, names: Sequence[str], local: str) -> list[Path]:
    """Where the files of a repository now lie on this machine, in the order of their names.

    Args:
        section: Of the conf file, for the reader: `backbone`.
        repository: Its key `hub`: `owner/name`.
        revision: A full commit id.
        names: In the repository.
        local: The key of the section that takes files of this machine in place of a repository.

    Raises:
        ConfigurationError: What should name a repository cannot, or a file cannot be had.
    """
    # `huggingface_hub.errors` names the errors of its own alone; those of the connection, which it lets through, are of its client.
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    try:
        return [Path(hf_hub_download(str(repository), name, revision=revision)) for name in names]
    except HFValidationError as error:
        raise ConfigurationError(
            got=f"{section}.hub {repository!r}, which names no repository: {str(error).rstrip('.')}.",
            allowed="owner/name, of letters, digits, '-', '_' and '.', 96 characters at most.",
            next_step=f"correct {section}.hub in the conf file, or give files of this machine as {section}.{local}.",
        ) from error
    # What the Hub answers (HfHubHTTPError) and what the cache lacks (LocalEntryNotFoundError) are OSErrors.
    except (HTTPError, InvalidURL, OSError, ValueError) as error:
        raise ConfigurationError(
            got=f"{section}.hub {repository}@{revision}, which could not be fetched: {type(error).__name__}.",
            allowed=f"a repository with {', '.join(names)} that this machine can reach or has in its cache.",
            next_step=f"check the name and the network, or fetch the files elsewhere and give them as {section}.{local}.",
        ) from error
