"""Setting up a run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer import grpo_setup, setup
from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig
from stepcoder_trl.trainer.models import PolicyAndCritic
from stepcoder_trl.trainer.ppo_config import EOS, StepCoderPPOConfig


def make_args(**changes):
    return StepCoderPPOConfig(
        output_dir="run", use_cpu=True, report_to="none", gradient_accumulation_steps=4, num_mini_batches=2, **changes
    )


@pytest.mark.parametrize(
    ("config", "options", "warning"),
    [
        (StepCoderPPOConfig, {"curriculum": "paper"}, "every problem stays at its first stage. Lower it."),
        (StepCoderPPOConfig, {"curriculum": "adaptive"}, "every problem gets ever more of its solution. Lower it."),
        (StepCoderGRPOConfig, {"curriculum": "adaptive"}, "every problem gets ever more of its solution. Lower it."),
        (StepCoderGRPOConfig, {"curriculum_leave_solved": False}, "every problem stays at its first stage."),
        (StepCoderGRPOConfig, {"curriculum": "mix"}, ""),
    ],
)
def test_threshold_that_no_pass_rate_exceeds_is_named(config, options, warning, tmp_path, caplog):
    args = config(output_dir=str(tmp_path), use_cpu=True, report_to="none", curriculum_pass_rate=1.0, **options)

    setup.warn_without_effect(args)

    assert warning in caplog.text
    assert ("`curriculum_pass_rate` is 1, which no pass rate exceeds" in caplog.text) == bool(warning)


def test_positions_of_the_model_limit_the_query(make_policy):
    policy = make_policy()  # 256 positions

    assert setup.query_limit(policy, None, 56) == 200
    assert setup.query_limit(policy, 100, 56) == 100
    with pytest.raises(BadInputError, match="`eval_response_length` 256 leaves no room in 256 positions"):
        setup.eval_query_limit(policy, make_args(eval_response_length=256))


@pytest.mark.parametrize(
    ("given", "token_id", "has_problems", "expected"),
    [(EOS, None, True, "eos"), (EOS, None, False, None), ("eos", None, False, "eos"), (EOS, 7, True, None)],
)
def test_default_stop_token_depends_on_the_dataset(given, token_id, has_problems, expected):
    args = SimpleNamespace(stop_token=given, stop_token_id=token_id)

    assert setup.stop_token(args, has_problems, eos_token_id=2) == expected


def test_stop_token_needs_an_eos_token():
    with pytest.raises(BadInputError, match="no EOS token"):
        setup.stop_token(make_args(), True, None)


def test_options_and_settings_are_restored_after_upstreams_constructor(make_policy):
    args, policy = make_args(whiten_rewards=True), make_policy()
    plan = setup.plan_run(args, num_rows=20, has_problems=True, num_processes=1)
    settings = policy.generation_config

    with setup.as_upstream_expects(args, policy, plan, "eos"):
        assert (args.gradient_accumulation_steps, args.num_mini_batches, args.whiten_rewards) == (2, 1, False)
        policy.generation_config.eos_token_id = 9

    assert (args.gradient_accumulation_steps, args.num_mini_batches, args.whiten_rewards) == (4, 2, True)
    assert policy.generation_config is settings
    assert settings.eos_token_id != 9


@pytest.mark.parametrize(("number", "is_named"), [(2, False), (3, True)])
def test_warmup_that_takes_all_updates_is_named(number, is_named, caplog):
    args = make_args(critic_warmup_steps=number, max_steps=3)

    setup.plan_run(args, num_rows=20, has_problems=True, num_processes=1)

    assert ("the run has only 3 updates: the policy is never trained" in caplog.text) == is_named


def test_sizes_that_the_trainer_computes_are_named_if_they_differ(caplog):
    args = make_args()
    plan = setup.plan_run(args, num_rows=20, has_problems=True, num_processes=1)
    setup.set_sizes(args, plan, 1)

    setup.plan_run(args, num_rows=20, has_problems=True, num_processes=1)
    before = caplog.text
    args.batch_size = 7
    setup.plan_run(args, num_rows=20, has_problems=True, num_processes=1)

    assert before == ""
    assert "`batch_size` is 7, which has no effect" in caplog.text


@pytest.mark.parametrize("sets", [{}, {3: [{"prompt": "p"}]}])
def test_evaluation_sets_of_grpo_need_names(sets):
    with pytest.raises(BadInputError, match="`eval_dataset` has"):
        grpo_setup.read_eval_sets(sets)


def test_empty_list_of_rewards_is_refused_by_grpo():
    with pytest.raises(BadInputError, match="`reward_funcs` is empty"):
        grpo_setup.choose_rewards([], [], None)


def test_sizes_count_all_processes():
    args = make_args(per_device_train_batch_size=4, num_generations=8)
    plan = setup.plan_run(args, num_rows=20, has_problems=True, num_processes=2)

    setup.set_sizes(args, plan, 2)

    assert (args.batch_size, args.local_batch_size, args.mini_batch_size, args.micro_batch_size) == (32, 16, 16, 8)


def test_policy_and_critic_have_a_learning_rate_each():
    model = PolicyAndCritic(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    args = make_args(weight_decay=0.1)
    decays = {name for name, _ in model.named_parameters() if name.endswith("weight")}

    optimizer = setup.make_optimizer(torch.optim.SGD, {}, model, args, decays)

    found = [(group["lr"], group["weight_decay"], len(group["params"])) for group in optimizer.param_groups]
    assert found == [(5e-7, 0.1, 1), (5e-7, 0.0, 1), (1.5e-6, 0.1, 1), (1.5e-6, 0.0, 1)]


def test_grpo_says_that_every_query_is_too_long():
    with pytest.raises(BadInputError, match="No row of `train_dataset` is usable: every query is too long"):
        grpo_setup.check_sizes(SimpleNamespace(rows=[]), None, None)
