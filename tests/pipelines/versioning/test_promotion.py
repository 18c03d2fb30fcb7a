from __future__ import annotations

import datetime
import subprocess
import time
from collections.abc import Callable

import gto.api
import pytest
from dvc.api import artifacts_show

from pipelines.core.errors import ConfigurationError, ConflictError, IntegrityError
from pipelines.versioning.champions import champion, champion_at, history
from pipelines.versioning.promotion import promote, rollback
from pipelines.versioning.registry_lock import registry_lock


def agreed_champion(place) -> str:
    """The version that Regraft, GTO and DVC all name."""
    mine = champion(place.root, "digits")
    # Not `find_versions_in_stage`: that names the greatest version number that was ever champion.
    (theirs,) = gto.api.show(str(place.root), "digits#prod")
    assert theirs["version"] == mine.version
    assert artifacts_show("digits", stage="prod", repo=str(place.root)) == {"rev": mine.commit, "path": "models/bundle"}
    return mine.version


def test_before_the_first_promotion_there_is_no_champion(place) -> None:
    assert champion(place.root, "digits") is None
    assert history(place.root, "digits") == []


def test_a_promotion_says_who_when_why_and_on_what_evidence(promoted) -> None:
    started = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    evidence = {"trigger": "drift", "gates": [{"kind": "min_metric", "low": 0.93}], "text": 'quotes " and\nlines, größer'}
    promotion = promote(promoted.root, "digits", "v0.0.3", "better\non all", evidence, judged_against="v0.0.2")
    record = promotion.champion
    assert (promotion.previous, promotion.changed) == ("v0.0.2", True)
    assert (record.version, record.kind, record.why, record.evidence) == ("v0.0.3", "promote", "better\non all", evidence)
    assert record.promoted_by == "Ada Tester <ada@example.org>"
    assert started <= record.promoted_at <= datetime.datetime.now(datetime.UTC)
    assert record.tag == "digits#prod#3"
    assert record == champion(promoted.root, "digits") == history(promoted.root, "digits")[-1]
    assert agreed_champion(promoted) == "v0.0.3"


def test_history_agrees_with_gto(promoted) -> None:
    rollback(promoted.root, "digits", "worse on scanner 3")
    events = [event for event in gto.api.history(str(promoted.root), "digits") if event["event"] == "assignment"]
    assert [record.version for record in history(promoted.root, "digits")] == [event["version"] for event in reversed(events)]
    assert [record.kind for record in history(promoted.root, "digits")] == ["promote", "promote", "rollback"]


def test_promoting_the_champion_again_changes_nothing(promoted) -> None:
    before = promoted.tags()
    again = promote(promoted.root, "digits", "v0.0.2", "better on every domain", {}, judged_against="v0.0.1")  # as after a crash
    assert (again.changed, again.champion.tag, promoted.tags()) == (False, "digits#prod#2", before)


def test_a_decision_against_a_champion_of_the_past_is_refused(promoted) -> None:
    for judged_against in ("v0.0.1", None):
        with pytest.raises(
            ConflictError,
            match=r"v0\.0\.3 of digits, judged against .*; the champion is now v0\.0\.2 \(since .* UTC, by Ada .*: better on every",
        ):
            promote(promoted.root, "digits", "v0.0.3", "better", {}, judged_against=judged_against)
    assert agreed_champion(promoted) == "v0.0.2"


def test_unknown_versions_and_empty_reasons_are_refused(promoted) -> None:
    with pytest.raises(ConfigurationError, match=r"'v0\.0\.9' of digits.*v0\.0\.1, v0\.0\.2, v0\.0\.3"):
        promote(promoted.root, "digits", "v0.0.9", "better", {})
    with pytest.raises(ConfigurationError, match=r"no reason\..*a sentence that says why"):
        promote(promoted.root, "digits", "v0.0.3", "  ", {})
    promoted.git("config", "--unset", "user.email")
    with pytest.raises(ConfigurationError, match="no git identity"):
        promote(promoted.root, "digits", "v0.0.3", "better", {})


def test_a_version_whose_bundle_is_lost_cannot_become_champion(promoted) -> None:
    for store in (promoted.root / ".dvc" / "cache", promoted.remote):
        for path in [path for path in store.rglob("*") if path.is_file() and path.read_bytes() == b"three"]:
            path.unlink()
    with pytest.raises(IntegrityError, match=r"digits v0\.0\.3 .* cannot be read"):
        promote(promoted.root, "digits", "v0.0.3", "better", {})
    assert agreed_champion(promoted) == "v0.0.2"
    assert not (promoted.root / ".regraft" / "checking").exists()


def test_each_rollback_goes_further_back_and_never_to_what_was_left(promoted) -> None:
    promote(promoted.root, "digits", "v0.0.3", "better", {})
    assert rollback(promoted.root, "digits", "worse on scanner 3").champion.version == "v0.0.2"
    second = rollback(promoted.root, "digits", "this one too")
    assert (second.champion.version, second.previous, second.champion.kind) == ("v0.0.1", "v0.0.2", "rollback")
    assert agreed_champion(promoted) == "v0.0.1"
    with pytest.raises(ConfigurationError, match=r"a rollback of digits, which has had no earlier champion.*rollback --to VERSION"):
        rollback(promoted.root, "digits", "and this")
    assert rollback(promoted.root, "digits", "the newest after all", to="v0.0.3").champion.version == "v0.0.3"
    assert agreed_champion(promoted) == "v0.0.3"
    assert not any("deprecated" in tag or "!" in tag for tag in promoted.tags())


