"""Batch norms folded into the convolutions before them: the same function with fewer steps, for a network that only answers.

On a processor the norms of a MobileNet take up to half of its time; benchmarks/results/features_per_second.csv has what is gained.

The forward pass is watched by a `TorchFunctionMode` and by hooks of a copy, which other threads do not see. `torch.fx` would not do: while
it traces, it replaces `nn.Module.__call__` for the whole process, so requests that the model of before answers meanwhile fail.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

# What a forward pass raises on tensors without values: it depends on them, or makes tensors of its own that have some.
_WATCHING_ERRORS = (RuntimeError, TypeError, ValueError, AttributeError)


def fold_batch_norms(network: nn.Module, input_shape: Sequence[int]) -> nn.Module:
    """A network that gives the same up to rounding, in evaluation mode; the given one stays as it was.

    A norm is folded where the forward pass shows that it takes the output of one convolution and nobody else does, and that both are used
    once. A network whose forward pass depends on its input is left as it is, and so are networks without such norms.

    Args:
        network: Of any mode and device; its weights are as they will stay.
        input_shape: Of one input: channels, height, width.

    Returns:
        A copy, or the network itself where there was nothing to fold.
    """
    if not any(_is_batch_norm(module) for module in network.modules()):
        return network
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    pairs = _pairs(folded, input_shape)
    for convolution, norm in pairs:
        before: Any = folded.get_submodule(convolution)
        after: Any = folded.get_submodule(norm)
        _replace(folded, convolution, fuse_conv_bn_eval(before, after))
        _replace(folded, norm, _what_follows(after))
    return folded if pairs else network


def _pairs(network: nn.Module, input_shape: Sequence[int]) -> list[tuple[str, str]]:
    """Names of convolutions and of the norms that they feed, and feed alone."""
    # On the meta device tensors have shapes and no values: nothing is computed, and a look at a value is an error.
    hollow = copy.deepcopy(network).to("meta")
    watch = _ForwardWatch(hollow)
    try:
        with torch.inference_mode(), watch:
            watch.count(hollow(torch.empty((1, *input_shape), device="meta")))
    except _WATCHING_ERRORS:
        return []
    return watch.pairs()


class _ForwardWatch(TorchFunctionMode):
    """Counts in one forward pass who takes a convolution's output, and how often weights are used. Sees its own thread alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._modules = dict(network.named_modules())
        self._kept: list[torch.Tensor] = []  # so that no later tensor has the id of an earlier one
        self._n_uses: Counter[int] = Counter()
        self._outputs: dict[int, str] = {}
        self._fed_by: dict[str, list[int]] = {}
        for name, module in self._modules.items():
            if _is_convolution(module):
                module.register_forward_hook(self._note_output(name))
            elif _is_batch_norm(module):
                module.register_forward_pre_hook(self._note_input(name))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of each of its functions."""
        result = func(*args, **(kwargs or {}))
        # What only asks for a shape or a type takes nothing; what gives nothing back has changed its tensor.
        if result is None or _tensors(result):
            self.count([args, kwargs or {}])
        return result

    def count(self, used: Any) -> None:
        """Notes that each tensor in a nest is used once more."""
        tensors = _tensors(used)
        self._kept += tensors
        self._n_uses.update(map(id, tensors))

    def pairs(self) -> list[tuple[str, str]]:
        """Of the pass that was watched."""
        found = []
        for norm, inputs in self._fed_by.items():
            convolution = self._outputs.get(inputs[0])
            if convolution is not None and len(inputs) == 1 and self._n_uses[inputs[0]] == 1 and self._are_used_once(convolution, norm):
                found.append((convolution, norm))
        return found

    def _are_used_once(self, *names: str) -> bool:
        return all(self._n_uses[id(tensor)] <= 1 for name in names for tensor in self._modules[name].parameters())

    def _note_output(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_: nn.Module, __: Any, output: torch.Tensor) -> None:
            self._kept.append(output)
            self._outputs[id(output)] = name

        return note

    def _note_input(self, name: str) -> Callable[[nn.Module, Any], None]:
        def note(_: nn.Module, args: Any) -> None:
            self._fed_by.setdefault(name, []).append(id(args[0]) if args else 0)

        return note


def _tensors(value: Any) -> list[torch.Tensor]:
    """All of a nest of lists and dicts."""
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for entry in inner for tensor in _tensors(entry)]


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
