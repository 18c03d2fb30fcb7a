"""The gate `bundle_mb`: the built Bento is small enough."""

from __future__ import annotations

from pipelines.config import SizeGate
from pipelines.gates.decision import Decision

_BYTES_PER_MB = 1_000_000


def bundle_mb(rule: SizeGate, n_bytes: int, n_files: int) -> Decision:
    """Compares the size of all files with the limit: an exact check, without statistics.

    Args:
        rule: Of the conf file.
        n_bytes: Of all files of the Bento together.
        n_files: How many they are.
    """
    passed = n_bytes <= rule.limit_mb * _BYTES_PER_MB
    return Decision(
        gate=rule.kind,
        condition=f"a Bento of at most {rule.limit_mb:g} MB",
        outcome="pass" if passed else "refuse",
        statistic=n_bytes / _BYTES_PER_MB,
        n=n_files,
        threshold=rule.limit_mb,
        reason=f"its {n_files} files have {n_bytes:,} bytes together, {n_bytes / _BYTES_PER_MB:.2f} MB of 10^6 bytes;"
        f" {rule.limit_mb:g} MB are allowed"
        + ("." if passed else ": take a smaller backbone (`regraft backbones rank` shows their sizes), or raise the limit."),
        detail={"test": "exact", "n_bytes": n_bytes},
    )
