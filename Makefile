# make demo: install, then a real clip to tokens and back.   make test: install, then all tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OLDEST := .venv-oldest
# A process for each core, at most four; a file's tests stay in one of them, for what they share.
SPREAD := -n logical --maxprocesses 4 --dist loadfile

.PHONY: help demo test test-slow test-web web test-oldest fuzz lint docs catalogue benchmark release-check clean

help:
	@sed -n 's/^# //p' Makefile; echo 'Also: make test-slow, test-web, web, test-oldest, fuzz, lint, docs, catalogue, benchmark, release-check, clean.'

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/python examples/demo.py

lint: $(READY)
	$(BIN)/ruff check cosmotok tests benchmarks examples website tools
	$(BIN)/ruff format --check cosmotok tests benchmarks examples website tools
	$(BIN)/mypy cosmotok
	$(BIN)/lint-imports --no-cache

test: $(READY) lint
	$(BIN)/pytest -m 'not slow' $(SPREAD)

test-slow: $(READY)
	$(BIN)/pytest -m slow --timeout 3600

# The lowest versions that pyproject.toml allows, on the oldest Python: make test-oldest PYTHON=python3.10
test-oldest:
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet uv
	$(OLDEST)/bin/uv pip compile --quiet --resolution lowest-direct --extra dev --output-file $(OLDEST)/constraints.txt pyproject.toml
	$(OLDEST)/bin/python -m pip install --quiet --editable '.[dev]' --constraint $(OLDEST)/constraints.txt
	$(OLDEST)/bin/pytest -m 'not slow' $(SPREAD)

# Hostile input, failing disks and kills, for so many minutes: make fuzz MINUTES=30 SEED=0; counts go to docs/safety.md.
MINUTES ?= 30
SEED ?= 0
fuzz: $(READY)
	$(BIN)/python tests/hostile/fuzz.py --minutes $(MINUTES) --seed $(SEED) --output build/fuzz.json \
	    --docs docs/safety.md docs/safety.pt.md

# The documentation as a site, into build/site; a broken link or an unknown name ends it.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The page that needs no server, into build/web, for any static host; try it with: python -m http.server --directory build/web
web: $(READY) web/node_modules
	$(BIN)/python tools/build_web.py

web/node_modules: web/package-lock.json
	npm --prefix web ci --ignore-scripts --no-audit --no-fund
	touch $@

# Its types and style, and the page itself in Chromium.
test-web: web
	npm --prefix web run check
	$(BIN)/pytest -m web --timeout 1200

# Puts new texts of the command into cosmotok/locale/*/LC_MESSAGES/cosmotok.po, and lists those without a translation.
catalogue: $(READY)
	$(BIN)/python tools/catalogue.py

benchmark: $(READY)
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/speed.py

# Wheel and sdist, each tried in an empty environment. TORCH="torch==2.13.0" takes another PyTorch; RELEASE_TESTS are
# pytest's arguments.
TORCH ?= torch
RELEASE_TESTS ?= -m 'not slow'
release-check:
	$(PYTHON) tools/release_check.py --torch '$(TORCH)' $(RELEASE_TESTS)

clean:
	rm -rf $(VENV) $(OLDEST) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
