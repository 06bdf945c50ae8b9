# make demo   draws ToyPASS, caches masks, trains GoodSAM on them, scores it and writes pictures to demo/
#             MASKS=felzenszwalb takes masks of Felzenszwalb's method instead of the toy SAM's
# make test   ruff, mypy and pytest
# make coverage  pytest, which counts lines and takes longer; last the lines that ran in the test processes
# make faults the long form of tests/faults and of the fuzzing, slow cases, the documents' commands; SEED=1 for others
# make sam2   installs SAM 2 (requirements-sam2.txt); make test and make faults do so too, unless SAM2=no says not to
# All set up $(VENV) when it is missing or older than constraints.txt and pyproject.toml.
PYTHON ?= python3
VENV ?= .venv
SAM2 ?= yes
MASKS ?= toy-sam
SEED ?= 0
BIN := $(VENV)/bin

PYTEST := $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test coverage faults lint venv sam2 clean
.DELETE_ON_ERROR:

venv: $(VENV)/.installed $(if $(filter no,$(SAM2)),,sam2)
sam2: $(VENV)/.installed-sam2

$(VENV)/.installed: constraints.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 14) else "Python 3.10 to 3.13 is needed, this is " + sys.version.split()[0] + "; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -r requirements-dev.txt
	touch $@

# Built with the installed PyTorch and setuptools: an isolated build would download another PyTorch.
$(VENV)/.installed-sam2: requirements-sam2.txt $(VENV)/.installed
	SAM2_BUILD_CUDA=0 $(BIN)/python -m pip install --no-build-isolation -r requirements-sam2.txt
	touch $@

demo: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" tools/demo.py --out demo --masks $(MASKS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(PYTEST)

coverage: venv
	$(PYTEST) --cov --cov-report=
	@echo "coverage of the packages, without processes that tests start, property and fault tests: $$($(BIN)/coverage report --format=total) %"

faults: venv
	$(BIN)/pytest --long --faults-seed $(SEED) --hypothesis-seed $(SEED) -n auto --maxprocesses 4 --dist worksteal

clean:
	rm -rf $(VENV) demo
