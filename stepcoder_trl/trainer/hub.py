"""Uploads to the Hub: checkpoints during training, and the final model."""

from __future__ import annotations

import logging
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers.trainer_utils import HubStrategy

from stepcoder_trl.trainer.checkpoints import TRAINING_STATE


logger = logging.getLogger(__name__)

LAST_CHECKPOINT = "last-checkpoint"
# Files in the folder of a run that show prompts, solutions and completions, and logs.
RECORD = (
    *("record/*", "completions/*", "report.html", "metrics.jsonl", "stage_measurement.jsonl"),
    *("curves.*", "plot.*", "solutions.json"),
    *("runs/*", "logs/*", "trackio/*", "wandb/*", "*.log"),
)
# What a checkpoint has beside the model, of this package and of transformers.
_STATE = (
    *(f"{TRAINING_STATE}/*", "optimizer*", "scheduler.pt", "scaler.pt", "rng_state*", "trainer_state.json"),
    *("stepcoder_state.json", "trained.json"),
    *("global_step*", "latest", "zero_to_fp32.py"),
)


def push(
    trainer: Any,
    uploads: CheckpointUploads,
    commit_message: str | None = "End of training",
    blocking: bool = True,
    token: str | None = None,
    revision: str | None = None,
    private: bool | None = None,
    *,
    hub_record: bool,
    **card: Any,
) -> Any:
    """
    Save a model and upload the folder of its run after its checkpoints, as [`~transformers.Trainer.push_to_hub`] does.

    Checkpoints stay, and without `hub_record` all that shows the training data. `card` goes to `create_model_card`.
    Every process must call this.

    Returns:
        [`~huggingface_hub.CommitInfo`], or its `Future` if not `blocking`. `None` on other processes than the first.
    """
    args = trainer.args
    uploads.wait()  # two commits at once would conflict
    trainer.control = trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    if trainer.hub_model_id is None:
        given = {"token": token, "private": private}
        trainer.init_hf_repo(**{name: value for name, value in given.items() if value is not None})
    trainer.save_model(_internal_call=True)
    if not trainer.is_world_process_zero():
        return None
    trainer.create_model_card(**card)
    api: Any = HfApi(token=token or args.hub_token)  # its overloads know no `bool`
    return api.upload_folder(
        repo_id=trainer.hub_model_id,
        folder_path=args.output_dir,
        commit_message=commit_message,
        revision=revision or args.hub_revision,
        run_as_future=not blocking,
        ignore_patterns=["_*", "checkpoint-*", *(() if hub_record else RECORD)],
    )


class CheckpointUploads:
    """
    Uploads checkpoints in the background, one after the other.

    The model of a checkpoint goes to the root of the repository. `hub_strategy="checkpoint"` also uploads the complete
    checkpoint as `last-checkpoint/`, `"all_checkpoints"` uploads it under its own name, `"end"` uploads nothing. A
    checkpoint that is written during another upload is skipped, unless `hub_always_push` is set. If an upload fails, a
    warning is logged and training continues.
    """

    def __init__(self, args: Any) -> None:
        self.args = args
        self._api = HfApi(token=args.hub_token)
        self._jobs: list[tuple[Path, Future[Any]]] = []

    @property
    def folders(self) -> list[Path]:
        """Return the checkpoints that are being uploaded. They must not be deleted."""
        return [folder for folder, job in self._jobs if not job.done()]

    def wanted(self) -> bool:
        """Whether to upload the checkpoint that was just written."""
        args = self.args
        return bool(
            args.push_to_hub and args.hub_strategy != HubStrategy.END and (args.hub_always_push or not self.folders)
        )

    def push_checkpoint(self, trainer: Any, folder: str | Path) -> None:
        """Start to upload a checkpoint of a trainer of transformers, which may delete older ones at once."""
        if trainer.is_world_process_zero():
            if self.args.save_total_limit is not None:
                self.wait()
            if self.wanted():
                trainer.control = trainer.callback_handler.on_push_begin(self.args, trainer.state, trainer.control)
                message = f"Training in progress, update {trainer.state.global_step}"
                self.begin(Path(folder), str(trainer.hub_model_id), message)

    def begin(self, folder: Path, repo_id: str, message: str) -> None:
        """Start to upload a checkpoint to a repository, with the message of the commit."""
        self._warn_of_failures()
        self._send(folder, repo_id, message, ignore_patterns=list(_STATE))
        paths = {HubStrategy.CHECKPOINT: LAST_CHECKPOINT, HubStrategy.ALL_CHECKPOINTS: folder.name}
        if path := paths.get(self.args.hub_strategy):
            self._send(folder, repo_id, f"{message}, checkpoint", path_in_repo=path)

    def _send(self, folder: Path, repo_id: str, message: str, **more: Any) -> None:
        job = self._api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=message,
            revision=self.args.hub_revision,
            run_as_future=True,
            **more,
        )
        self._jobs.append((folder, job))

    def wait(self) -> None:
        """Wait until all uploads have ended."""
        wait([job for _, job in self._jobs])
        self._warn_of_failures()

    def _warn_of_failures(self) -> None:
        """Warn of failed uploads, and forget all that have ended."""
        done = [(folder, job) for folder, job in self._jobs if job.done()]
        self._jobs = [(folder, job) for folder, job in self._jobs if not job.done()]
        for folder, job in done:
            error = job.exception()
            if error is not None:
                logger.warning(
                    f"{folder} could not be sent to the Hub: {error}. Training continues, and the folder is complete: "
                    "send it with `hf upload`."
                )
