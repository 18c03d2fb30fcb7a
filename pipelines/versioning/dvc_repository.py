"""DVC's repository, opened for the workspace alone, with its errors in words and its transfers checked.

Three habits of DVC 3.67 that `push_objects` and `fetch_objects` do not share (each has a test):

- a local remote that is gone (a drive that is not mounted) is made anew, empty, without a word;
- files missing from the remote are not seen where the remote's listing of their folder is there: an index is believed;
- files missing from both cache and remote are a warning, and the push succeeds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.versioning.remote_access import masked, refuse_secrets_in_git, transfer_errors

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.status import CompareStatusResult
    from dvc_data.hashfile.tree import Tree

LOCK_WAIT_SECONDS = 60.0
Answer = TypeVar("Answer")


@contextmanager
def open_dvc(root: Path) -> Iterator[Repo]:
    """The workspace's DVC repository.

    Raises:
        ConfigurationError: There is none in `root` itself, another process keeps it locked, or DVC refused.
    """
    if not (root / ".dvc" / "config").is_file():  # DVC would look further up, into a repository around the workspace
        raise ConfigurationError(
            got=f"the workspace {root} without .dvc/config.",
            allowed="a workspace that is a DVC repository.",
            next_step="make one with `regraft init`, or restore .dvc/config with `git checkout -- .dvc/config`.",
        )
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    # What is committed is chosen path by path; DVC need not stage it, nor hold git's index lock for it.
    try:
        with quiet_dvc(), Repo(str(root), config={"core": {"autostage": False}}) as repo:
            yield repo
    except DvcException as error:
        raise ConfigurationError(
            got=f"a DVC command that failed in {root}: {masked(_chain(error))}.",
            allowed="a DVC repository that this command can work in.",
            next_step=f"read DVC's message, then run `dvc status` and `dvc remote list` in {root}.",
        ) from error


@contextmanager
def quiet_dvc() -> Iterator[None]:
    """Keeps DVC's hints and progress bars off the standard output, which belongs to the command that called."""
    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _chain(error: BaseException) -> str:
    cause = error.__cause__
    return " ".join(f"{error}".split()) + (f" ({_chain(cause)})" if cause else "")


def wait_for_dvc(root: Path, call: Callable[[], Answer], wait_seconds: float | None = None) -> Answer:
    """Calls, again and again while another process holds DVC's lock.

    Args:
        root: The workspace.
        call: Uses DVC's lock; DVC itself gives up after 3 s.
        wait_seconds: In all; `LOCK_WAIT_SECONDS` by default.

    Raises:
        ConfigurationError: The lock was held all the time.
    """
    from dvc.lock import LockError
    from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

    limit_seconds = LOCK_WAIT_SECONDS if wait_seconds is None else wait_seconds
    retrying = Retrying(retry=retry_if_exception_type(LockError), stop=stop_after_delay(limit_seconds), wait=wait_fixed(0.2), reraise=True)
    try:
        return retrying(call)
    except LockError as error:
        raise ConfigurationError(
            got=f"another DVC process that has kept {root} locked for {limit_seconds:g} s.",
            allowed="one DVC command at a time.",
            next_step="wait until it is done and run the command again; `fuser .dvc/tmp/lock` names it.",
        ) from error


def require_remote(repo: Repo) -> HashFileDB:
    """The default remote's object store, found to be there.

    Raises:
        ConfigurationError: No default remote, a versioned one, a local one whose folder is gone, one whose client is not installed, or
            one whose secrets git would keep.
    """
    from dvc.config import RemoteConfigError
    from dvc.fs import RemoteMissingDepsError

    refuse_secrets_in_git(repo)
    try:
        remote: HashFileDB = repo.cloud.get_remote_odb(hash_name="md5", command="push")
        location = repo.cloud.get_remote().path
    except RemoteConfigError as error:
        raise ConfigurationError(
            got=f"no DVC remote that objects can be pushed to: {masked(_chain(error), repo)}.",
            allowed="a default remote: a folder, or an address that DVC knows (without `version_aware` or `worktree`).",
            next_step="add one with `dvc remote add --default NAME URL`, commit .dvc/config and run the command again.",
        ) from error
    except RemoteMissingDepsError as error:
        raise ConfigurationError(
            got=f"the DVC remote {masked(error.url, repo)}, whose client is not installed: {', '.join(error.missing_deps)}.",
            allowed="a remote that the installed packages can talk to.",
            next_step=f"install it with `pip install 'regraft[{error.protocol}]'`, or `pip install dvc-{error.protocol}`.",
        ) from error
    if remote.fs.protocol == "local" and not Path(location).is_dir():
        raise _remote_gone(repo, "its folder is not there")
    return remote


