# The targets of tcplab; make help lists them. Nothing here needs more than Go, apt packages (scripts/deps.sh) and the Go module
# proxy.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

MODULE  := github.com/tcplab/tcplab
VERSION ?= 0.1.0$(shell git rev-parse --short HEAD 2>/dev/null | sed 's/^/+g/')
CROSS   := linux/amd64 linux/arm64 darwin/arm64

# Static, without the paths of this machine. -buildvcs=false: the version comes from git describe, and a checkout that belongs
# to another user must not stop the build.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X $(MODULE)/internal/cli.version=$(VERSION)'

PKG         ?= ./...
FUZZTIME    ?= 10s
BENCH       ?= .
BENCHFLAGS  ?=
LAB_TIMEOUT ?= 15m
# -p 1: the leak check of internal/labtest looks at the whole machine, and two packages at once would disturb each other's timers.
LAB_TEST    := TCPLAB_REQUIRE=1 go test -tags lab -count=1 -p 1 -timeout $(LAB_TIMEOUT) -exec '"$(CURDIR)/scripts/asroot.sh"'

##@ Use it

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: ## install what is missing, build, and lose every SYN on a real kernel (about 15 s after the build; root or sudo)
	@scripts/deps.sh run
	@$(MAKE) build
	@$(MAKE) root
	$(if $(filter 0,$(shell id -u)),,sudo )bin/tcplab run exp1-syn-loss --syn-retries=2

.PHONY: build
build: ## build the static binary bin/tcplab
	@mkdir -p bin
	$(GO_BUILD) -o bin/tcplab ./cmd/tcplab

PACKAGES ?= dist
.PHONY: packages
packages: ## build deb and rpm packages for amd64 and arm64 into dist, with SBOMs; the same commit gives the same bytes
	@for arch in amd64 arm64; do GOOS=linux GOARCH=$$arch $(GO_BUILD) -o $(PACKAGES)/build/$$arch/tcplab ./cmd/tcplab; done
	@scripts/packages.sh '$(VERSION)' '$(PACKAGES)'

.PHONY: clean
clean: ## remove what the targets made (not the captures in tcplab-runs)
	rm -rf bin dist

##@ Check it

.PHONY: test
test: ## install what is missing, then run everything: check, vagrant-validate, check-packages, vuln, lab-race, lab (root or sudo)
	@scripts/deps.sh test
	@$(MAKE) check UNIT_PKG='$(filter-out $(LAB_PKG),$(patsubst $(MODULE)%,.%,$(shell go list $(PKG))))'
	@$(MAKE) vagrant-validate
	@$(MAKE) check-packages
	@scripts/vuln.sh --where-possible
	@$(MAKE) lab-race
	@$(MAKE) lab RACED='./internal/vm'

.PHONY: check
check: fmt vet staticcheck shellcheck mod cross unit ## all that needs no root; fuzz seeds run as unit tests

# Packages without a test that wants root have all of theirs in make unit.
LAB_PKG ?= $(if $(filter ./...,$(PKG)),$(filter-out $(RACED),$(shell grep -rlE --include='*_test.go' '^//go:build.*\blab\b' . | xargs -n1 dirname | sort -u)),$(PKG))
# What boots machines is as quick under the race detector: make test runs that once.
RACED   ?=

.PHONY: lab
lab: root ## the tests of every package that has some which want root, in real network namespaces; nothing is skipped
	$(LAB_TEST) $(LAB_PKG)
	cd docs/examples/deadpeer && $(LAB_TEST) ./...

# Under the race detector a prediction takes ten times as long, and the packages that only compute start no goroutine that it could
# watch; peer and spec run labs that the runner makes, and its own tests are here.
PURE      := experiments|internal/(archtest|analyse|docgen|doctest|explain|judge|oracle|peer|report|report/page|result|setting|spec|timeline)|sysctl
RACE_PKG  ?= $(shell go list $(PKG) | grep -vE '/($(PURE))$$')

# The negative controls of each experiment, and the program on a machine that fails it in one way after the other, are the same code with other inputs:
# TestPass, TestLost, TestRun, TestMany and TestSignals stand for them here, and make lab runs them all.
# What is one command after the other has no race. Whole names, of tests that there are: internal/archtest looks.
RACE_SKIP := ^Test.+(Controls|Passes)$$|^Test(Kill|KillHanging|KillUnpacking|KillUnpackingControl|RootlessRefused|RootlessSignals|RootlessTerminal|RootlessKeep|RootlessDoctor|Faults|FullDisk|Schedules|HostUntouched|KnobsSee|HandOver|HandOverSparesOthers|TwoUsers|Retry|Script|PredictKernels|Weights|Foresee)$$

