"""Stage `near_duplicates`: pictures that show the same thing in other bytes: saved again, scaled, brighter, a frame of the same scene.

near_duplicates.csv    path, other_path, split, other_split, label, other_label, difference; each pair once, the most alike first
near_duplicates.json   how many pictures were compared, and how many pairs were found

Two pictures are compared as 32 x 32 grey thumbnails, centred and of length 1, so that brightness and contrast do not count. Their
difference is 1 - correlation, from 0 to 2. A fixed limit would be wrong somewhere: any two handwritten digits are as alike as two photos
of one scene. So the limit is a share of what is usual for such pictures in these very data (`difference_limits`). What it finds and what
it misses is measured in docs/adr/0008-finding-near-duplicates.md. Of texts see `pipelines.near_duplicate_texts`, of sounds
`pipelines.near_duplicate_sounds`.

Letters for shapes: n samples, q queries, k neighbours, p pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.bundle import canonical_json
from pipelines.core.preprocess import ImagePreprocess, decode_image, image_to_pixels
from pipelines.dataset import Sample, Split, read_sample, read_samples
from pipelines.near_duplicate_sounds import sound_thumbnail
from pipelines.near_duplicate_texts import shingles, similar_texts

PAIRS, SUMMARY = "near_duplicates.csv", "near_duplicates.json"
LEARNT_FROM: tuple[Split, ...] = ("train", "validation")

_SIDE_PX = 32
# Neighbours are searched at half that size: a quarter of the work, and near-duplicates are closer there still.
_SEARCH_SIDE_PX = 16
_THUMBNAIL = ImagePreprocess(
    color="L", height_px=_SIDE_PX, width_px=_SIDE_PX, interpolation="bilinear", mean=(0.0,), std=(1.0,), jpeg_draft=True
)
_N_THREADS = 8
# Of each picture, how many that look most like it are compared. In a scene of more frames each is found still, by its nearest ones.
_N_NEIGHBOURS = 16
_N_OTHERS, _RANK = 1_000, 5
_LIMIT_FRAC = 0.05
# What saving as JPEG or scaling does to a photo; and no two of 4,317 flowers differ by more than this and less than 0.045.
_SMALLEST_LIMIT, _LARGEST_LIMIT = 0.001, 0.03
# In grey levels of 255. Flatter pictures are noise once their contrast is taken out: of these, `split` finds those with equal pixels.
_MIN_STD = 2.0
_PAIRS_AT_ONCE, _ROWS_AT_ONCE = 16_384, 4_096


@dataclass(frozen=True)
class NearDuplicates:
    """Two samples that look alike.

    Attributes:
        path, other_path: Relative to `data/`; where only one is a test sample, it is the first.
        split, other_split: Of the two.
        label, other_label: As the labels table gives them.
        difference: 1 - correlation of the thumbnails, 0 where they are the same.
    """

    path: str
    other_path: str
    split: str
    other_split: str
    label: str
    other_label: str
    difference: float

    @property
    def leaks(self) -> bool:
        """Whether one is judged by and the other learnt from."""
        return self.split == "test" and self.other_split in LEARNT_FROM


def find_near_duplicates(samples: Path, data: Path, out: Path, task: str = "image") -> None:
    """Compares all samples of train, validation and test.

    Args:
        samples: `samples.csv` with splits.
        data: The folder that sample paths are relative to.
        out: Gets near_duplicates.csv and near_duplicates.json.
        task: What samples are.

    Raises:
        IntegrityError: A file changed since it was listed.
    """
    # By id: the same samples give the same pairs in whatever order the labels came in.
    used = sorted(read_samples(samples, "train", "validation", "test"), key=lambda sample: sample.id)
    is_test = np.array([sample.split == "test" for sample in used], dtype=np.bool_)
    places, differences = _SEARCHES[task](used, data, is_test)
    pairs = [_pair(used[a], used[b], float(d)) for (a, b), d in zip(places.tolist(), differences, strict=True)]
    write_pairs(sorted(pairs, key=lambda pair: (pair.difference, pair.path, pair.other_path)), out / PAIRS)
    (out / SUMMARY).write_bytes(canonical_json({"n_samples": len(used), "n_test": int(is_test.sum()), "n_pairs": len(pairs)}))


def _similar_pictures(used: Sequence[Sample], data: Path, is_test: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    thumbnails = _thumbnails(used, data, thumbnail)
    return similar_pairs(thumbnails, is_test, difference_limits(thumbnails))


def _similar_sounds(used: Sequence[Sample], data: Path, is_test: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    thumbnails = _thumbnails(used, data, sound_thumbnail)
    return similar_pairs(thumbnails, is_test, difference_limits(thumbnails))


def _similar_texts(used: Sequence[Sample], data: Path, is_test: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    # All pairs within the limit are found, so test samples need no search of their own.
    return similar_texts([shingles(read_sample(data, sample)) for sample in used])


_Search = Callable[[Sequence[Sample], Path, NDArray[np.bool_]], tuple[NDArray[np.int64], NDArray[np.float32]]]
_SEARCHES: Mapping[str, _Search] = {"image": _similar_pictures, "text": _similar_texts, "audio": _similar_sounds}


def write_pairs(pairs: Sequence[NearDuplicates], path: Path) -> None:
    """Writes pairs as CSV, in the given order."""
    import pandas as pd

    columns = [field.name for field in fields(NearDuplicates)]
    pd.DataFrame([asdict(pair) for pair in pairs], columns=columns).to_csv(path, index=False, lineterminator="\n")


def read_pairs(path: Path) -> list[NearDuplicates]:
    """Reads pairs that `write_pairs` wrote.

    Raises:
        ValueError: It is another table: without rows it would pass for one that says that there are no pairs.
    """
    import pandas as pd

    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != [field.name for field in fields(NearDuplicates)]:
        raise ValueError(f"{path.name} with the columns {', '.join(table.columns)}")
    rows: list[dict[Any, Any]] = table.to_dict(orient="records")
    return [NearDuplicates(**{**row, "difference": float(row["difference"])}) for row in rows]


def difference_limits(thumbnails: NDArray[np.uint8], places: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """How different a picture and its near-duplicate may be, for each picture.

    A share of the difference between the picture and the fifth nearest of 1,000 others, which says how much alike different pictures of
    its kind are. Not the nearest one: that may be a copy. The sample of others does not grow with the data, so the limit does not shrink.

    Args:
        thumbnails: uint8 [n, 32, 32], in an order that has nothing to do with what they show, as that of their ids.
        places: Of the pictures whose limits are wanted [m]; of all where None.

    Returns:
        float32 [m].
    """
    wanted = np.arange(len(thumbnails)) if places is None else places
    others = _unit_vectors(thumbnails[:_N_OTHERS])
    rank = min(_RANK, len(others) - 1)
    usual = np.empty(len(wanted), dtype=np.float32)
    for start in range(0, len(wanted), _ROWS_AT_ONCE):
        some = wanted[start : start + _ROWS_AT_ONCE]
        differences = 1 - _unit_vectors(thumbnails[some]) @ others.T
        # A picture among the others is none of its own.
        own = np.flatnonzero(some < len(others))
        differences[own, some[own]] = np.inf
        usual[start : start + len(differences)] = np.partition(differences, rank - 1, axis=1)[:, rank - 1] if rank else 0
    return np.asarray(np.clip(_LIMIT_FRAC * usual, _SMALLEST_LIMIT, _LARGEST_LIMIT), dtype=np.float32)


def thumbnail(content: bytes) -> NDArray[np.uint8]:
    """What is compared of a file: uint8 [32, 32], grey.

    Raises:
        DataError: It does not decode as an image.
    """
    return image_to_pixels(decode_image(content, _THUMBNAIL), _THUMBNAIL)[:, :, 0]


def _thumbnails(samples: Sequence[Sample], data: Path, thumbnail_of: Callable[[bytes], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    found = np.empty((len(samples), _SIDE_PX, _SIDE_PX), dtype=np.uint8)
    with ThreadPoolExecutor(_N_THREADS) as pool:
        for place, pixels in enumerate(pool.map(lambda sample: thumbnail_of(read_sample(data, sample)), samples)):
            found[place] = pixels
    return found


def _unit_vectors(thumbnails: NDArray[Any]) -> NDArray[np.float32]:
    """float32 [n, d] of mean 0 and length 1; of length 0 where a picture is flat."""
    values = thumbnails.reshape(len(thumbnails), math.prod(thumbnails.shape[1:])).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    flat = lengths < _MIN_STD * np.sqrt(values.shape[1])
    return np.asarray(np.where(flat, 0, values / np.maximum(lengths, 1e-6)), dtype=np.float32)


def similar_pairs(
    thumbnails: NDArray[np.uint8], is_test: NDArray[np.bool_], limits: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The pairs within the limits of both, among each picture's 16 nearest.

    Args:
        thumbnails: uint8 [n, 32, 32].
        is_test: [n]; the nearest of a test sample are searched once more among all others alone.
        limits: [n], of `difference_limits`.

    Returns:
        Places [p, 2], the smaller first, and differences [p].
    """
    searched = _search_vectors(thumbnails)
    everything, learnt = np.arange(len(searched)), np.flatnonzero(~is_test)
    # Once more among what is learnt from alone: a test sample's copies in the test split must not hide those elsewhere.
    found = [_neighbours(searched, everything, everything), _neighbours(searched, np.flatnonzero(is_test), learnt)]
    candidates = _each_once(np.concatenate(found))
    differences = _differences(thumbnails, candidates)
    kept = differences <= limits[candidates].min(axis=1)
    return candidates[kept], differences[kept]


