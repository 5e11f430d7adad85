#!/bin/bash
# SPDX-License-Identifier: MIT
# command.sh PATH-OF-RINGBUS - the `ringbus` command as people use it: files through pipes, signals,
# kills, full disks. Each test prints its name, a sentence; the first failure ends it.
#
# Nothing here depends on how fast anything is: what must have happened is waited for (up to a minute),
# and "in the middle of a stream" is arranged by pipes that nobody empties.
. "$(dirname "$0")/command_tools.sh"

# ---------------------------------------------------------------- making and removing

test_that "help and version are told on stdout"
expect 0 "" "$ringbus" --help >help
grep -q "Exit codes" help || fail "no exit codes in the help"
expect 0 "" "$ringbus" --version >version
grep -qE '^ringbus [0-9]+\.[0-9]+\.[0-9]+$' version || fail "version: $(cat version)"
for verb in create ls info check repair rm group send recv tail dump; do
  expect 0 "" "$ringbus" $verb --help >help
  grep -q "Examples" help || fail "no examples in the help of $verb"
done

test_that "wrong usage says what was expected"
expect 2 "expected a verb" "$ringbus"
expect 2 "'sned' is no verb" "$ringbus" sned
expect 2 "'--colour' is no option" "$ringbus" create r --colour
expect 2 "'-x' is no option" "$ringbus" recv r -x
expect 2 "'--capacity' expects a value" "$ringbus" create r --capacity
expect 2 "takes no value" "$ringbus" send r --close=now
expect 2 "expected one NAME" "$ringbus" create
expect 2 "expected the NAME" "$ringbus" send
expect 2 "expected at least one NAME" "$ringbus" rm
expect 2 "the nearest is 1M" "$ringbus" create r --capacity 1000K
expect 2 "the nearest is 4K" "$ringbus" create r --capacity 100
expect 2 "the nearest is 1T" "$ringbus" create r --capacity 9999999999999
expect 2 "expected a power of two" "$ringbus" create r --capacity lots
expect 2 "expected a power of two" "$ringbus" send r --create=-1
expect 2 "from 2 to 1023" "$ringbus" create r --participants 1024
expect 2 "from 1 to 64" "$ringbus" create r --groups 0
expect 2 "expected hold or drop" "$ringbus" create r --no-group keep
expect 2 "expected membarrier, fence or never" "$ringbus" create r --wake now
expect 2 "expected octal permissions" "$ringbus" create r --mode 0999
expect 2 "name or number of a group" "$ringbus" create r --file-group "no such group"
expect 2 "expected line, nul, length or raw" "$ringbus" send r --framing lines
expect 2 "expected a number of bytes" "$ringbus" send r --raw=64X
expect 2 "expected seconds" "$ringbus" recv r --timeout -1
expect 2 "expected seconds" "$ringbus" recv r --timeout 1m
expect 2 "expected a number from 1" "$ringbus" recv r --count 0
expect 2 "to 4294967295" "$ringbus" send r --tag 4294967296
expect 2 "expected resume, oldest, newest or a position" "$ringbus" recv r --from start
expect 2 "exclude each other" "$ringbus" recv r -o out --append --overwrite
expect 2 "exclude each other" "$ringbus" send r --wait --create
nothing_left

test_that "a ring is made once, and --if-missing is content with it"
expect 0 "" "$ringbus" create r --capacity 64k
expect 1 "--if-missing" "$ringbus" create r --capacity 64K
expect 0 "" "$ringbus" create r --if-missing
[ "$(info_value r capacity)" = 65536 ] || fail "the ring has changed"
[ "$(stat -c %a "$RINGBUS_DIR/r")" = 600 ] || fail "permissions"
expect 0 "" "$ringbus" rm r
(umask 077 && "$ringbus" create r --mode 0640 --file-group "$(id -g)")
[ "$(stat -c %a "$RINGBUS_DIR/r")" = 640 ] || fail "permissions under a umask"
expect 0 "" "$ringbus" rm r
expect 1 "no ring" "$ringbus" rm r

test_that "nothing is made by surprise"
expect 1 "ringbus create" "$ringbus" send r </dev/null
expect 1 "--wait" "$ringbus" recv r
expect 1 "--wait" "$ringbus" recv r -o out
expect 1 "no ring" "$ringbus" info r
[ ! -e out ] || fail "recv left an output file without a ring"
nothing_left
echo one | expect 0 "" "$ringbus" send r --create=128K --close
[ "$(info_value r capacity)" = 131072 ] || fail "--create has not made the ring that was asked for"
[ "$("$ringbus" recv r)" = one ] || fail "message through a ring made by send"
expect 0 "" "$ringbus" rm r

