/* SPDX-License-Identifier: MIT */
/* make.c - made the files beside it: rings of format 1 of every kind, as the library wrote them, at a moment
 * at which all who were attached might have been killed. They are never made again (golden.c reads
 * those that are kept): this shows how, and is where to begin when a later feature wants files of its own.
 *
 * What differs from run to run gets fixed values: ids, times, pids, the boot id. States that are only
 * between two instructions of the library are put together by hand, as lib/share.c and lib/group.c
 * describe them.
 *
 * A file is text: "size N", then "offset: bytes" in hexadecimal, 32 to a line; lines that are not there are
 * zero. Comments begin with #. The file "messages" lists what has been sent and is still in the
 * rings, from what was given to the library, not from the files:
 *   file position count length tag "the first printable bytes" 64-bit FNV-1a of all bytes
 *   file position count - 0 "claimed by slot N" bytes of the record
 *
 * usage: golden_make DIRECTORY */
#include "../support.h"

#include "frozen.h"

#define TIME UINT64_C(1700000000000000000)
#define PID_NAMESPACE 4026531836u
#define RING_ID "a golden ring id"
#define BOOT_ID "a golden boot id"

static const char *directory;
static FILE *list;

/* ---------------------------------------------------------------- the ring that is being made */

static const char *ring_name;
static ringbus_ring *ring;
static bool many;
static uint64_t position, count; /* of what is sent next, by arithmetic of its own */

static struct sent {
  uint64_t position, count, bytes, hash;
  uint32_t length, tag, claimed_by;
  char begin[24];
} sent[64];
static size_t sent_count;

static void begin(const char *name, struct ringbus_create_options options, uint64_t at,
                  uint64_t messages_before) {
  options.capacity = 4096;
  ring_name = name;
  many = options.many_producers;
  position = at;
  count = messages_before;
  sent_count = 0;
  REQUIRE_RESULT(ringbus_ring_close(test_ring(name, &options)), 0);
  test_write_file(name, offsetof(struct ringbus_header, tail.position), &at, sizeof at);
  test_write_file(name, offsetof(struct ringbus_header, floor.position), &at, sizeof at);
  test_write_file(name, offsetof(struct ringbus_header, tail.count), &count, sizeof count);
  test_write_file(name, offsetof(struct ringbus_header, floor.count), &count, sizeof count);
  ring = test_open(name);
}

static ringbus_producer *producer(const char *name) {
  struct ringbus_producer_options options = {.name = name};
  ringbus_producer *made;
  REQUIRE_RESULT(ringbus_producer_attach(ring, &options, &made), 0);
  return made;
}

static ringbus_consumer *consumer(struct ringbus_consumer_options options) {
  ringbus_consumer *made;
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &options, &made), 0);
  return made;
}

static ringbus_consumer *reader(void) {
  return consumer((struct ringbus_consumer_options){.name = "reads", .group = "reader"});
}

static ringbus_consumer *member(const char *name) {
  return consumer(
      (struct ringbus_consumer_options){.name = name, .group = "workers", .shared = true});
}

static void borrow(ringbus_consumer *by, size_t messages) {
  struct ringbus_message batch[16];
  size_t got;
  REQUIRE_RESULT(ringbus_consumer_borrow_batch(by, batch, messages, &got), 0);
  REQUIRE(got == messages);
}

static void take(ringbus_consumer *by, size_t messages) {
  borrow(by, messages);
  REQUIRE_RESULT(ringbus_consumer_release(by), 0);
}

static void note(const void *message, size_t length, uint32_t tag, uint64_t bytes) {
  struct sent *s = &sent[sent_count++];
  REQUIRE(sent_count <= sizeof sent / sizeof *sent);
  *s = (struct sent){.position = position,
                     .count = count++,
                     .bytes = bytes,
                     .hash = UINT64_C(0xcbf29ce484222325),
                     .length = (uint32_t)length,
                     .tag = tag};
  for (size_t i = 0; i < length; i++) {
    unsigned char c = ((const unsigned char *)message)[i];
    s->hash = (s->hash ^ c) * UINT64_C(0x100000001b3);
    if (i < sizeof s->begin - 1 && c && strlen(s->begin) == i)
      s->begin[i] = (char)c;
  }
  position += bytes;
}

