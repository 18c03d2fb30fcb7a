"""A backbone cut in two where its trained blocks begin: what lies below is frozen, so its output is computed once for each sample.

Letters for shapes: b batch, c channels, h height, w width, d features; an activation is [b, ...] of any shape.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.config import ProjectConfig
from pipelines.dataset import Sample
from pipelines.progress import Progress
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.feature_store import RowStore
from pipelines.training.features import rows_key
from pipelines.training.inputs import SampleInputs
from pipelines.training.kept_rows import KeptRows

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

_log = logging.getLogger(__name__)

# Activations can be larger than the files; what they may take of what is free on the disk.
_MAX_FREE_FRAC = 0.5
# What code that was not written to be traced raises when it meets a stand-in instead of a tensor.
_TRACING_ERRORS = (TypeError, ValueError, AttributeError, RuntimeError, KeyError, IndexError, NotImplementedError, AssertionError)


@dataclass(frozen=True, eq=False)
class SplitBackbone:
    """Two halves of a backbone, made of its own modules: what is trained in them is trained in it, and its train() and eval() are theirs.

    Attributes:
        lower: [b, c, h, w] -> activation; none of its parameters is among the trained blocks'.
        upper: activation -> features [b, d].
        activation_shape: Of one sample.
        lower_has_randomness: It drops units or paths while training; what is kept would be the output without.
    """

    lower: nn.Module
    upper: nn.Module
    activation_shape: tuple[int, ...]
    lower_has_randomness: bool


def split_backbone(backbone: nn.Module, n_upper_blocks: int, example: torch.Tensor) -> SplitBackbone | None:
    """Cuts a backbone below its last blocks, as timm divides the architecture.

    The top of its code is traced (torch.fx) down to modules that lie wholly on one side; those run as they are, so that train() and
    eval() mean in them what they mean in the backbone. The cut is the last single tensor through which everything goes on its way into the
    trained blocks; frozen modules above it, if there are any, go with the upper half.

    Args:
        backbone: [b, c, h, w] -> [b, d]; left as it is.
        n_upper_blocks: How many of the last blocks are trained, at least 1.
        example: [b, c, h, w] with b at least 2, on which the halves must give what the backbone gives.

    Returns:
        Nothing where the code cannot be traced, where nothing lies below the blocks, or where the halves give something else.
    """
    trained = _trained_names(backbone, n_upper_blocks)
    if trained is None or not any(name not in trained for name, _ in backbone.named_parameters()):
        return None
    graph = _traced(backbone, trained)
    cut = None if graph is None else _cut(graph, trained)
    if graph is None or cut is None:
        return None
    lower, upper = _halves(backbone, graph, cut)
    shape = _verified_shape(backbone, lower, upper, example)
    if shape is None:
        return None
    return SplitBackbone(lower, upper, shape, _has_randomness(lower))


@dataclass(frozen=True, eq=False)
class BoundaryActivations:
    """Samples as their activations at the cut: a `BatchSource`."""

    inputs: SampleInputs
    kept: KeptRows

    @property
    def samples(self) -> Sequence[Sample]:
        """All n samples in their order."""
        return self.inputs.samples

    @property
    def targets(self) -> NDArray[Any]:
        """As of the inputs."""
        return self.inputs.targets

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [b, ...] of the samples at these places."""
        return self.kept.rows(self.inputs, indices)


def cached_boundary(
    split: SplitBackbone, inputs: SampleInputs, selected: SelectedBackbone, config: ProjectConfig, folder: Path, progress: Progress
) -> BoundaryActivations | None:
    """The activations of all inputs at the cut, from the store; what it lacks is computed and kept.

    Args:
        split: Its lower half is put into evaluation mode.
        inputs: Samples, not augmented.
        selected: Which backbone it is.
        config: Of the project: how many threads decode.
        folder: Of the stores, the features' own.
        progress: Told after every batch that is computed.

    Returns:
        Nothing, and a warning, where they cannot be kept: the disk is full or would be too full, or the folder is read-only.
    """
    key: dict[str, JsonValue] = {
        **rows_key("boundary", split.lower, selected, inputs.preprocess),
        "graph": str(cast("fx.GraphModule", split.lower).graph),
    }
    kept = KeptRows(RowStore(folder, key))
    n_missing = len(kept.missing(inputs))
    if n_missing and not _fits(folder, n_missing * 4 * int(np.prod(split.activation_shape))):
        return None
    if n_missing:
        kept.fill(split.lower, inputs, progress, "activations", config.compute.n_workers, spill=False)
    return BoundaryActivations(inputs, kept) if kept.is_writable else None