test_that "a file that is no ring is refused and never removed"
head -c 100000 /dev/zero >"$RINGBUS_DIR/zeros"
expect 5 "zeros" "$ringbus" info zeros
expect 5 "zeros" "$ringbus" recv zeros
expect 5 "zeros" "$ringbus" rm zeros
expect 5 "zeros" "$ringbus" rm --force zeros
rm "$RINGBUS_DIR/zeros"

# ---------------------------------------------------------------- round trips

# round_trip FILE FRAMING EXPECTED: what comes out is equal to EXPECTED.
round_trip() {
  "$ringbus" create r
  expect 0 "" "$ringbus" send r --framing "$2" --close "$1"
  expect 0 "" "$ringbus" recv r --framing "$2" >out
  cmp out "$3" || fail "$1 as $2 came back different"
  "$ringbus" rm r
}

test_that "lines, NUL-separated and raw files come back, empty messages included"
printf 'one\n\n\nfour\n' >lines
printf 'one\0\0\nfour\0' >nuls
: >empty
printf '\n' >newline
printf 'no newline' >unfinished
printf 'no newline\n' >finished
head -c 300000 /dev/urandom >binary
for file in lines empty newline; do round_trip $file line $file; done
for file in nuls empty; do round_trip $file nul $file; done
for file in lines nuls empty newline unfinished binary; do round_trip $file raw $file; done
round_trip unfinished line finished

test_that "several files and standard input are sent in order"
"$ringbus" create r
echo three | "$ringbus" send r --close finished - lines
(cat finished && echo three && cat lines) | cmp - <("$ringbus" recv r) || fail "order"
"$ringbus" rm r
"$ringbus" create r
expect 1 "nowhere" "$ringbus" send r lines nowhere
expect 1 "directory" "$ringbus" send r lines /usr
[ "$(info_value r tail_count)" = 0 ] || fail "something was sent before a missing file was noticed"
"$ringbus" rm r

test_that "a message that cannot fit is named and not truncated"
"$ringbus" create r --capacity 4K
(seq 3 && head -c 5000 /dev/zero | tr '\0' x && echo && echo after) >long
expect 1 "long: line 4 is longer than 4080 bytes" "$ringbus" send r long
[ "$("$ringbus" recv r --group g | xargs)" = "1 2 3" ] || fail "the lines before the long one"
expect 1 "longest message of this ring" "$ringbus" send r --raw=4096 long
head -c 4080 long >fits
"$ringbus" send r --raw=4080 --close fits
"$ringbus" recv r --group g --raw | cmp - fits || fail "the longest message"
"$ringbus" rm r

test_that "--count stops after that many messages on both sides"
"$ringbus" create r
seq 10 | "$ringbus" send r --count 7
[ "$(info_value r tail_count)" = 7 ] || fail "sent $(info_value r tail_count)"
[ "$("$ringbus" recv r --group g --count 2 | xargs)" = "1 2" ] || fail "first two"
[ "$("$ringbus" recv r --group g --count 3 | xargs)" = "3 4 5" ] || fail "next three"
[ "$("$ringbus" recv r --group g | xargs)" = "6 7" ] || fail "the rest"
head -c 10000 binary | "$ringbus" send r --raw=1000 --count 4 --tag 9
[ "$("$ringbus" recv r --group g --raw | wc -c)" = 4000 ] || fail "raw blocks"
"$ringbus" rm r

test_that "--from chooses where to begin"
"$ringbus" create r
seq 3 | "$ringbus" send r
position=$(info_value r tail)
seq 4 6 | "$ringbus" send r
"$ringbus" recv r --group hold --count 1 >out # holds all the rest
[ "$("$ringbus" recv r --from oldest | xargs)" = "1 2 3 4 5 6" ] || fail "oldest"
[ "$("$ringbus" recv r --from "$position" | xargs)" = "4 5 6" ] || fail "position"
[ -z "$("$ringbus" recv r --from newest)" ] || fail "newest"
[ "$("$ringbus" recv r --group hold | xargs)" = "2 3 4 5 6" ] || fail "resume"
expect 1 "$((position + 1))" "$ringbus" recv r --from $((position + 1))
"$ringbus" rm r

