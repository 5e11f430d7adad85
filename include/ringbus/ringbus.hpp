/* SPDX-License-Identifier: MIT */
/* ringbus.hpp - ringbus.h for C++17 and later: handles that clean up after themselves, and errors as
 * exceptions or std::error_code. Header only; there is nothing more to link. It needs exceptions.
 *
 *    ringbus::ring ──▶ producer ──claim()──▶ claim      aborted at the end of its scope, unless committed
 *                  ──▶ consumer ──borrow()─▶ borrowed   released at the end of its scope
 *                  ──▶ observer
 *    ringbus::poller, over many consumers
 *
 * What every call does, is promised and not promised stands in ringbus.h; here is only what C++ adds.
 * The option and information structures are those of ringbus.h, which this header includes. Include
 * <ringbus/inline.h> before or after it, and the hot path is inlined here, too. Bytes are
 * std::string_view in both directions, whatever they are.
 *
 * Handles are moved, never copied, and leave (detach, close) in their destructors, which throw nothing:
 * what leaving answers, -ECHILD in a forked child, nobody can do anything about there. leave() does the
 * same earlier, and may be called again. A handle that was moved from, or has left, holds nothing:
 * calls answer EINVAL. native() is the handle of ringbus.h for whatever is not here, take() gives it out of
 * hand, and the constructor from a native handle takes one over. The order in which ring and handles
 * go does not matter. Threads: as in ringbus.h; a handle and what was borrowed or claimed from it belong
 * to one thread at a time.
 *
 * Errors. What fails throws std::system_error, with ringbus_error_detail() in what() where the call leaves a
 * sentence. What is no failure is not thrown but returned as an outcome: nothing now, end of stream, lapped,
 * timed out, interrupted. (evict and flush have nothing else to answer: they throw timed_out if the process is
 * still there, and resource_unavailable_try_again if the producer overwrote what was to be flushed.)
 *   All calls but a few have a second form as well, as in std::filesystem, with std::error_code& as its last
 * argument. It throws nothing; true is success, all else, those outcomes too, is in the code. Without one are:
 * ring: fd, info, participant, group, blame, repair; producer: position, count; claim: commit without a length;
 * consumer: still_valid, event_fd, event_arm; consumer and observer: position, count, seek, lost; the making of
 * a poller; list, bus_directory.
 * The code's category is ringbus::category(); compare it with std::errc:
 *   resource_unavailable_try_again, broken_pipe (end of stream), value_too_large (lapped), timed_out ...
 *
 * borrowed: the messages that a consumer has borrowed are released together, as in ringbus.h, when the
 * last borrowed object of that consumer has gone, or at once by ringbus::consumer's release, recv and seek,
 * which release, too: objects stay "true" then, but their bytes are no longer theirs. If one goes
 * because of an exception nothing is released by it: the work was not done. If the consumer goes, too,
 * its successor in a durable group gets the message again; if the exception is caught before, the next
 * release covers it (and a member of a shared group gets EBUSY until then: call release()). Bytes are
 * good until the release, and while the consumer is attached.
 *
 * claim: a second claim or send replaces an open one, whose claim object does nothing any more. A send that is
 * refused may leave it open, as in ringbus.h: abort it.
 */
#ifndef RINGBUS_RINGBUS_HPP
#define RINGBUS_RINGBUS_HPP

#ifndef __cpp_exceptions
#error "ringbus.hpp needs exceptions: compile without -fno-exceptions, or use ringbus.h"
#endif

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <ringbus/ringbus.h>

/* What a call returns is not to outlive the object that it was called on: clang warns of it. */
#if defined(__clang__) && __has_cpp_attribute(clang::lifetimebound)
#define RINGBUS_LIFETIMEBOUND [[clang::lifetimebound]]
#else
#define RINGBUS_LIFETIMEBOUND
#endif

