"""The page's template and style: everything inline, no script, nothing that a browser would load from elsewhere.

`section.j2` and all that it includes are Great Expectations' own templates; `collapse.j2` replaces its, which needs Bootstrap's script.
"""

COLLAPSE = """\
<details{% if content_block["inline_link"] %} class="inline"{% endif %}>
<summary>{{ content_block.get("collapse_toggle_link", "Show more") | render_content_block }}</summary>
{% for block in content_block["collapse"] %}{{ block | render_content_block }}{% endfor %}
</details>
"""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Data validation: {{ report.project }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<main>
<header>
<p class="kicker">Data validation</p>
<h1>{{ report.project }}</h1>
<p class="verdict {{ verdict.tone }}"><strong>{{ verdict.word }}</strong> {{ verdict.sentence }}</p>
</header>

<section class="figures">
<div><b>{{ "{:,}".format(report.n_samples) }}</b> readable samples</div>
<div><b>{{ report.n_samples_per_class | length }}</b> classes</div>
<div><b>{{ n_passed }}</b> of {{ report.checks | length }} checks passed</div>
</section>

<section>
<h2>Checks</h2>
<div class="wide"><table class="checks">
<thead><tr><th>Result</th><th>Expected</th><th>Found</th><th>If it fails</th></tr></thead>
<tbody>
{% for check in report.checks %}
<tr class="{{ tones[check.name] }}{{ " listed" if check.unexpected }}">
<td class="result">{{ words[check.name] }}</td>
<td>{{ check.expected[0] | upper }}{{ check.expected[1:] }}<br><code>{{ check.name }}</code></td>
<td>{{ check.observed }}{% if check.error %}<br><span class="error">{{ check.error }}</span>{% endif %}</td>
<td>{{ "the data is refused" if check.severity == "critical" else "a warning" }}</td>
</tr>
{% if check.unexpected %}
<tr class="items"><td></td><td colspan="3"><details{% if check.severity == "critical" %} open{% endif %}>
<summary>{{ "{:,}".format(check.unexpected | length) }} {{ "item" if check.unexpected | length == 1 else "items" }}</summary>
<ul>
{% for item in check.unexpected[:max_items] %}<li><code>{{ item.where }}</code> {{ item.problem }}</li>
{% endfor %}
{% if check.unexpected | length > max_items %}
<li>and {{ "{:,}".format(check.unexpected | length - max_items) }} more: all are in validation.json</li>
{% endif %}
</ul></details></td></tr>
{% endif %}
{% endfor %}
</tbody></table></div>
</section>

<section>
<h2>Samples per class</h2>
<table class="bars">
{% for label, n in report.n_samples_per_class.items() %}
<tr><th>{{ label }}</th>
<td>{% if n %}<span class="bar" style="width: {{ "%.1f" | format(100 * n / largest_class) }}%"></span>{% endif %}</td>
<td class="number">{{ "{:,}".format(n) }}</td></tr>
{% endfor %}
</table>
</section>

<section>
<h2>Data Docs</h2>
<p class="muted">The same results, column by column, as Great Expectations {{ report.great_expectations_version }} words them.</p>
{% for document in documents %}
<details class="document">
<summary>Table <code>{{ document.table }}</code>: {{ document.about }}</summary>
{% for section in document.sections %}{% set section_loop = loop %}{% include "section.j2" %}{% endfor %}
</details>
{% endfor %}
</section>
</main>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --muted: #5d6675; --line: #dde1e8; --ground: #f5f6f8; --card: #fff;
  --good: #1a7f4b; --bad: #c0312b; --warn: #a86400; --accent: #3b6fd4; --tint: #eef1f6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ef; --muted: #98a2b3; --line: #333b49; --ground: #12161d; --card: #1a202a;
  --good: #4cc38a; --bad: #ff7b72; --warn: #e3a84a; --accent: #7aa2f7; --tint: #232b38; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { margin: 0 0 .75rem; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 0 0 .75rem; font-size: 1.15rem; }
.kicker { margin: 0; color: var(--muted); font-size: .9rem; }
.muted { color: var(--muted); margin-top: 0; }
.verdict { margin: 0; padding: .7rem 1rem; border-radius: 8px; border-left: 5px solid; background: var(--card); }
.verdict.good { border-color: var(--good); } .verdict.bad { border-color: var(--bad); } .verdict.warn { border-color: var(--warn); }
section { margin-top: 1.25rem; padding: 1.25rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.figures { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; } .figures b { font-size: 1.4rem; margin-right: .25rem; }
.wide { overflow-x: auto; } .checks { min-width: 44rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
thead th { color: var(--muted); font-weight: 600; font-size: .85rem; }
code { font: .86em ui-monospace, "DejaVu Sans Mono", Menlo, monospace; color: var(--muted); }
.checks td:first-child { width: 6.5rem; } .checks td:nth-child(4) { width: 11rem; white-space: nowrap; color: var(--muted); }
.checks td:nth-child(3) { width: 12rem; }
.result { font-weight: 600; } tr.good .result { color: var(--good); }
tr.bad .result { color: var(--bad); } tr.warn .result { color: var(--warn); }
tr.listed td { border-bottom: 0; } tr.items td { padding-top: 0; }
.error { color: var(--bad); }
ul { margin: .3rem 0 .3rem; padding-left: 1.2rem; max-height: 20rem; overflow-y: auto; } li code { color: var(--ink); margin-right: .5rem; }
summary { cursor: pointer; color: var(--accent); }
.bars th { width: 30%; font-weight: 500; } .bars td { vertical-align: middle; } .bars .number { width: 5rem; text-align: right; }
.bars th, .bars td { border: 0; padding: .2rem .6rem; }
.bar { display: block; height: .7rem; min-width: 2px; border-radius: 3px; background: var(--accent); }
.document { margin-top: .75rem; padding: .6rem .8rem; border: 1px solid var(--line); border-radius: 6px; }
.document summary code { color: inherit; }
.ge-section { margin-top: 1rem; } .ge-section h5 { margin: 0 0 .25rem; font-size: 1rem; } .ge-section h6 { margin: .5rem 0 .25rem; }
.ge-section table { font-size: .9rem; } .badge { background: var(--tint); border-radius: 4px; padding: 0 .35em; }
.ge-section table table { font-size: 1em; }
.ge-section th:first-child { min-width: 5rem; } .ge-section th:last-child { min-width: 8rem; }
.ge-section table table th { min-width: 4.5rem; }
.ge-section td:first-child i::before { font-style: normal; font-weight: 700; }
.fa-check-circle::before { content: "passed"; color: var(--good); } .fa-times::before { content: "failed"; color: var(--bad); }
.fa-exclamation-triangle::before { content: "error"; color: var(--warn); }
.ge-section i { font-style: normal; } .text-danger { color: var(--bad); font-weight: 400; }
"""
