"""Write one self-contained HTML page that shows which tokens were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from stepcoder_trl.reports.rollouts import RolloutView, TokenKind, visible


LEGEND = {
    TokenKind.PREFIX: "given to the model",
    TokenKind.KEPT: "trained on",
    TokenKind.MASKED: "masked: it never ran",
    TokenKind.OUTSIDE: "trained on, not part of the program",
}
END_MARK = "⏹"  # shown for a token without text

# Not by colour alone, for readers who cannot tell colours apart: masked text is struck out, outside text underlined.
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1a1a1a; --soft: #5c5c5c; --line: #d8d8d8; --code: #f6f6f4;
  --kept: #cdeccd; --masked: #f6d5d2; --outside: #d6e4f7; --good: #14692b; --bad: #a4201a; }
@media (prefers-color-scheme: dark) { :root { --page: #161616; --text: #e8e8e8; --soft: #a5a5a5; --line: #3a3a3a;
  --code: #202020; --kept: #1f4a2a; --masked: #55231f; --outside: #1e3a5c; --good: #7fd394; --bad: #f59088; } }
body { background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; }
article { border-top: 1px solid var(--line); margin-top: 1.5rem; }
h2 { font-size: 1rem; overflow-wrap: anywhere; }
pre { background: var(--code); border-radius: 6px; overflow-x: auto; padding: .8rem; font: 14px/1.6 ui-monospace,
  monospace; unicode-bidi: isolate; }
.facts, .prompt { color: var(--soft); }
.prompt { white-space: pre-wrap; }
.passed { color: var(--good); } .not-passed { color: var(--bad); }
.prefix { color: var(--soft); }
.kept { background: var(--kept); }
.masked { background: var(--masked); text-decoration: line-through dotted; }
.outside { background: var(--outside); text-decoration: underline; }
.kept, .masked, .outside { border-radius: 3px; }
.legend span { margin-right: 1rem; padding: 0 .3rem; }
"""


def rollouts_page(rollouts: Sequence[RolloutView], title: str) -> str:
    """
    Render completions as an HTML page. Each token is coloured by its [`TokenKind`].

    Programs are untrusted: their text is escaped, and invisible characters are shown as escapes. The page has no
    scripts and external resources.
    """
    legend = "".join(f'<span class="{kind}">{text}</span>' for kind, text in LEGEND.items())
    articles = "\n".join(map(_article, rollouts)) or "<p>No rollouts.</p>"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{_text(title)}</h1>
<p class="legend">{legend}</p>
{articles}
</body>
</html>
"""


def _article(rollout: RolloutView) -> str:
    outcome = rollout.outcome or "not run"
    style = "passed" if outcome == "passed" else "not-passed"
    facts = [f'<strong class="{style}">{_text(outcome)}</strong>']
    facts += [_text(fact) for fact in rollout_facts(rollout)]
    prompt = f'<p class="prompt">{_text(rollout.prompt)}</p>\n' if rollout.prompt else ""
    code = _span(rollout.prefix, TokenKind.PREFIX) if rollout.prefix else ""
    code += "".join(_span(token or END_MARK, kind) for token, kind in rollout.kinds())
    return f"""<article>
<h2>{_text(rollout.task_id)}</h2>
<p class="facts">{" · ".join(facts)}</p>
{prompt}<pre>{code}</pre>
</article>"""


def rollout_facts(rollout: RolloutView) -> list[str]:
    """Return score, tests passed, stage and masked tokens of a rollout as short texts."""
    facts = [] if rollout.score is None else [f"score {rollout.score:+g}"]
    if rollout.tests_total:
        facts.append(f"{rollout.tests_passed} of {rollout.tests_total} tests passed")
    if rollout.stage is not None:
        facts.append("from scratch" if rollout.stage == 0 else f"stage {rollout.stage}")
    facts.append(f"{rollout.loss_mask.count(False)} of {len(rollout.loss_mask)} tokens masked")
    return facts


def _span(text: str, kind: TokenKind) -> str:
    """Return a `<span>` in the colour of the kind."""
    return f'<span class="{kind}">{_text(text)}</span>'


def _text(text: str) -> str:
    return escape(visible(text))
