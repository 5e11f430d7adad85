#!/bin/bash
# SPDX-License-Identifier: MIT
# verbs.sh PATH-OF-RINGBUS - every verb and option of the `ringbus` command that command.sh and together.sh
# do not know: ls, check, group, tail, framing by length, --json, bad values, terminals. As command.sh.
. "$(dirname "$0")/command_tools.sh"

verbs="create ls info check repair rm group send recv tail dump"
# json FILTER FILE: a filter of jq is true of each object of FILE, of which there is at least one.
json() { [ -s "$2" ] && jq -es "map($1) | all" <"$2" >/dev/null || fail "not $1: $(cat "$2")"; }
# keys LIST FILE: the names of each object's members, in this order.
keys() { json "(keys_unsorted | join(\" \")) == \"$1\"" "$2"; }

# ---------------------------------------------------------------- options

test_that "each option of each verb refuses a bad value, names itself and says what it expected"
# refused WORD COMMAND... : usage, and said so with this word. As expect, without a process for looking.
refused() {
  local word=$1 got=0 said
  shift
  "$@" >out 2>errors </dev/null || got=$?
  said=$(<errors)
  [ $got = 2 ] && [[ $said == *"$word"* ]] || fail "ended with $got, does not say '$word': $*"
}
any_text=" --output --group " # which only an empty value is bad for
checked=0
for verb in $verbs; do
  for option in $("$ringbus" --complete $verb --); do
    [[ $any_text == *" $option "* ]] && bad= || bad=@
    refused "$option" "$ringbus" $verb r "$option=$bad"
    [[ $(<errors) != *"takes no value"* ]] || continue
    [[ $(<errors) == *"$option '$bad': expected"* ]] || fail "$verb $option"
    [[ $option == --raw || $option == --create || $option == --evict ]] && continue # or without a value
    refused "'$option' expects a value" "$ringbus" $verb r "$option"
    refused "$option '$bad': expected" "$ringbus" $verb r "$option" "$bad"
    checked=$((checked + 1))
  done
  refused "'--colour' is no option, or short for several: see 'ringbus $verb --help'" "$ringbus" $verb --colour
  refused "'-x' is no option" "$ringbus" $verb -x
done
[ $checked -gt 20 ] || fail "only $checked options"
expect 2 "expected ls, rm or seek" "$ringbus" group
expect 2 "expected ls, rm or seek" "$ringbus" group sl r
expect 2 "expected one NAME" "$ringbus" group ls
expect 2 "at least one GROUP" "$ringbus" group rm r
expect 2 "oldest, newest or a position" "$ringbus" group seek r g
expect 2 "expected oldest, newest or a position" "$ringbus" group seek r g later
expect 2 "expected at least one NAME" "$ringbus" check
expect 2 "expected one DIRECTORY" "$ringbus" ls a b
expect 2 "exclude each other" "$ringbus" recv r --json --raw
expect 2 "exclude each other" "$ringbus" tail r --json --framing nul
expect 2 "exclude each other" "$ringbus" tail r --last 1 --from oldest
expect 2 "--raw=SIZE and --framing line exclude each other" "$ringbus" send r --raw=1K --framing line
for option in --append --overwrite; do expect 2 "are for an --output FILE" "$ringbus" recv r $option; done
for words in create ls info check repair rm "group ls" "group rm r" "group seek r" send "send r" recv tail dump; do
  expect 2 "'': expected a name" "$ringbus" $words ""
done
expect 1 "no ring" "$ringbus" group ls r
expect 1 "no ring" "$ringbus" group seek r g oldest
expect 1 "no ring" "$ringbus" tail r
nothing_left

# ---------------------------------------------------------------- framing

test_that "messages behind their lengths come back, byte for byte, from recv, dump and tail"
"$ringbus" create r --capacity 64K
# 0, 3 and 256 bytes, with what other framings end at.
{ printf '\0\0\0\0' && printf '\3\0\0\0a\n\0' && printf '\0\1\0\0' && head -c 256 /dev/urandom; } >framed
expect 0 "" "$ringbus" send r --framing length --close framed
[ "$(info_value r tail_count)" = 3 ] || fail "messages"
expect 0 "" "$ringbus" recv r --framing length -o out.recv --group g
expect 0 "" "$ringbus" recv r --framing length -o out.lapped --policy lapped
"$ringbus" dump r --framing length >out.dump
expect 0 "" "$ringbus" tail r --framing length --from oldest >out.tail
for way in recv lapped dump tail; do cmp framed out.$way || fail "$way"; done
"$ringbus" rm r
"$ringbus" create r --capacity 64K
head -c 40000 /dev/urandom >noise.raw
{ printf '\100\234\0\0' && cat noise.raw; } >framed # longer than what is copied in recv
expect 0 "" "$ringbus" send r --framing length framed framed --count 1
for policy in gate lapped; do
  expect 0 "" "$ringbus" recv r --framing length --policy $policy --count 1 >out
  cmp framed out || fail "a long one, $policy"
