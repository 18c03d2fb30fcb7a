"""Years of hourly windows through the real trigger policy: what is started, missed, and started without need.

Run: `python -m benchmarks.trigger_year`. Writes results/trigger_year.csv, one row for each scenario and seed, with a .json beside it.

Real: the digits' images, two trained classifiers, the alarm budget (`alarm_budget.allowance`), how a level is divided (Holm in each of
three families), what drift costs (`quality`, `judge_harm`), data quality, and the policy with its default settings. Cheaper than the real
thing, so that a year takes seconds: the embedding is tested by Kolmogorov-Smirnov on each of its 16 columns, all p-values are asymptotic,
what a lasting drift costs is asked anew every six hours only, and the out-of-distribution signal, the test of the error rate and the gates
are left out. A retraining learns the new domain where at least 50 labels of it have come in; otherwise its candidate is refused.

Labels come for 3 requests an hour. A retraining is *useful* where the traffic costs 5 points of accuracy or more at its start and its
candidate learns the domain; *too early* where it costs that much and the labels so far are of the old domain; else *unneeded*.
A shift is *missed* if it ends, or the year does, before a useful retraining.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from benchmarks.digits_traffic import Answers, DigitsTraffic, Pixels, as_reference, as_window, shifted_right
from benchmarks.machine import write_results
from monitoring.alarm_budget import INPUT_SHARE, Spending, allowance
from monitoring.data_quality import QualityLimits, judge_data_quality
from monitoring.harm import HarmName, judge_harm
from monitoring.policy import decide
from monitoring.quality import MOST_LABELS, LabelledStretch, labelled_loss, quality
from monitoring.reference import Reference
from monitoring.signals.multiplicity import holm_cutoff
from monitoring.signals.run import N_FAMILIES
from monitoring.trigger.conditions import BACK_OFF, DRIFT_ENDS_AFTER
from monitoring.trigger.situation import Situation, Start
from monitoring.window import Window
from pipelines.config import MonitorSection, TriggerSection

HOURS_A_YEAR = 8_760
N_WINDOW, N_REFERENCE, N_OLD_DATA = 200, 500, 1_500
LABELS_AN_HOUR = 3
LABELS_TO_LEARN = 50
TRAINING_MINUTES = 10  # until a broken one fails
N_QUIET_YEARS, N_YEARS = 20, 5
START = datetime(2026, 1, 1, tzinfo=UTC)
HARM_EVERY_HOURS = 6
MONITOR, TRIGGER = MonitorSection(), TriggerSection()
TWO_A_WEEK = TriggerSection(max_retrainings_per_week=2)
HARMFUL = MONITOR.harmful_loss_frac


@dataclass(frozen=True)
class Scenario:
    """A year's traffic: the share of the new domain in an hour, whether the camera or the training is broken, and when labels come.

    Attributes:
        trigger: The policy's settings.
        ends: Hours at which a shift ends; the year's end for one that stays.
    """

    name: str
    new_share: Callable[[int], float]
    is_broken: Callable[[int], bool] = lambda hour: False
    is_training_broken: Callable[[int], bool] = lambda hour: False
    label_delay_hours: int = 24
    trigger: TriggerSection = TRIGGER
    ends: tuple[int, ...] = ()


def scenarios(n_hours: int = HOURS_A_YEAR) -> tuple[Scenario, ...]:
    """All of them; with fewer hours than a year everything happens as much earlier."""
    unit = n_hours / HOURS_A_YEAR
    onset, week = int(2_000 * unit), max(48, int(168 * unit))
    ramp = max(1, int(3_000 * unit))
    cycle = 4 * week
    turns = tuple(onset + turn * cycle + week for turn in range((n_hours - onset) // cycle))
    return (
        Scenario("no shift", lambda hour: 0.0),
        Scenario("sudden", lambda hour: float(hour >= onset), ends=(n_hours,)),
        Scenario("sudden, two a week", lambda hour: float(hour >= onset), trigger=TWO_A_WEEK, ends=(n_hours,)),
        Scenario("gradual", lambda hour: min(1.0, max(0.0, (hour - onset) / ramp)), ends=(n_hours,)),
        Scenario("recurring", lambda hour: float(hour >= onset and (hour - onset) % cycle < week), ends=turns),
        Scenario("labels two weeks late", lambda hour: float(hour >= onset), label_delay_hours=max(48, int(336 * unit)), ends=(n_hours,)),
        Scenario("broken camera for three days", lambda hour: 0.0, lambda hour: onset <= hour < onset + 72),
    )


@dataclass(frozen=True, eq=False)
class Model:
    """One classifier's answers for all images of each domain, with what the tests need of them.

    Attributes:
        answers: By domain.
        ranks: int64 [old + new images, c], dense ranks of each tested number.
        n_ranks: Of the column with the most.
        accuracy: By domain.
    """

    answers: dict[str, Answers]
    ranks: NDArray[np.int64]
    n_ranks: int
    accuracy: dict[str, float]


class Digits:
    """Images of the old and of the new domain, of a broken camera, and a classifier that knows the old one and one that knows both."""

    def __init__(self) -> None:
        traffic = DigitsTraffic()
        pixels, labels = traffic._pixels, traffic._labels
        rng = np.random.default_rng(0)
        self.pixels = {"old": pixels, "new": shifted_right(pixels, rng), "broken": np.abs(rng.normal(0, 0.15, pixels.shape))}
        self.labels = labels
        self.models = {"old": self._model(traffic, both=False), "both": self._model(traffic, both=True)}
        self._window = as_window(self.models["old"].answers["old"].rows(np.arange(N_WINDOW)))

    def window_of(self, answers: Answers) -> Window:
        """Without labels; request ids and times, which do not matter here, are always the same."""
        return replace(
            self._window,
            predicted_indices=answers.probabilities.argmax(axis=1).astype(np.int64),
            embeddings=answers.embeddings,
            probabilities=answers.probabilities,
            statistics=answers.statistics,
        )

    def _model(self, traffic: DigitsTraffic, *, both: bool) -> Model:
        traffic = _refitted(traffic, both=both)
        answers = {name: traffic.answer(pixels, self.labels) for name, pixels in self.pixels.items()}
        numbers = np.concatenate([_numbers(answers[name]) for name in ("old", "new")])
        ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in numbers.T], axis=1).astype(np.int64)
        right = {name: float((item.probabilities.argmax(axis=1) == item.true_indices).mean()) for name, item in answers.items()}
        return Model(answers, ranks, int(ranks.max()) + 1, right)


def _refitted(traffic: DigitsTraffic, *, both: bool) -> DigitsTraffic:
    """A stronger classifier than the traffic's own: one that can know both domains well."""
    from sklearn.datasets import load_digits
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from benchmarks.digits_traffic import N_TRAINING

    pixels, labels = load_digits(return_X_y=True)
    training = np.random.default_rng(0).permutation(len(pixels))[:N_TRAINING]
    images: list[Pixels] = [pixels[training]]
    if both:
        images.append(shifted_right(pixels[training], np.random.default_rng(0)))
    kernel = Nystroem(gamma=0.0008, n_components=400, random_state=0)
    classifier = make_pipeline(kernel, LogisticRegression(C=30, max_iter=5_000))
    features = traffic._components.transform(np.concatenate(images))
    wiser = object.__new__(DigitsTraffic)
    wiser.__dict__ = traffic.__dict__ | {"_classifier": classifier.fit(features, np.tile(labels[training], len(images)))}
    return wiser


