#!/bin/bash
# SPDX-License-Identifier: MIT
# opens=skip: no OPEN, RELEASE and FLUSH, and what that may and may not change.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

start_mount opens=skip,attr_timeout=0,entry_timeout=0,watch=off

check 'files that are open are no handles, and what is cached is read without a request' py <<'PY'
write_file(BACKING + "/cached", b"x" * 10000)
os.utime(BACKING + "/cached", ns=(10**18, 10**18))
equal(read_file(MNT + "/cached"), b"x" * 10000)
before = statistics()["io"]["reads"]
open_files = [os.open(MNT + "/cached", os.O_RDWR) for n in range(20)]
for fd in open_files:
    equal(os.pread(fd, 100, 5000), b"x" * 100)
after = statistics()
equal(after["handles"], 0)
equal(after["io"]["reads"] - before, 0)
PY

check 'everything that is done with an open file works without a handle' py <<'PY'
from steps import open_file_steps
on_both(open_file_steps)
equal(statistics()["handles"], 0)
PY

check 'what the caller may not open it may not open' py <<'PY'
write_file(BACKING + "/secret", b"secret", 0o600)
def tries():
    return [outcome(os.open, MNT + "/secret", flags) for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_TRUNC)]
equal(as_user(65534, tries), ["EACCES"] * 3)
equal(read_file(BACKING + "/secret"), b"secret")
PY

