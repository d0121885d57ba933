"""Frame of a self-contained HTML page: style, script, and a policy that forbids everything else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

from stepcoder_trl.reports.rollouts import visible


# Colours never stand alone: masked text is struck out, outside text underlined, lines that ran have a solid bar.
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --card: #fff; --text: #1a1a1a; --soft: #5a5a5a; --line: #d8d8d8;
  --code: #f6f6f4; --kept: #cdeccd; --masked: #f6d5d2; --outside: #d6e4f7; --prefix: #e4e4e0; --good: #14692b;
  --bad: #a4201a; --ran: #2c8a45; --link: #0b57a4;
  --c0: #2a6fb0; --c1: #b85c00; --c2: #6a3d9a; --c3: #00796b; --c4: #ad1457; --c5: #5d4037; --c6: #546e7a;
  --passed: #3f9b56; --failed: #e0a030; --runtime_error: #d1603d; --timeout: #8e63b5; --memory_exceeded: #4a86c5;
  --compile_error: #777; }
@media (prefers-color-scheme: dark) { :root { --page: #141414; --card: #1c1c1c; --text: #e8e8e8; --soft: #ababab;
  --line: #3a3a3a; --code: #202020; --kept: #1f4a2a; --masked: #55231f; --outside: #1e3a5c; --prefix: #333330;
  --good: #7fd394; --bad: #f59088; --ran: #5cc47a; --link: #8cc0f5;
  --c0: #6aaeea; --c1: #f0a050; --c2: #b99ae0; --c3: #5cc4b4; --c4: #f080a8; --c5: #c0a090; --c6: #a0b4be;
  --compile_error: #999; } }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 76rem; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { border-top: 1px solid var(--line); font-size: 1.25rem; margin: 2rem 0 .5rem; padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
a { color: var(--link); }
nav a { display: inline-block; margin-right: 1rem; padding: .3rem 0; }
.soft, figcaption small { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; }
td { max-width: 40rem; overflow-wrap: break-word; }
td.number, th.number { text-align: right; white-space: nowrap; }
@media (max-width: 30rem) { td:not(.number) { min-width: 4.6rem; overflow-wrap: anywhere; } }
dl { display: grid; gap: .2rem 1rem; grid-template-columns: minmax(7rem, max-content) 1fr; margin: .5rem 0; }
dt { color: var(--soft); } dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
dl pre { margin: 0; padding: .1rem .6rem !important; }
.charts { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
figure { margin: 0; min-width: 0; } figcaption { font-weight: 600; line-height: 1.3; }
figcaption small { display: block; font-weight: 400; }
svg { display: block; height: auto; max-width: 30rem; width: 100%; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .axis { stroke: var(--soft); } svg .grid { stroke: var(--line); }
svg polyline { fill: none; stroke-width: 2; stroke-linejoin: round; } polygon { stroke: var(--page); stroke-width: 1; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); }
.s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); } .s6 { stroke: var(--c6); }
.f0 { fill: var(--c0); } .f1 { fill: var(--c1); } .f2 { fill: var(--c2); } .f3 { fill: var(--c3); }
.f4 { fill: var(--c4); } .f5 { fill: var(--c5); } .f6 { fill: var(--c6); }
.f-passed { fill: var(--passed); } .f-failed { fill: var(--failed); } .f-timeout { fill: var(--timeout); }
.f-runtime_error { fill: var(--runtime_error); } .f-memory_exceeded { fill: var(--memory_exceeded); }
.f-compile_error { fill: var(--compile_error); }
.keys { display: flex; flex-wrap: wrap; font-size: .85rem; gap: .1rem .9rem; }
.keys svg { display: inline-block; height: .8em; margin-right: .3em; width: 1.6em; }
details { margin: .4rem 0; } summary { cursor: pointer; padding: .25rem 0; overflow-wrap: anywhere; }
.rollout { background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: .6rem 0;
  padding: .1rem .8rem; }
.rollout > summary { font-size: .95rem; }
pre { background: var(--code); border-radius: 6px; font: 13px/1.6 ui-monospace, monospace; margin: .4rem 0;
  overflow-x: auto; padding: .6rem .4rem; tab-size: 4; unicode-bidi: isolate; white-space: pre; }
pre.wrap { padding: .6rem; overflow-wrap: anywhere; white-space: pre-wrap; }
.line { border-left: 3px solid transparent; display: block; min-height: 1.6em; padding-left: 3.4em;
  position: relative; width: max-content; min-width: 100%; }
.line::before { color: var(--soft); content: attr(data-n); left: 0; position: absolute; text-align: right;
  width: 2.6em; }
.ran { border-left-color: var(--ran); } .idle { border-left: 3px dotted var(--bad); }
.passed { color: var(--good); } .not-passed { color: var(--bad); }
.prefix { background: var(--prefix); }
.kept { background: var(--kept); }
.masked { background: var(--masked); text-decoration: line-through dotted; }
.outside { background: var(--outside); text-decoration: underline; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1rem; font-size: .9rem; margin: .6rem 0; }
.legend > span { padding: 0 .4rem; border-radius: 3px; }
.legend .ran { border-left: 3px solid var(--ran); }
.legend .ran, .legend .idle { border-radius: 0; }
form { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: end; margin: .6rem 0; }
label { display: grid; font-size: .85rem; min-width: 0; }
select { background: var(--card); border: 1px solid var(--line); border-radius: 6px; color: var(--text); font: inherit;
  max-width: min(20rem, 85vw); padding: .3rem; }
"""