namespace ringbus {

/* ---------------------------------------------------------------- errors */

/* category: values are positive errno, messages those of ringbus_strerror. */
inline const std::error_category &category() noexcept {
  class ringbus_category final : public std::error_category {
    const char *name() const noexcept override { return "ringbus"; }
    std::string message(int value) const override { return ringbus_strerror(-value); }
    std::error_condition default_error_condition(int value) const noexcept override {
      return std::error_condition(value, std::generic_category());
    }
  };
  static const ringbus_category instance;
  return instance;
}

/* error: the code for what a function of ringbus.h has returned. */
inline std::error_code error(int result) noexcept {
  return result == 0 ? std::error_code() : std::error_code(-result, category());
}

/* outcome: success, or what is no failure. To be looked at: a message that found no room is not sent. */
class [[nodiscard]] outcome {
public:
  constexpr explicit outcome(int result = 0) noexcept : result_(result) {}
  constexpr explicit operator bool() const noexcept { return result_ == 0; }
  constexpr bool nothing() const noexcept { return result_ == -EAGAIN; } /* or no room */
  /* the end of the stream; a poller: of all streams */
  constexpr bool ended() const noexcept { return result_ == -EPIPE || result_ == -ENOENT; }
  constexpr bool lapped() const noexcept { return result_ == -EOVERFLOW; }
  constexpr bool timed_out() const noexcept { return result_ == -ETIMEDOUT; }
  constexpr bool interrupted() const noexcept { return result_ == -EINTR; }
  constexpr int result() const noexcept { return result_; } /* 0, or negative as in ringbus.h */

private:
  int result_;
};

namespace detail {

[[noreturn]] inline void raise(int result, bool has_detail) {
  const char *text = has_detail ? ringbus_error_detail() : "";
  if (*text)
    throw std::system_error(error(result), text);
  throw std::system_error(error(result));
}

/* hot calls, and others that leave no sentence */
inline void check(int result) {
  if (result != 0)
    raise(result, false);
}

/* calls that create, open, remove, list, attach or describe */
inline void check_detailed(int result) {
  if (result != 0)
    raise(result, true);
}

template <class... Errors> outcome expect(int result, Errors... no_failures) {
  if (result != 0 && ((result != -no_failures) && ...))
    raise(result, false);
  return outcome(result);
}

inline bool store(int result, std::error_code &code) noexcept {
  code = error(result);
  return result == 0;
}

/* Of calls that leave a sentence with -EINVAL; with another failure an older sentence might still stand there. */
template <class... Errors> outcome expect_detailed(int result, Errors... no_failures) {
  if (result == -EINVAL)
    raise(result, true);
  return expect(result, no_failures...);
}

/* (pointer, length): not a literal, whose address nobody sends by mistake. */
template <class Text, class Tag, class Bare = std::remove_reference_t<Text>>
using if_pointer_and_length =
    std::enable_if_t<std::is_convertible_v<Text, const char *> && std::is_integral_v<Tag> &&
                         !(std::is_array_v<Bare> && std::is_const_v<std::remove_extent_t<Bare>>),
                     int>;

/* owner: a native handle that leaves by Leave. */
template <class Native, int (*Leave)(Native *)> class owner {
public:
  owner() noexcept = default;
  explicit owner(Native *native) noexcept : native_(native) {}
  owner(owner &&other) noexcept : native_(other.take()) {}
  owner &operator=(owner &&other) noexcept {
    if (this != &other) {
      Leave(native_);
      native_ = other.take();
    }
    return *this;
  }
  ~owner() { Leave(native_); }

  explicit operator bool() const noexcept { return native_ != nullptr; }
  Native *native() const noexcept { return native_; }
  Native *take() noexcept { return std::exchange(native_, nullptr); }
  void leave() { check(Leave(take())); }
  bool leave(std::error_code &code) noexcept { return store(Leave(take()), code); }

protected:
  Native *native_ = nullptr;
};

/* shared_owner: the same for handles that give objects out of hand (claims, borrowed messages). These may
 * outlive the handle, and must find it wherever it was moved to: so what they have in common stands
 * in a place of its own, which goes with the last of them. Not for several threads, as the handle. */
template <class Native> struct common {
  Native *native = nullptr;
  std::size_t objects = 0;  /* given out of hand and not gone */
  std::uint64_t serial = 0; /* of the last claim */

  /* Not inlined: gcc cannot know who is the last, and would warn of a use after the deletion. */
  [[gnu::noinline]] static void dispose(common *gone) noexcept { delete gone; }
};

template <class Native, int (*Leave)(Native *)> class shared_owner {
public:
  shared_owner() noexcept = default;
  explicit shared_owner(Native *native) : common_(native ? new common<Native>{native} : nullptr) {}
  shared_owner(shared_owner &&other) noexcept : common_(std::exchange(other.common_, nullptr)) {}
  shared_owner &operator=(shared_owner &&other) noexcept {
    if (this != &other) {
      Leave(take());
      common_ = std::exchange(other.common_, nullptr);
    }
    return *this;
  }
  ~shared_owner() { Leave(take()); }

  explicit operator bool() const noexcept { return common_ != nullptr; }
  Native *native() const noexcept { return common_ ? common_->native : nullptr; }
  /* what was borrowed or claimed does nothing any more then */
  Native *take() noexcept {
    if (!common_)
      return nullptr;
    Native *native = std::exchange(common_->native, nullptr);
    if (common_->objects == 0)
      common<Native>::dispose(common_);
    common_ = nullptr;
    return native;
  }
  void leave() { check(Leave(take())); }
  bool leave(std::error_code &code) noexcept { return store(Leave(take()), code); }

protected:
  /* Attach by a function of ringbus.h; nothing is thrown, and nothing attached if there is no memory. */
  template <class Options, int (*Attach)(ringbus_ring *, const Options *, Native **)>
  int attach(ringbus_ring *ring, const Options &options) noexcept {
    auto *made = new (std::nothrow) common<Native>;
    int result = made ? Attach(ring, &options, &made->native) : -ENOMEM;
    if (result == 0)
      common_ = made;
    else
      delete made;
    return result;
  }

  common<Native> *common_ = nullptr;
};

/* member: one of the objects given out of hand. */
template <class Native> class member {
public:
  member() noexcept = default;
  explicit member(common<Native> *common) noexcept : common_(common) {
    if (common_)
      ++common_->objects;
  }
  member(member &&other) noexcept : common_(std::exchange(other.common_, nullptr)) {}
  member &operator=(member &&) = delete;
  ~member() { leave(); }

  explicit operator bool() const noexcept { return common_ != nullptr; }
  common<Native> *operator->() const noexcept { return common_; }
  /* The native handle, if this was the last of its objects, else NULL. */
  Native *leave() noexcept {
    common<Native> *common = std::exchange(common_, nullptr);
    if (!common || --common->objects != 0)
      return nullptr;
    Native *native = common->native;
    if (!native)
      ringbus::detail::common<Native>::dispose(common);
    return native;
  }

private:
  common<Native> *common_ = nullptr;
};

} // namespace detail

/* Timeouts are relative; zero, or what is left of a time that has passed, looks once. */
using nanoseconds = std::chrono::nanoseconds;
inline constexpr nanoseconds forever = (nanoseconds::max)();

namespace detail {
inline std::int64_t relative(nanoseconds timeout) noexcept {
  return timeout == forever ? RINGBUS_FOREVER : timeout.count() < 0 ? 0 : timeout.count();
}
} // namespace detail

/* bytes: to send any object's. text: a message's, wherever they are. */
inline std::string_view bytes(const void *data, std::size_t size) noexcept {
  return {static_cast<const char *>(data), size};
}
inline std::string_view text(const ringbus_message &message) noexcept {
  return {static_cast<const char *>(message.data), message.length};
}

/* ---------------------------------------------------------------- ring */

class ring : public detail::owner<ringbus_ring, ringbus_ring_close> {
public:
  using owner::owner;

