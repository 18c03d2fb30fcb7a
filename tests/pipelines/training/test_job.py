"""The stage `train` in several processes: the same result, the same errors, nothing left behind."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from pipelines.backbones import select_backbone
from pipelines.config import ProjectConfig
from pipelines.core.errors import ConfigurationError, DataError, Finding, IntegrityError, RegraftError
from pipelines.exclusive import exclusive
from pipelines.selected_backbone import write_selected
from pipelines.stages import Stages
from pipelines.store import StageOutput
from pipelines.training import job, launch
from pipelines.training.job import EventFile, TrainJob, _write_error, main, read_job
from pipelines.training.launch import LOG, Events, failure, launch_command, train_in_processes
from pipelines.training.loading import usable_cores
from pipelines.training.train import KeptFolders, train
from pipelines.workspace import Workspace
from tests.pipelines.conftest import tiny_config

ROOT = Path(__file__).resolve().parents[3]
# For two processes on a machine without GPUs: `--cpu` would start one.
ACCELERATE = ["accelerate", "launch", "--multi_gpu", "--num_processes", "{processes}", "--num_machines", "1"]
# A rate at which the loss falls: where it leaps, rounding grows from step to step in one process as well, its batches cut into parts.
LP_FT = {"kind": "lp_ft", "n_upper_blocks": 2, "epochs": 3, "batch_size": 24, "learning_rate": 3e-4, "augment": {"policy": "none"}}


def project(weights: Path, *, n_processes: int = 1, **changes: object) -> ProjectConfig:
    compute = {"processes": n_processes, "precision": "fp32"} | changes.pop("compute", {})  # type: ignore[operator]
    return tiny_config(weights, **({"method": LP_FT, "compute": compute} | changes))


def run(folder: Path, digits: Path, config: ProjectConfig, how: object) -> Path:
    out = folder / "out"
    out.mkdir(parents=True)
    write_selected(select_backbone(config.backbone), folder / "backbone.json")
    kept = KeptFolders(folder / "features", folder / "checkpoints")
    how(digits / "samples.csv", digits / "data", folder / "backbone.json", config, kept, out)  # type: ignore[operator]
    return out


def python(program: str) -> tuple[str, ...]:
    """A launcher that runs a program of its own and ignores the job."""
    return (sys.executable, "-c", program)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """In every process: with another number of threads the probe's last bits are others, and the head starts from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def curve_of_one(
    tmp_path_factory: pytest.TempPathFactory, digits_folder: Path, tiny_weights: Path, one_thread: None
) -> list[dict[str, float]]:
    return curve(run(tmp_path_factory.mktemp("one"), digits_folder, project(tiny_weights), train_in_processes))


