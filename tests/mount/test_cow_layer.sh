#!/bin/bash
# SPDX-License-Identifier: MIT
# mode=cow,layer=DIR: what was changed is there the next time, after a clean end and after kill -9.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # the shells of the checks expand them
. "$(dirname "$0")/lib.sh"

new_backing
export LAYER=$WORK/layer
mkdir -p "$BACKING/dir/sub" "$BACKING/gone"
seq 20000 >"$BACKING/numbers"
echo text >"$BACKING/text"
touch "$BACKING/torn-lazy" "$BACKING/torn-never"
ln "$BACKING/text" "$BACKING/hard"
echo deep >"$BACKING/dir/sub/deep"
truncate -s 64M "$BACKING/big"
cp -a "$BACKING" "$NATIVE/copy"
mnt=$(mktemp -d "$WORK/mnt.XXXXXX")

cat >"$WORK/tree.py" <<'PY'
import hashlib, os, sys
for folder, names, files in os.walk(sys.argv[1]):
    names.sort()
    for name in sorted(names + files):
        path = folder + "/" + name
        info = os.lstat(path)
        content = ""
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
        print(path[len(sys.argv[1]):], info.st_ino, oct(info.st_mode), info.st_nlink, info.st_uid, info.st_gid,
              info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_blocks, content,
              sorted((n, os.getxattr(path, n)) for n in os.listxattr(path)) if not os.path.islink(path) else
              os.readlink(path))
PY

mount_layer() {
	start_mount_at "$BACKING" "$mnt" "mode=cow,layer=$LAYER${1:+,$1}"
}

mount_layer
check 'a layer is changed in every way' py <<'PY'
fd = os.open(MNT + "/numbers", os.O_RDWR)
os.pwrite(fd, b"changed", 50000)
os.ftruncate(fd, 90001)
os.ftruncate(fd, 120000)
fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 8192, 8192)
big = os.open(MNT + "/big", os.O_RDWR)
for page in range(0, 4000, 2):
    os.pwrite(big, b"%d" % page, page * 4096)
write_file(MNT + "/new", b"new" * 10000)
os.truncate(MNT + "/new", 5001)
os.rename(MNT + "/dir", MNT + "/moved")
os.rmdir(MNT + "/gone")
os.mkdir(MNT + "/gone")
write_file(MNT + "/gone/inside", b"inside")
os.link(MNT + "/new", MNT + "/moved/link")
os.chmod(MNT + "/hard", 0o4711)
os.chown(MNT + "/moved/sub/deep", 12, 34)
os.setxattr(MNT + "/text", "user.a", b"\0b")
os.symlink("target", MNT + "/sym")
os.mknod(MNT + "/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
os.utime(MNT + "/sym", ns=(5, 7), follow_symlinks=False)
os.mkdir(os.fsencode(MNT) + b"/\xff\n")
write_file(MNT + "/removed", b"x" * 50000)
os.unlink(MNT + "/removed")
PY
python3 "$WORK/tree.py" "$MNT" >"$WORK/before"
same_tree() {
	python3 "$WORK/tree.py" "$MNT" | diff "$WORK/before" - | cut -c1-300
	python3 "$WORK/tree.py" "$MNT" | cmp "$WORK/before" -
}
check 'a layer in use is refused to others, and says by whom' bash -c '
	! "$MEMMAPFS_BIN" "$BACKING" "$WORK" -o "mode=cow,layer=$LAYER" 2>"$WORK/said"
	cat "$WORK/said"
	grep -q "layer .$LAYER. is in use by process $DAEMON, mounted on .$MNT." "$WORK/said"'
stop_mount
check 'BACKING has none of it' diff -r "$BACKING" "$NATIVE/copy"
check 'the page files of what was removed are gone' bash -c '
	test "$(ls "$LAYER/pages" | wc -l)" -eq 4'

mount_layer
check 'after a remount everything is as it was: bytes, names, attributes, inode numbers' same_tree
check 'and can be changed on' py <<'PY'
with open(MNT + "/new", "ab") as file:
    file.write(b"end")
equal(read_file(MNT + "/moved/link")[-5:], b"ewend")
os.rename(MNT + "/moved", MNT + "/dir")
equal(read_file(MNT + "/dir/sub/deep"), b"deep\n")
PY
python3 "$WORK/tree.py" "$MNT" >"$WORK/before"
stop_mount
mount_layer
check 'which the next mount shows as well' same_tree

check 'what was fsynced survives kill -9 of the daemon at once' py <<'PY'
fd = os.open(MNT + "/synced", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"s" * 30000, 0)
os.fsync(fd)
big = os.open(MNT + "/big", os.O_RDWR)
os.pwrite(big, b"B" * 4096, 4096 * 5001)
os.fsync(big)
os.rename(MNT + "/synced", MNT + "/final")
dir = os.open(MNT, os.O_RDONLY)
os.fsync(dir)
os.pwrite(fd, b"not synced", 100000)
write_file(MNT + "/unsynced", b"u" * 5000)
PY
crash_daemon
mount_layer
check 'the layer opens after that, with all of it and nothing torn' py <<'PY'
got = read_file(MNT + "/final")
equal(got[:30000], b"s" * 30000)
equal(len(got) in (30000, 100010), True)
equal(os.path.exists(MNT + "/synced"), False)
fd = os.open(MNT + "/big", os.O_RDWR)
equal(os.pread(fd, 4096, 4096 * 5001), b"B" * 4096)
equal(os.pread(fd, 4, 4096 * 3998), b"3998")
if os.path.exists(MNT + "/unsynced"):
    equal(read_file(MNT + "/unsynced") in (b"", b"u" * 5000), True)
PY
stop_mount

# As /proc/PID/syscall has it
case $(uname -m) in
x86_64) export FDATASYNC=75 ;;
*) export FDATASYNC=83 ;;
esac
if command -v strace >/dev/null && ! sanitized; then
	mkdir "$NATIVE/committed"
	echo leased >"$NATIVE/committed/leased"
	backing=$BACKING
	start_mount_at "$NATIVE/committed" "$mnt" "mode=cow,layer=$WORK/committed,sync=never"
	check 'an fsync while a commit saves the same file returns when the record is there, and not before' py <<'PY'
