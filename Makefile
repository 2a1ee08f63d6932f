# Everything happens in .venv; nothing outside of this folder is touched, but for Debian packages that `make test` needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# Two workers: each that needs an Orthanc starts its own.
WORKERS ?= 2
# More words for the benchmark, such as --workload a --runs 3.
BENCH ?=

# Debian puts servers where the path of a user who is not root does not lead.
export PATH := $(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help demo test siege lint types check bench guard format clean orthanc fuse chromium schedulers

help:
	@echo "make demo    see it at work, without the internet"
	@echo "make test    run all tests (installs Orthanc, libfuse, Chromium, cron for them where it may)"
	@echo "make siege   crashes, power cuts, sick disks and faults that stay: the long tests"
	@echo "make lint    ruff: rules and format"
	@echo "make types   mypy, strict"
	@echo "make check   lint, types and test"
	@echo "make bench   measure beside curl, s5cmd and others (installs them; two hours)"
	@echo "make guard   see that it is not many times slower than curl (10 s)"
	@echo "make format  let ruff format"
	@echo "make clean   remove .venv and caches"

demo: $(VENV)/.package
	@$(BIN)/dicomhaul demo

test: $(VENV)/.tests orthanc fuse chromium schedulers
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

siege: $(VENV)/.tests orthanc fuse
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m long

lint: $(VENV)/.tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(VENV)/.tests
	@$(BIN)/mypy

check: lint types test

bench: $(VENV)/.bench orthanc
	@.ci/install-bench
	@$(BIN)/python -m benchmarks.run $(BENCH)
	@$(BIN)/python -m benchmarks.wire
	@$(BIN)/python -m benchmarks.growth

guard: $(VENV)/.tests
	@.ci/install-bench
	@$(BIN)/python -m benchmarks.guard

format: $(VENV)/.tests
	@$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

orthanc:
	@.ci/install-orthanc

fuse:
	@.ci/install-fuse

chromium:
	@.ci/install-chromium

schedulers:
	@.ci/install-schedulers

$(VENV)/.package: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"dicomhaul needs Python 3.11 or newer; $(PYTHON) is {sys.version.split()[0]}. Name another: make PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing dicomhaul into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.tests: $(VENV)/.package pyproject.toml
	@echo "Installing what the tests need ..."
	@$(PIP) install --editable ".[test,lint]"
	@touch $@

$(VENV)/.bench: $(VENV)/.package pyproject.toml
	@echo "Installing what the benchmark needs ..."
	@$(PIP) install --editable ".[bench]"
	@touch $@
