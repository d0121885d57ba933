"""
Write the model card of a training run: base model, data, method, settings and results.

All facts are passed in. The metadata follow the Hugging Face Hub.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_trl.reports.rollouts import evenly_spaced
from stepcoder_trl.reports.run_facts import METHODS, PASS_AT, RunFacts, changed_settings, public_settings
from stepcoder_trl.rewards import REWARDS


CARD = "README.md"
CURVE = "learning_curve.png"
TAGS = {
    "ppo": ("trl", "ppo", "stepcoder", "code", "reinforcement-learning"),
    "grpo": ("trl", "grpo", "stepcoder", "code", "reinforcement-learning"),
    "sft": ("trl", "sft", "stepcoder", "code"),
}
_MAX_ROWS = 12
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_STEPCODER = """@article{dou2024stepcoder,
  title   = {StepCoder: Improve Code Generation with Reinforcement Learning from Compiler Feedback},
  author  = {Dou, Shihan and Liu, Yan and Jia, Haoxiang and others},
  journal = {arXiv preprint arXiv:2402.01391},
  year    = {2024}
}"""
_PPO = """@article{schulman2017proximal,
  title   = {Proximal Policy Optimization Algorithms},
  author  = {Schulman, John and Wolski, Filip and Dhariwal, Prafulla and Radford, Alec and Klimov, Oleg},
  journal = {arXiv preprint arXiv:1707.06347},
  year    = {2017}
}"""
_GRPO = """@article{shao2024deepseekmath,
  title   = {DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models},
  author  = {Shao, Zhihong and Wang, Peiyi and Zhu, Qihao and others},
  journal = {arXiv preprint arXiv:2402.03300},
  year    = {2024}
}"""
_TRL = """@software{vonwerra2020trl,
  title  = {TRL: Transformers Reinforcement Learning},
  author = {von Werra, Leandro and Belkada, Younes and Tunstall, Lewis and Beeching, Edward and others},
  url    = {https://github.com/huggingface/trl},
  year   = {2020}
}"""
_CITATIONS = {"ppo": (_STEPCODER, _PPO, _TRL), "grpo": (_STEPCODER, _GRPO, _TRL), "sft": (_STEPCODER, _TRL)}


def model_card(facts: RunFacts) -> str:
    """Write a model card, to be saved as `README.md`: Markdown with a YAML header."""
    sections = [
        f"# {_line(facts.model_name)}",
        _summary(facts),
        "## Results",
        _results(facts),
        "## Learning curve",
        _learning_curve(facts),
        "## Method",
        _method(facts),
        *([] if facts.method == "sft" else ["## Sandbox", _sandbox(facts)]),
        "## Use",
        _use(facts),
        "## Settings",
        _settings(facts),
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in facts.versions.items()) + ".",
        "## Citation",
        "```bibtex\n" + "\n\n".join(_CITATIONS[facts.method]) + "\n```",
    ]
    return f"---\n{_metadata(facts)}\n---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(facts: RunFacts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Code generation",
            dataset_type=rate.data if _on_hub(rate.data) else _slug(rate.data),
            dataset_name=_line(rate.data),
            metric_type=f"pass@{rate.k}",
            metric_name=f"pass@{rate.k}",
            metric_value=round(rate.value, 6),
        )
        for rate in facts.pass_rates
    ]
    data = ModelCardData(
        base_model=facts.base_model if _on_hub(facts.base_model) else None,
        datasets=[facts.training_data] if facts.training_data and _on_hub(facts.training_data) else None,
        eval_results=results or None,
        library_name="peft" if facts.adapter else "transformers",
        model_name=_line(facts.model_name),
        pipeline_tag="text-generation",
        tags=list(dict.fromkeys([*TAGS[facts.method], *facts.tags])),
    )
    return str(data.to_yaml())


def _on_hub(name: str | None) -> bool:
    return name is not None and _HUB_NAME.fullmatch(name) is not None


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "local"


def _line(text: str) -> str:
    """Join all words into one line."""
    return " ".join(text.split())


def _cell(value: Any) -> str:
    """Return a value as text for one cell of a Markdown table."""
    return _line(json.dumps(value) if not isinstance(value, str) else value).replace("|", "\\|")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _summary(facts: RunFacts) -> str:
    kind = "LoRA adapter" if facts.adapter else "model"
    base = f"`{_line(facts.base_model)}`" if facts.base_model else "a model that was not loaded by a name"
    data = f"`{_line(facts.training_data)}`" if facts.training_data else "not named"
    licence = _line(facts.training_data_license) if facts.training_data_license else "not given"
    trained = {
        "ppo": "trained with StepCoder PPO on the results of unit tests",
        "grpo": "trained with StepCoder on GRPO, on the results of unit tests",
        "sft": "fine-tuned on canonical solutions",
    }
    rewards = [name for name, _ in facts.rewards]
    how = trained[facts.method] if set(rewards) <= _TEST_REWARDS else f"trained with {METHODS[facts.method]}"
    progress = [f"update {facts.update} of {facts.num_updates}"]
    progress += [f"{facts.episodes} completions"] if facts.episodes else []
    processes = f"{facts.num_processes} process{'es' if facts.num_processes > 1 else ''}"
    return (
        f"A {kind} for writing Python programs: {base}, {how}.\n\n"
        f"- Base model: {base}. Its licence holds for this {kind} too.\n"
        f"- Training data: {data}, {facts.num_problems} problems. Licence of the data: {licence}.\n"
        f"- Progress: {', '.join(progress)}, seed {facts.settings.get('seed')}, {processes}."
    )


def _results(facts: RunFacts) -> str:
    if not facts.pass_rates:
        return (
            "These weights were not evaluated. `stepcoder-trl evaluate --model FOLDER --problems FILE` adds its "
            "results to this card."
        )
    rows = [
        [_cell(rate.data), f"pass@{rate.k}", f"{rate.value:.4f}", _cell(rate.sampling)] for rate in facts.pass_rates
    ]
    return (
        _table(["data", "metric", "value", "sampling"], rows)
        + "\n\nPrograms were written from scratch. A program passes if it passes every test of its problem."
    )


_CURVES = {
    "objective/scores": "score",
    "reward": "score",
    "loss": "loss",
    "mean_token_accuracy": "tokens predicted right",
    "kl": "KL per token",
    "executor/passed": "passing",
    "objective/kl": "KL",
    "fgo/kept_share": "kept tokens",
    "curriculum/scratch_share": "from scratch",
}


def curve_points(history: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """
    Collect points `(update, value)` by curve title from logged metrics.

    A value of `None`, which stands for a metric that was not measured, is left out.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for entry in history:
        for name, value in entry.items():
            title = _CURVES.get(name) or (name.removeprefix("eval_") if PASS_AT.fullmatch(name) else None)
            if title is not None and "step" in entry and isinstance(value, (int, float)):
                curves.setdefault(title, []).append((entry["step"], value))
    return curves


def _learning_curve(facts: RunFacts) -> str:
    curves = {name: dict(points) for name, points in curve_points(facts.history).items()}
    updates = sorted({update for points in curves.values() for update in points})
    if not updates:
        return "Nothing was logged."
    rows = [
        [f"{update:g}", *(f"{points[update]:.4g}" if update in points else "" for points in curves.values())]
        for update in evenly_spaced(updates, _MAX_ROWS)
    ]
    plot = [f"![Learning curve]({CURVE})"] if facts.curve else []
    return "\n\n".join([*plot, _table(["update", *map(_cell, curves)], rows)])


def _method(facts: RunFacts) -> str:
    settings = facts.settings
    if facts.method == "sft":
        return (
            "Supervised fine-tuning with TRL's `SFTTrainer`, by stepcoder-trl. The loss counts the tokens of the "
            "canonical solution after its starter code, and the end. Queries are built as for generation."
        )
    paper = {
        "ppo": "PPO (Schulman et al., arXiv:1707.06347)",
        "grpo": "GRPO (Shao et al., arXiv:2402.03300)",
    }
    return (
        f"{paper[facts.method]} with parts of StepCoder (Dou et al., arXiv:2402.01391), by stepcoder-trl on TRL:\n\n"
        + _rewards(facts)
        + f"- *Curriculum of Code Completion Subtasks* (`curriculum` is `{settings.get('curriculum')}`): "
        + _CURRICULA.get(str(settings.get("curriculum")), _CURRICULA["paper"])
        + f"\n- *Fine-Grained Optimization* (`fgo` is `{settings.get('fgo')}`): "
        + _FGO.get(str(settings.get("fgo")), _FGO["lines"])
    )


_TEST_REWARDS = {"unit_test_reward", "mean_test_reward"}
_COMPILER_FEEDBACK = (
    "each program is run against the tests of its problem. The score is 1 if all pass, -0.3 for a wrong answer, -0.6 "
    "for a runtime error, timeout or memory limit, and -1 for a compile error"
)
_CURRICULA = {
    "paper": "the model first completes the end of each canonical solution, then gradually more of it.",
    "off": "not used. The model wrote every program from scratch.",
}
_FGO = {
    "lines": "the policy loss leaves out tokens of lines that no test ran.",
    "off": "not used. The policy loss counts every token.",
    "random": "as a control, the policy loss leaves out as many tokens as lines that no test ran have, at random.",
    "tests": "the policy loss gives each token the credit of the tests that ran its line.",
    "tests_random": "as a control, the credit of the tests is permuted among the tokens that a test ran.",
}


def _rewards(facts: RunFacts) -> str:
    """Return one item for each reward, with its weight."""
    if not facts.rewards:
        return ""
    known = {func.__name__: (inspect.getdoc(func) or "").partition("\n")[0] for func in REWARDS.values()}
    known["unit_test_reward"] = _COMPILER_FEEDBACK
    known["mean_test_reward"] = f"the mean over the tests, each by itself: {_COMPILER_FEEDBACK}"
    known["reward_model"] = "score of a reward model"
    items = []
    for name, weight in facts.rewards:
        meaning = known.get(name, "a function of the script that trained this model").rstrip(".")
        items.append(f"- *Reward* `{_line(name)}`, weight {weight:g}: {meaning[0].lower()}{meaning[1:]}.\n")
    return "".join(items)


def _sandbox(facts: RunFacts) -> str:
    if facts.backend is None:
        return "No program was run. The score came from a reward model or a reward function."
    active = ", ".join(name for name, is_active in facts.layers.items() if is_active) or "unknown"
    missing = ", ".join(name for name, is_active in facts.layers.items() if not is_active)
    note = f" Missing on that machine: {missing}." if missing else ""
    return (
        f"Programs were run by `{facts.backend}`. Active isolation layers: {active}.{note} Programs that this model "
        "writes are untrusted: run them only in a sandbox."
    )


def _use(facts: RunFacts) -> str:
    form = (
        "The requirement stands in the chat template of training, and the answer begins with an open code fence."
        if facts.query.is_chat
        else "A prompt ends with the starter code of its problem, without trailing white space."
    )
    critic = (
        " The folder `value_model/` holds the critic. It is needed only to train further."
        if facts.method == "ppo"
        else ""
    )
    return f"{form} This example runs as it is:\n\n```python\n{generate_example(facts)}```\n{critic}".rstrip()


def generate_example(facts: RunFacts) -> str:
    """Return a Python program that loads the model, and writes a program from a query of the form of training."""
    settings, query = facts.settings, facts.query
    loader, load = ("transformers", "AutoModelForCausalLM"), "AutoModelForCausalLM"
    comment = ""
    if facts.adapter:
        loader, load = ("peft", "AutoPeftModelForCausalLM"), "AutoPeftModelForCausalLM"
        comment = "  # loads the base model too"
    imports = [f"from {loader[0]} import {loader[1]}", "from transformers import AutoTokenizer"]
    if not facts.adapter:
        imports = ["from transformers import AutoModelForCausalLM, AutoTokenizer"]
    around = [json.dumps(query.before)] * bool(query.before), [json.dumps(query.after)] * bool(query.after)
    parts = [*around[0], "requirement", *around[1], "starter_code"]
    end = "" if query.is_chat else "\\n"
    length = settings.get("response_length") or settings.get("max_completion_length") or 512
    special = "" if query.special_tokens else ", add_special_tokens=False"
    lines = [
        *imports,
        "",
        f"name = {json.dumps(_line(facts.model_name))}",
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        f"model = {load}.from_pretrained(name){comment}",
        "",
        f'requirement = "Write a function that returns the sum of two numbers.{end}"',
        'starter_code = "def add(a, b):"',
        f"query = {' + '.join(parts)}",
        f'inputs = tokenizer(query, return_tensors="pt", return_token_type_ids=False{special})',
        f"output = model.generate(**inputs, max_new_tokens={length}, do_sample=True, temperature=0.2, top_p=0.95)",
        'completion = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)',
        'print(starter_code + completion.split("\\n```")[0])',
    ]
    return "\n".join(lines) + "\n"


def critic_card(facts: RunFacts) -> str:
    """Write the card of the critic, to be saved as `value_model/README.md`."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=facts.base_model if _on_hub(facts.base_model) else None,
        library_name="peft" if facts.adapter else "transformers",
        tags=[*TAGS[facts.method], "critic"],
    )
    kind = "A LoRA adapter with a head" if facts.adapter else "A sequence classifier with one label"
    base = f"`{_line(facts.base_model)}`" if facts.base_model else "a model that was not loaded by a name"
    return (
        f"---\n{data.to_yaml()}\n---\n\n# Critic of {_line(facts.model_name)}\n\n"
        f"{kind} on {base}. It estimates, at each token of a program, the score that the program will get. Training "
        f"with PPO used it (update {facts.update} of {facts.num_updates}). It writes no programs, and is needed only "
        "to train further: pass it as `value_model`. The model and all facts about the run stand one folder up.\n"
    )


def _settings(facts: RunFacts) -> str:
    public = public_settings(facts)
    changed = [[f"`{name}`", _cell(value), _cell(default)] for name, value, default in changed_settings(facts)]
    all_settings = json.dumps(public, indent=2, sort_keys=True)
    return (
        _table(["setting", "value", "default"], changed)
        + f"\n\n<details><summary>All settings</summary>\n\n```json\n{all_settings}\n```\n\n</details>"
    )