  static ring create(const char *name, const ringbus_create_options &options = {}) {
    ring made;
    detail::check_detailed(ringbus_ring_create(name, &options, &made.native_));
    return made;
  }
  static ring create(const char *name, const ringbus_create_options &options,
                     std::error_code &code) noexcept {
    ring made;
    detail::store(ringbus_ring_create(name, &options, &made.native_), code);
    return made;
  }

  static ring create_anonymous(const ringbus_create_options &options = {}) {
    ring made;
    detail::check_detailed(ringbus_ring_create_anonymous(&options, &made.native_));
    return made;
  }
  static ring create_anonymous(const ringbus_create_options &options,
                               std::error_code &code) noexcept {
    ring made;
    detail::store(ringbus_ring_create_anonymous(&options, &made.native_), code);
    return made;
  }

  static ring open(const char *name, const ringbus_open_options &options = {}) {
    ring made;
    detail::check_detailed(ringbus_ring_open(name, &options, &made.native_));
    return made;
  }
  static ring open(const char *name, const ringbus_open_options &options,
                   std::error_code &code) noexcept {
    ring made;
    detail::store(ringbus_ring_open(name, &options, &made.native_), code);
    return made;
  }

  static ring open_fd(int fd, const ringbus_open_options &options = {}) {
    ring made;
    detail::check_detailed(ringbus_ring_open_fd(fd, &options, &made.native_));
    return made;
  }
  static ring open_fd(int fd, const ringbus_open_options &options, std::error_code &code) noexcept {
    ring made;
    detail::store(ringbus_ring_open_fd(fd, &options, &made.native_), code);
    return made;
  }

  static void remove(const char *name, bool force = false) {
    detail::check_detailed(ringbus_ring_remove(name, force));
  }
  static bool remove(const char *name, bool force, std::error_code &code) noexcept {
    return detail::store(ringbus_ring_remove(name, force), code);
  }

  int fd() const {
    int fd = -1;
    detail::check_detailed(ringbus_ring_fd(native_, &fd));
    return fd;
  }
  void flush() { detail::check_detailed(ringbus_ring_flush(native_)); }
  bool flush(std::error_code &code) noexcept {
    return detail::store(ringbus_ring_flush(native_), code);
  }