def pairs_of_new(thumbnails: NDArray[np.uint8], is_new: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The pairs within the limits of both of which one is new at least: the old ones are not compared with each other.

    Args:
        thumbnails: uint8 [n, 32, 32], ordered as for `difference_limits`.
        is_new: [n]; of these the 16 nearest are searched, among all.

    Returns:
        Places [p, 2], the smaller first.
    """
    candidates = _each_once(_neighbours(_search_vectors(thumbnails), np.flatnonzero(is_new), np.arange(len(thumbnails))))
    places, compared = np.unique(candidates, return_inverse=True)
    limits = difference_limits(thumbnails, places)[compared.reshape(candidates.shape)]
    is_alike = _differences(thumbnails, candidates) <= limits.min(axis=1, initial=np.inf)
    return np.asarray(candidates[is_alike], dtype=np.int64)


def _search_vectors(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    factor = _SIDE_PX // _SEARCH_SIDE_PX
    return _unit_vectors(thumbnails.reshape(-1, _SEARCH_SIDE_PX, factor, _SEARCH_SIDE_PX, factor).mean(axis=(2, 4), dtype=np.float32))


def _each_once(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    candidates = np.unique(np.sort(pairs, axis=1), axis=0)
    return np.asarray(candidates[candidates[:, 0] != candidates[:, 1]], dtype=np.int64)


def _neighbours(vectors: NDArray[np.float32], queries: NDArray[np.int64], base: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places [q * k, 2] of each query and of those in `base` that are nearest to it."""
    from sklearn.neighbors import NearestNeighbors

    # Flat pictures have no direction and so no neighbours.
    directed = np.abs(vectors).max(axis=1) > 0
    queries, base = queries[directed[queries]], base[directed[base]]
    n_neighbours = min(_N_NEIGHBOURS + 1, len(base))
    if n_neighbours == 0 or len(queries) == 0:
        return np.empty((0, 2), dtype=np.int64)
    search = NearestNeighbors(n_neighbors=n_neighbours, algorithm="brute").fit(vectors[base])
    nearest = base[search.kneighbors(vectors[queries], return_distance=False)]
    return np.stack([np.repeat(queries, n_neighbours), nearest.ravel()], axis=1)


def _differences(thumbnails: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    differences = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = slice(start, start + _PAIRS_AT_ONCE)
        first, second = (_unit_vectors(thumbnails[pairs[some, side]]) for side in (0, 1))
        differences[some] = 1 - np.einsum("pd,pd->p", first, second)
    return np.maximum(differences, 0)


def _pair(first: Sample, second: Sample, difference: float) -> NearDuplicates:
    if second.split == "test" and first.split != "test":
        first, second = second, first
    rounded = round(difference, 6)
    return NearDuplicates(first.path, second.path, first.split, second.split, first.label, second.label, rounded)
