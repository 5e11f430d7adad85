#!/bin/bash
# SPDX-License-Identifier: MIT
# together.sh PATH-OF-RINGBUS PATH-OF-CLAIMANT - the `ringbus` command where several do the same: send to
# one ring, read for one group; and what is left when some of them die. As command.sh.
claimant=$(realpath "$2")
readme=$(realpath "$(dirname "$0")/../../README.md")
. "$(dirname "$0")/command_tools.sh"

# claims NAME MESSAGE... : a claimant in $started that has sent these and has a claim open.
claims() {
  : >claimed
  start "$claimant" "$@" >claimed
  until_true grep -q claimed claimed
}
# slot_of PID: of this process, in ring r
slot_of() { "$ringbus" info r | awk -v pid="$1" '$4 == pid { print $1 }'; }
line_is() { [ "$(sed -n "$2p" "$1")" = "$3" ] || fail "line $2 of $1 is '$(sed -n "$2p" "$1")'"; }

# ---------------------------------------------------------------- usage

test_that "wrong usage of what is for several says what was expected"
expect 2 "which never holds" "$ringbus" create r --overwrite --no-group hold
expect 2 "expects --group" "$ringbus" recv r --shared
expect 2 "always waited for" "$ringbus" recv r --group g --shared --policy lapped
expect 2 "always waited for" "$ringbus" recv r --group g --shared --max-lag 4K
expect 2 "with --shared" "$ringbus" recv r --group g --at-most-once
: >here
nothing_left

# ---------------------------------------------------------------- several producers

test_that "a ring of one producer refuses a second one, and says who is there and what helps"
"$ringbus" create r
open_pipe
start "$ringbus" send r <&7 7<&- 9>&-
producer=$started
exec 7<&-
until_true info_has r '"producer"'
expect 4 "pid $producer" "$ringbus" send r here
expect 4 "ringbus create --many-producers" "$ringbus" send r here
exec 9>&-
ends "$producer" 0 send
expect 1 "ringbus create --many-producers" "$ringbus" send r --multi here
expect 1 "--multi" "$ringbus" send r --create --multi here
[ "$(info_value r tail_count)" = 0 ] || fail "sent although refused"
info_has r '"many_producers":	false' || fail "kind"
"$ringbus" rm r

test_that "several send to one ring at once, and each one's messages arrive whole and in order"
echo one | expect 0 "" "$ringbus" send r --create=64K --multi
info_has r '"many_producers":	true' || fail "--create --multi has not made a ring for many"
[ "$("$ringbus" recv r --group g)" = one ] || fail "the first"
start "$ringbus" recv r --group g --follow >out
consumer=$started
until_true has_consumer r
senders=()
for sender in a b c; do
  start "$ringbus" send r --multi < <(seq -f "$sender %.0f, a line that is not quite short" 60000)
  senders+=("$started")
done
for pid in "${senders[@]}"; do ends "$pid" 0 send; done
expect 0 "" "$ringbus" send r --close --drain </dev/null
ends "$consumer" 0 recv
[ "$(wc -l <out)" = 180000 ] || fail "$(wc -l <out) lines"
for sender in a b c; do
  grep "^$sender " out | cmp - <(seq -f "$sender %.0f, a line that is not quite short" 60000) ||
    fail "of sender $sender"
done
"$ringbus" rm r

test_that "a sender that waits for its input in raw blocks does not keep others' readers waiting"
"$ringbus" create r --many-producers
open_pipe
start "$ringbus" send r --raw <&7 7<&- 9>&-
producer=$started
exec 7<&-
until_true info_has r '"producer"'
printf block >&9
until_true has_sent r 1
echo line | "$ringbus" send r
[ "$("$ringbus" recv r --count 2 | xargs)" = "block line" ] || fail "$(cat out)"
exec 9>&-
ends "$producer" 0 send
"$ringbus" rm r

test_that "a ring that overwrites keeps the newest, waits for nobody and counts what was lost"
expect 0 "" "$ringbus" create r --overwrite --many-producers --capacity 64K
"$ringbus" info r >text
grep -q "many producers" text && grep -q "overwrite" text || fail "$(cat text)"
seq 10 | "$ringbus" send r
[ "$("$ringbus" recv r --group slow --count 3 | xargs)" = "1 2 3" ] || fail "the first"
seq 11 100000 | expect 0 "" "$ringbus" send r --close --timeout 10
expect 0 "lapped: lost" "$ringbus" recv r --group slow >out
lost=$(sed -n 's/.*lost \([0-9]*\) messages.*/\1/p' errors | tail -n 1)
[ $((3 + lost + $(wc -l <out))) = 100000 ] || fail "3 read, $lost lost, $(wc -l <out) read"
[ "$(tail -n 1 out)" = 100000 ] || fail "the newest"
"$ringbus" rm r

