# shellcheck shell=dash
# SPDX-License-Identifier: MIT
# Sourced by init: the daemon over a file system whose disk refuses writes now and then, in each mode.
# shellcheck disable=SC2154 # fs, kinds and options are init's
export DM_DISABLE_UDEV=1
table create || broken 'dmsetup create'
# No metadata is written back by itself meanwhile, so that only data meets the failing disk.
case $fs in
ext4) mount -t ext4 -o noatime,commit=600 /dev/mapper/flaky /backing || broken 'mount' ;;
*) mount -t "$fs" -o noatime /dev/mapper/flaky /backing || broken 'mount' ;;
esac
[ "$fs" != xfs ] || echo 720000 >/proc/sys/fs/xfs/xfssyncd_centisecs
for mode in $(echo "$kinds" | tr ',' ' '); do
	mkdir -p "/backing/$mode" && sync
	also=
	[ "$mode" != periodic ] || also=,sync_interval=200ms
	memmapfs-fuse -f "/backing/$mode" /mnt -o "log_level=error,sync=$mode$also${options:+,$options}" 2>/tmp/said &
	daemon=$!
	tries=0
	until grep -q "^[^ ]* /mnt " /proc/mounts; do
		tries=$((tries + 1))
		[ $tries -lt 500 ] || broken 'the daemon does not mount'
		sleep 0.02
	done
	flakey /mnt "$mode" 200 || echo "E sync=$mode: flakey ended early" >&3
	umount /mnt
	wait $daemon
	status=$?
	[ $status -eq 7 ] || echo "E sync=$mode: the daemon's exit status is $status after failed syncs" >&3
	while read -r line; do echo "D sync=$mode: $line" >&3; done </tmp/said
done
echo 'G done' >&3
sleep 1000
