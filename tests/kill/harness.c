/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <capstone/capstone.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct harness harness;

/* "first": where the first message of a scenario stands, "fourth": where the one behind three
 * messages of 128 bytes in all stands, which many scenarios publish beforehand. */
const struct layout layouts[] = {
    {"mid-ring", UINT64_C(5) * CAPACITY + 1032, RINGBUS_WAKE_BY_MEMBARRIER},
    {"index 0", 0, RINGBUS_WAKE_BY_FENCE},
    {"first is last before the wrap", UINT64_C(7) * CAPACITY - 8, RINGBUS_WAKE_NEVER},
    {"fourth wraps at 2^64", UINT64_C(0) - 128 - 8, RINGBUS_WAKE_BY_MEMBARRIER},
    {"first ends with the ring", UINT64_C(7) * CAPACITY - 48, RINGBUS_WAKE_BY_FENCE},
    {"fourth at index 0", UINT64_C(9) * CAPACITY - 128, RINGBUS_WAKE_NEVER},
    {"fourth is last before the wrap", UINT64_C(9) * CAPACITY - 128 - 8, RINGBUS_WAKE_BY_FENCE},
    {"first wraps at 2^64", UINT64_C(0) - 8, RINGBUS_WAKE_BY_FENCE},
    {"near 2^64", UINT64_C(0) - 72, RINGBUS_WAKE_BY_MEMBARRIER},
    {"near 2^32", (UINT64_C(1) << 32) - 24, RINGBUS_WAKE_BY_MEMBARRIER},
    {"near 2^63", (UINT64_C(1) << 63) - 24, RINGBUS_WAKE_BY_FENCE},
};
const size_t layout_count = sizeof layouts / sizeof layouts[0];

/* The C library's reads the clock's page again if a tick of the system changed it meanwhile: in single
 * steps, on a machine that has much to do, for ever. Here one instruction asks the kernel. */
int clock_gettime(clockid_t clock, struct timespec *now) {
  return (int)syscall(SYS_clock_gettime, clock, now);
}

/* ---------------------------------------------------------------- begin and end */

static void remove_files(void) {
  unlink(harness.live_path);
  unlink(harness.scratch_path);
  unlink(harness.new_path);
  rmdir(harness.directory);
}

/* The judge itself hangs or crashes in the library: that is a finding, not an accident. */
static void judge_died(int signal_number) {
  char text[400];
  int length = snprintf(
      text, sizeof text,
      "bad: the judge got signal %d (%s) in '%s', layout '%s', instruction %llu\n", signal_number,
      signal_number == SIGALRM ? "it waited too long" : "see signal(7)",
      harness.scenario ? harness.scenario : "-", harness.layout ? harness.layout->name : "-",
      (unsigned long long)harness.instruction);
  if (length > 0 && write(STDOUT_FILENO, text, (size_t)length) < 0)
    _exit(1);
  if (harness.actor > 0)
    kill(harness.actor, SIGKILL);
  remove_files();
  _exit(1);
}

static void *shared_memory(size_t bytes) {
  return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* Judge and actor take turns: on one core they do it without waking the other core. Several of these programs
 * at a time take different ones, as far as there are: a name that only one may have stands for each core. */
static void take_a_core(void) {
  cpu_set_t cpus, chosen;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), core = -1;
  sched_getaffinity(0, sizeof cpus, &cpus);
  for (int cpu = 0; cpu < CPU_SETSIZE && core < 0; cpu++) {
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "ringbus-kill-core-%d", cpu);
    if (CPU_ISSET((size_t)cpu, &cpus) && bind(fd, (struct sockaddr *)&address, sizeof address) == 0)
      core = cpu; /* until this process ends */
  }
  CPU_ZERO(&chosen);
  CPU_SET((size_t)(core >= 0 ? core : sched_getcpu()), &chosen);
  sched_setaffinity(0, sizeof chosen, &chosen);
}

