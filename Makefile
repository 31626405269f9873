# Everything installs itself into .venv: Python 3.11+ and make are all that is needed beforehand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
# A file of tests stays on one core: its fixtures are made once.
PYTEST := $(BIN)/pytest -n auto --maxprocesses=4 --dist=loadfile

.PHONY: demo test test-all check part11 bench strangers setup clean

demo: setup  ## run a whole synthetic study through the real stack, verify it, replay it
	$(BIN)/trail demo

test: setup  ## everything that takes less than ten minutes together
	$(PYTEST) -m "not slow and not containers"

test-all: setup  ## the rest: kills, containers
	$(PYTEST) -m "slow or containers"

check: setup  ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

part11: setup  ## write docs/part11.md; with RESULTS, files of pytest --junitxml, say which clauses they leave open
	$(BIN)/python -m tests.part11 $(RESULTS)

bench: setup  ## each figure beside its floor, in one run
	$(BIN)/python -m tests.benchmarks.bench
	$(BIN)/python -m tests.benchmarks.million
	$(BIN)/python -m tests.benchmarks.pilot
	$(BIN)/python -m tests.benchmarks.postgresql

strangers: setup  ## what the tests need to let implementations that were not written here check us
	@if command -v uv >/dev/null; then uv=uv; else uv=$(BIN)/uv; fi; \
	  test -x "$$(command -v $$uv)" || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION); \
	  $$uv sync --quiet --locked --inexact --group conformance --python $(BIN)/python

setup: $(READY)

$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Trialtrail needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version`. Try: make PYTHON=python3.12"; exit 1; }
	@if command -v uv >/dev/null; then uv=uv; else \
	  test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv==$(UV_VERSION); }; \
	  uv=$(BIN)/uv; fi; \
	  $$uv sync --quiet --locked --inexact --python $(PYTHON)
	@touch $(READY)

clean:  ## remove what was installed and the demo's data; never a trial's
	rm -rf $(VENV) .trail-demo
