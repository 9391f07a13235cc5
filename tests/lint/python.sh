#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# No Python has a name that nothing defines, or an import or a variable that nobody uses; programs inside of shell
# scripts are Python, too.
set -eu
command -v flake8 >/dev/null || { echo 'skip: no flake8'; exit 77; }
cd "$SOURCE_ROOT"
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT

mapfile -t files < <(find scripts tests .ci -type f -name '*.py'
	grep -lrE '^#!.*python' scripts tests .ci --exclude='*.py')
mapfile -t scripts < <(grep -lrE "^[^#]*<<-?'(PY|EOP)'" scripts tests .ci | sort)
python3 tests/lint/here_documents.py "$programs" "${scripts[@]}"
# E9: what cannot be read, F: pyflakes
flake8 --isolated --select=E9,F "${files[@]}" "$programs" | sed -E "s|^$programs/(.*)/[0-9]+\.py:|\1:|"
exit "${PIPESTATUS[0]}"
