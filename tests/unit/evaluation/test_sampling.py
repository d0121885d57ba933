from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation import engines
from stepcoder_trl.evaluation.engines import SamplingPlan
from stepcoder_trl.evaluation.sampling import collect_samples, draw_samples
from stepcoder_trl.steps.queries import build_query


def engine(calls=None, fail_at=None):
    def draw(queries, seed):
        if calls is not None:
            calls.append((len(queries), seed))
        if fail_at is not None and len(calls) == fail_at:
            raise KeyboardInterrupt
        return [f"\n    return {seed + number}\n" for number in range(len(queries))]

    return draw


PLAN = SamplingPlan("model", num_samples=2, batch_size=3)


def test_samples_come_in_the_order_of_the_problems(tmp_path, problems, tokenizer):
    calls: list[tuple[int, int]] = []

    draw_samples(problems, PLAN, tokenizer, engine(calls), tmp_path / "d")
    found = collect_samples(tmp_path / "d", problems, PLAN)

    assert [size for size, _ in calls] == [3, 3, 3, 3, 3, 1]
    assert len({seed for _, seed in calls}) == 6
    assert [(one.task_id, one.sample) for one in found] == [(p.task_id, n) for p in problems for n in range(2)]
    assert found[0].program.startswith("def sign(x):\n    return ")


def test_a_run_that_was_broken_off_goes_on_and_gives_the_same(tmp_path, problems, tokenizer):
    draw_samples(problems, PLAN, tokenizer, engine(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        draw_samples(problems, PLAN, tokenizer, engine([], fail_at=4), tmp_path / "d")
    part = tmp_path / "d" / "part-0.jsonl"
    part.write_text(part.read_text()[:-20])  # killed while it wrote

    again: list[tuple[int, int]] = []
    with pytest.raises(BadInputError, match="samples are missing"):
        collect_samples(tmp_path / "d", problems, PLAN)
    draw_samples(problems, PLAN, tokenizer, engine(again), tmp_path / "d")

    assert len(again) == 4  # the third batch was cut off
    assert collect_samples(tmp_path / "d", problems, PLAN) == collect_samples(tmp_path / "whole", problems, PLAN)


def test_processes_share_the_batches(tmp_path, problems, tokenizer):
    draw_samples(problems, PLAN, tokenizer, engine(), tmp_path / "whole")
    for rank in (1, 0):
        draw_samples(problems, PLAN, tokenizer, engine(), tmp_path / "d", rank, 2)

    assert collect_samples(tmp_path / "d", problems, PLAN) == collect_samples(tmp_path / "whole", problems, PLAN)


def test_samples_of_another_plan_are_not_mixed_in(tmp_path, problems, tokenizer):
    draw_samples(problems[:1], PLAN, tokenizer, engine(), tmp_path)

    with pytest.raises(BadInputError, match=r"drawn with `temperature` 0\.2, not 0\.9"):
        draw_samples(problems, SamplingPlan("model", 2, 3, temperature=0.9), tokenizer, engine(), tmp_path)


def test_what_was_kept_after_a_cut_line_is_not_lost_with_it(tmp_path, problems, tokenizer):
    draw_samples(problems, PLAN, tokenizer, engine(), tmp_path)
    part = tmp_path / "part-0.jsonl"
    part.write_text(part.read_text()[:-20])
    again: list[tuple[int, int]] = []

    draw_samples(problems, PLAN, tokenizer, engine(again), tmp_path)

    assert len(again) == 1
    assert all(json.loads(line) for line in part.read_text().splitlines())


def test_samples_of_another_problem_of_the_same_name_are_drawn_anew(tmp_path, problems, tokenizer):
    draw_samples(problems, PLAN, tokenizer, engine(), tmp_path)
    other = [replace(problems[0], prompt="Something else."), *problems[1:]]
    with pytest.raises(BadInputError, match=f"2 of {2 * len(problems)} samples are missing"):
        collect_samples(tmp_path, other, PLAN)
    again: list[tuple[int, int]] = []

    draw_samples(other, PLAN, tokenizer, engine(again), tmp_path)

    assert again
    assert len(collect_samples(tmp_path, other, PLAN)) == 2 * len(problems)


def test_a_model_that_was_trained_on_is_another_one(tmp_path, problems, tokenizer):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1")
    before = engines.weights_mark(str(model))
    draw_samples(problems[:1], replace(PLAN, weights=before), tokenizer, engine(), tmp_path / "d")
    assert engines.weights_mark(str(model)) == before

    (model / "model.safetensors").write_bytes(b"12")

    with pytest.raises(BadInputError, match="drawn with `weights`"):
        draw_samples(
            problems[:1], replace(PLAN, weights=engines.weights_mark(str(model))), tokenizer, engine(), tmp_path / "d"
        )
    assert engines.weights_mark("a-name/on-the-hub") == ""


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("adapter", [False, True])
def test_a_saved_model_draws_the_same_for_the_same_seed(tmp_path, problems, tokenizer, make_policy, adapter):
    policy = make_policy()
    policy.save_pretrained(tmp_path / "model")
    folder = tmp_path / "model"
    if adapter:
        from peft import LoraConfig, get_peft_model

        policy.config._name_or_path = policy.name_or_path = str(folder)
        wrapped = get_peft_model(policy, LoraConfig(r=2, task_type="CAUSAL_LM"))
        wrapped.save_pretrained(tmp_path / "adapter")
        folder = tmp_path / "adapter"
    plan = SamplingPlan(str(folder), max_new_tokens=5, temperature=1.0)
    draw = engines.transformers_engine(plan, tokenizer, torch.device("cpu"))
    queries = [build_query(problem.prompt, problem.starter_code, tokenizer) for problem in problems[:2]]

    assert draw(queries, 3) == draw(queries, 3)
    assert draw(queries, 3) != draw(queries, 4)


@pytest.fixture
def vllm(monkeypatch, tokenizer):
    """Stand-in for vLLM; returns what it was asked for."""
    asked: dict = {}

    class LLM:
        def __init__(self, **settings):
            asked["model"] = settings

        def generate(self, prompts, settings, use_tqdm, lora_request):
            asked.update(prompts=prompts, settings=settings, adapter=lora_request)
            ids = tokenizer("\n    return 1")["input_ids"]
            return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids)]) for _ in prompts]

    def request(name, number, path):
        return (number, path)

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=LLM, SamplingParams=lambda **kwargs: kwargs))
    monkeypatch.setitem(sys.modules, "vllm.lora.request", SimpleNamespace(LoRARequest=request))
    return asked


