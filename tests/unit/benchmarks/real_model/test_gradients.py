"""Credit of tokens, gradients and their comparison on a tiny model."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from benchmarks.real_model import gradients
from benchmarks.real_model.stages import Measurement
from stepcoder_trl.types import Execution, Outcome, TestResult
from tests.unit.benchmarks.real_model.conftest import ASSERTS, Recited, sign_task


@pytest.fixture(scope="module")
def drawn(tokenizer, one_worker):
    """Two groups of two completions from scratch: one that passes, and one with wrong answers that skips a line."""
    measurement = Measurement(Recited(tokenizer), tokenizer, (), one_worker, samples=2)
    return measurement.draw([(one, one.stages[-1]) for one in (sign_task("a"), sign_task("b"))], number=0)


def test_weights_are_advantages_of_the_group_by_the_number_of_kept_tokens(drawn):
    every = gradients.token_weights(drawn, 2, "off", step=0)
    lines = gradients.token_weights(drawn, 2, "lines", step=0)

    lengths = drawn.generation.lengths
    # Scores 1 and -0.3 deviate by 0.65 from their mean.
    assert every[0, 0] == pytest.approx(0.65 / int(lengths.sum()))
    assert every[1, 0] == pytest.approx(-0.65 / int(lengths.sum()))
    assert not every[1, lengths[1] :].any()
    kept = lines != 0
    assert int(kept.sum()) < int(lengths.sum())
    assert lines[0, 0] == pytest.approx(0.65 / int(kept.sum()))


def test_one_test_gives_the_same_credit_as_lines(tokenizer, one_worker):
    single = {**ASSERTS, "asserts": ASSERTS["asserts"][:1]}
    measurement = Measurement(Recited(tokenizer), tokenizer, (), one_worker, samples=2)
    one = sign_task("a", tests=single)
    drawn = measurement.draw([(one, one.stages[-1])], number=0)

    ways = [gradients.token_weights(drawn, 2, way, step=0) for way in ("lines", "mean, lines", "mean, tests")]

    assert torch.allclose(ways[0], ways[1])
    assert torch.allclose(ways[1], ways[2])


def test_a_line_of_one_test_gets_its_credit_alone(drawn):
    execution = drawn.executions[0]
    assert [sorted(test.executed_lines) for test in execution.tests] == [[1, 2, 3], [1, 2, 4, 5]]

    weights = gradients.token_weights(drawn, 2, "mean, tests", step=0)[0]

    # Both tests pass, against a failure of both: each has half of the advantage, and so has a line that one ran.
    values = {round(float(value / weights[0]), 4) for value in weights if value}
    assert values == {1.0, 0.5}


def test_completion_without_an_execution_has_no_weight(drawn):
    lost = SimpleNamespace(generation=drawn.generation, completions=drawn.completions)
    lost.executions = [None, *drawn.executions[1:]]

    weights = gradients.token_weights(lost, 2, "mean, tests", step=0)

    assert not weights[:2].any()  # the other one of the group is its own mean
    assert weights[2:].any()


def test_gradient_is_that_of_each_sequence_alone(drawn, make_policy):
    model = make_policy().eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("q_proj" in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    found = gradients.gradients(model, drawn, size=2, temperature=0.8, step=0)["lines"]

    weights = gradients.token_weights(drawn, 2, "lines", step=0)
    objective = torch.zeros(())
    for number, completion in enumerate(drawn.completions):
        query, ids = completion.start.query.token_ids, completion.token_ids
        logits = model(torch.tensor([[*query, *ids]])).logits[0, len(query) - 1 : -1] / 0.8
        log_probs = logits.log_softmax(-1)[range(len(ids)), list(ids)]
        objective = objective + (weights[number, : len(ids)] * log_probs).sum()
    expected = torch.cat([part.flatten() for part in torch.autograd.grad(objective, trained)])
    assert found.abs().max() > 0
    assert torch.allclose(found, expected, atol=1e-6)


def test_one_backward_pass_serves_ways_of_equal_weights(drawn, make_policy, monkeypatch):
    passes, grad = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **options: passes.append(1) or grad(*args, **options))
    equal = SimpleNamespace(generation=drawn.generation, completions=drawn.completions)
    equal.executions = [*drawn.executions[:2], drawn.executions[0], drawn.executions[0]]

    gradients.gradients(make_policy().eval(), equal, size=2, temperature=0.8, step=0)

    # Of five ways: the completion that ran every line needs two, and the other, which FGO cuts, needs three. The
    # second group has no signal.
    assert len(passes) == 2 + 3


def test_batches_are_continued_and_compared(tmp_path, tokenizer, one_worker, make_policy):
    model = make_policy().eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layers.0.self_attn.q_proj" in name)
    sampler = Recited(tokenizer)
    measurement = Measurement(sampler, tokenizer, (), one_worker, samples=2)
    probe = gradients.Probe(model, measurement, temperature=1.0, problems=1)
    tasks = [sign_task(name) for name in "abcd"]

    assert list(gradients.measure_batches(probe, tasks, tmp_path, batches=1, seconds=1e9)) == [0]
    assert list(gradients.measure_batches(probe, tasks, tmp_path, batches=3, seconds=1e9)) == [1, 2]

    assert sampler.seeds == [0, 0, 1, 1, 2, 2]  # from scratch and from the first stage
    found = gradients.summarize(gradients.load_batches(sorted(tmp_path.glob("*.pt"))))
    names = [f"{start}, {way}" for start, way in itertools.product(gradients.STARTS, gradients.WAYS)]
    assert list(found) == names
    assert found["scratch, off"]["same"]["gain"]["mean"] == 1.0
    assert found["scratch, lines"]["scratch"] == found["scratch, lines"]["same"]
    rows = gradients.table(found).splitlines()
    assert len(rows) == 2 + len(names)
    assert rows[2].startswith("| scratch, off | ")


def test_no_signal_leaves_comparisons_out():
    vectors = 1 + torch.eye(3, dtype=torch.double)
    stacked = {"scratch, off": vectors, "first, off": torch.zeros(3, 3, dtype=torch.double)}

    found = gradients.summarize(stacked)

    assert found["first, off"] == {"batches": 3, "snr2": None, "same": None, "scratch": None}
    assert "| first, off |  |  |  |  |  |  |" in gradients.table(found)


def test_execution_types_are_those_of_the_executor(drawn):
    assert all(isinstance(one, Execution) for one in drawn.executions)
    assert all(isinstance(test, TestResult) for test in drawn.executions[0].tests)
    assert [one.outcome for one in drawn.executions] == [Outcome.PASSED, Outcome.FAILED] * 2
