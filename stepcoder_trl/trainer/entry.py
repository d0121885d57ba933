"""Training runs on a problem file and a model folder, for the command line and the examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trl import ModelConfig, get_peft_config, get_quantization_config

from stepcoder_trl.data.formats import FORMAT_TITLES, load_problems
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.data.prompts import style_prompts
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.engines import loading
from stepcoder_trl.evaluation.model_faults import check_vocabulary
from stepcoder_trl.evaluation.places import check_upload
from stepcoder_trl.evaluation.process_group import leave_gloo_at_exit
from stepcoder_trl.rewards import REWARDS, describe_rewards
from stepcoder_trl.steps.chat_templates import CHAT_TEMPLATE_KWARGS_HELP, read_template_kwargs
from stepcoder_trl.steps.prompt_settings import PromptSettings, style_of
from stepcoder_trl.steps.reward_functions import check_reward_name, names_reward_model
from stepcoder_trl.trainer._trl import renamed_attributes_allowed
from stepcoder_trl.trainer.announcements import add_sft_callbacks, farewell, say, speaks
from stepcoder_trl.trainer.cards import sft_facts
from stepcoder_trl.trainer.checkpoints import check_trained, checkpoints, newest_checkpoint
from stepcoder_trl.trainer.inputs import check_end
from stepcoder_trl.trainer.merged import check_merge, save_merged
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer
from stepcoder_trl.trainer.processes import check_processes, is_sharded, quiet_libraries, quiet_unless_first
from stepcoder_trl.trainer.run_identity import RunFileCallback, RunIdentity, refuse_other_run
from stepcoder_trl.trainer.run_report import SFTReport
from stepcoder_trl.trainer.sft import SolutionsCallback, check_problems, failing_solutions, sft_dataset
from stepcoder_trl.trainer.shared_options import HUB_RECORD_HELP, ExecutorOptions, check_options


if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback

    from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer


@dataclass
class ScriptArguments:
    """Arguments of a training run besides those of trainer and model. Each field describes itself."""

    problems: list[str] = field(
        metadata={
            "help": f"Files of problems, or data sets of the Hub as `owner/name:split`. Formats: {FORMAT_TITLES}."
        }
    )
    max_problems: int | None = field(default=None, metadata={"help": "Use only the first so many. Defaults to all."})
    merge_adapter: bool = field(
        default=False,
        metadata={"help": "At the end, also save the base model with the trained adapter merged, to `merged/`."},
    )
    prompt_style: Literal["plain", "chat", "deepseek"] = field(
        default="plain",
        metadata={
            "help": "`plain` shows the prompt as it is, `chat` as a user's message in the tokenizer's chat template, "
            "`deepseek` in the zero-shot form of the paper's models."
        },
    )

    def __post_init__(self) -> None:
        self.problems = _as_list(self.problems)


@dataclass
class SFTScriptArguments(ExecutorOptions, ScriptArguments):
    """Arguments of a fine-tuning run besides those of trainer and model. Each field describes itself."""

    chat_template_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": CHAT_TEMPLATE_KWARGS_HELP}
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Whether a new run deletes another run in `output_dir` and its checkpoints."},
    )
    hub_record: bool = field(default=False, metadata={"help": HUB_RECORD_HELP})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_options(self)
        self.executor_choice()  # checked
        self.chat_template_kwargs = read_template_kwargs(self.chat_template_kwargs)


@dataclass
class PPOScriptArguments(ScriptArguments):
    """Arguments of a PPO or GRPO run besides those of trainer and model. Each field describes itself."""

    eval_problems: list[str] | None = field(
        default=None, metadata={"help": "Files of problems for `eval_strategy`, in any format of `problems`."}
    )
    reward: str = field(
        default="stepcoder",
        metadata={"help": f"Name of the reward function. {describe_rewards()}", "choices": list(REWARDS)},
    )

    reward_funcs: list[str] | None = field(
        default=None,
        metadata={
            "help": "Reward functions instead of `reward`: its names, or your own as `package.module:function`, which "
            "may lie in the working directory. `reward_weights` are their weights."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eval_problems is not None:
            self.eval_problems = _as_list(self.eval_problems)
        if self.reward not in REWARDS:
            raise BadInputError(f"`reward` is {self.reward!r}, but must be one of {', '.join(REWARDS)}.")
        for name in self.reward_funcs or []:
            if not names_reward_model(name):
                check_reward_name(name)  # before a model is loaded
        if self.reward_funcs and self.reward != "stepcoder":
            raise BadInputError(f"`reward` is {self.reward!r}, but `reward_funcs` replaces it. Drop one of the two.")

    def rewards(self) -> list[Any]:
        """Return the reward functions, or their names."""
        return list(self.reward_funcs) if self.reward_funcs else [REWARDS[self.reward]]


def run_sft(script_args: SFTScriptArguments, training_args: Any, model_args: ModelConfig) -> list[str]:
    """
    Fine-tune a model on canonical solutions, and save it to `output_dir`.

    Solutions that fail their tests are left out.

    Args:
        script_args ([`SFTScriptArguments`]): Problems to train on.
        training_args ([`~trl.SFTConfig`]): Options of training.
        model_args ([`~trl.ModelConfig`]): Model to train, with `use_peft` and its fields for LoRA.

    Returns:
        `list[str]`: Reason for each problem that was left out.

    Raises:
        BadInputError: If the problems cannot be used, or no model is named.
    """
    from stepcoder_trl.trainer.sft_trainer import StepCoderSFTTrainer

    _check_folder(training_args, script_args.overwrite_output_dir)
    choice = script_args.executor_choice()
    choice.probe()  # before a model is loaded, which may take minutes
    check_merge(script_args.merge_adapter, model_args.use_peft)
    peft_config = get_peft_config(model_args)
    problems = _first(load_problems(script_args.problems), script_args)
    tokenizer, load = _loaders(model_args)
    check_end(tokenizer)
    problems = style_prompts(problems, script_args.prompt_style, tokenizer)
    template_kwargs = read_template_kwargs(script_args.chat_template_kwargs)
    flag, source = _checkpoint(training_args.resume_from_checkpoint), None
    if flag:
        source = newest_checkpoint(training_args.output_dir) if flag is True else Path(flag)
        check_problems(source, problems)
    failing = failing_solutions(problems, choice, not training_args.disable_tqdm, source)
    max_length = training_args.max_length
    dataset, left_out = sft_dataset(problems, tokenizer, template_kwargs, failing, max_length)
    model = load()
    check_vocabulary(model, tokenizer, dataset["input_ids"])
    with _setting_up(), renamed_attributes_allowed():
        trainer = StepCoderSFTTrainer(
            model,
            training_args,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=peft_config,
            hub_record=script_args.hub_record,
        )
    check_processes(trainer.accelerator)
    leave_gloo_at_exit()
    style = style_of([problem.prompt for problem in problems], tokenizer)
    prompts = PromptSettings(style, template_kwargs, (tokenizer.eos_token_id,))
    identity, output_dir = RunIdentity(training_args.output_dir, prompts), training_args.output_dir
    is_main = trainer.accelerator.is_main_process
    if source is not None:
        check_trained(source, trainer)
        identity.resume(source, checkpoints(output_dir), is_main=is_main)
    else:
        identity.begin(checkpoints(output_dir), overwrite=script_args.overwrite_output_dir, is_main=is_main)
    data = _names(script_args.problems)
    report = SFTReport(trainer, lambda trained: sft_facts(trained, tokenizer, problems[0], data, template_kwargs))
    trainer.add_callback(RunFileCallback(identity))
    trainer.add_callback(SolutionsCallback(problems, failing))
    trainer.add_callback(report)
    trainer.report = report
    add_sft_callbacks(trainer, len(dataset), len(left_out))
    with renamed_attributes_allowed(), _advice_when_interrupted(trainer), _packages_found():
        trainer.train(resume_from_checkpoint=None if source is None else str(source))
    if is_main:
        identity.save(output_dir)
    _save(trainer, script_args, training_args, report)
    next_command = "ppo", "--problems", *script_args.problems, "--model_name_or_path", output_dir
    _say_farewell(training_args, trainer.accelerator, *next_command, "--output_dir", _ppo_folder(output_dir))
    return left_out


def run_ppo(
    script_args: PPOScriptArguments,
    training_args: StepCoderPPOConfig,
    model_args: ModelConfig,
    problems: Sequence[Problem] | None = None,
    callbacks: list[TrainerCallback] | None = None,
) -> StepCoderPPOTrainer:
    """
    Load problems and model, train with PPO, and save the model to `output_dir`.

    Args:
        script_args ([`PPOScriptArguments`]): Problems to train on, and the reward.
        training_args ([`StepCoderPPOConfig`]): Options of training.
        model_args ([`~trl.ModelConfig`]): Model to train, with `use_peft` and its fields for LoRA.
        problems (`Sequence[Problem]`, *optional*): Problems to use instead of those in the file.
        callbacks (`list[TrainerCallback]`, *optional*): Additional callbacks of the trainer.

    Returns:
        [`StepCoderPPOTrainer`]: Trainer after training.

    Raises:
        BadInputError: If the problems cannot be used, or no model is named.
    """
    _check_folder(training_args, training_args.overwrite_output_dir)
    training_args.executor_choice().probe()  # before a model is loaded, which may take minutes
    check_merge(script_args.merge_adapter, model_args.use_peft)
    if problems is None:
        problems = load_problems(script_args.problems)
    problems = _first(problems, script_args)
    tokenizer, load = _loaders(model_args)
    problems = style_prompts(problems, script_args.prompt_style, tokenizer)
    evaluated = None
    if script_args.eval_problems is not None:
        evaluated = style_prompts(load_problems(script_args.eval_problems), script_args.prompt_style, tokenizer)
        training_args.eval_data_name = training_args.eval_data_name or _names(script_args.eval_problems)
    training_args.training_data_name = training_args.training_data_name or _names(script_args.problems)
    model = load()
    # A reference that is loaded is sharded at once. A copy would first be gathered on every process.
    sharded = is_sharded(model.parameters()) and not model_args.use_peft
    with _setting_up():
        trainer = StepCoderPPOTrainer(
            training_args,
            tokenizer,
            model,
            ref_model=load() if sharded else None,
            train_dataset=problems,
            eval_dataset=evaluated,
            callbacks=callbacks,
            peft_config=get_peft_config(model_args),
            reward_funcs=script_args.rewards(),
        )
    trainer.train(resume_from_checkpoint=_checkpoint(training_args.resume_from_checkpoint))
    _save(trainer, script_args, training_args)
    files = script_args.eval_problems or script_args.problems
    next_command = "evaluate", "--model", training_args.output_dir, "--problems", *files
    _say_farewell(training_args, trainer.accelerator, *next_command)
    return trainer


def run_grpo(
    script_args: PPOScriptArguments,
    training_args: StepCoderGRPOConfig,
    model_args: ModelConfig,
    problems: Sequence[Problem] | None = None,
    callbacks: list[TrainerCallback] | None = None,
) -> StepCoderGRPOTrainer:
    """
    Load problems and model, train with GRPO, and save the model to `output_dir`.

    Arguments, result and errors are those of [`run_ppo`], with the configuration and the trainer of GRPO.
    """
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer

    _check_folder(training_args, training_args.overwrite_output_dir)
    training_args.executor_choice().probe()  # before a model is loaded, which may take minutes
    check_merge(script_args.merge_adapter, model_args.use_peft)
    problems = _first(load_problems(script_args.problems) if problems is None else problems, script_args)
    tokenizer, load = _loaders(model_args)
    evaluated = None
    if script_args.eval_problems is not None:
        evaluated = style_prompts(load_problems(script_args.eval_problems), script_args.prompt_style, tokenizer)
    with _setting_up():
        trainer = StepCoderGRPOTrainer(
            load(),
            script_args.rewards(),
            training_args,
            style_prompts(problems, script_args.prompt_style, tokenizer),
            evaluated,
            tokenizer,
            callbacks=callbacks,
            peft_config=get_peft_config(model_args),
        )
    trainer.training_data_name = _names(script_args.problems)
    with _advice_when_interrupted(trainer), _packages_found():
        trainer.train(resume_from_checkpoint=_checkpoint(training_args.resume_from_checkpoint))
    _save(trainer, script_args, training_args)
    files = script_args.eval_problems or script_args.problems
    next_command = "evaluate", "--model", training_args.output_dir, "--problems", *files
    _say_farewell(training_args, trainer.accelerator, *next_command)
    return trainer


def _check_folder(training_args: Any, overwrite: bool) -> None:
    """
    Raise a `BadInputError` before a model is loaded if the folder is one of another run, or has no checkpoint.

    Also if the run could not be uploaded as it is to be.
    """
    if training_args.push_to_hub:
        check_upload(training_args.hub_token)
    folder, resume = training_args.output_dir, _checkpoint(training_args.resume_from_checkpoint)
    if resume is True:
        newest_checkpoint(folder)
    elif not resume:
        refuse_other_run(folder, checkpoints(folder), overwrite)


@contextmanager
def _advice_when_interrupted(trainer: Any) -> Iterator[None]:
    """Say after Ctrl-C or SIGTERM how to go on. PPO does so itself."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if trainer.accelerator.is_main_process:
            found = checkpoints(trainer.args.output_dir)
            advice = (
                f"Go on from {found[-1].name} with `--resume_from_checkpoint true`." if found else "No checkpoint."
            )
            say(f"Training stops after update {trainer.state.global_step}. {advice}")
        raise


