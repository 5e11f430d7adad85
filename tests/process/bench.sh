#!/bin/bash
# SPDX-License-Identifier: MIT
# bench.sh PATH-OF-RINGBUS-BENCH PATH-OF-THE-FAULTY-VARIANT MAN-PAGE - what ringbus-bench says and how it
# ends, each row for a moment. No figure is ever asserted.
. "$(dirname "$0")/command_tools.sh"

bench=$ringbus
faulty=$(realpath "$2")
page=$(realpath "$3")
keys=bench,contender,bytes,rate,count,spread,state,slices,unit,median,low,high,samples,p50,p90,p99
keys=$keys,p99_9,max,sent_per_s,late_p99,received_percent,median_from,median_to,ring_bytes,places
moment=(--slices 1 --slice-ms 1 --disturbed)

# errors has nothing but warnings.
only_warnings() { ! grep -v '^ringbus-bench: warning: ' errors; }

test_that "wrong usage says what was expected"
expect 2 "a bench is throughput" "$bench" troughput
expect 2 "'--slice=3' is no option" "$bench" --slice=3
expect 2 "'--nonsense' is no option" "$bench" --nonsense
expect 2 "'--json=1' is no option, or takes no value" "$bench" --json=1
expect 2 "--slices takes a value" "$bench" --slices
expect 2 "from 1 to 100000, not '0'" "$bench" --slices 0
expect 2 "from 1 to 60000, not '-1'" "$bench" --slice-ms -1
expect 2 "from 1 to 60000, not '5x'" "$bench" --slice-ms 5x
expect 2 "some of 8,64,256,1024,4096,65536, not '9'" "$bench" --sizes 8,9
expect 2 "some of 8,64,256,1024,4096,65536, not ''" "$bench" --sizes 8,
expect 2 "from 1 to 100000000, not '100k'" "$bench" --rate 100k
expect 2 "at most 8 rates" "$bench" --rate 1,2,3,4,5,6,7,8,9
expect 2 "none begins with 'rungbis'" "$bench" --only ringbus,rungbis
expect 2 "none begins with ''" "$bench" --only ""
expect 2 "nothing to measure" "$bench" throughput --only "bare line"
expect 2 "two CPUs or more" "$bench" --cpus 0
expect 2 "may not use CPU 1023" "$bench" --cpus 0,1023
expect 2 "default, never, store or locked, not 'maybe'" "$bench" --hand-back maybe
expect 2 "one of --json and --csv" "$bench" --json --csv

test_that "what cannot be written is an error, before anything is measured where that is possible"
expect 1 "writing to standard output: No space left" "$bench" --help >/dev/full
expect 1 "writing to standard output: No space left" "$bench" "${moment[@]}" >/dev/full
expect 1 "writing to standard output: No space left" "$bench" "${moment[@]}" pingpong --csv >/dev/full

test_that "every option and bench of --help is in the manual page, and no other option"
"$bench" --help >help
grep -oE -- '--[a-z-]+' help | sort -u >in-help
sed -n 's/^\.It Fl Fl \([a-z-]*\).*/--\1/p' "$page" | sort -u >in-page
diff in-help in-page >difference || fail "$(cat difference)"
for word in throughput pingpong paced wakeup publish attach fan-in fan-out shared overwrite curves; do
  grep -qE "^\.It Cm $word$" "$page" || fail "$word is not in the manual page"
done
if command -v mandoc >/dev/null; then
  mandoc -T lint -W style "$page" | grep -v "referenced manual not found" >lint || true
  [ ! -s lint ] || fail "$(cat lint)"
fi

