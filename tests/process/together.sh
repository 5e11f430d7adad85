#!/bin/bash
# SPDX-License-Identifier: MIT
# together.sh PATH-OF-RINGBUS PATH-OF-CLAIMANT - the `ringbus` command where several do the same: send to
# one ring, read for one group; and what is left when some of them die: dump, repair. As command.sh.
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
expect 2 "from 0 to 4294967295" "$ringbus" dump r --bytes some
expect 2 "expected oldest or a position" "$ringbus" dump r --from newest
expect 2 "expected a number from 1" "$ringbus" dump r --count 0
expect 2 "exclude each other" "$ringbus" dump r --json --raw
expect 2 "exclude each other" "$ringbus" dump r --json --bytes 3
expect 2 "expected one NAME" "$ringbus" dump
expect 2 "expected one NAME" "$ringbus" repair --evict 3
expect 2 "from 1 to 1023" "$ringbus" repair r --evict 0
expect 2 "from 1 to 1023" "$ringbus" repair r --evict=lots
expect 2 "expected one NAME, got 2" "$ringbus" repair r --evict lots
expect 2 "expected seconds" "$ringbus" repair r --evict --timeout soon
expect 2 "is for --evict" "$ringbus" repair r --or-retire
expect 1 "no ring" "$ringbus" dump r
expect 1 "no ring" "$ringbus" repair r
: >here
expect 1 "./here" "$ringbus" dump here
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
expect 0 "" "$ringbus" dump r --framing line >dumped
cmp dumped <(seq $((100001 - $(wc -l <dumped))) 100000) || fail "the ring's content"
[ "$(wc -l <dumped)" -ge 900 ] || fail "only $(wc -l <dumped) of 1024 are still there"
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
expect 4 "3 living members" "$ringbus" group rm r g
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

# ---------------------------------------------------------------- dump

test_that "dump tells number, position, length, tag and the bytes of each message, and changes nothing"
"$ringbus" create r --capacity 64K
expect 0 "" "$ringbus" dump r >out
[ ! -s out ] || fail "an empty ring: $(cat out)"
printf 'plain "\\"\ntab\tbell\a\n\n' | "$ringbus" send r
printf 'caf\xc3\xa9 \xff\xc3' | "$ringbus" send r --raw --tag 7
head -c 100 padded | "$ringbus" send r --raw
sum=$(checksum <"$RINGBUS_DIR/r")
expect 0 "" "$ringbus" dump r >out
[ "$(wc -l <out)" = 5 ] || fail "$(cat out)"
line_is out 1 '0 0 9 0 "plain \"\\\""'
line_is out 2 '1 24 9 0 "tab\tbell\x07"'
line_is out 3 '2 48 0 0 ""'
line_is out 4 $'3 56 8 7 "caf\xc3\xa9 \\xff\\xc3"'
line_is out 5 "4 80 100 0 \"$(head -c 64 padded)\"..."
"$ringbus" dump r --bytes 4 >out
line_is out 4 $'3 56 8 7 "caf\xc3\xa9"...'
line_is out 3 '2 48 0 0 ""'
"$ringbus" dump r --bytes all >out
line_is out 5 "4 80 100 0 \"$(head -c 100 padded)\""
"$ringbus" dump r --from 30 --count 1 >out
line_is out 1 '2 48 0 0 ""'
[ "$(wc -l <out)" = 1 ] || fail "$(cat out)"
expect 1 "the oldest message is at 0" "$ringbus" dump r --from 70000
"$ringbus" dump r --raw | cmp - <(printf 'plain "\\"tab\tbell\acaf\xc3\xa9 \xff\xc3' && head -c 100 padded) ||
  fail "raw"
"$ringbus" dump r --framing nul --count 3 | cmp - <(printf 'plain "\\"\0tab\tbell\a\0\0') || fail "nul"
expect 0 "" "$ringbus" dump r --json >out
line_is out 1 '{"count":0,"position":0,"length":9,"tag":0,"payload":"plain \"\\\""}'
line_is out 2 '{"count":1,"position":24,"length":9,"tag":0,"payload_base64":"dGFiCWJlbGwH"}'
line_is out 3 '{"count":2,"position":48,"length":0,"tag":0,"payload":""}'
line_is out 4 '{"count":3,"position":56,"length":8,"tag":7,"payload_base64":"Y2Fmw6kg/8M="}'
for length in 1 2 3 4 5; do head -c $length /dev/zero | "$ringbus" send r --raw; done
"$ringbus" dump r --json | tail -n 5 | sed 's/.*base64":"\(.*\)"}/\1/' |
  cmp - <(for length in 1 2 3 4 5; do head -c $length /dev/zero | base64; done) || fail "base64"
