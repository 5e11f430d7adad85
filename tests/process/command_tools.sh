# SPDX-License-Identifier: MIT
# command_tools.sh - what the tests of the `ringbus` command share; they are sourced by it with the
# command's path as $1: a private bus directory, an empty working directory, and words for what they do.
set -eu
export LC_ALL=C

ringbus=$(realpath "$1")
RINGBUS_DIR=$(mktemp -d /dev/shm/ringbus-test.XXXXXX)
export RINGBUS_DIR
work=$(mktemp -d "${TMPDIR:-/tmp}/ringbus-test.XXXXXX")

cleanup() {
  local code=$? pid
  [ $code = 0 ] || sed 's/^/  stderr: /' noise >&6
  for pid in $(jobs -p) $(cat started-elsewhere 2>/dev/null); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  rm -rf "$RINGBUS_DIR" "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$work"
exec 6>&1    # failures go there, wherever standard output goes
exec 2>noise # what commands in the background and the shell say; told if a test fails

test_that() { echo "- $*"; }

fail() {
  echo "FAILED (line ${BASH_LINENO[0]} from ${BASH_LINENO[1]}): $*" >&6
  [ ! -s errors ] || sed 's/^/  its stderr: /' errors >&6
  exit 1
}

# expect CODE WORD COMMAND... : it ends with this code, and its stderr has the word ("" for silence).
expect() {
  local code=$1 word=$2 got=0
  shift 2
  "$@" 2>errors || got=$?
  [ "$got" = "$code" ] || fail "exit code $got instead of $code: $*"
  if [ -z "$word" ]; then
    [ ! -s errors ] || fail "should be silent: $*"
  else
    grep -qF -- "$word" errors || fail "stderr does not say '$word': $*"
  fi
}

# start COMMAND... : in the background; its pid is in $started. Redirect as usual. Standard input and
# SIGINT work, which a shell otherwise takes away from background commands.
start() {
  env --default-signal=INT "$@" <&0 &
  started=$!
}

# ends PID CODE WHO
ends() {
  local got=0
  wait "$1" || got=$?
  [ "$got" = "$2" ] || fail "$3 ended with $got instead of $2"
}

# until_true COMMAND... : tries until it succeeds.
until_true() {
  local tries
  for ((tries = 0; tries < 3000; tries++)); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.02
  done
  fail "never came true: $*"
}

info_has() { "$ringbus" info "$1" --json | grep -qF -- "$2"; }
info_value() { "$ringbus" info "$1" --json | sed -n "s/^\t\"$2\":\t\([0-9]*\),*$/\1/p"; }
has_consumer() { info_has "$1" '"consumer"'; }
has_sent() { [ "$(info_value "$1" tail_count)" = "$2" ]; }
is_full() { [ "$(info_value "$1" full_events)" -gt 0 ]; }
bytes_of() { stat -c %s "$1"; }
has_bytes() { [ "$(bytes_of "$1")" -ge "$2" ]; }
has_bytes_or_ended() { has_bytes "$1" "$2" || ! kill -0 "$3"; }
catches_signals() { # the process has come so far that SIGTERM (bit 14) is caught by the command itself
  [ "$(cat "/proc/$1/comm")" = ringbus ] &&
    [ $((16#$(sed -n 's/^SigCgt:\t//p' "/proc/$1/status") & 0x4000)) != 0 ]
}
sleeps() { grep -q "^State:	S" "/proc/$1/status"; }
# A pipe whose two ends are opened here without waiting for the other: reading is 7, writing is 9. A
# command that shall be the only one at its end is started with the other one closed.
open_pipe() {
  [ -p pipe ] || mkfifo pipe
  exec 8<>pipe 7<pipe 9>pipe 8>&-
}
# A kill can cut the last line off.
complete_lines() { sed -n '$!p' "$1"; [ -n "$(tail -c 1 "$1")" ] || tail -n 1 "$1"; }
checksum() { sha256sum | cut -d' ' -f1; }

nothing_left() {
  [ -z "$(ls -A "$RINGBUS_DIR")" ] || fail "left behind: $(ls -A "$RINGBUS_DIR")"
}