done
"$ringbus" rm r

test_that "a length that is cut off, or too long, is named, and what was before it is sent"
"$ringbus" create r --capacity 4K
{ printf '\1\0\0\0a' && printf '\2\0\0\0b'; } >cut
expect 1 "cut: it ends in the midst of message 2: 5 bytes" "$ringbus" send r --framing length cut
{ printf '\1\0\0\0a' && printf '\2\0'; } >cut
expect 1 "in the midst of message 2: 2 bytes" "$ringbus" send r --framing length - <cut
echo "a line of text" >line
expect 1 "message 1 has a length of 1768710497" "$ringbus" send r --framing length <<<"aalipsum"
{ printf '\1\0\0\0a' && printf '\361\17\0\0' && head -c 4081 /dev/zero; } >long
expect 1 "message 2 has a length of 4081 before it, the longest of this ring is 4080" \
  "$ringbus" send r --framing length long
[ "$("$ringbus" dump r --raw)" = aaa ] || fail "$("$ringbus" dump r)"
"$ringbus" rm r

# ---------------------------------------------------------------- --json

test_that "--json of each verb is JSON with keys that stay"
"$ringbus" create r --json --capacity 64K >json
json '.name == "r" and .capacity == 65536 and .tail == 0' json
seq 3 | expect 0 "" "$ringbus" send r --json --close >json
keys "name messages bytes closed" json
json '.messages == 3 and .bytes == 3 and .closed' json
"$ringbus" create full --capacity 4K --json >json
seq 10000 | expect 3 "no room" "$ringbus" send full --json --timeout 0.1 >json
json ".messages == $(info_value full tail_count) and (.closed | not)" json
"$ringbus" recv r --json --group g >json
keys "count position length tag payload" json
[ "$(jq -r '"\(.count) \(.payload)"' <json | xargs)" = "0 1 1 2 2 3" ] || fail "$(cat json)"
"$ringbus" recv r --json --policy lapped | cmp - json || fail "of a group that may be lapped"
"$ringbus" dump r --json | cmp - json || fail "dump"
"$ringbus" tail r --json --from oldest | cmp - json || fail "tail"
"$ringbus" recv r --json --group s --shared >json
keys "position length tag redelivered payload" json
[ "$(jq -r '"\(.redelivered) \(.payload)"' <json | xargs)" = "false 1 false 2 false 3" ] || fail "$(cat json)"
"$ringbus" group ls r --json >json
keys "name policy durable gating shared attached members slot max_lag cursor cursor_count lag_bytes lag_messages lost_messages lost_bytes redelivered" json
json '.lag_messages == 0' json
"$ringbus" group rm r s --json >json
keys "name group removed error" json
json '.removed and .group == "s" and .error == null' json
expect 1 "no group" "$ringbus" group rm r s --json >json
json '(.removed | not) and (.error | contains("no group"))' json
"$ringbus" group seek r g oldest --json >json
keys "name group from to" json
json '.from.count == 3 and .to == {position: 0, count: 0}' json
"$ringbus" ls --json >json
keys "name error state capacity many_producers overwrite producers consumers dead messages groups lag_messages lag_group blocked" json
"$ringbus" check r full --json >json
keys "name sound error messages wrong notes" json
json '.sound and .error == null and .wrong == []' json
"$ringbus" repair r --json >json
keys "name recovered forgotten no_longer_gating evicted blocked_by retired" json
json '.recovered == 0 and .forgotten == [] and .evicted == null' json
expect 1 "no ring" "$ringbus" rm r nowhere full --json >json
keys "name removed error" json
[ "$(jq -c .removed <json | xargs)" = "true false true" ] || fail "$(cat json)"
nothing_left

# ---------------------------------------------------------------- ls

