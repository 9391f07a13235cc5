# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The guest's kernel, programs and initramfs. To be sourced by the scripts that boot one.

# guest_kernel DIRECTORY - sets guest_kernel and guest_modules; the distribution's kernel package is
# unpacked below DIRECTORY, once, and not installed
guest_kernel() {
	local package directory=$1
	if ! compgen -G "$directory/kernel/boot/vmlinuz-*" >/dev/null; then
		mkdir -p "$directory/download"
		package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: *\(linux-image-[0-9].*\)/\1/p' | head -n 1)
		if [ -z "$package" ]; then
			apt_get update
			package=$(apt-cache depends linux-image-cloud-amd64 |
				sed -n 's/^ *Depends: *\(linux-image-[0-9].*\)/\1/p' | head -n 1)
		fi
		[ -n "$package" ] || { echo "$0: skipped: no package linux-image-cloud-amd64" >&2; return 1; }
		echo "$0: fetching $package" >&2
		(cd "$directory/download" && apt-get -q download "$package" >&2 2>/dev/null) ||
			{ echo "$0: skipped: $package cannot be downloaded" >&2; return 1; }
		rm -rf "$directory/unpacked"
		dpkg-deb -x "$directory"/download/linux-image-*.deb "$directory/unpacked"
		rm -rf "$directory/download"
		mv "$directory/unpacked" "$directory/kernel"
	fi
	# shellcheck disable=SC2034 # for the script that sources this
	guest_kernel=$(compgen -G "$directory/kernel/boot/vmlinuz-*")
	guest_modules=$(compgen -G "$directory/kernel/lib/modules/*")
}

# guest_programs SOURCE OUTPUT - compile what runs in the guest beside the daemon
guest_programs() {
	local flags=(-D_GNU_SOURCE -std=gnu11 -O2 -Wall -Wextra -pthread)
	gcc "${flags[@]}" -static "$1/writer.c" "$1/kinds.c" -o "$2/writer"
	gcc "${flags[@]}" -static "$1/flakey.c" -o "$2/flakey"
	gcc "${flags[@]}" -static "$1/probe.c" -o "$2/probe"
	gcc "${flags[@]}" -shared -fPIC "$1/shim.c" -o "$2/shim.so"
}

# guest_initramfs SOURCE OUTPUT PROGRAMS DAEMON [NAME=FILE...] - memmapfsctl from beside the daemon, if it is there
guest_initramfs() {
	local source=$1 output=$2 programs=$3 bin=$4
	shift 4
	[ ! -x "${bin%/*}/memmapfsctl" ] || set -- "$@" bin/memmapfsctl="${bin%/*}/memmapfsctl"
	python3 "$source/initramfs.py" "$output" "$guest_modules" init="$source/init" bin/busybox=/bin/busybox \
		bin/memmapfs-fuse="$bin" bin/writer="$programs/writer" lib/powercut-shim.so="$programs/shim.so" \
		bin/flakey="$programs/flakey" bin/probe="$programs/probe" bin/table="$source/table.sh" \
		scripts/flakey.sh="$source/flakey.sh" scripts/peer.sh="$source/peer.sh" \
		scripts/probe.sh="$source/probe.sh" scripts/pmem.sh="$source/pmem.sh" "$@" \
		bin/dmsetup="$(command -v dmsetup || echo /usr/sbin/dmsetup)" \
		-- virtio_pci virtio_blk virtio_console crc32c_generic fuse xfs dm-flakey nd_e820 nd_pmem virtio_pmem
}

# guest_clean DIRECTORY - remove what these functions have made there
guest_clean() {
	rm -rf "${1:?}"/{boot,initramfs,writer,shim.so,flakey,probe}
}
