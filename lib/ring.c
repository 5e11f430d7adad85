/* SPDX-License-Identifier: MIT */
/* ring.c - the life of the file.
 *
 *   nameless ──filled, space reserved──▶ whole ──link(2)──▶ named ──remove: retired, unlinked──▶ gone
 *
 * A file gets its name in one step when nothing of it is missing, without replacing another one. A
 * creator that dies earlier leaves nothing. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"

#define DEFAULT_CAPACITY (UINT64_C(1) << 20)
#define DEFAULT_PARTICIPANTS 63u
#define DEFAULT_GROUPS 16u
#define LONGEST_NAME 200u
#define REMOVE_LOCK offsetof(struct ringbus_header, identity)
#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)

#ifndef CIFS_SUPER_MAGIC
#define CIFS_SUPER_MAGIC 0xff534d42
#endif

/* ---------------------------------------------------------------- names */

int ringbus_bus_directory(char *path, size_t size) {
  const char *chosen = secure_getenv("RINGBUS_DIR");
  int length;
  if (chosen && *chosen) {
    length = snprintf(path, size, "%s", chosen);
    return length < 0 || (size_t)length >= size ? fail(-ENAMETOOLONG, "$RINGBUS_DIR is too long")
                                                : 0;
  }
  length = snprintf(path, size, "/dev/shm/ringbus-%u", (unsigned)geteuid());
  if (length < 0 || (size_t)length >= size)
    return fail(-ENAMETOOLONG, NULL);
  if (mkdir(path, 0700) != 0 && errno != EEXIST)
    return fail_system("cannot make the bus directory %s", path);
  struct stat status;
  if (lstat(path, &status) != 0)
    return fail_system("cannot stat the bus directory %s", path);
  if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 077) != 0)
    return fail(-EPERM,
                "%s is not a private directory of this user: set RINGBUS_DIR to another one", path);
  return 0;
}

static int path_of(const char *name, char path[PATH_MAX]) {
  char directory[PATH_MAX];
  if (!name || !*name)
    return fail(-EINVAL, "a ring needs a name or a path");
  if (strchr(name, '/')) {
    if (strlen(name) >= PATH_MAX)
      return fail(-ENAMETOOLONG, "the path is too long");
    strcpy(path, name);
    return 0;
  }
  if (name[0] == '.' || strlen(name) > LONGEST_NAME)
    return fail(-EINVAL,
                "a ring's name has 1 to %u bytes and does not begin with '.'; for a file here "
                "write ./%s",
                LONGEST_NAME, name[0] == '.' ? name : "name");
  int result = ringbus_bus_directory(directory, sizeof directory);
  if (result != 0)
    return result;
  int length = snprintf(path, PATH_MAX, "%s/%s", directory, name);
  return length < 0 || length >= PATH_MAX ? fail(-ENAMETOOLONG, "the path is too long") : 0;
}

/* ---------------------------------------------------------------- descriptors */

int above_standard(int fd) {
  if (fd < 0 || fd > STDERR_FILENO)
    return fd;
  int higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  int error = errno;
  close(fd);
  errno = error;
  return higher;
}

/* ---------------------------------------------------------------- filesystems */

static int check_filesystem(int fd, struct statfs *filesystem) {
  static const struct {
    unsigned long magic;
    const char *name;
  } refused[] = {
      {NFS_SUPER_MAGIC, "NFS"},           {FUSE_SUPER_MAGIC, "FUSE"}, {V9FS_MAGIC, "9p"},
      {OVERLAYFS_SUPER_MAGIC, "overlay"}, {CIFS_SUPER_MAGIC, "CIFS"}, {SMB2_SUPER_MAGIC, "SMB"},
      {CEPH_SUPER_MAGIC, "Ceph"},         {AFS_SUPER_MAGIC, "AFS"},
  };
  if (fstatfs(fd, filesystem) != 0)
    return fail_system("cannot tell the filesystem");
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
    if ((uint32_t)filesystem->f_type == (uint32_t)refused[i].magic)
      return fail(-EOPNOTSUPP,
                  "%s does not promise coherent shared mappings and locks: put the ring "
                  "on /dev/shm, a tmpfs, or a local disk",
                  refused[i].name);
  return 0;
}

/* ---------------------------------------------------------------- open */

