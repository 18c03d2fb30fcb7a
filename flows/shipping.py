"""From a candidate that passed its gates to a Bento that was served once, what gates say of that, and a registered version."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from flows.endpoint import LOOPBACK, endpoint_settings, free_port
from flows.learning import Candidate, RunStep
from flows.session import Session
from pipelines.config import Gate, LatencyGate, SizeGate
from pipelines.store import StageOutput, StageStore

if TYPE_CHECKING:
    from pipelines.gates.decision import Decision, Judgement
    from serving.build import BentoBuild
    from serving.settings import EndpointSettings


@dataclass(frozen=True)
class Trial:
    """A Bento that was built and served once, and answered as its bundle does.

    Attributes:
        build: The Bento.
        check: Output of the comparison with the goldens.
        latency: Output of the measured requests; None where no gate asks for it.
    """

    build: BentoBuild
    check: StageOutput
    latency: StageOutput | None

    @property
    def seconds(self) -> dict[str, float]:
        """What the trial took in this run."""
        outputs = [self.check, *([self.latency] if self.latency else [])]
        return {output.name: 0.0 if output.cached else output.seconds for output in outputs}


@dataclass(frozen=True)
class Shipped:
    """A registered version with a Bento that was tried.

    Attributes:
        version: Of the registry.
        bento: Tag of the Bento.
        card: Text of the model card.
    """

    version: str
    bento: str
    card: str


def try_bento(session: Session, candidate: Candidate, run: str, run_step: RunStep) -> Trial:
    """Builds the candidate's Bento, serves it once, compares its answers with the goldens, and measures what gates ask for.

    Args:
        session: Of the workspace.
        candidate: What is served.
        run: Id of the flow run. Times are kept for it alone: those of another day, on another load, say nothing about this machine now,
            and a run that waited for a person goes on with the very times that the person saw.
        run_step: How each step is run.

    Raises:
        RefusedError: The served Bento answers differently from the bundle.
    """
    build = run_step("build Bento", _build, session, candidate)
    check, latency = run_step("serve once", _serve_once, session, candidate, build, run)
    return Trial(build, check, latency)


def shipping_decisions(gates: Sequence[Gate], trial: Trial) -> list[Decision]:
    """What the gates say of the built and served Bento, in the order of the conf file."""
    import numpy as np

    from pipelines.gates.latency import latency_p95_ms
    from pipelines.gates.size import bundle_mb

    decisions: list[Decision] = []
    for gate in gates:
        if isinstance(gate, SizeGate):
            decisions.append(bundle_mb(gate, *_size(trial.build.path)))
        elif isinstance(gate, LatencyGate) and trial.latency is not None:
            measured = json.loads((trial.latency.path / "latency.json").read_bytes())
            milliseconds = np.asarray(measured["milliseconds"], dtype=np.float64)
            decisions.append(latency_p95_ms(gate, milliseconds, n_warm_up=measured["n_warm_up"], failure=measured["failure"]))
    return decisions


def ship(
    session: Session, candidate: Candidate, judgement: Judgement, evidence: Mapping[str, JsonValue], trial: Trial, run_step: RunStep
) -> Shipped:
    """Registers a candidate that may ship: last, for every registered version can be promoted by hand, and each must have been tried."""
    from flows.model_card import model_card
    from flows.provenance import provenance_record

    evaluation = (candidate.outputs["evaluate"].path / "evaluation.json").read_bytes()
    card = model_card(session.config, candidate, judgement)
    records = {
        "decision.json": judgement.model_dump_json(indent=2).encode(),
        "evaluation.json": evaluation,
        "card.md": card.encode(),
        "training.json": (candidate.outputs["train"].path / "training.json").read_bytes(),
        "calibration.json": (candidate.outputs["calibrate"].path / "calibration.json").read_bytes(),
        "validation.json": (candidate.outputs["validate"].path / "validation.json").read_bytes(),
        "provenance.json": provenance_record(session, candidate),
    }
    message = f"{session.config.project}: bundle {candidate.bundle_id} ({evidence['trigger']})"
    version = run_step("register", _register, session, candidate, records, message, str(evidence["dataset"]))
    return Shipped(version, trial.build.tag, card)


def _register(session: Session, candidate: Candidate, records: Mapping[str, bytes], message: str, dataset: str) -> str:
    from pipelines.versioning.registry import register

    return register(session.workspace.root, candidate.bundle, records, message, dataset=dataset).name


def _build(session: Session, candidate: Candidate) -> BentoBuild:
    from serving.build import build_bento

    return build_bento(candidate.bundle, session.config.project, session.workspace.bentoml_home)


def _size(folder: Path) -> tuple[int, int]:
    """Bytes and number of all files below a folder."""
    sizes = [path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()]
    return sum(sizes), len(sizes)


def _serve_once(session: Session, candidate: Candidate, build: BentoBuild, run: str) -> tuple[StageOutput, StageOutput | None]:
    """Real HTTP requests to one server, which is started only where something is left to ask it."""
    store = StageStore(session.workspace.store)
    gate = next((gate for gate in session.config.gates if isinstance(gate, LatencyGate)), None)
    with ExitStack() as stack:

        @cache
        def url() -> str:
            from serving.process import serve_bento

            # The limits and the log of production; without a pointer it serves the bundle inside the Bento.
            limits = _trial_settings(session, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regraft-trial-"))))
            log = session.workspace.logs / "serve-once.log"
            return stack.enter_context(serve_bento(build.path, LOOPBACK, free_port(), limits, log)).url

        def check(out: Path) -> None:
            from serving.verify import verify_endpoint

            found = verify_endpoint(url(), candidate.bundle)
            content = {"n": found.n, "worst_difference": found.worst_difference, "code": build.code_digest}
            (out / "check.json").write_text(json.dumps(content), encoding="utf-8")

        def measure(out: Path) -> None:
            from dataclasses import asdict

            from serving.latency import measure_latency

            found = measure_latency(url(), _test_inputs(session, candidate), gate.n_requests if gate else 0, session.config.task)
            (out / "latency.json").write_text(json.dumps(asdict(found)), encoding="utf-8")

        key: dict[str, JsonValue] = {"bundle": candidate.bundle_id, "bento": build.tag}
        checked = store.run("serve_once", key, "serving.verify", check)
        if gate is None:
            return checked, None
        return checked, store.run("latency", {**key, "run": run, "n_requests": gate.n_requests}, "serving.latency", measure)


def _trial_settings(session: Session, scratch: Path) -> EndpointSettings:
    return endpoint_settings(session).model_copy(update={"pointer": None, "log_dir": scratch / "log", "raw_dir": scratch / "raw"})


def _test_inputs(session: Session, candidate: Candidate) -> Iterator[bytes]:
    """Raw bytes of the test samples, over and over, in the order of their ids: as good as random, for ids are hashes."""
    from pipelines.dataset import read_sample, read_samples

    samples = sorted(read_samples(candidate.outputs["split"].path / "samples.csv", "test"), key=lambda sample: sample.id)
    for sample in cycle(samples):
        yield read_sample(session.workspace.data, sample)
