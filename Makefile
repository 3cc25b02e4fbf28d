# Each target does its own set-up from Python 3.11+ and make; a second call is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tiny models are fastest, and their times steadiest, on one thread.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint types screenshots bench soak pocket clean help

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@echo "setting up $(VENV): about a minute, longer where torch must be downloaded"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)  ## Train the bundled tiny model and show what it learned
	$(BIN)/backprop-tui demo

test: $(READY) lint types  ## Lint, types, import contracts, tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(READY)  ## Style and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(READY)  ## Static types
	$(BIN)/mypy

screenshots: $(READY)  ## Draw screenshots/*.svg anew from a real demo run
	$(BIN)/python -m pytest tests/tui/test_screenshots.py --update-screenshots

bench: $(READY)  ## Print the figures README quotes
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/data_scale.py
	$(BIN)/python benchmarks/encoding.py
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.evaluation
	$(BIN)/python -m benchmarks.labelflip
	$(BIN)/python -m benchmarks.watching

soak: $(READY)  ## Slow tests; forty runs killed and resumed; 50,000 damaged files
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m benchmarks.soak --kills 40 --write
	$(BIN)/python -m benchmarks.fuzz --cases 50000 --write

pocket: $(READY)  ## Pretrain the bundled tiny model anew (about ten minutes)
	$(BIN)/python scripts/build_pocket.py

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
