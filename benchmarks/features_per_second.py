"""Features from files against the bare forward pass, side by side: `python -m benchmarks.features_per_second`.

    bare       the network on one tensor that is ready, again and again: same batches, memory format, precision and threads
    from_files `cached_features` with an empty store: files are read, checked, decoded, resized and normalised, features written to the disk
               through the network with its batch norms folded away (`pipelines.core.folding`), which the bare one has
    loading    the files alone, without a network: what the loaders could deliver if they had the processor for themselves

Rounds alternate, so that a busy moment hits all alike; each round has its own ratio, and the median of those is the number to look at.
Untrained weights: they take as long as trained ones. Photos: ../shared/data/flowers where it is, and made-up JPEGs of a camera's size.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.machine import spread, write_results
from pipelines.config import ProjectConfig
from pipelines.core.backbones import BackboneSpec, build_backbone
from pipelines.core.preprocess import ImagePreprocess
from pipelines.dataset import Sample
from pipelines.progress import silent
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.embedding import batch_size
from pipelines.training.features import cached_features
from pipelines.training.inputs import SampleInputs
from pipelines.training.loading import loaded_batches, usable_cores

if TYPE_CHECKING:
    from torch import nn

FLOWERS = Path(__file__).resolve().parents[2] / "shared" / "data" / "flowers"
NETWORKS = ("mobilenetv2_100", "resnet50")
AIM = 0.95
WHOLE_BATCHES = 128  # a multiple of every batch size, so that no batch has to be filled up
CONFIG = {
    "project": "benchmark",
    "task": "image",
    "labels": ["a", "b"],
    "backbone": {"kind": "shipped", "name": "omniglot_resnet"},
    "gates": [{"kind": "goldens"}],
}
PREPROCESS = ImagePreprocess(
    color="RGB",
    height_px=224,
    width_px=224,
    fit="crop",
    crop_frac=0.875,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    jpeg_draft=True,
)


@dataclass(frozen=True)
class Photos:
    """Photos in a folder, no two alike."""

    kind: str
    folder: Path
    samples: Sequence[Sample]

    def inputs(self) -> SampleInputs:
        """New each time: nothing of it is decoded yet."""
        return SampleInputs(self.samples, self.folder, PREPROCESS, ("a", "b"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photos", type=int, default=384)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        rows = []
        for photos in _photo_sets(arguments.photos, Path(folder)):
            for name in NETWORKS:
                rows += _measure(name, photos, arguments.rounds, arguments.device, Path(folder))
    print(write_results("features_per_second", "python -m benchmarks.features_per_second", rows).read_text())


def _measure(name: str, photos: Photos, n_rounds: int, device: str, folder: Path) -> list[dict[str, object]]:
    spec = BackboneSpec(name=name, in_channels=3, origin="untrained", weights_sha256=None)
    network = build_backbone(spec).to(device).eval()
    calls: dict[str, Callable[[], None]] = {
        "bare": lambda: _bare(network, len(photos.samples), device),
        "from_files": lambda: _from_files(network, spec, photos, device, folder),
        "loading": lambda: _loading(network, photos, device),
    }
    for call in calls.values():  # warm-up: files into the page cache, kernels chosen
        call()
    rates: dict[str, list[float]] = {what: [] for what in calls}
    for _ in range(n_rounds):
        for what, call in calls.items():
            started = time.perf_counter()
            call()
            rates[what].append(len(photos.samples) / (time.perf_counter() - started))
    shares = [files / bare for files, bare in zip(rates["from_files"], rates["bare"], strict=True)]
    print(f"{name}, {photos.kind}: {statistics.median(shares):.3f} of the bare forward pass (aim: at least {AIM})", flush=True)
    setting = {"network": name, "photos": photos.kind, "device": device, "batch": batch_size(network), "threads": usable_cores()}
    rows = [{**setting, "what": what, "unit": "images_per_second", **spread(values)} for what, values in rates.items()]
    return [*rows, {**setting, "what": "from_files", "unit": "share_of_bare", **spread(shares)}]


def _bare(network: nn.Module, n_photos: int, device: str) -> None:
    import torch

    size = batch_size(network)
    batch = torch.zeros(size, 3, PREPROCESS.height_px, PREPROCESS.width_px).contiguous(memory_format=torch.channels_last).to(device)
    with torch.inference_mode():
        for _ in range(n_photos // size):
            network(batch).cpu()


def _from_files(network: nn.Module, spec: BackboneSpec, photos: Photos, device: str, folder: Path) -> None:
    config = ProjectConfig.model_validate(CONFIG | {"device": device})
    with tempfile.TemporaryDirectory(dir=folder) as store:
        selected = SelectedBackbone(spec=spec, preprocess=PREPROCESS)
        cached_features(lambda: network, selected, config, Path(store), silent)(photos.inputs())


def _loading(network: nn.Module, photos: Photos, device: str) -> None:
    batches = np.arange(len(photos.samples)).reshape(-1, batch_size(network))
    for _ in loaded_batches(photos.inputs(), batches, n_workers=None, device=device):
        pass


def _photo_sets(n_photos: int, folder: Path) -> Iterator[Photos]:
    if FLOWERS.is_dir():
        yield _listed("flowers, 128 px", FLOWERS, sorted(FLOWERS.rglob("*.jpg")), n_photos)
    made = folder / "photos"
    made.mkdir()
    yield _listed("made up, 2000 x 1500 px", made, [_made_up(made / f"{seed}.jpg", seed) for seed in range(n_photos)], n_photos)


def _listed(kind: str, folder: Path, files: Sequence[Path], n_photos: int) -> Photos:
    """The first of each content, in whole batches."""
    by_content = {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in reversed(files)}
    chosen = list(by_content.items())[: n_photos // WHOLE_BATCHES * WHOLE_BATCHES]
    samples = [Sample(content, str(file.relative_to(folder)), "a", "", "", "", "train") for content, file in chosen]
    return Photos(kind, folder, samples)


def _made_up(path: Path, seed: int) -> Path:
    """A JPEG of smooth noise: what costs its decoder about what a photo does."""
    noise = np.random.default_rng(seed).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((2_000, 1_500), Image.Resampling.BICUBIC).save(path, quality=90)
    return path


if __name__ == "__main__":
    main()
