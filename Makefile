# The two commands a new user needs: `make demo` and `make test`.  Both set up .venv/ first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED := 1

.PHONY: help demo test test-all lint types unit wheel-test setup setup-dev clean

help:
	@echo "make demo      set up .venv/ and run the whole story: counts, measured latencies, training, search, report"
	@echo "make test      set up .venv/ and run format, lint, types, tests and the wheel test"
	@echo "make test-all  the same with the slow proofs"
	@echo "make clean     remove .venv/ and caches"

demo: setup
	$(BIN)/archsearch demo

test: setup-dev lint types unit wheel-test

test-all: setup-dev lint types
	$(BIN)/pytest -n 2 --dist loadfile -m "slow or not slow"
	$(MAKE) wheel-test

lint: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup-dev
	$(BIN)/mypy

unit: setup-dev
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

wheel-test: setup-dev
	$(BIN)/python tests/wheel_check.py

setup: $(VENV)/.stamp-core

setup-dev: $(VENV)/.stamp-dev $(VENV)/.stamp-tflite

$(VENV)/.stamp-core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "archsearch needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[litert]"
	touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[litert,coreml,dev]"
	touch $@

# Old models' runtime, in an environment of its own; where it cannot be had its tests are skipped (CI requires it).
$(VENV)/.stamp-tflite: $(VENV)/.stamp-dev archsearch/latency/runtimes.py
	$(BIN)/archsearch latency runtime --install && touch $@ || echo "tflite-runtime is not here; its tests are skipped"

clean:
	rm -rf $(VENV) .venvs build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
