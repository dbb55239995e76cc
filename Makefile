GO ?= go
build = $(GO) build -trimpath -buildvcs=false

all: ## build the programs into bin/
	$(build) -o bin/ingot ./cmd/ingot
	CGO_ENABLED=0 $(build) -ldflags='-s -w -buildid=' -o bin/ingot-agent ./cmd/ingot-agent
.PHONY: all
