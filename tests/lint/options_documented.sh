#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every option that --help names stands in the manual page.
set -eu
help=$("$BUILD_ROOT/memmapfs-fuse" --help)
# \& and \- are roff's; without them the page holds the words as a reader sees them
page=$(sed 's/\\&//g; s/\\-/-/g' "$SOURCE_ROOT"/man/memmapfs-fuse.8*)

words=$(grep -oE '^ +(-o )?[a-z_]{2,}(=|$|  )' <<<"$help" | grep -oE '[a-z_]{2,}' | sort -u)
flags=$(grep -oE '^ +(-[A-Za-z], )?--?[A-Za-z-]+' <<<"$help" | grep -oE -- '--?[A-Za-z-]+' | sort -u)
[ -n "$words" ] || { echo '--help names no option that this test can see'; exit 1; }

status=0
for word in $words; do
	grep -qw -- "$word" <<<"$page" || { echo "option $word is in --help, not in the manual"; status=1; }
done
for flag in $flags; do
	# mdoc writes flags as "Fl f"
	grep -qE -- "(^|[^[:alnum:]-])(Fl ${flag#-}|$flag)([^[:alnum:]-]|$)" <<<"$page" ||
		{ echo "option $flag is in --help, not in the manual"; status=1; }
done
exit $status
