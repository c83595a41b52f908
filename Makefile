# The data plane's workspace. `make` alone lists what there is.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The stack of this checkout; two checkouts never meet.
export DATAPLANE_STACK_DIR ?= $(CURDIR)/.stack

PACKAGES := common emitter tailer elastinats dataplane
# The longest first, so that two at a time end together.
SUITES := test-tailer test-e2e test-integration test-emitter test-elastinats test-dataplane test-common
BIN := .venv/bin
SYNCED := .venv/.synced

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9_-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

$(SYNCED): requirements.lock pyproject.toml $(wildcard packages/*/pyproject.toml) scripts/sync scripts/uv
	@scripts/sync

.PHONY: sync
sync: $(SYNCED) ## Set up the environment in .venv from the lock

.PHONY: up
up: $(SYNCED) ## Start the local stack, ship its own logs, prove that they are searchable
	@$(BIN)/dataplane up

.PHONY: down
down: $(SYNCED) ## Stop the local stack and keep its data
	@$(BIN)/dataplane down

.PHONY: status
status: $(SYNCED) ## Say what runs, how healthy it is and what waits
	@$(BIN)/dataplane status

.PHONY: test
test: $(SYNCED) ## Run all tests: each package in isolation, and all of them on real NATS and Elasticsearch
	@echo "$(words $(SUITES)) suites, two at a time; each is shown when it has ended (make $(firstword $(SUITES)): that one alone)"
	@$(MAKE) --no-print-directory --output-sync=target --jobs=2 $(SUITES)

.PHONY: test-integration
test-integration: $(SYNCED)
	@DATAPLANE_TEST_SERVERS=$${DATAPLANE_TEST_SERVERS:-native} $(BIN)/python -m pytest tests -m "not e2e"

.PHONY: test-e2e
test-e2e: $(SYNCED)
	@DATAPLANE_TEST_SERVERS=$${DATAPLANE_TEST_SERVERS:-native} $(BIN)/python -m pytest tests -m e2e

# A package's own tests see only what the package declares.
.PHONY: $(addprefix test-,$(PACKAGES))
$(addprefix test-,$(PACKAGES)): test-%: $(SYNCED)
	@scripts/isolated $*

.PHONY: e2e
e2e: $(SYNCED) ## Run the end-to-end tests, on containers where a Docker engine has the images
	@DATAPLANE_TEST_SERVERS=$${DATAPLANE_TEST_SERVERS:-containers} $(BIN)/python -m pytest tests -m e2e

.PHONY: lint
lint: $(SYNCED) ## Check style, layers and sizes
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-cache

.PHONY: types
types: $(SYNCED) ## Check types, strictly
	@$(BIN)/mypy

.PHONY: format
format: $(SYNCED) ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: lock
lock: ## Resolve all dependencies anew and write requirements.lock
	@scripts/lock

.PHONY: build
build: $(SYNCED) ## Build the wheels of all packages into dist
	@"$$(scripts/uv)" build --quiet --all-packages

.PHONY: bench-tailer
bench-tailer: $(SYNCED) ## Measure the tailer: 1 GiB to an acknowledged stream, limits beside
	@$(BIN)/python bench/tailer.py
	@$(BIN)/python bench/tailer_idle.py

.PHONY: bench-emitter
bench-emitter: $(SYNCED) ## Measure a log call and a counter, the bus there, frozen and away, nine others beside
	@$(BIN)/python bench/emitter.py

.PHONY: bench-sink
bench-sink: $(SYNCED) ## Measure the sink: 1 M events into Elasticsearch, ready bulk bodies over bare connections beside
	@$(BIN)/python bench/sink.py

.PHONY: clean
clean: ## Stop the stack and remove what the project made here: stack, environment, caches
	@if [ -x $(BIN)/dataplane ]; then $(BIN)/dataplane clean --yes; fi
	@rm -rf .venv .uv .isolated .stack uv.lock dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/data
	@find packages tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