static uint64_t record_bytes(size_t length, uint32_t tag) {
  size_t needed = length + (tag ? 4 : 0);
  return many ? needed == 0 ? 64 : (needed + 63) / 64 * 64 : (needed + 8 + 7) / 8 * 8;
}

/* A message: text, then zeroes up to length. */
static void send_long(ringbus_producer *by, const char *text, size_t length, uint32_t tag) {
  char bytes[4096] = {0};
  memcpy(bytes, text, strlen(text));
  REQUIRE_RESULT(ringbus_producer_send(by, bytes, length, tag), 0);
  note(bytes, length, tag, record_bytes(length, tag));
}

static void say(ringbus_producer *by, const char *text, uint32_t tag) {
  send_long(by, text, strlen(text), tag);
}

static const char *alphabet(size_t length) {
  static char bytes[4097];
  for (size_t i = 0; i < length; i++)
    bytes[i] = (char)('a' + i % 26);
  bytes[length] = '\0';
  return bytes;
}

static void say_numbered(ringbus_producer *by, unsigned messages, size_t length) {
  for (unsigned n = 0; n < messages; n++) {
    char text[32];
    snprintf(text, sizeof text, "message %02u", n);
    send_long(by, text, length, n);
  }
}

/* ---------------------------------------------------------------- the file */

static struct ringbus_slot *slots_of(unsigned char *file) {
  return (void *)(file + ((struct ringbus_header *)(void *)file)->identity.slots_offset);
}

static struct ringbus_group *groups_of(unsigned char *file) {
  return (void *)(file + ((struct ringbus_header *)(void *)file)->identity.groups_offset);
}

static void fix_what_differs(unsigned char *file) {
  struct ringbus_header *header = (void *)file;
  struct ringbus_identity *identity = &header->identity;
  struct ringbus_flushed *flushed = &header->flushed;
  memcpy(identity->ring_id, RING_ID, 16);
  memcpy(header->life.boot_id, BOOT_ID, 16);
  identity->created_ns = TIME;
  identity->creator_pid = 4000;
  identity->creator_uid = 1000;
  memset(identity->library_version, 0, sizeof identity->library_version);
  strcpy(identity->library_version, "0.1.0");
  identity->checksum = test_checksum(identity);
  for (uint32_t slot = 1; slot < identity->slot_count; slot++)
    if (slots_of(file)[slot].state) {
      slots_of(file)[slot].pid = 4000 + slot;
      slots_of(file)[slot].pid_namespace = PID_NAMESPACE;
      slots_of(file)[slot].attached_ns = TIME + slot;
    }
  for (uint32_t group = 0; group < identity->group_count; group++)
    if (groups_of(file)[group].created_ns)
      groups_of(file)[group].created_ns = TIME + 100 + group;
  if (flushed->flushed_ns) {
    const unsigned char *byte = (void *)flushed;
    flushed->flushed_ns = TIME + 300;
    flushed->check = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < offsetof(struct ringbus_flushed, check); i++)
      flushed->check = (flushed->check ^ byte[i]) * UINT64_C(0x100000001b3);
  }
}

static void write_text(const unsigned char *file, size_t size, const char *what) {
  static const unsigned char zero[32];
  char path[4096];
  snprintf(path, sizeof path, "%s/%s.ring", directory, ring_name);
  FILE *text = fopen(path, "w");
  REQUIRE(text);
  fprintf(text, "# SPDX-License-Identifier: MIT\n# %s\nsize %zu\n", what, size);
  for (size_t at = 0; at < size; at += sizeof zero) {
    if (memcmp(file + at, zero, sizeof zero) == 0)
      continue;
    fprintf(text, "%05zx:", at);
    for (size_t i = 0; i < sizeof zero; i++)
      fprintf(text, "%s%02x", i % 8 ? "" : " ", file[at + i]);
    fprintf(text, "\n");
  }
  REQUIRE(fclose(text) == 0);
}

