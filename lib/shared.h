/* SPDX-License-Identifier: MIT */
/* shared.h - access to shared words outside the hot path.
 *
 * With include/ringbus/inline.h the only file that speaks libatomic_ops. The labels (TAIL, JOIN, ...)
 * are those of inline.h, where each pair is argued. Every function here loads a shared word once; what
 * it returns is a private copy, to be checked against private geometry before it is used. */
#ifndef RINGBUS_SHARED_H
#define RINGBUS_SHARED_H

#if defined(__x86_64__)
#define AO_CMPXCHG16B_AVAILABLE 1 /* every 64-bit x86 since 2005, whatever -march says */
#ifdef __clang__ /* its own 16-byte operations want -mcx16; libatomic_ops has the instruction */
#define AO_SKIPATOMIC_double_compare_and_swap_ANY
#define AO_SKIPATOMIC_DOUBLE_LOAD_STORE_ANY
#endif
#endif
#include <ringbus/inline.h>

#ifndef AO_HAVE_compare_double_and_swap_double_full
#error "ringbus needs a 16-byte compare-and-swap (x86-64, AArch64)"
#endif

static inline volatile AO_t *shared_word(uint64_t *field) { return (volatile AO_t *)field; }

static inline uint64_t shared_load(uint64_t *field) { return AO_load_acquire(shared_word(field)); }

static inline void shared_store(uint64_t *field, uint64_t value) {
  AO_store_release(shared_word(field), value);
}

static inline uint32_t shared_load32(uint32_t *field) {
  return AO_int_load_acquire((volatile unsigned *)field);
}

static inline void shared_store32(uint32_t *field, uint32_t value) {
  AO_int_store_release((volatile unsigned *)field, value);
}

/* Descriptions (names, policies), word by word; count is a multiple of 8. */
static inline void shared_read(void *to, const void *from, size_t count) {
  for (size_t i = 0; i < count; i += 8) {
    uint64_t word = AO_load((const volatile AO_t *)(const void *)((const char *)from + i));
    memcpy((char *)to + i, &word, 8);
  }
}

static inline void shared_write(void *to, const void *from, size_t count) {
  for (size_t i = 0; i < count; i += 8) {
    uint64_t word;
    memcpy(&word, (const char *)from + i, 8);
    AO_store((volatile AO_t *)(void *)((char *)to + i), word);
  }
}

/* A counter for people. */
static inline void shared_add(uint64_t *field, uint64_t more) {
  AO_fetch_and_add(shared_word(field), more);
}

static inline void shared_increment(uint64_t *field) { AO_fetch_and_add1_full(shared_word(field)); }

/* Moves *field from one value to another, unless it has changed. */
static inline bool shared_swap(uint64_t *field, uint64_t from, uint64_t to) {
  return AO_compare_and_swap_full(shared_word(field), from, to);
}

/* Two neighbouring words, aligned to 16 bytes, that change together. */
struct pair {
  uint64_t first;
  uint64_t second;
};

static inline bool pair_swap(uint64_t *field, struct pair from, struct pair to) {
#ifdef RINGBUS_RACES_ARE_SEEN
  /* ThreadSanitizer does not see the instruction: this, which changes nothing, orders the same. */
  AO_or_full(shared_word(field), 0);
#endif
  return AO_compare_double_and_swap_double_full((volatile AO_double_t *)(void *)field, from.first,
                                                from.second, to.first, to.second);
}

/* pair_load: the first word never takes a value again that it once had, so the second word, loaded
 * between two equal looks at the first, belongs to it. False if it moved on each time. */
static inline bool pair_load(uint64_t *field, struct pair *pair) {
  for (int tries = 0; tries < 1000; tries++) {
    pair->first = AO_load_acquire(shared_word(field));
    pair->second = AO_load_acquire(shared_word(field + 1));
    if (AO_load_acquire(shared_word(field)) == pair->first)
      return true;
  }
  return false;
}

static inline void shared_set_bits(uint64_t *field, uint64_t bits) {
  AO_or_full(shared_word(field), bits); /* JOIN */
}

static inline void shared_clear_bits(uint64_t *field, uint64_t bits) {
  AO_and_full(shared_word(field), ~bits);
}

static inline void shared_set_bits32(uint32_t *field, uint32_t bits) {
  AO_int_or_full((volatile unsigned *)field, bits); /* STATE */
}

/* Returns what was there before. */
static inline uint32_t shared_increment32(uint32_t *field) {
  return AO_int_fetch_and_add1_full((volatile unsigned *)field);
}

