#!/bin/bash
# SPDX-License-Identifier: MIT
# When each sync= mode syncs, told by the daemon's own count of syncs. That a sync is one, scripts/powercut
# shows; what becomes of its errors, scripts/errors.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

start_mount sync=immediate
check 'sync=immediate: each write, truncation and change of names is one sync, done when the call returns' py <<'PY'
def syncs(count, what, action):
    before = statistics()["sync"]["msyncs"]
    result = action()
    equal(statistics()["sync"]["msyncs"] - before, count, what)
    equal(statistics()["sync"]["dirty_bytes"], 0, what)
    return result
fd = syncs(1, "create", lambda: os.open(MNT + "/file", os.O_CREAT | os.O_RDWR))
syncs(1, "write", lambda: os.write(fd, b"x" * 1000))
syncs(1, "pwrite", lambda: os.pwrite(fd, b"y" * 8192, 4096))
syncs(1, "truncate", lambda: os.ftruncate(fd, 17))
syncs(1, "fallocate", lambda: os.posix_fallocate(fd, 0, 100000))
syncs(0, "read", lambda: os.pread(fd, 100, 0))
syncs(0, "close", lambda: os.close(fd))
syncs(1, "mkdir", lambda: os.mkdir(MNT + "/dir"))
syncs(2, "rename between directories", lambda: os.rename(MNT + "/file", MNT + "/dir/file"))
syncs(1, "rename", lambda: os.rename(MNT + "/dir/file", MNT + "/dir/other"))
syncs(1, "link", lambda: os.link(MNT + "/dir/other", MNT + "/dir/link"))
syncs(1, "symlink", lambda: os.symlink("target", MNT + "/symlink"))
syncs(1, "unlink", lambda: os.unlink(MNT + "/dir/link"))
syncs(1, "O_TRUNC", lambda: os.close(os.open(MNT + "/dir/other", os.O_WRONLY | os.O_TRUNC)))
fd = os.open(MNT + "/dir/other", os.O_WRONLY | os.O_APPEND)
syncs(1, "append", lambda: os.write(fd, b"appended"))
equal(read_file(BACKING + "/dir/other"), b"appended")
PY
stop_mount

start_mount sync=lazy
check 'sync=lazy: every close of a written file syncs it, and nothing else does' py <<'PY'
def count():
    return statistics()["sync"]["msyncs"]
fd = os.open(MNT + "/file", os.O_CREAT | os.O_RDWR)
other = os.open(MNT + "/file", os.O_RDONLY)
before = count()
os.write(fd, b"x" * 100000)
equal(count(), before, "writes sync nothing")
equal(statistics()["sync"]["dirty_bytes"], 100000)
os.close(os.dup(fd))
equal(count(), before + 1, "the close of a duplicate syncs")
equal(statistics()["sync"]["dirty_bytes"], 0)
os.close(os.dup(fd))
equal(count(), before + 1, "what is clean is not synced")
os.write(fd, b"more")
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
equal(count(), before + 2, "the end of a process that inherited the descriptor syncs")
os.write(fd, b"more")
os.close(other)
equal(count(), before + 3, "another descriptor of the file does as well")
os.ftruncate(fd, 10)
os.close(fd)
equal(count(), before + 4, "a truncation is synced too")
PY
check 'sync=lazy: what is stored through a mapping after the last close is synced by its end' py <<'PY'
fd = os.open(MNT + "/mapped", os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 8192)
view = mmap.mmap(fd, 8192)
os.close(fd)
before = statistics()["sync"]["msyncs"]
view[0:6] = b"stored"
view.close()
wait_until(5, lambda: statistics()["sync"]["msyncs"] > before)
wait_until(5, lambda: statistics()["sync"]["dirty_bytes"] == 0)
equal(read_file(BACKING + "/mapped")[:6], b"stored")
PY
stop_mount

start_mount sync=never
check 'sync=never: only fsync syncs' py <<'PY'
before = statistics()["sync"]["msyncs"]
fd = os.open(MNT + "/file", os.O_CREAT | os.O_RDWR)
os.write(fd, b"x" * 100000)
os.close(os.dup(fd))
equal(statistics()["sync"]["msyncs"], before)
os.fsync(fd)
equal(statistics()["sync"]["msyncs"], before + 1)
PY
stop_mount

start_mount sync=periodic,sync_interval=1d,sync_bytes=1M
check 'sync_bytes= starts a sync when so much is dirty, and not before' py <<'PY'
fd = os.open(MNT + "/file", os.O_CREAT | os.O_RDWR)
os.write(fd, b"x" * 1000000)
time.sleep(0.3)
equal(statistics()["sync"]["dirty_bytes"], 1000000)
os.write(fd, b"x" * 100000)
wait_until(5, lambda: statistics()["sync"]["dirty_bytes"] == 0)
equal(statistics()["sync"]["synced_bytes"], 1100000)
for n in range(50):
    os.write(fd, b"x" * 100000)
wait_until(5, lambda: statistics()["sync"]["dirty_bytes"] < MIB)
PY
stop_mount

start_mount sync=periodic,sync_interval=200ms
check 'sync=periodic: names, truncations and the last byte of removed files are synced with the next tick' py <<'PY'
def is_synced(what, action):
    wait_until(5, lambda: statistics()["sync"]["dirty_bytes"] == 0)
    time.sleep(0.5)
    before = statistics()["sync"]["msyncs"]
    action()
    wait_until(3, lambda: statistics()["sync"]["msyncs"] > before)
