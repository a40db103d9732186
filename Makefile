# make demo    from nothing to a ranked report        make test    every test        make lint    how the code reads
# Another Python: make demo PYTHON=python3.12. A torch that PYTHON already has is used as it is.

PYTHON ?= python3
FISHRAY := .venv/bin/fishray
HAS_TORCH := $(shell $(PYTHON) -c "import torch, torchvision" 2>/dev/null && echo yes)

export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test test-here test-slurm test-slurm-faults test-slurm-storms test-slurm-others test-gpu evidence \
	bench slurm-shell bench-slurm lint format clean

demo: .venv/installed
	@test -e runs/small/predictions.zarr || $(FISHRAY) tune sweeps/small.yaml
	@$(FISHRAY) report runs/small

test: .venv/installed  # those of Slurm beside the others: they wait for most of their time
	@$(MAKE) --jobs=4 --output-sync=target test-slurm-faults test-slurm-storms test-slurm-others test-here

test-here: .venv/installed
	.venv/bin/pytest --ignore=tests/slurm

test-slurm: test-slurm-faults test-slurm-storms test-slurm-others

FAULTS := tests/slurm/test_faults.py tests/slurm/test_hpc_alone.py tests/slurm/test_packing.py
STORMS := tests/slurm/test_storms.py

test-slurm-faults: .venv/installed
	.venv/bin/pytest $(FAULTS)

test-slurm-storms: .venv/installed
	.venv/bin/pytest $(STORMS)

test-slurm-others: .venv/installed
	.venv/bin/pytest tests/slurm $(FAULTS:%=--ignore=%) $(STORMS:%=--ignore=%)

test-gpu: .venv/installed
	.venv/bin/pytest -m gpu

SEEDS ?= 201 202 203 204

evidence: .venv/installed  # what cannot be lost, how true the tank is, who foresees its bursts, what shorter gradients lose
	PYTHONPATH=tests/support .venv/bin/python tests/evidence/kill_a_hundred_times.py
	PYTHONPATH=tests/support .venv/bin/python tests/evidence/kill_an_ingest.py
	PYTHONPATH=tests/support .venv/bin/python tests/evidence/tank_against_real.py --png runs/evidence/tank.png
	PYTHONPATH=tests/support .venv/bin/python tests/evidence/forecast_tanks.py --seeds $(SEEDS)
	PYTHONPATH=tests/support .venv/bin/python tests/evidence/truncate_gradients.py

BENCH ?=

bench: .venv/installed  # how fast fishray is, beside other ways of doing the same; some of it: BENCH="--only labels"
	PYTHONPATH=tests/support .venv/bin/python tests/benchmarks/bench.py --json runs/bench.json --markdown runs/bench.md $(BENCH)

slurm-shell: .venv/installed  # a Slurm of three nodes on this machine, and a shell on its login node; needs root
	tests/slurm/install.sh
	PYTHONPATH=tests/support .venv/bin/python tests/slurm/shell.py

bench-slurm: .venv/installed  # seconds from a fault to what follows; needs root
	tests/slurm/install.sh
	PYTHONPATH=tests/support .venv/bin/python tests/benchmarks/seconds_after_faults.py

lint: .venv/installed
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/installed
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

.venv/installed: pyproject.toml constraints.txt constraints-torch.txt
	$(PYTHON) -m venv $(if $(HAS_TORCH),--system-site-packages) .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt \
		$(if $(HAS_TORCH),,-c constraints-torch.txt) --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
