"""Near-duplicates get one key; what is settled keeps its own, whatever comes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import SplitSection
from pipelines.shared_groups import Member, Sharing, said_of_sharing, share_groups
from pipelines.split import group_key, picture_key, split_of

SECTION = SplitSection()


def digest_of(member: Member) -> str:
    return hashlib.sha256(f"pixels of {member.path}".encode()).hexdigest()


def member(path: str, group: str = "", split: str = "", is_new: bool = True) -> Member:
    return Member(path, hashlib.sha256(path.encode()).hexdigest(), group, split, is_new)


def shared(members: Sequence[Member], *pairs: tuple[int, int]) -> Sharing:
    return share_groups(members, np.array(pairs, dtype=np.int64).reshape(-1, 2), digest_of, SECTION)


def key_of(one: Member) -> str:
    return group_key(one.group) if one.group else picture_key(digest_of(one))


def split_now(one: Member) -> str:
    return one.split or split_of(key_of(one), SECTION)


def known_in(split: str, n: int = 1) -> list[Member]:
    """Samples of the data that their pictures' keys put there."""
    found = (member(f"{number}.png", is_new=False) for number in range(1_000))
    return [one for one in found if split_now(one) == split][:n]


def test_nothing_alike_and_nothing_changes() -> None:
    members = [member("a"), member("b", is_new=False)]
    assert shared(members) == Sharing(tuple(members), 0, 0)


def test_a_new_sample_takes_the_group_of_the_one_that_it_looks_like() -> None:
    found = shared([member("old", group="patient 7", is_new=False), member("new")], (0, 1))
    assert (found.members[1].group, found.members[1].split, found.n_grouped) == ("patient 7", "", 1)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_where_the_old_one_has_no_group_the_new_one_gets_its_key(split: str) -> None:
    (old,) = known_in(split)
    found = shared([old, member("new")], (0, 1))
    assert found.members[0] == old
    assert key_of(found.members[1]) == key_of(old)
    assert split_now(found.members[1]) == split


def test_a_split_that_the_team_has_fixed_is_taken_over() -> None:
    found = shared([member("old", split="test", is_new=False), member("new")], (0, 1))
    assert (found.members[1].split, key_of(found.members[1])) == ("test", key_of(found.members[0]))


def test_new_ones_alone_share_the_key_of_the_first() -> None:
    members = [member(name) for name in "abc"]
    found = shared(members, (0, 1), (1, 2))
    assert len({key_of(one) for one in found.members}) == 1
    assert found.n_grouped == 2
    first = min(members, key=lambda one: one.sha256)
    assert next(one for one in found.members if one.path == first.path) == first


@pytest.mark.parametrize(("group", "split"), [("mine", ""), ("", "train"), ("mine", "test")])
def test_what_a_new_row_states_itself_stays(group: str, split: str) -> None:
    members = [member("old", group="patient 7", is_new=False), member("new", group=group, split=split)]
    assert shared(members, (0, 1)) == Sharing(tuple(members), 0, 0)


def test_a_chain_is_one_set() -> None:
    members = [*known_in("test"), member("a"), member("b")]
    found = shared(members, (0, 1), (1, 2))
    assert [split_now(one) for one in found.members] == ["test"] * 3


def test_what_would_tie_test_to_train_is_held_out() -> None:
    members = [*known_in("test"), *known_in("train"), member("new")]
    found = shared(members, (0, 2), (1, 2))
    assert (found.members[2].group, found.members[2].split) == ("", "holdout")
    assert (found.n_grouped, found.n_held_out) == (0, 1)
    assert found.members[:2] == tuple(members[:2])


def test_between_train_and_validation_the_first_one_counts() -> None:
    members = [*known_in("validation"), *known_in("train"), member("new")]
    assert split_now(shared(members, (0, 2), (1, 2)).members[2]) == "validation"


def test_a_picture_that_cannot_be_read_gives_no_group() -> None:
    members = [member("old", is_new=False), member("new")]
    found = share_groups(members, np.array([[0, 1]]), lambda one: None, SECTION)
    assert found == Sharing(tuple(members), 0, 0)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_nothing_moves_and_nothing_leaks(data: st.DataObject) -> None:
    """Samples come in batches, in any order, with any near-duplicates, groups and splits: what was settled never changes its row, and no
    sample that was free is in test while what it is connected with is learnt from."""
    n = data.draw(st.integers(2, 14))
    alike = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=14))
    pairs = {(min(a, b), max(a, b)) for a, b in alike if a != b}
    stated = data.draw(
        st.lists(
            st.sampled_from([("", ""), ("", ""), ("", ""), ("g1", ""), ("g2", ""), ("", "train"), ("", "test")]), min_size=n, max_size=n
        )
    )
    cuts = sorted([*data.draw(st.lists(st.integers(1, n), max_size=3)), n])
    table: list[Member] = []
    free: set[str] = set()
    for cut in cuts:
        new = [member(str(place), *stated[place]) for place in range(len(table), cut)]
        free |= {one.path for one in new if not one.is_settled}
        present = {pair for pair in pairs if pair[1] < cut}
        found = shared([*table, *new], *sorted(present))
        assert list(found.members[: len(table)]) == table
        table = [Member(one.path, one.sha256, one.group, one.split, is_new=False) for one in found.members]
    for a, b in pairs:
        if free & {table[a].path, table[b].path} == {table[a].path, table[b].path} and not _is_tied(table, pairs, a):
            assert {split_now(table[a]), split_now(table[b])} not in ({"train", "test"}, {"validation", "test"})


def _is_tied(table: Sequence[Member], pairs: set[tuple[int, int]], place: int) -> bool:
    """Whether a later sample tied together sets that had been apart: nothing moves, so they stay apart."""
    reached, border = {place}, [place]
    while border:
        here = border.pop()
        for a, b in pairs:
            for other in {a, b} - {here} if here in (a, b) else ():
                if other not in reached:
                    reached.add(other)
                    border.append(other)
    keys = {key_of(table[other]) for other in reached}
    return len(keys) > 1


@pytest.mark.parametrize(("counts", "n_sentences"), [((0, 0), 0), ((1, 0), 1), ((3, 0), 1), ((0, 1), 1), ((3, 2), 2)])
def test_what_was_done_is_said(counts: tuple[int, int], n_sentences: int) -> None:
    assert len(said_of_sharing(*counts)) == n_sentences
