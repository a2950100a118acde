# Everything below sets itself up in .venv first; the set-up is done again only when what it depends on has changed.
VENV   := .venv
PYTHON ?= python3
STAMP  := $(VENV)/.set-up-done

.PHONY: demo test lint schema set-up

demo: $(STAMP)
	$(VENV)/bin/medseg demo demo-out

test: $(STAMP)
	$(VENV)/bin/python -m pytest

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

schema: $(STAMP)
	$(VENV)/bin/medseg config schema > configs/schema.json

set-up: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --progress-bar off --quiet \
		--constraint constraints.txt --editable ".[dev]"
	@touch $@