void harness_begin(int argc, char **argv, size_t beside_bytes) {
  const char *scale = getenv("RINGBUS_TEST_SCALE");
  harness.full = scale && strcmp(scale, "full") == 0;
  if (argc > 1 && strcmp(argv[1], "sigkill") == 0) {
    harness.sigkill = true;
    argc--;
    argv++;
  }
  harness.only_scenario = argc > 1 ? argv[1] : "";
  harness.only_layout = argc > 2 ? argv[2] : "";
  setvbuf(stdout, NULL, _IOLBF, 0);
  harness.control = shared_memory(sizeof *harness.control);
  harness.other_control = shared_memory(sizeof *harness.control);
  harness.beside_bytes = beside_bytes;
  harness.beside = beside_bytes ? shared_memory(beside_bytes) : NULL;
  snprintf(harness.directory, sizeof harness.directory, "/dev/shm/ringbus-kill-XXXXXX");
  if (harness.control == MAP_FAILED || harness.other_control == MAP_FAILED ||
      harness.beside == MAP_FAILED || !mkdtemp(harness.directory)) {
    perror("temporary directory");
    exit(2);
  }
  snprintf(harness.live_path, sizeof harness.live_path, "%s/live", harness.directory);
  snprintf(harness.scratch_path, sizeof harness.scratch_path, "%s/scratch", harness.directory);
  snprintf(harness.new_path, sizeof harness.new_path, "%s/new", harness.directory);
  const int signals[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL, SIGALRM,
                         SIGINT,  SIGTERM, SIGHUP, SIGPIPE};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
    signal(signals[i], judge_died);

  take_a_core();
}

int harness_end(const char *claim, const char *states) {
  remove_files();
  if (claim)
    printf("figure: %s | %llu instructions stepped, %llu %s, %llu bad\n", claim,
           (unsigned long long)harness.instructions, (unsigned long long)harness.states, states,
           (unsigned long long)harness.bad);
  if (claim && harness.missed)
    printf("not reached: %llu places where the actor had been before\n",
           (unsigned long long)harness.missed);
  return harness.bad || harness.states <= 10 * harness.missed ? 1 : 0;
}

bool harness_wants(const char *scenario, const struct layout *layout) {
  return strstr(scenario, harness.only_scenario) && strstr(layout->name, harness.only_layout);
}

void harness_bad(const char *format, ...) {
  va_list arguments;
  harness.bad++;
  if (harness.bad_here++ >= 3)
    return;
  printf("bad: '%s', layout '%s', instruction %llu: ", harness.scenario, harness.layout->name,
         (unsigned long long)harness.instruction);
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  printf("\n");
}

/* ---------------------------------------------------------------- ring files */

static char *map_file(const char *path, size_t *bytes) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) != 0) {
    perror(path);
    exit(2);
  }
  *bytes = (size_t)status.st_size;
  char *map = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  close(fd);
  if (map == MAP_FAILED) {
    perror(path);
    exit(2);
  }
  return map;
}

struct ringbus_create_options smallest_ring(enum ringbus_no_group no_group) {
  return (struct ringbus_create_options){.capacity = CAPACITY,
                                         .max_participants = PARTICIPANTS,
                                         .max_groups = GROUPS,
                                         .no_group = no_group};
}

void harness_ring(const struct layout *layout, struct ringbus_create_options options) {
  const char *paths[] = {harness.live_path, harness.scratch_path};
  size_t bytes;
  options.wake = layout->wake;
  for (int i = 0; i < 2; i++) {
    ringbus_ring *ring;
    int result = ringbus_ring_create(paths[i], &options, &ring);
    if (result == 0)
      result = ringbus_ring_close(ring);
    if (result != 0) {
      printf("cannot make a ring: %s: %s\n", ringbus_strerror(result), ringbus_error_detail());
      remove_files();
      exit(2);
    }
  }
  harness.live = map_file(harness.live_path, &harness.file_bytes);
  harness.scratch = map_file(harness.scratch_path, &bytes);

  struct ringbus_header *header = (struct ringbus_header *)(void *)harness.live;
  const struct ringbus_identity *identity = &header->identity;
  harness.parts[0] = (struct part){0, identity->groups_offset +
                                          (uint64_t)identity->group_count * identity->group_bytes};
  harness.parts[1] = (struct part){identity->words_offset, identity->words_bytes};
  harness.parts[2] = (struct part){identity->data_offset, identity->capacity};
  /* As if so many bytes had been published and read long ago. */
  header->tail.position = layout->start;
  header->floor.position = layout->start;
  harness.fresh = malloc(harness.file_bytes);
  harness.last = calloc(1, harness.file_bytes);
  if (!harness.fresh || !harness.last)
    exit(2);
  memcpy(harness.fresh, harness.live, harness.file_bytes);
  harness.layout = layout;
}

