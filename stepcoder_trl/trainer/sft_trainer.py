"""TRL's trainer of supervised fine-tuning, with this package's uploads to the Hub."""

from __future__ import annotations

from typing import Any

from trl import SFTTrainer

from stepcoder_trl.trainer.checkpoints import checkpoint_folder, save_trained, told_if_disk_is_full
from stepcoder_trl.trainer.hub import CheckpointUploads, push
from stepcoder_trl.trainer.run_report import SFTReport
from stepcoder_trl.trainer.signals import stopped_by_signals


class StepCoderSFTTrainer(SFTTrainer):  # type: ignore[misc]  # TRL is untyped
    """
    Trainer of TRL that uploads no training data and no logs, unless `hub_record` is set.

    Other arguments are those of [`~trl.SFTTrainer`].
    """

    def __init__(self, *args: Any, hub_record: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hub_record, self.uploads = hub_record, CheckpointUploads(self.args)
        self.report: SFTReport | None = None

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as upstream, stop for signals with a checkpoint, and wait until all uploads have ended."""
        with stopped_by_signals(self):
            result = super().train(*args, **kwargs)
        self.uploads.wait()
        return result

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with told_if_disk_is_full(checkpoint_folder(self), self.is_world_process_zero()):
            super()._save_checkpoint(model, trial)
            if self.is_world_process_zero():
                save_trained(checkpoint_folder(self), self)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Save the model and upload it to the Hub, see [`~transformers.Trainer.push_to_hub`] and `hub_record`."""
        return push(self, self.uploads, *args, hub_record=self.hub_record, **kwargs)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write the card of this package where there is a report. Otherwise write that of TRL."""
        if self.report is None:
            super().create_model_card(*args, **kwargs)
        else:
            self.report.write_files(self.args.output_dir)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        self.uploads.push_checkpoint(self, checkpoint_folder)
