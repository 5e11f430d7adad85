/* SPDX-License-Identifier: MIT */
/* damaged.c - `ringbus check` and files with every kind of damage: rings of tests/golden with a word, a
 * byte, an end or anything else changed. It never crashes or hangs, it says that something is wrong with
 * whatever the library refuses to open, and it names what each known damage is.
 *
 * Many files are given to one call, which is what keeps this short. */
#include "../support.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ringbus/layout.h>

enum { FILES = 200, LINE = 16384 };

static char directory[] = "/dev/shm/ringbus-test.XXXXXX";
static unsigned char original[1 << 18];
static size_t original_size;

static void path_of(int number, char path[64]) { snprintf(path, 64, "%s/%d", directory, number); }

static FILE *answers; /* of a check that runs */

static void clean_up(void) {
  char path[64];
  if (answers != NULL)
    pclose(answers);
  for (int number = 0; number < FILES; number++) {
    path_of(number, path);
    unlink(path);
  }
  rmdir(directory);
}

static void fail(const char *golden, const char *damage, const char *answer) {
  fprintf(stderr, "%s, %s: %s\n", golden, damage, answer);
  exit(1); /* clean_up follows */
}

/* ---------------------------------------------------------------- files */

/* As tests/golden/golden.c reads them. */
static void read_golden(const char *name) {
  char path[512], line[256];
  snprintf(path, sizeof path, RINGBUS_SOURCE_DIR "/tests/golden/%s.ring", name);
  FILE *text = fopen(path, "r");
  memset(original, 0, sizeof original);
  original_size = 0;
  while (text != NULL && fgets(line, sizeof line, text) != NULL) {
    char *digit;
    unsigned value;
    if (*line == '#' || sscanf(line, "size %zu", &original_size) == 1)
      continue;
    size_t at = strtoull(line, &digit, 16);
    for (digit++; *digit != '\n'; digit += 2) {
      digit += *digit == ' ';
      if (at >= sizeof original || sscanf(digit, "%2x", &value) != 1)
        fail(name, "the file itself", line);
      original[at++] = (unsigned char)value;
    }
  }
  if (text == NULL || original_size == 0 || original_size > sizeof original)
    fail(name, "the file itself", "cannot be read");
  fclose(text);
}

/* What is done to a file. */
struct damage {
  size_t at, bytes; /* what is overwritten, 8 at most ... */
  uint64_t value;   /* ... by this */
  bool sealed;      /* and the identity's checksum is made right again */
  long cut;         /* or the file is cut (or grows) to this size; -1 it is not */
  unsigned random;  /* or random bytes stand in so many places */
  const char *what; /* it has to be told, with these words; NULL: anything */
};

static void describe(const struct damage *damage, char text[128]) {
  snprintf(text, 128, "%zu bytes at %#zx are %#llx, sealed %d, cut %ld, random %u", damage->bytes,
           damage->at, (unsigned long long)damage->value, damage->sealed, damage->cut,
           damage->random);
}

static void put(int fd, const void *bytes, size_t count, size_t at) {
  if (pwrite(fd, bytes, count, (off_t)at) != (ssize_t)count)
    fail("a file", "writing it", "fails");
}

static void seal(int fd) {
  struct ringbus_identity identity;
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  if (pread(fd, &identity, sizeof identity, 0) != sizeof identity)
    fail("a file", "reading it", "fails");
  const unsigned char *byte = (const unsigned char *)&identity;
  for (size_t at = 8; at < offsetof(struct ringbus_identity, checksum); at++)
    hash = (hash ^ byte[at]) * UINT64_C(0x100000001b3);
  put(fd, &hash, sizeof hash, offsetof(struct ringbus_identity, checksum));
}

static void make_damaged(int number, const struct damage *damage) {
  char path[64];
  path_of(number, path);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  size_t written = original_size;
  while (written > 0 && original[written - 1] == 0)
    written--;
  put(fd, original, written, 0);
  if (ftruncate(fd, damage->cut < 0 ? (off_t)original_size : (off_t)damage->cut) != 0)
    fail("a file", "cutting it", "fails");
  if (damage->bytes > 0)
    put(fd, &damage->value, damage->bytes, damage->at);
  for (unsigned time = 0; time < damage->random; time++) {
    uint64_t value = (uint64_t)random() << 33 ^ (uint64_t)random() << 3 ^ (uint64_t)random();
    put(fd, &value, sizeof value, 512 + (size_t)random() % 8192);
  }
  if (damage->sealed)
    seal(fd);
  close(fd);
}

/* ---------------------------------------------------------------- what check says of them */

static void start_check(int count) {
  size_t size = 4096 + (size_t)count * 64;
  char *command = malloc(size), path[64];
  size_t used = (size_t)snprintf(command, size, "exec %s check --json", RINGBUS_COMMAND);
  for (int number = 0; number < count; number++) {
    path_of(number, path);
    used += (size_t)snprintf(command + used, size - used, " %s", path);
  }
  answers = popen(command, "r");
  free(command);
  if (answers == NULL)
    fail("check", "starting it", "fails");
}

