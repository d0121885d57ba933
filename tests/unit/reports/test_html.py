"""Test the HTML page of rollouts: token colours and escaping."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.reports.html import rollouts_page
from stepcoder_trl.reports.rollouts import RolloutView, TokenKind


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
    """Parser that collects the tags of a page and the spans of its programs."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.spans, self.pre, self._class, self._in_pre = [], [], "", None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in_pre = self._in_pre or tag == "pre"
        self._class = dict(attrs).get("class") if tag == "span" else self._class

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
        ("\n    ", "kept"),
        ("if", "kept"),
        (" x:", "kept"),
        ("\n        ", "masked"),
        ("pass", "masked"),
        ("\n    ", "kept"),
        ("return x + 1", "kept"),
        ("⏹", "outside"),
    ]


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
    assert page.count("not run") == 1
    assert page.count("score +1") == 1


@pytest.mark.parametrize("text", ["</pre><script>alert(1)</script>", "<b>&amp;\"'", "--><img src=x onerror=alert(1)>"])
def test_program_text_is_escaped(text):
    plain = Page(rollouts_page([view()], "t"))

    page = Page(rollouts_page([view(task_id=text, prompt=text, prefix=text, tokens=(text,) * 8, outcome=text)], text))

    assert page.tags == plain.tags
    assert (text, "kept") in page.spans


@given(st.lists(st.text(), min_size=1))
def test_page_of_any_text_is_valid_utf8(tokens):
    page = rollouts_page([view(tokens=tuple(tokens), loss_mask=(True,) * len(tokens))], "t")

    assert Page(page).tags.count("article") == 1
    page.encode()


def test_invisible_characters_are_escaped():
    page = rollouts_page([view(tokens=("a\u202eb\x1b[31m\ud800\x00",), loss_mask=(True,))], "t")

    assert r"a\u202eb\x1b[31m\ud800\x00" in page


def test_page_has_dark_mode_and_no_external_resources():
    page = rollouts_page([view()], "t")

    assert "prefers-color-scheme: dark" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_page_without_rollouts_says_so():
    assert "No rollouts." in rollouts_page([], "t")


def test_mask_of_wrong_length_raises():
    with pytest.raises(ValueError, match="`loss_mask` has 1 values"):
        view(loss_mask=(True,))


def test_masked_share_counts_masked_tokens():
    assert view().masked_share == 0.25
    assert view(tokens=(), loss_mask=()).masked_share == 0
