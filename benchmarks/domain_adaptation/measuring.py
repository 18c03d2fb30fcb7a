"""All models of one draw, and how often each is right."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.domain_adaptation.drawing import Drawn
from benchmarks.domain_adaptation.settings import Setting
from pipelines.training.adaptation.adapt import train_adapted
from pipelines.training.embedding import embed
from pipelines.training.fine_tuning import train_lp_ft
from pipelines.training.inputs import SampleInputs
from pipelines.training.material import Material, Trained


@dataclass(frozen=True)
class Row:
    """One model: accuracy on the target's and on the source's test samples."""

    pair: str
    method: str
    seed: int
    target_accuracy: float
    source_accuracy: float
    n_target_test: int
    seconds: float

    @staticmethod
    def of_file(cells: Mapping[str, str]) -> Row:
        """As it was written."""
        accuracies = float(cells["target_accuracy"]), float(cells["source_accuracy"])
        return Row(cells["pair"], cells["method"], int(cells["seed"]), *accuracies, int(cells["n_target_test"]), float(cells["seconds"]))


def measured(setting: Setting, pair: tuple[str, str], seed: int) -> Iterator[Row]:
    """All models of one draw, each as soon as it is there."""
    with tempfile.TemporaryDirectory(prefix="regraft-adaptation-") as folder:
        drawn = Drawn(setting, pair, seed, Path(folder))

        def row(method: str, trained: Trained, started: float) -> Row:
            seconds = time.perf_counter() - started
            scores = [accuracy(trained, test) for test in (drawn.target_test, drawn.source_test)]
            return Row(" -> ".join(pair), method, seed, scores[0], scores[1], len(drawn.target_test), round(seconds, 1))

        started = time.perf_counter()
        source = plainly_trained(drawn.source)
        yield row("source only", source, started)
        for way in setting.ways:
            method = setting.project(seed, way).adapting.model_copy(update={"unlabelled": drawn.unlabelled})
            started = time.perf_counter()
            yield row(way, train_adapted(drawn.source, method, copy.deepcopy(source)), started)
        started = time.perf_counter()
        yield row("ceiling", plainly_trained(drawn.ceiling), started)


def plainly_trained(material: Material) -> Trained:
    return train_lp_ft(material, material.config.method)  # type: ignore[arg-type]


def accuracy(trained: Trained, test: SampleInputs) -> float:
    logits = embed(trained.network, test, n_workers=1)
    return round(float((logits.argmax(axis=1) == test.targets).mean()), 4)
