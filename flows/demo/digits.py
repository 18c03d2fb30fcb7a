"""The demo of images: handwritten digits, and another scanner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.demo.scenario import Item, Scenario
from pipelines.conf_template import ConfDefaults
from pipelines.dataset import read_labelled_paths
from pipelines.domain_shift import shift_scanner
from pipelines.sample_data import DOMAIN, materialise_digits

_NEW_DOMAIN = "scanner-b"


def digits() -> Scenario:
    """1,797 digits of scikit-learn, 36 % of them held out as traffic; those that are not sent are shown by the other scanner."""
    return Scenario(
        task="image",
        project="digits",
        data="1,797 real handwritten digits",
        shift="Another scanner: inverted, thicker, noisy, tilted strokes",
        old_domain=DOMAIN,
        new_domain=_NEW_DOMAIN,
        labels=tuple(str(digit) for digit in range(10)),
        n_samples=1797,
        conf=ConfDefaults(
            expectation="About half a minute on two cores; test accuracy about 99 %.",
            floor=0.9,
            sample_raw_frac=1.0,
            window=200,
            min_window=100,
            cooldown_minutes=10,
        ),
        materialise=materialise_digits,
        held_out=held_out_digits,
        shifted=through_new_scanner,
        n_old_traffic=220,
        n_labelled=340,
    )


def held_out_digits(data: Path) -> list[Item]:
    """The digits that no stage uses, as the first scanner gives them."""
    return [Item((data / path).read_bytes(), label, DOMAIN) for path, label in read_labelled_paths(data, "holdout")]


def through_new_scanner(items: Sequence[Item]) -> list[Item]:
    """The same digits as another scanner gives them; the seed is the digit's place."""
    return [Item(shift_scanner(item.content, seed), item.label, _NEW_DOMAIN) for seed, item in enumerate(items)]
