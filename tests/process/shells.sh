#!/bin/bash
# SPDX-License-Identifier: MIT
# shells.sh PATH-OF-RINGBUS - what people read and shells know of the `ringbus` command: the help, the manual
# page and the completions agree with each other, and each example can be typed. As command.sh.
source_dir=$(realpath "$(dirname "$0")/../..")
. "$(dirname "$0")/command_tools.sh"
page=$source_dir/tools/ringbus.1
verbs="create ls info check repair rm group send recv tail dump"
PATH="$(dirname "$ringbus"):$PATH"

# ---------------------------------------------------------------- agreement

test_that "the help of each verb, what shells complete, and the manual page have the same options"
[ "$("$ringbus" --complete "" | grep -v '^-' | xargs)" = "$verbs bench" ] ||
  fail "verbs: $("$ringbus" --complete "" | xargs)"
for verb in $verbs; do
  "$ringbus" --help | grep -q "^  $verb  *[a-z]" || fail "$verb is not in the help"
  "$ringbus" --complete $verb -- | grep -vx -- --help | sort >offered
  [ -s offered ] || fail "nothing is offered for $verb"
  # The help also names options of others; a line about one begins with it.
  "$ringbus" $verb --help | sed -nE '/^ +-/{s/^ +//;s/  .*//;p}' | grep -oE -- '--[a-z-]+' | sort -u >helped
  cmp helped offered || fail "$verb: in the help $(xargs <helped), offered $(xargs <offered)"
  awk -v title=".Ss $verb" '/^\.S[hs] / { inside = $0 == title } inside' "$page" | sed -nE 's/^\.It Fl ([a-z] , )?-([a-z-]+).*/--\2/p' |
    sort -u | cmp - offered || fail "$verb: the manual page differs"
done
grep -q "^\.Ss bench" "$page" || fail "bench is not in the manual page"
for code in 0 1 2 3 4 5 6; do grep -q "^\.It $code\$" "$page" || fail "exit code $code"; done

if command -v mandoc >/dev/null; then
  test_that "the manual page has no mistakes"
  mandoc -T lint -W warning "$page" >mistakes || fail "$(cat mistakes)"
else
  echo "- (mandoc is not installed: the manual page is not checked)"
fi

# ---------------------------------------------------------------- completion

"$ringbus" create quotes
"$ringbus" create "odd name"
echo one | "$ringbus" send quotes
"$ringbus" recv quotes --group archive >out
: >some-file
mkdir some-directory

cat >complete.bash <<'BASH'
. "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
compopt() { :; } # only while a line is being completed
_ringbus
printf '%s\n' "${COMPREPLY[@]}"
BASH
in_bash() { bash complete.bash "$source_dir/tools/completion/ringbus.bash" ringbus "$@"; }

cat >complete.zsh <<'ZSH'
fpath=($1 $fpath)
shift
compadd() { print -rl -- ${(P)2} }
compset() { true }
_files() { [[ $1 == -/ ]] && print -rl -- *(/) || print -rl -- *; }
autoload -Uz _ringbus
words=("$@") CURRENT=$#
_ringbus
ZSH
in_zsh() { zsh -f complete.zsh "$source_dir/tools/completion" ringbus "$@"; }

