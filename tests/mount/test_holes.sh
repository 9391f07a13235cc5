#!/bin/bash
# SPDX-License-Identifier: MIT
# Holes: SEEK_DATA and SEEK_HOLE, fallocate in all modes, copy_file_range, sparse and huge files.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

cat >"$WORK/holes.py" <<'EOP'
from fsutil import *

def seek_map(path):
    """The data ranges that SEEK_DATA and SEEK_HOLE tell of."""
    fd = os.open(path, os.O_RDONLY)
    ranges, offset = [], 0
    while True:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            equal(error.errno, ENXIO)
            break
        end = os.lseek(fd, start, os.SEEK_HOLE)
        ranges.append((start, end))
        offset = end
    os.close(fd)
    return ranges

def picture(path):
    info = os.stat(path)
    return info.st_size, seek_map(path), read_file(path) if info.st_size < 64 * MIB else None
EOP
PYTHONPATH=$WORK:$PYTHONPATH

holes() {
	{
		echo 'from holes import *'
		cat
	} | py
}

# on_this_mount WHERE: the checks that every backing file system and way of writing must pass
on_this_mount() {
	check "$1: SEEK_DATA and SEEK_HOLE tell what BACKING tells" holes <<'PY'
def steps(d):
    path = d + "/sparse"
    with open(path, "wb") as file:
        for offset in (0, 1 * MIB, 3 * MIB + 4096 * 5, 8 * MIB - 1):
            os.pwrite(file.fileno(), b"data" * 2048, offset)
        os.ftruncate(file.fileno(), 16 * MIB)
        os.fsync(file.fileno())
    fd = os.open(path, os.O_RDONLY)
    return [
        picture(path)[1],
        outcome(os.lseek, fd, 16 * MIB, os.SEEK_DATA),
        outcome(os.lseek, fd, 16 * MIB - 1, os.SEEK_HOLE),
        outcome(os.lseek, fd, 16 * MIB, os.SEEK_HOLE),
        outcome(os.lseek, fd, -1, os.SEEK_HOLE),
        outcome(os.lseek, fd, 0, os.SEEK_END),
        outcome(os.lseek, fd, -5, os.SEEK_CUR),
        hash(read_file(path)),
    ]
on_both(steps)
PY

	check "$1: fallocate in every mode does what it does on BACKING" holes <<'PY'
MODES = {
    "allocate": 0,
    "keep size": FALLOC_KEEP_SIZE,
    "punch": FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE,
    "punch without keep": FALLOC_PUNCH_HOLE,
    "zero": FALLOC_ZERO_RANGE,
    "zero and keep": FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE,
}
RANGES = [(0, 4096), (4096, 8192), (100, 10), (4000, 5000), (60000, 20000), (65536, 4096), (200000, 1), (0, 1 << 20)]
def steps(d):
    answers = []
    for name, mode in MODES.items():
        for offset, length in RANGES:
            path = "%s/%s-%d" % (d, name.replace(" ", "-"), offset)
            write_file(path, b"x" * 65536)
            fd = os.open(path, os.O_RDWR)
            os.pread(fd, 65536, 0)
            said = outcome(fallocate, fd, mode, offset, length)
            size, ranges, content = picture(path)
            answers.append((name, offset, length, said, size, content == b"x" * 65536, hash(content)))
            os.close(fd)
    fd = os.open(path, os.O_RDWR)
    for offset, length in [(-1, 10), (0, 0), (0, -5), ((1 << 63) - 10, 5000)]:
        answers.append(outcome(fallocate, fd, 0, offset, length))
    answers.append(outcome(fallocate, os.open(path, os.O_RDONLY), 0, 0, 10))
    return answers
on_both(steps)
PY

	check "$1: what the kernel does not pass on is refused, and changes nothing" holes <<'PY'
path = MNT + "/collapse"
write_file(path, b"abcdefgh" * 4096)
native = NATIVE + "/collapse"
write_file(native, b"abcdefgh" * 4096)
for mode in (FALLOC_COLLAPSE, FALLOC_INSERT, FALLOC_UNSHARE):
    said = outcome(fallocate, os.open(path, os.O_RDWR), mode, 4096, 4096)
    equal(said in ("EOPNOTSUPP", "ENOTSUP", None), True, "mode %d: %s" % (mode, said))
    if said is None:
        fallocate(os.open(native, os.O_RDWR), mode, 4096, 4096)
    equal(read_file(path) == read_file(native), True)
PY

	check "$1: a punched hole reads as zeros through handle and mapping, and is one in BACKING" holes <<'PY'
path = MNT + "/punched"
write_file(path, b"x" * MIB)
fd = os.open(path, os.O_RDWR)
os.fsync(fd)
with mmap.mmap(fd, MIB) as view:
    equal(view[300000], ord("x"))
    said = outcome(fallocate, fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 262144, 131072)
    if said == "ENOTSUP":
        skip("no holes can be punched here")
    equal(said, None)
    expected = b"x" * 262144 + bytes(131072) + b"x" * (MIB - 262144 - 131072)
    equal(view[:] == expected, True, "mapping")
    equal(os.pread(fd, MIB, 0) == expected, True, "handle")
    equal(read_file(BACKING + "/punched") == expected, True, "BACKING")
    equal(os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(os.open(BACKING + "/punched", os.O_RDONLY), 0, os.SEEK_HOLE))
    os.pwrite(fd, b"again", 300000)
    equal(view[300000:300005], b"again")
PY

	check "$1: reading holes, by any means, takes no space in BACKING" holes <<'PY'
def steps(d):
    path = d + "/unread"
    with open(path, "wb") as file:
        os.pwrite(file.fileno(), b"data", 5 * MIB)
        os.ftruncate(file.fileno(), 8 * MIB)
        os.fsync(file.fileno())
    before = seek_map(path)
    equal(read_file(path).count(0), 8 * MIB - 4)
    fd = os.open(path, os.O_RDWR)
    for offset in range(0, 8 * MIB, 256 * 1024):
        os.pread(fd, 5000, offset + 100)
    return before, seek_map(path)
before, after = on_both(steps)
equal(after, before, "data before and after")
PY

	check "$1: copy_file_range copies ranges, holes and all, as on BACKING" holes <<'PY'
def steps(d):
    with open(d + "/source", "wb") as file:
        file.write(bytes(range(256)) * 1024)
        file.truncate(4 * MIB)
        os.pwrite(file.fileno(), b"end", 4 * MIB - 3)
    source = os.open(d + "/source", os.O_RDWR)
    target = os.open(d + "/target", os.O_RDWR | os.O_CREAT)
    def copy(count, start, to, into=target):
        done = 0
        while done < count:
            part = os.copy_file_range(source, into, count - done, start + done, to + done)
            if part == 0:
                break
            done += part
        return done
    answers = [
        outcome(copy, 4 * MIB, 0, 0),
        read_file(d + "/target") == read_file(d + "/source"),
        outcome(copy, 1000, 77, 5 * MIB + 3),
        os.stat(d + "/target").st_size,
        os.pread(target, 1000, 5 * MIB + 3) == os.pread(source, 1000, 77),
        outcome(copy, 100, 4 * MIB, 0),
        outcome(copy, 100, 4 * MIB - 3, 0),
        os.pread(target, 5, 0),
        outcome(copy, 4096, 0, 8 * MIB, source),
        os.stat(d + "/source").st_size,
        outcome(copy, 8192, 0, 4096, source),
        outcome(os.copy_file_range, target, os.open(d + "/target", os.O_RDONLY), 10),
        outcome(os.copy_file_range, target, os.open(d + "/target", os.O_RDWR | os.O_APPEND), 10),
        outcome(os.copy_file_range, os.open(d, os.O_RDONLY), target, 10),
    ]
    # What a mapping stored and nobody synced is copied too.
    with mmap.mmap(source, 4096) as view:
        view[0:6] = b"stored"
        copy(4096, 0, 0)
        answers.append(os.pread(target, 6, 0))
    time.sleep(0.012)
    before = os.fstat(target).st_mtime_ns
    copy(10, 0, 0)
    answers.append(os.fstat(target).st_mtime_ns > before)
    return answers
on_both(steps)
PY

	check "$1: files of 0 bytes, 1 byte and around a page read, write, map and copy right" holes <<'PY'
for size in (0, 1, 2, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE - 1):
    content = bytes(n * 7 % 251 for n in range(size))
    path = "%s/size%d" % (MNT, size)
    write_file(path, content)
    equal(read_file(path), content)
    equal(read_file(BACKING + "/size%d" % size), content)
    fd = os.open(path, os.O_RDWR)
    equal(os.pread(fd, 10, size), b"", "at the end")
    equal(os.pread(fd, 10, size + 100000), b"", "past the end")
    equal(os.pread(fd, size + 100, 0), content, "across the end")
    if size:
        with mmap.mmap(fd, size) as view:
            equal(view[:], content)
            view[size - 1:size] = b"!"
        os.fsync(fd)
        equal(read_file(BACKING + "/size%d" % size), content[:-1] + b"!")
        equal(os.stat(BACKING + "/size%d" % size).st_size, size, "a store grows nothing")
    # Growing makes zeros, whatever a mapping left behind in the last page.
    os.ftruncate(fd, size + 3 * PAGE)
    equal(os.pread(fd, 4 * PAGE, size), bytes(3 * PAGE), "the grown part")
    os.close(fd)
PY
}

