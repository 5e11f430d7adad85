/* SPDX-License-Identifier: MIT */
/* check.c - `ringbus check`: everything that is wrong with a file. It is read with pread(2), never mapped
 * by what it says of itself, so that no file can do any harm; what only the kernel and the library know
 * (who is alive, what this library can open) is asked of the library.
 *
 *   kind of file, size, magic ─▶ identity ─▶ library opens it ─▶ signals, tail and floor, groups, slots
 *                                                                 ─▶ every record ─▶ who is dead, who blocks
 *
 * A ring may be in use meanwhile. What is read belongs to different instants then, so: a position is taken
 * before the records up to it are walked; a word is believed only if the floor has not passed it when it
 * has been read (as layout.h says); and what looks wrong has to look wrong again and again. */
#include "command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <ringbus/layout.h>

static const char help[] =
    "Usage: ringbus check NAME... [--json]\n"
    "Say everything that is wrong with rings or copies of their files: what the file says of "
    "itself,\n"
    "every record, every group, every participant; and who is dead or keeps others waiting. "
    "Changes\n"
    "nothing; rings may be in use meanwhile; read permission is enough. Any file may be given; a "
    "NAME of\n"
    "- is a copy on standard input.\n"
    "\n"
    "  --json   as one JSON object a line for each: name, sound (true or false; null if it could "
    "not be\n"
    "           read), error (null, or why not), messages, wrong and notes (lists of objects: "
    "what, "
    "text).\n"
    "           what is one of file, size, magic, identity, state, tail, floor, records, group, "
    "slot,\n"
    "           flush; of notes also owner, place, retired, dead, blocked, sparse\n"
    "\n"
    "Exit code 0: all are sound, whatever the notes say; 5: something is wrong with one.\n"
    "\n"
    "Examples\n"
    "  ringbus check quotes\n"
    "  ringbus check ./post-mortem.ring && ringbus dump ./post-mortem.ring\n"
    "  gzip -dc post-mortem.ring.gz | ringbus check -\n"
    "  ringbus check quotes --json | jq -r '.notes[].text'\n";

enum {
  CHUNK_WORDS = 8192,
  ROUNDS = 3, /* that a living ring has to look wrong in */
  PAUSE_NS = 20000000,
  LAPS = 1000, /* restarts of a walk that is lapped */
  TRIES = 100, /* to read what somebody is changing */
  MOST_TOLD = 20
};

struct counted {
  uint64_t position, count;
  bool whole; /* count belongs to position */
};

/* A position that somebody has stored: a record boundary, if it is in the ring. */
struct place {
  struct counted at;
  bool counted;
  bool met; /* by the walk */
  char what[96];
};
enum { MOST_PLACES = 1 + RINGBUS_MAX_GROUPS };
#define COUNT_BITS (UINT64_MAX >> RINGBUS_TAKE_COUNT_SHIFT) /* that a shared group has of a count */

static bool json;

static struct {
  const char *name;
  int fd;
  bool is_image; /* a copy in memory */
  struct stat status;
  struct ringbus_identity identity;
  unsigned capacity_shift, word_bits; /* of a number of granules */
  bool many;
  ringbus_ring *ring; /* NULL: the library does not open it */
  bool retired;
  int unread; /* the exit code, if there was no way to read it */

  struct counted floor, tail;
  uint64_t groups; /* bits */
  struct place places[MOST_PLACES];
  size_t place_count;
  uint64_t chunk_at; /* of the file */
  size_t chunk_count;
  uint64_t chunk[CHUNK_WORDS];
  uint64_t messages, claims[RINGBUS_MAX_SLOTS]; /* open, by owner */

  unsigned wrong;
  cJSON *wrong_list, *note_list;
} check;

/* ---------------------------------------------------------------- findings */

__attribute__((format(printf, 3, 0))) static void
add_finding(cJSON *list, const char *what, const char *format, va_list arguments) {
  char text[512];
  vsnprintf(text, sizeof text, format, arguments);
  cJSON *finding = cJSON_CreateObject();
  cJSON_AddStringToObject(finding, "what", what);
  add_name(finding, "text", text);
  cJSON_AddItemToArray(list, finding);
}

__attribute__((format(printf, 2, 3))) static void wrong(const char *what, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (check.wrong++ < MOST_TOLD)
    add_finding(check.wrong_list, what, format, arguments);
  va_end(arguments);
}

