# make demo   read the expressions in two real photographs (no torch; about 400 MB go into .venv)
# make lowest the same with the lowest versions that pyproject.toml allows (as much again goes into .venv-lowest)
# make docs   build the documentation into site/ (100 MB go into .venv-docs)
# make test   everything that CI checks (torch; about 6 GB go into .venv-dev)

PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$python && break; done)
VENV = $(if $(PYTHON),$(PYTHON) -m venv,$(error there is no Python 3.10 or newer: run make PYTHON=/path/to/python))
# The newest versions that this project was tested with. pyproject.toml sets no upper bound.
TORCH ?= "torch<=2.14.1" "torchvision<=0.29.1"

DEMO := .venv/bin
LOWEST := .venv-lowest/bin
DEV := .venv-dev/bin
DOCS := .venv-docs/bin
# Take the file of that name out of the wheel in a folder.
TAKE := import pathlib, sys, zipfile; \
	folder, target = map(pathlib.Path, sys.argv[1:]); \
	wheel = zipfile.ZipFile(next(folder.glob("*.whl"))); \
	target.write_bytes(wheel.read(next(name for name in wheel.namelist() if name.endswith("/" + target.name))))
# pyproject.toml's lower bounds as pip's constraints: "numpy>=1.26" becomes numpy==1.26.
BOUNDS := import pathlib, re; \
	pairs = re.findall("\"([\w-]+)>=([\w.]+)", pathlib.Path("pyproject.toml").read_text()); \
	print(*map("==".join, pairs), sep="\n")
SOURCES := $(shell find msanet -type f -not -name '*.pyc')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo lowest docs dev test lint format clean

help:
	@sed -n 's/^# make/make/p' Makefile

demo: .venv/stamp demo/photos/grace_hopper.jpg demo/photos/astronaut.png
	rm -f demo/results.jsonl
	$(DEMO)/msanet recognize demo/photos/grace_hopper.jpg demo/photos/astronaut.png --output demo
	@echo "The annotated pictures are in demo/."

lowest: .venv-lowest/stamp demo/photos/grace_hopper.jpg demo/photos/astronaut.png
	$(LOWEST)/msanet recognize --help > .venv-lowest/help
	$(LOWEST)/msanet models
	for model in accurate fast; do \
		rm -f .venv-lowest/$$model/results.jsonl; \
		$(LOWEST)/msanet recognize demo/photos/*.* --model $$model --output .venv-lowest/$$model --explain || exit; done

docs: .venv-docs/stamp
	NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs build --quiet
	@echo "The site is in site/."

dev: .venv-dev/stamp

test: lint
	$(DEV)/pytest -q -n auto

lint: .venv-dev/stamp
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy

format: .venv-dev/stamp
	$(DEV)/ruff check --fix .
	$(DEV)/ruff format .

clean:
	rm -rf .venv .venv-lowest .venv-docs .venv-dev demo site dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/stamp: pyproject.toml $(SOURCES)
	test -x $(DEMO)/pip || $(VENV) .venv
	$(DEMO)/pip install --quiet .
	touch $@

.venv-lowest/stamp: pyproject.toml $(SOURCES)
	rm -rf .venv-lowest
	$(VENV) .venv-lowest
	$(LOWEST)/python -c '$(BOUNDS)' > .venv-lowest/constraints.txt
	$(LOWEST)/pip install --quiet --constraint .venv-lowest/constraints.txt .
	touch $@

.venv-docs/stamp: pyproject.toml
	test -x $(DOCS)/pip || $(VENV) .venv-docs
	$(DOCS)/pip install --quiet --editable ".[docs]"
	touch $@

.venv-dev/stamp: pyproject.toml
	test -x $(DEV)/pip || $(VENV) .venv-dev
	$(DEV)/pip install --quiet --editable ".[dev]" $(TORCH)
	touch $@

# Portraits in the public domain (US Navy, NASA), which two packages carry as sample data. One file is taken out of
# the package's wheel; nothing is installed.
demo/photos/grace_hopper.jpg: PACKAGE := matplotlib
demo/photos/astronaut.png: PACKAGE := scikit-image
demo/photos/%: | .venv/stamp
	mkdir -p $@.wheel
	$(DEMO)/pip download --quiet --no-deps --only-binary :all: --dest $@.wheel $(PACKAGE)
	@$(DEMO)/python -c '$(TAKE)' $@.wheel $@
	rm -r $@.wheel
