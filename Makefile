# foundationx: the menu. `make demo` and `make test` do all the set-up they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# One run uses all cores; more threads than cores slow torch down.
WORKERS ?= 2

.PHONY: help setup demo test test-fast lint format bench clean

help:  ## show this menu
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## make .venv from the pinned versions

$(STAMP): setup.cfg pyproject.toml requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c requirements/constraints.txt torch
	$(PIP) install -c requirements/constraints.txt -e '.[test,tensorboard]'
	$(PIP) install -c requirements/constraints.txt --no-deps --force-reinstall opencv-python-headless
	@touch $(STAMP)

demo: setup  ## the main job on generated radiographs: train, evaluate, report, export (about 7 minutes)
	$(BIN)/foundationx demo

test: setup lint  ## all tests: the fast suite, then the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-fast: setup  ## the fast suite alone (under 5 minutes on 2 cores)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not slow'

lint: setup  ## ruff: lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## ruff: mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## speed beside what people would use instead; writes docs/performance.md
	$(BIN)/python benchmarks/run_all.py

clean:  ## remove what the set-up and the runs made
	rm -rf $(VENV) work_dirs *.egg-info
