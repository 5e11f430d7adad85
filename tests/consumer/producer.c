/* SPDX-License-Identifier: MIT */
/* The README's producer: what stands between the markers is its text. */
#include <stdio.h>

#include <ringbus/ringbus.h>

int main(void) {
  /* README begin */
  ringbus_ring *ring;
  ringbus_producer *producer;
  if (ringbus_ring_create("greetings", NULL, &ring) ||
      ringbus_producer_attach(ring, NULL, &producer))
    return fprintf(stderr, "%s\n", ringbus_error_detail()), 1;
  ringbus_producer_send(producer, "hello\n", 6, 0);
  ringbus_producer_send(producer, "world\n", 6, 0);
  ringbus_producer_finish(producer); /* no more will come */
  ringbus_producer_detach(producer);
  return ringbus_ring_close(ring);
  /* README end */
}
