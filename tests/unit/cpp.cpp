/* SPDX-License-Identifier: MIT */
/* cpp.cpp - what ringbus.hpp adds to ringbus.h: who leaves, aborts and releases when, and what is thrown.
 * Compiled as C++17 and C++20, over ringbus.h and over inline.h. Functions' names are sentences. */
#ifdef TEST_INLINE
#include <ringbus/inline.h>
#endif
#include <ringbus/ringbus.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <type_traits>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using std::errc;

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition))                                                                              \
      throw std::logic_error(std::to_string(__LINE__) + ": " #condition);                          \
  } while (0)

/* What a call throws says; "" if nothing. */
std::string said_by(const std::function<void()> &call) {
  try {
    call();
  } catch (const std::system_error &failure) {
    return failure.what();
  }
  return {};
}

/* The code that a call throws; none is 0. */
std::error_code thrown_by(const std::function<void()> &call) {
  try {
    call();
  } catch (const std::system_error &failure) {
    return failure.code();
  }
  return {};
}

ringbus::ring small_ring(bool many_producers = false, bool overwrite = false) {
  ringbus_create_options options{};
  options.capacity = 4096;
  options.many_producers = many_producers;
  options.overwrite = overwrite;
  return ringbus::ring::create_anonymous(options);
}

ringbus_consumer_options member_of(const char *group, bool shared = false) {
  ringbus_consumer_options options{};
  options.group = group;
  options.shared = shared;
  return options;
}

static_assert(!std::is_copy_constructible_v<ringbus::ring>);
static_assert(!std::is_copy_constructible_v<ringbus::producer>);
static_assert(!std::is_copy_constructible_v<ringbus::consumer>);
static_assert(!std::is_copy_constructible_v<ringbus::claim>);
static_assert(!std::is_copy_constructible_v<ringbus::borrowed>);
static_assert(std::is_nothrow_move_constructible_v<ringbus::ring>);
static_assert(std::is_nothrow_move_constructible_v<ringbus::producer>);
static_assert(std::is_nothrow_move_constructible_v<ringbus::consumer>);
static_assert(std::is_nothrow_move_constructible_v<ringbus::claim>);
static_assert(std::is_nothrow_move_constructible_v<ringbus::borrowed>);
static_assert(std::is_nothrow_destructible_v<ringbus::borrowed>);
static_assert(std::is_nothrow_move_assignable_v<ringbus::poller>);
static_assert(std::is_nothrow_move_assignable_v<ringbus::observer>);

/* What compiles, and what was deleted because it would mean something else. */
template <class... Arguments> struct producer_takes {
  template <class Producer>
  static auto send(int)
      -> decltype(std::declval<Producer &>().send(std::declval<Arguments>()...), std::true_type());
  template <class> static std::false_type send(...);
  template <class Producer>
  static auto batch(int)
      -> decltype(std::declval<Producer &>().send_batch(std::declval<Arguments>()...),
                  std::true_type());
  template <class> static std::false_type batch(...);
};
template <class... Arguments>
constexpr bool can_send =
    decltype(producer_takes<Arguments...>::template send<ringbus::producer>(0))::value;
template <class... Arguments>
constexpr bool can_send_batch =
    decltype(producer_takes<Arguments...>::template batch<ringbus::producer>(0))::value;
static_assert(can_send<const char *> && can_send<const char (&)[6], int>);
static_assert(can_send<std::string_view, int> && can_send<std::string &, std::size_t>);
static_assert(can_send<std::string_view, int, std::error_code &>);
static_assert(!can_send<const char *, std::size_t> && !can_send<char *&, int>);
static_assert(!can_send<char (&)[6], std::size_t> && !can_send<const char *, bool>);
static_assert(!can_send<const char *, std::size_t, std::error_code &>);
static_assert(!can_send<char (&)[6], int, std::error_code &>);
static_assert(can_send_batch<iovec *, std::size_t, std::size_t &>);
static_assert(can_send_batch<iovec *, std::size_t, std::size_t &, int>);
static_assert(can_send_batch<iovec *, std::size_t, std::size_t &, int, bool>);
static_assert(!can_send_batch<iovec *, std::size_t, std::size_t &, bool>);

