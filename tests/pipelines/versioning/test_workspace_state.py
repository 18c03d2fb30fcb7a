from __future__ import annotations

import hashlib
import json

from pipelines.versioning.workspace_state import MAX_PATCH_BYTES, workspace_state

CONF = "conf/digits.yaml"


def commit_conf(place) -> None:
    place.git("add", "conf")
    place.git("commit", "--quiet", "--message", "Configure")


def test_a_clean_workspace(place) -> None:
    commit_conf(place)
    state = workspace_state(place.root)
    assert (state.commit, state.branch) == (place.git("rev-parse", "HEAD"), "main")
    assert (state.patch, state.patch_sha256, state.untracked) == ("", None, ())


def test_the_patch_can_be_applied_again(place) -> None:
    commit_conf(place)
    (place.root / CONF).write_text("project: digits\nseed: 7\n")
    (place.root / "notes.txt").write_text("not kept")
    state = workspace_state(place.root)
    assert state.patch_sha256 == hashlib.sha256(state.patch.encode()).hexdigest()
    assert state.untracked == ("notes.txt",)
    assert "not kept" not in json.dumps(state.as_json())
    (place.root / "notes.patch").write_text(state.patch)
    place.git("checkout", "--quiet", "--", "conf")
    place.git("apply", "notes.patch")
    assert (place.root / CONF).read_text() == "project: digits\nseed: 7\n"


def test_a_large_patch_is_cut_and_its_digest_is_of_the_whole(place) -> None:
    commit_conf(place)
    digests = set()
    for ending in ("x", "y"):
        (place.root / CONF).write_text("a" * 70 * 1024 + ending)
        state = workspace_state(place.root)
        assert len(state.patch) == MAX_PATCH_BYTES < state.n_patch_bytes
        assert state.as_json()["patch_is_whole"] is False
        digests.add((state.patch_sha256, state.patch[200:]))
    assert len({digest for digest, _ in digests}) == 2
    assert len({patch for _, patch in digests}) == 1


def test_of_a_binary_file_the_digest_is_kept(place) -> None:
    (place.root / "conf" / "x.bin").write_bytes(b"\0one")
    commit_conf(place)
    found = []
    for content in (b"\0two", b"\0three"):
        (place.root / "conf" / "x.bin").write_bytes(content)
        found.append(workspace_state(place.root).patch_sha256)
    assert found[0] != found[1]
