#!/bin/bash
# SPDX-License-Identifier: MIT
# watch=auto: what is changed directly in BACKING is seen on the mount at once, though the kernel trusts what it
# was told for an hour.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch_checks.sh"

watches() {
	[ "$(statistic watch.active)" = 1 ]
}

start_mount
watches || skip 'changes in the file system of the test directory cannot be watched here'
for OPTIONS in opens=track opens=skip; do
	export OPTIONS
	every_watch "$OPTIONS"
	if [ "$OPTIONS" = opens=track ]; then
		expect_overflow
		check 'what was missed when events were lost is seen' run <<<"$OVERFLOW"
	fi
	stop_mount
	[ "$OPTIONS" = opens=skip ] || start_mount opens=skip
done

start_mount watch=off
check 'watch=off watches nothing, and trusts for a second' py <<'PY'
equal(statistics()["watch"]["active"], 0)
write_file(BACKING + "/file", b"1")
equal(os.stat(MNT + "/file").st_size, 1)
write_file(BACKING + "/file", b"22")
wait_until(5, lambda: os.stat(MNT + "/file").st_size == 2)
PY
stop_mount
