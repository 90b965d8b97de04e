# Everything runs in .venv, made here from Python >= 3.11.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
DEV := $(VENV)/dev.stamp

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types docs wheel bench bench-full clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp  ## train on handwritten digits; pictures, formulas and native code in build/demo
	$(BIN)/python examples/digits.py

test: $(DEV)  ## run the tests
	$(BIN)/python -m pytest -q -n $(JOBS) tests/backend
	$(BIN)/python -m pytest -q -n $(JOBS) --ignore=tests/backend

check: lint types test wheel  ## everything: lint, types, tests with docs and examples, wheel

lint: $(DEV)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)  ## mypy, strict
	$(BIN)/mypy

docs: $(DEV)  ## run the code of README, docs and examples
	$(BIN)/python -m pytest -q tests/docs

wheel: $(DEV)  ## build dist/*.whl and the source archive
	$(BIN)/python -m hatchling build

bench: $(DEV)  ## speed beside other libraries (minutes)
	$(BIN)/python tests/bench/suite.py --quick

bench-full: $(DEV)  ## all of it, on a quiet machine (half an hour); fills docs/performance.md
	$(BIN)/python tests/bench/suite.py --write-docs

clean:  ## remove what was built; .venv stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find graphc backends tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/%.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "graphc needs Python >= 3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
