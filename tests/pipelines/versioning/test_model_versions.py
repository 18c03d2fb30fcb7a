from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable

import gto.api
import pytest
import yaml
from dvc.api import artifacts_show

from pipelines.core.bundle import MANIFEST, file_sha256
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.versioning.bundles import fetch_bundle
from pipelines.versioning.dataset import commit_dataset, dataset_version
from pipelines.versioning.lineage import show
from pipelines.versioning.model_versions import find_version, register, versions

DECISION = {"decision.json": b'{"pass": true}'}


def test_a_version_names_its_bundle_data_and_commit(place, new_bundle: Callable[[bytes], object]) -> None:
    bundle = new_bundle(b"one")
    version = register(place.root, bundle.path, DECISION | {"card.md": b"# One"}, "Because it is good")
    assert (version.project, version.name, version.bundle_id) == ("digits", "v0.0.1", bundle.id)
    assert version.dataset_digest == dataset_version(place.root).digest
    assert version.commit == place.git("rev-parse", "HEAD") == place.git("rev-parse", "digits@v0.0.1^{}")
    assert place.git("tag", "--list", "--format=%(contents:subject) %(taggername)", "digits@v0.0.1") == "Because it is good Ada Tester"
    assert file_sha256(place.root / "models" / "bundle.json")[:16] == bundle.id
    assert place.git("show", "--name-only", "--format=%s", "HEAD").split("\n") == [
        "Because it is good", "", ".".join(("dvc", "yaml")), "models/.gitignore", "models/bundle.dvc", "models/bundle.json",
        "models/card.md", "models/decision.json", "models/lineage.json",
    ]  # fmt: skip
    assert place.git("status", "--porcelain", "models", "dvc.yaml") == ""


def test_gto_and_dvc_read_the_same(promoted) -> None:
    mine = [(version.name, version.commit) for version in versions(promoted.root, "digits")]
    theirs = gto.api.show(str(promoted.root), "digits")
    assert mine == sorted((entry["version"], entry["commit_hexsha"]) for entry in theirs)
    for name, commit in mine:
        assert artifacts_show("digits", version=name, repo=str(promoted.root)) == {"rev": commit, "path": "models/bundle"}


def test_registering_again_gives_the_version_that_is_there(promoted, new_bundle: Callable[[bytes], object]) -> None:
    before = (promoted.tags(), promoted.git("rev-parse", "HEAD"))
    assert register(promoted.root, new_bundle(b"one").path, DECISION, "Again").name == "v0.0.1"
    assert (promoted.tags(), promoted.git("rev-parse", "HEAD")) == before


def test_the_same_bundle_on_other_data_is_another_version(promoted, new_bundle: Callable[[bytes], object]) -> None:
    (promoted.root / "data" / "images" / "new.png").write_bytes(b"new")
    commit_dataset(promoted.root, "More data")
    version = register(promoted.root, new_bundle(b"three").path, DECISION, "Three on more data")
    assert version.name == "v0.0.4"
    assert [entry.bundle_id for entry in versions(promoted.root, "digits")][2:] == [version.bundle_id] * 2


def test_records_of_the_version_before_do_not_stay(place, new_bundle: Callable[[bytes], object]) -> None:
    register(place.root, new_bundle(b"one").path, DECISION | {"evaluation.json": b'{"accuracy": 0.9}', "card.md": b"# One"}, "One")
    (place.root / "models" / "notes.md").write_text("a person's")
    register(place.root, new_bundle(b"two").path, DECISION, "Two")
    assert show(place.root, "digits", "v0.0.1").records == {"evaluation.json": {"accuracy": 0.9}}
    second = show(place.root, "digits", "v0.0.2")
    assert (second.records, second.card) == ({}, "")
    assert (place.root / "models" / "notes.md").is_file()


def test_lineage_is_read_from_git_alone(promoted, new_bundle: Callable[[bytes], object]) -> None:
    shutil.rmtree(promoted.root / ".dvc")
    lineage = show(promoted.root, "digits", "v0.0.2")
    bundle = new_bundle(b"two")
    assert lineage.model.bundle_id == bundle.id
    assert lineage.manifest.files == json.loads((bundle.path / MANIFEST).read_bytes())["files"]
    assert lineage.lineage == {"seed": 0, "weights": "two"}
    assert lineage.decision == {"pass": True}
    assert lineage.card == "# two"
    assert [change.why for change in lineage.promotions] == ["better on every domain"]


