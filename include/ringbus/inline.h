/* SPDX-License-Identifier: MIT */
/* inline.h - the hot path and the ordering argument.
 *
 * Include this instead of ringbus.h and the calls marked "hot" there are inlined into your code;
 * nothing else changes, names and behaviour are the same. The library compiles this very text into
 * its exported symbols, so there is one hot path. The structures are not part of the stable ABI:
 * code that includes this header is to be built again with each minor version.
 *
 * This file and lib/shared.h are the only ones that speak libatomic_ops. AO_t is size_t, hence the
 * refusal of 32-bit machines below; it never appears in the layout.
 *
 * Who may run with whom
 *
 *                    | producer | consumer, same group | consumer, other group | observer | attach, detach
 *   producer         |   (1)    |        yes           |         yes           |   yes    |      yes
 *   consumer         |   yes    |        (2)           |         yes           |   yes    |      yes
 *   (1) if the ring is for many producers, (2) if the group is shared; else not, which OFD locks see to.
 *   repair, evict, remove: beside all of them. A handle belongs to one thread.
 *
 * The labelled pairs. Left: the store. Right: the load that meets it. Then what breaks without it.
 *
 *   PUBLISH   producer: store_release word(tail)         reader: load_acquire word(position)
 *             the reader would see the word before the message's bytes.
 *             Before it the producer clears word(next) (CLEAR): PUBLISH also releases that store, so a
 *             reader that follows the record finds 0 there or a later record, never old payload.
 *   TAIL      producer: store_release tail               joiner, observer, tool: load_acquire tail
 *             a position would be believed whose record is not visible yet.
 *   BANK      any writer of a counted position: store count[!bank], then store_release position|!bank
 *             any reader: load_acquire position, load_acquire count[bank], load_acquire position again
 *             a position would be paired with another position's count. The count is stored with
 *             release too: whoever sees a count of the next pair sees the position that went before.
 *             For the second look to tell, positions must not recur. A cursor that is moved back may:
 *             its second look acquires, so that gating, stored before (JOIN), is seen to have changed.
 *   RELEASE   consumer: store_release cursor             producer: load_acquire cursor (refresh)
 *             the producer would overwrite bytes that the consumer is still reading.
 *   ANNOUNCE  producer: store floor, full fence, then overwrite
 *             lapped reader, observer: copy, acquire fence, load floor
 *             a torn copy would be believed: if any byte of the copy came from an overwrite, the floor
 *             that announced it is seen. The word is tested in the same way before it is believed.
 *   JOIN      joiner: store gating JOINING, cursor, RMW groups, full fence, load floor,
 *             move the cursor up to it if it has passed, store gating SETTLED
 *             producer: store floor, full fence, load groups, gating, cursor, gating again
 *             (store buffering: at least one of the two sees the other.) If the joiner sees the new
 *             floor it moves up to it; if not, the producer sees the joiner's cursor and does not write
 *             past cursor + capacity. Without either fence both may miss, and the joiner's first
 *             messages are overwritten. Seeking back and resuming after not gating are joins.
 *             Seeking back says BACK instead of JOINING, and moves up no further than where the cursor
 *             stood (held, in the file for whoever finishes the join of the dead): from there on every
 *             look of the producer finds a cursor that protects it, whatever floor is announced.
 *             A JOINING cursor may be any distance behind, and is waited for. A SETTLED one is never
 *             outside the ring: if it is, the file is damaged. The two loads of gating (which counts
 *             joins) tell that the cursor in between belongs to that state. A floor may stand above a
 *             settled cursor (announced before its joiner was seen): the cursor holds all the same.
 *             Many producers: each does all of this itself, fence and look included, also if it found the
 *             floor raised by another; what the other has seen of joiners is not known to it.
 *   TAIL, many producers: whoever claims loads word(T) with acquire (A1), then tail with acquire (A2), and
 *             swaps word(T); before that somebody has moved tail to within a lap of what is claimed (A3).
 *             A claimer that was stopped would take the word of a later lap for one of an earlier.
 *   DEATH     claimer: slot.claim, then swap word(T) to CLAIMED by its slot; whose lock it holds
 *             recoverer: load word (CLAIMED by X), ask the kernel about X's lock, swap the word to PAD
 *             next holder of X: lock, load slot.claim, swap that word to PAD, then its own identity
 *             in another order a committed message would be thrown away, or a dead claim would pass for
 *             one of the slot's next holder, for ever.
 *   TAKE      member: store_release slot.taken (the note), swap take
 *             producer: load_acquire take, then load_acquire all notes, between two equal looks at moves
 *             a run that somebody holds would be overwritten.
 *             member: load_acquire take, confirm its last taker's note (swap), swap take
 *             judge of the dead: load note, ask the kernel, load take, swap note
 *             a run would be delivered twice, or never.
 *             member: copy, store_release slot.taken = 0 (as RELEASE)   producer: load_acquire slot.taken
 *   SLEEP     sleeper: waiters = ticket, full fence or membarrier, look again, futex wait
 *             waker: publish (or release), fence unless membarrier stands in for it, load waiters, clear and wake
 *             both would miss: the sleeper sleeps beside a message. A sleeper that finds the ticket of
 *             another need not store: who has read it and then fences is ordered like its writer.
 *   STATE     finish, retire: RMW release state          every call: load state; acquire before -EPIPE
 *             a reader would report the end of the stream before the last message.
 *             Many producers: swap word(T) to CLAIMED, full fence, load state, and only then commit
 *             reader: load state, full fence, load word. One could finish while another publishes: the
 *             reader would report the end, and the other believe that its message was sent.
 *   SLOT      attach: name, pid, then store_release state    anybody: load_acquire state
 *             people would see the name of the slot's previous holder. Decides nothing else.
 *
 * What a call costs in cache lines of 64 bytes that others touch, too. "read" lines stay where they are as long as
 * nobody writes them; "dirtied" ones are taken from whoever had them. n: lines of the record.
 *
 *                            | read                  | dirtied
 *   send, commit             | signals               | n of the record (the next word's is one of them, or the next),
 *                            |                       | tail, which people and joiners alone read
 *   the same, many producers | signals, tail,        | n of the record, that of its word (8 records of 64 bytes share
 *                            | the word at tail      | one), the own slot; tail once in 1/64 of the ring
 *   batch                    | signals, once         | the records' lines; tail once
 *   finding room (when the   | join, each gating     | floor (and tail), once for at least 1/16 of the ring
 *   known room is used up)   | cursor, twice         | that the slowest reader has passed
 *   recv, borrow + release   | signals, n            | the cursor; n, where handed back pays
 *   batch, released once     | signals, twice; n     | the cursor, once; n, where that pays
 *   a look at an empty ring  | signals, the word at  |
 *                            | the position          |
 *   recv, shared group       | signals, n            | the group's take, and the own slot, each by a swap; the slot
 *                            |                       | of the last taker, if it has not noted yet that it took
 *   observer, lapped reader  | signals, n, floor     | (a lapped group: its cursor)
 *
 * The line of signals is written only when somebody goes to sleep, is woken, closes or retires the ring.
 *
 * ThreadSanitizer sees what orders plain memory (tests/race/weaken). The fences (ANNOUNCE, JOIN, SLEEP,
 * STATE) and what orders only atomic words (CLEAR, BANK, TAIL of many producers, DEATH, parts of JOIN and of
 * TAKE) cannot be seen by ThreadSanitizer: tests/model/litmus.c, where each pair is broken in turn, and
 * tests/proof/herd, the same by herd7 under the models of C11 and of AArch64.
 */