  struct ringbus_ring_info info() const { /* a function has the same name */
    struct ringbus_ring_info snapshot;
    detail::check_detailed(ringbus_ring_info(native_, &snapshot));
    return snapshot;
  }
  /* Nothing: nobody, or no group, in this place; nobody is waited for. */
  std::optional<ringbus_participant> participant(std::uint32_t slot) const {
    ringbus_participant found;
    return found_or_not(ringbus_ring_participant(native_, slot, &found), found);
  }
  std::optional<ringbus_group_info> group(std::uint32_t index) const {
    ringbus_group_info found;
    return found_or_not(ringbus_ring_group(native_, index, &found), found);
  }
  std::optional<ringbus_blame> blame(ringbus_role waiting) const {
    ringbus_blame found;
    return found_or_not(ringbus_ring_blame(native_, waiting, &found), found);
  }

  void evict(const ringbus_participant &whom, nanoseconds timeout) {
    detail::check_detailed(ringbus_ring_evict(native_, &whom, detail::relative(timeout)));
  }
  bool evict(const ringbus_participant &whom, nanoseconds timeout, std::error_code &code) noexcept {
    return detail::store(ringbus_ring_evict(native_, &whom, detail::relative(timeout)), code);
  }
  std::uint64_t repair() {
    std::uint64_t recovered = 0;
    detail::check_detailed(ringbus_ring_repair(native_, &recovered));
    return recovered;
  }
  void remove_group(const char *group) {
    detail::check_detailed(ringbus_ring_remove_group(native_, group));
  }
  bool remove_group(const char *group, std::error_code &code) noexcept {
    return detail::store(ringbus_ring_remove_group(native_, group), code);
  }

  outcome wait_for(ringbus_role role, nanoseconds timeout = forever) const {
    return detail::expect(ringbus_ring_wait_for(native_, role, detail::relative(timeout)),
                          ETIMEDOUT, EINTR);
  }
  bool wait_for(ringbus_role role, nanoseconds timeout, std::error_code &code) const noexcept {
    return detail::store(ringbus_ring_wait_for(native_, role, detail::relative(timeout)), code);
  }

private:
  template <class Found> static std::optional<Found> found_or_not(int result, const Found &found) {
    if (result == -ENOENT)
      return std::nullopt;
    detail::check_detailed(result);
    return found;
  }
};

inline std::string bus_directory() {
  std::string path(4096, '\0');
  detail::check_detailed(ringbus_bus_directory(path.data(), path.size()));
  path.resize(path.find('\0'));
  return path;
}

/* list: the rings of a directory (NULL: the bus directory), in no order. */
inline std::vector<std::string> list(const char *directory = nullptr) {
  struct {
    std::vector<std::string> names;
    std::exception_ptr failure; /* is not thrown through C */
  } found;
  int result = ringbus_bus_list(
      directory,
      [](const char *name, void *context) {
        auto *into = static_cast<decltype(found) *>(context);
        try {
          into->names.emplace_back(name);
          return 0;
        } catch (...) {
          into->failure = std::current_exception();
          return 1;
        }
      },
      &found);
  if (found.failure)
    std::rethrow_exception(found.failure);
  detail::check_detailed(result);
  return std::move(found.names);
}

/* ---------------------------------------------------------------- producer */

/* claim: room in the ring for one message, not yet visible. Empty if there was none. */
class [[nodiscard]] claim {
public:
  claim() noexcept : claim(-EINVAL) {}
  claim(claim &&) noexcept = default;
  claim &operator=(claim &&) = delete; /* a new claim replaces the old one already */
  ~claim() { give_up(); }

  explicit operator bool() const noexcept { return static_cast<bool>(producer_); }
  outcome why() const noexcept { return outcome(result_); } /* it is empty */
  void *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

  /* Publish the first length bytes. After a failure the claim stays, if it was only too long. */
  void commit(std::size_t length) { detail::check(publish(length)); }
  bool commit(std::size_t length, std::error_code &code) noexcept {
    return detail::store(publish(length), code);
  }
  void commit() { commit(size_); }
  void abort() { detail::check(give_up()); }
  bool abort(std::error_code &code) noexcept { return detail::store(give_up(), code); }

private:
  friend class producer;
  explicit claim(int result) noexcept : result_(result) {}
  claim(detail::common<ringbus_producer> *common, void *data, std::size_t length) noexcept
      : producer_(common), serial_(++common->serial), data_(data), size_(length), result_(0) {}
  bool is_open() const noexcept {
    return producer_ && producer_->native && producer_->serial == serial_;
  }
  int publish(std::size_t length) noexcept {
    int result = is_open() ? ringbus_producer_commit(producer_->native, length) : -EINVAL;
    if (result != -EMSGSIZE)
      producer_.leave();
    return result;
  }
  int give_up() noexcept {
    int result = is_open() ? ringbus_producer_abort(producer_->native) : -EINVAL;
    producer_.leave();
    return result;
  }

