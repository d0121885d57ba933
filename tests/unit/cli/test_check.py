"""Test `stepcoder-trl check`."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from functools import partial

import pytest
from transformers import AutoConfig, AutoTokenizer

from stepcoder_trl.cli.main import main
from stepcoder_trl.curriculum.measured import StageRate, read_measurement
from stepcoder_trl.evaluation.measured_stages import StageSampling, measure_model
from stepcoder_trl.evaluation.sampling import GeneratedText
from tests.conftest import tiny_config
from tests.integration.helpers import RIGHT, WRONG


pytestmark = pytest.mark.sandbox


def check(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["check", "--workers", "1", *map(str, arguments)])
    return ended.value.code


@pytest.fixture
def problem_file(tmp_path, problems):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(problem.to_row()) + "\n" for problem in problems[:2]))
    return path


@pytest.fixture
def model_folder(tmp_path, tokenizer):
    folder = tmp_path / "model"
    tokenizer.save_pretrained(folder)
    tiny_config(tokenizer, architectures=["LlamaForCausalLM"], max_position_embeddings=2048).save_pretrained(folder)
    return folder


def test_right_problems_exit_with_0(problem_file, model_folder, tmp_path, capsys):
    out = tmp_path / "out.jsonl"

    assert check(problem_file, "--model", model_folder, "--out", out) == 0

    printed = capsys.readouterr().out.splitlines()
    assert "  solutions            2 passed" in printed
    assert "  tests                6, of which 6 trusted" in printed
    assert "  stages               2 in 2 problems" in printed
    assert printed[-1] == "Nothing is wrong."
    first, _ = (json.loads(line) for line in out.read_text().splitlines())
    assert (first["task_id"], first["solution"], first["stages"], first["left_out"]) == ("sign/0", "passed", 2, "")
    assert first["query_tokens"] > 10


def test_limit_of_all_tests_is_that_of_one_times_their_number(tmp_path, capsys):
    # Sixty tests take more than fifty limits of one: a solution gets ten times its limit, a program five of these.
    spin = "import time\ndef f(s):\n    end = time.process_time() + s\n    while time.process_time() < end: pass\n"
    tests = {"type": "call", "fn_name": "f", "inputs": [[0.02]] * 60, "outputs": [None] * 60}
    row = {"task_id": "slow", "prompt": "Wait.", "canonical_solution": spin, "tests": tests}
    (tmp_path / "p.jsonl").write_text(json.dumps(row))

    assert check(tmp_path / "p.jsonl", "--timeout-s", 0.02) == 0, capsys.readouterr().out


def test_problems_that_fine_tuning_leaves_out_are_named(problem_file, capsys):
    with problem_file.open("a") as stream:
        stream.write(json.dumps({"task_id": "u", "prompt": "p", "tests": {"type": "assert", "asserts": ["assert f"]}}))

    assert check(problem_file) == 0

    assert "  sft leaves out       1 (u: it has no canonical solution)\n" in capsys.readouterr().out


def test_all_wrong_rows_are_printed(problem_file, capsys):
    with problem_file.open("a") as stream:
        stream.write('{"task_id": "a[b]", "prompt": "p"}\n{"id": 3, "prompt": "p", "tests": {"type": "stdin"}}\n')
        stream.write("{no json\n[]\n")

    assert check(problem_file) == 1

    printed = capsys.readouterr().out
    assert "problems.jsonl:3: field `tests` is missing" in printed
    assert "problems.jsonl:4: `tests.type` is 'stdin' (str)" in printed
    assert "problems.jsonl:5: invalid JSON" in printed
    assert "problems.jsonl:6: the row is [] (list)" in printed


def test_configuration_is_planned(problem_file, model_folder, tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text(
        f"problems: {problem_file}\nmodel_name_or_path: {model_folder}\nbf16: true\nper_device_train_batch_size: 4\n"
        "gradient_accumulation_steps: 8\nnum_train_epochs: 5\n"
    )

    assert check("--config", config) == 0

    printed = capsys.readouterr().out
    assert "  completions per update                 32" in printed
    assert "  updates                                5" in printed
    assert "Estimated memory per process, for 40,544 parameters" in printed


def test_configuration_without_a_model_is_planned_and_exits_with_1(problem_file, tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text(f"problems: {problem_file}\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 8\n")

    assert check("--config", config) == 1

    printed = capsys.readouterr().out
    assert "  completions per update                 32" in printed
    assert "`model_name_or_path` is missing" in printed
    assert "Nothing else is wrong." in printed


def test_prompts_are_measured_for_a_model_of_the_hub(problem_file, model_folder, capsys, monkeypatch):
    names = []

    def read(name, load, **options):
        names.append(name)
        return load(str(model_folder), **options)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", partial(read, load=AutoTokenizer.from_pretrained))
    monkeypatch.setattr(AutoConfig, "from_pretrained", partial(read, load=AutoConfig.from_pretrained))

    assert check(problem_file, "--model", "someone/model", "--trainer", "sft") == 0

    assert names.count("someone/model") == 2
    assert "longest query" in capsys.readouterr().out


def test_configuration_that_does_not_fit_exits_with_1(problem_file, tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text(f"problems: {problem_file}\nper_device_train_batch_size: 64\ngradient_accumulation_steps: 1\n")

    assert check("--config", config) == 1

    assert "has 2 usable rows, but an update takes 4 prompts" in capsys.readouterr().out


def test_response_that_leaves_no_room_is_named(problem_file, tmp_path, tokenizer, capsys):
    folder = tmp_path / "small"
    tokenizer.save_pretrained(folder)
    tiny_config(tokenizer).save_pretrained(folder)

    assert check(problem_file, "--model", folder) == 1

    printed = capsys.readouterr().out
    assert "a run allows" not in printed
    assert "A response of 1024 tokens leaves no room for a query in the model's 256 positions" in printed


@pytest.mark.parametrize(
    ("role", "status", "message"),
    [
        ("pad_token", 1, "embeddings, and none for '<new>'. Call `model.resize_token_embeddings(len(tokenizer))`"),
        ("cls_token", 0, "embeddings. Training refuses a query that holds one of the others."),
    ],
)
def test_tokenizer_with_more_tokens_than_the_model_is_named(
    role, status, message, problem_file, tmp_path, tokenizer, capsys
):
    tiny_config(tokenizer, max_position_embeddings=2048).save_pretrained(tmp_path / "model")
    own = copy.deepcopy(tokenizer)
    own.add_special_tokens({role: "<new>"})
    own.save_pretrained(tmp_path / "model")

    assert check(problem_file, "--model", tmp_path / "model") == status

    printed = capsys.readouterr().out
    assert f"The tokenizer has {len(own)} tokens, but the model has only {len(tokenizer)} {message}" in printed


@pytest.fixture
def trained_folder(tmp_path, tokenizer, make_policy):
    folder = tmp_path / "trained"
    tokenizer.save_pretrained(folder)
    make_policy().save_pretrained(folder)
    return folder


def test_stages_are_measured_with_a_model(problem_file, trained_folder, tmp_path, capsys, monkeypatch):
    config = tmp_path / "run.yaml"
    config.write_text(
        f"problems: {problem_file}\nmodel_name_or_path: {trained_folder}\nresponse_length: 4\nseed: 3\nuse_cpu: true\n"
        f"output_dir: {tmp_path / 'run'}\nper_device_train_batch_size: 2\nnum_generations: 2\nreport_to: none\n"
    )
    flags = ("--config", config, "--measure-stages", tmp_path / "stages.jsonl", "--samples", 2)
    asked = []
    monkeypatch.setattr(
        "stepcoder_trl.evaluation.measured_stages.transformers_engine",
        lambda *given: (
            lambda queries, seed: (
                asked.append(seed)
                or [GeneratedText(RIGHT if "1." in query.text else WRONG, 4, True) for query in queries]
            )
        ),
    )

    assert check(*flags) == 0
    first = capsys.readouterr().out.splitlines()
    assert check(*flags) == 0

    table = first[first.index("Problems by stage and pass rate, 2 with more than one stage:") + 1 :]
    assert [line.split() for line in table[1:3]] == [
        ["1", "2", "0.500", "1", "0", "0", "1", "1"],
        ["scratch", "2", "0.500", "1", "0", "0", "1", "1"],
    ]
    assert read_measurement(tmp_path / "stages.jsonl")[0] == StageRate("sign/0", 1, 0, 2)
    assert asked == [3]  # the second time nothing is left to sample


def test_stages_cannot_be_measured_without_a_model(problem_file, tmp_path, capsys):
    assert check(problem_file, "--measure-stages", tmp_path / "stages.jsonl") == 2
    assert "Name a model with `--model`" in capsys.readouterr().err


def test_measurement_overwrites_no_other_file(problem_file, trained_folder, capsys):
    other = problem_file.with_name("other.jsonl")
    other.write_bytes(problem_file.read_bytes())

    assert check(problem_file, "--model", trained_folder, "--measure-stages", other) == 2
    assert "holds something else" in capsys.readouterr().err
    assert other.read_bytes() == problem_file.read_bytes()


def test_model_answers_from_each_stage(problems, trained_folder, tokenizer, executor, tmp_path):
    sampling = StageSampling(samples=2, max_new_tokens=4, temperature=1.0, top_p=1.0, seed=0)
    path, steps = tmp_path / "stages.jsonl", []

    rates = measure_model(
        problems[:1],
        str(trained_folder),
        tokenizer,
        sampling,
        executor,
        path,
        lambda total: nullcontext(lambda: steps.append(total)),
    )

    assert rates == [StageRate("sign/0", 1, 0, 2), StageRate("sign/0", 0, 0, 2)]
    assert read_measurement(path) == rates
    assert steps == [2, 2]
