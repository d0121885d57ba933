"""Measurement of the stages before the first update, with the sampler and the executor of training."""

from __future__ import annotations

import hashlib
import random
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState

from stepcoder_trl.curriculum import Curriculum
from stepcoder_trl.curriculum.measured import (
    MEASUREMENT_FILE,
    MeasurementFile,
    StageRate,
    best_starts,
    read_measurement,
)
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.sampling import seeded
from stepcoder_trl.steps.measurement import (
    Group,
    groups_digest,
    groups_to_measure,
    measure_groups,
    passes_of,
    split_groups,
)
from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.steps.starts import Start
from stepcoder_trl.trainer.announcements import say
from stepcoder_trl.trainer.evaluator import share_of
from stepcoder_trl.trainer.failures import check_infrastructure
from stepcoder_trl.trainer.processes import check_identical, gathered
from stepcoder_trl.trainer.signals import Interruption


if TYPE_CHECKING:
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer

# Settings on which the pass rate of a stage depends, of both trainers.
_SETTINGS = (
    *("seed", "curriculum_start_samples", "test_timeout_s", "untrusted_passes", "temperature", "top_p", "top_k"),
    *("min_p", "repetition_penalty", "generation_kwargs", "response_length", "max_completion_length", "stop_token"),
    *("stop_token_id", "use_vllm"),
)
_VALUES = 1024  # of each parameter that enter the digest of a model


@dataclass(frozen=True)
class Parts:
    """
    Parts of a trainer that a measurement uses.

    Attributes:
        policy (`Callable`): Returns the policy.
        sample (`Callable`): Samples one completion per start, and runs its program.
        local_samples (`int`): Completions that a process samples at a time.
        is_new (`Callable`): Says whether the run has made no update.
    """

    policy: Callable[[], torch.nn.Module]
    sample: Callable[[Sequence[Start]], Feedback]
    local_samples: int
    is_new: Callable[[], bool]


