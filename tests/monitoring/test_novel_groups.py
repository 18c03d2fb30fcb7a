from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.digits_traffic import DigitsTraffic, as_reference, as_window, inverted
from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.novel_groups import N_SHIFTED, describe_novelty
from monitoring.report_header import header_html
from monitoring.signals.run import Strictness
from pipelines.config import MonitorSection
from pipelines.excerpts import Excerpt

STRICT = Strictness(0.01, 0)


def with_new_class(digits: DigitsTraffic, n_new: int, n_window: int = 300, seed: int = 0):
    """Digits as before, and a tight cloud that the reference has nothing of."""
    window, reference = digits.draw(seed, n_window)
    rng = np.random.default_rng(seed)
    embeddings = window.embeddings.copy()
    direction = np.zeros(embeddings.shape[1])
    direction[-1] = 8 * embeddings.std()
    embeddings[:n_new] = (
        reference.embeddings.mean(axis=0) + direction + 0.3 * embeddings.std() * rng.normal(size=(n_new, embeddings.shape[1]))
    )
    return replace(window, embeddings=embeddings), reference


def test_a_new_class_is_one_group(digits: DigitsTraffic) -> None:
    window, reference = with_new_class(digits, 40)
    novelty = describe_novelty(window, reference, STRICT)
    assert len(novelty.groups) == 1
    group = novelty.groups[0]
    assert 30 <= group.n_requests <= 45
    assert group.distance > 1.5
    planted = set(window.request_ids[:40])
    assert {request.request_id for request in group.examples} <= planted
    assert {request.request_id for request in novelty.most_shifted} <= planted
    distances = [request.distance for request in novelty.most_shifted]
    assert distances == sorted(distances, reverse=True)


def test_unchanged_traffic_has_no_group(digits: DigitsTraffic) -> None:
    n_groups = [len(describe_novelty(*digits.draw(seed, 300), STRICT).groups) for seed in range(10)]
    assert sum(n_groups) <= 2


def test_a_new_digit_forms_groups_in_real_embeddings(digits: DigitsTraffic) -> None:
    """The reference has no 0; a third of the window has."""
    answers = digits.answer(digits._pixels, digits._labels)
    known, zeros = np.flatnonzero(answers.true_indices != 0), np.flatnonzero(answers.true_indices == 0)
    reference = as_reference(answers.rows(known[:600]))
    window = as_window(answers.rows(np.concatenate([known[600:800], zeros[:100]])))
    novelty = describe_novelty(window, reference, STRICT)
    shifted = [int(request.request_id[1:]) >= 200 for request in novelty.most_shifted]
    assert np.mean(shifted) > 0.8
    members = [int(request.request_id[1:]) >= 200 for group in novelty.groups for request in group.examples]
    assert members
    assert np.mean(members) > 0.8


def test_few_requests_and_constants_have_no_group(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 8)
    novelty = describe_novelty(window, reference, STRICT)
    assert len(novelty.most_shifted) == min(8, N_SHIFTED)
    assert novelty.groups == ()


def test_excerpts_are_shown_and_everything_of_clients_is_escaped(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 150, change=inverted)
    window = replace(window, raw_names=tuple("a" * 64 if place % 2 else None for place in range(150)), domains=('"><script>x',) * 150)
    verdict = judge_window(window, reference, MonitorSection(), Allowance(0.01, 0.0))
    assert verdict.novelty is not None
    page = header_html(verdict, {"a" * 64: Excerpt(picture="data:image/png;base64,AAAA")})
    n_kept = sum(request.raw_sha256 is not None for request in verdict.novelty.most_shifted)
    assert n_kept > 0
    assert page.count('<img src="data:image/png;base64,AAAA"') >= n_kept
    assert "<script>" not in page
    assert "<img" not in header_html(verdict)
    texts = header_html(verdict, {"a" * 64: Excerpt(text="<script>alert(1)</script> \u202egnirts")})
    assert texts.count("<bdi>&lt;script&gt;alert(1)&lt;/script&gt; \u202egnirts</bdi>") >= n_kept
    assert "<script>" not in texts
    assert "<img" not in texts


@pytest.mark.parametrize("change", [None, inverted])
def test_only_drift_has_a_description(digits: DigitsTraffic, change: object) -> None:
    verdict = judge_window(*digits.draw(0, 150, change=change), MonitorSection(), Allowance(0.01, 0.0))  # type: ignore[arg-type]
    assert (verdict.novelty is None) == (change is None)
