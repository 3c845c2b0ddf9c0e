# Everything a newcomer types. Works with GNU make 3.81 (macOS) and newer; what the machine lacks is
# named by tools/need.sh with the command that installs it.

.DEFAULT_GOAL := help
.PHONY: help demo test bench bench-provision media build release lint clean need-node dependencies typescript addon
.DELETE_ON_ERROR:

# npm writes its own record of what it installed: newer than the lock means nothing to do.
DEPENDENCIES := node_modules/.package-lock.json
TYPESCRIPT := dist/.built
ADDON := build/Release/flashmoe.node

typescript_sources := $(shell find src -name '*.ts' -o -name '*.tsx') tsconfig.json tsconfig.build.json
native_sources := binding.gyp $(shell find native -type f \
	\( -name '*.cpp' -o -name '*.h' -o -name '*.mjs' \) -not -path 'native/test/*' -not -path 'native/build/*')

# $(call bring,FILE,NAME): makes FILE, or says that nothing is to do.
bring = @if $(MAKE) --question $(1) >/dev/null 2>&1; then echo "$(2): up to date"; \
	else $(MAKE) --no-print-directory $(1); fi

help:
	@echo 'make demo    install, build, provision the bundled model, ask it one question over HTTP'
	@echo 'make test    install, build, then typecheck, lint, unit, integration and native tests'
	@echo 'make test-PART  one of typecheck, lint, format, unused, unit, kill, metal, browser, native, sanitized'
	@echo 'make bench   one table of this engine beside llama.cpp, in memory and in a third of it (root, 14 GB of disk)'
	@echo 'make bench-provision  a setup of 8 GB from a hub on loopback beside aria2c, its peak disk, memory, and 100 kills (20 GB of disk)'
	@echo 'make build   install, then bundle TypeScript into dist/ and build the native addon to build/'
	@echo 'make media   the recordings of the README, from a real setup and chat in tmux'
	@echo 'make release  the npm tarball and a formula with its version and hash, in build/release'
	@echo 'make lint    eslint and prettier'
	@echo 'make clean   remove what was built, and the home of make demo (.demo/)'

demo: build
	@node tools/demo.mjs

test: build
	@node tools/test.mjs

# make test-unit, test-metal, test-kill, …: a part alone.
test-%: build
	@node tools/test.mjs $*

bench: build
	@node bench/install.mjs
	@node bench/run.mjs

bench-provision: build
	@node bench/provision/run.mjs

media: build
	@node tools/media.mjs

build: dependencies typescript addon

release: dependencies typescript
	@node tools/release.mjs

lint: dependencies
	@npm run --silent lint

clean:
	rm -rf dist build .demo native/build

need-node:
	@sh tools/need.sh node

dependencies: need-node
	$(call bring,$(DEPENDENCIES),dependencies)

typescript: dependencies
	$(call bring,$(TYPESCRIPT),TypeScript)

addon: dependencies
	$(call bring,$(ADDON),native addon)

# No install scripts: none is needed, and Homebrew runs none either.
$(DEPENDENCIES): package-lock.json
	@echo 'dependencies: npm ci'
	@npm ci --include=dev --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Order-only: after an install the outputs are still good as long as their sources are.
$(TYPESCRIPT): $(typescript_sources) | $(DEPENDENCIES)
	@echo 'TypeScript: esbuild, tsc'
	@npm run --silent build
	@touch $@

$(ADDON): $(native_sources) | $(DEPENDENCIES)
	@sh tools/need.sh compiler python
	@echo 'native addon: node-gyp (log in build/native.log)'
	@mkdir -p build
	@node native/build.mjs >build/native.log 2>&1 || { tail -40 build/native.log; exit 1; }
	@touch $@