for options in writes=pwrite writes=window,window_size=64K,cache=none; do
	start_mount "$options"
	on_this_mount "$options"
	stop_mount
done

for fs in ext4 xfs btrfs tmpfs; do
	if image "$fs" 512M; then
		use_image_as_backing
		native=$NATIVE
		mkdir -p "$WORK/on-image"
		start_mount_at "$BACKING" "$WORK/on-image" sync=periodic
		NATIVE=$native
		on_this_mount "$fs"
		if [ "$fs" = xfs ]; then
			check 'a sparse file beyond 16 TiB is read, written, mapped and truncated at its far end' holes <<'PY'
far = 17 << 40
path = MNT + "/far"
fd = os.open(path, os.O_RDWR | os.O_CREAT)
equal(os.pwrite(fd, b"far away", far), 8)
equal(os.fstat(fd).st_size, far + 8)
equal(os.pread(fd, 100, far - 4), bytes(4) + b"far away")
equal(os.pread(fd, 10, 0), bytes(10))
os.ftruncate(fd, far + 4096)
with mmap.mmap(fd, 4096, offset=far) as view:
    equal(view[0:8], b"far away")
    view[0:3] = b"FAR"
os.fsync(fd)
backing = os.open(BACKING + "/far", os.O_RDWR)
equal(os.pread(backing, 8, far), b"FAR away")
equal(os.lseek(fd, 0, os.SEEK_DATA) <= far, True)
os.ftruncate(fd, 1 << 60)
equal(os.stat(BACKING + "/far").st_size, 1 << 60)
equal(os.pread(fd, 10, (1 << 60) - 5), bytes(5))
# Across the end of what one window of the default size spans
edge = (1 << 50) - 3
os.pwrite(fd, b"across", edge)
equal(os.pread(backing, 6, edge), b"across")
os.pwrite(backing, b"ACROSS", edge)
wait_until(5, lambda: os.pread(os.open(path, os.O_RDONLY), 6, edge) == b"ACROSS")
with raises(EFBIG, EINVAL):
    os.pwrite(fd, b"x", (1 << 63) - 1)
os.ftruncate(fd, 5)
equal(read_file(BACKING + "/far"), bytes(5))
PY
		fi
		stop_mount
	else
		skip_check "the same on $fs" "$IMAGE_ERROR"
	fi
done
