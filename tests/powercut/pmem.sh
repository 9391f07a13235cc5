# shellcheck shell=dash
# SPDX-License-Identifier: MIT
# Sourced by init: persistent memory of two kinds. With kinds=questions probe asks what becomes of a write to
# each; otherwise the first one is where the writers write.
# shellcheck disable=SC2034,SC2154 # fs, kinds, options, device and fs_options are init's
fs_options=dax=always
for name in e820 virtio; do
	device=
	until [ -n "$device" ]; do
		for block in /sys/block/pmem*; do
			case $(readlink -f "$block/device") in *"$name"*) device=/dev/${block##*/} ;; esac
		done
		sleep 0.02
	done
	[ "$kinds" = questions ] || break
	mount -t "$fs" -o "$fs_options" "$device" /backing || broken "mount -o $fs_options $device"
	mkdir -p /backing/data && sync
	memmapfs-fuse -f /backing/data /mnt -o "sync=immediate${options:+,$options}" 2>/tmp/said &
	daemon=$!
	wait_for_mount
	probe direct /mnt $daemon "$name"
	umount /mnt
	wait $daemon
	echo "V $name-said $(grep -c MAP_SYNC /tmp/said)" >&3
	umount /backing
done
if [ "$kinds" = questions ]; then
	echo 'G done' >&3
	sleep 1000
fi
