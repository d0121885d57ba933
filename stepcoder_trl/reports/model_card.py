"""
Write the model card of a training run: base model, data, method, settings and results.

All facts are passed in. The metadata follow the Hugging Face Hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_trl.reports.rollouts import evenly_spaced
from stepcoder_trl.reports.run_facts import PASS_AT, RunFacts, changed_settings, public_settings


CARD = "README.md"
CURVE = "learning_curve.png"
TAGS = ("trl", "ppo", "stepcoder", "code", "reinforcement-learning")
_MAX_ROWS = 12
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_CITATIONS = """```bibtex
@article{dou2024stepcoder,
  title   = {StepCoder: Improve Code Generation with Reinforcement Learning from Compiler Feedback},
  author  = {Dou, Shihan and Liu, Yan and Jia, Haoxiang and others},
  journal = {arXiv preprint arXiv:2402.01391},
  year    = {2024}
}

@article{schulman2017proximal,
  title   = {Proximal Policy Optimization Algorithms},
  author  = {Schulman, John and Wolski, Filip and Dhariwal, Prafulla and Radford, Alec and Klimov, Oleg},
  journal = {arXiv preprint arXiv:1707.06347},
  year    = {2017}
}

@software{vonwerra2020trl,
  title  = {TRL: Transformers Reinforcement Learning},
  author = {von Werra, Leandro and Belkada, Younes and Tunstall, Lewis and Beeching, Edward and others},
  url    = {https://github.com/huggingface/trl},
  year   = {2020}
}
```"""


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
        "## Sandbox",
        _sandbox(facts),
        "## Use",
        _use(facts),
        "## Settings",
        _settings(facts),
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in facts.versions.items()) + ".",
        "## Citation",
        _CITATIONS,
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
        tags=list(dict.fromkeys([*TAGS, *facts.tags])),
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
    base = f"`{_line(facts.base_model)}`" if facts.base_model else "a model without a name"
    data = f"`{_line(facts.training_data)}`" if facts.training_data else "a training set without a name"
    licence = _line(facts.training_data_license) if facts.training_data_license else "not given"
    return (
        f"A {kind} for writing Python programs: {base}, trained with StepCoder PPO on the results of unit tests.\n\n"
        f"- Base model: {base}. Its licence holds for this {kind} too.\n"
        f"- Training data: {data}, {facts.num_problems} problems. Licence of the data: {licence}.\n"
        f"- Progress: update {facts.update} of {facts.num_updates}, {facts.episodes} completions, seed "
        f"{facts.settings.get('seed')}, {facts.num_processes} process{'es' if facts.num_processes > 1 else ''}."
    )


def _results(facts: RunFacts) -> str:
    if not facts.pass_rates:
        return "These weights were not evaluated. The learning curve shows the metrics logged during training."
    rows = [[_cell(rate.data), f"pass@{rate.k}", f"{rate.value:.4f}"] for rate in facts.pass_rates]
    settings = facts.settings
    return (
        _table(["data", "metric", "value"], rows)
        + f"\n\nFrom scratch, {settings.get('eval_num_generations')} completion(s) per problem, temperature "
        f"{settings.get('eval_temperature')}, top-p {settings.get('eval_top_p')}, at most "
        f"{settings.get('eval_response_length') or settings.get('response_length')} tokens. A program passes if it "
        "passes every test of its problem."
    )


_CURVES = {
    "objective/scores": "score",
    "executor/passed": "passing",
    "objective/kl": "KL",
    "fgo/kept_share": "kept tokens",
    "curriculum/scratch_share": "from scratch",
}


def curve_points(history: Sequence[Mapping[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """Collect points `(update, value)` by curve title from logged metrics."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for entry in history:
        for name, value in entry.items():
            title = _CURVES.get(name) or (name.removeprefix("eval_") if PASS_AT.fullmatch(name) else None)
            if title is not None and "step" in entry:
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
    return (
        "PPO (Schulman et al., arXiv:1707.06347) with the three parts of StepCoder (Dou et al., arXiv:2402.01391), by "
        "stepcoder-trl on TRL:\n\n"
        "- *Compiler feedback*: each program is run against the tests of its problem. The score is 1 if all pass, "
        "-0.3 for a wrong answer, -0.6 for a runtime error, timeout or memory limit, and -1 for a compile error. "
        "Reward functions may replace this score.\n"
        f"- *Curriculum of Code Completion Subtasks* (`curriculum` is `{settings.get('curriculum')}`): the model "
        "first completes the end of each canonical solution, then gradually more of it.\n"
        f"- *Fine-Grained Optimization* (`fgo` is `{settings.get('fgo')}`): with `lines`, the policy loss leaves "
        "out tokens of lines that no test ran."
    )


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
    name = json.dumps(_line(facts.model_name))
    load = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"model = AutoModelForCausalLM.from_pretrained({name})\n"
    )
    if facts.adapter:
        load = (
            "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer\n\n"
            f"model = AutoPeftModelForCausalLM.from_pretrained({name})  # loads the base model too\n"
        )
    return (
        f"```python\n{load}tokenizer = AutoTokenizer.from_pretrained({name})\n```\n\n"
        "A prompt ends with the starter code of its problem, without trailing white space. The folder `value_model/` "
        "holds the critic. It is needed only to train further."
    )


def _settings(facts: RunFacts) -> str:
    public = public_settings(facts)
    changed = [[f"`{name}`", _cell(value), _cell(default)] for name, value, default in changed_settings(facts)]
    all_settings = json.dumps(public, indent=2, sort_keys=True)
    return (
        _table(["setting", "value", "default"], changed)
        + f"\n\n<details><summary>All settings</summary>\n\n```json\n{all_settings}\n```\n\n</details>"
    )