__attribute__((format(printf, 2, 3))) static void note(const char *what, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  add_finding(check.note_list, what, format, arguments);
  va_end(arguments);
}

static void forget_findings(void) {
  cJSON_Delete(check.wrong_list);
  cJSON_Delete(check.note_list);
  check.wrong_list = cJSON_CreateArray();
  check.note_list = cJSON_CreateArray();
  check.wrong = 0;
}

/* ---------------------------------------------------------------- reading the file */

/* read_at: zeroes where there is nothing any more; the size is looked at in each round. */
static void read_at(void *to, size_t count, uint64_t offset) {
  ssize_t got = pread(check.fd, to, count, (off_t)offset);
  size_t have = got < 0 ? 0 : (size_t)got;
  memset((char *)to + have, 0, count - have);
}

static uint64_t read_word(uint64_t offset) {
  uint64_t word;
  read_at(&word, sizeof word, offset);
  return word;
}

static struct counted read_counted(uint64_t offset) {
  struct counted found = {.whole = false};
  for (int tries = 0; tries < TRIES && !found.whole; tries++) {
    uint64_t position = read_word(offset);
    found.position = position & ~UINT64_C(1);
    found.count = read_word(offset + 8 * (1 + (position & 1)));
    found.whole = read_word(offset) == position;
  }
  return found;
}

static uint64_t slot_offset(uint32_t slot) {
  return check.identity.slots_offset + (uint64_t)slot * sizeof(struct ringbus_slot);
}

static uint64_t group_offset(uint32_t group) {
  return check.identity.groups_offset + (uint64_t)group * sizeof(struct ringbus_group);
}

static int64_t distance(uint64_t from, uint64_t to) { return (int64_t)(to - from); }

/* is_boundary: as far as the number alone can say. */
static bool is_boundary(uint64_t position) {
  return position % (UINT64_C(1) << check.identity.granule_shift) == 0;
}

/* is_name: ends, is not empty, and controls nothing. */
static bool is_name(const char name[RINGBUS_NAME_BYTES], bool may_be_empty) {
  size_t length = strnlen(name, RINGBUS_NAME_BYTES);
  for (size_t index = 0; index < length; index++)
    if ((unsigned char)name[index] < ' ' || name[index] == 127)
      return false;
  return length < RINGBUS_NAME_BYTES && (length > 0 || may_be_empty);
}

/* ---------------------------------------------------------------- the file and its identity */

/* check_kind: returns whether there is anything more to look at. */
static bool check_kind(void) {
  mode_t mode = check.status.st_mode;
  if (kind_of_file(mode) != NULL) {
    wrong("file", "it is %s, not a ring", kind_of_file(mode));
    return false;
  }
  long long size = (long long)check.status.st_size;
  read_at(&check.identity, sizeof check.identity, 0);
  if (size == 0)
    wrong("size", "it is empty");
  else if (check.identity.magic == RINGBUS_MAGIC_SWAPPED)
    wrong("magic", "it was made by a machine of the other byte order");
  else if (check.identity.magic != RINGBUS_MAGIC)
    wrong("magic", "it is not a ring: it does not begin like one");
  else if (size < (long long)sizeof check.identity)
    wrong("size", "it is cut short: %lld bytes, not even all that says what it is", size);
  return check.wrong == 0;
}

/* check_numbers: which of them no ring can have. If all are possible, nothing that they lead to can do
 * any harm; whether they fit together is the library's to say. */
