# Each target but bench-gpu does its own set-up on a fresh machine: Python 3.11 or 3.12 with venv, git, and a package index.
SHELL := /bin/bash -e -o pipefail
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PEERS := .regraft/peers/.installed
# Nothing that these targets start reports home.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false
export BENTOML_DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1

.PHONY: demo test check lint types contracts bench bench-peers bench-text-peers bench-sound-peers bench-gpu lock setup clean

demo: $(INSTALLED)  ## the whole loop on real handwritten digits, in .regraft/demo
	$(BIN)/regraft demo $(DEMO_ARGS)

test: check  ## everything: what `check` does, then the tests that start real servers
	$(BIN)/pytest -q -n 2 --dist loadfile -m "slow" --durations=15 $(PYTEST_ARGS)

check: lint types contracts  ## the fast tier: lint, types, import contracts, unit tests
	$(BIN)/pytest -q -n 2 -m "not slow" $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

contracts: $(INSTALLED)
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## every benchmark that needs no other data; results in benchmarks/results/
	$(BIN)/python -m benchmarks

bench-peers: $(PEERS)  ## training beside fastai and a plain timm loop, which get an environment of their own; needs ../shared
	$(BIN)/python -m benchmarks.transfer

bench-text-peers: $(PEERS)  ## the same on texts, beside the Trainer of transformers and setfit; needs ../shared
	$(BIN)/python -m benchmarks.text_transfer

bench-sound-peers: $(PEERS)  ## the same on spoken digits of speakers never heard, beside fastai on spectrograms; needs ../shared
	$(BIN)/python -m benchmarks.sound_transfer

bench-gpu:  ## fine-tuning images/s on a GPU; needs torch, timm, pydantic, scipy and pandas, nothing of Regraft installed
	$(PYTHON) -m benchmarks.gpu_fine_tune $(BENCH_ARGS)

$(PEERS): $(INSTALLED) benchmarks/peers-requirements.txt
	$(BIN)/python -m venv --clear .regraft/peers
	VIRTUAL_ENV=.regraft/peers $(BIN)/uv pip install -q -r benchmarks/peers-requirements.txt
	touch $@

lock:  ## resolves the newest versions that pyproject.toml allows; no index address is written
	$(PYTHON) -m pip install -q "uv>=0.9,<1"
	$(PYTHON) -m uv pip compile pyproject.toml --extra dev --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --build-constraints build-constraints.txt --upgrade -q -o requirements.lock

setup: $(INSTALLED)

$(INSTALLED): requirements.lock build-constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "Got $$($(PYTHON) --version 2>&1). Allowed: Python 3.11 or 3.12 with venv and pip (Debian: apt install python3-venv)." \
	  "Next: install it, or name another with make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check "uv>=0.9,<1"
	VIRTUAL_ENV=.venv $(BIN)/uv pip install -q --require-hashes --build-constraints build-constraints.txt -r requirements.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	touch $@

clean:  ## removes the environment and what can be made again
	rm -rf .venv .regraft .mypy_cache .ruff_cache .pytest_cache