static bool owner_is_trusted(uid_t owner, const struct ringbus_open_options *options) {
  return owner == geteuid() || owner == 0 || (options->allow_owner && owner == options->owner);
}

static void close_both(int fd, int fresh_fd) {
  close(fd);
  if (fresh_fd >= 0)
    close(fresh_fd);
}

/* A ring object around an open file, which it takes over even if it fails. fresh_fd: a description for
 * locks where there is no reopening, or -1. */
static int adopt(int fd, int fresh_fd, const struct ringbus_open_options *options, bool retired_too,
                 ringbus_ring **out) {
  int result;
  ringbus_ring *ring = calloc(1, sizeof *ring);
  if (!ring) {
    close_both(fd, fresh_fd);
    return fail(-ENOMEM, NULL);
  }
  ring->fd = fd;
  ring->fresh_fd = fresh_fd;
  ring->keeps_fresh_fd = fresh_fd >= 0;
  ring->read_only = options->read_only;
  result = check_file(fd, options->read_only, &ring->geometry);
  if (result == 0)
    result = map_ring(ring, options);
  if (result != 0) {
    close_both(fd, fresh_fd);
    free(ring);
    return result;
  }
  struct ringbus_view *view = &ring->view;
  uint32_t capacity_shift = (uint32_t)__builtin_ctzll(ring->geometry.capacity);
  view->state = &ring->header->signals.state;
  view->data = (char *)ring->header + ring->geometry.data_offset;
  view->words = (char *)ring->header + ring->geometry.words_offset;
  view->mask = ring->geometry.capacity - 1;
  view->word_mask = view->mask & ~((UINT64_C(1) << ring->geometry.granule_shift) - 1);
  view->capacity_shift = capacity_shift;
  view->granule_shift = ring->geometry.granule_shift;
  view->word_shift = ring->geometry.word_shift;
  view->granules_mask = (ring->geometry.capacity >> view->granule_shift) - 1;
  view->state_shift = RINGBUS_WORD_STATE_SHIFT(capacity_shift - view->granule_shift);
  view->in_band = ring_has_many_producers(ring) ? 0 : 8;
  registry_add_ring(ring);
  fail(0, NULL);
  if (!retired_too && (shared_load32(&ring->header->signals.state) & RINGBUS_STATE_RETIRED))
    result = fail(-ESTALE, "the ring was retired: open its successor");
  else if (!ring->read_only)
    result = recover_after_reboot(ring);
  if (result != 0) {
    registry_drop_ring(ring);
    return result;
  }
  *out = ring;
  return 0;
}