/* As the file is now; patch: what is changed in it by hand. Whoever is attached stays attached until
 * this program ends. */
static void finish(const char *what, void (*patch)(unsigned char *file)) {
  size_t size;
  unsigned char *file = test_read_whole(ring_name, &size);
  if (patch)
    patch(file);
  fix_what_differs(file);
  write_text(file, size, what);
  uint64_t floor = ((struct ringbus_header *)(void *)file)->floor.position & ~UINT64_C(1);
  for (const struct sent *s = sent; s < sent + sent_count; s++) {
    if (s->position - floor >= 4096)
      continue;
    fprintf(list, "%s %llu %llu ", ring_name, (unsigned long long)s->position,
            (unsigned long long)s->count);
    if (s->claimed_by)
      fprintf(list, "- 0 \"claimed by slot %u\" %llu\n", s->claimed_by,
              (unsigned long long)s->bytes);
    else
      fprintf(list, "%u %u \"%s\" %016llx\n", s->length, s->tag, s->begin,
              (unsigned long long)s->hash);
  }
  free(file);
}

/* ---------------------------------------------------------------- one producer, many producers */

static void make_new(void) {
  begin("new", (struct ringbus_create_options){.max_participants = 2, .max_groups = 1}, 0, 0);
  finish("one producer, nobody was ever attached", NULL);
  begin("new-many",
        (struct ringbus_create_options){
            .max_participants = 2, .max_groups = 1, .many_producers = true},
        0, 0);
  finish("many producers, nobody was ever attached", NULL);
}

static void make_single(void) {
  begin("single", (struct ringbus_create_options){.max_participants = 3, .max_groups = 2}, 3000,
        40);
  ringbus_consumer *reads = reader();
  ringbus_producer *writes = producer("writes");
  say(writes, "", 0);
  say(writes, "", 7);
  say(writes, "a", 0);
  say(writes, "1234567", 0);
  say(writes, "12345678", 0);
  say(writes, "123456789", UINT32_MAX);
  send_long(writes, "nine hundred bytes", 900, 0x01020304);
  say(writes, alphabet(120), 0);
  say(writes, "behind the edge", 1);
  take(reads, 2);
  borrow(reads, 3);
  finish("one producer: empty, with and without tags, over the edge; two of nine were read, three "
         "more "
         "borrowed; all dead",
         NULL);

  begin("single-longest", (struct ringbus_create_options){.max_participants = 2, .max_groups = 1},
        8, 0);
  say(producer("writes"), alphabet(4080), 0);
  finish("one producer: the longest message, and no room but for the cleared word", NULL);
}

static void make_many(void) {
  struct ringbus_create_options options = {
      .max_participants = 4, .max_groups = 2, .many_producers = true};
  struct iovec batch[3] = {{"first", 5}, {"second", 6}, {"third", 5}};
  void *data;
  begin("many", options, 3840, 40);
  ringbus_producer *one = producer("one"), *two = producer("two");
  ringbus_consumer *reads = reader();
  say(one, "", 0);
  say(two, "", 7);
  say(one, "a", 0);
  say(two, alphabet(100), 0); /* over the edge */
  say(two, alphabet(63), 0);
  say(one, alphabet(64), 0);
  say(two, alphabet(60), UINT32_MAX);
  say(one, alphabet(61), 1);
  REQUIRE_RESULT(ringbus_producer_claim(one, 200, 0, &data), 0);
  memcpy(data, "short", 5);
  REQUIRE_RESULT(ringbus_producer_commit(one, 5), 0);
  note("short", 5, 0, 256); /* what it did not need is given up */
  REQUIRE_RESULT(ringbus_producer_claim(two, 10, 0, &data), 0);
  REQUIRE_RESULT(ringbus_producer_abort(two), 0);
  position += 64;
  REQUIRE_RESULT(ringbus_producer_send_batch(one, batch, 3, 5, true, NULL), 0);
  for (size_t i = 0; i < 3; i++)
    note(batch[i].iov_base, batch[i].iov_len, 5, 64);
  take(reads, 2);
  borrow(reads, 3);
  finish("two producers: empty, with and without tags, over the edge, a short commit, a claim "
         "given up, a "
         "batch at once; two of twelve were read, three more borrowed; all dead",
         NULL);

  options.max_participants = 2;
  options.max_groups = 1;
  begin("many-longest", options, 64, 0);
  say(producer("writes"), alphabet(4080), 0);
  finish("many producers: the longest message, which takes the whole ring", NULL);
}

