# Needs Node >= 20.19 and make; everything else is installed here.
.PHONY: install build demo test e2e check lint types deps unused format bench clean

install: node_modules/.installed

node_modules/.installed: package.json package-lock.json
# Not `npm ci`: npm 11 refuses a lock file that lists no other platform's optional binaries. The versions are the lock's all the same.
	npm install --no-save --no-audit --no-fund
	@touch $@

build: install
	npm run --silent build

# Starts Keyferry with the embedded store and plays the driver against it.
demo: build
	node dist/keyferry.js demo

# Installs, builds and runs all tests.
test: build
	npm test

# Runs the suites against real servers; each says what it needs. One alone: make e2e SUITE=aws
e2e: build
	npm run --silent e2e -- $(SUITE)

# Everything that is checked without running the product.
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

# Prints tables of ratios measured within one run; see docs/operations.md.
bench: build
	npm run --silent bench

clean:
	rm -rf dist coverage node_modules