[ "$("$ringbus" dump r --count 5 | wc -l)" = 5 ] || fail "count"
expect 1 "standard output" "$ringbus" dump r >/dev/full
"$ringbus" rm r
"$ringbus" create r --capacity 8M
"$ringbus" send r padded
expect 1 "standard output" "$ringbus" dump r --raw >/dev/full
set +e
"$ringbus" dump r --bytes all 2>errors | head -n 1 >out
got=("${PIPESTATUS[@]}")
set -e
[ "${got[0]}" = 141 ] && [ ! -s errors ] || fail "dump ended with ${got[0]}: $(cat errors)"
"$ringbus" dump r --raw | cmp - <(tr -d '\n' <padded) || fail "the whole"
cp "$RINGBUS_DIR/r" copy && "$ringbus" dump ./copy --raw | cmp - <(tr -d '\n' <padded) || fail "copy"
"$ringbus" rm r

test_that "dump and info neither change a ring nor need more than to read it"
"$ringbus" create r --many-producers
seq 3 | "$ringbus" send r
sum=$(checksum <"$RINGBUS_DIR/r")
for words in "dump r" "dump r --json" "info r" "info r --json"; do
  expect 0 "" "$ringbus" $words >out
done
[ "$sum" = "$(checksum <"$RINGBUS_DIR/r")" ] || fail "the file has changed"
"$ringbus" rm r

test_that "dump of a ring that is being written ends, and counts what was overwritten meanwhile"
"$ringbus" create r --overwrite --capacity 64K
seq 100000 | "$ringbus" send r
open_pipe
start "$ringbus" dump r --json >&9 2>errors.dump 9>&- 7<&- # more JSON than a pipe holds
dump=$started
exec 9>&-
head -c 1 <&7 >out
until_true sleeps "$dump"
seq 100001 200000 | "$ringbus" send r
cat <&7 >>out
exec 7<&-
ends "$dump" 0 dump
lost=$(sed -n 's/.*lapped: \([0-9]*\) messages.*/\1/p' errors.dump)
oldest=$("$ringbus" dump r --framing line --count 1)
[ "$(sed -n 's/^{"count":\([0-9]*\).*/\1/p' out | tail -n 1)" = $((oldest - lost - 2)) ] ||
  fail "lost $lost up to $oldest after $(tail -n 1 out)"
start "$ringbus" send r < <(seq 200001 100000000)
producer=$started
dropped() { [ "$(info_value r dropped)" -gt "$1" ]; }
until_true dropped 300000
for _ in 1 2 3; do
  "$ringbus" dump r --json >>out
done
kill -TERM "$producer"
ends "$producer" 143 send
sed 's/{"count":\([0-9]*\),.*"payload":"\([0-9]*\)"}/\1 \2/' out | awk '$2 != $1 + 1 { exit 1 }' ||
  fail "counts do not belong to messages"
"$ringbus" rm r

# ---------------------------------------------------------------- claims of the dead, and of the living

test_that "what a killed producer had begun is passed over: by dump, of a copy as well, and by readers"
"$ringbus" create r --many-producers
claims r one two
dead=$started
claims r three
living=$started
echo four | "$ringbus" send r
expect 0 "pid $dead" "$ringbus" dump r --raw >out
[ "$(cat out)" = onetwo ] || fail "$(cat out)"
grep -q "ends before position 128, .* not committed" errors || fail "$(cat errors)"
kill -KILL "$dead"
ends "$dead" 137 claimant
sum=$(checksum <"$RINGBUS_DIR/r")
"$ringbus" dump r --framing line >out
[ "$(xargs <out)" = "one two three" ] || fail "$(cat out)"
cp "$RINGBUS_DIR/r" post-mortem.ring
kill -KILL "$living"
ends "$living" 137 claimant
for place in r ./post-mortem.ring; do
  expect 0 "" "$ringbus" dump $place --framing line >out.all
  [ "$(xargs <out.all)" = "one two three four" ] || fail "$place: $(cat out.all)"
  expect 0 "" "$ringbus" dump $place --from 256 >out
  line_is out 1 '2 256 5 0 "three"'
  "$ringbus" info $place >text
  grep -q "readers wait .*position 128, .*claimant, pid $dead, slot 1, dead" text || fail "$(cat text)"
