from __future__ import annotations

import copy
import sys
from types import SimpleNamespace

import pytest
import torch
import transformers

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation import engines, places
from stepcoder_trl.evaluation.generation import SamplingConfig
from stepcoder_trl.evaluation.sampling import GeneratedText
from stepcoder_trl.steps.queries import build_query


def sampling(tokenizer):
    return SamplingConfig(1024, 0.2, 0.95, tokenizer.eos_token_id)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("adapter", [False, True])
def test_saved_model_gives_same_completions_for_same_seed(tmp_path, problems, tokenizer, make_policy, adapter):
    policy = make_policy()
    policy.save_pretrained(tmp_path / "model")
    folder = tmp_path / "model"
    if adapter:
        from peft import LoraConfig, get_peft_model

        policy.config._name_or_path = policy.name_or_path = str(folder)
        wrapped = get_peft_model(policy, LoraConfig(r=2, task_type="CAUSAL_LM"))
        wrapped.save_pretrained(tmp_path / "adapter")
        folder = tmp_path / "adapter"
    engine = engines.transformers_engine(
        str(folder), "auto", tokenizer, SamplingConfig(5, temperature=1.0), torch.device("cpu")
    )
    queries = [build_query(problem.prompt, problem.starter_code, tokenizer) for problem in problems[:2]]

    assert engine(queries, 3) == engine(queries, 3)
    assert engine(queries, 3) != engine(queries, 4)


@pytest.mark.parametrize("named", [True, False])
def test_eos_token_of_the_generation_settings_ends_a_completion(problems, tokenizer, make_policy, named):
    words = copy.deepcopy(tokenizer)
    if not named:
        words.eos_token = None
    policy = make_policy().eval()
    (end,) = tokenizer("x")["input_ids"]
    policy.generation_config.eos_token_id = [end]
    policy.lm_head.weight.data[:] = 0.0
    policy.lm_head.bias = torch.nn.Parameter(torch.nn.functional.one_hot(torch.tensor(end), len(words)).float())

    engine = engines.model_engine(policy, words, SamplingConfig(5, 0.0, stop_token_id=words.eos_token_id))
    (made,) = engine([build_query(problems[0].prompt, "", words)], 3)

    assert (made.text, made.num_tokens, made.stopped) == ("", 1, True)


@pytest.fixture
def vllm(monkeypatch, tokenizer):
    """Fake vLLM. Returns the arguments of its calls."""
    calls: dict = {}

    class LLM:
        def __init__(self, **settings):
            calls["model"] = settings

        def generate(self, prompts, settings, use_tqdm, lora_request):
            calls.update(prompts=prompts, settings=settings, adapter=lora_request)
            ids = tokenizer(calls.get("text", "\n    return 1"))["input_ids"]
            return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, finish_reason="stop")]) for _ in prompts]

    def request(name, number, path):
        return (number, path)

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=LLM, SamplingParams=lambda **kwargs: kwargs))
    monkeypatch.setitem(sys.modules, "vllm.lora.request", SimpleNamespace(LoRARequest=request))
    return calls


def test_vllm_receives_settings_and_seeds(vllm, problems, tokenizer):
    engine = engines.vllm_engine("model", "auto", tokenizer, sampling(tokenizer), seed=0)
    query = build_query(problems[0].prompt, "", tokenizer)

    text = "\n    return 1"
    assert engine([query, query], 7) == [GeneratedText(text, len(tokenizer(text)["input_ids"]), True)] * 2
    assert vllm["model"]["model"] == "model"
    assert vllm["prompts"][0] == {"prompt_token_ids": list(query.token_ids)}
    assert [one["seed"] for one in vllm["settings"]] == [7, 8]
    assert vllm["settings"][0]["stop_token_ids"] == [tokenizer.eos_token_id]
    assert vllm["adapter"] is None


def adapter(folder, **changes):
    """Writes the settings of an adapter. Returns the folder."""
    from peft import LoraConfig

    LoraConfig(r=20, base_model_name_or_path="base", task_type="CAUSAL_LM", **changes).save_pretrained(str(folder))
    return str(folder)


def test_vllm_stops_at_the_closing_fence_of_an_opened_one(vllm, tokenizer):
    queries = [build_query([{"role": "user", "content": "x"}], "", tokenizer), build_query("x", "", tokenizer)]
    engine = engines.vllm_engine("model", "auto", tokenizer, sampling(tokenizer), seed=0)
    vllm["text"] = "\nx = 1\n```\nDone."

    fenced, plain = engine(queries, 7)

    assert [one["stop"] for one in vllm["settings"]] == [["\n```"], []]
    assert (fenced.text, plain.text) == ("\nx = 1\n```", vllm["text"])


def test_vllm_applies_adapter_to_base_model(vllm, tmp_path, problems, tokenizer):
    folder = adapter(tmp_path)
    engine = engines.vllm_engine(folder, "auto", tokenizer, sampling(tokenizer), seed=0)
    engine([build_query(problems[0].prompt, "", tokenizer)], 7)

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
def test_adapter_that_vllm_does_not_support_is_rejected(vllm, tmp_path, tokenizer, changes, reason):
    folder = adapter(tmp_path, **changes)

    with pytest.raises(BadInputError, match=rf"cannot apply the adapter .*: {reason}\. Merge it"):
        engines.vllm_engine(folder, "auto", tokenizer, sampling(tokenizer), seed=0)


@pytest.mark.skipif(transformers.__version__.startswith("5.0."), reason="transformers 5.0 makes up a tokenizer")
def test_folder_without_tokenizer_is_named_in_one_line(tmp_path):
    from transformers import AutoTokenizer

    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    with pytest.raises(BadInputError) as raised, engines.loading(str(tmp_path)):
        AutoTokenizer.from_pretrained(tmp_path)

    assert f"The model {str(tmp_path)!r} cannot be loaded: " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_vllm_error_names_command(monkeypatch, tokenizer):
    monkeypatch.setitem(sys.modules, "vllm", None)

    with pytest.raises(BadInputError, match=r"pip install stepcoder-trl\[vllm\]"):
        engines.vllm_engine("model", "auto", tokenizer, sampling(tokenizer), seed=0)


def test_adapter_without_tokenizer_uses_tokenizer_source_base_model(tmp_path, tokenizer):
    folder = adapter(tmp_path / "adapter")
    assert places.tokenizer_source(folder) == "base"

    tokenizer.save_pretrained(folder)

    assert places.tokenizer_source(folder) == folder
    assert places.tokenizer_source("a-name/on-the-hub") == "a-name/on-the-hub"


def test_hub_that_cannot_be_reached_is_one_line_at_once(monkeypatch):
    asked = []

    def connect(address, timeout):
        asked.append((address, timeout))
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(places, "getproxies", dict)
    monkeypatch.setattr("socket.create_connection", connect)

    with pytest.raises(BadInputError, match=r"no such folder, and the Hub, \S+, cannot be reached \(Name or service"):
        with engines.loading("someone/model"):
            pytest.fail("asked the Hub")

    assert asked == [(("huggingface.co", 443), 5.0)]


def test_folder_with_the_name_of_an_owner_leaves_models_of_the_hub_alone(tmp_path, monkeypatch):
    (tmp_path / "someone").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "config.json")

    with engines.loading("someone/model"):
        pass


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["GPU", "CPU"],
)
def test_memory_that_ran_out_is_no_bad_input(tmp_path, error):
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(type(error), match="alloc"):
        with engines.loading(str(tmp_path)):
            raise error
