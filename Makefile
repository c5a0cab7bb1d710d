# Two commands set everything up: `make demo` and `make test`. Needs Python 3.11+, make and a package index.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(if $(shell $(p) -c 'import sys, venv, ensurepip; assert (3, 11) <= sys.version_info < (3, 14)' 2>/dev/null && echo ok),$(p))))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
DATA ?=

.PHONY: help demo test up dev check bench docs lock clean

help: ## List the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The stamp holds what was installed, so a changed lock file installs again and nothing else does.
# `python -m compileall` runs because a shell may export PYTHONDONTWRITEBYTECODE, and dagster without
# bytecode starts 2.5 times slower. It uses all cores, pip's own would use one.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 with venv found. Install one, or run: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV) (once, a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-compile --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q -j 0 $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') >/dev/null 2>&1 || true
	@touch $(READY)

demo: $(READY) ## Simulate a survey (or DATA=path), ingest it, build features and series, print a report
	@$(BIN)/retention demo $(if $(DATA),--data "$(DATA)")

test: $(READY) ## Run the tests
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q -j 0 retention_pipelines tests
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

up: $(READY) ## Start Postgres, the Dagster daemon and its web UI on this machine
	@$(BIN)/retention up

dev: $(READY) ## Start `dagster dev` with the local workspace
	@$(BIN)/dagster dev -w workspace.yaml

check: $(READY) ## Lint, types, import contract, loadable definitions
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/dagster definitions validate -w workspace.yaml

bench: $(READY) ## Print speed and memory as ratios against floors measured in the same run
	@$(BIN)/python -m benchmarks

docs: $(READY) ## Write the pages that are generated from code
	@$(BIN)/python -m retention_pipelines.cli.reference > docs/cli.md.new && mv docs/cli.md.new docs/cli.md

lock: ## Pin the dependencies again (needs uv)
	@uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-emit-index-url --no-header --no-strip-extras --python $(PYTHON) --output-file requirements.lock

clean: ## Remove the virtual environment; data in warehouse/ and state in .retention/ stay
	@rm -rf $(VENV)
