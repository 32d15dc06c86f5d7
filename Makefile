# The README's two commands are `make demo` and `make test`; both set up their own environment first.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready

# A small machine is slower, not faster, when every library starts its own threads inside our workers.
export OMP_NUM_THREADS ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak lint format lock wheel peers clean

help:  ## Show what can be done
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## Make .venv from the pinned lock file

# The lock is complete, so nothing is resolved here; a failed set-up leaves no stamp and starts again.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else 1)' || \
	  { echo "il7ml needs Python 3.11 to 3.13; $(PYTHON) is another. Set PYTHON=/path/to/python3.11"; exit 2; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## Train the two demonstration models, promote them and predict a patient (FAST=1: smaller resampling)
	$(BIN)/python -m il7ml demo $(if $(FAST),--fast)

test: $(STAMP)  ## Run all tests with coverage
	$(BIN)/python -m pytest --cov --cov-report=term

soak: $(STAMP)  ## Kill commands at 200 random moments, change 20,000 inputs (SOAK=folder to go on from)
	$(BIN)/python -m tests.fuzz_inputs --inputs 20000
	$(BIN)/python -m tests.soak --points 200 --out $(or $(SOAK),soak)

lint: $(STAMP)  ## Formatter, linter and type checker
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# NVIDIA's communication library (some 470 MB, several machines only) is left out; `make setup` installs with --no-deps.
lock:  ## Pin all dependencies anew (needs uv)
	uv pip compile --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-annotate --no-header \
	  --no-emit-package nvidia-nccl-cu12 --no-emit-package nvidia-nccl-cu13 \
	  --all-extras --upgrade --quiet -o requirements.lock pyproject.toml

wheel: $(STAMP)  ## Build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .

peers: .venv-peers/.ready  ## Make .venv-peers with other libraries' effect estimators, for benchmarks/

.venv-peers/.ready: benchmarks/peers-requirements.txt
	rm -rf .venv-peers
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:  ## Remove environment, caches and build products (mlruns/ stays)
	rm -rf $(VENV) .venv-peers dist build .mypy_cache .ruff_cache .pytest_cache .coverage
