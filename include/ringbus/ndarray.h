/* SPDX-License-Identifier: MIT */
/* ndarray.h - messages that are arrays: how they begin, for C and for others who write and read them.
 *
 *   message   │ struct ringbus_ndarray │ type_bytes of text │ ... │ elements ... │
 *             0                      152                        first
 *
 * The element [i, j, ...] of an array is at first + i * strides[0] + j * strides[1] + ..., in bytes from
 * the beginning of the message. Strides may be negative (a BMP image, whose last row comes first), and
 * leave gaps (rows that are padded). All numbers are in the byte order of the machine, whose ring it is;
 * that of the elements is told by `order`.
 *
 * This is a convention between those who send and receive. The ring knows nothing of it, and nothing here
 * depends on how a message was got.
 *
 * To write: ringbus_ndarray_init, claim what it returns, copy the structure to the front, fill in the
 * elements, commit. To read: ringbus_ndarray_check, which makes sure that all elements are inside the
 * message; then use its copy of the structure, never the message's own, which a hostile peer may change. */
#ifndef RINGBUS_NDARRAY_H
#define RINGBUS_NDARRAY_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RINGBUS_NDARRAY_MAGIC UINT32_C(0x444e4252) /* "RBND" on a little-endian machine */
#define RINGBUS_NDARRAY_VERSION 1
#define RINGBUS_NDARRAY_DIMENSIONS 8 /* at most */
#define RINGBUS_NDARRAY_FIRST                                                                      \
  192 /* where ringbus_ndarray_init puts the elements: 64-byte aligned */

struct ringbus_ndarray {
  uint32_t magic;
  uint16_t version;   /* others than RINGBUS_NDARRAY_VERSION cannot be read */
  uint8_t dimensions; /* 0: one element */
  /* b boolean, i and u integer, f floating point, c complex; and, of no use to most: S bytes, U text in
   * UCS-4, V anything, m and M time. As numpy's dtype.kind */
  char kind;
  uint32_t item_bytes; /* of an element */
  char order;          /* '<' little-endian, '>' big-endian, '|' it has none */
  uint8_t reserved;    /* 0 */
  uint16_t
      type_bytes; /* of the text behind this: what kind V, m and M are, as in numpy's .npy files */
  uint64_t first; /* where the element [0, 0, ...] is */
  uint64_t shape[RINGBUS_NDARRAY_DIMENSIONS]; /* elements along each dimension; unused ones are 0 */
  int64_t strides[RINGBUS_NDARRAY_DIMENSIONS]; /* bytes from one to the next along each dimension */
};

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define RINGBUS_NDARRAY_NATIVE '>'
#else
#define RINGBUS_NDARRAY_NATIVE '<'
#endif

/* ringbus_ndarray_init: an array whose elements follow each other without gaps, the last dimension
 * fastest, at RINGBUS_NDARRAY_FIRST. Returns the bytes of the whole message; 0 if there is no such array
 * (too many dimensions, larger than memory). */
static inline size_t ringbus_ndarray_init(struct ringbus_ndarray *array, char kind, char order,
                                          uint32_t item_bytes, unsigned dimensions,
                                          const uint64_t *shape) {
  uint64_t bytes = item_bytes, all = item_bytes;
  unsigned i;
  memset(array, 0, sizeof *array);
  if (dimensions > RINGBUS_NDARRAY_DIMENSIONS || item_bytes == 0)
    return 0;
  array->magic = RINGBUS_NDARRAY_MAGIC;
  array->version = RINGBUS_NDARRAY_VERSION;
  array->dimensions = (uint8_t)dimensions;
  array->kind = kind;
  array->item_bytes = item_bytes;
  array->order = order;
  array->first = RINGBUS_NDARRAY_FIRST;
  for (i = dimensions; i-- > 0;) {
    array->shape[i] = shape[i];
    array->strides[i] = (int64_t)bytes;
    all = shape[i] ? all : 0;
    if (__builtin_mul_overflow(bytes, shape[i] ? shape[i] : 1, &bytes) || bytes > INT64_MAX / 2)
      return 0;
  }
  return (size_t)(RINGBUS_NDARRAY_FIRST + (all ? bytes : 0));
}

/* ringbus_ndarray_check: whether a message of so many bytes is an array, each element of which is inside
 * it, behind header and text, and no two of which would together be more than the message. *array is a
 * copy of its header. The message is read once and may be changed meanwhile.
 * Returns 0, -EBADMSG (no array, or it contradicts itself), -EPROTONOSUPPORT (another version, or the
 * other byte order); then *array means nothing. */
static inline int ringbus_ndarray_check(const void *message, size_t length,
                                        struct ringbus_ndarray *array) {
  uint64_t elements = 1, bytes;
  int64_t low = 0, high = 0, span;
  unsigned i, empty = 0;
  if (length < sizeof *array || length > INT64_MAX)
    return -EBADMSG;
  memcpy(array, message, sizeof *array);
  if (array->magic == __builtin_bswap32(RINGBUS_NDARRAY_MAGIC))
    return -EPROTONOSUPPORT;
  if (array->magic != RINGBUS_NDARRAY_MAGIC)
    return -EBADMSG;
  if (array->version != RINGBUS_NDARRAY_VERSION)
    return -EPROTONOSUPPORT;
  if (array->dimensions > RINGBUS_NDARRAY_DIMENSIONS || array->item_bytes == 0 ||
      array->reserved != 0 || array->kind == 0 || !strchr("biufcSUVmM", array->kind) ||
      array->order == 0 || !strchr("<>|", array->order) || array->first > length ||
      array->first < sizeof *array + array->type_bytes)
    return -EBADMSG;
  for (i = 0; i < RINGBUS_NDARRAY_DIMENSIONS; i++) {
    if (i >= array->dimensions) {
      if (array->shape[i] != 0 || array->strides[i] != 0)
        return -EBADMSG;
      continue;
    }
    if (array->shape[i] > INT64_MAX)
      return -EBADMSG;
    empty = empty || array->shape[i] == 0;
  }
  if (empty)
    return 0; /* no element, nowhere */
  for (i = 0; i < array->dimensions; i++)
    if (__builtin_mul_overflow((int64_t)array->shape[i] - 1, array->strides[i], &span) ||
        __builtin_mul_overflow(elements, array->shape[i], &elements) ||
        (span < 0 ? __builtin_add_overflow(low, span, &low)
                  : __builtin_add_overflow(high, span, &high)))
      return -EBADMSG;
  /* first and length are within 0 .. INT64_MAX, low is not above 0 and high not below */
  if (low < -(int64_t)(array->first - sizeof *array - array->type_bytes) ||
      (uint64_t)high > length - array->first ||
      array->item_bytes > length - array->first - (uint64_t)high)
    return -EBADMSG;
  if (__builtin_mul_overflow(elements, (uint64_t)array->item_bytes, &bytes) || bytes > length)
    return -EBADMSG;
  return 0;
}

#ifdef __cplusplus
}
#endif

#endif
