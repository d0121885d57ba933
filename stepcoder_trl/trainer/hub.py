"""Uploads of checkpoints to the Hub while training goes on."""

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


class CheckpointUploads:
    """
    Uploads of checkpoints, in the background, one after the other.

    The model of a checkpoint goes to the top of the repository. `hub_strategy="checkpoint"` also sends the complete
    checkpoint as `last-checkpoint/`, `"all_checkpoints"` sends it under its own name, `"end"` sends nothing. A
    checkpoint that is written during another upload is sent only with `hub_always_push`. A failed upload gives a
    warning, and training goes on.

    Args:
        args ([`StepCoderPPOConfig`]):
            `push_to_hub`, `hub_strategy`, `hub_always_push`, `hub_token` and `hub_revision`.
    """

    def __init__(self, args: Any) -> None:
        self.args = args
        self._api = HfApi(token=args.hub_token)
        self._jobs: list[tuple[Path, Future[Any]]] = []

    @property
    def folders(self) -> list[Path]:
        """Checkpoints that are being uploaded. They must not be deleted."""
        return [folder for folder, job in self._jobs if not job.done()]

    def wanted(self) -> bool:
        """Whether to upload a checkpoint that was just written."""
        args = self.args
        return bool(
            args.push_to_hub and args.hub_strategy != HubStrategy.END and (args.hub_always_push or not self.folders)
        )

    def begin(self, folder: Path, repo_id: str, message: str) -> None:
        """
        Send a checkpoint.

        Args:
            folder (`Path`):
                The checkpoint.
            repo_id (`str`):
                Repository.
            message (`str`):
                Of the commit.
        """
        self._name_failures()
        self._send(folder, repo_id, message, ignore_patterns=[f"{TRAINING_STATE}/*"])
        wholes = {HubStrategy.CHECKPOINT: LAST_CHECKPOINT, HubStrategy.ALL_CHECKPOINTS: folder.name}
        if self.args.hub_strategy in wholes:
            place = wholes[self.args.hub_strategy]
            self._send(folder, repo_id, f"{message}, checkpoint", path_in_repo=place)

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
        """Wait until every upload has ended."""
        wait([job for _, job in self._jobs])
        self._name_failures()

    def _name_failures(self) -> None:
        """Warn of uploads that failed, and forget those that are done."""
        done = [(folder, job) for folder, job in self._jobs if job.done()]
        self._jobs = [(folder, job) for folder, job in self._jobs if not job.done()]
        for folder, job in done:
            error = job.exception()
            if error is not None:
                logger.warning(
                    f"{folder} could not be sent to the Hub: {error}. Training goes on; the folder is whole: "
                    "`hf upload` sends it by hand."
                )