enum { PARTS = sizeof harness.parts / sizeof harness.parts[0] };

static void copy_part(char *to, const char *from, const struct part *part) {
  memcpy(to + part->offset, from + part->offset, part->bytes);
}

static void copy_parts(char *to, const char *from) {
  for (int i = 0; i < PARTS; i++)
    copy_part(to, from, &harness.parts[i]);
}

void harness_reset(void) {
  memset(harness.control, 0, sizeof *harness.control);
  memset(harness.other_control, 0, sizeof *harness.other_control);
  if (harness.beside)
    memset(harness.beside, 0, harness.beside_bytes);
  copy_parts(harness.live, harness.fresh);
}

const char *harness_world(void) {
  if (harness.actor == 0)
    return harness.live_path;
  copy_parts(harness.scratch, harness.live);
  return harness.scratch_path;
}

bool harness_file_changed(void) {
  bool changed = false;
  for (int i = 0; i < PARTS; i++) {
    const struct part *part = &harness.parts[i];
    if (memcmp(harness.last + part->offset, harness.live + part->offset, part->bytes) == 0)
      continue;
    copy_part(harness.last, harness.live, part);
    changed = true;
  }
  return changed;
}

void harness_drop(void) {
  munmap(harness.live, harness.file_bytes);
  munmap(harness.scratch, harness.file_bytes);
  free(harness.fresh);
  free(harness.last);
  unlink(harness.live_path);
  unlink(harness.scratch_path);
}

/* ---------------------------------------------------------------- the actor */

__attribute__((noreturn)) void actor_failed(struct actor *actor, int line, int64_t value) {
  actor->control->failed_value = value;
  actor->control->failed_line = (uint32_t)line;
  _exit(9);
}

__attribute__((noreturn)) static void actor_main(const struct scenario *scenario) {
  static struct actor actor;
  const int signals[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL, SIGALRM,
                         SIGINT,  SIGTERM, SIGHUP, SIGPIPE};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
    signal(signals[i], SIG_DFL);
  sigset_t of_children; /* a tracer hears of every signal that is not blocked */
  sigemptyset(&of_children);
  sigaddset(&of_children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &of_children, NULL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
    _exit(8);
  actor.control = harness.control;
  int result = ringbus_ring_open(harness.live_path, NULL, &actor.ring);
  actor_expect(&actor, result == 0, result);
  if (scenario->prepare)
    scenario->prepare(&actor);
  prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
  raise(SIGSTOP);
  scenario->region(&actor);
  actor.control->region_ended = 1;
  prctl(PR_SET_TSC, PR_TSC_ENABLE);
  if (actor.control->stop_at_end)
    raise(SIGSTOP);
  if (scenario->rest)
    scenario->rest(&actor);
  _exit(0);
}

static void tell_failed_check(int status) {
  if (harness.control->failed_line)
    harness_bad("the actor's check in line %u failed, it saw %lld", harness.control->failed_line,
                (long long)harness.control->failed_value);
  else if (WIFSIGNALED(status))
    harness_bad("the actor died of signal %d", WTERMSIG(status));
  else if (WIFSTOPPED(status))
    harness_bad("the actor got signal %d", WSTOPSIG(status));
  else
    harness_bad("the actor ended with status %d", WEXITSTATUS(status));
}

/* What the processor says is the time would let an actor go another way when it is stepped, or does not go at
 * once. So in its region it asks the judge. */
static uint64_t told_time;

/* tell_time: has it stopped with this signal to ask for the time? It knows it then, and is behind the question. */
static bool tell_time(int stop_signal) {
#if defined(__x86_64__)
  enum { RDTSC = 0x310f };
  struct user_regs_struct registers;
  if (stop_signal != SIGSEGV || ptrace(PTRACE_GETREGS, harness.actor, NULL, &registers) != 0 ||
      (ptrace(PTRACE_PEEKTEXT, harness.actor, (void *)registers.rip, NULL) & 0xffff) != RDTSC)
    return false;
  told_time += 500; /* a quarter of a microsecond */
  registers.rax = told_time;
  registers.rdx = 0;
  registers.rip += 2;
  return ptrace(PTRACE_SETREGS, harness.actor, NULL, &registers) == 0;
#else
  (void)stop_signal;
  return false;
#endif
}

/* wait_for_actor: for a stop, or its end, that is not about the time. */
static void wait_for_actor(int *status) {
  while (waitpid(harness.actor, status, 0) == harness.actor && WIFSTOPPED(*status) &&
         tell_time(WSTOPSIG(*status)))
    actor_continue();
}

bool actor_start(const struct scenario *scenario) {
  int status;
  harness.scenario = scenario->name;
  harness.instruction = 0;
  told_time = 0;
  fflush(stdout);
  harness.actor = fork();
  if (harness.actor == 0)
    actor_main(scenario);
  if (harness.actor < 0 || waitpid(harness.actor, &status, 0) != harness.actor) {
    perror("fork");
    remove_files();
    exit(2);
  }
  if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP) {
    tell_failed_check(status);
    if (WIFSTOPPED(status))
      actor_kill();
    harness.actor = 0;
    return false;
  }
  ptrace(PTRACE_SETOPTIONS, harness.actor, NULL, (void *)PTRACE_O_EXITKILL);
  return true;
}

