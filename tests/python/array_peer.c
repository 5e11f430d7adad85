/* SPDX-License-Identifier: MIT */
/* array_peer.c - the C side of arrays: writes an image of padded rows, the last one first; or reads an
 * array of unsigned bytes and tells its shape, and the sum of each element by its number.
 *   array_peer write RING WIDTH HEIGHT
 *   array_peer read RING */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <ringbus/ndarray.h>
#include <ringbus/ringbus.h>

static int write_image(ringbus_ring *ring, uint64_t width, uint64_t height) {
  const uint64_t shape[3] = {height, width, 3}, row = (width * 3 + 3) / 4 * 4;
  struct ringbus_ndarray image;
  ringbus_producer *producer;
  char *message;
  void *data;
  if (!ringbus_ndarray_init(&image, 'u', '|', 1, 3, shape) ||
      ringbus_producer_attach(ring, NULL, &producer))
    return 1;
  image.strides[0] = -(int64_t)row;
  image.first += (height - 1) * row;
  if (ringbus_producer_claim(producer, RINGBUS_NDARRAY_FIRST + height * row, 0, &data))
    return 1;
  message = data;
  memset(message, 0xee, RINGBUS_NDARRAY_FIRST + height * row);
  memcpy(message, &image, sizeof image);
  for (uint64_t y = 0; y < height; y++)
    for (uint64_t x = 0; x < width; x++)
      for (uint64_t c = 0; c < 3; c++)
        message[image.first - y * row + x * 3 + c] = (char)(y * 50 + x * 3 + c);
  return ringbus_producer_commit(producer, RINGBUS_NDARRAY_FIRST + height * row) ||
         ringbus_producer_detach(producer);
}

static int read_array(ringbus_ring *ring) {
  struct ringbus_consumer_options options = {.group = "c"};
  struct ringbus_message message;
  struct ringbus_ndarray array;
  ringbus_consumer *consumer;
  uint64_t sum = 0, number = 0;
  if (ringbus_consumer_attach(ring, &options, &consumer) ||
      ringbus_consumer_wait(consumer, INT64_C(60000000000)) ||
      ringbus_consumer_borrow(consumer, &message))
    return 1;
  int result = ringbus_ndarray_check(message.data, message.length, &array);
  if (result != 0 || array.kind != 'u' || array.item_bytes != 1 || array.dimensions != 2)
    return printf("result %d\n", result), 1;
  const unsigned char *first = (const unsigned char *)message.data + array.first;
  for (uint64_t y = 0; y < array.shape[0]; y++)
    for (uint64_t x = 0; x < array.shape[1]; x++)
      sum += ++number * first[(int64_t)y * array.strides[0] + (int64_t)x * array.strides[1]];
  printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", array.shape[0], array.shape[1], sum);
  return ringbus_consumer_release(consumer) || ringbus_consumer_detach(consumer);
}

int main(int count, char **words) {
  ringbus_ring *ring;
  if (count < 3 || ringbus_ring_open(words[2], NULL, &ring))
    return fprintf(stderr, "array_peer: %s\n", ringbus_error_detail()), 1;
  int result = strcmp(words[1], "read") == 0 ? read_array(ring)
               : count == 5 ? write_image(ring, (uint64_t)atoi(words[3]), (uint64_t)atoi(words[4]))
                            : 1;
  return ringbus_ring_close(ring) || result;
}