test_that "only those contenders are measured that are asked for"
"$bench" "${moment[@]}" --only "ringbus s,a pipe" --csv >csv 2>errors || fail "ended with an error"
[ "$(tail -n +2 csv | cut -d '"' -f 4 | sort -u | tr '\n' :)" = "a pipe each:ringbus send, recv:" ] ||
  fail "others: $(cut -d '"' -f 4 csv | sort -u)"

test_that "JSON: every bench, contender and size, all keys in order, the machine and its faults"
"$bench" "${moment[@]}" --json >json 2>errors || fail "ended with an error"
only_warnings || fail "more than warnings"
[ "$(jq -r '[.results[] | keys_unsorted | join(",")] | unique | join(" ")' json)" = $keys ] ||
  fail "other keys: $(jq -c '.results[0] | keys_unsorted' json)"
[ "$(jq -r '[.results[].bench] | unique | join(" ")' json)" = \
  "attach fan-in fan-out overwrite paced pingpong publish shared throughput wakeup" ] || fail "a bench is missing"
[ "$(jq '[.results[] | select(.bench == "throughput").bytes] | unique | add' json)" = \
  $((8 + 64 + 256 + 1024 + 4096 + 65536)) ] || fail "a size is missing"
[ "$(jq '[.results[] | select(.bench == "paced").rate] | unique | add' json)" = 1110000 ] ||
  fail "a rate is missing"
# A peer is measured, or its package is told to be missing.
missing=" $(sed -n 's/.*for want of a package: *//p' errors) "
of_bench() { jq -r ".results[] | select(.bench == \"$1\").contender" json | sort -u; }
of_bench throughput >contenders
while IFS=: read -r package names; do
  tr , '\n' <<<"$names" >>peers
  while read -r name; do
    if [[ $missing == *" $package "* ]]; then
      ! grep -qxF "$name" contenders || fail "$name is there without $package"
    elif ! grep -q "/dev/shm is small" errors; then
      grep -qxF "$name" contenders || fail "$name is neither there nor is $package missing"
    fi
  done < <(tr , '\n' <<<"$names")
done <<'LIST'
libck-dev:ck_ring
libdpdk-dev:rte_ring,rte_ring bursts
libqb-dev:libqb
libatomic-queue-dev:atomic_queue
libboost-dev:boost spsc_queue,boost spsc batches,boost message_queue
libzmq3-dev:ZeroMQ ipc
libnng-dev:nng ipc
libiceoryx-posh-dev:iceoryx
python3:Python mmap
LIST
attached=18
! grep -q "a ring of 1 GiB (memory is short) cannot be had" errors || attached=$((attached - 6))
! grep -q "a ring of 16 GiB (memory is short) cannot be had" errors || attached=$((attached - 3))
for is in throughput:8 pingpong:8 paced:8 wakeup:5 publish:3 attach:$attached fan-in:6 fan-out:4 shared:4 overwrite:4; do
  [ "$(of_bench "${is%:*}" | grep -cvxFf peers)" = "${is#*:}" ] || fail "${is%:*} has other contenders"
done
jq -e '.warnings | type == "array"' json >shown || fail "no warnings"
[ "$(jq '.warnings | length' json)" = "$(grep -c warning errors)" ] ||
  fail "warnings of JSON are not those of stderr"
jq -e '[.ringbus, .libatomic_ops, .processor, .kernel, .compiler, .flags, .clock | length > 0] | all' \
  json >shown || fail "the machine is not told"
jq -e '[.results[] | .low <= .median and .median <= .high and .slices == 1] | all' json >shown ||
  fail "quartiles are out of order"
jq -e '[.results[] | select(.samples) | .p50 <= .p90 and .p90 <= .p99 and .p99 <= .p99_9 and
  .p99_9 <= .max and .samples > 0] | all' json >shown || fail "percentiles are out of order"
jq -e '[.results[] | (.samples != null) ==
  (.bench | IN("pingpong", "paced", "wakeup", "attach"))] | all' \
  json >shown || fail "percentiles where there are none"
jq -e '[.handle_bytes | .ring, .producer, .consumer | . >= 100] | all' json >shown ||
  fail "no handles"
jq -e '.interrupted == false' json >shown || fail "interrupted"

