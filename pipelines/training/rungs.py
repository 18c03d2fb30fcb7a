"""The ladder of method `auto`: from the simplest way of training to the most complex."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.config import LpFtMethod

# Prototypes and the probe are both one linear layer on frozen features: neither is simpler to run or to keep.
FROZEN, UPPER_BLOCKS, ALL_BLOCKS, AFTER = range(4)


@dataclass(frozen=True)
class Rung:
    """One fine-tuning.

    Attributes:
        name: For people.
        complexity: Of the constants above.
        section: How it trains.
    """

    name: str
    complexity: int
    section: LpFtMethod


def rungs_of(section: LpFtMethod) -> tuple[Rung, ...]:
    """The fine-tunings to try, in order: as configured, then all blocks. None where the section trains no block."""
    if section.n_upper_blocks == 0:
        return ()
    everything = _rung(section.model_copy(update={"n_upper_blocks": None}), "all blocks", ALL_BLOCKS)
    if section.n_upper_blocks is None:
        return (everything,)
    blocks = "last block" if section.n_upper_blocks == 1 else f"last {section.n_upper_blocks} blocks"
    return _rung(section, blocks, UPPER_BLOCKS), everything


def _rung(section: LpFtMethod, blocks: str, complexity: int) -> Rung:
    steps = "".join(f", {step}" for step in section.after)
    return Rung(f"lp_ft ({blocks}{steps})", AFTER if section.after else complexity, section)
