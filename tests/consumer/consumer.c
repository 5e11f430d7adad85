/* SPDX-License-Identifier: MIT */
/* The README's consumer: what stands between the markers is its text. */
#include <stdio.h>

#include <ringbus/ringbus.h>

int main(void) {
  /* README begin */
  ringbus_ring *ring;
  ringbus_consumer *consumer;
  struct ringbus_message message;
  if (ringbus_ring_open("greetings", NULL, &ring) || ringbus_consumer_attach(ring, NULL, &consumer))
    return fprintf(stderr, "%s\n", ringbus_error_detail()), 1;
  while (ringbus_consumer_wait(consumer, RINGBUS_FOREVER) == 0)
    while (ringbus_consumer_borrow(consumer, &message) == 0) { /* in the ring, not copied */
      fwrite(message.data, 1, message.length, stdout);
      ringbus_consumer_release(consumer);
    }
  return ringbus_consumer_detach(consumer) || ringbus_ring_close(ring);
  /* README end */
}
