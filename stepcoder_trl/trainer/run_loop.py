"""Counters, events, logs and checkpoints around the updates of a run."""

from __future__ import annotations

import copy
import logging
import math
import os
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerControl, TrainerState, set_seed
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import TrainOutput

from stepcoder_trl.steps.chat_templates import read_template_kwargs
from stepcoder_trl.steps.solutions import SolutionReport
from stepcoder_trl.trainer import checkpoints
from stepcoder_trl.trainer.best_metric import best_metric_name
from stepcoder_trl.trainer.hub import CheckpointUploads
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.run_identity import RunIdentity, prompt_settings
from stepcoder_trl.trainer.signals import Interruption
from stepcoder_trl.trainer.training_metrics import summarize


if TYPE_CHECKING:
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer

logger = logging.getLogger(__name__)


def schedule_restart(optimizer: Any, lr_scheduler: Any) -> Callable[[], None]:
    """Return a function that sets the learning-rate schedule back to its present state."""
    first = copy.deepcopy(lr_scheduler.state_dict())
    rates = [group["lr"] for group in optimizer.param_groups]

    def restart() -> None:
        lr_scheduler.load_state_dict(copy.deepcopy(first))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    return restart


class RunLoop:
    """Counters, events, logs and checkpoints of a trainer's run."""

    def __init__(self, trainer: StepCoderPPOTrainer) -> None:
        # A strong reference would keep a dropped trainer, with its models, until the next garbage collection.
        self.trainer: StepCoderPPOTrainer = weakref.proxy(trainer)
        self.uploads = CheckpointUploads(trainer.args)
        self._restart_schedule = schedule_restart(trainer.optimizer, trainer.lr_scheduler)
        self.begun_s, self.begun_at = time.perf_counter(), 0
        self._forget()

    @cached_property
    def identity(self) -> RunIdentity:
        """Identity of the run, which is in each folder of its model."""
        trainer = self.trainer
        rows, template_kwargs = trainer.training_set.given, read_template_kwargs(trainer.args.chat_template_kwargs)
        prompts = prompt_settings(rows, trainer.processing_class, template_kwargs, trainer.stop_token_id)
        return RunIdentity(trainer.args.output_dir, prompts)

    def _forget(self) -> None:
        """Forget an earlier run of the same trainer."""
        self.history: list[dict[str, float]] = []  # metrics of each update since the last log
        self.step_of_weights: int | None = None  # if the weights are not those of the last update
        self._evaluation_due = False  # whether an evaluation was begun and not finished
        self._random_before_update: dict[str, Any] | None = None
        self._saved_step: int | None = None

    def begin(self, resume_from_checkpoint: bool | str | os.PathLike[str] | None) -> None:
        """Set up the counters, from a checkpoint if one is given, and fire the first event."""
        trainer, args = self.trainer, self.trainer.args
        trainer.state.global_step, trainer.state.episode, trainer.state.epoch = 0, 0, 0.0
        self._forget()
        trainer.learner.discard_gradients()
        source, is_main = self._find_source(resume_from_checkpoint), trainer.accelerator.is_main_process
        if is_main:
            checkpoints.tidy_output(args.output_dir)
        found = checkpoints.checkpoints(args.output_dir)
        if source is None:
            self.identity.begin(found, overwrite=args.overwrite_output_dir, is_main=is_main)
        else:
            self.identity.resume(source, found, is_main=is_main)
        if source is None and trainer.training_set.report is None:
            trainer.use_solutions(trainer.check_solutions())
        set_seed(trainer.local_seed)  # random numbers that were drawn before the run do not change it
        if source is not None:
            self._load_checkpoint(source)
        else:
            self._restart_schedule()
        state, plan = trainer.state, trainer.plan
        state.max_steps = plan.num_updates
        state.num_train_epochs = math.ceil(plan.num_updates / plan.updates_per_epoch)
        state.train_batch_size = args.per_device_train_batch_size
        state.compute_steps(args, plan.num_updates)
        trainer.control.should_training_stop = False
        self.begun_s, self.begun_at = time.perf_counter(), trainer.state.global_step
        if trainer.is_deepspeed_enabled:
            trainer.deepspeed = trainer.model_wrapped = trainer.model
        trainer.control = trainer.callback_handler.on_train_begin(args, trainer.state, trainer.control)
        if resume_from_checkpoint is True and trainer.accelerator.is_main_process:
            # A run that was killed right after saving has not deleted old checkpoints.
            kept = source, trainer.state.best_model_checkpoint
            checkpoints.remove_old(args.output_dir, args.save_total_limit, *kept)
        if source is not None:
            checkpoints.load_random_state(source, trainer.accelerator.process_index)

    def _find_source(self, resume: bool | str | os.PathLike[str] | None) -> Path | None:
        """Return the checkpoint to continue from, `None` for a new run. Refuses one of other adapters."""
        if resume is None:
            return None
        source = checkpoints.find_checkpoint(resume, self.trainer.args.output_dir)
        models = self.trainer.accelerator.unwrap_model(self.trainer.model)
        checkpoints.check_adapter(source, models.policy)
        checkpoints.check_adapter(source / checkpoints.VALUE_MODEL, models.value_model)
        return source

    def evaluate_if_due(self) -> None:
        """Evaluate before the first update if `eval_on_start`. Repeat an evaluation that a signal interrupted."""
        trainer = self.trainer
        if self._evaluation_due:
            trainer.control.should_evaluate = True
            self._log_and_save()
        elif trainer.args.eval_on_start and trainer.state.global_step == 0:
            trainer.evaluate()

    def begin_update(self) -> None:
        """Fire the events before an update."""
        trainer, step = self.trainer, self.trainer.state.global_step
        if step % trainer.plan.updates_per_epoch == 0 or step == self.begun_at:
            trainer.control = trainer.callback_handler.on_epoch_begin(trainer.args, trainer.state, trainer.control)
        self._random_before_update = checkpoints.random_state()
        trainer.control = trainer.callback_handler.on_step_begin(trainer.args, trainer.state, trainer.control)

    def end_update(self, metrics: dict[str, float]) -> None:
        """Advance counters and learning rates, fire the events, then log, evaluate and save as the callbacks ask."""
        trainer, state, plan = self.trainer, self.trainer.state, self.trainer.plan
        with warnings.catch_warnings():  # DeepSpeed replaces the optimizer, so that the schedule cannot see its steps
            warnings.filterwarnings("ignore", message="Seems like `optimizer.step", category=UserWarning)
            trainer.lr_scheduler.step()
        state.global_step += 1
        self._random_before_update = None
        state.episode += plan.batch_size
        state.epoch = state.global_step / plan.updates_per_epoch
        metrics["episode"] = state.episode
        elapsed_s = time.perf_counter() - self.begun_s
        metrics["eps"] = (state.global_step - self.begun_at) * plan.batch_size / elapsed_s
        self.history.append(metrics)
        trainer.control = trainer.callback_handler.on_step_end(trainer.args, state, trainer.control)
        self._log_and_save()
        if state.global_step % plan.updates_per_epoch == 0:
            trainer.control = trainer.callback_handler.on_epoch_end(trainer.args, state, trainer.control)
            self._log_and_save()

    def _log_and_save(self) -> None:
        trainer = self.trainer
        if trainer.control.should_log:
            self._log_metrics()
        if trainer.control.should_evaluate:
            self._evaluation_due = True
            metrics = trainer.evaluate()
            self._evaluation_due = False
            if note_best(trainer.state, trainer.args, metrics) and trainer.args.save_strategy != "no":
                trainer.control.should_save = True
        if trainer.control.should_save:
            self.save_checkpoint()
            trainer.control = trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)

    def _log_metrics(self) -> None:
        """Log the updates since the last log."""
        trainer, state = self.trainer, self.trainer.state
        if self.history:
            trainer.log(summarize(self.history))
            self.history = []
            if trainer.args.log_completions:
                flags = state.is_local_process_zero, state.is_world_process_zero
                trainer.rollout_log.write(state.global_step, trainer.callback_handler.callbacks, *flags)

    def end(self) -> TrainOutput:
        """Log the last updates, load the best checkpoint if configured, and fire the last event."""
        trainer, state = self.trainer, self.trainer.state
        self._log_metrics()
        self.uploads.wait()
        if trainer.args.load_best_model_at_end and state.best_model_checkpoint is not None:
            checkpoints.load_models(Path(state.best_model_checkpoint), trainer)
            self.step_of_weights = state.best_global_step
        trainer.control = trainer.callback_handler.on_train_end(trainer.args, state, trainer.control)
        logged = [entry for entry in state.log_history if "loss/policy_avg" in entry]
        metrics = dict(logged[-1]) if logged else {}
        metrics["train_runtime"] = time.perf_counter() - self.begun_s
        return TrainOutput(
            state.global_step, mean_loss(logged, trainer.args.vf_coef, trainer.args.prefix_imitation), metrics
        )

    def save_interrupted(self, interruption: Interruption) -> None:
        """Write a checkpoint of the completed updates. An interrupted update will be repeated."""
        trainer, step = self.trainer, self.trainer.state.global_step
        if self._random_before_update is not None:
            checkpoints.set_random_state(self._random_before_update)
        if self._saved_step != step or self._evaluation_due:
            self.save_checkpoint()
        logger.warning(
            f"Training stops after update {step} of {trainer.plan.num_updates} ({interruption}). "
            f"{trainer.args.output_dir}/checkpoint-{step} holds everything. Go on with `--resume_from_checkpoint "
            "true`, in Python with `train(resume_from_checkpoint=True)`."
        )
        self.uploads.wait()

    def save_checkpoint(self) -> None:
        """Write a checkpoint of the current update. It gets its name only when it is complete."""
        trainer, args, state = self.trainer, self.trainer.args, self.trainer.state
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        main = trainer.accelerator.is_main_process
        if state.best_global_step == state.global_step:
            state.best_model_checkpoint = str(path)
        if path in self.uploads.folders:  # an older checkpoint of the same update, which is replaced
            self.uploads.wait()
        with checkpoints.new_directory(path, main, trainer.accelerator.wait_for_everyone) as directory:
            trainer.save_model(str(directory), _internal_call=True)
            if main:
                add_callback_states(state, trainer.callback_handler.callbacks, trainer.control)
                state.save_to_json(str(directory / "trainer_state.json"))
            if not args.save_only_model:
                report = trainer.training_set.report
                own_state = {
                    "log_history": self.history,
                    "evaluation_due": self._evaluation_due,
                    "solutions": None if report is None else asdict(report),
                    **self._settings(),
                }
                checkpoints.save_training_state(directory, trainer, own_state)
        if main:
            if self.uploads.wanted():
                trainer.control = trainer.callback_handler.on_push_begin(args, state, trainer.control)
                self.uploads.begin(
                    path, str(trainer.hub_model_id), f"Training in progress, update {state.global_step}"
                )
            kept = path, state.best_model_checkpoint, *self.uploads.folders
            checkpoints.remove_old(args.output_dir, args.save_total_limit, *kept)
        self._saved_step = state.global_step

    def _settings(self) -> dict[str, Any]:
        plan = self.trainer.plan
        return checkpoints.run_settings(self.trainer, plan.batch_size, plan.num_generations)

    def _load_checkpoint(self, path: Path) -> None:
        """Restore everything except the random state."""
        trainer = self.trainer
        own = checkpoints.own_state(path)
        checkpoints.check_same_run(own, self._settings())
        checkpoints.load_training_state(path, trainer)
        stored = own.get("solutions")
        trainer.use_solutions(SolutionReport(**stored) if stored else trainer.check_solutions())
        self.history, self._evaluation_due = own["log_history"], own.get("evaluation_due", False)
        flags = trainer.state.is_local_process_zero, trainer.state.is_world_process_zero
        trainer.state = type(trainer.state).load_from_json(str(path / "trainer_state.json"))
        trainer.state.is_local_process_zero, trainer.state.is_world_process_zero = flags
        trainer._load_callback_state()
        if trainer.training_set.curriculum is not None:
            trainer.training_set.curriculum.load(path / checkpoints.CURRICULUM)


