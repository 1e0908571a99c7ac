# Coffer. `make help` lists the targets; CONTRIBUTING.md says when to use which.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/coffer-vault/coffer/internal/version.version=$(VERSION)

# Tools are built from the pinned modules under hack/tools, and rebuilt when a pin moves.
BIN := $(CURDIR)/bin
CONTROLLER_GEN := $(BIN)/controller-gen
GOLANGCI_LINT := $(BIN)/golangci-lint
GOTESTSUM := $(BIN)/gotestsum
GOVULNCHECK := $(BIN)/govulncheck
HELM := $(BIN)/helm
# Without these Helm takes every cluster that it cannot ask for Kubernetes 1.20.
HELM_LDFLAGS := -s -w $(foreach p,chartutil lint/rules,-X helm.sh/helm/v3/pkg/$(p).k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$(p).k8sVersionMinor=37)

# The local environment: a control plane and a node from pinned sources.
LOCAL := $(GO) run ./hack/local

# Packages whose +kubebuilder:rbac markers make the manager's ClusterRole.
RBAC_PACKAGES := paths=./controllers/... paths=./internal/...

# How long `make soak` goes on.
SOAK ?= 60s

# How long `make fuzz` spends on each target.
FUZZTIME ?= 10s

# How often, and how long each time, `make bench` measures a figure, and with how many
# VaultSecrets those of the operator. ONLY measures those whose name contains it.
ROUNDS ?= 5
ROUND ?= 2s
OBJECTS ?= 2000
ONLY ?=

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Try it

.PHONY: demo
demo: ## Show the main job on a local cluster: sync, mount, rotate, roll. DEMO_EXIT=1 takes all down after.
	$(LOCAL) demo

.PHONY: up
up: ## Start the local environment; prints how to use it.
	$(LOCAL) up

.PHONY: down
down: ## Stop the local environment and leave nothing of it.
	$(LOCAL) down

.PHONY: deploy
deploy: ## Install Coffer onto the cluster that KUBECONFIG names, with IMG, DATABASE_URL and REDIS_URL.
	$(LOCAL) deploy

##@ Build

.PHONY: build
build: ## Build the manager and the CLI, also as a plugin of kubectl, into bin/.
	@# No -trimpath here: it would compile every package anew. The Dockerfile has it.
	CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...
	@# As a plugin of kubectl it is the same program under other names.
	ln -sf coffer $(BIN)/kubectl-coffer
	ln -sf coffer $(BIN)/kubectl_complete-coffer

.PHONY: image
image: ## Build the manager's image without a daemon.
	$(LOCAL) image

.PHONY: assets
assets: ## Build or find kube-apiserver, etcd and kubectl for tests; prints their folder.
	@$(LOCAL) assets

.PHONY: deps
deps: ## Install the Debian packages that are missing (root), or say which.
	@$(LOCAL) deps

##@ Change

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Write generated Go code and the API and CLI references.
	$(CONTROLLER_GEN) object paths=./api/...
	$(GO) generate ./...

