#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# clang-tidy finds nothing in the program, with the checks of .clang-tidy.
set -eu
command -v clang-tidy >/dev/null || { echo 'skip: no clang-tidy'; exit 77; }
cd "$SOURCE_ROOT"
# The files that this build compiles, with their flags less those of gcc alone.
database=$(mktemp -d)
trap 'rm -rf "$database"' EXIT
python3 - "$BUILD_ROOT/compile_commands.json" "$database/compile_commands.json" <<'PY'
import json, sys
entries = json.load(open(sys.argv[1]))
for entry in entries:
    words = entry["command"].split(" ")
    entry["command"] = " ".join(w for w in words if not w.startswith("-fsanitize"))
json.dump(entries, open(sys.argv[2], "w"))
PY
find src -name '*.c' -print0 | sort -z |
	xargs -0 -n 2 -P "$(nproc)" clang-tidy --quiet -p "$database" \
		--extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-error 2>&1 |
	sed '/^[0-9]* warnings\? generated\.$/d; /^Suppressed /d'
exit "${PIPESTATUS[2]}"
