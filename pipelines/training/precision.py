"""In what precision a network is computed while it is trained.

Letters for shapes: b batch, c channels, h height, w width, d features or labels.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from pipelines.core.errors import ConfigurationError

if TYPE_CHECKING:
    import torch
    from torch import nn

_log = logging.getLogger(__name__)

# Half of what tells samples apart: a test on real weights shows that a probe still answers the same; where rounding drowns what differs
# it is 1 and more.
MAX_ROUNDING = 0.5
# Enough for a mean over samples; two passes of more would cost as much as a step.
_N_COMPARED = 32
# torch.cpu.get_capabilities: of Intel and AMD, and of ARM. Without them oneDNN imitates bfloat16, slower than float32.
_BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


@dataclass(frozen=True)
class Precision:
    """What forward and backward compute in; weights, optimiser and the shipped network are float32 always.

    Attributes:
        name: `bf16` is torch's autocast to bfloat16.
        reason: Why, for the record.
    """

    name: Literal["fp32", "bf16"]
    reason: str

    @property
    def is_bf16(self) -> bool:
        """Whether it is bfloat16."""
        return self.name == "bf16"


FP32 = Precision("fp32", "compute.precision is fp32")


def choose_precision(setting: Literal["auto", "fp32", "bf16"], network: nn.Module, batch: torch.Tensor, device: torch.device) -> Precision:
    """The precision to train in; deterministic, so every process of one kind of machine comes to the same.

    Args:
        setting: `compute.precision`. `auto` takes bfloat16 where the processor has it and `rounding` on these samples is at most
            `MAX_ROUNDING`; why it does not is logged once.
        network: [b, c, h, w] -> [b, d], on the device; left as it is.
        batch: Training samples, two at least to compare; the first 32 are used.
        device: Where training runs.

    Raises:
        ConfigurationError: `bf16` is asked for where the processor lacks it.
    """
    if setting == "fp32":
        return FP32
    if not has_bf16(device):
        if setting == "bf16":
            raise ConfigurationError(
                got=f"compute.precision: bf16 on a {device.type} without bfloat16 instructions.",
                allowed="fp32, or auto; bf16 on an NVIDIA GPU since Ampere or a processor with AVX512-BF16, AMX or ARM's BF16.",
                next_step="set compute.precision: auto in the conf file.",
            )
        return _fallen_back(f"this {device.type} has no bfloat16 instructions")
    if setting == "bf16":
        return Precision("bf16", "compute.precision is bf16")
    found = rounding(network, batch[:_N_COMPARED], device)
    # Not a number is refused as well.
    if not found <= MAX_ROUNDING:
        return _fallen_back(f"bfloat16 moves features by {found:.3g} of their spread over training samples, more than {MAX_ROUNDING}")
    return Precision("bf16", f"bfloat16 moves features by {found:.3g} of their spread over training samples, {MAX_ROUNDING} at most")


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed by instructions of its own there, not imitated."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    has_onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]  # torch 2.15 leaves it untyped
    return has_onednn and any(capabilities.get(name, False) for name in _BF16_INSTRUCTIONS)


def rounding(network: nn.Module, batch: torch.Tensor, device: torch.device) -> float:
    """How far bfloat16 moves a network's outputs, relative to how far samples lie apart.

    The norm of the difference between the outputs in bfloat16 and float32, divided by the norm of the float32 outputs about their mean
    over the batch: what all samples share tells none of them apart, so an error is not small for being small beside it.

    Returns:
        0 or more; infinite where all samples have the same output or one is not finite.
    """
    exact = _outputs(network, batch, device, bf16=False)
    spread = float((exact - exact.mean(dim=0)).norm())
    moved = float((_outputs(network, batch, device, bf16=True) - exact).norm())
    return moved / spread if spread > 0 and math.isfinite(moved) else math.inf


def _outputs(network: nn.Module, batch: torch.Tensor, device: torch.device, *, bf16: bool) -> torch.Tensor:
    import torch

    with _evaluating(network), torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        outputs: torch.Tensor = network(batch.to(device))
    return outputs.double()


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _fallen_back(reason: str) -> Precision:
    _say_once(reason)
    return Precision("fp32", reason)


@cache
def _say_once(reason: str) -> None:
    # Once a process: `auto` trains several times.
    _log.info("computing in float32: %s", reason)