test_that "ls names each ring, what it is and holds, and what is no ring or damaged"
"$ringbus" ls >out
[ ! -s out ] || fail "an empty bus: $(cat out)"
"$ringbus" create trace --many-producers --overwrite --capacity 1M
"$ringbus" create quotes --capacity 64K
seq 5 | "$ringbus" send quotes --close
"$ringbus" recv quotes --group slow --count 1 >out
"$ringbus" recv quotes --group fast >out
start "$ringbus" recv trace --follow
consumer=$started
until_true info_has trace '"attached":	true' # it has its group by then
kill -KILL "$consumer"
ends "$consumer" 137 recv
echo text >"$RINGBUS_DIR/notes"
head -c 70000 "$RINGBUS_DIR/quotes" >"$RINGBUS_DIR/torn"
mkdir "$RINGBUS_DIR/directory"
mkfifo "$RINGBUS_DIR/fifo"
expect 0 "" "$ringbus" ls >out
[ "$(wc -l <out)" = 7 ] || fail "$(cat out)"
grep -qE '^quotes +64K  one +0 +0 +5 +4 slow +closed$' out || fail "$(cat out)"
grep -qE '^trace +1M  many overwrite +0 +0 +0 +0 #.* open, 1 dead$' out || fail "$(cat out)"
grep -qE '^notes +this file is not a ring$' out || fail "$(cat out)"
grep -qE '^torn +the ring should have .* bytes but has 70000$' out || fail "$(cat out)"
grep -qE '^directory +it is a directory, not a ring$' out || fail "$(cat out)"
grep -qE '^fifo +it is a FIFO, not a ring$' out || fail "$(cat out)"
"$ringbus" ls "$RINGBUS_DIR/." --json >json
json 'has("state") == (.error == null)' json
[ "$(jq -r 'select(.error == null).name' <json | xargs)" = "quotes trace" ] || fail "$(cat json)"
expect 1 "cannot list" "$ringbus" ls /nowhere
expect 1 "standard output" "$ringbus" ls >/dev/full

# ---------------------------------------------------------------- check

test_that "check says what any file is, and nothing stops it"
expect 5 "" "$ringbus" check quotes notes torn directory fifo trace >out
for line in "notes: wrong: it is not a ring" "torn: wrong: the ring should have" \
  "directory: wrong: it is a directory" "fifo: wrong: it is a FIFO" "quotes: sound, 5 messages" \
  "trace: note: consumer: ringbus recv, pid $consumer, slot 1, dead" "trace: sound"; do
  grep -qF "$line" out || fail "no '$line': $(cat out)"
done
expect 0 "" "$ringbus" check quotes trace >out
rm -r "${RINGBUS_DIR:?}"/{notes,torn,directory,fifo}
for device in zero null full random; do
  expect 5 "" "$ringbus" check /dev/$device >out
  grep -q "a character device" out || fail "$(cat out)"
  [ $device = full ] || expect 5 "" "$ringbus" check - </dev/$device >out
done
expect 5 "should have" "$ringbus" info - < <(cat "$RINGBUS_DIR/quotes" /dev/zero)
expect 5 "not a ring" "$ringbus" dump - </dev/zero
: >empty
expect 5 "" "$ringbus" check ./empty >out
grep -q "it is empty" out || fail "$(cat out)"
cp "$RINGBUS_DIR/quotes" copy
expect 0 "" "$ringbus" check ./copy >out
expect 0 "" "$ringbus" check - <copy >out
grep -qxF -- "-: sound, 5 messages" out || fail "$(cat out)"
expect 5 "" "$ringbus" check - < <(cat copy /dev/zero) >out
chmod 0666 copy
expect 0 "" "$ringbus" check ./copy >out
grep -q "everybody may write it" out || fail "$(cat out)"
ln copy second
expect 5 "" "$ringbus" check ./copy >out
grep -q "2 links" out || fail "$(cat out)"
rm second
ln -s copy link
expect 1 "not followed" "$ringbus" check ./link
expect 1 "No such file" "$ringbus" check nowhere
expect 1 "./copy" "$ringbus" check copy
expect 1 "No such file" "$ringbus" check nowhere --json >json
json '.sound == null and (.error | contains("No such file"))' json
expect 5 "No such file" "$ringbus" check nowhere ./empty >out
expect 1 "standard output" "$ringbus" check quotes >/dev/full
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
# Not if the source tree is where nobody else may go, as in root's own directory.
can_be_nobody() { [ "$(id -u)" = 0 ] && as_nobody "$ringbus" --version >/dev/null 2>&1; }
if can_be_nobody; then
  chmod 0755 "$work" "$RINGBUS_DIR" && cp copy private && chmod 0600 private
  expect 1 "Permission denied" as_nobody "$ringbus" check ./private
  expect 0 "" as_nobody "$ringbus" check ./copy >out
  chmod 0600 copy && chown 65534 copy
  expect 0 "" "$ringbus" check ./copy >out
  grep -q "belongs to user 65534" out || fail "$(cat out)"
  expect 1 "run this as that user, or read a copy" "$ringbus" info ./copy
  expect 1 "who is not trusted: run this as that user" "$ringbus" recv ./copy
  chmod 0700 "$work" "$RINGBUS_DIR"
fi
rm -f copy private link empty
"$ringbus" rm quotes trace
expect 5 "" "$ringbus" check "$ringbus" >out

