"""Runs from a problem file and a model folder, as the command line and the examples start them."""

from __future__ import annotations

import json
import os
import re
import signal
from types import SimpleNamespace

import pytest
from transformers import TrainerCallback

from stepcoder_trl.cli.main import main
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.prompt_settings import PromptSettings, read_run_file
from stepcoder_trl.trainer import entry


pytestmark = pytest.mark.sandbox


@pytest.fixture
def model_folder(make_policy, tokenizer, tmp_path):
    folder = tmp_path / "model"
    make_policy().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def problem_file(problems, tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(problem.to_row()) + "\n" for problem in problems))
    return path


def ppo(model_folder, problem_file, out, *more):
    flags = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2", "--num_generations", "2"]
    flags += ["--response_length", "8", "--max_steps", "2", "--use_cpu", "--bf16", "false", "--report_to", "none"]
    flags += ["--gradient_checkpointing", "false", "--disable_tqdm", "true", "--executor_workers", "1"]
    flags += ["--logging_steps", "1", *more]
    names = ["--problems", str(problem_file), "--model_name_or_path", str(model_folder), "--output_dir", str(out)]
    with pytest.raises(SystemExit) as stop:
        main(["ppo", *names, *flags])
    return stop.value.code


def test_files_are_named_without_folders_and_sets_of_the_hub_whole(problem_file):
    assert entry._names([str(problem_file), "someone/problems:train"]) == "problems.jsonl, someone/problems:train"


def test_folder_of_the_next_command_lies_beside_that_of_the_model():
    assert [entry._ppo_folder(name) for name in ("runs/sft", "runs/sft/")] == ["runs/sft-ppo"] * 2


def test_ppo_trains_and_saves(model_folder, problem_file, tmp_path):
    status = ppo(model_folder, problem_file, tmp_path / "run")

    assert status == 0
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("verb", ["ppo", "grpo"])
@pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")  # TRL's own settings
def test_default_batch_is_whole_groups(verb, model_folder, problem_file, tmp_path):
    names = ["--problems", str(problem_file), "--model_name_or_path", str(model_folder), "--output_dir"]
    length = {"ppo": "--response_length", "grpo": "--max_completion_length"}[verb]
    with pytest.raises(SystemExit) as stop:
        main([verb, *names, str(tmp_path / "run"), length, "8", "--max_steps", "1", "--use_cpu"])

    assert stop.value.code == 0
    assert (tmp_path / "run" / "model.safetensors").exists()


LORA = ["--use_peft", "--lora_r", "2", "--lora_target_modules", "q_proj", "v_proj", "--prompt_style", "plain"]


def test_ppo_trains_an_adapter_and_resumes(model_folder, problem_file, tmp_path):
    out = tmp_path / "run"
    lora = ["--use_peft", "--lora_r", "2", "--prompt_style", "plain", "--save_steps", "1"]

    assert ppo(model_folder, problem_file, out, *lora) == 0
    assert (out / "checkpoint-1").is_dir()
    assert ppo(model_folder, problem_file, out, *lora, "--resume_from_checkpoint", str(out / "checkpoint-1")) == 0
    assert (out / "adapter_model.safetensors").exists()


OTHER_ADAPTERS = {
    "--lora_r 3": "checkpoint-2 has another adapter: `lora_r` is 3, but 2 there. Set what it was saved with",
    "--lora_alpha 8": "`lora_alpha` is 8, but 32 there",
    "--lora_target_modules k_proj q_proj": "modules` is ['k_proj', 'q_proj'], but ['q_proj', 'v_proj'] there",
    "--use_peft false": "checkpoint-2 has an adapter, but this run has none. Add `--use_peft`",
}


