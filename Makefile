# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
PEERS := .peers
BIN := $(VENV)/bin
# Built images are kept here, so that only the first run builds them.
export SANDBOX_CACHE ?= $(CURDIR)/.cache
# What `make demo` runs on: native needs root and nothing else; docker needs an engine that answers.
ENGINE ?= native
# What `make bench` measures beside the product, of what is installed (see `make peers`); what is not is named.
AGAINST ?= docker-sdk,bwrap,runc,podman,nitrobox,agentdocker-lite,gvisor,swe-rex,try
# What else it shall be told, as in: make bench BENCH_ARGS="--most-files 1000000 --minutes 60", or --only docker
BENCH_ARGS ?=
# Python 3.12 or newer has all of the libraries that `make peers` installs.
PEERS_PYTHON ?= $(PYTHON)
# A start that compiles everything anew takes three times as long, and the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE
# How many test processes; and what else pytest shall be told, as in: make test PYTEST_ARGS="-k fork -x"
WORKERS ?= 2
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo bench peers test soak check format clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.runtime ## Set up, then run the drill `kiro`: an agent deletes and recreates an environment
	@scripts/install-missing runc:runc catatonit:catatonit ssh-keygen:openssh-client
	@# A Docker Engine has no `host` image: there the drill's image is built from Debian packages.
	@if [ $(ENGINE) != native ]; then scripts/install-missing mmdebstrap:mmdebstrap; fi
	$(BIN)/sandbox --engine $(ENGINE) drill kiro

bench: $(VENV)/.runtime ## Measure every operation, and its growth, into bench/: results, README.md, plots
	@scripts/install-missing runc:runc catatonit:catatonit ssh-keygen:openssh-client mmdebstrap:mmdebstrap \
	    bwrap:bubblewrap mkfs.xfs:xfsprogs mkfs.ext4:e2fsprogs mkfs.btrfs:btrfs-progs cc:gcc
	SANDBOX_BENCH_PEERS=$(PEERS) scripts/with-docker $(BIN)/python \
	    $(BIN)/python -m bench --against "$(AGAINST)" $(BENCH_ARGS)

peers: ## Install other tools for `make bench` to measure: podman, gVisor, and libraries from PyPI in .peers
	@scripts/install-missing podman:podman runsc:runsc
	@test -x $(PEERS)/bin/python || $(PEERS_PYTHON) -m venv $(PEERS)
	@for one in nitrobox==0.1.0 agentdocker-lite==0.0.5; do \
	    $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $$one || \
	    echo "$$one can't be had with $(PEERS_PYTHON); it will be named as not measured." >&2; \
	done

test: $(VENV)/.dev ## Set up what the tests need, then run them all, on both engines
	@scripts/install-missing runc:runc mmdebstrap:mmdebstrap ssh-keygen:openssh-client catatonit:catatonit bwrap:bubblewrap mkfs.xfs:xfsprogs
	scripts/with-docker $(BIN)/python $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

# How long the soak lasts, in seconds, and how many sequences the state machine tries.
SOAK_S ?= 1800
MACHINE_EXAMPLES ?= 2000

soak: $(VENV)/.dev ## Many processes at once for half an hour, then thousands of sequences, as in: make soak SOAK_S=600
	@scripts/install-missing runc:runc mmdebstrap:mmdebstrap ssh-keygen:openssh-client catatonit:catatonit
	SOAK_S=$(SOAK_S) MACHINE_EXAMPLES=$(MACHINE_EXAMPLES) scripts/with-docker $(BIN)/python \
	    $(BIN)/python -m pytest -s tests/soak tests/machine $(PYTEST_ARGS)

check: $(VENV)/.dev ## Lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what the other commands made here
	rm -rf $(VENV) $(PEERS) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed. Say where it is: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { rm -rf $(VENV); echo "Python's venv is needed (Debian: apt-get install python3-venv)." >&2; exit 1; }

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.runtime
