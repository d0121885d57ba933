"""Chat templates open the answer, those that TRL ships among them."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.chat_templates import open_answer, read_template_kwargs
from stepcoder_trl.steps.queries import build_query


USER = [{"role": "user", "content": "Add one. Explain <think> tags."}]
CODE = "def f(n):\n    "
OPENED = "```python\ndef f(n):"
SHIPPED = sorted(Path(importlib.util.find_spec("trl").origin).parent.glob("chat_templates/*.jinja"))
# How the generation prompts of these templates differ from the beginning of an answer.
THINKING = (
    "deepseek",
    "nemotron",
    "qwen3_5_think",
    "qwen3_6",
    "qwen3_8",
    "muse",
    "gptoss",
    "glm4moe",
    "qwen3.",
    "qwen3_tr",
)
WITH_BLOCKS = ("idefics3", "llava", "smolvlm")  # messages of text lose their text here


@pytest.fixture
def with_template(tokenizer):
    """Returns a tokenizer with another chat template."""

    def make(template):
        changed = copy.deepcopy(tokenizer)
        changed.chat_template = template
        return changed

    return make


def test_trl_ships_templates():
    assert len(SHIPPED) >= 10


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_template_opens_the_answer(path, with_template):
    words = with_template(path.read_text(encoding="utf-8"))
    prompted = words.apply_chat_template(USER, tokenize=False, add_generation_prompt=True)

    text = build_query(USER, CODE, words).text

    assert text.endswith(OPENED)
    answer = text[len(words.apply_chat_template(USER, tokenize=False)) :]
    assert answer.count("<think>") == answer.count("</think>")
    if path.stem.startswith(WITH_BLOCKS) or not path.name.startswith(THINKING):
        assert text == prompted + OPENED
    else:
        assert text != prompted + OPENED
        message = {"role": "assistant", "content": OPENED}
        assert text == words.apply_chat_template([*USER, message], tokenize=False, continue_final_message=True)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_template_opens_every_stage_alike(path, with_template):
    words = with_template(path.read_text(encoding="utf-8"))

    scratch = build_query(USER, "", words).text
    staged = build_query(USER, "x = '</think>'\nif x:\n", words).text

    assert staged == f"{scratch}\nx = '</think>'\nif x:"


ROLES = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"


def generation_prompt(thought=""):
    return "{% if add_generation_prompt %}<|assistant|>" + thought + "{% endif %}"


@pytest.mark.parametrize(
    ("template", "opened"),
    [
        (ROLES + generation_prompt(), "<|user|>Add.<|assistant|>"),
        (ROLES + generation_prompt("<think>\n"), "<|user|>Add.<|assistant|>"),
        (ROLES + generation_prompt("[THINK]"), "<|user|>Add.<|assistant|>"),
        (ROLES + generation_prompt("\nLet me think.\n"), "<|user|>Add.<|assistant|>"),
        # The template writes every message as the user's.
        (ROLES.replace("{{ m.role }}", "user") + generation_prompt(), "<|user|>Add.<|assistant|>"),
        (
            ROLES.replace("{{ m.role }}", "user") + generation_prompt("<think>\n"),
            "<|user|>Add.<|assistant|><think>\n\n</think>\n\n",
        ),
        (
            ROLES.replace("{{ m.role }}", "user") + generation_prompt("[THINK]"),
            "<|user|>Add.<|assistant|>[THINK]\n\n[/THINK]\n\n",
        ),
        # It writes messages without a header.
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}" + generation_prompt(), "Add.\n<|assistant|>"),
        # It always opens a thought.
        (
            ROLES.replace("|>{{", "|><think>{{") + generation_prompt("<think>"),
            "<|user|><think>Add.<|assistant|><think>\n\n</think>\n\n",
        ),
        # It refuses assistant messages.
        (
            "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}"
            "{% endfor %}" + generation_prompt(),
            "Add.<|assistant|>",
        ),
        # It changes the text of assistant messages.
        (ROLES.replace("m.content", "m.content | upper") + generation_prompt(), "<|user|>ADD.<|assistant|>"),
        # It has no generation prompt.
        (ROLES.replace("<|{{ m.role }}|>", "[{{ m.role[0] }}]"), "[u]Add.[a]"),
    ],
)
def test_fence_stands_in_the_answer(template, opened, with_template):
    assert open_answer([{"role": "user", "content": "Add."}], with_template(template)) == f"{opened}```python"


def test_template_gets_its_arguments(with_template):
    words = with_template(ROLES + "{% if quiet %}<|quiet|>{% endif %}" + generation_prompt())

    text = build_query([{"role": "user", "content": "Add."}], "", words, {"quiet": True}).text

    assert text == "<|user|>Add.<|quiet|><|assistant|>```python"


REFUSES_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role\nnot supported') }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (REFUSES_SYSTEM + ROLES, "cannot render the messages: System role not supported. Change the messages"),
        (ROLES.replace("m.content", "m.content + 1"), "cannot render the messages: can only concatenate str"),
        ("{% for m in messages %}", "cannot render the messages: Unexpected end of template"),
        (None, "the tokenizer has no chat template"),
    ],
)
def test_template_that_refuses_or_is_missing_is_reported(template, reason, with_template):
    words = with_template(template)
    messages = [{"role": "system", "content": "You write Python."}, {"role": "user", "content": "Add."}]

    with pytest.raises(BadInputError, match=f"^Problem 'a/1': .*{reason}") as caught:
        build_query(messages, "", words, task_id="a/1")

    assert "\n" not in str(caught.value)


def test_arguments_of_a_template_are_read_from_json():
    assert read_template_kwargs(None) is None
    assert read_template_kwargs('{"enable_thinking": false}') == {"enable_thinking": False}
    assert read_template_kwargs({"effort": "low"}) == {"effort": "low"}


@pytest.mark.parametrize(
    "value", ["enable_thinking", "[1]", "3", '{"tokenize": true}', {"add_generation_prompt": False}]
)
def test_wrong_arguments_of_a_template_are_refused(value):
    with pytest.raises(BadInputError, match="`chat_template_kwargs`"):
        read_template_kwargs(value)