static void check_numbers(void) {
  const struct ringbus_identity *identity = &check.identity;
  const struct {
    const char *name;
    uint64_t value, least, most;
  } numbers[] = {
      {"layout version", identity->layout_version, 1, RINGBUS_LAYOUT_VERSION},
      {"size of the identity", identity->identity_bytes, sizeof *identity, sizeof *identity},
      {"capacity", identity->capacity, RINGBUS_MIN_CAPACITY, RINGBUS_MAX_CAPACITY},
      {"granule's shift", identity->granule_shift, 3, 6},
      {"words' shift", identity->word_shift, 0, 3},
      {"kind of producers", identity->producers, RINGBUS_PRODUCERS_SINGLE, RINGBUS_PRODUCERS_MANY},
      {"policy", identity->policy, RINGBUS_POLICY_RELIABLE, RINGBUS_POLICY_OVERWRITE},
      {"kind of no_group", identity->no_group, RINGBUS_NO_GROUP_HOLD, RINGBUS_NO_GROUP_DROP},
      {"kind of wake", identity->wake, RINGBUS_WAKE_ASYMMETRIC, RINGBUS_WAKE_NONE},
      {"number of slots", identity->slot_count, 2, RINGBUS_MAX_SLOTS},
      {"size of a slot", identity->slot_bytes, sizeof(struct ringbus_slot),
       sizeof(struct ringbus_slot)},
      {"number of groups", identity->group_count, 1, RINGBUS_MAX_GROUPS},
      {"size of a group", identity->group_bytes, sizeof(struct ringbus_group),
       sizeof(struct ringbus_group)},
  };
  for (size_t index = 0; index < sizeof numbers / sizeof numbers[0]; index++)
    if (numbers[index].value < numbers[index].least || numbers[index].value > numbers[index].most)
      wrong("identity", "its %s is %" PRIu64 ", which is none", numbers[index].name,
            numbers[index].value);
  if ((identity->capacity & (identity->capacity - 1)) != 0)
    wrong("identity", "its capacity is %" PRIu64 ", which is no power of two", identity->capacity);
}

/* check_library: whether this library opens it. Returns whether its content can be judged. */
static bool check_library(void) {
  const struct ringbus_open_options options = {
      .read_only = true, .allow_owner = true, .owner = check.status.st_uid};
  int error = ringbus_ring_open_fd(check.fd, &options, &check.ring);
  check.retired = error == -ESTALE;
  if (error == 0 || error == -ESTALE)
    return true;
  if (error == -EBADMSG || error == -EPROTONOSUPPORT) {
    wrong("identity", "%s", ringbus_error_detail());
    return false;
  }
  /* It is where no ring can be, or has just been removed: its content is looked at in a copy. */
  note("place", "%s", ringbus_error_detail());
  int image = -1;
  if (check.is_image)
    check.unread = failed_call(check.name, error);
  else
    image = read_image(check.fd, check.name, &check.unread);
  if (image < 0)
    return false;
  close(check.fd);
  check.fd = image;
  check.is_image = true;
  return check_library();
}

static void check_links_and_owner(void) {
  const struct stat *status = &check.status;
  if (strcmp(check.name, "-") == 0)
    return; /* they are those of our copy */
  if (status->st_uid != geteuid() && status->st_uid != 0)
    note("owner", "it belongs to user %u, whom other users do not trust", (unsigned)status->st_uid);
  if (status->st_nlink > 1)
    wrong("file", "it has %lu links, a ring has one", (unsigned long)status->st_nlink);
  if (status->st_mode & S_IWOTH)
    note("owner", "everybody may write it (mode %04o), and so stop it or forge messages",
         (unsigned)(status->st_mode & 07777));
  if (!check.is_image && status->st_blocks * 512 < (int64_t)status->st_size)
    note("sparse", "its space is not reserved, as that of a copy may be");
}

/* ---------------------------------------------------------------- header */

#define HEADER(field) offsetof(struct ringbus_header, field)

static void check_signals(void) {
  struct ringbus_signals signals;
  read_at(&signals, sizeof signals, HEADER(signals));
  check.retired = check.retired || (signals.state & RINGBUS_STATE_RETIRED);
  if (signals.state & ~(RINGBUS_STATE_CLOSED | RINGBUS_STATE_RETIRED))
    wrong("state", "its state has unknown bits: %#" PRIx32, signals.state);
  if ((signals.data_waiters != 0 && signals.data_waiters % 2 == 0) ||
      (signals.room_waiters != 0 && signals.room_waiters % 2 == 0))
    wrong("state", "a number of who sleeps that is none");
  if (signals.had_producer > 1)
    wrong("state", "had_producer is %" PRIu32, signals.had_producer);
}

static void check_flushed(void) {
  struct ringbus_flushed flushed, again;
  uint64_t hash = 0;
  for (int tries = 0; tries < TRIES; tries++) {
    read_at(&flushed, sizeof flushed, HEADER(flushed));
    read_at(&again, sizeof again, HEADER(flushed));
    const unsigned char *byte = (const unsigned char *)&flushed;
    hash = UINT64_C(0xcbf29ce484222325);
    for (size_t index = 0; index < offsetof(struct ringbus_flushed, check); index++)
      hash = (hash ^ byte[index]) * UINT64_C(0x100000001b3);
    if (memcmp(&flushed, &again, sizeof flushed) == 0 && hash == flushed.check)
      return;
  }
  if (flushed.flushed_ns != 0 || flushed.check != 0)
    wrong("flush", "the record of what was flushed is damaged: after a reboot nothing is kept");
}

