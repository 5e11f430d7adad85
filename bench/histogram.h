/* SPDX-License-Identifier: MIT */
/* histogram.h - latencies: how many of each, to three significant digits. And how sure a median is.
 *
 * Values of 0 .. 2047 ns have a bucket each. Above, each power of two has 1024 buckets of one width, so
 * that what is read from a bucket, its middle, is off by less than 1 in 2000. That goes up to two
 * minutes; what is longer is counted there. The largest value is kept as it is. */
#ifndef RINGBUS_BENCH_HISTOGRAM_H
#define RINGBUS_BENCH_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
  BENCH_BUCKET_BITS = 10,
  BENCH_VALUE_BITS = 37,
  BENCH_BUCKETS = (BENCH_VALUE_BITS - BENCH_BUCKET_BITS + 1) << BENCH_BUCKET_BITS
};

struct bench_histogram {
  uint64_t count, max;
  uint32_t bucket[BENCH_BUCKETS];
};

/* A negative value, which only clocks that disagree can bring about, counts as 0. */
static inline void bench_record(struct bench_histogram *histogram, int64_t ns) {
  uint64_t value = ns > 0 ? (uint64_t)ns : 0, kept = value;
  if (kept >> BENCH_VALUE_BITS)
    kept = (UINT64_C(1) << BENCH_VALUE_BITS) - 1;
  unsigned bits = 64 - (unsigned)__builtin_clzll(kept | 1);
  unsigned shift = bits > BENCH_BUCKET_BITS + 1 ? bits - BENCH_BUCKET_BITS - 1 : 0;
  histogram->bucket[(shift << BENCH_BUCKET_BITS) + (kept >> shift)]++;
  histogram->count++;
  if (value > histogram->max)
    histogram->max = value;
}

void bench_clear(struct bench_histogram *histogram);
void bench_merge(struct bench_histogram *into, const struct bench_histogram *from);
/* The smallest value that this share (0 .. 1) of all does not exceed; 0 if there are none. */
double bench_percentile(const struct bench_histogram *histogram, double share);
/* All of it as HdrHistogram's tools read it (.hgrm): percentiles, five to each halving of the rest. */
void bench_write_percentiles(const struct bench_histogram *histogram, FILE *file);

/* Of so many values, sorted, from 0: between which two the median of what they are a sample of lies, with
 * at least 95 % confidence, whatever its distribution (order statistics: how many of the values are below it
 * is binomial). False if there are too few: less than 6. */
bool bench_median_interval(unsigned count, unsigned *low, unsigned *high);

#endif
