"""The stages that gates rest on besides the two evaluations, each through the store as those of `pipelines.stages` are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from pipelines.baselines import Outcome, have_same_weights, is_a_probe, is_from_scratch, scratch_method, write_baselines
from pipelines.config import AdaptMethod, BehaviourGate, Method, NegativeTransferGate, RobustnessGate, plain_method
from pipelines.core.bundle import read_manifest
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.dataset import read_samples
from pipelines.plain_training import write_plain_training
from pipelines.stages import Stages
from pipelines.store import StageOutput, StageStore
from pipelines.unlabelled import read_unlabelled


def baselines(
    stages: Stages, gate: NegativeTransferGate, dataset: str, split: StageOutput, selected: StageOutput, trained: StageOutput
) -> StageOutput:
    """Trains what the transfer must be better than, and takes its answers for the test split from sealed bundles of its own.

    Each baseline goes through the stages of the candidate, so a second run trains nothing again.

    Args:
        stages: Of the workspace, with the candidate's configuration.
        gate: Of the conf file.
        dataset: Digest of the dataset version.
        split: What is learnt from, and tested on.
        selected: The candidate's backbone.
        trained: The candidate's training.
    """
    from pipelines.selection import probe_section

    own, made_from = stages.config.method, (dataset, split, selected, trained)
    scratch = scratch_method(gate, plain_method(own), stages.config.task)
    outcomes = {
        "scratch": Outcome("same") if is_from_scratch(own) else _baseline(stages, scratch, *made_from),
        "probe": Outcome("same") if is_a_probe(own, trained.path) else _baseline(stages, probe_section(stages.config), *made_from),
    }

    def make(out: Path) -> None:
        write_baselines(outcomes, read_samples(split.path / "samples.csv"), out)

    key: dict[str, JsonValue] = {name: [outcome.state, outcome.why, outcome.evaluated] for name, outcome in outcomes.items()}
    return StageStore(stages.workspace.store).run("baselines", {"split": split.fingerprint, **key}, "pipelines.baselines", make)


def plain_training(
    stages: Stages, method: AdaptMethod, dataset: str, split: StageOutput, selected: StageOutput, trained: StageOutput
) -> StageOutput:
    """Trains as the adapted candidate's source was trained, and takes that model's answers for the test split.

    Args:
        stages: Of the workspace, with the candidate's configuration.
        method: The candidate's.
        dataset: Digest of the dataset version.
        split: What is learnt from, and tested on.
        selected: The candidate's backbone.
        trained: The candidate's training.
    """
    outcome = _baseline(stages, method.source, dataset, split, selected, trained)

    def make(out: Path) -> None:
        unlabelled = read_unlabelled(stages.workspace.data, str(method.unlabelled))
        write_plain_training(outcome, read_samples(split.path / "samples.csv"), unlabelled, out)

    key: dict[str, JsonValue] = {"plain": [outcome.state, outcome.why, outcome.evaluated], "unlabelled": method.unlabelled}
    return StageStore(stages.workspace.store).run("plain_training", {"split": split.fingerprint, **key}, "pipelines.plain_training", make)


def _baseline(stages: Stages, method: Method, dataset: str, split: StageOutput, selected: StageOutput, trained: StageOutput) -> Outcome:
    other = replace(stages, config=stages.config.model_copy(update={"method": method}))
    try:
        learnt = other.train(split, selected)
    except (ConfigurationError, DataError) as error:  # too few samples, too little memory: it says something of the baseline only
        return Outcome("failed", why=str(error).replace(f"{stages.workspace.root}/", ""))
    if have_same_weights(learnt.path, trained.path):
        return Outcome("same")
    sealed = other.package(dataset, split, selected, learnt, other.calibrate(learnt))
    evaluated = other.evaluate(sealed.path / "bundle", split)
    return Outcome("trained", evaluation=evaluated.path, evaluated=evaluated.fingerprint)


def corrupted(stages: Stages, gate: RobustnessGate, bundle: Path, split: StageOutput) -> StageOutput:
    """Takes a sealed bundle's answers for the test split under each corruption that the gate names."""

    def make(out: Path) -> None:
        from pipelines.corruptions import evaluate_corrupted

        samples = split.path / "samples.csv"
        evaluate_corrupted(bundle, samples, stages.workspace.data, out, gate.corruptions, gate.severity, stages.progress, kind)

    kind = stages.config.labels_per_sample
    asked: dict[str, JsonValue] = {"corruptions": list(gate.corruptions), "severity": gate.severity, "labels_per_sample": kind}
    key: dict[str, JsonValue] = {"bundle": read_manifest(bundle)[1], "split": split.fingerprint, **asked}
    return StageStore(stages.workspace.store).run("corrupted", key, "pipelines.corruptions", make)


def behaviour(stages: Stages, gate: BehaviourGate, bundle: Path) -> StageOutput:
    """Asks a sealed bundle the team's own examples, as they and their file are now."""
    from pipelines.behaviour import read_behaviour
    from pipelines.behaviour_inputs import input_digests

    root = stages.workspace.root
    tests = read_behaviour(root, gate.file, stages.config.task, stages.config.labels)
    inputs = input_digests(root, tests)

    def make(out: Path) -> None:
        from pipelines.behaviour_answers import ask_behaviour

        ask_behaviour(bundle, root, tests, inputs, out)

    key: dict[str, JsonValue] = {"bundle": read_manifest(bundle)[1], "tests": tests.model_dump(mode="json"), "inputs": dict(inputs)}
    return StageStore(stages.workspace.store).run("behaviour", key, "pipelines.behaviour_answers", make)
