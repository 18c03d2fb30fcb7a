"""What the audit of the data finds and misses: `python -m benchmarks.data_audit` (3 to 5 minutes on two cores, ../shared is needed).

data_audit_copies.csv   for each data set the pairs found as it is (alteration `none`), and of altered copies the share that is found,
                        with its 95 % Clopper-Pearson interval; a copy is judged by its own original and the limits of the data set
data_audit_labels.csv   digits under the shipped backbone, a share of the labels flipped by lot: what is found, what of it is right
data_audit_scale.csv    seconds of the search, on thumbnails of clouds that are drawn by lot
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from benchmarks.machine import write_results
from pipelines.audit.label_errors import likely_label_errors
from pipelines.audit.out_of_sample import out_of_sample_probabilities
from pipelines.audit.outliers import outliers
from pipelines.backbones import load_backbone, select_backbone
from pipelines.config import ShippedBackbone
from pipelines.core.preprocess import preprocess
from pipelines.intervals import clopper_pearson
from pipelines.near_duplicates import difference_limits, similar_pairs, thumbnail

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
N_COPIES = 300
N_SEEDS = 10
SIZES = (10_000, 100_000)
COMMAND = "python -m benchmarks.data_audit"


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scaled(factor: float) -> Callable[[Image.Image], bytes]:
    return lambda image: encoded(
        image.resize((max(4, round(image.width * factor)), max(4, round(image.height * factor))), Image.Resampling.BICUBIC)
    )


def cropped(share: float) -> Callable[[Image.Image], bytes]:
    """Takes a share of each side, half of it at each end."""

    def crop(image: Image.Image) -> bytes:
        dx, dy = round(image.width * share / 2), round(image.height * share / 2)
        return encoded(image.crop((dx, dy, image.width - dx, image.height - dy)))

    return crop


ALTERATIONS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG, quality 75": lambda image: encoded(image, "JPEG", quality=75),
    "JPEG, quality 40": lambda image: encoded(image, "JPEG", quality=40),
    "half the size": scaled(0.5),
    "1.5 times the size": scaled(1.5),
    "brightness 1.2": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.2)),
    "brightness 0.7": lambda image: encoded(ImageEnhance.Brightness(image).enhance(0.7)),
    "contrast 1.3": lambda image: encoded(ImageEnhance.Contrast(image).enhance(1.3)),
    "crop of 5 %": cropped(0.05),
    "crop of 10 %": cropped(0.1),
}


def digits() -> tuple[list[bytes], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    source = load_digits()
    return [encoded(Image.fromarray((pixels * 255 // 16).astype(np.uint8))) for pixels in source.images], source.target


def data_sets() -> Iterator[tuple[str, list[bytes]]]:
    yield "digits (8 px)", digits()[0]
    for name, side in (("mnist_6k", 28), ("usps", 16)):
        pixels = np.load(SHARED / f"{name}.npz")["train_images"].reshape(-1, side, side)
        yield f"{name} ({side} px)", [encoded(Image.fromarray(image)) for image in pixels]
    for name in ("hymenoptera", "flowers"):
        yield f"{name} (photos)", [file.read_bytes() for file in sorted((SHARED / name).rglob("*.jpg"))]


def copy_rows(name: str, files: list[bytes]) -> Iterator[dict[str, object]]:
    rng = np.random.default_rng(0)
    ordered = [files[place] for place in rng.permutation(len(files))]
    originals = np.stack([thumbnail(content) for content in ordered])
    limits = difference_limits(originals)
    pairs, _ = similar_pairs(originals, np.arange(len(originals)) % 4 == 0, limits)
    yield row(name, "none", len(originals), len(pairs))
    chosen = rng.choice(len(ordered), min(N_COPIES, len(ordered)), replace=False)
    for alteration, alter in ALTERATIONS.items():
        n_found = 0
        for place in chosen:
            with Image.open(io.BytesIO(ordered[place])) as image:
                copy = thumbnail(alter(image))
            difference = 1 - np.corrcoef(copy.ravel().astype(float), originals[place].ravel().astype(float))[0, 1]
            n_found += bool(difference <= limits[place])
        yield row(name, alteration, len(chosen), n_found)


def row(name: str, alteration: str, n: int, n_found: int) -> dict[str, object]:
    rate = clopper_pearson(n_found, n)
    bounds = {"recall": "", "low": "", "high": ""} if alteration == "none" else {"recall": rate.value, "low": rate.low, "high": rate.high}
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in bounds.items()}
    return {"data": name, "alteration": alteration, "n": n, "n_found": n_found, **rounded}


def label_rows() -> Iterator[dict[str, object]]:
    import torch

    files, labels = digits()
    entry = ShippedBackbone(kind="shipped")
    choice = select_backbone(entry)
    network = load_backbone(entry, choice, 0.0).eval()
    with torch.inference_mode():
        features = np.asarray(network(torch.from_numpy(preprocess(files, choice.image_preprocess))).numpy(), dtype=np.float32)
    names = tuple("0123456789")
    for share in (0.0, 0.02, 0.05, 0.15):
        for seed in range(N_SEEDS):
            rng = np.random.default_rng(seed)
            places = rng.choice(len(labels), round(share * len(labels)), replace=False)
            given = labels.copy()
            given[places] = (labels[places] + rng.integers(1, 10, len(places))) % 10
            doubts = likely_label_errors(given, out_of_sample_probabilities(features, given, names, seed))
            hits = [doubt for doubt in doubts if doubt.place in set(places.tolist())]
            right = sum(doubt.suggested == labels[doubt.place] for doubt in hits)
            counts = {"n": len(labels), "n_flipped": len(places), "n_found": len(doubts), "n_hit": len(hits), "n_suggestion_right": right}
            yield {"flipped_frac": share, "seed": seed, **counts, "n_outliers": len(outliers(features)) if share == seed == 0 else ""}


def scale_rows() -> Iterator[dict[str, object]]:
    for n in SIZES:
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)
        thumbnails = coarse.repeat(4, axis=1).repeat(4, axis=2)
        started = time.perf_counter()
        pairs, _ = similar_pairs(thumbnails, np.arange(n) % 4 == 0, difference_limits(thumbnails))
        yield {"n": n, "seconds": round(time.perf_counter() - started, 1), "n_pairs": len(pairs)}


def docs_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Recall by alteration and data set, and the pairs found as the data are, as Markdown."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    cells = {(row["alteration"], row["data"]): row for row in rows}
    lines = [f"| copy | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for alteration in dict.fromkeys(row["alteration"] for row in rows):
        found = [cells[alteration, name] for name in names]
        if alteration == "none":
            shown, title = [f"{int(row['n_found'])} pairs of {int(row['n']):,}" for row in found], "none: as the data are"
        else:
            shown, title = [f"{100 * float(row['recall']):.0f} %" for row in found], alteration
        lines.append(f"| {title} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures and writes all three files."""
    write_results("data_audit_labels", COMMAND, list(label_rows()))
    write_results("data_audit_copies", COMMAND, [one for name, files in data_sets() for one in copy_rows(name, files)])
    write_results("data_audit_scale", COMMAND, list(scale_rows()))


if __name__ == "__main__":
    main()
