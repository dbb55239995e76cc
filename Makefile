# Ingot. "make demo" and "make test" work on a bare Debian 12 or 13 with git,
# make and the Go version of go.mod, as root or with sudo.
GO ?= go
cache = $${INGOT_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/ingot}
build = $(GO) build -trimpath -buildvcs=false
# For the provenance of images; empty outside a repository.
commit = $$(git describe --always --abbrev=64 --exclude='*' --dirty 2>/dev/null)
# Packages whose tests boot machines or watch the clock: one at a time.
machines = cmd/ingot|providers/libvirt|qemu-tests/.*

.PHONY: all setup demo test thorough short sabotage full repeat variations bench depth openstack lint clean

all: ## build the programs into bin/
	$(build) -ldflags="-X main.commit=$(commit)" -o bin/ingot ./cmd/ingot
	CGO_ENABLED=0 $(build) -ldflags='-s -w -buildid=' -o bin/ingot-agent ./cmd/ingot-agent

setup: ## install the Debian packages that builds and tests need
	./setup.sh

demo: setup all ## build the openclaw example, boot it, prove it
	bin/ingot test examples/openclaw

test: setup all lint ## the tests, machines in QEMU included; of those that take minutes each, a part that the commit picks
	$(GO) test $$($(GO) list ./... | grep -vE '^ingot/($(machines))$$')
	$(GO) test -p 1 -timeout 75m $$($(GO) list ./... | grep -E '^ingot/($(machines))$$')
	# Once more with the QEMU that the others have put into the cache.
	INGOT_TOOLS=$$(ls -d $(cache)/stages/tools-*/tree | tail -n 1) $(GO) test -timeout 10m ./qemu-tests/vm

thorough: setup all ## the tests on machines in QEMU, with none left to another image
	$(GO) test -timeout 150m -v ./qemu-tests/assay -thorough

short: all ## the tests that boot nothing and build nothing
	$(GO) test -short ./...

sabotage: setup all ## break the running example in every way its checks know, play every scenario with its fault, and see each caught
	$(GO) test -timeout 180m -v -run '^(TestSabotage|TestScenarios)$$' ./qemu-tests/assay -sabotage-all

full: setup all ## the example's verdict with all scenarios, half an hour
	bin/ingot test --full examples/openclaw

repeat: setup all ## 20 verdicts of the example, which must be equal
	$(GO) test -timeout 120m -v -run '^TestVerdictRepeats$$' ./qemu-tests/assay -repeat 20

variations: setup all ## builds of the example under other conditions, as other users, ended at every stage and several at once, which must give the same bytes
	$(GO) test -timeout 120m -v -run '^(TestVariations|TestEndedAnywhere|TestColdBuildsAtOnce)$$' ./cmd/ingot -variations

bench: setup all ## builds timed, beside mkosi's of the same packages where that is installed; writes docs/benchmarks.md
	$(GO) test -timeout 150m -v -run '^TestBuildTimes$$' ./cmd/ingot -bench-report "$(CURDIR)/docs/benchmarks.md"

depth: setup all ## lynis and ssh-audit at the example, and lynis at a plain Debian beside it; takes a quarter of an hour
	bin/ingot test --depth examples/openclaw
	$(GO) test -timeout 60m -v -run '^TestAuditOfStockDebian$$' ./qemu-tests/assay -audit

openstack: ## the OpenStack provider's tests with Debian's keystone, glance, neutron, placement, nova, cinder, gnocchi and aodh, which are installed and not started
	./setup.sh openstack
	$(GO) test -timeout 60m -v ./providers/openstack -cloud

lint: ## formatting, vet, staticcheck, known vulnerabilities, scripts
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "run gofmt -w on these files"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	shellcheck setup.sh .ci/run
	# The environment is the build's, and the scripts run under "sh -eu".
	shellcheck --shell=sh --exclude=SC2154,SC2034,SC2164,SC2016 images/scripts/*.sh
	shellcheck images/initrd/95ingot/module-setup.sh

clean: ## remove the programs and the example's outputs
	rm -rf bin examples/*/build
