"""What labels are worth by how they were picked: accuracy after learning from N of them. Needs ../shared.

    python -m benchmarks.label_queue [speed]

A classifier that knows MNIST digits meets traffic; N of its requests get a label, and the classifier's head (a logistic regression on the
backbone's features, as in `benchmarks.real_digits`) is fitted again on the 2,000 old labels and the N new ones. Picked are: all at
random; the most uncertain; the queue's choice; the queue's choice with a fifth drawn at random, as `regraft labels next` does it; and
k-center greedy, for comparison. Traffic is USPS (another domain) alone, a mixture in which 1 request of 5 is USPS, or USPS in bursts of
ten frames that differ by a slight turn and noise. Each seed draws 4,000 requests anew and what is random in the picks; accuracy is on
USPS's own test part and on 1,500 MNIST digits that are in no traffic.
Speed and memory: the reader of the queue on a log of a million lines.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import write_results
from benchmarks.real_digits import N_TRAINING, RealDigits, _png, _read, jittered
from pipelines.label_choice import choose, uncertainty

COMMAND = "python -m benchmarks.label_queue"
N_SEEDS, N_REQUESTS, N_OWN_TEST = 8, 4_000, 1_500
BUDGETS = (100, 400)
N_SCENES, N_FRAMES = 1_200, 10
RANDOM_FRAC, POOL = 0.2, 20
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Inputs:
    """n inputs: features [n, f], embeddings [n, e], probabilities [n, 10], true labels [n]."""

    features: Floats
    embeddings: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    labels: Ints

    def rows(self, places: Ints) -> Inputs:
        return Inputs(self.features[places], self.embeddings[places], self.probabilities[places], self.labels[places])

    @staticmethod
    def joined(first: Inputs, second: Inputs) -> Inputs:
        names = ("features", "embeddings", "probabilities", "labels")
        return Inputs(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))


class Digits(RealDigits):
    """The classifier with the features that it sees."""

    def inputs(self, pngs: list[bytes], labels: Ints) -> Inputs:
        features = self._features(pngs)
        answers = self.answer(pngs, labels)
        return Inputs(self._standard(features), answers.embeddings.astype(np.float32), answers.probabilities.astype(np.float32), labels)

    @property
    def learnt(self) -> Inputs:
        return self.inputs(self._pngs[:N_TRAINING], self._labels[:N_TRAINING])

    @property
    def own_inputs(self) -> Inputs:
        return self.inputs([self._pngs[place] for place in self.places], self._labels[self.places])


Pick = Callable[[Inputs, int, np.random.Generator], Ints]


def at_random(traffic: Inputs, n: int, rng: np.random.Generator) -> Ints:
    return rng.permutation(len(traffic.labels))[:n]


def most_uncertain(traffic: Inputs, n: int, rng: np.random.Generator) -> Ints:
    scores = np.array([uncertainty(row, "one") for row in traffic.probabilities.tolist()])
    return np.argsort(-scores, kind="stable")[:n]


def chosen(traffic: Inputs, n: int, rng: np.random.Generator) -> Ints:
    pool = most_uncertain(traffic, POOL * n, rng)
    return pool[choose(traffic.probabilities[pool], traffic.embeddings[pool], n, "one", rng)]


def queue(traffic: Inputs, n: int, rng: np.random.Generator) -> Ints:
    is_random_part = rng.random(len(traffic.labels)) < RANDOM_FRAC
    n_drawn = round(RANDOM_FRAC * n)
    rest = np.flatnonzero(~is_random_part)
    return np.concatenate([np.flatnonzero(is_random_part)[:n_drawn], rest[chosen(traffic.rows(rest), n - n_drawn, rng)]])


def k_center(traffic: Inputs, n: int, rng: np.random.Generator) -> Ints:
    points = traffic.embeddings.astype(np.float64)
    places = [int(rng.integers(len(points)))]
    nearest = np.full(len(points), np.inf)
    for _ in range(n - 1):
        nearest = np.minimum(nearest, ((points - points[places[-1]]) ** 2).sum(axis=1))
        places.append(int(nearest.argmax()))
    return np.asarray(places)


PICKS: dict[str, Pick] = {"random": at_random, "uncertain": most_uncertain, "chosen": chosen, "queue": queue, "k_center": k_center}


def accuracy_rows() -> list[dict[str, object]]:
    digits = Digits()
    learnt, own = digits.learnt, digits.own_inputs
    images, labels = _read("usps", ("train",))
    other = digits.inputs([_png(image) for image in images], labels)
    images, labels = _read("usps", ("test",))
    tests = {"usps": digits.inputs([_png(image) for image in images], labels), "mnist": own.rows(np.arange(N_OWN_TEST))}
    own_traffic = own.rows(np.arange(N_OWN_TEST, len(own.labels)))
    rows: list[dict[str, object]] = [_row("none", "none", 0, 0, _fitted(learnt), tests)]
    frames = _frames(digits)
    draws: dict[str, Callable[[np.random.Generator], Inputs]] = {
        "usps": lambda rng: other.rows(rng.permutation(len(other.labels))[:N_REQUESTS]),
        "mixed": lambda rng: _mixed(own_traffic, other, rng),
        "bursts": lambda rng: frames.rows(_of_scenes(rng.permutation(N_SCENES)[: N_REQUESTS // N_FRAMES])),
    }
    for name, draw in draws.items():
        for seed in range(N_SEEDS):
            traffic = draw(np.random.default_rng([seed, 1]))
            for pick_name, pick in PICKS.items():
                for n in BUDGETS:
                    new = traffic.rows(pick(traffic, n, np.random.default_rng([seed, 2])))
                    rows.append(_row(name, pick_name, n, seed, _fitted(Inputs.joined(learnt, new)), tests))
            print(name, seed, flush=True)
    return rows


def _mixed(own: Inputs, other: Inputs, rng: np.random.Generator) -> Inputs:
    n_other = N_REQUESTS // 5
    some, rest = other.rows(rng.permutation(len(other.labels))[:n_other]), own.rows(rng.permutation(len(own.labels)))
    joined = Inputs.joined(some, rest.rows(np.arange(min(N_REQUESTS - n_other, len(rest.labels)))))
    return joined.rows(rng.permutation(len(joined.labels)))


def _frames(digits: Digits) -> Inputs:
    """Each scene's frames one after the other."""
    images, labels = _read("usps", ("train",))
    rng = np.random.default_rng(0)
    scenes = rng.permutation(len(images))[:N_SCENES]
    pngs = [jittered(_png(images[scene]), rng) for scene in scenes for _ in range(N_FRAMES)]
    return digits.inputs(pngs, np.repeat(labels[scenes], N_FRAMES))