import shutil, threading
WORK, DAEMON = os.environ["WORK"], os.environ["DAEMON"]
tasks = "/proc/%s/task" % DAEMON
fd = os.open(MNT + "/twice", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"1" * 5000, 0)
os.fsync(fd)
name, = os.listdir(WORK + "/committed/pages")
tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", WORK + "/trace", "-P", WORK + "/committed/pages/" + name,
                           "-e", "inject=fdatasync:delay_enter=2500ms", "-p", DAEMON])
def of_tasks(file):
    return [read_file("%s/%s/%s" % (tasks, task, file)).decode() for task in os.listdir(tasks)]
wait_until(20, lambda: not any("TracerPid:\t0\n" in status for status in of_tasks("status")))

# The commit may not stop the mount, and so not go on to change the record, while somebody is served: that is who
# opens a file of BACKING that is leased to us.
asked = []
signal.signal(signal.SIGIO, lambda *_: asked.append(True))
lease = os.open(BACKING + "/leased", os.O_RDWR)
fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_WRLCK)
reader = threading.Thread(target=read_file, args=(MNT + "/leased",))
reader.start()
wait_until(20, lambda: asked)

os.pwrite(fd, b"2" * 9000, 0)
commit = subprocess.Popen([os.path.dirname(os.environ["MEMMAPFS_BIN"]) + "/memmapfsctl", "layer", "commit", MNT])
wait_until(20, lambda: any(call.split()[0] == os.environ["FDATASYNC"] for call in of_tasks("syscall")))
os.fsync(fd)
# As a crash at this moment leaves it
shutil.copytree(WORK + "/committed", WORK + "/moment")
os.close(lease)
reader.join()
equal(commit.wait(), 0)
tracer.terminate()
tracer.wait()
PY
	stop_mount
	BACKING=$backing
	check 'the record has what was written' test "$(sqlite3 "$WORK/moment/layer.db" \
		'SELECT max(size) FROM nodes WHERE origin_ino IS NULL')" = 9000
	rm -r "$WORK/moment"
else
	skip_check 'an fsync while another saves the same file' 'strace is missing, or disturbs the sanitizer'
fi

