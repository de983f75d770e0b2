# kmend's verbs. `make help` lists them.
#
# `demo`, `test` and `bench` set up what they need by themselves (scripts/bootstrap); the cache lives outside
# the tree, in ${KMEND_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kmend}, and survives `make clean`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo

.PHONY: help build demo demo-page test test-page conformance chaos soak matrix fmt lint check-deploy check-prometheus check-image check-apiserver check-docs check-deps check-targets check-bench check-mutants check-instructions mutants fuzz simulate bench sbom clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-18s %s\n", $$1, $$2 }'

build: ## the release binary, target/release/kmend
	$(CARGO) build --locked --release

demo: ## an evicted offset, new partitions, a refused commit: what breaks directly, and goes on through kmend
	scripts/bootstrap kafka
	$(MAKE) --no-print-directory build
	scripts/demo

demo-page: ## apps that break again and again and go on, for the status page, until Ctrl+C
	scripts/bootstrap kafka
	$(MAKE) --no-print-directory build
	scripts/demo page

test: ## all tests, with a real Kafka and real clients
	scripts/bootstrap all
	scripts/run-tests

test-page: ## the status page in a real Chromium, of a mock and of a real kmend (package chromium; Node 20)
	node --test --test-concurrency=1 tests/page/*.test.mjs
	scripts/bootstrap kafka java librdkafka franz-go-1.16.1
	$(CARGO) test --locked --test status_page

matrix: ## every client by every eviction, growth and refused commit; the reports are kept
	scripts/bootstrap all
	KMEND_MATRIX=1 $(CARGO) test --locked --release --test evicted_offset
	KMEND_MATRIX=1 $(CARGO) test --locked --release --test new_partitions runs
	KMEND_MATRIX=1 $(CARGO) test --locked --release --test commits runs
	KMEND_MATRIX=1 $(CARGO) test --locked --release --test assignments runs
	KMEND_MATRIX=1 $(CARGO) test --locked --release --test hostile runs
	KMEND_MATRIX=1 $(CARGO) test --locked --release --test secured runs
	KMEND_MATRIX=1 $(CARGO) test --locked --test status_page

conformance: ## other people's suites, directly and through kmend (half an hour, Go); writes docs/conformance_runs.md
	scripts/bootstrap kafka kafka-old franz-go-suite kafka-tools java-paths
	$(CARGO) build --locked --release
	KMEND_BIN="$(or $(CARGO_TARGET_DIR),target)/release/kmend" $(CARGO) test --locked --test conformance -- --nocapture

chaos: ## faults, directly and through kmend at once (an hour and a half; Linux); goes on with an interrupted run; writes docs/chaos_runs.md and the table in docs/trust.md
	scripts/bootstrap all
	$(CARGO) build --locked --release
	$(CARGO) test --locked --no-run --test chaos
	KMEND_BIN="$(or $(CARGO_TARGET_DIR),target)/release/kmend" unshare --map-root-user --mount --net $(CARGO) test --locked --test chaos -- --nocapture

soak: ## an hour of steady load with churn every minute, on a quiet machine; writes docs/soak_runs.md
	scripts/bootstrap kafka java librdkafka franz-go
	$(CARGO) build --locked --release
	KMEND_BIN="$(or $(CARGO_TARGET_DIR),target)/release/kmend" $(CARGO) test --locked --test soak -- --nocapture

fmt: ## format the Rust code
	$(CARGO) fmt --all

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --test status_page --test conformance --test chaos --test soak -- -D warnings

check-deploy: ## manifests, chart, policy, unit, image file, workflows, dashboard, alerts
	scripts/check-deploy

check-prometheus: ## dashboards, alerts and recording rules, evaluated by a real Prometheus over a real run (openssl)
	scripts/bootstrap kafka
	$(CARGO) build --locked
	scripts/check-prometheus

check-image: ## what is in the image, run as a kubelet runs it (root, Linux)
	scripts/check-image

check-apiserver: ## all of deploy/ against a real kube-apiserver (minutes to build, once)
	scripts/check-apiserver

check-docs: ## documents: links, commands, keys, metrics, log lines; KMEND_BIN adds those that need it
	python3 scripts/check/docs.py

check-deps: ## licences, bans and sources of the dependencies
	scripts/tools cargo-deny
	PATH="$$(scripts/tools --path):$$PATH" scripts/check-deps

check-targets: ## clippy for macOS and Windows, where their standard libraries are installed
	scripts/check-targets

check-bench: ## formatting and clippy of the benchmark crate
	cd bench && $(CARGO) fmt --check && $(CARGO) clippy --locked --all-targets -- -D warnings

check-mutants: ## formatting, clippy and tests of the crate that makes mutants
	cd mutants && $(CARGO) fmt --check && $(CARGO) clippy --locked --all-targets -- -D warnings && $(CARGO) test --locked

check-instructions: ## instructions of a small request, counted by callgrind, against what is allowed
	scripts/check-instructions

mutants: ## small changes that no unit test notices (hours); goes on with an earlier run; writes docs/mutants.md
	scripts/tools cargo-mutants
	$(CARGO) build --locked --manifest-path mutants/Cargo.toml
	PATH="$$(scripts/tools --path):$$PATH" mutants/target/debug/kmend-mutants $(MUTANTS)

simulate: ## the simulation, SEEDS=100000 of them, of all kinds, on all cores; writes docs/simulation_runs.md
	KMEND_SIMULATE="$(or $(SEEDS),100000)" KMEND_FROM="$(or $(FROM),0)" $(if $(CORES),KMEND_CORES="$(CORES)") KMEND_REPORT="$(CURDIR)/docs/simulation_runs.md" \
		$(CARGO) test --locked --profile simulate --lib simulation::runs::runs_of_all_kinds -- --nocapture

fuzz: ## coverage-guided fuzzing, FUZZ_SECONDS=60 for each target (nightly compiler); writes docs/fuzz.md
	scripts/fuzz

bench: ## kmend beside raw relays, ROUNDS=7 SECS=2 (an hour; Linux); writes docs/performance_runs.md
	scripts/bench

sbom: ## what the release binary is made of: target/kmend.cdx.json (CycloneDX)
	scripts/sbom

clean: ## what was built here; the cache outside the tree stays
	$(CARGO) clean
