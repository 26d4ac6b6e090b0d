# Two commands for everyone: `make run` and `make test`. Each needs only Python 3.11+ and make.
PYTHON ?= python3
UV     := .uv/bin/uv
BIN    := .venv/bin
ARGS   ?=

# The Node that CDK needs comes in a wheel.
WITH_NODE    := PATH="$(CURDIR)/$(BIN):$$PATH"
ENVIRONMENT  ?= example
DEPLOY_FLAGS  = --environment $(ENVIRONMENT) $(if $(YES),--yes) $(if $(TOPIC_CHECKED),--topic-checked) $(if $(DELETE_DATA),--delete-data) $(if $(SKIP_CANARY),--skip-canary)

.DEFAULT_GOAL := help
.PHONY: help run extras test test-python test-infra chaos chaos-long bench screenshots build wheel-test audit synth bootstrap diff deploy destroy canary status rehearse deploy-tool setup lint format docs requirements clean

help:  ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: .venv/run.stamp  ## run the whole pipeline on this machine (for example ARGS="--simulate 200")
	@$(BIN)/lmdp run $(ARGS)

test: lint  ## run every check that CI runs first: lint, types, tests
	$(WITH_NODE) $(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

test-python: .venv/test.stamp  ## run the pipeline's tests, without the infrastructure's
	$(BIN)/pytest --ignore=tests/infra -n 2 --dist loadgroup $(ARGS)

test-infra: .venv/test.stamp  ## run the tests of the stacks
	$(WITH_NODE) $(BIN)/pytest tests/infra -n 2 --dist loadgroup $(ARGS)

chaos: .venv/test.stamp  ## inject faults into real parts, and count what is left (ARGS="--size short")
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

chaos-long: .venv/test.stamp  ## run chaos with 20 million rows and a million fuzzed inputs
	@PYTHONPATH=tests $(BIN)/python -m chaos --size long $(ARGS)

bench: .venv/test.stamp  ## measure every stage against its floor and its peers (ARGS="--quick", "--only transform")
	@$(BIN)/python -m benchmarks $(ARGS)

screenshots: .venv/test.stamp  ## take the page's pictures in docs/images from a real run (needs chromium and chromium-driver)
	@$(BIN)/python tools/screenshots.py

audit: .venv/test.stamp  ## check packages and jars (pinned, hashed, licensed) and secrets (ARGS=--known also queries known weaknesses)
	@$(BIN)/python tools/audit.py $(ARGS)

# `host` builds for the Python of this machine: an emulator runs functions with that.
LMDP_BUILD_PLATFORM ?= lambda
build: .venv/test.stamp  ## build the functions' zips in dist/, reproducibly
	@$(BIN)/python tools/build_lambda.py handler --platform $(LMDP_BUILD_PLATFORM)
	@$(BIN)/python tools/build_lambda.py snowflake_setup --platform $(LMDP_BUILD_PLATFORM)

synth: .venv/test.stamp  ## write nine templates to cdk.out/<environment>, offline (ENVIRONMENT=example)
	@$(WITH_NODE) LMDP_ENVIRONMENT=$(ENVIRONMENT) $(BIN)/python -m infra.app

bootstrap: deploy-tool  ## prepare an account for an environment, once: CDK's resources, policies and boundary
diff: deploy-tool  ## show what a deployment would change
deploy: deploy-tool  ## deploy step by step; it stops where you have to act (ENVIRONMENT=prod)
destroy: deploy-tool  ## delete the stacks; data stays (DELETE_DATA=1 deletes it too)
canary: deploy-tool  ## send one marked row and wait until it lands
status: deploy-tool  ## show deployment status
bootstrap diff deploy destroy canary status:
	@$(WITH_NODE) $(BIN)/python tools/deploy.py $@ $(DEPLOY_FLAGS)

rehearse: deploy-tool .venv-rehearse/.stamp  ## run docs/deploy.md against an emulated AWS, from bootstrap to destroy and back
	@PYTHONPATH=tests $(BIN)/python -m rehearsal $(ARGS)

# The emulator has its own environment, because its requirements may differ from those pinned here.
.venv-rehearse/.stamp: requirements/rehearse.txt .venv/test.stamp
	@$(UV) venv --quiet --clear --python .venv/bin/python .venv-rehearse
	@$(UV) pip install --quiet --python .venv-rehearse --require-hashes -r requirements/rehearse.txt
	@touch $@

deploy-tool: .venv/test.stamp infra/cli/node_modules/.stamp

infra/cli/node_modules/.stamp: infra/cli/package-lock.json .venv/test.stamp
	@$(WITH_NODE) npm ci --prefix infra/cli --no-audit --no-fund --silent && touch $@

wheel-test: .venv/test.stamp  ## build the wheel and test it in a clean environment
	@tools/wheel_test.sh

extras: .venv/extras.stamp  ## install the packages for the AWS and Snowflake commands, in addition to those of `make run`

setup: .venv/test.stamp  ## set up the development environment, with commit hooks
	@if [ -d .git ]; then $(BIN)/pre-commit install >/dev/null; fi

lint: .venv/test.stamp  ## run ruff and mypy, both strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/test.stamp  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/test.stamp  ## generate cli.md, columns.md and cookbook.md, the tree in architecture.md, and the list of settings
	$(BIN)/python tools/docs.py

COMPILE := $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 $(UPGRADE)
requirements: $(UV)  ## pin all versions and hashes again (UPGRADE=--upgrade for newer ones)
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) requirements/bench.in -o requirements/bench.txt
	$(COMPILE) requirements/rehearse.in -o requirements/rehearse.txt
	$(COMPILE) pyproject.toml --extra local -o requirements/run.txt
	$(COMPILE) pyproject.toml --extra aws -o requirements/lambda.txt
	$(COMPILE) pyproject.toml --extra snowflake -c requirements/lambda.txt -c requirements/run.txt -o requirements/snowflake_setup.txt
	$(COMPILE) pyproject.toml --all-extras --group test --group infra -c requirements/run.txt -c requirements/lambda.txt -o requirements/test.txt

clean:  ## remove what make created; the warehouse in .lmdp stays
	rm -rf .venv .venv-rehearse .uv dist build cdk.out .pytest_cache .mypy_cache .ruff_cache .hypothesis

# uv is installed into this folder; nothing is installed system-wide.
$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"lmdp needs Python 3.11 or newer; {sys.executable} is {v.major}.{v.minor}. Try: make PYTHON=python3.12 …")'
	@echo "getting uv into .uv"
	@$(PYTHON) -m venv .uv || { echo "This Python has no venv module. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/extras.stamp: .venv/run.stamp requirements/lambda.txt requirements/snowflake_setup.txt
	@echo "installing requirements/lambda.txt and requirements/snowflake_setup.txt into .venv"
	@$(UV) pip install --quiet --python .venv --require-hashes -r requirements/lambda.txt -r requirements/snowflake_setup.txt
	@touch $@

# A step is done when its stamp exists: an interrupted install starts again.
.venv/%.stamp: requirements/%.txt requirements/build.txt pyproject.toml $(UV)
	@echo "installing requirements/$*.txt into .venv"
	@[ -x .venv/bin/python ] || $(UV) venv --quiet --python $(PYTHON) .venv
	@$(UV) pip install --quiet --python .venv --require-hashes -r requirements/$*.txt
	@$(UV) pip install --quiet --python .venv --no-deps --build-constraint requirements/build.txt --editable .
	@touch $@
