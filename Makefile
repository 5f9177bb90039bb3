# Two commands on a fresh machine: `make demo` and `make test`. Everything happens in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-nightly test-all check lint types docs clean

demo: .venv/installed  ## train on the Gaussian grid, a minute on two cores, and show the result
	$(BIN)/otgan run sinkhorn-grid

test: .venv/installed-dev  ## what passes in minutes; tests of MNIST and CIFAR-10 where TFDS_DATA_DIR says where they are
	$(BIN)/python -m pytest -n 2 -m "not slow and not nightly"

test-slow: .venv/installed-dev  ## the rest of the gate: every family trained, resumed, killed and judged
	$(BIN)/python -m pytest -n 2 -m "slow and not nightly"

test-nightly: .venv/installed-ray  ## what takes a minute each, Ray, and a browser: chromium must be installed
	$(BIN)/python -m pytest -n 2 -m nightly

test-all: .venv/installed-ray  ## the whole suite at once
	$(BIN)/python -m pytest -n 2

check: lint types docs test test-slow  ## the one gate

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: .venv/installed-docs  ## the documentation as a site, strictly; python3 -m http.server -d site shows it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "documentation in site/index.html"

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/installed-ray: .venv/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ray]'
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv site dist build *.egg-info .pytest_cache .ruff_cache
