"""Completions, executors and readings of trainers that several tests use."""

from __future__ import annotations

from concurrent.futures import Future
from itertools import cycle

import torch
from peft import LoraConfig

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.evaluation.generation import Generation, generate
from stepcoder_trl.steps.padding import pad_left


RIGHT = "\n    return (x > 0) - (x < 0)\n"
WRONG = "\n    return 1\n"
BRANCH = "\n    if x > 99:\n        return x\n    return 1\n"  # fails; its third line never runs
UNPARSABLE = "\n    return (\n"


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def parameters(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def log_probs(model, query, ids, temperature):
    """Return the log-probabilities of all tokens at each place of a completion: (completion_length, vocabulary)."""
    logits = model(torch.tensor([[*query, *ids]])).logits[0, len(query) - 1 : -1]
    return (logits / temperature).log_softmax(-1)


def kept_text(rollout, experience, row):
    text, mask = rollout.completions[row], experience.loss_mask[row].tolist()
    return "".join(text.text[slice(*span)] for span, keep in zip(text.spans, mask, strict=False) if keep)


DISK_FULL = SandboxError("disk full")


class Answers:
    """Executor that gives futures, executions or errors in turn, and runs the programs answered by `None`."""

    def __init__(self, executor, answers):
        self.executor, self.answers, self.timeout_s = executor, iter(answers), executor.timeout_s

    def run_many(self, *args, **keywords):
        return self.executor.run_many(*args, **keywords)

    def submit(self, program, tests):
        answer, future = next(self.answers), Future()
        if answer is None:
            return self.executor.submit(program, tests)
        if isinstance(answer, Future):
            return answer
        if isinstance(answer, SandboxError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future


def unreliable(executor):
    """Return an executor that cannot run every other program."""
    return Answers(executor, cycle([None, DISK_FULL]))


def with_solution(problems, solution, **tests):
    first = {**problems[0].to_row(), "canonical_solution": solution, "tests": {**problems[0].tests, **tests}}
    return [first, *(problem.to_row() for problem in problems[1:])]


def lora():
    return LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1, task_type="CAUSAL_LM")


TIMES = {"eps", "executor/wait_s", "executor/programs_per_s"}


def generation_of(queries, texts, tokenizer, eos=True):
    """Return the generation in which each query is answered by its text, with or without EOS."""
    rows = [[*tokenizer(text)["input_ids"], *([tokenizer.eos_token_id] if eos else [])] for text in texts]
    size = max(map(len, rows))
    query_ids, query_mask = pad_left([query.token_ids for query in queries], 0, torch.device("cpu"))
    return Generation(
        query_ids=query_ids,
        query_mask=query_mask,
        response_ids=torch.tensor([row + [0] * (size - len(row)) for row in rows]),
        lengths=torch.tensor([len(row) for row in rows]),
        stopped=torch.tensor([eos] * len(rows)),
    )


class Script:
    """Replaces sampling: `generate` answers queries with the given texts in turn, then from the first again."""

    def __init__(self, tokenizer):
        self.tokenizer, self.texts = tokenizer, ()

    def write(self, *texts, eos=True):
        self.texts, self.eos, self.asked = texts, eos, 0

    def generate(self, model, queries, tokenizer, sampling, batch_size, **options):
        if not self.texts:
            return generate(model, queries, tokenizer, sampling, batch_size, **options)
        numbers = range(self.asked, self.asked + len(queries))
        self.asked += len(queries)
        return generation_of(queries, [self.texts[n % len(self.texts)] for n in numbers], tokenizer, self.eos)
