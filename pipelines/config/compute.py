"""What training may use of the machine. None of it changes what is trained, up to rounding.

Where batch norm is live (`freeze_batch_norm: false`), micro_batch_size and, on the CPU, processes change its statistics.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.config.section import Section


class ComputeSection(Section):
    """What training may use of the machine; serving is always float32.

    Attributes:
        precision: `bf16` computes in bfloat16 where torch holds that to be safe, weights stay float32; `auto` takes it where the
            processor has it and a comparison with float32 on training samples passes; `fp32` never.
        micro_batch_size: Samples that go through the network at once; null: on a GPU found by trying, on the CPU
            the whole batch; halved when memory runs out in a single process.
        n_workers: Threads that read and decode; null: one for each core, of several processes each has its share.
        compile: torch.compile of the network; worth its time on a GPU.
        processes: More than 1 starts `launch`: one process for each GPU.
        launch: The command in front of `-m pipelines.training.job`; `{processes}` is replaced.
    """

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None
    n_workers: Annotated[int, Field(ge=1, le=256)] | None = None
    compile: bool = False
    processes: Annotated[int, Field(ge=1)] = 1
    launch: Annotated[tuple[str, ...], Field(min_length=1)] = ("torchrun", "--standalone", "--nproc-per-node", "{processes}")
