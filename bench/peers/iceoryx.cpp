// SPDX-License-Identifier: MIT
// iceoryx.cpp - iceoryx: a publisher and a subscriber for each direction. The publisher waits for a subscriber
// that is slow, the subscriber polls; its queue holds at most 256 messages.
//
//   bench's parent ── publisher ─▶ chunks in shared memory ─▶ subscriber ── bench's child
//        └─────────── registers with ──▶ RouDi ◀── registers with ───────────────┘
//
// iceoryx wants its daemon, RouDi: it is a process of the bench, which ends, and takes the names away that
// iceoryx has in /dev/shm and /tmp, as soon as the bench is gone, however that ended. The names are iceoryx's
// own and the same for all: where a RouDi is there already, that one is used.
#include "../sides.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iceoryx_hoofs/log/logmanager.hpp>
#include <iceoryx_hoofs/platform/platform_settings.hpp>
#include <iceoryx_hoofs/posix_wrapper/file_lock.hpp>
#include <iceoryx_hoofs/posix_wrapper/posix_access_rights.hpp>
#include <iceoryx_posh/internal/roudi/roudi.hpp>
#include <iceoryx_posh/popo/untyped_publisher.hpp>
#include <iceoryx_posh/popo/untyped_subscriber.hpp>
#include <iceoryx_posh/roudi/iceoryx_roudi_components.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>

