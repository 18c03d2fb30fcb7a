"""The part of a drift report that says what was decided, in HTML without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from monitoring.data_quality import DataQuality
from monitoring.harm import Harm
from monitoring.html_table import html_table
from monitoring.label_shift import ClassShare
from monitoring.novel_groups import NovelGroup, ShiftedRequest
from monitoring.quality import Accuracy, Quality
from monitoring.reason import span
from monitoring.verdict import Verdict
from monitoring.where import Where
from pipelines.excerpts import Excerpt

_MAX_ROWS = 12
_COLOURS = {"ok": "#1b7f4b", "drift": "#b3261e", "degraded": "#a65300", "insufficient_data": "#5f6368"}
_TITLES = {"ok": "No change", "drift": "Drift", "degraded": "Degraded", "insufficient_data": "Not enough data"}
_MEANINGS = {
    "ok": "The inputs look like the test samples that the bundle was judged on. Nothing needs to be done.",
    "drift": "The inputs no longer look like the test samples that the bundle was judged on, so its measured accuracy need not hold."
    " Look at what moved below, label requests of this window, and feed the labels back: a retraining needs something to learn from.",
    "degraded": "The inputs look unchanged, but more answers are wrong than on the test samples. Labels may be wrong or may have changed"
    " their meaning: look at the wrong answers before retraining.",
    "insufficient_data": "A judgement of so few requests would be a guess, so none was made.",
}
_STYLE = """
<style>
.regraft { font: 15px/1.5 system-ui, sans-serif; color: #1f1f1f; background: #fff; max-width: 1100px; margin: 0 auto; padding: 24px; }
.regraft h1 { font-size: 26px; margin: 0 0 4px; } .regraft h2 { font-size: 18px; margin: 28px 0 6px; }
.regraft .badge { color: #fff; border-radius: 6px; padding: 2px 12px; }
.regraft table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.regraft th, .regraft td { text-align: left; padding: 4px 10px; border-bottom: 1px solid #ddd; vertical-align: top; }
.regraft td { overflow-wrap: anywhere; } .regraft td:not(:first-child):not(:last-child) { white-space: nowrap; }
.regraft .moved td { font-weight: 600; background: #fdecea; }
.regraft .row { display: flex; flex-wrap: wrap; gap: 12px; } .regraft figure { margin: 0; text-align: center; }
.regraft blockquote { margin: 0; max-width: 320px; text-align: start; font-size: 13px; overflow-wrap: anywhere; }
.regraft .note { color: #5f6368; }
</style>
"""


def header_html(verdict: Verdict, excerpts: Mapping[str, Excerpt] | None = None) -> str:
    """A section with the verdict, its reason, the tests and what moved. Every text that came from outside is escaped.

    Args:
        verdict: To be shown.
        excerpts: Of requests, by the name of the raw input.
    """
    excerpts = excerpts or {}
    parts = [_STYLE, '<section class="regraft">', _title(verdict)]
    if verdict.signals:
        parts.append(_signals(verdict))
    if verdict.quality is not None:
        parts.append(_quality(verdict.quality, verdict.harm))
    if verdict.where is not None:
        parts.append(_where(verdict.where))
    if verdict.novelty is not None:
        parts += [_most_shifted(verdict.novelty.most_shifted, excerpts), _groups(verdict.novelty.groups, excerpts)]
    if verdict.class_shares:
        parts.append(_class_shares(verdict.class_shares))
    if verdict.data_quality is not None and (verdict.signals or verdict.data_quality.alarm):
        parts.append(_data_quality(verdict.data_quality))
    if verdict.problems:
        rows = [[problem] for problem in verdict.problems]
        parts.append(html_table(f"Log lines left out: {verdict.n_malformed}", ["request: problem"], rows))
    return "\n".join([*parts, "</section>"])


def _title(verdict: Verdict) -> str:
    facts = (
        f"Bundle {escape(verdict.bundle)}, {verdict.n_requests} requests, {span(verdict.first_at, verdict.last_at)};"
        f" window {verdict.window_id}, seed {verdict.seed}."
    )
    badge = f'<span class="badge" style="background:{_COLOURS[verdict.verdict]}">{_TITLES[verdict.verdict]}</span>'
    broken = verdict.data_quality_problem
    if broken:
        badge += f' <span class="badge" style="background:{_COLOURS["drift"]}">Broken inputs</span>'
    alarm = f"<p>Data-quality alarm: {escape(broken)} Look at the camera, or at what sends the requests.</p>" if broken else ""
    return f'<h1>{badge}</h1>{alarm}<p>{escape(verdict.reason)}</p><p>{_MEANINGS[verdict.verdict]}</p><p class="note">{facts}</p>'


def _signals(verdict: Verdict) -> str:
    rows = [
        [signal.name, signal.family, f"{signal.statistic:.4g}", f"{signal.p_value:.2g}", f"{signal.threshold:.2g}", signal.detail]
        for signal in verdict.signals
    ]
    note = (
        f"A signal moved where p is at most its limit. The limits divide the level of this window, {verdict.level:.2g}: its share of"
        f" {verdict.false_alarms_per_year:g} false alarms a year, by the time since the window before. It is divided"
        " equally over the families, by Holm's method within one. The charts below show the same p-values and limits, rounded."
    )
    marks = [signal.drifted for signal in verdict.signals]
    return html_table("Tests", ["signal", "family", "statistic", "p", "limit", "method"], rows, marks, note)


def _quality(quality: Quality, harm: Harm | None) -> str:
    rows = [
        ["accuracy on the reference", *_cells(quality.reference)],
        ["accuracy expected from mean confidence, no labels needed", *_cells(quality.expected)],
        ["accuracy expected from the share of high confidence, no labels needed", *_cells(quality.thresholded)],
    ]
    if quality.labelled is not None:
        rows.append(["accuracy on labelled requests", *_cells(quality.labelled)])
    note = (harm.reason + " ") if harm else ""
    found = quality.error_rate
    if found is None:
        note += "No labels were fed back."
    else:
        note += (
            f"Sequential test of more errors than on the reference, over {found.n_labelled} labels of this bundle, {found.n_errors} of them"
            f" wrong, up to {100 * found.allowed_error_frac:.1f} % is usual: evidence {found.evidence:.2g}, limit 1."
        )
    return html_table("Quality", ["", "value", "95 % interval", "n"], rows, [False, False, False, quality.degraded], note)


def _cells(accuracy: Accuracy) -> list[str]:
    return [f"{100 * accuracy.value:.1f} %", f"{100 * accuracy.low:.1f} to {100 * accuracy.high:.1f} %", str(accuracy.n)]


def _where(where: Where) -> str:
    return "\n".join([_numbers(where), _classes(where), _domains(where)])


def _numbers(where: Where) -> str:
    rows = [[move.name, f"{move.reference_median:.4g}", f"{move.window_median:.4g}", f"{move.effect:+.2f}"] for move in where.numbers]
    note = "Effect: share of pairs in which the window's value is larger, minus the share in which it is smaller."
    note += " Embedding: distance to the reference's mean, 1 is usual."
    columns = ["number", "median before", "median now", "effect"]
    return html_table("What moved", columns, rows, [move.drifted for move in where.numbers], note)


def _classes(where: Where) -> str:
    rows = [[move.label, f"{100 * move.reference_frac:.1f} %", f"{100 * move.window_frac:.1f} %"] for move in where.classes[:_MAX_ROWS]]
    return html_table("Answers", ["label", "share before", "share now"], rows)


def _class_shares(shares: tuple[ClassShare, ...]) -> str:
    rows = [
        [
            share.label,
            f"{100 * share.reference_frac:.1f} %",
            f"{100 * share.window_frac:.1f} %",
            f"{100 * share.low:.1f} to {100 * share.high:.1f} %",
        ]
        for share in shares[:_MAX_ROWS]
    ]
    note = "If nothing changed but how often each class comes (label shift), these are the shares: the answers, corrected for confusions."
    return html_table("Classes, if only their shares changed", ["class", "share before", "share now", "95 % interval"], rows, note=note)


def _data_quality(found: DataQuality) -> str:
    rows = [
        [check.name, str(check.n_broken), str(check.n), f"{100 * check.usual_frac:.0f} %", f"{check.p_value:.2g}"] for check in found.checks
    ]
    note = (
        f"Are the inputs still pictures? Exact binomial tests; {found.level:g} is the chance of an alarm on a window with the usual shares."
    )
    columns = ["broken inputs", "found", "of", "usual up to", "p"]
    return html_table("Data quality", columns, rows, [check.alarm for check in found.checks], note)


def _domains(where: Where) -> str:
    news = {True: "new", False: "known", None: "not recorded"}
    rows = [
        [
            count.domain or "(none stated)",
            str(count.n_requests),
            news[count.is_new],
            f"{count.mean_confidence:.3f}",
            f"{count.n_errors} of {count.n_labelled}",
        ]
        for count in where.domains[:_MAX_ROWS]
    ]
    return html_table("Domains", ["domain", "requests", "to the bundle", "mean confidence", "labelled wrong"], rows)


def _most_shifted(requests: Sequence[ShiftedRequest], excerpts: Mapping[str, Excerpt]) -> str:
    note = "Distance to the nearest reference embeddings; 1 is usual."
    return f'<h2>Most shifted requests</h2><div class="row">{_figures(requests, excerpts)}</div><p class="note">{note}</p>'


def _groups(groups: Sequence[NovelGroup], excerpts: Mapping[str, Excerpt]) -> str:
    parts = []
    for group in groups:
        answers = ", ".join(f"{label or '(none)'} {count} times" for label, count in group.answers)
        text = (
            f"{group.n_requests} requests lie together and {group.distance:.1f} times as far from the reference as usual, as a new"
            f" class would, or a known one that looks different now. They were answered {answers}, with a mean confidence of"
            f" {group.mean_confidence:.2f}."
        )
        parts.append(f'<p>{escape(text)}</p><div class="row">{_figures(group.examples, excerpts)}</div>')
    return f"<h2>Groups of far requests that lie together: {len(groups)}</h2>{''.join(parts)}"


def _figures(requests: Sequence[ShiftedRequest], excerpts: Mapping[str, Excerpt]) -> str:
    figures = []
    for request in requests:
        shown = _shown(excerpts.get(request.raw_sha256 or ""))
        title, caption = f"{request.request_id} {request.domain}", f"{request.answer or '(none)'}, {request.distance:.1f}"
        figures.append(f'<figure title="{escape(title)}">{shown}<figcaption>{escape(caption)}</figcaption></figure>')
    return "".join(figures)


def _shown(excerpt: Excerpt | None) -> str:
    if excerpt is None:
        return ""
    # A text may run from right to left, or hold signs that turn what follows it around: `bdi` keeps that to itself.
    return (
        f'<img src="{escape(excerpt.picture)}" alt="">'
        if excerpt.picture
        else f"<blockquote><bdi>{escape(excerpt.text)}</bdi></blockquote>"
    )
