# Two commands suffice: `make book` and `make test`. Each creates .venv where it is missing.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

DATA ?= simulated
SIZE ?= small
SEED ?=
SWEEP ?= params/sweeps/history.yaml
WORKERS ?=
SCHEDULER ?=
QUICK ?=
PYTHON ?= python3
PYTEST_ARGS ?= -n 2 --dist loadfile
RUN := --data "$(DATA)" --size $(SIZE) $(SEED:%=--seed %)
BIN := .venv/bin
BENCH = $(if $(QUICK),--quick,--folder results/reference/benchmarks)
LAB := .venv/etc/jupyter/labconfig/default_setting_overrides.json

.PHONY: help book test lab sweep bench reference verify doctor lint format clean

help: ## show this list
	@echo "Usage: make TARGET [DATA=$(DATA)] [SIZE=smoke|small|paper|full] [SEED=0]"
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

book: .venv/.installed ## run the notebooks and build the book: _build/html/index.html
	$(BIN)/reclib run $(RUN)
	$(BIN)/jupyter-book build . -W -n --keep-going --all -q
	@$(BIN)/python -c 'from pathlib import Path; print("Open:", Path("_build/html/index.html").resolve().as_uri())'

# One thread per worker: two workers that each start a thread per core slow each other down.
test: lint ## lint, check types and run every test (PYTEST_ARGS="-k name" for some of them)
	OMP_NUM_THREADS=1 $(BIN)/pytest tests reclib --doctest-modules $(PYTEST_ARGS)

lab: .venv/.installed ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks

sweep: .venv/.installed ## run SWEEP=params/sweeps/NAME.yaml, here (WORKERS=2) or on SCHEDULER=tcp://…
	$(BIN)/reclib sweep "$(SWEEP)" $(WORKERS:%=--workers %) $(SCHEDULER:%=--scheduler %)

# Records what the page on speed shows. QUICK=1 only tries everything out, and records nothing.
# The last three need data under RECLIB_DATA, the very last a GPU, too; what they cannot measure
# stays as it was recorded, or the pages say that it was not measured.
bench: .venv/.installed ## measure speed and scale, on a machine that does nothing else
	$(BIN)/python benchmarks/speed.py $(BENCH)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/serve.py $(if $(QUICK),--size smoke --seconds 1,$(BENCH))
	$(BIN)/python benchmarks/scale.py $(BENCH)
	-$(BIN)/python benchmarks/models.py $(if $(QUICK),--data simulated --size smoke,$(BENCH))
	-$(BIN)/python benchmarks/weightings.py $(if $(QUICK),--data simulated --size smoke,$(BENCH))
	-$(BIN)/python benchmarks/finetune.py $(if $(QUICK),--size smoke,$(BENCH))

reference: .venv/.installed ## record a reference run of DATA at SIZE under results/reference
	$(BIN)/reclib reference $(RUN)

verify: .venv/.installed ## rerun DATA at SIZE and compare with the recorded reference run
	$(BIN)/reclib verify $(RUN)

doctor: .venv/.installed ## print what a bug report needs
	$(BIN)/reclib doctor

lint: .venv/.installed ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/.installed ## mend style and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove the built book and your runs; the environment and the caches stay
	rm -rf _build book/_executed results/runs

# The stamp is written last, so an installation that was interrupted is taken up again.
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not. If you have one under" \
	    "another name, say so: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "Python's venv module is missing. On Debian and Ubuntu:" \
	    "sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/jupytext-config --settings-file $(LAB) set-default-viewer python
	@touch $@
