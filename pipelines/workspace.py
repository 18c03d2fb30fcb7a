"""Where things lie in a workspace: a folder that is a git and DVC repository with a `conf/*.yaml` and a `data.dvc`.

State that must last: `conf/`, `data/` (by DVC), `models/`, git tags. What is local lives in `.regraft/`, never in git.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import ConfigurationError


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace.

    Attributes:
        root: Absolute path of the folder.
    """

    root: Path

    @classmethod
    def at(cls, folder: Path) -> Workspace:
        """The workspace in `folder`.

        Raises:
            ConfigurationError: The folder is missing or no workspace.
        """
        root = folder.expanduser().resolve()
        if not any((root / "conf").glob("*.yaml")) or not (root / ".dvc").is_dir():
            raise ConfigurationError(
                got=f"the folder {folder}, which {'is no workspace' if root.is_dir() else 'does not exist'}.",
                allowed="a folder with conf/*.yaml and a DVC repository.",
                next_step="make one with `regraft init NAME --task image --from FOLDER`, or name another with --workspace.",
            )
        return cls(root)

    @property
    def data(self) -> Path:
        """Raw, immutable input, tracked by DVC through `data.dvc`."""
        return self.root / "data"

    @property
    def models(self) -> Path:
        """The registered bundle (by DVC) with its decision and card (in git)."""
        return self.root / "models"

    @property
    def state(self) -> Path:
        """What git and DVC do not keep.

        All of it can be made again, these parts apart: `serving/` (request log, feedback and raw inputs that were not ingested yet),
        `runs/` (records of runs), `trigger/` (decisions about retrainings and what people said, which the cool-down, the weekly budget and
        the refused data are read from), `approvals/` (candidates that wait for a person), `alarms/` (which run has taken up which alarm),
        `monitoring/` (what windows were allowed of the false alarms), `labels/` (what was handed out to be labelled) and `quarantine/`
        (samples that wait to be corrected).
        """
        return self.root / ".regraft"

    @property
    def store(self) -> Path:
        """Content-addressed outputs of stages."""
        return self.state / "store"

    @property
    def features(self) -> Path:
        """Features of samples under pretrained backbones, kept between runs."""
        return self.state / "features"

    @property
    def checkpoints(self) -> Path:
        """Of trainings that are not finished, a folder for each."""
        return self.state / "checkpoints"

    @property
    def reports(self) -> Path:
        """HTML reports: `reports/runs/ID/`, `reports/monitor/ID/`, `reports/audit/ID/`, where a person may be filling in a table."""
        return self.state / "reports"

    @property
    def logs(self) -> Path:
        """Logs of the servers that the workspace started."""
        return self.state / "logs"

    @property
    def serving(self) -> Path:
        """Pointer to the served bundle, verified copies of bundles, the request log, sampled raw inputs."""
        return self.state / "serving"

    @property
    def prefect_home(self) -> Path:
        """Prefect's database and results."""
        return self.state / "prefect"

    @property
    def bentoml_home(self) -> Path:
        """BentoML's store of built Bentos."""
        return self.state / "bentoml"
