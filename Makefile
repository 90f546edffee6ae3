# NanoGrid Operator. `make help` lists the targets; docs/ and CONTRIBUTING.md explain them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.PHONY: help setup demo test test-unit test-integration test-e2e chaos chaos-short chaos-all lint format manifests \
        cluster-up cluster-down cluster-env cluster-status images deploy undeploy bench clean

PYTHON ?= python3
UV := $(PYTHON) scripts/uv.py
CLUSTER := cd tests && $(PYTHON) -m cluster
# KUBECONFIG, DOCKER_HOST and PATH of the cluster in use; the user's own KUBECONFIG wins.
USE_CLUSTER = eval "$$(cd tests && $(PYTHON) -m cluster env)"
PYTEST := $(UV) run --frozen pytest
ARGS ?=

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

demo: deploy ## a cluster if there is none, the chart, a real job, its result
	@$(USE_CLUSTER)
	$(UV) run --frozen python scripts/demo.py $(ARGS)

test: lint test-unit test-integration test-e2e chaos-short ## everything that CI runs

setup: ## install Python packages and the programs that tests start
	@$(PYTHON) scripts/uv.py --prepare

lint: setup ## ruff, mypy, import contracts, generated files, chart
	@$(UV) run --frozen ruff check .
	$(UV) run --frozen ruff format --check .
	$(UV) run --frozen mypy
	$(UV) run --frozen lint-imports
	$(UV) run --frozen python -m nanogrid.crd --check .
	$(UV) tool run --quiet 'cfn-lint>=1.40,<2' examples/eks/roles.cfn.yaml

format: setup ## let ruff mend what it can
	@$(UV) run --frozen ruff check --fix .
	$(UV) run --frozen ruff format .

manifests: setup ## generate the CRDs, the chart's copies of them, docs/executionjob.md, function.md, reasons.md
	@$(UV) run --frozen python -m nanogrid.crd .

test-unit: setup ## seconds, no cluster
	@$(PYTEST) tests/unit $(ARGS)

test-integration: setup ## real Redis, real S3 server, real processes
	@$(PYTEST) tests/integration $(ARGS)

test-e2e: deploy ## the whole way of a job on a real cluster; ARGS='-m slow' for what takes minutes
	@$(USE_CLUSTER)
	$(PYTEST) tests/e2e -m "not slow" --durations=30 $(ARGS)

chaos: deploy ## faults on a real cluster, about 20 min: storms over 300 real and 3,000 simulated jobs
	@$(USE_CLUSTER)
	$(PYTEST) tests/chaos -m "not slow or storm" --durations=20 -s $(ARGS)

chaos-all: deploy ## every fault there is, over an hour: nodes lost, each call of the operator cut, upgrades
	@$(USE_CLUSTER)
	$(PYTEST) tests/chaos --durations=20 -s $(ARGS)

chaos-short: deploy ## the quicker ones of them, 5 to 7 min: a part of make test
	@$(USE_CLUSTER)
	$(PYTEST) tests/chaos -m "not slow" --durations=20 -s $(ARGS)

cluster-up: ## use $$KUBECONFIG, or make (or reuse) a kind cluster
	@$(CLUSTER) up

cluster-down: ## remove the cluster; stop only what cluster-up started
	@$(CLUSTER) down

cluster-env: ## print what to eval for kubectl: eval "$$(make -s cluster-env)"
	@$(CLUSTER) env

cluster-status: ## what is there
	@$(CLUSTER) status

images: setup cluster-up ## build the images and load them into the cluster
	@$(USE_CLUSTER)
	$(PYTHON) scripts/images.py --load

deploy: images ## install or upgrade the chart, with Redis and S3 for tests
	@$(USE_CLUSTER)
	$(PYTHON) scripts/deploy.py

undeploy: ## uninstall the chart; the CRD and its jobs are kept
	@$(USE_CLUSTER)
	helm uninstall nanogrid --namespace nanogrid-system --ignore-not-found

bench: deploy ## latency of an inline job beside a bare pod, of a session's executions, of POST /run
	@$(USE_CLUSTER)
	$(UV) run --frozen python -m tests.bench.latency $(ARGS)
	PYTHONPATH=tests $(UV) run --frozen python -m bench.session
	PYTHONPATH=tests $(UV) run --frozen python -m bench.gateway

clean: ## remove what builds left in the checkout; the cluster's cache stays
	@rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
