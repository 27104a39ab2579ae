"""The pages' style sheet and templates.

They are Python, because the bundle that `flwr run .` makes of the clone takes no files of other kinds along.
"""

# ruff: noqa: E501
from fedsieve.reports.theme import DARK, LIGHT


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


STYLE = f"""
:root {{ color-scheme: light dark; {_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
@media print {{ :root {{ {_variables(LIGHT)} }} details {{ display: none; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--paper); color: var(--text); font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }}
main {{ max-width: 80rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }}
h1 {{ font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.2rem; margin: 2.6rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--grid); }}
h3 {{ font-size: 1rem; margin: 0 0 .3rem; }}
p {{ margin: 0 0 .6rem; max-width: 46rem; overflow-wrap: anywhere; }}
code, pre {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .85em; }}
pre {{ overflow-x: auto; columns: 4 16rem; margin: 0; padding: .8rem; border: 1px solid var(--grid); border-radius: 6px; }}
.state {{ border-left: 4px solid var(--series-2); padding-left: .7rem; }}
.good {{ border-color: var(--series-3); }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 12.5rem), 1fr)); gap: .8rem; margin: 1.2rem 0 0; }}
.tile {{ border: 1px solid var(--grid); border-radius: 8px; padding: .7rem .9rem; }}
.tile dt {{ font-size: .85rem; color: var(--muted); }}
.tile dd {{ margin: 0; }}
.tile .big {{ font-size: 1.55rem; line-height: 1.3; font-variant-numeric: tabular-nums; }}
.tile .small {{ font-size: .85rem; color: var(--muted); }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1.6rem; align-items: start; }}
figure {{ margin: 0; min-width: 0; }}
figcaption {{ font-size: .875rem; color: var(--muted); margin-top: .3rem; overflow-wrap: anywhere; }}
.missing {{ border: 1px dashed var(--axis); border-radius: 8px; padding: .8rem 1rem; }}
.missing p {{ margin: 0; font-size: .9rem; color: var(--muted); }}
.plot {{ display: block; width: 100%; height: auto; }}
.plot * {{ stroke-linejoin: round; stroke-linecap: butt; pointer-events: none; }}
.plot image {{ image-rendering: pixelated; }}
.plot .zone, .plot .reach {{ fill: none; stroke: none; pointer-events: all; }}
.plot .reach {{ stroke-width: 9; pointer-events: stroke; }}
.plot .zone:hover {{ fill: var(--text); fill-opacity: .08; }}
.plot .hover:hover path:not(.reach) {{ stroke: var(--text) !important; stroke-width: 2.2 !important; }}
details {{ margin-top: .4rem; font-size: .875rem; }}
summary {{ cursor: pointer; color: var(--muted); }}
.wide {{ overflow-x: auto; max-height: 24rem; overflow-y: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: .15rem .7rem .15rem 0; white-space: nowrap; border-bottom: 1px solid var(--grid); }}
th {{ font-weight: 600; color: var(--muted); }}
th:first-child, td:first-child {{ text-align: left; }}
.words th, .words td {{ text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }}
.words td {{ min-width: 8rem; }}
"""

FIGURES = """
{%- macro table(of, words=false) -%}
<div class="wide" tabindex="0"><table{% if words %} class="words"{% endif %}>
<thead><tr>{% for cell in of.head %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in of.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{%- endmacro -%}
{%- macro plots(sections) -%}
{% for section in sections %}
<section>
<h2>{{ section.title }}</h2>
<div class="plots">
{% for part in section.parts %}
{% if part.reason is defined %}
<div class="missing"><h3>{{ part.title }}</h3><p>{{ part.reason }}</p></div>
{% else %}
<figure>
<h3>{{ part.title }}</h3>
{{ svg(part) }}
<figcaption>{{ part.caption }}</figcaption>
{% if part.table %}<details><summary>The numbers</summary>{{ table(part.table) }}</details>{% endif %}
</figure>
{% endif %}
{% endfor %}
</div>
</section>
{% endfor %}
{%- endmacro -%}
"""

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="{{ generator }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
"""

TAIL = """
</main>
</body>
</html>
"""

RUN_PAGE = (
    FIGURES
    + HEAD
    + """
<p>{{ told }}</p>
<p class="state{% if finished %} good{% endif %}">{{ state }}</p>
<dl class="tiles">
{% for tile in tiles %}<div class="tile"><dt>{{ tile.name }}</dt><dd class="big">{{ tile.value }}</dd><dd class="small">{{ tile.meaning | replace(" %", "\u00a0%") }}</dd></div>
{% endfor %}</dl>
{{ plots(sections) }}
<section>
<h2>Settings and versions</h2>
<p>Everything that <code>config.toml</code> says; <code>fedsieve run config.toml</code> runs it again.</p>
{% if settings %}<pre tabindex="0">{{ settings }}</pre>{% else %}<p>The folder holds no <code>config.toml</code>.</p>{% endif %}
<h3 style="margin-top:1.2rem">Versions</h3>
{% if versions.rows %}{{ table(versions) }}{% else %}<p>They are in <code>summary.json</code>, which is written when a run ends.</p>{% endif %}
<h3 style="margin-top:1.2rem">All of summary.json</h3>
<details><summary>Every figure by its key</summary>{{ table(summary, true) }}</details>
</section>
"""
    + TAIL
)

COMPARISON_PAGE = (
    FIGURES
    + HEAD
    + """
<p>{{ told }}</p>
{{ table(rows) }}
{% for sentence in rows_told %}<p style="margin-top:.6rem">{{ sentence }}</p>{% endfor %}
<h2>Paired differences</h2>
{% for sentence in paired_told %}<p>{{ sentence }}</p>{% endfor %}
{% if paired.rows %}{{ table(paired) }}{% endif %}
{{ plots(sections) }}
"""
    + TAIL
)
