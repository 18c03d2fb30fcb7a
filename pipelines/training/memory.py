"""When memory runs out: the batch goes through the network in smaller parts, and the gradient of the step stays the same up to rounding."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pipelines.core.errors import ConfigurationError

_log = logging.getLogger(__name__)

# accelerate knows torch's own words alone. What cuBLAS, cuDNN and oneDNN say when they get no memory is in theirs; oneDNN's, seen under an
# address-space limit, do not tell it from an operation that it lacks, which then fails at every size and is named in the end.
_LIBRARY_WORDS = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
    "could not create a primitive",
    "could not create a memory object",
    "could not execute a primitive",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: of the GPU (`torch.OutOfMemoryError`), of torch on the CPU, or of Python."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    if isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error):
        return True
    return any(words in str(error) for words in _LIBRARY_WORDS)


def micro_batch_size(trial: Callable[[int], None], batch_size: int, wanted: int | None) -> int:
    """The most samples, of `batch_size` halved and halved again, that go through the network at once.

    Args:
        trial: One forward and backward of so many samples, gradients thrown away; raises when memory runs out.
        batch_size: Of one step of the optimiser in this process.
        wanted: `compute.micro_batch_size`; tried first where it is smaller.

    Returns:
        In [1, batch_size].

    Raises:
        ConfigurationError: Not even one sample fits.
    """
    size = min(batch_size, wanted or batch_size)
    while True:
        try:
            trial(size)
        except (RuntimeError, MemoryError) as error:
            # The rest is done outside: until this block ends the error keeps the tensors of the trial alive.
            size = halved(size, error)
        else:
            return size
        release_memory()


def halved(size: int, error: Exception) -> int:
    """The next smaller size after memory ran out, said aloud.

    A training loop that gets an error in the middle of a step sets gradients to None, calls this, leaves its `except` block, calls
    `release_memory` and does the same step again in parts of this size: the step's batch is the same, so the result is the same up to
    rounding.

    Args:
        size: Samples that went through the network at once.
        error: What was raised; raised again unless memory ran out.

    Raises:
        ConfigurationError: The size is 1 already.
    """
    if not is_out_of_memory(error):
        raise error
    if size == 1:
        raise ConfigurationError(
            got=f"one sample that does not fit into memory: {(str(error) or type(error).__name__).splitlines()[0]}.",
            allowed="a backbone whose forward and backward of one sample fit.",
            next_step="take a smaller backbone or input size, train fewer blocks (method.n_upper_blocks), or add memory.",
        ) from error
    _log.warning("memory ran out with %d samples at once; going on with %d, batches stay as they are", size, size // 2)
    return size // 2


def release_memory() -> None:
    """Gives what is no longer used back, so that a smaller trial starts clean; call it when no error holds tensors any more."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)
