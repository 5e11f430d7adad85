/* SPDX-License-Identifier: MIT */
/* repair.c - `ringbus repair`: what the dead have left is cleared away, and, if asked, the living who
 * blocks is ended.
 *
 *   repair ──▶ who holds the slot, or a claim that stays open ──▶ SIGKILL, its lock is free ──▶ repair */
#include "command.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char repair_help[] =
    "Usage: ringbus repair NAME [--evict [SLOT]] [--timeout SECONDS]\n"
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
    "  --timeout SECONDS   wait at most this long for its end (default 10; fractions allowed)\n"
    "\n"
    "A process that cannot be ended keeps its place: 'ringbus rm --force' then retires the ring.\n"
    "\n"
    "Examples\n"
    "  ringbus repair quotes\n"
    "  ringbus repair quotes --evict\n"
    "  ringbus repair quotes --evict 2 --timeout 1\n";

static const struct option long_options[] = {
    {"evict", optional_argument, NULL, 'e'},
    {"timeout", required_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

enum { MOST_SLOTS = 1023, MOST_GROUPS = 64, LOOKS = 20, LOOK_NS = 50000000 };

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

/* repair: returns COMMAND_OK, or an exit code after reporting. *any becomes true if anything was done. */
static int repair(const char *name, ringbus_ring *ring, bool *any) {
  static struct groups before, after;
  uint64_t recovered;
  look_at_groups(ring, &before);
  int error = ringbus_ring_repair(ring, &recovered);
  if (error != 0)
    return failed_call(name, error);
  look_at_groups(ring, &after);
  if (recovered > 0)
    printf("gave up %" PRIu64 " message%s that dead producers had begun and not committed\n",
           recovered, plural(recovered));
  *any = print_changes(&before, &after) || recovered > 0 || *any;
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

/* evict: who it is has been said. */
static int evict(const char *name, ringbus_ring *ring, const struct ringbus_participant *whom,
                 int64_t timeout_ns, bool *any) {
  fflush(stdout); /* whatever happens now */
  int error = ringbus_ring_evict(ring, whom, timeout_ns);
  if (error != 0) {
    const char *detail = ringbus_error_detail();
    return failed_because(name, error, "%s: 'ringbus rm --force' retires the ring without it",
                          *detail ? detail : ringbus_strerror(error));
  }
  *any = true;
  puts("it has ended");
  return repair(name, ring, any);
}

/* evict_slot: whoever holds it. */
static int evict_slot(const char *name, ringbus_ring *ring, uint32_t slot, int64_t timeout_ns,
                      bool *any) {
  struct ringbus_participant participant;
  char who[DESCRIPTION_BYTES];
  int error = ringbus_ring_participant(ring, slot, &participant);
  if (error == -ENOENT)
    return failed_because(
        name, error, "nobody holds slot %" PRIu32 ": 'ringbus info' shows who holds which", slot);
  if (error != 0)
    return failed_call(name, error);
  printf("%s %s\n",
         participant.alive ? "ending" : "nothing to end:", describe_participant(&participant, who));
  return participant.alive ? evict(name, ring, &participant, timeout_ns, any) : COMMAND_OK;
}

static int repair_ring(const char *name, ringbus_ring *ring, bool evicts, uint32_t slot,
                       int64_t timeout_ns) {
  struct ringbus_blame blame;
  bool any = false;
  int code = repair(name, ring, &any);
  if (code != COMMAND_OK)
    return code;
  if (evicts && slot != 0)
    return evict_slot(name, ring, slot, timeout_ns, &any);
  bool blocked = find_blocker(ring, &blame);
  if (blocked && evicts) {
    print_blocker("ending", &blame);
    return evict(name, ring, &blame.participant, timeout_ns, &any);
  }
  if (blocked)
    print_blocker("readers wait for", &blame);
  else if (evicts)
    puts("nobody keeps readers waiting");
  else if (!any)
    puts("nothing to repair");
  return COMMAND_OK;
}

int repair_run(int argc, char **argv) {
  bool evicts = false;
  uint32_t slot = 0; /* 0: whoever blocks */
  int64_t timeout_ns = INT64_C(10000000000);
  int found;
  while ((found = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    switch (found) {
    case 'e':
      evicts = true;
      /* getopt knows optional values only behind '='; a number behind the option is one, too. */
      if (optarg == NULL && optind < argc && isdigit((unsigned char)argv[optind][0]))
        optarg = argv[optind++];
      slot = optarg == NULL ? 0 : (uint32_t)parse_number("--evict", optarg, 1, MOST_SLOTS);
      break;
    case 't':
      timeout_ns = parse_seconds("--timeout", optarg);
      break;
    case 'h':
      return verb_help(repair_help);
    default:
      usage_error_option(found, argv);
    }
  }
  if (argc - optind != 1)
    usage_error("expected one NAME, got %d", argc - optind);

  const char *name = argv[optind];
  ringbus_ring *ring;
  int error = ringbus_ring_open(name, NULL, &ring);
  if (error != 0)
    return failed_call(name, error);
  int code = repair_ring(name, ring, evicts, slot, timeout_ns);
  ringbus_ring_close(ring);
  return code;
}