/* The reader slept when it died, and had seen for what it waits. */
static void note_sleeper(unsigned char *file) {
  struct ringbus_header *header = (void *)file;
  header->signals.data_waiters = 3;
  header->signals.sleeps = 2;
  header->counters.blocked_at = 192 | 1;
  header->counters.blocked_ns = TIME + 200;
}

static void make_claim(void) {
  void *data;
  begin("claim",
        (struct ringbus_create_options){
            .max_participants = 4, .max_groups = 1, .many_producers = true},
        128, 0);
  ringbus_producer *one = producer("one"), *two = producer("two");
  ringbus_consumer *reads = reader();
  say(one, "before", 1);
  REQUIRE_RESULT(ringbus_producer_claim(two, 100, 2, &data), 0);
  memcpy(data, "half a mess", 11);
  note(NULL, 0, 0, 128);
  sent[1].claimed_by = 2;
  count--;
  say(one, "behind", 3);
  take(reads, 1);
  finish("the dead claim of slot 2 between two messages, and a reader who died asleep before it",
         note_sleeper);
}

/* ---------------------------------------------------------------- nobody is waited for */

static void make_overwriting(void) {
  for (int with_many = 0; with_many <= 1; with_many++) {
    begin(
        with_many ? "overwrite-many" : "overwrite",
        (struct ringbus_create_options){
            .max_participants = 3, .max_groups = 1, .many_producers = with_many, .overwrite = true},
        0, 0);
    ringbus_producer *writes = producer("writes");
    ringbus_consumer *reads = reader();
    say_numbered(writes, 3, 300);
    take(reads, 2);
    borrow(reads, 1);
    say_numbered(writes, 14, 300);
    finish("a ring that overwrites, in its second lap; its reader read two of seventeen and "
           "borrowed one, "
           "which is gone",
           NULL);
  }
}

static void make_wake_modes(void) {
  struct ringbus_create_options options = {.max_participants = 2, .max_groups = 1};
  options.no_group = RINGBUS_DROP;
  options.wake = RINGBUS_WAKE_BY_FENCE;
  begin("drop-fenced", options, 0, 0);
  say_numbered(producer("writes"), 14, 300);
  finish("no group, and none is held for: the oldest messages have made way; wake: fenced", NULL);

  options.no_group = RINGBUS_HOLD;
  options.wake = RINGBUS_WAKE_NEVER;
  begin("hold-never", options, 0, 0);
  ringbus_producer *writes = producer("writes");
  say_numbered(writes, 8, 490);
  REQUIRE_RESULT(ringbus_producer_send(writes, alphabet(490), 490, 0), -EAGAIN);
  finish("no group, held for one: full, and once refused; wake: never", NULL);
}

/* ---------------------------------------------------------------- groups */

/* "joining" died between becoming visible and settled, "back" while it sought back. */
static void unsettle(unsigned char *file) {
  for (struct ringbus_group *group = groups_of(file); group < groups_of(file) + 8; group++) {
    if (strcmp(group->name, "joining") == 0)
      group->gating ^= RINGBUS_GATING_SETTLED ^ RINGBUS_GATING_JOINING;
    if (strcmp(group->name, "back") == 0)
      group->gating ^= RINGBUS_GATING_SETTLED ^ RINGBUS_GATING_BACK;
  }
}

