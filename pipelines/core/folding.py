"""Batch norms folded into the convolutions before them: the same function with fewer steps, for a network that only answers.

On a processor the norms of a MobileNet take up to half of its time; benchmarks/results/features_per_second.csv has what is gained.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# What tracing raises for a forward pass that depends on its input, or does with a tensor what a placeholder cannot do.
_TRACING_ERRORS = (fx.proxy.TraceError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError, KeyError, IndexError)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """A network that gives the same up to rounding, in evaluation mode; the given one stays as it was.

    A norm is folded where the recorded forward pass shows that it takes the output of one convolution and nobody else does, and that both
    are used once. What cannot be recorded (its forward pass depends on its input) is left as it is, and so are networks without such norms.

    Args:
        network: Of any mode and device; its weights are as they will stay.

    Returns:
        A copy, or the network itself where there was nothing to fold.
    """
    if not any(_is_batch_norm(module) for module in network.modules()):
        return network
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    pairs = _pairs(folded)
    for convolution, norm in pairs:
        before: Any = folded.get_submodule(convolution)
        after: Any = folded.get_submodule(norm)
        _replace(folded, convolution, fuse_conv_bn_eval(before, after))
        _replace(folded, norm, _what_follows(after))
    return folded if pairs else network


class _Tracer(fx.Tracer):
    """Looks no deeper than convolutions and norms: timm's own kinds of them compute with sizes, which a placeholder does not have."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions and of the norms that they feed, and feed alone."""
    try:
        graph = _Tracer().trace(network)
    except _TRACING_ERRORS:
        return []
    calls = [node for node in graph.nodes if node.op == "call_module"]
    n_uses = Counter(id(network.get_submodule(str(node.target))) for node in calls)
    pairs = []
    for node in calls:
        before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        convolution, norm = network.get_submodule(str(before.target)), network.get_submodule(str(node.target))
        used_once = n_uses[id(convolution)] == n_uses[id(norm)] == 1
        if used_once and _is_convolution(convolution) and _is_batch_norm(norm):
            pairs.append((str(before.target), str(node.target)))
    return pairs


def _is_convolution(module: nn.Module) -> bool:
    """Of the kinds that compute with their weight as it is; others standardise or mix theirs first."""
    if not isinstance(module, nn.Conv2d):
        return False
    from timm.layers import Conv2dSame

    return type(module) in (nn.Conv2d, Conv2dSame)


def _is_batch_norm(module: nn.Module) -> bool:
    # timm is not asked about networks without such norms: the Bento of a text model does not carry it.
    if not isinstance(module, nn.BatchNorm2d):
        return False
    from timm.layers import BatchNormAct2d

    return type(module) in (nn.BatchNorm2d, BatchNormAct2d) and getattr(module, "running_mean", None) is not None


def _what_follows(norm: Any) -> nn.Module:
    """What timm's norm with an activation does after it has normalised; nothing for a plain one."""
    return nn.Identity() if type(norm) is nn.BatchNorm2d else nn.Sequential(norm.drop, norm.act)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)
