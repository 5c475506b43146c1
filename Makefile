# Everything a contributor runs. `make help` lists the targets.
SHELL := /bin/bash
UV ?= uv
RUN := $(UV) run --no-sync
# Two cores have time for three: many tests wait. Those that share a server stay together (tests/together.py).
AT_ONCE := $(RUN) pytest -n 3
CLUSTER ?= local
# ONNX Runtime would report its use to its maker.
export ORT_DISABLE_TELEMETRY := 1
# Tests start Python thousands of times: compiled files are kept, also where the machine's images keep none.
unexport PYTHONDONTWRITEBYTECODE
CLUSTER_TOOL := python3 tests/cluster/cluster.py

.DEFAULT_GOAL := help
.PHONY: help setup generate check-generated lint format test test-containers test-gateway test-long test-scheduling test-unit cluster images demo demo-down cluster-down bench bench-rollouts

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install the locked dependencies into .venv (needs uv)
	$(UV) sync --frozen --all-packages --all-extras --all-groups

generate: ## Write the CRD, the chart's copy and the reference pages from the typed API
	$(RUN) python -m ensembles_api.generate

check-generated: ## Fail where a generated file is stale
	$(RUN) python -m ensembles_api.generate --check

format: ## Format the code
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

lint: check-generated ## Lint, types and import layers
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy crds/src operator/src builder-image/src cli/src tests
	$(RUN) lint-imports

test-unit: setup ## Everything that needs neither root nor Go (says what it leaves out)
	$(MAKE) lint
	$(AT_ONCE) -m "not apiserver and not cluster and not s3 and not helm and not go and not argo and not gateway and not containers and not scheduling"
	@echo "left out: tests marked apiserver, cluster, s3, helm, go, argo, gateway, containers and scheduling (run 'make test')"

cluster: ## Bring up the local cluster (or use KUBECONFIG)
	[[ -n "$$KUBECONFIG" ]] || $(CLUSTER_TOOL) up

images: cluster ## Build the project's images and load them into the cluster
	python3 tests/images/build.py

test: setup ## Everything that does not need a GPU: lint, units, API server, S3, end to end
	$(MAKE) -j2 lint images
	$(AT_ONCE) -m "not gateway and not containers and not scheduling" --ignore tests/e2e
	$(RUN) pytest tests/e2e -m "not long"

test-long: setup images ## What takes longest: rollouts under load, autoscaling, Prometheus, tutorials
	$(RUN) pytest tests/e2e -m long

test-gateway: setup images ## A canary behind a real Gateway (compiles Traefik: some minutes the first time)
	$(RUN) pytest tests/gateway

test-scheduling: setup images ## Queues and GPU claims, with the real Kueue and a DRA driver (compiles them: minutes the first time)
	$(RUN) pytest tests/scheduling

test-containers: setup ## kubectl ensemble build and serve by docker or podman (needs one, with the images in its store)
	$(RUN) pytest tests/containers

demo: ## From nothing to an answered inference on a real cluster
	python3 examples/demo/demo.py up --cluster $(CLUSTER)

demo-down: ## Remove what the demo made
	python3 examples/demo/demo.py down --cluster $(CLUSTER)

cluster-down: ## Remove the local cluster
	$(CLUSTER_TOOL) down

bench: setup ## Measure apply-to-answer and transfer rates; prints tables
	$(RUN) python -m tests.bench.bench

bench-rollouts: setup ## Measure what clients see of rollouts, beside a plain Deployment; prints tables
	$(RUN) python -m tests.bench.rollouts