def test_vllm_is_asked_for_what_the_plan_says(vllm, problems, tokenizer):
    draw = engines.vllm_engine(PLAN, tokenizer)
    query = build_query(problems[0].prompt, "", tokenizer)

    assert draw([query, query], 7) == ["\n    return 1"] * 2
    assert vllm["model"]["model"] == "model"
    assert vllm["prompts"][0] == {"prompt_token_ids": list(query.token_ids)}
    assert [one["seed"] for one in vllm["settings"]] == [7, 8]
    assert vllm["settings"][0]["stop_token_ids"] == [tokenizer.eos_token_id]
    assert vllm["adapter"] is None


def adapter(folder, **changes):
    """Folder of an adapter, without its weights."""
    from peft import LoraConfig

    LoraConfig(r=20, base_model_name_or_path="base", task_type="CAUSAL_LM", **changes).save_pretrained(str(folder))
    return str(folder)


def test_vllm_applies_an_adapter_to_its_base_model(vllm, tmp_path, problems, tokenizer):
    folder = adapter(tmp_path)
    draw = engines.vllm_engine(replace(PLAN, model=folder), tokenizer)
    draw([build_query(problems[0].prompt, "", tokenizer)], 7)

    assert (vllm["model"]["model"], vllm["model"]["enable_lora"], vllm["model"]["max_lora_rank"]) == ("base", True, 32)
    assert vllm["adapter"] == (1, folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_dora": True}, "it has `use_dora`"),
        ({"modules_to_save": ["lm_head"]}, "it has `modules_to_save`"),
        ({"rank_pattern": {"q_proj": 300}}, "its rank is 300, above 256"),
    ],
)
def test_adapters_that_vllm_does_not_apply_are_refused(vllm, tmp_path, tokenizer, changes, reason):
    plan = replace(PLAN, model=adapter(tmp_path, **changes))

    with pytest.raises(BadInputError, match=rf"cannot apply the adapter .*: {reason}\. Merge it"):
        engines.vllm_engine(plan, tokenizer)


def test_without_vllm_the_error_says_what_to_install(monkeypatch, tokenizer):
    monkeypatch.setitem(sys.modules, "vllm", None)

    with pytest.raises(BadInputError, match=r"pip install stepcoder-trl\[vllm\]"):
        engines.vllm_engine(PLAN, tokenizer)


def test_an_adapter_saved_without_a_tokenizer_has_that_of_its_base(tmp_path, tokenizer):
    folder = adapter(tmp_path / "adapter")
    assert engines.tokenizer_of(folder) == "base"

    tokenizer.save_pretrained(folder)

    assert engines.tokenizer_of(folder) == folder
    assert engines.tokenizer_of("a-name/on-the-hub") == "a-name/on-the-hub"


def test_the_plan_is_kept_beside_the_samples(tmp_path, problems, tokenizer):
    draw_samples(problems[:1], PLAN, tokenizer, engine(), tmp_path / "d")

    assert json.loads((tmp_path / "d" / "plan.json").read_text())["num_samples"] == 2