# offers SHELL WORD... -- CANDIDATE... : exactly these, in any order.
offers() {
  local shell=$1 words=()
  shift
  while [ "$1" != -- ]; do words+=("$1") && shift; done
  shift
  in_"$shell" "${words[@]}" | grep . | sort >got || true
  if (($#)); then printf '%s\n' "$@" | sort; fi | cmp -s - got ||
    fail "$shell, ${words[*]}: $(xargs -d '\n' <got) instead of $*"
}

for shell in bash zsh; do
  if ! command -v $shell >/dev/null; then
    echo "- ($shell is not installed: its completion is not checked)"
    continue
  fi
  test_that "$shell completes verbs, options, their values, rings, groups and files"
  offers $shell re -- repair recv
  offers $shell --v -- --version
  offers $shell recv --f -- --framing --from --follow
  offers $shell info quotes -- quotes
  offers $shell recv --policy g -- gate gate-while-attached
  offers $shell recv quotes --framing "" -- line nul length raw
  offers $shell send quotes --framing l -- line length
  offers $shell recv quotes --group "" -- archive
  offers $shell recv --count "" --
  offers $shell group s -- seek
  offers $shell group rm q -- quotes
  offers $shell group rm quotes a -- archive
  offers $shell group rm nowhere "" --
  offers $shell create q --
  offers $shell bench "" --
  offers $shell nonsense "" --
  in_$shell info o >got
  if [ $shell = bash ]; then line_is="odd\\ name"; else line_is="odd name"; fi
  grep -qxF "$line_is" got || fail "$(cat got)"
  in_$shell send quotes some >got
  grep -qx some-file got || fail "$(cat got)"
  in_$shell ls "" >got
  grep -qx some-directory got && ! grep -qx some-file got || fail "$(cat got)"
done
in_bash recv quotes --from = n >got
[ "$(cat got)" = newest ] || fail "bash, behind a =: $(cat got)"
if command -v zsh >/dev/null; then
  in_zsh recv quotes --from=n >got
  [ "$(cat got)" = newest ] || fail "zsh, behind a =: $(cat got)"
fi
"$ringbus" rm quotes "odd name"
rm -r some-*

# ---------------------------------------------------------------- examples

# waits PROCESS-GROUP: a ringbus in it has come so far that it sleeps.
waits() {
  local stat pid name group
  for stat in /proc/[0-9]*/stat; do
    read -r pid name _ _ group _ <"$stat" || continue
    if [ "$name" = "(ringbus)" ] && [ "$group" = "$1" ]; then
      catches_signals "$pid" && sleeps "$pid" && return
    fi
  done
  return 1
}
# runs LINE: it can be typed, and ends well; or, if it goes on for ever, it ends when it is told to.
runs() {
  local code=0
  echo "  $1"
  case $1 in
    tail* | *--follow* | "ringbus tail quotes")
      setsid bash -eo pipefail -c "$1" >out 2>errors </dev/null & # leads a process group of its own
      echo $! >>started-elsewhere
      until_true waits $!
      kill -TERM -- -$!
      wait $! || code=$?
      [ $code = 143 ] || fail "$1: ended with $code"
      ;;
    *)
      bash -eo pipefail -c "$1" >out 2>errors </dev/null || fail "$1: ended with $?"
      ;;
  esac
}
examples_of() {
  local line
  while read -r line <&3; do runs "$line"; done 3< <("$ringbus" "$1" --help | sed -n '/^Examples/,/^$/s/^  //p')
}

test_that "the examples in the help of each verb are what one can type"
# Those of dump and repair are in together.sh, which has what they need.
examples_of create
seq 20 | "$ringbus" send quotes
"$ringbus" create paths
seq 3 >app.log
tar cf archive.tar app.log
examples_of send
rm app.log
examples_of recv
[ "$(cat out)" = 1 ] || fail "the last one: $(cat out)"
[ "$(xargs <log.txt)" = "1 2 3" ] || fail "log.txt: $(cat log.txt)"
[ "$(xargs <app.log)" = "1 2 3" ] || fail "what tar has unpacked: $(cat app.log)"
examples_of info
examples_of ls
cp "$RINGBUS_DIR/quotes" post-mortem.ring
gzip -k post-mortem.ring
examples_of check
"$ringbus" recv quotes --group archive --count 1 >out
examples_of group
examples_of tail
[ "$(cat out)" = 1 ] || fail "the last one: $(cat out)"
examples_of rm
"$ringbus" rm shared log backup paths
nothing_left

# runs_all FILE: the lines of FILE, as a script.
runs_all() {
  sed 's/^/  /' "$1"
  bash -eo pipefail "$1" >out 2>errors </dev/null || fail "$(xargs -d '\n' <"$1"): ended with $?"
  [ ! -s errors ] || fail "said something"
}

test_that "the examples in the command's own help and in its manual page are what one can type"
"$ringbus" --help | sed -n '/^Example/,/^$/s/^  //p' >example
runs_all example
seq 10 | cmp - out || fail "$(cat out)"
sed -n '/^\.Sh EXAMPLES/,$p' "$page" | awk '/^\.Bd/ { file = "example." ++n; next } /^\.Ed/ { file = "" } file { print >file }'
[ "$(ls example.* | wc -l)" -ge 4 ] || fail "only $(ls example.*)"
for example in example.*; do
  runs_all "$example"
done
sort one two | cmp - <(ls /etc | sort) || fail "one and two"
nothing_left
echo "all passed"
