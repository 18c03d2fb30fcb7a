from __future__ import annotations

import pytest

from benchmarks.digits_traffic import DigitsTraffic


@pytest.fixture(scope="session")
def digits() -> DigitsTraffic:
    return DigitsTraffic()
