"""What follows the last epoch: averages of weights that validation chooses, and the same network in every process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipelines.training.after import Evaluate, States, greedy_soup, wise_ft
from pipelines.training.loop import validation_loss
from pipelines.training.training_plan import Fit, TrainingPlan

if TYPE_CHECKING:
    import torch

    from pipelines.training.runtime import Runtime


def finish(plan: TrainingPlan, fitted: Fit) -> dict[str, JsonValue]:
    """Runs the steps of `recipe.after` in their order and leaves their result in the network, in evaluation mode.

    A training that its budget cut has no time for them. Only the main process measures; the others are given its weights.

    Returns:
        The record of each step by its name.
    """
    state = fitted.best
    records: dict[str, JsonValue] = {}
    if plan.runtime.is_main:
        for step in plan.recipe.after:
            if fitted.cut_at is not None:
                records[step] = {"skipped": "the budget left no time for it"}
            elif step == "greedy_soup" and len(fitted.epoch_states) != len(fitted.curve):
                records[step] = {"skipped": "the weights of an epoch could not be written"}
            elif step == "greedy_soup":
                state, records[step] = _soup(plan, fitted, state)
            else:
                state, records[step] = wise_ft(fitted.start, state, _evaluate(plan))
    plan.network.load_state_dict(dict(state), strict=False)
    _give_to_all(plan.runtime, plan.network.state_dict())
    plan.network.eval()
    return records


def _soup(plan: TrainingPlan, fitted: Fit, state: Mapping[str, torch.Tensor]) -> tuple[Mapping[str, torch.Tensor], dict[str, JsonValue]]:
    states, losses = fitted.epoch_states, [epoch.validation_log_loss for epoch in fitted.curve]
    if state is fitted.best:
        return greedy_soup(states, losses, _evaluate(plan))
    # A step before this one made weights of its own: they compete as the last ingredient.
    evaluate = _evaluate(plan)
    return greedy_soup(_WithLast(states, state), [*losses, evaluate(state)], evaluate)


@dataclass(frozen=True, eq=False)
class _WithLast:
    states: States
    last: Mapping[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.states) + 1

    def __getitem__(self, number: int) -> Mapping[str, torch.Tensor]:
        return self.last if number == len(self.states) else self.states[number]


def _evaluate(plan: TrainingPlan) -> Evaluate:
    def log_loss(state: Mapping[str, torch.Tensor]) -> float:
        plan.network.load_state_dict(dict(state), strict=False)
        return validation_loss(plan)[0]

    return log_loss


def _give_to_all(runtime: Runtime, state: Mapping[str, torch.Tensor]) -> None:
    if runtime.accelerator is not None:
        from accelerate.utils import broadcast

        for tensor in state.values():
            plain = tensor.contiguous()
            broadcast(plain, from_process=0)
            tensor.copy_(plain)
