#!/bin/bash
# SPDX-License-Identifier: MIT
# hugetlbfs as BACKING: it has no write(2), files of whole huge pages only, and pages that are few.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

PAGES=8 # of 2 MiB, for this test
POOL=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
[ -w "$POOL" ] || skip 'no huge pages of 2 MiB here'
# There is one pool on the machine, and the tests of other builds may run beside this one.
exec {pool_lock}>/run/lock/memmapfs-fuse-test-hugepages
flock "$pool_lock"
before=$(cat "$POOL")
give_back() {
	local status=$?
	set +e
	echo "$before" >"$POOL"
	(exit "$status")
	finish
}
trap give_back EXIT
echo $((before + PAGES)) >"$POOL"
[ "$(cat "$POOL")" -ge $((before + PAGES)) ] || skip "no $PAGES huge pages can be had here"
IMAGE=$(mktemp -d "$WORK/fs.XXXXXX")
mount -t hugetlbfs -o "pagesize=2M,size=$((PAGES * 2 - 4))M,mode=755" memmapfs-test "$IMAGE" 2>/dev/null ||
	skip 'hugetlbfs cannot be mounted here'
images+=("$IMAGE")
use_image_as_backing

cat >"$WORK/huge.py" <<'PY'
from fsutil import *

HUGE = 2 * MIB


def make(name, pages):
    fd = os.open(BACKING + "/" + name, os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, pages * HUGE)
    os.close(fd)
    return MNT + "/" + name


def native(name, offset, length):
    """Bytes of a file in BACKING."""
    fd = os.open(BACKING + "/" + name, os.O_RDONLY)
    data = os.pread(fd, length, offset)
    os.close(fd)
    return data


def windows(name):
    """The daemon's mappings of a file: (bytes, bytes of a page)."""
    found, here = [], False
    for line in open("/proc/%s/smaps" % os.environ["DAEMON"]):
        words = line.split()
        if not words[0].endswith(":"):
            here = len(words) > 5 and words[5] == BACKING + "/" + name
        elif here and words[0] == "Size:":
            found.append(int(words[1]) * 1024)
        elif here and words[0] == "KernelPageSize:":
            found[-1] = (found[-1], int(words[1]) * 1024)
    return found
PY

# huge: run the Python program on stdin with everything of huge.py in scope
huge() {
	{
		echo 'from huge import *'
		cat
	} >"$WORK/case.py"
	PYTHONPATH=$TESTS:$WORK python3 "$WORK/case.py"
}

start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" sync=periodic,sync_interval=100ms,writes=pwrite,cache=none

