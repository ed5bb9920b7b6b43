# SPDX-License-Identifier: MIT
# Two commands matter: `make demo` and `make test`.  Both run `make setup` by themselves.

PYTHON3 ?= python3
VENV    := .venv
PYTHON  := $(VENV)/bin/python
READY   := $(VENV)/.ready

# What does not come from PyPI: pyfuse3 is built here against libfuse3; fio measures and verifies.
DEBIAN  := libfuse3-dev fuse3 pkg-config gcc fio
# Debian's own Python keeps these apart; others bring them along.
DEBIAN  += $(if $(filter /usr/bin/%,$(shell command -v $(PYTHON3))),python3-venv python3-dev)
# What the tests use besides: programs that work on a mount, and others' file systems to refuse.
DEBIAN  += git rsync sqlite3 e2fsprogs util-linux bpftool

# Tests wait for mounts more than for processors; a file of tests stays together.
JOBS    ?= $(shell expr 2 \* $$(nproc))
TRUTH    = tests/mounted/test_truth.py tests/mounted/test_plants.py
SOAKED   = tests/faults tests/model tests/mounted/test_model.py tests/mounted/test_kill9.py \
           tests/mounted/test_tampered_mounts.py \
           tests/control/test_random_ranges.py tests/jit tests/programs

# What `make bench` measures beside iomapd; without them it measures less.
RIVALS  := mergerfs bindfs btrfs-progs
BENCH   ?= data_plane unit_sweep request_sweep mapping_cost serve_cost caching figures

MISSING  = $(strip $(shell dpkg-query --show --showformat='$${db:Status-Status} $${Package}\n' \
             $(DEBIAN) 2>&1 | sed -n 's/^not-installed //p; s/^dpkg-query: no packages found matching //p'))

.PHONY: help setup packages demo test test-user soak soak-truth matrix lint format bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(READY) ## Debian packages (as root; else says which) and .venv; quick when done
	@:

$(READY): pyproject.toml
	@$(MAKE) --no-print-directory packages
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON3) is too old: Python 3.11 is needed; try: make PYTHON3=/path/to/python3" >&2; exit 1; }
	@echo "setting up $(VENV); this takes a minute or two, once"
	@$(PYTHON3) -m venv $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

packages:
	@:
ifneq ($(MISSING),)
	@if [ "$$(id -u)" != 0 ]; then \
	    echo "packages are missing; as root: apt-get install --yes $(MISSING)" >&2; exit 1; \
	fi
	@apt-get -qq update
	@DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(MISSING)
endif

demo: setup ## make four members, create, mount, verify, measure, clean up
	@$(VENV)/bin/iomapd demo $(DEMO)

test: setup ## all tests, mounted ones included; TESTS=... for some, JOBS=1: one at a time
	@$(PYTHON) -m pytest -q -n $(JOBS) --dist loadfile $(TESTS)

test-user: setup ## the mounted tests as an ordinary user; when root, as nobody
	@$(PYTHON) -m tests.mounted.as_user $(or $(TESTS),tests/mounted)

soak: setup ## power cuts, kill -9, tampering and models with new seeds; hours; SOAK=2: twice as much
	@IOMAPD_SOAK=$(or $(SOAK),1) nice $(PYTHON) -m pytest -q $(or $(TESTS),$(SOAKED))

soak-truth: setup ## no foreign byte is seen while space goes from hand to hand; an hour
	@IOMAPD_SOAK=$(or $(SOAK),1) nice $(PYTHON) -m pytest -q -s $(TRUTH)

matrix: setup ## the mounted tests with every pair of lanes, I/O mode and strategy; an hour or two
	@nice $(PYTHON) -m tests.mounted.matrix -n $(JOBS) $(TESTS)

lint: setup ## ruff and mypy, as CI runs them
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --diff .
	@$(VENV)/bin/mypy

format: setup ## let ruff format everything
	@$(VENV)/bin/ruff format .

bench: setup ## measure everything, results into bench/results/; ten quiet minutes; BENCH=... for some
	@which mergerfs bindfs mkfs.btrfs >/dev/null || [ "$$(id -u)" != 0 ] || \
	    { apt-get -qq update && \
	      DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(RIVALS); }
	@for name in $(BENCH); do $(PYTHON) -m bench.$$name || exit 1; echo; done

clean: ## remove .venv and every cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
