# The project's commands. Each sets up what it lacks, inside this folder: .venv (tools) and .aws-sam (the build).

PYTHON ?= python3
BIN := .venv/bin
MACHINE := $(shell uname -m)
ARCH := $(if $(filter aarch64 arm64,$(MACHINE)),arm64,x86_64)
BUILD := .aws-sam/build
SHIPPED := $(shell find functions layers/core/src statemachine -type f -not -name '*.pyc') template.yaml

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := layers/core/src:functions:.
export SAM_CLI_TELEMETRY := 0
export AWS_DEFAULT_REGION ?= eu-west-1

.PHONY: help demo test check local bench build lint clean
.DELETE_ON_ERROR:

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

demo: $(BUILD)/.built ## a day of 200 messages through the whole system; options: make demo ARGS="--help"
	@python -m local demo $(ARGS)

local: $(BUILD)/.built ## chat with the assistant in this terminal, until Ctrl-C
	@python -m local chat $(ARGS)

test: $(BUILD)/.built ## every test that needs neither Docker nor Node
	@python -m pytest -q -n 2 --dist worksteal --cov --cov-report= tests/unit tests/handlers tests/contract
	@python -m pytest -q -n 2 --dist worksteal tests/workflow tests/local tests/sam
	@coverage report --fail-under=95
	@coverage report --fail-under=100 --include='*/assistant/turns/*'

lint: .venv/.installed ## format, lint, types, import contracts, template
	@ruff format --check -q .
	@ruff check -q .
	@mypy .
	@lint-imports --no-cache
	@sam validate --lint

check: lint test ## what CI runs

bench: $(BUILD)/.built ## what a user waits for, as ratios: build/bench.json
	@python -m local.bench

build: $(BUILD)/.built ## sam build for this machine, byte-compiled

$(BUILD)/.built: .venv/.installed $(SHIPPED)
	@echo "Building the functions and the layer ($(ARCH))…"
	@sam build --parameter-overrides Architecture=$(ARCH) >build.log 2>&1 || { cat build.log; rm -f build.log; exit 1; }
	@rm -f build.log
	@python -m compileall -q -j 0 --invalidation-mode unchecked-hash $(BUILD)
	@touch $@

.venv/.installed: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 13) else "Python 3.13 is needed; this is " + sys.version.split()[0] + ". Say which one: make PYTHON=/path/to/python3.13 …")'
	@echo "Setting up .venv (about a minute the first time)…"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean: ## remove what the commands made
	rm -rf .venv .aws-sam build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