.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Write the CRDs and the manager's ClusterRole, for kustomize and, with the admission policies and the alerts, for the chart.
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	$(CONTROLLER_GEN) rbac:roleName=coffer-manager $(RBAC_PACKAGES) output:rbac:artifacts:config=config/rbac
	mkdir -p charts/coffer/files/crds
	cp config/crd/bases/*.yaml charts/coffer/files/crds/
	cp config/rbac/role.yaml charts/coffer/files/role.yaml
	cp config/admission/policy.yaml charts/coffer/files/admission.yaml
	cp config/admission/cluster_policy.yaml charts/coffer/files/admission_cluster.yaml
	cp config/admission/rotation_policy.yaml charts/coffer/files/admission_rotation.yaml
	cp config/injection/policy.yaml charts/coffer/files/injection.yaml
	mkdir -p charts/coffer/files/limited
	cp config/limited/*.yaml charts/coffer/files/limited/
	cp config/prometheus/prometheusrule.yaml charts/coffer/files/prometheusrule.yaml

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the Go code.
	$(GOLANGCI_LINT) fmt

.PHONY: fix
fix: $(GOLANGCI_LINT) ## Let the linter mend what it can.
	$(GOLANGCI_LINT) run --fix

##@ Check

.PHONY: verify
verify: ## Check all that needs no test run: generated files, format, lint, vulnerabilities, chart, alerts.
	hack/tools/unchanged.sh $(MAKE) generate manifests fmt
	$(GO) mod tidy -diff
	cd sdk/otelcoffer && $(GO) mod tidy -diff
	$(MAKE) lint vuln chart alerts

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run golangci-lint, import direction included.
	$(GOLANGCI_LINT) run
	cd sdk/otelcoffer && $(GOLANGCI_LINT) run

.PHONY: vuln
vuln: $(GOVULNCHECK) ## Look for known vulnerabilities. GOVULNDB names another database.
	hack/tools/vuln.sh $(GOVULNCHECK) ./...

.PHONY: chart
chart: $(HELM) ## Lint the chart, and check that it and config/default install the same.
	$(HELM) lint --strict charts/coffer
	@# Go's test cache does not notice files of another module, hence -count=1.
	cd hack/tools/helm && $(GO) test -count=1 ./...

.PHONY: alerts
alerts: ## Show each alert of config/prometheus, with Prometheus' engine, when it has to fire and when not.
	cd hack/tools/promql && $(GO) test -count=1 ./...

.PHONY: test
test: $(GOTESTSUM) deps ## Run every test: unit, real Postgres, Redis and kube-apiserver, then the node.
	assets="$${KUBEBUILDER_ASSETS:-$$($(LOCAL) assets)}"; \
	KUBEBUILDER_ASSETS="$$assets" $(GOTESTSUM) --format standard-quiet -- -race -timeout 30m ./...
	@# A module of its own; its test cache does not notice the SDK's files.
	cd sdk/otelcoffer && $(GO) test -race -count=1 ./...
	$(MAKE) test-e2e

.PHONY: test-e2e
test-e2e: ## Run the end-to-end tests on the local cluster.
	mkdir -p dist
	trap 'awk -f hack/tools/count-tests.awk dist/test-e2e.log' EXIT; \
	$(LOCAL) test-e2e | tee dist/test-e2e.log

.PHONY: faults
faults: ## Kill the engine and the operator at each failpoint, take the servers away; print which promises held. FAULTS_RUN, FAULTS_SEED repeat one.
	mkdir -p dist
	rm -f dist/faults.txt
	@# In its folder, and without a package named, go test prints each line when its fault is over.
	assets="$${KUBEBUILDER_ASSETS:-$$($(LOCAL) assets)}" && export KUBEBUILDER_ASSETS="$$assets" && \
	( cd test/faults && FAULTS_TABLE=$(CURDIR)/dist/faults.txt $(GO) test -count=1 -timeout 25m -parallel 4 -tags failpoints ) && \
	{ [ -n "$${FAULTS_RUN:-}" ] || $(GO) test -count=1 -timeout 10m -tags failpoints -run '^TestKilled' ./controllers/vaultsecret; }

.PHONY: soak
soak: ## Watch with 50 clients for SOAK (60s), under the race detector, while what they see is rotated, denied and allowed again.
	COFFER_SOAK=$(SOAK) $(GO) test -race -count=1 -v -timeout 30m -run '^TestSoak$$' ./internal/server

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME (10s).
	hack/tools/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: ## Measure engine and operator against floors; a line a figure. ROUNDS and ROUND say how long, OBJECTS how many, ONLY which.
	assets="$${KUBEBUILDER_ASSETS:-$$($(LOCAL) assets)}"; \
	KUBEBUILDER_ASSETS="$$assets" $(GO) run ./test/bench -rounds $(ROUNDS) -round $(ROUND) -objects $(OBJECTS) -only '$(ONLY)'

.PHONY: microbench
microbench: ## Run the benchmarks of the packages.
	$(GO) test -run '^$$' -bench . -benchmem ./...

##@ Clean

.PHONY: clean
clean: ## Remove what was built into bin/ and dist/.
	rm -rf bin dist

# --- tools ---

$(CONTROLLER_GEN): hack/tools/go.mod hack/tools/go.sum
	cd hack/tools && $(GO) build -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen

$(GOTESTSUM): hack/tools/go.mod hack/tools/go.sum
	cd hack/tools && $(GO) build -o $@ gotest.tools/gotestsum

$(GOVULNCHECK): hack/tools/go.mod hack/tools/go.sum
	cd hack/tools && $(GO) build -o $@ golang.org/x/vuln/cmd/govulncheck

$(GOLANGCI_LINT): hack/tools/golangci-lint/go.mod hack/tools/golangci-lint/go.sum
	cd hack/tools/golangci-lint && $(GO) build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(HELM): hack/tools/helm/go.mod hack/tools/helm/go.sum
	cd hack/tools/helm && $(GO) build -ldflags '$(HELM_LDFLAGS)' -o $@ helm.sh/helm/v3/cmd/helm
