/* SPDX-License-Identifier: MIT */
/* survivors.c - the world after a kill, in rings of crowd.h.
 *
 * Nobody holds a lock. An observer looks at what is there, by which the messages whose calls were under
 * way turn out to be published or not; from then on that is what everybody must see. Groups resume, two
 * fresh producers work for more than a lap, two fresh members share what the shared group has left,
 * and in the end everything is free, read and counted. */
#include "crowd.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MEMBERS = 2, PRODUCERS = 2, LONGEST_EVER = LARGE };

struct world {
  struct book book;
  enum order order;
  ringbus_ring *ring;
  struct ringbus_ring_info info; /* as found */
  ringbus_producer *producer[PRODUCERS];
  ringbus_observer *observer;
  ringbus_consumer *consumer[CROWD_GROUPS];
  ringbus_consumer *member[MEMBERS];
  bool present[ENTRIES];
  bool flagged[ENTRIES];
  uint8_t delivered[ENTRIES]; /* to the members */
  uint64_t position[ENTRIES]; /* | 1: where it was seen */
  uint64_t oldest;            /* the first entry that is still in the ring */
  uint64_t observed;          /* each reader's next entry: the observer's ... */
  uint64_t next[CROWD_GROUPS];
  bool resolved;     /* it is known which of the dead's messages there are */
  uint32_t durable;  /* groups that outlive this */
  uint32_t used;     /* groups that exist */
  uint32_t attached; /* slots in use */
  unsigned turn;     /* for what is to be done in several ways */
};

static struct world world;

#define wrong(...) return harness_bad(__VA_ARGS__), false

static struct entry *entry_at(uint64_t index) { return &world.book.entries[index]; }

static uint64_t count_of(uint64_t index) {
  uint64_t count = 0;
  for (uint64_t i = 0; i < index; i++)
    count += world.present[i];
  return count;
}

static uint64_t next_present(uint64_t index) {
  while (index < world.book.made && !world.present[index])
    index++;
  return index;
}

/* ---------------------------------------------------------------- the observer */

/* The first look: what must be there is there, what may be there may be. */
static bool resolve(const struct ringbus_message *message) {
  struct world *w = &world;
  for (; w->observed < w->book.made; w->observed++) {
    struct entry *entry = entry_at(w->observed);
    if (entry->published != ABSENT && verify_entry(message, entry, w->observed)) {
      w->present[w->observed] = true;
      w->position[w->observed++] = message->position | 1;
      return true;
    }
    if (entry->published == DONE)
      break;
  }
  wrong("the observer finds a message of %u bytes, tag %x at %llx, next is number %llu",
        message->length, message->tag, (unsigned long long)message->position,
        (unsigned long long)w->observed);
}

static bool observe(void) {
  struct world *w = &world;
  struct ringbus_message message;
  char copy[LONGEST_EVER];
  for (;;) {
    uint64_t lost_before, lost, told;
    ringbus_observer_lost(w->observer, &lost_before, NULL);
    int result = ringbus_observer_recv(w->observer, copy, sizeof copy, &message);
    if (result == -EAGAIN)
      result = ringbus_observer_wait(w->observer, 0) == 0 ? 1 : -EAGAIN;
    if (result == 0 && !w->resolved) {
      if (!resolve(&message))
        return false;
    } else if (result == 0) {
      w->observed = next_present(w->observed);
      if (w->observed == w->book.made ||
          !verify_entry(&message, entry_at(w->observed), w->observed))
        wrong("the observer's message %llu is not what was sent", (unsigned long long)w->observed);
      w->position[w->observed++] = message.position | 1;
    } else if (result == -EOVERFLOW) {
      ringbus_observer_lost(w->observer, &lost, NULL);
      ringbus_observer_tell(w->observer, NULL, &told);
      for (uint64_t i = lost_before; i < lost; i++)
        w->observed = next_present(w->observed) + 1;
      if (lost <= lost_before || told != count_of(w->observed))
        wrong("the observer lost %llu and is at message %llu, should be at %llu",
              (unsigned long long)(lost - lost_before), (unsigned long long)told,
              (unsigned long long)count_of(w->observed));
    } else if (result != 1) {
      if (result == -EAGAIN || result == -EPIPE)
        return true;
      wrong("observer_recv: %s", ringbus_strerror(result));
    }
  }
}