def add_callback_states(state: TrainerState, callbacks: Sequence[Any], control: TrainerControl) -> None:
    """Copy the states of the callbacks into the state of the trainer."""
    states: dict[str, Any] = {}
    for callback in (*callbacks, control):
        if isinstance(callback, ExportableState):
            states.setdefault(type(callback).__name__, []).append(callback.state())
    state.stateful_callbacks = {name: one[0] if len(one) == 1 else one for name, one in states.items()}


def note_best(state: TrainerState, args: StepCoderPPOConfig, metrics: Mapping[str, float]) -> bool:
    """Note an evaluation if it is the best one so far. Returns whether it is."""
    name = best_metric_name(args.metric_for_best_model, metrics)
    if name is None:
        return False
    value, sign = metrics[name], -1 if args.greater_is_better is False else 1
    if state.best_metric is not None and sign * value <= sign * state.best_metric:
        return False
    state.best_metric, state.best_global_step = value, state.global_step
    return True


def mean_loss(entries: Sequence[Mapping[str, float]], vf_coef: float, prefix_imitation: float = 0.0) -> float:
    """Return the mean loss of logged updates, 0 without any."""
    weights = {"loss/policy_avg": 1.0, "loss/value_avg": vf_coef, "loss/imitation_avg": prefix_imitation}
    losses = [sum(weight * entry.get(name, 0.0) for name, weight in weights.items()) for entry in entries]
    return sum(losses) / max(1, len(losses))