namespace {

// ---------------------------------------------------------------- RouDi

pid_t bench_pid, roudi;

// What a process of the bench is called, and its socket in /tmp.
std::string runtime_name(bool leads) {
  return "ringbus-bench." + std::to_string(bench_pid) + (leads ? ".leads" : ".follows");
}

void be_quiet() {
  iox::log::LogManager::GetLogManager().SetDefaultLogLevel(iox::log::LogLevel::kFatal,
                                                           iox::log::LogLevelOutput::kHideLogLevel);
}

// That of a bench which has just ended badly may be there for a moment, and who relies on it waits for ever.
bool is_there_already() {
  for (int tenths = 0; tenths < 50 && getppid() == bench_pid; tenths++) {
    const auto lock = iox::posix::FileLock::create(iox::roudi::ROUDI_LOCK_NAME);
    if (!lock.has_error())
      return false;
    if (lock.get_error() != iox::posix::FileLockError::LOCKED_BY_OTHER_PROCESS)
      break;
    (void)usleep(100000);
  }
  return true;
}

// As many chunks as both queues hold, and some that are being written or read.
iox::RouDiConfig_t chunks() {
  const auto group = iox::posix::PosixGroup::getGroupOfCurrentProcess().getName();
  iox::mepoo::MePooConfig pools;
  for (const uint32_t size : bench_size)
    pools.addMemPool({size, 2 * iox::MAX_SUBSCRIBER_QUEUE_CAPACITY + 32});
  iox::RouDiConfig_t config;
  config.m_sharedMemorySegments.push_back({group, group, pools});
  return config;
}

// Signals that end it wait until they are asked for, in its threads, too.
[[noreturn]] void be_roudi(int ready) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  (void)setsid(); // the terminal's interrupts are for the bench
  (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  (void)dup2(nowhere, STDOUT_FILENO);
  (void)dup2(nowhere, STDERR_FILENO); // it tells how much memory it reserves
  be_quiet();
  if (getppid() == bench_pid && !is_there_already()) {
    using iox::roudi::RouDi;
    iox::roudi::IceOryxRouDiComponents components(chunks());
    RouDi daemon(components.rouDiMemoryManager, components.portManager,
                 RouDi::RoudiStartupParameters(iox::roudi::MonitoringMode::OFF, false));
    (void)!write(ready, "", 1);
    (void)close(ready);
    int signal = 0;
    if (getppid() == bench_pid) // or it is gone, and was before its end could be told
      (void)sigwait(&ends, &signal);
  }
  for (const bool leads : {true, false}) { // of processes that were killed
    const auto path = iox::platform::IOX_UDS_SOCKET_PATH_PREFIX + runtime_name(leads);
    (void)unlink(path.c_str());
    (void)unlink((path + ".lock").c_str());
  }
  _exit(0);
}

void end_roudi() {
  if (getpid() != bench_pid)
    return;
  (void)kill(roudi, SIGTERM);
  (void)waitpid(roudi, nullptr, 0);
}

void start_roudi() {
  int ready[2];
  char byte;
  bench_pid = getpid();
  if (pipe2(ready, O_CLOEXEC) != 0 || (roudi = fork()) < 0)
    bench_fail("starting RouDi", -errno);
  if (roudi == 0)
    be_roudi(ready[1]);
  (void)close(ready[1]);
  if (read(ready[0], &byte, 1) == 1) {
    (void)atexit(end_roudi);
  } else {
    (void)waitpid(roudi, nullptr, 0); // another one is there
  }
  (void)close(ready[0]);
}

// ---------------------------------------------------------------- messages

std::unique_ptr<iox::popo::UntypedPublisher> out;
std::unique_ptr<iox::popo::UntypedSubscriber> in;
bool is_heard;

iox::capro::ServiceDescription direction(unsigned way) {
  return {"ringbus-bench",
          {iox::cxx::TruncateToCapacity, std::to_string(bench_pid)},
          {iox::cxx::TruncateToCapacity, std::to_string(way)}};
}

void open_ends(struct bench *bench, uint32_t) {
  if (out)
    return;
  be_quiet();
  iox::runtime::PoshRuntime::initRuntime(
      {iox::cxx::TruncateToCapacity, runtime_name(bench->leads)});
  (void)atexit([] { // before the runtime, which is older than this
    in.reset();
    out.reset();
  });
  iox::popo::PublisherOptions sending;
  sending.subscriberTooSlowPolicy = iox::popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
  iox::popo::SubscriberOptions receiving;
  receiving.queueFullPolicy = iox::popo::QueueFullPolicy::BLOCK_PRODUCER;
  out = std::make_unique<iox::popo::UntypedPublisher>(direction(way_out(bench)), sending);
  in = std::make_unique<iox::popo::UntypedSubscriber>(direction(way_in(bench)), receiving);
}

INLINE unsigned put_iceoryx(struct bench *bench, uint32_t size, uint64_t number) {
  for (; RINGBUS_UNLIKELY(!is_heard); is_heard = out->hasSubscribers())
    sched_yield(); // only before the first message
  bench_number(bench->out, size, number);
  for (;;) {
    auto loan = out->loan(size);
    if (loan.has_error()) {
      bench_idle(bench);
      continue;
    }
    memcpy(loan.value(), bench->out, size);
    out->publish(loan.value());
    return 1;
  }
}

INLINE bool get_iceoryx(struct bench *bench, uint32_t size, uint64_t *expected) {
  for (;;) {
    auto taken = in->take();
    if (taken.has_error()) {
      if (taken.get_error() != iox::popo::ChunkReceiveResult::NO_CHUNK_AVAILABLE)
        bench_fail("taking from iceoryx", -EBADMSG);
      bench_idle(bench);
      continue;
    }
    memcpy(bench->in, taken.value(), size);
    in->release(taken.value());
    return check(bench, size, expected);
  }
}

SIDES(iceoryx, iceoryx)

const struct bench_contender contenders[] = {
    THROUGHPUT("iceoryx", iceoryx, iceoryx, BENCH_NAMED, &bench_peer_iceoryx),
    PINGPONG("iceoryx", iceoryx, iceoryx, BENCH_NAMED, &bench_peer_iceoryx),
    PACED("iceoryx", iceoryx, iceoryx, BENCH_NAMED, &bench_peer_iceoryx),
};

} // namespace

const struct bench_peer bench_peer_iceoryx = PEER(contenders, true, start_roudi, open_ends);
