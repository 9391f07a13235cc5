#!/bin/bash
# SPDX-License-Identifier: MIT
# The command line: help, refused words, exit codes, daemonizing, mount(8) and fstab.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

mkdir "$WORK/b" "$WORK/m"
echo hello >"$WORK/b/file"
NOWHERE=$WORK/does-not-exist

# run STATUS WORDS...: run the program with these words; what it says is in $WORK/out and $WORK/err
run() {
	local expected=$1 status=0
	shift
	timeout 20 "$MEMMAPFS_BIN" "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
	if [ "$(count_mounts "$WORK/m")" -gt 0 ]; then
		umount "$WORK/m"
		echo 'and it left a mount behind'
		status="$status, mounted"
	fi
	[[ " $expected " == *" $status "* ]] || {
		printf 'exit status of "%s": expected %s, got %s; it said:\n' "$*" "$expected" "$status"
		cat "$WORK/out" "$WORK/err"
		return 1
	}
}

# refused REGEX OPTIONS: exit status 1 and exactly one line, which matches
refused() {
	run 1 -f "$WORK/b" "$WORK/m" -o "$2"
	same "lines said about -o $2" 1 "$(cat "$WORK/out" "$WORK/err" | wc -l)"
	grep -Eq -- "$1" "$WORK/err" || {
		printf 'about -o %s it should say "%s", but said: %s\n' "$2" "$1" "$(cat "$WORK/err")"
		return 1
	}
}

help_names_options() {
	local word
	run 0 -h
	same 'standard error' '' "$(cat "$WORK/err")"
	for word in BACKING MOUNTPOINT mode= sync= sync_interval= fsync= window_size= max_mapped= writes= \
		cache= attr_timeout= max_threads= log_level=; do
		grep -Fq -- "$word" "$WORK/out" || {
			echo "the help lacks $word"
			return 1
		}
	done
}
check '-h prints the usage with its options and ends with 0' help_names_options

version_is_printed() {
	run 0 -V
	grep -Eq '[0-9]+\.[0-9]+\.[0-9]+' "$WORK/out"
	same 'standard error' '' "$(cat "$WORK/err")"
}
check '-V prints the version and ends with 0' version_is_printed

near_words() {
	refused "unknown option 'sinc': did you mean 'sync'\?" sinc=periodic
	refused "'wirtes'.*'writes'" wirtes=auto
	refused "'window_sise'.*'window_size'" sync=never,window_sise=4K
	refused "'readonly'" readonly
}
check 'an unknown word is named together with its nearest match' near_words

bad_values() {
	local value
	refused "mode.*(rw|ro|cow)" mode=wr
	refused "sync.*periodic" sync=sometimes
	refused "cache.*always" cache=maybe
	refused "writes.*pwrite" writes=fast
	for value in sync_interval=1ms sync_interval=2d sync_interval= sync_interval=-5s sync_interval=5x \
		max_threads=0 max_threads=1025 max_threads=many window_size=1000 window_size=0 window_size=-4K \
		window_size=99999999999999999999 attr_timeout=-1 entry_timeout=x negative_timeout=-0.5 \
		max_mapped=x log_level=loud idle=30s fsync=maybe; do
		refused "${value%%=*}" "$value"
	done
}
check 'a value out of range is refused in one line that names its option' bad_values

conflicts() {
	local pair
	for pair in mode=cow,io=passthrough writeback,sync=immediate writeback,cache=none \
		writeback,io=passthrough writeback,mode=ro layer_max=1G,mode=rw "layer=$WORK,mode=rw" \
		sync=immediate,fsync=ignore sync_interval=1s,sync=never sync_bytes=1M,sync=immediate \
		sync_interval=1s,sync=lazy io=passthrough,sync=immediate io=passthrough,sync_bytes=1M \
		opens=skip,sync=lazy opens=skip,io=passthrough opens=skip,cache=none; do
		refused "$(sed -E 's/(=[^,]*)?,.*//' <<<"$pair")" "$pair"
	done
}
check 'options that exclude each other are refused in one line' conflicts

check 'a file named by an option that cannot be read is refused by its name' \
	refused "rules" "rules=$NOWHERE"

missing_operands() {
	run '1' -f
	run '1 2' -f "$WORK/b"
	run '1' -f "$WORK/b" "$WORK/m" "$WORK/b"
	run '1' -f -x "$WORK/b" "$WORK/m"
	run '1' -f "$WORK/b" "$WORK/m" -o
}
check 'too few or too many operands and unknown switches are refused' missing_operands

# said TEXT: the last run said so on standard error
said() {
	grep -Fq -- "$1" "$WORK/err" || {
		printf 'it should have said "%s", but said: %s\n' "$1" "$(cat "$WORK/err")"
		return 1
	}
}

missing_directories() {
	run '2 4' -f "$WORK/b" "$NOWHERE"
	said "$NOWHERE"
	said 'No such file or directory'
	run '1 3' -f "$NOWHERE" "$WORK/m"
	said "$NOWHERE"
	said 'No such file or directory'
	run '1 3' -f "$WORK/b/file" "$WORK/m"
	said 'Not a directory'
	run '2 4' -f "$WORK/b" "$WORK/b/file"
	said "$WORK/b/file"
}
check 'a missing BACKING or MOUNTPOINT is named with the reason' missing_directories

# serves: right now, without waiting
serves() {
	same 'mounts' 1 "$(count_mounts "$WORK/m")"
	same 'content' hello "$(cat "$WORK/m/file")"
}

