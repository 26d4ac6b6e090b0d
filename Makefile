# Two commands for everyone: `make run` and `make test`. Each needs only Python 3.11+ and make.
PYTHON ?= python3
UV     := .uv/bin/uv
BIN    := .venv/bin
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-python build wheel-test setup lint format requirements clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: .venv/run.stamp  ## the whole pipeline on this machine (ARGS="--simulate 200" and the like)
	@$(BIN)/lmdp run $(ARGS)

test: test-python  ## every check that CI runs first: lint, types, tests

test-python: lint
	$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

build: .venv/test.stamp  ## the function's zip in dist/, the same bytes each time
	@$(BIN)/python tools/build_lambda.py

wheel-test: .venv/test.stamp  ## build the wheel, and try it in an environment of its own
	@tools/wheel_test.sh

setup: .venv/test.stamp  ## the environment for development, with the commit hooks
	@if [ -d .git ]; then $(BIN)/pre-commit install >/dev/null; fi

lint: .venv/test.stamp  ## ruff and mypy, both strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/test.stamp  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

COMPILE := $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 $(UPGRADE)
requirements: $(UV)  ## pin every version and hash anew (UPGRADE=--upgrade for newer ones)
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) pyproject.toml --extra local -o requirements/run.txt
	$(COMPILE) pyproject.toml --extra aws -o requirements/lambda.txt
	$(COMPILE) pyproject.toml --all-extras --group test -c requirements/run.txt -c requirements/lambda.txt -o requirements/test.txt

clean:  ## remove what make made; the warehouse in .lmdp stays
	rm -rf .venv .uv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

# uv comes into this folder, nothing is installed for the whole machine.
$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"lmdp needs Python 3.11 or newer; {sys.executable} is {v.major}.{v.minor}. Try: make PYTHON=python3.12 …")'
	@echo "getting uv into .uv"
	@$(PYTHON) -m venv .uv || { echo "This Python has no venv module. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# A step is done when its stamp is there: an interrupted install starts again.
.venv/%.stamp: requirements/%.txt requirements/build.txt pyproject.toml $(UV)
	@echo "installing requirements/$*.txt into .venv"
	@[ -x .venv/bin/python ] || $(UV) venv --quiet --python $(PYTHON) .venv
	@$(UV) pip install --quiet --python .venv --require-hashes -r requirements/$*.txt
	@$(UV) pip install --quiet --python .venv --no-deps --build-constraint requirements/build.txt --editable .
	@touch $@
