"""One process is plain torch; two processes come to the gradients of one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipelines.config import ProjectConfig
from pipelines.core.errors import ConfigurationError
from pipelines.training.precision import Precision
from pipelines.training.runtime import Runtime
from tests.pipelines.conftest import tiny_config

BF16 = Precision("bf16", "asked for")
ROOT = Path(__file__).resolve().parents[3]


def alone(index: int = 0, n_processes: int = 1) -> Runtime:
    return Runtime(torch.device("cpu"), index=index, n_processes=n_processes)


def small_network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))


def batch_of(n_samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n_samples)
    return torch.randn(n_samples, 3, 8, 8, generator=generator), torch.randint(5, (n_samples,), generator=generator)


def gradients_of(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


def gradients_of_one(n_samples: int) -> list[torch.Tensor]:
    network = small_network()
    inputs, targets = batch_of(n_samples)
    nn.functional.cross_entropy(network(inputs), targets).backward()
    return gradients_of(network)


def gradients_in(runtime: Runtime, n_samples: int, part_size: int) -> list[torch.Tensor]:
    """What a training loop does for a step: this process's samples in parts."""
    network = small_network()
    prepared = runtime.prepare(network)
    inputs, targets = batch_of(n_samples)
    own = torch.from_numpy(runtime.shard(np.arange(n_samples)))
    if len(own) == 0:
        runtime.backward_of_nothing(prepared, inputs[:1])
        return gradients_of(network)
    parts = own.split(part_size)
    for part in parts[:-1]:
        with runtime.no_sync(prepared):
            runtime.backward(nn.functional.cross_entropy(prepared(inputs[part]), targets[part], reduction="sum") / n_samples)
    part = parts[-1]
    runtime.backward(nn.functional.cross_entropy(prepared(inputs[part]), targets[part], reduction="sum") / n_samples)
    return gradients_of(network)


def test_one_process_is_plain_torch_to_the_bit(tiny_weights: Path) -> None:
    runtime = Runtime.start(tiny_config(tiny_weights))
    assert (runtime.n_processes, runtime.index, runtime.is_main, runtime.device) == (1, 0, True, torch.device("cpu"))
    network, plain = small_network(), small_network().to(memory_format=torch.channels_last)
    inputs, targets = batch_of(6)
    prepared = runtime.prepare(network)
    assert prepared is network
    for one in (prepared, plain):
        loss = nn.functional.cross_entropy(one(inputs), targets)
        if one is plain:
            loss.backward()
        else:
            with runtime.no_sync(prepared), runtime.autocast():
                runtime.backward(loss)
    for ours, theirs in zip(gradients_of(network), gradients_of(plain), strict=True):
        assert torch.equal(ours, theirs)


def test_one_process_needs_no_accelerate(tiny_weights: Path) -> None:
    program = (
        "import sys, torch, numpy; from pathlib import Path; from tests.pipelines.conftest import tiny_config\n"
        "from pipelines.training.runtime import Runtime\n"
        f"runtime = Runtime.start(tiny_config(Path({str(tiny_weights)!r})))\n"
        "runtime.prepare(torch.nn.Linear(2, 2)); runtime.barrier(); runtime.leave()\n"
        "print(runtime.sum(2.5), runtime.any(False), runtime.gather(numpy.ones((2, 1))).shape, 'accelerate' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[-2] == "2.5 False (2, 1) False"


def test_prepare_keeps_the_parameters_and_turns_them_to_channels_last() -> None:
    network = small_network()
    before = list(network.parameters())
    alone().prepare(network)
    assert all(one is other for one, other in zip(before, network.parameters(), strict=True))
    assert before[0].is_contiguous(memory_format=torch.channels_last)


def test_prepare_compiles_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or network)
    network = small_network()
    alone().prepare(network)
    assert compiled == []
    Runtime(torch.device("cpu"), compiles=True).prepare(network)
    assert compiled == [network]