def _fits(folder: Path, n_bytes: int) -> bool:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if n_bytes > free * _MAX_FREE_FRAC:
        _log.warning("activations would take %.1f of %.1f GB that are free: they are not kept", n_bytes / 1e9, free / 1e9)
        return False
    return True


def _trained_names(backbone: nn.Module, n_upper_blocks: int) -> frozenset[str] | None:
    from timm.models import group_parameters

    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        return None
    groups: dict[int, list[str]] = group_parameters(backbone, matcher(coarse=True))
    if not 0 < n_upper_blocks <= len(groups):
        return None
    return frozenset(name for key in sorted(groups)[len(groups) - n_upper_blocks :] for name in groups[key])


def _traced(backbone: nn.Module, trained: frozenset[str]) -> fx.Graph | None:
    from timm.models._features_fx import get_notrace_functions
    from torch import fx

    class Tracer(fx.Tracer):
        # Beyond torch's own modules: everything that is wholly trained or wholly frozen.
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            sides = {f"{module_qualified_name}.{name}" in trained for name, _ in m.named_parameters()}
            return len(sides) < 2 or super().is_leaf_module(m, module_qualified_name)

    try:
        graph = Tracer(autowrap_functions=tuple(get_notrace_functions())).trace(backbone)
    except (fx.proxy.TraceError, *_TRACING_ERRORS) as error:
        _log.info("%s cannot be cut: tracing it ends in %s", type(backbone).__name__, type(error).__name__)
        return None
    # functional.dropout(…, training=self.training): a trace would keep it switched on, or off, for ever.
    return None if any("training" in node.kwargs for node in graph.nodes) else graph


def _cut(graph: fx.Graph, trained: frozenset[str]) -> fx.Node | None:
    """The last node that lies below all trained parameters and is the only way from the input to what comes after it."""
    above = _reached(node for node in graph.nodes if _holds(node, trained))
    from_input = _reached(node for node in graph.nodes if node.op == "placeholder")
    best = None
    for node in graph.nodes:
        if node in above or node not in from_input or node.op == "placeholder":
            continue
        below = _ancestors(node)
        crossing = {part for part in below if part in from_input and any(user not in below for user in part.users)}
        if crossing <= {node}:
            best = node
    return best


def _holds(node: fx.Node, trained: frozenset[str]) -> bool:
    target = str(node.target)
    if node.op == "get_attr":
        return target in trained
    return node.op == "call_module" and any(name.startswith(f"{target}.") for name in trained)


def _reached(nodes: Any) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.users)
    return found


def _ancestors(node: fx.Node, stop: fx.Node | None = None) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend([] if current is stop else current.all_input_nodes)
    return found


def _halves(backbone: nn.Module, graph: fx.Graph, cut: fx.Node) -> tuple[fx.GraphModule, fx.GraphModule]:
    from torch import fx

    below, copies = _ancestors(cut), cast("dict[fx.Node, fx.Node]", {})
    lower, upper = fx.Graph(), fx.Graph()
    for node in graph.nodes:
        if node in below:
            copies[node] = lower.node_copy(node, copies.__getitem__)
    lower.output(copies[cut])
    output = next(node for node in graph.nodes if node.op == "output")
    needed, copies = _ancestors(output, stop=cut), {cut: upper.placeholder("activation")}
    for node in graph.nodes:
        if node in needed and node is not cut:
            copies[node] = upper.node_copy(node, copies.__getitem__)
    # GraphModule takes the modules that a graph calls from the backbone itself, no copies.
    return fx.GraphModule(backbone, lower), fx.GraphModule(backbone, upper)


def _verified_shape(backbone: nn.Module, lower: nn.Module, upper: nn.Module, example: torch.Tensor) -> tuple[int, ...] | None:
    """The activation's shape, where the halves give what the whole gives, for one sample as for several."""
    import torch

    modes = [(module, module.training) for module in backbone.modules()]
    try:
        backbone.eval()
        with torch.inference_mode():
            for batch in (example, example[:1]):
                activation = lower(batch)
                if not isinstance(activation, torch.Tensor) or len(activation) != len(batch):
                    return None
                if activation.dtype != torch.float32 or not torch.allclose(upper(activation), backbone(batch), rtol=1e-4, atol=1e-5):
                    return None
    except _TRACING_ERRORS as error:
        _log.info("%s cannot be cut: its halves end in %s", type(backbone).__name__, type(error).__name__)
        return None
    finally:
        for module, training in modes:
            module.training = training
    return tuple(activation.shape[1:])


def _has_randomness(network: nn.Module) -> bool:
    # torch's dropouts call it p, timm's DropPath drop_prob.
    return any(
        float(getattr(module, name, 0.0) or 0.0) > 0
        for module in network.modules()
        for name in ("p", "drop_prob")
        if "Drop" in type(module).__name__
    )
