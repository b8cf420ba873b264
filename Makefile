# The commands of this project: .ci/run and the README call these and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat requirements-dev.txt pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)

.PHONY: demo test test-stack servers campaign check docs format lock image benchmark clean

demo: $(STAMP) ## Run the full flow against the embedded provider and API
	@$(BIN)/otelprobe demo

test: $(STAMP) ## Every test that needs only Python
	@$(BIN)/pytest -q

test-stack: servers ## The tests on servers that nobody here wrote
	@$(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder -o norecursedirs=".*" -m "not campaign" tests/stack

servers: $(STAMP) ## Obtain the servers of the stack tests
	@$(BIN)/python -m tests.stack.harness

campaign: $(STAMP) ## Every fault live, to the notification; in scaled time, as fast as the machine keeps up with
	@$(BIN)/python -m tests.stack.harness collector prometheus alertmanager keycloak
	@$(BIN)/pytest -q -o norecursedirs=".*" -m campaign tests/stack

check: $(STAMP) ## Format, lint, strict types, import contracts, generated files
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports > $(VENV)/contracts.log || { cat $(VENV)/contracts.log; exit 1; }
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python -m dashboards.generate --check
	@$(BIN)/python -m tests.stack.campaign --check
	@$(BIN)/python k8s/generate.py --check

docs: $(STAMP) ## Write the generated pages anew
	@$(BIN)/python docs/generate.py
	@$(BIN)/python -m dashboards.generate
	@$(BIN)/python -m tests.stack.campaign
	@$(BIN)/python k8s/generate.py

format: $(STAMP)
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

lock: $(STAMP) ## Pin what development and CI need
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --extra demo --extra forms --extra saml --group dev pyproject.toml -o requirements-dev.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --extra forms --extra saml pyproject.toml -o k8s/image/requirements.txt
	@cd k8s/image && ../../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url requirements-build.in -o requirements-build.txt

image: ## Build the container image with docker, podman or buildah
	@builder=$$(command -v docker || command -v podman || command -v buildah) \
		|| { echo "no image builder is installed: install docker, podman or buildah"; exit 1; }; \
	"$$builder" build -f k8s/image/Containerfile -t otelprobe:$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' otelprobe/__init__.py) .

benchmark: $(STAMP) ## Ratios, measured side by side in one run
	@for script in tests/benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	@rm -rf $(VENV) .cache dist

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: otelprobe needs Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$$($(PYTHON) --version) is too old: otelprobe needs Python 3.11 or newer (make PYTHON=python3.12 ...)"; exit 1; }
	@echo "setting up $(VENV) (once)" >&2
	@rm -f $(VENV)/.installed-*
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
