#!/bin/bash
# SPDX-License-Identifier: MIT
# check.sh CHECK SOURCE_DIR BUILD_DIR - tests what is installed, and promises about the sources.
# check.sh CHECK SOURCE_DIR BUILD_DIR PREFIX - the same of what stands in PREFIX already.
set -euo pipefail
check=$1
source=$2
build=$3
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
prefix=${4:-$temporary/prefix}
installed=${4:+yes}
export RINGBUS_DIR=$temporary/bus

fail() {
  echo "$check: $*" >&2
  exit 1
}

install_here() {
  [[ $installed ]] || cmake --install "$build" --prefix "$prefix" >/dev/null
  libdir=$(dirname "$(find "$prefix" -name libringbus.a)")
}

# expect_greetings_of PRODUCER CONSUMER: run the one, a command, then the other.
expect_greetings_of() {
  rm -rf "$RINGBUS_DIR"
  mkdir "$RINGBUS_DIR"
  $1
  [[ $($2) == $'hello\nworld' ]] || fail "${2##*/} did not get what was sent"
}

# expect_greetings DIRECTORY SUFFIX: run producer<suffix>, then consumer<suffix>.
expect_greetings() {
  expect_greetings_of "$1/producer$2" "$1/consumer$2"
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
  local program part lines
  for program in producer.c:1 consumer.c:1 greetings.cpp:1 greetings.cpp:2; do
    part=${program#*:}
    lines=$(awk -v part="$part" '/README end/ { n = "" } n == part
      /README begin/ { n = ++parts }' "$source/tests/consumer/${program%:*}")
    [[ -n $lines && $(<"$source/README.md") == *"$lines"* ]] ||
      fail "README.md does not show ${program%:*}"
  done
}

# Promises about the sources that a few greps can hold.
house() {
  local files
  cd "$source"
  files=$(grep -lE '\bAO_[a-z]' -r include lib tools bench | sort | tr '\n' ' ')
  [[ $files == "include/ringbus/inline.h lib/shared.h " ]] ||
    fail "these speak libatomic_ops: $files"
  files=$(grep -lE '\b(mmap|munmap|mremap|madvise|mlock|mprotect)\(' -r lib --include='*.[ch]' |
    wc -l)
  [[ $files == 1 ]] || fail "$files files of lib/ make mapping system calls"
  files=$(grep -rL --exclude-dir=corpus 'SPDX-License-Identifier: MIT' lib include bench tests tools CMakeLists.txt |
    tr '\n' ' ')
  [[ -z $files ]] || fail "without a licence line: $files"
  files=$(git ls-files 2>/dev/null | cut -d/ -f1 | sort -u | grep -vxE \
    '\..*|lib|include|bench|tests|tools|CMakeLists.txt|CMakePresets.json|README.md|LICENSE' | tr '\n' ' ' || true)
  [[ -z $files ]] || fail "not at home at the top: $files"
}

headers_used=(ringbus inline)
linkings=(shared static)
pkg_config() {
  local program header language compiler linking static flags libraries
  install_here
  # The library was configured for another place: the .pc file goes by where it is.
  local found=(pkg-config ringbus)
  export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
  for language in "c gcc -std=c11" "c++ g++ -std=c++17"; do
    compiler=${language#* }
    for header in "${headers_used[@]}"; do
      for linking in "${linkings[@]}"; do
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
  # shellcheck disable=SC2046 # words on purpose
  g++ -std=c++17 -Wall -Wextra -pedantic -Werror $("${found[@]}" --cflags) \
    "$source/tests/consumer/greetings.cpp" -o "$temporary/greetings" $("${found[@]}" --libs) ||
    fail "greetings.cpp"
  expect_greetings_of "$temporary/greetings produce" "$temporary/greetings consume"
}

cmake_package() {
  local library header language generator
  install_here
  generator=Ninja
  [[ $installed ]] || generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$build/CMakeCache.txt")
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

# Every function has a page with the header's prototype, every error stands in ringbus(3), the pages are clean.
manual() {
  local page error
  for page in mandoc man; do
    command -v $page >/dev/null || fail "the pages are checked with $page: install it"
  done
  awk 'sub(/^RINGBUS_API /, "") { declares = 1; line = "" }
    declares { line = line " " $0 }
    declares && /;$/ { gsub(/ +/, " ", line); print substr(line, 2, length(line) - 2); declares = 0 }
    ' "$source/include/ringbus/ringbus.h" | sort >"$temporary/declared"
  awk '/^\.Ft / { sub(/^\.Ft /, ""); gsub(/"/, ""); type = $0 }
    /^\.Fo / { line = type (type ~ /\*$/ ? "" : " ") $2 "("; separator = "" }
    /^\.Fa "/ && line { sub(/^\.Fa "/, ""); sub(/"$/, ""); line = line separator $0; separator = ", " }
    /^\.Fc/ { print line ")"; line = "" }' "$source"/lib/man/*.3 | sort >"$temporary/described"
  [[ -s $temporary/declared ]] || fail "no declaration found"
  diff "$temporary/declared" "$temporary/described" || fail "< the header, > the pages"
  for error in $(sed -n '/^ \* Errors/,/^ \* Threads/p' "$source/include/ringbus/ringbus.h" |
    grep -oE -e '-E[A-Z]+'); do
    grep -q -e "$error" "$source/lib/man/ringbus.3" || fail "ringbus.3 does not have $error"
  done
  for page in "$source"/{lib/man,tools,bench}/*.[1-8]; do
    [[ -e $page ]] || continue
    mandoc -T lint -W warning "$page" || fail "see above"
    # Wide, since the longest prototypes cannot be broken.
    MANWIDTH=100 man --warnings -l "$page" 2>&1 >/dev/null | tee "$temporary/warnings"
    [[ ! -s $temporary/warnings ]] || fail "${page##*/}: see above"
  done
  install_here
  for page in $(grep -oE '\bringbus_[a-z_]+\(' "$temporary/declared" | tr -d '('); do
    [[ -s $prefix/share/man/man3/$page.3.gz ]] || fail "no page $page"
  done
  man -M "$prefix/share/man" ringbus_consumer_borrow | grep -q 'without a copy' ||
    fail "a page that leads to another does not"
}

# make_packages: the Debian packages, as `tools/dev package` makes them, are unpacked, and prefix is there.
make_packages() {
  local tool package
  for tool in dpkg-shlibdeps lintian; do
    command -v $tool >/dev/null || fail "packages are made and checked with $tool: install it"
  done
  if ! { cmake -S "$source" -B "$temporary/package" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_FLAGS_RELEASE=-O1 -DCMAKE_INSTALL_PREFIX=/usr -DBUILD_TESTING=OFF &&
    cmake --build "$temporary/package" --target package; } >"$temporary/log" 2>&1; then
    cat "$temporary/log"
    fail "the packages cannot be made"
  fi
  lintian --allow-root --fail-on error "$temporary"/package/*.deb || fail "lintian has errors"
  for package in libringbus0 libringbus-dev ringbus-tools; do
    dpkg-deb -x "$temporary/package/${package}"_*.deb "$temporary/root"
  done
  prefix=$temporary/root/usr
  installed=yes
}

packages() {
  make_packages
  [[ $(LD_LIBRARY_PATH=$(dirname "$(find "$prefix" -name libringbus.a)") "$prefix/bin/ringbus" \
    --version) == *"$(sed -n 's/^Version: //p' "$(find "$prefix" -name ringbus.pc)")"* ]] ||
    fail "the command has another version"
  headers_used=(inline) # the rest is the same as where it was not packed
  linkings=(shared)
  pkg_config
  cmake_package
}

# What a project is that has this one as a part: the library, and nothing else.
part() {
  mkdir "$temporary/whole"
  cat >"$temporary/whole/CMakeLists.txt" <<TEXT
cmake_minimum_required(VERSION 3.21)
project(whole C)
add_subdirectory("$source" ringbus)
add_executable(producer "$source/tests/consumer/producer.c")
add_executable(consumer "$source/tests/consumer/consumer.c")
target_link_libraries(producer PRIVATE ringbus::ringbus)
target_link_libraries(consumer PRIVATE ringbus::ringbus-static)
TEXT
  if ! { cmake -S "$temporary/whole" -B "$temporary/built" -G Ninja &&
    cmake --build "$temporary/built"; } >"$temporary/log" 2>&1; then
    cat "$temporary/log"
    fail "the project does not build"
  fi
  expect_greetings "$temporary/built" ""
  ! find "$temporary/built" -name 'test_*' -o -name ringbus-bench | grep . ||
    fail "tests or tools were built"
}

case $check in
  headers | symbols | readme | house | manual | pkg_config | packages | part) "$check" ;;
  cmake) cmake_package ;;
  *) fail "no such check" ;;
esac