void what_is_sent_arrives() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  ringbus_message message;
  std::array<char, 8> buffer;
  CHECK(producer.send("hello", 7));
  CHECK(producer.send({}));
  CHECK(producer.position() == consumer.position() + 24 + 8 && producer.count() == 2u);
  CHECK(consumer.wait());
  CHECK(consumer.recv(buffer.data(), buffer.size(), message));
  CHECK(ringbus::text(message) == "hello" && message.tag == 7 && message.data == buffer.data());
  CHECK(consumer.borrow()->length == 0);
  CHECK(consumer.recv(buffer.data(), buffer.size(), message).nothing());
  CHECK(consumer.borrow().why().nothing());
  CHECK(consumer.wait(std::chrono::milliseconds(1)).timed_out());
  CHECK(producer.drain(std::chrono::seconds(0)));
  producer.finish();
  CHECK(consumer.wait().ended() && consumer.borrow().why().ended());
  CHECK(consumer.count() == 2 && consumer.position() == producer.position());
}

void a_full_ring_is_an_outcome() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  std::error_code code;
  const std::string large(1000, 'x');
  while (producer.send(large))
    ;
  CHECK(producer.send(large).nothing());
  CHECK(!producer.send(large, 0, code) && code == errc::resource_unavailable_try_again);
  CHECK(producer.claim(large.size()).why().nothing());
  CHECK(producer.wait(large.size(), 0, std::chrono::nanoseconds(0)).timed_out());
  CHECK(!producer.wait(large.size(), 0, std::chrono::nanoseconds(0), code) &&
        code == errc::timed_out);
}

void a_batch_tells_how_many_were_sent() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  char text[] = "abc";
  std::array<iovec, 3> messages{{{text, 1}, {text, 2}, {text, 3}}};
  std::array<iovec, 2> long_ones{{{text, 3}, {nullptr, 5000}}};
  std::array<ringbus_message, 8> room;
  std::size_t sent = 99;
  CHECK(producer.send_batch(messages.data(), messages.size(), sent) && sent == 3);
  CHECK(thrown_by([&] { (void)producer.send_batch(long_ones.data(), 2, sent); }) ==
        errc::message_size);
  CHECK(sent == 1);
  std::size_t lengths = 0;
  {
    auto batch = consumer.borrow_batch(room.data(), room.size());
    CHECK(batch && batch.size() == 4);
    for (const ringbus_message &message : batch)
      lengths += message.length;
    CHECK(!consumer.borrow_batch(room.data(), room.size()));
    CHECK(ring.group(0)->lag_messages == 4);
    auto moved = std::move(batch);
    CHECK(batch.size() == 0 && batch.begin() == batch.end()); // NOLINT(bugprone-use-after-move)
    CHECK(moved.size() == 4);
    moved.release();
    CHECK(moved.size() == 0 && moved.begin() == moved.end());
  }
  CHECK(lengths == 9 && ring.group(0)->lag_messages == 0);
  CHECK(consumer.borrow_batch(room.data(), room.size()).why().nothing());
}

void a_claim_that_is_not_committed_is_never_seen(bool many_producers) {
  auto ring = small_ring(many_producers);
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  std::error_code code;
  {
    auto claim = producer.claim(10);
    CHECK(claim && claim.size() == 10);
    std::memcpy(claim.data(), "0123456789", 10);
  }
  try {
    auto claim = producer.claim(10);
    throw std::runtime_error("work failed");
  } catch (const std::runtime_error &) {
  }
  CHECK(consumer.borrow().why().nothing());
  auto claim = producer.claim(10, 3);
  std::memcpy(claim.data(), "0123456789", 10);
  CHECK(!claim.commit(11, code) && code == errc::message_size && claim);
  auto moved = std::move(claim);
  CHECK(!claim && moved); // NOLINT(bugprone-use-after-move)
  moved.commit(4);
  CHECK(!moved && thrown_by([&] { moved.commit(4); }) == errc::invalid_argument);
  CHECK(!moved.abort(code) && code == errc::invalid_argument);
  auto got = consumer.borrow();
  CHECK(got.text() == "0123" && got->tag == 3);
}