bool actor_step(void) {
  int status;
  if (ptrace(PTRACE_SINGLESTEP, harness.actor, NULL, NULL) != 0 ||
      waitpid(harness.actor, &status, 0) != harness.actor)
    return false;
  if (WIFSTOPPED(status) && (WSTOPSIG(status) == SIGTRAP || tell_time(WSTOPSIG(status)))) {
    harness.instruction++;
    harness.instructions++;
    return true;
  }
  if (WIFSTOPPED(status) && harness.control->waiting)
    return false;
  tell_failed_check(status);
  if (WIFSTOPPED(status))
    actor_kill();
  harness.actor = 0;
  return false;
}

#if defined(__x86_64__)
/* A breakpoint in the code itself: those of the processor are not to be had on every virtual machine,
 * some of which accept them and never stop. */
bool actor_run_to(uint64_t address, uint64_t times) {
  const long trap = 0xcc; /* int3 */
  struct user_regs_struct registers;
  int status;
  errno = 0;
  long code = ptrace(PTRACE_PEEKTEXT, harness.actor, (void *)address, NULL);
  if (errno != 0)
    return false;
  harness.control->stop_at_end = 1;
  for (;; times--) {
    ptrace(PTRACE_POKETEXT, harness.actor, (void *)address, (code & ~0xffL) | trap);
    actor_continue();
    wait_for_actor(&status);
    if (!WIFSTOPPED(status)) {
      tell_failed_check(status);
      harness.actor = 0;
      return false;
    }
    ptrace(PTRACE_POKETEXT, harness.actor, (void *)address, code);
    if (WSTOPSIG(status) != SIGTRAP ||
        ptrace(PTRACE_GETREGS, harness.actor, NULL, &registers) != 0 ||
        registers.rip != address + 1)
      return false;
    registers.rip = address;
    if (ptrace(PTRACE_SETREGS, harness.actor, NULL, &registers) != 0)
      return false;
    if (times == 0)
      break;
    if (!actor_step())
      return false;
  }
  harness.control->stop_at_end = 0;
  return true;
}
#else
bool actor_run_to(uint64_t address, uint64_t times) {
  (void)address, (void)times;
  return false;
}
#endif

void actor_continue(void) { ptrace(PTRACE_CONT, harness.actor, NULL, NULL); }

void actor_kill(void) {
  int status;
  kill(harness.actor, SIGKILL);
  waitpid(harness.actor, &status, 0);
  harness.actor = 0;
}

bool actor_finish(void) {
  int status;
  wait_for_actor(&status);
  bool fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!fine) {
    tell_failed_check(status);
    if (WIFSTOPPED(status))
      actor_kill();
  }
  harness.actor = 0;
  return fine;
}

bool actor_end_region(void) {
  int status;
  if (harness.control->region_ended)
    return true;
  harness.control->waiting = 0;
  harness.control->stop_at_end = 1;
  actor_continue();
  wait_for_actor(&status);
  if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP)
    return harness.control->region_ended;
  tell_failed_check(status);
  if (WIFSTOPPED(status))
    actor_kill();
  harness.actor = 0;
  return false;
}