static int open_path(const char *path, const struct ringbus_open_options *options, bool retired_too,
                     ringbus_ring **out) {
  struct stat status;
  struct statfs filesystem;
  /* O_NONBLOCK: a FIFO planted under the name must not stop us. */
  int fd = above_standard(open(path, (options->read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW |
                                         O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (fd < 0) {
    if (errno == ENOENT)
      return fail(-ENOENT, "there is no ring %s", path);
    if (errno == ELOOP)
      return fail(-ELOOP, "%s is a symbolic link, which is not followed", path);
    return fail_system("cannot open the ring %s", path);
  }
  int result = 0;
  if (fstat(fd, &status) != 0)
    result = fail_system("cannot stat %s", path);
  else if (!S_ISREG(status.st_mode))
    result = fail(-EPERM, "%s is not a regular file", path);
  else if (status.st_nlink == 0)
    result = fail(-ESTALE, "%s was removed while it was opened", path);
  else if (status.st_nlink != 1)
    result = fail(-EPERM, "%s has %lu links; a ring has one", path, (unsigned long)status.st_nlink);
  else if (!owner_is_trusted(status.st_uid, options))
    result = fail(-EPERM,
                  "%s belongs to user %u, who is not trusted: name that user in the options "
                  "if it should be",
                  path, (unsigned)status.st_uid);
  else
    result = check_filesystem(fd, &filesystem);
  if (result != 0) {
    close(fd);
    return result;
  }
  return adopt(fd, -1, options, retired_too, out);
}

static const struct ringbus_open_options open_defaults;

int ringbus_ring_open(const char *name, const struct ringbus_open_options *options,
                      ringbus_ring **ring) {
  char path[PATH_MAX];
  if (!ring)
    return fail(-EINVAL, "nowhere to put the ring");
  if (options && options->fresh_description)
    return fail(-EINVAL, "fresh_description is for ringbus_ring_open_fd");
  int result = path_of(name, path);
  return result ? result : open_path(path, options ? options : &open_defaults, false, ring);
}

int ringbus_ring_open_fd(int fd, const struct ringbus_open_options *options, ringbus_ring **ring) {
  char path[64];
  struct stat status;
  struct statfs filesystem;
  if (!ring)
    return fail(-EINVAL, "nowhere to put the ring");
  if (!options)
    options = &open_defaults;
  if (fstat(fd, &status) != 0)
    return fail_system("descriptor %d is not open", fd);
  if (!S_ISREG(status.st_mode))
    return fail(-EPERM, "descriptor %d is not a regular file", fd);
  int seals = fcntl(fd, F_GET_SEALS); /* -1 where there are none */
  if (status.st_nlink == 0 &&
      (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW)))
    return fail(-EPERM,
                "the file has no name, and is not a memfd sealed against shrinking and growing");
  if (!owner_is_trusted(status.st_uid, options))
    return fail(-EPERM,
                "the ring belongs to user %u, who is not trusted: name that user in the "
                "options if it should be",
                (unsigned)status.st_uid);
  int result = check_filesystem(fd, &filesystem);
  if (result != 0)
    return result;
  if ((unsigned long)filesystem.f_type == HUGETLBFS_MAGIC && status.st_nlink == 0)
    return fail(-EOPNOTSUPP,
                "a memfd of huge pages cannot be protected against holes: use a file on "
                "hugetlbfs");
  /* A description that came through a socket is shared with its sender, and so would be its locks. */
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int own = options->fresh_description
                ? fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
                : above_standard(open(path, (options->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC |
                                                O_NONBLOCK));
  if (own < 0)
    return fail_system("cannot reopen the descriptor through %s; its sender may make a fresh "
                       "description for this process and say so (fresh_description)",
                       path);
  int fresh = -1;
  if (options->fresh_description && !options->read_only) {
    fresh = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fresh < 0) {
      result = -errno;
      close(own);
      return fail(result, "cannot duplicate the descriptor");
    }
  }
  return adopt(own, fresh, options, false, ring);
}

int ringbus_ring_fd(const ringbus_ring *ring, int *fd) {
  if (!ring || !fd)
    return fail(-EINVAL, "no ring");
  if (ring->forked)
    return fail(-ECHILD, NULL);
  if (ring->keeps_fresh_fd)
    return fail(-EPERM, "this descriptor holds the participant's locks and must not be shared");
  *fd = ring->fd;
  return 0;
}

int ringbus_ring_close(ringbus_ring *ring) {
  if (!ring)
    return 0;
  bool forked = ring->forked;
  registry_drop_ring(ring);
  return forked ? -ECHILD : 0;
}

/* ---------------------------------------------------------------- create */

static int plan(const struct ringbus_create_options *options, struct geometry *geometry) {
  static const uint32_t wakes[] = {RINGBUS_WAKE_ASYMMETRIC, RINGBUS_WAKE_FENCED, RINGBUS_WAKE_NONE};
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  uint64_t least = page > RINGBUS_MIN_CAPACITY ? page : RINGBUS_MIN_CAPACITY;
  uint32_t participants =
      options->max_participants ? options->max_participants : DEFAULT_PARTICIPANTS;
  memset(geometry, 0, sizeof *geometry);
  geometry->capacity = options->capacity ? options->capacity : DEFAULT_CAPACITY;
  geometry->group_count = options->max_groups ? options->max_groups : DEFAULT_GROUPS;
  if (geometry->capacity < least || geometry->capacity > RINGBUS_MAX_CAPACITY ||
      (geometry->capacity & (geometry->capacity - 1)) != 0)
    return fail(-EINVAL, "the capacity must be a power of two from %llu to %llu bytes, not %llu",
                (unsigned long long)least, (unsigned long long)RINGBUS_MAX_CAPACITY,
                (unsigned long long)geometry->capacity);
  if (participants < 2 || participants >= RINGBUS_MAX_SLOTS)
    return fail(-EINVAL, "from 2 to %u participants, not %u", RINGBUS_MAX_SLOTS - 1, participants);
  if (geometry->group_count > RINGBUS_MAX_GROUPS)
    return fail(-EINVAL, "at most %u groups, not %u", RINGBUS_MAX_GROUPS, geometry->group_count);
  if (options->mode & ~(mode_t)0777)
    return fail(-EINVAL, "the mode has permission bits only, 0777 at most, not 0%o", options->mode);
  if ((unsigned)options->no_group > RINGBUS_DROP || (unsigned)options->wake > RINGBUS_WAKE_NEVER)
    return fail(-EINVAL, "unknown no_group or wake");
  geometry->slot_count = participants + 1;
  geometry->producers = options->many_producers ? RINGBUS_PRODUCERS_MANY : RINGBUS_PRODUCERS_SINGLE;
  geometry->policy = options->overwrite ? RINGBUS_POLICY_OVERWRITE : RINGBUS_POLICY_RELIABLE;
  geometry->no_group =
      options->no_group == RINGBUS_DROP ? RINGBUS_NO_GROUP_DROP : RINGBUS_NO_GROUP_HOLD;
  geometry->wake = wakes[options->wake];
  return 0;
}

static int write_header(int fd, const struct geometry *geometry) {
  struct ringbus_header header;
  struct ringbus_identity *identity = &header.identity;
  memset(&header, 0, sizeof header);
  identity->layout_version = RINGBUS_LAYOUT_VERSION;
  identity->identity_bytes = sizeof *identity;
  identity->capacity = geometry->capacity;
  identity->data_offset = geometry->data_offset;
  identity->words_offset = geometry->words_offset;
  identity->words_bytes = geometry->words_bytes;
  identity->granule_shift = geometry->granule_shift;
  identity->word_shift = geometry->word_shift;
  identity->producers = geometry->producers;
  identity->policy = geometry->policy;
  identity->no_group = geometry->no_group;
  identity->wake = geometry->wake;
  identity->slots_offset = geometry->slots_offset;
  identity->slot_count = geometry->slot_count;
  identity->slot_bytes = sizeof(struct ringbus_slot);
  identity->groups_offset = geometry->groups_offset;
  identity->group_count = geometry->group_count;
  identity->group_bytes = sizeof(struct ringbus_group);
  if (getrandom(identity->ring_id, sizeof identity->ring_id, 0) != sizeof identity->ring_id)
    return fail(-EIO, "no random numbers to be had");
  identity->created_ns = realtime_ns();
  identity->creator_pid = (uint32_t)getpid();
  identity->creator_uid = (uint32_t)geteuid();
  strncpy(identity->library_version, ringbus_version(), sizeof identity->library_version - 1);
  size_t hashed_from = offsetof(struct ringbus_identity, layout_version);
  identity->checksum = hash_bytes((const char *)identity + hashed_from,
                                  offsetof(struct ringbus_identity, checksum) - hashed_from);
  read_boot_id(header.life.boot_id);
  int result = write_start(fd, &header, sizeof header, geometry->data_offset);
  identity->magic = RINGBUS_MAGIC; /* last */
  return result ? result
                : write_start(fd, &identity->magic, sizeof identity->magic, geometry->data_offset);
}

/* Make an empty, still nameless file a whole ring. */
static int fill(int fd, const struct ringbus_create_options *options) {
  struct geometry geometry;
  struct statfs filesystem;
  mode_t mode = options->mode ? options->mode : 0600;
  int result = plan(options, &geometry);
  if (result == 0)
    result = check_filesystem(fd, &filesystem);
  if (result != 0)
    return result;
  bool huge = (unsigned long)filesystem.f_type == HUGETLBFS_MAGIC;
  if (huge &&
      (geometry.capacity % HUGE_PAGE_BYTES != 0 || (uint64_t)filesystem.f_bsize != HUGE_PAGE_BYTES))
    return fail(-EINVAL,
                "on hugetlbfs the pages must have 2 MiB, and the capacity be a multiple of it");
  layout_plan(&geometry, huge ? HUGE_PAGE_BYTES : RINGBUS_DATA_ALIGNMENT);
  struct rlimit largest;
  if (getrlimit(RLIMIT_FSIZE, &largest) == 0 && largest.rlim_cur < geometry.file_bytes)
    return fail(-EFBIG, "the ring needs a file of %llu bytes, the limit is %llu (ulimit -f)",
                (unsigned long long)geometry.file_bytes, (unsigned long long)largest.rlim_cur);
  do
    result = -posix_fallocate(fd, 0, (off_t)geometry.file_bytes);
  while (result == -EINTR);
  if (result != 0)
    return fail(result, "cannot reserve %llu bytes: %s", (unsigned long long)geometry.file_bytes,
                result == -ENOSPC ? "the filesystem is full, or too small for this ring"
                                  : "the filesystem refuses");
  if (options->set_group && fchown(fd, (uid_t)-1, options->group) != 0)
    return fail_system("cannot give the ring to group %u", (unsigned)options->group);
  if (fchmod(fd, mode & 0777) != 0) /* the umask does not apply */
    return fail_system("cannot set the ring's mode");
  return write_header(fd, &geometry);
}

static const struct ringbus_create_options create_defaults;

int ringbus_ring_create(const char *name, const struct ringbus_create_options *options,
                        ringbus_ring **ring) {
  char path[PATH_MAX], directory[PATH_MAX], nameless[64];
  if (!ring)
    return fail(-EINVAL, "nowhere to put the ring");
  if (!options)
    options = &create_defaults;
  int result = path_of(name, path);
  if (result != 0)
    return result;
  struct geometry geometry;
  result = plan(options, &geometry); /* a bad option is said before anything else */
  if (result != 0)
    return result;
  strcpy(directory, path);
  char *slash = strrchr(directory, '/');
  if (slash[1] == '\0')
    return fail(-EINVAL, "%s names a directory, not a ring", path);
  slash[slash == directory] = '\0';
  if (options->open_existing) {
    result = open_path(path, &open_defaults, false, ring);
    if (result != -ENOENT)
      return result;
  }
  int fd = above_standard(open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd < 0) {
    /* Old kernels know no O_TMPFILE and see an attempt to write to a directory. */
    return errno == EOPNOTSUPP || errno == EISDIR
               ? fail(-EOPNOTSUPP,
                      "the filesystem of %s has no nameless files (O_TMPFILE): put the "
                      "ring on /dev/shm, a tmpfs, or a local disk",
                      directory)
               : fail_system("cannot create a ring in the directory %s", directory);
  }
  result = fill(fd, options);
  if (result != 0) {
    close(fd);
    return result;
  }
  /* Mapped first: a ring that cannot be used here does not get the name. */
  ringbus_ring *made;
  result = adopt(fd, -1, &open_defaults, false, &made);
  if (result != 0)
    return result;
  snprintf(nameless, sizeof nameless, "/proc/self/fd/%d", fd);
  if (linkat(AT_FDCWD, nameless, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0) {
    result = errno == EEXIST ? fail(-EEXIST, "%s exists already", path)
                             : fail_system("cannot give the ring its name %s", path);
    registry_drop_ring(made);
    return result == -EEXIST && options->open_existing
               ? open_path(path, &open_defaults, false, ring)
               : result;
  }
  *ring = made;
  return 0;
}

int ringbus_ring_create_anonymous(const struct ringbus_create_options *options,
                                  ringbus_ring **ring) {
  if (!ring)
    return fail(-EINVAL, "nowhere to put the ring");
  if (!options)
    options = &create_defaults;
  if (options->open_existing)
    return fail(-EINVAL, "a ring without a name cannot exist already");
  int fd = above_standard(memfd_create("ringbus", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (fd < 0)
    return fail_system("cannot make a memfd");
  int result = fill(fd, options);
  if (result == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    result = fail_system("cannot seal the memfd");
  if (result != 0) {
    close(fd);
    return result;
  }
  return adopt(fd, -1, &open_defaults, false, ring);
}

/* ---------------------------------------------------------------- remove, list */

static void retire(ringbus_ring *ring) {
  struct ringbus_signals *signals = &ring->header->signals;
  shared_set_bits32(&signals->state, RINGBUS_STATE_RETIRED); /* STATE */
  ringbus_slow_wake(&signals->data_waiters);
  ringbus_slow_wake(&signals->room_waiters);
  notify_presence(ring);
}

/* Any participant that lives, for the message; 0 if none. */
static uint32_t anybody(const ringbus_ring *ring) {
  for (uint32_t slot = 1; slot < ring->geometry.slot_count; slot++)
    if (lock_is_held(ring->fd, slot_lock_offset(ring, slot)))
      return slot;
  return 0;
}

/* Whether its directory lets this user take a file's name away, as far as that can be told before. Returns 0 or a
 * negative errno. */
static int may_unlink(const char *path, const struct stat *file) {
  char directory[PATH_MAX];
  struct stat status;
  strcpy(directory, path);
  char *slash = strrchr(directory, '/');
  slash[slash == directory] = '\0';
  if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0 || stat(directory, &status) != 0)
    return -errno;
  bool others = file->st_uid != geteuid() && status.st_uid != geteuid() && geteuid() != 0;
  return others && (status.st_mode & S_ISVTX) ? -EPERM : 0;
}

/* Retire and unlink, while nobody else removes this ring. The name is this ring's until it is
 * unlinked: only its removers take it away, and creators do not replace. */
static int retire_and_unlink(ringbus_ring *ring, const char *path) {
  struct stat opened, named = {0};
  if (fstat(ring->fd, &opened) != 0)
    return fail_system("cannot stat the ring");
  int result = may_unlink(path, &opened);
  if (result != 0)
    return fail(result, "nothing is changed, as its directory does not let this user remove it: %s",
                strerrordesc_np(-result));
  retire(ring);
  if (lstat(path, &named) != 0 && errno != ENOENT)
    return fail_system("the ring is retired, but its name %s cannot be looked at", path);
  if (named.st_ino != opened.st_ino || named.st_dev != opened.st_dev)
    return fail(-ENOENT, "somebody else has removed the ring meanwhile");
  return unlink(path) == 0
             ? 0
             : fail_system("the ring is retired, but its name %s cannot be removed", path);
}

static int remove_lock(int lock_fd) {
  int result = lock_byte(lock_fd, REMOVE_LOCK);
  if (result == 0 || result == -EAGAIN || result == -EACCES) /* mere readers do not count */
    return result && lock_is_held(lock_fd, REMOVE_LOCK)
               ? fail(-EBUSY, "somebody else is removing the ring")
               : 0;
  return fail(result, "cannot lock the ring, to remove it");
}

static int nobody_lock(const ringbus_ring *ring, int lock_fd) {
  char holder[160] = "who has left meanwhile";
  int result = slots_lock(ring, lock_fd);
  if (result != -EAGAIN)
    return result ? fail(result, "cannot lock the ring's slots") : 0;
  uint32_t slot = anybody(ring);
  if (slot != 0)
    describe_slot(ring, slot, holder, sizeof holder);
  return fail(-EBUSY, "somebody is attached (%s); remove it by force to retire the ring under them",
              holder);
}

int ringbus_ring_remove(const char *name, bool force) {
  char path[PATH_MAX];
  ringbus_ring *ring;
  struct visitor visitor;
  int result = path_of(name, path);
  if (result == 0)
    result = open_path(path, &open_defaults, true, &ring);
  if (result != 0)
    return result;
  result = visitor_enter(&visitor, ring);
  if (result == 0)
    result = remove_lock(visitor.handle.lock_fd);
  /* Held until the name is gone: nobody attaches in between. */
  if (result == 0 && !force)
    result = nobody_lock(ring, visitor.handle.lock_fd);
  if (result == 0)
    result = retire_and_unlink(ring, path);
  visitor_leave(&visitor);
  registry_drop_ring(ring);
  return result;
}

int ringbus_bus_list(const char *directory, int (*visit)(const char *name, void *context),
                     void *context) {
  char bus[PATH_MAX];
  int result = 0;
  if (!visit)
    return fail(-EINVAL, "nobody to tell");
  if (!directory) {
    result = ringbus_bus_directory(bus, sizeof bus);
    if (result != 0)
      return result;
    directory = bus;
  }
  DIR *stream = opendir(directory);
  if (!stream)
    return fail_system("cannot read the directory %s", directory);
  for (struct dirent *entry; result == 0 && (entry = readdir(stream));) {
    uint64_t magic = 0;
    struct stat status;
    if (entry->d_name[0] == '.')
      continue;
    int fd = openat(dirfd(stream), entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
      continue;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
        pread(fd, &magic, sizeof magic, 0) == sizeof magic && magic == RINGBUS_MAGIC)
      result = visit(entry->d_name, context);
    close(fd);
  }
  closedir(stream);
  return result;
}