/* The library's word: nothing it refuses as damaged may be called sound. */
static bool library_refuses(int number) {
  char path[64];
  ringbus_ring *ring;
  const struct ringbus_open_options look = {.read_only = true};
  path_of(number, path);
  int error = ringbus_ring_open(path, &look, &ring);
  if (error == 0)
    ringbus_ring_close(ring);
  return error == -EBADMSG || error == -EPROTONOSUPPORT;
}

static unsigned long seen;

static void expect_all(const char *golden, const struct damage *damages, int count) {
  static char answer[LINE];
  char text[128];
  for (int number = 0; number < count; number++)
    make_damaged(number, &damages[number]);
  start_check(count);
  for (int number = 0; number < count; number++) {
    const struct damage *damage = &damages[number];
    describe(damage, text);
    if (fgets(answer, sizeof answer, answers) == NULL)
      fail(golden, text, "no answer");
    bool untouched = damage->bytes == 0 && damage->cut < 0 && damage->random == 0;
    bool sound = strstr(answer, "\"sound\":true") != NULL;
    bool told = damage->what == NULL || strstr(answer, damage->what) != NULL;
    if (!sound && strstr(answer, "\"sound\":false") == NULL)
      fail(golden, text, answer);
    if ((untouched && !sound) || (sound && library_refuses(number)) || !told ||
        (damage->what != NULL && sound))
      fail(golden, text, answer);
    seen++;
  }
  int status = pclose(answers);
  answers = NULL;
  if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 5))
    fail(golden, text, "check was ended");
}

static struct damage batch[FILES];
static int in_batch;

static void flush(const char *golden) {
  expect_all(golden, batch, in_batch);
  in_batch = 0;
}

static void try_damage(const char *golden, struct damage damage) {
  batch[in_batch++] = damage;
  if (in_batch == FILES)
    flush(golden);
}

static void overwrite(const char *golden, size_t at, size_t bytes, uint64_t value, bool sealed) {
  uint64_t before = 0;
  memcpy(&before, original + at, bytes);
  if (before != (bytes == 8 ? value : value & ((UINT64_C(1) << 8 * bytes) - 1)))
    try_damage(golden, (struct damage){at, bytes, value, sealed, -1, 0, NULL});
}

/* ---------------------------------------------------------------- all kinds of it */

static uint64_t word_at(size_t at) {
  uint64_t word;
  memcpy(&word, original + at, sizeof word);
  return word;
}

/* Two values for each word that is used, in turn, one for each eighth that is not. */
static void damage_words(const char *golden, size_t from, size_t to) {
  static unsigned turn;
  for (size_t at = from; at < to && at + 8 <= original_size; at += 8) {
    const uint64_t word = word_at(at);
    const uint64_t values[] = {~UINT64_C(0), word + 8, word ^ 1, UINT64_C(1) << 63 ^ word, 0};
    turn++;
    if (word != 0)
      overwrite(golden, at, 8, values[turn % 5], false);
    if (word != 0 || turn % 8 == 0)
      overwrite(golden, at, 8, values[(turn + 2) % 5], false);
  }
}

static void damage_identity(const char *golden) {
  for (size_t at = 0; at < offsetof(struct ringbus_identity, reserved); at++)
    overwrite(golden, at, 1, original[at] ^ 0xffu, false);
  for (size_t at = 8; at < offsetof(struct ringbus_identity, ring_id); at += 4) {
    uint32_t word = (uint32_t)word_at(at);
    const uint32_t values[] = {0, UINT32_MAX, word + 1, word << 1, word >> 1};
    for (size_t index = 0; index < 5; index++)
      overwrite(golden, at, 4, values[index], true);
  }
}

static void damage_content(const char *golden) {
  const struct ringbus_identity *identity = (const void *)original;
  damage_words(golden, 504, 1408);
  damage_words(golden, identity->slots_offset,
               identity->groups_offset + identity->group_count * sizeof(struct ringbus_group));
  damage_words(golden, identity->words_offset, identity->words_offset + 1024);
  for (unsigned many = 1; many <= 64; many *= 4)
    for (int time = 0; time < 4; time++)
      try_damage(golden, (struct damage){.cut = -1, .random = many});
}

static void cut(const char *golden) {
  for (long size = 0; size <= (long)original_size + 4096;
       size = size < 24 ? size + 1 : size * 5 / 4)
    try_damage(golden, (struct damage){.cut = size});
}

/* Where things are in the golden files, as they say themselves. */
#define SLOT(number, field)                                                                        \
  (4096 + (number) * sizeof(struct ringbus_slot) + offsetof(struct ringbus_slot, field))
#define HEADER(field) offsetof(struct ringbus_header, field)
#define IDENTITY(field) offsetof(struct ringbus_identity, field)