  detail::member<ringbus_producer> producer_;
  std::uint64_t serial_ = 0;
  void *data_ = nullptr;
  std::size_t size_ = 0;
  int result_;
};

class producer : public detail::shared_owner<ringbus_producer, ringbus_producer_detach> {
public:
  using shared_owner::shared_owner;
  producer() noexcept = default;
  explicit producer(const ring &ring, const ringbus_producer_options &options = {}) {
    detail::check_detailed(join(ring, options));
  }
  producer(const ring &ring, const ringbus_producer_options &options,
           std::error_code &code) noexcept {
    detail::store(join(ring, options), code);
  }

  /* An open claim is given up: whoever has the native handle then does not know of it. */
  ringbus_producer *take() noexcept {
    if (common_ && common_->objects != 0)
      ringbus_producer_abort(common_->native);
    return shared_owner::take();
  }

  /* What is a pointer and a length in ringbus.h would be a string and a tag here: say bytes(pointer, length),
   * or, of a string with a tag, std::string_view(pointer). */
  template <class Text, class Tag, detail::if_pointer_and_length<Text, Tag> = 0>
  outcome send(Text &&, Tag) = delete;
  template <class Text, class Tag, detail::if_pointer_and_length<Text, Tag> = 0>
  bool send(Text &&, Tag, std::error_code &) = delete;

  outcome send(std::string_view bytes, std::uint32_t tag = 0) {
    return detail::expect(put(bytes, tag), EAGAIN);
  }
  bool send(std::string_view bytes, std::uint32_t tag, std::error_code &code) noexcept {
    return detail::store(put(bytes, tag), code);
  }

  /* all_at_once comes behind the tag, which is no bool. */
  template <class Bool, std::enable_if_t<std::is_same_v<Bool, bool>, int> = 0>
  outcome send_batch(const iovec *, std::size_t, std::size_t &, Bool) = delete;

  /* sent: how many were, whatever the outcome, and also when this throws. */
  outcome send_batch(const iovec *messages, std::size_t count, std::size_t &sent,
                     std::uint32_t tag = 0, bool all_at_once = false) {
    return detail::expect(put_batch(messages, count, tag, all_at_once, sent), EAGAIN);
  }
  bool send_batch(const iovec *messages, std::size_t count, std::size_t &sent, std::uint32_t tag,
                  bool all_at_once, std::error_code &code) noexcept {
    return detail::store(put_batch(messages, count, tag, all_at_once, sent), code);
  }

  /* An empty claim if there is no room: why() says so. */
  ringbus::claim claim(std::size_t length, std::uint32_t tag = 0) {
    ringbus::claim made = reserve(length, tag);
    (void)detail::expect(made.result_, EAGAIN);
    return made;
  }
  ringbus::claim claim(std::size_t length, std::uint32_t tag, std::error_code &code) noexcept {
    ringbus::claim made = reserve(length, tag);
    detail::store(made.result_, code);
    return made;
  }

  outcome wait(std::size_t length, std::uint32_t tag = 0, nanoseconds timeout = forever) {
    return detail::expect(wait_for_room(length, tag, timeout), ETIMEDOUT, EINTR);
  }
  bool wait(std::size_t length, std::uint32_t tag, nanoseconds timeout,
            std::error_code &code) noexcept {
    return detail::store(wait_for_room(length, tag, timeout), code);
  }
  outcome drain(nanoseconds timeout = forever) {
    return detail::expect(wait_until_read(timeout), ETIMEDOUT, EINTR);
  }
  bool drain(nanoseconds timeout, std::error_code &code) noexcept {
    return detail::store(wait_until_read(timeout), code);
  }

  void finish() { detail::check(end()); }
  bool finish(std::error_code &code) noexcept { return detail::store(end(), code); }

