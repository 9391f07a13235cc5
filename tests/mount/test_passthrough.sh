#!/bin/bash
# SPDX-License-Identifier: MIT
# io=passthrough: the kernel reads, writes and maps the backing files itself.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

start_mount io=passthrough,sync=periodic,sync_interval=200ms
passes() {
	exec 9>"$MNT/probe"
	[ "$(statistic passthrough)" = 1 ]
}
expect_stderr 'io=passthrough: windows serve'
if ! passes; then
	cat "${stderr_files[0]}"
	skip 'this machine has no passthrough'
fi
exec 9>&-

check 'reads, writes and mappings go to the backing file, and no request to the daemon' py <<'PY'
before = statistics()["io"]
fd = os.open(MNT + "/file", os.O_RDWR | os.O_CREAT)
os.write(fd, b"0123456789" * 1000)
equal(os.pread(fd, 12, 9995), b"56789")
equal(read_file(BACKING + "/file"), b"0123456789" * 1000)
equal(os.fstat(fd).st_size, 10000)
behind = os.open(BACKING + "/file", os.O_RDWR)
os.pwrite(behind, b"behind", 5000)
equal(os.pread(fd, 6, 5000), b"behind")
with mmap.mmap(fd, 10000) as view, mmap.mmap(behind, 10000) as other:
    view[0:5] = b"store"
    equal(other[0:5], b"store")
    other[100:105] = b"other"
    equal(view[100:105], b"other")
appending = os.open(MNT + "/file", os.O_WRONLY | os.O_APPEND)
os.pwrite(behind, b"longer", 12000)
os.write(appending, b"end")
equal(read_file(MNT + "/file")[12000:], b"longerend")
equal(os.stat(MNT + "/file").st_size, 12009)
after = statistics()["io"]
equal((after["reads"], after["writes"]), (before["reads"], before["writes"]))
PY

check 'what is done with files natively is done alike' py <<'PY'
from steps import open_file_steps
on_both(open_file_steps)
PY

check 'what others wrote is written back by the tick, until the last handle is closed and once after' py <<'PY'
def dirty(path):
    fd = os.open(path, os.O_RDONLY)
    before = statistics()["sync"]["msyncs"]
    wait_until(5, lambda: statistics()["sync"]["msyncs"] >= before + 2)
    os.close(fd)
fd = os.open(MNT + "/ticked", os.O_RDWR | os.O_CREAT)
os.write(fd, b"t" * 100000)
dirty(BACKING + "/ticked")
with mmap.mmap(fd, 100000) as view:
    view[0:1] = b"s"
    dirty(BACKING + "/ticked")
os.close(fd)
time.sleep(1)
before = statistics()["sync"]["msyncs"]
time.sleep(1)
equal(statistics()["sync"]["msyncs"], before, "nobody has a file open for writing")
PY

check 'a write takes set-id bits away, and a file that has some is served by windows' py <<'PY'
write_file(BACKING + "/suid", b"s" * 1000, 0o6755)
os.chmod(BACKING + "/suid", 0o6777)
def write(path):
    fd = os.open(path, os.O_RDWR)
    os.write(fd, b"w")
    os.close(fd)
    return os.stat(path).st_mode & 0o7777
equal(as_user(65534, write, MNT + "/suid"), 0o777)
write_file(MNT + "/later", b"l" * 1000, 0o777)
fd = os.open(MNT + "/later", os.O_RDWR)
os.chmod(MNT + "/later", 0o4777)
def write_through(me):
    os.setuid(65534)
    os.write(fd, b"w")
    me.say("done")
equal(Process(write_through).hear(), "done")
equal(os.stat(BACKING + "/later").st_mode & 0o7777, 0o777)
equal(os.stat(MNT + "/later").st_mode & 0o7777, 0o777)
PY

check 'what may not be opened natively may not be opened here' py <<'PY'
write_file(BACKING + "/secret", b"secret", 0o600)
def tries():
    return [outcome(os.open, MNT + "/secret", flags) for flags in (os.O_RDONLY, os.O_WRONLY)]
equal(as_user(65534, tries), ["EACCES"] * 2)
PY

check 'many handles of one file, opened and closed at once, are all served' py <<'PY'
write_file(BACKING + "/shared", b"s" * 4096)
def churn(me):
    for n in range(400):
        fd = os.open(MNT + "/shared", os.O_RDWR if n % 2 else os.O_RDONLY)
        equal(os.pread(fd, 4, 0), b"ssss")
        os.close(fd)
    me.say("done")
for child in [Process(churn) for n in range(4)]:
    equal(child.hear(50), "done")
wait_until(5, lambda: statistics()["passthrough"] == 0)
PY

programs_run() {
	cp /bin/echo "$MNT/tool"
	same 'on the mount' runs "$("$MNT/tool" runs)"
	wait_until 3 "$BACKING/tool" runs
	exec 7<"$MNT/tool"
	same 'while it is read' runs "$("$BACKING/tool" runs)"
	exec 7<&-
	exec 7>>"$MNT/tool"
	says 'Text file busy' "$BACKING/tool" busy
	exec 7>&-
	wait_until 5 "$BACKING/tool" runs
}
check 'programs run, from the mount and from BACKING' programs_run

# Nobody heeds them, and each would be made and read.
check 'writes to a file that the mount writes make no events for the watch' py <<'PY'
def ignored():
    inode = "ino:%x " % os.stat(BACKING + "/written").st_ino
    for number in os.listdir("/proc/%s/fdinfo" % os.environ["DAEMON"]):
        with contextlib.suppress(FileNotFoundError):
            for line in read_file("/proc/%s/fdinfo/%s" % (os.environ["DAEMON"], number)).decode().splitlines():
                if line.startswith("fanotify " + inode) and int(line.split("ignored_mask:")[1].split()[0], 16) & 2:
                    return True
    return False

