# The project's commands. Each sets up what it lacks, inside this folder: .venv (tools), .aws-sam (the build) and,
# for the agent's, .node (Node and OpenClaw).

PYTHON ?= python3
BIN := .venv/bin
MACHINE := $(shell uname -m)
ARCH := $(if $(filter aarch64 arm64,$(MACHINE)),arm64,x86_64)
BUILD := .aws-sam/build
NODE := .node
IMAGE := serverless-openclaw:local
PINS := container/openclaw
SHIPPED := $(shell find functions layers/core/src statemachine -type f -not -name '*.pyc') template.yaml

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := layers/core/src:functions:container:.
export SAM_CLI_TELEMETRY := 0
export AWS_DEFAULT_REGION ?= eu-west-1

.PHONY: help demo agent-demo test check local bench cost build lint clean agent-test kill-test image image-test node check-template sam-test audit deploy destroy
.DELETE_ON_ERROR:

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(BUILD)/.built ## a day of 200 messages through the whole system; options: make demo ARGS="--help"
	@python -m local demo $(ARGS)

local: $(BUILD)/.built $(if $(findstring --agent,$(ARGS)),$(NODE)/.installed) ## chat with the assistant in this terminal, until Ctrl-C
	@python -m local chat $(ARGS)

agent-demo: $(BUILD)/.built $(NODE)/.installed ## the agent at work with a real OpenClaw: build/agent.json
	@python -m local agent-demo $(ARGS)

test: $(BUILD)/.built ## the tests that need neither Docker nor Node
	@python -m pytest -q -n 3 --dist worksteal --cov --cov-report= tests/unit tests/handlers tests/contract tests/container tests/operate
	@python -m pytest -q -n 4 --dist worksteal tests/workflow tests/local tests/sam
	@coverage report --fail-under=95
	@coverage report --fail-under=100 --include='*/assistant/turns/*'

cost: $(BUILD)/.built ## what a month of 100 messages a day costs, from what is counted: build/cost.json, docs/cost.md
	@python -m local cost $(ARGS)

kill-test: $(BUILD)/.built ## a function's death at each of its calls; `make test` has a third of them
	@python -m pytest -q -n 2 --dist worksteal -m kills tests/local

agent-test: .venv/.installed $(NODE)/.installed ## the tests that need a real OpenClaw gateway
	@python -m pytest -q -m openclaw tests/container tests/local

image: ## the agent's container image, in Docker; further flags of `docker build`: make image DOCKER_BUILD_FLAGS=…
	@docker build $(DOCKER_BUILD_FLAGS) -f container/Dockerfile -t $(IMAGE) . >image.log 2>&1 || { cat image.log; rm -f image.log; exit 1; }
	@rm -f image.log
	@docker image inspect --format '$(IMAGE): {{.Size}} bytes' $(IMAGE)

image-test: $(BUILD)/.built ## the tests of the image, in Docker: it is built, attacked, and pushed to a docker-registry here
	@python -m pytest -q -m docker tests/container

sam-test: $(BUILD)/.built ## every function and the API with `sam local`, in Docker, with init times; and `sam deploy`
	@python -m pytest -q -m "docker or deploy" tests/sam

audit: .venv/.installed ## known weaknesses of what is installed; where their database can't be reached it says so
	@python -m venv build/audit && build/audit/bin/pip install -q --disable-pip-version-check pip-audit==2.10.1
	@python -m local.audit build/audit/bin/pip-audit layers/core/src/requirements.txt container/requirements.txt requirements-dev.txt

lint: .venv/.installed ## format, lint, types, import contracts, template
	@ruff format --check -q .
	@ruff check -q .
	@mypy .
	@lint-imports --no-cache
	@sam validate --lint

check-template: .venv-checkov/.installed ## checkov on the template; what it is not asked for, and why, is in .checkov.yaml
	@.venv-checkov/bin/checkov --config-file .checkov.yaml

# In a virtual environment of its own: checkov pins boto3.
.venv-checkov/.installed: requirements-checkov.txt
	@echo "Setting up .venv-checkov (about a minute)…"
	@$(PYTHON) -m venv .venv-checkov
	@.venv-checkov/bin/pip install -q --disable-pip-version-check -r requirements-checkov.txt
	@touch $@

check: lint test ## what CI runs

deploy: .venv/.installed ## to AWS; options: make deploy ARGS="--agent", ARGS="--dry-run", ARGS="--help"
	@python -m operate deploy $(ARGS)

destroy: .venv/.installed ## the way back; keeps conversations, workspaces and keys unless ARGS="--delete-data"
	@python -m operate destroy $(ARGS)

bench: $(BUILD)/.built $(NODE)/.installed ## what a user waits for, as ratios: build/bench.json
	@python -m local.bench

build: $(BUILD)/.built ## sam build for this machine, byte-compiled

$(BUILD)/.built: .venv/.installed $(SHIPPED)
	@echo "Building the functions and the layer ($(ARCH))…"
	@sam build --parameter-overrides Architecture=$(ARCH) >build.log 2>&1 || { cat build.log; rm -f build.log; exit 1; }
	@rm -f build.log
	@python -m compileall -q -j 0 -s $(BUILD) --invalidation-mode unchecked-hash $(BUILD)
	@python -m local.artefact $(BUILD)
	@touch $@

.venv/.installed: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 13) else "Python 3.13 is needed; this is " + sys.version.split()[0] + ". Say which one: make PYTHON=/path/to/python3.13 …")'
	@echo "Setting up .venv (about a minute the first time)…"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# Node comes from npm, too, so that nothing but an npm of any version has to be there; the pins are in one file.
$(NODE)/.installed: $(PINS)/package.json $(PINS)/package-lock.json | .venv/.installed
	@if [ -e $@ ] && cmp -s $(PINS)/package.json $(NODE)/openclaw/package.json && cmp -s $(PINS)/package-lock.json $(NODE)/openclaw/package-lock.json; \
	  then touch $@; else $(MAKE) --no-print-directory node; fi

node: # what the pins say, anew
	@command -v npm >/dev/null || { echo "npm is needed to install Node and OpenClaw into $(NODE); it comes with any Node."; exit 1; }
	@echo "Installing Node and OpenClaw into $(NODE) (about a minute, 0.9 GB)…"
	@mkdir -p $(NODE)/runtime $(NODE)/openclaw && rm -f $(NODE)/.installed
	@cp $(PINS)/package.json $(PINS)/package-lock.json $(PINS)/.npmrc $(NODE)/openclaw/
	@echo '{"private": true}' >$(NODE)/runtime/package.json
	@cd $(NODE)/runtime && npm install --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
	  "node@$$(python -c 'import json; print(json.load(open("../openclaw/package.json"))["engines"]["node"])')"
	@cd $(NODE)/openclaw && PATH="$(CURDIR)/$(NODE)/runtime/node_modules/node/bin:$$PATH" npm ci --loglevel=error
	@touch $(NODE)/.installed

clean: ## remove what the commands made
	rm -rf .venv .venv-checkov .aws-sam .node build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
