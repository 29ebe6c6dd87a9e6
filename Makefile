# make demo   set up, then run the whole workflow on the embedded sample
# make photos run on your own photographs, PERSON/PICTURE.jpg: make photos PHOTOS=folder
# make test   set up, then pass every check and test
# make unit-quick   the tests that take less than ten seconds each
# make real   run on a folder of real photographs and recognisers: make real REAL=path
# make doctor say what is missing for a run: make doctor CONFIG=mine.yaml VARIANT=profiles/slurm-besteffort
# make test-slurm   pass the tests on a real Slurm of one node, installed (as root, from Debian) and started for them
# make siege  attack what is read and written for some hours: files, names, settings, kills (make test has short forms)
# make gpu    pass the tests that need a GPU, and time the engine on it: writes tests/benchmarks/gpu_<card>.txt
# make help   every target

# The environment is made by the first of these that is Python 3.11 to 3.14.
PYTHON ?= python3.11 python3.12 python3.13 python3.14 python3
CORES ?= $(shell nproc 2>/dev/null || echo 2)
PROFILE ?= profiles/slurm
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --profile profiles/laptop --cores $(CORES)
# Files of tests side by side in their order, the dearest first, each process with one thread of PyTorch.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
    --max-worker-restart 0
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Where this account has no home, or cannot write there, what programs cache lies here (leam/surroundings.py).
CACHE := $(CURDIR)/.snakemake/cache
WRITABLE := $(shell for path in "$$HOME/.cache/snakemake" "$$HOME/.cache" "$$HOME"; do \
    [ -e "$$path" ] && { [ -w "$$path" ] && echo yes; exit; }; done)
ifneq ($(WRITABLE),yes)
HOME ?= $(CACHE)
XDG_CACHE_HOME ?= $(CACHE)
MPLCONFIGDIR ?= $(CACHE)/matplotlib
TRITON_CACHE_DIR ?= $(CACHE)/triton
export HOME XDG_CACHE_HOME MPLCONFIGDIR TRITON_CACHE_DIR
endif

ifneq ($(filter photos,$(MAKECMDGOALS)),)
ifndef PHOTOS
$(error Say where the photographs are, PERSON/PICTURE.jpg: make photos PHOTOS=folder)
endif
endif

ifneq ($(filter real,$(MAKECMDGOALS)),)
ifndef REAL
$(error Say where the photographs and recognisers are: make real REAL=path; docs/examples/real.yaml describes that folder)
endif
endif

.PHONY: help setup demo photos calibration real doctor test test-slurm siege gpu config design lint unit unit-quick dry-run verify-sample sample-weights format clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: .venv/.run

.venv/bin/python:
	@for python in $(PYTHON); do \
	    if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then \
	        echo "The environment .venv is made by $$python ($$($$python --version))"; \
	        exec $$python -m venv .venv; \
	    fi; \
	done; \
	echo "None of $(PYTHON) is Python 3.11 to 3.14: install one, or say where it is: make PYTHON=/path/to/python3" >&2; \
	exit 1

.venv/.run: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

.venv/.photos: requirements.txt requirements-photos.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-photos.txt
	@touch .venv/.run $@

.venv/.dev: requirements.txt requirements-photos.txt requirements-dev.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch .venv/.run .venv/.photos $@

demo: .venv/.run
	$(SNAKEMAKE)
	$(SNAKEMAKE) --report results/report.html
	@echo; echo "Report:  results/report.html"; echo "Tables:  results/tables/"; echo "Figures: results/figures/"; echo "Explorer: results/explorer/index.html"
	@echo; cat results/verdict.txt

# The settings of make photos, guessed when there are none: make photos PHOTOS=folder MINE=other.yaml. Results are in
# results/ and the name of this file.
MINE ?= mine.yaml
RESULTS_OF_MINE = results/$(shell basename "$(MINE)" .yaml)

photos: .venv/.photos
	@PYTHONPATH=workflow_scripts $(BIN)/python -m leam.guess --output "$(MINE)" -- "$(PHOTOS)"
	@echo
	@PYTHONPATH=workflow_scripts $(BIN)/python -m leam.doctor --profile profiles/laptop --cores $(CORES) --configfile "$(MINE)"
	@echo
	$(SNAKEMAKE) --configfile "$(MINE)"
	$(SNAKEMAKE) --configfile "$(MINE)" --report "$(RESULTS_OF_MINE)/report.html"
	@echo; echo "Report:   $(RESULTS_OF_MINE)/report.html"; echo "Tables:   $(RESULTS_OF_MINE)/tables/"
	@echo "Figures:  $(RESULTS_OF_MINE)/figures/"; echo "Explorer: $(RESULTS_OF_MINE)/explorer/index.html"
	@echo; cat "$(RESULTS_OF_MINE)/verdict.txt"

# make calibration      the calibration's heavier form, about an hour: more people, every placement and target
calibration: .venv/.run
	$(SNAKEMAKE) --configfile docs/examples/calibration.yaml -- results/calibration_full/figures/calibration.png
	@echo; echo "Table:  results/calibration_full/tables/calibration.csv"; echo "Figure: results/calibration_full/figures/calibration.png"

real: .venv/.run
	$(SNAKEMAKE) --configfile docs/examples/real.yaml --config root="$(REAL)"
	$(SNAKEMAKE) --configfile docs/examples/real.yaml --config root="$(REAL)" --report results/real/report.html
	@echo; echo "Report:  results/real/report.html"; echo "Tables:  results/real/tables/"; echo "Maps:    results/real/maps/"

doctor: .venv/.run
	@PYTHONPATH=workflow_scripts $(BIN)/python -m leam.doctor --profile "$(PROFILE)" \
	    $(if $(VARIANT),--workflow-profile "$(VARIANT)") $(if $(CONFIG),--configfile "$(CONFIG)")

test: lint dry-run unit

test-slurm: .venv/.dev
	tests/slurm/run.sh

siege: .venv/.dev
	$(PYTEST) -m siege

gpu: SHELL := bash
gpu: .venv/.dev
	$(BIN)/python -m pytest tests/test_gpu.py
	set -o pipefail; card=$$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr ' /' '__'); \
	    PYTHONPATH=workflow_scripts:tests $(BIN)/python tests/benchmarks/bench_gpu.py | tee tests/benchmarks/gpu_$$card.txt

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

dry-run: .venv/.dev
	$(BIN)/snakemake -n --quiet

unit: .venv/.dev
	$(PYTEST)

unit-quick: .venv/.dev
	$(PYTEST) -m "not slow and not slurm"

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile rules

# make config           write config.yaml anew from rules/schemas/config.schema.yaml, where settings are described
config: .venv/.run
	PYTHONPATH=workflow_scripts $(BIN)/python -m leam.defaults

# make design           draw the library's imports anew in docs/design.md
design: .venv/.run
	PYTHONPATH=workflow_scripts $(BIN)/python tests/test_design.py

# make verify-sample    measure the verification AUC of the recognisers that ship, on held-out rendered people
verify-sample: .venv/.run
	PYTHONPATH=workflow_scripts $(BIN)/python -m leam.sample.training verify

# make sample-weights   train those recognisers anew
sample-weights: .venv/.run
	PYTHONPATH=workflow_scripts $(BIN)/python -m leam.sample.training train

clean:
	rm -rf results/* .snakemake
	git checkout -q -- results/README.md
