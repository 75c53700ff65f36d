# Every target sets up what it needs on a machine with Python 3.11 or newer, git and make.
#   SPEECH=1   with the GPL-3 speech engines of requirements-speech.txt
#   PY=python  with the Python you name (conda, Colab) and no set-up
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help demo live test check lab weights notebooks clean setup

REQUIREMENTS = requirements.txt requirements-bare.txt $(if $(filter 1,$(SPEECH)),requirements-speech.txt)
NBVAL = --nbval-lax --nbval-current-env --nbval-cell-timeout=300
# Environments are shared between clones, so the package is found here and not by an install.
export PYTHONPATH := $(CURDIR)

ifdef PY
setup:
else
PY := .venv/bin/python
setup:
	@for python in python3.11 python3.12 python3.13 python3; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	    2>/dev/null; then exec $$python tools/setup_venv.py $(REQUIREMENTS); fi; \
	done; \
	echo "Python 3.11 or newer with its venv module was not found: install it" \
	  "(Debian, Ubuntu: apt install python3-venv; macOS: brew install python@3.11)." >&2; \
	exit 1
endif

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' $(firstword $(MAKEFILE_LIST)) | \
	  awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

demo: setup  ## a talking face from shipped weights: outputs/demo.mp4, a strip beside its teacher, their speed
	@$(PY) -m livetalk_ref demo

live: SPEECH = 1
live: setup  ## talk with the avatar in a browser; PORT=8765
	@$(PY) -m livetalk_ref live $(if $(PORT),--port $(PORT))

test: setup  ## style, tests and notebooks; SPEECH=1: only what needs the speech engines
	@$(PY) -m ruff check --quiet .
ifeq ($(SPEECH),1)
	@$(PY) -m pytest -q -m speech tests
	@$(PY) -m pytest -q $(NBVAL) $(wildcard notebooks/08_*.ipynb)
else
	@$(PY) -m pytest -q $(NBVAL) tests $(wildcard notebooks)
endif

check: setup  ## the same without notebooks
	@$(PY) -m ruff check --quiet .
	@$(PY) -m pytest -q tests

lab: setup  ## JupyterLab with the notebooks
	@$(PY) -m jupyter lab notebooks

weights: setup  ## train every shipped checkpoint from nothing, resumable; QUICK=1: small, 15 minutes
	@$(PY) -m livetalk_ref weights $(if $(filter 1,$(QUICK)),--quick)

notebooks: setup  ## run every notebook once and keep its outputs, normalised for a commit
	@$(PY) tools/run_notebooks.py

clean:  ## remove caches, outputs and this clone's link to its environment; keeps runs/
	@rm -rf outputs build *.egg-info .pytest_cache .ruff_cache .hypothesis
	@if [ -L .venv ]; then rm .venv; fi
	@find livetalk_ref tests tools notebooks \
	  \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
