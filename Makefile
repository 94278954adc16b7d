# The one door for contributors: `make` lists what there is, and CI (.ci/run) runs the same targets.
# Every target makes the environment first where it is missing or older than what it is made from.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ready
DISTRIBUTIONS := $(patsubst %/pyproject.toml,%,$(wildcard corail-storage-*/pyproject.toml))

# Prints the target's own line of the list, so that the two cannot differ.
say = @awk -F ' \#\# ' 'index($$0, "$@:") == 1 && NF > 1 { print "== make $@: " $$2 }' Makefile

MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-postgresql test test-faults reliability test-mutants test-all bench bench-peers lint types build pins clean

help: ## this list
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) ARGS=<more arguments for pytest>"
	@awk -F ' ## ' '/^[a-z-]+:.* ## / { split($$1, target, ":"); printf "  make %-16s %s\n", target[1], $$2 }' Makefile

$(READY): pyproject.toml $(wildcard */pyproject.toml examples/*/pyproject.toml constraints.txt) scripts/setup.py
	@$(PYTHON) scripts/setup.py --venv $(VENV)

setup: ## make the virtual environment, or bring it up to date (30 s the first time)
	$(say)
	@$(PYTHON) scripts/setup.py --venv $(VENV)

demo: $(READY) ## an agent's conversations in memory (a few seconds)
	$(say)
	@$(BIN)/python examples/demo.py

demo-postgresql: $(READY) ## the same on a real PostgreSQL, killed on the way (under a minute)
	$(say)
	@$(BIN)/python examples/demo_postgresql.py

test: $(READY) ## every test but the slow fault tests, two files at a time (about five minutes)
	$(say)
	@$(BIN)/python -m pytest -m "not faults" -n 2 --dist loadfile $(ARGS)

test-faults: $(READY) ## the tests that kill and freeze servers, with a table of what they measured (three minutes)
	$(say)
	@$(BIN)/python tests/faults/table.py $(ARGS)

reliability: $(READY) ## the same, and its table into docs/reliability.md and README.md (three minutes)
	$(say)
	@$(BIN)/python tests/faults/table.py --write $(ARGS)

test-mutants: $(READY) ## a table: each broken backend and the clause of the kit that caught it (a minute)
	$(say)
	@$(BIN)/python tests/kit/mutants_table.py $(ARGS)

test-all: $(READY) ## the suite on every Python from 3.11 on that this machine has (minutes each)
	$(say)
	@$(BIN)/python scripts/test_all.py $(ARGS)

bench: $(READY) ## ours against raw asyncpg, durability on (about three minutes)
	$(say)
	@$(BIN)/python -m benchmarks.run $(ARGS)

bench-peers: $(READY) ## the same work on other libraries, each in its own environment (about three minutes, and three more the first time)
	$(say)
	@$(BIN)/python -m benchmarks.peers $(ARGS)

lint: $(READY) ## ruff: rules and format (a second)
	$(say)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## mypy and pyright, both strict, and a control that they can fail (half a minute)
	$(say)
	@$(BIN)/python scripts/check_types.py

build: $(READY) ## wheels and source distributions into dist/ (5 s)
	$(say)
	@rm -rf dist
	@for each in $(DISTRIBUTIONS); do $(BIN)/python -m build --no-isolation --outdir dist $$each || exit; done

pins: ## resolve constraints.txt anew, on Python 3.11 (one minute)
	$(say)
	@$(PYTHON) scripts/pins.py

clean: ## remove build output and caches; environments (.venv*) stay (a second)
	$(say)
	@rm -rf build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -path './.venv*' -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