def test_autocast_computes_in_the_precision_that_was_chosen() -> None:
    network, inputs = small_network(), batch_of(2)[0]
    fp32, bf16 = alone(), alone().at(BF16)
    with fp32.autocast():
        assert network(inputs).dtype == torch.float32
    with bf16.autocast():
        assert network(inputs).dtype == torch.bfloat16
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@given(n_samples=st.integers(0, 40), n_processes=st.integers(1, 9))
def test_shards_are_the_batch_cut_as_evenly_as_it_goes(n_samples: int, n_processes: int) -> None:
    indices = np.arange(n_samples)[::-1]
    shards = [alone(index, n_processes).shard(indices) for index in range(n_processes)]
    assert np.concatenate(shards).tolist() == indices.tolist()
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(("started", "wanted"), [("1", 2), (None, 4), ("3", 1)])
def test_another_number_of_processes_than_the_conf_file_says_is_refused(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, started: str | None, wanted: int
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if started:
        monkeypatch.setenv("WORLD_SIZE", started)
    config = tiny_config(tiny_weights, compute={"processes": wanted})
    with pytest.raises(ConfigurationError, match=rf"^{started or 1} training process(es)?, compute\.processes being {wanted}\."):
        Runtime.start(config)


def test_the_environment_of_accelerate_does_not_scale_the_loss(tiny_weights: Path) -> None:
    """In a process of its own, where accelerate finds no other process and so would have it refused: what it is told is looked at."""
    program = (
        "import accelerate; from pathlib import Path; from tests.pipelines.conftest import tiny_config\n"
        "from pipelines.core.errors import ConfigurationError; from pipelines.training.runtime import _joined\n"
        "real = accelerate.Accelerator\n"
        "accelerate.Accelerator = lambda **given: (made := real(**given), print('steps', made.gradient_accumulation_steps))[0]\n"
        "try:\n"
        f"    _joined(tiny_config(Path({str(tiny_weights)!r})))\n"
        "except ConfigurationError:\n"
        "    print('refused')\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[-3:-1] == ["steps 1", "refused"]


def _written_by_main(runtime: Runtime, path: Path) -> bool:
    with runtime.main_first():
        found = path.exists()
        path.touch()
    return found


def _report(out: Path, config: ProjectConfig) -> None:
    """What each of the two processes of the test below does."""
    runtime = Runtime.start(config)
    steps = {"even": (6, 8), "uneven": (7, 8), "in parts": (7, 2), "one sample for two": (1, 8)}
    network = small_network()
    for parameter in network[0].parameters():
        parameter.requires_grad_(False)
    frozen_below = runtime.prepare(network)
    inputs, targets = batch_of(4)
    own = torch.from_numpy(runtime.shard(np.arange(4)))
    runtime.backward(nn.functional.cross_entropy(frozen_below(inputs[own]), targets[own], reduction="sum") / 4)
    indices = np.arange(5)
    rows = runtime.gather(np.stack([runtime.shard(indices), runtime.shard(indices) ** 2], axis=1).astype(np.float32))
    found = {
        "gradients": {name: [one.tolist() for one in gradients_in(runtime, *step)] for name, step in steps.items()},
        "head alone": [one.tolist() for one in gradients_of(network)],
        "rows": rows.tolist(),
        "sum": runtime.sum(runtime.index + 1.5),
        "smallest": runtime.smallest(7 - runtime.index),
        "any": [runtime.any(runtime.index == 1), runtime.any(False)],
        "bf16 in one": runtime.at(BF16 if runtime.index else Precision("fp32", "it has none")).precision.name,
        "bf16 in both": runtime.at(BF16).precision.name,
        "other refused": runtime.at(BF16).at(BF16 if runtime.index else Precision("fp32", "x")).precision.reason,
        "main": runtime.is_main,
        "first": _written_by_main(runtime, out / "first"),
    }
    runtime.barrier()
    (out / f"{runtime.index}.json").write_text(json.dumps(found))
    runtime.leave()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> tuple[dict[str, object], dict[str, object]]:
    out = tmp_path_factory.mktemp("two")
    config = tiny_config(tiny_weights, compute={"processes": 2})
    program = out / "process.py"
    program.write_text(
        "from pathlib import Path; from pipelines.config import ProjectConfig; from tests.pipelines.training.test_runtime import _report\n"
        f"_report(Path({str(out)!r}), ProjectConfig.model_validate_json({config.model_dump_json()!r}))\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    # As `accelerate launch` would have set it: it must not scale the loss.
    accumulation = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"} | accumulation
    done = subprocess.run(torchrun, cwd=out, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads((out / "0.json").read_text()), json.loads((out / "1.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("step", "n_samples"), [("even", 6), ("uneven", 7), ("in parts", 7), ("one sample for two", 1)])
def test_two_processes_come_to_the_gradients_of_one(two_processes: tuple[dict, dict], step: str, n_samples: int) -> None:
    expected = gradients_of_one(n_samples)
    for found in two_processes:
        for ours, theirs in zip(found["gradients"][step], expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert two_processes[0]["gradients"][step] == two_processes[1]["gradients"][step]


@pytest.mark.slow
def test_two_processes_train_what_requires_gradients_alone(two_processes: tuple[dict, dict]) -> None:
    for found in two_processes:
        for ours, theirs in zip(found["head alone"], gradients_of_one(4)[2:], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_two_processes_agree(two_processes: tuple[dict, dict]) -> None:
    for found in two_processes:
        assert found["rows"] == [[0, 0], [1, 1], [2, 4], [3, 9], [4, 16]]
        assert found["sum"] == 4.0
        assert found["smallest"] == 6
        assert found["any"] == [True, False]
        assert (found["bf16 in one"], found["bf16 in both"]) == ("fp32", "bf16")
    assert two_processes[1]["other refused"] == "1 of 2 processes cannot take bfloat16"
    assert [found["first"] for found in two_processes] == [False, True]
    assert [found["main"] for found in two_processes] == [True, False]
