# `make venv` installs everything into .venv, once; it does nothing while pyproject.toml and constraints.txt stay as they are.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all check keys docs bench clean

help:
	@echo "make demo   run FED-PUB, FedAvg and local-only on the embedded data set and compare them"
	@echo "make test   run the tests, all but those that take minutes each"
	@echo "make test-all   run all of them"
	@echo "make check  lint, format, types and layers, as CI does"
	@echo "make keys   write the keys into docs/configuration.md and pyproject.toml, from their descriptions"
	@echo "make docs   make the documentation's site, in docs/_build/html"
	@echo "make bench  measure accuracy, speed and memory (hours; see docs/results.md)"
	@echo "make venv   only install, into .venv"

venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "FedSieve needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

DEMO := --partition metis-overlapping --num-clients 20

demo: venv
	@rm -rf runs/demo
	@$(BIN)/fedsieve run --algorithm fed-pub $(DEMO) -s fed-pub.tau=10 --out runs/demo/fed-pub
	@$(BIN)/fedsieve run --algorithm fed-avg $(DEMO) --out runs/demo/fed-avg
	@$(BIN)/fedsieve run --algorithm local $(DEMO) --out runs/demo/local
	@$(BIN)/fedsieve report runs/demo/fed-pub runs/demo/fed-avg runs/demo/local --out runs/demo/comparison.html

test: venv
	$(BIN)/pytest -n 2 --dist loadgroup

test-all: venv
	$(BIN)/pytest -n 2 --dist loadgroup -m ""

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

keys: venv
	$(BIN)/python docs/write_keys.py

docs: venv
	$(BIN)/python -m sphinx --builder html --quiet --fail-on-warning --keep-going docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: venv
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/profile_round.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/engines.py
	$(BIN)/python benchmarks/rounds_by_engine.py
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/deployment.py
	$(BIN)/python benchmarks/lean_grid.py
	$(BIN)/python benchmarks/mixing.py
	$(BIN)/python benchmarks/plain_local.py
	$(BIN)/python benchmarks/codec.py
	$(BIN)/python benchmarks/codec_in_runs.py
	$(BIN)/python benchmarks/synflow.py
	$(BIN)/python benchmarks/client_step.py
	$(BIN)/python benchmarks/batched.py
	$(BIN)/python benchmarks/mask_capacity.py
	$(BIN)/python benchmarks/mask_families.py
	$(BIN)/fedsieve sweep digits
	$(BIN)/fedsieve sweep sparsity
	$(BIN)/fedsieve sweep accuracy
	$(BIN)/fedsieve sweep frozen-gain
	$(BIN)/fedsieve sweep global-mask
	$(BIN)/fedsieve sweep images-tuning
	$(BIN)/fedsieve sweep ablation
	$(BIN)/fedsieve sweep uplink
	$(BIN)/fedsieve sweep images

clean:
	rm -rf .venv build dist docs/_build docs/reference *.egg-info .pytest_cache .mypy_cache .ruff_cache