fd = os.open(MNT + "/file", os.O_CREAT | os.O_RDWR)
is_synced("write", lambda: os.write(fd, b"x" * 100000))
is_synced("truncation to nothing", lambda: os.ftruncate(fd, 0))
is_synced("growth by truncation", lambda: os.ftruncate(fd, 1 << 20))
is_synced("mkdir", lambda: os.mkdir(MNT + "/dir"))
is_synced("rename", lambda: os.rename(MNT + "/file", MNT + "/dir/file"))
is_synced("unlink", lambda: os.unlink(MNT + "/dir/file"))
is_synced("write to a removed file", lambda: os.write(fd, b"y" * 1000))
os.write(fd, b"z" * 1000)
os.close(fd)
wait_until(3, lambda: statistics()["sync"]["dirty_bytes"] == 0)
equal(statistics()["sync"]["errors"], 0)
PY
check 'sync=periodic: a store through a mapping that nobody syncs is handed over and synced by ticks' py <<'PY'
fd = os.open(MNT + "/mapped", os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, MIB)
view = mmap.mmap(fd, MIB)
os.close(fd)
for offset in range(0, MIB, 4096):
    view[offset:offset + 6] = b"stored"
def has_arrived():
    data = read_file(BACKING + "/mapped")
    return all(data[offset:offset + 6] == b"stored" for offset in range(0, MIB, 4096))
wait_until(3, has_arrived)
wait_until(3, lambda: statistics()["sync"]["dirty_bytes"] == 0)
view.close()
PY
check 'sync=periodic: a file that is appended to without pause is synced all the while' py <<'PY'
fd = os.open(MNT + "/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
start = statistics()["sync"]["synced_bytes"]
written, history, end = 0, [], time.monotonic() + 3
while time.monotonic() < end:
    written += os.write(fd, b"x" * 128)
    if written % 12800 == 0:
        history.append((time.monotonic(), written))
        if len(history) % 50 == 0:
            synced = statistics()["sync"]["synced_bytes"] - start
            old = [size for moment, size in history if moment < time.monotonic() - 1.5]
            equal(not old or synced >= old[-1], True, "%d synced of %r" % (synced, old[-1:]))
PY
stop_mount

start_mount sync=periodic
check 'SIGTERM: what a client that still runs has stored through a mapping is in BACKING' py <<'PY'
def holder(me):
    fd = os.open(MNT + "/held", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 16 * MIB)
    view = mmap.mmap(fd, 16 * MIB)
    for offset in range(0, 16 * MIB, 4096):
        view[offset:offset + 6] = b"stored"
    me.say("stored")
    time.sleep(60)
child = Process(holder)
equal(child.hear(), "stored")
os.kill(int(os.environ["DAEMON"]), signal.SIGTERM)
wait_until(20, lambda: not os.path.exists("/proc/%s/exe" % os.environ["DAEMON"]))
data = read_file(BACKING + "/held")
equal(all(data[offset:offset + 6] == b"stored" for offset in range(0, 16 * MIB, 4096)), True)
child.kill()
PY
daemon_ends 5

cat >"$WORK/rules" <<'END'
*.db sync=immediate
*.log sync=periodic sync_interval=100ms
*.slow sync=periodic sync_interval=1h
END
start_mount "sync=never,rules=$WORK/rules"
check 'rules: each file is synced as its own rule says, whatever the mount does' py <<'PY'
def state(name):
    return json.loads(os.getxattr(MNT + "/" + name, "user.memmapfs.file"))["dirty"]
fds = {name: os.open(MNT + "/" + name, os.O_CREAT | os.O_RDWR) for name in ("a.db", "a.log", "a.slow", "a")}
before = statistics()["sync"]["msyncs"]
os.write(fds["a.db"], b"x" * 1000)
equal(statistics()["sync"]["msyncs"], before + 1, "immediate")
os.write(fds["a"], b"x" * 1000)
os.write(fds["a.slow"], b"x" * 1000)
os.write(fds["a.log"], b"x" * 1000)
wait_until(3, lambda: state("a.log") == 0)
equal((state("a.db"), state("a"), state("a.slow")), (0, 0, 1000))
time.sleep(0.5)
equal(state("a.slow"), 1000)
equal(statistics()["sync"]["msyncs"], before + 2)
PY
stop_mount

if image ext4 300M -E lazy_itable_init=0,lazy_journal_init=0; then
	use_image_as_backing
	mkdir "$WORK/many"
	start_mount_at "$BACKING" "$WORK/many" sync=periodic,sync_interval=1s
	check 'a round of many small files does not write the journal for each of them' py <<'PY'
def written():
    device = os.stat(BACKING).st_dev
    with open("/sys/dev/block/%d:%d/stat" % (os.major(device), os.minor(device))) as file:
        return int(file.read().split()[6]) * 512
os.sync()
before = written()
for n in range(1500):
    write_file(MNT + "/%d" % n, b"x" * 8192)
wait_until(40, lambda: statistics()["sync"]["dirty_bytes"] == 0)
print("%d bytes written for %d" % (written() - before, 1500 * 8192))
equal(written() - before < 1500 * 8192 * 1.12, True, "bytes on disk")
PY
	stop_mount
	drop_image
else
	skip_check 'a round of many small files does not write the journal for each of them' "$IMAGE_ERROR"
fi