# nobody_serves: no process that has the mount point among its words is left
nobody_serves() {
	! grep -Fzqs "$WORK/m" /proc/[0-9]*/cmdline
}

unmount_and_wait() {
	umount "$WORK/m"
	wait_until 20 nobody_serves
}

foreground_needs_f() {
	local said
	# The substitution ends only when the daemon has let go of the caller's standard output.
	said=$(timeout 20 "$MEMMAPFS_BIN" "$WORK/b" "$WORK/m" -o allow_other 2>&1)
	same 'said' '' "$said"
	serves
	unmount_and_wait
}
check 'without -f the program returns 0 once the mount serves, and lets go of the terminal' foreground_needs_f

relative_daemon_gone() {
	! pgrep -f -x "$MEMMAPFS_BIN b m"
}

relative_paths() {
	cd "$WORK"
	timeout 20 "$MEMMAPFS_BIN" b m
	serves
	umount "$WORK/m"
	cd /
	wait_until 20 relative_daemon_gone
}
check 'relative paths work although the daemon leaves the directory' relative_paths

daemonizing_fails_aloud() {
	run '2 4' "$WORK/b" "$NOWHERE"
	said "$NOWHERE"
	run '1 3' "$NOWHERE" "$WORK/m"
	said "$NOWHERE"
	run 1 "$WORK/b" "$WORK/m" -o sinc=never
	said 'sinc'
}
check 'without -f a failure reaches the caller as status and reason' daemonizing_fails_aloud

words_of_others() {
	timeout 20 "$MEMMAPFS_BIN" "$WORK/b" "$WORK/m" \
		-o defaults,nofail,noauto,user,users,_netdev,x-foo=1,x-systemd.automount,rw,suid,dev \
		-o allow_other,noatime,nosuid -o sync=never
	serves
	grep -F " $WORK/m " /proc/self/mountinfo | grep -Eq 'nosuid'
	unmount_and_wait
}
check "words that only other readers of fstab need are ignored, mount(8)'s words are obeyed" words_of_others

mount_table_entry() {
	timeout 20 "$MEMMAPFS_BIN" "$WORK/b" "$WORK/m" -o allow_other
	local entry
	entry=$(findmnt -n -o SOURCE,FSTYPE,FS-OPTIONS "$WORK/m")
	unmount_and_wait
	grep -Eq "^$WORK/b +fuse.memmapfs-fuse " <<<"$entry"
	grep -Fq default_permissions <<<"$entry"
	grep -Fq allow_other <<<"$entry"
}
check 'the mount table shows BACKING, the type and default_permissions' mount_table_entry

odd_backing_names() {
	local name
	for name in 'with space' 'with,comma' "with'quote" 'with\backslash' 'with=equals' 'naïve'; do
		mkdir "$WORK/$name"
		echo hello >"$WORK/$name/file"
		timeout 20 "$MEMMAPFS_BIN" "$WORK/$name" "$WORK/m" -o allow_other
		serves
		findmnt -n -o SOURCE "$WORK/m" | grep -Fxq "$WORK/$name" || {
			printf 'source shown for "%s": %s\n' "$name" "$(findmnt -n -o SOURCE "$WORK/m")"
			return 1
		}
		unmount_and_wait
	done
}
check 'BACKING may have spaces, commas, quotes and backslashes in its name' odd_backing_names

# mount(8) calls its helper with an empty environment: the program must be where a shell looks first.
mount -t tmpfs memmapfs-test /usr/local/sbin && images+=(/usr/local/sbin) &&
	ln -s "$MEMMAPFS_BIN" /usr/local/sbin/memmapfs-fuse

by_mount8() {
	timeout 20 mount -t fuse.memmapfs-fuse "$WORK/b" "$WORK/m" -o allow_other,sync=periodic,sync_interval=1s
	serves
	unmount_and_wait
	says 'sinc' timeout 20 mount -t fuse.memmapfs-fuse "$WORK/b" "$WORK/m" -o sinc=periodic
}

by_fstab() {
	printf '%s %s fuse.memmapfs-fuse %s 0 0\n' "$WORK/b" "$WORK/m" \
		"${1:-defaults,nofail,x-foo=1,_netdev,allow_other,mode=rw,sync=never}" >"$WORK/fstab"
	timeout 20 mount --fstab "$WORK/fstab" "$WORK/m"
	serves
	echo written >"$WORK/m/new"
	same 'written' written "$(cat "$WORK/b/new")"
	unmount_and_wait
	rm "$WORK/b/new"
}

by_fstab_read_only() {
	printf '%s %s fuse.memmapfs-fuse ro,noauto,user,allow_other 0 0\n' "$WORK/b" "$WORK/m" >"$WORK/fstab"
	timeout 20 mount --fstab "$WORK/fstab" "$WORK/m"
	serves
	says 'Read-only' touch "$WORK/m/new"
	unmount_and_wait
}

if command -v mount.fuse >/dev/null || [ -x /sbin/mount.fuse ]; then
	check 'mount -t fuse.memmapfs-fuse mounts, and passes the reason of a refusal on' by_mount8
	check 'an fstab line mounts' by_fstab
	check 'an fstab line with ro mounts read-only' by_fstab_read_only
else
	skip_check 'mount(8) and fstab' 'no mount.fuse on this machine'
fi
# Whatever a failed check left mounted
while [ "$(count_mounts "$WORK/m")" -gt 0 ]; do
	umount -l "$WORK/m"
done
