# Two commands on a fresh machine: `make demo` and `make test`. Everything happens in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-all test-lowest test-newest check lint types docs reproduce bench clean

demo: .venv/installed  ## train on the Gaussian grid, a minute on two cores, and show the result
	$(BIN)/otgan run sinkhorn-grid

test: .venv/installed-dev  ## what passes in minutes; tests of MNIST and CIFAR-10 where TFDS_DATA_DIR says where they are
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: .venv/installed-ray  ## the rest: every family trained, killed and judged, Ray, and reports in a browser (chromium)
	$(BIN)/python -m pytest -n 2 -m slow

test-all: .venv/installed-ray  ## both at once
	$(BIN)/python -m pytest -n 2

test-lowest: .venv-lowest/installed  ## the same tests with the lowest versions that pyproject.toml allows
	.venv-lowest/bin/python -m pytest -n 2 -m "not slow" -o filterwarnings=default

test-newest: .venv-newest/installed  ## the same tests with the newest versions that there are
	.venv-newest/bin/python -m pytest -n 2 -m "not slow" -o filterwarnings=default

check: lint types docs test test-slow  ## the one gate

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: .venv/installed-docs  ## the documentation as a site, strictly; python3 -m http.server -d site shows it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "documentation in site/index.html"

reproduce: .venv/installed  ## a claim of the papers, as in `make reproduce CLAIM=C3`, or all; or a card, as in `make reproduce RECIPE=sinkhorn-grid`; goes on where it was stopped
	$(BIN)/python scripts/$(if $(RECIPE),measure_recipe.py $(RECIPE),reproduce.py $(CLAIM))

bench: .venv/installed-bench  ## beside other libraries, on a quiet machine: into bench/, goes on where it was stopped; docs/speed.md
	$(BIN)/python -m scripts.bench.oracle
	$(BIN)/python -m scripts.bench.networks

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

.venv/installed-bench: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

TOOLS := beartype|build|hatchling|hypothesis|playwright|POT|pyright|pytest|pytest-xdist|ruff

.venv-lowest/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	grep -E '^($(TOOLS))==' constraints.txt > .venv-lowest/tools.txt
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --constraint .venv-lowest/tools.txt --editable '.[dev]'
	touch $@

.venv-newest/installed: pyproject.toml
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-lowest .venv-newest site dist build *.egg-info .pytest_cache .ruff_cache