/* check_ends: floor and tail, before anything else of the content. Returns whether they make sense. */
static bool check_ends(void) {
  unsigned before = check.wrong;
  check.floor = read_counted(HEADER(floor));
  check.tail = read_counted(HEADER(tail));
  if (!is_boundary(check.floor.position))
    wrong("floor", "the oldest message cannot be at position %" PRIu64, check.floor.position);
  if (!is_boundary(check.tail.position))
    wrong("tail", "the tail cannot be at position %" PRIu64, check.tail.position);
  /* The floor was read first. A stored tail may be behind the true one, and so behind the floor. */
  int64_t ahead = distance(check.floor.position, check.tail.position);
  int64_t capacity = (int64_t)check.identity.capacity;
  struct counted floor = read_counted(HEADER(floor));
  if (ahead > capacity && distance(floor.position, check.tail.position) > capacity)
    wrong("tail", "the tail, %" PRIu64 ", is more than a capacity ahead of the floor, %" PRIu64,
          check.tail.position, check.floor.position);
  if (ahead < -capacity)
    wrong("tail", "the tail, %" PRIu64 ", is behind the floor, %" PRIu64, check.tail.position,
          check.floor.position);
  return check.wrong == before;
}

/* ---------------------------------------------------------------- groups and slots */

__attribute__((format(printf, 3, 4))) static void add_place(struct counted at, bool counted,
                                                            const char *format, ...) {
  struct place *place = &check.places[check.place_count++];
  *place = (struct place){.at = at, .counted = counted && at.whole};
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(place->what, sizeof place->what, format, arguments);
  va_end(arguments);
}

/* What a shared group has given out. */
static struct counted read_take(uint32_t index) {
  struct counted found = {.whole = false};
  uint64_t offset = group_offset(index) + offsetof(struct ringbus_group, take);
  for (int tries = 0; tries < TRIES && !found.whole; tries++) {
    found.position = read_word(offset);
    found.count = read_word(offset + 8) >> RINGBUS_TAKE_COUNT_SHIFT;
    found.whole = read_word(offset) == found.position;
  }
  return found;
}

static void check_group(uint32_t index) {
  struct ringbus_group group;
  read_at(&group, sizeof group, group_offset(index));
  char name[RINGBUS_NAME_BYTES];
  snprintf(name, sizeof name, "%.*s", (int)sizeof group.name - 1, group.name);
  make_printable(name);
  if (!is_name(group.name, false))
    wrong("group", "group %" PRIu32 " has a name that is none: '%s'", index, name);
  if (group.policy < RINGBUS_GROUP_GATE || group.policy > RINGBUS_GROUP_LAPPED)
    wrong("group", "group %s has the policy %" PRIu32 ", which is none", name, group.policy);
  bool shared = group.flags & RINGBUS_GROUP_SHARED;
  if (shared && (group.policy != RINGBUS_GROUP_GATE || !(group.flags & RINGBUS_GROUP_DURABLE)))
    wrong("group", "group %s is shared, but is not one that is always waited for and stays", name);
  if ((group.member & 0xffff) >= check.identity.slot_count)
    wrong("group", "the consumer of group %s is in slot %" PRIu64 ", which is none", name,
          group.member & 0xffff);
  for (uint32_t other = 0; other < index; other++) {
    char other_name[RINGBUS_NAME_BYTES];
    read_at(other_name, sizeof other_name, group_offset(other));
    if ((check.groups >> other & 1) && memcmp(other_name, group.name, sizeof other_name) == 0)
      wrong("group", "there are two groups %s", name);
  }
  struct counted at =
      shared ? read_take(index)
             : read_counted(group_offset(index) + offsetof(struct ringbus_group, cursor));
  if (!is_boundary(at.position)) {
    wrong("group", "group %s cannot stand at position %" PRIu64, name, at.position);
    return;
  }
  bool waited_for = group.policy == RINGBUS_GROUP_GATE && group.max_lag == 0 &&
                    check.identity.policy == RINGBUS_POLICY_RELIABLE &&
                    (group.gating & RINGBUS_GATING_MASK) == RINGBUS_GATING_SETTLED;
  if (waited_for && distance(at.position, check.floor.position) > (int64_t)check.identity.capacity)
    wrong("group",
          "group %s is waited for, but stands at position %" PRIu64
          ", which is not in the ring any more",
          name, at.position);
  add_place(at, true, "group %s", name);
}

