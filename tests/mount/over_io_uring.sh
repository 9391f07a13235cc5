#!/bin/bash
# SPDX-License-Identifier: MIT
# over_io_uring.sh NAME - run test_NAME.sh with requests that come through io_uring
SWITCH=/sys/module/fuse/parameters/enable_uring
if [ ! -w "$SWITCH" ]; then
	echo 'skip: this kernel has no FUSE over io_uring'
	exit 77
fi
# One at a time: each turns it back to what it found.
exec 9<"$SWITCH"
flock 9
was=$(cat "$SWITCH")
trap 'echo "$was" >"$SWITCH"' EXIT
echo Y >"$SWITCH"
TEST_MOUNT_OPTS=io_uring "$(dirname "$0")/test_$1.sh" 9<&-
