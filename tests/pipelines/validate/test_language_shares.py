"""Shares of languages, with planted rises and with none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.stages import Stages
from pipelines.validate.language_shares import LEAST_TEXTS, language_table
from pipelines.workspace import Workspace
from tests.pipelines.tiny_texts import LABELS, text_config, write_model

ENGLISH = "The soup number {} was cold and nobody wanted to eat it."
GERMAN = "Die Suppe Nummer {} war kalt und niemand wollte sie essen."


def table(before: list[str], now: list[str], day: str = "2026-05-02") -> pd.DataFrame:
    dates = [("", "2026-05-01")[place % 2] for place in range(len(before))]
    return of_texts(before + now, dates + [day] * len(now))


def of_texts(languages: list[str], arrivals: list[str]) -> pd.DataFrame:
    digests = [f"text {number}" for number in range(len(languages))]
    return pd.DataFrame({"language": languages, "arrival": arrivals, "text_digest": digests}, dtype=object)


def risen(found: pd.DataFrame) -> list[str]:
    return found.loc[found["rise"].notna(), "language"].tolist()


def test_a_language_that_has_risen_is_named_with_its_numbers() -> None:
    found = language_table(table(["en"] * 190 + ["de"] * 10, ["en"] * 20 + ["de"] * 18 + [""] * 2), 0.1)
    assert risen(found) == ["de"]
    assert found.set_index("language")["rise"]["de"] == (
        "is the language of 18 of the 40 texts that came last (45.0%), before of 10 of 200 (5.0%)"
    )


@pytest.mark.parametrize("n_german", [2, 4, 8])
def test_a_rise_within_the_limit_or_one_that_is_not_sure_passes(n_german: int) -> None:
    assert risen(language_table(table(["en"] * 200, ["en"] * (40 - n_german) + ["de"] * n_german), 0.1)) == []


def test_one_that_falls_and_one_that_cannot_be_told_have_not_risen() -> None:
    assert risen(language_table(table(["en"] * 100 + ["de"] * 100, ["de"] * 100 + [""] * 100), 0.1)) == []


def test_too_few_dates_compare_nothing() -> None:
    few = table(["en"] * 200, ["de"] * (LEAST_TEXTS - 1)).assign(arrival=[""] * 200 + ["2026-05-02"] * (LEAST_TEXTS - 1))
    assert language_table(few, 0.1).empty
    same_day = of_texts(["en"] * 50 + ["de"] * 50, ["2026-05-02"] * 100)
    assert language_table(same_day, 0.1).empty


def test_copies_count_once_where_the_first_of_them_arrived() -> None:
    """Thirty German texts that were there before come again, and one new one comes thirty times: neither is thirty new texts."""
    rows = table(["en"] * 170 + ["de"] * 30, ["en"] * 40 + ["de"] * 60)
    rows.loc[rows.index[-60:-30], "text_digest"] = rows["text_digest"][170:200].tolist()
    rows.loc[rows.index[-30:], "text_digest"] = "one advertisement"
    shuffled = rows.sample(frac=1, random_state=0)
    assert language_table(shuffled, 0.0).set_index("language")["rise"].to_dict() == {"de": None, "en": None}
    assert risen(language_table(rows.assign(text_digest=range(len(rows))), 0.0)) == ["de"]


def test_days_are_taken_together_until_there_are_enough() -> None:
    days = [f"2026-05-{day:02d}" for day in range(1, 31)]
    rows = of_texts(["en"] * 240 + ["de"] * 60, np.repeat(days, 10).tolist())
    found = language_table(rows, 0.1).set_index("language")["rise"]
    assert found["de"].startswith("is the language of 30 of the 30 texts that came last (100.0%), before of 30 of 270 (11.1%)")


def test_where_nothing_changes_it_hardly_ever_warns_and_a_rise_is_found() -> None:
    """False alarms at the limit itself, where they are most frequent; power at 30 points more."""
    rng = np.random.default_rng(0)

    def share_of_warnings(before: float, now: float, n_draws: int) -> float:
        def drawn(share: float, n: int) -> list[str]:
            return np.where(rng.random(n) < share, "de", "en").tolist()

        return float(np.mean(["de" in risen(language_table(table(drawn(before, 300), drawn(now, 100)), 0.1)) for _ in range(n_draws)]))

    assert share_of_warnings(0.2, 0.3, 300) <= 0.02
    assert share_of_warnings(0.2, 0.6, 50) >= 0.9


def validated(
    root: Path, last: str, data: dict[str, object], days: tuple[str, str] = ("2026-05-01", "20260502")
) -> dict[str, dict[str, object]]:
    rows = [(ENGLISH.format(number), LABELS[number % 2], days[0]) for number in range(120)]
    rows += [((ENGLISH, last)[number % 2].format(500 + number), LABELS[number // 2 % 2], days[1]) for number in range(60)]
    (root / "data").mkdir()
    pd.DataFrame(rows, columns=["text", "label", "arrival"]).to_csv(root / "data" / "labels.csv", index=False)
    stages = Stages(Workspace(root), text_config(write_model(root / "model"), data=data))
    report = json.loads((stages.validate(stages.manifest("d")).path / "validation.json").read_text())
    return {check["name"]: check for check in report["checks"]}


@pytest.mark.filterwarnings("ignore:module 'sre_(constants|parse)' is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("last", "data", "outcome"), [(GERMAN, {}, "failed"), (GERMAN, {"max_language_rise": 0.9}, "passed"), (ENGLISH, {}, "passed")]
)
def test_the_report_warns_of_it_and_repeats_no_text(tmp_path: Path, last: str, data: dict[str, object], outcome: str) -> None:
    check = validated(tmp_path, last, data)["language_shares"]
    assert (check["severity"], check["outcome"]) == ("warning", outcome)
    if outcome == "failed":
        said = "is the language of 30 of the 60 texts that came last (50.0%), before of 0 of 120 (0.0%)"
        assert check["unexpected"] == [{"where": "de", "problem": said}]
    assert "Suppe" not in json.dumps(check)


@pytest.mark.filterwarnings("ignore:module 'sre_(constants|parse)' is deprecated:DeprecationWarning")
@pytest.mark.parametrize("days", [("", ""), ("2026-05-01", "20260501T10:00:00Z")], ids=["no arrivals", "one day in two forms"])
def test_what_cannot_be_compared_has_not_passed(tmp_path: Path, days: tuple[str, str]) -> None:
    check = validated(tmp_path, GERMAN, {}, days)["language_shares"]
    assert (check["outcome"], check["unexpected"]) == ("not_judged", [])
    assert str(check["observed"]).startswith("nothing to compare: that takes 30 texts that came later than 30 others")
    page = next(tmp_path.rglob("data_docs/index.html")).read_text()
    assert ">Not judged</td>" in page
    assert "Every check passed." not in page
