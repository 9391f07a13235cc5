#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The manual pages are well-formed: mandoc has no warning about them (remarks on style may stand).
set -eu
cd "$SOURCE_ROOT"
command -v mandoc >/dev/null || { echo 'skip: no mandoc'; exit 77; }
mandoc -T lint -W warning man/*.[1-8]