test_that "CSV: the same keys, and as many columns in each line; only the sizes that were asked for"
"$bench" "${moment[@]}" throughput paced shared --sizes 8,4096 --rate 5000 --csv \
  --only ringbus,bare,pipe,seqpacket,POSIX >csv 2>errors || fail "ended with an error"
[ "$(head -n 1 csv)" = $keys ] || fail "first line: $(head -n 1 csv)"
sed 's/"[^"]*"/text/g' csv | awk -F, 'NF != 25 { exit 1 }' || fail "columns differ"
[ "$(sed 's/"[^"]*"/text/g' csv | awk -F, 'NR > 1 && $4 == 5000' | wc -l)" = 16 ] ||
  fail "not eight contenders of two sizes at that rate"
grep -q '^"throughput","POSIX mq",4096,' csv || fail "no queue"
! grep -q ',64,5000,' csv || fail "a size that nobody asked for"

test_that "curves have all their points, each of one thing that changes"
"$bench" "${moment[@]}" curves --json >curves 2>errors || fail "ended with an error"
only_warnings || fail "more than warnings"
points_of() { jq -r "[.results[] | select(.contender == \"ringbus by $1\") | .$2] | unique | map(tostring) | join(\" \")" curves; }
[ "$(points_of "ring size, 64 B" ring_bytes)" = "$(points_of "ring size, 1024 B" ring_bytes)" ] || fail "other rings"
[ "$(points_of "ring size, 64 B" ring_bytes)" = "$(for i in {14..26}; do echo $((1 << i)); done | xargs)" ] || fail "other rings"
[ "$(points_of "message size" bytes)" = "$(for i in {3..16}; do echo $((1 << i)); done | xargs)" ] || fail "other sizes"
[ "$(points_of places places)" = "3 15 63 255 1023" ] || fail "other places"
for several in groups producers; do
  [ "$(points_of $several count)" = "1 2 3 4 5 6 7 8" ] || fail "other numbers of $several"
done
jq -e '[.results[] | .slices == 1 and .bench == "curves"] | all' curves >shown || fail "not measured"

test_that "a table has a line for each contender"
"$bench" "${moment[@]}" throughput pingpong publish overwrite --sizes 64 >table 2>errors ||
  fail "ended with an error"
for name in "wake never" "ringbus send, recv" "floor, stored back" "bare futex" "POSIX mq" "received, percent"; do
  grep -qF "$name" table || fail "no '$name' in the table"
done

# On one CPU no slice is thrown away.
one_core=(pingpong throughput --cpus 0,0 --sizes 64 --only "ringbus send,ringbus, polling,bare line,pipe"
  --slice-ms 1)

test_that "six slices have a confidence interval, five have none"
"$bench" "${one_core[@]}" --slices 6 --json --hgrm percentiles >json 2>errors || fail "ended with an error"
jq -e '.results | length == 5' json >shown || fail "not five figures"
jq -e '[.results[] | .median_from <= .median and .median <= .median_to] | all' json >shown ||
  fail "no interval around the median"
"$bench" "${one_core[@]}" --slices 5 --json >few 2>errors || fail "ended with an error"
jq -e '[.results[] | .median_from == null and .median_to == null] | all' few >shown || fail "an interval"

test_that "percentiles are written for each contender, size and state"
[ "$(ls percentiles | xargs)" = "pingpong-bare-line-64B-one-core.hgrm pingpong-pipe-64B-one-core.hgrm \
pingpong-ringbus-polling-64B-one-core.hgrm" ] || fail "others: $(ls percentiles)"
for file in percentiles/*; do
  awk 'NR > 2 && !/^#/ { if ($1 < value || $2 < share || NF < 3) exit 1; value = $1; share = $2; lines++ }
    END { exit lines > 2 && share == 1 ? 0 : 1 }' "$file" || fail "$file: $(cat "$file")"
done
[ "$(sed -n 's/.*Total count *= *\([0-9]*\).*/\1/p' percentiles/pingpong-pipe*)" = \
  "$(jq '.results[] | select(.bench == "pingpong" and .contender == "pipe").samples' json)" ] ||
  fail "other messages than in the table"
expect 1 "--hgrm: json: " "$bench" "${moment[@]}" --hgrm json
expect 1 "--hgrm: no/where: No such file" "$bench" "${moment[@]}" --hgrm no/where

test_that "a comparison tells what is better and worse than before, and what is within the noise"
times() { # ringbus has been so many times as fast as it is
  jq "(.results[] | select(.contender | startswith(\"ringbus\")) | .median, .median_from, .median_to) *=
    $1 | (.results[] | select(.unit == \"ns\" and .median_to) | .median, .median_from, .median_to) *= $2" \
    json >before
}
compare() { "$bench" "${one_core[@]}" --slices 6 --compare before; }
times 1e6 1e-12
expect 3 warning compare >table
grep -q "^throughput, ringbus send, recv, 64 B, one core: .* million messages/s, -[0-9]" table ||
  fail "$(cat table)"
grep -qE "^pingpong, ringbus, polling, 64 B, one core: .* ns, \+" table || fail "$(cat table)"
grep -q "^5 figures compared; of ringbus 2 are worse, 0 better; of the others, . of 3 changed: this is not" \
  table || fail "$(cat table)"
times 1e-6 1e12
expect 0 warning compare >table
grep -q "of ringbus 0 are worse, 2 better" table || fail "$(cat table)"
jq '(.results[] | .median_from) = 0 | (.results[] | .median_to) = 1e12' json >before
expect 0 warning compare >table
grep -q "^5 figures compared; of ringbus 0 are worse, 0 better; of the others, 0 of 3 changed$" table ||
  fail "$(cat table)"
jq '(.results[] | .state) = "near"' json >before
expect 0 warning compare >table
grep -q "^0 figures compared" table || fail "figures of different states are compared"
expect 1 "--compare: reading nowhere: No such file" "$bench" --compare nowhere
echo "a few words" >few-words
expect 1 "--compare: few-words is not what --json has written" "$bench" --compare few-words

test_that "a terminal is told how far it is, and nobody else"
script -qec "$bench throughput --only pipe --slices 2 --slice-ms 150 --cpus 0,0" /dev/null </dev/null >terminal
grep -q "%, .* to go: throughput, pipe" terminal || fail "no progress"
! grep -q "to go" errors || fail "progress elsewhere"

test_that "plots are drawn of what was measured"
if command -v gnuplot >shown; then
  "$(dirname "$page")/plot" json drawn percentiles >names 2>errors || fail "not drawn"
  "$(dirname "$page")/plot" curves drawn >names 2>errors || fail "not drawn"
  for name in throughput pingpong ring-size message-size groups-producers places; do
    grep -q "ringbus" drawn/$name.svg || fail "nothing of ringbus in $name.svg"
    [ "$(head -c 4 drawn/$name.png | tail -c 3)" = PNG ] || fail "$name.png is none"
  done
  expect 1 "has no figure" "$(dirname "$page")/plot" few-words drawn
fi

test_that "one CPU for all is warned of"
"$bench" "${moment[@]}" pingpong throughput --sizes 64 --cpus 0,0 --json >json 2>errors ||
  fail "ended with an error"
jq -e '[.warnings[] | startswith("one CPU only")] | any' json >shown || fail "not warned of"
jq -e '[.results[].state] | unique == ["one core"]' json >shown || fail "another state"

children_of() { cat "/proc/$1/task/$1/children"; }
has_children() { [ -n "$(children_of "$1")" ]; }
are_gone() {
  local pid
  for pid in "$@"; do
    ! kill -0 "$pid" || return 1
  done
}
# No name of what it uses is left while it runs: rings never had one, queues lose theirs at once.
leaves_no_name() {
  local fd target
  for fd in /proc/"$1"/fd/*; do
    target=$(readlink "$fd") || continue
    case $target in
      *" (deleted)") ;;
      /memfd:* | /dev/shm/* | /ringbus-bench*) fail "it holds $target" ;;
    esac
  done
}

test_that "who is interrupted finishes a slice and tells what was measured"
start "$bench" --slices 100000 --slice-ms 1 --disturbed pingpong --json --only bare,ringbus,pipe,POSIX >json 2>errors </dev/null
until_true has_children "$started"
children=$(children_of "$started")
sleep 2 # a slice has been measured
leaves_no_name "$started"
kill -INT "$started"
ends "$started" 130 "the bench"
grep -q "stopped before the end" errors || fail "it does not say so"
jq -e '.interrupted and (.results | length > 0)' json >shown || fail "nothing was told"
until_true are_gone $children

test_that "who is killed leaves no process"
start "$bench" --slices 100000 fan-in >table 2>errors </dev/null
until_true has_children "$started"
sleep 0.3
children=$(children_of "$started")
kill -KILL "$started"
ends "$started" 137 "the bench"
until_true are_gone $children

test_that "who is killed leaves neither the daemon of iceoryx nor its names"
names_of_iceoryx() { find /dev/shm/iceoryx_mgmt /tmp/roudi /tmp/ringbus-bench."$started".* 2>/dev/null; }
has_all_names() { [ "$(names_of_iceoryx | wc -l)" = 6 ]; } # two sockets, with a lock each
has_no_name() { [ -z "$(names_of_iceoryx)" ]; }
if grep -qxF iceoryx contenders && [ ! -e /dev/shm/iceoryx_mgmt ]; then
  start "$bench" --slices 100000 pingpong --only iceoryx >table 2>errors </dev/null
  until_true has_all_names
  children=$(children_of "$started")
  kill -KILL "$started"
  ends "$started" 137 "the bench"
  until_true are_gone $children
  has_no_name || fail "left: $(names_of_iceoryx)"
fi

test_that "a message that is lost, torn, repeated or changed ends the run"
for fault in send:lose send:repeat send:first send:middle send:last commit:lose commit:middle \
  write:first write:middle write:last mq_send:repeat mq_send:middle; do
  BENCH_FAULT=$fault:0 expect 1 "throughput, " "$faulty" "${moment[@]}" throughput --sizes 64 >table
  grep -qE "message [01] is lost, torn, repeated or out of order" errors || fail "not of the message"
done
BENCH_FAULT=send:middle:1024 expect 1 "message 1024 is lost, torn" \
  "$faulty" --slices 1 --slice-ms 300 throughput --sizes 64 >table
BENCH_FAULT=send:middle:0 expect 1 "paced, ringbus, polling: message 0 is lost, torn" \
  "$faulty" "${moment[@]}" --rate 100000 paced >table
BENCH_FAULT=send:last:0 expect 1 "pingpong, ringbus, polling: message " \
  "$faulty" "${moment[@]}" pingpong >table
for bench_of in "wakeup, ringbus, sleeping" "publish, wake by membarrier" "attach, producer, 1 MiB"; do
  BENCH_FAULT=send:first:0 expect 1 "$bench_of: message " \
    "$faulty" "${moment[@]}" "${bench_of%%,*}" --only "${bench_of#*, }" >table
done
BENCH_FAULT=send:lose:0 expect 1 "out of order" "$faulty" "${moment[@]}" fan-in >table
for curve in "ring size, 64 B" "ring size, 1024 B" "message size" groups producers places; do
  BENCH_FAULT=send:last:1 expect 1 "curves, ringbus by $curve: message 1 is lost, torn" \
    "$faulty" "${moment[@]}" curves --only "ringbus by $curve" >table
done
BENCH_FAULT=send:lose:0 expect 1 "messages are missing at the end of a slice" \
  "$faulty" "${moment[@]}" shared >table
while read -r contender; do
  [[ $contender != "ringbus in place" && $contender != Python* ]] || continue # they number theirs themselves
  BENCH_FAULT=number:middle:0 expect 1 "throughput, $contender: message 0 is lost, torn" \
    "$faulty" "${moment[@]}" throughput --sizes 64 --only "$contender" >table
done <contenders