# ---------------------------------------------------------------- several consumers of one group

seq 60000 >numbers
test_that "members of a shared group get each message once, and together all of them"
"$ringbus" create r --capacity 64K
members=()
for member in 1 2 3; do
  start "$ringbus" recv r --group g --shared -o "out.$member"
  members+=("$started")
done
shares() { "$ringbus" info r | grep -q "g: .*shared by $1"; }
until_true shares 3
expect 4 "3 living members" "$ringbus" rm r --group g
expect 1 "is a shared one" "$ringbus" recv r --group g
expect 1 "none of them moves it" "$ringbus" recv r --group g --shared --from newest
"$ringbus" send r --close --drain numbers
for pid in "${members[@]}"; do ends "$pid" 0 recv; done
cat out.[123] | sort -n | cmp - numbers || fail "lost or twice"
for member in 1 2 3; do sort -nc out.$member || fail "member $member is out of order"; done
"$ringbus" rm r
"$ringbus" create r
seq 3 | "$ringbus" send r --close
"$ringbus" recv r --group alone --count 1 >out
expect 1 "not a shared one" "$ringbus" recv r --group alone --shared
"$ringbus" rm r

# A batch of 16 of these is more than a pipe holds, and written in pieces.
seq -f "%05.0f $(head -c 10000 /dev/zero | tr '\0' x)" 400 >padded
sleeps() { grep -q '^State:	S' "/proc/$1/status"; }

others_have_read() { has_bytes out.1 10000 || has_bytes out.2 10000; }

for kind in "" --at-most-once; do
  test_that "what a killed member had not released is $([ -z "$kind" ] && echo delivered again || echo "lost with $kind")"
  "$ringbus" create r --capacity 8M
  "$ringbus" send r --close padded
  open_pipe
  start "$ringbus" recv r --group g --shared $kind >&9 9>&- 7<&-
  victim=$started
  exec 9>&-
  head -c 200000 <&7 >received # the first batch and some
  until_true sleeps "$victim"  # nobody empties its pipe: it is in the middle of the second, or third
  rm -f out.[12]
  members=()
  for member in 1 2; do
    start "$ringbus" recv r --group g --shared -o "out.$member" 2>"errors.$member"
    members+=("$started")
  done
  until_true others_have_read
  kill -KILL "$victim"
  ends "$victim" 137 recv
  cat <&7 >>received
  exec 7<&-
  for pid in "${members[@]}"; do ends "$pid" 0 recv; done
  complete_lines received >out.3
  sort out.[123] >all
  again=$(cat errors.[12] | sed -n 's/.* \([0-9]*\) messages again, of members that died.*/\1/p')
  if [ -z "$kind" ]; then
    uniq all | cmp - padded || fail "lost"
    twice=$(($(wc -l <all) - 400))
    [ $twice -gt 0 ] && [ $twice -le 16 ] || fail "$twice messages twice"
    uniq -d all | cmp - <(tail -n $twice out.3) || fail "twice: $(uniq -d all | cut -c 1-5 | xargs)"
    [ "$again" = 16 ] || fail "told that $again came again"
    info_has r '"redelivered":	1' || fail "info does not count it"
  else
    [ -z "$(uniq -d all)" ] || fail "twice: $(uniq -d all | cut -c 1-5 | xargs)"
    lost=$((400 - $(wc -l <all)))
    [ $lost -gt 0 ] && [ $lost -le 16 ] || fail "$lost lost"
    [ -z "$again" ] || fail "told that $again came again"
  fi
  "$ringbus" rm r
done

test_that "a member whose disk is full leaves its batch to the others, or, if so chosen, loses it"
"$ringbus" create r --capacity 8M
"$ringbus" send r --close padded
for kind in "" --at-most-once; do
  expect 1 "${kind:-stays unread}" "$ringbus" recv r --group g --shared $kind -o /dev/full
done
expect 0 "16 messages again" "$ringbus" recv r --group g --shared -o out.rest
[ "$(wc -l <out.rest)" = 384 ] || fail "$(wc -l <out.rest) of 384"
"$ringbus" rm r

# ---------------------------------------------------------------- examples

# examples VERB: the commands in its help.
examples() { "$ringbus" "$1" --help | sed -n '/^Examples/,/^$/s/^  //p'; }
# runs: every line of standard input works.
runs() {
  local line
  while read -r line; do
    echo "  $line"
    PATH="$(dirname "$ringbus"):$PATH" bash -eo pipefail -c "$line" >out || fail "example: $line"
  done
}

test_that "the examples in the help of create, send and recv that concern several are what one can type"
for verb in create send recv; do
  examples $verb | grep -E ' (jobs|trace) ' >lines
  runs <lines
done
cmp out <(ls /etc) || fail "$(cat out)"
"$ringbus" rm jobs trace

nothing_left
echo "all passed"