static void make_groups(void) {
  begin("groups", (struct ringbus_create_options){.max_participants = 9, .max_groups = 8}, 0, 0);
  ringbus_producer *writes = producer("writes");
  ringbus_consumer *archive = consumer(
      (struct ringbus_consumer_options){.name = "a", .group = "archive", .policy = RINGBUS_GATE});
  ringbus_consumer *screen = consumer((struct ringbus_consumer_options){
      .name = "b", .group = "screen", .policy = RINGBUS_GATE_WHILE_ATTACHED});
  ringbus_consumer *left = consumer((struct ringbus_consumer_options){
      .name = "c", .group = "left", .policy = RINGBUS_GATE_WHILE_ATTACHED});
  ringbus_consumer *watch = consumer(
      (struct ringbus_consumer_options){.name = "d", .group = "watch", .policy = RINGBUS_LAPPED});
  ringbus_consumer *limited = consumer((struct ringbus_consumer_options){
      .name = "e", .group = "limited", .policy = RINGBUS_GATE, .max_lag = 1000});
  ringbus_consumer *own = consumer((struct ringbus_consumer_options){.name = "f"});
  ringbus_consumer *back =
      consumer((struct ringbus_consumer_options){.name = "g", .group = "back"});
  say_numbered(writes, 6, 300);
  take(archive, 1);
  take(screen, 2);
  take(left, 3);
  REQUIRE_RESULT(ringbus_consumer_detach(left), 0);
  take(watch, 4);
  take(limited, 1);
  take(own, 5);
  take(back, 4);
  REQUIRE_RESULT(ringbus_consumer_seek(back, RINGBUS_POSITION, 312), 0);
  consumer((struct ringbus_consumer_options){.name = "h", .group = "joining"});
  finish("groups of every policy; consumers dead, left, dead while joining and while seeking back",
         unsettle);
}

/* ---------------------------------------------------------------- shared groups */

static void leave_between(unsigned char *file) {
  struct ringbus_slot *slot = slots_of(file);
  uint64_t from[8];
  for (uint64_t n = 0; n < 8; n++)
    from[n] = 64 * n;
  /* Slot 3 has taken message 1 over from slot 4, and not said yet that it holds it. */
  slot[3].taken[0] = from[1] | RINGBUS_TAKEN_COMING;
  slot[3].taken[1] = 1 << RINGBUS_TAKE_COUNT_SHIFT | 4;
  slot[4].taken[1] = 1 << RINGBUS_TAKE_COUNT_SHIFT;
  slot[4].taken_to = from[2];
  /* Slot 6 was about to take message 2 over from slot 5. */
  slot[6].taken[0] = from[2] | RINGBUS_TAKEN_COMING;
  slot[6].taken[1] = 2 << RINGBUS_TAKE_COUNT_SHIFT | 5;
  slot[6].taken_to = from[3];
  groups_of(file)->moves = 1;
  /* Slot 8 has taken message 4: group.take says so, its note not yet. */
  slot[8].taken[0] = from[4] | RINGBUS_TAKEN_NOTED;
  /* Slot 9 lost against it, having tried to take two. */
  slot[9].taken[0] = from[4] | RINGBUS_TAKEN_NOTED;
  slot[9].taken[1] = 4 << RINGBUS_TAKE_COUNT_SHIFT;
  slot[9].taken_to = from[6];
}

static void make_shared(void) {
  struct ringbus_create_options options = {
      .max_participants = 12, .max_groups = 1, .many_producers = true};
  begin("shared", options, 0, 0);
  ringbus_producer *writes = producer("writes");
  ringbus_consumer *slot[10];
  for (unsigned n = 2; n <= 9; n++) {
    char name[16];
    snprintf(name, sizeof name, "slot %u", n);
    slot[n] = consumer((struct ringbus_consumer_options){
        .name = name, .group = "workers", .shared = true, .at_most_once = n == 7});
  }
  say(writes, "held", 0);
  say(writes, "coming", 0);
  say(writes, "not coming", 0);
  say(writes, "at most once", 0);
  say(writes, "noted", 0);
  say(writes, "free", 5);
  say(writes, "free, too", 0);
  borrow(slot[2], 1);
  borrow(slot[3], 1);
  borrow(slot[5], 1);
  borrow(slot[7], 1);
  borrow(slot[8], 1);
  finish("a shared group whose eight members died holding, taking, losing, taking over",
         leave_between);

  options = (struct ringbus_create_options){.max_participants = 4, .max_groups = 1};
  begin("shared-single", options, 0, 0);
  writes = producer("writes");
  ringbus_consumer *first = member("first"), *second = member("second");
  say_numbered(writes, 6, 20);
  borrow(first, 3);
  REQUIRE_RESULT(ringbus_consumer_detach(first), 0);
  REQUIRE_RESULT(ringbus_consumer_wait(second, RINGBUS_FOREVER), 0); /* takes over */
  take(second, 1);
  borrow(second, 1);
  finish(
      "one producer and a shared group: a member left three of six messages behind, another took "
      "them over, released one, and died with the rest",
      NULL);
}

