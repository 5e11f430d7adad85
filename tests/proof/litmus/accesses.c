/* SPDX-License-Identifier: MIT */
/* accesses.c - the accesses of shared.h and inline.h, one a function, and what a compiler makes of each for
 * AArch64 (../herd compares). __aarch64_X_acq_rel is the instruction XAL of ARMv8.1 where the processor has it, else
 * a loop of LDAXR and STLXR; it is no full fence. */
#include "../../../lib/shared.h"

/* a_load: ldar */
uint64_t a_load(uint64_t *p) { return shared_load(p); }
/* a_load32: ldar */
uint32_t a_load32(uint32_t *p) { return shared_load32(p); }
/* a_load_relaxed: ldr */
uint64_t a_load_relaxed(uint64_t *p) { return AO_load(shared_word(p)); }
/* a_int_load: ldr */
unsigned a_int_load(volatile unsigned *p) { return AO_int_load(p); }
/* a_store: stlr */
void a_store(uint64_t *p, uint64_t to) { shared_store(p, to); }
/* a_store32: stlr */
void a_store32(uint32_t *p, uint32_t to) { shared_store32(p, to); }
/* a_store_relaxed: str */
void a_store_relaxed(uint64_t *p, uint64_t to) { AO_store(shared_word(p), to); }
/* a_counted_store: ldr stlr stlr */
void a_counted_store(uint64_t *p, struct counted to) { counted_store(p, to); }
/* a_counted_load: ldar ldar ldar */
bool a_counted_load(uint64_t *p, struct counted *to) { return counted_load(p, to); }
/* a_swap: __aarch64_cas8_acq_rel */
bool a_swap(uint64_t *p, uint64_t from, uint64_t to) { return shared_swap(p, from, to); }
/* a_replace32: __aarch64_cas4_acq_rel */
bool a_replace32(uint32_t *p, uint32_t from, uint32_t to) { return shared_replace32(p, from, to); }
/* a_pair_swap: ldaxp stlxp */
bool a_pair_swap(uint64_t *p, struct pair from, struct pair to) { return pair_swap(p, from, to); }
/* a_increment: __aarch64_ldadd8_acq_rel */
void a_increment(uint64_t *p) { shared_increment(p); }
/* a_set_bits: __aarch64_ldset8_acq_rel */
void a_set_bits(uint64_t *p, uint64_t bits) { shared_set_bits(p, bits); }
/* a_set_bits32: __aarch64_ldset4_acq_rel */
void a_set_bits32(uint32_t *p, uint32_t bits) { shared_set_bits32(p, bits); }
/* a_fence: dmb_ish */
void a_fence(void) { shared_fence(); }
/* a_swap_fence: dmb_ish */
void a_swap_fence(void) { swap_fence(); }
/* a_read_fence: dmb_ishld */
void a_read_fence(void) { shared_read_fence(); }
