"""Stage `zero_shot`: how many test samples label names alone get right, by cosine; nothing is trained, and no labelled sample looked at.

The name of each label is embedded by the network that embeds the samples, and a sample gets the label whose name is nearest. It is what
labelled samples are worth more than. Where it means nothing, that is said in its place.

zero_shot.json   `outcome` (`measured`, `not_applicable`) and `reason`; where measured `network`, `wordings` by label, and `accuracy`
                 on the test split with its 95 % interval

Letters for shapes: n samples, k labels, p wordings, d features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.config import ClipModel, ProjectConfig
from pipelines.core.bundle import canonical_json
from pipelines.core.text_backbone import TransformersSpec
from pipelines.dataset import read_samples
from pipelines.intervals import clopper_pearson
from pipelines.training.inputs import SampleInputs
from pipelines.training.material import Material

if TYPE_CHECKING:
    from torch import nn

RECORD = "zero_shot.json"
# Directions of features that are all zeros stay zeros.
_LEAST_NORM = 1e-12


@dataclass(frozen=True, eq=False)
class Embedded:
    """Samples and label names as points of one space.

    Attributes:
        network: Where it came from.
        samples: [n, d].
        names: Of each label: [p, d].
    """

    network: str
    samples: NDArray[np.float32]
    names: Sequence[NDArray[np.float32]]


def zero_shot(material: Material, samples: Path, data: Path, out: Path) -> None:
    """Measures it and writes `zero_shot.json`.

    Args:
        material: Of the training: the backbone, and where features are kept.
        samples: `samples.csv` with splits; those of the test split are looked at.
        data: The folder that sample paths are relative to.
        out: Empty directory.

    Raises:
        ConfigurationError: The network cannot be had.
        DataError: The tokeniser makes nothing of a label's name.
        IntegrityError: A file is not the stated one, or a sample's file changed since it was listed.
    """
    reason = why_not(material.config, material)
    record: dict[str, JsonValue] = {"outcome": "not_applicable", "reason": reason} if reason else _measured(material, samples, data)
    (out / RECORD).write_bytes(canonical_json(record))


def why_not(config: ProjectConfig, material: Material) -> str:
    """Why label names cannot be compared with samples here; empty where they can."""
    if config.labels_per_sample == "many":
        return "a sample has any number of labels: how near their names are puts them in an order, but does not say how many hold"
    spec = material.selected.spec
    if isinstance(spec, TransformersSpec) and spec.pooling != "mean":
        return f"the backbone's pooling is {spec.pooling}: features of a label's name are comparable with those of a text where it is mean"
    return ""


def nearest(samples: NDArray[np.float32], names: Sequence[NDArray[np.float32]]) -> NDArray[np.int64]:
    """The label whose name is nearest to each sample, by cosine; of equals the first.

    A label's direction is the mean of those of its wordings (Radford et al. 2021, https://arxiv.org/abs/2103.00020, section 3.1.4).

    Args:
        samples: [n, d].
        names: Of each label: [p, d].

    Returns:
        int64 [n].
    """
    labels = np.stack([_directions(_directions(rows).mean(axis=0, keepdims=True))[0] for rows in names])
    return np.asarray((_directions(samples) @ labels.T).argmax(axis=1))


def _directions(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _LEAST_NORM))


def _measured(material: Material, samples: Path, data: Path) -> dict[str, JsonValue]:
    config = material.config
    wordings = {label: config.zero_shot.wordings(label, config.task) for label in config.labels}
    # By id: the same samples give the same batches in whatever order the labels came in.
    test = sorted(read_samples(samples, "test"), key=lambda sample: sample.id)
    selected = material.selected
    inputs = SampleInputs(test, data, selected.preprocess, config.labels, folder=selected.folder)
    clip = config.zero_shot.clip
    words = list(wordings.values())
    embedded = _by_backbone(material, inputs, words) if clip is None else _by_clip(clip, material, inputs, words)
    n_hits = int((nearest(embedded.samples, embedded.names) == inputs.targets).sum())
    named: dict[str, JsonValue] = {label: list(texts) for label, texts in wordings.items()}
    accuracy: dict[str, JsonValue] = dict(asdict(clopper_pearson(n_hits, len(test))))
    return {"outcome": "measured", "reason": "", "network": embedded.network, "wordings": named, "accuracy": accuracy}


def _by_backbone(material: Material, inputs: SampleInputs, wordings: Sequence[Sequence[str]]) -> Embedded:
    """By the pretrained backbone of texts, as it was before the candidate was trained; features of samples are those that are kept."""
    modality, network = material.selected.modality, material.fresh_backbone(0.0).eval()

    def ids(text: str) -> NDArray[np.int64]:
        return np.asarray(modality.to_array(modality.decode(text.encode())))

    return Embedded(material.selected.spec.origin, material.features(inputs), embedded_names(network, ids, wordings))


def _by_clip(clip: ClipModel, material: Material, inputs: SampleInputs, wordings: Sequence[Sequence[str]]) -> Embedded:
    from pipelines.clip_files import load_clip
    from pipelines.training.embedding import embed

    loaded = load_clip(clip, material.config.device)
    pictures = SampleInputs(inputs.samples, inputs.data, loaded.preprocess, inputs.labels)
    rows = embed(loaded.images, pictures, material.progress, "zero-shot", n_workers=material.config.compute.n_workers)
    return Embedded(loaded.origin, rows, embedded_names(loaded.texts, loaded.ids, wordings))


def embedded_names(
    network: nn.Module, ids: Callable[[str], NDArray[np.int64]], wordings: Sequence[Sequence[str]]
) -> list[NDArray[np.float32]]:
    """Of each label the features of its wordings, [p, d]; each wording goes through the network alone.

    Args:
        network: int64 [1, l] -> [1, d], in evaluation mode.
        ids: Of a text.
        wordings: Of each label.
    """
    import torch

    device = next(network.parameters()).device

    def features(text: str) -> NDArray[np.float32]:
        with torch.inference_mode():
            outputs: torch.Tensor = network(torch.from_numpy(ids(text)[None]).to(device))
            return outputs[0].float().cpu().numpy()

    return [np.stack([features(text) for text in texts]) for texts in wordings]
