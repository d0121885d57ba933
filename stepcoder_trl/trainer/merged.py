"""Export of a trained adapter as a full model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.reports.run_facts import read_facts
from stepcoder_trl.reports.run_files import write_card
from stepcoder_trl.steps.prompt_settings import read_run_file, write_run_file
from stepcoder_trl.trainer._trl import renamed_attributes_allowed
from stepcoder_trl.trainer.processes import unsharded_models
from stepcoder_trl.trainer.report_guard import ReportGuard


MERGED = "merged"


def check_merge(merge_adapter: bool, use_peft: bool) -> None:
    """Raise a `BadInputError` if there will be no adapter to merge."""
    if merge_adapter and not use_peft:
        raise BadInputError("`merge_adapter` is set, but no adapter is trained. Set `use_peft`, or leave it out.")


def save_merged(folder: str, accelerator: Any) -> None:
    """
    Merge the adapter in a model folder into its base model, and save the result to its folder `merged/`, with a card.

    The base model is loaded again, unquantized, so that weights that were sharded or quantized in training are merged
    too. The first process does this, while the others wait. Every process must call it.
    """
    if accelerator.is_main_process:
        from peft import AutoPeftModelForCausalLM
        from transformers import AutoTokenizer

        target = Path(folder) / MERGED
        with unsharded_models(), renamed_attributes_allowed():
            model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype="auto")
        model.merge_and_unload().save_pretrained(target)
        AutoTokenizer.from_pretrained(folder).save_pretrained(target)
        prompts = read_run_file(folder)
        if prompts is not None:
            write_run_file(target, prompts)
        with ReportGuard().tolerant():
            _write_card(folder, target)
    accelerator.wait_for_everyone()


def _write_card(folder: str, target: Path) -> None:
    facts = read_facts(folder)
    if facts is not None:
        write_card(dataclasses.replace(facts, adapter=False, model_name=f"{facts.model_name}/{MERGED}"), target)