def _numbers(answers: Answers) -> NDArray[np.float64]:
    """[b, 23]: 16 of the embedding, the confidence, 6 statistics."""
    return np.column_stack([answers.embeddings, answers.probabilities.max(axis=1), answers.statistics])


_FAMILIES = (slice(0, 16), slice(16, 17), slice(17, 23))


@dataclass(frozen=True, eq=False)
class Champion:
    """The model in production with its reference.

    Attributes:
        new_share: Of the reference's samples.
        steps: [c, n_ranks], the reference's distribution functions.
    """

    model: Model
    new_share: float
    reference: Reference
    limits: QualityLimits
    steps: NDArray[np.float64]

    @classmethod
    def drawn(cls, model: Model, new_share: float, rng: np.random.Generator) -> Champion:
        places = draw_places(model, N_REFERENCE, new_share, rng)
        answers = _rows(model, places)
        reference = as_reference(answers)
        return cls(model, new_share, reference, QualityLimits.of(reference), _distribution(model, places))

    def loss(self, new_share: float) -> float:
        """Accuracy that traffic with this share of the new domain costs, against the reference."""
        old, new = self.model.accuracy["old"], self.model.accuracy["new"]
        return (self.new_share - new_share) * (new - old)


def draw_places(model: Model, n: int, new_share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places among the old images, then the new ones, with replacement: reference and window are of one distribution."""
    n_images = len(model.answers["old"].true_indices)
    return rng.integers(0, n_images, n) + n_images * (rng.random(n) < new_share)


def _rows(model: Model, places: NDArray[np.int64]) -> Answers:
    old, new = model.answers["old"], model.answers["new"]
    n_images = len(old.true_indices)
    is_new, place = places >= n_images, places % n_images

    def chosen(name: str) -> Any:
        first, second = getattr(old, name)[place], getattr(new, name)[place]
        return np.where(is_new.reshape(-1, *[1] * (first.ndim - 1)), second, first)

    return Answers(chosen("embeddings"), chosen("probabilities"), chosen("statistics"), chosen("true_indices"))


def _distribution(model: Model, places: NDArray[np.int64]) -> NDArray[np.float64]:
    ranks = model.ranks[places]
    n_columns = ranks.shape[1]
    flat = (ranks + np.arange(n_columns) * model.n_ranks).ravel()
    counts = np.bincount(flat, minlength=n_columns * model.n_ranks).reshape(n_columns, model.n_ranks)
    return np.asarray(np.cumsum(counts, axis=1) / len(places))


def is_drifted(champion: Champion, places: NDArray[np.int64], level: float) -> bool:
    """Kolmogorov-Smirnov tests, a third of the level for each family, Holm within it."""
    distances = np.abs(_distribution(champion.model, places) - champion.steps).max(axis=1)
    scale = np.sqrt(N_WINDOW * N_REFERENCE / (N_WINDOW + N_REFERENCE))
    p_values = kolmogorov(scale * distances)
    return any((p_values[family] <= holm_cutoff(p_values[family].tolist(), level / N_FAMILIES)).any() for family in _FAMILIES)


@dataclass
class Year:
    """What is counted, and the state between hours."""

    scenario: str
    seed: int
    n_windows: int = 0
    n_judged: int = 0
    alarms: int = 0
    false_alarms: int = 0
    alarms_allowed: float = 0.0
    data_quality_alarms: int = 0
    hours_of_broken_camera: int = 0
    started_while_broken: int = 0
    hours_asking_for_labels: int = 0
    retrainings: int = 0
    failed: int = 0
    useful: int = 0
    too_early: int = 0
    unneeded: int = 0
    shifts: int = 0
    missed: int = 0
    hours_to_useful: list[int] = field(default_factory=list)

    def as_row(self) -> dict[str, object]:
        """One line of the results."""
        # No training fails in the years that are written down.
        return {name: value for name, value in asdict(self).items() if name != "failed"} | {
            "alarms_allowed": round(self.alarms_allowed, 4),
            "hours_to_useful": " ".join(map(str, self.hours_to_useful)),
        }


@dataclass
class Labels:
    """Labels by the hour in which they are delivered, [hours, 2]: of the old and of the new domain; and how many answers they confirm."""

    by_hour: NDArray[np.int64]
    right_by_hour: NDArray[np.int64]
    delay_hours: int
    n_learned: int = 0
    n_new_domain: int = 0
    n_delivered: int = 0

    def pass_hour(self, hour: int, new_share: float, model: Model, rng: np.random.Generator) -> None:
        """Asks for the labels of this hour's requests, and takes those that come in."""
        n_new = int(rng.binomial(LABELS_AN_HOUR, new_share))
        n_old = LABELS_AN_HOUR - n_new
        self.by_hour[hour + self.delay_hours] += (n_old, n_new)
        self.right_by_hour[hour] = rng.binomial(n_old, model.accuracy["old"]) + rng.binomial(n_new, model.accuracy["new"])
        self.n_delivered += int(self.by_hour[hour].sum())
        self.n_new_domain += int(self.by_hour[hour, 1])

    def n_of_requests_since(self, first_hour: int, hour: int) -> int:
        """Labels that have come in of requests from an hour on."""
        return LABELS_AN_HOUR * max(0, hour - self.delay_hours + 1 - first_hour)

    def since(self, first_hour: int, hour: int, reference: Reference) -> LabelledStretch | None:
        """As `quality.labelled_since`, of the requests from an hour on whose labels have come in."""
        right = self.right_by_hour[first_hour : max(first_hour, hour - self.delay_hours + 1)][-MOST_LABELS // LABELS_AN_HOUR :]
        if not len(right):
            return None
        n_labelled = len(right) * LABELS_AN_HOUR
        loss = labelled_loss(int(right.sum()), n_labelled, int(reference.correct.sum()), reference.n_samples)
        return LabelledStretch(n_labelled=n_labelled, loss=loss)


def simulate(digits: Digits, scenario: Scenario, seed: int, n_hours: int = HOURS_A_YEAR) -> Year:
    """One year, hour by hour."""
    rng = np.random.default_rng([seed, len(scenario.name)])
    champion = Champion.drawn(digits.models["old"], 0.0, rng)
    year = Year(scenario.name, seed, shifts=len(scenario.ends))
    n_with_delay = n_hours + scenario.label_delay_hours + 1
    labels = Labels(np.zeros((n_with_delay, 2), dtype=np.int64), np.zeros(n_with_delay, dtype=np.int64), scenario.label_delay_hours)
    last: Spending | None = None
    starts, refused, useful_at = list[Start](), set[str](), list[int]()
    asked_at, harm = -HARM_EVERY_HOURS, None
    drift_since, drifted_at = 0, -n_hours
    for hour in range(n_hours):
        now, new_share, broken = START + timedelta(hours=hour), scenario.new_share(hour), scenario.is_broken(hour)
        labels.pass_hour(hour, new_share, champion.model, rng)
        allowed = allowance(last, now, MONITOR.false_alarms_per_year * INPUT_SHARE)
        if allowed.level > 0:
            last = Spending(judged_at=now, bundle="b", window_id=str(hour), level=allowed.level, balance=allowed.balance)
        window, drifted = _look(digits, champion, new_share, broken, allowed.level, rng)
        found = judge_data_quality(window, champion.limits)
        _count(year, champion, new_share, broken, drifted, allowed.level, found.alarm)
        if drifted:
            drift_since = hour if timedelta(hours=hour - drifted_at) > DRIFT_ENDS_AFTER else drift_since
            drifted_at = hour
        if drifted and not found.alarm and hour - asked_at >= HARM_EVERY_HOURS:
            asked_at, harm = hour, _harm(window, champion, labels.since(drift_since, hour, champion.reference))
        n_drift_labels = labels.n_of_requests_since(drift_since, hour) if drifted else None
        situation = Situation(
            now=now,
            verdict="insufficient_data" if allowed.level == 0 else "drift" if drifted else "ok",
            harm=harm if drifted else None,
            data_quality_problem=found.reason if found.alarm else None,
            n_new_labels=labels.n_delivered - labels.n_learned,
            n_drift_labels=n_drift_labels,
            starts=tuple(start for start in starts if now - start.at < BACK_OFF),
            refused_digests=frozenset(refused),
            data_digest=str(labels.n_delivered),
        )
        decision = decide(situation, scenario.trigger)
        year.hours_asking_for_labels += decision.action == "ask_for_labels"
        if decision.action == "retrain" and scenario.is_training_broken(hour):
            starts.append(Start(now, ended=False, failed_at=now + timedelta(minutes=TRAINING_MINUTES)))
            year.failed += 1
        elif decision.action == "retrain":
            starts.append(Start(now))
            year.started_while_broken += broken
            learned = _retrain(year, champion, labels, new_share, digits, rng)
            if learned is None:
                refused.add(str(labels.n_delivered))
            else:
                useful_at += [hour] if champion.loss(new_share) >= HARMFUL else []
                champion, asked_at, drifted_at = learned, -HARM_EVERY_HOURS, -n_hours
    _count_missed(year, scenario, useful_at, n_hours)
    return year


def _retrain(year: Year, champion: Champion, labels: Labels, new_share: float, digits: Digits, rng: np.random.Generator) -> Champion | None:
    """The next champion; None where the candidate has not learned the new domain, and is refused."""
    learns = labels.n_new_domain >= LABELS_TO_LEARN
    year.retrainings += 1
    if champion.loss(new_share) < HARMFUL:
        year.unneeded += 1
    elif learns:
        year.useful += 1
    else:
        year.too_early += 1
    labels.n_learned = labels.n_delivered
    share = labels.n_new_domain / (N_OLD_DATA + labels.n_delivered)
    return Champion.drawn(digits.models["both"], share, rng) if learns else None


def _look(
    digits: Digits, champion: Champion, new_share: float, broken: bool, level: float, rng: np.random.Generator
) -> tuple[Window, bool]:
    """An hour's window, and whether it is drifted."""
    model = champion.model
    if broken:
        answers = model.answers["broken"].rows(rng.integers(0, len(digits.labels), N_WINDOW))
        return digits.window_of(answers), level > 0
    places = draw_places(model, N_WINDOW, new_share, rng)
    return digits.window_of(_rows(model, places)), level > 0 and is_drifted(champion, places, level)


def _harm(window: Window, champion: Champion, labelled: LabelledStretch | None) -> HarmName:
    return judge_harm(quality(window, champion.reference, 0.25, MONITOR.seed), (), HARMFUL, labelled).harm


def _count(year: Year, champion: Champion, new_share: float, broken: bool, drifted: bool, level: float, alarm: bool) -> None:
    year.n_windows += 1
    year.n_judged += level > 0
    year.alarms += drifted and not broken
    year.hours_of_broken_camera += broken
    year.data_quality_alarms += alarm
    if new_share == champion.new_share and not broken:  # traffic of the reference's own distribution
        year.false_alarms += drifted
        year.alarms_allowed += level


def _count_missed(year: Year, scenario: Scenario, useful_at: Sequence[int], n_hours: int) -> None:
    """A shift that a retraining for an earlier one has already taught is not missed."""
    begin = next((hour for hour in range(n_hours) if scenario.new_share(hour) > 0), n_hours)
    for end in scenario.ends:
        before = [hour for hour in useful_at if hour < end]
        year.missed += not before
    if useful_at:
        year.hours_to_useful.append(useful_at[0] - begin)


def main() -> None:
    digits, rows = Digits(), list[dict[str, object]]()
    about = {"window": N_WINDOW, "reference": N_REFERENCE, "labels_an_hour": LABELS_AN_HOUR, "trigger": TRIGGER.model_dump()}
    for seed in range(max(N_QUIET_YEARS, N_YEARS)):
        for scenario in scenarios():
            if seed >= (N_YEARS if scenario.ends else N_QUIET_YEARS):
                continue
            rows.append(simulate(digits, scenario, seed).as_row())
            print(rows[-1], file=sys.stderr, flush=True)
        write_results("trigger_year", "python -m benchmarks.trigger_year", in_order(rows), about)


def in_order(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """The years of a scenario together."""
    names = [scenario.name for scenario in scenarios()]
    return sorted(rows, key=lambda row: names.index(str(row["scenario"])))


if __name__ == "__main__":
    main()
