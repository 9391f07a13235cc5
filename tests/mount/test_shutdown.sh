#!/bin/bash
# SPDX-License-Identifier: MIT
# The end of a mount: signals, umount, kill -9; and the sync that goes on meanwhile.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# leaves_all HOW: files written just before the end are whole in BACKING afterwards
write_files() {
	py <<'PY'
for n in range(20):
    write_file(MNT + "/file%d" % n, b"%02d" % n * 50000)
fd = os.open(MNT + "/mapped", os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, MIB)
view = mmap.mmap(fd, MIB)
for offset in range(0, MIB, 4096):
    view[offset:offset + 6] = b"stored"
view.close()
os.close(fd)
PY
}
files_are_whole() {
	py <<'PY'
for n in range(20):
    equal(read_file(BACKING + "/file%d" % n) == b"%02d" % n * 50000, True, "file%d" % n)
data = read_file(BACKING + "/mapped")
equal(len(data), MIB)
equal([data[offset:offset + 6] for offset in range(0, MIB, 4096)], [b"stored"] * 256)
PY
}
not_mounted() {
	[ "$(count_mounts "$MNT")" = 0 ]
}

for how in TERM INT umount fusermount3; do
	for options in sync=periodic,writes=pwrite sync=never,writes=window; do
		start_mount "$options"
		check "$options: files are written before $how" write_files
		case $how in
		TERM | INT) kill "-$how" "$DAEMON" ;;
		umount) umount "$MNT" || fail umount ;;
		fusermount3) fusermount3 -u "$MNT" || fail fusermount3 ;;
		esac
		daemon_ends 20
		check "$how ends the daemon with status 0, and all is in BACKING" files_are_whole
		check "after $how nothing is mounted" wait_until 5 not_mounted
	done
done

start_mount sync=periodic
exec 8>"$MNT/open" 7<"$MNT"
echo text >&8
kill -TERM "$DAEMON"
daemon_ends 15
busy_end() {
	wait_until 5 not_mounted
	same 'content' text "$(cat "$BACKING/open")"
	if echo more >&8; then
		echo 'a write after the end of the mount succeeded'
		return 1
	fi 2>/dev/null
}
check 'SIGTERM ends a mount whose files are still open; their users get an error' busy_end
exec 8>&- 7<&-

start_mount sync=periodic
busy_umount() {
	exec 8>"$MNT/open"
	says 'busy' umount "$MNT"
	echo goes on >&8
	same 'content' 'goes on' "$(cat "$MNT/open")"
	umount -l "$MNT"
	echo and on >&8
	same 'content' $'goes on\nand on' "$(cat "$BACKING/open")"
	kill -0 "$DAEMON"
	exec 8>&-
}
check 'a busy mount refuses umount, and umount -l lets it serve until the last close' busy_umount
daemon_ends 15

start_mount sync=periodic,max_threads=4
under_load() {
	py <<'PY'
def writer(number):
    def write(me):
        fd = os.open(MNT + "/load%d" % number, os.O_CREAT | os.O_RDWR)
        me.say("started")
        end = time.monotonic() + 20
        try:
            while time.monotonic() < end:
                for n in range(100):
                    os.pwrite(fd, b"x" * 65536, n * 65536)
                    os.pread(fd, 65536, n * 65536)
        except OSError as error:
            me.say(errno.errorcode[error.errno])
    return write
children = [Process(writer(number)) for number in range(4)]
for child in children:
    equal(child.hear(), "started")
time.sleep(0.5)
os.kill(int(os.environ["DAEMON"]), signal.SIGTERM)
ends = ["ENOTCONN", "ECONNABORTED", "EIO", "EINTR"]
if "io_uring" in os.environ.get("TEST_MOUNT_OPTS", ""):
    ends.append("ECANCELED") # what a ring was just being given
for child in children:
    said = child.hear(15)
    equal(said in ends, True, said)
    child.kill()
PY
}
check 'SIGTERM under load ends the daemon, and the load with an error' under_load
daemon_ends 20

start_mount sync=periodic
hang_up() {
	echo x >"$MNT/file"
	kill -HUP "$DAEMON"
	sleep 0.3
	same 'content' x "$(cat "$MNT/file")"
}
check 'SIGHUP does not end the mount' hang_up
stop_mount

