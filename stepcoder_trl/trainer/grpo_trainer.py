"""GRPO trainer with compiler feedback, a curriculum of completion subtasks, and a loss on executed lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_utils import TrainOutput

from stepcoder_trl.curriculum import Curriculum
from stepcoder_trl.evaluation.model_faults import check_vocabulary, told_without_numbers
from stepcoder_trl.evaluation.process_group import leave_gloo_at_exit
from stepcoder_trl.executor import Backend
from stepcoder_trl.steps.credit import feedback_weight
from stepcoder_trl.steps.programs import ProgramRunner
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.solutions import SolutionReport
from stepcoder_trl.steps.starts import draw_starts, read_completions
from stepcoder_trl.trainer import grpo_imitation, grpo_measurement, grpo_round, grpo_setup, grpo_state, processes
from stepcoder_trl.trainer._trl import renamed_attributes_allowed
from stepcoder_trl.trainer._trl_grpo import GRPOTrainer, changed_upstream, check_hooks
from stepcoder_trl.trainer.announcements import add_callbacks
from stepcoder_trl.trainer.batches import ContinuedOrder
from stepcoder_trl.trainer.best_metric import best_metric_name, settle_best_metric
from stepcoder_trl.trainer.cards import grpo_facts
from stepcoder_trl.trainer.checkpoints import (
    checkpoint_folder,
    random_state,
    save_trained,
    set_random_state,
    told_if_disk_is_full,
)
from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig
from stepcoder_trl.trainer.grpo_round import Round
from stepcoder_trl.trainer.hub import CheckpointUploads, push
from stepcoder_trl.trainer.inputs import check_keywords, check_types, no_predictions
from stepcoder_trl.trainer.run_report import RunReport
from stepcoder_trl.trainer.signals import Interruption, stopped_by_signals
from stepcoder_trl.trainer.training_metrics import execution_totals
from stepcoder_trl.trainer.training_set import TrainingSet


class StepCoderGRPOTrainer(grpo_imitation.PrefixImitationTrainer):
    """
    Trainer for GRPO from compiler feedback (StepCoder, arXiv:2402.01391), based on TRL's `GRPOTrainer`.

    Arguments are those of upstream, in the same order. `tools`, `rollout_func`, `environment_factory` are refused.

    Args:
        reward_funcs (*optional*):
            As upstream. `None` means compiler feedback from the tests. Functions also get the lists `prefix`,
            `program`, `execution`, `task_id` and every column of the dataset.
        args ([`StepCoderGRPOConfig`], *optional*): Configuration.
        train_dataset ([`~datasets.Dataset`] or sequence of [`Problem`] or mappings):
            Problems: `task_id`, `prompt`, `starter_code`, `canonical_solution`, `tests`. Rows with a `prompt` alone
            are trained as by upstream.
        eval_dataset (as `train_dataset`, or a `dict` of such sets by name, *optional*): Problems to evaluate on.
        executor ([`Backend`], *optional*):
            Executor of the programs. It stays open. `None` makes one when it is needed, and closes it after training.

    Attributes:
        rounds (`int`): Rounds of generation so far. The curriculum draws by it.
        on_round (`Callable[[Round], None]` or `None`): Called with a record of each round. Set it to watch a run.
    """

    _tag_names = ["trl", "grpo", "stepcoder"]  # noqa: RUF012 - upstream's attribute
    _name = "StepCoder GRPO"
    args: StepCoderGRPOConfig

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        reward_funcs: Any = None,
        args: StepCoderGRPOConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        reward_processing_classes: Any = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        quantization_config: Any = None,
        peft_config: PeftConfig | None = None,
        tools: Any = None,
        rollout_func: Any = None,
        environment_factory: Any = None,
        *,
        executor: Backend | None = None,
        **misplaced: Any,
    ) -> None:
        check_keywords(misplaced, StepCoderGRPOTrainer, StepCoderGRPOConfig)
        check_hooks(GRPOTrainer)
        grpo_setup.refuse_unsupported(tools, rollout_func, environment_factory)
        processes.quiet_unless_first()
        check_types(processing_class=processing_class, peft_config=peft_config, executor=executor, callbacks=callbacks)
        given = grpo_setup.prepare(model, reward_funcs, args, train_dataset, eval_dataset, peft_config, executor)
        options = {"processing_class": processing_class, "reward_processing_classes": reward_processing_classes}
        options |= {"callbacks": callbacks, "optimizers": optimizers, "peft_config": peft_config}
        options |= {} if quantization_config is None else {"quantization_config": quantization_config}  # new in 1.12
        super().__init__(model=model, **given.for_upstream(), **options)
        self._set_parts(given, executor)

    def _set_parts(self, given: grpo_setup.Given, executor: Backend | None) -> None:
        """Set what this trainer has beside TRL's: datasets, curriculum, executor and the record of a round."""
        grpo_setup.check_tokenizer(self.processing_class)
        processes.check_processes(self.accelerator)
        leave_gloo_at_exit()
        args, self._limit = given.args, grpo_setup.longest_allowed(self.model, given.args)
        self.on_round: Callable[[Round], None] | None = None
        self._round: Round | None = None
        self.runner = ProgramRunner(executor, args.executor_choice(processes.num_cores_per_process()))
        self.training_set = TrainingSet(given.rows, args.curriculum_config(args.seed), self.build_query, self._limit)
        check_vocabulary(self.model, self.processing_class, self.training_set.queries(self.build_query))
        self._table = grpo_setup.RowTable(self.training_set.rows)
        self._stages = grpo_setup.logged_stages(self.training_set.rows, self.curriculum)
        grpo_setup.check_sizes(self.training_set, self.build_query, args)
        self.identity, self.rounds = grpo_state.identity_of(self), 0
        self.train_dataset = self._table.training_set()
        self.eval_dataset = self._table.add_sets(given.eval_sets, self.build_query, self._limit, args)
        settle_best_metric(args, given.eval_sets, without_tests="reward")
        self.training_data_name: str | None = None  # for the model card
        self.run_report, self.uploads = RunReport(self, grpo_facts), CheckpointUploads(args)
        self.add_callback(grpo_measurement.measured_start(self))
        add_callbacks(self, args.generation_batch_size or 0, args.num_generations)

    @property
    def curriculum(self) -> Curriculum | None:
        """Curriculum of the training set."""
        return self.training_set.curriculum

    @property
    def executor(self) -> Backend | None:
        """Executor of the programs. `None` if none is open."""
        return self.runner.current

    def build_query(self, row: PromptRow, prefix: str) -> Query:
        """Build the query of a problem: its prompt, followed by the prefix or else the starter code."""
        if not grpo_round.is_plain(row):
            return grpo_setup.problem_query(row, prefix, self.processing_class, self.args)
        ids = super()._tokenize_prompts([grpo_round.prompt_of(row)])[0][0]
        return Query(self.processing_class.decode(ids), prefix="", token_ids=tuple(ids))

    def check_solutions(self) -> SolutionReport:
        """Run each canonical solution once, on the main process. Return the report on every process."""
        return self.training_set.check_solutions(self.runner, self.accelerator, not self.args.disable_tqdm)

    def use_solutions(self, report: SolutionReport) -> None:
        """Apply the report of `check_solutions`: remove failing solutions, and raise time limits."""
        self.training_set.use_solutions(report)
        self._table.replace_training_set(self.training_set.rows)

    # Hooks of a round, in the order of their calls

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Draw a start for each completion, let TRL do the round, then mask tokens and move the curriculum."""
        training, rows = bool(self.model.training), self._table.of(inputs)
        first = self.accelerator.process_index * len(rows)
        starts = draw_starts(rows, self.curriculum if training else None, self.rounds, self.build_query, first)
        self._round = this = Round(self.rounds, training, starts, random_state())
        this.result = super()._generate_and_score_completions([{"prompt": prompt} for prompt in this.prompts])
        feedback = grpo_round.checked_feedback(this)
        totals = execution_totals(feedback) if self._table.has_tests else {}
        metrics = self._metrics["train" if training else "eval"]
        if training:
            weight = feedback_weight(self.reward_funcs, self.reward_weights.tolist())
            totals |= grpo_round.mask_tokens(this, self.args, weight, self.accelerator)
            grpo_imitation.add_prefix_lengths(this, self.args.prefix_imitation, self.processing_class)
            grpo_round.move_curriculum(this, self.curriculum, metrics, self.accelerator)
            self.run_report.add(this.views)
            self.rounds += 1
        grpo_round.note_metrics(this, metrics, totals, self._stages, self.accelerator)
        self._round = None
        if self.on_round is not None:
            self.on_round(this)
        return this.result

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], Any, dict[str, Any]]:
        """Return the token ids of the queries, as they are: no template and no special token is added."""
        this = grpo_round.expected_round(self._round, "_tokenize_prompts")
        this.handed_over = True
        if this.prompts != prompts:
            raise changed_upstream("`_tokenize_prompts` got other prompts than those of the round")
        return this.query_ids, None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        """Sample, and start the programs: they run while TRL computes log-probabilities."""
        this = grpo_round.expected_round(self._round, "_generate_single_turn")
        with told_without_numbers():
            completion_ids, log_probs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        this.completions = read_completions(this.starts, completion_ids, self.processing_class)
        programs = [completion.program.text for completion in this.completions]
        this.runs = self.runner.submit(programs, [start.row.tests for start in this.starts])
        return completion_ids, log_probs

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        """Collect the executions, and return the rewards of all processes, of shape `(N, functions)`."""
        this = grpo_round.expected_round(self._round, "_calculate_rewards")
        this.feedback = grpo_round.collect(this, self.runner, self.args, self.accelerator)
        columns = grpo_round.reward_rows(this.completions, this.executions)
        texts = grpo_round.reward_texts(this.completions, completions)
        for column, values in grpo_round.logged_columns(this).items():
            self._log_completion_extra(column, values)
        rewards = super()._calculate_rewards(columns, prompts, texts, completion_ids_list)
        size = self.num_generations if this.training else self.num_generations_eval
        return grpo_round.judge(this, rewards, self.reward_weights, size, self.args, self.accelerator)

    def _get_train_sampler(self, dataset: Any = None) -> ContinuedOrder:
        return ContinuedOrder(super()._get_train_sampler(dataset), lambda: int(self.state.epoch or 0))

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """
        Train the policy. Arguments are those of [`~transformers.Trainer.train`].

        Raises:
            BadInputError: If the checkpoint is missing, or is one of another run.
            SandboxError: If the sandbox failed to run more programs than `max_infrastructure_error_rate` allows.
        """
        self.runner.probe()
        try:
            with renamed_attributes_allowed(), stopped_by_signals(self, grpo_state.updates_of_rounds(self.args)):
                result = super().train(grpo_state.begin(self, resume_from_checkpoint), *args, **kwargs)
            self.uploads.wait()
            return result
        except Interruption as interruption:  # the interrupted round will be repeated
            if self._round is not None:
                set_random_state(self._round.random_state)
            self._save_checkpoint(self.model, trial=None)
            raise interruption.reason from None
        finally:
            self.runner.close()

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Evaluate from scratch, without prefixes. Arguments are those of [`~transformers.Trainer.evaluate`]."""
        chooses_best = self.is_in_train and eval_dataset is None and self.args.metric_for_best_model is not None
        eval_dataset = self._table.evaluation_set(eval_dataset, self.build_query, self._limit, self.args)
        try:
            metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
            metrics |= grpo_round.means(self.state.log_history[-1], metric_key_prefix)
            if chooses_best:
                best_metric_name(self.args.metric_for_best_model, metrics)  # a clear line if there is none
            return metrics
        except Interruption as interruption:
            raise (interruption if self.is_in_train else interruption.reason) from None
        finally:
            if not self.is_in_train:
                self.runner.close()

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Raise a `BadInputError`: use [`StepCoderGRPOTrainer.evaluate`]."""
        raise no_predictions()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with told_if_disk_is_full(checkpoint_folder(self), self.is_world_process_zero()):
            super()._save_checkpoint(model, trial)
            if self.is_world_process_zero():
                save_trained(checkpoint_folder(self), self)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model as upstream, and curriculum, rounds and checked solutions beside it."""
        super().save_model(output_dir, _internal_call)
        if self.args.should_save:
            grpo_state.save_state(Path(output_dir or self.args.output_dir), self)
            self.run_report.write_card(output_dir or self.args.output_dir)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Save the model and upload it to the Hub, see [`~transformers.Trainer.push_to_hub`] and `hub_record`."""
        return push(self, self.uploads, *args, hub_record=self.args.hub_record, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        self.uploads.push_checkpoint(self, checkpoint_folder)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write the model card to `args.output_dir`. Arguments are those of upstream."""
        self.run_report.write_card_of_run(*args, **kwargs)