#ifndef RINGBUS_INLINE_H
#define RINGBUS_INLINE_H

#include <errno.h>
#include <string.h>

#include <atomic_ops.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <ringbus/layout.h>
#include <ringbus/ringbus.h>

RINGBUS_STATIC_ASSERT(sizeof(AO_t) == 8, "ringbus needs 64-bit atomic words");
RINGBUS_STATIC_ASSERT(sizeof(size_t) == 8, "ringbus needs a 64-bit machine");

#ifndef RINGBUS_HOT /* the library defines it empty, in one file, to emit the exported symbols */
#define RINGBUS_HOT extern inline __attribute__((gnu_inline, always_inline))
/* libatomic_ops' functions are static; using them here is harmless, since no copy of these functions
 * is ever emitted outside the library, but compilers warn of it and gcc offers no other switch. */
#pragma GCC system_header
#endif

#if defined(__SANITIZE_THREAD__)
#define RINGBUS_RACES_ARE_SEEN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RINGBUS_RACES_ARE_SEEN 1
#endif
#endif

/* Compilers take the parts of the calls for too long to be inlined in several places. */
#define RINGBUS_INLINE static inline __attribute__((always_inline))

#define RINGBUS_LIKELY(x) __builtin_expect(!!(x), 1)
#define RINGBUS_UNLIKELY(x) __builtin_expect(!!(x), 0)

