"""The swap: another bundle takes over, a bad one does not."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.model_slot import ModelSlot
from serving.pointer import write_pointer


@pytest.fixture
def pointer(tmp_path: Path) -> Path:
    return tmp_path / "pointer.json"


@pytest.fixture
def slot(pointer: Path, tmp_path: Path) -> Iterator[ModelSlot]:
    one = ModelSlot()
    one.start(pointer, tmp_path / "none", poll_seconds=0.01)
    yield one
    one.stop()


def served(slot: ModelSlot) -> str | None:
    return slot.current.predictor.bundle if slot.current else None


@pytest.fixture
def wait_until(helpers: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    return helpers["wait_until"]


def test_follows_the_pointer(slot: ModelSlot, pointer: Path, bundle: Any, other_bundle: Any, wait_until: Any) -> None:
    wait_until(lambda: slot.refused is not None)
    assert slot.refused is not None
    assert "pointer.json, which cannot be read" in slot.refused.reason
    assert slot.current is None
    for one in (bundle, other_bundle, bundle):
        write_pointer(pointer, one.id, one.path)
        wait_until(lambda one=one: served(slot) == one.id)
        assert slot.refused is None


def test_who_holds_the_old_model_finishes_on_it(
    slot: ModelSlot, pointer: Path, bundle: Any, other_bundle: Any, wait_until: Any, small_images: Any
) -> None:
    write_pointer(pointer, bundle.id, bundle.path)
    wait_until(lambda: served(slot) == bundle.id)
    assert slot.current is not None
    held = slot.current.predictor
    write_pointer(pointer, other_bundle.id, other_bundle.path)
    wait_until(lambda: served(slot) == other_bundle.id)
    assert held.predict(small_images).bundle == bundle.id


def test_a_damaged_bundle_is_refused_and_the_old_one_serves_on(
    slot: ModelSlot, pointer: Path, bundle: Any, other_bundle: Any, damaged_bundle: Any, wait_until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_pointer(pointer, bundle.id, bundle.path)
    wait_until(lambda: served(slot) == bundle.id)
    caplog.clear()  # the slot may have looked before the pointer was there
    with caplog.at_level(logging.ERROR):
        write_pointer(pointer, damaged_bundle.id, damaged_bundle.path)
        wait_until(lambda: slot.refused is not None)
    assert slot.refused is not None
    assert (slot.refused.bundle, served(slot)) == (other_bundle.id, bundle.id)
    assert "weights.safetensors changed" in slot.refused.reason
    assert len(caplog.records) == 1, "refused once, not at every poll"
    assert f"Still serving: {bundle.id}" in caplog.text
    # The files are repaired; writing the same pointer again tries again.
    shutil.rmtree(damaged_bundle.path)
    shutil.copytree(other_bundle.path, damaged_bundle.path)
    write_pointer(pointer, damaged_bundle.id, damaged_bundle.path)
    wait_until(lambda: served(slot) == other_bundle.id)
    assert slot.refused is None


def test_a_directory_with_another_bundle_is_refused(
    slot: ModelSlot, pointer: Path, bundle: Any, other_bundle: Any, wait_until: Any
) -> None:
    write_pointer(pointer, bundle.id, other_bundle.path)
    wait_until(lambda: slot.refused is not None and slot.refused.bundle is not None)
    assert slot.refused is not None
    assert f"holds bundle {other_bundle.id} where the pointer names {bundle.id}" in slot.refused.reason
    assert slot.current is None


def test_a_bundle_without_its_files_does_not_end_the_watching(
    slot: ModelSlot, pointer: Path, bundle: Any, other_bundle: Any, wait_until: Any, tmp_path: Path
) -> None:
    write_pointer(pointer, bundle.id, tmp_path / "nowhere")
    wait_until(lambda: slot.refused is not None and slot.refused.bundle is not None)
    assert slot.refused is not None
    assert str(tmp_path) not in slot.refused.reason, "a path of the machine would be shown to clients"
    write_pointer(pointer, other_bundle.id, other_bundle.path)
    wait_until(lambda: served(slot) == other_bundle.id)


def test_going_back_clears_the_refusal_without_loading(
    slot: ModelSlot, pointer: Path, bundle: Any, damaged_bundle: Any, wait_until: Any
) -> None:
    write_pointer(pointer, bundle.id, bundle.path)
    wait_until(lambda: served(slot) == bundle.id)
    loaded = slot.current
    write_pointer(pointer, damaged_bundle.id, damaged_bundle.path)
    wait_until(lambda: slot.refused is not None)
    write_pointer(pointer, bundle.id, bundle.path)
    wait_until(lambda: slot.refused is None)
    assert slot.current is loaded
