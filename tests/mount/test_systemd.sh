#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The installed units under a real systemd: a container boots from an overlay of this machine's root
# directory, runs the checks below as a service, and powers off. Nothing of it reaches the machine.
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
daemon=${MEMMAPFS_BIN:-$here/../../build/memmapfs-fuse}
build=$(dirname "$daemon")

skip() {
	echo "skip: $1"
	exit 77
}

[ "$(id -u)" -eq 0 ] || skip 'a container needs root'
[ -c /dev/fuse ] || skip 'no /dev/fuse on this machine'
command -v systemd-nspawn >/dev/null || skip 'systemd-nspawn is missing'
if grep -Eqa '__asan_init|__tsan_init' "$daemon"; then
	skip "a sanitizer's runtime does not work inside the unit's limits; the plain build is tested"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/memmapfs-systemd.XXXXXX")
finish() {
	if mountpoint -q "$work/root"; then umount "$work/root" || umount -l "$work/root"; fi
	if mountpoint -q "$work"; then umount "$work" || umount -l "$work"; fi
	rmdir "$work"
}
trap finish EXIT
trap 'exit 143' TERM INT HUP

mount -t tmpfs -o mode=755 memmapfs-test "$work" || skip 'tmpfs cannot be mounted here'
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" memmapfs-test "$work/root" ||
	skip 'no overlay of the root directory can be mounted here'
root=$work/root

# --- what the container finds -----------------------------------------------------------------------

DESTDIR='' meson install -C "$build" --no-rebuild --quiet --destdir "$root"
share=$(find "$root/usr" -path '*/doc/memmapfs-fuse/examples' -print -quit)
units=$root/etc/systemd/system
checks=$root/memmapfs-test
mkdir -p "$checks" "$root/etc/memmapfs-fuse" "$root/srv/one" "$root/mnt/one" "$root/srv/example" \
	"$root/mnt/example" "$root/srv/tab" "$root/mnt/tab" "$root/srv/left" "$root/mnt/left"

# The example files as they are, on the directories that they name.
cp "$share/mnt-example.mount" "$share/mnt-example.automount" "$units"
cp "$share/example.conf" "$root/etc/memmapfs-fuse/example.conf"
echo example >"$root/srv/example/file"
echo tab >"$root/srv/tab/file"
echo '/srv/tab /mnt/tab fuse.memmapfs-fuse mode=rw,sync=periodic,allow_other,nofail,x-systemd.after=local-fs-pre.target 0 0' \
	>"$root/etc/fstab"

conf() {
	printf 'BACKING=%s\nMOUNTPOINT=%s\nOPTIONS=%s\n' "$2" "$3" "$4" >"$root/etc/memmapfs-fuse/$1.conf"
}
conf one /srv/one /mnt/one allow_other,mode=rw,sync=periodic
printf 'BACKING=/srv/left\nMOUNTPOINT=/mnt/left\n' >"$root/etc/memmapfs-fuse/left.conf"
conf wrong /srv/one /mnt/left sinc=periodic
conf absent /srv/absent /mnt/left mode=rw
conf lossy /srv/left /mnt/left mode=rw,sync_interval=1h
conf nowhere /srv/one /mnt/nowhere mode=rw
conf taken /srv/left /mnt/one mode=rw,sinc=periodic

# A disk that takes nothing
mkdir "$units/memmapfs-fuse@lossy.service.d"
printf '[Service]\nEnvironment=LD_PRELOAD=/memmapfs-test/fail.so\n' >"$units/memmapfs-fuse@lossy.service.d/fail.conf"
gcc -shared -fPIC -o "$checks/fail.so" -x c - <<'END'
#include <errno.h>
#include <stddef.h>
int fsync(int fd) { (void)fd; errno = EIO; return -1; }
int fdatasync(int fd) { return fsync(fd); }
int msync(void *bytes, size_t length, int flags) { (void)bytes; (void)length; return fsync(flags); }
END

cat >"$units/needs-service.service" <<'END'
[Unit]
Requires=memmapfs-fuse@one.service
After=memmapfs-fuse@one.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'findmnt /mnt/one && echo started >/mnt/one/needs-service'
END
cat >"$units/needs-mount.service" <<'END'
[Unit]
RequiresMountsFor=/mnt/example
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'findmnt -t fuse.memmapfs-fuse /mnt/example && echo started >/mnt/example/needs-mount'
END
cat >"$units/mnt-wrong.mount" <<'END'
[Mount]
What=/srv/one
Where=/mnt/wrong
Type=fuse.memmapfs-fuse
Options=sinc=periodic
END
cat >"$units/memmapfs-test.service" <<'END'
[Unit]
Requires=basic.target
After=basic.target
Wants=mnt-tab.mount
After=mnt-tab.mount
[Service]
Type=oneshot
TimeoutStartSec=80
ExecStart=/bin/bash /memmapfs-test/checks
StandardOutput=file:/memmapfs-test/log
StandardError=inherit
ExecStopPost=/bin/systemctl poweroff --no-block
END