done
"$ringbus" dump - --framing line <post-mortem.ring | cmp - out.all || fail "through standard input"
"$ringbus" info - <post-mortem.ring >text
[ "$sum" = "$(checksum <"$RINGBUS_DIR/r")" ] || fail "somebody has changed the ring"
expect 5 "not a ring" "$ringbus" dump - <numbers
expect 5 "should have" "$ringbus" dump - < <(head -c 100000 post-mortem.ring)
ln -s post-mortem.ring link
expect 1 "name the file itself" "$ringbus" dump ./link
chmod 0400 post-mortem.ring
expect 0 "" "$ringbus" dump ./post-mortem.ring >out

test_that "repair gives up what the dead had begun, and says so"
expect 0 "" "$ringbus" repair r >out
[ "$(cat out)" = "gave up 2 messages that dead producers had begun and not committed" ] || fail "$(cat out)"
[ "$(info_value r recovered)" = 2 ] || fail "recovered"
expect 0 "" "$ringbus" repair r >out
[ "$(cat out)" = "nothing to repair" ] || fail "$(cat out)"
info_has r '"readers_wait_for":	null' || fail "nobody blocks"
"$ringbus" recv r --group durable --count 1 >out
start "$ringbus" recv r --follow >out.ephemeral
ephemeral=$started
start "$ringbus" recv r --follow --group attached --policy gate-while-attached >out.attached
attached=$started
until_true has_bytes out.ephemeral 19
until_true has_bytes out.attached 19
kill -KILL "$ephemeral" "$attached"
ends "$ephemeral" 137 recv
ends "$attached" 137 recv
"$ringbus" info r --json >json
grep -q '"gating":	true' json || fail "$(cat json)"
expect 0 "" "$ringbus" repair r >out
[ "$(wc -l <out)" = 2 ] && grep -q "^forgot group #" out &&
  grep -q "^no longer waits for group attached, whose reader is dead" out || fail "$(cat out)"
"$ringbus" info r >text
grep -q "producers  *wait, or will, for group durable, 448 bytes behind: nobody reads for it" text ||
  fail "$(cat text)"
expect 5 "not a ring" "$ringbus" repair ./numbers
"$ringbus" rm r

# blocked_ring: r, with a stopped claimant in $blocker, and a consumer in $consumer that waits behind it.
blocked_ring() {
  "$ringbus" create r --many-producers
  claims r one
  blocker=$started
  kill -STOP "$blocker"
  start "$ringbus" recv r --group g --follow >out.behind
  consumer=$started
  until_true has_bytes out.behind 4
  echo two | "$ringbus" send r
}

test_that "info tells who keeps readers waiting, and since when"
blocked_ring
waits_since() { "$ringbus" info r | grep -qE "readers wait .*position 64, since [0-9-]+ [0-9:]+: claimant, pid $blocker, slot 1, attached since"; }
until_true waits_since
"$ringbus" info r --json | tr -d '\n\t' >json
grep -qE "\"readers_wait_for\":\{\"group\":null,\"position\":64,\"bytes\":128,\"since_ns\":[1-9][0-9]*,\"participant\":\{\"slot\":1,\"role\":\"producer\",\"alive\":true,\"pid\":$blocker," json || fail "$(cat json)"
expect 0 "" "$ringbus" repair r >out
grep -q "^readers wait for claimant, pid $blocker, slot 1, attached since .*; readers wait since" out || fail "$(cat out)"
[ "$(cat out.behind)" = one ] || fail "read on: $(cat out.behind)"