static inline bool shared_replace32(uint32_t *field, uint32_t old, uint32_t with) {
  return AO_int_compare_and_swap_full((volatile unsigned *)field, old, with); /* SLEEP */
}

/* The full fence of JOIN, ANNOUNCE and SLEEP. */
static inline void shared_fence(void) { AO_nop_full(); }

/* Behind a swap: a full fence. On x86 the swap is one; what C11 calls a seq_cst swap, and libatomic_ops a
 * full one, need not be. */
static inline void swap_fence(void) {
#if !defined(__x86_64__)
  AO_nop_full();
#endif
}

static inline void shared_read_fence(void) { AO_nop_read(); }

static inline uint64_t position_of(uint64_t counted) { return counted & ~UINT64_C(7); }

/* A record boundary, but for the bank in bit 0. */
static inline bool position_is_sound(const struct ringbus_view *view, uint64_t counted) {
  return (counted & ~UINT64_C(1) & ((UINT64_C(1) << view->granule_shift) - 1)) == 0;
}

struct counted {
  uint64_t position;
  uint64_t count;
};

/* counted_load: a position and its count, as one pair (BANK). False if the writer moved on each time;
 * then position is a recent one and count is unknown. The bound is generous: the writer would have to
 * store between two neighbouring loads of one line again and again. The second look acquires because a
 * cursor that was moved back may be where it was: then it is for what was stored before, gating, to tell
 * (gate_load). */
static inline bool counted_load(uint64_t *field, struct counted *pair) {
  for (int tries = 0; tries < 1000; tries++) {
    uint64_t before = AO_load_acquire(shared_word(field)); /* BANK, TAIL, RELEASE */
    pair->position = position_of(before);
    pair->count = AO_load_acquire(shared_word(field + 1 + (before & 1))); /* BANK */
    if (AO_load_acquire(shared_word(field)) == before)                    /* BANK */
      return true;
  }
  return false;
}

static inline void counted_store(uint64_t *field, struct counted pair) {
  ringbus_counted_store(shared_word(field), pair.position, pair.count);
}

/* The ring's state, or RINGBUS_STATE_FORKED, before anything else that a call looks at (STATE). */
static inline unsigned state_load(const struct ringbus_view *view) {
  return AO_int_load_acquire(view->state);
}

/* The state, before the words (STATE). Where there are many producers one of them may publish after
 * another has finished, unless it sees that; so whoever believes in an end has a full fence between
 * the two, as the publisher has between its claim and its look at the state. */
static inline unsigned state_before_words(const struct ringbus_view *view) {
  unsigned state = state_load(view);
  if (state)
    shared_fence();
  return state;
}

static inline uint64_t word_load(const struct ringbus_view *view, uint64_t position) {
  return AO_load_acquire(ringbus_word_at(view, position)); /* PUBLISH */
}

static inline bool word_swap(const struct ringbus_view *view, uint64_t position, uint64_t from,
                             uint64_t to) {
  return AO_compare_and_swap_full(ringbus_word_at(view, position), from, to);
}

static inline void word_store(const struct ringbus_view *view, uint64_t position, uint64_t word) {
  AO_store_release(ringbus_word_at(view, position), word); /* PUBLISH */
}

static inline uint64_t word_state(const struct ringbus_view *view, uint64_t word) {
  return word >> view->state_shift & 3;
}

/* Describes the record at this position, in whatever state; else there is none. */
static inline bool word_is_current(const struct ringbus_view *view, uint64_t word,
                                   uint64_t position) {
  return ((word ^ ringbus_word_head(view, position, 0)) >> view->state_shift & ~UINT64_C(3)) == 0 &&
         word_state(view, word) != RINGBUS_WORD_FREE;
}

static inline uint64_t record_word(const struct ringbus_view *view, uint64_t position,
                                   uint64_t state, uint64_t bytes, uint64_t low_bits) {
  return ringbus_word_head(view, position, state) |
         ((bytes >> view->granule_shift) - 1) << RINGBUS_WORD_GRANULES_SHIFT | low_bits;
}

static inline void word_clear(const struct ringbus_view *view, uint64_t position) {
  AO_store_release(ringbus_word_at(view, position), 0); /* CLEAR */
}

/* Signed distance from one position to another; positions wrap. */
static inline int64_t distance(uint64_t from, uint64_t to) { return (int64_t)(to - from); }

static inline void spin_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
