"""Method `auto`: tries the ways from the simplest up within a time budget and keeps what evidence says.

    prototype, probe            on features that are computed once; the result never ends worse than the probe
    lp_ft (last n blocks)       as `method.fine_tune` says
    lp_ft (all blocks)          where the last blocks alone gained
    wise_ft                     of the best fine-tuned one, towards the probe

What is not worth its time is left out with a reason. Which way is kept is decided in `pipelines.training.choice`.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pipelines.config import AutoMethod, ProbeMethod, PrototypeMethod
from pipelines.core.errors import DataError
from pipelines.training.after import StateDict, wise_ft
from pipelines.training.auto_record import costs_of, record_of
from pipelines.training.choice import Choice, choose, nothing_to_gain, paired
from pipelines.training.embedding import embed
from pipelines.training.fine_tuning import train_lp_ft
from pipelines.training.linear import train_probe
from pipelines.training.material import Deadline, Material, Trained
from pipelines.training.prototype import train_prototype
from pipelines.training.rungs import AFTER, FROZEN, Rung, rungs_of
from pipelines.training.runtime import Runtime
from pipelines.training.spent_time import SpentTime
from pipelines.training.time_plan import TimePlan
from pipelines.training.tried import Tried, TriedWays
from pipelines.training.validation import measure


def train_auto(material: Material, method: AutoMethod) -> Trained:
    """Method `auto`. Killed and started again it goes on: what was finished is read, what was running resumes.

    Where the budget does not bind, the result is the same to the bit each time; where it does, the record says which way it cut.
    """
    runtime = Runtime.start(material.config)
    # What earlier processes took counts: a budget that began anew with each kill would be none.
    finished_seconds = TriedWays(material, runtime).spent_seconds()
    spent = SpentTime.resumed(material.checkpoints, finished_seconds, writes=runtime.is_main)
    material = replace(material, progress=spent.watching(material.progress))
    store = TriedWays(material, runtime)
    deadline = Deadline(max(0.0, method.budget_minutes * 60 - spent.before_seconds))
    feature_seconds = _feature_seconds(material)
    search = _Search(store, TimePlan(store, deadline), spent, method.probe)
    search.try_frozen()
    rungs = rungs_of(method.fine_tune)
    for place, rung in enumerate(rungs):
        search.climb(rung, below=rungs[place - 1] if place else None)
    search.interpolate()
    choice = search.choice()
    kept = search.tried[choice.kept]
    return Trained(
        network=kept.trained.network,
        record=record_of(material, choice, search.tried, search.skipped, search.plan.cut),
        costs_seconds={"features": round(feature_seconds, 3), **costs_of(search.tried)},
        validation_logits=kept.trained.validation_logits,
    )


@dataclass
class _Search:
    """The ways so far.

    Attributes:
        store: Keeps each way as soon as it is finished.
        plan: What there is time for.
        spent: Written at the start of each way, and while it runs.
        probe: How the probe is fitted.
        tried: In this order.
        skipped: Reason by name of the way.
    """

    store: TriedWays
    plan: TimePlan
    spent: SpentTime
    probe: ProbeMethod
    tried: list[Tried] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def choice(self) -> Choice:
        return choose([one.way for one in self.tried], floor=self.tried.index(self._named("probe")))

    def try_frozen(self) -> None:
        """Prototype and probe, whatever they take."""
        self._attempt("prototype", FROZEN, lambda material: train_prototype(material, PrototypeMethod(kind="prototype")))
        self._attempt("probe", FROZEN, lambda material: train_probe(material, self.probe))

    def climb(self, rung: Rung, below: Rung | None) -> None:
        """Tries a rung unless it is not worth its time, or there is none."""
        if reason := self._why_not(rung, below):
            self.skipped[rung.name] = reason
            return
        try:
            self._attempt(rung.name, rung.complexity, lambda material: self._fine_tuned(material, rung))
        except DataError as error:
            # A loss that is not finite, with the batch named: the ways that did not fail still compete. Of several processes the others
            # may not have failed, and would wait for this one.
            if self.store.runtime.n_processes > 1:
                raise
            logging.getLogger(__name__).warning("%s was given up: %s", rung.name, error.got)
            self.skipped[rung.name] = f"given up: {error.got}"

    def interpolate(self) -> None:
        """Tries wise_ft of the best way, where that is a fine-tuned one and did not do so itself."""
        best = self.tried[self.choice().kept]
        if not FROZEN < best.way.complexity < AFTER:
            return
        name = f"{best.way.name}, wise_ft"
        if reason := nothing_to_gain(best.way.result):
            self.skipped[name] = reason
        elif not (self.store.is_finished(name) or self.plan.allows_wise_ft(name)):
            self.skipped[name] = self.plan.failed.get(name, "the budget left no time for it")
        else:
            self._attempt(name, AFTER, lambda material: _interpolated(material, self._named("probe").trained, best.trained))

    def _why_not(self, rung: Rung, below: Rung | None) -> str | None:
        if reason := nothing_to_gain(self.tried[self.choice().kept].way.result):
            return reason
        if below is not None and (reason := self._no_gain(below)):
            return reason
        if not self.store.is_finished(rung.name) and self.plan.epochs(rung) == 0:
            return self.plan.failed.get(rung.name, "the budget left no time for one epoch")
        return None

    def _no_gain(self, below: Rung) -> str | None:
        if below.name in self.skipped:
            return f"{below.name} was not tried"
        probe, way = self._named("probe").way, self._named(below.name).way
        if not way.is_usable:
            return f"the validation loss of {below.name} is not finite"
        gain = paired(probe.result.losses, way.result.losses) if probe.is_usable else None
        if gain is None or gain.is_shown:
            return None
        return f"{below.name} gained {gain} over the probe, not more than one standard error"

    def _fine_tuned(self, material: Material, rung: Rung) -> Trained:
        section = rung.section.model_copy(update={"epochs": self.plan.epochs(rung), "probe": self._chosen_probe(rung.section.probe)})
        material = replace(material, checkpoints=material.checkpoints / "training")
        return train_lp_ft(material, section, deadline=self.plan.deadline_of(rung))

    def _chosen_probe(self, section: ProbeMethod) -> ProbeMethod:
        """The probe's section with the strength that its cross-validation chose: the same head, in less time."""
        record = self._named("probe").trained.record.get("probe")
        if section != self.probe or not isinstance(record, dict):
            return section
        return ProbeMethod.model_validate(section.model_dump() | {"strengths": [record["strength"]]})

    def _attempt(self, name: str, complexity: int, make: Callable[[Material], Trained]) -> None:
        self.spent.write()
        one = self.store.attempt(name, complexity, make, is_cut=name in self.plan.cut)
        if one.is_cut:
            self.plan.cut.add(name)
        self.tried.append(one)

    def _named(self, name: str) -> Tried:
        return next(one for one in self.tried if one.way.name == name)


def _feature_seconds(material: Material) -> float:
    """Computes the features, which are kept, so that no way is charged for what all of them use."""
    started = time.monotonic()
    for inputs in (material.train, material.validation):
        material.features(inputs)
    return time.monotonic() - started


def _interpolated(material: Material, start: Trained, end: Trained) -> Trained:
    network = copy.deepcopy(end.network)

    def log_loss(state: StateDict) -> float:
        network.load_state_dict(state)
        logits = embed(network, material.validation, material.progress, "wise_ft", n_workers=material.config.compute.n_workers)
        return measure(logits, material.validation.targets, material.config.labels_per_sample).log_loss

    state, record = wise_ft(start.network.state_dict(), end.network.state_dict(), log_loss)
    network.load_state_dict(state)
    return Trained(network, end.record | {"wise_ft": record})
