"""Where a training is, and how that goes to disk and comes back to the bit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.training.checkpoint import Checkpoint, of_prefix, with_prefix
from pipelines.training.curve import Epoch

if TYPE_CHECKING:
    import torch

    from pipelines.training.ema import Ema
    from pipelines.training.step import Learner


@dataclass
class Position:
    """The counters of a training. There are no generators among them: nothing random depends on what was drawn before.

    Attributes:
        epoch: That is being trained, from 1.
        step: Steps done in it.
        n_steps: Steps done in all.
        loss_sum: Of the samples of this epoch's steps.
        micro_batch: Samples that go through the network at once.
        seconds: That all attempts together took before this one.
        curve: Of the epochs done, epoch 0 first.
        epoch_files: Of the weights after each of them, where they are kept.
        best: The weights of the best epoch, on the CPU.
    """

    micro_batch: int
    epoch: int = 1
    step: int = 0
    n_steps: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    curve: list[Epoch] = field(default_factory=list)
    epoch_files: list[str] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)


def to_tensors(position: Position, learner: Learner, ema: Ema | None, moving: set[str]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Everything that decides how the training goes on, as tensors and JSON.

    Args:
        position: Counters and best weights.
        learner: Network, optimiser and schedule.
        ema: Average, where one is kept.
        moving: Names in the network's `state_dict` that training changes; the others are those of the start.
    """
    optimizer = learner.optimizer.state_dict()
    moments = {f"{index}/{key}": value for index, entry in optimizer["state"].items() for key, value in entry.items()}
    tensors = with_prefix("network", only(learner.network.state_dict(), moving))
    tensors |= with_prefix("optimizer", moments) | with_prefix("best", position.best)
    counters: dict[str, Any] = {key: value for key, value in asdict(_without_best(position)).items() if key != "best"}
    state = {"position": counters, "param_groups": optimizer["param_groups"], "schedule": learner.scheduler.state_dict()}
    if ema is not None:
        average = ema.state_dict()
        tensors |= with_prefix("ema", only(average["weights"], moving))
        state["ema_n_updates"] = average["n_updates"]
    return tensors, state


def from_checkpoint(checkpoint: Checkpoint, learner: Learner, ema: Ema | None) -> Position:
    """Puts learner and average where they were and returns where that is.

    Args:
        checkpoint: Of `to_tensors`, for a training of the same identity.
        learner: At its start.
        ema: At its start.
    """
    state: dict[str, Any] = dict(checkpoint.state)
    learner.network.load_state_dict(of_prefix("network", checkpoint.tensors), strict=False)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in of_prefix("optimizer", checkpoint.tensors).items():
        index, key = name.split("/")
        moments.setdefault(int(index), {})[key] = tensor
    learner.optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
    learner.scheduler.load_state_dict(state["schedule"])
    if ema is not None:
        average = ema.state_dict()
        weights = average["weights"] | of_prefix("ema", checkpoint.tensors)
        ema.load_state_dict({"n_updates": state["ema_n_updates"], "weights": weights})
    counters = dict(state["position"])
    curve = [Epoch(**row) for row in counters.pop("curve")]
    return Position(**counters, curve=curve, best=of_prefix("best", checkpoint.tensors))


def only(state: dict[str, torch.Tensor], names: set[str]) -> dict[str, torch.Tensor]:
    """The entries with these names."""
    return {name: tensor for name, tensor in state.items() if name in names}


def snapshot(state: dict[str, torch.Tensor], names: set[str]) -> dict[str, torch.Tensor]:
    """Copies on the CPU of the entries with these names."""
    return {name: tensor.detach().cpu().clone() for name, tensor in only(state, names).items()}


def _without_best(position: Position) -> Position:
    # asdict would copy the tensors.
    return Position(**{**position.__dict__, "best": {}})