check 'what is written on the mount is in BACKING, at any offset and across pages' huge <<'PY'
path = make("file", 3)
fd = os.open(path, os.O_RDWR)
data = os.urandom(HUGE)
equal(os.pwrite(fd, data, HUGE // 2 + 17), HUGE)
equal(native("file", HUGE // 2 + 17, HUGE) == data, True)
equal(os.pread(fd, HUGE, HUGE // 2 + 17) == data, True)
equal(native("file", 0, HUGE // 2 + 17) == bytes(HUGE // 2 + 17), True)
equal(os.pwrite(fd, b"end", 3 * HUGE - 3), 3)
os.fsync(fd)
equal(statistics()["sync"]["errors"], 0)
equal(statistics()["io"]["write_fallbacks"], 0)
found = windows("file")
equal([page for _, page in found], [HUGE] * len(found))
equal(sum(size for size, _ in found), 3 * HUGE, "no window reaches past the end")
os.close(fd)
PY

check 'mappings on either side see what the other has stored' huge <<'PY'
fd = os.open(MNT + "/file", os.O_RDWR)
other = os.open(BACKING + "/file", os.O_RDWR)
with mmap.mmap(other, 3 * HUGE) as view:
    view[5:8] = b"one"
    equal(os.pread(fd, 3, 5), b"one")
    with mmap.mmap(fd, 3 * HUGE) as mine:
        mine[HUGE:HUGE + 3] = b"two"
        mine.flush()
    equal(view[HUGE:HUGE + 3], b"two")
    os.pwrite(fd, b"three", 2 * HUGE - 2)
    equal(view[2 * HUGE - 2:2 * HUGE + 3], b"three")
os.close(fd)
os.close(other)
PY

expect_stderr 'a write extends no file of hugetlbfs'
check 'a write past the end fails as natively, and moves no end' huge <<'PY'
fd = os.open(MNT + "/file", os.O_RDWR)
with raises(EINVAL):
    os.pwrite(fd, b"x", 3 * HUGE)
equal(os.pwrite(fd, b"12345", 3 * HUGE - 2), 2, "what lies inside")
with raises(EINVAL):
    os.write(os.open(MNT + "/file", os.O_WRONLY | os.O_APPEND), b"x")
with raises(EINVAL):
    write_file(MNT + "/new", b"text")
equal(os.stat(MNT + "/new").st_size, 0)
with raises(EINVAL):
    os.ftruncate(fd, 3 * HUGE + PAGE)
equal(os.stat(BACKING + "/file").st_size, 3 * HUGE)
os.unlink(MNT + "/new")
said = [line for name in os.listdir(WORK) if name.startswith("stderr.")
        for line in read_file(WORK + "/" + name).decode().splitlines() if "extends" in line]
equal(len(said), 1, said)
PY

check 'a file becomes longer and shorter by whole pages, and what was cut off is zeros' huge <<'PY'
fd = os.open(MNT + "/file", os.O_RDWR)
os.pwrite(fd, b"gone", HUGE)
os.ftruncate(fd, HUGE)
equal(os.pread(fd, 10, HUGE), b"")
equal(os.stat(BACKING + "/file").st_size, HUGE)
os.ftruncate(fd, 2 * HUGE)
equal(os.pread(fd, 4, HUGE), bytes(4))
equal(os.pwrite(fd, b"back", HUGE), 4)
equal(native("file", HUGE, 4), b"back")
# Somebody cuts it in BACKING under the windows.
os.truncate(BACKING + "/file", HUGE)
equal(os.pread(fd, 4, HUGE) in (b"", bytes(4)), True)
equal(os.stat(BACKING + "/file").st_size, HUGE)
os.close(fd)
PY

check 'reading a hole takes no page' huge <<'PY'
path = make("hole", 100)
fd = os.open(path, os.O_RDONLY)
equal(os.pread(fd, MIB, 50 * HUGE) == bytes(MIB), True)
equal(os.stat(BACKING + "/hole").st_blocks, 0)
os.close(fd)
PY

check 'where no page is left a store says ENOSPC, and the rest goes on' huge <<'PY'
free = os.statvfs(BACKING).f_bfree
fd = os.open(MNT + "/hole", os.O_RDWR)
stored = 0
with raises(ENOSPC):
    while stored < 100:
        equal(os.pwrite(fd, b"x", stored * HUGE), 1)
        stored += 1
equal(stored > 0, True)
equal(os.pread(fd, 1, 0), b"x")
equal(os.pread(fd, 1, stored * HUGE), b"\0")
equal(statistics()["faults"]["nospace"] > 0, True)
os.close(fd)
os.unlink(MNT + "/hole")
# The daemon hears later that nobody has the file any more, and only then gives its pages back.
wait_until(10, lambda: os.statvfs(BACKING).f_bfree >= free)
PY

check 'figures: space, block size, residency and the picture' huge <<'PY'
equal(os.statvfs(MNT).f_blocks * os.statvfs(MNT).f_frsize, os.statvfs(BACKING).f_blocks * os.statvfs(BACKING).f_frsize)
equal(os.stat(MNT + "/file").st_blksize, HUGE)
path = make("full", 2)
fd = os.open(path, os.O_RDWR)
os.pwrite(fd, bytes(2 * HUGE), 0)
told = json.loads(os.getxattr(path, "user.memmapfs.file"))
equal((told["mapped"], told["resident"]), (2 * HUGE, 2 * HUGE))
ctl = os.path.dirname(os.environ["MEMMAPFS_BIN"]) + "/memmapfsctl"
seen = json.loads(subprocess.check_output([ctl, "map", "--json", path]))
equal((seen["resident"], seen["not_resident"]), (2 * HUGE, 0))
os.close(fd)
os.unlink(path)
PY

check 'a write clears set-id bits' huge <<'PY'
path = make("setid", 1)
os.chmod(path, 0o6755)
os.chown(path, 65534, 65534)
os.chmod(path, 0o6755)

def write_inside():
    with open(path, "r+b", buffering=0) as file:
        file.write(b"x")

as_user(65534, write_inside)
equal(os.stat(BACKING + "/setid").st_mode & 0o7777, 0o755)
os.unlink(path)
PY

check 'names, links and directories work as on any BACKING' huge <<'PY'
os.mkdir(MNT + "/directory")
path = make("directory/name", 1)
os.link(path, MNT + "/link")
os.rename(path, MNT + "/renamed")
equal(os.stat(MNT + "/renamed").st_nlink, 2)
with open(MNT + "/link", "r+b", buffering=0) as file:
    file.write(b"through the link")
equal(native("renamed", 0, 16), b"through the link")
for name in ("link", "renamed"):
    os.unlink(MNT + "/" + name)
os.rmdir(MNT + "/directory")
PY
stop_mount

for options in window_size=4K window_size=full max_mapped=2M,window_size=2M hugepages,mlock,preload=sync; do
	start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" "$options"
	expect_stderr "hugepages: '.*' has [0-9]+ of [0-9]+ bytes mapped by huge pages"
	check "$options: files are served" huge <<'PY'
path = make("file", 3)
data = os.urandom(3 * HUGE)
fd = os.open(path, os.O_RDWR)
equal(os.pwrite(fd, data, 0), len(data))
equal(os.pread(fd, len(data), 0) == data, True)
equal(native("file", 0, len(data)) == data, True)
found = windows("file")
equal([page for _, page in found], [HUGE] * len(found))
os.close(fd)
os.unlink(path)
PY
	stop_mount
done