# --- what runs inside -------------------------------------------------------------------------------

cat >"$checks/checks" <<'END'
set -u
cd /

check() {
	local sentence=${1//_/ } status
	# not as the condition of an if: errexit would be off inside
	(
		set -e
		"$1"
	) >/run/memmapfs-check 2>&1
	status=$?
	if [ "$status" -eq 0 ]; then
		echo "ok   $sentence"
	elif [ "$status" -eq 77 ]; then
		echo "skip $sentence ($(tail -n 1 /run/memmapfs-check))"
	else
		echo "FAIL $sentence"
		sed 's/^/     /' /run/memmapfs-check
	fi >>/memmapfs-test/result
}

soon() {
	local i
	for i in {1..100}; do
		"$@" >/dev/null 2>&1 && return
		sleep 0.05
	done
	echo "not within 5 seconds: $*"
	systemctl status --no-pager "memmapfs-fuse@*" || true
	return 1
}

property() { systemctl show --value --property="$2" "$1"; }
mounted() { findmnt --noheadings --types fuse.memmapfs-fuse --mountpoint "$1"; }
service=memmapfs-fuse@one.service

# not COMMAND...: it fails; unlike "!" it counts for errexit
not() {
	if "$@"; then
		echo "should have failed: $*"
		return 1
	fi
}

# equal WHAT EXPECTED ACTUAL
equal() {
	[ "$2" = "$3" ] || { echo "$1 should be '$2', is '$3'"; return 1; }
}

inactive() { equal state inactive "$(property "$1" ActiveState)"; }

# refused UNIT REGEX: it does not start, and its journal says why
refused() {
	if systemctl start "$1"; then echo "$1 started"; return 1; fi
	journalctl --sync
	journalctl --no-pager --unit="$1" --output=cat >/run/memmapfs-journal
	grep -E -- "$2" /run/memmapfs-journal || { cat /run/memmapfs-journal; return 1; }
}

a_line_in_fstab_is_mounted_at_boot() {
	mounted /mnt/tab
	equal content tab "$(cat /mnt/tab/file)"
}
the_mount_serves_when_start_returns() {
	echo before >/srv/one/before
	systemctl start $service
	mounted /mnt/one
	equal content before "$(cat /mnt/one/before)"
	equal state active "$(property $service ActiveState)"
}
the_mount_is_seen_by_everybody() {
	local pid
	pid=$(property $service MainPID)
	equal 'mount namespace' "$(readlink /proc/1/ns/mnt)" "$(readlink "/proc/$pid/ns/mnt")"
	setpriv --reuid=65534 --regid=65534 --clear-groups cat /mnt/one/before
}
the_daemon_keeps_only_the_capabilities_it_needs() {
	local pid status name
	pid=$(property $service MainPID)
	status=$(cat "/proc/$pid/status")
	for name in $(sed -nE 's/^Cap(Eff|Prm):\s*//p' <<<"$status"); do
		name=$(capsh --decode="$name")
		for name in $(sed 's/.*=//; s/,/ /g' <<<"$name"); do
			case $name in
			cap_chown | cap_dac_override | cap_dac_read_search | cap_fowner | cap_fsetid) ;;
			cap_setuid | cap_setgid | cap_mknod | cap_sys_admin | cap_setfcap) ;;
			cap_linux_immutable | cap_ipc_lock) ;;
			*) echo "it has $name"; return 1 ;;
			esac
		done
	done
	grep -E '^NoNewPrivs:\s*1' <<<"$status"
	grep -E '^Seccomp:\s*2' <<<"$status"
}
everything_works_inside_the_units_limits() {
	local mnt=/mnt/one file
	chmod 1777 $mnt
	file=$mnt/file
	setpriv --reuid=65534 --regid=65534 --clear-groups sh -c "echo mine >$file"
	equal owner 65534:65534 "$(stat -c %u:%g /srv/one/file)"
	chown 1:2 $file
	chmod 6755 $file
	equal mode 6755 "$(stat -c %a /srv/one/file)"
	touch -d 2001-02-03 $file
	mv $file $mnt/moved
	ln $mnt/moved $mnt/link
	ln -s moved $mnt/symlink
	mkdir $mnt/directory
	mkfifo $mnt/fifo
	mknod $mnt/null c 1 3
	equal device 'character special file' "$(stat -c %F /srv/one/null)"
	setfattr -n user.name -v value $mnt/moved
	equal xattr value "$(getfattr --only-values -n user.name /srv/one/moved 2>/dev/null)"
	cp /bin/true $mnt/true
	setcap cap_net_raw+ep $mnt/true
	getcap /srv/one/true | grep cap_net_raw
	$mnt/true
	dd if=/dev/urandom of=$mnt/data bs=1M count=8 conv=fsync status=none
	cmp $mnt/data /srv/one/data
	truncate -s 1M $mnt/data
	fallocate -l 2M $mnt/data
	fallocate --punch-hole -o 0 -l 64K $mnt/data
	cmp $mnt/data /srv/one/data
	flock $mnt/data true
	getfattr --only-values -n user.memmapfs.stats $mnt | grep -F '"version"'
	rm -r $mnt/directory $mnt/fifo $mnt/null $mnt/true $mnt/data
}
a_unit_that_requires_the_service_finds_the_mount() {
	systemctl stop $service
	systemctl start needs-service.service
	equal content started "$(cat /srv/one/needs-service)"
}
stop_unmounts_after_the_last_sync() {
	local pid
	pid=$(property $service MainPID)
	echo last >/mnt/one/last
	systemctl stop $service
	equal result success "$(property $service Result)"
	equal state inactive "$(property $service ActiveState)"
	not mounted /mnt/one
	not kill -0 "$pid"
	equal content last "$(cat /srv/one/last)"
	equal 'state of the unit that requires it' inactive "$(property needs-service.service ActiveState)"
}
stop_reports_a_last_sync_that_failed() {
	systemctl start memmapfs-fuse@lossy.service
	echo lost >/mnt/left/lost
	systemctl stop memmapfs-fuse@lossy.service
	equal result exit-code "$(property memmapfs-fuse@lossy.service Result)"
	equal state failed "$(property memmapfs-fuse@lossy.service ActiveState)"
	equal status 7 "$(property memmapfs-fuse@lossy.service ExecMainStatus)"
	journalctl --no-pager -u memmapfs-fuse@lossy.service | grep -F "sync '/srv/left/lost' offset 0 length 5: Input/output error"
	not mounted /mnt/left
}
restart_mounts_again() {
	local pid
	systemctl start $service
	pid=$(property $service MainPID)
	echo kept >/mnt/one/kept
	systemctl restart $service
	[ "$pid" != "$(property $service MainPID)" ]
	equal content kept "$(cat /mnt/one/kept)"
	equal mounts 1 "$(mounted /mnt/one | wc -l)"
}
unmounting_by_hand_ends_the_service_well() {
	umount /mnt/one
	soon ended
	equal result success "$(property $service Result)"
	systemctl start $service
}
ended() { [ "$(property $service ActiveState)" = inactive ]; }
a_killed_daemon_is_replaced_and_no_dead_mount_stays() {
	local pid
	pid=$(property $service MainPID)
	echo survives >/mnt/one/survives
	kill -KILL "$pid"
	soon replaced "$pid"
	equal content survives "$(cat /mnt/one/survives)"
	equal mounts 1 "$(mounted /mnt/one | wc -l)"
}
replaced() {
	[ "$(property $service MainPID)" != "$1" ] && [ "$(property $service ActiveState)" = active ]
}
a_wrong_option_is_named_in_the_journal() {
	refused memmapfs-fuse@wrong.service "unknown option 'sinc'"
	equal restarts 0 "$(property memmapfs-fuse@wrong.service NRestarts)"
	not mounted /mnt/left
}
a_missing_backing_directory_is_named_in_the_journal() {
	refused memmapfs-fuse@absent.service '/srv/absent.*No such file or directory'
}
a_missing_mount_point_is_named_in_the_journal() {
	refused memmapfs-fuse@nowhere.service '/mnt/nowhere.*No such file or directory'
}
a_missing_configuration_is_named_in_the_journal() {
	refused memmapfs-fuse@unwritten.service 'No such file or directory'
}
a_failed_start_leaves_the_mount_of_another_alone() {
	refused memmapfs-fuse@taken.service "unknown option"
	mounted /mnt/one
	equal content survives "$(cat /mnt/one/survives)"
}
the_example_configuration_works_as_it_is() {
	systemctl start memmapfs-fuse@example.service
	equal content example "$(cat /mnt/example/file)"
	systemctl stop memmapfs-fuse@example.service
	soon not mounted /mnt/example
	# systemd learns of mounts by itself: until it has, it would take this one for its own mount unit's
	soon inactive mnt-example.mount
}
RequiresMountsFor_starts_the_mount_unit_first() {
	systemctl start needs-mount.service
	equal content started "$(cat /srv/example/needs-mount)"
	equal state active "$(property mnt-example.mount ActiveState)"
}
stopping_the_mount_unit_stops_who_needs_it() {
	systemctl stop mnt-example.mount
	equal state inactive "$(property needs-mount.service ActiveState)"
	not mounted /mnt/example
}
the_automount_unit_mounts_at_the_first_look() {
	[ -c /dev/autofs ] || { echo 'this kernel has no autofs'; exit 77; }
	systemctl start mnt-example.automount
	not mounted /mnt/example
	equal content example "$(timeout --signal=KILL 10 cat /mnt/example/file)"
	mounted /mnt/example
	systemctl stop mnt-example.automount mnt-example.mount
	soon not mounted /mnt/example
}
a_mount_unit_with_a_wrong_option_says_so() {
	refused mnt-wrong.mount "unknown option 'sinc'"
}
the_default_options_serve_and_stay_until_power_off() {
	systemctl start memmapfs-fuse@left.service
	echo left >/mnt/left/file
	echo mounted at power off >/mnt/tab/file
}

