"""Joins labelled feedback with the request log: which of the inputs that the endpoint saw can be learnt from."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core.errors import Finding
from pipelines.core.label_sets import LabelsPerSample
from pipelines.dataset import DEFAULT_DOMAIN
from pipelines.label_rows import read_label


@dataclass(frozen=True)
class NewSample:
    """A sample that is not in the data yet.

    Attributes:
        sha256: Of the file's bytes.
        label: As a person gave it; a set of labels in its one form.
        domain: Where it came from.
        arrival: ISO 8601 date, or empty.
        group, split: As in the labels table; empty where nobody said.
        slices: Name and cell of further columns of the labels table, where somebody said.
    """

    sha256: str
    label: str
    domain: str = DEFAULT_DOMAIN
    arrival: str = ""
    group: str = ""
    split: str = ""
    slices: tuple[tuple[str, str], ...] = ()


def labelled_samples(
    requests: Iterable[Mapping[str, Any]],
    feedback: Iterable[Mapping[str, Any]],
    labels: Sequence[str],
    labels_per_sample: LabelsPerSample = "one",
) -> tuple[list[NewSample], list[Finding]]:
    """The requests that somebody has labelled.

    Where a request got feedback more than once, the latest counts. Requests with the same raw bytes make one sample; if people have
    labelled them differently they make none.

    Args:
        requests: Lines of the request log: `request_id`, `time`, `domain`, `raw_sha256` (None: the raw bytes were not kept).
        feedback: Lines of the feedback log: `request_id`, `label`, `time`; times are ISO 8601.
        labels: The project's.
        labels_per_sample: The project's; with `many` a label is the text of a set, which may be in the order of a bundle before.

    Returns:
        The samples, in the order of the requests, and what could not be used.
    """
    read = {name: read_label(text, labels, labels_per_sample) for name, text in _latest(feedback).items()}
    latest = {name: label for name, (label, _) in read.items()}
    # Only what has a label is kept in memory: a request log may hold millions of lines.
    answered = {str(request["request_id"]): _essentials(request) for request in requests if str(request["request_id"]) in latest}
    findings = [Finding(_request(name), "got feedback, but is not in the request log") for name in sorted(latest.keys() - answered.keys())]
    same_bytes: dict[str, list[str]] = defaultdict(list)
    for name, request in answered.items():
        problem = read[name][1] or _problem(request)
        if problem:
            findings.append(Finding(_request(name), problem))
        else:
            same_bytes[request["raw_sha256"]].append(name)
    samples: list[NewSample] = []
    for sha256, names in same_bytes.items():
        if len({latest[name] for name in names}) == 1:
            samples.append(_new_sample(sha256, answered[names[0]], latest[names[0]]))
        else:
            findings += [
                Finding(_request(name), f"labelled {latest[name]!r}, other requests with the same bytes otherwise") for name in names
            ]
    return samples, findings


def _essentials(request: Mapping[str, Any]) -> dict[str, Any]:
    return {field: request[field] for field in ("time", "domain", "raw_sha256")}


def _latest(feedback: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    # A stable sort: of two answers with the same time the one further down in the log counts.
    ordered = sorted(feedback, key=lambda line: _seconds(line["time"]))
    return {str(line["request_id"]): str(line["label"]) for line in ordered}


def _seconds(time: str) -> float:
    moment = datetime.datetime.fromisoformat(time)
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _problem(request: Mapping[str, Any]) -> str:
    return "" if request["raw_sha256"] else "its raw bytes were not kept (serving.sample_raw_frac in the conf file)"


def _new_sample(sha256: str, request: Mapping[str, Any], label: str) -> NewSample:
    arrival = datetime.datetime.fromisoformat(request["time"]).date().isoformat()
    return NewSample(sha256, label, request["domain"] or DEFAULT_DOMAIN, arrival)


def _request(name: str) -> str:
    return f"request {name}"
