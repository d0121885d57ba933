"""Mistakes that users make: each gives one line on standard error and status 2, no traceback and no usage."""

from __future__ import annotations

import copy
import json
import shlex

import pytest

from stepcoder_trl.cli.main import main
from tests.conftest import make_tokenizer, tiny_config


pytestmark = pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")  # TRL's own

TESTS = {"type": "stdio", "inputs": [""], "outputs": ["2"]}
PROBLEM = {"task_id": "a", "prompt": "Print 2.", "canonical_solution": "print(2)", "tests": TESTS}
FILES = {
    "p.jsonl": json.dumps(PROBLEM),
    "s2.jsonl": json.dumps({"id": "a", "program": "print(2)", "tests": TESTS}),
    "masked.jsonl": json.dumps({"id": "a", "prefix": "", "completion": "print(2)", "tests": TESTS}),
    "s.jsonl": json.dumps({"task_id": "a", "program": "print(2)"}),
    "bad.jsonl": "{",
    "indented.json": json.dumps(PROBLEM, indent=2),
    "empty.jsonl": "",
    "unknown.jsonl": json.dumps({"question": "?", "answer": "!"}),
    "other.jsonl": json.dumps({"task_id": "b", "program": ""}),
    "untested.jsonl": json.dumps({"task_id": "a", "prompt": "p", "tests": None}),
    "twice.jsonl": "\n".join([json.dumps(PROBLEM)] * 2),
    "tests.jsonl": json.dumps({**PROBLEM, "tests": {"type": "call"}}),
    "unsolved.jsonl": json.dumps({"id": 1, "tests": TESTS}),
    "list_id.jsonl": json.dumps({"id": [], "program": "", "tests": TESTS}),
    "number.jsonl": json.dumps({"id": 1, "canonical_solution": 7}),
    "level.jsonl": json.dumps({**PROBLEM, "difficulty": 3}),
    "key.yaml": "learning_rte: 1e-4",
    "reward.yaml": "reward_funcs: nope:func",
    "tab.yaml": "max_steps:\t3\n  a: b: c",
    "list.yaml": "- max_steps",
    "env.yaml": "env: 3",
    "choice.yaml": "curriculum: on",
    "near.yaml": "fgo: line",
    "word.yaml": "max_steps: ten",
    "fraction.yaml": "max_steps: 2.5",
    "several.yaml": "max_steps: [1, 2]",
    "mapping.yaml": "learning_rate: {a: 1}",
    "nothing.yaml": "max_steps:",
    "tracker.yaml": "report_to: tensorbord",
    "no_problems.yaml": "max_steps: 3",
    "dtype.yaml": "dtype: floaty",
    "bool.yaml": "bf16: maybe",
    "nested.yaml": "config: other.yaml",
    "twice.yaml": "max_steps: 3\nlearning_rate: 1e-4\nmax_steps: 4",
    "promt.jsonl": json.dumps({"task_id": "a", "promt": "Print 2.", "tests": TESTS}),
    "remote.yaml": "{problems: p.jsonl, output_dir: r, model_name_or_path: model, executor: remote}",
}
RUN = "--problems p.jsonl --output_dir r --model_name_or_path model"

