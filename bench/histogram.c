/* SPDX-License-Identifier: MIT */
/* histogram.c - what is done with latencies when a slice is over; and how sure a median is. */
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

/* What is read from a bucket: its middle. */
static double value_of(const struct bench_histogram *histogram, unsigned bucket) {
  const unsigned shift = bucket >> (BENCH_BUCKET_BITS + 1) ? (bucket >> BENCH_BUCKET_BITS) - 1 : 0;
  const uint64_t low = (uint64_t)(bucket - (shift << BENCH_BUCKET_BITS)) << shift;
  return fmin((double)low + (double)((UINT64_C(1) << shift) - 1) / 2, (double)histogram->max);
}

double bench_percentile(const struct bench_histogram *histogram, double share) {
  const double rank = fmax(1, ceil(share * (double)histogram->count));
  uint64_t passed = 0;
  for (unsigned i = 0; i < BENCH_BUCKETS; i++) {
    passed += histogram->bucket[i];
    if ((double)passed < rank)
      continue;
    return value_of(histogram, i);
  }
  return 0;
}

void bench_write_percentiles(const struct bench_histogram *histogram, FILE *file) {
  enum { TICKS = 5 }; /* to each halving of the distance to 100 % */
  double sum = 0, squares = 0, next = 0;
  uint64_t passed = 0;
  int tick = 0;
  (void)fprintf(file, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
                "1/(1-Percentile)");
  for (unsigned i = 0; i < BENCH_BUCKETS && passed < histogram->count; i++) {
    const double value = value_of(histogram, i), count = histogram->bucket[i];
    if (count == 0)
      continue;
    sum += count * value;
    squares += count * value * value;
    passed += histogram->bucket[i];
    const double reached = (double)passed / (double)histogram->count;
    while (reached >= next && next < 1 && passed < histogram->count) {
      (void)fprintf(file, "%12.3f %14.12f %10llu %14.2f\n", value, next, (unsigned long long)passed,
                    1 / (1 - next));
      tick++;
      next = 1 - ldexp(1, -tick / TICKS) + ldexp(0.5 * (tick % TICKS) / TICKS, -tick / TICKS);
    }
  }
  const double count = (double)histogram->count, mean = count > 0 ? sum / count : 0;
  if (histogram->count)
    (void)fprintf(file, "%12.3f %14.12f %10llu\n", (double)histogram->max, 1.0,
                  (unsigned long long)histogram->count);
  (void)fprintf(file,
                "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n"
                "#[Max     = %12.3f, Total count    = %12llu]\n"
                "#[Buckets = %12d, SubBuckets     = %12d]\n",
                mean, count > 0 ? sqrt(fmax(0, squares / count - mean * mean)) : 0,
                (double)histogram->max, (unsigned long long)histogram->count,
                BENCH_VALUE_BITS - BENCH_BUCKET_BITS, 2 << BENCH_BUCKET_BITS);
}

bool bench_median_interval(unsigned count, unsigned *low, unsigned *high) {
  /* As many at each end are left out as are, together, less likely than one in 40. */
  double below = 0;
  unsigned out = 0;
  for (; out < count; out++) {
    below +=
        exp(lgamma(count + 1.0) - lgamma(out + 1.0) - lgamma(count - out + 1.0) - count * log(2));
    if (below > 0.025)
      break;
  }
  if (out == 0)
    return false;
  *low = out - 1;
  *high = count - out;
  return true;
}
