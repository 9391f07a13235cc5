#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every command of memmapfsctl and every option of theirs that --help names stands in the manual page, and
# every command in the page is one.
set -eu
program=$BUILD_ROOT/memmapfsctl
page=$SOURCE_ROOT/man/memmapfsctl.1
status=0

mapfile -t commands < <("$program" --help | sed -nE 's/^  ([a-z]+( [a-z]+)?)  +[a-z].*/\1/p')
[ "${#commands[@]}" -gt 10 ] || { echo '--help names no commands that this test can see'; exit 1; }

# paragraph COMMAND: what the page says about it
paragraph() {
	awk -v start="^\\\\.It Cm $1( |\$)" '$0 ~ start { on = 1; print; next } on && /^\.It Cm / { exit } on' "$page"
}

for command in "${commands[@]}"; do
	text=$(paragraph "$command")
	[ -n "$text" ] || { echo "$command is in --help, not in the manual"; status=1; }
	# shellcheck disable=SC2086 # some are two words
	for option in $("$program" $command --help | sed -nE 's/^  --([a-z]+).*/\1/p'); do
		grep -qE -- "^\.It Fl -$option( |\$)" <<<"$text" ||
			{ echo "$command --$option is in --help, not in the manual"; status=1; }
	done
done

while read -r command; do
	printf '%s\n' "${commands[@]}" | grep -qxF -- "$command" ||
		{ echo "$command is in the manual, not in --help"; status=1; }
done < <(sed -nE 's/^\.It Cm ([a-z]+( (save|load|status|diff|commit|discard|checkpoint|adopt))?)( .*|$)/\1/p' "$page")
exit $status