class MeasuredStart(TrainerCallback):
    """
    Measures the stages of all problems at the beginning of a new run, and starts each at the best one.

    It does nothing unless `curriculum_start` is `"measured"`, and nothing after the first update. The counts are saved
    in `stage_measurement.jsonl` of `output_dir` after each batch. A run that was killed meanwhile goes on with them,
    if model, problems and settings are the same.

    Args:
        trainer (PPO or GRPO trainer): Trainer.
        parts ([`Parts`]): Parts of the trainer that a measurement uses.
    """

    def __init__(self, trainer: StepCoderPPOTrainer | StepCoderGRPOTrainer, parts: Parts) -> None:
        # A strong reference would keep a dropped trainer, with its models, until the next garbage collection.
        self.trainer: StepCoderPPOTrainer | StepCoderGRPOTrainer = weakref.proxy(trainer)
        self.parts = parts

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure, and move the curriculum of this process."""
        curriculum = self.trainer.curriculum
        if args.curriculum_start != "measured" or curriculum is None or not self.parts.is_new():
            return
        try:
            curriculum.start_at(best_starts(self.measure(curriculum)))
        except Interruption as interruption:  # no update was made that a checkpoint could hold
            raise interruption.reason from None
        check_identical("The curriculum", curriculum.digest(), self.trainer.accelerator.num_processes)

    def measure(self, curriculum: Curriculum) -> list[StageRate]:
        """Measure the stages of all problems, or what is left of them. Every process must call this."""
        trainer = self.trainer
        args, process, build_query = trainer.args, trainer.accelerator, trainer.build_query
        groups = groups_to_measure(trainer.training_set.rows, curriculum)
        if args.curriculum_start_file is not None:
            return self._read(args.curriculum_start_file, groups)
        identity = {
            "model": weights_digest(self.parts.policy()),
            "problems": groups_digest(groups, build_query),
            **{name: value for name, value in vars(args).items() if name in _SETTINGS},
        }
        file = MeasurementFile(Path(args.output_dir) / MEASUREMENT_FILE, identity)
        found = [file.read() if process.is_main_process else []]
        broadcast_object_list(found)
        rates = found[0]
        size = args.curriculum_start_samples
        per_process = max(1, self.parts.local_samples // size)
        batches = measure_groups(groups, per_process * process.num_processes, build_query, self._sample_groups, rates)
        with measurement_bar(len(groups) * size, len(rates) * size, process.is_main_process, args) as advance:
            for batch in batches:
                rates = [*rates, *batch]
                if process.is_main_process:
                    file.write(rates)
                advance(len(batch) * size)
        return rates

    def _read(self, path: str, groups: Sequence[Group]) -> list[StageRate]:
        """Return the counts in a file of the stages of the training set, and save them beside the run."""
        wanted = {(group.row.task_id, group.stage.stage) for group in groups}
        rates = [one for one in read_measurement(path) if (one.task_id, one.stage) in wanted]
        problems = len({task_id for task_id, _ in wanted})
        found = len({one.task_id for one in rates})
        if groups and not rates:
            raise BadInputError(f"`curriculum_start_file` {path!r} has no stage of these problems. Measure them anew.")
        if self.trainer.accelerator.is_main_process:
            say(f"Starts of {found} of {problems} problems with several stages come from {path}.")
            MeasurementFile(Path(self.trainer.args.output_dir) / MEASUREMENT_FILE, {"file": path}).write(rates)
        return rates

    def _sample_groups(self, starts: Sequence[Start], number: int) -> list[list[bool | None]]:
        """Sample a batch of groups on all processes. Each samples whole groups, and as many as the others."""
        trainer, size = self.trainer, self.trainer.args.curriculum_start_samples
        process = trainer.accelerator
        indices, num_counted = share_of(len(starts), process.process_index, process.num_processes)
        # Seeded by the place among all groups: a measurement that was interrupted goes on with the same samples.
        seed = random.Random(f"{trainer.args.seed}|{number}|{process.process_index}").getrandbits(32)
        with seeded(seed):
            feedback = self.parts.sample([starts[index] for index in indices for _ in range(size)])
        if trainer.args.untrusted_passes == "drop":
            feedback = feedback.without_untrusted_passes()
        check_infrastructure([feedback], trainer.args.max_infrastructure_error_rate, process)
        passes = split_groups(passes_of(feedback.executions), size)
        return list(gather_object(passes[:num_counted]))


def measured_start(trainer: StepCoderPPOTrainer) -> MeasuredStart:
    """Return the measurement of a PPO trainer."""
    own: StepCoderPPOTrainer = weakref.proxy(trainer)

    def sample(starts: Sequence[Start]) -> Feedback:
        return own.collect_feedback(own.submit_programs(own.generate_rollout(tuple(starts))))

    parts = Parts(
        policy=lambda: own.accelerator.unwrap_model(own.model).policy,
        sample=sample,
        local_samples=trainer.plan.local_batch_size,
        is_new=lambda: own.state.global_step == 0,
    )
    return MeasuredStart(trainer, parts)


def weights_digest(model: torch.nn.Module) -> str:
    """
    Return a digest of a model's weights: names, shapes, and up to 1,024 evenly spaced values of each parameter.

    Every process must call this, as sharded parameters are gathered.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        with gathered([parameter]):
            values = parameter.detach().reshape(-1)
            shown = values[:: max(1, len(values) // _VALUES)].to("cpu", torch.float32, copy=True)
            digest.update(f"{name} {tuple(parameter.shape)}".encode())
            digest.update(shown.numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def measurement_bar(total: int, done: int, is_main: bool, args: Any) -> Iterator[Callable[[int], object]]:
    """Yield a function that advances a progress bar of samples. Outside a terminal a line says what is done."""
    shown = is_main and not args.disable_tqdm
    if shown and done < total and not sys.stderr.isatty():
        say(f"Measuring the stages of the curriculum: {total - done} samples.")
    with tqdm(
        total=total, initial=done, desc="measuring stages", dynamic_ncols=True, disable=None if shown else True
    ) as bar:
        yield bar.update
