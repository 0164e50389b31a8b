# Weir: `make run` starts everything, `make test` checks everything, `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# make PYTHON=/path/to/python3.11 names another one.
PYTHON ?= $(shell config/pick_python.sh)
PY := .venv/bin/python
# One more than there are cores: many tests wait for processes that they end or start.
WORKERS ?= 3
# Each process would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE
UP := $(if $(ONCE),--once) $(if $(NO_DEMO),--no-demo)

.PHONY: help install run test check chaos mutants bench format lock clean

help: ## List the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

install: ## Create .venv with everything pinned; nothing when nothing changed
	@python="$(PYTHON)"; \
	test -n "$$python" || { echo "Weir needs Python 3.11, and none was found. Install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	"$$python" -I config/install.py

run: install ## Start everything with the demo and serve; ONCE=1 stops after the sample run, PORT=n chooses the port
	@exec $(PY) manage.py up $(UP)

test: install ## Run the whole test suite
	@WEIR_ENV=test $(PY) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: install ## Lint, types, import directions, deploy checks, migrations drift, environment
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/lint-imports --no-cache
	$(PY) -m mypy .
	$(PY) manage.py makemigrations --check --dry-run
	$(PY) manage.py env_check
	$(PY) -m config.deploy_check

chaos: install ## Run the long fault campaigns
	@WEIR_ENV=test $(PY) -m pytest -m 'chaos or campaign' --timeout 3600 $(ARGS)

mutants: install ## Break the tenancy, vault and signature modules line by line, and count what the tests notice
	@.venv/bin/uv pip install --quiet --require-hashes --target .venv.mutants -r bench/mutants.lock
	@WEIR_ENV=test PYTHONPATH=$(CURDIR)/.venv.mutants $(PY) -m bench.mutants --workers $(WORKERS) $(ARGS)

bench: install ## Run the benchmarks: tables here, JSON in bench/results/
	@$(PY) -m bench $(ARGS)

format: install ## Format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

lock: install ## Pin the newest allowed versions in requirements.lock
	.venv/bin/uv pip compile --quiet --upgrade --no-header --no-emit-index-url --generate-hashes \
		--python-version 3.11 --extra dev pyproject.toml --output-file requirements.lock
	echo mutmut | .venv/bin/uv pip compile --quiet --upgrade --no-header --no-emit-index-url --generate-hashes \
		--python-version 3.11 --constraint requirements.lock - --output-file bench/mutants.lock

clean: ## Remove .venv, the local data and caches
	@test ! -x $(PY) || $(PY) -m config.embedded --destroy .data/test .data
	rm -rf .venv .venv.lock .venv.mutants .data mutants .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
