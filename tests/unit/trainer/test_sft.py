from __future__ import annotations

import copy
import dataclasses
import logging
from types import SimpleNamespace

import pytest
from transformers import TrainerState

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer.sft import SolutionsCallback, check_problems, failing_solutions, sft_dataset, sft_row
from stepcoder_trl.trainer.shared_options import ExecutorOptions


def test_only_the_solution_is_in_the_loss(problems, tokenizer):
    row = sft_row(problems[0], tokenizer)

    learnt = [token for token, mask in zip(row["input_ids"], row["completion_mask"], strict=True) if mask]
    shown = row["input_ids"][: row["completion_mask"].index(1)]
    assert tokenizer.decode(shown) == "Write sign number 0.\ndef sign(x):"
    assert learnt[-1] == tokenizer.eos_token_id
    assert "def sign(x):" + tokenizer.decode(learnt[:-1]) == problems[0].canonical_solution.rstrip("\n")


def test_an_opened_fence_is_closed(problems, tokenizer):
    chat = dataclasses.replace(problems[0], prompt=[{"role": "user", "content": "Write it."}])

    row = sft_row(chat, tokenizer)

    assert tokenizer.decode(row["input_ids"][:-1]).endswith("return None\n```")


def test_refusal_of_the_chat_template_names_the_problem(problems, tokenizer):
    refusing = copy.deepcopy(tokenizer)
    refusing.chat_template = "{{ raise_exception('System role not supported') }}"
    chat = dataclasses.replace(problems[1], prompt=[{"role": "system", "content": "Write it."}])

    with pytest.raises(BadInputError, match=r"Problem 'sign/1': .*System role not supported"):
        sft_dataset([problems[0], chat], refusing)


def test_chat_template_gets_its_arguments(problems, tokenizer):
    asking = copy.deepcopy(tokenizer)
    asking.chat_template = "{{ effort }}{% for message in messages %}{{ message.content }}{% endfor %}"
    chat = dataclasses.replace(problems[0], prompt=[{"role": "user", "content": "Write it."}])

    dataset, _ = sft_dataset([chat], asking, {"effort": "low"})

    assert tokenizer.decode(dataset[0]["input_ids"]).startswith("lowWrite it.```python\ndef sign(x):")


def test_problems_without_usable_solution_are_left_out_and_named(problems, tokenizer):
    without = dataclasses.replace(problems[1], canonical_solution="")
    other = dataclasses.replace(problems[2], canonical_solution="sign = None")

    dataset, left_out = sft_dataset([problems[0], without, other], tokenizer)

    assert len(dataset) == 1
    assert "'sign/1' has no `canonical_solution`" in left_out[0]
    assert "'sign/2' does not begin with its starter code" in left_out[1]
    with pytest.raises(BadInputError, match="No problem can be learnt from"):
        sft_dataset([without], tokenizer)


@pytest.mark.sandbox
def test_problems_whose_solution_fails_its_tests_are_left_out_and_named(problems, tokenizer, caplog):
    wrong = dataclasses.replace(problems[1], canonical_solution="def sign(x):\n    return 7\n")
    given = [problems[0], wrong, dataclasses.replace(problems[2], canonical_solution="")]

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        failing = failing_solutions(given, ExecutorOptions(executor_workers=1).executor_choice(), show_progress=False)
    dataset, left_out = sft_dataset(given, tokenizer, failing=failing)

    assert failing == {"sign/1": "failed"}
    assert "1 of 2 solutions fail their tests: sign/1 (failed). They are left out. Check" in caplog.text
    assert len(dataset) == 1
    assert left_out[0] == "The `canonical_solution` of problem 'sign/1' fails its tests (failed)."


def test_solutions_are_not_run_again_after_a_checkpoint_of_the_same_problems(problems, tmp_path):
    class Unused:
        def open(self):
            raise LookupError("programs are run")

    checkpoint, args = tmp_path / "checkpoint-2", SimpleNamespace(output_dir=tmp_path)
    checkpoint.mkdir()
    SolutionsCallback(problems, {"sign/1": "failed"}).on_save(args, TrainerState(global_step=2), None)

    assert failing_solutions(problems, Unused(), False, checkpoint) == {"sign/1": "failed"}
    with pytest.raises(LookupError):
        failing_solutions(problems[1:], Unused(), False, checkpoint)
    check_problems(checkpoint, problems)
    with pytest.raises(BadInputError, match="checkpoint-2 was saved with other problems"):
        check_problems(checkpoint, problems[1:])