def test_unknown_version_lists_those_that_are(promoted) -> None:
    with pytest.raises(ConfigurationError, match=r"'v9' of digits.*v0\.0\.1, v0\.0\.2, v0\.0\.3"):
        find_version(promoted.root, "digits", "v9")
    with pytest.raises(ConfigurationError, match=r"there is none yet.*regraft retrain"):
        show(promoted.root, "digits-two", "v0.0.1")


def test_a_version_without_records_is_named(promoted) -> None:
    start = promoted.git("rev-list", "--max-parents=0", "HEAD")
    gto.api.register(str(promoted.root), "digits", start, author="x", author_email="x@example.org")
    with pytest.raises(
        IntegrityError, match=r"the version digits@v0\.0\.4, whose commit .* has no models/bundle\.json.*git tag -d 'digits@v0\.0\.4'"
    ):
        versions(promoted.root, "digits")


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ({}, "decision.json that is missing or no JSON"),
        ({"decision.json": b"{"}, "no JSON"),
        (DECISION | {"../x": b""}, r"\.\./x"),
        (DECISION | {"bundle.json": b""}, "bundle.json"),
    ],
)
def test_wrong_records_are_refused(place, new_bundle: Callable[[bytes], object], records: dict[str, bytes], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"records to register: .*{problem}.*decision\.json, which says why"):
        register(place.root, new_bundle(b"one").path, records, "One")
    assert place.tags() == []


