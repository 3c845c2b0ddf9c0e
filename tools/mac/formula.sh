#!/bin/sh
# The formula as a user gets it: installed from the tarball that `make release` made, tested and audited.
# Usage: sh tools/mac/formula.sh, after `make release`. Uses a tap of its own, and removes it.
set -eu
cd "$(dirname "$0")/../.."
tap=flashmoe/checked
brew untap "$tap" >/dev/null 2>&1 || true
brew tap-new --no-git "$tap"
trap 'brew uninstall --force flashmoe; brew untap "$tap"' EXIT
folder=$(brew --repository "$tap")/Formula
mkdir -p "$folder"
# The release is not on the network yet: its formula, with the tarball's place on this disk.
tarball=$(ls "$PWD"/build/release/flashmoe-*.tgz)
sed "s|^  url \".*\"|  url \"file://$tarball\"|" build/release/flashmoe.rb >"$folder/flashmoe.rb"
brew install --build-from-source "$tap/flashmoe"
brew test "$tap/flashmoe"
brew style "$tap"
# The address of a file is no https one, which --online and --new would ask for.
brew audit --strict --except=urls "$tap/flashmoe"