uint64_t actor_instruction_pointer(void) {
  struct user_regs_struct registers;
  struct iovec whole = {&registers, sizeof registers};
  if (ptrace(PTRACE_GETREGSET, harness.actor, (void *)NT_PRSTATUS, &whole) != 0)
    return 0;
#if defined(__x86_64__)
  return registers.rip;
#else
  return registers.pc;
#endif
}

/* ---------------------------------------------------------------- turns */

enum { TURN_OF_ACTOR = 1, TURN_OF_JUDGE = 2 };

void turn_over_to_judge(void) {
  harness.control->turn = TURN_OF_JUDGE;
  while (harness.control->turn != TURN_OF_ACTOR)
    sched_yield();
}

bool turn_of_judge(void) {
  struct timespec now, end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += 20;
  do {
    for (int i = 0; i < 100; i++) {
      siginfo_t event = {0};
      if (harness.control->turn == TURN_OF_JUDGE)
        return true;
      if (waitid(P_PID, (id_t)harness.actor, &event, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) != 0 ||
          (event.si_pid != 0 && (event.si_code != CLD_TRAPPED || !tell_time(event.si_status))))
        return false;
      if (event.si_pid != 0) {
        waitpid(harness.actor, NULL, 0);
        actor_continue();
      }
      sched_yield();
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec < end.tv_sec);
  return false;
}

void turn_over_to_actor(void) { harness.control->turn = TURN_OF_ACTOR; }

/* ---------------------------------------------------------------- the trace of a region */

/* To come to instruction k an actor runs to its landmark, and is stepped from there. A landmark is one at or
 * before k that was met a known number of times before: each of these costs as much as a few steps. */
enum { LONGEST_TRACE = 20000, STEPS_PER_STOP = 4 };
enum { LINE = 128, LINES = 4096, IN_KERNEL = LINES };
static struct trace {
  uint64_t address[LONGEST_TRACE];
  uint32_t landmark[LONGEST_TRACE];
  uint32_t times[LONGEST_TRACE]; /* how often it was met before */
  bool meets[LONGEST_TRACE];     /* it reads or writes what others do, or enters the kernel */
  bool stores[LONGEST_TRACE];    /* it changes the file */
  uint16_t line[LONGEST_TRACE];  /* of the file, which it touches, or IN_KERNEL */
  bool writes[LONGEST_TRACE];    /* it may write there */
  uint64_t length, meetings;
  /* Since trace_forget_lines: */
  bool line_touched[LINES], line_written[LINES];
} traces[2], *trace = traces;

/* The actor's mappings of rings, as they were after its last system call. */
static struct {
  struct {
    uint64_t from, to, offset;
  } views[32];
  size_t count;
  bool known;
} shared_views;

static void find_shared_views(void) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/maps", (int)harness.actor);
  FILE *maps = fopen(path, "re");
  shared_views.count = 0;
  while (maps && fgets(line, sizeof line, maps)) {
    unsigned long from, to, offset;
    char kind;
    if (sscanf(line, "%lx-%lx %*c%*c%*c%c %lx", &from, &to, &kind, &offset) != 4 || kind != 's' ||
        !strstr(line,
                harness.directory)) /* what actor and judge share beside it is not met by others */
      continue;
    if (shared_views.count == sizeof shared_views.views / sizeof shared_views.views[0]) {
      harness_bad("too many mappings");
      break;
    }
    shared_views.views[shared_views.count].from = from;
    shared_views.views[shared_views.count].offset = offset;
    shared_views.views[shared_views.count++].to = to;
  }
  if (maps)
    fclose(maps);
  shared_views.known = maps != NULL;
}