start_mount sync=periodic
backing=$BACKING
check 'files are written before kill -9' py <<'PY'
write_file(MNT + "/killed", b"returned" * 10000)
PY
exec 8>>"$MNT/killed"
kill -KILL "$DAEMON"
wait "$DAEMON" 2>/dev/null || true
daemons[${#daemons[@]} - 1]=''
after_kill() {
	# The kernel ends rings a moment after their process.
	if [[ ${TEST_MOUNT_OPTS-} == *io_uring* ]]; then
		wait_until 5 says 'not connected' ls "$MNT"
	fi
	says 'not connected' ls "$MNT"
	same 'size in BACKING' 80000 "$(stat -c %s "$backing/killed")"
	umount -l "$MNT"
}
check 'after kill -9 every write that returned is in BACKING' after_kill
exec 8>&-
start_mount_at "$backing" "$MNT" sync=periodic
remounted() {
	same 'size' 80000 "$(stat -c %s "$MNT/killed")"
	echo more >>"$MNT/killed"
	same 'size in BACKING' 80005 "$(stat -c %s "$backing/killed")"
}
check 'and after umount -l the directory is mounted anew' remounted
stop_mount

start_mount sync=periodic,sync_interval=200ms
check 'sync=periodic: what was written is synced within the interval, without anybody asking' py <<'PY'
before = statistics()["sync"]
write_file(MNT + "/idle", b"x" * 100000)
wait_until(3, lambda: statistics()["sync"]["msyncs"] > before["msyncs"])
wait_until(3, lambda: statistics()["sync"]["dirty_bytes"] == 0)
equal(statistics()["sync"]["synced_bytes"] - before["synced_bytes"] >= 100000, True)
settled = statistics()["sync"]["msyncs"]
time.sleep(1)
equal(statistics()["sync"]["msyncs"], settled, "an idle mount syncs nothing")
fd = os.open(MNT + "/idle", os.O_RDWR)
for n in range(3):
    grown = statistics()["sync"]["msyncs"]
    os.pwrite(fd, b"again", n * 4096)
    wait_until(3, lambda: statistics()["sync"]["msyncs"] > grown)
PY
check 'fsync and fdatasync return 0 on files and directories' py <<'PY'
fd = os.open(MNT + "/synced", os.O_CREAT | os.O_RDWR)
os.write(fd, b"x" * 100000)
os.fsync(fd)
os.fdatasync(fd)
directory = os.open(MNT, os.O_RDONLY)
os.fsync(directory)
os.fdatasync(directory)
os.fsync(os.open(MNT + "/synced", os.O_RDONLY))
for flag in (os.O_SYNC, os.O_DSYNC):
    fd = os.open(MNT + "/synced", os.O_RDWR | flag)
    equal(os.pwrite(fd, b"y" * 5000, 3), 5000)
equal(read_file(BACKING + "/synced"), b"xxx" + b"y" * 5000 + b"x" * 94997)
PY
stop_mount

# A disk that takes long, and MOUNTPOINT a mount of its own, which the end of ours must not take along
sentence='a second SIGTERM ends at once with status 7, and leaves what lies below the mount'
late='syncs that take longer than their interval are logged once, and do not pile up'
if grep -qaE '__(asan|tsan)_init' "$MEMMAPFS_BIN"; then
	skip_check "$sentence" 'a sanitizer wants to be preloaded first'
	skip_check "$late" 'a sanitizer wants to be preloaded first'
else
	cat >"$WORK/slow.c" <<'END'
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
static int slow(void) { usleep(1000 * atoi(getenv("SLOW_MS"))); return 0; }
int fsync(int fd) { (void)fd; return slow(); }
int fdatasync(int fd) { (void)fd; return slow(); }
int msync(void *bytes, size_t length, int flags) { (void)bytes; (void)length; (void)flags; return slow(); }
END
	gcc -shared -fPIC -o "$WORK/slow.so" "$WORK/slow.c"
	mkdir "$WORK/below" "$WORK/slow-backing"
	mount -t tmpfs below "$WORK/below"
	images+=("$WORK/below")
	LAUNCH=(env SLOW_MS=10000 "LD_PRELOAD=$WORK/slow.so")
	start_mount_at "$WORK/slow-backing" "$WORK/below" sync=periodic,sync_interval=1h
	LAUNCH=()
	expect_stderr 'Terminated again: ending at once; .* may not be on disk'
	second_signal() {
		echo text >"$WORK/below/file"
		kill -TERM "$DAEMON"
		only_below() { [ "$(findmnt -n -o FSTYPE --mountpoint "$WORK/below")" = tmpfs ]; }
		wait_until 5 only_below
		kill -TERM "$DAEMON"
		wait_until 5 not_running
		only_below
	}
	not_running() { [ ! -e "/proc/$DAEMON/exe" ]; }
	check "$sentence" second_signal
	status=0
	wait "$DAEMON" || status=$?
	[ "$status" = 7 ] || fail "status $status instead of 7"
	daemons[${#daemons[@]} - 1]=''

	# A sync of 500 ms and a tick each 50: a tick that started a sync regardless would leave twenty behind.
	mkdir "$WORK/late-backing" "$WORK/late"
	LAUNCH=(env SLOW_MS=500 "LD_PRELOAD=$WORK/slow.so")
	start_mount_at "$WORK/late-backing" "$WORK/late" sync=periodic,sync_interval=50ms
	LAUNCH=()
	no_pile() {
		py <<'PY'
fd = os.open(MNT + "/file", os.O_CREAT | os.O_RDWR)
began, before = time.monotonic(), statistics()["sync"]
while time.monotonic() < began + 2:
    os.pwrite(fd, b"x" * 4096, 0)
    time.sleep(0.01)
after = statistics()["sync"]
equal(after["ticks"] - before["ticks"] > 10, True, "ticks go on: %r" % after)
# One at a time of the file, and as many of its directory.
equal(after["msyncs"] - before["msyncs"] <= 10, True, "syncs: %r" % after)
wait_until(1.8, lambda: statistics()["sync"]["dirty_bytes"] == 0)
settled = statistics()["sync"]["msyncs"]
time.sleep(1)
equal(statistics()["sync"]["msyncs"] - settled <= 1, True, "nothing is left over")
PY
		same 'warnings' 1 "$(grep -c 'a sync takes longer than its interval' "$WORK/stderr.$((${#daemons[@]} - 1))")"
	}
	check "$late" no_pile
	stop_mount
fi
