#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every C file looks as .clang-format says; `clang-format -i FILE` mends it.
set -eu
cd "$SOURCE_ROOT"
command -v clang-format >/dev/null || { echo 'skip: no clang-format'; exit 77; }
find src tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror --style=file
