"""What handing out inputs and taking labels gave, for people and for machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.returned_labels import Returned


@dataclass(frozen=True)
class HandedOut:
    """What was handed out.

    Attributes:
        folder: None where nothing waits.
        n_random: Tasks of the random draw.
        n_uncertain: Tasks that were picked for being uncertain and different.
        n_left_out: Inputs whose bytes are gone or damaged.
        n_out: Inputs that were handed out before and have no label yet.
        n_waiting: Inputs that wait, those handed out included.
        n_of_champion: Those among them that the champion answered and that nobody has; only these are offered.
    """

    folder: Path | None
    n_random: int
    n_uncertain: int
    n_left_out: int
    n_out: int
    n_waiting: int
    n_of_champion: int

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        tasks = {"random": self.n_random, "uncertain": self.n_uncertain}
        counts = {"waiting": self.n_waiting, "waiting_of_champion": self.n_of_champion, "handed_out_before": self.n_out}
        return {"folder": str(self.folder) if self.folder else None, "tasks": tasks, "left_out": self.n_left_out, **counts}

    def as_text(self) -> str:
        """For people."""
        waiting = f"{self.n_waiting} inputs wait for a label; {self.n_of_champion} of them the champion answered and nobody has yet"
        waiting += f"; {self.n_out} were handed out before (--again hands them out once more)" if self.n_out else ""
        if self.folder is None:
            return f"nothing to hand out: {waiting}\nInputs are kept where serving.sample_raw_frac in the conf file is above 0."
        left_out = f", {self.n_left_out} left out (bytes gone or damaged)" if self.n_left_out else ""
        return (
            f"{self.folder}: {self.n_random + self.n_uncertain} inputs to label{left_out}\n"
            f"  {self.n_uncertain} uncertain and different from each other\n"
            f"  {self.n_random} drawn at random (picked_by: random): they alone tell how often the model is right,"
            " of inputs that no client has labelled\n"
            f"{waiting}\n"
            f"Next: label tasks.csv, or import tasks.json into Label Studio with config.xml; then `regraft labels take FILE`"
        )


@dataclass(frozen=True)
class Taken:
    """What became of labels that came back.

    Attributes:
        returned: Taken, known, repeated, refused.
        quarantine: File with what was refused; None where nothing was.
        n_random_right: Answers that were right, of the random draw of the model that answered last.
        n_random: Labels of that draw.
        n_random_open: Inputs of that draw that were handed out and have no label.
    """

    returned: Returned
    quarantine: Path | None
    n_random_right: int
    n_random: int
    n_random_open: int

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        returned = self.returned
        counts = {"taken": len(returned.taken), "known": returned.n_known, "repeated": returned.n_repeated}
        refused = [{"id": line.request_id, "label": line.label, "problem": line.reason} for line in returned.refused]
        draw = {"labelled": self.n_random, "right": self.n_random_right, "open": self.n_random_open}
        return {**counts, "refused": refused, "quarantine": str(self.quarantine) if self.quarantine else None, "random_draw": draw}

    def as_text(self) -> str:
        """For people."""
        returned = self.returned
        rows = "".join(f"\n  {line.request_id}: {line.reason}" for line in returned.refused)
        text = f"{len(returned.taken)} labels taken, {returned.n_known} known already, {len(returned.refused)} not usable{rows}"
        if self.quarantine:
            text += f"\nnot usable: {self.quarantine}; correct its column label, then `regraft labels take {self.quarantine}`"
        text += f"\n{self._accuracy()}"
        return text + ("\nNext: `regraft ingest` adds them to the data" if returned.taken else "")

    def _accuracy(self) -> str:
        from pipelines.intervals import clopper_pearson

        if not self.n_random:
            return "no label of the random draw yet: how often the model is right is not known"
        found = clopper_pearson(self.n_random_right, self.n_random)
        still = f"; {self.n_random_open} of the draw have no label yet, and may be the hard ones" if self.n_random_open else ""
        interval = f"95 % interval {found.low:.1%} to {found.high:.1%}"
        drawn = f"{found.n} inputs drawn at random, of inputs that no client has labelled,"
        return f"of {drawn} the model had {found.value:.1%} right ({interval}){still}"
