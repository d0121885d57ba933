# Two commands do everything on a bare machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN ?= runs/quickstart

.PHONY: quickstart test test-matrix test-versions lint clean

quickstart: $(VENV)/.installed
	$(BIN)/stepcoder-trl quickstart --out $(RUN)

test: $(VENV)/.test
	$(BIN)/python -m pytest

# Several processes; verdicts of other harnesses; the same numbers and verdicts on other releases of TRL and Python.
test-matrix: $(VENV)/.matrix
	$(BIN)/python -m pytest tests/matrix -m 'not long'

# Other interpreters and other releases of TRL: most of the suite again for each.
test-versions: $(VENV)/.matrix
	$(BIN)/python -m pytest tests/matrix/test_trl_versions.py tests/matrix/test_python_versions.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# torch first and pinned: a looser requirement pulls gigabytes of CUDA libraries onto a machine without a GPU.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --constraint constraints.txt --editable '.[plots]'
	touch $@

$(VENV)/.test: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[baselines,plots,test]'
	touch $@

# DeepSpeed has no wheel; it compiles nothing before it is used, and needs to see the torch that is there.
$(VENV)/.matrix: $(VENV)/.test
	$(PIP) install --constraint constraints.txt setuptools wheel ninja
	DS_BUILD_OPS=0 $(PIP) install --constraint constraints.txt --no-build-isolation deepspeed
	$(PIP) install --constraint constraints.txt --editable '.[plots,test,deepspeed]'
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) install --constraint constraints.txt --editable '.[baselines,plots,test,dev]'
	touch $@

clean:
	rm -rf $(VENV) .matrix build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
