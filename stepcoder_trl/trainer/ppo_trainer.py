"""PPO trainer with compiler feedback, a curriculum of completion subtasks, and a loss on executed lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from peft import PeftConfig, PeftModel
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_utils import TrainOutput

from stepcoder_trl.curriculum import Curriculum
from stepcoder_trl.evaluation.generation import Generation, SamplingConfig
from stepcoder_trl.evaluation.model_faults import check_vocabulary
from stepcoder_trl.evaluation.results import Evaluation
from stepcoder_trl.executor import Backend
from stepcoder_trl.steps import scores as reward_scores
from stepcoder_trl.steps.chat_templates import read_template_kwargs
from stepcoder_trl.steps.credit import Credit, choose_test_score
from stepcoder_trl.steps.masks import error_masks, loss_masks
from stepcoder_trl.steps.padding import pad_masks
from stepcoder_trl.steps.programs import Feedback, ProgramRunner, Runs
from stepcoder_trl.steps.queries import Query, build_query
from stepcoder_trl.steps.reward_functions import RewardFunc
from stepcoder_trl.steps.rows import PromptRow, as_rows, collate, keep_rows, read_dataset
from stepcoder_trl.steps.solutions import SolutionReport
from stepcoder_trl.steps.starts import Start, draw_starts, report_shares, stage_results
from stepcoder_trl.trainer import failures, inputs, ppo_steps, processes, setup
from stepcoder_trl.trainer._trl import PPOTrainer, RewardCarrier
from stepcoder_trl.trainer.announcements import add_callbacks
from stepcoder_trl.trainer.batches import PromptSampler
from stepcoder_trl.trainer.best_metric import settle_best_metric
from stepcoder_trl.trainer.cards import card_facts
from stepcoder_trl.trainer.checkpoints import save_models
from stepcoder_trl.trainer.evaluator import Evaluator, usable_sets
from stepcoder_trl.trainer.hub import push
from stepcoder_trl.trainer.imitation import with_prefixes
from stepcoder_trl.trainer.learner import Learner
from stepcoder_trl.trainer.measured_start import measured_start
from stepcoder_trl.trainer.models import default_models, reference_policy
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig, options_without_effect
from stepcoder_trl.trainer.records import Experience, Rewards, Rollout, Scores, TokenScores, Update
from stepcoder_trl.trainer.reward_log import RewardLog
from stepcoder_trl.trainer.rollout_log import RolloutLog, rollout_views
from stepcoder_trl.trainer.run_loop import RunLoop
from stepcoder_trl.trainer.run_report import RunReport
from stepcoder_trl.trainer.shared_options import check_config
from stepcoder_trl.trainer.signals import Interruption, StopSignals
from stepcoder_trl.trainer.training_metrics import Totals, finish_metrics, update_totals
from stepcoder_trl.trainer.training_set import TrainingSet
from stepcoder_trl.trainer.vllm_sampler import check_vllm, choose_sampler, send_weights


class StepCoderPPOTrainer(PPOTrainer):
    """
    Trainer for PPO from compiler feedback (StepCoder, arXiv:2402.01391), based on TRL's `PPOTrainer`.

    Positional arguments are those of upstream, in the same order. A dataset of problems with tests is trained with
    compiler feedback. One with `input_ids` only, as upstream's datasets, is trained with plain PPO on `reward_model`.

    Args:
        args ([`StepCoderPPOConfig`]):
            Configuration.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Tokenizer. `None` means that of the model.
        model (`str`, path or [`~transformers.PreTrainedModel`]):
            Policy. A name on the Hub or a folder is loaded in float32.
        ref_model ([`~transformers.PreTrainedModel`], *optional*):
            Reference of the KL penalty. `None` means a frozen copy of the policy, or the policy without its adapter.
        reward_model ([`~transformers.PreTrainedModel`], *optional*):
            Sequence classifier with one label. Its score is added to those of the reward functions.
        train_dataset ([`~datasets.Dataset`] or sequence of [`Problem`] or mappings):
            Problems: `task_id`, `prompt`, `starter_code`, `canonical_solution`, `tests`. Or rows with `input_ids`.
            Files and sets of the Hub are given by their names. A streamed set is read once, to its end.
        value_model ([`~transformers.PreTrainedModel`], *optional*):
            Critic: sequence classifier with one label and a head called `score`. `None` makes one from the policy.
        data_collator (`Callable`, *optional*):
            Takes rows as dictionaries and returns such rows, or padded `input_ids` as upstream's collator.
        eval_dataset (*optional*):
            Rows as in `train_dataset`, or a `dict` of such sets by name.
        optimizers (`tuple`, *optional*):
            Optimizer and learning-rate schedule. `None` makes them.
        callbacks (`list` of [`~transformers.TrainerCallback`], *optional*):
            Additional callbacks.
        peft_config ([`~peft.PeftConfig`], *optional*):
            Adapter to train instead of the whole policy. A critic that is made from the policy gets one too.
        reward_funcs (`Callable`, `str` or `list` of them, *optional*):
            Reward functions with TRL's signature, `def f(completions, **columns) -> list[float | None]`, also async,
            or their names, `package.module:function`. The keyword arguments are lists: `prompts`, `completion_ids`,
            `prefix`, `program`, `execution`, `task_id` and every column of the dataset. For chats, completions are
            messages. `None` means compiler feedback from the tests.
        reward_weights (`list[float]`, *optional*):
            Weight of each reward function, and of the reward model as the last. `None` means `args.reward_weights`.
        executor ([`Backend`], *optional*):
            Executor of the programs. It stays open. `None` makes one when it is needed, and closes it after training.

    Attributes:
        on_update (`Callable[[Update], None]` or `None`):
            Called with a record of each update. Set it to watch a run.
        generate (`Callable`):
            Samples the completions. Set it to another function with the signature of
            [`~evaluation.generation.generate`].
    """

    _tag_names = ["trl", "ppo", "stepcoder"]  # noqa: RUF012 - upstream's attribute
    _name = "StepCoder PPO"
    args: StepCoderPPOConfig

    def __init__(
        self,
        args: StepCoderPPOConfig,
        processing_class: PreTrainedTokenizerBase | None = None,
        model: str | os.PathLike[str] | PreTrainedModel | PeftModel | None = None,
        ref_model: PreTrainedModel | None = None,
        reward_model: PreTrainedModel | None = None,
        train_dataset: Any = None,
        value_model: PreTrainedModel | None = None,
        data_collator: Callable[..., Any] | None = None,
        eval_dataset: Any = None,
        optimizers: tuple[Any, Any] = (None, None),
        callbacks: list[TrainerCallback] | None = None,
        peft_config: PeftConfig | None = None,
        *,
        reward_funcs: str | RewardFunc | list[str | RewardFunc] | None = None,
        reward_weights: list[float] | None = None,
        executor: Backend | None = None,
        **misplaced: Any,
    ) -> None:
        inputs.check_keywords(misplaced, StepCoderPPOTrainer, StepCoderPPOConfig)
        train_dataset = read_dataset(train_dataset)
        processes.quiet_unless_first()
        check_config(args, StepCoderPPOConfig)
        parts = {"processing_class": processing_class, "peft_config": peft_config, "executor": executor}
        models = {"ref_model": ref_model, "reward_model": reward_model, "value_model": value_model}
        inputs.check_types(**parts, callbacks=callbacks, **models)
        model, processing_class = inputs.load(model, processing_class, peft_config)
        setup.warn_without_effect(args, options_without_effect(args))
        self.args, self.processing_class = args, processing_class
        self.on_update: Callable[[Update], None] | None = None
        self.runner = ProgramRunner(executor, args.executor_choice(processes.num_cores_per_process()))
        self.mask_rule = args.mask_rule(args.seed)
        rows = as_rows(train_dataset)
        inputs.refuse_reward_models(reward_funcs)
        weights = args.reward_weights if reward_weights is None else reward_weights
        self.reward_funcs, self.reward_weights = reward_scores.choose_rewards(
            rows, reward_funcs, weights, reward_model is not None
        )
        self.reward_funcs = choose_test_score(self.reward_funcs, rows, args.score_tests, args.fgo, executor)
        limit = setup.query_limit(model, args.max_prompt_length, args.response_length)
        self.training_set = TrainingSet(rows, args.curriculum_config(args.seed), self.build_query, limit)
        check_vocabulary(model, processing_class, self.training_set.queries(self.build_query))
        has_problems = self.training_set.has_problems
        self.plan = setup.plan_run(args, len(self.rows), has_problems, PartialState().num_processes)
        self.eval_sets = usable_sets(eval_dataset, args, self.build_query, setup.eval_query_limit(model, args))
        named = {prefix.removeprefix("eval").removeprefix("_"): rows for prefix, rows in self.eval_sets.items()}
        settle_best_metric(args, named, without_tests="objective/scores")
        check_vllm(args, model, self.training_set, self.eval_sets, self.build_query)
        self.signals: StopSignals | None = None
        value_model, ref_model = default_models(model, value_model, ref_model, peft_config, args.seed)
        torch.manual_seed(args.seed)  # a new adapter is the same on every process, and after a restart
        stop_token = setup.stop_token(args, has_problems, processing_class.eos_token_id)
        with setup.as_upstream_expects(args, model, self.plan, stop_token):
            super().__init__(
                args=args,
                processing_class=processing_class,
                model=model,
                ref_model=ref_model,
                reward_model=RewardCarrier() if reward_model is None else reward_model,
                train_dataset=self.rows,
                value_model=value_model,
                data_collator=data_collator or (keep_rows if has_problems else None),
                eval_dataset=eval_dataset,
                optimizers=optimizers,
                callbacks=callbacks,
                peft_config=peft_config,
            )
        self.train_dataset = train_dataset
        self.data_collator = data_collator or keep_rows  # upstream sets one that pads
        if reward_model is None:
            self.reward_model = None
        setup.finish(self)
        self.generate: Callable[..., Generation] = choose_sampler(self)
        self.learner = Learner(args, self.plan, self.accelerator, self.model, self.optimizer)
        self.evaluator = Evaluator(self)
        self.rollout_log = RolloutLog(args.output_dir, args.num_completions_to_print, args.report_to or ())
        self.reward_log = RewardLog()
        self.run_report = RunReport(self, card_facts)
        self.run = RunLoop(self)
        self.add_callback(measured_start(self))
        add_callbacks(self, self.plan.batch_size, self.plan.num_generations)

    @property
    def rows(self) -> list[PromptRow]:
        """Rows of the training set that are used."""
        return self.training_set.rows

    @property
    def curriculum(self) -> Curriculum | None:
        """Curriculum. `None` for rows with `input_ids` only."""
        return self.training_set.curriculum

    @property
    def executor(self) -> Backend | None:
        """Executor of the programs. `None` if none is open."""
        return self.runner.current

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Join policy and critic into one module, and make its optimizer and schedule. The schedule counts updates."""
        # Upstream's constructor calls this after it has made its own module, and before it prepares it.
        self.model = setup.join_models(self)
        super().create_optimizer_and_scheduler(self.plan.num_updates)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Make the optimizer, with one learning rate for the policy and one for the critic."""
        if self.optimizer is None:
            cls, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            decays = set(self.get_decay_parameter_names(self.model))
            self.optimizer = setup.make_optimizer(cls, settings, self.model, self.args, decays)
        return self.optimizer

    def get_train_dataloader(self) -> DataLoader:
        """Return an endless loader of this process's rows, one batch per update, beginning with the next update."""
        rank, step = self.accelerator.process_index, self.state.global_step
        # Its own generator: iteration must not change the random state that a checkpoint restores.
        return DataLoader(
            self.rows,
            batch_sampler=PromptSampler(len(self.rows), self.plan, rank, self.args.seed, step),
            collate_fn=lambda rows: collate(rows, self.data_collator, self.processing_class.pad_token_id),
            generator=torch.Generator(),
        )

    def check_solutions(self) -> SolutionReport:
        """Run each canonical solution once, on the main process. Return the report on every process."""
        return self.training_set.check_solutions(self.runner, self.accelerator, not self.args.disable_tqdm)

    def use_solutions(self, report: SolutionReport) -> None:
        """Apply the report of `check_solutions`: remove failing solutions, and raise time limits."""
        self.training_set.use_solutions(report)

    # Training

    def train(self, resume_from_checkpoint: bool | str | os.PathLike[str] | None = None) -> TrainOutput:
        """
        Train the policy and the critic.

        Args:
            resume_from_checkpoint (`bool` or path, *optional*):
                Checkpoint to continue from. `True` means the newest one in `output_dir`.

        Returns:
            [`~transformers.trainer_utils.TrainOutput`]: Number of updates, mean loss, and last metrics.

        Raises:
            BadInputError: If the checkpoint is missing, or is one of another run.
            SandboxError: If the sandbox failed to run more programs than `max_infrastructure_error_rate` allows.
        """
        self.runner.probe()
        with StopSignals(repeats_end=self.accelerator.num_processes == 1) as self.signals:
            try:
                self.run.begin(resume_from_checkpoint or None)
                self.signals.at_once = False
                self.run.evaluate_if_due()
                batches = iter(self.get_train_dataloader())
                while self.state.global_step < self.plan.num_updates and not self.control.should_training_stop:
                    self.check_signals()
                    rows = next(batches)
                    self.run.begin_update()
                    self.run.end_update(self.train_on(rows))
                self.check_signals()
            except Interruption as interruption:
                self.run.save_interrupted(interruption)
                raise interruption.reason from None
            finally:
                self.signals = None
                self.runner.close()
            return self.run.end()

    def train_on(self, rows: Sequence[PromptRow]) -> dict[str, float]:
        """Do one update with the rows of this process, one per completion. Returns the metrics over all processes."""
        self.reward_log = RewardLog()
        # 1. draw a start for each problem, and build its query
        starts = self.draw_samples(rows)
        # 2. generate completions, and extract their programs
        rollout = self.generate_rollout(starts)
        self.check_signals()  # after the longest step, and before the weights change
        # 3. submit the programs to the executor
        runs = self.submit_programs(rollout)
        # 4. meanwhile, compute log-probabilities of policy and reference, and values
        tokens = self.score_tokens(rollout)
        # 5. collect the executions
        feedback = self.collect_feedback(runs)
        if self.args.untrusted_passes == "drop":
            feedback = feedback.without_untrusted_passes()
        self.check_infrastructure(feedback)
        # 6. score the completions
        scores = self.score_completions(rollout, feedback)
        # 7. compute the reward of each token
        rewards = self.compute_rewards(rollout, tokens, scores, feedback)
        # 8. mask the tokens of lines that did not run
        loss_mask = self.build_loss_mask(rollout, feedback, scores)
        # 9. compute advantages and returns
        credit = ppo_steps.compute_credit(self, rollout, feedback)
        experience = self.compute_advantages(rollout, tokens, rewards, scores, loss_mask, credit)
        # 10. train policy and critic
        totals = self.update_models(experience)
        # 11. update the curriculum
        self.update_curriculum(rollout, feedback, scores)
        # 12. compute the metrics, and report the update
        step = self.state.global_step
        update = Update(step, rollout, tokens, feedback, scores, rewards, loss_mask, experience, metrics={})
        eos, with_tests = self.processing_class.eos_token_id, self.training_set.has_tests
        totals.update(update_totals(update, self.args.kl_coef, eos, with_tests, credit))
        update.metrics.update(self.metrics(totals, experience))
        self.run_report.add(lambda: rollout_views(rollout, feedback, scores, loss_mask))
        if self.args.log_completions:
            self.rollout_log.note(rollout_views(rollout, feedback, scores, loss_mask), self.reward_log.columns)
        if self.on_update is not None:
            self.on_update(update)
        return update.metrics

    def draw_samples(self, rows: Sequence[PromptRow]) -> tuple[Start, ...]:
        """Draw a start for each completion. It is the same for all completions of a problem, on every process."""
        first = self.accelerator.process_index * self.plan.local_batch_size
        return draw_starts(rows, self.curriculum, self.state.global_step, self.build_query, first)

    def build_query(self, row: PromptRow, prefix: str) -> Query:
        """Build the query of a problem: its prompt, followed by the prefix or else the starter code."""
        if row.token_ids is None:
            template_kwargs = read_template_kwargs(self.args.chat_template_kwargs)
            code, tokenizer = prefix or row.starter_code, self.processing_class
            return build_query(row.prompt, code, tokenizer, template_kwargs, task_id=row.task_id)
        return Query(self.processing_class.decode(row.token_ids), prefix="", token_ids=row.token_ids)

    def generate_rollout(self, starts: tuple[Start, ...], sampling: SamplingConfig | None = None) -> Rollout:
        """Sample a completion for each start, and extract its program. `sampling` defaults to that of training."""
        return ppo_steps.generate_rollout(self, starts, sampling)

    def submit_programs(self, rollout: Rollout) -> Runs:
        """Start the programs of rows that have tests, in the background."""
        programs = [completion.program.text for completion in rollout.completions]
        return self.runner.submit(programs, [start.row.tests for start in rollout.starts])

    def score_tokens(self, rollout: Rollout) -> TokenScores:
        """Compute log-probabilities under policy and reference, and values, in micro-batches."""
        self.model.eval()
        size, temperature, autocast = self.plan.micro_batch_size, self.args.temperature, self.accelerator.autocast
        reference = self.reference_policy
        return ppo_steps.score_tokens(rollout.generation, self.model, reference, autocast, size, temperature)

    def reference_policy(self) -> AbstractContextManager[torch.nn.Module]:
        """Return a context manager that yields the reference: a model, or the policy without its adapter."""
        policy = self.accelerator.unwrap_model(self.model).policy
        return reference_policy(self.ref_model, policy, self.ref_adapter_name, self.model_adapter_name)

    def collect_feedback(self, runs: Runs) -> Feedback:
        """Wait for the results of the programs."""
        return self.runner.collect(runs)

    def check_infrastructure(self, *feedback: Feedback) -> None:
        """Raise an `Interruption` if the sandbox failed to run too many programs. Every process must call this."""
        failures.check_infrastructure(feedback, self.args.max_infrastructure_error_rate, self.accelerator)

    def score_completions(self, rollout: Rollout, feedback: Feedback) -> Scores:
        """Compute the weighted sum of reward functions and reward model, with penalty and clip."""
        return ppo_steps.score_completions(self, rollout, feedback)

    def reward_model_scores(self, rollout: Rollout) -> torch.Tensor:
        """Compute the reward model's score of each completion, at its last valid token. Shape `(B,)`."""
        size, autocast = self.plan.micro_batch_size, self.accelerator.autocast
        return ppo_steps.score_sequences(rollout.generation, self.reward_model, autocast, size)

    def compute_rewards(self, rollout: Rollout, tokens: TokenScores, scores: Scores, feedback: Feedback) -> Rewards:
        """Compute the reward of each token: KL penalty, penalty for errors, and the score at the last valid token."""
        penalized = self.args.error_token_penalty > 0
        blamed = error_masks(rollout.completions, feedback.executions) if penalized else None
        return ppo_steps.reward_tokens(rollout.generation, tokens, scores, blamed, self.args, self._sum)

    def build_loss_mask(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> torch.Tensor:
        """Mark the tokens that stay in the policy loss: those of executed lines. Shape `(B, T)`."""
        masks = loss_masks(rollout.completions, feedback.executions, self.mask_rule, self.state.global_step)
        return pad_masks(masks, rollout.generation.response_ids) & scores.scored[:, None]

    def compute_advantages(
        self,
        rollout: Rollout,
        tokens: TokenScores,
        rewards: Rewards,
        scores: Scores,
        loss_mask: torch.Tensor,
        credit: Credit | None = None,
    ) -> Experience:
        """Compute returns and advantages over all valid tokens. Advantages are whitened over the kept tokens."""
        generation = rollout.generation
        made = ppo_steps.make_experience(generation, tokens, rewards, scores, loss_mask, self.args, self._sum, credit)
        return with_prefixes(made, rollout.starts, self.processing_class, self.args.prefix_imitation)

    def update_models(self, experience: Experience) -> Totals:
        """Train policy and critic, with one optimizer step per mini-batch. Returns sums for the metrics."""
        self.learner.trains_policy = self.state.global_step >= self.args.critic_warmup_steps
        return self.learner.update(experience)

    def update_curriculum(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> None:
        """Report each group's share of passing completions, to the same curriculum on every process."""
        if self.curriculum is not None:
            pass_score = self.args.curriculum_pass_score
            results = stage_results(rollout.starts, feedback.executions, scores.tolist(), pass_score)
            report_shares(self.curriculum, gather_object(results))
            digest, number = self.curriculum.digest(), self.accelerator.num_processes
            processes.check_identical("The curriculum", digest, number)

    def metrics(self, totals: Totals, experience: Experience) -> dict[str, float]:
        """Compute the metrics over all processes, with those of the curriculum and the learning rate."""
        metrics = finish_metrics(totals, experience, self._sum)
        metrics.update({} if self.curriculum is None else self.curriculum.summary())
        metrics.update(self.reward_log.metrics())
        metrics["lr"] = self.lr_scheduler.get_last_lr()[0]
        return metrics

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes."""
        return self.accelerator.reduce(tensor, "sum")

    def check_signals(self) -> None:
        """Stop all processes if one of them got a signal. All must call this at the same points."""
        if self.signals is not None:
            self.signals.check(self._sum(torch.tensor(self.signals.flags(), device=self.accelerator.device)).tolist())

    # Evaluation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """
        Measure pass@k from scratch on `eval_dataset`, by default that of the trainer.

        Returns:
            `dict[str, float]`: Metrics of all processes, which `metric_table.py` explains.

        Raises:
            BadInputError: If there is no dataset, or one without rows.
            SandboxError: If the sandbox failed to run more programs than `max_infrastructure_error_rate` allows.
        """
        metrics = self.evaluator.measure(self.evaluator.sets(eval_dataset, metric_key_prefix))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Raise a `BadInputError`: use [`StepCoderPPOTrainer.evaluate`]."""
        raise inputs.no_predictions()

    def evaluate_rows(self, rows: Sequence[PromptRow]) -> Evaluation:
        """Evaluate one set of problems. Returns the samples of all processes, in order."""
        send_weights(self.generate)
        return self.evaluator.evaluate_rows(rows)

    def generate_completions(self, sampling: bool = False) -> None:
        """Print completions of the evaluation set, from scratch. With `sampling`, print only one batch."""
        if not self.eval_sets:
            return
        rows = [row for rows in self.eval_sets.values() for row in rows]
        most = self.args.per_device_eval_batch_size if sampling else None
        by_model = not self.training_set.has_problems and self.reward_model is not None
        send_weights(self.generate)
        self.evaluator.show_completions(rows, most, by_model)

    # Saving

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save policy (or adapter), tokenizer, critic, curriculum and model card, by default to `args.output_dir`."""
        target = Path(output_dir or self.args.output_dir)
        save_models(target, self)
        if self.accelerator.is_main_process:
            self.run_report.write_card(target)  # replaces the card of PEFT
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save")

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Save the model and upload it to the Hub, see [`~transformers.Trainer.push_to_hub`] and `hub_record`."""
        return push(self, self.run.uploads, *args, hub_record=self.args.hub_record, **kwargs)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write the model card to `args.output_dir`. Arguments are those of upstream."""
        self.run_report.write_card_of_run(*args, **kwargs)
