# Every verb of the project; CI calls `make test` and nothing else.
#
#   CLUSTER=kind      (default) a kind cluster of our own, made and removed by these targets
#   CLUSTER=current   the cluster of the current kubectl context; images are pushed to REGISTRY, and REDIS_IMAGE is the
#                     managed Redis's where the chart's default can't be pulled
#   KEEP=1            `make test` leaves the kind cluster running

CLUSTER ?= kind
export CLUSTER KEEP REGISTRY REDIS_IMAGE

.DEFAULT_GOAL := help
.PHONY: help up down test test-static test-unit test-page test-conformance e2e bench bench-million bench-check fuzz sanitize generate

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## Run a cluster, the operator and an example WebSocketCluster; print its URL
	@tests/bin/up

down: ## Remove what `make up` made
	@tests/bin/down

test: ## Pass every test, the end-to-end ones included
	@tests/bin/test static unit page conformance e2e

test-static: ## Formatting, lints, purity of the cores, generated files, chart
	@tests/bin/test static

test-unit: ## Rust tests without a cluster: pure, in process, real Redis, a bare API server
	@tests/bin/test unit

test-page: ## The chat page in Chromium
	@tests/bin/test page

test-conformance: ## The official client and a WebSocket conformance suite against a gateway
	@tests/bin/test conformance

e2e: ## The end-to-end tests on kind, or on CLUSTER=current
	@tests/bin/test e2e

bench: ## The gateway and its peers side by side, in one table
	@tests/bin/bench

bench-million: ## A million connections on this machine, and one publish to all of them
	@tests/bin/bench-million

bench-check: ## The gateway's instructions per unit of work against the record
	@tests/bin/bench-check

fuzz: ## Fuzz each target for FUZZ_SECONDS (an hour), or those in T; INPUT=file repeats one input
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),3600) INPUT=$(INPUT) tests/bin/fuzz $(T)

sanitize: ## The tests that reach unsafe code, under AddressSanitizer
	@tests/bin/sanitize

generate: ## Write the generated files: the CRD, its copy in the chart, the reference
	@tests/bin/generate