static bool check_batch(void) {
  struct world *w = &world;
  uint64_t maybe = 0, there = 0;
  bool gap = false;
  for (uint64_t i = 0; i < w->book.made; i++) {
    if (entry_at(i)->published != MAYBE)
      continue;
    maybe++;
    there += w->present[i];
    if (w->present[i] && gap)
      wrong("message %llu is there, the one before it is not", (unsigned long long)i);
    gap = !w->present[i];
  }
  if (w->book.all_or_none && there != 0 && there != maybe)
    wrong("of %llu messages that appear at once there are %llu", (unsigned long long)maybe,
          (unsigned long long)there);
  return true;
}

static bool look_back(void) {
  struct world *w = &world;
  uint64_t count, told;
  int result = ringbus_ring_info(w->ring, &w->info);
  if (result != 0 || w->info.participants != 0 || w->info.retired)
    wrong("ring_info: %d, %u participants alive", result, w->info.participants);
  if ((w->book.closed && !w->info.closed) || (!w->book.closing && w->info.closed))
    wrong("closed: %d", w->info.closed);
  result = ringbus_observer_attach(w->ring, NULL, &w->observer);
  if (result != 0)
    wrong("observer_attach: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  ringbus_observer_tell(w->observer, NULL, &count);
  if (count != w->info.oldest_count)
    wrong("the oldest is message %llu, the observer begins at %llu",
          (unsigned long long)w->info.oldest_count, (unsigned long long)count);
  for (; count > 0 && w->observed < w->book.made; w->observed++)
    if (entry_at(w->observed)->published == DONE) {
      w->present[w->observed] = true;
      count--;
    }
  w->oldest = w->observed;
  if (count != 0)
    wrong("the oldest is message %llu", (unsigned long long)w->info.oldest_count);
  if (!observe())
    return false;
  for (uint64_t i = w->observed; i < w->book.made; i++)
    if (entry_at(i)->published == DONE)
      wrong("message %llu is lost", (unsigned long long)i);
  w->resolved = true;
  w->observed = w->book.made;
  ringbus_observer_tell(w->observer, NULL, &told);
  if (told != count_of(w->book.made))
    wrong("the observer counts %llu, but has seen %llu", (unsigned long long)told,
          (unsigned long long)count_of(w->book.made));
  if (w->info.tail_count > told)
    wrong("%llu are told, %llu were found", (unsigned long long)w->info.tail_count,
          (unsigned long long)told);
  if (w->info.groups == 0 && !w->book.drops && w->oldest != 0)
    wrong("the oldest message is %llu, none should be given up", (unsigned long long)w->oldest);
  for (int g = 0; g < CROWD_GROUPS && !w->book.drops; g++) {
    const struct group_line *line = &w->book.groups[g];
    if (line->must_exist && !line->shared && count_of(w->oldest) > count_of(line->before) &&
        count_of(w->oldest) > count_of(line->after))
      wrong("the oldest message is %llu, group %s has not read %llu", (unsigned long long)w->oldest,
            line->name, (unsigned long long)line->before);
  }
  return check_batch();
}

/* ---------------------------------------------------------------- groups of one consumer */

/* Whether there may be more, after -EAGAIN: a wait gives up what the dead have claimed. Who only polls
 * must find that out, too. */
static bool may_be_more(ringbus_consumer *consumer, struct ringbus_message *message, int *result) {
  if (world.order != POLLING) {
    *result = ringbus_consumer_wait(consumer, 0);
    return *result == 0;
  }
  for (int tries = 0; tries < 1030 && *result == -EAGAIN; tries++)
    *result = ringbus_consumer_borrow(consumer, message);
  return false;
}

static bool read_one(int g, const struct ringbus_message *message) {
  struct world *w = &world;
  w->next[g] = next_present(w->next[g]);
  if (w->next[g] == w->book.made || !verify_entry(message, entry_at(w->next[g]), w->next[g]))
    wrong("group %s, message %llu: not what was sent, but %u bytes, tag %x, number %llu",
          w->book.groups[g].name, (unsigned long long)w->next[g], message->length, message->tag,
          (unsigned long long)identify(message));
  w->next[g]++;
  int result = ringbus_consumer_release(w->consumer[g]);
  if (result != 0)
    wrong("release: %s", ringbus_strerror(result));
  return true;
}

static bool drain(int g) {
  struct world *w = &world;
  const struct group_line *line = &w->book.groups[g];
  struct ringbus_message message;
  bool may_lose = line->policy == RINGBUS_LAPPED || line->lapped;
  for (;;) {
    uint64_t lost_before, lost, told;
    ringbus_consumer_lost(w->consumer[g], &lost_before, NULL);
    int result = ringbus_consumer_borrow(w->consumer[g], &message);
    if (result == -EAGAIN && may_be_more(w->consumer[g], &message, &result))
      continue;
    if (result == -EAGAIN || result == -ETIMEDOUT || result == -EPIPE)
      break;
    if (result == 0) {
      if (!read_one(g, &message))
        return false;
      continue;
    }
    if (result != -EOVERFLOW || !may_lose)
      wrong("group %s, message %llu: %s", line->name, (unsigned long long)w->next[g],
            ringbus_strerror(result));
    ringbus_consumer_lost(w->consumer[g], &lost, NULL);
    ringbus_consumer_tell(w->consumer[g], NULL, &told);
    for (uint64_t i = lost_before; i < lost; i++)
      w->next[g] = next_present(w->next[g]) + 1;
    if (lost <= lost_before || told != count_of(w->next[g]))
      wrong("group %s lost %llu and is at message %llu, should be at %llu", line->name,
            (unsigned long long)(lost - lost_before), (unsigned long long)told,
            (unsigned long long)count_of(w->next[g]));
  }
  if (next_present(w->next[g]) != w->book.made)
    wrong("group %s has read up to %llu of %llu", line->name, (unsigned long long)w->next[g],
          (unsigned long long)w->book.made);
  return true;
}

/* ---------------------------------------------------------------- the shared group */

static bool check_delivered(const struct ringbus_message *message) {
  struct world *w = &world;
  uint64_t index = identify(message);
  for (uint64_t i = 0; index == ENTRIES && i < w->book.made; i++)
    if (w->position[i] == (message->position | 1))
      index = i;
  if (index >= w->book.made || !w->present[index] || !verify_entry(message, entry_at(index), index))
    wrong("a member gets %u bytes, tag %x, number %llu: not what was sent", message->length,
          message->tag, (unsigned long long)index);
  if (w->delivered[index]++)
    wrong("message %llu is delivered twice", (unsigned long long)index);
  w->flagged[index] = message->redelivered;
  return true;
}

/* Several ways of taking, which must all do. */
static int take_and_release(ringbus_consumer *member, bool *fine) {
  struct ringbus_message messages[3];
  char copy[LONGEST_EVER];
  size_t count = 1;
  unsigned way = world.turn++ % 3;
  int result = way == 0   ? ringbus_consumer_borrow_batch(member, messages, 3, &count)
               : way == 1 ? ringbus_consumer_recv(member, copy, sizeof copy, messages)
                          : ringbus_consumer_borrow(member, messages);
  if (result != 0)
    return result;
  for (size_t i = 0; i < count && *fine; i++)
    *fine = check_delivered(&messages[i]);
  return way == 1 ? 0 : ringbus_consumer_release(member);
}

static bool drain_members(void) {
  struct world *w = &world;
  bool fine = true;
  unsigned idle = 0; /* members in a row that find nothing */
  for (unsigned m = 0; idle < MEMBERS && fine; m = (m + 1) % MEMBERS) {
    struct ringbus_message message;
    int result = take_and_release(w->member[m], &fine);
    if (result == -EAGAIN && w->order == POLLING) {
      may_be_more(w->member[m], &message, &result);
      if (result == 0) {
        fine = check_delivered(&message);
        result = ringbus_consumer_release(w->member[m]);
      }
    } else if (result == -EAGAIN && ringbus_consumer_wait(w->member[m], 0) == 0) {
      result = 0;
    }
    if (result != 0 && result != -EAGAIN && result != -EPIPE)
      wrong("a member gets: %s", ringbus_strerror(result));
    idle = result == 0 ? 0 : idle + 1;
  }
  return fine;
}

static bool check_members(void) {
  struct world *w = &world;
  bool releasing[2] = {false, false};
  for (uint64_t i = 0; i < w->book.made; i++) {
    unsigned times = w->delivered[i];
    enum shared as = entry_at(i)->shared;
    bool must = as == FRESH || as == TAKING || as == TAKEN;
    if (!w->present[i])
      continue;
    if ((must && times == 0) || (as == GONE && times > 0))
      wrong("message %llu is delivered %u times to the shared group", (unsigned long long)i, times);
    if (times && ((w->flagged[i] && (as == FRESH || as == SKIPPING)) ||
                  (!w->flagged[i] && (as == TAKEN || as == RELEASING))))
      wrong("message %llu is delivered %s", (unsigned long long)i,
            w->flagged[i] ? "again" : "as new");
    if (as == RELEASING)
      releasing[times] = true;
  }
  if (releasing[0] && releasing[1])
    wrong("a release has released a part");
  return true;
}

static bool all_read(void) {
  struct world *w = &world;
  if (w->member[0] && !drain_members())
    return false;
  for (int g = 0; g < CROWD_GROUPS; g++)
    if (w->consumer[g] && !drain(g))
      return false;
  return true;
}

/* ---------------------------------------------------------------- coming back */

static bool group_exists(const char *name) {
  struct ringbus_group_info info;
  for (uint32_t i = 0; i < CROWD_GROUPS; i++)
    if (ringbus_ring_group(world.ring, i, &info) == 0 && strcmp(info.name, name) == 0)
      return true;
  return false;
}

static bool resume_members(const struct group_line *line, bool existed) {
  struct world *w = &world;
  struct ringbus_consumer_options options = {.group = line->name, .shared = true};
  for (int m = 0; m < MEMBERS; m++) {
    int result = ringbus_consumer_attach(w->ring, &options, &w->member[m]);
    if (result != 0)
      wrong("member %d: %s: %s", m, ringbus_strerror(result), ringbus_error_detail());
    w->attached++;
  }
  for (uint64_t i = 0; !existed && i < w->book.made; i++)
    entry_at(i)->shared = i < w->oldest ? GONE : FRESH;
  return drain_members();
}

static bool resume_consumer(int g, const struct group_line *line, bool existed) {
  struct world *w = &world;
  struct ringbus_consumer_options options = {.group = line->name,
                                             .policy = (enum ringbus_policy)line->policy};
  uint64_t count, lost;
  int result = ringbus_consumer_attach(w->ring, &options, &w->consumer[g]);
  if (result != 0)
    wrong("consumer_attach %s: %s: %s", line->name, ringbus_strerror(result),
          ringbus_error_detail());
  w->attached++;
  ringbus_consumer_tell(w->consumer[g], NULL, &count);
  ringbus_consumer_lost(w->consumer[g], &lost, NULL);
  struct ringbus_ring_info info;
  ringbus_ring_info(w->ring, &info);
  uint64_t from = count - lost; /* where the group stood */
  uint64_t before = count_of(line->before), after = count_of(line->after);
  bool fits = from == before || from == after || (line->between && from >= before && from <= after);
  if (!existed)
    fits = count == info.oldest_count && lost == 0;
  else if (lost)
    fits = fits && line->lapped && count == info.oldest_count;
  if (!fits)
    wrong("group %s resumes at message %llu with %llu lost, promised were %llu or %llu", line->name,
          (unsigned long long)count, (unsigned long long)lost, (unsigned long long)before,
          (unsigned long long)after);
  for (w->next[g] = 0; count_of(w->next[g]) < count;)
    w->next[g]++;
  return drain(g);
}

/* A ring without groups holds everything for the first one. */
static bool witness(void) {
  struct world *w = &world;
  enum { LAST = CROWD_GROUPS - 1 };
  uint64_t count;
  int result = ringbus_consumer_attach(w->ring, NULL, &w->consumer[LAST]);
  if (result != 0)
    wrong("consumer_attach: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  w->attached++;
  w->used++;
  ringbus_consumer_tell(w->consumer[LAST], NULL, &count);
  for (w->next[LAST] = 0; count_of(w->next[LAST]) < count;)
    w->next[LAST]++;
  return drain(LAST);
}

static bool resume_groups(void) {
  struct world *w = &world;
  for (int g = 0; g < CROWD_GROUPS; g++) {
    const struct group_line *line = &w->book.groups[g];
    if (!line->name[0])
      continue;
    bool existed = group_exists(line->name);
    if (existed ? !line->may_exist : line->must_exist)
      wrong("group %s %s", line->name, existed ? "is still there" : "is gone");
    w->durable++;
    w->used++;
    if (!(line->shared ? resume_members(line, existed) : resume_consumer(g, line, existed)))
      return false;
  }
  return w->used > 0 || w->info.overwrite || w->info.no_group == RINGBUS_DROP || witness();
}

static bool succeed(void) {
  struct world *w = &world;
  struct ringbus_ring_info info;
  ringbus_ring_info(w->ring, &info);
  for (int i = 0; i < PRODUCERS; i++) {
    int result = ringbus_producer_attach(w->ring, NULL, &w->producer[i]);
    if (info.closed && result != -EPIPE)
      wrong("a producer attached to a closed ring: %s", ringbus_strerror(result));
    if (info.closed)
      return true;
    if (result != 0)
      wrong("producer_attach: %s: %s", ringbus_strerror(result), ringbus_error_detail());
    w->attached++;
  }
  return true;
}

/* Nothing that the dead have claimed is left open. */
static bool repair(void) {
  struct world *w = &world;
  struct ringbus_ring_info info;
  struct ringbus_blame blame;
  int result = ringbus_ring_repair(w->ring, NULL);
  ringbus_ring_info(w->ring, &info);
  if (result != 0 || info.tail_count != count_of(w->book.made))
    wrong("repair: %s; then %llu messages are told, not %llu", ringbus_strerror(result),
          (unsigned long long)info.tail_count, (unsigned long long)count_of(w->book.made));
  if (ringbus_ring_blame(w->ring, RINGBUS_CONSUMER, &blame) != -ENOENT)
    wrong("after repair readers wait for slot %u", blame.slot);
  return true;
}

/* ---------------------------------------------------------------- and going on */

/* A new entry, in the buffer. */
static uint64_t plan(char *bytes, uint32_t length, uint32_t tag) {
  struct world *w = &world;
  uint64_t index = w->book.made;
  struct entry *entry = entry_at(index);
  memset(entry, 0, sizeof *entry);
  entry->length = length;
  entry->tag = length < 8 ? index_tag(index) : tag;
  entry->published = DONE;
  fill_entry(bytes, entry, index);
  return index;
}

/* The message stands, and everybody is to see it. */
static void planned(void) { world.present[world.book.made++] = true; }

/* Nothing may stand in the way for good: when everybody has read everything, there is room. */
static bool send(ringbus_producer *producer, uint32_t length, uint32_t tag) {
  struct world *w = &world;
  char bytes[LONGEST_EVER];
  const struct entry *entry = entry_at(plan(bytes, length, tag));
  int result = ringbus_producer_send(producer, bytes, length, entry->tag);
  if (result == -EAGAIN) {
    if (!all_read())
      return false;
    if (w->order == POLLING) {
      for (int tries = 0; tries < 1030 && result == -EAGAIN; tries++)
        result = ringbus_producer_send(producer, bytes, length, entry->tag);
    } else {
      result = ringbus_producer_wait(producer, length, entry->tag, 0);
      if (result != 0)
        wrong("everything is read, yet there is no room for %u bytes: %s", length,
              ringbus_strerror(result));
      result = ringbus_producer_send(producer, bytes, length, entry->tag);
    }
  }
  if (result != 0)
    wrong("send of %u bytes: %s", length, ringbus_strerror(result));
  planned();
  return true;
}

/* One claims, the other sends, the first commits: nothing is seen before that, then both, in the order of
 * the claims. */
static bool send_crossed(uint32_t length) {
  struct world *w = &world;
  char first[LONGEST_EVER], second[LONGEST_EVER];
  void *data;
  uint64_t index = plan(first, length, 0);
  struct entry *entry = entry_at(index);
  int result = ringbus_producer_claim(w->producer[0], length, entry->tag, &data);
  if (result == -EAGAIN)
    return true;
  if (result != 0)
    wrong("claim of %u bytes: %s", length, ringbus_strerror(result));
  memcpy(data, first, length);
  w->book.made++; /* not present yet */
  plan(second, 100, 7);
  result = ringbus_producer_send(w->producer[1], second, 100, 7);
  if (result == 0)
    planned();
  else if (result != -EAGAIN)
    wrong("send behind a claim: %s", ringbus_strerror(result));
  if (!w->info.overwrite && w->used > 0) {
    struct ringbus_ring_info info;
    ringbus_ring_info(w->ring, &info);
    if (info.tail_count > count_of(index))
      wrong("%llu messages are told, number %llu is claimed", (unsigned long long)info.tail_count,
            (unsigned long long)count_of(index));
  }
  result = ringbus_producer_commit(w->producer[0], length);
  if (result != 0)
    wrong("commit: %s", ringbus_strerror(result));
  w->present[index] = true;
  return true;
}

static bool publish_a_lap(void) {
  struct world *w = &world;
  uint64_t bytes = 0, lap = w->info.capacity;
  for (unsigned n = 0; bytes < lap + lap / 2; n++) {
    ringbus_producer *producer = w->producer[n % PRODUCERS];
    uint32_t length = bytes < lap + lap / 4 ? varied_length(n) : (uint32_t)w->info.max_message;
    uint32_t tag = n % 3 == 0 && length != w->info.max_message ? 1 + n : 0;
    bytes += crowd_bytes(length, tag);
    if (!(n % 5 == 4 && length < 1000 ? send_crossed(length) : send(producer, length, tag)))
      return false;
    if (n % 8 == 7 && !observe())
      return false;
  }
  return all_read() && observe();
}

/* Everything is read, and the figures say so. */
static bool check_figures(void) {
  struct world *w = &world;
  struct ringbus_ring_info info;
  struct ringbus_group_info group;
  uint64_t count;
  ringbus_ring_info(w->ring, &info);
  if (info.tail_count != count_of(w->book.made))
    wrong("at the end %llu messages are told, there were %llu", (unsigned long long)info.tail_count,
          (unsigned long long)count_of(w->book.made));
  if (info.broken_cursors)
    wrong("%llu cursors were taken for damaged", (unsigned long long)info.broken_cursors);
  for (uint32_t i = 0; i < CROWD_GROUPS; i++)
    if (ringbus_ring_group(w->ring, i, &group) == 0 && (group.lag_messages || group.lag_bytes))
      wrong("group %s has read everything, yet lags by %llu messages, %llu bytes", group.name,
            (unsigned long long)group.lag_messages, (unsigned long long)group.lag_bytes);
  for (int g = 0; g < CROWD_GROUPS; g++)
    if (w->consumer[g] && (ringbus_consumer_tell(w->consumer[g], NULL, &count) != 0 ||
                           count != count_of(w->book.made)))
      wrong("group %s is told to be at %llu", w->book.groups[g].name, (unsigned long long)count);
  if (!w->producer[0])
    return true;
  ringbus_producer_tell(w->producer[0], NULL, &count);
  if (count != count_of(w->book.made))
    wrong("a producer counts %llu", (unsigned long long)count);
  int result = ringbus_producer_drain(w->producer[0], 0);
  if (w->used > 0 && result != 0)
    wrong("everything is read, drain: %s", ringbus_strerror(result));
  return true;
}

/* What the dead had is free again, down to the last group and slot. */
static bool fill_all_places(void) {
  struct world *w = &world;
  ringbus_consumer *guest[CROWD_PARTICIPANTS];
  ringbus_producer *more[CROWD_PARTICIPANTS];
  struct ringbus_consumer_options newest = {.start = RINGBUS_NEWEST};
  uint32_t guests = 0, producers = 0, left = CROWD_PARTICIPANTS - w->attached;
  bool closed = !w->producer[0];
  for (; guests < CROWD_GROUPS - w->used && guests < left; guests++) {
    int result = ringbus_consumer_attach(w->ring, &newest, &guest[guests]);
    if (result != 0)
      wrong("%u groups and %u guests, but one more: %s: %s", w->used, guests,
            ringbus_strerror(result), ringbus_error_detail());
  }
  for (; !closed && producers < left - guests; producers++) {
    int result = ringbus_producer_attach(w->ring, NULL, &more[producers]);
    if (result != 0)
      wrong("%u are attached, but one more: %s: %s", w->attached + guests + producers,
            ringbus_strerror(result), ringbus_error_detail());
  }
  while (producers-- > 0)
    ringbus_producer_detach(more[producers]);
  while (guests-- > 0)
    ringbus_consumer_detach(guest[guests]);
  return true;
}

static bool live_on(void) {
  struct world *w = &world;
  struct ringbus_ring_info info;
  if (!look_back() || (w->order == REPAIR_FIRST && !repair()))
    return false;
  if (w->order == GROUPS_FIRST || w->order == POLLING) {
    if (!resume_groups() || !succeed())
      return false;
  } else {
    if (!succeed())
      return false;
    if (w->order == LAP_BEFORE_GROUPS && w->producer[0] && !publish_a_lap())
      return false;
    if (!resume_groups())
      return false;
  }
  if ((w->producer[0] && !publish_a_lap()) || !all_read() || !observe() || !check_figures() ||
      (w->member[0] && !check_members()) || !fill_all_places())
    return false;
  for (int i = 0; i < PRODUCERS; i++) {
    ringbus_producer_detach(w->producer[i]);
    w->producer[i] = NULL;
  }
  for (int g = 0; g < CROWD_GROUPS; g++) {
    ringbus_consumer_detach(w->consumer[g]);
    w->consumer[g] = NULL;
  }
  for (int m = 0; m < MEMBERS; m++) {
    ringbus_consumer_detach(w->member[m]);
    w->member[m] = NULL;
  }
  ringbus_ring_info(w->ring, &info);
  if (info.participants != 0 || info.groups != w->durable)
    wrong("at the end %u participants and %u groups are left", info.participants, info.groups);
  return true;
}

bool survive(enum order order) {
  struct world *w = &world;
  memset(w, 0, sizeof *w);
  w->book = *book;
  w->order = order;
  alarm(30); /* a call that does not come back ends in judge_died */
  int result = ringbus_ring_open(harness_world(), NULL, &w->ring);
  bool fine = false;
  if (result != 0)
    harness_bad("ring_open: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  else
    fine = live_on();
  for (int i = 0; i < PRODUCERS; i++)
    ringbus_producer_detach(w->producer[i]);
  ringbus_observer_detach(w->observer);
  for (int g = 0; g < CROWD_GROUPS; g++)
    ringbus_consumer_detach(w->consumer[g]);
  for (int m = 0; m < MEMBERS; m++)
    ringbus_consumer_detach(w->member[m]);
  if (result == 0)
    ringbus_ring_close(w->ring);
  alarm(0); /* stepping takes its time on a machine that has much to do */
  return fine;
}