mount_layer sync_interval=100ms
check 'what is older than sync_interval survives kill -9 without a sync' py <<'PY'
write_file(MNT + "/ticked", b"t" * 9000)
os.chmod(MNT + "/text", 0o601)
os.mkdir(MNT + "/tickdir")
time.sleep(1)
PY
crash_daemon
mount_layer
check 'bytes, names and modes' py <<'PY'
equal(read_file(MNT + "/ticked"), b"t" * 9000)
equal(oct(os.stat(MNT + "/text").st_mode), "0o100601")
equal(os.path.isdir(MNT + "/tickdir"), True)
PY
stop_mount

for mode in immediate lazy never; do
	mount_layer "sync=$mode"
	export mode
	check "sync=$mode keeps what it promises" py <<'PY'
mode = os.environ["mode"]
fd = os.open(MNT + "/" + mode, os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"m" * 5000, 0)
if mode == "never":
    os.fsync(fd)
os.close(fd) if mode == "lazy" else None
PY
	crash_daemon
	mount_layer
	check "sync=$mode: it is there after kill -9" py <<'PY'
equal(read_file(MNT + "/" + os.environ["mode"]), b"m" * 5000)
PY
	stop_mount
done

mount_layer sync=never
check 'sync=never: a clean end takes everything along' py <<'PY'
write_file(MNT + "/last", b"l" * 70000)
PY
stop_mount
mount_layer
check 'sync=never: all of it' py <<'PY'
equal(read_file(MNT + "/last"), b"l" * 70000)
PY
stop_mount

for mode in lazy never; do
	export mode
	mount_layer "sync=$mode"
	check "sync=$mode: what was written to a file that is open when the mount is torn away is saved" py <<'PY'
fd = os.open(MNT + "/torn-" + os.environ["mode"], os.O_RDWR)
os.pwrite(fd, b"o" * 50000, 0)
os.fsync(fd)
os.pwrite(fd, b"p" * 50000, 50000)
# Aborts the connection: nobody tells the daemon to close the file.
subprocess.check_call(["umount", "-f", "-l", MNT])
wait_until(10, lambda: not os.path.exists("/proc/%s/exe" % os.environ["DAEMON"]))
PY
	daemon_ends 20
	mount_layer
	check "sync=$mode: all of it" py <<'PY'
equal(read_file(MNT + "/torn-" + os.environ["mode"]), b"o" * 50000 + b"p" * 50000)
PY
	stop_mount
done

mount_layer idle=300ms:unmap
check 'idle=: the windows of a page file go as well, and come again' py <<'PY'
fd = os.open(MNT + "/mixed", os.O_RDWR | os.O_CREAT)
for page in range(0, 64, 2):
    os.pwrite(fd, b"%08d" % page, page * PAGE)
def is_mapped():
    return os.environ["WORK"] + "/layer/pages/" in read_file("/proc/%s/maps" % os.environ["DAEMON"]).decode()
def read_through_windows():
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    data = os.pread(fd, 64 * PAGE, 0)
    equal([data[page * PAGE:page * PAGE + 8] for page in (0, 1, 62)], [b"00000000", bytes(8), b"00000062"])
    return is_mapped()
for _ in range(2):
    wait_until(20, read_through_windows)
    wait_until(20, lambda: not is_mapped())
PY
stop_mount

# What the layer says it has, against what its files have, each by its record.
totals_are_right() {
	local sum
	sum=$("${MEMMAPFS_BIN%/*}/memmapfsctl" layer status --json "$MNT" |
		python3 -c 'import json, sys; print(json.load(sys.stdin)["totals"]["bytes"])')
	[ "$sum" -gt 8000000 ] && [ "$(statistic layer.bytes)" = "$sum" ]
}

strays() {
	sqlite3 "$1/layer.db" "SELECT printf('%x', id) FROM nodes" | sort >"$WORK/records"
	find "$1/pages" -type f -printf '%f\n' | sort | comm -13 "$WORK/records" - >"$WORK/strays"
	wc -l <"$WORK/strays"
}

mount_layer
check 'a clean remount has the totals that the files add up to' totals_are_right
stop_mount
mount_layer sync=never
exec 9<>"$MNT/nameless"
seq 20000 >&9
check 'files are written, synced, removed while they are open, and left to a crash' py <<'PY'
write_file(MNT + "/counted", b"c" * 100000)
os.truncate(MNT + "/last", 5000)
os.unlink(MNT + "/nameless")
subprocess.check_call(["sync", MNT + "/counted", MNT + "/last"])
for number in range(50):
    write_file(MNT + "/stray-%d" % number, b"s" * 126976)