#if defined(__x86_64__)
static uint64_t register_value(const struct user_regs_struct *r, x86_reg name, uint64_t next) {
  switch (name) {
  case X86_REG_INVALID:
  case X86_REG_CS:
  case X86_REG_DS:
  case X86_REG_ES:
  case X86_REG_SS:
    return 0;
  case X86_REG_RIP:
    return next;
#define REGISTER(capital, small)                                                                   \
  case X86_REG_##capital:                                                                          \
    return r->small
    REGISTER(RAX, rax);
    REGISTER(RBX, rbx);
    REGISTER(RCX, rcx);
    REGISTER(RDX, rdx);
    REGISTER(RSI, rsi);
    REGISTER(RDI, rdi);
    REGISTER(RBP, rbp);
    REGISTER(RSP, rsp);
    REGISTER(R8, r8);
    REGISTER(R9, r9);
    REGISTER(R10, r10);
    REGISTER(R11, r11);
    REGISTER(R12, r12);
    REGISTER(R13, r13);
    REGISTER(R14, r14);
    REGISTER(R15, r15);
    REGISTER(FS, fs_base);
    REGISTER(GS, gs_base);
#undef REGISTER
  default:
    harness_bad("an address made of register %d", (int)name);
    return 0;
  }
}

/* instruction_at: taken apart; NULL: it is none. The code is the same in all actors, so this is done once. */
static const cs_insn *instruction_at(uint64_t address) {
  static csh disassembler;
  static cs_insn *known[1 << 16]; /* open addressing */
  uint8_t bytes[16] = {0};
  const uint8_t *code = bytes;
  size_t size = sizeof bytes;
  size_t at = (size_t)(address * UINT64_C(0x9e3779b97f4a7c15) >> 48);
  while (known[at] && known[at]->address != address)
    at = (at + 1) % (sizeof known / sizeof known[0]);
  if (known[at])
    return known[at];
  if (!disassembler && (cs_open(CS_ARCH_X86, CS_MODE_64, &disassembler) != CS_ERR_OK ||
                        cs_option(disassembler, CS_OPT_DETAIL, CS_OPT_ON) != CS_ERR_OK))
    abort();
  for (size_t i = 0; i < sizeof bytes;
       i += sizeof(long)) { /* the last ones may lie behind the code */
    long word = ptrace(PTRACE_PEEKTEXT, harness.actor, (void *)(address + i), NULL);
    memcpy(bytes + i, &word, sizeof word);
  }
  known[at] = cs_malloc(disassembler);
  if (cs_disasm_iter(disassembler, &code, &size, &address, known[at]))
    return known[at];
  cs_free(known[at], 1);
  known[at] = NULL;
  return NULL;
}

/* instruction_meets_others: whether the next instruction, which is at *address, touches a ring or enters the
 * kernel, and where. One that does neither may as well be executed before or after what others do. */
static bool instruction_meets_others(uint64_t *address, uint16_t *line, bool *writes) {
  struct user_regs_struct registers;
  bool meets = false;
  *line = IN_KERNEL;
  *address = 0;
  if (!shared_views.known)
    find_shared_views();
  if (ptrace(PTRACE_GETREGS, harness.actor, NULL, &registers) != 0)
    return true;
  *address = registers.rip;
  const cs_insn *instruction = instruction_at(registers.rip);
  if (!instruction)
    return true;
  if (instruction->id == X86_INS_SYSCALL) {
    shared_views.known = false;
    return true;
  }
  if (instruction->id == X86_INS_PREFETCHW || instruction->id == X86_INS_PREFETCHT0)
    return false; /* neither reads nor writes anything */
  const cs_x86 *x86 = &instruction->detail->x86;
  uint64_t next = registers.rip + instruction->size;
  for (uint8_t i = 0; i < x86->op_count; i++) {
    const x86_op_mem *memory = &x86->operands[i].mem;
    if (x86->operands[i].type != X86_OP_MEM || instruction->id == X86_INS_LEA)
      continue;
    uint64_t from = (uint64_t)memory->disp + register_value(&registers, memory->segment, next) +
                    register_value(&registers, memory->base, next) +
                    register_value(&registers, memory->index, next) * (uint64_t)memory->scale;
    for (size_t view = 0; view < shared_views.count; view++)
      if (from < shared_views.views[view].to &&
          from + x86->operands[i].size > shared_views.views[view].from) {
        uint64_t at = from - shared_views.views[view].from + shared_views.views[view].offset;
        /* From one place of the ring to another: as much as a system call. */
        *line = at / LINE < LINES && !meets ? (uint16_t)(at / LINE) : IN_KERNEL;
        *writes = x86->operands[i].access != CS_AC_READ;
        meets = true;
      }
  }
  return meets;
}
#else
static bool instruction_meets_others(uint64_t *address, uint16_t *line, bool *writes) {
  *address = actor_instruction_pointer();
  *line = IN_KERNEL;
  *writes = true;
  return true;
}
#endif