  /* Nothing: the other producers are too fast to be counted. */
  std::optional<std::uint64_t> position() const { return tell(true); }
  std::optional<std::uint64_t> count() const { return tell(false); }

private:
  int join(const ring &ring, const ringbus_producer_options &options) noexcept {
    return attach<ringbus_producer_options, ringbus_producer_attach>(ring.native(), options);
  }
  int put(std::string_view bytes, std::uint32_t tag) noexcept {
    return common_ ? ringbus_producer_send(common_->native, bytes.data(), bytes.size(), tag)
                   : -EINVAL;
  }
  int put_batch(const iovec *messages, std::size_t count, std::uint32_t tag, bool all_at_once,
                std::size_t &sent) noexcept {
    sent = 0;
    return common_ ? ringbus_producer_send_batch(common_->native, messages, count, tag, all_at_once,
                                                 &sent)
                   : -EINVAL;
  }
  ringbus::claim reserve(std::size_t length, std::uint32_t tag) noexcept {
    void *data = nullptr;
    int result = common_ ? ringbus_producer_claim(common_->native, length, tag, &data) : -EINVAL;
    return result == 0 ? ringbus::claim(common_, data, length) : ringbus::claim(result);
  }
  int wait_for_room(std::size_t length, std::uint32_t tag, nanoseconds timeout) noexcept {
    return common_ ? ringbus_producer_wait(common_->native, length, tag, detail::relative(timeout))
                   : -EINVAL;
  }
  int wait_until_read(nanoseconds timeout) noexcept {
    return common_ ? ringbus_producer_drain(common_->native, detail::relative(timeout)) : -EINVAL;
  }
  int end() noexcept { return common_ ? ringbus_producer_finish(common_->native) : -EINVAL; }
  std::optional<std::uint64_t> tell(bool position) const {
    std::uint64_t at = 0, count = 0;
    int result = common_ ? ringbus_producer_tell(common_->native, &at, &count) : -EINVAL;
    if (!detail::expect(result, EAGAIN))
      return std::nullopt;
    return position ? at : count;
  }
};

/* ---------------------------------------------------------------- consumer */

namespace detail {

/* hold: what keeps borrowed messages from being released. */
class hold {
public:
  hold() noexcept = default;
  explicit hold(common<ringbus_consumer> *common) noexcept
      : consumer_(common), exceptions_(std::uncaught_exceptions()) {}
  hold(hold &&) noexcept = default;
  hold &operator=(hold &&) = delete;
  ~hold() {
    ringbus_consumer *last = consumer_.leave();
    if (last && std::uncaught_exceptions() <= exceptions_)
      ringbus_consumer_release(last);
  }

  explicit operator bool() const noexcept { return static_cast<bool>(consumer_); }
  int release() noexcept {
    ringbus_consumer *last = consumer_.leave();
    return last ? ringbus_consumer_release(last) : 0;
  }

private:
  member<ringbus_consumer> consumer_;
  int exceptions_ = 0;
};

} // namespace detail

/* borrowed: one message, in the ring. Empty if there was none. */
class [[nodiscard]] borrowed {
public:
  borrowed() noexcept : borrowed(nullptr, -EINVAL, {}) {}

  explicit operator bool() const noexcept { return static_cast<bool>(hold_); }
  outcome why() const noexcept { return outcome(result_); } /* it is empty */
  const ringbus_message &operator*() const noexcept { return message_; }
  const ringbus_message *operator->() const noexcept { return &message_; }
  std::string_view text() const noexcept RINGBUS_LIFETIMEBOUND { return ringbus::text(message_); }

  void release() { detail::check(hold_.release()); }
  bool release(std::error_code &code) noexcept { return detail::store(hold_.release(), code); }

private:
  friend class consumer;
  borrowed(detail::common<ringbus_consumer> *common, int result,
           const ringbus_message &message) noexcept
      : hold_(common), message_(message), result_(result) {}

  detail::hold hold_;
  ringbus_message message_;
  int result_;
};

/* borrowed_batch: several, described in the caller's array. Empty if there were none. */
class [[nodiscard]] borrowed_batch {
public:
  borrowed_batch() noexcept : borrowed_batch(nullptr, -EINVAL, nullptr, 0) {}

  explicit operator bool() const noexcept { return static_cast<bool>(hold_); }
  outcome why() const noexcept { return outcome(result_); } /* it is empty */
  const ringbus_message *begin() const noexcept { return messages_; }
  const ringbus_message *end() const noexcept { return messages_ + size(); }
  std::size_t size() const noexcept { return hold_ ? size_ : 0; } /* none once released or moved */

  void release() { detail::check(hold_.release()); }
  bool release(std::error_code &code) noexcept { return detail::store(hold_.release(), code); }

private:
  friend class consumer;
  borrowed_batch(detail::common<ringbus_consumer> *common, int result,
                 const ringbus_message *messages, std::size_t size) noexcept
      : hold_(common), messages_(messages), size_(size), result_(result) {}

