/* SPDX-License-Identifier: MIT */
/* consumer.h - what a consumer's handle is, for consumer.c and share.c. */
#ifndef RINGBUS_CONSUMER_H
#define RINGBUS_CONSUMER_H

#include "internal.h"

struct ringbus_consumer {
  struct ringbus_consumer_hot hot;
  struct handle handle;
  uint32_t group;
  enum ringbus_wait wait;
  int64_t look_ns;
  bool end_without_producer;
  unsigned blocked; /* see ask_whether_dead */
  struct counted lost;
  /* A member of a shared group holds the run [hot.released, run_to), and has handed out what is before
   * hot.position. It holds nothing if the first two are equal. */
  uint64_t run_to;
  uint64_t run_count; /* of hot.released */
  bool redelivered;   /* this run had been taken by another member */
};

/* next_gated: the next published record of a reader that cannot be lapped, at its position or behind
 * records that were given up, which *at passes over. Returns 0, -EAGAIN, -EBADMSG; *state: whether
 * -EAGAIN means a claim that somebody has open (RINGBUS_WORD_CLAIMED) or the end (RINGBUS_WORD_FREE). */
int next_gated(const struct ringbus_view *view, uint64_t *at, struct ringbus_message *message,
               uint64_t *bytes, uint64_t *state);

/* share_attach: a new member; what its slot's last holder had taken is its own now. */
void share_attach(ringbus_consumer *consumer, bool at_most_once);
/* share_leave: a member that wants nothing delivered twice gives up what it holds; others leave it behind. */
void share_leave(ringbus_consumer *consumer);
/* The calls of a member of a shared group; as the public ones. */
int share_borrow_batch(ringbus_consumer *consumer, struct ringbus_message *messages, size_t max,
                       size_t *count);
int share_recv(ringbus_consumer *consumer, void *buffer, size_t size,
               struct ringbus_message *message);
int share_release(ringbus_consumer *consumer);
void share_tell(const ringbus_consumer *consumer, struct counted *at);
/* share_look: 0 if there is something to take or to take over; ended: else nothing will ever come. */
int share_look(ringbus_consumer *consumer, bool thorough, bool ended);

#endif
