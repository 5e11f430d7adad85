#!/bin/bash
# SPDX-License-Identifier: MIT
# clean_system.sh SOURCE_DIR BUILD_DIR - installs the Debian packages into a new, minimal Debian 12 below
# BUILD_DIR, uses them there as check.sh does elsewhere, removes them, and sees that nothing is left.
# Needs root, debootstrap, and the mirror that apt uses here. Mounts are in a namespace of their own, so
# that they go with this program, however it ends.
set -euo pipefail
source=$1
build=$2

fail() {
  echo "clean_system: $*" >&2
  exit 1
}

((EUID == 0)) || fail "only root can make a system to install packages in: run this as root"
for tool in debootstrap unshare lintian dpkg-shlibdeps; do
  command -v $tool >/dev/null || fail "$tool is needed: install it"
done
[[ ${IN_NAMESPACE-} ]] || IN_NAMESPACE=yes exec unshare --mount -- bash "$0" "$@"

root=$build/clean_system
rm -rf --one-file-system "$root" "$build/clean_package"
clean_up() {
  umount -q "$root/dev/shm" "$root/proc" || true
  rm -rf --one-file-system "$root" "$build/clean_package"
}
trap clean_up EXIT
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Created-By: Packages' |
  head -n 1)
[[ $mirror ]] || fail "apt knows no mirror of bookworm: see sources.list(5)"

cmake -S "$source" -B "$build/clean_package" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_INSTALL_PREFIX=/usr -DBUILD_TESTING=OFF >/dev/null
cmake --build "$build/clean_package" --target package >/dev/null

# What the packages need and what a programmer has; not man-db's index, which is made by a timer.
debootstrap --variant=minbase \
  --include=gcc,g++,libc6-dev,cmake,ninja-build,pkg-config,libatomic-ops-dev,libcjson1,man-db \
  bookworm "$root" "$mirror" >"$build/clean_system.log" 2>&1 || {
  tail -n 20 "$build/clean_system.log"
  fail "debootstrap failed, see above and $build/clean_system.log"
}
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev/shm"
# minbase's dpkg may leave manual pages out
rm -f "$root"/etc/dpkg/dpkg.cfg.d/*

files() {
  (cd "$root" && find . -xdev ! -path './tmp/*' ! -path './var/log/*' ! -path './var/cache/*' \
    ! -path './var/lib/dpkg/*' ! -path './dev/*' ! -path './etc/ld.so.cache' | sort)
}
files >"$build/clean_before"

mkdir "$root/tmp/packages" "$root/tmp/source"
cp "$build"/clean_package/*.deb "$root/tmp/packages"
cp -r "$source/tests" "$source/README.md" "$root/tmp/source"
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }
inside sh -c 'dpkg -i /tmp/packages/*.deb' >/dev/null || fail "the packages cannot be installed"
# Rings are made in /dev/shm, since the rest of the system may be on a filesystem that is refused.
for check in pkg_config cmake; do
  inside TMPDIR=/dev/shm bash /tmp/source/tests/consumer/check.sh $check /tmp/source /nowhere /usr ||
    fail "$check, in the clean system"
done
version=$(inside dpkg-query -W -f '${Version}' ringbus-tools)
[[ $(inside ringbus --version) == *"${version%-*}"* ]] || fail "ringbus --version is not $version"
for page in "3 ringbus" "5 ringbus" "7 ringbus" "3 ringbus_consumer_borrow"; do
  # shellcheck disable=SC2086 # words on purpose
  inside man -w $page >/dev/null || fail "no manual page $page"
done
inside dpkg -P ringbus-tools libringbus-dev libringbus0 >/dev/null || fail "cannot be removed"
files >"$build/clean_after"
diff "$build/clean_before" "$build/clean_after" || fail "> is left behind, < is missing"
! inside sh -c 'ldconfig -p' | grep ringbus || fail "the library is still known"
rm "$build/clean_before" "$build/clean_after" "$build/clean_system.log"
