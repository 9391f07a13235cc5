#!/bin/bash
# SPDX-License-Identifier: MIT
# A full disk: ENOSPC reaches who wrote, what was acknowledged is there, the daemon lives.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# What a background sync cannot write it must say.
expect_stderr 'No space left on device'

checks() {
	check "$1: writing until the disk is full ends with ENOSPC, and what was acknowledged is there" py <<'PY'
write_file(MNT + "/precious", b"p" * 100000)
os.sync()
fd = os.open(MNT + "/filler", os.O_CREAT | os.O_RDWR)
done = 0
while True:
    try:
        done += os.pwrite(fd, bytes([done // 65536 % 255 + 1]) * 65536, done)
    except OSError as error:
        equal(error.errno, ENOSPC)
        break
    equal(done < 64 * MIB, True, "the disk never got full")
equal(done > MIB, True, "written before it was full: %d" % done)
for root in (MNT, BACKING):
    data = read_file(root + "/filler")
    equal(len(data) >= done, True, "length on " + root)
    for block in range(done // 65536):
        piece = data[block * 65536:(block + 1) * 65536]
        equal(piece.count(piece[0]), len(piece), "block %d" % block)
        equal(piece[0], block % 255 + 1, "block %d" % block)
    equal(read_file(root + "/precious"), b"p" * 100000)
equal(outcome(os.pwrite, fd, b"x" * 65536, done + MIB), "ENOSPC", "again")
PY

	check "$1: writing into a hole on the full disk says ENOSPC; reading the hole gives zeros" py <<'PY'
fd = os.open(MNT + "/hole", os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 16 * MIB)
equal(os.pread(fd, 10000, 5 * MIB), bytes(10000))
# Whatever the file system still had in reserve is used up here.
said = [outcome(os.pwrite, fd, b"h" * 65536, n * 65536) for n in range(100)]
equal("ENOSPC" in said, True, "a store into a hole was acknowledged: %s" % said[-1])
equal(set(said) <= {"ENOSPC"} | set(range(1, 65537)), True, "only counts and ENOSPC: %s" % set(map(str, said)))
equal(said[-1], "ENOSPC")
for n, count in enumerate(said):
    if isinstance(count, int):
        equal(os.pread(os.open(BACKING + "/hole", os.O_RDONLY), count, n * 65536), b"h" * count)
equal(os.pread(fd, 10000, 8 * MIB), bytes(10000))
os.unlink(MNT + "/hole")
PY

	check "$1: a client's own mapping learns of the full disk from msync or a signal, and others go on" py <<'PY'
fd = os.open(MNT + "/mapped", os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 4 * MIB)
def storer(me):
    with mmap.mmap(fd, 4 * MIB) as view:
        for offset in range(0, 4 * MIB, 4096):
            view[offset] = 1
        me.say(str(outcome(view.flush)))
child = Process(storer)
said = None
with contextlib.suppress(AssertionError):
    said = child.hear(20)
equal(said in (None, "ENOSPC", "EIO"), True, "msync said %s" % said)
child.kill()
os.close(fd)
equal(read_file(MNT + "/precious"), b"p" * 100000)
os.unlink(MNT + "/mapped")
PY

	check "$1: overwriting what has its blocks still works, and after a delete so does writing" py <<'PY'
fd = os.open(MNT + "/precious", os.O_RDWR)
equal(os.pwrite(fd, b"Q" * 100000, 0), 100000)
os.fsync(fd)
equal(read_file(BACKING + "/precious"), b"Q" * 100000)
os.unlink(MNT + "/filler")
wait_until(10, lambda: outcome(write_file, MNT + "/after", b"a" * 500000) is None)
os.sync()
equal(read_file(BACKING + "/after"), b"a" * 500000)
with open(MNT + "/after", "rb") as file:
    equal(outcome(os.fsync, file.fileno()), None)
PY
}

for fs in ext4 tmpfs; do
	for writes in auto pwrite window; do
		if ! image "$fs" 8M; then
			skip_check "a full $fs, writes=$writes" "$IMAGE_ERROR"
			continue
		fi
		use_image_as_backing
		mkdir -p "$WORK/full"
		start_mount_at "$BACKING" "$WORK/full" "writes=$writes,sync_interval=200ms"
		checks "$fs, writes=$writes"
		stop_mount
	done
done

if image ext4 32M -m 20; then
	use_image_as_backing
	start_mount_at "$BACKING" "$WORK/full" sync_interval=500ms # what is removed is let go of with a sync
	check 'what the file system holds back for root is not for others, by write and by fallocate; root may have it' py <<'PY'
os.chmod(BACKING, 0o777)
def fill(path, step):
    fd, done = os.open(path, os.O_CREAT | os.O_RDWR, 0o666), 0
    while done < 64 * MIB:
        try:
            done += step(fd, done)
        except OSError as error:
            equal(error.errno, ENOSPC)
            break
    os.fsync(fd)
    os.close(fd)
    return done
def write(fd, offset):
    return os.pwrite(fd, b"w" * 65536, offset)
def allocate(fd, offset):
    os.posix_fallocate(fd, offset, 65536)
    return 65536
def held_back():
    info = os.statvfs(BACKING)
    return (info.f_bfree - info.f_bavail) * info.f_frsize
def reserve_left():
    info = os.statvfs(BACKING)
    return info.f_bfree * info.f_frsize
reserve = held_back()
equal(reserve > 4 * MIB, True, "held back: %d" % reserve)
for step in write, allocate:
    equal(as_user(1000, fill, MNT + "/filler", step) > MIB, True, "written by an ordinary user")
    equal(reserve_left() > reserve - MIB, True, "%s left %d of %d" % (step.__name__, reserve_left(), reserve))
    equal(fill(MNT + "/root", step) > reserve // 2, True, "written by root")
    os.unlink(MNT + "/filler")
    os.unlink(MNT + "/root")
    wait_until(10, lambda: reserve_left() > 2 * reserve)
PY
	stop_mount
else
	skip_check 'what a full ext4 holds back for root' "$IMAGE_ERROR"
fi