static void check_groups(void) {
  check.groups = read_word(HEADER(join.groups));
  uint32_t count = check.identity.group_count;
  if (count < 64 && check.groups >> count != 0) {
    wrong("group", "groups are said to exist that have no place: %#" PRIx64, check.groups);
    check.groups &= (UINT64_C(1) << count) - 1;
  }
  for (uint32_t index = 0; index < count; index++)
    if (check.groups >> index & 1)
      check_group(index);
}

static void check_taken(uint32_t number, const struct ringbus_slot *slot) {
  uint64_t state = slot->taken[0] & RINGBUS_TAKEN_MASK;
  uint64_t from = slot->taken[0] & ~(uint64_t)RINGBUS_TAKEN_MASK;
  if (state > RINGBUS_TAKEN_COMING)
    wrong("slot", "slot %" PRIu32 " has taken messages in a way that is none", number);
  else if (state == RINGBUS_TAKEN_HELD &&
           (!is_boundary(from) || !is_boundary(slot->taken_to) ||
            slot->taken_to - from > check.identity.capacity ||
            (slot->taken[1] & RINGBUS_TAKE_SLOT_MASK) >= check.identity.group_count))
    wrong("slot", "what slot %" PRIu32 " has taken cannot be: %" PRIu64 " to %" PRIu64, number,
          from, slot->taken_to);
}

static void check_slot(uint32_t number) {
  struct ringbus_slot slot;
  read_at(&slot, sizeof slot, slot_offset(number));
  uint64_t role = slot.state & 0xffff;
  if (number == 0) {
    if (slot.state != 0)
      wrong("slot", "slot 0, which is never used, is");
    return;
  }
  if (role > RINGBUS_ROLE_CONSUMER)
    wrong("slot", "slot %" PRIu32 " has the role %" PRIu64 ", which is none", number, role);
  if (!check.many && (number == 1 ? role == RINGBUS_ROLE_CONSUMER : role == RINGBUS_ROLE_PRODUCER))
    wrong("slot", "slot %" PRIu32 " is a %s's, whose place that is not", number,
          role == RINGBUS_ROLE_CONSUMER ? "consumer" : "producer");
  if (!is_name(slot.name, true))
    wrong("slot", "slot %" PRIu32 " has a name that is none", number);
  if (role == RINGBUS_ROLE_CONSUMER && slot.group != UINT32_MAX &&
      slot.group >= check.identity.group_count)
    wrong("slot", "slot %" PRIu32 " reads for group %" PRIu32 ", which is none", number,
          slot.group);
  if (!is_boundary(slot.claim) && check.many)
    wrong("slot", "slot %" PRIu32 " cannot have claimed position %" PRIu64, number, slot.claim);
  check_taken(number, &slot);
}

/* ---------------------------------------------------------------- records */

static uint64_t word_offset(uint64_t position) {
  uint64_t granules = (position & (check.identity.capacity - 1)) >> check.identity.granule_shift;
  return check.identity.words_offset + 8 * granules; /* in band or not */
}

/* The parts of a word, as layout.h draws it. */
static unsigned state_of(uint64_t word) { return (unsigned)(word >> (10 + check.word_bits) & 3); }
static uint64_t bytes_of(uint64_t word) {
  uint64_t granules = (word >> 10 & ((UINT64_C(1) << check.word_bits) - 1)) + 1;
  return granules << check.identity.granule_shift;
}
static bool is_current(uint64_t word, uint64_t position) {
  unsigned lap_shift = 12 + check.word_bits;
  return state_of(word) != RINGBUS_WORD_FREE &&
         (word >> lap_shift) == (position >> check.capacity_shift << lap_shift >> lap_shift);
}

/* word_at: of the record at this position; many are read at once. *read: it is from the file as it is
 * now. */
