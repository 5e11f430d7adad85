#!/bin/bash
# SPDX-License-Identifier: MIT
# check.sh CHECK SOURCE_DIR BUILD_DIR - tests what is installed, and promises about the sources.
set -euo pipefail
check=$1
source=$2
build=$3
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
prefix=$temporary/prefix
export RINGBUS_DIR=$temporary/bus

fail() {
  echo "$check: $*" >&2
  exit 1
}

install_here() {
  cmake --install "$build" --prefix "$prefix" >/dev/null
  libdir=$(dirname "$(find "$prefix" -name libringbus.a)")
}

# expect_greetings DIRECTORY SUFFIX: run producer<suffix>, then consumer<suffix>.
expect_greetings() {
  rm -rf "$RINGBUS_DIR"
  mkdir "$RINGBUS_DIR"
  "$1/producer$2"
  [[ $("$1/consumer$2") == $'hello\nworld' ]] || fail "consumer$2 did not get what was sent"
}

# Each public header compiles alone, in every language it is for, with every compiler that is here; layout.h
# has the numbers that are frozen; and the C++ tests, with the other compiler, have no warnings either.
headers() {
  local header compiler languages
  for header in "$source"/include/ringbus/*.h* "$source/tests/golden/frozen.h" \
    "$source/tests/unit/cpp.cpp"; do
    languages=("gcc -std=c11 -x c" "gcc -std=c17 -x c" "clang -std=c11 -x c" "clang -std=c17 -x c")
    [[ $header == *.h ]] || languages=()
    [[ $header == *.cpp ]] || languages+=("g++ -std=c++17 -x c++" "g++ -std=c++20 -x c++")
    languages+=("clang++ -std=c++17 -x c++" "clang++ -std=c++20 -x c++")
    for compiler in "${languages[@]}"; do
      command -v "${compiler%% *}" >/dev/null || continue
      # shellcheck disable=SC2086 # words on purpose
      echo "#include \"$header\"" | $compiler -I"$source/include" -fsyntax-only -O1 -Wall -Wextra \
        -Wconversion -Wshadow -pedantic -Werror - || fail "${header##*/}, $compiler"
    done
  done
}

# The shared library exports what the public headers declare, nothing less and nothing more.
symbols() {
  install_here
  grep -hoE '^RINGBUS_API .*' "$source"/include/ringbus/*.h | grep -oE '\bringbus_[a-z_]+\(' |
    tr -d '(' | sort -u >"$temporary/declared"
  nm -D --defined-only "$libdir/libringbus.so" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' |
    sort -u >"$temporary/exported"
  [[ -s $temporary/declared ]] || fail "no declaration found"
  diff "$temporary/declared" "$temporary/exported" || fail "< declared, > exported"
}

# The README's examples are the very lines of the programs that the checks below run.
readme() {
  local program lines
  for program in producer consumer; do
    lines=$(sed -n '/README begin/,/README end/ { /README/d; p }' \
      "$source/tests/consumer/$program.c")
    [[ -n $lines && $(<"$source/README.md") == *"$lines"* ]] ||
      fail "README.md does not show $program.c"
  done
}

# Promises about the sources that a few greps can hold.
house() {
  local files
  cd "$source"
  files=$(grep -lE '\bAO_[a-z]' -r include lib tools bench | sort | tr '\n' ' ')
  [[ $files == "include/ringbus/inline.h lib/shared.h " ]] ||
    fail "these speak libatomic_ops: $files"
  files=$(grep -lE '\b(mmap|munmap|mremap|madvise|mlock|mprotect)\(' -r lib | wc -l)
  [[ $files == 1 ]] || fail "$files files of lib/ make mapping system calls"
  files=$(grep -rL 'SPDX-License-Identifier: MIT' lib include bench tests tools CMakeLists.txt |
    tr '\n' ' ')
  [[ -z $files ]] || fail "without a licence line: $files"
}

pkg_config() {
  local program header language compiler linking static flags libraries
  install_here
  # The library was configured for another place: the .pc file goes by where it is.
  local found=(pkg-config ringbus)
  export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
  for language in "c gcc -std=c11" "c++ g++ -std=c++17"; do
    compiler=${language#* }
    for header in ringbus inline; do
      for linking in shared static; do
        static=
        [[ $linking == shared ]] || static=-static
        flags="$("${found[@]}" --cflags) -include ringbus/$header.h -Wall -Wextra -pedantic -Werror"
        libraries=$("${found[@]}" --libs ${static:+--static})
        for program in producer consumer; do
          # shellcheck disable=SC2086 # words on purpose
          $compiler $flags -x ${language%% *} "$source/tests/consumer/$program.c" -x none \
            $static -o "$temporary/$program" $libraries ||
            fail "$program.c as ${language%% *}, $header.h, $linking"
        done
        expect_greetings "$temporary" ""
      done
    done
  done
}

cmake_package() {
  local library header language generator
  install_here
  generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$build/CMakeCache.txt")
  if ! { cmake -S "$source/tests/consumer/project" -B "$temporary/project" -G "$generator" \
    -DCMAKE_PREFIX_PATH="$prefix" && cmake --build "$temporary/project"; } >"$temporary/log" 2>&1
  then
    cat "$temporary/log"
    fail "the project does not build"
  fi
  for library in ringbus ringbus-static; do
    for header in ringbus inline; do
      for language in c cpp; do
        expect_greetings "$temporary/project" "-$library-$header-$language"
      done
    done
  done
}

case $check in
  headers | symbols | readme | house | pkg_config) "$check" ;;
  cmake) cmake_package ;;
  *) fail "no such check" ;;
esac
