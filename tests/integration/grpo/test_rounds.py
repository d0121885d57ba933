"""Rounds of the GRPO trainer: prefixes, executions, rewards, curriculum and metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from trl.rewards import think_format_reward

from stepcoder_trl import BadInputError, Outcome, StepCoderGRPOTrainer, unit_test_reward
from tests.conftest import SIGN
from tests.integration.grpo.helpers import letters
from tests.integration.helpers import BRANCH, RIGHT, WRONG, Answers, logged
from tests.integration.test_options import ran


pytestmark = pytest.mark.sandbox


class Counting:
    """Executor that counts the programs it gets."""

    def __init__(self, executor):
        self.executor, self.programs, self.timeout_s = executor, [], executor.timeout_s

    def run_many(self, *args, **keywords):
        return self.executor.run_many(*args, **keywords)

    def submit(self, program, tests):
        self.programs.append(program)
        return self.executor.submit(program, tests)


def test_each_group_has_one_prefix_and_programs_begin_with_it(make_trainer, tokenizer):
    trainer = make_trainer(max_steps=2)
    trainer.train()

    for this in trainer.seen:
        queries = {start.row.task_id: start.query for start in this.starts}
        assert len(queries) == 2
        for start, row, mask in zip(this.starts, this.result["prompt_ids"], this.result["prompt_mask"], strict=True):
            assert row[mask.bool()].tolist() == list(queries[start.row.task_id].token_ids)
            assert start.stage.stage == 1
            assert tokenizer.decode(start.query.token_ids).endswith(start.stage.prefix.rstrip())
            assert SIGN.startswith(start.stage.prefix)
        assert all(one.program.text.startswith(one.start.query.prefix) for one in this.completions)


def test_prefix_stands_in_the_answer_of_a_chat(make_trainer, problems):
    rows = [{**one.to_row(), "prompt": [{"role": "user", "content": one.prompt}]} for one in problems]
    trainer = make_trainer(dataset=rows, max_steps=1)
    trainer.train()

    (this,) = trainer.seen
    for start in this.starts:
        assert start.query.opened_fence
        assert start.query.text.endswith(f"<|assistant|>\n```python\n{start.stage.prefix}".rstrip())


def test_each_program_is_executed_once(make_trainer, executor):
    counting = Counting(executor)
    trainer = make_trainer(
        keywords={"executor": counting, "reward_funcs": [unit_test_reward, letters]}, max_steps=3, num_train_epochs=3
    )
    trainer.train()

    assert len(trainer.seen) == 3
    assert counting.programs == [one.program.text for this in trainer.seen for one in this.completions]


def test_reward_functions_get_texts_columns_and_executions(make_trainer, problems):
    seen = []

    def reward(prompts, completions, completion_ids, program, prefix, execution, task_id, tests, note, **others):
        seen.append((prompts, completions, program, prefix, execution, task_id, note))
        return [float(one.num_passed) for one in execution]

    rows = [{**one.to_row(), "note": number} for number, one in enumerate(problems)]
    trainer = make_trainer(dataset=rows, keywords={"reward_funcs": reward}, texts=[RIGHT, WRONG], curriculum="off")
    trainer.train()

    prompts, completions, program, prefix, execution, task_id, note = seen[0]
    assert completions == [RIGHT, WRONG] * 4
    assert program == [f"def sign(x):{text}" for text in completions]
    assert set(prefix) == {"def sign(x):"}
    assert prompts == [f"Write sign number {number}.\n" for number in note]
    assert task_id == [f"sign/{number}" for number in note]
    assert [one.num_passed for one in execution] == [3, 1] * 4
    assert trainer.args.scale_rewards == "group"


def test_scale_of_rewards_depends_on_compiler_feedback(make_trainer):
    assert make_trainer().args.scale_rewards == "none"
    assert make_trainer(keywords={"reward_funcs": [letters, unit_test_reward]}).args.scale_rewards == "none"
    assert make_trainer(keywords={"reward_funcs": letters}).args.scale_rewards == "group"
    assert make_trainer(scale_rewards="batch").args.scale_rewards == "batch"


def test_advantages_are_differences_to_the_mean_of_the_group(make_trainer):
    trainer = make_trainer(texts=[RIGHT, WRONG, WRONG, WRONG], curriculum="off", max_steps=1)
    trainer.train()

    mean = (1 - 3 * 0.3) / 4
    expected = [1 - mean, *[-0.3 - mean] * 3] * 2
    assert trainer.seen[0].result["advantages"].tolist() == pytest.approx(expected, abs=1e-6)


def test_solved_groups_move_to_scratch(make_trainer):
    trainer = make_trainer(texts=["\n    return (x > 0) - (x < 0)\n"], max_steps=8, num_train_epochs=8)
    trainer.train()

    drawn = Counter(stage for this in trainer.seen for _, stage, _ in this.results)
    assert drawn[1] == 8 * 4  # each of the eight problems once
    assert drawn[0] == 8 * 8 - 8 * 4
    assert logged(trainer, "curriculum/scratch_share")[-1] == 1.0
    assert logged(trainer, "groups/all_pass") == [1.0] * 8
    assert logged(trainer, "groups/no_spread") == [1.0] * 8
    stages = zip(logged(trainer, "groups/stage_0"), logged(trainer, "groups/stage_1"), strict=True)
    assert list(stages) == [(0.0, 1.0)] * 4 + [(1.0, 0.0)] * 4


def test_solved_groups_stay_if_asked_to(make_trainer):
    trainer = make_trainer(texts=[RIGHT], max_steps=4, curriculum_leave_solved=False)
    trainer.train()

    assert logged(trainer, "curriculum/advanced")[-1] == 0


def test_metrics_of_groups_and_programs(make_trainer):
    trainer = make_trainer(texts=[RIGHT, WRONG, BRANCH, WRONG, *[WRONG] * 4], curriculum="off", max_steps=1)
    trainer.train()

    (entry,) = [one for one in trainer.state.log_history if "groups/none_pass" in one]
    assert (entry["groups/all_pass"], entry["groups/none_pass"], entry["groups/no_spread"]) == (0.0, 0.5, 0.5)
    assert (entry["executor/passed"], entry["executor/failed"]) == (0.125, 0.875)
    assert entry["executor/infrastructure_errors"] == 0
    (this,) = trainer.seen
    kept, valid = this.result["tool_mask"].sum(), this.result["completion_mask"].sum()
    assert entry["fgo/kept_share"] == pytest.approx((kept / valid).item())
    assert kept < valid  # a line of BRANCH does not run


@pytest.mark.parametrize(
    ("rule", "dropped"), [("keep", []), ("drop_no_spread", [1]), ("drop_no_pass", [1, 2])], ids=lambda one: str(one)
)
def test_dropped_groups_leave_the_loss_and_its_denominator(make_trainer, rule, dropped):
    mixed, equal, failing = [RIGHT, WRONG, WRONG, WRONG], [WRONG] * 4, [WRONG, "\n    return (\n", WRONG, WRONG]
    trainer = make_trainer(
        texts=[*mixed, *equal, *failing],
        curriculum="off",
        max_steps=1,
        gradient_accumulation_steps=3,
        uninformative_groups=rule,
    )
    trainer.train()

    (this,) = trainer.seen
    used = [number not in dropped for number in range(3) for _ in range(4)]
    assert this.used == tuple(used)
    valid = this.result["completion_mask"] * torch.tensor(used)[:, None]
    assert this.result["num_items_in_batch"] == valid.sum()
    assert torch.equal(this.result.get("tool_mask", this.result["completion_mask"]) * valid, valid)


def test_evaluation_is_from_scratch_and_leaves_the_curriculum(make_trainer, problems):
    trainer = make_trainer(
        texts=[RIGHT, WRONG],
        keywords={"eval_dataset": problems[:3]},
        eval_strategy="steps",
        eval_steps=1,
        num_generations_eval=2,
        per_device_eval_batch_size=2,
        curriculum_leave_solved=False,
        max_steps=1,
    )
    trainer.train()

    rounds = [this for this in trainer.seen if not this.training]
    starts = [(start.stage, start.query.prefix) for this in rounds for start in this.starts]
    assert starts == [(None, "def sign(x):")] * 6
    assert trainer.rounds == 1
    assert logged(trainer, "eval_pass@1") == [0.5]
    assert logged(trainer, "eval_pass@2") == [1.0]
    assert logged(trainer, "eval_executor/passed") == [0.5]


def test_evaluation_of_a_given_set_outside_training(make_trainer, problems):
    trainer = make_trainer(
        texts=[RIGHT], keywords={"executor": None}, num_generations_eval=1, per_device_eval_batch_size=2
    )

    metrics = trainer.evaluate(problems[:2])

    assert metrics["eval_pass@1"] == 1.0
    assert trainer.executor is None


def test_named_evaluation_sets(make_trainer, problems):
    trainer = make_trainer(
        texts=[RIGHT, RIGHT, RIGHT, WRONG],
        keywords={"eval_dataset": {"easy": problems[:2], "hard": problems[2:4]}},
        num_generations_eval=1,
        per_device_eval_batch_size=2,
    )

    metrics = trainer.evaluate()

    assert {"eval_easy_loss", "eval_hard_loss"} <= metrics.keys()
    assert (metrics["eval_easy_pass@1"], metrics["eval_hard_pass@1"]) == (1.0, 0.5)


def test_best_checkpoint_is_that_with_most_passes(make_trainer, problems):
    trainer = make_trainer(
        texts=[*[WRONG] * 10, *[RIGHT] * 10, *[WRONG] * 10],
        keywords={"eval_dataset": problems[:2]},
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="best",
        metric_for_best_model="pass@1",
        num_generations_eval=1,
        per_device_eval_batch_size=2,
        max_steps=3,
    )
    trainer.train()

    assert logged(trainer, "eval_pass@1") == [0.0, 1.0, 0.0]
    assert trainer.state.best_metric == 1.0
    # One for each evaluation that was the best so far. transformers 5.0 does not note which one it was.
    saved = {path.name for path in Path(trainer.args.output_dir).glob("checkpoint-*")}
    assert saved == {"checkpoint-1", "checkpoint-2"}


@pytest.mark.parametrize("names", [("easy", "hard"), ()])
def test_best_checkpoint_is_that_of_the_first_set_or_of_the_reward(make_trainer, problems, names):
    sets = dict.fromkeys(names, problems[:2]) or [{"prompt": "a"}, {"prompt": "b"}]
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    options |= {"num_generations_eval": 1, "per_device_eval_batch_size": 2, "load_best_model_at_end": True}
    trainer = make_trainer(keywords={"eval_dataset": sets, "reward_funcs": letters}, **options)

    trainer.train()

    assert trainer.args.metric_for_best_model == ("easy_pass@1" if names else "reward")
    assert trainer.state.best_metric is not None


def test_unknown_metric_for_the_best_checkpoint_is_one_line(make_trainer, problems):
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "best", "metric_for_best_model": "passes"}
    options |= {"num_generations_eval": 1, "per_device_eval_batch_size": 2, "max_steps": 1}
    trainer = make_trainer(keywords={"eval_dataset": problems[:2]}, **options)

    with pytest.raises(BadInputError, match=r"'passes', but an evaluation measures .*eval_pass@1, eval_reward"):
        trainer.train()


def test_predict_names_evaluate(make_trainer, problems):
    with pytest.raises(BadInputError, match=r"`predict` is not supported: .* Call `evaluate\(dataset, metric_key"):
        make_trainer().predict(problems[:2])


def test_dataset_of_datasets_is_taken(make_trainer, problems):
    rows = [{"task_id": one.task_id, "prompt": one.prompt, "starter_code": one.starter_code} for one in problems]
    trainer = make_trainer(dataset=Dataset.from_list(rows), keywords={"reward_funcs": letters})
    trainer.train()

    assert {start.query.prefix for this in trainer.seen for start in this.starts} == {"def sign(x):"}


def test_model_and_tokenizer_may_be_a_path(make_policy, tokenizer, tmp_path, make_args, problems, executor):
    make_policy().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")

    trainer = StepCoderGRPOTrainer(
        str(tmp_path / "model"), args=make_args(max_steps=1), train_dataset=problems, executor=executor
    )

    trainer.train()
    assert trainer.rounds == 1


def test_completions_are_logged_with_outcome_and_stage(make_trainer, tmp_path):
    import pandas

    trainer = make_trainer(texts=[RIGHT, WRONG], max_steps=1, log_completions=True)
    trainer.train()

    table = pandas.read_parquet(next((tmp_path / "run" / "completions").glob("*.parquet")))
    assert sorted(set(table["outcome"])) == ["failed", "passed"]
    assert set(table["stage"]) == {1}
    assert set(table["task_id"]) < {f"sign/{number}" for number in range(8)}


@pytest.mark.parametrize("chat", [False, True], ids=["text", "chat"])
def test_query_has_one_bos(make_trainer, problems, tokenizer, chat):
    from tokenizers.processors import TemplateProcessing

    adding = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        padding_side="left",
        chat_template="<bos>" + tokenizer.chat_template,
    )
    bos = adding.bos_token_id
    adding.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", bos)])
    rows = [{**one.to_row(), "prompt": [{"role": "user", "content": one.prompt}]} for one in problems]
    trainer = make_trainer(
        dataset=rows if chat else problems, keywords={"processing_class": adding}, texts=[RIGHT], max_steps=1
    )
    trainer.train()

    (this,) = trainer.seen
    for row, mask in zip(this.result["prompt_ids"], this.result["prompt_mask"], strict=True):
        ids = row[mask.bool()].tolist()
        assert ids[0] == bos
        assert ids.count(bos) == 1


def test_completions_of_chats_are_messages(make_trainer, problems):
    seen = []

    def reward(prompts, completions, **columns):
        seen.extend(zip(prompts, completions, strict=True))
        return [0.0] * len(completions)

    chats = [replace(one, prompt=[{"role": "user", "content": one.prompt}]) for one in problems]
    make_trainer(dataset=chats, keywords={"reward_funcs": reward}, texts=[RIGHT], max_steps=1).train()

    assert all(isinstance(prompt, list) and [one["role"] for one in prompt] == ["user"] for prompt, _ in seen)
    assert {completion[0]["content"] for _, completion in seen} == {RIGHT}
    assert {completion[0]["role"] for _, completion in seen} == {"assistant"}


@pytest.mark.parametrize(("choice", "scored"), [("accept", True), ("drop", False)])
def test_untrusted_passes_are_dropped_or_accepted(make_trainer, executor, choice, scored):
    answers = [ran(trusted=False), ran(), ran(Outcome.FAILED, trusted=False), ran(Outcome.FAILED)] * 2
    keywords = {"executor": Answers(executor, answers)}
    trainer = make_trainer(texts=[RIGHT], keywords=keywords, untrusted_passes=choice, max_steps=1)
    trainer.train()

    assert [score is not None for score in trainer.seen[0].scores] == [scored, True, True, True] * 2
    assert logged(trainer, "executor/untrusted_passes") == [2.0]


def test_arguments_of_the_chat_template_reach_the_query(make_trainer, problems, tokenizer):
    thinking = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token="<eos>",
        pad_token="<pad>",
        padding_side="left",
        chat_template="{% if short %}Be short.\n{% endif %}" + tokenizer.chat_template,
    )
    chats = [replace(one, prompt=[{"role": "user", "content": one.prompt}]) for one in problems]
    trainer = make_trainer(
        dataset=chats, keywords={"processing_class": thinking}, texts=[RIGHT], chat_template_kwargs={"short": True}
    )

    assert "Be short." in trainer.build_query(trainer.training_set.rows[0], "").text


async def takes_little(completions):
    return [float(len(one[0]["content"])) for one in completions]


def test_rewards_of_trl_and_functions_by_name_score_chats(make_trainer, problems):
    rows = [{**one.to_row(), "prompt": [{"role": "user", "content": one.prompt}]} for one in problems]
    funcs = [think_format_reward, takes_little, "stepcoder"]
    trainer = make_trainer(
        dataset=rows, max_steps=1, texts=["ab"], reward_weights=[1.0, 0.5, 0.0], keywords={"reward_funcs": funcs}
    )
    trainer.train()

    (this,) = trainer.seen
    assert this.scores == (1.0,) * 8
    assert logged(trainer, "rewards/takes_little/mean") == [2.0]


def test_wrong_number_of_weights_is_refused(make_trainer):
    with pytest.raises(BadInputError, match="`reward_weights` has 1 values, but there are 2 reward functions"):
        make_trainer(reward_weights=[1.0], keywords={"reward_funcs": ["stepcoder", letters]})
