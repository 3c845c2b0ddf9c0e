#!/bin/sh
# The LaunchAgent of this checkout, from installing to gone: installed, answering, stopped, started, uninstalled.
# Usage: sh tools/mac/service-cycle.sh, after `make build`, with a model set up in $FLASHMOE_HOME. Exits 1 on the first
# step that does not hold.
set -eu
cd "$(dirname "$0")/../.."
flashmoe() { node dist/cli/main.js "$@"; }
answers() { curl --silent --fail --max-time 5 http://127.0.0.1:11435/health >/dev/null; }
until_true() { # SECONDS COMMAND
  seconds=$1
  shift
  while ! "$@"; do
    seconds=$((seconds - 1))
    [ "$seconds" -gt 0 ] || { echo "failed: $*"; flashmoe service logs || true; exit 1; }
    sleep 1
  done
}
silent() { ! answers; }

flashmoe service install
until_true 60 answers
echo 'installed: the server answers'
flashmoe service stop
until_true 30 silent
echo 'stopped: the port is free'
flashmoe service start
until_true 60 answers
echo 'started: the server answers again'
flashmoe service status
flashmoe service uninstall
until_true 30 silent
[ ! -e "$HOME/Library/LaunchAgents/dev.flashmoe.server.plist" ] || { echo 'failed: the plist is still there'; exit 1; }
echo 'uninstalled: nothing is left of it'