void a_claim_that_was_replaced_does_nothing(bool many_producers) {
  auto ring = small_ring(many_producers);
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  auto second = [&] {
    auto first = producer.claim(100);
    return producer.claim(2);
  }();
  std::memcpy(second.data(), "ok", 2);
  second.commit();
  CHECK(consumer.borrow().text() == "ok");
}

void a_claim_may_outlive_its_producer() {
  auto ring = small_ring(true);
  ringbus::consumer consumer(ring);
  std::error_code code;
  auto claim = [&] {
    ringbus::producer producer(ring);
    return producer.claim(8);
  }();
  CHECK(!claim.commit(8, code) && code == errc::invalid_argument);
  CHECK(consumer.borrow().why().nothing());
  ringbus::producer from(ring);
  auto open = from.claim(3);
  ringbus::producer to = std::move(from);
  std::memcpy(open.data(), "abc", 3);
  open.commit();
  CHECK(consumer.borrow().text() == "abc");
}

void what_is_borrowed_is_released_with_the_last_of_it() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring, member_of("group"));
  for (auto text : {"one", "two", "three"})
    CHECK(producer.send(text));
  {
    auto one = consumer.borrow();
    {
      auto two = consumer.borrow();
      CHECK(two.text() == "two");
    }
    CHECK(ring.group(0)->lag_messages == 3 && one.text() == "one");
    auto moved = std::move(one);
    CHECK(!one && moved.text() == "one"); // NOLINT(bugprone-use-after-move)
  }
  CHECK(ring.group(0)->lag_messages == 1);
  auto three = consumer.borrow();
  three.release();
  CHECK(!three && ring.group(0)->lag_messages == 0);
  three.release();
  CHECK(producer.send("four"));
  auto four = consumer.borrow();
  consumer.release();
  CHECK(four && ring.group(0)->lag_messages == 0);
}

void work_that_failed_is_delivered_again() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  CHECK(producer.send("once more"));
  try {
    ringbus::consumer consumer(ring, member_of("group"));
    auto message = consumer.borrow();
    throw std::runtime_error("work failed");
  } catch (const std::runtime_error &) {
  }
  ringbus::consumer consumer(ring, member_of("group"));
  CHECK(consumer.borrow().text() == "once more");
  CHECK(ring.group(0)->lag_messages == 0);
  /* but borrowing in a destructor that runs because of an exception is work like any other */
  struct late {
    ringbus::producer &producer;
    ringbus::consumer &consumer;
    ~late() { done = producer.send("late") && consumer.borrow().text() == "late"; }
    bool done = false;
  };
  try {
    late at_the_end{producer, consumer};
    throw std::runtime_error("something else");
  } catch (const std::runtime_error &) {
  }
  CHECK(ring.group(0)->lag_messages == 0);
}

void what_is_borrowed_may_outlive_its_consumer() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  CHECK(producer.send("held"));
  auto held = [&] {
    ringbus::consumer consumer(ring, member_of("group"));
    return consumer.borrow();
  }();
  held.release();
  CHECK(ring.group(0)->lag_messages == 1);
  ringbus::consumer from(ring, member_of("group"));
  auto again = from.borrow();
  ringbus::consumer to;
  to = std::move(from);
  again.release();
  CHECK(ring.group(0)->lag_messages == 0);
}

