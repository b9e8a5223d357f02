# make demo    install into .venv and optimize a small simulated pipeline (no keys, no network)
# make test    the tests            make check   format, lint, types, import layers
# make test-live   tests against real models, which COMPOUND_OPTIMIZER_LIVE names (CONTRIBUTING.md)
# make test-service  searches whose workers are killed, some minutes
# make test-distributed  a search on Dask's workers, one killed every 20 s, some minutes
# make docs    the documentation as a site, in site/
# make bench   all benchmarks        make attacks a hostile server under 200 budgets, 30 kills
# make clean   remove what these made
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On all processors, where pip takes one; a few files of some packages are not meant to compile.
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

export LITELLM_MODE := PRODUCTION
export MLFLOW_DISABLE_TELEMETRY := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NO_MKDOCS_2_WARNING := 1

.PHONY: demo test test-live test-service test-distributed check docs bench attacks clean
.DEFAULT_GOAL := test
.NOTPARALLEL:

demo: $(VENV)/installed
	$(BIN)/compound-optimizer demo

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 3 --dist worksteal

# What the models said is printed, and calls are slow: one process.
test-live: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests/live -s --durations=0

test-service: $(VENV)/installed-dev
	SERVICE=all $(BIN)/python -m pytest -rP tests/optimizer/service/test_takeover.py

test-distributed: $(VENV)/installed-dev
	DISTRIBUTED=all $(BIN)/python -m pytest -rP tests/optimizer/test_distributed.py

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: $(VENV)/installed-dev
	$(BIN)/mkdocs build

bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks all

attacks: $(VENV)/installed-dev
	ATTACKS=all $(BIN)/python -m pytest -n 2 --dist worksteal -rP tests/attacks

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps carry the environment's state: a second run installs nothing until these files change.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing compound-optimizer and what it needs into $(VENV); this takes a minute or two ..."
	@$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e .
	@$(COMPILE)
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing compound-optimizer and its development tools into $(VENV); this takes a minute or two ..."
	@$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[dev]'
	@$(COMPILE)
	@touch $@ $(VENV)/installed

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) found. Install Python 3.11 or later, or name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) -V) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