@pytest.mark.slow
def test_a_rollback_made_by_hand_counts(promoted) -> None:
    promote(promoted.root, "digits", "v0.0.3", "better", {})
    _next_second()
    gto.api.assign(str(promoted.root), "digits", "prod", version="v0.0.2", force=True, message="by hand", author="x", author_email="x@y.z")
    record = champion(promoted.root, "digits")
    assert (record.version, record.kind, record.why, record.evidence) == ("v0.0.2", "by hand", "by hand", {})
    assert rollback(promoted.root, "digits", "further").champion.version == "v0.0.1"


@pytest.mark.slow
def test_after_a_champion_came_back_a_rollback_goes_to_the_one_between(promoted) -> None:
    promote(promoted.root, "digits", "v0.0.1", "was better after all", {})
    assert rollback(promoted.root, "digits", "was not").champion.version == "v0.0.2"


def test_who_was_champion_at_a_moment(promoted) -> None:
    first, second = history(promoted.root, "digits")
    moment = datetime.timedelta(seconds=1)
    assert champion_at(promoted.root, "digits", first.promoted_at - moment) is None
    assert champion_at(promoted.root, "digits", first.promoted_at) == first
    assert champion_at(promoted.root, "digits", second.promoted_at + moment * 3600) == second
    with pytest.raises(ConfigurationError, match=r"without a time zone.*add the time zone"):
        champion_at(promoted.root, "digits", datetime.datetime(2026, 1, 1))


def _next_second() -> None:
    time.sleep(1.05 - time.time() % 1)


BY_HAND: dict[str, Callable[..., object]] = {
    "unassign": lambda root, **by: gto.api.unassign(root, "digits", version="v0.0.2", stage="prod", **by),
    "deregister": lambda root, **by: gto.api.deregister(root, "digits", version="v0.0.2", **by),
    "deprecate": lambda root, **by: gto.api.deprecate(root, "digits", ref="HEAD", simple=True, **by),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", BY_HAND)
def test_a_champion_taken_back_by_hand_is_an_error_until_someone_says_who(promoted, how: str) -> None:
    _next_second()
    BY_HAND[how](str(promoted.root), author="x", author_email="x@example.org")
    with pytest.raises(IntegrityError, match=r"the champion digits#prod#2, taken back by hand with digits.*regraft rollback.*git tag -d"):
        champion(promoted.root, "digits")
    assert champion_at(promoted.root, "digits", history(promoted.root, "digits")[-1].promoted_at).version == "v0.0.2"
    if how == "deregister":
        with pytest.raises(ConfigurationError, match=r"digits@v0\.0\.2! deregistered"):
            promote(promoted.root, "digits", "v0.0.2", "still", {})
        promote(promoted.root, "digits", "v0.0.3", "better", {})
    else:
        assert promote(promoted.root, "digits", "v0.0.2", "still", {}).changed
    assert agreed_champion(promoted) == ("v0.0.3" if how == "deregister" else "v0.0.2")


@pytest.mark.slow
def test_an_unregistered_champion_is_named_and_can_be_replaced(promoted) -> None:
    _next_second()
    promoted.git("tag", "--annotate", "--message", "by hand", "digits#prod#9", promoted.git("rev-list", "--max-parents=0", "HEAD"))
    with pytest.raises(IntegrityError, match=r"the champion digits#prod#9 at commit [0-9a-f]{12}, where no version is registered"):
        champion(promoted.root, "digits")
    assert rollback(promoted.root, "digits", "made by mistake").champion.version == "v0.0.2"
    assert agreed_champion(promoted) == "v0.0.2"


def test_rolling_back_needs_nothing_of_the_champion_but_its_tag(promoted) -> None:
    for store in (promoted.root / ".dvc" / "cache", promoted.remote):
        for path in [path for path in store.rglob("*") if path.is_file() and path.read_bytes() == b"two"]:
            path.unlink()
    assert rollback(promoted.root, "digits", "its files are lost").champion.version == "v0.0.1"


def test_another_writer_is_named_and_waited_for(promoted) -> None:
    with (
        registry_lock(promoted.root),
        pytest.raises(ConfigurationError, match=r"another process that has been writing versions .*one writer at a time"),
        registry_lock(promoted.root, 0.1),
    ):
        pytest.fail("two held the lock")
    with registry_lock(promoted.root, 0.1):
        pass


@pytest.mark.slow
def test_of_two_promotions_at_once_one_wins_and_the_other_says_who_won(promoted, run_python) -> None:
    code = (
        "import sys; from pathlib import Path; from pipelines.core.errors import RefusedError\n"
        "from pipelines.versioning import registry, promotion\n"
        "import gto.api, dvc.repo\n"
        "seen = promotion.read_tags\n"
        "def read_tags(*arguments):\n    tags = seen(*arguments); print('read', flush=True); return tags\n"
        "promotion.read_tags = read_tags\n"
        f"try: print(registry.promote(Path({str(promoted.root)!r}), 'digits', '%s', 'of %s', {{}}).champion.version)\n"
        "except RefusedError as error: print('REFUSED', error)\n"
    )
    with registry_lock(promoted.root):  # both have read the champion before either may write
        started = [run_python(code % (version, version)) for version in ("v0.0.1", "v0.0.3")]
        for process in started:
            assert process.stdout.readline() == b"read\n"
    answers = [process.communicate(timeout=120)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    (refused,) = [answer for answer in answers if "REFUSED" in answer]
    winner = agreed_champion(promoted)
    assert f"the champion is now {winner} (since " in refused
    assert f"of {winner})" in refused
    assert len(history(promoted.root, "digits")) == 3
    subprocess.run(["git", "fsck", "--strict"], cwd=promoted.root, check=True, capture_output=True)