void a_member_of_a_shared_group_holds_one_borrow() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  std::error_code code;
  ringbus::consumer first(ring, member_of("workers", true));
  ringbus::consumer second(ring, member_of("workers", true));
  for (auto text : {"a", "b", "c"})
    CHECK(producer.send(text));
  {
    auto a = first.borrow();
    auto b = second.borrow();
    CHECK(a.text() == "a" && b.text() == "b" && !a->redelivered);
    CHECK(thrown_by([&] { (void)first.borrow(); }) == errc::device_or_resource_busy);
    CHECK(!second.borrow(code) && code == errc::device_or_resource_busy);
    a.release();
    CHECK(first.borrow().text() == "c");
    first.leave();
    second.leave();
  }
  ringbus::consumer third(ring, member_of("workers", true));
  CHECK(third.wait(std::chrono::seconds(60)));
  auto again = third.borrow();
  CHECK(again.text() == "b" && again->redelivered);
}

void an_observer_reads_along_and_may_be_lapped() {
  auto ring = small_ring(false, true);
  ringbus::producer producer(ring);
  ringbus::observer observer(ring);
  ringbus_message message;
  std::array<char, 16> buffer;
  std::error_code code;
  CHECK(producer.send("first"));
  CHECK(observer.wait());
  CHECK(!observer.recv(buffer.data(), 1, message, code) && code == errc::message_size);
  CHECK(message.length == 5);
  CHECK(observer.recv(buffer.data(), buffer.size(), message) && ringbus::text(message) == "first");
  for (int i = 0; i < 1000; i++)
    CHECK(producer.send("many"));
  CHECK(observer.recv(buffer.data(), buffer.size(), message).lapped());
  CHECK(observer.lost().messages + observer.count() > 1 && observer.lost().messages > 0);
  ringbus::consumer consumer(ring);
  for (int i = 0; i < 1000; i++)
    CHECK(producer.send("many"));
  auto borrowed = consumer.borrow();
  CHECK(borrowed.why().lapped() && consumer.lost().messages > 0);
  observer.seek(RINGBUS_NEWEST);
  CHECK(observer.count() == 2001 && observer.position() == producer.position());
  CHECK(thrown_by([&] { observer.seek(RINGBUS_POSITION, 4); }) == errc::invalid_argument);
}

void a_lapped_borrow_is_not_valid() {
  auto ring = small_ring(false, true);
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  CHECK(producer.send("old"));
  auto old = consumer.borrow();
  CHECK(old && consumer.still_valid());
  for (int i = 0; i < 1000; i++)
    CHECK(producer.send("new"));
  CHECK(consumer.still_valid().lapped());
}

void a_poller_waits_for_many_rings() {
  auto one = small_ring(), two = small_ring();
  ringbus::producer to_one(one), to_two(two);
  ringbus::consumer from_one(one), from_two(two);
  ringbus::poller poller, other;
  ringbus_ready ready;
  std::error_code code;
  poller.add(from_one, &from_one);
  poller.add(from_two, &from_two);
  CHECK(!poller.add(from_one, nullptr, code) && code == errc::file_exists);
  CHECK(thrown_by([&] { other.add(from_one); }) == errc::device_or_resource_busy);
  CHECK(poller.wait(ready, std::chrono::nanoseconds(0)).timed_out());
  CHECK(to_two.send("to two"));
  CHECK(poller.wait(ready) && ready.context == &from_two && ready.consumer == from_two.native());
  CHECK(from_two.borrow().text() == "to two");
  to_one.finish();
  CHECK(poller.wait(ready) && ready.context == &from_one && ringbus::outcome(ready.result).ended());
  from_one.leave();
  poller.remove(from_two);
  CHECK(poller.wait(ready).ended());
  other = std::move(poller);
  CHECK(!poller.add(from_two, nullptr, code) && code == errc::invalid_argument); // NOLINT
}

