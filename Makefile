# make demo and make test set themselves up on a machine with git, make and Python >= 3.11.
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# No analytics leave the machine.
export DVC_NO_ANALYTICS := true
export GX_ANALYTICS_ENABLED := false
# Bytecode is written even where that is switched off: without it torch and Great Expectations take three times as long
# to import.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test quick lint lock clean
.DEFAULT_GOAL := demo

# The virtual environment is up to date when it is newer than the files that it was made from. uv resolves and installs
# the lock in seconds; pip takes minutes.
$(VENV)/.current: requirements.lock pyproject.toml
	@echo "setting up $(VENV): some 6 GB the first time, a few minutes"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(VENV)/bin/uv pip install --quiet --python $(VENV) --requirement requirements.lock
	@$(VENV)/bin/uv pip install --quiet --python $(VENV) --no-deps --editable .
	@touch $@

demo: $(VENV)/.current ## train on generated scenes, run over a bucket, publish; then on photographs: PHOTOS=FOLDER names yours
	@python -m demo $(if $(PHOTOS),"$(PHOTOS)")

# There is one worker for each core, with one thread: torch's threads on shared cores would wait for each other. Files
# with slow tests come first (tests/conftest.py), and keep this order.
PYTEST := OMP_NUM_THREADS=1 pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.current ## the whole test suite
	$(PYTEST)

quick: $(VENV)/.current ## the test suite without the slow tests: run it after every change
	$(PYTEST) -m "not slow"

lint: $(VENV)/.current ## check style, types, the direction of imports, templates and the Dockerfile
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	cfn-lint jobs/aws/template.yaml
	hadolint Dockerfile

lock: $(VENV)/.current ## renew requirements.lock from pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-emit-index-url --no-header \
	  --no-annotate pyproject.toml --output-file requirements.lock

clean: ## remove all build products; the environment and downloads (data/) stay
	rm -rf build models
