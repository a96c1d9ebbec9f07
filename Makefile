# What a developer does with the repository. `make` alone lists it.
#
# Everything runs in .venv, which is made on first use from requirements.lock and again when the
# lock or setup.py changes. PYTHON=… chooses the interpreter (3.11 or later).

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header

# The first that runs and is recent enough. (A name on PATH may be a shim with nothing behind it.)
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo "$$python" && break; done)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo ui test bench docs pictures lint format lock audit clean

help:  ## list what there is to make
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: $(INSTALLED)  ## a sample district, its delivery, the import, its summary
	@$(BIN)/roster demo

ui: $(INSTALLED)  ## Dagster's UI and daemon, on http://127.0.0.1:3000
	@$(BIN)/roster ui

test: $(INSTALLED)  ## all tests
	@$(BIN)/python -m pytest

# Without options all sizes, five rounds, kept with the project: two to three hours.
BENCH ?= --save

bench: $(INSTALLED)  ## imports beside a floor (BENCH="--students 1000 --rounds 1": a small one)
	@$(BIN)/python -m benchmarks.imports $(BENCH)

docs: $(INSTALLED)  ## the pages of docs/ and the README that are written from the code
	@$(BIN)/python -m docs.generate

pictures: $(INSTALLED)  ## the pictures of docs/pictures anew (a minute; needs Chromium)
	@$(BIN)/python -m docs.pictures

lint: $(INSTALLED)  ## style, types, and which part may import which
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check || { $(BIN)/ruff format --check; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(INSTALLED)  ## mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format --quiet

lock: $(BIN)/python  ## both lock files anew from setup.py (LOCK=--upgrade takes the newest)
	@$(PIP_INSTALL) uv
	@printf '%s\n' 'setuptools>=77' wheel | $(UV_COMPILE) setup.py - --extra dev --extra bench --extra celery --extra s3 \
		$(LOCK) --output-file requirements.lock
	@printf '%s\n' 'setuptools>=77' wheel | $(UV_COMPILE) setup.py - --extra kubernetes --extra celery --extra s3 \
		$(LOCK) --constraints requirements.lock --output-file deploy/container/requirements.lock

audit: $(INSTALLED)  ## known weaknesses of what both lock files name (asks pypi.org)
	@$(PIP_INSTALL) pip-audit
	@$(BIN)/pip-audit --disable-pip --require-hashes --progress-spinner off \
		--requirement requirements.lock --requirement deploy/container/requirements.lock

clean:  ## remove .venv, caches and build leftovers (never .roster, the data)
	@rm -rf $(VENV) .tmp_dagster_home_* build dist *.egg-info \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .coverage htmlcov
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
		echo 'No Python 3.11 or later found (tried python3.11, python3.12, python3.13, python3).' >&2; \
		echo 'Install one, or name it: make PYTHON=/path/to/python3.11 …' >&2; \
		exit 1; \
	fi; \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "%s is Python %d.%d; 3.11 or later is needed." % (sys.executable, *sys.version_info[:2]))' \
	&& echo "Making $(VENV) with $$("$$python" --version)" \
	&& { "$$python" -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }; }

# Exactly what the lock names: --no-deps, since it names everything.
$(INSTALLED): requirements.lock setup.py | $(BIN)/python
	@echo 'Installing into $(VENV) from requirements.lock (a minute or two, once)'
	@$(PIP_INSTALL) --no-deps --require-hashes -r requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@