def _save(trainer: Any, script_args: ScriptArguments, training_args: Any, report: SFTReport | None = None) -> None:
    """Save the model to `output_dir`, with the cards of `report` if it is given, and merged if that is asked for."""
    trainer.save_model(training_args.output_dir)
    if report is not None:
        report.write_files(training_args.output_dir)
    if script_args.merge_adapter:
        save_merged(training_args.output_dir, trainer.accelerator)


def _say_farewell(training_args: Any, accelerator: Any, *next_command: str) -> None:
    """Print where everything lies, and what to type next."""
    if accelerator.is_main_process and speaks(training_args):
        say("\n".join(farewell(training_args.output_dir, ["stepcoder-trl", *next_command])))


@contextmanager
def _setting_up() -> Iterator[None]:
    """Report in one line what a library refuses while a trainer is made, such as an option or a missing package."""
    try:
        yield
    except BadInputError:
        raise
    except (ImportError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadInputError(f"{reason}. Correct the options.") from error


@contextmanager
def _packages_found() -> Iterator[None]:
    """Report in one line which package training lacks. Transformers looks for some only when it begins."""
    try:
        yield
    except ImportError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadInputError(f"{reason}. Install it, or correct the options.") from error


def _as_list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _ppo_folder(output_dir: str) -> str:
    """Return the folder beside that of a fine-tuned model in which PPO goes on with it."""
    return f"{Path(output_dir)}-ppo"


def _names(sources: Sequence[str]) -> str:
    """Return the names of files without their folders, and those of data sets of the Hub whole."""
    return ", ".join(Path(source).name if Path(source).exists() else source for source in sources)


def _first(problems: Sequence[Problem], script_args: ScriptArguments) -> Sequence[Problem]:
    """Return the first `max_problems` problems."""
    if script_args.max_problems is not None and script_args.max_problems < 1:
        raise BadInputError(f"`max_problems` is {script_args.max_problems}, but must be at least 1.")
    if not problems:
        names = _names(script_args.problems)
        raise BadInputError(f"{names}: no problem is left to train on. Name another file of problems.")
    return problems[: script_args.max_problems]


def _loaders(model_args: ModelConfig) -> tuple[Any, Callable[[], PreTrainedModel]]:
    """Return the tokenizer, and a function that loads the model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not model_args.model_name_or_path:
        raise BadInputError("`model_name_or_path` is missing. Name a model's folder.")
    quiet_unless_first(libraries=True)
    quiet_libraries()
    revision = model_args.model_revision
    name = model_args.model_name_or_path
    with loading(name):
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left", revision=revision)

    def load() -> PreTrainedModel:
        with loading(name):
            return AutoModelForCausalLM.from_pretrained(
                name,
                dtype=model_args.dtype if model_args.dtype in (None, "auto") else getattr(torch, model_args.dtype),
                attn_implementation=model_args.attn_implementation,
                quantization_config=get_quantization_config(model_args),
                revision=revision,
            )

    return tokenizer, load


def _checkpoint(flag: str | bool | None) -> str | bool | None:
    """Read `--resume_from_checkpoint`: a folder, or `true` for the newest checkpoint."""
    words: dict[str, bool] = {"true": True, "false": False}
    return words.get(flag.lower(), flag) if isinstance(flag, str) else flag
