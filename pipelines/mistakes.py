"""Stage `mistakes`: the test samples that a sealed bundle got wrong with the most confidence, and what it looked at.

mistakes.json   `n`, `n_wrong`, `saliency` (how maps were made; null where the modality has none), `shown`: one row a sample; of texts
                `words`, their beginning word by word with what each said for the wrong answer, and whether that is all (`is_whole`)
NN-image.png    of images what the network saw of the sample, of sounds the spectrogram that it heard
NN-map.png      the same with the parts that spoke for the wrong answer in bright colours
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue

from pipelines.answers import TestAnswers, read_answers
from pipelines.core.bundle import BundleManifest, canonical_json
from pipelines.core.label_sets import LabelsPerSample, members_of
from pipelines.core.modalities.adapters import image_spec
from pipelines.core.predict import Predictor
from pipelines.core.preprocess import ImagePreprocess, decode_image, image_to_pixels
from pipelines.dataset import Sample, read_sample, read_samples
from pipelines.saliency import saliency
from pipelines.sound_relevance import stretch_relevance
from pipelines.spectrogram_picture import spectrogram_picture
from pipelines.word_relevance import word_relevance

N_SHOWN = 8
_SHOWN_SIDE_PX = 160
_MAP_SHARE = 0.55
# Viridis (van der Walt and Smith 2015) at five places: its lightness grows evenly, so it reads without colour, too.
_VIRIDIS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=np.float64)


def find_mistakes(bundle: Path, evaluation: Path, samples: Path, data: Path, out: Path, labels_per_sample: LabelsPerSample = "one") -> None:
    """Writes the most confident mistakes of an evaluation.

    Args:
        bundle: The sealed bundle that was evaluated.
        evaluation: Output of stage `evaluate`.
        samples: `samples.csv` with splits.
        data: The folder that sample paths are relative to.
        out: Empty directory.
        labels_per_sample: Of the samples.

    Raises:
        IntegrityError: A sample's file changed since it was listed.
    """
    answers = read_answers(evaluation / "predictions.csv", labels_per_sample)
    rows = most_confident_mistakes(answers, N_SHOWN)
    by_id = {sample.id: sample for sample in read_samples(samples, "test")}
    chosen = [by_id[str(answers.ids[row])] for row in rows]
    record: dict[str, JsonValue] = {"n": answers.n, "n_wrong": int((~answers.correct).sum()), "saliency": None, "shown": []}
    if chosen:
        predictor = Predictor.load(bundle, verify=False)  # the evaluation has verified it
        asked = [label_to_explain(str(answers.labels[row]), str(answers.predicted[row]), predictor.manifest) for row in rows]
        explain = _EXPLAINED.get(predictor.modality.kind, _not_explained)
        record["saliency"], parts = explain(predictor, [read_sample(data, sample) for sample in chosen], asked, out)
        described = [_row(answers, row, sample, label) for row, sample, label in zip(rows, chosen, asked, strict=True)]
        record["shown"] = [{**row, **part} for row, part in zip(described, parts, strict=True)]
    (out / "mistakes.json").write_bytes(canonical_json(record))


def most_confident_mistakes(answers: TestAnswers, n_most: int) -> list[int]:
    """Rows of the wrong answers, the most confident first; of equals by id."""
    wrong = np.flatnonzero(~answers.correct)
    order = np.lexsort((answers.ids[wrong], -answers.confidences[wrong]))
    return [int(row) for row in wrong[order][:n_most]]


def label_to_explain(true: str, predicted: str, manifest: BundleManifest) -> str:
    """The label that the map is about: the predicted one; of sets the first that was added, else the first that was missed."""
    if manifest.thresholds is None:
        return predicted
    added = [label for label in manifest.labels if label in members_of(predicted) and label not in members_of(true)]
    missed = [label for label in manifest.labels if label in members_of(true) and label not in members_of(predicted)]
    return (added + missed + list(manifest.labels))[0]


def _row(answers: TestAnswers, row: int, sample: Sample, label: str) -> dict[str, JsonValue]:
    return {
        "path": sample.path,
        "domain": sample.domain,
        "label": str(answers.labels[row]),
        "predicted": str(answers.predicted[row]),
        "confidence": float(answers.confidences[row]),
        "explained": label,
    }


# How it was explained, and what the row of each sample says besides.
_Explanation = tuple[str | None, list[dict[str, JsonValue]]]


def _explain_images(predictor: Predictor, contents: Sequence[bytes], asked: Sequence[str], out: Path) -> _Explanation:
    labels = predictor.manifest.labels
    found = saliency(predictor, contents, [labels.index(label) for label in asked])
    for place, (content, relevance) in enumerate(zip(contents, found.maps, strict=True)):
        seen = _as_rgb(content, image_spec(predictor.manifest.preprocess))
        Image.fromarray(seen).save(out / f"{place:02d}-image.png")
        Image.fromarray(overlay(seen, relevance)).save(out / f"{place:02d}-map.png")
    return found.method, [{} for _ in contents]


def _explain_texts(predictor: Predictor, contents: Sequence[bytes], asked: Sequence[str], _: Path) -> _Explanation:
    labels = predictor.manifest.labels
    found = [word_relevance(predictor, content, labels.index(label)) for content, label in zip(contents, asked, strict=True)]
    rows: list[dict[str, JsonValue]] = [
        {"words": [[word, value] for word, value in zip(one.words, one.relevance, strict=True)], "is_whole": one.is_whole} for one in found
    ]
    return "erasure", rows


def _explain_sounds(predictor: Predictor, contents: Sequence[bytes], asked: Sequence[str], out: Path) -> _Explanation:
    labels = predictor.manifest.labels
    for place, (content, label) in enumerate(zip(contents, asked, strict=True)):
        heard = Image.fromarray(spectrogram_picture(content, predictor.modality)).resize((_SHOWN_SIDE_PX, _SHOWN_SIDE_PX // 2))
        seen = np.asarray(heard.convert("RGB"))
        relevance = stretch_relevance(predictor, content, labels.index(label))
        Image.fromarray(seen).save(out / f"{place:02d}-image.png")
        Image.fromarray(overlay(seen, relevance)).save(out / f"{place:02d}-map.png")
    return "silence", [{} for _ in contents]


def _not_explained(_: Predictor, contents: Sequence[bytes], __: Sequence[str], ___: Path) -> _Explanation:
    return None, [{} for _ in contents]


# By the modality's kind.
_EXPLAINED: Mapping[str, Callable[[Predictor, Sequence[bytes], Sequence[str], Path], _Explanation]] = {
    "image": _explain_images,
    "text": _explain_texts,
    "audio": _explain_sounds,
}


def _as_rgb(content: bytes, spec: ImagePreprocess) -> NDArray[np.uint8]:
    """What the network sees, [h, w, 3], to fit the page."""
    pixels = image_to_pixels(decode_image(content, spec), spec)
    return _enlarged(Image.fromarray(pixels[:, :, 0] if spec.n_channels == 1 else pixels).convert("RGB"))


def _enlarged(image: Image.Image) -> NDArray[np.uint8]:
    """Enlarged without smoothing, or made smaller, to fit the page: [h, w, 3]."""
    scale = _SHOWN_SIDE_PX / max(image.size)
    filter_ = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, filter_))


def overlay(seen: NDArray[np.uint8], relevance: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The image in grey under the map's colours.

    Args:
        seen: uint8 [h, w, 3].
        relevance: float32 [m, p] in [0, 1].
    """
    height, width = seen.shape[:2]
    smooth = np.asarray(Image.fromarray(relevance).resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)
    stops = np.linspace(0, 1, len(_VIRIDIS))
    colours = np.stack([np.interp(smooth, stops, _VIRIDIS[:, channel]) for channel in range(3)], axis=2)
    grey = seen.astype(np.float64).mean(axis=2, keepdims=True)
    return np.asarray((_MAP_SHARE * colours + (1 - _MAP_SHARE) * grey).round().astype(np.uint8))
