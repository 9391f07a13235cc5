#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# No script has anything that shellcheck finds fault with.
set -eu
cd "$SOURCE_ROOT"
command -v shellcheck >/dev/null || { echo 'skip: no shellcheck'; exit 77; }
scripts=()
while IFS= read -r file; do
	case $file in
	*.sh) scripts+=("$file") ;;
	*) head -n 1 "$file" | grep -qE '^#!.*\b(ba)?sh\b|^# shellcheck shell=' && scripts+=("$file") ;;
	esac
done < <(find scripts tests completion .ci -type f | sort)
shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
echo "${#scripts[@]} scripts"