def test_ppo_resumes_no_other_adapter(model_folder, problem_file, tmp_path, capsys):
    out = tmp_path / "run"
    assert ppo(model_folder, problem_file, out, *LORA, "--save_steps", "2") == 0
    capsys.readouterr()

    for flags, message in OTHER_ADAPTERS.items():
        status = ppo(model_folder, problem_file, out, *LORA, *flags.split(), "--resume_from_checkpoint", "true")

        printed = capsys.readouterr().err
        assert status == 2
        assert message in printed
        assert printed.count("stepcoder-trl: ") == 1
        assert "Traceback" not in printed


@pytest.mark.parametrize("reward", ["ppocoder", "rltf"])
def test_ppo_trains_on_rewards_of_other_papers(model_folder, problem_file, tmp_path, reward):
    pytest.importorskip("tree_sitter_python")
    out = tmp_path / "run"

    assert ppo(model_folder, problem_file, out, "--reward", reward, "--logging_steps", "1", "--save_steps", "1") == 0

    state = json.loads((out / "checkpoint-2" / "trainer_state.json").read_text())
    (first, *_) = state["log_history"]
    assert first["executor/compile_error"] == 1.0
    assert (first["objective/scores"] > -1) == (reward == "ppocoder")  # even such a program is like the solution


def test_own_reward_functions_and_weights_from_yaml(model_folder, problem_file, tmp_path, monkeypatch):
    (tmp_path / "judges.py").write_text("async def seven(completions):\n    return [7.0 for _ in completions]\n")
    config = tmp_path / "run.yaml"
    config.write_text("reward_funcs: [stepcoder, 'judges:seven']\nreward_weights: [1.0, 0.5]\n")
    monkeypatch.chdir(tmp_path)

    assert ppo(model_folder, problem_file, "run", "--config", "run.yaml", "--save_steps", "1") == 0

    (first, *_) = json.loads((tmp_path / "run/checkpoint-2/trainer_state.json").read_text())["log_history"]
    assert first["objective/scores"] == pytest.approx(first["rewards/unit_test_reward"] + 3.5)


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6.*:FutureWarning")  # TRL's own settings
def test_sft_memorizes_solutions(model_folder, problem_file, tmp_path, capsys):
    names = ["--problems", problem_file, "--model_name_or_path", model_folder, "--output_dir", tmp_path / "run"]
    flags = ["--learning_rate", "1e-2", "--num_train_epochs", "30", "--per_device_train_batch_size", "4"]
    flags += ["--gradient_accumulation_steps", "1", "--use_cpu", "--report_to", "none", "--save_strategy", "no"]
    flags += ["--gradient_checkpointing", "false", "--logging_steps", "1", "--warmup_steps", "0"]

    with pytest.raises(SystemExit) as stop:
        main(["sft", *map(str, [*names, *flags])])

    assert stop.value.code == 0
    losses = [float(loss) for loss in re.findall(r"loss (\d+\.\d+)", capsys.readouterr().out)]
    assert losses[-1] < 0.2 < losses[0]
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6. Use `activation:FutureWarning")  # TRL's
def test_sft_trains_an_adapter(model_folder, problem_file, tmp_path, capsys):
    names = ["--problems", problem_file, "--model_name_or_path", model_folder, "--output_dir", tmp_path / "run"]
    flags = ["--use_peft", "--lora_r", "2", "--max_steps", "1", "--use_cpu", "--report_to", "none"]
    command = ["sft", *map(str, [*names, *flags, "--gradient_checkpointing", "false", "--save_steps", "1"])]

    with pytest.raises(SystemExit) as stop:
        main(command)

    assert stop.value.code == 0
    assert (tmp_path / "run" / "adapter_model.safetensors").exists()
    assert read_run_file(tmp_path / "run") == read_run_file(tmp_path / "run" / "checkpoint-1")
    assert (tmp_path / "run" / "checkpoint-1" / "solutions.json").is_file()
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    assert "holds checkpoints of another run" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")  # TRL's own settings
def test_signal_stops_fine_tuning_with_a_checkpoint(model_folder, problem_file, tmp_path, monkeypatch, capsys):
    class Killed(TrainerCallback):
        def on_optimizer_step(self, *_, **__):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(entry, "add_sft_callbacks", lambda trainer, *counts: trainer.add_callback(Killed()))
    names = ["--problems", problem_file, "--model_name_or_path", model_folder, "--output_dir", tmp_path / "run"]
    flags = ["--max_steps", "9", "--use_cpu", "--report_to", "none", "--save_strategy", "no"]

    with pytest.raises(SystemExit) as stop:
        main(["sft", *map(str, [*names, *flags])])

    assert stop.value.code == 130
    assert (tmp_path / "run" / "checkpoint-1" / "trainer_state.json").is_file()
    assert "Go on from checkpoint-1 with `--resume_from_checkpoint true`" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["flag", "yaml"])
def test_ppo_resumes_from_the_newest_checkpoint(model_folder, problem_file, tmp_path, kind):
    out, config = tmp_path / "run", tmp_path / "run.yaml"
    config.write_text("resume_from_checkpoint: true\n")
    more = {"flag": ["--resume_from_checkpoint", "true"], "yaml": ["--config", str(config)]}[kind]

    assert ppo(model_folder, problem_file, out, "--save_steps", "1", "--max_steps", "1") == 0
    assert ppo(model_folder, problem_file, out, "--save_steps", "1", *more) == 0

    state = json.loads((out / "checkpoint-2" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"]] == [1, 2]


def test_another_run_is_never_mixed_with_that_of_the_folder(model_folder, problem_file, tmp_path, capsys):
    out, steps = tmp_path / "run", ["--save_steps", "1", "--max_steps"]
    assert ppo(model_folder, problem_file, out, *steps, "3") == 0

    assert ppo(model_folder, problem_file, out, "--seed", "7", *steps, "1") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "holds checkpoints of another run, up to checkpoint-3" in line
    assert "overwrite_output_dir=True" in line

    assert ppo(model_folder, problem_file, out, "--seed", "7", *steps, "1", "--overwrite_output_dir") == 0
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-1"]


def test_resuming_with_another_prompt_style_says_so(model_folder, problem_file, tmp_path, capsys):
    out = tmp_path / "run"
    assert ppo(model_folder, problem_file, out, "--save_steps", "1", "--max_steps", "1") == 0

    more = ["--prompt_style", "chat", "--resume_from_checkpoint", "true"]
    assert ppo(model_folder, problem_file, out, *more) == 2
    assert "was saved with `prompt_style` 'plain', now it is 'chat'" in capsys.readouterr().err


def test_model_is_evaluated_with_the_prompts_of_its_training(model_folder, problem_file, tmp_path):
    out, results = tmp_path / "run", tmp_path / "results"
    more = ["--prompt_style", "chat", "--chat_template_kwargs", '{"a": 1}', "--stop_token_id", "7"]
    assert ppo(model_folder, problem_file, out, *more, "--save_steps", "2") == 0

    names = ["--problems", problem_file, "--model", out / "checkpoint-2", "--out", results, "--workers", "1"]
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *map(str, [*names, "--max-new-tokens", "4", "--max-problems", "1"])])

    assert stop.value.code == 0
    assert read_run_file(out) == read_run_file(out / "checkpoint-2")
    assert read_run_file(out).prompts == PromptSettings("chat", {"a": 1}, (7,))
    plan = json.loads(next(results.glob("drawn/*.json")).read_text())
    assert (plan["prompt_style"], plan["chat_template_kwargs"]) == ("chat", {"a": 1})


def test_empty_list_of_problems_is_refused(model_folder, problem_file, tmp_path):
    from trl import ModelConfig

    from stepcoder_trl import StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments, run_ppo

    with pytest.raises(BadInputError, match="no problem is left"):
        run_ppo(
            PPOScriptArguments(problems=str(problem_file)),
            StepCoderPPOConfig(output_dir=str(tmp_path / "run"), use_cpu=True),
            ModelConfig(model_name_or_path=str(model_folder)),
            problems=[],
        )


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6.*:FutureWarning")  # TRL's own settings
@pytest.mark.parametrize("verb", ["ppo", "sft"])
def test_refusal_of_the_chat_template_is_one_line(verb, model_folder, problem_file, problems, tmp_path, capsys):
    rows = [{**problem.to_row(), "prompt": [{"role": "system", "content": "Write."}]} for problem in problems]
    problem_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = json.loads((model_folder / "tokenizer_config.json").read_text())
    (model_folder / "chat_template.jinja").write_text("{{ raise_exception('No system role') }}")
    settings.pop("chat_template", None)
    (model_folder / "tokenizer_config.json").write_text(json.dumps(settings))
    names = ["--problems", problem_file, "--model_name_or_path", model_folder, "--output_dir", tmp_path / "run"]
    flags = ["--use_cpu", "--report_to", "none", "--bf16", "false"]

    with pytest.raises(SystemExit) as stop:
        main([verb, *map(str, names), *flags, *({"ppo": ["--response_length", "8"]}.get(verb, []))])

    assert stop.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "Problem 'sign/0': The chat template cannot render the messages: No system role." in error


@pytest.mark.parametrize("verb", ["ppo", "sft"])
def test_wrong_arguments_of_the_chat_template_are_one_line(verb, model_folder, problem_file, tmp_path, capsys):
    names = ["--problems", problem_file, "--model_name_or_path", model_folder, "--output_dir", tmp_path / "run"]

    with pytest.raises(SystemExit) as stop:
        main([verb, *map(str, names), "--chat_template_kwargs", "thinking", "--use_cpu"])

    assert stop.value.code == 2
    assert "`chat_template_kwargs` is 'thinking', but must be a JSON object" in capsys.readouterr().err


def test_error_names_missing_model(problem_file, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["ppo", "--problems", str(problem_file), "--output_dir", str(tmp_path / "run"), "--use_cpu"])

    assert stop.value.code == 2
    assert "model_name_or_path" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")  # TRL's own settings
def test_grpo_trains_an_adapter_and_resumes(model_folder, problem_file, tmp_path, capsys):
    out, config = tmp_path / "run", tmp_path / "grpo.yaml"
    config.write_text("num_generations: 2\nfgo_denominator: valid\nscale_rewards: none\nprompt_style: chat\n")
    flags = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2", "--use_cpu", "--use_peft"]
    flags += ["--max_completion_length", "8", "--max_steps", "2", "--report_to", "none", "--lora_r", "2"]
    flags += ["--gradient_checkpointing", "false", "--disable_tqdm", "true", "--save_steps", "1"]
    names = ["--problems", str(problem_file), "--model_name_or_path", str(model_folder), "--output_dir", str(out)]

    for more in ([], ["--resume_from_checkpoint", str(out / "checkpoint-1")]):
        with pytest.raises(SystemExit) as stop:
            main(["grpo", "--config", str(config), *names, *flags, *more])
        assert stop.value.code == 0

    with pytest.raises(SystemExit):
        main(["grpo", "--config", str(config), *names, *flags, "--lora_r", "4", "--resume_from_checkpoint", "true"])
    assert "checkpoint-2 has another adapter: `lora_r` is 4, but 2 there" in capsys.readouterr().err
    state = json.loads((out / "stepcoder_state.json").read_text())
    assert (state["rounds"], state["num_generations"]) == (2, 2)
    assert (out / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("found", "advice"), [(["checkpoint-2"], "Go on from checkpoint-2 with"), ([], "No checkpoint")]
)
def test_interrupted_run_says_how_to_go_on(tmp_path, capsys, found, advice):
    for name in found:
        (tmp_path / name).mkdir()
    process = SimpleNamespace(is_main_process=True)
    args, state = SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(global_step=3)

    with (
        pytest.raises(KeyboardInterrupt),
        entry._advice_when_interrupted(SimpleNamespace(accelerator=process, args=args, state=state)),
    ):
        raise KeyboardInterrupt

    assert f"Training stops after update 3. {advice}" in capsys.readouterr().out
