# Two commands do everything on a bare machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN ?= runs/quickstart
# Where no GPU is, the index of PyTorch's CPU builds, which need no CUDA libraries. Behind a mirror, name its copy:
# `make quickstart TORCH_INDEX=https://mirror/pytorch/cpu`. `TORCH_INDEX=` takes what the registry has.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu)
# A machine that does not reach the index falls back on the registry, soon.
FROM_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --retries 1 --timeout 15)

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

# torch first and pinned, so that nothing after it asks for another build.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	@echo "Installing into $(VENV): $(if $(TORCH_INDEX),1.6 GB of packages with PyTorch's CPU build,up to 6 GB of packages with CUDA)."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt $(FROM_INDEX) torch
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
