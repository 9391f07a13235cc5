# shellcheck shell=dash
# SPDX-License-Identifier: MIT
# Sourced by init: the daemon over a file system whose disk refuses writes now and then, in each mode.
# shellcheck disable=SC2154 # fs, kinds and options are init's, as are wait_for_mount and flakey_backing
flakey_backing
for mode in $(echo "$kinds" | tr ',' ' '); do
	mkdir -p "/backing/$mode" && sync
	also=
	[ "$mode" != periodic ] || also=,sync_interval=200ms
	memmapfs-fuse -f "/backing/$mode" /mnt -o "log_level=error,sync=$mode$also${options:+,$options}" 2>/tmp/said &
	daemon=$!
	wait_for_mount
	flakey /mnt "$mode" 200 || echo "E sync=$mode: flakey ended early" >&3
	umount /mnt
	wait $daemon
	status=$?
	[ $status -eq 7 ] || echo "E sync=$mode: the daemon's exit status is $status after failed syncs" >&3
	while read -r line; do echo "D sync=$mode: $line" >&3; done </tmp/said
done
echo 'G done' >&3
sleep 1000
