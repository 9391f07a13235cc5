#!/bin/bash
# SPDX-License-Identifier: MIT
# Files that change size behind the mount: short counts and right bytes, never EIO, never a dead daemon.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

checks() {
	check "$1: a file cut in BACKING after it was mapped is read to its new end" py <<'PY'
write_file(BACKING + "/cut", b"A" * MIB)
fd = os.open(MNT + "/cut", os.O_RDWR)
equal(len(os.pread(fd, MIB, 0)), MIB)
os.truncate(BACKING + "/cut", 100)
def sees_the_new_end():
    return os.pread(fd, MIB, 0) == b"A" * 100 and os.pread(fd, 10, 4096) == b""
wait_until(5, sees_the_new_end)
equal(os.pread(fd, 10, 95), b"A" * 5)
os.truncate(BACKING + "/cut", 8192)
wait_until(5, lambda: os.pread(fd, MIB, 0) == b"A" * 100 + bytes(8092))
os.pwrite(os.open(BACKING + "/cut", os.O_WRONLY), b"B" * 10000, 0)
wait_until(5, lambda: read_file(MNT + "/cut") == b"B" * 10000)
os.truncate(BACKING + "/cut", 0)
wait_until(5, lambda: os.pread(fd, 10, 0) == b"")
equal(os.pwrite(fd, b"end", 5000), 3)
equal(read_file(BACKING + "/cut"), bytes(5000) + b"end")
PY

	check "$1: a file cut and grown through the mount never shows old bytes" py <<'PY'
path = MNT + "/regrown"
write_file(path, b"A" * MIB)
fd = os.open(path, os.O_RDWR)
for size in (1, 4095, 4096, 5000, 65536, 300000, 0):
    os.pwrite(fd, b"A" * MIB, 0)
    os.pread(fd, MIB, 0)
    os.ftruncate(fd, size)
    equal(os.pread(fd, MIB, 0), b"A" * size)
    os.ftruncate(fd, MIB)
    equal(os.pread(fd, MIB, 0) == b"A" * size + bytes(MIB - size), True, "grown from %d" % size)
    equal(read_file(BACKING + "/regrown") == b"A" * size + bytes(MIB - size), True)
PY

	check "$1: reads that race truncation in BACKING return right bytes or fewer, never an error" py <<'PY'
SIZE = 2 * MIB
pattern = bytes((n * 31 + n // 4096) % 255 + 1 for n in range(SIZE))
write_file(BACKING + "/race", pattern)
def cutter(me):
    rng = random.Random(1)
    fd = os.open(BACKING + "/race", os.O_RDWR)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        os.ftruncate(fd, rng.choice((0, 1, 4096, rng.randrange(SIZE))))
        os.ftruncate(fd, SIZE)
        os.pwrite(fd, pattern, 0)
    me.say("done")
def reader(seed):
    def read(me):
        rng = random.Random(seed)
        fd = os.open(MNT + "/race", os.O_RDONLY)
        count = short = 0
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            offset = rng.randrange(SIZE)
            length = rng.choice((1, 100, 4096, 70000, 200000, 500000, MIB))
            data = os.pread(fd, length, offset)
            count += 1
            short += len(data) < min(length, SIZE - offset)
            wanted = pattern[offset:offset + len(data)]
            if data != wanted:
                for got, right in zip(data, wanted):
                    if got not in (0, right):
                        raise AssertionError("invented byte at %d" % offset)
        me.say("%d reads, %d short" % (count, short))
    return read
children = [Process(cutter)] + [Process(reader(seed)) for seed in range(3)]
for child in children:
    said = child.hear(20)
    print(said)
    equal("error" in said, False, said)
    child.kill()
PY

	check "$1: writes that race truncation in BACKING return in full, and the daemon lives" py <<'PY'
SIZE = 256 * 1024
write_file(BACKING + "/wrace", b"x" * SIZE)
def cutter(me):
    rng = random.Random(2)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        os.truncate(BACKING + "/wrace", rng.randrange(SIZE))
    me.say("done")
def writer(seed):
    def write(me):
        rng = random.Random(seed)
        fd = os.open(MNT + "/wrace", os.O_RDWR)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            length = rng.choice((1, 100, 4096, 70000))
            equal(os.pwrite(fd, b"w" * length, rng.randrange(SIZE)), length)
        me.say("done")
    return write
children = [Process(cutter)] + [Process(writer(seed)) for seed in range(3)]
for child in children:
    equal(child.hear(20), "done")
    child.kill()
data = read_file(BACKING + "/wrace")
equal(set(data) <= set(b"xw\0"), True, "only bytes that somebody wrote")
write_file(MNT + "/wrace", b"after" * 10000)
equal(read_file(BACKING + "/wrace"), b"after" * 10000)
PY
}

option_sets=(cache=auto cache=none "cache=auto,writes=window,window_size=64K"
	"cache=none,writes=window,window_size=4K" "cache=auto,window_size=full")
if short; then
	option_sets=(cache=auto "cache=none,writes=window,window_size=4K")
fi
for options in "${option_sets[@]}"; do
	start_mount "$options"
	checks "$options"
	stop_mount
done

# Reads of files that nothing had changed for seconds rely on that: until one is cut, and grows again.
start_mount cache=none
check 'cache=none: a file that lay still for long is read right while it is cut and grows again at once' py <<'PY'
# What is cut off is read as zeros where it is not told from the rest of its page.
FILES, SIZE, KEPT = 150, PAGE - 100, 1000
def path(n):
    return "/still.%d" % n
for n in range(FILES):
    write_file(BACKING + path(n), b"A" * SIZE)
time.sleep(3.5)
def reader(me):
    fds = [os.open(MNT + path(n), os.O_RDONLY) for n in range(FILES)]
    for n, fd in enumerate(fds):
        equal(os.pread(fd, SIZE, 0) == b"A" * SIZE, True, path(n))
    me.say("ready")
    changed = set()
    end = time.monotonic() + 20
    while len(changed) < FILES and time.monotonic() < end:
        for n in set(range(FILES)) - changed:
            # The cutter comes to one file after the other.
            for _ in range(20):
                data = os.pread(fds[n], SIZE, 0)
                equal(set(data) <= set(b"AB") and data[:KEPT] == b"A" * KEPT, True, path(n))
                if data != b"A" * SIZE:
                    changed.add(n)
                    break
            if n > len(changed) + 2:
                break
    equal(len(changed), FILES)
    for n, fd in enumerate(fds):
        wait_until(5, lambda: os.pread(fd, SIZE, 0) == b"A" * KEPT + b"B" * (SIZE - KEPT))
    me.say("done")
children = [Process(reader) for _ in range(2)]
for child in children:
    equal(child.hear(20), "ready")
for n in range(FILES):
    fd = os.open(BACKING + path(n), os.O_RDWR)
    os.ftruncate(fd, KEPT)
    time.sleep(n % 2 * 0.003)
    os.pwrite(fd, b"B" * (SIZE - KEPT), KEPT)
    os.close(fd)
    time.sleep(0.007)
for child in children:
    equal(child.hear(30), "done")
PY
stop_mount
