# SPDX-License-Identifier: MIT
# loops.sed - the loops that may turn up to 2^37 times, for CBMC: in copies of include/ringbus/inline.h and lib/
# they become PROOF_FOR(what is true before each turn, what becomes less with each turn, what a turn changes,
# what the loop declares, its condition, its step), where one turn stands for all: see atomic_ops.h.
# run checks that each line of this still finds its loop.

# ringbus_hand_back: nothing but what lies in [from, to); and ringbus_send_for.
s/for \(; (\(int64_t\)\(to - end\) >= 0); (end \+= 64)\)/PROOF_FOR(end % 64 == 0 \&\& end - from >= 1 \&\& end - from <= to - from + 64, to - end + 64, end = nondet_u64(),, \1, \2)/
s/for \(; (\(int64_t\)\(to - words_end\) >= 0); (words_end \+= 512)\)/PROOF_FOR(words_end % 512 == 0 \&\& words_end - from >= 1 \&\& words_end - from <= to - from + 512, to - words_end + 512, words_end = nondet_u64(),, \1, \2)/
# ringbus_send_for_room
s/for \((line = from); (\(int64_t\)\(to - line\) > 0); (line \+= 64)\)/PROOF_FOR(line - from <= to - from + 63, to - line + 64, line = nondet_u64(), \1 PROOF_AND, \2, \3)/
# lapped_next
s/for \(uint64_t (walked = 0); (ringbus_word_is\(view, word, position, RINGBUS_WORD_PAD\));\)/PROOF_FOR(walked <= view->mask \&\& reader->at->position == position, view->mask - walked, (walked = nondet_u64(), word = nondet_u64(), reader->at->position = position = nondet_u64()), \1 PROOF_AND, \2, (void)0)/
# walk_records
s/while \((walked <= view->mask && distance\(at->position, limit\) > 0)\)/PROOF_FOR(walked <= 2 * view->mask + 1, 2 * view->mask + 1 - walked, (walked = nondet_u64(), at->position = nondet_u64(), at->count = nondet_u64()),, \1, (void)0)/
# next_state
s/for \(uint64_t (walked = 0); (walked <= view->mask); (walked \+= ringbus_word_bytes\(view, \*word\))\)/PROOF_FOR(walked <= 2 * view->mask + 1, 2 * view->mask + 1 - walked, (walked = nondet_u64(), *word = nondet_u64(), *at = nondet_u64()), \1 PROOF_AND, \2, \3)/
# counted_load, gate_load, find_slowest
/^static inline bool counted_load/,/^}/ s/for \(int (tries = 0); (tries < 1000); (tries\+\+)\)/PROOF_FOR(tries <= 1000, 1000 - tries, (tries = nondet_u64(), pair->position = nondet_u64(), pair->count = nondet_u64()), \1 PROOF_AND, \2, \3)/
/^static bool gate_load/,/^}/ s/for \(int (tries = 0); (tries < 1000); (tries\+\+)\)/PROOF_FOR(tries <= 1000, 1000 - tries, (tries = nondet_u64(), again = nondet_u64(), cursor->position = nondet_u64(), cursor->count = nondet_u64(), *exact = nondet_bool()), \1 PROOF_AND, \2, \3)/
s/for \(uint32_t (index = 0); (index < ring->geometry.group_count && groups >> index); (index\+\+)\)/PROOF_FOR(index <= ring->geometry.group_count \&\& tail.position - slowest.at.position <= ring->geometry.capacity, UINT64_C(64) - index, (index = nondet_u64(), slowest = nondet_slowest()), \1 PROOF_AND, \2, \3)/
# boundary_at_least of lib/producer.c
s/for \(; (producer->oldest_mark != producer->next_mark); (producer->oldest_mark\+\+)\)/PROOF_FOR(true, (uint64_t)(producer->next_mark - producer->oldest_mark), producer->oldest_mark = nondet_unsigned(),, \1, \2)/
# many_room, claim_again and refresh of lib/many.c
/^int many_room/,/^}/ s/for \(uint64_t (steps = most_steps\(producer\)); (steps > 0); (steps--)\)/PROOF_FOR(hot->tail % 64 == 0, steps, (steps = nondet_u64(), producer->hot.tail = nondet_u64(), word = nondet_u64()), \1 PROOF_AND, \2, \3)/
/^static .*int claim_again/,/^}/ s/for \(uint64_t (steps = most_steps\(producer\)); (steps > 0); (steps--)\)/PROOF_FOR(producer->hot.tail % 64 == 0 \&\& attempt != CLAIMED \&\& collisions <= MOST_COLLISIONS \&\& steps <= most_steps(producer), ((MOST_COLLISIONS - collisions) << 40) + steps, (steps = nondet_u64(), producer->hot.tail = nondet_u64(), producer->hot.limit = nondet_u64(), attempt = nondet_unsigned(), has_paced = nondet_bool(), collisions = nondet_u64()), \1 PROOF_AND, \2, \3)/
/^static int refresh/,/^}/ s/for \(int (tries = 0); (tries < 100); (tries\+\+)\)/PROOF_FOR(tries <= 100, 100 - tries, (tries = nondet_u64(), hot->limit = nondet_u64()), \1 PROOF_AND, \2, \3)/