test_that "repair --evict ends whoever keeps readers waiting, says who it is, and readers go on"
expect 0 "" "$ringbus" repair r --evict >out
ends "$blocker" 137 claimant
grep -q "^ending claimant, pid $blocker, slot 1, attached since" out || fail "$(cat out)"
grep -q "^it has ended" out || fail "$(cat out)"
until_true has_bytes out.behind 8
[ "$(xargs <out.behind)" = "one two" ] || fail "$(cat out.behind)"
expect 0 "" "$ringbus" repair r --evict >out
[ "$(cat out)" = "nobody keeps readers waiting" ] || fail "$(cat out)"
kill -TERM "$consumer"
ends "$consumer" 143 recv
"$ringbus" rm r

test_that "repair --evict SLOT ends the one who holds that slot, and nobody else"
blocked_ring
expect 1 "nobody holds slot 9" "$ringbus" repair r --evict 9
expect 1 "slots 1 to 63" "$ringbus" repair r --evict 64
kill -0 "$blocker" || fail "the wrong one"
expect 0 "" "$ringbus" repair r --timeout 20 --evict "$(slot_of "$consumer")" >out
ends "$consumer" 137 recv
grep -q "^ending ringbus recv, pid $consumer, slot 2" out || fail "$(cat out)"
kill -0 "$blocker" || fail "the wrong one"
expect 0 "" "$ringbus" repair --evict=1 r >out
ends "$blocker" 137 claimant
grep -q "^gave up 1 message that" out || fail "$(cat out)"
expect 0 "" "$ringbus" repair r --evict 2 >out
grep -q "^nothing to end: ringbus recv, pid $consumer, slot 2, dead" out || fail "$(cat out)"
[ "$("$ringbus" recv r --group g)" = two ] || fail "the rest"
"$ringbus" rm r

test_that "a healthy producer that is busy is not taken for one that blocks"
"$ringbus" create r --many-producers --capacity 64K --overwrite
start "$ringbus" send r < <(seq 100000000)
producer=$started
until_true dropped 100
for _ in 1 2 3; do
  expect 0 "" "$ringbus" repair r --evict >out
  [ "$(cat out)" = "nobody keeps readers waiting" ] || fail "$(cat out)"
done
kill -TERM "$producer"
ends "$producer" 143 send
"$ringbus" rm r

test_that "who cannot be ended is told, and what helps"
"$ringbus" create r --many-producers
# A slot that says somebody else's pid: it does not have the ring open, and must not be ended for it.
start sleep 1000
bystander=$started
claims r one
blocker=$started
printf "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $((bystander & 255)) $((bystander >> 8 & 255)) $((bystander >> 16 & 255)) 0)" |
  dd of="$RINGBUS_DIR/r" bs=1 seek=$((4096 + 128 + 8)) conv=notrunc 2>/dev/null
expect 1 "--or-retire" "$ringbus" repair r --evict
grep -q "process $bystander does not have the ring open" errors || fail "$(cat errors)"
kill -0 "$bystander" || fail "an innocent process was ended"
kill -KILL "$bystander" "$blocker"
ends "$blocker" 137 claimant
"$ringbus" rm r

# undying_blocker: r, of an unusual kind, with a claimant in $blocker whose lock a child in $child keeps.
undying_blocker() {
  "$ringbus" create r --many-producers --overwrite --capacity 16K --participants 5 --groups 3 \
    --wake fence --mode 0640
  claims --undying r one
  blocker=$started
  child=$(awk '/claimed/ { print $2 }' claimed)
  echo "$child" >started-elsewhere
}

test_that "repair --evict waits for the end of who it has sent the signal, and gives up in time"
undying_blocker
expect 3 "still holds its slot's lock: --or-retire" "$ringbus" repair r --evict --timeout 0.1 >out
ends "$blocker" 137 claimant
info_has r '"readers_wait_for":	{' || fail "$(cat json)"
[ "$(info_value r recovered)" = 0 ] || fail "given up though the lock is held"

test_that "repair --or-retire retires nothing if no ring like it can be made"
(ulimit -f 8; expect 1 "nothing is retired" "$ringbus" repair r --evict --or-retire --timeout 0.1 >out)
[ "$(ls -A "$RINGBUS_DIR")" = r ] || fail "left behind: $(ls -A "$RINGBUS_DIR")"
info_has r '"state":	"open"' || fail "retired"
[ "$("$ringbus" dump r --framing line)" = one ] || fail "lost"