static uint64_t word_at(uint64_t position, bool *read) {
  uint64_t offset = word_offset(position);
  *read = check.chunk_count == 0 || offset < check.chunk_at ||
          offset >= check.chunk_at + 8 * check.chunk_count;
  if (*read) {
    uint64_t end = check.identity.words_offset +
                   (check.many ? check.identity.words_bytes : check.identity.capacity);
    check.chunk_at = offset;
    check.chunk_count =
        end - offset > sizeof check.chunk ? CHUNK_WORDS : (size_t)((end - offset) / 8);
    read_at(check.chunk, 8 * check.chunk_count, offset);
  }
  return check.chunk[(offset - check.chunk_at) / 8];
}

/* check_record: a current word. Returns whether the walk can go on behind it. */
static bool check_record(uint64_t position, uint64_t word, uint64_t floor) {
  uint64_t bytes = bytes_of(word), in_band = check.many ? 0 : 8;
  int64_t capacity = (int64_t)check.identity.capacity;
  if (distance(floor, position) + (int64_t)bytes > capacity &&
      distance(read_counted(HEADER(floor)).position, position) + (int64_t)bytes > capacity) {
    wrong("records",
          "the message at position %" PRIu64 " has %" PRIu64 " bytes, which reach beyond the ring",
          position, bytes);
    return false;
  }
  if (state_of(word) == RINGBUS_WORD_CLAIMED) {
    uint64_t owner = word & RINGBUS_WORD_OWNER_MASK;
    if (!check.many || owner == 0 || owner >= check.identity.slot_count)
      wrong("records",
            "the message at position %" PRIu64 " was begun by slot %" PRIu64
            ", where nobody can be who does so",
            position, owner);
    else
      check.claims[owner]++;
  } else if (state_of(word) == RINGBUS_WORD_COMMITTED) {
    uint64_t unused = word >> RINGBUS_WORD_UNUSED_SHIFT & RINGBUS_WORD_UNUSED_MASK;
    bool tagged = word & RINGBUS_WORD_FLAG_TAG;
    if (unused + in_band > bytes || bytes - unused - in_band > RINGBUS_MAX_LENGTH ||
        (tagged && unused < 4))
      wrong("records", "the message at position %" PRIu64 " contradicts itself", position);
    check.messages++;
  }
  return true;
}

static void meet_places(uint64_t position, uint64_t count, bool counted) {
  for (size_t index = 0; index < check.place_count; index++) {
    struct place *place = &check.places[index];
    if (place->at.position != position)
      continue;
    place->met = true;
    if (counted && place->counted && ((place->at.count ^ count) & COUNT_BITS) != 0)
      wrong("records",
            "%s says that %" PRIu64 " messages were before position %" PRIu64
            ", there were %" PRIu64,
            place->what, place->at.count, position, count);
  }
}

/* judge_end: the word at this position is of no record. */
static void judge_end(uint64_t position, uint64_t word) {
  if (distance(position, check.tail.position) > 0)
    wrong("records", "there is no message at position %" PRIu64 ", though the tail is at %" PRIu64,
          position, check.tail.position);
  else if (!check.many && word != 0)
    wrong("records", "what is to be the next message's, at position %" PRIu64 ", is not cleared",
          position);
}

/* check_places: after a walk from floor to end. */
static void check_places(uint64_t floor, uint64_t end) {
  for (size_t index = 0; index < check.place_count; index++) {
    const struct place *place = &check.places[index];
    if (distance(end, place->at.position) > 0)
      wrong("records", "%s stands at position %" PRIu64 ", beyond the end, %" PRIu64, place->what,
            place->at.position, end);
    else if (!place->met && distance(floor, place->at.position) >= 0)
      wrong("records", "%s stands at position %" PRIu64 ", in the midst of a message", place->what,
            place->at.position);
  }
}

