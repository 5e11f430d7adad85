/* SPDX-License-Identifier: MIT */
/* repair.c - `ringbus repair`: what the dead have left is cleared away, and, if asked, the living who
 * blocks is ended.
 *
 *   repair ──▶ who holds the slot, or a claim that stays open ──▶ SIGKILL, its lock is free ──▶ repair
 *                                                                cannot be ended ──▶ retire, make anew */
#include "command.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char repair_help[] =
    "Usage: ringbus repair NAME [--evict [SLOT] [--or-retire]] [--timeout SECONDS]\n"
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
    "\n"
    "Without --or-retire a process that cannot be ended keeps its place.\n"
    "\n"
    "Examples\n"
    "  ringbus repair quotes\n"
    "  ringbus repair quotes --evict --or-retire\n"
    "  ringbus repair quotes --evict 2 --timeout 1\n";

static const struct option long_options[] = {
    {"evict", optional_argument, NULL, 'e'},
    {"or-retire", no_argument, NULL, 'r'},
    {"timeout", required_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

enum { MOST_SLOTS = 1023, MOST_GROUPS = 64, LOOKS = 20, LOOK_NS = 50000000 };

struct repair {
  const char *name;
  ringbus_ring *ring;
  bool evicts, or_retires;
  uint32_t slot; /* whom to evict; 0: whoever blocks */
  int64_t timeout_ns;
  bool done_something;
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

/* print_changes: what has become of them. Returns whether anything has. */
static bool print_changes(struct groups *before, const struct groups *after) {
  bool any = false;
  for (uint32_t index = 0; index < MOST_GROUPS; index++) {
    struct ringbus_group_info *was = &before->info[index];
    const struct ringbus_group_info *is = &after->info[index];
    bool gone = strcmp(was->name, is->name) != 0;
    if (was->name[0] == '\0' || (!gone && was->gating == is->gating))
      continue;
    any = true;
    printf("%s group %s, whose reader is dead\n", gone ? "forgot" : "no longer waits for",
           make_printable(was->name));
  }
  return any;
}

/* clear_away: returns COMMAND_OK, or an exit code after reporting. */
static int clear_away(struct repair *repair) {
  static struct groups before, after;
  uint64_t recovered;
  look_at_groups(repair->ring, &before);
  int error = ringbus_ring_repair(repair->ring, &recovered);
  if (error != 0)
    return failed_call(repair->name, error);
  look_at_groups(repair->ring, &after);
  if (recovered > 0)
    printf("gave up %" PRIu64 " message%s that dead producers had begun and not committed\n",
           recovered, plural(recovered));
  if (print_changes(&before, &after) || recovered > 0)
    repair->done_something = true;
  return COMMAND_OK;
}

/* find_blocker: whose claim stays open while we look, for a second. One that ends sooner blocks nobody. */
static bool find_blocker(const ringbus_ring *ring, struct ringbus_blame *blame) {
  if (ringbus_ring_blame(ring, RINGBUS_CONSUMER, blame) != 0)
    return false;
  uint64_t position = blame->position;
  for (int looks = 0; looks < LOOKS; looks++) {
    nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    if (ringbus_ring_blame(ring, RINGBUS_CONSUMER, blame) != 0 || blame->position != position)
      return false;
  }
  return blame->slot != 0;
}

static void print_blocker(const char *what, const struct ringbus_blame *blame) {
  char who[DESCRIPTION_BYTES], when[24];
  printf("%s %s", what, describe_participant(&blame->participant, who));
  if (blame->since_ns != 0)
    printf("; readers wait since %s", local_time(blame->since_ns, when));
  putchar('\n');
}

/* make_anew: an empty ring like the one that was just retired, open in ring. */
static int make_anew(const char *name, const ringbus_ring *ring) {
  struct ringbus_ring_info info;
  struct stat status;
  ringbus_ring *made;
  int fd, error = ringbus_ring_info(ring, &info);
  if (error == 0)
    error = ringbus_ring_fd(ring, &fd);
  if (error == 0 && fstat(fd, &status) != 0)
    error = -errno;
  if (error != 0)
    return failed_call(name, error);
  const struct ringbus_create_options options = {.capacity = info.capacity,
                                                 .max_participants = info.max_participants,
                                                 .max_groups = info.max_groups,
                                                 .no_group = info.no_group,
                                                 .wake = info.wake,
                                                 .many_producers = info.many_producers,
                                                 .overwrite = info.overwrite,
                                                 .mode = status.st_mode & 0777,
                                                 .set_group = status.st_gid != getegid(),
                                                 .group = status.st_gid};
  error = ringbus_ring_create(name, &options, &made);
  if (error != 0) {
    notice("%s: the ring is retired, but none could be made in its place", name);
    return failed_call(name, error);
  }
  if (status.st_uid != geteuid())
    notice("%s: the new ring belongs to user %u, the old one did to %u", name, (unsigned)geteuid(),
           (unsigned)status.st_uid);
  ringbus_ring_close(made);
  printf("retired the ring, and made an empty one like it\n");
  return COMMAND_OK;
}

/* retire: the process could not be ended, for the reason that has been said. */
static int retire(const struct repair *repair) {
  struct ringbus_ring_info info;
  int error = ringbus_ring_info(repair->ring, &info);
  if (error == 0 && info.retired)
    error = -ESTALE; /* by somebody else meanwhile: what has its name now is not to be removed */
  if (error == 0)
    error = ringbus_ring_remove(repair->name, true);
  return error == 0 ? make_anew(repair->name, repair->ring) : failed_call(repair->name, error);
}

/* evict: who it is has been said. */
static int evict(struct repair *repair, const struct ringbus_participant *whom) {
  fflush(stdout); /* whatever happens now */
  int error = ringbus_ring_evict(repair->ring, whom, repair->timeout_ns);
  if (error == 0) {
    repair->done_something = true;
    puts("it has ended");
    return clear_away(repair);
  }
  const char *detail = ringbus_error_detail();
  const char *reason = *detail ? detail : ringbus_strerror(error);
  /* Not for what would be wrong with the next ring, too. */
  if (!repair->or_retires || error == -EINVAL || error == -ESTALE)
    return failed_because(repair->name, error, "%s: --or-retire retires the ring without it",
                          reason);
  notice("%s: %s", repair->name, reason);
  return retire(repair);
}

/* evict_slot: whoever holds it. */
static int evict_slot(struct repair *repair) {
  struct ringbus_participant participant;
  char who[DESCRIPTION_BYTES];
  int error = ringbus_ring_participant(repair->ring, repair->slot, &participant);
  if (error == -ENOENT)
    return failed_because(repair->name, error,
                          "nobody holds slot %" PRIu32 ": 'ringbus info' shows who holds which",
                          repair->slot);
  if (error != 0)
    return failed_call(repair->name, error);
  printf("%s %s\n",
         participant.alive ? "ending" : "nothing to end:", describe_participant(&participant, who));
  return participant.alive ? evict(repair, &participant) : COMMAND_OK;
}

static int repair_ring(struct repair *repair) {
  struct ringbus_blame blame;
  int code = clear_away(repair);
  if (code != COMMAND_OK)
    return code;
  if (repair->evicts && repair->slot != 0)
    return evict_slot(repair);
  bool blocked = find_blocker(repair->ring, &blame);
  if (blocked && repair->evicts) {
    print_blocker("ending", &blame);
    return evict(repair, &blame.participant);
  }
  if (blocked)
    print_blocker("readers wait for", &blame);
  else if (repair->evicts)
    puts("nobody keeps readers waiting");
  else if (!repair->done_something)
    puts("nothing to repair");
  return COMMAND_OK;
}

int repair_run(int argc, char **argv) {
  struct repair repair = {.timeout_ns = INT64_C(10000000000)};
  int found;
  while ((found = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    switch (found) {
    case 'e':
      repair.evicts = true;
      /* getopt knows optional values only behind '='; a number behind the option is one, too. */
      if (optarg == NULL && optind < argc && isdigit((unsigned char)argv[optind][0]))
        optarg = argv[optind++];
      repair.slot = optarg == NULL ? 0 : (uint32_t)parse_number("--evict", optarg, 1, MOST_SLOTS);
      break;
    case 'r':
      repair.or_retires = true;
      break;
    case 't':
      repair.timeout_ns = parse_seconds("--timeout", optarg);
      break;
    case 'h':
      return verb_help(repair_help);
    default:
      usage_error_option(found, argv);
    }
  }
  if (argc - optind != 1)
    usage_error("expected one NAME, got %d", argc - optind);

  if (repair.or_retires && !repair.evicts)
    usage_error("--or-retire is for --evict");

  repair.name = argv[optind];
  int error = ringbus_ring_open(repair.name, NULL, &repair.ring);
  if (error != 0)
    return failed_call(repair.name, error);
  int code = repair_ring(&repair);
  ringbus_ring_close(repair.ring);
  return code;
}