PY
crash_daemon
exec 9>&-
check 'the crash leaves page files without a record' bash -c '
	cp -r "$LAYER" "$WORK/crashed"
	'"$(declare -f strays)"'
	test "$(strays "$WORK/crashed")" -ge 50
	test "$(find "$WORK/crashed/pages" -size 126976c | wc -l)" = 50'
# Those that stay: with a record, but for the one of the file without a name
left=$(($(find "$WORK/crashed/pages" -type f | wc -l) - $(strays "$WORK/crashed") - 1))
rm -rf "$WORK/crashed"
export left
# Of ids that are given out again at once, and of others
(cd "$LAYER/pages" && seq 2000 | sed 's/^/f0000000/' | xargs touch)
mount_layer
check 'after it the totals are those of the files' totals_are_right
check 'page files without a record go while the mount serves, and none of a new file' py <<'PY'
LAYER = os.environ["LAYER"]
for number in range(100):
    write_file(MNT + "/fresh-%d" % number, b"%d" % number)
wait_until(20, lambda: len(os.listdir(LAYER + "/pages")) == int(os.environ["left"]) + 100)
PY
stop_mount
check 'all of them, also those whose ids were given out again' bash -c '
	'"$(declare -f strays)"'
	test "$(strays "$LAYER")" = 0 || { head "$WORK/strays"; exit 1; }
	test -z "$(find "$LAYER/pages" -size 126976c)"'
mount_layer
check 'the new files are whole' py <<'PY'
for number in range(100):
    equal(read_file(MNT + "/fresh-%d" % number), b"%d" % number)
PY
check 'and the totals as well' totals_are_right
stop_mount
check 'and nobody looks again' test "$(sqlite3 "$LAYER/layer.db" "SELECT value FROM facts WHERE name='clean'")" = 1

check 'a layer of another BACKING, of another format, or none at all is refused by name' bash -ec '
	refused() {
		if timeout 10 "$MEMMAPFS_BIN" "$1" "$WORK/mnt."* -o "mode=cow,layer=$2" 2>"$WORK/said"; then exit 1; fi
		grep -q "$3" "$WORK/said" || { cat "$WORK/said"; exit 1; }
	}
	refused "$NATIVE/copy" "$LAYER" "belongs to another directory, which was .$BACKING."
	refused "$BACKING" "$NATIVE/copy" "is no layer"
	refused "$BACKING" "$BACKING/dir" "lies in BACKING"
	refused "$BACKING" "$WORK/none/at/all" "cannot make layer"
	cp -r "$LAYER" "$WORK/later"
	sqlite3 "$WORK/later/layer.db" "PRAGMA user_version=7"
	refused "$BACKING" "$WORK/later" "has format 7, and this program knows format 2"
	mkdir "$WORK/damaged"
	head -c 5000 /dev/urandom >"$WORK/damaged/layer.db"
	refused "$BACKING" "$WORK/damaged" "not a layer.s database, or is damaged"
	rmdir "$BACKING/dir/pages" 2>/dev/null || true
	test ! -e "$BACKING/dir/lock"'

if image ext4 16M; then
	LAYER=$IMAGE/layer
	mount_layer
	check 'a full disk below the layer is ENOSPC to who writes, and loses nothing that was there' py <<'PY'
write_file(MNT + "/kept", b"k" * 100000)
os.sync()
fd = os.open(MNT + "/fill", os.O_RDWR | os.O_CREAT)
at = 0
with raises(ENOSPC):
    while True:
        at += os.pwrite(fd, b"f" * 65536, at)
equal(at > 4 * MIB, True)
equal(read_file(MNT + "/kept"), b"k" * 100000)
os.close(fd)
os.unlink(MNT + "/fill")
equal(os.path.exists(MNT + "/fill"), False)
PY
	expect_stderr 'No space left on device'
	stop_mount
	mount_layer
	check 'and the layer opens again' py <<'PY'
equal(read_file(MNT + "/kept"), b"k" * 100000)
PY
	stop_mount
	drop_image
fi