def _of_scenes(scenes: Ints) -> Ints:
    return (scenes[:, None] * N_FRAMES + np.arange(N_FRAMES)).ravel()


def _fitted(inputs: Inputs) -> Callable[[Floats], Ints]:
    from sklearn.linear_model import LogisticRegression

    fitted: Callable[[Floats], Ints] = LogisticRegression(C=0.01, max_iter=2_000).fit(inputs.features, inputs.labels).predict
    return fitted


def _row(traffic: str, pick: str, n: int, seed: int, predict: Callable[[Floats], Ints], tests: dict[str, Inputs]) -> dict[str, object]:
    accuracies = {f"accuracy_{name}": round(float((predict(test.features) == test.labels).mean()), 4) for name, test in tests.items()}
    return {"traffic": traffic, "pick": pick, "n_labels": n, "seed": seed, **accuracies}


def summary_rows(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Mean over seeds, and the mean difference to picking at random with the same seed, with its standard error."""
    found: list[dict[str, object]] = []
    for traffic in dict.fromkeys(str(row["traffic"]) for row in rows):
        for pick in dict.fromkeys(str(row["pick"]) for row in rows if row["traffic"] == traffic):
            for n in dict.fromkeys(row["n_labels"] for row in rows if row["traffic"] == traffic):
                own, base = (_accuracies(rows, traffic, name, n) for name in (pick, "random" if traffic != "none" else "none"))
                gain = own - base
                found.append(
                    {"traffic": traffic, "pick": pick, "n_labels": n, "n_seeds": len(own)}
                    | {"accuracy_usps": round(float(own[:, 0].mean()), 4), "accuracy_mnist": round(float(own[:, 1].mean()), 4)}
                    | {"gain_usps": round(float(gain[:, 0].mean()), 4)}
                    | {"gain_usps_error": round(float(gain[:, 0].std(ddof=1) / np.sqrt(len(gain))), 4) if len(gain) > 1 else ""}
                )
    return found


def _accuracies(rows: list[dict[str, object]], traffic: str, pick: str, n: object) -> Floats:
    wanted = [row for row in rows if (row["traffic"], row["pick"], row["n_labels"]) == (traffic, pick, n)]
    return np.array([[row["accuracy_usps"], row["accuracy_mnist"]] for row in wanted], dtype=np.float64)


def speed_rows(n_lines: tuple[int, ...] = (100_000, 1_000_000)) -> list[dict[str, object]]:
    """Seconds and memory of one read of the queue, each in a process of its own."""
    import subprocess

    rows: list[dict[str, object]] = []
    for n in n_lines:
        with tempfile.TemporaryDirectory() as folder:
            _write_log(Path(folder), n)
            script = f"from benchmarks.label_queue import read_once; read_once({folder!r})"
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
            rows.append({"n_lines": n, **json.loads(done.stdout)})
    return rows


def read_once(folder: str) -> None:
    """Reads the log in `folder` and picks 100; prints seconds and megabytes."""
    from pipelines.label_queue import QueueRule, read_queue

    before_kib = _peak_kib()
    start = time.perf_counter()
    rule = QueueRule("a" * 16, 10, "one", n_drawn=20, n_uncertain=POOL * 80)
    found = read_queue(Path(folder) / "log", Path(folder) / "raw", rule)
    read_seconds = time.perf_counter() - start
    rows = found.uncertain
    embeddings, probabilities = np.stack([row.embedding for row in rows]), np.stack([row.probabilities for row in rows])
    choose(probabilities, embeddings, 80, "one", np.random.default_rng(0))
    choose_seconds = time.perf_counter() - start - read_seconds
    more_mib = (_peak_kib() - before_kib) / 1024
    print(
        json.dumps(
            {"n_waiting": found.n_waiting, "read_seconds": round(read_seconds, 2), "choose_seconds": round(choose_seconds, 3)}
            | {"added_memory_mib": round(more_mib, 1)}
        )
    )


def _peak_kib() -> int:
    # Of this program alone; getrusage's also counts what the process was before it became this program.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _write_log(folder: Path, n: int) -> None:
    """Requests of which each tenth kept its raw bytes, as `serving.sample_raw_frac: 0.1` would."""
    rng = np.random.default_rng(0)
    (folder / "log" / "requests").mkdir(parents=True)
    (folder / "raw").mkdir()
    with (folder / "log" / "requests" / "2026-11-21.jsonl").open("w") as file:
        for number in range(n):
            chances = rng.dirichlet(np.full(10, 0.2)).round(6).tolist()
            name = f"{int(rng.integers(2**62)):016x}" + f"{number:048x}"
            if number % 10 == 0:
                (folder / "raw" / name).touch()
            line: dict[str, object] = {"request_id": f"{number:032x}", "time": "2026-11-21T09:30:00.123456Z", "bundle": "a" * 16}
            line |= {"label": "3", "probabilities": chances, "embedding": rng.normal(size=32).round(4).tolist(), "domain": "default"}
            line |= {"statistics": rng.normal(size=6).round(4).tolist(), "raw_sha256": name if number % 10 == 0 else None}
            file.write(json.dumps(line) + "\n")


def main() -> None:
    if sys.argv[1:] != ["speed"]:
        rows = accuracy_rows()
        write_results("label_queue", COMMAND, rows, {"requests": N_REQUESTS, "random_frac": RANDOM_FRAC, "pool_per_label": POOL})
        write_results("label_queue_summary", COMMAND, summary_rows(rows), {"gain": "mean over seeds of the difference to `random`"})
    write_results("label_queue_speed", COMMAND, speed_rows(), {"raw_inputs_kept": "1 of 10"})


if __name__ == "__main__":
    main()
