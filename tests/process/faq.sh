#!/bin/bash
# SPDX-License-Identifier: MIT
# faq.sh SOURCE-DIRECTORY - each title in the README's list of error messages is a message of the library
# or of the command, apart from what stands in it for names and numbers (...).
set -euo pipefail
cd "$1"

# The string literals, adjacent ones joined, with ... for what printf puts in.
messages=$(cat lib/*.c tools/*.c | tr '\n' ' ' | sed -E 's/" *(PRIu64|PRIu32)? *"//g; s/%[-0-9.*]*(ll|l|z)?[a-z]/.../g')

titles=0
while read -r title; do
  titles=$((titles + 1))
  while read -r part; do
    [ "${#part}" -gt 2 ] || continue
    grep -qF -- "$part" <<<"$messages" ||
      { echo "FAILED: '$title': no message says '$part'"; exit 1; }
  done <<<"${title//.../$'\n'}"
done < <(sed -n '/^## When it says/,/^## [^W]/p' README.md | grep -oP '(?<=\*\*`)[^`]+')
[ "$titles" -gt 10 ] || { echo "FAILED: only $titles titles"; exit 1; }
echo "$titles titles"
