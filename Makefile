# Everything a developer or a stranger types. Each target works from a fresh clone.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: help run setup build test check prove bench bench-rivals fmt lock migrate clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 16

run: $(VENV)/.runtime static/dist/.built ## start one node on embedded defaults at http://127.0.0.1:8080
	@$(PY) -m realtime serve

setup: $(VENV)/.dev node_modules/.installed ## install what developing needs
build: static/dist/.built ## build the studio into static/dist

test: $(VENV)/.dev static/dist/.built ## install servers and browser where needed, run every test
	@tests/harness/machine.sh
	@$(PY) -m pytest

check: $(VENV)/.dev node_modules/.installed static/src/generated/schema.ts ## formatter, linter, types, layers
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(PY) -m pytest -q tests/test_layers.py
	@npx tsc --noEmit -p static/tsconfig.json

fmt: $(VENV)/.dev ## format and mend what can be mended
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

prove: $(VENV)/.dev static/dist/.built ## the long proofs, with tables into docs/proof
	@tests/harness/machine.sh
	@LUNEO_PROVE=full $(PY) -m pytest -m prove

bench: $(VENV)/.dev static/dist/.built ## benchmarks, one JSON line each, then a table
	@tests/harness/machine.sh
	@$(PY) -m bench

bench-rivals: $(VENV)/.dev bench/rivals/node_modules/.installed ## beside other servers, under one load (ARGS='--plans join --rounds 1')
	@$(PY) -m bench.rivals $(ARGS)

migrate: $(VENV)/.runtime ## bring the database to the newest schema
	@$(PY) -m realtime migrate

lock: $(VENV)/.dev ## resolve the locks anew from pyproject.toml
	@$(VENV)/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	@$(VENV)/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra dev pyproject.toml -o requirements-dev.lock

clean: ## remove what was built
	@rm -rf $(VENV) node_modules bench/rivals/node_modules static/dist static/src/generated

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Luneo Live needs Python 3.11 or newer; set PYTHON=…"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }

$(VENV)/.runtime: requirements.lock | $(VENV)/bin/python
	@test -e $(VENV)/.dev || $(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(VENV)/bin/python
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@ $(VENV)/.runtime

node_modules/.installed: package-lock.json
	@npm ci --silent --no-audit --no-fund
	@touch $@

bench/rivals/node_modules/.installed: bench/rivals/package-lock.json
	@npm ci --silent --no-audit --no-fund --prefix bench/rivals
	@touch $@

static/src/generated/schema.ts: canvas/schema.json canvas/products.json canvas/codegen.py | $(VENV)/.runtime
	@$(PY) -m canvas.codegen

static/dist/.built: node_modules/.installed static/src/generated/schema.ts $(shell find static -name node_modules -prune -o -path static/dist -prune -o -type f -print 2>/dev/null)
	@npx vite build --logLevel warn --config static/vite.config.ts
	@touch $@
