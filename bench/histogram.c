/* SPDX-License-Identifier: MIT */
/* histogram.c - what is done with latencies when a slice is over. */
#include "histogram.h"

#include <math.h>
#include <string.h>

void bench_clear(struct bench_histogram *histogram) { memset(histogram, 0, sizeof *histogram); }

void bench_merge(struct bench_histogram *into, const struct bench_histogram *from) {
  for (unsigned i = 0; i < BENCH_BUCKETS; i++)
    into->bucket[i] += from->bucket[i];
  into->count += from->count;
  if (from->max > into->max)
    into->max = from->max;
}

double bench_percentile(const struct bench_histogram *histogram, double share) {
  const double rank = fmax(1, ceil(share * (double)histogram->count));
  uint64_t passed = 0;
  for (unsigned i = 0; i < BENCH_BUCKETS; i++) {
    passed += histogram->bucket[i];
    if ((double)passed < rank)
      continue;
    const unsigned shift = i >> (BENCH_BUCKET_BITS + 1) ? (i >> BENCH_BUCKET_BITS) - 1 : 0;
    const uint64_t low = (uint64_t)(i - (shift << BENCH_BUCKET_BITS)) << shift;
    return fmin((double)low + (double)((UINT64_C(1) << shift) - 1) / 2, (double)histogram->max);
  }
  return 0;
}