  detail::hold hold_;
  const ringbus_message *messages_;
  std::size_t size_;
  int result_;
};

struct lost {
  std::uint64_t messages, bytes;
};

class consumer : public detail::shared_owner<ringbus_consumer, ringbus_consumer_detach> {
public:
  using shared_owner::shared_owner;
  consumer() noexcept = default;
  explicit consumer(const ring &ring, const ringbus_consumer_options &options = {}) {
    detail::check_detailed(join(ring, options));
  }
  consumer(const ring &ring, const ringbus_consumer_options &options,
           std::error_code &code) noexcept {
    detail::store(join(ring, options), code);
  }

  /* An empty one for nothing now, the end of the stream, lapped: why() says which. */
  ringbus::borrowed borrow() {
    ringbus::borrowed got = next();
    (void)detail::expect(got.result_, EAGAIN, EPIPE, EOVERFLOW);
    return got;
  }
  ringbus::borrowed borrow(std::error_code &code) noexcept {
    ringbus::borrowed got = next();
    detail::store(got.result_, code);
    return got;
  }
  /* messages: room for max, which stays the caller's. */
  borrowed_batch borrow_batch(ringbus_message *messages, std::size_t max) {
    borrowed_batch got = next_batch(messages, max);
    (void)detail::expect(got.result_, EAGAIN, EPIPE, EOVERFLOW);
    return got;
  }
  borrowed_batch borrow_batch(ringbus_message *messages, std::size_t max,
                              std::error_code &code) noexcept {
    borrowed_batch got = next_batch(messages, max);
    detail::store(got.result_, code);
    return got;
  }
  /* Everything borrowed so far, whoever still holds it. */
  void release() { detail::check(let_go()); }
  bool release(std::error_code &code) noexcept { return detail::store(let_go(), code); }
  /* Lapped: what was borrowed may have been overwritten. */
  outcome still_valid() const {
    return detail::expect(common_ ? ringbus_consumer_still_valid(common_->native) : -EINVAL,
                          EOVERFLOW);
  }

  /* message.length says what is needed if size is too small (EMSGSIZE). */
  outcome recv(void *buffer, std::size_t size, ringbus_message &message) {
    return detail::expect(get(buffer, size, message), EAGAIN, EPIPE, EOVERFLOW);
  }
  bool recv(void *buffer, std::size_t size, ringbus_message &message,
            std::error_code &code) noexcept {
    return detail::store(get(buffer, size, message), code);
  }

  /* Ended, also if no producer is left and the options say that this is the end. */
  outcome wait(nanoseconds timeout = forever) {
    return detail::expect(sleep(timeout), EPIPE, ETIMEDOUT, EINTR);
  }
  bool wait(nanoseconds timeout, std::error_code &code) noexcept {
    return detail::store(sleep(timeout), code);
  }

  int event_fd() {
    int fd = -1;
    detail::check_detailed(ringbus_consumer_event_fd(native(), &fd));
    return fd;
  }
  outcome event_arm() {
    if (!common_)
      detail::raise(-EINVAL, false);
    return detail::expect_detailed(ringbus_consumer_event_arm(common_->native), EPIPE);
  }

  std::uint64_t position() const { return tell().first; }
  std::uint64_t count() const { return tell().second; }
  /* Lapped: now at the next message that is not being overwritten. */
  outcome seek(ringbus_start start, std::uint64_t position = 0) {
    if (!common_)
      detail::raise(-EINVAL, false);
    return detail::expect_detailed(ringbus_consumer_seek(common_->native, start, position),
                                   EOVERFLOW);
  }
  ringbus::lost lost() const {
    ringbus::lost so_far{};
    detail::check(common_ ? ringbus_consumer_lost(common_->native, &so_far.messages, &so_far.bytes)
                          : -EINVAL);
    return so_far;
  }

private:
  int join(const ring &ring, const ringbus_consumer_options &options) noexcept {
    return attach<ringbus_consumer_options, ringbus_consumer_attach>(ring.native(), options);
  }
  ringbus::borrowed next() noexcept {
    ringbus_message message{};
    int result = common_ ? ringbus_consumer_borrow(common_->native, &message) : -EINVAL;
    return {result == 0 ? common_ : nullptr, result, message};
  }
  borrowed_batch next_batch(ringbus_message *messages, std::size_t max) noexcept {
    std::size_t count = 0;
    int result =
        common_ ? ringbus_consumer_borrow_batch(common_->native, messages, max, &count) : -EINVAL;
    return {result == 0 ? common_ : nullptr, result, messages, count};
  }
  int let_go() noexcept { return common_ ? ringbus_consumer_release(common_->native) : -EINVAL; }
  int get(void *buffer, std::size_t size, ringbus_message &message) noexcept {
    return common_ ? ringbus_consumer_recv(common_->native, buffer, size, &message) : -EINVAL;
  }
  int sleep(nanoseconds timeout) noexcept {
    return common_ ? ringbus_consumer_wait(common_->native, detail::relative(timeout)) : -EINVAL;
  }
  std::pair<std::uint64_t, std::uint64_t> tell() const {
    std::pair<std::uint64_t, std::uint64_t> at;
    detail::check(common_ ? ringbus_consumer_tell(common_->native, &at.first, &at.second)
                          : -EINVAL);
    return at;
  }
};

/* ---------------------------------------------------------------- poller */

/* What is ready is told by the native consumer and the context given to add: the consumer object itself
 * may be moved meanwhile. A consumer that leaves, leaves its poller, too. */
class poller : public detail::owner<ringbus_poller, ringbus_poller_destroy> {
public:
  using owner::owner;
  explicit poller(const ringbus_poller_options &options = {}) {
    detail::check_detailed(ringbus_poller_create(&options, &native_));
  }