# Without JavaScript the form stays hidden, and the list shows everything.
_SCRIPT = """
const form = document.getElementById("filter");
const rollouts = [...document.querySelectorAll(".rollout")];
function apply() {
  let shown = 0;
  for (const one of rollouts) {
    one.hidden = ["update", "outcome", "task"].some(
      (name) => form.elements[name] && form.elements[name].value && form.elements[name].value !== one.dataset[name]);
    shown += !one.hidden;
  }
  form.elements.count.value = `${shown} of ${rollouts.length} rollouts`;
}
form.addEventListener("input", apply);
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
apply();
"""


def document(title: str, body: str, *, filters: bool = False) -> str:
    """
    Return a page. `body` is HTML, `title` is text. With `filters` the page has the script of [`filter_form`].

    The policy of the page allows this style and this script by their digests, and nothing else: no request, no other
    script and no style attribute, even if text of a program should ever be taken for HTML.
    """
    script_source = f"'{_digest(_SCRIPT)}'" if filters else "'none'"
    policy = (
        f"default-src 'none'; style-src '{_digest(_STYLE)}'; script-src {script_source}; base-uri 'none'; "
        "form-action 'none'"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
{f"<script>{_SCRIPT}</script>" if filters else ""}
</body>
</html>
"""


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def text(value: str) -> str:
    """Return text as HTML. Invisible characters are shown as escapes."""
    return escape(visible(value))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = False) -> str:
    """Return a table of texts. With `numbers` all columns but the first are aligned to the right."""
    css = [' class="number"' if numbers and column else "" for column in range(len(headings))]
    head = "".join(f'<th scope="col"{one}>{text(heading)}</th>' for one, heading in zip(css, headings, strict=True))
    lines = ("".join(f"<td{one}>{text(cell)}</td>" for one, cell in zip(css, row, strict=True)) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of named facts."""
    return "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in pairs) + "</dl>"


def details(summary: str, body: str, is_open: bool = False) -> str:
    """Return a part that can be opened. `summary` is text, `body` is HTML."""
    return f"<details{' open' if is_open else ''}><summary>{text(summary)}</summary>\n{body}\n</details>"


def filter_form(choices: Iterable[tuple[str, str, Iterable[str]]]) -> str:
    """Return a form of menus: name (`update`, `outcome` or `task`), label and values of each."""
    menus = []
    for name, label, values in choices:
        options = "".join(f'<option value="{text(value)}">{text(value)}</option>' for value in values)
        menus.append(
            f'<label>{text(label)}<select name="{name}"><option value="">all</option>{options}</select></label>'
        )
    return f'<form id="filter" hidden>{"".join(menus)}<output name="count"></output></form>'
