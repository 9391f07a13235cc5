#!/bin/bash
# SPDX-License-Identifier: MIT
# Too few descriptors, too little address space, files that cannot be mapped, windows of any size:
# right bytes all the same, by pread and pwrite where no window is to be had, and counted.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# random_operations: reads and writes at random places against a model in memory
cat >"$WORK/operations.py" <<'EOP'
from fsutil import *

def random_operations(seconds, size, seed=1, names=("a", "b", "c")):
    rng = random.Random(seed)
    models = {name: bytearray(read_file(MNT + "/" + name)) if os.path.exists(MNT + "/" + name) else bytearray()
              for name in names}
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        name = rng.choice(names)
        model = models[name]
        fd = os.open(MNT + "/" + name, os.O_CREAT | os.O_RDWR)
        for _ in range(10):
            count += 1
            offset = rng.choice((rng.randrange(size), rng.randrange(size) & -4096, rng.randrange(size) & -65536))
            length = rng.choice((1, 100, 4096, 4097, rng.randrange(1, 300000)))
            action = rng.random()
            if action < 0.45:
                data = rng.randbytes(min(length, 100)) * (length // 100 + 1)
                data = data[:length]
                equal(os.pwrite(fd, data, offset), length, "written")
                if len(model) < offset:
                    model.extend(bytes(offset - len(model)))
                model[offset:offset + length] = data
            elif action < 0.9:
                got = os.pread(fd, length, offset)
                if got != model[offset:offset + length]:
                    raise AssertionError("operation %d: wrong bytes in %d at %d of %s" % (count, length, offset, name))
            elif action < 0.95:
                os.ftruncate(fd, offset)
                if len(model) < offset:
                    model.extend(bytes(offset - len(model)))
                del model[offset:]
            elif len(model):
                with mmap.mmap(fd, len(model)) as view:
                    place = rng.randrange(len(model))
                    equal(view[place], model[place], "mapped byte")
                    view[place] = model[place] = rng.randrange(256)
        os.close(fd)
    for name, model in models.items():
        if os.path.exists(MNT + "/" + name):
            os.close(os.open(MNT + "/" + name, os.O_RDONLY))
            equal(read_file(MNT + "/" + name) == model, True, "mount at the end")
            equal(read_file(BACKING + "/" + name) == model, True, "BACKING at the end")
    print("%d operations" % count)
EOP
PYTHONPATH=$WORK:$PYTHONPATH

operations() {
	{
		echo 'from operations import *'
		cat
	} | py
}

for options in window_size=4K window_size=4K,writes=window,cache=none window_size=12K,writes=window \
	window_size=64K,max_mapped=256K,cache=none window_size=full,writes=window window_size=1G,writes=pwrite; do
	start_mount "$options"
	check "$options: reads, writes, truncates and stores across windows give right bytes" operations <<'PY'
random_operations(1.5, 3 * MIB)
PY
	stop_mount
done

# --- address space ----------------------------------------------------------------------------------

start_mount window_size=1M,max_mapped=8M,cache=none
check 'max_mapped: the least recently used windows go, and bytes stay right' operations <<'PY'
for n in range(16):
    write_file(BACKING + "/file%d" % n, bytes([n + 1]) * (4 * MIB))
files = [os.open(MNT + "/file%d" % n, os.O_RDONLY) for n in range(16)]
rng = random.Random(3)
for _ in range(1500):
    n = rng.randrange(16)
    equal(os.pread(files[n], 5000, rng.randrange(4 * MIB - 5000)), bytes([n + 1]) * 5000)
windows = statistics()["windows"]
print(windows)
equal(windows["bytes"] <= 8 * MIB, True, "mapped: %d" % windows["bytes"])
equal(windows["evictions"] > 0, True, "evictions")
PY
stop_mount

start_mount window_size=4K,max_mapped=0
check 'a file of more windows than half the map slots is read without using them up' operations <<'PY'
limit = int(open("/proc/sys/vm/max_map_count").read())
if limit > 200000:
    skip("vm.max_map_count is %d" % limit)
pages = limit * 11 // 10
with open(BACKING + "/many-windows", "wb") as file:
    file.truncate(pages * 4096)
    for n in range(0, pages, 1000):
        os.pwrite(file.fileno(), b"%08d" % n, n * 4096)
fd = os.open(MNT + "/many-windows", os.O_RDONLY)
for n in range(0, pages, 256):
    data = os.pread(fd, MIB, n * 4096)
    for page in range(n, min(n + 256, pages)):
        if page % 1000 == 0:
            start = (page - n) * 4096
            equal(data[start:start + 8], b"%08d" % page)
used = len(open("/proc/%s/maps" % os.environ["DAEMON"]).readlines())
equal(used < limit * 3 // 4, True, "map slots used: %d of %d" % (used, limit))
PY
stop_mount

if sanitized; then
	skip_check 'no address space left' 'sanitizers need theirs'
else
	start_mount cache=none,window_size=1G
	expect_stderr 'Cannot allocate memory|address space'
	no_address_space() {
		local size
		size=$(awk '{print $1 * 4096}' "/proc/$DAEMON/statm")
		prlimit --pid "$DAEMON" --as=$((size + 96 * 1024 * 1024))
		operations <<'PY'
before = statistics()["io"]
with open(BACKING + "/large", "wb") as file:
    for n in range(300):
        file.write(b"%07d\n" % n * 131072)
fd = os.open(MNT + "/large", os.O_RDWR)
for n in range(0, 300, 7):
    equal(os.pread(fd, 8, n * MIB), b"%07d\n" % n)
    equal(os.pread(fd, 100000, n * MIB + 3) == (b"%07d\n" % n * 12502)[3:100003], True)
equal(os.pwrite(fd, b"W" * 200000, 100 * MIB - 5), 200000)
equal(os.pread(os.open(BACKING + "/large", os.O_RDONLY), 200000, 100 * MIB - 5), b"W" * 200000)
random_operations(1.5, 3 * MIB)
after = statistics()["io"]
print(before, after)
equal(after["read_fallbacks"] > before["read_fallbacks"], True, "read_fallbacks grew")
PY
	}
	check 'RLIMIT_AS reached: files are served by pread and pwrite, and counted' no_address_space
	stop_mount

	# From the very start on, before anything was synced
	start_mount sync_interval=200ms,cache=none
	none_at_all() {
		prlimit --pid "$DAEMON" --as=$(($(awk '{print $1 * 4096}' "/proc/$DAEMON/statm") + 100000))
		py <<'PY'
write_file(MNT + "/file", b"content")
wait_until(10, lambda: statistics()["sync"]["dirty_bytes"] == 0)
equal(read_file(MNT + "/file"), b"content")
PY
	}
	check 'RLIMIT_AS reached before the first sync: it is synced all the same' none_at_all
	stop_mount
fi

# --- descriptors ------------------------------------------------------------------------------------

few_descriptors() {
	check "$1: 500 files are written, read and removed" py <<'PY'
os.mkdir(MNT + "/few")
for n in range(500):
    write_file(MNT + "/few/%d" % n, b"%d" % n * 3000)
for n in range(500):
    equal(read_file(MNT + "/few/%d" % n) == b"%d" % n * 3000, True)
    equal(read_file(BACKING + "/few/%d" % n) == b"%d" % n * 3000, True)
subprocess.check_call(["cp", "-a", MNT + "/few", MNT + "/few2"])
subprocess.check_call(["diff", "-r", MNT + "/few", BACKING + "/few2"])
subprocess.check_call(["rm", "-r", MNT + "/few", MNT + "/few2"])
PY
	check "$1: a deep tree is walked" py <<'PY'
path = BACKING + "/deep"
for n in range(150):
    os.makedirs(path)
    write_file(path + "/f", b"%d" % n)
    path += "/d"
found = sorted(int(read_file(top + "/f")) for top, _, _ in os.walk(MNT + "/deep"))
equal(found, list(range(150)))
subprocess.check_call(["rm", "-r", MNT + "/deep"])
PY
}

LAUNCH=(prlimit --nofile=64:64)
expect_stderr 'Too many open files|RLIMIT_NOFILE|file descriptors'
start_mount cache=none
few_descriptors 'RLIMIT_NOFILE 64'
check 'RLIMIT_NOFILE 64: a client may have more files open than the daemon has descriptors' py <<'PY'
try:
    name_to_handle(NATIVE)
except OSError:
    skip("this backing file system has no file handles")
fds = []
for n in range(200):
    fd = os.open(MNT + "/open%d" % n, os.O_CREAT | os.O_RDWR)
    os.write(fd, b"%d" % n * 3000)
    fds.append(fd)
for n, fd in enumerate(fds):
    equal(os.pread(fd, 20000, 0) == b"%d" % n * 3000, True, "file %d" % n)
# An unlinked file can be reached by its descriptor only: of these there cannot be more than the daemon has.
for n in range(10):
    os.unlink(MNT + "/open%d" % n)
for n, fd in enumerate(fds):
    equal(os.pread(fd, 20000, 0) == b"%d" % n * 3000, True, "file %d after some were unlinked" % n)
    equal(os.pwrite(fd, b"again", 0), 5)
    os.close(fd)
for n in range(10, 200):
    os.unlink(MNT + "/open%d" % n)
equal(os.listdir(BACKING), [])
PY
stop_mount
LAUNCH=()

# --- what cannot be mapped --------------------------------------------------------------------------

# Files of sysfs have no mmap (ENODEV); served by pread they read as they do natively.
expect_stderr 'No such device|cannot be mapped'
mkdir -p "$WORK/sysfs"
start_mount_at /sys/devices/system/cpu "$WORK/sysfs" mode=ro,cache=none
cannot_map() {
	local file
	for file in online possible present; do
		same "$file" "$(cat "/sys/devices/system/cpu/$file")" "$(cat "$MNT/$file")"
	done
	statistic_above io.read_fallbacks 0
}
check 'files of a file system that cannot map are served by pread, and counted' cannot_map
stop_mount

appended_only() {
	chattr +a "$NATIVE" 2>/dev/null || {
		echo 'this backing file system has no append-only files'
		return 77
	}
	chattr -a "$NATIVE"
	echo one >"$BACKING/append-only"
	chattr +a "$BACKING/append-only"
	echo two >>"$MNT/append-only"
	same 'content' $'one\ntwo' "$(cat "$MNT/append-only")"
	says 'Operation not permitted' truncate -s 0 "$MNT/append-only"
	same 'content in BACKING' $'one\ntwo' "$(cat "$BACKING/append-only")"
	chattr -a "$BACKING/append-only"
}
expect_stderr 'append|Operation not permitted|Permission denied'
for options in writes=pwrite writes=window; do
	start_mount "$options"
	check "$options: an append-only file is appended to and read" appended_only
	stop_mount
done
