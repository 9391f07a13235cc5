#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `meson install` puts the program, the manual pages and the units where mount(8), man and systemd look
# for them, and `ninja uninstall` leaves nothing behind.
set -eu
destination=$(mktemp -d)
trap 'rm -rf "$destination"' EXIT

meson install -C "$BUILD_ROOT" --no-rebuild --quiet --destdir "$destination"
status=0
for file in "$BINDIR/memmapfs-fuse" "$MANDIR/man8/memmapfs-fuse.8" \
	"$BINDIR/memmapfsctl" "$MANDIR/man1/memmapfsctl.1" \
	"$DATADIR/bash-completion/completions/memmapfs-fuse" "$DATADIR/bash-completion/completions/memmapfsctl" \
	"$DATADIR/zsh/site-functions/_memmapfs-fuse" \
	"$UNITDIR/memmapfs-fuse@.service"; do
	[ -s "$destination$file" ] || { echo "not installed: $file"; status=1; }
done
[ -x "$destination$BINDIR/memmapfs-fuse" ] || { echo "not executable: $BINDIR/memmapfs-fuse"; status=1; }
[ -x "$destination$BINDIR/memmapfsctl" ] || { echo "not executable: $BINDIR/memmapfsctl"; status=1; }
"$destination$BINDIR/memmapfs-fuse" --version >/dev/null || { echo 'the installed program does not run'; status=1; }
grep -q "^ExecStart=$BINDIR/memmapfs-fuse " "$destination$UNITDIR/memmapfs-fuse@.service" ||
	{ echo 'the unit starts another program than the installed one'; status=1; }

ninja -C "$BUILD_ROOT" uninstall >/dev/null
left=$(find "$destination" -type f -o -type l 2>/dev/null)
[ -z "$left" ] || { printf 'uninstall left behind:\n%s\n' "$left"; status=1; }
exit $status
