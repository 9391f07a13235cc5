#!/bin/bash
# SPDX-License-Identifier: MIT
# mode=cow: what fails halfway, below the layer or in BACKING, is either done or not, and whoever asks hears of it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

CTL=$(dirname "$MEMMAPFS_BIN")/memmapfsctl
export CTL
expect_stderr 'was changed in BACKING since the layer has pages of it'
mkdir "$WORK/mnt"
image tmpfs 24M || skip "$IMAGE_ERROR"

# --- a commit that finds BACKING full when it is nearly done ------------------------------------------------

# A commit waits where it opens "leased", after all others have been written; what is written to one of them then is
# written to BACKING once more, as nobody is served any more.
full_at_the_end() { # OPTIONS
	use_image_as_backing
	for name in first grown leased; do echo "$name" >"$BACKING/$name"; done
	start_mount_at "$BACKING" "$WORK/mnt" "$1"
	check "$1: a commit for whose last part BACKING has no room says so" py <<'PY'
for name in ("first", "grown", "leased"):
    with open(MNT + "/" + name, "r+b") as file:
        file.write(b"changed")
asked = []
signal.signal(signal.SIGIO, lambda *_: asked.append(True))
lease = os.open(BACKING + "/leased", os.O_RDONLY)
fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_RDLCK)
commit = subprocess.Popen([os.environ["CTL"], "layer", "commit", MNT], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
wait_until(20, lambda: asked)
equal(read_file(BACKING + "/grown")[:7], b"changed", "written already")
with open(MNT + "/grown", "wb") as file:
    file.write(b"g" * 40 * MIB)
os.close(lease)
said = commit.communicate()[0]
equal((commit.returncode, "'grown' in BACKING: No space left" in said), (1, True), said)
PY
	check "$1: all of it is still there, and can be changed" py <<'PY'
equal(read_file(MNT + "/first")[:7], b"changed")
equal(read_file(MNT + "/grown"), b"g" * 40 * MIB)
for name in ("first", "leased", "grown"):
    with open(MNT + "/" + name, "r+b") as file:
        file.write(b"again")
        os.fsync(file.fileno())
    os.chmod(MNT + "/" + name, 0o600)
os.truncate(MNT + "/grown", 5)
PY
	check "$1: and committed" py <<'PY'
subprocess.check_call([os.environ["CTL"], "layer", "commit", "--force", MNT], stdout=subprocess.DEVNULL)
for name, content in ("first", b"agained"), ("leased", b"agained"), ("grown", b"again"):
    equal(read_file(BACKING + "/" + name)[:len(content)], content, name)
    equal(os.stat(BACKING + "/" + name).st_mode & 0o777, 0o600, name)
PY
	stop_mount
	rm -r "$BACKING"
}
full_at_the_end mode=cow
full_at_the_end "mode=cow,layer=$WORK/committed"

# --- fallocate(2) that the layer has no room for ------------------------------------------------------------

use_image_as_backing
start_mount_at "$BACKING" "$WORK/mnt" mode=cow,layer_max=8M
check 'what fallocate(2) has given before the layer was full is given back with the file' py <<'PY'
for n in range(6):
    fd = os.open(MNT + "/file", os.O_RDWR | os.O_CREAT)
    for page in range(0, 1024, 2):
        os.pwrite(fd, b"x", page * PAGE)
    os.ftruncate(fd, 64 * MIB)
    with raises(ENOSPC):
        fallocate(fd, 0, 0, 64 * MIB)
    os.close(fd)
    # The kernel forgets the file, and the daemon what only memory has of it.
    forget_names(MNT)
    equal(os.stat(MNT + "/file").st_blocks * 512 <= 8 * MIB, True)
    os.unlink(MNT + "/file")
wait_until(10, lambda: statistics()["layer"]["bytes"] == 0)
PY
stop_mount

# --- a log that cannot be synced ----------------------------------------------------------------------------

if command -v strace >/dev/null && ! sanitized; then
	expect_stderr 'layer .*: its log cannot be synced'
	expect_stderr 'sync .*: Input/output error; what was written there may be lost'
	start_mount_at "$BACKING" "$WORK/mnt" "mode=cow,layer=$WORK/unsynced,sync=never"
	check 'after a log that could not be synced nobody is told that something is on the disk' py <<'PY'
one, other = (os.open(MNT + name, os.O_RDWR | os.O_CREAT) for name in ("/one", "/other"))
os.pwrite(one, b"1" * 5000, 0)
os.pwrite(other, b"2" * 5000, 0)
os.fsync(one)
tasks = "/proc/%s/task" % os.environ["DAEMON"]
tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-P", os.environ["WORK"] + "/unsynced/layer.db-wal",
                           "-e", "inject=fdatasync:error=EIO:when=1", "-p", os.environ["DAEMON"]])
wait_until(20, lambda: not any(b"TracerPid:\t0\n" in read_file("%s/%s/status" % (tasks, task))
                               for task in os.listdir(tasks)))
os.pwrite(one, b"3" * 5000, 0)
with raises(EIO):
    os.fsync(one)
os.pwrite(other, b"4" * 50000, 0)
with raises(EIO):
    os.fsync(other)
directory = os.open(MNT, os.O_RDONLY)
with raises(EIO):
    os.fsync(directory)
tracer.terminate()
tracer.wait()
PY
	crash_daemon
	start_mount_at "$BACKING" "$WORK/mnt" "mode=cow,layer=$WORK/unsynced"
	check 'the layer opens after that, with what had been synced' py <<'PY'
equal(read_file(MNT + "/one") in (b"1" * 5000, b"3" * 5000), True)
equal(len(read_file(MNT + "/other")) in (0, 5000), True)
PY
	stop_mount
else
	skip_check 'a log that cannot be synced' 'strace is missing, or disturbs the sanitizer'
fi