test_that "repair --or-retire retires no ring that has got the name meanwhile"
kill -KILL "$child"
until_true "$ringbus" rm r # it ends by and by
undying_blocker
start "$ringbus" repair r --evict --or-retire --timeout 3 >out
repairer=$started
until_true grep -q ending out
kill -STOP "$repairer"
ends "$blocker" 137 claimant
mv "$RINGBUS_DIR/r" "$RINGBUS_DIR/other"
"$ringbus" create r --capacity 64K
echo precious | "$ringbus" send r --close
kill -CONT "$repairer"
ends "$repairer" 6 repair
[ "$(ls -A "$RINGBUS_DIR" | xargs)" = "other r" ] || fail "left behind: $(ls -A "$RINGBUS_DIR")"
[ "$("$ringbus" recv r)" = precious ] || fail "lost"
info_has other '"state":	"open"' || fail "retired"
"$ringbus" rm r
mv "$RINGBUS_DIR/other" "$RINGBUS_DIR/r"

test_that "repair --evict --or-retire retires the ring of one that cannot be ended, and makes one like it"
start "$ringbus" recv r --group g --follow
consumer=$started
until_true info_has r '"name":	"g"'
"$ringbus" info r --json >before
cp -p "$RINGBUS_DIR/r" old
expect 0 "process $blocker" "$ringbus" repair r --evict --or-retire --timeout 0.1 >out
grep -q "^retired the ring, and made an empty one like it" out || fail "$(cat out)"
ends "$consumer" 6 recv
"$ringbus" info r --json >after
kind_of() { grep -E '"(capacity|max_(participants|groups|message)|no_group|wake|many_producers|overwrite)"' "$1"; }
[ "$(kind_of before | wc -l)" = 8 ] || fail "$(cat before)"
[ "$(kind_of before)" = "$(kind_of after)" ] || fail "$(cat after)"
! grep -qF "$(grep '"id"' before)" after || fail "the same ring"
[ "$(stat -c '%a %u %g' "$RINGBUS_DIR/r")" = "$(stat -c '%a %u %g' old)" ] || fail "$(stat "$RINGBUS_DIR/r")"
[ "$(info_value r tail_count)" = 0 ] || fail "not empty"
echo two | "$ringbus" send r
[ "$("$ringbus" recv r)" = two ] || fail "does not work"
kill -KILL "$child"
rm started-elsewhere
until_true "$ringbus" rm r

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

test_that "the examples in the help of dump and repair are what one can type"
"$ringbus" create quotes --many-producers
claims quotes one two
echo three | "$ringbus" send quotes
cp "$RINGBUS_DIR/quotes" post-mortem.ring -f
gzip -k post-mortem.ring
examples dump | runs
[ "$(cat out)" = onetwothree ] || fail "the last one: $(cat out)"
claims quotes four
examples repair | runs
"$ringbus" rm quotes

test_that "the README's lines for the shell are what one can type"
{
  echo 'trap "jobs -p >started-elsewhere" EXIT'
  sed -n '/^From the shell/,/^[^ ]/ s/^    //p' "$readme"
} >example
[ "$(wc -l <example)" -gt 10 ] || fail "$(cat example)"
some-feed() { seq 1000; }
other-feed() { seq 1001 2000; }
work() { cat >"work.$BASHPID"; }
export -f some-feed other-feed work
PATH="$(dirname "$ringbus"):$PATH" bash -e example >out 6>&-
# A consumer counts as attached an instant before its group exists and is waited for.
seq 1000 | head -c "$(bytes_of ticks.log)" | cmp - ticks.log || fail "ticks.log"
all_done() { [ "$(cat work.* | wc -l)" = 2000 ]; }
until_true all_done
sort -n work.* | cmp - <(seq 2000) || fail "lost or twice"
for pid in $(cat started-elsewhere); do
  kill -TERM "$pid" 2>/dev/null || true # those that sent have ended
done
expect 0 "" "$ringbus" rm ticks
removed() { "$ringbus" rm jobs; }
until_true removed

nothing_left
echo "all passed"
