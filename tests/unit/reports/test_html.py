"""Test the HTML page of rollouts: token colours and escaping."""

import base64
import hashlib
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.parsing import line_spans
from stepcoder_trl.reports.html import LEGEND, rollouts_page
from stepcoder_trl.reports.rollouts import FailingTest, RolloutView, TokenKind


def view(**changes):
    fields = {
        "task_id": "task/1",
        "prompt": "Add one.",
        "prefix": "def f(x):",
        "tokens": ("\n    ", "if", " x:", "\n        ", "pass", "\n    ", "return x + 1", ""),
        "loss_mask": (True, True, True, False, False, True, True, True),
        "outcome": "passed",
        "score": 1.0,
        "stage": 1,
        "tests_passed": 2,
        "tests_total": 3,
    }
    return RolloutView(**{**fields, **changes})


class Page(HTMLParser):
    """Parser that collects the tags of a page, its attributes, and lines and spans of its programs."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.spans, self.lines, self._class, self._in_pre = [], [], [], [], None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.attributes.append((tag, attrs))
        self._in_pre = self._in_pre or (tag == "pre" and attrs.get("class") == "program")
        self._class = attrs.get("class") if tag == "span" else self._class
        if self._in_pre and "data-n" in attrs:
            self.lines.append((attrs["data-n"], attrs["class"]))

    def handle_endtag(self, tag):
        if tag == "pre":
            self._in_pre = False

    def handle_data(self, data):
        if self._in_pre:
            self.spans.append((data, self._class))


def test_every_token_has_the_class_of_its_kind():
    page = Page(rollouts_page([view()], "Masks"))

    assert page.spans == [
        ("def f(x):", "prefix"),
        ("\n", "kept"),
        ("    if x:", "kept"),
        ("\n", "masked"),
        ("        pass", "masked"),
        ("\n", "kept"),
        ("    return x + 1", "kept"),
        ("<end>", "outside"),
    ]


def test_lines_are_numbered_and_say_whether_they_ran():
    page = Page(rollouts_page([view(executed_lines=(1, 2, 4))], "Masks"))

    assert page.lines == [("1", "line ran"), ("2", "line ran"), ("3", "line idle"), ("4", "line ran")]


def test_lines_outside_the_program_have_no_number():
    tokens = ("Sure:\n", "```python\n", "x = 1\n", "y = 2\n", "```", "\ndone")

    page = Page(rollouts_page([view(prefix="", tokens=tokens, loss_mask=(True,) * 6, program_span=(16, 28))], "Masks"))

    assert page.lines == [(number, "line") for number in ("", "", "1", "2", "", "")]


def test_first_failing_test_is_shown_with_expected_and_actual():
    test = FailingTest(2, "failed", "wrong value returned: 3, but expected 4", "[1, <2>]", "4")

    page = rollouts_page([view(failing_test=test)], "Masks")

    for shown in ("Test 2: failed", "[1, &lt;2&gt;]", '<pre class="wrap">4</pre>', "3, but expected 4"):
        assert shown in page


def test_reference_solution_is_shown():
    assert "def g(): return 7" in rollouts_page([view(solution="def g(): return 7\n")], "Masks")


def test_legend_explains_every_mark():
    page = rollouts_page([view()], "Masks")

    for kind, meaning in LEGEND.items():
        assert f'<span class="{kind}">{meaning}</span>' in page
    assert '<span class="ran">line ran in a test</span>' in page
    assert '<span class="idle">line never ran</span>' in page


def test_text_outside_program_has_its_own_kind():
    rollout = view(tokens=("x = 1\n", "```", " done"), loss_mask=(True, True, False), program_span=(0, 6))

    assert list(rollout.kinds()) == [
        ("x = 1\n", TokenKind.KEPT),
        ("```", TokenKind.OUTSIDE),
        (" done", TokenKind.MASKED),
    ]


def test_page_shows_facts():
    page = rollouts_page([view()], "Masks")

    for fact in ("task/1", "Add one.", "passed", "score +1", "2 of 3 tests passed", "stage 1", "2 of 8 tokens masked"):
        assert fact in page


def test_page_shows_scratch_and_omits_missing_facts():
    page = rollouts_page([view(stage=0), view(stage=None, outcome=None, score=None, tests_total=0)], "Masks")

    assert page.count("from scratch") == 1
    assert page.count(">not run</strong>") == 1
    assert page.count("score +1") == 1


@pytest.mark.parametrize("text", ["</pre><script>alert(1)</script>", "<b>&amp;\"'", "--><img src=x onerror=alert(1)>"])
def test_program_text_is_escaped(text):
    plain = Page(rollouts_page([view()], "t"))

    test = FailingTest(1, text, text, text, text)
    hostile = view(task_id=text, prompt=text, prefix=text, tokens=(text,) * 8, outcome=text, solution=text)
    page = Page(rollouts_page([replace(hostile, failing_test=test)], text))

    assert set(page.tags) <= {*plain.tags, "h3", "dl", "dt", "dd"}
    assert page.tags.count("script") == 1
    assert any(text in span for span, kind in page.spans if kind == "kept")
    assert not any(name.startswith("on") for _, attributes in page.attributes for name in attributes)


@given(st.lists(st.text(), min_size=1))
def test_page_of_any_text_is_valid_utf8(tokens):
    page = rollouts_page([view(tokens=tuple(tokens), loss_mask=(True,) * len(tokens))], "t")

    assert sum(attributes.get("class") == "rollout" for _, attributes in Page(page).attributes) == 1
    page.encode()


def test_invisible_characters_are_escaped():
    page = rollouts_page([view(tokens=("a\u202eb\x1b[31m\ud800\x00",), loss_mask=(True,))], "t")

    assert r"a\u202eb\x1b[31m\ud800\x00" in page


def test_page_has_dark_mode_and_no_external_resources():
    page = rollouts_page([view()], "t")

    assert "prefers-color-scheme: dark" in page
    assert "http" not in page.replace("http-equiv", "")
    assert not {"src", "href", "style"} & {name for _, attributes in Page(page).attributes for name in attributes}


def test_policy_allows_this_style_and_this_script_only():
    page = rollouts_page([view()], "t")

    policy = next(one["content"] for tag, one in Page(page).attributes if tag == "meta" and "http-equiv" in one)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digests = {
        tag: base64.b64encode(hashlib.sha256(page.split(f"<{tag}>")[1].split(f"</{tag}>")[0].encode()).digest())
        for tag in ("style", "script")
    }
    assert rules["default-src"] == "'none'"
    assert {tag: rules[f"{tag}-src"] for tag in digests} == {
        tag: f"'sha256-{digest.decode()}'" for tag, digest in digests.items()
    }


def test_menus_list_outcomes_and_problems():
    page = rollouts_page([view(), view(task_id="b", outcome="failed")], "t")

    values = [one["value"] for tag, one in Page(page).attributes if tag == "option"]
    assert values == ["", "failed", "passed", "", "b", "task/1"]
    assert '<form id="filter" hidden>' in page  # shown by the script


@given(st.lists(st.text(alphabet="ab\n\r ", min_size=0, max_size=6), max_size=8), st.text(alphabet="ab\n", max_size=6))
def test_lines_hold_the_whole_text(tokens, prefix):
    rollout = view(prefix=prefix, tokens=tuple(tokens), loss_mask=(True,) * len(tokens))

    lines = rollout.lines()

    shown = "".join(part for line in lines for part, _ in line.parts)
    assert shown.replace("<end>", "") == prefix + "".join(tokens)
    numbers = [line.number for line in lines if line.number is not None]
    assert numbers == list(range(1, len(line_spans(prefix + "".join(tokens))) + 1))


def test_page_without_rollouts_says_so():
    assert "No rollouts." in rollouts_page([], "t")


def test_mask_of_wrong_length_raises():
    with pytest.raises(ValueError, match="`loss_mask` has 1 values"):
        view(loss_mask=(True,))


def test_masked_share_counts_masked_tokens():
    assert view().masked_share == 0.25
    assert view(tokens=(), loss_mask=()).masked_share == 0
