"""Features of a frozen backbone: computed once for each sample, and kept between runs."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.code_digest import code_digest
from pipelines.config import ProjectConfig
from pipelines.core.modalities.adapters import Preprocess
from pipelines.progress import Progress
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.embedding import batch_size
from pipelines.training.feature_store import RowStore
from pipelines.training.inputs import SampleInputs
from pipelines.training.kept_rows import KeptRows
from pipelines.training.material import FeatureSource

if TYPE_CHECKING:
    from torch import nn


# A network of up to 50 million weights.
_KEPT_NETWORK_BYTES = 200_000_000


def cached_features(
    backbone: Callable[[], nn.Module], selected: SelectedBackbone, config: ProjectConfig, folder: Path, progress: Progress
) -> FeatureSource:
    """Features that are computed once for each sample, backbone and preprocessing, in float32 as the endpoint computes them.

    The first call, and every one with samples that are new, makes a backbone and lets it go again; others read. The bits are the same
    from the store, from anew, and from any mixture of the two.

    Args:
        backbone: Makes the backbone with its pretrained weights, the same each time.
        selected: Which it is.
        config: Of the project: how many threads decode.
        folder: Of the stores of all backbones; made where it is missing.
        progress: Told after every batch that is computed.
    """
    return _Features(backbone, selected, config.compute.n_workers, folder, progress)


class _Features:
    def __init__(
        self, backbone: Callable[[], nn.Module], selected: SelectedBackbone, n_workers: int | None, folder: Path, progress: Progress
    ) -> None:
        self._backbone = backbone
        self._selected = selected
        self._n_workers = n_workers
        self._folder = folder
        self._progress = progress
        self._kept: dict[Preprocess, KeptRows] = {}
        self._networks: dict[Preprocess, nn.Module] = {}

    def __call__(self, inputs: SampleInputs) -> NDArray[np.float32]:
        loaded: nn.Module | None = None
        if inputs.preprocess not in self._kept:
            loaded = self._backbone()
            key = rows_key("features", loaded, self._selected, inputs.preprocess)
            self._kept[inputs.preprocess] = KeptRows(RowStore(self._folder, key))
        kept = self._kept[inputs.preprocess]
        if len(kept.missing(inputs)):
            kept.fill(self._network(loaded, inputs), inputs, self._progress, "features", self._n_workers)
        return kept.rows(inputs, range(len(inputs)))

    def _network(self, loaded: nn.Module | None, inputs: SampleInputs) -> nn.Module:
        network = self._networks.get(inputs.preprocess)
        if network is None:
            network = _answering(loaded or self._backbone(), inputs)
            # Train, validation and test ask one after the other; of a large network the memory is worth more than the time.
            if sum(tensor.nbytes for tensor in network.state_dict().values()) <= _KEPT_NETWORK_BYTES:
                self._networks[inputs.preprocess] = network
        return network


def _answering(network: nn.Module, inputs: SampleInputs) -> nn.Module:
    """As the endpoint has it (`pipelines.core.predict`); what it comes of, `rows_key` knows by the network itself and the code."""
    from pipelines.core.folding import fold_batch_norms

    return fold_batch_norms(network, inputs.preprocess.input_shape)


def rows_key(kind: str, network: nn.Module, selected: SelectedBackbone, preprocess: Preprocess) -> dict[str, JsonValue]:
    """All that a network's outputs for a sample depend on, the sample apart.

    The weights themselves are digested, not their file: between the two lies code, and the network may have been changed since.
    """
    device = next(network.parameters()).device
    spec = selected.spec.model_dump(mode="json", exclude={"origin", "weights_sha256", "licence"})
    return {
        "kind": kind,
        "architecture": spec,
        "weights": _weights_digest(network),
        "preprocess": preprocess.model_dump(mode="json"),
        "machine": _machine(device.type),
        "batch_size": batch_size(network),
        "code": [code_digest(module) for module in ("pipelines.training.embedding", "pipelines.core.backbones", "pipelines.core.folding")],
    }


def _weights_digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
        digest.update(values.data)
    return digest.hexdigest()


def _machine(device: str) -> list[JsonValue]:
    """What decides the last bits of a result: with another number of threads sums are cut up elsewhere."""
    import torch

    if device == "cuda":
        return [device, torch.cuda.get_device_name(), torch.version.cuda, torch.backends.cuda.matmul.allow_tf32]
    return [device, platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