test_that "info is text for people and JSON for programs"
"$ringbus" create r --capacity 64K --no-group drop --wake fence
seq 5 | "$ringbus" send r --close
"$ringbus" recv r --group $'caf\xc3\xa9' --policy gate-while-attached --max-lag 4K --count 2 >out
expect 0 "" "$ringbus" info r >text
grep -q "64K" text || fail "capacity in $(cat text)"
grep -q $'caf\xc3\xa9: gate-while-attached, max lag 4K, durable, not attached' text || fail "$(cat text)"
expect 0 "" "$ringbus" info r --json >json
if command -v python3 >/dev/null; then
  python3 - json <<'PYTHON' || fail "$(cat json)"
import json, sys
ring = json.load(open(sys.argv[1], encoding="utf-8"))
assert list(ring) == """name id state layout_version library_version created_ns epoch capacity
  max_message file_bytes many_producers overwrite no_group wake oldest oldest_count tail tail_count
  full_events max_lag broken_cursors dropped recovered max_participants max_groups participants groups
  readers_wait_for producers_wait_for""".split(), list(ring)
assert ring["name"] == "r" and ring["state"] == "closed" and len(ring["id"]) == 32
assert ring["no_group"] == "drop" and ring["wake"] == "fence" and ring["tail_count"] == 5
assert ring["participants"] == []
[group] = ring["groups"]
assert list(group) == """name policy durable gating shared attached members slot max_lag cursor
  cursor_count lag_bytes lag_messages lost_messages lost_bytes redelivered""".split(), list(group)
assert group["name"] == "caf\u00e9" and group["durable"] and not group["attached"]
assert group["cursor_count"] == 2 and group["lag_messages"] == 3
PYTHON
fi
expect 1 "standard output" "$ringbus" info r >/dev/full
"$ringbus" rm r

# ---------------------------------------------------------------- real files

# The machine's own files, in a fixed order, until there are 200 MB.
find /usr/lib /usr/bin /usr/include -type f -readable -size +0 -printf '%p\t%s\n' | sort |
  awk -F'\t' 'total < 200e6 { total += $2; print $1 }' >list
tr '\n' '\0' <list | xargs -0 cat >real
[ "$(bytes_of real)" -ge 200000000 ] || fail "this machine has only $(bytes_of real) bytes of files"
real_sum=$(checksum <real)

for capacity in 64K 16M; do
  test_that "200 MB of real files pass a ring of $capacity, consumer first"
  start "$ringbus" recv r --wait --raw > >(checksum >sum)
  consumer=$started
  "$ringbus" create r --capacity $capacity
  until_true has_consumer r
  expect 0 "" "$ringbus" send r --raw --close --drain real
  ends "$consumer" 0 recv
  until_true test -s sum
  [ "$(cat sum)" = "$real_sum" ] || fail "checksums differ"
  expect 0 "" "$ringbus" rm r
  rm sum
  nothing_left

  test_that "200 MB of real files pass a ring of $capacity, producer first"
  start "$ringbus" send r --raw --create=$capacity --close < <(cat real)
  producer=$started
  until_true is_full r
  [ "$("$ringbus" recv r --raw | checksum)" = "$real_sum" ] || fail "checksums differ"
  ends "$producer" 0 send
  expect 0 "" "$ringbus" rm r
  nothing_left
done

test_that "the machine's headers pass line by line, and each group sees all of them"
find /usr/include -name '*.h' -type f -readable | sort | tr '\n' '\0' | xargs -0 cat >headers
[ -z "$(tail -c 1 headers)" ] || echo >>headers
headers_sum=$(checksum <headers)
"$ringbus" create r --capacity 1M
start "$ringbus" recv r --group first -o headers.first
first=$started
start "$ringbus" recv r --group second -o headers.second
second=$started
until_true info_has r '"second"'
until_true info_has r '"first"'
"$ringbus" send r --close --drain headers
ends "$first" 0 recv
ends "$second" 0 recv
for group in first second; do
  [ "$(checksum <headers.$group)" = "$headers_sum" ] || fail "group $group read something else"
done
"$ringbus" rm r
rm real headers*
nothing_left

# ---------------------------------------------------------------- death

seq 400000 >numbers
seq 4000000 >many

