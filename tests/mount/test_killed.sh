#!/bin/bash
# SPDX-License-Identifier: MIT
# kill -9 of the daemon while it waits for what the kernel hands over, which its own threads should take. Were the call
# that waits for it one of the daemon's own, nothing would end it any more: it cannot be killed, the device stays open,
# and the mount hangs.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

export IMAGE CONNECTIONS=$WORK/connections

rounds=3
if short; then
	rounds=1
fi

image ext4 200M || skip "$IMAGE_ERROR"
mkdir "$CONNECTIONS"
mount -t fusectl none "$CONNECTIONS"
images+=("$CONNECTIONS")

# killed_waiting: BACKING is frozen, so that the thread which takes stores comes to a halt. A sync of the whole mount
# waits for them by fsync(2) (Linux's syncfs(2), all that a tick does, waits for no stores), and the daemon is killed.
# A mount that hangs then is ended by its connection, so that the test goes on.
killed_waiting() {
	py <<'PY'
daemon = int(os.environ["DAEMON"])
FSYNC = {"x86_64": "74", "aarch64": "82"}.get(os.uname().machine) or skip("the number of fsync(2) here?")
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
image = os.open(os.environ["IMAGE"], os.O_RDONLY)
device = os.stat(MNT).st_dev

def fields(path):
    """State and parent, or None of who is gone."""
    with contextlib.suppress(OSError), open(path) as file:
        return file.read().rpartition(")")[2].split()[:2]

def threads_of(pid):
    """State and number of the system call of each that has not ended."""
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/%d/task" % pid):
            where = "/proc/%d/task/%s/" % (pid, task)
            with contextlib.suppress(OSError, IndexError):
                call = read_file(where + "syscall").split()[0].decode()
                found.append(((fields(where + "stat") or "X")[0], call))
    return [thread for thread in found if thread[0] not in "ZX"]

def children_of(pid):
    return [int(name) for name in os.listdir("/proc")
            if name.isdigit() and (fields("/proc/%s/stat" % name) or ("", ""))[1] == str(pid)]

def family():
    return [daemon] + children_of(daemon)

def store(me):
    fd = os.open(MNT + "/stored", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 4096)
    view = mmap.mmap(fd, 4096)
    me.say("ready")
    me.wait_for_go()
    view[0] = 1
    me.say("stored")
    me.wait_for_go()

def answer():
    try:
        os.statvfs(MNT)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "success"

def sync(me):
    with raises(ENOTCONN, ECONNABORTED, EIO):
        os.setxattr(MNT, "user.memmapfs.sync", b"now")
    me.say("refused")

storing = Process(store)
equal(storing.hear(30), "ready")
fcntl.ioctl(image, FIFREEZE, 0)
try:
    # Only now, and no more than this: somebody else may call sync(2) at any moment.
    storing.go()
    equal(storing.hear(30), "stored")
    syncing = Process(sync)
    wait_until(20, lambda: any(("D", FSYNC) in threads_of(pid) for pid in family()))
    waiting = family()
    os.kill(daemon, signal.SIGKILL)
finally:
    fcntl.ioctl(image, FITHAW, 0)
try:
    # A process whose leader is dead is not gone: its other threads may wait.
    wait_until(5, lambda: not any(threads_of(pid) for pid in waiting))
    equal(answer(), "ENOTCONN")
    equal(syncing.hear(), "refused")
finally:
    with contextlib.suppress(OSError):
        write_file("%s/%d/abort" % (os.environ["CONNECTIONS"], os.minor(device)), b"1")
PY
}

for ((round = 1; round <= rounds; round++)); do
	rm -rf "$IMAGE/backing" "$IMAGE/native"
	use_image_as_backing
	start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" sync_interval=1h
	check "killed while it waits for stores, the daemon ends, and the mount with it ($round)" killed_waiting
	kill -KILL "$DAEMON" 2>/dev/null || true
	wait "$DAEMON" 2>/dev/null || true
	daemons[${#daemons[@]} - 1]=''
	umount -l "$MNT"
done
