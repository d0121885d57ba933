"""
Training with several processes, which `accelerate launch` starts: DDP and DeepSpeed ZeRO.

Only this module and `checkpoints` distinguish the two. The steps of the trainer are the same for both.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object
from accelerate.utils.environment import get_int_from_env, parse_flag_from_env
from transformers.utils import is_torch_bf16_gpu_available

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.wire.system import num_cores
from stepcoder_trl.trainer._trl import add_hooks, remove_hooks


logger = logging.getLogger(__name__)

# Variables in which torchrun and MPI launchers store the number of processes on this machine.
_LOCAL_SIZES = ["LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"]
_OLD_LOCK_S = 30.0  # other processes of this run may have made a younger one


def has_gpu() -> bool:
    """Whether this machine has a GPU or another accelerator."""
    return torch.accelerator.is_available()


def asks_for_deepspeed() -> bool:
    """Whether the launcher asked for DeepSpeed."""
    return bool(parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"))


def launch_settings(use_cpu: bool, ddp_backend: str | None, fsdp: Any) -> dict[str, Any]:
    """
    Return the values of `use_cpu` and `ddp_backend` that let processes without a GPU train together.

    Raises:
        BadInputError: If FSDP is asked for, DeepSpeed is asked for together with `use_cpu`, or DeepSpeed cannot
            compile its communication on CPUs.
    """
    if parse_flag_from_env("ACCELERATE_USE_FSDP") or fsdp:
        raise BadInputError(
            "FSDP is not supported: no test here covers it, and without a GPU each process would train for itself. "
            "Use DeepSpeed ZeRO-2 or ZeRO-3: `--accelerate_config zero3`."
        )
    if asks_for_deepspeed():
        if use_cpu or parse_flag_from_env("ACCELERATE_USE_CPU"):
            raise BadInputError(
                "`use_cpu` turns DeepSpeed off, without a word. Leave it out: without a GPU DeepSpeed trains on the "
                "CPU by itself."
            )
        if has_gpu():
            return {"use_cpu": False, "ddp_backend": ddp_backend}
        load_operator("ShareMemCommBuilder", "with which its processes talk on the CPU", optional=True)
        # Without it accelerate would see one process, and DeepSpeed all of them.
        return {"use_cpu": False, "ddp_backend": ddp_backend or "gloo"}
    if get_int_from_env(["WORLD_SIZE"], 1) > 1 and not has_gpu():
        return {"use_cpu": True, "ddp_backend": ddp_backend}
    return {"use_cpu": use_cpu, "ddp_backend": ddp_backend}


def mixed_precision(bf16: bool | None, fp16: bool) -> str:
    """Return the name of a precision in accelerate: `bf16`, `fp16` or `no`."""
    return "bf16" if bf16 else "fp16" if fp16 else "no"


@contextmanager
def precision_for_accelerate(name: str) -> Iterator[None]:
    """Set `ACCELERATE_MIXED_PRECISION` for accelerators and configurations that are made in the block."""
    variable = "ACCELERATE_MIXED_PRECISION"
    before = os.environ.get(variable)
    if name != "no":
        os.environ[variable] = name
    try:
        yield
    finally:
        if before is not None:
            os.environ[variable] = before
        elif name != "no":
            del os.environ[variable]


def choose_devices(args: Any) -> None:
    """
    Set options of a configuration to what this machine has.

    Sets `use_cpu` and `ddp_backend` as `launch_settings`, and `bf16` where it is `None`: on if a GPU has it and `fp16`
    is off.
    """
    for name, value in launch_settings(args.use_cpu, args.ddp_backend, args.fsdp).items():
        setattr(args, name, value)
    if args.bf16 is None:
        args.bf16 = not (args.fp16 or args.use_cpu) and is_torch_bf16_gpu_available()


@contextmanager
def bf16_beside_deepspeed(args: Any) -> Iterator[None]:
    """
    Hide `bf16` from transformers if DeepSpeed trains on the CPU, and pass it to accelerate instead.

    Transformers would require `use_cpu`, which turns DeepSpeed off.
    """
    if not (args.bf16 and asks_for_deepspeed() and not has_gpu()):
        yield
        return
    args.bf16 = False
    with precision_for_accelerate("bf16"):
        yield
    args.bf16 = True


def check_processes(accelerator: Accelerator) -> None:
    """Raise a `RuntimeError` if the processes would train separately, or without the DeepSpeed that was asked for."""
    started = get_int_from_env(["WORLD_SIZE"], 1)
    if accelerator.num_processes != started:
        raise RuntimeError(
            f"{started} processes were started, but accelerate sees {accelerator.num_processes}: each would train for "
            "itself. Use `--accelerate_config ddp`, `zero2` or `zero3`; `sft` with `ddp` needs `--use_cpu` on CPUs."
        )
    if asks_for_deepspeed() and not is_deepspeed(accelerator):
        raise RuntimeError("DeepSpeed was asked for, but is not on. Leave out `use_cpu`, and `cpu` of the launcher.")


def quiet_unless_first(*, libraries: bool = False) -> None:
    """Silence our warnings on all but one process of each machine. `libraries` also silences other libraries."""
    if PartialState().is_local_main_process:
        return
    logging.getLogger("stepcoder_trl").setLevel(logging.ERROR)
    if libraries:
        warnings.simplefilter("ignore")
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()


def quiet_libraries() -> None:
    """Silence libraries below us: warnings about each other, and their progress bars outside a terminal."""
    # DeepSpeed calls functions of torch by their old names.
    warnings.filterwarnings("ignore", message="`torch.distributed", category=FutureWarning)
    # The default of transformers is for GPUs.
    warnings.filterwarnings("ignore", message="'pin_memory' argument is set as true", category=UserWarning)
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
        datasets.disable_progress_bars()


def num_cores_per_process() -> int:
    """Return this process's share of the cores of its machine, at least 1."""
    return max(1, num_cores() // get_int_from_env(_LOCAL_SIZES, 1))


def check_identical(what: str, digest: str, num_processes: int) -> None:
    """Raise a `RuntimeError` if the digest of `what` differs between processes. Every process must call this."""
    if num_processes == 1:
        return
    digests = gather_object([digest])
    odd = [rank for rank, other in enumerate(digests) if other != digests[0]]
    if odd:
        raise RuntimeError(
            f"{what} of the processes {odd} differs from that of process 0: they would train on different problems. "
            "Reward functions and callbacks must not change it. Resume from the newest checkpoint."
        )


# DeepSpeed


def is_deepspeed(accelerator: Accelerator) -> bool:
    """Whether the model is a DeepSpeed engine."""
    return accelerator.state.deepspeed_plugin is not None


def load_operator(builder: str, purpose: str, *, optional: bool = False) -> None:
    """
    Compile an operator of DeepSpeed now, so that a failure gets a clear message.

    Args:
        builder (`str`): Class in `deepspeed.ops.op_builder`.
        purpose (`str`): Purpose of the operator, for the message.
        optional (`bool`, *optional*, defaults to `False`): Whether to skip it on machines that it does not support.

    Raises:
        BadInputError: If DeepSpeed is not installed, or the operator cannot be compiled.
    """
    try:
        from deepspeed.accelerator import get_accelerator
    except ImportError as error:
        raise BadInputError(
            "DeepSpeed is asked for, but not installed. Run `pip install stepcoder-trl[deepspeed]`."
        ) from error
    operator = get_accelerator().create_op_builder(builder)
    if optional and (operator is None or not operator.is_compatible(verbose=False)):
        return
    if get_int_from_env(["LOCAL_RANK"], 0) == 0:
        _announce_build(operator.name)
    try:
        operator.load(verbose=False)
    except Exception as error:
        raise BadInputError(
            f"DeepSpeed could not compile `{operator.name}`, {purpose}: {_reason(error)}. Install a C++ compiler "
            "and ninja, and have both on the PATH: `apt install g++`, `pip install ninja`."
        ) from error


def _announce_build(name: str) -> None:
    """Say that an operator is compiled, which takes minutes, or that it waits for a lock that may be left over."""
    from torch.utils.cpp_extension import get_default_build_root  # needs setuptools, as DeepSpeed does

    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    folders = [*root.glob(name), *root.glob(f"*/{name}")]
    for lock in (folder / "lock" for folder in folders):
        with suppress(FileNotFoundError):
            if time.time() - lock.stat().st_mtime > _OLD_LOCK_S:
                logger.warning(f"DeepSpeed waits for {lock}. If no other run compiles now, delete it: one was killed.")
    if not any(any(folder.glob("*.so")) for folder in folders):
        logger.warning(f"DeepSpeed compiles `{name}`. That takes minutes, once per machine.")


def _reason(error: BaseException) -> str:
    """Return the line of a compiler's output that names the error."""
    lines = str(error).splitlines() or [type(error).__name__]
    telling = [line for line in lines if "not found" in line or "error:" in line]
    return (telling or lines)[0].strip()[:200].rstrip(".")


def configure_deepspeed(
    accelerator: Accelerator, micro_batch_size: int, accumulation_steps: int, max_grad_norm: float | None
) -> None:
    """
    Overwrite batch sizes and clipping in DeepSpeed's configuration, before the accelerator prepares anything.

    A `max_grad_norm` of 0 or `None` does not clip. An optimizer that is offloaded to the CPU is compiled here.
    """
    wanted = {
        "train_micro_batch_size_per_gpu": micro_batch_size,
        "gradient_accumulation_steps": accumulation_steps,
        "train_batch_size": micro_batch_size * accumulation_steps * accelerator.num_processes,
        "gradient_clipping": float(max_grad_norm or 0.0),
    }
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    for name, value in wanted.items():
        given = config.get(name, "auto")
        if given not in ("auto", value, None):
            logger.warning(
                f"DeepSpeed's `{name}` is {given}, but the trainer's settings make it {value}: that is used."
            )
        config[name] = value
    zero = config["zero_optimization"]
    # Without this, no model could be saved.
    zero["stage3_gather_16bit_weights_on_model_save"] = True
    if (zero.get("offload_optimizer") or {}).get("device", "none") != "none":
        load_operator("CPUAdamBuilder", "its optimizer for offloaded parameters")
    accelerator.gradient_accumulation_steps = accumulation_steps


def is_sharded(parameters: Iterable[torch.nn.Parameter]) -> bool:
    """Whether ZeRO-3 has sharded any of the parameters."""
    return any("ds_id" in vars(parameter) for parameter in parameters)


_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def cast_unsharded(model: torch.nn.Module, precision: str) -> None:
    """
    Cast parameters that ZeRO-3 has not sharded to `bf16` or `fp16`. With `no`, do nothing.

    Sharded parameters already have the precision of training. Adapters and the critic's head do not, and ZeRO-3 fails
    if precisions are mixed. Its optimizer keeps float32 copies of the trained parameters.
    """
    if precision not in _DTYPES:
        return
    for parameter in model.parameters():
        if parameter.is_floating_point() and not is_sharded([parameter]):
            parameter.data = parameter.data.to(_DTYPES[precision])


@contextmanager
def gathered(parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Gather sharded parameters within the block. Every process must enter it."""
    sharded = [parameter for parameter in parameters if is_sharded([parameter])]
    if not sharded:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(sharded):
        yield


def gathered_copy(parameter: torch.nn.Parameter) -> torch.nn.Parameter:
    """Return a copy of a parameter, gathered on every process. Every process must call this."""
    with gathered([parameter]):
        return torch.nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)


@contextmanager
def unsharded_models() -> Iterator[None]:
    """Stop transformers from sharding the models that are made in the block."""
    from transformers.integrations import deepspeed as integration

    reference = integration._hf_deepspeed_config_weak_ref
    integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        integration._hf_deepspeed_config_weak_ref = reference


@contextmanager
def gathered_for_generation(engine: torch.nn.Module, part: torch.nn.Module, gather: bool) -> Iterator[None]:
    """
    Gather the sharded parameters of one part of an engine once, instead of for every token that it generates.

    The engine's hooks are removed in the block: with them each forward pass would wait for processes that may have
    finished. Without `gather`, each pass gathers, and transformers synchronizes the processes.
    """
    parameters = list(part.parameters())
    if not (gather and is_sharded(parameters)):
        yield
        return
    with gathered(parameters):
        remove_hooks(engine)
        try:
            yield
        finally:
            add_hooks(engine)