void an_event_descriptor_becomes_readable() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  CHECK(thrown_by([&] { (void)consumer.event_arm(); }) == errc::invalid_argument);
  pollfd event{consumer.event_fd(), POLLIN, 0};
  CHECK(poll(&event, 1, 0) == 0);
  CHECK(producer.send("wake up"));
  CHECK(poll(&event, 1, 60000) == 1);
  CHECK(consumer.borrow());
  CHECK(consumer.event_arm() && poll(&event, 1, 0) == 0);
  producer.finish();
  CHECK(consumer.event_arm().ended());
}

void who_was_moved_from_holds_nothing() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  std::error_code code;
  ringbus_message message;
  ringbus::producer new_producer = std::move(producer);
  ringbus::consumer new_consumer = std::move(consumer);
  // NOLINTBEGIN(bugprone-use-after-move)
  CHECK(!producer && !producer.native() && new_producer && new_producer.native());
  CHECK(!producer.send("x", 0, code) && code == errc::invalid_argument);
  CHECK(!producer.claim(1, 0, code) && code == errc::invalid_argument);
  CHECK(!producer.finish(code) && code == errc::invalid_argument);
  CHECK(!consumer.borrow(code) && code == errc::invalid_argument);
  CHECK(!consumer.recv(nullptr, 0, message, code) && code == errc::invalid_argument);
  CHECK(!consumer.wait(std::chrono::nanoseconds(0), code) && code == errc::invalid_argument);
  CHECK(thrown_by([&] { (void)consumer.position(); }) == errc::invalid_argument);
  CHECK(thrown_by([&] { (void)consumer.event_fd(); }) == errc::invalid_argument);
  CHECK(producer.leave(code) && !code);
  // NOLINTEND(bugprone-use-after-move)
  CHECK(new_producer.send("still here"));
  CHECK(new_consumer.borrow().text() == "still here");
  ringbus::ring other = std::move(ring);
  CHECK(thrown_by([&] { (void)ring.info(); }) == errc::invalid_argument); // NOLINT
  CHECK(thrown_by([&] { ringbus::observer observer(ring); }) == errc::invalid_argument);
  CHECK(other.info().participants == 2);
}

void a_time_that_has_passed_looks_once() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  ringbus::observer observer(ring);
  ringbus::poller poller;
  ringbus_ready ready;
  poller.add(consumer);
  for (ringbus::nanoseconds passed : {ringbus::nanoseconds(-1), (ringbus::nanoseconds::min)()}) {
    CHECK(consumer.wait(passed).timed_out() && observer.wait(passed).timed_out());
    CHECK(poller.wait(ready, passed).timed_out());
    CHECK(producer.send("x") && producer.drain(passed).timed_out());
    CHECK(consumer.seek(RINGBUS_NEWEST));
    observer.seek(RINGBUS_NEWEST);
  }
  CHECK(producer.send("x") && consumer.wait(ringbus::forever) && producer.wait(1));
}

void a_handle_made_from_nothing_holds_nothing() {
  ringbus::producer producer(nullptr);
  ringbus::consumer consumer(nullptr);
  std::error_code code;
  CHECK(!producer && !consumer && !producer.native() && !consumer.take());
  CHECK(!producer.send("x", 0, code) && code == errc::invalid_argument);
  CHECK(!consumer.borrow(code) && code == errc::invalid_argument);
}

void a_producer_that_is_taken_has_no_claim_open(bool many_producers) {
  auto ring = small_ring(many_producers);
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  std::error_code code;
  auto claim = producer.claim(8);
  ringbus::producer again(producer.take());
  CHECK(again && !producer);
  CHECK(ringbus_producer_commit(again.native(), 8) == -EINVAL);
  CHECK(again.send("next") && consumer.borrow().text() == "next");
  CHECK(!claim.commit(8, code) && code == errc::invalid_argument);
}