test_that "check raises no false alarm while a ring is used, and changes nothing"
for kind in "" "--many-producers" "--overwrite" "--many-producers --overwrite"; do
  "$ringbus" create r --capacity 64K $kind
  running=()
  senders=1
  [[ $kind != *many* ]] || senders=3
  for _ in $(seq $senders); do
    start "$ringbus" send r < <(seq 1000000000)
    running+=("$started")
  done
  start "$ringbus" recv r --follow --group g >/dev/null
  running+=("$started")
  start "$ringbus" recv r --follow --group h --policy lapped >/dev/null
  running+=("$started")
  if [[ $kind != *overwrite* ]]; then
    for _ in 1 2; do
      start "$ringbus" recv r --follow --group s --shared >/dev/null
      running+=("$started")
    done
  fi
  until_true info_has r '"h"'
  for _ in $(seq 6); do
    expect 0 "" "$ringbus" check r >out
    grep -q "r: sound" out && ! grep -q wrong out || fail "$kind: $(cat out)"
  done
  for pid in "${running[@]}"; do kill -KILL "$pid"; done
  for pid in "${running[@]}"; do ends "$pid" 137 "one of them"; done
  expect 0 "" "$ringbus" check r >out
  grep -q "note: producer: ringbus send, pid ${running[0]}, slot [0-9], dead" out || fail "$(cat out)"
  sum=$(checksum <"$RINGBUS_DIR/r")
  expect 0 "" "$ringbus" check r >out
  [ "$sum" = "$(checksum <"$RINGBUS_DIR/r")" ] || fail "check has changed it"
  "$ringbus" rm r
done

# ---------------------------------------------------------------- group

test_that "group lists, moves and removes groups, but none that somebody reads for"
"$ringbus" create r --capacity 64K
"$ringbus" group ls r >out
[ ! -s out ] || fail "no group: $(cat out)"
seq 10 | "$ringbus" send r
"$ringbus" recv r --group g --count 4 >out
"$ringbus" recv r --group attached --policy gate-while-attached --max-lag 4K --count 10 >out
"$ringbus" recv r --group s --shared --count 1 >out
expect 0 "" "$ringbus" group ls r >out
grep -qE '^g +gate +durable +0 +6 +96 +0  64 +-$' out || fail "$(cat out)"
grep -qE '^attached +gate-while-attached +durable +0 +0 +0 +0  160 +4K  not waited for$' out || fail "$(cat out)"
grep -qE '^s +gate +shared +0 +9 ' out || fail "$(cat out)"
expect 0 "" "$ringbus" group seek r g 32 >out
[ "$(cat out)" = "g: from position 64, message 4, to position 32, message 2" ] || fail "$(cat out)"
[ "$("$ringbus" recv r --group g --count 1)" = 3 ] || fail "what comes next"
expect 0 "" "$ringbus" group seek r g oldest >out
[ "$("$ringbus" recv r --group g --count 1)" = 1 ] || fail "oldest"
expect 0 "" "$ringbus" group seek r g newest >out
[ -z "$("$ringbus" recv r --group g)" ] || fail "newest"
expect 1 "33 is not the position of a message" "$ringbus" group seek r g 33
expect 1 "no group 'nobody'" "$ringbus" group seek r nobody oldest
! info_has r nobody || fail "seek has made a group"
expect 1 "remove it, and join it anew" "$ringbus" group seek r s newest
expect 1 "group 's' is a shared one: --shared joins it" "$ringbus" recv r --group s
expect 1 "33 is not the position of a message" "$ringbus" recv r --group new --from 33
expect 1 "printable characters" "$ringbus" recv r --group $'a\nb'
start "$ringbus" recv r --group g --follow
consumer=$started
until_true info_has r '"attached":	true'
expect 4 "pid $consumer" "$ringbus" group seek r g oldest
expect 4 "pid $consumer" "$ringbus" group rm r g s
! info_has r '"s"' || fail "the other one is still there"
"$ringbus" group ls r >out
grep -qE '^g +gate +durable +1 ' out || fail "$(cat out)"
kill -TERM "$consumer"
ends "$consumer" 143 recv
expect 0 "" "$ringbus" group rm r g attached
"$ringbus" group ls r >out
[ ! -s out ] || fail "$(cat out)"
"$ringbus" rm r

# ---------------------------------------------------------------- rm

if can_be_nobody; then
  test_that "rm does not retire a ring whose name it may not remove"
  "$ringbus" create r --mode 0666 --capacity 64K
  echo kept | "$ringbus" send r
  for mode in 0755 1777; do # not writable; writable, but only for the owner of the file, as /dev/shm
    chmod $mode "$RINGBUS_DIR"
    expect 1 "nothing is changed" as_nobody "$ringbus" rm r --force --json >json
    json '(.removed | not) and (.error | contains("not let this user remove it"))' json
  done
  [ "$("$ringbus" recv r --timeout 0)" = kept ] || fail "it is gone"
  chmod 0700 "$RINGBUS_DIR"
  "$ringbus" rm r
fi

# ---------------------------------------------------------------- tail

