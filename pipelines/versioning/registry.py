"""The registry in one import; it loads neither DVC nor GTO until something is written or fetched."""

from pipelines.versioning.bundles import fetch_bundle
from pipelines.versioning.champions import ChampionRecord, champion, champion_at, history
from pipelines.versioning.lineage import Lineage, show
from pipelines.versioning.model_versions import RECORD_NAMES, ModelVersion, find_version, register, versions
from pipelines.versioning.promotion import WHOEVER_IS, Promotion, promote, rollback
from pipelines.versioning.refusals import Refusal, record_refusal, refusals

__all__ = [
    "RECORD_NAMES",
    "WHOEVER_IS",
    "ChampionRecord",
    "Lineage",
    "ModelVersion",
    "Promotion",
    "Refusal",
    "champion",
    "champion_at",
    "fetch_bundle",
    "find_version",
    "history",
    "promote",
    "record_refusal",
    "refusals",
    "register",
    "rollback",
    "show",
    "versions",
]