#ifdef __cplusplus
extern "C" {
#endif

/* What a handle knows about its ring: private copies of the geometry, taken once at attach. Nothing a
 * peer writes into the file later can change where this process reads or writes. */
struct ringbus_view {
  volatile unsigned *state; /* signals.state; in a forked child a private word that is never 0 */
  char *data;               /* the first of the two views */
  char *words;
  uint64_t mask;      /* capacity - 1 */
  uint64_t word_mask; /* the same less what is below a granule: an odd position has no odd word */
  uint64_t granules_mask;
  uint32_t capacity_shift;
  uint32_t state_shift; /* of the state field of a word */
  uint32_t granule_shift;
  uint32_t word_shift;
  uint32_t in_band; /* bytes of a record taken by its word: 8 or 0 */
};

struct ringbus_producer_hot {
  struct ringbus_view view;
  uint64_t tail; /* many producers: at or before the true one */
  /* Nothing at or after this position may be written without a call: floor + capacity. One producer: nor
   * behind the end of the sixteenth of the ring that tail is in, where the call notes a boundary. */
  uint64_t limit;
  uint64_t count; /* unknown, 0, if there are many producers; not beside tail, as in the consumer */
  /* The word of a message of this length at tail. */
  uint64_t usual_length;
  uint64_t usual_word;
  uint64_t max_length;
  uint64_t claimed;           /* length of the open claim + 1; 0 none */
  uint32_t tag;               /* of the open claim */
  uint32_t fence;             /* 1: the publisher fences itself (SLEEP) */
  uint32_t many;              /* 1: there may be other producers */
  volatile AO_t *shared_tail; /* position, count[2] */
  volatile unsigned *data_waiters;
};

struct ringbus_consumer_hot {
  struct ringbus_view view;
  /* position, released and count change with each message, and are not neighbours: compilers would move
   * two at once, and by way of a wider register the next call has to wait longer for them. */
  uint64_t position; /* of the next message to read */
  uint64_t empty_at; /* the position at which nothing was found last */
  uint64_t released; /* the cursor as last stored */
  /* What the word at position will be if the next message is like the one before, as most are: then
   * nothing needs to be decoded, and where the one behind it begins is known before the word has come. */
  uint64_t usual_word;
  uint64_t count;
  uint64_t usual_bytes;
  uint64_t lap_end; /* of the lap that position is in; a call comes there */
  uint32_t usual_length;
  uint32_t mode; /* 0, or RINGBUS_MODE_LAPPED or RINGBUS_MODE_SHARED: then through calls */
  uint32_t fence;
  uint32_t hand_back;    /* enum ringbus_hand_back, resolved */
  volatile AO_t *cursor; /* position, count[2] */
  volatile AO_t *floor;
  volatile unsigned *room_waiters;
};

#define RINGBUS_SENT_FOR 4096u   /* bytes of a message, at most */
#define RINGBUS_ROOM_AHEAD 2048u /* bytes */
#define RINGBUS_ROOM_MOST 8192u  /* bytes of a record; in larger ones it gains nothing */

#define RINGBUS_MODE_LAPPED 1u /* may be lapped: every read is checked against the floor */
#define RINGBUS_MODE_SHARED 2u /* member of a shared group: what it reads is taken first */

/* What the state word of a handle inherited through fork says; never in a file. */
#define RINGBUS_STATE_FORKED 0x80000000u

/* The slow exits of the hot path; not for use by themselves. */
RINGBUS_API int ringbus_slow_claim(ringbus_producer *producer, uint64_t bytes);
RINGBUS_API int ringbus_slow_state(volatile unsigned *state);
RINGBUS_API void ringbus_slow_wake(volatile unsigned *waiters);
RINGBUS_API void ringbus_slow_mark(ringbus_producer *producer);
RINGBUS_API void ringbus_slow_lap(ringbus_consumer *consumer);
RINGBUS_API int ringbus_slow_borrow(ringbus_consumer *consumer, struct ringbus_message *message);
RINGBUS_API int ringbus_slow_borrow_batch(ringbus_consumer *consumer,
                                          struct ringbus_message *messages, size_t max,
                                          size_t *count);
RINGBUS_API int ringbus_slow_recv(ringbus_consumer *consumer, void *buffer, size_t size,
                                  struct ringbus_message *message);
RINGBUS_API int ringbus_slow_release(ringbus_consumer *consumer);

/* The publishing calls of a ring with many producers (lib/many.c). Each costs a locked instruction,
 * which inlining would not make shorter. */
RINGBUS_API int ringbus_many_claim(ringbus_producer *producer, size_t length, uint32_t tag,
                                   void **data);
RINGBUS_API int ringbus_many_commit(ringbus_producer *producer, size_t length);
RINGBUS_API int ringbus_many_abort(ringbus_producer *producer);
RINGBUS_API int ringbus_many_send(ringbus_producer *producer, const void *data, size_t length,
                                  uint32_t tag);
RINGBUS_API int ringbus_many_send_batch(ringbus_producer *producer, const struct iovec *messages,
                                        size_t count, uint32_t tag, bool all_at_once, size_t *sent);

/* ---------------------------------------------------------------- words and records */

RINGBUS_INLINE volatile AO_t *ringbus_word_at(const struct ringbus_view *view, uint64_t position) {
  return (volatile AO_t *)(void *)(view->words +
                                   ((position & view->word_mask) >> view->word_shift));
}

/* What a word of this position in this state has in its lap and state fields, the rest 0. */
RINGBUS_INLINE uint64_t ringbus_word_head(const struct ringbus_view *view, uint64_t position,
                                          uint64_t state) {
  return ((position >> view->capacity_shift) << 2 | state) << view->state_shift;
}

/* The same word in the lap of this position. */
RINGBUS_INLINE uint64_t ringbus_word_in_lap(const struct ringbus_view *view, uint64_t word,
                                            uint64_t position) {
  return ringbus_word_head(view, position, RINGBUS_WORD_COMMITTED) |
         (word & ~(~UINT64_C(0) << view->state_shift));
}

RINGBUS_INLINE bool ringbus_word_is(const struct ringbus_view *view, uint64_t word,
                                    uint64_t position, uint64_t state) {
  return (word ^ ringbus_word_head(view, position, state)) >> view->state_shift == 0;
}

/* Bytes of the record that a CLAIMED, COMMITTED or PAD word describes: 1 granule .. capacity. */
RINGBUS_INLINE uint64_t ringbus_word_bytes(const struct ringbus_view *view, uint64_t word) {
  return ((word >> RINGBUS_WORD_GRANULES_SHIFT & view->granules_mask) + 1) << view->granule_shift;
}

/* Decode a COMMITTED word; whatever the word, data and length stay inside the mapping. Returns the
 * bytes of the record, or 0 if its fields contradict each other. */
RINGBUS_INLINE uint64_t ringbus_word_decode(const struct ringbus_view *view, uint64_t word,
                                            uint64_t position, struct ringbus_message *message) {
  uint64_t bytes = ringbus_word_bytes(view, word);
  uint64_t unused = word >> RINGBUS_WORD_UNUSED_SHIFT & RINGBUS_WORD_UNUSED_MASK;
  const char *record = view->data + (position & view->mask);
  uint64_t overhead = unused + view->in_band;
  if (RINGBUS_UNLIKELY(overhead > bytes || bytes - overhead > RINGBUS_MAX_LENGTH))
    return 0;
  if (RINGBUS_UNLIKELY((word & RINGBUS_WORD_FLAG_TAG) && unused < sizeof message->tag))
    return 0;
  message->data = record + view->in_band;
  message->length = (uint32_t)(bytes - overhead);
  message->position = position;
  message->tag = 0;
  message->redelivered = false;
  if (RINGBUS_UNLIKELY(word & RINGBUS_WORD_FLAG_TAG)) {
    memcpy(&message->tag, record + bytes - sizeof message->tag, sizeof message->tag);
  }
  return bytes;
}

RINGBUS_INLINE void ringbus_prefetch_to_write(const void *address) {
#ifdef __x86_64__ /* gcc uses it only if told that the processor has it; where it has not, it does nothing */
  __asm__ volatile("prefetchw %0" ::"m"(*(const char *)address));
#else
  __builtin_prefetch(address, 1);
#endif
}

/* ringbus_counted_store: BANK, and TAIL, RELEASE or ANNOUNCE by what is stored. The present bank is
 * read back from the writer's own word. */
RINGBUS_INLINE void ringbus_counted_store(volatile AO_t *counted, uint64_t position,
                                          uint64_t count) {
  uint64_t bank = ~AO_load(counted) & 1;
  AO_store_release(counted + 1 + bank, count); /* BANK */
  AO_store_release(counted, position | bank);  /* BANK, TAIL, RELEASE */
}

/* Any eight bytes anywhere. */
struct ringbus_eight {
  uint64_t bytes;
} __attribute__((packed, may_alias));

/* Small messages are loaded by words, which meet the stores that have just filled in a structure field by
 * field; a wider load would wait until these have left for the cache, and everything before them, too. They
 * are stored two at a time, where that can be done: a core stores once in a cycle. */
RINGBUS_INLINE void ringbus_copy_sixteen(char *to, const char *from, bool wide) {
  if (wide) {
    memcpy(to, from, 16);
    return;
  }
#ifdef __SSE2__
  double low, high;
  memcpy(&low, from, 8); /* which may be at any address, and of any type */
  memcpy(&high, from + 8, 8);
  __m128d both = _mm_set_sd(low);
  __asm__("" : "+x"(both)); /* or the compiler makes one wide load of two */
  both = _mm_unpacklo_pd(both, _mm_set_sd(high));
  memcpy(to, &both, 16);
#else
  volatile struct ringbus_eight *out = (volatile struct ringbus_eight *)(void *)to;
  const volatile struct ringbus_eight *in =
      (const volatile struct ringbus_eight *)(const void *)from;
  out[0].bytes = in[0].bytes;
  out[1].bytes = in[1].bytes;
#endif
}

RINGBUS_INLINE void ringbus_copy_by_size(void *to, const void *from, size_t length, bool wide) {
  char *out = (char *)to;
  const char *in = (const char *)from;
  if (length - 16 <= 48) {
    ringbus_copy_sixteen(out, in, wide);
    if (length > 32) {
      ringbus_copy_sixteen(out + 16, in + 16, wide);
      ringbus_copy_sixteen(out + length - 32, in + length - 32, wide);
    }
    ringbus_copy_sixteen(out + length - 16, in + length - 16, wide);
  } else if (length - 8 < 8) {
    ((volatile struct ringbus_eight *)(void *)out)->bytes =
        ((const volatile struct ringbus_eight *)(const void *)in)->bytes;
    ((volatile struct ringbus_eight *)(void *)(out + length - 8))->bytes =
        ((const volatile struct ringbus_eight *)(const void *)(in + length - 8))->bytes;
  } else if (length) { /* an empty message may come without an address */
    /* Of a length known to the compiler it would make "rep movs", which is slower. */
    if (length > 64)
      __asm__("" : "+r"(length));
    memcpy(to, from, length);
  }
}

RINGBUS_INLINE void ringbus_copy(void *to, const void *from, size_t length) {
  ringbus_copy_by_size(to, from, length, false);
}

/* The same out of the ring, where nothing has just been stored by this core: 6 % of receiving 64 bytes. */
RINGBUS_INLINE void ringbus_copy_out(void *to, const void *from, size_t length) {
  ringbus_copy_by_size(to, from, length, true);
}

/* ---------------------------------------------------------------- producer */

/* Bytes of a single-producer record: word, message, tag, padding. */
RINGBUS_INLINE uint64_t ringbus_record_bytes(size_t length, uint32_t tag) {
  return (8 + length + (tag ? sizeof tag : 0) + 7) & ~UINT64_C(7);
}

/* The word of a single-producer record, in front of the message. */
RINGBUS_INLINE volatile AO_t *ringbus_word_in_band(const struct ringbus_view *view,
                                                   uint64_t position) {
  return (volatile AO_t *)(void *)(view->data + (position & view->mask));
}

/* Whether there is room for a record of so many bytes and the cleared word behind it, as far as is known
 * without a call. */
RINGBUS_INLINE bool ringbus_fits(const struct ringbus_producer_hot *hot, uint64_t bytes) {
  return (int64_t)(hot->limit - hot->tail - bytes - 8) >= 0;
}

/* That room, or why not. */
RINGBUS_INLINE int ringbus_reserve(ringbus_producer *producer, size_t length, uint64_t bytes) {
  struct ringbus_producer_hot *hot = (struct ringbus_producer_hot *)(void *)producer;
  if (RINGBUS_UNLIKELY(AO_int_load(hot->view.state) != 0)) /* STATE */
    return ringbus_slow_state(hot->view.state);
  if (RINGBUS_UNLIKELY(length > hot->max_length))
    return -EMSGSIZE;
  if (RINGBUS_UNLIKELY(!ringbus_fits(hot, bytes)))
    return ringbus_slow_claim(producer, bytes);
  return 0;
}

/* The word of a record at position, and its tag stored. */
RINGBUS_INLINE uint64_t ringbus_record_seal(const struct ringbus_view *view, uint64_t position,
                                            size_t length, uint32_t tag, uint64_t bytes) {
  uint64_t word = ringbus_word_head(view, position, RINGBUS_WORD_COMMITTED) |
                  ((bytes >> view->granule_shift) - 1) << RINGBUS_WORD_GRANULES_SHIFT |
                  (bytes - view->in_band - length) << RINGBUS_WORD_UNUSED_SHIFT;
  if (tag) {
    memcpy(view->data + (position & view->mask) + bytes - sizeof tag, &tag, sizeof tag);
    word |= RINGBUS_WORD_FLAG_TAG;
  }
  return word;
}

/* A store waits for its line, which a consumer has had, and the next store waits behind it. So for each record of
 * a line or more as many lines further on are sent for with the right to write them, all at the same time: far
 * enough that they come before they are needed, near enough that they still are in the smallest cache then. Only
 * what is free as far as is known without a call: no line is taken from a consumer that has not read it. */
RINGBUS_INLINE void ringbus_send_for_room(const struct ringbus_producer_hot *hot, uint64_t bytes) {
  const uint64_t from = hot->tail + RINGBUS_ROOM_AHEAD, to = from + bytes;
  uint64_t line;
  if (bytes - 64 > RINGBUS_ROOM_MOST - 64 || RINGBUS_UNLIKELY((int64_t)(hot->limit - to) < 64))
    return;
  for (line = from; (int64_t)(to - line) > 0; line += 64)
    ringbus_prefetch_to_write(hot->view.data + (line & hot->view.mask));
}

/* The private tail moves over a published record. */
RINGBUS_INLINE void ringbus_advance(struct ringbus_producer_hot *hot, uint64_t tail, uint64_t count,
                                    uint64_t bytes) {
  hot->tail = tail + bytes;
  hot->count = count + 1;
}

RINGBUS_INLINE void ringbus_publish(struct ringbus_producer_hot *hot, uint64_t tail, size_t length,
                                    uint32_t tag, uint64_t bytes) {
  const struct ringbus_view *view = &hot->view;
  uint64_t word = hot->usual_word;
  if (RINGBUS_UNLIKELY(length != hot->usual_length || tag)) {
    word = ringbus_record_seal(view, tail, length, tag, bytes);
    if (!tag) {
      hot->usual_length = length;
      hot->usual_word = word;
    }
  }
  AO_store(ringbus_word_in_band(view, tail + bytes), 0);    /* CLEAR */
  AO_store_release(ringbus_word_in_band(view, tail), word); /* PUBLISH */
}

/* After publishing: the tail for joiners and tools, and whoever sleeps. */
RINGBUS_INLINE void ringbus_announce(struct ringbus_producer_hot *hot, uint64_t tail,
                                     uint64_t count) {
  ringbus_counted_store(hot->shared_tail, tail, count); /* TAIL */
  if (RINGBUS_UNLIKELY(hot->fence))
    AO_nop_full();                                           /* SLEEP */
  if (RINGBUS_UNLIKELY(AO_int_load(hot->data_waiters) != 0)) /* SLEEP */
    ringbus_slow_wake(hot->data_waiters);
}

RINGBUS_HOT int ringbus_producer_claim(ringbus_producer *producer, size_t length, uint32_t tag,
                                       void **data) {
  struct ringbus_producer_hot *hot = (struct ringbus_producer_hot *)(void *)producer;
  int result;
  if (RINGBUS_UNLIKELY(hot->many))
    return ringbus_many_claim(producer, length, tag, data);
  result = ringbus_reserve(producer, length, ringbus_record_bytes(length, tag));
  hot->claimed = 0;
  if (RINGBUS_UNLIKELY(result != 0))
    return result;
  hot->claimed = length + 1;
  hot->tag = tag;
  *data = hot->view.data + (hot->tail & hot->view.mask) + 8;
  return 0;
}

RINGBUS_HOT int ringbus_producer_commit(ringbus_producer *producer, size_t length) {
  struct ringbus_producer_hot *hot = (struct ringbus_producer_hot *)(void *)producer;
  uint64_t tail, count, bytes;
  if (RINGBUS_UNLIKELY(hot->many))
    return ringbus_many_commit(producer, length);
  if (RINGBUS_UNLIKELY(AO_int_load(hot->view.state) != 0)) /* STATE */
    return ringbus_slow_state(hot->view.state);
  if (RINGBUS_UNLIKELY(length >= hot->claimed))
    return hot->claimed ? -EMSGSIZE : -EINVAL;
  hot->claimed = 0;
  tail = hot->tail;
  count = hot->count;
  bytes = ringbus_record_bytes(length, hot->tag);
  ringbus_publish(hot, tail, length, hot->tag, bytes);
  ringbus_advance(hot, tail, count, bytes);
  ringbus_send_for_room(hot, bytes);
  ringbus_announce(hot, tail + bytes, count + 1);
  return 0;
}

RINGBUS_HOT int ringbus_producer_abort(ringbus_producer *producer) {
  struct ringbus_producer_hot *hot = (struct ringbus_producer_hot *)(void *)producer;
  uint64_t claimed = hot->claimed;
  if (RINGBUS_UNLIKELY(hot->many))
    return ringbus_many_abort(producer);
  if (RINGBUS_UNLIKELY((AO_int_load(hot->view.state) & RINGBUS_STATE_FORKED) != 0) && /* STATE */
      ringbus_slow_state(hot->view.state) == -ECHILD) /* not if somebody wrote that into the file */
    return -ECHILD;
  hot->claimed = 0;
  return claimed ? 0 : -EINVAL;
}

/* Copy a message into the record at position. */
RINGBUS_INLINE void ringbus_record_fill(const struct ringbus_view *view, uint64_t position,
                                        const void *data, size_t length) {
  ringbus_copy(view->data + (position & view->mask) + view->in_band, data, length);
}

RINGBUS_HOT int ringbus_producer_send(ringbus_producer *producer, const void *data, size_t length,
                                      uint32_t tag) {
  struct ringbus_producer_hot *hot = (struct ringbus_producer_hot *)(void *)producer;
  uint64_t bytes = ringbus_record_bytes(length, tag), tail, count;
  int result;
  if (RINGBUS_UNLIKELY(hot->many))
    return ringbus_many_send(producer, data, length, tag);
  result = ringbus_reserve(producer, length, bytes);
  if (RINGBUS_UNLIKELY(result != 0))
    return result;
  tail = hot->tail;
  count = hot->count;
  hot->claimed = 0;
  ringbus_copy(hot->view.data + (tail & hot->view.mask) + 8, data, length);
  ringbus_publish(hot, tail, length, tag, bytes);
  ringbus_advance(hot, tail, count, bytes);
  ringbus_send_for_room(hot, bytes);
  ringbus_announce(hot, tail + bytes, count + 1);
  return 0;
}

/* All messages in one instant: the records behind the first are complete, words and all, before the
 * first one's word makes them reachable. */
static inline int ringbus_send_all_at_once(ringbus_producer *producer, const struct iovec *messages,
                                           size_t count, uint32_t tag) {
  struct ringbus_producer_hot *hot = (struct ringbus_producer_hot *)(void *)producer;
  const struct ringbus_view *view = &hot->view;
  uint64_t total = 0, position, first, first_word = 0;
  size_t i, longest = 0;
  int result;
  for (i = 0; i < count && total <= view->mask; i++) {
    if (messages[i].iov_len > hot->max_length)
      return -EMSGSIZE;
    if (messages[i].iov_len > longest)
      longest = messages[i].iov_len;
    total += ringbus_record_bytes(messages[i].iov_len, tag);
  }
  if (count == 0)
    return 0;
  result = ringbus_reserve(producer, longest, total);
  if (result != 0)
    return result;
  first = position = hot->tail;
  for (i = 0; i < count; i++) {
    uint64_t bytes = ringbus_record_bytes(messages[i].iov_len, tag);
    uint64_t word = ringbus_record_seal(view, position, messages[i].iov_len, tag, bytes);
    ringbus_record_fill(view, position, messages[i].iov_base, messages[i].iov_len);
    if (i == 0)
      first_word = word;
    else /* released, too: a member of a shared group may begin to read here */
      AO_store_release(ringbus_word_at(view, position), word); /* PUBLISH */
    position += bytes;
  }
  AO_store(ringbus_word_at(view, position), 0);               /* CLEAR */
  AO_store_release(ringbus_word_at(view, first), first_word); /* PUBLISH */
  for (i = 0; i < count; i++) {
    ringbus_advance(hot, hot->tail, hot->count, ringbus_record_bytes(messages[i].iov_len, tag));
    if (!ringbus_fits(hot, 0))
      ringbus_slow_mark(producer);
  }
  ringbus_send_for_room(hot, total);
  return 0;
}

RINGBUS_HOT int ringbus_producer_send_batch(ringbus_producer *producer,
                                            const struct iovec *messages, size_t count,
                                            uint32_t tag, bool all_at_once, size_t *sent) {
  struct ringbus_producer_hot *hot = (struct ringbus_producer_hot *)(void *)producer;
  size_t done = 0;
  int result = 0;
  if (RINGBUS_UNLIKELY(hot->many))
    return ringbus_many_send_batch(producer, messages, count, tag, all_at_once, sent);
  hot->claimed = 0;
  if (RINGBUS_UNLIKELY(AO_int_load(hot->view.state) != 0)) { /* STATE */
    result = ringbus_slow_state(hot->view.state);
  } else if (all_at_once) {
    result = ringbus_send_all_at_once(producer, messages, count, tag);
    done = result == 0 ? count : 0;
  } else {
    for (; done < count; done++) {
      uint64_t bytes = ringbus_record_bytes(messages[done].iov_len, tag);
      if (RINGBUS_UNLIKELY(done && !ringbus_fits(hot, bytes)))
        ringbus_announce(hot, hot->tail, hot->count); /* room may take a while */
      result = ringbus_reserve(producer, messages[done].iov_len, bytes);
      if (RINGBUS_UNLIKELY(result != 0))
        break;
      ringbus_copy(hot->view.data + (hot->tail & hot->view.mask) + 8, messages[done].iov_base,
                   messages[done].iov_len);
      ringbus_publish(hot, hot->tail, messages[done].iov_len, tag, bytes);
      ringbus_advance(hot, hot->tail, hot->count, bytes);
      ringbus_send_for_room(hot, bytes);
    }
  }
  if (done)
    ringbus_announce(hot, hot->tail, hot->count);
  if (sent)
    *sent = done;
  return result;
}

/* ---------------------------------------------------------------- consumer */

/* Hand lines back: each line whose end lies in [from, to), which this consumer has read and still
 * holds, gets a store that changes nothing, into its last 8 bytes. The line is then dirty in this
 * core's cache and the producer takes it over in one go, instead of invalidating a shared copy.
 * The store may be plain because nobody can overwrite the bytes before this consumer's release, and
 * what other groups read there stays the same. ThreadSanitizer cannot know that, and sees atomics
 * wherever they are: for it both ways are plain. More than a lap can
 * only be behind this consumer if a hostile peer wrote the words, and is no work to do for it. */
#ifdef RINGBUS_RACES_ARE_SEEN /* what is inlined is sanitized like whatever it is inlined into */
__attribute__((no_sanitize("thread"), noinline)) static void
#else
RINGBUS_INLINE void
#endif
ringbus_hand_back(const struct ringbus_consumer_hot *hot, uint64_t from, uint64_t to) {
  const struct ringbus_view *view = &hot->view;
  uint64_t end = (from | 63) + 1;
  uint64_t words_end = (from | 511) + 1; /* of the data that a line of words describes */
  if (RINGBUS_UNLIKELY(to - from > view->mask))
    return;
  if (hot->hand_back == RINGBUS_HAND_BACK_STORE) {
    char *data = view->data;
    uint64_t mask = view->mask;
    for (; (int64_t)(to - end) >= 0; end += 64) {
      volatile uint64_t *last = (volatile uint64_t *)(void *)(data + ((end - 8) & mask));
      *last = *last;
    }
    if (!view->in_band)
      for (; (int64_t)(to - words_end) >= 0; words_end += 512) {
        volatile uint64_t *last =
            (volatile uint64_t *)(volatile void *)ringbus_word_at(view, words_end - 64);
        *last = *last;
      }
  }
#ifndef RINGBUS_RACES_ARE_SEEN
  else if (RINGBUS_UNLIKELY(hot->hand_back == RINGBUS_HAND_BACK_LOCKED)) {
    for (; (int64_t)(to - end) >= 0; end += 64)
      AO_or((volatile AO_t *)(void *)(view->data + ((end - 8) & view->mask)), 0);
    if (!view->in_band)
      for (; (int64_t)(to - words_end) >= 0; words_end += 512)
        AO_or(ringbus_word_at(view, words_end - 64), 0);
  }
#endif
}

/* Release everything before position. */
RINGBUS_INLINE void ringbus_release_to(struct ringbus_consumer_hot *hot, uint64_t position,
                                       uint64_t count) {
  ringbus_hand_back(hot, hot->released, position);
  hot->released = position;
  ringbus_counted_store(hot->cursor, position, count); /* RELEASE */
  if (RINGBUS_UNLIKELY(hot->fence))
    AO_nop_full();                                           /* SLEEP */
  if (RINGBUS_UNLIKELY(AO_int_load(hot->room_waiters) != 0)) /* SLEEP */
    ringbus_slow_wake(hot->room_waiters);
}

RINGBUS_HOT int ringbus_consumer_release(ringbus_consumer *consumer) {
  struct ringbus_consumer_hot *hot = (struct ringbus_consumer_hot *)(void *)consumer;
  if (RINGBUS_UNLIKELY(((AO_int_load(hot->view.state) & ~RINGBUS_STATE_CLOSED) | /* STATE */
                        (hot->mode & RINGBUS_MODE_SHARED)) != 0))
    return ringbus_slow_release(consumer);
  if (hot->position != hot->released)
    ringbus_release_to(hot, hot->position, hot->count);
  return 0;
}

/* Of a batch: the lines that are going to be handed back are sent for with the right to write them. They come
 * once then instead of twice, to be read and to be written, and while others are read. They have been published:
 * none is taken from the producer. */
RINGBUS_INLINE void ringbus_send_for(const struct ringbus_consumer_hot *hot, uint64_t from,
                                     uint64_t bytes) {
  const uint64_t to = from + (bytes < RINGBUS_SENT_FOR ? bytes : RINGBUS_SENT_FOR);
  uint64_t end = (from | 63) + 1;
  if (hot->hand_back == RINGBUS_HAND_BACK_STORE)
    for (; (int64_t)(to - end) >= 0; end += 64)
      ringbus_prefetch_to_write(hot->view.data + ((end - 64) & hot->view.mask));
}

/* The message at hot->position, and its record's bytes. -EAGAIN: there is none; -ENODATA: what there is a
 * call has to tell. */
RINGBUS_INLINE int ringbus_next(struct ringbus_consumer_hot *hot, struct ringbus_message *message,
                                uint64_t *bytes) {
  const struct ringbus_view *view = &hot->view;
  uint64_t position = hot->position;
  uint64_t word = AO_load_acquire(ringbus_word_at(view, position)); /* PUBLISH */
  if (RINGBUS_LIKELY(word == hot->usual_word)) {
    message->data = view->data + (position & view->mask) + view->in_band;
    message->length = hot->usual_length;
    message->tag = 0;
    message->redelivered = false;
    message->position = position;
    *bytes = hot->usual_bytes;
    return 0;
  }
  if (word == 0)
    return -EAGAIN;
  if (RINGBUS_UNLIKELY(!ringbus_word_is(view, word, position, RINGBUS_WORD_COMMITTED)))
    return -ENODATA;
  *bytes = ringbus_word_decode(view, word, position, message);
  if (RINGBUS_UNLIKELY(*bytes == 0))
    return -EBADMSG;
  if (RINGBUS_LIKELY(!(word & RINGBUS_WORD_FLAG_TAG))) {
    hot->usual_word = word;
    hot->usual_bytes = *bytes;
    hot->usual_length = message->length;
  }
  return 0;
}

/* Whether what ringbus_next said is for a call to work out: the first look that finds nothing is, too. */
RINGBUS_INLINE bool ringbus_is_for_call(const struct ringbus_consumer_hot *hot, int result) {
  return result == -ENODATA || (result == -EAGAIN && hot->position != hot->empty_at);
}

/* The message has been taken. */
RINGBUS_INLINE void ringbus_pass(struct ringbus_consumer_hot *hot, uint64_t position,
                                 uint64_t count, uint64_t bytes) {
  hot->position = position + bytes;
  hot->count = count + 1;
  if (RINGBUS_UNLIKELY((int64_t)(position + bytes - hot->lap_end) >= 0))
    ringbus_slow_lap((ringbus_consumer *)(void *)hot);
}

RINGBUS_HOT int ringbus_consumer_borrow(ringbus_consumer *consumer,
                                        struct ringbus_message *message) {
  struct ringbus_consumer_hot *hot = (struct ringbus_consumer_hot *)(void *)consumer;
  uint64_t bytes;
  int result;
  if (RINGBUS_UNLIKELY((AO_int_load(hot->view.state) | hot->mode) != 0)) /* STATE */
    return ringbus_slow_borrow(consumer, message);
  result = ringbus_next(hot, message, &bytes);
  if (RINGBUS_UNLIKELY(result != 0))
    return ringbus_is_for_call(hot, result) ? ringbus_slow_borrow(consumer, message) : result;
  ringbus_pass(hot, hot->position, hot->count, bytes);
  return 0;
}

RINGBUS_HOT int ringbus_consumer_borrow_batch(ringbus_consumer *consumer,
                                              struct ringbus_message *messages, size_t max,
                                              size_t *count) {
  struct ringbus_consumer_hot *hot = (struct ringbus_consumer_hot *)(void *)consumer;
  const uint64_t empty_at = hot->empty_at;
  size_t got = 0;
  uint64_t bytes;
  int result;
  if (RINGBUS_UNLIKELY(hot->mode))
    return ringbus_slow_borrow_batch(consumer, messages, max, count);
  result = max ? ringbus_consumer_borrow(consumer, &messages[0]) : -EINVAL;
  while (result == 0 && ++got < max) {
    result = ringbus_next(hot, &messages[got], &bytes);
    if (RINGBUS_LIKELY(result == 0)) {
      ringbus_send_for(hot, hot->position, bytes);
      ringbus_pass(hot, hot->position, hot->count, bytes);
    }
    /* The end of what is there, where a rest may pay, but one is enough; or a record that was given up. */
    else if ((hot->empty_at == empty_at && hot->position != empty_at) ||
             (result == -ENODATA &&
              ringbus_word_is(&hot->view, AO_load(ringbus_word_at(&hot->view, hot->position)),
                              hot->position, RINGBUS_WORD_PAD)))
      result = ringbus_slow_borrow(consumer, &messages[got]);
  }
  *count = got;
  return got ? 0 : result;
}

RINGBUS_HOT int ringbus_consumer_recv(ringbus_consumer *consumer, void *buffer, size_t size,
                                      struct ringbus_message *message) {
  struct ringbus_consumer_hot *hot = (struct ringbus_consumer_hot *)(void *)consumer;
  struct ringbus_message borrowed;
  uint64_t bytes, position, count;
  int result;
  if (RINGBUS_UNLIKELY((AO_int_load(hot->view.state) | hot->mode) != 0)) /* STATE */
    return ringbus_slow_recv(consumer, buffer, size, message);
  result = ringbus_next(hot, &borrowed, &bytes);
  if (RINGBUS_UNLIKELY(result != 0))
    return ringbus_is_for_call(hot, result) ? ringbus_slow_recv(consumer, buffer, size, message)
                                            : result;
  if (message) { /* field by field, or borrowed would have to be in memory */
    message->data = buffer;
    message->position = borrowed.position;
    message->length = borrowed.length;
    message->tag = borrowed.tag;
    message->redelivered = borrowed.redelivered;
  }
  if (RINGBUS_UNLIKELY(borrowed.length > size))
    return -EMSGSIZE;
  ringbus_copy_out(buffer, borrowed.data, borrowed.length);
  position = hot->position;
  count = hot->count;
  ringbus_pass(hot, position, count, bytes);
  ringbus_release_to(hot, position + bytes, count + 1);
  return 0;
}

/* Whether the floor has passed a position: what was read there before must not be believed. */
RINGBUS_INLINE bool ringbus_floor_has_passed(volatile AO_t *floor, uint64_t position) {
  AO_nop_read(); /* ANNOUNCE */
  return (int64_t)((AO_load(floor) & ~UINT64_C(7)) - position) > 0;
}

RINGBUS_HOT int ringbus_consumer_still_valid(const ringbus_consumer *consumer) {
  const struct ringbus_consumer_hot *hot =
      (const struct ringbus_consumer_hot *)(const void *)consumer;
  if (RINGBUS_UNLIKELY((AO_int_load(hot->view.state) & ~RINGBUS_STATE_CLOSED) != 0)) /* STATE */
    return ringbus_slow_state(hot->view.state);
  return (hot->mode & RINGBUS_MODE_LAPPED) && ringbus_floor_has_passed(hot->floor, hot->released)
             ? -EOVERFLOW
             : 0;
}

#ifdef __cplusplus
}
#endif

#endif
