from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.code_digest import reachable_modules
from pipelines.core.backbones import BackboneSpec, build_backbone
from pipelines.core.errors import IntegrityError
from pipelines.core.folding import fold_batch_norms
from pipelines.progress import silent
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training import kept_rows
from pipelines.training.embedding import embed
from pipelines.training.features import cached_features
from pipelines.training.inputs import SampleInputs
from tests.pipelines.training.gradient_cases import StoppedError
from tests.pipelines.training.photos import COLOUR, photo, photos

ROOT = Path(__file__).resolve().parents[3]
SPEC = BackboneSpec(name="test_resnet", in_channels=3, origin="test", weights_sha256="0" * 64)
SELECTED = SelectedBackbone(spec=SPEC, preprocess=COLOUR)
CONFIG: Any = SimpleNamespace(compute=SimpleNamespace(n_workers=2))


class Counted:
    """Makes the backbone and counts, over all of them, the samples that went through, fillings included."""

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.n_made, self.batches = seed, 0, list[int]()

    def __call__(self) -> nn.Module:
        self.n_made += 1
        torch.manual_seed(self.seed)
        backbone = build_backbone(SPEC)

        def count(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            if inputs[0].device.type != "meta":  # folding looks at a forward pass without values
                self.batches.append(len(inputs[0]))

        backbone.register_forward_pre_hook(count)
        return backbone


def source(folder: Path, backbone: Callable[[], nn.Module], progress: Any = silent, selected: SelectedBackbone = SELECTED) -> Any:
    return cached_features(backbone, selected, CONFIG, folder, progress)


@pytest.fixture
def everyone(tmp_path: Path) -> tuple[SampleInputs, NDArray[np.float32]]:
    inputs = photos(tmp_path, range(70))
    return inputs, embed(fold_batch_norms(Counted()(), inputs.preprocess.input_shape), inputs)


def of(inputs: SampleInputs, places: Any) -> SampleInputs:
    return SampleInputs([inputs.samples[place] for place in places], inputs.data, inputs.preprocess, inputs.labels)


def test_cold_warm_and_half_warm_give_the_same_bits(tmp_path: Path, everyone: Any) -> None:
    inputs, expected = everyone
    store, backbone = tmp_path / "features", Counted()
    assert np.array_equal(source(store, backbone)(inputs), expected)
    assert backbone.batches == [32, 32, 32]
    warm = Counted()
    assert np.array_equal(source(store, warm)(inputs), expected)
    assert warm.batches == []
    half = tmp_path / "half"
    source(half, Counted())(of(inputs, range(5, 40)))
    shuffled = np.random.default_rng(0).permutation(70)
    assert np.array_equal(source(half, Counted())(of(inputs, shuffled)), expected[shuffled])


def test_one_percent_new_samples_are_all_that_is_computed(tmp_path: Path) -> None:
    inputs = photos(tmp_path, range(101))
    source(tmp_path / "features", Counted())(of(inputs, range(100)))
    told: list[tuple[str, int, int]] = []
    backbone = Counted()
    features = source(tmp_path / "features", backbone, lambda *step: told.append(step))(inputs)
    assert told == [("features", 1, 1)]
    assert backbone.batches == [32]
    assert features.shape == (101, features.shape[1])


def test_samples_of_one_content_are_computed_once(tmp_path: Path, everyone: Any) -> None:
    inputs, expected = everyone
    backbone = Counted()
    places = [3, 5, 3, 3] * 20
    assert np.array_equal(source(tmp_path / "features", backbone)(of(inputs, places)), expected[places])
    assert backbone.batches == [32]


def test_a_backbone_is_made_only_where_something_is_to_be_computed(tmp_path: Path, everyone: Any) -> None:
    inputs, _ = everyone
    backbone = Counted()
    features = source(tmp_path / "features", backbone)
    assert backbone.n_made == 0
    features(inputs)
    features(of(inputs, range(10)))
    assert backbone.n_made == 1


@pytest.mark.parametrize("change", ["weights", "preprocess", "architecture", "threads", "code", "batch size"])
def test_what_features_depend_on_is_in_the_key(tmp_path: Path, everyone: Any, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, _ = everyone
    few, backbone, selected = of(inputs, range(4)), Counted(), SELECTED
    source(tmp_path / "features", Counted())(few)
    if change == "weights":
        backbone = Counted(seed=1)
    elif change == "preprocess":
        few.preprocess = COLOUR.model_copy(update={"interpolation": "bilinear"})
    elif change == "architecture":
        selected = SelectedBackbone(spec=SPEC.model_copy(update={"model_args": {"output_stride": 32}}), preprocess=COLOUR)
    elif change == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    elif change == "code":
        monkeypatch.setattr("pipelines.training.features.code_digest", lambda module: f"changed {module}")
    else:
        monkeypatch.setitem(__import__("pipelines.training.embedding", fromlist=["BATCH_SIZES"]).BATCH_SIZES, "cpu", 16)
    source(tmp_path / "features", backbone, selected=selected)(few)
    assert backbone.batches
    again = Counted(backbone.seed)
    source(tmp_path / "features", again, selected=selected)(few)
    assert not again.batches


def test_where_the_weights_came_from_is_not(tmp_path: Path, everyone: Any) -> None:
    few, again = of(everyone[0], range(4)), Counted()
    source(tmp_path / "features", Counted())(few)
    moved = SPEC.model_copy(update={"origin": "elsewhere", "licence": "MIT", "weights_sha256": "1" * 64})
    source(tmp_path / "features", again, selected=SelectedBackbone(spec=moved, preprocess=COLOUR))(few)
    assert not again.batches


def test_a_changed_configuration_or_head_costs_no_features() -> None:
    """The code in the key is the code that computes rows, not the methods that use them."""
    modules = reachable_modules("pipelines.training.embedding") | reachable_modules("pipelines.core.backbones")
    assert "pipelines.core.preprocess" in modules
    assert not {
        name for name in modules if name.startswith(("pipelines.config", "pipelines.training.material", "pipelines.training.linear"))
    }


@pytest.mark.parametrize("damage", ["rows", "index"])
def test_damaged_rows_are_computed_again(tmp_path: Path, everyone: Any, damage: str) -> None:
    inputs, expected = everyone
    source(tmp_path / "features", Counted())(inputs)
    (file,) = (tmp_path / "features").glob(f"*/{damage}")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for n_batches in (1, 0):
        backbone = Counted()
        assert np.array_equal(source(tmp_path / "features", backbone)(inputs), expected)
        assert len(backbone.batches) == n_batches


def test_an_interrupted_embedding_keeps_what_was_done(tmp_path: Path, everyone: Any) -> None:
    inputs, expected = everyone

    def stop(activity: str, done: int, total: int) -> None:
        if done == 64:
            raise StoppedError

    with pytest.raises(StoppedError):
        source(tmp_path / "features", Counted(), stop)(inputs)
    backbone = Counted()
    assert np.array_equal(source(tmp_path / "features", backbone)(inputs), expected)
    assert backbone.batches == [32]


def test_a_bad_file_stops_it_with_its_name_and_keeps_the_others(tmp_path: Path, everyone: Any) -> None:
    inputs, expected = everyone
    fresh = of(inputs, range(70))
    (tmp_path / "66.png").write_bytes(photo(1_000))
    with pytest.raises(IntegrityError, match=r"66\.png of the data that changed"):
        source(tmp_path / "features", Counted())(fresh)
    (tmp_path / "66.png").write_bytes(photo(66))
    backbone = Counted()
    assert np.array_equal(source(tmp_path / "features", backbone)(fresh), expected)
    assert backbone.batches == [32]


def no_space(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def read_only(*_: Any, **__: Any) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize(
    ("target", "fault", "reason"),
    [("os.fsync", no_space, "No space left on device"), ("pathlib.Path.mkdir", read_only, "Permission denied")],
)
def test_where_nothing_can_be_written_it_computes_and_says_so_once(
    tmp_path: Path, everyone: Any, target: str, fault: Any, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inputs, expected = everyone
    monkeypatch.setattr(target, fault)
    backbone = Counted()
    features = source(tmp_path / "features", backbone)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(features(inputs), expected)
        assert np.array_equal(features(of(inputs, range(20, 30))), expected[20:30])
    assert len(backbone.batches) == 3  # the second time from memory
    (record,) = [record for record in caplog.records if record.name == kept_rows.__name__]
    assert record.getMessage() == f"what is computed of samples cannot be kept ({reason}): every run computes it again"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; another user would see the fallback on a real read-only folder")
def test_a_read_only_folder_is_no_error(tmp_path: Path, everyone: Any) -> None:
    inputs, expected = everyone
    (tmp_path / "features").mkdir(mode=0o500)
    assert np.array_equal(source(tmp_path / "features", Counted())(inputs), expected)


def test_a_store_without_write_access_is_still_read(tmp_path: Path, everyone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, expected = everyone
    source(tmp_path / "features", Counted())(of(inputs, range(60)))
    monkeypatch.setattr("os.open", read_only)
    backbone = Counted()
    assert np.array_equal(source(tmp_path / "features", backbone)(inputs), expected)
    assert backbone.batches == [32]


def test_the_store_may_be_deleted_between_two_calls(tmp_path: Path, everyone: Any) -> None:
    inputs, expected = everyone
    features = source(tmp_path / "features", Counted())
    features(of(inputs, range(10)))
    shutil.rmtree(tmp_path / "features")
    assert np.array_equal(features(inputs), expected)


def test_rows_are_written_every_few_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rows, "_BATCHES_PER_WRITE", 1)
    inputs, seen = photos(tmp_path, range(70)), []

    def look(activity: str, done: int, total: int) -> None:
        seen.append(sum(file.stat().st_size for file in (tmp_path / "features").glob("*/index")))

    source(tmp_path / "features", Counted(), look)(inputs)
    assert seen == [32 * 48, 64 * 48, 70 * 48]


_EMBEDDING = """
import sys
from pathlib import Path
import torch
from tests.pipelines.training.test_features import Counted, photos, source, kept_rows
torch.set_num_threads(1)
kept_rows._BATCHES_PER_WRITE = 1
folder = Path(sys.argv[1])
print("ready", flush=True)
source(folder / "features", Counted(), lambda activity, done, total: print(done, flush=True))(photos(folder, range(96)))
"""


def _start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _EMBEDDING, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_after_kill_only_the_rest_is_computed_to_the_same_bits(tmp_path: Path) -> None:
    with _start(tmp_path) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "32\n":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    inputs = photos(tmp_path, range(96))
    backbone = Counted()
    features = source(tmp_path / "features", backbone)(inputs)
    assert len(backbone.batches) < 3
    assert np.array_equal(features, embed(fold_batch_norms(Counted()(), inputs.preprocess.input_shape), inputs))


@pytest.mark.slow
def test_two_processes_at_once_compute_it_once(tmp_path: Path) -> None:
    photos(tmp_path, range(96))
    with _start(tmp_path) as first, _start(tmp_path) as second:
        said = [process.communicate(timeout=100)[0].split() for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert sorted(said) == [["ready"], ["ready", "32", "64", "96"]]