test_that "tail begins where it is told to, and is noticed by nobody"
"$ringbus" create r --capacity 64K
seq 5 | "$ringbus" send r
position=$("$ringbus" dump r --json | jq 'select(.count == 3).position')
[ "$("$ringbus" tail r --last 2 --count 2 | xargs)" = "4 5" ] || fail "last 2"
[ "$("$ringbus" tail r -n 9 --count 5 | xargs)" = "1 2 3 4 5" ] || fail "last 9"
[ "$("$ringbus" tail r --from oldest --count 2 | xargs)" = "1 2" ] || fail "oldest"
[ "$("$ringbus" tail r --from "$position" --count 2 | xargs)" = "4 5" ] || fail "position"
[ "$("$ringbus" tail r --from $((position - 8)) --count 1)" = 4 ] || fail "behind a position"
expect 1 "oldest message is at 0" "$ringbus" tail r --from 9999999
expect 3 "no message has come" "$ringbus" tail r --timeout 0.1 >out
expect 3 "no message has come" "$ringbus" tail r -n 1 --timeout 0.1 >out
[ "$(cat out)" = 5 ] || fail "$(cat out)"
sum=$(checksum <"$RINGBUS_DIR/r")
start "$ringbus" tail r --from oldest >out.tail
tail=$started
start "$ringbus" tail r --wait >out.new # from now on
new=$started
until_true has_bytes out.tail 10 # what is there is not kept back
until_true catches_signals "$new"
[ "$sum" = "$(checksum <"$RINGBUS_DIR/r")" ] || fail "tail has changed the ring"
info_has r '"participants":	[]' || fail "tail is noticed"
until_true sleeps "$new"
seq 6 8 | "$ringbus" send r # a producer comes and goes
seq 9 10 | "$ringbus" send r --close
ends "$tail" 0 tail
ends "$new" 0 tail
seq 10 | cmp - out.tail || fail "$(cat out.tail)"
seq 6 10 | cmp - out.new || fail "$(cat out.new)"
expect 0 "" "$ringbus" tail r >out # closed, and nothing will come
"$ringbus" rm r

test_that "tail waits for a ring if told to, ends when it is removed, and says what it has missed"
start "$ringbus" tail r --wait --from oldest >out.tail 2>errors.tail
tail=$started
"$ringbus" create r --capacity 4K --overwrite
seq 3 | "$ringbus" send r
until_true has_bytes out.tail 6
kill -STOP "$tail"
seq 4 1000 | "$ringbus" send r
kill -CONT "$tail"
ends_with_last() { [ "$(tail -n 1 out.tail)" = 1000 ]; }
until_true ends_with_last
"$ringbus" rm r
ends "$tail" 6 tail
lost=$(sed -n 's/.*lapped: \([0-9]*\) messages were overwritten.*/\1/p' errors.tail | tail -n 1)
[ $((lost + $(wc -l <out.tail))) = 1000 ] || fail "$lost lost, $(wc -l <out.tail) read"
grep -q "removed meanwhile" errors.tail || fail "$(cat errors.tail)"
nothing_left