  void add(const consumer &consumer, void *context = nullptr) {
    detail::check_detailed(ringbus_poller_add(native_, consumer.native(), context));
  }
  bool add(const consumer &consumer, void *context, std::error_code &code) noexcept {
    return detail::store(ringbus_poller_add(native_, consumer.native(), context), code);
  }
  void remove(const consumer &consumer) {
    detail::check_detailed(ringbus_poller_remove(native_, consumer.native()));
  }
  bool remove(const consumer &consumer, std::error_code &code) noexcept {
    return detail::store(ringbus_poller_remove(native_, consumer.native()), code);
  }
  /* Ended: the poller is empty. */
  outcome wait(ringbus_ready &ready, nanoseconds timeout = forever) {
    return detail::expect(ringbus_poller_wait(native_, detail::relative(timeout), &ready), ENOENT,
                          ETIMEDOUT, EINTR);
  }
  bool wait(ringbus_ready &ready, nanoseconds timeout, std::error_code &code) noexcept {
    return detail::store(ringbus_poller_wait(native_, detail::relative(timeout), &ready), code);
  }
};

/* ---------------------------------------------------------------- observer */

class observer : public detail::owner<ringbus_observer, ringbus_observer_detach> {
public:
  using owner::owner;
  observer() noexcept = default;
  explicit observer(const ring &ring, const ringbus_observer_options &options = {}) {
    detail::check_detailed(ringbus_observer_attach(ring.native(), &options, &native_));
  }
  observer(const ring &ring, const ringbus_observer_options &options,
           std::error_code &code) noexcept {
    detail::store(ringbus_observer_attach(ring.native(), &options, &native_), code);
  }

  outcome recv(void *buffer, std::size_t size, ringbus_message &message) {
    return detail::expect(get(buffer, size, message), EAGAIN, EPIPE, EOVERFLOW);
  }
  bool recv(void *buffer, std::size_t size, ringbus_message &message,
            std::error_code &code) noexcept {
    return detail::store(get(buffer, size, message), code);
  }
  outcome wait(nanoseconds timeout = forever) {
    return detail::expect(sleep(timeout), EPIPE, ETIMEDOUT, EINTR);
  }
  bool wait(nanoseconds timeout, std::error_code &code) noexcept {
    return detail::store(sleep(timeout), code);
  }
  std::uint64_t position() const { return tell().first; }
  std::uint64_t count() const { return tell().second; }
  void seek(ringbus_start start, std::uint64_t position = 0) {
    if (!native_)
      detail::raise(-EINVAL, false);
    (void)detail::expect_detailed(ringbus_observer_seek(native_, start, position));
  }
  ringbus::lost lost() const {
    ringbus::lost so_far{};
    detail::check(native_ ? ringbus_observer_lost(native_, &so_far.messages, &so_far.bytes)
                          : -EINVAL);
    return so_far;
  }

private:
  int get(void *buffer, std::size_t size, ringbus_message &message) noexcept {
    return native_ ? ringbus_observer_recv(native_, buffer, size, &message) : -EINVAL;
  }
  int sleep(nanoseconds timeout) noexcept {
    return native_ ? ringbus_observer_wait(native_, detail::relative(timeout)) : -EINVAL;
  }
  std::pair<std::uint64_t, std::uint64_t> tell() const {
    std::pair<std::uint64_t, std::uint64_t> at;
    detail::check(native_ ? ringbus_observer_tell(native_, &at.first, &at.second) : -EINVAL);
    return at;
  }
};

} // namespace ringbus

#undef RINGBUS_LIFETIMEBOUND

#endif