static size_t group_at(size_t field) {
  return ((const struct ringbus_identity *)(const void *)original)->groups_offset + field;
}
#define GROUP(field) group_at(offsetof(struct ringbus_group, field))

static void expect_words(const char *golden, size_t at, size_t bytes, uint64_t value, bool sealed,
                         const char *words) {
  try_damage(golden, (struct damage){at, bytes, value, sealed, -1, 0, words});
}

static void known_damage(void) {
  const char *golden = "single";
  read_golden(golden);
  const struct ringbus_identity *identity = (const void *)original;
  expect_words(golden, 0, 1, 'r', false, "does not begin like one");
  expect_words(golden, 0, 8, RINGBUS_MAGIC_SWAPPED, false, "other byte order");
  expect_words(golden, IDENTITY(layout_version), 4, 9, true, "layout version 9");
  expect_words(golden, IDENTITY(features_required), 8, 4, true, "features 0x4");
  expect_words(golden, IDENTITY(capacity), 8, 5000, false, "checksum");
  expect_words(golden, IDENTITY(capacity), 8, 5000, true, "geometry");
  expect_words(golden, IDENTITY(wake), 4, 7, true, "kind of wake is 7");
  expect_words(golden, HEADER(signals.state), 4, 8, false, "unknown bits: 0x8");
  expect_words(golden, HEADER(signals.data_waiters), 4, 2, false, "who sleeps");
  expect_words(golden, HEADER(tail), 8, 4, false, "tail cannot be at position 4");
  expect_words(golden, HEADER(tail), 8, 1 << 20, false, "more than a capacity ahead");
  expect_words(golden, HEADER(tail), 8, word_at(HEADER(tail)) + 64, false, "\"records\"");
  expect_words(golden, HEADER(floor), 8, 2, false, "oldest message cannot be at position 2");
  expect_words(golden, HEADER(flushed.flushed_ns), 8, 5, false, "\"flush\"");
  expect_words(golden, SLOT(0, state), 8, 1, false, "slot 0");
  expect_words(golden, SLOT(2, state), 8, 7, false, "slot 2 has the role 7");
  expect_words(golden, SLOT(2, state), 8, RINGBUS_ROLE_PRODUCER, false, "place that is not");
  expect_words(golden, SLOT(2, name), 8, 0x0707070707070707, false, "slot 2 has a name");
  expect_words(golden, SLOT(2, taken), 8, 6, false, "in a way that is none");
  expect_words(golden, HEADER(join.groups), 8, UINT64_MAX, false, "have no place");
  expect_words(golden, GROUP(name), 8, 0, false, "name that is none");
  expect_words(golden, GROUP(policy), 4, 9, false, "policy 9");
  expect_words(golden, GROUP(cursor), 8, 4, false, "cannot stand at position 4");
  expect_words(golden, GROUP(cursor), 8, 1 << 20, false, "beyond the end");
  expect_words(golden, GROUP(member), 8, 999, false, "slot 999");
  expect_words(golden, identity->data_offset + (word_at(HEADER(floor)) & 4088), 8, UINT64_MAX,
               false, "\"records\"");
  try_damage(golden, (struct damage){.cut = 0, .what = "it is empty"});
  try_damage(golden, (struct damage){.cut = 100, .what = "cut short"});
  try_damage(golden, (struct damage){.cut = 5000, .what = "should have"});
  flush(golden);
  golden = "claim";
  read_golden(golden);
  identity = (const void *)original;
  size_t claimed = identity->words_offset + 8 * (0xc0 / 64); /* by slot 2, at position 192 */
  expect_words(golden, claimed, 8, word_at(claimed) | RINGBUS_WORD_OWNER_MASK, false,
               "begun by slot 1023");
  expect_words(golden, SLOT(2, claim), 8, 7, false, "cannot have claimed position 7");
  flush(golden);
}

static void every_golden(void) {
  DIR *stream = opendir(RINGBUS_SOURCE_DIR "/tests/golden");
  for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
    char name[64];
    char *end = strstr(entry->d_name, ".ring");
    if (end == NULL)
      continue;
    snprintf(name, sizeof name, "%.*s", (int)(end - entry->d_name), entry->d_name);
    read_golden(name);
    try_damage(name, (struct damage){.cut = -1});
    damage_content(name);
    if (strcmp(name, "single") == 0 || strcmp(name, "many") == 0)
      damage_identity(name);
    if (strcmp(name, "single") == 0)
      cut(name);
    flush(name);
  }
  if (stream != NULL)
    closedir(stream);
}

int main(void) {
  if (sysconf(_SC_PAGESIZE) > 4096 || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__) {
    puts("skipped: the golden files are little-endian, and have rings of 4096 bytes");
    return 0;
  }
  if (mkdtemp(directory) == NULL)
    return 1;
  atexit(clean_up);
  known_damage();
  every_golden();
  printf("%lu damaged files\n", seen);
  return seen > 1000 ? 0 : 1;
}