/* check_records: from the floor to the end. */
static void check_records(void) {
  struct counted floor = check.floor, at = floor;
  check.messages = check.chunk_count = 0;
  memset(check.claims, 0, sizeof check.claims);
  for (int laps = 0; laps < LAPS;) {
    meet_places(at.position, at.count, floor.whole);
    bool read;
    uint64_t word = word_at(at.position, &read);
    bool current = is_current(word, at.position);
    if (!current && !read) { /* it may have become one since */
      check.chunk_count = 0;
      word = word_at(at.position, &read);
      current = is_current(word, at.position);
    }
    struct counted now = read ? read_counted(HEADER(floor)) : floor;
    if (distance(at.position, now.position) > 0) { /* what was read may have been overwritten */
      floor = at = now;
      check.messages = check.chunk_count = 0;
      memset(check.claims, 0, sizeof check.claims);
      laps++;
      continue;
    }
    if (!current) {
      judge_end(at.position, word);
      check_places(floor.position, at.position);
      return;
    }
    if (!check_record(at.position, word, floor.position))
      return;
    at.count += state_of(word) == RINGBUS_WORD_COMMITTED;
    at.position += bytes_of(word);
  }
  note("records",
       "it is overwritten faster than it can be read: only its newest messages were seen");
}

/* ---------------------------------------------------------------- who is dead, who blocks */

static void note_dead(const struct ringbus_participant *participant) {
  char who[DESCRIPTION_BYTES], left[128] = "";
  struct ringbus_slot slot;
  read_at(&slot, sizeof slot, slot_offset(participant->slot));
  if (check.claims[participant->slot] > 0)
    snprintf(left, sizeof left,
             "; it had begun a message, which readers pass over: 'ringbus repair' gives it up");
  else if ((slot.taken[0] & RINGBUS_TAKEN_MASK) != RINGBUS_TAKEN_NOTHING)
    snprintf(left, sizeof left, "; what it had taken from its group, other members get again");
  note("dead", "%s: %s%s", role_name(participant->role), describe_participant(participant, who),
       left);
}

static void note_people(void) {
  struct ringbus_ring_info info;
  struct ringbus_participant participant;
  struct ringbus_blame blame;
  char who[DESCRIPTION_BYTES];
  if (ringbus_ring_info(check.ring, &info) != 0)
    return;
  for (uint32_t slot = 1; slot <= info.max_participants; slot++)
    if (ringbus_ring_participant(check.ring, slot, &participant) == 0 && !participant.alive)
      note_dead(&participant);
  if (ringbus_ring_blame(check.ring, RINGBUS_CONSUMER, &blame) == 0 && blame.participant.alive &&
      find_blocker(check.ring, &blame))
    note("blocked", "readers wait at position %" PRIu64 " for %s", blame.position,
         describe_participant(&blame.participant, who));
  if (ringbus_ring_blame(check.ring, RINGBUS_PRODUCER, &blame) == 0 &&
      blame.bytes > info.capacity - info.capacity / 8)
    note("blocked", "the ring is nearly full: group %s is %" PRIu64 " bytes behind: %s",
         make_printable(blame.group), blame.bytes,
         blame.slot == 0 ? "nobody reads for it" : describe_participant(&blame.participant, who));
  if (info.broken_cursors > 0)
    note("blocked", "%" PRIu64 " times a cursor was found outside the ring, and not waited for",
         info.broken_cursors);
}

/* ---------------------------------------------------------------- one file */

static void check_content(void) {
  const struct ringbus_identity *identity = &check.identity;
  check.many = identity->producers == RINGBUS_PRODUCERS_MANY;
  check.capacity_shift = (unsigned)__builtin_ctzll(identity->capacity);
  check.word_bits = check.capacity_shift - identity->granule_shift;
  check.place_count = 0;
  check_signals();
  check_flushed();
  for (uint32_t slot = 0; slot < identity->slot_count; slot++)
    check_slot(slot);
  bool ends = check_ends();
  if (ends)
    add_place(check.tail, !check.many, "the tail");
  check_groups();
  if (ends)
    check_records();
  if (check.retired)
    note("retired", "it was removed while it was in use: whoever had it open is told so");
}

static void check_round(void) {
  forget_findings();
  check.retired = false;
  check.unread = COMMAND_OK;
  if (fstat(check.fd, &check.status) != 0 || !check_kind())
    return;
  check_numbers();
  if (check_library()) {
    check_links_and_owner();
    check_content();
  }
}

static bool in_use(void) {
  struct ringbus_ring_info info;
  return check.ring != NULL && ringbus_ring_info(check.ring, &info) == 0 && info.participants > 0;
}

static void close_ring(void) {
  if (check.ring != NULL)
    ringbus_ring_close(check.ring);
  check.ring = NULL;
}

static const char *finding_text(const cJSON *finding) {
  return make_printable(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(finding, "text")));
}

