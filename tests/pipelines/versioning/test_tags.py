from __future__ import annotations

import datetime
import time

import pytest
from gto.constants import Action, tag_re
from gto.tag import find
from gto.tag import parse_name as gto_parse_name
from hypothesis import example, given
from hypothesis import strategies as st
from scmrepo.git import Git

from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.versioning import tags
from pipelines.versioning.tags import parse_tag_name, read_tags

_near_misses = st.text(alphabet="ab1290#@!v.-_=/+", max_size=24)


@given(st.one_of(st.from_regex(tag_re, fullmatch=True).filter(lambda name: "\n" not in name), _near_misses))
@example("digits@v0.0.1")
@example("digits#prod!#12")
@example("a/b=digits@v1.2.3-rc.1+build.5!")
@example("digits@deprecated#4")
def test_a_tag_name_means_what_it_means_to_gto(name: str) -> None:
    expected = gto_parse_name(name, raise_on_fail=False)
    parsed = parse_tag_name(name)
    if not expected:
        assert parsed is None
    else:
        assert parsed is not None
        assert (parsed.artifact, parsed.version, parsed.stage, parsed.counter) == tuple(
            expected.get(key) for key in ("name", "version", "stage", "counter")
        )
        assert parsed.action == expected.get("action", Action.CREATE).value


def test_tags_are_read_in_the_order_of_gto(promoted) -> None:
    promoted.git("tag", "digits#prod#99")  # lightweight: neither GTO nor Regraft reads it
    promoted.git("tag", "--annotate", "--message", "another project", "digits-two@v0.0.1")
    promoted.git("pack-refs", "--all")
    mine = [(tag.tag, tag.commit, int(tag.made_at.timestamp())) for tag in read_tags(promoted.root, "digits")]
    scm = Git(str(promoted.root))
    assert mine == [(tag.name, tag.target, tag.tag_time) for tag in find(name="digits", scm=scm)]
    scm.close()
    assert len(mine) == 5


def test_a_message_written_by_hand_is_text_without_a_record(promoted) -> None:
    promoted.git("tag", "--annotate", "--message", 'because\n\n[1, 2]\nand "more"', "digits#prod#7", "digits@v0.0.1^{}")
    tag = next(tag for tag in read_tags(promoted.root, "digits") if tag.tag == "digits#prod#7")
    assert tag.record == {}
    assert tag.text == 'because\n[1, 2]\nand "more"'


def test_a_tag_whose_commit_is_lost_is_an_integrity_error(promoted) -> None:
    commit = promoted.git("rev-parse", "digits#prod#2^{}")
    (promoted.root / ".git" / "objects" / commit[:2] / commit[2:]).unlink()
    with pytest.raises(IntegrityError, match=r"registry tags of digits that git cannot read.*git fsck"):
        read_tags(promoted.root, "digits")


def test_writing_waits_for_a_second_of_its_own(promoted) -> None:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    with tags.gto_writing(promoted.root, after=now):
        assert time.time() >= now.timestamp() + 1


def test_a_clock_behind_the_latest_tag_is_refused(promoted) -> None:
    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    with pytest.raises(ConfigurationError, match=r"a clock that says .* while the registry's latest tag is of .*set this machine's clock"):
        tags.gto_writing(promoted.root, after=ahead).__enter__()
