#!/bin/sh
# A stand-in for launchctl; statuses and texts are the real one's. State is a folder of files:
#   gui        1 when someone is logged in at the screen
#   dying      how many times `print` still finds a job after bootout
#   busy       how many times bootstrap fails with 5 first
#   disabled   a label that is switched off in launchd's database
#   jobs/LABEL/{path,program,pid,last,dying}
# Shell, because a test calls it a hundred times; only bootstrap needs more (launchctl-start.mjs).
set -u
cd "$STAND_IN_DIR/state" || exit 70
printf '%s\n' "$*" >>../calls

read_state() { cat "$1" 2>/dev/null || echo "${2-0}"; }
fail() { status=$1; shift; printf '%s\n' "$@" >&2; exit "$status"; }

verb=$1; shift
kill=; if [ "$verb" = kickstart ] && [ "$1" = -k ]; then kill=1; shift; fi
target=${1:-} path=${2:-}
kind=${target%%/*}; rest=${target#*/}; uid=${rest%%/*}
label=; case $rest in */*) label=${rest#*/} ;; esac
job=jobs/$label
[ "$kind" = user ] || [ "$(read_state gui)" = 1 ] || no_domain=1

# In a container without a reaping init an ended job stays as a zombie, which still takes signals.
is_alive() {
  [ -n "$1" ] && kill -0 "$1" 2>/dev/null && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}
not_found() { fail 113 'Bad request.' "Could not find service \"$label\" in domain for user $kind: $uid"; }

case $verb in
  print)
    [ -z "${no_domain:-}" ] || fail 112 'Bad request.' "Could not find domain for user $kind: $uid"
    if [ -z "$label" ]; then printf '%s = {\n\ttype = login\n}\n' "$target"; exit 0; fi
    [ -d "$job" ] || not_found
    if [ -f "$job/dying" ]; then
      left=$(cat "$job/dying")
      if [ "$left" -le 0 ]; then rm -r "$job"; not_found; fi
      echo $((left - 1)) >"$job/dying"
    fi
    pid=$(read_state "$job/pid" '')
    state='not running'; is_alive "$pid" && state=running
    printf '%s = {\n\tactive count = 1\n\tpath = %s\n\ttype = LaunchAgent\n\tstate = %s\n\n' \
      "$target" "$(cat "$job/path")" "$state"
    printf '\tprogram = %s\n\targuments = {\n\t\tserve\n\t}\n\n\tminimum runtime = 30\n' "$(cat "$job/program")"
    [ "$state" = running ] && printf '\tpid = %s\n' "$pid"
    printf '\tlast exit code = %s\n' "$(read_state "$job/last" '(never exited)')"
    printf '\tproperties = runatload | inferred program\n\t\tjob state = exited\n\t\tstate = active\n}\n'
    ;;
  bootout)
    [ -d "$job" ] || fail 3 'Boot-out failed: 3: No such process'
    [ ! -f "$job/dying" ] || fail 36 'Boot-out failed: 36: Operation now in progress'
    pid=$(read_state "$job/pid" ''); is_alive "$pid" && kill "$pid"
    read_state dying >"$job/dying"
    ;;
  print-disabled)
    printf 'disabled services = {\n'
    off=$(read_state disabled '')
    [ -z "$off" ] || printf '\t"%s" => disabled\n' "$off"
    printf '\t"com.apple.other" => enabled\n}\n'
    ;;
  kickstart)
    [ -d "$job" ] && [ ! -f "$job/dying" ] || not_found
    pid=$(read_state "$job/pid" '')
    if is_alive "$pid"; then
      [ -n "$kill" ] || exit 0
      kill "$pid"
      left=500
      while is_alive "$pid" && [ "$left" -gt 0 ]; do sleep 0.02; left=$((left - 1)); done
    fi
    exec node "$(dirname "$(readlink "$0")")/launchctl-start.mjs" "$rest" "$job"
    ;;
  enable)
    [ "$(read_state disabled '')" != "$label" ] || rm disabled
    ;;
  bootstrap)
    [ -z "${no_domain:-}" ] || fail 125 'Bootstrap failed: 125: Domain does not support specified action'
    [ -f "$path" ] || fail 5 'Bootstrap failed: 5: Input/output error'
    [ -z "$(find "$path" -perm /022)" ] || fail 5 'Bootstrap failed: 5: Input/output error'
    busy=$(read_state busy)
    if [ "$busy" -gt 0 ]; then echo $((busy - 1)) >busy; fail 5 'Bootstrap failed: 5: Input/output error'; fi
    exec node "$(dirname "$(readlink "$0")")/launchctl-start.mjs" "$kind" "$path"
    ;;
  *) fail 64 "Unrecognized subcommand: $verb" ;;
esac