# follows FILE LAST MOST: complete lines of FILE count up; they begin at most MOST before LAST + 1, not
# after it. Prints the last one.
follows() {
  awk -v last="$2" -v most="$3" '
    NR == 1 && ($1 > last + 1 || $1 < last + 1 - most) { print "begins at " $1 " after " last; exit 1 }
    NR > 1 && $1 != previous + 1 { print $1 " after " previous; exit 1 }
    { previous = $1 }
    END { if (NR == 0) previous = last; print previous }' "$1"
}
test_that "a consumer that is killed in mid-stream gets everything, at most one batch twice"
# A batch is at most a quarter of the ring, and a message takes at least 16 bytes of that.
batch=$((65536 / 4 / 16))
"$ringbus" create r --capacity 64K
start "$ringbus" send r --close numbers
producer=$started
last=0
for amount in 1 10000 65536 100001 300000; do
  open_pipe
  start "$ringbus" recv r --group g >&9 9>&- 7<&-
  consumer=$started
  exec 9>&-
  head -c "$amount" <&7 >received # more is to come than the pipe holds: it is in mid-stream or blocked
  kill -KILL "$consumer"
  ends "$consumer" 137 recv
  cat <&7 >>received
  exec 7<&-
  complete_lines received >whole
  last=$(follows whole "$last" $batch) || fail "$last"
done
"$ringbus" recv r --group g >whole
last=$(follows whole "$last" $batch) || fail "$last"
[ "$last" = 400000 ] || fail "ended at $last"
ends "$producer" 0 send
"$ringbus" rm r

# sent_so_far: succession first, which finds what a killed producer had committed last.
sent_so_far() {
  "$ringbus" send r </dev/null
  info_value r tail_count
}

test_that "a producer that is killed in mid-stream is continued without loss"
"$ringbus" create r --capacity 64K
start "$ringbus" send r many # fills the ring and waits
producer=$started
until_true is_full r
kill -KILL "$producer"
ends "$producer" 137 send
sent=$(sent_so_far)
start "$ringbus" recv r --follow --group g -o out.killed
consumer=$started
until_true has_bytes out.killed 1000
for _ in 1 2 3; do # somewhere
  start "$ringbus" send r < <(tail -n +$((sent + 1)) many)
  producer=$started
  size=$(bytes_of out.killed)
  until_true has_bytes_or_ended out.killed $((size + 100000)) "$producer"
  kill -KILL "$producer" || true
  wait "$producer" || true
  sent=$(sent_so_far)
done
target=$((sent + 10000 < 4000000 ? sent + 10000 : 4000000))
open_pipe
start "$ringbus" send r <&7 7<&- 9>&-
producer=$started
sed -n "$((sent + 1)),${target}p" many >&9
until_true has_sent r "$target"
kill -KILL "$producer" # while it waits for input
exec 7<&- 9>&-
ends "$producer" 137 send
sent=$(sent_so_far)
tail -n +$((sent + 1)) many | "$ringbus" send r --close --drain
ends "$consumer" 0 recv
cmp out.killed many || fail "lost, torn or repeated"
"$ringbus" rm r

test_that "a consumer learns that the producer died, if nobody follows"
"$ringbus" create r --capacity 64K
start "$ringbus" send r numbers
until_true is_full r
kill -KILL "$started"
wait "$started" || true
expect 0 "died without closing" "$ringbus" recv r >out
out_last=$(follows out 0 0) || fail "$out_last"
"$ringbus" rm r

# ---------------------------------------------------------------- signals

test_that "recv ends by SIGINT and SIGTERM without losing or repeating anything"
"$ringbus" create r --capacity 64K
start "$ringbus" send r --close many
producer=$started
: >out.stopped
for signal in INT TERM INT TERM; do
  start "$ringbus" recv r --group g -o out.stopped --append 2>errors
  size=$(bytes_of out.stopped)
  until_true has_bytes_or_ended out.stopped $((size + 1)) "$started"
  kill -$signal "$started" || true
  case $signal in INT) code=130 ;; TERM) code=143 ;; esac
  got=0
  wait "$started" || got=$?
  [ $got = $code ] || [ $got = 0 ] || fail "recv ended with $got after SIG$signal"
  [ $got = 0 ] || grep -q "messages, .* bytes were written" errors || fail "nothing said"
done
"$ringbus" recv r --group g -o out.stopped --append
cmp out.stopped many || fail "lost or repeated"
ends "$producer" 0 send
"$ringbus" rm r