# command line, part of the message
MISTAKES = [
    ("", "No verb is given"),
    ("exec p.jsonl", "Did you mean `execute`?"),
    # execute
    ("execute", "`PROGRAMS` missing. Write for example `mine.jsonl`."),
    ("execute none.jsonl", "none.jsonl: there is no such file"),
    ("execute bad.jsonl", "bad.jsonl:1: invalid JSON at column 2"),
    ("execute empty.jsonl", "holds no rows"),
    ("execute unknown.jsonl", "unknown.jsonl:1: field `program` is missing"),
    ("execute unsolved.jsonl", "field `program` is missing"),
    ("execute tests.jsonl", "tests.jsonl:1: `tests.fn_name` is missing"),
    ("execute list_id.jsonl", "field `id` is [] (list)"),
    ("execute folder", "the folder holds no file of problems (.jsonl, .json, .parquet), and no folders"),
    ("evaluate --problems promt.jsonl --samples s.jsonl", "Did you mean `promt`, which is not read?"),
    ("execute p.jsonl --ouput x", "Did you mean `--out`?"),
    ("execute p.jsonl --timeouts-s 3", "Did you mean `--timeout-s`?"),
    ("execute p.jsonl --timeout-s x", "`--timeout-s` is 'x', but must be a number"),
    ("execute p.jsonl --timeout-s 0", "`--timeout-s` is 0.0, but must be a positive number of seconds"),
    ("refine p.jsonl --out o --timeout-s nan", "`--timeout-s` is nan, but must be a positive number of seconds"),
    ("check p.jsonl --timeout-s -1", "`--timeout-s` is -1.0, but must be a positive number of seconds"),
    *(
        (f"{words} --workers -1", "`--workers` is -1, but must be at least 1")
        for words in (
            *("execute p.jsonl", "check p.jsonl", "mask p.jsonl --out -", "refine p.jsonl --out o", "serve"),
            *("selftest", "evaluate --problems p.jsonl --samples s.jsonl"),
        )
    ),
    ("execute p.jsonl --memory-mb x", "`--memory-mb` is 'x', but must be a number"),
    ("evaluate --problems p.jsonl --samples s.jsonl --memory-mb nan", "`--memory-mb` is nan, but must be at least 1"),
    *(
        (f"serve {flag} {value}", f"`{flag}` is {value}, but must be")
        for flag, value in (
            *(("--max-body-mb", 0), ("--max-bodies-mb", -1), ("--memory-mb", "inf"), ("--max-memory-mb", 0)),
            *(("--drain-s", "nan"), ("--max-timeout-s", 0.0), ("--max-waiting", 0), ("--port", -1)),
        )
    ),
    ("execute p.jsonl --workers two", "`--workers` is 'two', but must be a whole number"),
    ("execute p.jsonl --memory-mb 0", "`--memory-mb` is 0, but must be at least 1. It counts MiB"),
    ("execute p.jsonl --float-tolerance -1", "`--float-tolerance` is -1.0, but must be a number of at least 0"),
    ("execute p.jsonl --isolation strickt", "Did you mean `strict`?"),
    ("execute p.jsonl --executor-urls nonsense", "`--executor-urls` is 'nonsense', but must be an address"),
    ("execute p.jsonl --backend-url nonsense", "must be an address"),
    (f"ppo {RUN} --executor_urls 127.0.0.1:8080", "`executor_urls` is '127.0.0.1:8080', but must be an address"),
    *(
        (f"{words} --executor remote", "`executor_urls` is missing")
        for words in (
            *("execute p.jsonl", "check p.jsonl", "selftest", "mask p.jsonl --out -", "refine p.jsonl --out o"),
            *("evaluate --problems p.jsonl --samples s.jsonl", f"ppo {RUN}", f"grpo {RUN}", f"sft {RUN}"),
        )
    ),
    ("check --config remote.yaml --trainer ppo", "`executor_urls` is missing"),
    ("execute p.jsonl --out folder", "this is a folder. Add the name of a file"),
    ("execute p.jsonl --out none/x", "the file cannot be written"),
    ("execute p.jsonl --out /dev/full", "/dev/full: the file cannot be written: No space left on device"),
    ("check p.jsonl --out none/x", "none/x: the file cannot be written: No such file or directory"),
    ("selftest --out none/x", "none/x: the file cannot be written: No such file or directory"),
    ("refine p.jsonl --out model", "`--out` is 'model', which holds a model"),
    # an output that is an input, or another output
    *(
        (command, "is an input of this command")
        for command in (
            *(
                "check p.jsonl --out p.jsonl",
                "check link.jsonl --out ./p.jsonl",
                "check p.jsonl --out folder/../p.jsonl",
            ),
            *("check p.jsonl s.jsonl --out s.jsonl", "check p.jsonl --model plain --measure-stages plain/config.json"),
            *("execute s.jsonl --out link_s.jsonl", "curriculum p.jsonl --out link.jsonl"),
            *("mask s.jsonl --out s.jsonl", "mask s.jsonl --out - --html s.jsonl"),
            *("overlap p.jsonl --train s.jsonl --out p.jsonl", "overlap p.jsonl --train s.jsonl --train-out s.jsonl"),
            *(
                "overlap p.jsonl --train p.jsonl --summary p.jsonl",
                "overlap p.jsonl --train p.jsonl --histogram link.jsonl",
            ),
            *("refine run/problems.jsonl --out run", "refine p.jsonl --out run --benchmark run/problems.jsonl"),
            "evaluate --problems p.jsonl --samples s.jsonl --export human-eval s.jsonl",
            "evaluate --problems p.jsonl --model plain --export evalplus plain/config.json",
            "evaluate --problems p.jsonl --samples s.jsonl --compare run/results.jsonl --out run",
            *("report run --out run/metrics.jsonl", "plot run --out run/metrics.jsonl"),
            "check rows --out rows/p.jsonl",
        )
    ),
    ("mask s.jsonl --out m.jsonl --html ./m.jsonl", "`--out` is the same file"),
    *(
        (f"{verb} --problems p.jsonl --model_name_or_path model --output_dir {folder}", "would be overwritten")
        for verb, folder in (("sft", "model"), ("ppo", "./model"), ("grpo", "link_model"))
    ),
    # curriculum, mask, overlap
    ("curriculum p.jsonl", "`--out` missing. Write for example `--out stages.jsonl`."),
    ("curriculum p.jsonl --out - --kinds statement", "Did you mean `statements`?"),
    ("curriculum number.jsonl --out -", "field `canonical_solution` is 7 (int)"),
    ("mask p.jsonl", "`--out` missing. Write for example `--out masks.jsonl`."),
    ("mask p.jsonl --out m.jsonl --show -1", "`--show` is -1, but must be at least 0"),
    ("mask p.jsonl --out - --tokenizer model", "exactly one of `completion` and `completion_ids`"),
    ("overlap p.jsonl", "`--train` missing. Write for example `--train train.jsonl`."),
    ("curriculum", "`SOLUTIONS` and `--out` missing. Write for example `mine.jsonl --out stages.jsonl`."),
    ("evaluate", "`--problems` missing. Write for example `--problems mine.jsonl`."),
    ("report", "`RUN` missing. Write for example `runs/ppo`."),
    ("overlap p.jsonl --train none", "none: there is no such file"),
    ("overlap p.jsonl --train p.jsonl --histogram none/x.png", "its folder does not exist"),
    # check
    ("check p.jsonl --model_name_or_path model", "Did you mean `--model`?"),
    ("check", "No file of problems is given"),
    ("check none.jsonl", "none.jsonl: there is no such file"),
    ("check p.jsonl --model ./none", "The model './none' cannot be loaded: there is no such folder"),
    ("check p.jsonl --model folder", "does not hold a tokenizer. Name a folder"),
    ("check folder", "the folder holds no file of problems"),
    ("check model", "model: the folder holds a model (`config.json`), and no problems. Name the files of problems."),
    ("evaluate --problems indented.json --samples s.jsonl", "indented.json: no line of it is an object in JSON"),
    ("check p.jsonl --config twice.yaml", "twice.yaml:3: `max_steps` is set in line 1 already"),
    ("check p.jsonl --config none.yaml", "none.yaml: there is no such file"),
    ("check p.jsonl --config reward.yaml", "`reward_funcs` has 'nope:func', whose module cannot be imported"),
    ("check --config no_problems.yaml", "no_problems.yaml: `problems` is missing"),
    ("check p.jsonl --config key.yaml", "Did you mean `learning_rate`?"),
    # refine
    ("refine none --out o", "none: there is no such file"),
    ("refine p.jsonl --out p.jsonl", "the folder cannot be made: it is a file"),
    ("refine p.jsonl --out p.jsonl/x", "the folder cannot be made"),
    ("refine p.jsonl --out o --runs 0", "`--runs` is 0, but must be at least 1"),
    ("refine p.jsonl --out o --max-overlap 50", "write 0.5 for half"),
    ("refine p.jsonl --out o --benchmark none", "none: there is no such file"),
    # evaluate
    ("evaluate --problems p.jsonl", "Neither `--model` nor `--samples` is given"),
    (
        "evaluate --problems p.jsonl --score-only",
        "`--score-only` needs the samples of an earlier run. Name its folder",
    ),
    ("evaluate --problems p.jsonl --model model --samples s.jsonl", "Both `--model` and `--samples` are given"),
    ("evaluate --problems none.jsonl --model model", "none.jsonl: there is no such file"),
    ("evaluate --problems twice.jsonl --samples s.jsonl", "is already used by twice.jsonl:1"),
    ("evaluate --problems level.jsonl --samples s.jsonl", "`difficulty` is 3 (int)"),
    ("evaluate --problems untested.jsonl --samples s.jsonl", "`tests` is null"),
    ("evaluate --problems p.jsonl --model folder", "'folder' cannot be loaded: the folder holds no `config.json`."),
    ("evaluate --problems p.jsonl --model untokenized", "'untokenized' cannot be loaded: it holds no tokenizer."),
    ("evaluate --problems p.jsonl --model p.jsonl", "The model 'p.jsonl' cannot be loaded"),
    ("evaluate --problems p.jsonl --samples other.jsonl", "no problem has it"),
    ("evaluate --problems p.jsonl --samples s.jsonl --out p.jsonl", "the folder cannot be made: it is a file"),
    ("evaluate --problems p.jsonl --samples s.jsonl --pass-at 0", "`--pass-at` is 0, but must be at least 1"),
    ("evaluate --problems p.jsonl --samples s.jsonl --pass-at 5", "pass@5 needs 5 samples of a problem"),
    ("evaluate --problems p.jsonl --samples s.jsonl --export evalpus x", "Use one of human-eval, evalplus"),
    ("evaluate --problems p.jsonl --model model --temperature -1", "Write 0 for greedy"),
    ("evaluate --problems p.jsonl --model model --stop-words ''", "`--stop-words` has an empty text"),
    ("evaluate --problems p.jsonl --model model --top-p 95", "Write 0.95 for 95%"),
    ("evaluate --problems p.jsonl --model model --chat-template-kwargs {", "must be a JSON object"),
    ("evaluate --problems p.jsonl --model model --prompt-style chatt", "Did you mean `chat`?"),
    # sft, ppo, grpo: flags
    *(
        (f"{verb} {words}", part)
        for verb in ("sft", "ppo", "grpo")
        for words, part in (
            ("", "`--problems` missing. Write for example `--problems mine.jsonl`."),
            (f"{RUN} --config near.yaml --config key.yaml", "`--config` is given twice. Write all settings"),
            (f"{RUN} --max_steps 0", "`max_steps` is 0, so nothing would be trained"),
            (f"{RUN} --num_processes 0", "`num_processes` is 0, but must be at least 1"),
            (f"{RUN} --seed 99999999999999999999", "`seed` is 99999999999999999999, but must be in [0, 4294967295]"),
            (f"{RUN} --config twice.yaml", "twice.yaml:3: `max_steps` is set in line 1 already. Keep one of the two."),
            (f"{RUN} --output_dir /proc/run", "but /proc cannot be written to (No such file or directory)"),
            (f"{RUN} --model_name_or_path folder", "the folder holds no `config.json`"),
            (f"{RUN} --use_peft --lora_r 0", "`lora_r` is 0, but must be at least 1"),
            (f"{RUN} --per_device_train_batch_size 0", "`per_device_train_batch_size` is 0, but must be at least 1"),
            (f"{RUN} --model_name_or_path damaged", "Save or download the model again."),
            (f"{RUN} --model_name_or_path unlike", "its weights do not fit its `config.json`. Save or download"),
            (
                f"{RUN} --model_name_or_path whole --attn_implementation flash_attention_2",
                "'whole' cannot be loaded: FlashAttention2 has been toggled on",
            ),
            (f"{RUN} --problems promt.jsonl", "Did you mean `promt`, which is not read? Then rename it."),
            (f"{RUN} --push_to_hub", "`push_to_hub` needs a token of the Hub, but nobody is logged in. Run `hf auth"),
            (f"{RUN} --learning_rte 1e-4", "Did you mean `learning_rate`?"),
            (f"{RUN} --config key.yaml", "key.yaml: there is no option `learning_rte`. Did you mean `learning_rate`?"),
            (
                f"{RUN} --lr_scheduler_type cosine_with_min_lr",
                "is 'cosine_with_min_lr', which does not fit `lr_scheduler_kwargs` {}: One of min_lr or",
            ),
            (f"{RUN} --deepspeed ds.json", "`deepspeed` needs a launcher. Start with `--accelerate_config zero2` in"),
            (f"{RUN} --report_to wandbb", "Did you mean `wandb`?"),
            (f"{RUN} --problems none.jsonl", "none.jsonl: there is no such file"),
            (f"{RUN} --output_dir p.jsonl", "p.jsonl is a file"),
        )
    ),
    (f"ppo {RUN} --curriculum papr", "`--curriculum` is 'papr', but must be one of paper, mix, adaptive, off"),
    ("ppo --problems p.jsonl --model model --output_dir r", "Did you mean `model_name_or_path`?"),
    (f"ppo {RUN} --max_steps ten", "`--max_steps` is 'ten', but must be a whole number"),
    (f"ppo {RUN} --max_steps", "`--max_steps`: expected one argument"),
    (f"ppo {RUN} stray", "'stray' belongs to no option"),
    (f"ppo {RUN} --bf16 perhaps", "`--bf16` is 'perhaps', but must be true or false"),
    (f"ppo {RUN} --top_p 5", "`top_p` is 5.0, but must be in (0, 1]"),
    (f"ppo {RUN} --lr_scheduler_type lineal", "Did you mean `linear`?"),
    (f"ppo {RUN} --load_in_4bit true", "`load_in_4bit` needs bitsandbytes"),
    (f"ppo {RUN} --report_to comet_ml", "needs comet-ml, which is not installed. Run `pip install comet-ml`"),
    (f"ppo {RUN} --chat_template_kwargs {{", "`chat_template_kwargs` is '{', which is no JSON"),
    (f"ppo {RUN} --chat_template_kwargs x", "must be a JSON object"),
    (f"ppo {RUN} --lr_scheduler_kwargs {{", "`lr_scheduler_kwargs` is '{', which is no JSON"),
    (f"ppo {RUN} --resume_from_checkpoint none", "`resume_from_checkpoint` is 'none', but there is no such folder"),
    (f"grpo {RUN} --resume_from_checkpoint folder", "which is no checkpoint that was written to its end"),
    (f"ppo {RUN} --eval_strategy steps", "Add `eval_problems`"),
    (f"sft {RUN} --eval_strategy steps", "`sft` does not evaluate"),
    (f"ppo {RUN} --max_problems 0", "`max_problems` is 0, but must be at least 1"),
    (f"ppo {RUN} --num_processes 2", "is given without `accelerate_config`"),
    (f"ppo {RUN} --num_processes two", "`--num_processes` is 'two'"),
    (f"ppo {RUN} --accelerate_config zero4", "must be one of single, ddp"),
    (f"ppo {RUN} --accelerate_config ddp --learning_rte 1", "Did you mean `learning_rate`?"),
    (f"ppo {RUN} --load_best_model_at_end true", "requires the save and eval strategy to match"),
    *(
        (f"{verb} {RUN} --curriculum off {words}", "no effect with `curriculum` 'off'")
        for verb in ("ppo", "grpo")
        for words in ("--prefix_imitation 0.2", "--curriculum_rate_of stage")
    ),
    (f"ppo {RUN} --reward rltf --reward_funcs stepcoder", "`reward_funcs` replaces it"),
    (f"grpo {RUN} --reward_funcs short", "`reward_funcs` has 'short', but must name functions"),
    (f"grpo {RUN} --eval_problems p.jsonl", "`eval_strategy` is 'no'"),
    (
        f"grpo {RUN} --num_generations 3 --per_device_train_batch_size 8 --gradient_accumulation_steps 2",
        "Set `gradient_accumulation_steps` to a multiple of 3 or `num_generations` to one of 2, 4, 8, 16.",
    ),
    *(
        (f"grpo {RUN} --num_generations {number}", f"`num_generations` is {number}, but must be at least 2. An")
        for number in (0, 1)
    ),
    (f"ppo {RUN} --kl_coef -1", "`kl_coef` is -1.0, but must be at least 0"),
    ("check p.jsonl --measure-stages x --model model --trainer sft", "leave out `--trainer sft`"),
    *(
        (f"grpo {RUN} --{name} {value}", f"`{name}` is {value}, but must be")
        for name, value in (
            ("num_iterations", 0),
            ("beta", -1.0),
            ("temperature", 0.0),
            ("top_k", -5),
            ("max_completion_length", 0),
        )
    ),
    (f"sft {RUN} --max_length 0", "`max_length` is 0, but must be at least 1"),
    (f"sft {RUN} --model_name_or_path whole --max_length 4", "has 5 tokens. Raise `max_length`."),
    *((f"{verb} {RUN} --model_name_or_path endless", "The tokenizer has no EOS token") for verb in ("sft", "grpo")),
    *(
        (
            f"{verb} {RUN} --model_name_or_path outgrown {length}",
            "embeddings, and none for '<new>'. Call `model.resize",
        )
        for verb, length in (("sft", ""), ("ppo", "--response_length 9"), ("grpo", "--max_completion_length 9"))
    ),
    (f"ppo {RUN} --model_name_or_path endless --response_length 9", "the tokenizer has no EOS token"),
    (f"grpo {RUN} --vllm_mode foo", "`vllm_mode` is 'foo', but must be 'colocate' or 'server'. Check the spelling."),
    (f"grpo {RUN} --loss_type dapoo", "`loss_type` is 'dapoo', but must be one of"),
    (f"grpo {RUN} --response_length 8", "Did you mean `max_completion_length`?"),
    (f"ppo {RUN} --max_completion_length 8", "Did you mean `response_length`?"),
    # sft, ppo, grpo: YAML
    (f"ppo {RUN} --config", "`--config` needs the path of a YAML file"),
    (f"ppo {RUN} --config none.yaml", "none.yaml: there is no such file"),
    (f"ppo {RUN} --config folder", "folder: the file cannot be read"),
    (f"ppo {RUN} --config tab.yaml", "tab.yaml:1: invalid YAML"),
    (f"ppo {RUN} --config latin.yaml", "latin.yaml: byte 12 is not UTF-8"),
    (f"ppo {RUN} --config list.yaml", "must be settings such as `max_steps: 100`"),
    (f"ppo {RUN} --config env.yaml", "`env` is 3 (int), but must be a mapping"),
    (f"ppo {RUN} --config choice.yaml", "choice.yaml: `curriculum` is 'true', but must be one of paper"),
    (
        f"ppo {RUN} --config near.yaml",
        "`fgo` is 'line', but must be one of lines, off, random, tests, tests_random. Did you",
    ),
    (f"ppo {RUN} --config word.yaml", "word.yaml: `max_steps` is 'ten', but must be a whole number"),
    (f"ppo {RUN} --config fraction.yaml", "fraction.yaml: `max_steps` is '2.5'"),
    (f"ppo {RUN} --config several.yaml", "`max_steps` is [1, 2] (list), but must be a single value"),
    (f"ppo {RUN} --config mapping.yaml", "`learning_rate` is {'a': 1} (dict), but must be a single value"),
    (f"ppo {RUN} --config nothing.yaml", "nothing.yaml: `max_steps` has no value"),
    (f"ppo {RUN} --config tracker.yaml", "Did you mean `tensorboard`?"),
    (f"ppo {RUN} --config bool.yaml", "bool.yaml: `bf16` is 'maybe', but must be true or false"),
    (f"ppo {RUN} --config nested.yaml", "nested.yaml: `config` names another file. Write its settings into this one."),
    (f"ppo {RUN} --config dtype.yaml", "dtype.yaml: `dtype` is 'floaty'"),
    # sft, ppo, grpo: models and templates
    (f"sft {RUN} --model_name_or_path none", "The model 'none' cannot be loaded"),
    ("ppo --problems p.jsonl --output_dir r", "`model_name_or_path` is missing"),
    (f"ppo {RUN}", "The model 'model' cannot be loaded"),
    *(
        (
            f"{verb} {RUN} --model_name_or_path {folder}",
            f"The model '{folder}' cannot be loaded: there is no such folder",
        )
        for verb, folder in (("ppo", "./none"), ("grpo", "folder/none/x"), ("sft", "runs/sft/checkpoint-1"))
    ),
    ("evaluate --problems p.jsonl --model runs/ppo/ --out e", "there is no such folder. Check the path."),
    ("evaluate --problems p.jsonl --model lost_adapter --out e", "'/none/base' cannot be loaded: there is no such"),
    (f"sft {RUN} --model_name_or_path plain --prompt_style chat", "The tokenizer has no chat template"),
    (f"sft {RUN} --model_name_or_path strict --prompt_style chat", "The chat template cannot render the messages: No"),
    # plot, quickstart, selftest
    ("plot none", "none: there is no such folder or file"),
    ("plot folder", "folder: there is neither"),
    ("plot run --out run/curves", "no format of pictures. Let it end in .png"),
    ("plot run --out curves.xyz", "`.xyz` is no format of pictures. Let it end in .png"),
    ("plot bad.jsonl", "bad.jsonl:1: invalid JSON"),
    ("quickstart --out ''", "`--out` is empty. Name a folder."),
    ("quickstart --out p.jsonl", "cannot be made (File exists)"),
    ("quickstart --updates -1 --out q", "`--updates` is -1, but must be at least 1"),
    ("quickstart --threads 0 --out q", "`--threads` is 0, but must be at least 1"),
    ("selftest --only nothing", "The corpus has no program 'nothing'. Use the names of the files"),
    ("selftest --only processes_fork_bom", "has no program 'processes_fork_bom'. Did you mean `processes_fork_bomb`?"),
    ("env --verbose", "There is no option '--verbose'"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with files that mistakes need."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name, text in FILES.items():
        (folder / name).write_text(f"{text}\n" if text else "")
    (folder / "latin.yaml").write_bytes("run_name: Zürich".encode("latin-1"))
    (folder / "folder").mkdir()
    (folder / "untokenized").mkdir()
    (folder / "lost_adapter").mkdir()
    (folder / "lost_adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "/none/base"}')
    for name, target in (("link.jsonl", "p.jsonl"), ("link_s.jsonl", "s.jsonl"), ("link_model", "model")):
        (folder / name).symlink_to(target)
    (folder / "rows").mkdir()
    (folder / "rows" / "p.jsonl").write_text(json.dumps(PROBLEM) + "\n")
    (folder / "run").mkdir()
    for name in ("problems.jsonl", "results.jsonl"):
        (folder / "run" / name).write_text(json.dumps(PROBLEM) + "\n")
    (folder / "run" / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n')
    tokenizer = make_tokenizer()
    tiny_config(tokenizer, architectures=["LlamaForCausalLM"]).save_pretrained(folder / "untokenized")
    for name, template in (
        ("model", tokenizer.chat_template),
        ("plain", None),
        ("strict", "{{ raise_exception('No such role') }}"),
    ):
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder / name)
        tiny_config(tokenizer, architectures=["LlamaForCausalLM"]).save_pretrained(folder / name)
    _save_models(folder, tokenizer)
    return folder


def _save_models(folder, tokenizer):
    """Save models with weights: one in order, and others that have a fault each."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(tiny_config(tokenizer))
    for name in ("whole", "damaged", "unlike", "outgrown", "endless"):
        own = copy.deepcopy(tokenizer)
        if name == "outgrown":
            own.add_special_tokens({"pad_token": "<new>"})
        if name == "endless":
            own.eos_token = None
        own.save_pretrained(folder / name)
        model.save_pretrained(folder / name)
    weights = folder / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    tiny_config(tokenizer, hidden_size=16).save_pretrained(folder / "unlike")


def test_there_are_many_mistakes():
    assert len({command for command, _ in MISTAKES}) == len(MISTAKES) >= 60


@pytest.mark.parametrize(("command", "part"), MISTAKES, ids=[command or "nothing" for command, _ in MISTAKES])
def test_mistake_gives_one_line(command, part, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)

    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command))

    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.err.startswith("stepcoder-trl: ")
    assert printed.err.count("\n") == 1
    assert part in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    "command",
    [
        *("execute s2.jsonl", "check p.jsonl", "mask masked.jsonl --tokenizer model --out m.jsonl", "selftest"),
        *("refine p.jsonl --out refined", "evaluate --problems p.jsonl --samples s.jsonl --out evaluated"),
        *(f"ppo {RUN}", f"grpo {RUN}"),
    ],
)
def test_host_that_does_not_answer_gives_one_line(command, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    before = sorted(place.iterdir())
    flag = "--executor_urls" if command.startswith(("ppo", "grpo")) else "--executor-urls"

    with pytest.raises(SystemExit) as ended:
        main([*shlex.split(command), flag, "http://127.0.0.1:9"])

    printed = capsys.readouterr()
    assert ended.value.code == 1
    assert printed.err.startswith("stepcoder-trl: No sandbox can be used at http://127.0.0.1:9 (the request failed")
    assert printed.err.endswith("Run `stepcoder-trl serve` there, or correct the address.\n")
    assert (printed.err.count("\n"), printed.out) == (1, "")
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize(
    "text", ["save_strategy: no\neval_strategy: no\n", "curriculum: off\nfgo: off\n", "report_to: null\n"]
)
def test_words_that_yaml_reads_as_false_or_null_are_taken(text, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (place / "words.yaml").write_text(f"{text}use_cpu: true\nbf16: false\n")

    with pytest.raises(SystemExit):
        main(shlex.split(f"ppo {RUN} --config words.yaml"))

    assert "The model 'model' cannot be loaded" in capsys.readouterr().err