# A program under the race detector sleeps for a second before it exits, and each lab starts some.
.PHONY: lab-race
lab-race: root ## the tests of what runs at once under the race detector, as root
	GORACE=atexit_sleep_ms=0 $(LAB_TEST) -race -skip '$(RACE_SKIP)' $(RACE_PKG)

.PHONY: root
root: # ask for the password now: the test runs cannot
	@if [[ $$EUID -ne 0 ]]; then \
		command -v sudo >/dev/null || { echo 'a lab makes network namespaces: want root or sudo, found neither; run this as root' >&2; exit 1; }; \
		sudo -n true 2>/dev/null || sudo -v; \
	fi

.PHONY: fmt
fmt: ## gofmt
	@files=$$(gofmt -l .); [[ -z $$files ]] || { echo "gofmt: these files are not formatted; run gofmt -w on them:" >&2; echo "$$files" >&2; exit 1; }

.PHONY: vet
vet: ## go vet, also of the lab tests
	go vet $(PKG)
	go vet -tags lab $(PKG)

.PHONY: staticcheck
staticcheck: ## staticcheck, also of the lab tests
	go tool staticcheck $(PKG)
	go tool staticcheck -tags lab $(PKG)

.PHONY: shellcheck
shellcheck: ## shellcheck of the scripts
	@command -v shellcheck >/dev/null || { echo 'shellcheck: not found; scripts/deps.sh test installs it' >&2; exit 1; }
	shellcheck .ci/run scripts/*.sh deploy/slurm/*.sbatch

.PHONY: mod
mod: ## go.mod is tidy, and the modules are what go.sum says
	go mod tidy -diff
	go mod verify

.PHONY: cross
cross: ## build for every platform (the lab needs Linux; predict, analyse and report do not)
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	for target in $(CROSS); do \
		echo "build $$target"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} $(GO_BUILD) -o "$$tmp/tcplab" ./cmd/tcplab; \
	done

UNIT_PKG ?= $(PKG)
.PHONY: unit
unit: ## unit tests (make lab-race runs them under the race detector, with those that need root)
	go test -count=1 $(UNIT_PKG)

.PHONY: vagrant-validate
vagrant-validate: ## the Vagrantfile is valid; needs no provider and no box
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	VAGRANT_HOME=$$tmp/home VAGRANT_DOTFILE_PATH=$$tmp/dot VAGRANT_CHECKPOINT_DISABLE=1 vagrant validate --ignore-provider

.PHONY: check-packages
check-packages: root ## build the packages twice, compare the bytes, lint them, install and remove them in a temporary root (x86_64); check the manifests of deploy
	cd tools && go mod tidy -diff && go mod verify && go vet ./... && go test -count=1 ./...
	@$(MAKE) packages
	@scripts/check-packages.sh '$(VERSION)' '$(PACKAGES)'

##@ Now and then

.PHONY: vuln
vuln: ## known vulnerabilities in reach of the code, with a negative control; fails where no database can be reached
	scripts/vuln.sh $(PKG)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	scripts/fuzz.sh $(FUZZTIME)

KILLS ?= 200
.PHONY: kill
kill: root ## SIGKILL runs at KILLS (200) random moments of every phase, as root and rootless, and look for what is left
	TCPLAB_KILLS=$(KILLS) $(LAB_TEST) -v -run '^TestKill' ./internal/cli

.PHONY: load
load: root ## labs at once (1 to 200), beside nothing and beside busy processors: no run may FAIL; prints the table of docs/load.md
	TCPLAB_LOAD=table $(LAB_TEST) -v -run '^TestLoad$$' ./internal/cli

.PHONY: thousand
thousand: LAB_TIMEOUT = 40m
thousand: root ## a thousand runs, five labs at once: all must pass (12 minutes, on a machine that does nothing else)
	TCPLAB_LOAD=thousand $(LAB_TEST) -v -run '^TestLoad$$' ./internal/cli

.PHONY: bench
bench: root build ## measure: lab ready and gone, every SYN against its tick, 20 labs at once, kill -9, size (about 40 s); then the Go benchmarks
	@scripts/deps.sh run
	@go test -c -tags lab -o bin/cli.test ./internal/cli
	go run -exec scripts/asroot.sh ./internal/bench -tcplab bin/tcplab -killtest bin/cli.test $(BENCHFLAGS)
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG) | grep -E '^(cpu|Benchmark|FAIL|panic)' || true

.PHONY: docs
docs: ## write the generated pages anew
	go generate ./...
