#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The completions offer what --help names: each option and value of the daemon, each command of memmapfsctl and
# each option of it. bash's is asked as bash asks it; zsh's is at least read by zsh.
# shellcheck disable=SC2034,SC1091 # COMP_LINE and its like are read by what is sourced
set -eu
PATH=$BUILD_ROOT:$PATH
status=0

compopt() { :; } # is for a completion that runs
. "$SOURCE_ROOT/completion/memmapfs-fuse.bash"

# offers LINE: what TAB at the end of LINE would offer
offers() {
	COMP_LINE=$1 COMP_POINT=${#1}
	case $1 in
	memmapfs-fuse*) _memmapfs_fuse memmapfs-fuse ;;
	*) _memmapfsctl memmapfsctl ;;
	esac
	printf '%s\n' "${COMPREPLY[@]}"
}

# offered LINE WORD: WORD is among them
offered() {
	offers "$1" | grep -qxF -- "$2" || {
		printf "'%s' does not offer '%s', but: %s\n" "$1" "$2" "$(offers "$1" | paste -sd ' ')"
		status=1
	}
}

count=0
while read -r name values; do
	count=$((count + 1))
	offered 'memmapfs-fuse -o ' "$name"
	offered 'memmapfs-fuse /a /b -o ro,' "ro,$name"
	for value in $values; do
		offered "memmapfs-fuse -o ${name:0:2}" "$name"
		offered "memmapfs-fuse -o ${name}${value:0:1}" "$value"
		offered "memmapfs-fuse -o ro,${name}" "$value"
	done
done < <(memmapfs-fuse --help | sed -nE 's/^ {4}([a-z_]+) .*/\1/p; s/^ {4}([a-z_]+=)([a-z|]+) .*/\1 \2/p; s/^ {4}([a-z_]+=)[A-Z].*/\1/p' |
	tr '|' ' ')
[ "$count" -gt 5 ] || { echo '--help names no options that this test can see'; status=1; }
for flag in $(memmapfs-fuse --help | grep -oE '^  -[A-Za-z]' | tr -d ' '); do
	offered 'memmapfs-fuse -' "$flag"
done

mapfile -t commands < <(memmapfsctl --help | sed -nE 's/^  ([a-z]+( [a-z]+)?)  +[a-z].*/\1/p')
for command in "${commands[@]}"; do
	offered 'memmapfsctl ' "${command%% *}"
	if [[ $command == *' '* ]]; then offered "memmapfsctl ${command%% *} " "${command#* }"; fi
	# shellcheck disable=SC2086 # some are two words
	for option in $(memmapfsctl $command --help | sed -nE 's/^  (--[a-z]+=?).*/\1/p'); do
		offered "memmapfsctl $command --" "$option"
	done
done
offered 'memmapfsctl top --sort=l' locked
offered 'memmapfsctl advise seq' sequential

if command -v zsh >/dev/null; then
	zsh -n "$SOURCE_ROOT/completion/_memmapfs-fuse" || status=1
fi
exit $status