void trace_begin(void) {
  trace->length = trace->meetings = 0;
  shared_views.known = false;
}

void trace_note(void) {
  static uint64_t seen[1 << 16]; /* open addressing */
  static uint32_t times[1 << 16];
  uint64_t k = trace->length, address;
  bool changed = harness_file_changed();
  if (k == 0)
    memset(seen, 0, sizeof seen);
  else
    trace->stores[k - 1] = changed;
  if (changed && k > 0 && !trace->meets[k - 1])
    harness_bad("it changes the file, but does not meet others");
  if (k == LONGEST_TRACE) {
    harness_bad("the region is too long for a trace");
    return;
  }
  trace->meets[k] = instruction_meets_others(&address, &trace->line[k], &trace->writes[k]);
  size_t at = (size_t)(address * UINT64_C(0x9e3779b97f4a7c15) >> 48);
  while (seen[at] && seen[at] != address)
    at = (at + 1) % (sizeof seen / sizeof seen[0]);
  times[at] = seen[at] ? times[at] + 1 : 0;
  trace->times[k] = times[at];
  trace->landmark[k] = (uint32_t)k;
  if (k > 0) {
    uint32_t before = trace->landmark[k - 1];
    if (STEPS_PER_STOP * trace->times[before] + (k - before) < STEPS_PER_STOP * times[at])
      trace->landmark[k] = before;
  }
  trace->address[k] = address;
  trace->stores[k] = false;
  if (trace->meets[k] && trace->line[k] != IN_KERNEL) {
    trace->line_touched[trace->line[k]] = true;
    trace->line_written[trace->line[k]] |= trace->writes[k];
  }
  trace->meetings += trace->meets[k];
  seen[at] = address;
  trace->length++;
}

void trace_region(void) {
  trace_begin();
  do
    trace_note();
  while (actor_step() && !harness.control->region_ended);
}

uint64_t trace_length(void) { return trace->length; }

bool trace_is_wanted(uint64_t k, uint64_t sample) {
  static uint64_t meeting; /* how many there have been before this one */
  meeting = k == 0 ? 0 : meeting + trace->meets[k - 1];
  return k + 1 == trace->length ||
         (trace->meets[k] &&
          (harness.full || trace->stores[k] || meeting % (trace->meetings / sample + 1) == 0));
}

void trace_run_to(uint64_t k) {
  if (harness.instruction < k && actor_run_to(trace->address[k], 0))
    harness.instruction = k;
}

void trace_forget_lines(void) {
  for (int i = 0; i < 2; i++) {
    memset(traces[i].line_touched, 0, sizeof traces[i].line_touched);
    memset(traces[i].line_written, 0, sizeof traces[i].line_written);
  }
}

bool trace_changes_something(uint64_t k) {
  return trace->stores[k] || (trace->meets[k] && trace->line[k] == IN_KERNEL);
}

bool trace_meets_other(uint64_t k) {
  const struct trace *other = trace == traces ? traces + 1 : traces;
  uint16_t line = trace->line[k];
  return trace->meets[k] && (line == IN_KERNEL || other->line_written[line] ||
                             (trace->writes[k] && other->line_touched[line]));
}

bool trace_is_near(uint64_t k) {
  return trace->meets[k] && (trace->times[k] < 4 || trace->times[k] % 64 == 0) &&
         k - trace->landmark[k] < 300;
}

bool trace_go_to(uint64_t k) {
  uint32_t landmark = trace->landmark[k];
  if (landmark > 0 && actor_run_to(trace->address[landmark], trace->times[landmark]))
    harness.instruction = landmark;
  while (!harness.control->region_ended && harness.actor && harness.instruction < k && actor_step())
    ;
  bool there = harness.actor && !harness.control->region_ended;
  harness.missed += !there;
  return there;
}

