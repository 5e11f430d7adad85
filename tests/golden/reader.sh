#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# reader.sh - reader.py lists what is in the golden files: nothing more, nothing less.
set -euo pipefail
cd "$(dirname "$0")"
command -v python3 >/dev/null || {
  echo "skipped: there is no python3"
  exit 77
}
diff <(grep -v '^#' messages | sort) <(python3 reader.py ./*.ring | sort)
