/* SPDX-License-Identifier: MIT */
/* repair.c - `ringbus repair`: what the dead have left is cleared away, and, if asked, the living who
 * blocks is ended.
 *
 *   repair ──▶ who holds the slot, or a claim that stays open ──▶ SIGKILL, its lock is free ──▶ repair
 *                                                                cannot be ended ──▶ retire, make anew */
#include "command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "Usage: ringbus repair NAME [OPTIONS]\n"
    "Do now what readers and producers do by themselves when they have to wait: give up what dead\n"
    "producers had begun and not committed, and stop waiting for dead readers whose group does "
    "not\n"
    "outlive them. Says what it did, and who is alive and keeps readers waiting. Safe at any "
    "time.\n"
    "\n"
    "  --evict SLOT        end the process that holds this slot ('ringbus info' shows them) with\n"
    "                      SIGKILL, and give up what it had begun; says first who it is\n"
    "  --evict             the same to whoever keeps readers waiting, if anybody does for a "
    "second\n"
    "  --or-retire         if that process cannot be ended: retire the ring with all that is in "
    "it,\n"
    "                      as 'ringbus rm --force' does, and make an empty one like it in its "
    "place.\n"
    "                      Whoever is attached is told (stale), and what that process may still\n"
    "                      write is nobody's\n"
    "  --timeout SECONDS   wait at most this long for its end (default 10; fractions allowed)\n"
    "  --json              print one JSON object: name, recovered (messages given up), forgotten "
    "and\n"
    "                      no_longer_gating (names of groups), evicted and blocked_by (null, or a\n"
    "                      participant as in 'ringbus info --json'), retired (true or false)\n"
    "\n"
    "Without --or-retire a process that cannot be ended keeps its place.\n"
    "\n"
    "Examples\n"
    "  ringbus repair quotes\n"
    "  ringbus repair quotes --evict --or-retire\n"
    "  ringbus repair quotes --evict 2 --timeout 1\n";

enum { MOST_SLOTS = 1023, MOST_GROUPS = 64 };

static bool evicts, or_retires, json;
static uint32_t evicted_slot; /* 0: whoever blocks */
static int64_t timeout_ns = INT64_C(10000000000);

/* What has been done, for --json; without it, it is said at once. */
static struct {
  bool any, retired;
  uint64_t recovered;
  cJSON *forgotten, *no_longer_gating, *evicted, *blocked_by;
} done;

static void set_evict(const struct verb_option *option, const char *text) {
  (void)option;
  evicts = true;
  evicted_slot = text == NULL ? 0 : (uint32_t)parse_number("--evict", text, 1, MOST_SLOTS);
}

static const struct verb_option options[] = {
    {.name = "evict", .takes = MAY_TAKE_VALUE, .set = set_evict, .value = WORD_NUMBER},
    {.name = "or-retire", .set = set_flag, .to = &or_retires},
    OPTION_TIMEOUT(&timeout_ns),
    OPTION_JSON(&json),
    OPTIONS_END,
};

static const char *plural(uint64_t number) { return number == 1 ? "" : "s"; }

/* The groups as they stand; of one that does not exist the name is empty. */
struct groups {
  struct ringbus_group_info info[MOST_GROUPS];
};

static void look_at_groups(const ringbus_ring *ring, struct groups *groups) {
  for (uint32_t index = 0; index < MOST_GROUPS; index++)
    if (ringbus_ring_group(ring, index, &groups->info[index]) != 0)
      groups->info[index] = (struct ringbus_group_info){.name = ""};
}

/* tell_changes: what has become of them. */
static void tell_changes(struct groups *before, const struct groups *after) {
  for (uint32_t index = 0; index < MOST_GROUPS; index++) {
    struct ringbus_group_info *was = &before->info[index];
    const struct ringbus_group_info *is = &after->info[index];
    bool gone = strcmp(was->name, is->name) != 0;
    if (was->name[0] == '\0' || (!gone && was->gating == is->gating))
      continue;
    done.any = true;
    const char *name = make_printable(was->name);
    if (json)
      cJSON_AddItemToArray(gone ? done.forgotten : done.no_longer_gating, cJSON_CreateString(name));
    else
      printf("%s group %s, whose reader is dead\n", gone ? "forgot" : "no longer waits for", name);
  }
}

