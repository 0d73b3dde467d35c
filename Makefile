# foundationx. `make demo` and `make test` do all the set-up they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.installed-base
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# One run uses all cores; more threads than cores slow torch down.
WORKERS ?= 2
# trackio is left out: it wants an older pillow than requirements/constraints.txt
EXTRAS := test,docs,backbones,conformal,dicom,dicom-out,exports,flare,hub,mlflow,onnx,portal,ray,release,submitit,tensorboard,wandb

# mmdetection's and mmcv's lists name these, and nothing of ours imports them (0.4 GB with what they need). mmdet.apis
# does, which runs exported detectors: the whole set-up keeps them.
UNUSED := imagecorruptions-imaug imageio imaug lazy-loader llvmlite numba scikit-image tifffile
# opencv-python wants libGL: the headless build of the same version takes its place.
define headless
	$(PIP) uninstall -y opencv-python
	$(PIP) install -c requirements/constraints.txt --no-deps --force-reinstall opencv-python-headless
endef

.PHONY: help setup demo test test-fast lint format docs bench dist clean

help:  ## show this menu
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## create .venv from the pinned versions

$(BASE): setup.cfg pyproject.toml requirements/constraints.txt
	@echo 'set-up: the package with what it needs goes into $(VENV) (66 packages, 1.6 GB)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c requirements/constraints.txt torch
	$(PIP) install -c requirements/constraints.txt -e .
	$(PIP) uninstall -y $(UNUSED)
	$(headless)
	@touch $(BASE)

$(STAMP): $(BASE)
	@echo 'set-up: extras, tools of tests and of the documentation go into $(VENV) (2.1 GB more)'
	$(PIP) install -c requirements/constraints.txt -e '.[$(EXTRAS)]'
	$(headless)
	@touch $(STAMP)

demo: $(BASE)  ## train on generated radiographs, evaluate, report, export, predict (4 and a half minutes on two cores, set-up included)
	@echo 'demo: generates radiographs, trains on them for two to three minutes on two cores, then evaluates, exports and predicts.'
	@echo 'demo: everything is written to work_dirs/demo; the report is work_dirs/demo/run/report.html.'
	$(BIN)/foundationx demo

test: setup lint  ## all tests: the fast suite, then the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-fast: setup  ## the fast suite alone (under 5 minutes on 2 cores)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not slow'

lint: setup  ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## fix style and format where that is possible
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## build the documentation as a site in docs/_site (about 2 minutes)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_site
	@echo 'open docs/_site/index.html'

bench: setup  ## measure speed against common alternatives; writes docs/performance.md
	$(BIN)/python benchmarks/run_all.py

dist: setup  ## build wheel, sdist and bill of materials in dist
	$(BIN)/python tools/build_release.py

clean:  ## remove what the set-up, the runs and the documentation wrote
	rm -rf $(VENV) work_dirs docs/_site docs/reference *.egg-info