for name in \
	a_line_in_fstab_is_mounted_at_boot \
	the_mount_serves_when_start_returns \
	the_mount_is_seen_by_everybody \
	the_daemon_keeps_only_the_capabilities_it_needs \
	everything_works_inside_the_units_limits \
	a_unit_that_requires_the_service_finds_the_mount \
	stop_unmounts_after_the_last_sync \
	stop_reports_a_last_sync_that_failed \
	restart_mounts_again \
	unmounting_by_hand_ends_the_service_well \
	a_killed_daemon_is_replaced_and_no_dead_mount_stays \
	a_wrong_option_is_named_in_the_journal \
	a_missing_backing_directory_is_named_in_the_journal \
	a_missing_mount_point_is_named_in_the_journal \
	a_missing_configuration_is_named_in_the_journal \
	a_failed_start_leaves_the_mount_of_another_alone \
	the_example_configuration_works_as_it_is \
	RequiresMountsFor_starts_the_mount_unit_first \
	stopping_the_mount_unit_stops_who_needs_it \
	the_automount_unit_mounts_at_the_first_look \
	a_mount_unit_with_a_wrong_option_says_so \
	the_default_options_serve_and_stay_until_power_off; do
	check $name
done
journalctl --no-pager -u 'memmapfs-fuse@*' >/memmapfs-test/journal
echo done >>/memmapfs-test/result
END

