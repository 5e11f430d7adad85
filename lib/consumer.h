/* SPDX-License-Identifier: MIT */
/* consumer.h - what a consumer's handle is, for consumer.c and share.c. */
#ifndef RINGBUS_CONSUMER_H
#define RINGBUS_CONSUMER_H

#include <string.h>

#include "internal.h"

struct ringbus_consumer {
  struct ringbus_consumer_hot hot;
  /* On the first empty look, which is a step; while lines are handed back it is the second one's. */
  struct trial resting[2];
  struct trial handing_back; /* the lines that were read; a step is a lap */
  bool tries_handing_back;
  bool hands_back_anew; /* or keeps them anew: which is not felt in this lap */
  /* First empty looks of which nothing was learned about resting, since a window of it ended. */
  unsigned unlearned;
  struct handle handle;
  uint32_t group;
  enum ringbus_wait wait;
  int64_t look_ns;
  bool end_without_producer;
  struct blocked blocked; /* see ask_whether_dead */
  struct counted lost;
  ringbus_poller *poller; /* it is in, or NULL */
  struct event *event;    /* its event descriptor's, or NULL */
  /* A member of a shared group holds the run [hot.released, run_to), and has handed out what is before
   * hot.position. It holds nothing if the first two are equal. */
  uint64_t run_to;
  uint64_t run_count; /* of hot.released */
  bool redelivered;   /* this run had been taken by another member */
};

/* consumer_enter_lap: to be called whenever the hot path's position has come into another lap, or may have. */
static inline void consumer_enter_lap(struct ringbus_consumer_hot *hot) {
  hot->usual_word = ringbus_word_in_lap(&hot->view, hot->usual_word, hot->position);
  hot->lap_end = (hot->position | hot->view.mask) + 1;
}

/* pace_empty (pace.c): nothing is there, for the first time at this position; look again afterwards. */
void pace_empty(ringbus_consumer *consumer);

/* next_state: passes over records that were given up; what the word of the one behind them says, FREE if
 * there is none. PAD after a whole lap of such. Looks at words only, which may be payload by now if they
 * are in band and this reader is late; nothing is to be believed before that is excluded. */
uint64_t next_state(const struct ringbus_view *view, uint64_t *at, uint64_t *word);
/* next_gated: the next published record of a reader that cannot be lapped, at its position or behind
 * records that were given up, which *at passes over. Returns 0, -EAGAIN, -EBADMSG; *state as
 * next_state says. */
int next_gated(const struct ringbus_view *view, uint64_t *at, struct ringbus_message *message,
               uint64_t *bytes, uint64_t *state);

/* copy_out: what recv gives: always the message's description, its bytes unless the buffer is too small. */
static inline int copy_out(const struct ringbus_message *found, void *buffer, size_t size,
                           struct ringbus_message *message) {
  if (message) {
    *message = *found;
    message->data = buffer;
  }
  if (found->length > size)
    return -EMSGSIZE;
  if (found->length)
    memcpy(buffer, found->data, found->length);
  return 0;
}

/* share_attach: a new member; what its slot's last holder had taken is its own now. */
void share_attach(ringbus_consumer *consumer, bool at_most_once);
/* share_leave: a member that wants nothing delivered twice gives up what it holds; others leave it behind. */
void share_leave(ringbus_consumer *consumer);
/* The calls of a member of a shared group; as the public ones. max: not 0. */
int share_borrow_batch(ringbus_consumer *consumer, struct ringbus_message *messages, size_t max,
                       size_t *count);
int share_recv(ringbus_consumer *consumer, void *buffer, size_t size,
               struct ringbus_message *message);
int share_release(ringbus_consumer *consumer);
void share_tell(const ringbus_consumer *consumer, struct counted *at);
/* share_look: 0 if there is something to take; ended: if not, nothing will ever come. share_look_here: holds
 * a run, or, thorough, has taken one over. share_may_take_over: there is one to be taken over, and nobody
 * is at it; for any thread. */
bool share_may_take_over(const ringbus_consumer *consumer);
int share_look(const ringbus_consumer *consumer, bool thorough, bool ended);
bool share_look_here(ringbus_consumer *consumer, bool thorough);

#endif
