#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# No file of the program is past 500 lines: past that there is a second concern in it.
set -eu
cd "$SOURCE_ROOT"
long=$(find src -name '*.[ch]' -exec awk 'END { if (NR > 500) print FILENAME ": " NR " lines" }' {} \;)
[ -z "$long" ] || { printf '%s\n' "$long"; exit 1; }
