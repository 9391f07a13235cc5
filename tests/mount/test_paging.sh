#!/bin/bash
# SPDX-License-Identifier: MIT
# What the paging options do to pages, by the counters of a block device, by smaps and by mincore.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

image ext4 400M || skip "$IMAGE_ERROR"
DEVICE=$(findmnt -n -o SOURCE "$IMAGE")
DEVICE=${DEVICE#/dev/}
[ -r "/sys/block/$DEVICE/stat" ] || skip "no counters of $DEVICE"
use_image_as_backing
export DEVICE FILE_MIB=64
if short; then FILE_MIB=32; fi
head -c "${FILE_MIB}M" /dev/urandom >"$BACKING/big"
sync -f "$BACKING"
expect_stderr "hugepages: '.*' has [0-9]+ of [0-9]+ bytes mapped by huge pages"
expect_stderr 'map .*served by pread and pwrite'

cat >"$WORK/paging.py" <<'PY'
from fsutil import *

BIG = int(os.environ["FILE_MIB"]) * MIB
# Read-ahead is a hint: the kernel leaves a page out here and there.
MOST = BIG // 10 * 9
DAEMON = int(os.environ.get("DAEMON") or 0)


def device_bytes():
    """Bytes read from the image's device, with what is being read ahead: that counts when it is there."""
    def figures():
        with open("/sys/block/%s/stat" % os.environ["DEVICE"]) as file:
            return [int(word) for word in file.read().split()]
    wait_until(20, lambda: figures()[8] == 0)
    return figures()[2] * 512


def make_cold(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def resident(path):
    """Bytes of a file of BACKING that are in memory, by mincore(2)."""
    return sum(resident_pages(path)) * PAGE


def windows(path):
    """The daemon's mappings of a file of BACKING: dicts of smaps, with VmFlags as a list."""
    found, here = [], None
    with open("/proc/%d/smaps" % DAEMON) as file:
        for line in file:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                here = {} if len(words) > 5 and words[5] == path else None
                if here is not None:
                    found.append(here)
            elif here is not None:
                here[words[0][:-1]] = words[1:] if words[0] == "VmFlags:" else int(words[1]) * 1024
    return found


def told(path):
    return json.loads(os.getxattr(path, "user.memmapfs.file"))


def scattered(path, count):
    """Read pages far from each other, from the device; returns how many bytes came from there for each asked."""
    make_cold(BACKING + "/big")
    fd = os.open(path, os.O_RDONLY)
    numbers = random.Random(4711).sample(range(1, BIG // PAGE), count)
    before = device_bytes()
    for number in numbers:
        equal(len(os.pread(fd, PAGE, number * PAGE)), PAGE)
    ratio = (device_bytes() - before) / (count * PAGE)
    os.close(fd)
    print("%.2f bytes read for each asked" % ratio)
    return ratio
PY

# paging: run the Python program on stdin with everything of paging.py in scope
paging() {
	local program
	program=$(mktemp "$WORK/case.XXXXXX.py")
	{
		echo 'from paging import *'
		cat
	} >"$program"
	PYTHONPATH=$TESTS:$WORK python3 "$program"
}

# mounted_with OPTIONS SENTENCE: run the program on stdin on a new mount of BACKING
mounted_with() {
	start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" "$1"
	check "$2" paging
	stop_mount
}

mounted_with advise=normal 'advise=normal: scattered reads bring the pages around them along' <<'PY'
equal(scattered(MNT + "/big", 100) >= 4, True)
PY

mounted_with advise=random 'advise=random: scattered reads read nothing else' <<'PY'
equal(scattered(MNT + "/big", 100) <= 1.5, True)
equal(["rr" in window["VmFlags"] for window in windows(BACKING + "/big")], [True])
PY

# One page at a time from front to back, past the mount's own cache; windows have no room.
front_to_back='
make_cold(BACKING + "/big")
fd = os.open(MNT + "/big", os.O_RDONLY)
before = device_bytes()
for number in range(16):
    equal(len(os.pread(fd, PAGE, number * PAGE)), PAGE)
ratio = (device_bytes() - before) / (16 * PAGE)
print("%.2f bytes read for each asked" % ratio)
equal(statistics()["io"]["read_fallbacks"] >= 16, True)
equal(windows(BACKING + "/big"), [])
'
mounted_with advise=normal,cache=none,max_mapped=4K \
	'advise=normal: what pread serves is read ahead' <<<"$front_to_back
equal(ratio >= 1.9, True)"
mounted_with advise=random,cache=none,max_mapped=4K \
	'advise=random: what pread serves is not read ahead' <<<"$front_to_back
equal(ratio <= 1.5, True)"

mounted_with advise=sequential,cache=none 'advise=sequential: a few pages from front to back read far ahead' <<'PY'
def ahead(advice):
    os.setxattr(MNT + "/big", "user.memmapfs.evict", b"now")
    os.setxattr(MNT + "/big", "user.memmapfs.advice", advice)
    equal(resident(BACKING + "/big"), 0, "evicted")
    with open(MNT + "/big", "rb", buffering=0) as file:
        for number in range(20):
            file.seek(BIG // 2 + number * PAGE)
            file.read(PAGE)
    time.sleep(0.1)
    return resident(BACKING + "/big") // PAGE
random_pages, sequential_pages = ahead(b"random"), ahead(b"sequential")
print("pages:", random_pages, sequential_pages)
equal(random_pages, 20)
equal(sequential_pages >= 40, True)
equal(["sr" in window["VmFlags"] for window in windows(BACKING + "/big")], [True])
PY

mounted_with advise=willneed 'advise=willneed: a window is read as soon as it is mapped' <<'PY'
make_cold(BACKING + "/big")
os.pread(os.open(MNT + "/big", os.O_RDONLY), 1, 0)
wait_until(20, lambda: resident(BACKING + "/big") >= MOST)
PY

mounted_with preload=async 'preload=async: one byte read, and the file is read in the background' <<'PY'
make_cold(BACKING + "/big")
before = device_bytes()
os.pread(os.open(MNT + "/big", os.O_RDONLY), 1, BIG // 2)
wait_until(20, lambda: resident(BACKING + "/big") >= MOST)
equal(device_bytes() - before >= MOST, True)
PY

mounted_with preload=sync,window_size=16M 'preload=sync: the first read returns with the whole file in memory' <<'PY'
make_cold(BACKING + "/big")
os.pread(os.open(MNT + "/big", os.O_RDONLY), 1, BIG // 2)
equal(resident(BACKING + "/big"), BIG)
PY

mounted_with preload=populate,window_size=16M,cache=none 'preload=populate: the first read returns with its window mapped' <<'PY'
make_cold(BACKING + "/big")
fd = os.open(MNT + "/big", os.O_RDONLY)
os.pread(fd, 1, 0)
equal([window["Rss"] for window in windows(BACKING + "/big")], [16 * MIB])
os.pread(fd, 1, BIG - 1)
equal(sum(window["Rss"] for window in windows(BACKING + "/big")), 32 * MIB)
PY

mounted_with mlock,cache=none 'mlock: the pages of the file are locked, its growth too, and nothing past its end' <<'PY'
make_cold(BACKING + "/big")
os.pread(os.open(MNT + "/big", os.O_RDONLY), 1, 0)
wait_until(20, lambda: sum(window["Locked"] for window in windows(BACKING + "/big")) == BIG)
equal(resident(BACKING + "/big"), BIG)
equal(statistics()["windows"]["locked"], BIG)
equal(told(MNT + "/big")["locked"], BIG)
# Dropping the caches by hand changes nothing, nor does the last writer who closes.
os.posix_fadvise(os.open(BACKING + "/big", os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
equal(resident(BACKING + "/big"), BIG)
write_file(MNT + "/small", b"x" * 100)
read_file(MNT + "/small")
wait_until(5, lambda: told(MNT + "/small")["locked"] == PAGE)
with open(MNT + "/small", "r+b", buffering=0) as file:
    file.seek(0, 2)
    file.write(b"y" * (3 * PAGE))
    wait_until(5, lambda: told(MNT + "/small")["locked"] == 4 * PAGE)
wait_until(5, lambda: told(MNT + "/small")["locked"] == 4 * PAGE)
wait_until(5, lambda: sum(window["Locked"] for window in windows(BACKING + "/small")) == 4 * PAGE)
os.truncate(MNT + "/small", 1)
equal(told(MNT + "/small")["locked"], PAGE)
equal(statistics()["windows"]["locked"], BIG + PAGE)
PY

mounted_with cache=none 'lock and unlock, of a file and of a range' <<'PY'
path = MNT + "/big"
os.setxattr(path, "user.memmapfs.lock", b"now:%d:1" % (MIB + 1))
equal(told(path)["locked"], PAGE)
equal(sum(window["Locked"] for window in windows(BACKING + "/big")), PAGE)
os.setxattr(path, "user.memmapfs.lock", b"now")
equal(told(path)["locked"], BIG)
equal(resident(BACKING + "/big"), BIG)
os.setxattr(path, "user.memmapfs.unlock", b"now:0:1M")
equal(told(path)["locked"], BIG - MIB)
os.setxattr(path, "user.memmapfs.unlock", b"")
equal(sum(window["Locked"] for window in windows(BACKING + "/big")), 0)
equal(statistics()["windows"]["locked"], 0)
PY

refused_lock() {
	LAUNCH=(setpriv --bounding-set=-ipc_lock prlimit --memlock=1048576)
	start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" mlock
	LAUNCH=()
}
if sanitized; then
	skip_check 'mlock: a limit that is hit is named with the number that would do' 'a sanitizer locks for itself'
else
	refused_lock
	expect_stderr "mlock '.*big': more than RLIMIT_MEMLOCK.*is 1048576 bytes, [0-9]+ would do"
	check 'mlock: a limit that is hit is named with the number that would do, and the file is served' paging <<'PY'
equal(read_file(MNT + "/big") == read_file(BACKING + "/big"), True)
said = [line for name in sorted(os.listdir(WORK)) if name.startswith("stderr.")
        for line in read_file(WORK + "/" + name).decode().splitlines() if "mlock" in line]
equal(len(said), 1, "said once")
equal("1048576 bytes, %d would do" % BIG in said[0], True, said[0])
equal(statistics()["windows"]["locked"], 0)
equal(outcome(os.setxattr, MNT + "/big", "user.memmapfs.lock", b"now"), "ENOMEM")
PY
	stop_mount
fi

cgroup_limit() {
	local group=/sys/fs/cgroup/memory/memmapfs-test.$$ i
	mkdir "$group" 2>/dev/null || return 77
	echo $((FILE_MIB * 3 / 2 << 20)) >"$group/memory.limit_in_bytes"
	paging <<'PY'
os.setxattr(MNT + "/big", "user.memmapfs.evict", b"now")
PY
	echo "$DAEMON" >"$group/cgroup.procs"
	setfattr -n user.memmapfs.lock -v now "$MNT/big"
	# Twice the limit's worth of other pages, in the same group
	for ((i = 0; i < 2; i++)); do
		(
			echo "$BASHPID" >"$group/cgroup.procs"
			head -c "$((FILE_MIB * 3 / 2))M" /dev/zero >"$NATIVE/other"
			cat "$NATIVE/other" >/dev/null
		)
	done
	paging <<'PY' || i=failed
equal(resident(BACKING + "/big"), BIG)
PY
	setfattr -n user.memmapfs.unlock -v now "$MNT/big"
	echo "$DAEMON" >/sys/fs/cgroup/memory/cgroup.procs
	rm -f "$NATIVE/other"
	echo 0 >"$group/memory.force_empty" 2>/dev/null || true
	rmdir "$group" || true
	[ "$i" != failed ]
}
if [ -w /sys/fs/cgroup/memory/cgroup.procs ] && ! sanitized; then
	start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" cache=none
	check 'locked pages stay where a memory limit drives others out' cgroup_limit
	stop_mount
else
	skip_check 'locked pages stay where a memory limit drives others out' 'no memory controller of cgroups v1 here'
fi

mounted_with hugepages,cache=none,log_level=info 'hugepages: windows are aligned, asked for, and what came of it is said' <<'PY'
make_cold(BACKING + "/big")
os.pread(os.open(MNT + "/big", os.O_RDONLY), 1, 0)
found = windows(BACKING + "/big")
equal(["hg" in window["VmFlags"] for window in found], [True])
with open("/proc/%d/maps" % DAEMON) as file:
    start = [int(line.split("-")[0], 16) for line in file if line.rstrip().endswith(BACKING + "/big")]
equal([address % (2 * MIB) for address in start], [0])
def said():
    return [line for name in sorted(os.listdir(WORK)) if name.startswith("stderr.")
            for line in read_file(WORK + "/" + name).decode().splitlines() if "hugepages: " in line]
wait_until(5, lambda: len(said()) == 1)
huge = windows(BACKING + "/big")[0]["FilePmdMapped"]
equal(int(said()[0].split(" has ")[1].split()[0]) <= huge, True, said()[0])
PY

idle_file='
make_cold(BACKING + "/big")
fd = os.open(MNT + "/big", os.O_RDONLY)
for offset in range(0, BIG, MIB):
    os.pread(fd, MIB, offset)
'
mounted_with idle=300ms:pageout,cache=none 'idle=:pageout: pages of windows that nobody touches go, the windows stay' <<<"$idle_file
wait_until(10, lambda: resident(BACKING + '/big') <= BIG // 4)
equal(len(windows(BACKING + '/big')), 1)"
mounted_with idle=300ms:cold,cache=none 'idle=:cold: the pages are the first to go, and no longer count as used' <<<"$idle_file
wait_until(10, lambda: windows(BACKING + '/big')[0]['Referenced'] == 0)
equal(resident(BACKING + '/big'), BIG)"

mounted_with idle=500ms:unmap,cache=none 'idle=:unmap: a walk over many files ends with nothing mapped' <<'PY'
os.makedirs(MNT + "/many")
count = 200 if os.environ.get("MEMMAPFS_SHORT") == "1" else 2000
for number in range(count):
    write_file(BACKING + "/many/%d" % number, b"x" * 100)
for number in range(count):
    equal(len(read_file(MNT + "/many/%d" % number)), 100)
equal(statistics()["windows"]["misses"] >= count, True)
wait_until(10, lambda: statistics()["windows"]["bytes"] == 0 and statistics()["windows"]["count"] == 0)
equal(read_file(MNT + "/many/7"), b"x" * 100)
equal(statistics()["windows"]["count"], 1)
PY

mounted_with cache=auto 'preload returns with the pages in memory, and evict without' <<'PY'
path = MNT + "/big"
make_cold(BACKING + "/big")
os.setxattr(path, "user.memmapfs.preload", b"now:%d:1M" % (BIG // 2))
equal(MIB <= resident(BACKING + "/big") < BIG // 2, True)
os.setxattr(path, "user.memmapfs.preload", b"now")
equal(resident(BACKING + "/big"), BIG)
read_file(path)
os.setxattr(path, "user.memmapfs.evict", b"now")
equal(resident(BACKING + "/big"), 0)
equal(told(path)["windows"], 0)
before = statistics()["io"]["read_bytes"]
equal(read_file(path) == read_file(BACKING + "/big"), True)
equal(statistics()["io"]["read_bytes"] - before >= BIG, True, "the mount's cache was dropped")
# What is written is on disk and still there; what others map stays.
with open(path, "r+b", buffering=0) as file:
    file.write(b"written")
    view = mmap.mmap(os.open(BACKING + "/big", os.O_RDONLY), 4 * PAGE, prot=mmap.PROT_READ)
    equal(view[:7], b"written")
    os.setxattr(path, "user.memmapfs.evict", b"now")
    equal(PAGE <= resident(BACKING + "/big") <= 64 * PAGE, True)
    equal(read_file(path)[:7], b"written")
PY

mounted_with cache=none 'advice given to a file: pageout, dontneed and populate_read do what they say' <<'PY'
path = MNT + "/big"
def advise(value):
    os.setxattr(path, "user.memmapfs.advice", value)
make_cold(BACKING + "/big")
advise(b"populate_read")
equal(resident(BACKING + "/big"), BIG)
equal(windows(BACKING + "/big")[0]["Rss"], BIG)
# The kernel may have taken some away meanwhile, for reasons of its own; not each time.
for attempt in range(5):
    advise(b"populate_read")
    advise(b"dontneed")
    equal(windows(BACKING + "/big")[0]["Rss"], 0)
    if resident(BACKING + "/big") == BIG:
        break
else:
    raise AssertionError("dontneed is to unmap pages and not to drop them: %d" % resident(BACKING + "/big"))
advise(b"pageout:0:%d" % (BIG // 2))
equal(BIG // 2 <= resident(BACKING + "/big") <= BIG // 2 + MIB, True)
advise(b"pageout")
equal(resident(BACKING + "/big") <= MIB, True)
advise(b"random")
equal(os.getxattr(path, "user.memmapfs.advice"), b"random")
equal("rr" in windows(BACKING + "/big")[0]["VmFlags"], True)
advise(b"normal")
equal("rr" in windows(BACKING + "/big")[0]["VmFlags"], False)
PY
