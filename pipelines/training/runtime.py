"""Where a training runs: one process that is plain torch, or several that a launcher started and accelerate joins.

Letters for shapes: n samples, b batch, c channels, h height, w width, m rows of this process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.config import ProjectConfig
from pipelines.core.errors import ConfigurationError
from pipelines.training.precision import FP32, Precision

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import nn

# While one process computes features or judges on validation the others wait; torch would give up after 10 minutes. A process that fails
# is no reason for less: its launcher ends the others.
_PATIENCE = timedelta(hours=24)


@dataclass(frozen=True)
class Runtime:
    """The processes of one training, seen from one of them.

    Every process holds the whole network and takes its part of every batch (data parallel). All must make the same calls of `prepare`,
    `backward` (once each step outside `no_sync`), `sum`, `gather` and `barrier` in the same order. In one process nothing of this
    costs or changes anything.

    Attributes:
        device: Of this process.
        precision: What `autocast` computes in.
        index: Of this process, 0 to n_processes - 1.
        n_processes: Over all machines.
        compiles: Whether `prepare` compiles.
        accelerator: Of accelerate; None in one process.
    """

    device: torch.device
    precision: Precision = FP32
    index: int = 0
    n_processes: int = 1
    compiles: bool = False
    accelerator: Accelerator | None = None

    @classmethod
    def start(cls, config: ProjectConfig) -> Runtime:
        """Joins the processes that the launcher started, at the first call; later calls find the same.

        Raises:
            ConfigurationError: The launcher started another number of processes than `compute.processes`, or in a way that splits the
                network over them (FSDP, DeepSpeed).
        """
        import torch

        _refuse_other_number(_n_started(), config.compute.processes)
        if config.compute.processes == 1:
            return cls(torch.device(config.device), compiles=config.compute.compile)
        accelerator = _joined(config)
        return cls(
            device=accelerator.device,
            index=accelerator.process_index,
            n_processes=accelerator.num_processes,
            compiles=config.compute.compile,
            accelerator=accelerator,
        )

    def at(self, precision: Precision) -> Runtime:
        """The same in another precision: bfloat16 only where every process would take it."""
        refusals = self.n_processes - round(self.sum(float(precision.is_bf16)))
        if precision.is_bf16 and refusals:
            return replace(self, precision=replace(FP32, reason=f"{refusals} of {self.n_processes} processes cannot take bfloat16"))
        return replace(self, precision=precision)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.index == 0

    def prepare(self, network: nn.Module) -> nn.Module:
        """What the training loop calls in place of `network`, and backward must go through.

        Which parameters are trained is read here: call it again after `requires_grad` of any has changed, and let go of the earlier one.

        Args:
            network: Moved to the device and to channels-last memory, in place; its parameters stay the ones that are trained.
        """
        import torch

        prepared = network.to(self.device).to(memory_format=torch.channels_last)
        if self.accelerator is not None:
            self.accelerator.free_memory()  # it keeps every network that it ever prepared
            prepared = self.accelerator.prepare_model(_with_shared_batch_norm(network, self.device))
        if not self.compiles:
            return prepared
        # Last, as accelerate and torch advise: the compiler then cuts the graph where gradients are exchanged.
        return cast("nn.Module", torch.compile(prepared))

    def autocast(self) -> AbstractContextManager[Any]:
        """Computes what is in it in `precision`, where torch holds that to be safe; not for backward. Weights are float32 always."""
        import torch

        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.precision.is_bf16 else nullcontext()

    def shard(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a global batch: contiguous, in order, sizes differ by one at most.

        It is empty where there are fewer samples than processes; such a process calls `backward_of_nothing`.
        """
        return np.array_split(indices, self.n_processes)[self.index]

    def backward(self, loss: torch.Tensor) -> None:
        """Adds a loss's gradients; outside `no_sync` those of all processes are summed.

        Args:
            loss: This process's share of the global loss: the sum over its samples, divided by the number of samples of the *global* batch.
        """
        import torch

        if self.accelerator is None:
            torch.autograd.backward(loss)
        else:
            # Distributed data parallel takes the mean over processes, whatever their numbers of samples: the factor makes it a sum.
            self.accelerator.backward(loss * self.n_processes)

    def backward_of_nothing(self, prepared: nn.Module, batch: torch.Tensor) -> None:
        """Takes part in a step without adding to it: for a process with no samples in this batch.

        Args:
            prepared: From `prepare`.
            batch: [b, c, h, w], any one that the network takes.
        """
        with self.autocast():
            nothing = prepared(batch).float().nan_to_num().sum() * 0.0
        self.backward(nothing)

    @contextmanager
    def no_sync(self, prepared: nn.Module) -> Iterator[None]:
        """Keeps gradients in this process: for all parts of a step but its last."""
        if self.accelerator is None:
            yield
            return
        with self.accelerator.no_sync(prepared):
            yield

    def sum(self, value: float) -> float:
        """The sum over processes, the same in all of them."""
        if self.accelerator is None:
            return value
        import torch

        # A tensor of float64 is exact enough for counts, and gloo and nccl both take it.
        total = self.accelerator.reduce(torch.tensor(value, dtype=torch.float64, device=self.device), reduction="sum")
        return float(total)

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process: what depends on a clock or on memory must be decided by all together."""
        return self.sum(float(flag)) > 0

    def smallest(self, value: int) -> int:
        """The smallest of all processes, the same in all of them.

        Args:
            value: Below 2**24, which float32 holds exactly.
        """
        return int(self.gather(np.array([value], dtype=np.float32)).min())

    def gather(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rows of all processes in their order: of `shard(indices)` it gives those of `indices`.

        Args:
            rows: [m, ...]; m may differ between processes and be 0.
        """
        if self.accelerator is None:
            return rows
        from accelerate.utils import gather_object

        return np.concatenate(gather_object([rows]))

    def barrier(self) -> None:
        """Waits until all processes are here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Lets the main process do what is in it before the others: they find the files that it wrote."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def leave(self) -> None:
        """Ends the connections between the processes; nothing can be called after it."""
        if self.accelerator is not None:
            self.accelerator.end_training()


def _joined(config: ProjectConfig) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.utils import DistributedType, GradientAccumulationPlugin, InitProcessGroupKwargs

    # All is said here, since accelerate reads what is not from the environment: no precision, no accumulation and no trackers of its own.
    # Its environment wins over the argument `gradient_accumulation_steps`, and `backward` divides the loss by it: only the plugin is final.
    accelerator = Accelerator(
        cpu=config.device == "cpu",
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )
    if accelerator.distributed_type not in (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise ConfigurationError(
            got=f"a launcher that set up {accelerator.distributed_type.value} on device {config.device}.",
            allowed="data parallel processes (MULTI_GPU, or MULTI_CPU with device: cpu): each holds the whole network.",
            next_step="remove FSDP, DeepSpeed or TPU settings from compute.launch and from accelerate's own configuration file.",
        )
    return accelerator


def _n_started() -> int:
    # Read before joining, which waits for all of them. The names are torchrun's and those of MPI that accelerate knows.
    names = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    return int(next((os.environ[name] for name in names if name in os.environ), "1"))


def _refuse_other_number(n_started: int, n_wanted: int) -> None:
    if n_started != n_wanted:
        raise ConfigurationError(
            got=f"{n_started} training process{'es' if n_started > 1 else ''}, compute.processes being {n_wanted}.",
            allowed="as many processes, over all machines, as compute.processes says.",
            next_step="correct compute.processes or compute.launch in the conf file, and start regraft itself without a launcher.",
        )


def _with_shared_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Batch norms that take their statistics over all processes; torch has them for GPUs only."""
    if device.type != "cuda":
        return network
    from timm.layers import convert_sync_batchnorm

    converted: nn.Module = convert_sync_batchnorm(network)
    return converted