def _remote_gone(repo: Repo, what: str) -> ConfigurationError:
    remote = repo.cloud.get_remote()
    location, is_local = remote.path, remote.fs.protocol == "local"
    check = "mount or restore it" if is_local else "check the address, the network and the credentials (`dvc remote list`)"
    return ConfigurationError(
        got=f"the DVC remote {masked(location if is_local else remote.fs.unstrip_protocol(location), repo)}, which cannot be used: "
        f"{masked(what, repo).rstrip('.')}.",
        allowed="a remote that can be read and written: what git names must be there to be fetched.",
        next_step=f"{check} and run the command again, or point to another with `dvc remote modify NAME url URL`; nothing was committed.",
    )


def push_objects(repo: Repo, directory: HashInfo) -> None:
    """Makes sure that the remote holds a directory's listing and every file of it, and uploads what it lacks.

    Raises:
        ConfigurationError: The remote cannot be used.
        IntegrityError: Files are neither in the cache nor in the remote.
    """
    from dvc_data.hashfile.transfer import transfer

    remote, cache = require_remote(repo), repo.cache.local
    objects = {directory, *_file_hashes(_load_tree(cache, directory))}
    try:
        # No index: what an earlier push saw there may be gone.
        result = transfer(cache, remote, objects, validate_status=_refuse_missing)
    except transfer_errors() as error:
        raise _remote_gone(repo, str(error)) from error
    if result.failed:
        lost = f"{len(result.failed)} of {len(objects)} files could not be written"
        raise _remote_gone(repo, lost) from _transfer_error(remote)(lost)


def _transfer_error(remote: HashFileDB) -> type[OSError]:
    """DVC tells how many files failed and only logs why. Over a network that may pass; who tries again goes by this type."""
    return OSError if remote.fs.protocol == "local" else ConnectionError


def _refuse_missing(status: CompareStatusResult) -> None:
    if status.missing:
        raise IntegrityError(
            got=f"{len(status.missing)} files that are neither in DVC's cache nor in its remote, "
            f"the first being md5 {min(str(item.value) for item in status.missing)}.",
            allowed="every file in one of the two.",
            next_step="put the remote or the cache back from a backup, or commit the data again where it still is.",
        )


def fetch_objects(repo: Repo, directory: HashInfo) -> Tree:
    """Makes sure that the cache holds a directory's listing and every file of it, and downloads what it lacks.

    Raises:
        IntegrityError: Something is in neither place, or the remote cannot be read.
    """
    tree = fetch_listing(repo, directory)
    fetch_files(repo, directory, _file_hashes(tree))
    return tree


def fetch_listing(repo: Repo, directory: HashInfo) -> Tree:
    """A directory's listing alone: names and digests, no file.

    Raises:
        IntegrityError: As `fetch_objects`.
    """
    fetch_files(repo, directory, {directory})
    return _load_tree(repo.cache.local, directory)


def fetch_files(repo: Repo, directory: HashInfo, objects: set[HashInfo], cache: HashFileDB | None = None) -> None:
    """Downloads those of a directory's objects that the cache lacks.

    Args:
        repo: Its remote is read.
        directory: Named in errors.
        objects: Files, or the listing.
        cache: Where they are put; the repository's own where None.

    Raises:
        IntegrityError: As `fetch_objects`.
    """
    try:
        _download(repo, objects, repo.cache.local if cache is None else cache)
    except transfer_errors(ConfigurationError) as error:
        raise IntegrityError(
            got=f"the tracked directory {directory.value}, which is not whole in DVC's cache, and the remote cannot be read: "
            f"{masked(str(error), repo)}",
            allowed="its files in the cache or in the remote.",
            next_step="mount or restore the remote and run the command again.",
        ) from error


def _download(repo: Repo, objects: set[HashInfo], cache: HashFileDB) -> None:
    from dvc_data.hashfile.transfer import transfer

    lacking = {item for item in objects if not cache.exists(str(item.value))}
    if not lacking:
        return
    remote = require_remote(repo)
    result = transfer(remote, cache, lacking, validate_status=_refuse_missing)
    if result.failed:
        raise _transfer_error(remote)(f"{len(result.failed)} of {len(lacking)} files could not be read")


def discard_damaged(repo: Repo, tree: Tree) -> int:
    """Drops the cached files of a directory whose bytes are not those of their name, and returns how many; they can be fetched again."""
    from dvc_data.hashfile.hash import hash_file

    cache = repo.cache.local
    oids = {str(item.value) for item in _file_hashes(tree)}
    damaged = [oid for oid in oids if cache.exists(oid) and hash_file(cache.oid_to_path(oid), cache.fs, "md5")[1].value != oid]
    for oid in damaged:
        cache.delete(oid)
    return len(damaged)


def _load_tree(cache: HashFileDB, directory: HashInfo) -> Tree:
    from dvc_data.hashfile.tree import Tree

    return Tree.load(cache, directory)


def _file_hashes(tree: Tree) -> set[HashInfo]:
    return {hash_info for _, _, hash_info in tree if hash_info is not None}
