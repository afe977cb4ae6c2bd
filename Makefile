# Every verb sets up what it needs: a machine with make and a python3 of 3.11 or later is enough.

PYTHON    ?= python3
# A second Python to test on: one that really runs, not a version manager's empty shim.
PYTHON313 ?= $(shell for p in python3.13 $$HOME/.pyenv/versions/3.13*/bin/python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && { echo "$$p"; break; }; done)
# What a verb passes on: make test ARGS='-k hook', make serve ARGS='--port 9000'.
ARGS      ?=
# Test processes; more than cores, since most tests wait for a process or a socket.
WORKERS   ?= 3

SPREAD := --numprocesses=$(WORKERS) --dist=worksteal
UV   := uv==0.13.8
BIN  := .venv/bin
# What exists of the typed tree; mypy refuses a path that is missing or holds no Python.
TREE := $(wildcard agentrail profiles routes plugins tests app.py hatch_build.py) \
	$(shell find docs examples -name '*.py' 2>/dev/null)

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# The tests start hundreds of processes, each of which would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve test check mypy pyright structure fix docs lock bench clean

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: .venv/stamp ## Run the reference host; fetches its small local model the first time
	$(BIN)/agentrail local install --if-missing
	$(BIN)/agentrail serve $(ARGS)

test: .venv/stamp ## Run the tests with coverage, then again on Python 3.13 where there is one
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SPREAD) $(ARGS)
	$(BIN)/coverage combine --quiet
	@# A part of the tests covers a part of the code: only the whole is judged.
	$(BIN)/coverage report $(if $(ARGS),--fail-under=0)
	@if [ -n "$(PYTHON313)" ]; then \
		$(MAKE) --no-print-directory .venv-3.13/stamp && .venv-3.13/bin/python -m pytest $(SPREAD) $(ARGS); \
	elif [ "$$CI" = true ]; then \
		echo 'No Python 3.13 found, and CI skips nothing. Set PYTHON313.' >&2; exit 1; \
	else \
		echo 'No Python 3.13 found: its test run is skipped. PYTHON313=PATH names one.'; \
	fi

check: .venv/stamp ## Format, lint, types, architecture, docstrings, sizes
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	@# pyright takes longer than the others together.
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target pyright mypy structure

mypy: .venv/stamp
	$(BIN)/mypy $(TREE)

pyright: .venv/stamp
	$(BIN)/pyright

structure: .venv/stamp
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q tests/architecture

fix: .venv/stamp ## Format, and repair what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: .venv/stamp ## Run every snippet of the documentation
	$(BIN)/python -m pytest $(SPREAD) tests/docs $(ARGS)

bench: .venv/stamp ## Measure; prints ratios, judges nothing
	set -e; for f in tests/benchmarks/bench_*.py; do $(BIN)/python "$$f" $(ARGS); done

# The flags keep registry hosts and this machine's paths out of the file.  llmock asks for uvicorn's
# extras, with which the tests would not run on the HTTP parser that a host has without them.
lock: .venv/bin/uv ## Choose the dependencies anew; writes requirements.lock
	echo 'uvicorn>=0.54' | $(BIN)/uv pip compile pyproject.toml --output-file requirements.lock \
		--overrides /dev/stdin --quiet --upgrade --no-config \
		--universal --python-version 3.11 --all-extras --group dev --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links

clean: ## Delete environments, caches and build output; data/ stays
	rm -rf .venv .venv-3.13 build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is an interpreter ($(1)) with uv, the lock file, and this checkout.
.venv/bin/uv:
	$(call venv,$(PYTHON),.venv)

.venv-3.13/bin/uv:
	$(call venv,$(PYTHON313),.venv-3.13)

%/stamp: pyproject.toml requirements.lock hatch_build.py | %/bin/uv
	@echo 'Installing requirements.lock into $*'
	@$*/bin/uv pip install --quiet --no-config --python $*/bin/python --no-deps --require-hashes -r requirements.lock
	@# What builds this checkout is in the lock file too, so the build needs no environment, and no network, of its own.
	@$*/bin/uv pip install --quiet --no-config --python $*/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

.PRECIOUS: %/stamp %/bin/uv

define venv
@$(1) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or later is needed; this is {sys.version}")'
@$(1) -m venv --clear $(2)
@$(2)/bin/python -m pip install -qq --disable-pip-version-check '$(UV)'
endef