static int print_findings(const char *error) {
  if (json) {
    cJSON *object = cJSON_CreateObject();
    add_name(object, "name", check.name);
    if (error == NULL)
      cJSON_AddBoolToObject(object, "sound", check.wrong == 0);
    else
      cJSON_AddNullToObject(object, "sound");
    add_name(object, "error", error);
    add_whole(object, "messages", check.messages);
    cJSON_AddItemToObject(object, "wrong", check.wrong_list);
    cJSON_AddItemToObject(object, "notes", check.note_list);
    check.wrong_list = check.note_list = NULL;
    return print_line(object);
  }
  char shown[PATH_MAX];
  snprintf(shown, sizeof shown, "%s", check.name);
  make_printable(shown);
  const cJSON *finding;
  cJSON_ArrayForEach(finding, check.wrong_list)
      printf("%s: wrong: %s\n", shown, finding_text(finding));
  if (check.wrong > MOST_TOLD)
    printf("%s: wrong: and %u more\n", shown, check.wrong - MOST_TOLD);
  cJSON_ArrayForEach(finding, check.note_list)
      printf("%s: note: %s\n", shown, finding_text(finding));
  if (check.wrong == 0 && error == NULL)
    printf("%s: sound, %" PRIu64 " messages\n", shown, check.messages);
  return COMMAND_OK;
}

/* open_any: whatever it is, without waiting for anybody. Returns COMMAND_OK, or an exit code after
 * reporting. */
static int open_any(void) {
  char path[PATH_MAX];
  int code = COMMAND_OK;
  check.is_image = strcmp(check.name, "-") == 0;
  if (check.is_image) {
    check.fd = read_image(STDIN_FILENO, "standard input", &code);
    return code;
  }
  int error = path_of_ring(check.name, path, sizeof path);
  if (error != 0)
    return failed_because(check.name, error, "%s",
                          error == -ENAMETOOLONG ? "the path is too long" : reason_of(error));
  check.fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (check.fd >= 0)
    return COMMAND_OK;
  error = -errno;
  /* What cannot be read can be seen to be no ring. */
  check.fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (check.fd >= 0 && fstat(check.fd, &check.status) == 0 &&
      kind_of_file(check.status.st_mode) != NULL)
    return COMMAND_OK;
  if (check.fd >= 0)
    close(check.fd);
  if (error == -ENOENT && strchr(check.name, '/') == NULL && access(check.name, R_OK) == 0)
    return failed_because(check.name, error, "there is no ring %s: for the file here write ./%s",
                          path, check.name);
  if (error == -ELOOP)
    return failed_because(check.name, error,
                          "a symbolic link, which is not followed: name the file itself");
  return failed_because(check.name, error, "cannot read it: %s", strerror(-error));
}

static int check_one(const char *name) {
  check.name = name;
  check.messages = 0;
  forget_findings();
  int code = open_any();
  if (code != COMMAND_OK) {
    int printed = json ? print_findings(error_told()) : COMMAND_OK;
    return printed == COMMAND_OK ? code : printed;
  }
  for (int round = 0; round < ROUNDS; round++) {
    close_ring();
    check_round();
    if (check.wrong == 0 || !in_use())
      break;
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
  }
  if (check.ring != NULL && check.wrong == 0)
    note_people();
  int printed = print_findings(check.unread != COMMAND_OK ? error_told() : NULL);
  close_ring();
  close(check.fd);
  if (check.wrong > 0)
    return COMMAND_DAMAGED;
  return check.unread != COMMAND_OK ? check.unread : printed;
}

static const struct verb_option options[] = {OPTION_JSON(&json), OPTIONS_END};

static int run(int count, char **operands) {
  if (count == 0)
    usage_error("expected at least one NAME");
  int worst = COMMAND_OK;
  for (int index = 0; index < count; index++) {
    int code = check_one(operands[index]);
    worst = worst == COMMAND_OK || code == COMMAND_DAMAGED ? code : worst;
  }
  cJSON_Delete(check.wrong_list);
  cJSON_Delete(check.note_list);
  return worst;
}

const struct verb check_verb = {
    .name = "check",
    .summary = "say everything that is wrong with rings, or with copies of their files",
    .help = help,
    .options = options,
    .run = run,
    .operands = {WORD_RING, WORD_RING, WORD_RING, WORD_RING},
};
