"""The registry with its files on S3: DVC's client against moto's server, over HTTP."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.retries import another_try_can_help
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.versioning.bundles import fetch_bundle
from pipelines.versioning.champions import champion
from pipelines.versioning.dataset import commit_dataset
from pipelines.versioning.dvc_repository import open_dvc, require_remote
from pipelines.versioning.model_versions import register, versions
from pipelines.versioning.promotion import promote, rollback
from pipelines.versioning.remote_access import masked
from pipelines.versioning.snapshot import export_data
from tests.pipelines.versioning.s3_server import BUCKET, REGION, S3, s3_server

SECRET = "s3cr3t-never-shown"
DECISION = {"decision.json": b'{"pass": true}'}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as server:
        yield server


@pytest.fixture
def credentials(s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the environment and nowhere else, and quick to give up."""
    values = {"AWS_ACCESS_KEY_ID": s3.key_id, "AWS_SECRET_ACCESS_KEY": s3.secret, "AWS_DEFAULT_REGION": REGION, "AWS_MAX_ATTEMPTS": "1"}
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        (tmp_path / name).touch()
        values[name] = str(tmp_path / name)
    for name, value in (values | {"AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)


def dvc_remote(place, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "remote", *arguments], cwd=place.root, check=True, capture_output=True)


def move_to_s3(place, url: str, prefix: str) -> None:
    """As a person does: two commands of DVC and a commit."""
    dvc_remote(place, "modify", "storage", "url", f"s3://{BUCKET}/{prefix}")
    dvc_remote(place, "modify", "storage", "endpointurl", url)
    place.git("commit", "--quiet", "--all", "--message", "Move the remote to S3")


def all_of_git(place) -> str:
    return place.git("log", "--all", "--patch", "--format=%B") + place.git("for-each-ref", "--format=%(contents)")


@pytest.mark.slow
def test_register_promote_roll_back_and_fetch_from_a_second_clone(place, s3, credentials, new_bundle, tmp_path) -> None:
    move_to_s3(place, s3.url, "loop")
    (place.root / "data" / "more.png").write_bytes(b"another")
    commit_dataset(place.root, "On S3 from now on")
    for weights in (b"one", b"two"):
        register(place.root, new_bundle(weights).path, DECISION, "Register")
    promote(place.root, "digits", "v0.0.1", "first", {}, judged_against=None)
    promote(place.root, "digits", "v0.0.2", "better", {})
    assert rollback(place.root, "digits", "worse after all").champion.version == "v0.0.1"

    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(place.root), str(clone)], check=True, capture_output=True)
    assert champion(clone, "digits").version == "v0.0.1"
    assert [version.name for version in versions(clone, "digits")] == ["v0.0.1", "v0.0.2"]
    bundle = fetch_bundle(clone, "digits", "v0.0.1", tmp_path / "served")
    assert (bundle / "weights.safetensors").read_bytes() == b"one"
    export_data(clone, "HEAD", tmp_path / "data", tmp_path / "scratch")
    assert (tmp_path / "data" / "more.png").read_bytes() == b"another"
    history = all_of_git(place)
    assert s3.secret not in history
    assert s3.key_id not in history


@pytest.mark.slow
def test_an_endpoint_that_is_not_there(promoted, s3, credentials, new_bundle) -> None:
    move_to_s3(promoted, "http://127.0.0.1:9", "nowhere")
    n_commits = promoted.n_commits()
    with pytest.raises(
        ConfigurationError, match=r"the DVC remote s3://regraft/nowhere, which cannot be used: .*check the address"
    ) as caught:
        register(promoted.root, new_bundle(b"four").path, DECISION, "Register")
    assert SECRET not in str(caught.value)
    assert another_try_can_help(caught.value), "a run would not try again what a moment later works"
    assert promoted.n_commits() == n_commits
    assert len(versions(promoted.root, "digits")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("what", ["none", "unknown key", "wrong secret"])
def test_wrong_credentials_are_an_error_and_nothing_is_committed(promoted, s3, credentials, new_bundle, monkeypatch, what: str) -> None:
    move_to_s3(promoted, s3.url, "locked")
    if what == "none":
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
    else:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    if what == "unknown key":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDNEVERSHOWN")
    n_commits = promoted.n_commits()
    with pytest.raises(ConfigurationError, match=r"the DVC remote s3://regraft/locked, which cannot be used: .*the credentials") as caught:
        register(promoted.root, new_bundle(b"four").path, DECISION, "Register")
    for hidden in (SECRET, s3.secret, s3.key_id, "AKIDNEVERSHOWN"):
        assert hidden not in str(caught.value)
    assert not another_try_can_help(caught.value), "a run would ask three times with the same wrong key"
    assert promoted.n_commits() == n_commits
    assert len(versions(promoted.root, "digits")) == 3


@pytest.mark.slow
def test_a_bucket_that_is_not_there_cannot_be_read(promoted, s3, credentials, tmp_path) -> None:
    move_to_s3(promoted, s3.url, "x")
    subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "modify", "storage", "url", "s3://no-such-bucket/x"], cwd=promoted.root, check=True
    )
    shutil.rmtree(promoted.root / ".dvc" / "cache")
    with pytest.raises(IntegrityError, match=r"digits v0\.0\.2 .*cannot be read"):
        fetch_bundle(promoted.root, "digits", "v0.0.2", tmp_path / "served")


def test_secrets_in_a_file_that_git_keeps_are_refused_and_not_shown(promoted) -> None:
    subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "modify", "storage", "url", f"s3://{BUCKET}/x"],
        cwd=promoted.root,
        check=True,
        capture_output=True,
    )
    dvc_remote(promoted, "modify", "storage", "secret_access_key", SECRET)
    with (
        open_dvc(promoted.root) as repo,
        pytest.raises(ConfigurationError, match=r"a secret in \.dvc/config.*secret_access_key of the remote storage.*--local") as caught,
    ):
        require_remote(repo)
    assert SECRET not in str(caught.value)


def test_secrets_are_masked_wherever_they_come_from(promoted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "modify", "storage", "url", f"s3://{BUCKET}/x"],
        cwd=promoted.root,
        check=True,
        capture_output=True,
    )
    dvc_remote(promoted, "modify", "--local", "storage", "session_token", "t0ken-of-a-session")
    with open_dvc(promoted.root) as repo:
        said = masked(f"could not sign with {SECRET} and t0ken-of-a-session at https://ada:pa55@host/x", repo)
        require_remote(repo)  # .dvc/config.local is the right place
    assert said == "could not sign with *** and *** at https://***@host/x"
