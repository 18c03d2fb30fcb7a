"""Memory that runs out makes parts smaller, aloud; any other error is passed on."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import ConfigurationError
from pipelines.training import memory
from pipelines.training.memory import halved, is_out_of_memory, micro_batch_size

ROOT = Path(__file__).resolve().parents[3]
CPU_WORDS = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes. Error code 12"
)


def running_out(largest: int, tried: list[int]):
    def trial(size: int) -> None:
        tried.append(size)
        if size > largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return trial


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.OutOfMemoryError("in other words"),
        RuntimeError(CPU_WORDS),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("could not create a primitive"),
        MemoryError(),
    ],
)
def test_what_says_that_memory_ran_out_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError(), OSError("Cannot allocate memory"), ValueError(CPU_WORDS)],
)
def test_what_says_something_else_is_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_the_cpu_allocator_itself_is_recognised() -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory") as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


@given(batch_size=st.integers(1, 4_096), largest=st.integers(1, 4_096), wanted=st.none() | st.integers(1, 5_000))
def test_the_largest_half_of_a_half_that_fits_is_found(batch_size: int, largest: int, wanted: int | None) -> None:
    tried: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        # Collecting the garbage of a whole test session takes a tenth of a second each time.
        patch.setattr(memory, "release_memory", lambda: None)
        found = micro_batch_size(running_out(largest, tried), batch_size, wanted)
    first = min(batch_size, wanted or batch_size)
    assert tried == [first // 2**power for power in range(len(tried))]
    assert found == tried[-1] <= largest
    assert all(size > largest for size in tried[:-1])
    assert len(tried) <= math.log2(first) + 1


def test_what_a_trial_held_is_gone_before_the_next() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def trial(size: int) -> None:
        assert all(tensor() is None for tensor in held)
        activations = torch.zeros(size)
        held.append(weakref.ref(activations))
        if size > 1:
            raise MemoryError

    assert micro_batch_size(trial, 4, None) == 1


def test_each_smaller_size_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert micro_batch_size(running_out(20, []), 64, None) == 16
    assert [record.getMessage() for record in caplog.records] == [
        "memory ran out with 64 samples at once; going on with 32, batches stay as they are",
        "memory ran out with 32 samples at once; going on with 16, batches stay as they are",
    ]


def test_a_single_sample_that_does_not_fit_is_an_error_with_a_next_step() -> None:
    with pytest.raises(ConfigurationError, match=r"one sample that does not fit into memory: CUDA out of memory.*smaller backbone"):
        micro_batch_size(running_out(0, []), 8, None)


def test_another_error_is_passed_on_after_one_try() -> None:
    tried: list[int] = []

    def trial(size: int) -> None:
        tried.append(size)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        micro_batch_size(trial, 8, None)
    assert tried == [8]
    with pytest.raises(ValueError, match="of another kind"):
        halved(8, ValueError("of another kind"))


@pytest.mark.slow
def test_under_a_real_limit_of_memory_a_network_still_trains() -> None:
    """64 samples at once do not fit into what the kernel allows. A size that fitted once may not fit again in the holes that are left."""
    program = """
import resource, torch
from torch import nn
from pipelines.training.memory import halved, micro_batch_size, release_memory
torch.set_num_threads(1)
network = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
def trial(n_samples):
    network(torch.zeros(n_samples, 3, 128, 128)).sum().backward()
trial(1)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
limit = int(status["VmSize"].split()[0]) * 1024 + 200 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
found = micro_batch_size(trial, 64, None)
done = 0
while done < 4:
    try:
        trial(found)
        done += 1
        continue
    except (RuntimeError, MemoryError) as error:
        found = halved(found, error)
    release_memory()
print(found)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert 1 <= int(done.stdout) < 64