void leaving_twice_is_leaving_once() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  CHECK(ring.info().participants == 2);
  producer.leave();
  producer.leave();
  CHECK(ring.info().participants == 1);
  /* assigning to a handle leaves with what it held */
  consumer = ringbus::consumer();
  CHECK(ring.info().participants == 0 && !consumer);
  ringbus::producer again(ring);
  ringbus_producer *native = again.take();
  CHECK(!again && ring.info().participants == 1);
  ringbus::producer owner(native);
  CHECK(owner.native() == native);
  auto &same = owner;
  owner = std::move(same);
  CHECK(owner.native() == native && owner.send("x"));
  ring.leave();
  ring.leave();
  CHECK(owner.send("the mapping stays as long as somebody is attached"));
}

void exceptions_carry_code_and_detail() {
  auto ring = ringbus::ring::create("here");
  ringbus::producer producer(ring);
  std::error_code code;
  try {
    ringbus::ring::open("missing");
    CHECK(false);
  } catch (const std::system_error &failure) {
    CHECK(failure.code() == errc::no_such_file_or_directory);
    CHECK(failure.code().category() == ringbus::category());
    CHECK(std::strstr(failure.what(), "there is no ring"));
    CHECK(std::strstr(failure.what(), ringbus_strerror(-ENOENT)));
  }
  ringbus::consumer consumer(ring);
  ringbus::observer observer(ring);
  for (const std::string &said : {said_by([&] { (void)consumer.seek(RINGBUS_POSITION, 4); }),
                                  said_by([&] { observer.seek(RINGBUS_POSITION, 4); })})
    CHECK(said.find("4 is not the position of a message") != said.npos);
  CHECK(said_by([&] { (void)consumer.event_arm(); }).find("no event descriptor") !=
        std::string::npos);
  CHECK(said_by([] { (void)ringbus::consumer().seek(RINGBUS_OLDEST); }) ==
        ringbus_strerror(-EINVAL));
  consumer.leave();
  CHECK(std::string_view(ringbus::category().name()) == "ringbus");
  CHECK(ringbus::error(-EAGAIN).message() == ringbus_strerror(-EAGAIN));
  CHECK(thrown_by([] { ringbus::ring::create("here"); }) == errc::file_exists);
  CHECK(!ringbus::ring::create("here", {}, code) && code == errc::file_exists);
  CHECK(!ringbus::ring::open("missing", {}, code) && code == errc::no_such_file_or_directory);
  CHECK(ringbus::ring::open("here", {}, code) && !code);
  CHECK(thrown_by([&] { ringbus::producer second(ring); }) == errc::device_or_resource_busy);
  CHECK(!ringbus::producer(ring, {}, code) && code == errc::device_or_resource_busy);
  CHECK(thrown_by([&] { (void)producer.send(std::string(5000 * 1000, 0)); }) == errc::message_size);
  producer.finish();
  CHECK(thrown_by([&] { (void)producer.send("x"); }) == errc::broken_pipe);
  CHECK(!ringbus::ring::remove("here", false, code) && code == errc::device_or_resource_busy);
  ringbus::ring::remove("here", true);
  CHECK(thrown_by([&] { (void)producer.send("x"); }).value() == ESTALE);
}

void rings_are_listed_described_and_removed() {
  CHECK(ringbus::list().empty() && ringbus::bus_directory() == std::getenv("RINGBUS_DIR"));
  auto ring = ringbus::ring::create("listed");
  CHECK(ringbus::list() == std::vector<std::string>{"listed"});
  CHECK(thrown_by([] { ringbus::list("/missing"); }) == errc::no_such_file_or_directory);
  ringbus::producer producer(ring);
  CHECK(!ring.participant(2) && ring.participant(1)->role == RINGBUS_PRODUCER);
  CHECK(thrown_by([&] { (void)ring.participant(0); }) == errc::invalid_argument);
  CHECK(!ring.group(0) && !ring.blame(RINGBUS_PRODUCER));
  {
    ringbus::consumer consumer(ring, member_of("kept"));
    CHECK(producer.send("x"));
    CHECK(ring.blame(RINGBUS_PRODUCER)->group == std::string("kept"));
  }
  CHECK(ring.wait_for(RINGBUS_PRODUCER));
  CHECK(ring.wait_for(RINGBUS_CONSUMER, std::chrono::nanoseconds(0)).timed_out());
  CHECK(ring.repair() == 0);
  ring.remove_group("kept");
  CHECK(thrown_by([&] { ring.remove_group("kept"); }) == errc::no_such_file_or_directory);
  auto same = ringbus::ring::open_fd(ring.fd());
  CHECK(!std::memcmp(same.info().ring_id, ring.info().ring_id, 16));
  producer.leave();
  ringbus::ring::remove("listed");
}