/* repair: returns COMMAND_OK, or an exit code after reporting. */
static int repair(const char *name, ringbus_ring *ring) {
  static struct groups before, after;
  uint64_t recovered;
  look_at_groups(ring, &before);
  int error = ringbus_ring_repair(ring, &recovered);
  if (error != 0)
    return failed_call(name, error);
  look_at_groups(ring, &after);
  if (recovered > 0 && !json)
    printf("gave up %" PRIu64 " message%s that dead producers had begun and not committed\n",
           recovered, plural(recovered));
  tell_changes(&before, &after);
  done.any = done.any || recovered > 0;
  done.recovered += recovered;
  return COMMAND_OK;
}

static void print_blocker(const char *what, const struct ringbus_blame *blame) {
  char who[DESCRIPTION_BYTES], when[24];
  printf("%s %s", what, describe_participant(&blame->participant, who));
  if (blame->since_ns != 0)
    printf("; readers wait since %s", local_time(blame->since_ns, when));
  putchar('\n');
}

/* make_like: an empty ring like this one, at this path. Returns 0 or a negative errno. */
static int make_like(const ringbus_ring *ring, const char *path) {
  struct ringbus_ring_info info;
  struct stat old, new;
  ringbus_ring *made;
  int fd, error = ringbus_ring_info(ring, &info);
  if (error == 0)
    error = ringbus_ring_fd(ring, &fd);
  if (error == 0 && fstat(fd, &old) != 0)
    error = -errno;
  if (error != 0)
    return error;
  const struct ringbus_create_options like = {.capacity = info.capacity,
                                              .max_participants = info.max_participants,
                                              .max_groups = info.max_groups,
                                              .no_group = info.no_group,
                                              .wake = info.wake,
                                              .many_producers = info.many_producers,
                                              .overwrite = info.overwrite,
                                              .mode = old.st_mode & 0777};
  error = ringbus_ring_create(path, &like, &made);
  if (error != 0)
    return error;
  error = ringbus_ring_fd(made, &fd);
  if (error == 0 &&
      (fstat(fd, &new) != 0 || (new.st_gid != old.st_gid &&fchown(fd, (uid_t)-1, old.st_gid) != 0)))
    error = -errno;
  ringbus_ring_close(made);
  if (error != 0)
    unlink(path);
  return error;
}

static bool is_file_of(const ringbus_ring *ring, const char *path) {
  struct stat of_ring, of_path;
  int fd;
  return ringbus_ring_fd(ring, &fd) == 0 && fstat(fd, &of_ring) == 0 &&
         lstat(path, &of_path) == 0 && of_ring.st_dev == of_path.st_dev &&
         of_ring.st_ino == of_path.st_ino;
}

static bool swap_names(const char *one, const char *other) {
  return renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0;
}

/* retire: the process could not be ended, for the reason that has been said. The new ring is made before
 * the old one is touched, and takes its name in one instant; who is told that the old one is retired finds
 * the new one. If this process is killed meanwhile, one of both may be left as .ringbus-retire-PID. */
static int retire(const char *name, ringbus_ring *ring) {
  char path[PATH_MAX], beside[PATH_MAX + 32];
  int error = path_of_ring(name, path, sizeof path);
  if (error != 0)
    return failed_call(name, error);
  const char *slash = strrchr(path, '/');
  snprintf(beside, sizeof beside, "%.*s.ringbus-retire-%d",
           slash != NULL ? (int)(slash + 1 - path) : 0, path, (int)getpid());
  error = make_like(ring, beside);
  if (error != 0)
    return failed_because(name, error, "nothing is retired, as no ring like it can be made: %s",
                          reason_of(error));
  if (!swap_names(beside, path)) {
    error = -errno;
    unlink(beside);
    return failed_because(name, error,
                          "nothing is retired, as its name cannot be given to another "
                          "ring: %s",
                          strerror(-error));
  }
  bool is_ours = is_file_of(ring, beside);
  error = is_ours ? ringbus_ring_remove(beside, true) : -ESTALE;
  if (error != 0) {
    int code = is_ours ? failed_call(name, error)
                       : failed_because(name, error,
                                        "nothing is retired, as its name has become "
                                        "another ring's meanwhile");
    /* All is as it was, but for who has come to the new one in that instant, and is told. */
    swap_names(beside, path);
    ringbus_ring_remove(beside, true);
    return code;
  }
  done.retired = true;
  if (!json)
    puts("retired the ring, and made an empty one like it");
  return COMMAND_OK;
}