/* ---------------------------------------------------------------- ends and edges */

static void make_edges(void) {
  /* 32 bytes, and two messages, before both begin again at 0. */
  begin("edge", (struct ringbus_create_options){.max_participants = 3, .max_groups = 1},
        UINT64_MAX - 31, UINT64_MAX - 1);
  ringbus_producer *writes = producer("writes");
  ringbus_consumer *reads = reader();
  say_numbered(writes, 5, 11);
  take(reads, 1);
  finish("one producer: positions pass 2^64, and so does the count of messages", NULL);

  /* The count of group.take has 54 bits. */
  begin("edge-many",
        (struct ringbus_create_options){
            .max_participants = 4, .max_groups = 1, .many_producers = true},
        UINT64_MAX - 127, (UINT64_C(5) << 54) - 2);
  writes = producer("writes");
  ringbus_consumer *first = member("first"), *second = member("second");
  say_numbered(writes, 6, 11);
  take(first, 1);
  borrow(second, 3);
  borrow(first, 1);
  finish("many producers, a shared group: positions pass 2^64, and a run the 54 bits of its count",
         NULL);
}

static void retire(unsigned char *file) {
  ((struct ringbus_header *)(void *)file)->signals.state |= RINGBUS_STATE_RETIRED;
}

static void make_ends(void) {
  struct ringbus_create_options options = {.max_participants = 3, .max_groups = 1};
  begin("closed", options, 0, 0);
  ringbus_producer *writes = producer("writes");
  ringbus_consumer *reads = reader();
  say(writes, "the last but one", 0);
  say(writes, "the last", 0);
  take(reads, 1);
  REQUIRE_RESULT(ringbus_producer_finish(writes), 0);
  finish("closed: one message is left to read", NULL);

  begin("retired", options, 0, 0);
  say(producer("writes"), "too late", 0);
  finish("retired", retire);
}

static void make_flushed(void) {
  for (int with_many = 0; with_many <= 1; with_many++) {
    begin(with_many ? "flushed-many" : "flushed",
          (struct ringbus_create_options){
              .max_participants = 3, .max_groups = 1, .many_producers = with_many},
          0, 0);
    ringbus_producer *writes = producer("writes");
    ringbus_consumer *reads = reader();
    say_numbered(writes, 3, 20);
    take(reads, 1);
    REQUIRE_RESULT(ringbus_ring_flush(ring), 0);
    say(writes, "behind the flush", 0);
    take(reads, 1);
    finish("flushed when three messages were there, one of them read; then another was sent, "
           "another read",
           NULL);
  }
}

int main(int arguments, char **argument) {
  char path[4096];
  if (arguments != 2) {
    fprintf(stderr, "usage: golden_make DIRECTORY\n");
    return 2;
  }
  directory = argument[1];
  snprintf(path, sizeof path, "%s/messages", directory);
  list = fopen(path, "w");
  REQUIRE(list);
  fprintf(list,
          "# SPDX-License-Identifier: MIT\n# What is in the rings beside this: see make.c.\n");
  make_new();
  make_single();
  make_many();
  make_claim();
  make_overwriting();
  make_wake_modes();
  make_groups();
  make_shared();
  make_edges();
  make_ends();
  make_flushed();
  REQUIRE(fclose(list) == 0);
  return 0;
}