def curve(out: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((out / "training.json").read_bytes())["curve"]
    return rows


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("launcher", [None, ACCELERATE], ids=["torchrun", "accelerate launch"])
def test_two_processes_give_the_curve_of_one(
    tmp_path: Path, digits_folder: Path, tiny_weights: Path, curve_of_one: list[dict[str, float]], launcher: list[str] | None
) -> None:
    compute = {"launch": launcher} if launcher else {}
    out = run(tmp_path, digits_folder, project(tiny_weights, n_processes=2, compute=compute), train_in_processes)
    found = curve(out)
    assert [row["number"] for row in found] == [row["number"] for row in curve_of_one]
    for name in ("train_loss", "validation_log_loss"):
        ours, theirs = ([row[name] for row in rows if row[name] is not None] for rows in (found, curve_of_one))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert sorted(path.name for path in out.iterdir()) == ["costs.json", "training.json", "validation.safetensors", "weights.safetensors"]
    assert "Traceback" not in (tmp_path / "checkpoints" / "processes" / LOG).read_text()


@pytest.mark.slow
def test_an_error_of_a_process_is_raised_here_as_in_one(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for image in (digits_folder / "data").iterdir():
        (data / image.name).write_bytes(image.read_bytes()[:60])
    (tmp_path / "digits").mkdir()
    data.rename(tmp_path / "digits" / "data")
    (tmp_path / "digits" / "samples.csv").write_bytes((digits_folder / "samples.csv").read_bytes())
    with pytest.raises(IntegrityError) as in_one:
        run(tmp_path / "one", tmp_path / "digits", project(tiny_weights), train)
    with pytest.raises(IntegrityError) as in_two:
        run(tmp_path / "two", tmp_path / "digits", project(tiny_weights, n_processes=2), train_in_processes)
    assert str(in_two.value) == str(in_one.value)


def test_an_error_crosses_processes_as_it_was(tmp_path: Path) -> None:
    error = DataError("one", "two", "three", [Finding("a.png", "is damaged")])
    _write_error(error, tmp_path)
    found = failure(tmp_path, 1)
    assert type(found) is DataError
    assert (str(found), found.findings, found.exit_code) == (str(error), error.findings, 3)


def test_of_several_errors_the_one_of_the_first_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in (10, 2):
        monkeypatch.setenv("RANK", str(rank))
        _write_error(ConfigurationError(f"process {rank}", "two", "three"), tmp_path)
    assert failure(tmp_path, 1).got == "process 2"


@pytest.mark.parametrize(("error", "told"), [(MemoryError(), True), (RuntimeError("shapes cannot be multiplied"), False)])
def test_memory_that_runs_out_in_one_of_several_says_what_to_set(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: bool
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(job, "_train", fail)
    places = {name: tmp_path / name for name in ("samples", "data", "selected", "features", "checkpoints", "out")}
    written = TrainJob(config=project(tiny_weights, n_processes=2), host="another machine", alive="alive.lock", **places)
    (tmp_path / "job.json").write_text(written.model_dump_json())
    (tmp_path / LOG).touch()
    with pytest.raises(type(error)):
        main([str(tmp_path / "job.json")])
    found = failure(tmp_path, 1)
    assert isinstance(found, ConfigurationError) is told
    assert ("set compute.micro_batch_size in the conf file to half" in found.next_step) is told


def test_another_failure_shows_the_end_of_the_log(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    launcher = python("import sys; print('line', 1); print('\\n'.join(str(n) for n in range(60))); sys.exit('out of luck')")
    with pytest.raises(RegraftError, match=r"exit code 1; their log ends with[^$]*59\nout of luck\n") as raised:
        run(tmp_path, digits_folder, project(tiny_weights, n_processes=2, compute={"launch": launcher}), train_in_processes)
    assert raised.value.exit_code == 4
    assert "line 1" not in str(raised.value)
    assert (tmp_path / "checkpoints" / "processes" / LOG).is_file()


def test_a_launcher_that_is_not_there_is_named(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    compute = {"launch": ["no-such-launcher"]}
    with pytest.raises(ConfigurationError, match=r"compute\.launch, whose program no-such-launcher cannot be started"):
        run(tmp_path, digits_folder, project(tiny_weights, n_processes=2, compute=compute), train_in_processes)


def test_launchers_are_those_of_this_environment(tiny_weights: Path) -> None:
    place = Path("/jobs/job.json")
    tail = ["-m", "pipelines.training.job", str(place)]
    torchrun = launch_command(project(tiny_weights, n_processes=3), place)
    assert torchrun == [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", *tail]
    slurm = project(tiny_weights, n_processes=8, compute={"launch": ["srun", "--nodes=2", "accelerate", "launch"]})
    assert launch_command(slurm, place) == [
        "srun",
        "--nodes=2",
        sys.executable,
        "-m",
        "accelerate.commands.accelerate_cli",
        "launch",
        *tail,
    ]


def test_progress_and_warnings_are_passed_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[str, int, int]] = []
    events = Events(tmp_path / "events.jsonl", lambda *step: seen.append(step))
    events.forward()
    file = EventFile(tmp_path / "events.jsonl")
    file.progress("features", 1, 3)
    events.forward()
    assert seen == [("features", 1, 3)]
    with (tmp_path / "events.jsonl").open("a") as unfinished:
        unfinished.write('{"activity": "features", "do')
    events.forward()
    with (tmp_path / "events.jsonl").open("a") as unfinished:
        unfinished.write('ne": 2, "total": 3}\n')
    file.log(logging.LogRecord("pipelines.training.memory", logging.WARNING, "", 1, "memory ran out with %d", (64,), None))
    events.forward()
    assert seen == [("features", 1, 3), ("features", 2, 3)]
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("pipelines.training.memory", "WARNING", "memory ran out with 64")
    ]


def test_a_job_says_all_and_nothing_else(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    launcher = (*python("import shutil, sys; shutil.copy(sys.argv[-1], sys.argv[1])"), str(tmp_path / "seen.json"))
    config = project(tiny_weights, n_processes=2, compute={"launch": launcher})
    run(tmp_path, digits_folder, config, train_in_processes)
    seen = read_job(tmp_path / "seen.json")
    cores = {"compute": {"n_workers"}}
    assert seen.config.model_dump(exclude=cores) == config.model_dump(exclude=cores)
    assert seen.config.compute.n_workers == max(1, usable_cores() // 2)
    assert all(getattr(seen, name).is_absolute() for name in ("samples", "data", "selected", "features", "checkpoints", "out"))
    content = json.loads((tmp_path / "seen.json").read_bytes())
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        TrainJob.model_validate(content | {"more": 1})


def test_every_launch_holds_a_lock_of_its_own(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    """Started again at once after a kill, it must not hold the lock that the processes left over wait for."""
    names = []
    for number in range(2):
        seen = tmp_path / f"seen-{number}.json"
        launcher = (*python("import shutil, sys; shutil.copy(sys.argv[-1], sys.argv[1])"), str(seen))
        run(tmp_path / str(number), digits_folder, project(tiny_weights, n_processes=2, compute={"launch": launcher}), train_in_processes)
        names.append(read_job(seen).alive)
    assert names[0] != names[1]


@pytest.mark.parametrize(("n_cores", "n_threads"), [(8, "4"), (1, "1")])
def test_processes_share_the_cores_that_this_one_may_use(monkeypatch: pytest.MonkeyPatch, n_cores: int, n_threads: str) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch, "usable_cores", lambda: n_cores)
    assert launch._environment(2)["OMP_NUM_THREADS"] == n_threads


def test_the_stage_starts_processes_where_the_conf_file_asks_for_several(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    """The launcher here leaves a file where the training would; and one more, which goes with the training's checkpoints."""
    program = (
        "import json, pathlib, sys; job = json.loads(pathlib.Path(sys.argv[-1]).read_bytes())\n"
        "pathlib.Path(job['out'], 'made').touch(); pathlib.Path(job['checkpoints'], 'left').touch()"
    )
    config = project(tiny_weights, n_processes=2, compute={"launch": python(program)})
    stages = Stages(Workspace(tmp_path), config)
    write_selected(select_backbone(config.backbone), tmp_path / "backbone.json")
    split, selected = StageOutput("split", "a", digits_folder, True, 0.0), StageOutput("select", "b", tmp_path, True, 0.0)
    trained = stages.train(split, selected)
    assert (trained.path / "made").is_file()
    assert not any(stages.workspace.checkpoints.iterdir())
    assert stages.train(split, selected).cached


@pytest.mark.parametrize("content", [None, b"{", b"{}"])
def test_a_job_that_cannot_be_read_says_what_starts_one(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "job.json").write_bytes(content)
    assert main([str(tmp_path / "job.json")]) == 2
    assert "set compute.processes in the conf file and run `regraft retrain`" in capsys.readouterr().err
    assert main([]) == 2


WAITING = """
import os, sys, time
from pathlib import Path
Path({place!r}).joinpath(str(os.getpid())).touch()
time.sleep(600)
"""


def until(condition: object, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_an_interruption_ends_the_processes(
    tmp_path: Path, digits_folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pids").mkdir()

    def interrupt(_: float) -> None:
        if any((tmp_path / "pids").iterdir()):
            raise KeyboardInterrupt

    monkeypatch.setattr(launch, "time", SimpleNamespace(sleep=interrupt))
    config = project(tiny_weights, n_processes=2, compute={"launch": python(WAITING.format(place=str(tmp_path / "pids")))})
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, digits_folder, config, train_in_processes)
    assert not any(psutil.pid_exists(int(path.name)) for path in (tmp_path / "pids").iterdir())


def test_a_launcher_that_does_not_obey_is_killed(
    tmp_path: Path, digits_folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pids").mkdir()
    monkeypatch.setattr(launch, "_TERMINATION_SECONDS", 0.2)

    def interrupt(_: float) -> None:
        if any((tmp_path / "pids").iterdir()):
            raise KeyboardInterrupt

    monkeypatch.setattr(launch, "time", SimpleNamespace(sleep=interrupt))
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITING.format(place=str(tmp_path / "pids"))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, digits_folder, project(tiny_weights, n_processes=2, compute={"launch": python(deaf)}), train_in_processes)
    assert not any(psutil.pid_exists(int(path.name)) for path in (tmp_path / "pids").iterdir())


def test_processes_end_with_the_one_that_waits_for_them(tmp_path: Path) -> None:
    """As after kill -9, when nobody is left to end them: the lock is the kernel's."""
    program = (
        "import sys; from pathlib import Path; from pipelines.training.job import _end_with_parent; _end_with_parent(Path(sys.argv[1]))"
    )
    alive = tmp_path / "alive.lock"
    with exclusive(alive):
        process = subprocess.Popen([sys.executable, "-c", program, str(alive)], cwd=ROOT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.5)
    assert process.wait(30) == 1


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_behind(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    program = textwrap.dedent(f"""
        from pathlib import Path
        from tests.pipelines.training.test_job import LP_FT, project, run
        from pipelines.training.launch import train_in_processes
        config = project(Path({str(tiny_weights)!r}), n_processes=2, method=LP_FT | {{"epochs": 10_000, "early_stopping_epochs": None}})
        run(Path({str(tmp_path)!r}), Path({str(digits_folder)!r}), config, train_in_processes)
    """)
    command = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    try:
        events = tmp_path / "checkpoints" / "processes" / "events.jsonl"
        until(lambda: events.is_file() and "fine-tuning" in events.read_text())
        started = psutil.Process(command.pid).children(recursive=True)
        assert len(started) >= 3  # torchrun and its two
    finally:
        os.kill(command.pid, signal.SIGKILL)
        command.wait()
    _, left = psutil.wait_procs(started, timeout=60)
    assert left == []
