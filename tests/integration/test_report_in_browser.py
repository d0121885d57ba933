"""The page of a run in headless Chromium: its policy, its menus, its width, and without JavaScript."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from stepcoder_trl.reports.rollouts import FailingTest
from stepcoder_trl.reports.run_page import run_page
from stepcoder_trl.reports.run_record import RunRecord, UpdateRecord
from tests.unit.reports.test_html import view
from tests.unit.reports.test_model_card import FACTS


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is on the PATH")
HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
WIDE = "x = " + "1 + " * 200 + "1"


@pytest.fixture(scope="module")
def page():
    test = FailingTest(1, "failed", HOSTILE, HOSTILE, WIDE)
    rollouts = [
        (1, view(task_id=HOSTILE, prompt=HOSTILE, tokens=(WIDE,), loss_mask=(True,), solution=WIDE)),
        (20, view(outcome="failed", failing_test=test)),
        (20, view(task_id="w" * 300)),
    ]
    settings = {"reward_funcs": WIDE, "seed": 3}
    facts = replace(FACTS, settings=settings, defaults={"seed": 42, "reward_funcs": None}, base_model="m" * 200)
    return run_page(facts, RunRecord([UpdateRecord(1, {1: 3}, {"all": 1})], rollouts))


@pytest.fixture
def browse(tmp_path):
    """Return a function that opens a page, and returns its elements as text and the messages of the console."""

    def browse(content, *flags):
        path = tmp_path / "page.html"
        path.write_text(content)
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command += ["--enable-logging=stderr", "--dump-dom", *flags, f"file://{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return browse


def test_policy_lets_the_script_run_and_nothing_else(page, browse):
    elements, console = browse(page)

    assert "3 of 3 rollouts" in elements  # the script has counted
    assert '<form id="filter">' in elements
    assert "<title>Run someone/tiny-stepcoder</title>" in elements
    assert console == []  # nothing was blocked


def test_script_of_a_stranger_is_blocked(page, browse):
    elements, console = browse(page.replace("<h1>", f"{HOSTILE}<h1>"))

    assert "<title>Run someone/tiny-stepcoder</title>" in elements
    assert any("Content Security Policy" in line for line in console)


def test_menus_select_rollouts(page, browse):
    choose = "form.elements.outcome.value = 'failed'; form.dispatchEvent(new Event('input'));"

    elements, _ = browse(without_policy(page, choose))

    assert "1 of 3 rollouts" in elements
    hidden = re.findall(r'<details class="rollout"[^>]*>', elements)
    assert [' hidden=""' in one for one in hidden] == [False, True, True]


@pytest.mark.parametrize("width", [400, 1280])
def test_page_is_never_wider_than_the_window(page, browse, width):
    measure = "document.title = innerWidth + ' ' + document.documentElement.scrollWidth;"

    elements, _ = browse(without_policy(page, measure), f"--window-size={width},900")

    inner, needed = map(int, re.search(r"<title>(\d+) (\d+)</title>", elements).groups())
    assert needed <= inner


def test_page_lists_all_rollouts_without_javascript(page, browse):
    elements, _ = browse(re.sub("script-src '[^']*'", "script-src 'none'", page))

    assert '<form id="filter" hidden="">' in elements
    assert len(re.findall(r'<details class="rollout"', elements)) == 3
    assert not re.search(r'<details class="rollout"[^>]* hidden', elements)


def without_policy(page, script):
    """Return the page with another script at its end, which its policy would block."""
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', page)[0]
    return page.replace(policy, "").replace("</body>", f"<script>{script}</script></body>")