void a_forked_child_gets_echild() {
  auto ring = small_ring();
  ringbus::producer producer(ring);
  ringbus::consumer consumer(ring);
  CHECK(producer.send("x"));
  auto message = consumer.borrow();
  auto claim = producer.claim(1);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    std::error_code code;
    int wrong = 0;
    wrong += producer.send("x", 0, code) || code.value() != ECHILD;
    wrong += message.release(code) || code.value() != ECHILD;
    wrong += claim.commit(1, code) || code.value() != ECHILD;
    wrong += consumer.leave(code) || code.value() != ECHILD;
    { ringbus::producer dying = std::move(producer); /* its destructor throws nothing */ }
    _exit(wrong);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  claim.commit();
  CHECK(message.text() == "x" && consumer.borrow());
}

#define TEST(call)                                                                                 \
  {                                                                                                \
#call, [] { call; }                                                                            \
  }

const struct {
  const char *name;
  void (*run)();
} tests[] = {
    TEST(what_is_sent_arrives()),
    TEST(a_full_ring_is_an_outcome()),
    TEST(a_batch_tells_how_many_were_sent()),
    TEST(a_claim_that_is_not_committed_is_never_seen(false)),
    TEST(a_claim_that_is_not_committed_is_never_seen(true)),
    TEST(a_claim_that_was_replaced_does_nothing(false)),
    TEST(a_claim_that_was_replaced_does_nothing(true)),
    TEST(a_claim_may_outlive_its_producer()),
    TEST(what_is_borrowed_is_released_with_the_last_of_it()),
    TEST(work_that_failed_is_delivered_again()),
    TEST(what_is_borrowed_may_outlive_its_consumer()),
    TEST(a_member_of_a_shared_group_holds_one_borrow()),
    TEST(an_observer_reads_along_and_may_be_lapped()),
    TEST(a_lapped_borrow_is_not_valid()),
    TEST(a_poller_waits_for_many_rings()),
    TEST(an_event_descriptor_becomes_readable()),
    TEST(who_was_moved_from_holds_nothing()),
    TEST(a_time_that_has_passed_looks_once()),
    TEST(a_handle_made_from_nothing_holds_nothing()),
    TEST(a_producer_that_is_taken_has_no_claim_open(false)),
    TEST(a_producer_that_is_taken_has_no_claim_open(true)),
    TEST(leaving_twice_is_leaving_once()),
    TEST(exceptions_carry_code_and_detail()),
    TEST(rings_are_listed_described_and_removed()),
    TEST(a_forked_child_gets_echild()),
};

} // namespace

int main() {
  char directory[] = "/dev/shm/ringbus-cpp.XXXXXX";
  if (!mkdtemp(directory) || setenv("RINGBUS_DIR", directory, 1) != 0)
    return std::perror("a directory for the rings"), 1;
  /* In a child, so that nothing is left if it crashes. */
  pid_t child = fork();
  if (child == 0) {
    int failed = 0;
    for (const auto &test : tests) {
      try {
        test.run();
      } catch (const std::exception &failure) {
        std::printf("FAILED %s: %s\n", test.name, failure.what());
        failed++;
      }
    }
    std::printf("%zu tests, %d failed\n", std::size(tests), failed);
    return failed != 0;
  }
  int status = -1;
  bool passed = child > 0 && waitpid(child, &status, 0) == child && status == 0;
  std::filesystem::remove_all(directory);
  return passed ? 0 : 1;
}
