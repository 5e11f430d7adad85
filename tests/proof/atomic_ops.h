/* SPDX-License-Identifier: MIT */
/* atomic_ops.h - stands in for libatomic_ops where CBMC proves what ringbus does whatever others write.
 *
 * Each shared word that is loaded may have any value, each time anew: that is what a peer can do who
 * writes into the file whenever it likes. So nothing is stored, either, for nothing stored would ever be
 * found again. What is checked is where: in the mapping, aligned, or it is no atomic access. */
#ifndef PROOF_ATOMIC_OPS_H
#define PROOF_ATOMIC_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef size_t AO_t;
typedef struct {
  AO_t AO_val1, AO_val2;
} AO_double_t;
#define AO_HAVE_compare_double_and_swap_double_full

/* The mapping of the only ring there is; may_write: not that of an observer. */
extern char *proof_mapping;
extern bool proof_may_write;

uint64_t nondet_u64(void);
unsigned nondet_unsigned(void);
bool nondet_bool(void);

/* A loop of any number of turns (loops.sed). What is said to be true before each turn is so before the first;
 * then what a turn changes becomes anything of which that is true, and after one turn it is true again. So
 * what the loop does in that turn it does in every one, and what follows the loop is reached from every
 * state in which it may end. What becomes less shows that it ends. */
#define PROOF_AND ,
#define PROOF_FOR(is_true, becomes_less, change, declare, condition, step)                         \
  for (uint64_t declare proof_was = (__CPROVER_assert(is_true, "true before the loop"), change,    \
                                     AO_nop_full(), __CPROVER_assume(is_true), becomes_less);      \
       condition; step, __CPROVER_assert(is_true, "true after a turn"),                            \
                        __CPROVER_assert((becomes_less) < proof_was, "the loop ends"),             \
                        __CPROVER_assume(false))

/* The same of one that ends only when others let it. */
#define PROOF_FOREVER(is_true, change, declare)                                                    \
  for (uint64_t declare PROOF_AND proof_was =                                                      \
           (__CPROVER_assert(is_true, "true before the loop"), change, AO_nop_full(),              \
            __CPROVER_assume(is_true), 0);                                                         \
       ; __CPROVER_assert(is_true, "true after a turn"), __CPROVER_assume(false))

static inline void proof_access(const volatile void *address, size_t size, bool writes) {
  const void *at = (const void *)address;
  __CPROVER_assert(__CPROVER_same_object(at, proof_mapping), "an atomic access is to the mapping");
  __CPROVER_assert(__CPROVER_r_ok(at, size), "an atomic access is inside the mapping");
  __CPROVER_assert(__CPROVER_POINTER_OFFSET(at) % size == 0, "an atomic access is aligned");
  __CPROVER_assert(!writes || proof_may_write, "an observer writes nothing");
}

static inline AO_t AO_load(const volatile AO_t *word) {
  proof_access(word, sizeof *word, false);
  return nondet_u64();
}

static inline void AO_store(volatile AO_t *word, AO_t value) {
  (void)value;
  proof_access(word, sizeof *word, true);
}

static inline AO_t AO_fetch_and_add(volatile AO_t *word, AO_t value) {
  (void)value;
  proof_access(word, sizeof *word, true);
  return nondet_u64();
}

static inline unsigned AO_int_load(const volatile unsigned *word) {
  proof_access(word, sizeof *word, false);
  return nondet_unsigned();
}

static inline void AO_int_store_release(volatile unsigned *word, unsigned value) {
  (void)value;
  proof_access(word, sizeof *word, true);
}

static inline unsigned AO_int_fetch_and_add1_full(volatile unsigned *word) {
  proof_access(word, sizeof *word, true);
  return nondet_unsigned();
}

static inline int AO_int_compare_and_swap_full(volatile unsigned *word, unsigned from,
                                               unsigned to) {
  (void)from, (void)to;
  proof_access(word, sizeof *word, true);
  return nondet_bool();
}

static inline int AO_compare_and_swap_full(volatile AO_t *word, AO_t from, AO_t to) {
  (void)from, (void)to;
  proof_access(word, sizeof *word, true);
  return nondet_bool();
}

static inline int AO_compare_double_and_swap_double_full(volatile AO_double_t *pair, AO_t from1,
                                                         AO_t from2, AO_t to1, AO_t to2) {
  (void)from1, (void)from2, (void)to1, (void)to2;
  proof_access(pair, sizeof *pair, true);
  return nondet_bool();
}

/* What is read past these without libatomic_ops may have become anything, too. */
static inline void AO_nop_full(void) { __CPROVER_havoc_object(proof_mapping); }

#define AO_nop_read AO_nop_full
#define AO_load_acquire AO_load
#define AO_store_release AO_store
#define AO_or AO_store
#define AO_or_full AO_store
#define AO_and_full AO_store
#define AO_fetch_and_add1_full(word) AO_fetch_and_add(word, 1)
#define AO_int_load_acquire AO_int_load
#define AO_int_or_full AO_int_store_release

#endif