check 'locks hold between processes of the mount, and do not reach BACKING' py <<'PY'
write_file(MNT + "/locked", b"x")
def holder(me):
    fd = os.open(MNT + "/locked", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    me.say("locked")
    me.wait_for_go()
    os.close(fd)
    me.say("closed")
child = Process(holder)
equal(child.hear(), "locked")
fd = os.open(MNT + "/locked", os.O_RDWR)
with raises(EWOULDBLOCK):
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
with raises(EAGAIN, EACCES):
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
behind = os.open(BACKING + "/locked", os.O_RDWR)
fcntl.flock(behind, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.lockf(behind, fcntl.LOCK_EX | fcntl.LOCK_NB)
child.go()
equal(child.hear(), "closed")
fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
PY

check 'bytes changed in BACKING are read by the next open, however alike the file looks' py <<'PY'
for n in range(150):
    data = b"%04d" % n * 3000
    write_file(BACKING + "/changing", data)
    equal(read_file(MNT + "/changing") == data, True, "round %d" % n)
    fd = os.open(BACKING + "/changing", os.O_RDWR)
    os.pwrite(fd, b"inside", 5000)
    os.close(fd)
    equal(os.pread(os.open(MNT + "/changing", os.O_RDONLY), 6, 5000), b"inside", "round %d" % n)
PY

check 'bytes changed in BACKING are seen by who keeps the file open' py <<'PY'
write_file(BACKING + "/kept-open", b"1" * 5000)
fd = os.open(MNT + "/kept-open", os.O_RDONLY)
equal(os.pread(fd, 10, 0), b"1" * 10)
time.sleep(0.05)
write_file(BACKING + "/kept-open", b"2" * 5000)
wait_until(10, lambda: os.pread(fd, 10, 0) == b"2" * 10)
PY

check "the mount's own writes drop nothing from the kernel's cache" py <<'PY'
fd = os.open(MNT + "/own", os.O_RDWR | os.O_CREAT)
os.write(fd, b"o" * 65536)
equal(os.pread(fd, 65536, 0), b"o" * 65536)
time.sleep(0.1)
os.stat(MNT + "/own")
equal(os.pread(fd, 65536, 0), b"o" * 65536)
before = statistics()["io"]["reads"]
for n in range(50):
    os.pwrite(fd, b"p" * 4096, n % 16 * 4096)
    os.stat(MNT + "/own")
    equal(os.pread(fd, 4096, n % 16 * 4096), b"p" * 4096)
equal(statistics()["io"]["reads"] - before <= 4, True, "served from the cache")
PY

check 'writers on the mount and in BACKING leave nothing old behind' py <<'PY'
write_file(BACKING + "/raced", b"\0" * 65536)
def writer(path, start):
    def run(me):
        fd = os.open(path, os.O_RDWR)
        for n in range(400):
            for page in range(start, 16, 2):
                os.pwrite(fd, struct.pack("I", n) * 1024, page * 4096)
                os.pread(fd, 4096, (page + 1) % 16 * 4096)
        me.say("done")
    return run
children = [Process(writer(MNT + "/raced", 0)), Process(writer(BACKING + "/raced", 1))]
for child in children:
    equal(child.hear(50), "done")
wait_until(10, lambda: read_file(MNT + "/raced") == read_file(BACKING + "/raced"))
PY

check 'a file removed in BACKING stays readable to who has read from it' py <<'PY'
write_file(BACKING + "/removed", b"r" * 300000)
fd = os.open(MNT + "/removed", os.O_RDONLY)
os.pread(fd, 1, 0)
os.unlink(BACKING + "/removed")
equal(os.pread(fd, 10, 299990), b"r" * 10)
with raises(ENOENT):
    os.stat(MNT + "/removed")
PY

check 'a file that BACKING replaces under its name is read whole, the old one or the new' py <<'PY'
write_file(BACKING + "/replaced", b"0" * 9000)
def replacer(me):
    for n in range(1500):
        write_file(BACKING + "/replacement", b"%d" % (n % 10) * 9000)
        os.rename(BACKING + "/replacement", BACKING + "/replaced")
    me.say("done")
child = Process(replacer)
while not child.hears_within(0):
    data = read_file(MNT + "/replaced")
    equal(data in [b"%d" % n * 9000 for n in range(10)], True, "one of them")
equal(read_file(MNT + "/replaced") == read_file(BACKING + "/replaced"), True)
PY

check 'a file removed in BACKING gives its space back, though it was read' py <<'PY'
write_file(BACKING + "/space", b"s" * 1000000)
read_file(MNT + "/space")
inode = os.stat(BACKING + "/space").st_ino
def is_held():
    directory = "/proc/%s/fd" % os.environ["DAEMON"]
    for fd in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(directory + "/" + fd).st_ino == inode:
                return True
    return False
equal(is_held(), True)
os.unlink(BACKING + "/space")
release = tuple(map(int, os.uname().release.split(".")[:2]))
if release < (6, 18):
    skip("this kernel cannot be asked to forget an inode")
wait_until(20, lambda: not is_held())
PY

programs_run_behind() {
	cp /bin/echo "$MNT/tool"
	chmod +x "$MNT/tool"
	wait_until 3 "$BACKING/tool" runs
	same 'on the mount' 'runs' "$("$MNT/tool" runs)"
	cat "$MNT/tool" >/dev/null
	same 'while it is cached' 'runs' "$("$BACKING/tool" runs)"
	exec 7>>"$MNT/tool"
	printf 'more' >&7
	wait_until 3 "$BACKING/tool" runs
	printf 'and more' >&7
	exec 7>&-
	wait_until 3 "$BACKING/tool" runs
}
check 'the backing file can be executed soon after its last write' programs_run_behind

check 'commands of memmapfsctl go by the right to read the file' py <<'PY'
write_file(MNT + "/hinted", b"h" * 8192, 0o644)
write_file(MNT + "/closed", b"c" * 8192, 0o600)
ctl = os.path.join(os.path.dirname(os.environ["MEMMAPFS_BIN"]), "memmapfsctl")
def advise(path):
    return subprocess.run([ctl, "advise", "random", path], stderr=subprocess.DEVNULL).returncode
equal(as_user(1234, advise, MNT + "/hinted"), 0)
equal(os.getxattr(MNT + "/hinted", "user.memmapfs.advice"), b"random")
equal(advise(MNT + "/closed"), 0, "root may read it")
PY

stop_mount

start_mount opens=skip,sync=periodic,sync_interval=100ms
check 'sync=periodic syncs what was written, and stores through a mapping, without a handle' py <<'PY'
fd = os.open(MNT + "/stored", os.O_RDWR | os.O_CREAT)
os.write(fd, b"s" * 8192)
wait_until(5, lambda: statistics()["sync"]["dirty_bytes"] == 0)
with mmap.mmap(fd, 8192) as view:
    os.close(fd)
    view[0:6] = b"stored"
    wait_until(10, lambda: read_file(BACKING + "/stored")[:6] == b"stored")
PY
check 'a sync of the whole mount takes along what is stored through mappings' py <<'PY'
fd = os.open(MNT + "/mapped", os.O_RDWR | os.O_CREAT)
os.write(fd, b"m" * 8192)
view = mmap.mmap(fd, 8192)
os.close(fd)
time.sleep(0.5)
for n in range(20):
    view[0:4] = b"%04d" % n
    os.setxattr(MNT, "user.memmapfs.sync", b"now")
    equal(read_file(BACKING + "/mapped")[:4], b"%04d" % n)
PY
stop_mount

if sanitized; then
	skip_check 'a failed sync is told by one fsync' 'the leak detector does not work under strace'
elif command -v strace >/dev/null; then
	# Each thread's first sync fails: the one of the tick, and the worker's.
	LAUNCH=(strace -f -qq -o "$WORK/trace" -e 'trace=fdatasync,fsync,msync'
		-e 'inject=fdatasync,fsync,msync:error=EIO:when=1')
	expect_stderr 'sync .*: Input/output error; what was written there may be lost'
	new_backing
	: >"$BACKING/failing"
	mkdir "$WORK/failing"
	start_mount_at "$BACKING" "$WORK/failing" opens=skip,sync=periodic,sync_interval=200ms,max_threads=1
	check 'a failed sync is told by one fsync, whichever descriptor asks, and by no close' py <<'PY'
first = os.open(MNT + "/failing", os.O_RDWR)
os.write(first, b"lost")
wait_until(5, lambda: statistics()["sync"]["errors"] == 1)
os.close(os.open(MNT + "/failing", os.O_RDWR))
second = os.open(MNT + "/failing", os.O_RDWR)
with raises(EIO):
    os.fsync(second)
os.fsync(first)
os.fsync(second)
PY
	umount "$MNT"
	daemon_ends 20 7
	LAUNCH=()
else
	skip_check 'a failed sync is told by one fsync' 'strace is missing'
fi
