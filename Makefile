# Every verb of the project; CI calls `make test` and nothing else. Variables go to the scripts by themselves, as make hands them on.
#
#   CLUSTER=kind      (default) a kind cluster of our own, made and removed by these targets
#   CLUSTER=current   the cluster of the current kubectl context; images are pushed to REGISTRY
#   NODE_IMAGE        instead of kind's node image, say one from a mirror
#   REGISTRY, TAG     where images are pushed to, and under which tag (`make images`)
#   REDIS_IMAGE       instead of the managed Redis's default image
#   OPERATOR_IMAGE, GATEWAY_IMAGE, FLEET_IMAGE
#                     images that the cluster can pull; those that are not named are built
#   KEEP=1            `make test` and `make e2e` leave their kind cluster running
#   T=name            `make e2e` and `make test-unit` run only the tests whose names contain it

# What a target prints is for people and for scripts.
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help up down images test test-static test-unit test-page test-conformance test-versions e2e soak bench bench-million bench-check fuzz histories sanitize generate

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## Run a cluster, the operator and an example WebSocketCluster; print its URL
	@tests/bin/up

down: ## Remove what `make up` made
	@tests/bin/down

images: ## Build the images, push them to REGISTRY, and print the command that installs Mooring from them
	@images/publish.sh

test: ## Pass every test, the end-to-end ones included
	@tests/bin/test static chart unit page conformance machines fuzz bench-check e2e

test-static: ## Formatting, lints, purity of the cores, generated files, chart
	@tests/bin/test static

test-unit: ## Rust tests without a cluster: pure, in process, real Redis, a bare API server
	@tests/bin/test unit

test-page: ## The chat page in Chromium
	@tests/bin/test page

test-conformance: ## The official client and a WebSocket conformance suite against a gateway
	@tests/bin/test conformance

test-versions: ## The operator on API servers of the oldest and the newest Kubernetes (minutes; builds may take half an hour)
	@tests/bin/versions

e2e: ## The end-to-end tests on a kind cluster of their own, or on CLUSTER=current
	@tests/bin/test e2e

soak: ## A cluster under faults at random for HOURS
	@tests/bin/soak

bench: ## The gateway and its peers side by side; RECORD=1 writes docs/performance/table
	@tests/bin/bench

bench-million: ## A million connections on this machine, and one publish to all of them
	@tests/bin/bench-million

bench-check: ## The gateway's instructions per unit of work against the record
	@tests/bin/bench-check

fuzz: ## Fuzz each target for FUZZ_SECONDS (an hour), or those in T; INPUT=file repeats one input
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),3600) tests/bin/fuzz $(T)

histories: ## HOURS (24, by their own clock) of random histories of the gateway's core against its models, in minutes
	@tests/bin/histories

sanitize: ## The tests that reach unsafe code, under AddressSanitizer
	@tests/bin/sanitize

generate: ## Write the generated files: the CRD, its copy in the chart, the reference
	@tests/bin/generate