# --- the boot ---------------------------------------------------------------------------------------

devices=(--bind=/dev/fuse)
# the kernel's part of automounting
[ ! -c /dev/autofs ] || devices+=(--bind=/dev/autofs)

# boot OPTION...: run the container to its end
boot() {
	timeout --kill-after=5 100 systemd-nspawn --quiet --boot --directory="$root" \
		--machine="memmapfs-test-$$" --private-network --register=no "${devices[@]}" --capability=all \
		"$@" systemd.unit=memmapfs-test.service systemd.log_target=journal </dev/null >"$work/boot.log" 2>&1
}

# Inside a unit or where no systemd runs the container stays in our own control group; a login shell's
# systemd wants to make one for it, whose devices are limited unless allowed.
status=0
boot --keep-unit || status=$?
if [ ! -e "$checks/result" ]; then
	status=0
	boot --property='DeviceAllow=/dev/fuse rw' || status=$?
fi
if [ ! -e "$checks/result" ]; then
	tail -n 20 "$work/boot.log"
	skip 'systemd-nspawn cannot boot a container here'
fi

failures=0
fail() {
	echo "FAIL $1"
	failures=$((failures + 1))
}

grep -v '^done$' "$checks/result"
failures=$(grep -c '^FAIL' "$checks/result" || true)
[ ! -s "$checks/log" ] || fail "the checks said: $(cat "$checks/log")"
grep -qx 'done' "$checks/result" || fail 'the checks did not come to their end'
[ "$status" -eq 0 ] || fail "the container ended with status $status instead of powering off"
if [ "$(cat "$root/srv/left/file")" = left ] && [ "$(cat "$root/srv/tab/file")" = 'mounted at power off' ]; then
	echo 'ok   what was written on mounts that power off found mounted is in BACKING'
else
	fail 'what was written on mounts that power off found mounted is in BACKING'
fi
if [ "$failures" -gt 0 ]; then
	sed 's/^/journal: /' "$checks/journal" | tail -n 80 || true
	tail -n 5 "$work/boot.log"
	exit 1
fi