write_file(BACKING + "/written", b"x")
if b"fanotify sdev" not in b"".join(read_file("/proc/%s/fdinfo/%s" % (os.environ["DAEMON"], number)) for number
                                    in os.listdir("/proc/%s/fdinfo" % os.environ["DAEMON"])):
    skip("the file system is not watched here")
equal(ignored(), False)
fds = [os.open(MNT + "/written", os.O_WRONLY) for _ in range(3)]
for fd in fds:
    equal(ignored(), True)
    os.close(fd)
wait_until(5, lambda: not ignored())
# And others' are heard of again.
equal(os.stat(MNT + "/written").st_size, 1)
write_file(BACKING + "/written", b"longer")
wait_until(5, lambda: os.stat(MNT + "/written").st_size == 6)
PY

check 'sizes that change under a writer, on either side, are seen' py <<'PY'
fd = os.open(MNT + "/grows", os.O_RDWR | os.O_CREAT)
for n in range(30):
    os.write(fd, b"g" * 1000)
    equal(os.stat(MNT + "/grows").st_size, (n + 1) * 1000)
with open(BACKING + "/grows", "ab") as behind:
    behind.write(b"b" * 500)
wait_until(4, lambda: os.stat(MNT + "/grows").st_size == 30500)
os.close(fd)
with open(BACKING + "/grows", "ab") as behind:
    behind.write(b"b" * 500)
wait_until(4, lambda: os.stat(MNT + "/grows").st_size == 31000)
PY

check "the mount's own writes are no event" py <<'PY'
fd = os.open(MNT + "/own", os.O_RDWR | os.O_CREAT)
before = statistics()["watch"]["events"]
for n in range(200):
    os.pwrite(fd, b"o" * 4096, n * 4096)
time.sleep(0.2)
equal(statistics()["watch"]["events"], before)
PY

check 'preloading and locking act on the page cache that the kernel serves from' py <<'PY'
write_file(BACKING + "/loaded", b"p" * 1000000)
os.setxattr(MNT + "/loaded", "user.memmapfs.lock", b"now")
wait_until(5, lambda: json.loads(os.getxattr(MNT + "/loaded", "user.memmapfs.file"))["locked"] >= 1000000)
os.setxattr(MNT + "/loaded", "user.memmapfs.unlock", b"now")
PY
stop_mount

start_mount io=passthrough,sync=lazy
check 'sync=lazy syncs at a close what was written without the daemon' py <<'PY'
def syncs():
    return statistics()["sync"]["msyncs"]
fd = os.open(MNT + "/lazy", os.O_RDWR | os.O_CREAT)
os.write(fd, b"lazy")
before = syncs()
os.close(fd)
equal(syncs() > before, True)
def released():
    """RELEASE comes after close has returned."""
    return statistics()["handles"] == 0
wait_until(10, released)
before = syncs()
os.close(os.open(MNT + "/lazy", os.O_RDONLY))
wait_until(10, released)
equal(syncs(), before, "a reader has nothing to sync")
PY
stop_mount

start_mount io=passthrough,preload=sync,advise=willneed,cache=none
check 'what the mount preloads it preloads when a file is opened' py <<'PY'
write_file(BACKING + "/model", b"m" * 3000000)
with open(MNT + "/model", "rb") as file:
    wait_until(5, lambda: json.loads(os.getxattr(MNT + "/model", "user.memmapfs.file"))["windows"] >= 1)
    equal(file.read(3), b"mmm")
PY
stop_mount

if unshare --mount --propagation private true; then
	mkdir "$WORK/lower" "$WORK/upper" "$WORK/inner" "$WORK/over"
	if mount -t overlay -o "lowerdir=$WORK/lower,upperdir=$WORK/upper,workdir=$WORK/inner" none "$WORK/over" 2>/dev/null ||
		{ mount -t tmpfs none "$WORK/inner" && mkdir "$WORK/inner/u" "$WORK/inner/w" && images+=("$WORK/inner") &&
			mount -t overlay -o "lowerdir=$WORK/lower,upperdir=$WORK/inner/u,workdir=$WORK/inner/w" none "$WORK/over"; }; then
		images+=("$WORK/over")
		mkdir "$WORK/over/backing" "$WORK/stacked"
		start_mount_at "$WORK/over/backing" "$WORK/stacked" io=passthrough
		check 'over a stacked file system windows serve, and one line says why' py <<'PY'
for n in range(3):
    write_file(MNT + "/%d" % n, b"by window")
    equal(read_file(BACKING + "/%d" % n), b"by window")
equal(statistics()["io"]["writes"] >= 3, True)
PY
		said_once() {
			same 'lines' 1 "$(grep -c 'windows serve.*stacked' "${stderr_files[-1]}")"
		}
		check 'it is said once' said_once
		stop_mount
	else
		skip_check 'over a stacked file system windows serve' 'no overlay can be mounted here'
	fi
fi

if user_mounts_work; then
	chmod 777 "$WORK"
	as 65534 mkdir "$WORK/u" "$WORK/um"
	LAUNCH=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
	ORDINARY_USER=1
	start_mount_at "$WORK/u" "$WORK/um" io=passthrough
	check 'an ordinary user gets windows' as 65534 sh -c "echo x >'$MNT/file' && grep -q x '$BACKING/file'"
	stop_mount
	LAUNCH=()
else
	skip_check 'an ordinary user gets windows' "$USER_MOUNTS_ERROR"
fi