test_that "a signal ends recv that waits, or that nobody reads from"
"$ringbus" create r --capacity 64K
for signal in INT:130 TERM:143; do
  start "$ringbus" recv r --follow --group g
  until_true has_consumer r # whoever is attached catches signals
  kill -${signal%:*} "$started"
  ends "$started" ${signal#*:} recv
done
start "$ringbus" send r numbers
producer=$started
last=0
for reader in resumes stays; do
  open_pipe
  start "$ringbus" recv r --group g >&9 9>&- 7<&-
  consumer=$started
  exec 9>&-
  head -c 1 <&7 >received
  sleep 0.5 # by now it is blocked in mid-batch, most likely; the test holds if it is not
  kill -INT "$consumer"
  [ $reader = resumes ] || ends "$consumer" 130 recv
  cat <&7 >>received
  exec 7<&-
  [ $reader = stays ] || ends "$consumer" 130 recv
  complete_lines received >whole
  last=$(follows whole "$last" $batch) || fail "$last"
  [ "$last" -lt 400000 ] || fail "that was no middle"
done

test_that "send ends by SIGINT and SIGTERM wherever it waits, and what was sent stays sent"
kill -INT "$producer" # waits for room
ends "$producer" 130 send
sent=$(info_value r tail_count)
start "$ringbus" recv r --follow --group g >out.rest
consumer=$started
open_pipe
start "$ringbus" send r <&7 2>errors.send 7<&- 9>&-
producer=$started
sed -n "$((sent + 1)),$((sent + 100))p" numbers >&9
until_true has_sent r $((sent + 100))
kill -TERM "$producer" # while it waits for input
ends "$producer" 143 send
exec 7<&- 9>&-
grep -q "after 100 messages, .* bytes were sent" errors.send || fail "$(cat errors.send)"
tail -n +$((sent + 101)) numbers | "$ringbus" send r --close --drain
ends "$consumer" 0 recv
rest=$(follows out.rest "$last" $batch) || fail "$rest"
[ "$rest" = 400000 ] || fail "ended at $rest"
"$ringbus" rm r
for words in "send r --wait" "recv r --wait"; do
  start "$ringbus" $words </dev/null
  until_true catches_signals "$started"
  kill -TERM "$started"
  ends "$started" 143 "$words"
done
nothing_left

# ---------------------------------------------------------------- waiting in vain, busy, stale

test_that "what does not come in time is exit code 3"
expect 3 "still no such ring" "$ringbus" recv r --wait --timeout 0.1
expect 3 "still no such ring" "$ringbus" send r --wait --timeout 0 </dev/null
"$ringbus" create r --capacity 4K
expect 3 "no message" "$ringbus" recv r --timeout 0.1
expect 3 "no consumer" "$ringbus" send r --wait-consumer --timeout 0.1 lines
expect 3 "no room" "$ringbus" send r --timeout 0.1 numbers
sent=$(info_value r tail_count)
[ "$sent" -gt 0 ] || fail "nothing was sent before the ring was full"
[ "$("$ringbus" recv r --group g --count 1)" = 1 ] || fail "the oldest"
expect 3 "has not read it all" "$ringbus" send r --drain --timeout 0.1 </dev/null
expect 3 "no message" "$ringbus" recv r --group g --follow --timeout 0.1 >out
last=$(follows out 1 0) || fail "$last"
[ "$last" = "$sent" ] || fail "$last of $sent"
expect 0 "" "$ringbus" send r --drain --timeout 0 </dev/null
"$ringbus" rm r

test_that "roles that are taken, and rings in use, are exit code 4"
"$ringbus" create r
start "$ringbus" recv r --group g --follow
consumer=$started
open_pipe
start "$ringbus" send r <&7 7<&- 9>&-
producer=$started
echo one >&9
until_true has_sent r 1
until_true has_consumer r
expect 4 "$producer" "$ringbus" send r lines
expect 4 "$consumer" "$ringbus" recv r --group g -o out.busy
[ ! -e out.busy ] || fail "a refused recv left its output file"
expect 4 "force" "$ringbus" rm r
[ -e "$RINGBUS_DIR/r" ] || fail "removed although in use"
"$ringbus" info r >text
grep -q "producer.*alive.*$producer.*ringbus send" text || fail "$(cat text)"

test_that "a group is removed by its name, but not while its consumer lives"
expect 4 "living consumer" "$ringbus" group rm r g
"$ringbus" create typo --capacity 4K
echo one | "$ringbus" send typo
expect 0 "" "$ringbus" recv typo --group misspelt --from newest
expect 0 "" "$ringbus" group rm typo misspelt
expect 1 "no group" "$ringbus" group rm typo misspelt
"$ringbus" info typo >text
! grep -q misspelt text || fail "$(cat text)"
expect 0 "" "$ringbus" rm typo

test_that "a ring that is removed by force is exit code 6 for those who use it"
start "$ringbus" recv r --group other --follow >out.other
other=$started
until_true has_bytes out.other 4
expect 0 "" "$ringbus" rm --force r
ends "$consumer" 6 recv
ends "$other" 6 recv
nothing_left
echo two >&9
ends "$producer" 6 send
exec 7<&- 9>&-
"$ringbus" create r --capacity 4K
start "$ringbus" send r numbers
until_true is_full r
expect 0 "" "$ringbus" rm --force r
ends "$started" 6 send
nothing_left

test_that "a ring file that is cut short is exit code 5, not a crash"
"$ringbus" create r
start "$ringbus" recv r --follow
until_true has_consumer r
truncate -s 0 "$RINGBUS_DIR/r"
ends "$started" 5 recv
rm "$RINGBUS_DIR/r"

test_that "the number of messages lost by being lapped is told"
"$ringbus" create r --capacity 4K
seq 10 | "$ringbus" send r
expect 0 "" "$ringbus" recv r --group slow --policy lapped --count 3 >out
[ "$(xargs <out)" = "1 2 3" ] || fail "$(cat out)"
"$ringbus" send r --close numbers
expect 0 "lapped: lost" "$ringbus" recv r --group slow >out
lost=$(sed -n 's/.*lost \([0-9]*\) messages.*/\1/p' errors | tail -n 1)
[ $((3 + lost + $(wc -l <out))) = 400010 ] || fail "3 read, $lost lost, $(wc -l <out) read"
[ "$(tail -n 1 out)" = 400000 ] || fail "the last is missing"
"$ringbus" rm r

# ---------------------------------------------------------------- outputs

test_that "an output file that exists is not overwritten by surprise"
"$ringbus" create r
seq 3 | "$ringbus" send r
echo precious >kept
expect 1 "--append or --overwrite" "$ringbus" recv r --group g -o kept
[ "$(cat kept)" = precious ] || fail "overwritten"
expect 0 "" "$ringbus" recv r --group g -o kept --append --count 1
[ "$(xargs <kept)" = "precious 1" ] || fail "appended: $(cat kept)"
expect 0 "" "$ringbus" recv r --group g -o kept --overwrite --count 1
[ "$(cat kept)" = 2 ] || fail "overwritten: $(cat kept)"
expect 0 "" "$ringbus" recv r --group g -o fresh
[ "$(cat fresh)" = 3 ] || fail "written: $(cat fresh)"
expect 0 "" "$ringbus" recv r --group g -o /dev/null
"$ringbus" rm r

test_that "a full disk is an error and what was not written stays unread"
"$ringbus" create r
seq 1000 | "$ringbus" send r --close
expect 1 "stays unread" "$ringbus" recv r --group g -o /dev/full
expect 1 "standard output: cannot write" "$ringbus" recv r --group g >/dev/full
"$ringbus" recv r --group g >out
last=$(follows out 0 0) || fail "$last"
[ "$last" = 1000 ] || fail "only $last of 1000"
"$ringbus" rm r

test_that "a closed pipe ends recv quietly and the rest stays unread"
"$ringbus" create r --capacity 4M
head -n 200000 numbers | "$ringbus" send r --close
set +e
"$ringbus" recv r --group h 2>errors | head -n 1 >out
got=("${PIPESTATUS[@]}")
set -e
[ "${got[0]}" = 141 ] || fail "recv ended with ${got[0]}"
[ ! -s errors ] || fail "not quiet"
"$ringbus" recv r --group h >out
first=$(head -n 1 out)
last=$(follows out $((first - 1)) 0) || fail "$last"
[ "$last" = 200000 ] || fail "$first to $last"
"$ringbus" rm r

test_that "progress is shown if asked for, and not without a terminal otherwise"
seq 5 | expect 0 "5 messages, 0.0 MB" "$ringbus" send r --create --progress --close
expect 0 "5 messages, 0.0 MB" "$ringbus" recv r --progress >out
"$ringbus" rm r

nothing_left
echo "all passed"
