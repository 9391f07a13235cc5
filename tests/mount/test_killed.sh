#!/bin/bash
# SPDX-License-Identifier: MIT
# kill -9 of the daemon while it waits for what the kernel hands over, which its own threads should take.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

export IMAGE CONNECTIONS=$WORK/connections

rounds=3
if short; then
	rounds=1
fi

! sanitized || skip 'the daemon of a build with sanitizers does not wait where others do'
image ext4 200M || skip "$IMAGE_ERROR"
mkdir "$CONNECTIONS"
mount -t fusectl none "$CONNECTIONS"
images+=("$CONNECTIONS")

# killed_waiting: with stores outstanding, and BACKING frozen so that the daemon's threads cannot take them, a
# tick asks for them, and the daemon is killed. A mount that hangs then is ended by its connection, so that the test goes on.
killed_waiting() {
	py <<'PY'
daemon, size = int(os.environ["DAEMON"]), 16 * MIB
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
image = os.open(os.environ["IMAGE"], os.O_RDONLY)
device = os.stat(MNT).st_dev

def fields(path):
    """State and parent, or None."""
    with contextlib.suppress(OSError), open(path) as file:
        return file.read().rpartition(")")[2].split()[:2]

def threads_of(pid):
    with contextlib.suppress(OSError):
        found = [fields("/proc/%d/task/%s/stat" % (pid, task)) for task in os.listdir("/proc/%d/task" % pid)]
        return [state for state, _ in filter(None, found) if state not in "ZX"]
    return []

def children_of(pid):
    return [int(name) for name in os.listdir("/proc")
            if name.isdigit() and (fields("/proc/%s/stat" % name) or ("", ""))[1] == str(pid)]

def store(me):
    fd = os.open(MNT + "/stored", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, size)
    view = mmap.mmap(fd, size)
    view[:] = b"s" * size
    me.say("stored")
    me.wait_for_go()
    # A tick may have taken it meanwhile.
    view[:] = b"t" * size
    me.wait_for_go()

def answer():
    try:
        os.statvfs(MNT)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "success"

storing = Process(store)
equal(storing.hear(30), "stored")
fcntl.ioctl(image, FIFREEZE, 0)
try:
    storing.go()
    # Both workers, and who waits for them: the tick. Where it does not come to that, the rest must hold as well.
    with contextlib.suppress(AssertionError):
        wait_until(5, lambda: sum(threads_of(pid).count("D") for pid in [daemon] + children_of(daemon)) >= 3)
    family = [daemon] + children_of(daemon)
    os.kill(daemon, signal.SIGKILL)
finally:
    fcntl.ioctl(image, FITHAW, 0)
try:
    # A process whose leader is dead is not gone: its other threads may wait.
    wait_until(5, lambda: not any(threads_of(pid) for pid in family))
    equal(answer(), "ENOTCONN")
finally:
    with contextlib.suppress(OSError):
        write_file("%s/%d/abort" % (os.environ["CONNECTIONS"], os.minor(device)), b"1")
PY
}

for ((round = 1; round <= rounds; round++)); do
	rm -rf "$IMAGE/backing" "$IMAGE/native"
	use_image_as_backing
	start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" sync=periodic,sync_interval=200ms,max_threads=2
	check "killed while it waits for stores, the daemon ends, and the mount with it ($round)" killed_waiting
	wait "$DAEMON" 2>/dev/null || true
	daemons[${#daemons[@]} - 1]=''
	umount -l "$MNT"
done