void trace_kill_at_each(bool (*start)(const void *scenario), const void *scenario,
                        void (*judge)(uint64_t number)) {
  harness.bad_here = 0;
  harness_reset();
  if (!start(scenario))
    return;
  trace_region();
  if (harness.actor)
    actor_kill();
  for (uint64_t k = 0; k < trace_length(); k++) {
    if (!trace_is_wanted(k, 1) || !trace_is_near(k))
      continue;
    harness_reset();
    if (!start(scenario))
      return;
    bool there = trace_go_to(k);
    if (harness.actor)
      actor_kill();
    harness.states += there;
    if (there)
      judge(harness.states);
  }
}

/* ---------------------------------------------------------------- two actors */

void actor_switch(void) {
  static uint64_t other_instruction;
  pid_t actor = harness.actor;
  struct control *control = harness.control;
  uint64_t instruction = harness.instruction;
  harness.actor = harness.other_actor;
  harness.control = harness.other_control;
  harness.instruction = other_instruction;
  harness.other_actor = actor;
  harness.other_control = control;
  other_instruction = instruction;
  trace = trace == traces ? traces + 1 : traces;
  shared_views.known = false;
}

/* ---------------------------------------------------------------- messages */

uint64_t record_bytes(uint32_t length, uint32_t tag) {
  return (8 + (uint64_t)length + (tag ? 4 : 0) + 7) & ~UINT64_C(7);
}

uint32_t varied_length(uint64_t sequence) {
  static const uint16_t lengths[] = {40, 0, 8,   133, 1, 56, 700,  17,
                                     64, 7, 300, 24,  0, 91, 1200, 48};
  return lengths[sequence % (sizeof lengths / sizeof lengths[0])];
}

/* What a reader would take for the word of a record at this place one lap later. The fields that a
 * word leaves free carry the sequence number, so that no two messages have the same bytes. */
static uint64_t deceptive_word(uint64_t position, uint64_t sequence) {
  enum { GRANULE_BITS = 12 - 3 };                  /* log2(CAPACITY) - granule shift */
  uint64_t lap = (position + CAPACITY) / CAPACITY; /* wraps at 2^64 as positions do */
  uint64_t state = sequence % 4 == 3 ? RINGBUS_WORD_PAD : RINGBUS_WORD_COMMITTED;
  uint64_t granules = 1 + sequence / 8 % 8;
  return lap << RINGBUS_WORD_LAP_SHIFT(GRANULE_BITS) |
         state << RINGBUS_WORD_STATE_SHIFT(GRANULE_BITS) | granules << RINGBUS_WORD_GRANULES_SHIFT |
         (sequence % 8) << RINGBUS_WORD_UNUSED_SHIFT;
}

void fill_message(char *bytes, uint32_t length, uint64_t sequence, uint64_t position) {
  for (uint32_t i = 0; i < length; i += 8) {
    uint64_t word = deceptive_word(position + 8 + i, sequence);
    memcpy(bytes + i, &word, length - i < 8 ? length - i : 8);
  }
}

bool verify_message(const struct ringbus_message *message, uint64_t sequence,
                    const struct plan *plan) {
  char expected[CAPACITY];
  if (sequence >= MESSAGES || message->length != plan[sequence].length ||
      message->tag != plan[sequence].tag)
    return false;
  fill_message(expected, message->length, sequence, message->position);
  return memcmp(expected, message->data, message->length) == 0;
}

int publish_planned(ringbus_producer *producer, struct plan *plan, uint32_t length, uint32_t tag) {
  char bytes[CAPACITY];
  uint64_t position, sequence;
  int result = ringbus_producer_tell(producer, &position, &sequence);
  if (result != 0)
    return result;
  if (sequence >= MESSAGES)
    return -ERANGE;
  fill_message(bytes, length, sequence, position);
  result = ringbus_producer_send(producer, bytes, length, tag);
  if (result == 0)
    plan[sequence] = (struct plan){length, tag};
  return result;
}

int drain_group(ringbus_consumer *consumer, const struct plan *plan, uint64_t max, uint64_t *next) {
  struct ringbus_message message;
  while (max-- > 0) {
    int result = ringbus_consumer_borrow(consumer, &message);
    if (result == -EAGAIN)
      return 0;
    if (result != 0)
      return result;
    if (!verify_message(&message, *next, plan))
      return -EILSEQ;
    ++*next;
    result = ringbus_consumer_release(consumer);
    if (result != 0)
      return result;
  }
  return 0;
}
