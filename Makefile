# The only door. `make` prints what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PAGE := services/console/page
PAGE_STAMP := .venv/.page
PAGE_SOURCES := $(shell find $(PAGE) -name node_modules -prune -o -type f -print)
MEMBERS := libs/common libs/edge libs/backtest libs/cli deploy/broker $(wildcard services/*) $(wildcard examples/*)
WORKERS ?= 2
export OMP_NUM_THREADS := 1
# Many short processes: without compiled modules each start of scikit-learn costs seconds of CPU.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup page check fmt test slow faults mutants screenshots bench demo up down schemas lock new-service

help: ## print this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) $(PAGE_STAMP) ## install everything into .venv, build the page of the console

$(STAMP): requirements/dev.lock $(addsuffix /pyproject.toml,$(MEMBERS))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Headrace needs Python 3.11 or later; set PYTHON=python3.x"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python cannot make virtual environments here: install python3-venv"; exit 1; }
	@[ -x $(BIN)/python ] || { echo "Making .venv ..."; $(PYTHON) -m venv .venv; }
	@[ -x $(BIN)/uv ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	@echo "Installing packages (once, about 400 MB) ..."
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps $(addprefix -e ./,$(MEMBERS))
	@touch $@

# Also written where the page could not be built (no npm registry): setup does not try again by itself, `make page` does.
$(PAGE_STAMP): $(STAMP) $(PAGE_SOURCES)
	@$(PAGE)/build.sh
	@touch $@

page: $(STAMP) ## build the page of the console again
	@$(PAGE)/build.sh
	@touch $(PAGE_STAMP)

check: setup ## formatting, lint, types, import contracts, schemas, locks, compose
	@deploy/checks/run.sh

fmt: setup ## format and mend what can be mended
	@$(BIN)/ruff format && $(BIN)/ruff check --fix

test: setup ## the tests, on a real broker (WORKERS=2)
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile

slow: setup ## tests that take minutes
	@$(BIN)/pytest -m slow

faults: setup ## kill and freeze real processes
	@$(BIN)/pytest -m faults

mutants: setup ## change cores in small ways, count what no test notices (ONLY=registry, SAMPLE=40, SEED=1, MINUTES=30, QUICK=1)
	@nice -n 10 $(BIN)/python -m deploy.mutants $(if $(ONLY),--only $(ONLY)) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(QUICK),--quick)

screenshots: setup ## pictures of the console for README and guides, from the recorded demo in a real Chromium
	@mkdir -p docs/images
	@HEADRACE_SCREENSHOTS=docs/images $(BIN)/pytest tests/console/test_story.py

bench: setup ## side by side with peers (ONLY=agreement, console, estimates, evidence, features, inputs, memory, monitor, rollouts, serving, shadows, streams)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

demo: setup ## real flights through every service (ACT=...)
	@$(BIN)/headrace demo $(if $(ACT),--act $(ACT))

up: setup ## a local broker and all services
	@$(BIN)/headrace up

down: setup ## end them
	@$(BIN)/headrace down

schemas: setup ## write schemas/events, docs/reference and the types of the page from the types
	@$(BIN)/python -m headrace.events.schemas
	@$(BIN)/python -m headrace.project.reference
	@$(BIN)/python -m headrace.hosting.metrics_reference
	@$(BIN)/python deploy/checks/page_types.py

lock: setup ## resolve dependencies anew and export the locks
	@deploy/checks/lock.sh

new-service: setup ## the rooms of a new service: NAME=...
	@$(BIN)/python deploy/scaffold/new_service.py $(NAME)
