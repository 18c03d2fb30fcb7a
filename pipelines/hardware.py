"""What a training ran on, for the record: processor, cores, memory, GPUs, and how torch was built. It is no part of any bundle."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from pydantic import JsonValue

HARDWARE_FILE = "hardware.json"


def describe_hardware(device: str) -> dict[str, JsonValue]:
    """The machine of now.

    Args:
        device: `cpu` or `cuda`; GPUs are named only where they are used.

    Returns:
        `cpu`, `n_cores` (that this process may use), `memory_gib`, `system`, `python`, `torch`, `cpu_capability` (the widest vector
        instructions that torch uses, for example AVX2), `n_threads`, `gpus` (names), `cuda`, `cudnn`. The last bits of a result may
        depend on all of them but the memory.
    """
    import torch

    on_gpu = device == "cuda"
    return {
        "device": device,
        "cpu": _processor(),
        "n_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "n_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if on_gpu else [],
        "cuda": torch.version.cuda if on_gpu else None,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,  # type: ignore[no-untyped-call]
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system than Linux
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_gib() -> float:
    import psutil

    return round(psutil.virtual_memory().total / 2**30, 1)