/* evict: who it is has been said. */
static int evict(const char *name, ringbus_ring *ring, const struct ringbus_participant *whom) {
  fflush(stdout); /* whatever happens now */
  int error = ringbus_ring_evict(ring, whom, timeout_ns);
  if (error != 0) {
    const char *reason = reason_of(error);
    bool lives_on = error == -ETIMEDOUT || error == -ESRCH || error == -EPERM;
    if (json)
      done.blocked_by = participant_object(whom);
    if (!or_retires || !lives_on)
      return failed_because(name, error, "%s%s", reason,
                            lives_on ? ": --or-retire retires the ring without it" : "");
    notice("%s: %s", name, reason);
    return retire(name, ring);
  }
  done.any = true;
  done.evicted = json ? participant_object(whom) : NULL;
  if (!json)
    puts("it has ended");
  return repair(name, ring);
}

/* evict_slot: whoever holds it. */
static int evict_slot(const char *name, ringbus_ring *ring) {
  struct ringbus_participant participant;
  char who[DESCRIPTION_BYTES];
  int error = ringbus_ring_participant(ring, evicted_slot, &participant);
  if (error == -ENOENT)
    return failed_because(name, error,
                          "nobody holds slot %" PRIu32 ": 'ringbus info' shows who holds which",
                          evicted_slot);
  if (error != 0)
    return failed_call(name, error);
  if (!json)
    printf("%s %s\n", participant.alive ? "ending" : "nothing to end:",
           describe_participant(&participant, who));
  return participant.alive ? evict(name, ring, &participant) : COMMAND_OK;
}

static int repair_ring(const char *name, ringbus_ring *ring) {
  struct ringbus_blame blame;
  int code = repair(name, ring);
  if (code != COMMAND_OK)
    return code;
  if (evicted_slot != 0)
    return evict_slot(name, ring);
  bool blocked = find_blocker(ring, &blame);
  if (blocked && evicts) {
    if (!json)
      print_blocker("ending", &blame);
    return evict(name, ring, &blame.participant);
  }
  if (json)
    done.blocked_by = blocked ? participant_object(&blame.participant) : NULL;
  else if (blocked)
    print_blocker("readers wait for", &blame);
  else if (evicts)
    puts("nobody keeps readers waiting");
  else if (!done.any)
    puts("nothing to repair");
  return COMMAND_OK;
}

static void add_or_null(cJSON *object, const char *key, cJSON *item) {
  cJSON_AddItemToObject(object, key, item != NULL ? item : cJSON_CreateNull());
}

/* print_done: also what was done before something failed. */
static int print_done(const char *name) {
  cJSON *object = cJSON_CreateObject();
  add_name(object, "name", name);
  add_whole(object, "recovered", done.recovered);
  add_or_null(object, "forgotten", done.forgotten);
  add_or_null(object, "no_longer_gating", done.no_longer_gating);
  add_or_null(object, "evicted", done.evicted);
  add_or_null(object, "blocked_by", done.blocked_by);
  cJSON_AddBoolToObject(object, "retired", done.retired);
  return print_line(object);
}

static int run(int count, char **operands) {
  const char *name = not_a_copy(one_name(count, operands));
  if (or_retires && !evicts)
    usage_error("--or-retire is for --evict");
  const struct ring_request request = {.name = name};
  ringbus_ring *ring;
  int code = open_ring(&request, &ring);
  if (code != COMMAND_OK)
    return code;
  if (json) {
    done.forgotten = cJSON_CreateArray();
    done.no_longer_gating = cJSON_CreateArray();
  }
  code = repair_ring(name, ring);
  ringbus_ring_close(ring);
  int printed = json ? print_done(name) : COMMAND_OK;
  return code == COMMAND_OK ? printed : code;
}

const struct verb repair_verb = {
    .name = "repair",
    .summary = "clear away what the dead have left, or end whoever blocks",
    .help = help,
    .options = options,
    .run = run,
    .operands = {WORD_RING},
};