def test_a_damaged_bundle_is_refused(place, new_bundle: Callable[[bytes], object]) -> None:
    bundle = new_bundle(b"one").path
    (bundle / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(IntegrityError, match=r"weights\.safetensors changed"):
        register(place.root, bundle, DECISION, "One")
    assert place.tags() == []


def test_a_dataset_that_is_not_committed_is_refused(place, new_bundle: Callable[[bytes], object]) -> None:
    (place.root / "data.dvc").write_text((place.root / "data.dvc").read_text().replace("md5: ", "md5: f"))
    with pytest.raises(ConfigurationError, match="not what git has at HEAD"):
        register(place.root, new_bundle(b"one").path, DECISION, "One")


def test_no_identity_leaves_nothing_half_done(place, new_bundle: Callable[[bytes], object]) -> None:
    place.git("config", "--unset", "user.name")
    with pytest.raises(ConfigurationError, match="no git identity"):
        register(place.root, new_bundle(b"one").path, DECISION, "One")
    assert not (place.root / "models").exists()


def test_a_remote_that_is_gone_leaves_nothing_half_done(place, new_bundle: Callable[[bytes], object]) -> None:
    head = place.git("rev-parse", "HEAD")
    place.remote.rename(place.remote.with_name("unmounted"))
    with pytest.raises(ConfigurationError, match="its folder is not there"):
        register(place.root, new_bundle(b"one").path, DECISION, "One")
    assert (place.git("rev-parse", "HEAD"), place.tags(), (place.root / "models").exists()) == (head, [], False)
    place.remote.with_name("unmounted").rename(place.remote)
    assert register(place.root, new_bundle(b"one").path, DECISION, "One").name == "v0.0.1"


def test_what_a_person_wrote_into_dvc_yaml_and_staged_stays(place, new_bundle: Callable[[bytes], object]) -> None:
    (place.root / "dvc.yaml").write_text("# ours\nstages:\n  count:\n    cmd: wc data/labels.csv  # lines\n")
    (place.root / "notes").write_text("draft")
    place.git("add", "notes")
    register(place.root, new_bundle(b"one").path, DECISION, "One")
    register(place.root, new_bundle(b"two").path, DECISION, "Two")
    text = (place.root / "dvc.yaml").read_text()
    assert "# ours" in text
    assert "# lines" in text
    assert yaml.safe_load(text)["artifacts"]["digits"]["path"] == "models/bundle"
    assert place.git("diff", "--cached", "--name-only") == "notes"


def test_neither_hooks_nor_signatures_can_stop_a_registration(place, new_bundle: Callable[[bytes], object]) -> None:
    for key, value in {"commit.gpgSign": "true", "tag.gpgSign": "true", "gpg.program": "false"}.items():
        place.git("config", key, value)
    register(place.root, new_bundle(b"one").path, DECISION, "One")
    with pytest.raises(subprocess.CalledProcessError, match="returned non-zero"):
        place.git("tag", "--annotate", "--message", "by hand", "by-hand")
    assert "SIGNATURE" not in place.git("cat-file", "-p", "digits@v0.0.1")


def test_two_projects_in_one_workspace_do_not_mix(promoted, new_bundle: Callable[..., object]) -> None:
    other = register(promoted.root, new_bundle(b"other", project="digits-two").path, DECISION, "Other")
    assert (other.project, other.name) == ("digits-two", "v0.0.1")
    assert len(versions(promoted.root, "digits")) == 3
    assert [version.bundle_id for version in versions(promoted.root, "digits-two")] == [other.bundle_id]


class TestFetch:
    def test_every_version_can_be_fetched_and_holds_its_own_weights(self, promoted, tmp_path) -> None:
        for name, weights in {"v0.0.1": b"one", "v0.0.3": b"three"}.items():
            path = fetch_bundle(promoted.root, "digits", name, tmp_path / "served")
            assert (path / "weights.safetensors").read_bytes() == weights
            assert path.name == find_version(promoted.root, "digits", name).bundle_id

    def test_what_is_there_is_not_fetched_again(self, promoted, tmp_path) -> None:
        path = fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "served")
        shutil.rmtree(promoted.root / ".dvc")
        assert fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "served") == path

    def test_a_damaged_copy_is_made_again(self, promoted, tmp_path) -> None:
        path = fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "served")
        (path / "weights.safetensors").write_bytes(b"rot")
        (path / "extra").touch()
        fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "served")
        assert (path / "weights.safetensors").read_bytes() == b"one"
        assert not (path / "extra").exists()

    def test_an_empty_or_damaged_cache_is_filled_from_the_remote(self, promoted, tmp_path) -> None:
        cache = promoted.root / ".dvc" / "cache"
        for path in (path for path in cache.rglob("*") if path.is_file() and path.read_bytes() == b"one"):
            path.chmod(0o644)
            path.write_bytes(b"rot")
            path.chmod(0o444)  # DVC trusts the mode
        assert (fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "a") / "weights.safetensors").read_bytes() == b"one"
        shutil.rmtree(cache)
        assert (fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "b") / "weights.safetensors").read_bytes() == b"one"

    def test_a_version_that_is_nowhere_is_named_and_nothing_is_left(self, promoted, tmp_path) -> None:
        for store in (promoted.root / ".dvc" / "cache", promoted.remote):
            for path in [path for path in store.rglob("*") if path.is_file() and path.read_bytes() == b"one"]:
                path.unlink()
        with pytest.raises(
            IntegrityError, match=r"digits v0\.0\.1 \(bundle [0-9a-f]{16}, commit [0-9a-f]{12}\), which cannot be read.*regraft rollback"
        ):
            fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "served")
        assert list((tmp_path / "served").iterdir()) == []

    def test_a_remote_that_is_gone_is_said(self, promoted, tmp_path) -> None:
        shutil.rmtree(promoted.root / ".dvc" / "cache")
        shutil.rmtree(promoted.remote)
        with pytest.raises(IntegrityError, match=r"which cannot be read.*its folder is not there.*mount or restore the remote"):
            fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "served")
        assert not promoted.remote.exists()

    def test_it_can_be_fetched_after_the_remote_moved(self, promoted, tmp_path) -> None:
        shutil.rmtree(promoted.root / ".dvc" / "cache")
        promoted.remote.rename(tmp_path / "moved")
        config = promoted.root / ".dvc" / "config"
        config.write_text(config.read_text().replace(str(promoted.remote), str(tmp_path / "moved")))
        assert fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "served").is_dir()


def test_reading_imports_neither_dvc_nor_gto_nor_torch(promoted) -> None:
    code = (
        "import sys; from pathlib import Path; from pipelines.versioning import registry as r; root = Path(sys.argv[1])\n"
        "assert r.champion(root, 'digits').version == 'v0.0.2' and len(r.history(root, 'digits')) == 2 and r.refusals(root) == []\n"
        "r.show(root, 'digits', 'v0.0.1')\n"
        "print(sorted({'dvc', 'gto', 'torch', 'scmrepo', 'dvc_data'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(promoted.root)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
