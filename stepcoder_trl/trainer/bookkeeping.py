"""Books of a training run: counters, events, logs, checkpoints, model cards."""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from peft import PeftModel
from transformers import set_seed
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import TrainOutput

from stepcoder_trl.curriculum import Curriculum
from stepcoder_trl.reports.completions import write_completions
from stepcoder_trl.reports.model_card import CardFacts, measured_pass_rates
from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.steps.rows import dataset_digest
from stepcoder_trl.steps.solutions import SolutionReport
from stepcoder_trl.trainer import checkpoints
from stepcoder_trl.trainer._trl import PPOTrainer
from stepcoder_trl.trainer.cards import defaults_of, public_name, settings_of, write_card
from stepcoder_trl.trainer.hub import CheckpointUploads
from stepcoder_trl.trainer.models import base_of
from stepcoder_trl.trainer.rollout_log import COMPLETIONS, print_completions, send_completions
from stepcoder_trl.trainer.signals import StopSignals
from stepcoder_trl.trainer.training_metrics import summarize
from stepcoder_trl.versions import versions


logger = logging.getLogger(__name__)


class Bookkeeping(PPOTrainer):
    """Part of `StepCoderPPOTrainer`: what surrounds the updates."""

    state: Any
    control: Any
    curriculum: Curriculum | None
    _solutions: SolutionReport | None
    _signals: StopSignals | None

    def _open_books(self) -> None:
        """Make what is kept between updates and beside the state of transformers."""
        self._solutions = None
        self._completions: list[RolloutView] = []
        self._uploads = CheckpointUploads(self.args)
        self._signals = None
        self._forget_run()

    def _forget_run(self) -> None:
        """Drop what is known of a run that was before."""
        self._log_history: list[dict[str, float]] = []
        self._before_update: dict[str, Any] | None = None
        self._saved_step: int | None = None
        self._evaluation_due = False
        self._update_of_weights: int | None = None  # where that is not the number of updates done

    def _begin(self, resume_from_checkpoint: bool | str | os.PathLike[str] | None) -> None:
        """Set up the counters, from a checkpoint if there is one."""
        args, state, plan = self.args, self.state, self.plan
        state.global_step, state.episode, state.epoch = 0, 0, 0.0
        self._discard_interrupted()
        self._tidy_output(resuming=resume_from_checkpoint is not None)
        if resume_from_checkpoint is None and self._solutions is None:
            self.use_solutions(self.check_solutions())
        set_seed(self.local_seed)  # a run is the same whatever was done since the trainer was made
        source = None
        if resume_from_checkpoint is not None:
            source = checkpoints.find_checkpoint(resume_from_checkpoint, args.output_dir)
            self._load_checkpoint(source)
            state = self.state
        else:
            self._restart_schedule()
        state.max_steps = plan.num_updates
        state.num_train_epochs = math.ceil(plan.num_updates / plan.updates_per_epoch)
        state.train_batch_size = args.per_device_train_batch_size
        state.compute_steps(args, plan.num_updates)
        self.control.should_training_stop = False
        self._begun_s, self._begun_at = time.perf_counter(), state.global_step
        if self.is_deepspeed_enabled:
            self.deepspeed = self.model_wrapped = self.model
        self.control = self.callback_handler.on_train_begin(args, state, self.control)
        if resume_from_checkpoint is True and self.accelerator.is_main_process:
            # A run that was killed when it had just saved did not come to this.
            checkpoints.remove_old(args.output_dir, args.save_total_limit, source, state.best_model_checkpoint)
        if source is not None:
            checkpoints.load_random_state(source, self.accelerator)

    def _discard_interrupted(self) -> None:
        """Drop what a run that was interrupted between two optimizer steps, or another trainer, left behind."""
        accumulation = self.accelerator.gradient_state
        # All accelerators of a process share it: neither another's number of steps nor another's loader that stands at
        # its end may end our accumulation.
        accumulation.plugin_kwargs.update(num_steps=self.plan.accumulation_steps, sync_with_dataloader=False)
        accumulation._set_sync_gradients(True)
        self.accelerator.step = 0
        self.optimizer.zero_grad()
        self._forget_run()

    def _tidy_output(self, *, resuming: bool) -> None:
        """Clear away what a killed run left half written; a fresh run says so if there are whole checkpoints."""
        if not self.accelerator.is_main_process:
            return
        checkpoints.remove_interrupted(self.args.output_dir)
        found = checkpoints.checkpoints(self.args.output_dir)
        if found and not resuming and self.args.save_strategy != "no":
            logger.warning(
                f"{self.args.output_dir} holds checkpoints of an earlier run, up to {found[-1].name}: this one starts "
                "anew beside them. Pass `resume_from_checkpoint=True` to go on, or choose another `output_dir`: the "
                "newest is the one with the highest number."
            )

    def _restart_schedule(self) -> None:
        """Set the learning rates to those of the first update."""
        schedule, rates = self._schedule
        self.lr_scheduler.load_state_dict(copy.deepcopy(schedule))
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _begin_update(self) -> None:
        position = self.state.global_step % self.plan.updates_per_epoch
        if position == 0 or self.state.global_step == self._begun_at:
            self.control = self.callback_handler.on_epoch_begin(self.args, self.state, self.control)
        self._before_update = checkpoints.random_state()
        self.control = self.callback_handler.on_step_begin(self.args, self.state, self.control)

    def _end_update(self, metrics: dict[str, float]) -> None:
        """Advance the counters and the learning rates, fire the events, and do what they ask for."""
        state = self.state
        self.lr_scheduler.step()
        state.global_step += 1
        self._before_update = None
        state.episode += self.plan.batch_size
        state.epoch = state.global_step / self.plan.updates_per_epoch
        metrics["episode"] = state.episode
        elapsed_s = time.perf_counter() - self._begun_s
        metrics["eps"] = (state.global_step - self._begun_at) * self.plan.batch_size / elapsed_s
        self._log_history.append(metrics)
        self.control = self.callback_handler.on_step_end(self.args, state, self.control)
        self._log_and_save()
        if state.global_step % self.plan.updates_per_epoch == 0:
            self.control = self.callback_handler.on_epoch_end(self.args, state, self.control)
            self._log_and_save()

    def _log_and_save(self) -> None:
        if self.control.should_log:
            self._log_metrics()
        if self.control.should_evaluate:
            self._evaluate_and_note_best()
        if self.control.should_save:
            self._save_checkpoint(self.model)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _log_metrics(self) -> None:
        """Log the updates since the last time."""
        if self._log_history:
            self.log(summarize(self._log_history))
            self._log_history = []
            self._log_completions()

    def _log_completions(self) -> None:
        """Show the completions of the update that is logged, of all processes."""
        if not self.args.log_completions:
            return
        args, update = self.args, self.state.global_step
        rollouts, self._completions = gather_object(self._completions), []
        if self.state.is_local_process_zero:
            print_completions(rollouts, args.num_completions_to_print, f"Completions of update {update}")
        if self.state.is_world_process_zero:
            write_completions(rollouts, update, Path(args.output_dir) / COMPLETIONS)
            send_completions(rollouts, update, args.report_to, self.callback_handler.callbacks)

    def _end(self) -> TrainOutput:
        """Log what is left, go back to the best checkpoint if that is asked for, and fire the last event."""
        self._log_metrics()
        self._uploads.wait()
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            checkpoints.load_models(Path(self.state.best_model_checkpoint), self.accelerator, self.model)
            self._update_of_weights = self.state.best_global_step
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)
        logged = [entry for entry in self.state.log_history if "loss/policy_avg" in entry]
        losses = [entry["loss/policy_avg"] + self.args.vf_coef * entry["loss/value_avg"] for entry in logged]
        metrics = dict(logged[-1]) if logged else {}
        metrics["train_runtime"] = time.perf_counter() - self._begun_s
        return TrainOutput(self.state.global_step, sum(losses) / max(1, len(losses)), metrics)

    # Saving

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """
        Save policy (or adapter) and tokenizer, the critic in `value_model/`, and the curriculum.

        Args:
            output_dir (`str`, *optional*):
                Directory, `args.output_dir` by default.
        """
        target = Path(output_dir or self.args.output_dir)
        state = self.accelerator.get_state_dict(self.model)  # every process: gathers sharded parameters
        if self.accelerator.is_main_process:
            bare = self.accelerator.unwrap_model(self.model)
            bare.policy.save_pretrained(target, state_dict=_part(state, "policy."))
            bare.value_model.save_pretrained(target / checkpoints.VALUE_MODEL, state_dict=_part(state, "value_model."))
            self.processing_class.save_pretrained(target)
            if self.curriculum is not None:
                self.curriculum.save(target / checkpoints.CURRICULUM)
            write_card(self.card_facts(), target)  # over the one that PEFT writes
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save")

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Save the model and send it to the Hub, as [`~transformers.Trainer.push_to_hub`] does."""
        self._uploads.wait()  # two commits at a time would be in each other's way
        return super().push_to_hub(*args, **kwargs)

    def create_model_card(
        self,
        model_name: str | None = None,
        dataset_name: str | None = None,
        tags: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Write the model card to `args.output_dir`. Nothing is looked up on the Hub.

        `save_model` and every checkpoint write one by themselves.

        Args:
            model_name (`str`, *optional*):
                Name of the model; by default that of its repository or of `output_dir`.
            dataset_name (`str`, *optional*):
                Name of the training set; by default `training_data_name`.
            tags (`str` or `Sequence[str]`, *optional*):
                Further tags.
            **kwargs:
                Without effect, upstream's.
        """
        if not self.is_world_process_zero():
            return
        facts = self.card_facts()
        facts = replace(
            facts,
            model_name=model_name or facts.model_name,
            training_data=dataset_name or facts.training_data,
            tags=[tags] if isinstance(tags, str) else list(tags or ()),
        )
        target = Path(self.args.output_dir)
        target.mkdir(parents=True, exist_ok=True)
        write_card(facts, target)

    def card_facts(self) -> CardFacts:
        """What a model card says of the weights as they are."""
        args, state = self.args, self.state
        policy = self.accelerator.unwrap_model(self.model).policy
        update = self._update_of_weights if self._update_of_weights is not None else state.global_step
        info = self.train_dataset.info if isinstance(self.train_dataset, Dataset) else None
        return CardFacts(
            model_name=args.hub_model_id or Path(args.output_dir).resolve().name,
            base_model=public_name(base_of(policy).config.name_or_path),
            adapter=isinstance(policy, PeftModel),
            training_data=args.training_data_name,
            training_data_license=args.training_data_license or (info.license if info is not None else None),
            num_problems=len(self.rows),
            update=update,
            num_updates=self.plan.num_updates,
            episodes=update * self.plan.batch_size,
            num_processes=self.accelerator.num_processes,
            pass_rates=measured_pass_rates(state.log_history, update, args.eval_data_name),
            history=state.log_history,
            settings=settings_of(args),
            defaults=defaults_of(args),
            versions=versions(),
            backend=self.runner.backend,
            layers=dict(self.runner.layers),
        )

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any = None) -> None:
        """Write a checkpoint of the current update; it has its name only when it is complete."""
        args, accelerator = self.args, self.accelerator
        path = Path(args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(path)
        if path in self._uploads.folders:  # of the same update, to be written anew
            self._uploads.wait()
        with checkpoints.new_directory(path, accelerator.is_main_process, accelerator.wait_for_everyone) as directory:
            self.save_model(str(directory), _internal_call=True)
            if accelerator.is_main_process:
                self._note_callback_states()
                self.state.save_to_json(str(directory / "trainer_state.json"))
            if not args.save_only_model:
                checkpoints.save_training_state(
                    directory, accelerator, self.model, self.optimizer, self.lr_scheduler, self._own_state()
                )
        if accelerator.is_main_process:
            self._send_checkpoint(path)
            kept = path, self.state.best_model_checkpoint, *self._uploads.folders
            checkpoints.remove_old(args.output_dir, args.save_total_limit, *kept)
        self._saved_step = self.state.global_step

    def _send_checkpoint(self, path: Path) -> None:
        """Begin to send a checkpoint to the Hub, if that is asked for."""
        if self._uploads.wanted():
            self.control = self.callback_handler.on_push_begin(self.args, self.state, self.control)
            self._uploads.begin(path, str(self.hub_model_id), f"Training in progress, update {self.state.global_step}")

    def _own_state(self) -> dict[str, Any]:
        return {
            "log_history": self._log_history,
            "evaluation_due": self._evaluation_due,
            "solutions": None if self._solutions is None else asdict(self._solutions),
            **self._settings(),
        }

    def _settings(self) -> dict[str, Any]:
        """What must be the same for a run to be the same when it is resumed."""
        plugin = self.accelerator.state.deepspeed_plugin
        return {
            "dataset": dataset_digest(self._given_rows),
            "num_rows": len(self._given_rows),
            "batch_size": self.plan.batch_size,
            "num_generations": self.plan.num_generations,
            "num_processes": self.accelerator.num_processes,
            "deepspeed": 0 if plugin is None else plugin.zero_stage,
            "seed": self.args.seed,
        }

    def _note_callback_states(self) -> None:
        stateful = [cb for cb in [*self.callback_handler.callbacks, self.control] if isinstance(cb, ExportableState)]
        states: dict[str, Any] = {}
        for callback in stateful:
            states.setdefault(type(callback).__name__, []).append(callback.state())
        self.state.stateful_callbacks = {name: one[0] if len(one) == 1 else one for name, one in states.items()}

    def _load_checkpoint(self, path: Path) -> None:
        """Take over everything but the random state."""
        checkpoints.check_same_run(checkpoints.own_state(path), self._settings())
        own = checkpoints.load_training_state(path, self.accelerator, self.model, self.optimizer, self.lr_scheduler)
        stored = own.get("solutions")
        self.use_solutions(SolutionReport(**stored) if stored else self.check_solutions())
        self._log_history = own["log_history"]
        self._evaluation_due = own.get("evaluation_due", False)
        flags = self.state.is_local_process_zero, self.state.is_world_process_zero
        self.state = type(self.state).load_from_json(str(path / "trainer_state.json"))
        self.state.is_local_process_zero, self.state.is_world_process_zero = flags
        self._load_callback_state()
        if self.curriculum is not None:
            self.curriculum.load(path / checkpoints.CURRICULUM)


def _part(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