test_that "tail ends by signals, and when nobody reads from it any more, even if nothing comes"
"$ringbus" create r
echo one | "$ringbus" send r
for signal in INT:130 TERM:143; do
  start "$ringbus" tail r --from oldest >out.tail
  until_true has_bytes out.tail 4
  kill -${signal%:*} "$started"
  ends "$started" ${signal#*:} tail
done
set +e
"$ringbus" tail r --from oldest 2>errors | head -n 1 >out
got=("${PIPESTATUS[@]}")
set -e
[ "${got[0]}" = 141 ] && [ ! -s errors ] || fail "tail ended with ${got[0]}: $(cat errors)"
expect 1 "standard output" "$ringbus" tail r --from oldest >/dev/full
"$ringbus" rm r

# ---------------------------------------------------------------- full disks

if unshare --mount true 2>/dev/null; then
  test_that "a disk that is full for a ring or an output is an error, and nothing is lost"
  "$ringbus" create r
  head -c 600000 /dev/zero | tr '\0' x | fold -w 99 | "$ringbus" send r --close
  mkdir small
  cat >on_small_disk <<EOS
mount -t tmpfs -o size=256k none small
"$ringbus" create ./small/ring --capacity 1M 2>errors.create && exit 9
[ -z "\$(ls -A small)" ] || exit 8
"$ringbus" recv r --group g -o small/out 2>errors.recv
cat small/out >received
rm small/out
"$ringbus" create sparse
cp --sparse=always "$RINGBUS_DIR/sparse" small/copy
"$ringbus" rm sparse
"$ringbus" recv ./small/copy 2>errors.copy && exit 7
exit 0
EOS
  unshare --mount bash on_small_disk || fail "on a small disk: $?"
  grep -q "filesystem is full, or too small" errors.create || fail "$(cat errors.create)"
  grep -q "No space left on device: what was not written stays unread" errors.recv || fail "$(cat errors.recv)"
  [ -s received ] || fail "nothing was written"
  grep -q "cannot reserve .*: the filesystem is full" errors.copy || fail "$(cat errors.copy)"
  # The batch that did not fit comes again; whole lines up to there have been written.
  "$ringbus" recv r --group g >rest
  [ "$(cat received rest | tr -d '\n' | wc -c)" -ge 600000 ] || fail "lost"
  "$ringbus" rm r
else
  echo "- (no small disk to be had here: not tested)"
fi

# ---------------------------------------------------------------- terminals

# on_terminal COMMAND... : with a terminal of its own, in $terminal; what is written to fd 5 is typed there,
# what it shows goes to "screen", its exit code to "ended".
on_terminal() {
  rm -f keys ended screen
  mkfifo keys
  printf '%s\n' 'trap : INT' "$*" 'echo $? >ended' >on_terminal.sh
  env --default-signal=INT script -q -c "bash on_terminal.sh" screen <keys >/dev/null 2>&1 &
  terminal=$!
  exec 5>keys
}
terminal_ends() {
  until_true test -s ended
  [ "$(cat ended)" = "$1" ] || fail "ended with $(cat ended) instead of $1: $(cat screen)"
  exec 5>&-
  wait "$terminal" || true
}

test_that "Ctrl-C on a terminal ends recv and send, and loses nothing"
"$ringbus" create r --capacity 64K
seq 400000 >numbers
open_pipe
start "$ringbus" send r --close <&7 7<&- 9>&-
producer=$started
exec 7<&-
on_terminal "'$ringbus' recv r --group g -o out.terminal"
head -n 200000 numbers >&9
until_true test -s out.terminal
printf '\003' >&5 # in the midst of it, or while it waits for the rest
terminal_ends 130
grep -q "messages, .* bytes were written" screen || fail "$(cat screen)"
tail -n +200001 numbers >&9 &
exec 9>&-
"$ringbus" recv r --group g >out.rest
ends "$producer" 0 send
cat out.terminal out.rest | cmp - numbers || fail "lost or repeated"
"$ringbus" rm r
"$ringbus" create r --capacity 64K
on_terminal "'$ringbus' send r numbers"
until_true is_full r
printf '\003' >&5
terminal_ends 130
sent=$(info_value r tail_count)
grep -q "ended after $sent messages" screen || fail "$(cat screen)"
head -n "$sent" numbers | cmp - <("$ringbus" recv r --group g) || fail "what was sent"
"$ringbus" rm r

test_that "what is typed on a terminal is sent line by line, and Ctrl-D ends it"
"$ringbus" create r
on_terminal "'$ringbus' send r --close"
until_true info_has r '"producer"'
printf 'typed\n' >&5
until_true has_sent r 1
printf 'again\n\004' >&5
terminal_ends 0
[ "$("$ringbus" recv r | xargs)" = "typed again" ] || fail "$(cat screen)"
"$ringbus" rm r

test_that "progress is shown on a terminal unless the messages are, and not with --quiet"
for case in "send r numbers >/dev/null:yes" "send r --quiet numbers:no" "recv r -o /dev/null:yes" "recv r --quiet -o /dev/null:no"; do
  "$ringbus" create r --capacity 16M
  [[ $case != recv* ]] || "$ringbus" send r --close numbers
  on_terminal "'$ringbus' ${case%:*}"
  terminal_ends 0
  shown=no
  ! grep -q "400000 messages, 2.*MB/s" screen || shown=yes
  [ $shown = "${case#*:}" ] || fail "$case: $(cat screen)"
  "$ringbus" rm r
done
"$ringbus" create r
seq 3 | "$ringbus" send r --close
on_terminal "'$ringbus' recv r"
terminal_ends 0
! grep -q "MB/s" screen || fail "progress among messages: $(cat screen)"
! grep -q $'\033' screen || fail "colours: $(cat screen)"
"$ringbus" rm r

# ---------------------------------------------------------------- output that does not take everything

# unblocked FD COMMAND... : with O_NONBLOCK on that descriptor.
unblocked() { perl -MFcntl -e 'open my $h, "+<&=", shift; fcntl $h, F_SETFL, O_NONBLOCK | fcntl $h, F_GETFL, 0; exec @ARGV' "$@"; }

test_that "a closed standard output is told, and never becomes the ring"
"$ringbus" create r --capacity 64K
seq 1000 | "$ringbus" send r --close
for verb in "recv r --group g" "tail r --from oldest" "dump r" "info r"; do
  (exec >&-; expect 1 "cannot write: Bad file descriptor" "$ringbus" $verb)
done
(exec <&-; expect 1 "cannot read" "$ringbus" check -)
expect 0 "" "$ringbus" check r >out
"$ringbus" recv r --group g | cmp - <(seq 1000) || fail "lost"

test_that "output that is longer than a buffer is not cut short without a word"
for group in a b c d e f h i j k l m; do "$ringbus" recv r --group $group --count 1 >out; done
expect 1 "cannot write: No space left" "$ringbus" info r --json >/dev/full
expect 1 "cannot write: No space left" "$ringbus" info r >/dev/full
expect 1 "cannot write: No space left" "$ringbus" group ls r --json >/dev/full
"$ringbus" rm r

test_that "what a group that may be lapped could not write, it gets again, or it is counted as lost"
"$ringbus" create r --capacity 4K
seq 10 | "$ringbus" send r
for shape in "" --json; do
  expect 1 "what was not written and is still in the ring stays unread" "$ringbus" recv r --group g --policy lapped $shape >/dev/full
  ! grep -q lost errors || fail "$(cat errors)"
done
open_pipe
dd of=pipe if=/dev/zero bs=4096 count=16 oflag=nonblock # and is full
start "$ringbus" recv r --group g >&9 9>&- 7<&- 2>errors.recv
consumer=$started
until_true info_has r '"cursor_count":	10'
seq 11 1000 | "$ringbus" send r --close
kill -TERM "$consumer" && kill -INT "$consumer"
got=0
wait "$consumer" || got=$?
[ $got = 143 ] || [ $got = 130 ] || fail "recv ended with $got"
exec 7<&- 9>&-
grep -q "after 0 messages, 0 bytes were written" errors.recv || fail "$(cat errors.recv)"
"$ringbus" recv r --group g --quiet >out
first=$(head -n 1 out)
seq "$first" 1000 | cmp - out || fail "$first to $(tail -n 1 out)"
grep -q "lost $((first - 1)) messages, $(((first - 1) * 16)) bytes" errors.recv || fail "$first: $(cat errors.recv)"
"$ringbus" rm r

test_that "a file that became full ends with a whole message, and goes on from there"
"$ringbus" create r --capacity 64K
yes $(printf '%0999d' 7) | head -n 40 >lines || true
"$ringbus" send r --close lines
(trap '' XFSZ; ulimit -f 30; expect 1 "cannot write: File too large" "$ringbus" recv r --group g -o grown)
[ $(($(bytes_of grown) % 1000)) = 0 ] || fail "torn at $(bytes_of grown)"
expect 0 "" "$ringbus" recv r --group g -o grown --append
cmp grown lines || fail "lost or repeated"

test_that "the ring itself is refused as the output"
expect 1 "the output is the ring itself" "$ringbus" recv r -o "$RINGBUS_DIR/r" --overwrite
expect 1 "the output is the ring itself" "$ringbus" recv r >>"$RINGBUS_DIR/r"
expect 0 "" "$ringbus" check r >out
"$ringbus" rm r

test_that "descriptors that do not block are waited for"
"$ringbus" create r --capacity 1M
yes $(printf '%0999d' 7) | head -n 800 >lines || true
{ sleep 0.2 && cat lines; } | expect 0 "" unblocked 0 "$ringbus" send r
{ sleep 0.2 && echo last; } | expect 0 "" unblocked 0 "$ringbus" send r --raw --close
echo last >>lines
for verb in "recv r" "tail r --from oldest" "dump r --framing line"; do
  expect 0 "" unblocked 1 "$ringbus" $verb | { sleep 0.2 && cat >out; }
  head -c "$(bytes_of lines)" out | cmp - lines || fail "$verb"
done

test_that "tail ends by the signal while its output blocks"
mkfifo blocked
exec 7<>blocked
start "$ringbus" tail r --from oldest >blocked
tail=$started
until_true catches_signals $tail
until_true sleeps $tail
kill -TERM $tail
ends $tail 143 tail
exec 7>&-
"$ringbus" rm r

# ---------------------------------------------------------------- what is looked at

test_that "check says that it could not read a ring, and nothing of a copy's owner"
"$ringbus" create r --capacity 64K
expect 1 "Too many open files" sh -c 'exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; ulimit -n 4; exec "$0" check r --json' "$ringbus" >json
json '.sound == null and .error != null' json
"$ringbus" check - <"$RINGBUS_DIR/r" >out
! grep -q everybody out || fail "$(cat out)"

test_that "send --count leaves in a file what it did not send"
seq 10 >lines
{ "$ringbus" send r --count 3 && cat; } <lines >out
cmp out <(seq 4 10) || fail "$(cat out)"
"$ringbus" rm r
"$ringbus" create r --capacity 4K
seq 1000 >lines
{ ! "$ringbus" send r --timeout 0 && cat; } <lines >out
cmp out <(tail -n +$(($(info_value r tail_count) + 1)) lines) || fail "after a time-out: $(head -n 1 out)"
"$ringbus" rm r

test_that "names cannot control a terminal, and JSON has them as they are"
name=$'n\tx\033[1m'
"$ringbus" create "$name"
[ "$("$ringbus" ls --json | jq -r .name)" = "$name" ] || fail "$("$ringbus" ls --json)"
for verb in info check "recv --timeout 0" "group seek"; do
  for word in "$name" "./$name"; do
    "$ringbus" $verb "$word" nowhere oldest >out 2>&1 || true
    "$ringbus" $verb "$word" >>out 2>&1 || true
  done
  ! grep -q $'\033' out || fail "$verb: $(cat -v out)"
done
"$ringbus" rm "$name"

test_that "errors are told whole, however long a name is, and in JSON as in text"
long=./$(printf 'é%.0s' {1..100})
for _ in 1 2 3; do long=$long/$long/$long; done # 5 KB, 2 bytes a letter
long=${long:0:3800}
mkdir -p "$long"
ln -s nowhere "$long/link"
expect 1 "$long/nowhere" "$ringbus" rm "$long/nowhere" --json >json
[[ $(jq -r .error <json) == "there is no ring $long/nowhere" ]] || fail "$(cat json)"
"$ringbus" ls "$long" --json >json
[[ $(jq -r .error <json) == "$long/link is a symbolic link, which is not followed" ]] || fail "$(cat json)"
"$ringbus" create r
huge=$(printf '%020000d' 1)
expect 1 "no group of that name" "$ringbus" group rm r "$huge" --json >json
json ".error | endswith(\"the ring has no group of that name\")" json
for words in "rm $huge" "create $huge" "check ./$huge" "recv ./$huge"; do
  says="too long"
  [[ $words == */* ]] || says="a ring's name has 1 to"
  expect 1 "$says" "$ringbus" $words
  [ "$(wc -l <errors)" = 1 ] || fail "$(wc -l <errors) lines"
done

test_that "what is no ring is said to be what it is, with exit code 5, by all verbs alike"
mkdir "$RINGBUS_DIR/directory"
mkfifo "$RINGBUS_DIR/FIFO"
perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Listen => 1, Local => shift)' "$RINGBUS_DIR/socket"
using="info dump tail recv send repair rm group_ls group_rm group_seek create_--if-missing send_--create"
for name in directory FIFO socket "/dev/null=character device"; do
  for verb in $using; do
    words=$name
    [[ $verb != group_rm ]] || words+=" g"
    [[ $verb != group_seek ]] || words+=" g oldest"
    expect 5 "it is a ${name#*=}, not a ring" "$ringbus" ${verb//_/ } ${words/=character device/} </dev/null
  done
  expect 5 "" "$ringbus" check ${name%=*} >out
  grep -q "it is a ${name#*=}, not a ring" out || fail "$(cat out)"
done
rm -r "${RINGBUS_DIR:?}"/{directory,FIFO,socket}
ln "$RINGBUS_DIR/r" "$RINGBUS_DIR/second"
ln -s r "$RINGBUS_DIR/link"
for verb in info dump tail recv send repair rm "group ls" "create --if-missing"; do
  expect 5 "has 2 links; a ring has one" "$ringbus" $verb r </dev/null
  expect 1 "name the file itself" "$ringbus" $verb link </dev/null
done
rm "$RINGBUS_DIR"/{second,link}
"$ringbus" rm r

test_that "a copy on standard input is for those who only look, and all others say so"
for words in "create -" "send -" "recv -" "tail -" "repair -" "rm r -" "group ls -" "group rm - g" "group seek - g oldest"; do
  expect 2 "which only 'ringbus info -', 'ringbus check -' and 'ringbus dump -' can read" "$ringbus" $words </dev/null
done
nothing_left

test_that "seconds are decimal"
expect 2 "expected seconds" "$ringbus" recv r --timeout 0x10
expect 2 "expected seconds" "$ringbus" recv r --timeout 1.2.3

# ---------------------------------------------------------------- bench

test_that "bench runs ringbus-bench, beside the command or from PATH, and says so if there is none"
expect 0 "" "$ringbus" bench --help >out
grep -q "ringbus-bench" out || fail "$(cat out)"
mkdir alone
cp "$ringbus" alone/ringbus
expect 1 "neither beside" env PATH=/nowhere alone/ringbus bench
printf '#!/bin/sh\necho "$0 $*"\n' >alone/ringbus-bench
chmod +x alone/ringbus-bench
[ "$(alone/ringbus bench throughput --json)" = "$work/alone/ringbus-bench throughput --json" ] || fail "beside it"
mkdir path
mv alone/ringbus-bench path/
[ "$(PATH="$work/path:$PATH" alone/ringbus bench pingpong)" = "$work/path/ringbus-bench pingpong" ] || fail "from PATH"

nothing_left
echo "all passed"
