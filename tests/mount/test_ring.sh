#!/bin/bash
# SPDX-License-Identifier: MIT
# Requests that come through io_uring, where the kernel can.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

SWITCH=/sys/module/fuse/parameters/enable_uring
[ -w "$SWITCH" ] || skip 'this kernel has no FUSE over io_uring'
# One at a time: each turns it back to what it found.
exec 9<"$SWITCH"
flock 9
was=$(cat "$SWITCH")
trap 'echo "$was" >"$SWITCH"; finish' EXIT

echo N >"$SWITCH"
expect_stderr 'io_uring: requests come by /dev/fuse: this kernel does not offer it'
start_mount io_uring
served_by_device() {
	echo text >"$MNT/file"
	same content text "$(cat "$BACKING/file")"
	same rings 0 "$(statistic rings)"
}
check 'where it is turned off the device serves, and the log says so' served_by_device
stop_mount
echo Y >"$SWITCH"

if [[ ${TEST_MOUNT_OPTS-} != *io_uring* ]]; then
	start_mount
	check 'without io_uring requests come by the device, whatever the kernel offers' same rings 0 "$(statistic rings)"
	stop_mount
fi

start_mount io_uring
check 'requests come through io_uring where it is turned on' statistic_above rings 0

check 'bytes of any length arrive, both ways' py <<'PY'
for size in (1, 4095, 4096, 4097, 65536, 256 * 1024 + 1, MIB - 1, MIB, 5 * MIB + 3):
    data = random.Random(size).randbytes(size)
    write_file(MNT + "/file", data)
    equal(read_file(BACKING + "/file") == data, True, "written, %d bytes" % size)
    write_file(BACKING + "/other", data)
    fd = os.open(MNT + "/other", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    equal(os.pread(fd, size + 1, 0) == data, True, "read, %d bytes" % size)
    os.close(fd)
    os.unlink(MNT + "/other")
PY

check 'names, links, lists and attributes as long as they may be' py <<'PY'
names = ["%04d" % n + "x" * 251 for n in range(2000)]
os.mkdir(MNT + "/many")
for name in names:
    os.close(os.open(MNT + "/many/" + name, os.O_CREAT | os.O_WRONLY))
equal(sorted(os.listdir(MNT + "/many")), names)
os.symlink("t" * 4095, MNT + "/link")
equal(os.readlink(MNT + "/link"), "t" * 4095)
os.rename(MNT + "/many/" + names[0], MNT + "/" + "y" * 255)
equal(os.path.exists(BACKING + "/" + "y" * 255), True)
for size in (0, 1, 3000):
    os.setxattr(MNT + "/file", "user.name", b"v" * size)
    equal(os.getxattr(BACKING + "/file", "user.name"), b"v" * size)
    equal(os.getxattr(MNT + "/file", "user.name"), b"v" * size)
with raises(ENODATA):
    os.getxattr(MNT + "/file", "user.other")
with raises(ENOENT):
    os.stat(MNT + "/nothing")
PY

# More wait than there are threads: the answers come from others, and who does not wait is served.
check 'programs that wait for a lock keep nobody else waiting, and get it' py <<'PY'
fd = os.open(MNT + "/file", os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX)

def wait_for_lock(me):
    mine = os.open(MNT + "/file", os.O_RDWR)
    me.say("waits")
    fcntl.lockf(mine, fcntl.LOCK_EX)
    me.say("has it")
    fcntl.lockf(mine, fcntl.LOCK_UN)

waiting = [Process(wait_for_lock) for _ in range(24)]
for process in waiting:
    equal(process.hear(30), "waits")
time.sleep(0.2)
for n in range(200):
    write_file(MNT + "/beside", b"%d" % n)
    equal(read_file(MNT + "/beside"), b"%d" % n)
waiting[0].kill()
fcntl.lockf(fd, fcntl.LOCK_UN)
for process in waiting[1:]:
    equal(process.hear(30), "has it")
PY

# A signal can come before the request has: the kernel does not tell of it then.
check 'programs that are interrupted again and again while they wait for a lock end' py <<'PY'
fd = os.open(MNT + "/file", os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX)

def interrupted(me):
    mine = os.open(MNT + "/file", os.O_RDWR)
    waits = []

    def alarm(number, frame):
        # Once for each wait: those that come after it must not end anything else.
        if waits:
            waits.clear()
            raise InterruptedError()

    signal.signal(signal.SIGALRM, alarm)
    me.say("waits")
    for n in range(300):
        with contextlib.suppress(InterruptedError):
            waits.append(n)
            # Again and again, as the first may come before the call; the kernel tells of the first during it only.
            signal.setitimer(signal.ITIMER_REAL, 0.00005 + n % 10 * 0.0001, 0.02)
            fcntl.lockf(mine, fcntl.LOCK_EX)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    me.say("done")

waiting = [Process(interrupted) for _ in range(4)]
for process in waiting:
    equal(process.hear(30), "waits")
    equal(process.hear(30), "done")
PY

# A thread starts on the CPUs of the one that starts it, and those that serve small requests stay on one.
check 'a thread that waits for a lock may be on any CPU' py <<'PY'
FCNTL = {"x86_64": b"72", "aarch64": b"25"}.get(os.uname().machine) or skip("the number of fcntl(2) here?")
daemon, usual = int(os.environ["DAEMON"]), os.sched_getaffinity(int(os.environ["DAEMON"]))
fd = os.open(MNT + "/file", os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX)

def wait_for_lock(me):
    os.sched_setaffinity(0, {min(usual)})
    for n in range(100):
        os.path.exists(MNT + "/nothing%d" % n)
    mine = os.open(MNT + "/file", os.O_RDWR)
    fcntl.lockf(mine, fcntl.LOCK_EX)

def waiting():
    return [int(task) for task in os.listdir("/proc/%d/task" % daemon)
            if read_file("/proc/%d/task/%s/syscall" % (daemon, task)).split()[:1] == [FCNTL]]

process = Process(wait_for_lock)
wait_until(10, waiting)
equal([os.sched_getaffinity(task) for task in waiting()], [usual])
process.kill()
PY

check 'who reads while another writes sees what was written, in the end all of it' py <<'PY'
def write_records(me):
    fd = os.open(MNT + "/records", os.O_RDWR)
    for n in range(3000):
        os.pwrite(fd, b"%08d" % n * 512, 4096 * (n % 8))
    me.say("done")

write_file(MNT + "/records", b"%08d" % 0 * 4096)
writer = Process(write_records)
fd = os.open(MNT + "/records", os.O_RDONLY)
while not writer.hears_within(0):
    for n in range(8):
        words = set(struct.unpack("512Q", os.pread(fd, 4096, 4096 * n)))
        for word in words:
            equal(int(struct.pack("Q", word)) % 8 in (0, n), True)
equal(writer.hear(), "done")
equal(os.pread(fd, 8 * 4096, 0) == b"".join(b"%08d" % n * 512 for n in range(2992, 3000)), True)
PY

stop_mount

for threads in 1 3; do
	start_mount io_uring,max_threads=$threads
	check "max_threads=$threads serves" py <<'PY'
for n in range(200):
    write_file(MNT + "/file%d" % n, b"%d" % n)
    equal(read_file(BACKING + "/file%d" % n), b"%d" % n)
PY
	stop_mount
done

start_mount io_uring,max_threads=1
# Serving an ordinary user, a thread lets go of what keeps set-id bits; the one that it starts for its lock's sake
# must not go without.
check 'a thread that takes the place of another serves root as the others do' py <<'PY'
write_file(MNT + "/file", b"x", 0o666)
os.chmod(MNT + "/file", 0o666)
held = os.open(MNT + "/file", os.O_RDWR)
fcntl.lockf(held, fcntl.LOCK_EX)

def write_and_wait(me):
    os.setgroups([])
    os.setresgid(1234, 1234, 1234)
    os.setresuid(1234, 1234, 1234)
    mine = os.open(MNT + "/file", os.O_RDWR)
    os.write(mine, b"theirs")
    me.say("waits")
    fcntl.lockf(mine, fcntl.LOCK_EX)

waiting = [Process(write_and_wait) for _ in range(12)]
for process in waiting:
    equal(process.hear(30), "waits")
time.sleep(0.2)
for n in range(30):
    path = "/set%d" % n
    write_file(MNT + path, b"x")
    os.chown(MNT + path, 0, 1234)
    os.chmod(MNT + path, 0o2755)
    equal(stat.S_IMODE(os.stat(BACKING + path).st_mode), 0o2755)
    fd = os.open(MNT + path, os.O_WRONLY)
    os.write(fd, b"y")
    equal(stat.S_IMODE(os.stat(BACKING + path).st_mode), 0o2755)
    os.close(fd)
PY

stop_mount

start_mount io_uring
exec 8>"$MNT/open"
echo text >&8
kill -TERM "$DAEMON"
daemon_ends 15
write_fails() {
	if echo more >&8; then
		echo 'a write after the end of the mount succeeded'
		return 1
	fi 2>/dev/null
}
check 'SIGTERM ends a mount whose files are open; their users get an error' write_fails
exec 8>&-

# An answer that is ready when its thread is told to end is handed over first.
start_mount io_uring
check 'what SIGTERM ends has been done, or has failed: not both' py <<'PY'
def make_directories(me):
    os.mkdir(MNT + "/in%d" % os.getpid())
    directory = os.open(MNT + "/in%d" % os.getpid(), os.O_RDONLY)
    me.say("%d" % os.getpid())
    made = 0
    with contextlib.suppress(OSError):
        while True:
            os.mkdir("%d" % made, dir_fd=directory)
            made += 1
    me.say("%d" % made)

busy = [Process(make_directories) for _ in range(16)]
pids = [int(process.hear()) for process in busy]
time.sleep(0.2)
os.kill(int(os.environ["DAEMON"]), signal.SIGTERM)
for process, pid in zip(busy, pids):
    made = int(process.hear(20))
    equal(sorted(int(name) for name in os.listdir(BACKING + "/in%d" % pid)), list(range(made)))
PY
daemon_ends 15

start_mount io_uring
dd if=/dev/zero of="$MNT/much" bs=64k count=20000 2>/dev/null &
writer=$!
sleep 0.3
crash_daemon
check 'kill -9 under load ends who waits' wait_until 10 process_gone "$writer"
wait "$writer" || true

# new_group CONTROLLER: a control group, of version 2 or 1, in GROUP
new_group() {
	GROUP=/sys/fs/cgroup/memmapfs-test.$$
	[ -d "/sys/fs/cgroup/$1" ] && GROUP=/sys/fs/cgroup/$1/memmapfs-test.$$
	export GROUP
	mkdir "$GROUP" 2>/dev/null
}
if [ "$(nproc)" -gt 1 ] && new_group cpuset && { echo 0 >"$GROUP/cpuset.cpus" && echo 0 >"$GROUP/cpuset.mems"; } 2>/dev/null; then
	expect_stderr 'cannot use io_uring: 1 CPUs of [0-9]+ are open to the daemon'
	expect_stderr 'io_uring: requests come by /dev/fuse: Operation not permitted'
	# shellcheck disable=SC2016 # the words are the inner shell's
	LAUNCH=(sh -c 'echo $$ >"$GROUP/cgroup.procs" && exec "$@"' sh)
	start_mount io_uring
	check 'where a cpuset keeps the daemon from a CPU the device serves, and the log says so' served_by_device
	stop_mount
	LAUNCH=()
fi
rmdir "$GROUP" 2>/dev/null || true

if new_group pids && [ -w "$GROUP/pids.max" ]; then
	start_mount io_uring
	echo "$DAEMON" >"$GROUP/cgroup.procs"
	check 'where the daemon can have no more threads who wants to wait for a lock is told, and others are served' py <<'PY'
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
group = os.environ["GROUP"]
write_file(MNT + "/file", b"x")
held = os.open(MNT + "/file", os.O_RDWR)
fcntl.lockf(held, fcntl.LOCK_EX)

def wait_for_lock(me):
    mine = os.open(MNT + "/file", os.O_RDWR)
    me.say("ready")
    me.wait_for_go()
    with contextlib.suppress(OSError):
        fcntl.lockf(mine, fcntl.LOCK_EX)

def ask(me):
    me.wait_for_go()
    me.say("%d" % os.stat(MNT + "/file").st_size)

waiting = [Process(wait_for_lock) for _ in range(12)]
other = Process(ask)
for process in waiting:
    equal(process.hear(), "ready")
for process in waiting:
    # One more: the lock's, and none to serve meanwhile.
    write_file(group + "/pids.max", b"%d" % (int(read_file(group + "/pids.current")) + 1))
    process.go()
    time.sleep(0.02)
other.go()
equal(other.hear(5), "1")
PY
	stop_mount
fi
rmdir "$GROUP" 2>/dev/null || true

LAUNCH=(taskset -c 0)
start_mount io_uring
check 'a daemon that is bound to one CPU serves programs on all' py <<'PY'
write_file(MNT + "/file", b"x")
write_file(MNT + "/other", b"x")
held = os.open(MNT + "/file", os.O_RDWR)
fcntl.lockf(held, fcntl.LOCK_EX)

def ask(me, path, lock):
    mine = os.open(MNT + path, os.O_RDWR)
    me.wait_for_go()
    if lock:
        fcntl.lockf(mine, fcntl.LOCK_EX)
    for n in range(20):
        os.path.exists(MNT + "/nothing%d" % n)
    me.say("done")

for cpu in sorted(os.sched_getaffinity(0)):
    os.sched_setaffinity(0, {cpu})
    waiting = [Process(lambda me: ask(me, "/file", True)) for _ in range(20)]
    others = [Process(lambda me: ask(me, "/other", False)) for _ in range(10)]
    for process in waiting + others:
        process.go()
    for process in others:
        equal(process.hear(20), "done")
PY
stop_mount

LAUNCH=(strace -f -qq -o /dev/null -e trace=io_uring_setup -e inject=io_uring_setup:error=EPERM)
if ! sanitized && strace -qq -o /dev/null true 2>/dev/null; then
	expect_stderr 'io_uring: requests come by /dev/fuse: Operation not permitted'
	start_mount io_uring
	check 'where the daemon may not use io_uring the device serves, and the log says so' served_by_device
fi
