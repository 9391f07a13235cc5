#!/bin/bash
# SPDX-License-Identifier: MIT
# mode=cow: everything can be done on the mount, as on a native file system, and BACKING stays as it is.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # the shells of the checks expand them
. "$(dirname "$0")/lib.sh"

# Two trees that are alike: one is changed natively, the other on the mount.
new_backing
populate() {
	mkdir -p "$1/dir/sub/deep" "$1/empty" "$1/gone" "$1/shared"
	echo text >"$1/text"
	ln "$1/text" "$1/dir/hard"
	ln -s ../text "$1/dir/sym"
	mkfifo "$1/dir/fifo"
	seq 20000 >"$1/numbers"
	truncate -s 1G "$1/sparse"
	printf data | dd of="$1/sparse" bs=1 seek=500000000 conv=notrunc status=none
	for i in $(seq 40); do echo "$i" >"$1/dir/sub/$i"; done
	echo old >"$1/gone/file"
	setfattr -n user.kept -v value "$1/text"
	setfacl -m u:4711:rw "$1/numbers"
	setfacl -d -m u:4711:rwx "$1/shared"
	chmod 2775 "$1/shared"
	chmod 4755 "$1/dir/sub/1"
	chown 1234:5678 "$1/dir/sub/2"
	touch -d '2001-02-03 04:05:06.789' "$1/dir/sub"/* "$1/dir" "$1/text"
	touch -h -d '2001-02-03 04:05:06.789' "$1/dir/sym"
	touch -a -d '2000-01-01' "$1/text" "$1/numbers" "$1/dir" "$1/dir/sub"
	touch -h -a -d '2000-01-01' "$1/dir/sym"
}
populate "$BACKING"
populate "$NATIVE"

# To look at BACKING without leaving a trace of that
mkdir "$WORK/view"
mount --bind "$BACKING" "$WORK/view"
images+=("$WORK/view")
mount -o remount,bind,noatime "$WORK/view"
export VIEW=$WORK/view
python3 "$TESTS/untouched.py" "$BACKING" >"$WORK/before"

backing_is_untouched() {
	python3 "$TESTS/untouched.py" "$BACKING" >"$WORK/after"
	diff "$WORK/before" "$WORK/after" | cut -c1-300
	cmp "$WORK/before" "$WORK/after"
}

start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" mode=cow

check 'what is read on the mount is what BACKING has, hard links and inode numbers included' py <<'PY'
VIEW = os.environ["VIEW"]
for folder, names, files in os.walk(VIEW):
    mounted = folder.replace(VIEW, MNT, 1)
    equal(sorted(os.listdir(mounted)), sorted(names + files))
    for name in names + files:
        a, b = os.lstat(folder + "/" + name), os.lstat(mounted + "/" + name)
        for field in "st_mode st_ino st_nlink st_uid st_gid st_size st_mtime_ns st_ctime_ns st_blocks".split():
            equal(getattr(b, field), getattr(a, field), name + " " + field)
equal(os.readlink(MNT + "/dir/sym"), "../text")
equal(read_file(MNT + "/dir/sym"), b"text\n")
equal(os.getxattr(MNT + "/text", "user.kept"), b"value")
PY
check 'reading leaves no trace in BACKING, not even access times' backing_is_untouched

check 'a tree changed on the mount ends as one changed natively, and errors are the same' py <<'PY'
os.umask(0o027)
def steps(d):
    answers = []
    def do(function, *args, **kwargs):
        answers.append(outcome(function, *args, **kwargs))
    fd = os.open(d + "/numbers", os.O_RDWR)
    do(os.pwrite, fd, b"X" * 5, 4094)
    do(os.ftruncate, fd, 50001)
    do(os.ftruncate, fd, 200000)
    do(os.pwrite, fd, b"tail", 150000)
    do(fallocate, fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 5000, 20000)
    do(fallocate, fd, FALLOC_ZERO_RANGE, 30000, 300)
    do(os.pread, fd, 300000, 0)
    do(os.lseek, fd, 0, os.SEEK_HOLE)
    os.close(fd)
    do(os.truncate, d + "/text", 2)
    do(read_file, d + "/dir/hard")
    append = os.open(d + "/text", os.O_WRONLY | os.O_APPEND)
    do(os.write, append, b"end")
    os.close(append)
    do(read_file, d + "/dir/hard")
    do(os.mkdir, d + "/dir")
    do(os.rmdir, d + "/dir")
    do(os.rmdir, d + "/empty")
    do(os.mkdir, d + "/empty")
    do(os.unlink, d + "/gone/file")
    do(os.rmdir, d + "/gone")
    do(os.mkdir, d + "/gone")
    do(os.listdir, d + "/gone")
    do(os.unlink, d + "/gone/file")
    do(os.rename, d + "/dir/sub", d + "/moved")
    do(lambda: sorted(os.listdir(d + "/moved")))
    do(read_file, d + "/moved/7")
    do(os.unlink, d + "/moved/7")
    write_file(d + "/moved/new", b"new")
    do(os.rename, d + "/moved", d + "/dir/sub")
    do(lambda: sorted(os.listdir(d + "/dir/sub")))
    do(os.rename, d + "/dir", d + "/dir/sub/deep/x")
    do(renameat2, d + "/text", d + "/numbers", RENAME_NOREPLACE)
    do(renameat2, d + "/dir/sub", d + "/numbers", RENAME_EXCHANGE)
    do(lambda: sorted(os.listdir(d + "/numbers")))
    do(renameat2, d + "/dir/sub", d + "/numbers", RENAME_EXCHANGE)
    do(os.rename, d + "/dir/hard", d + "/text")
    do(os.rename, d + "/dir/sub/3", d + "/dir/sub/4")
    do(read_file, d + "/dir/sub/4")
    do(os.link, d + "/dir/sub/5", d + "/five")
    do(lambda: os.stat(d + "/dir/sub/5").st_nlink)
    do(os.unlink, d + "/dir/sub/5")
    do(lambda: os.stat(d + "/five").st_nlink)
    do(os.chmod, d + "/dir/sub/6", 0o4711)
    do(os.chown, d + "/dir/sub/1", 77, -1)
    do(lambda: oct(os.stat(d + "/dir/sub/1").st_mode))
    do(os.chmod, d + "/numbers", 0o640)
    do(os.getxattr, d + "/numbers", "system.posix_acl_access")
    do(os.setxattr, d + "/text", "user.new", b"\0bytes")
    do(os.setxattr, d + "/text", "user.kept", b"x", os.XATTR_CREATE)
    do(os.setxattr, d + "/text", "user.none", b"x", os.XATTR_REPLACE)
    do(os.removexattr, d + "/text", "user.kept")
    do(os.removexattr, d + "/text", "user.kept")
    do(os.setxattr, d + "/text", "odd.name", b"")
    do(lambda: sorted(os.listxattr(d + "/text")))
    write_file(d + "/shared/file", b"")
    os.mkdir(d + "/shared/dir", 0o750)
    for name in ("file", "dir"):
        do(lambda: sorted((n, os.getxattr(d + "/shared/" + name, n)) for n in os.listxattr(d + "/shared/" + name)))
        do(lambda: oct(os.stat(d + "/shared/" + name).st_mode))
    os.mkfifo(d + "/fifo", 0o622)
    os.mknod(d + "/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.symlink("x" * 4000, d + "/long")
    do(os.readlink, d + "/long")
    do(lambda: oct(os.stat(d + "/fifo").st_mode))
    do(lambda: os.stat(d + "/null").st_rdev)
    do(os.mkdir, d + "/" + "n" * 256)
    do(os.mkdir, d + "/" + "n" * 255)
    do(os.mkdir, os.fsencode(d) + b"/\xff\n ")
    do(os.utime, d + "/text", ns=(-1500000000, 8000000000 * 10**9 + 7))
    do(lambda: (os.stat(d + "/text").st_atime_ns, os.stat(d + "/text").st_mtime_ns))
    fd = os.open(d, os.O_RDWR | os.O_TMPFILE, 0o600)
    os.write(fd, b"nameless")
    do(lambda: os.fstat(fd).st_nlink)
    link_fd(fd, d + "/named")
    do(read_file, d + "/named")
    fd = os.open(d + "/dir/sub/9", os.O_RDWR)
    do(os.unlink, d + "/dir/sub/9")
    do(lambda: os.fstat(fd).st_nlink)
    do(os.pwrite, fd, b"still", 1)
    do(os.pread, fd, 100, 0)
    do(os.open, d + "/dir/sub/9", os.O_RDONLY)
    tree = []
    for folder, names, files in os.walk(d):
        names.sort()
        for name in sorted(names + files):
            info = os.lstat(folder + "/" + name)
            tree.append((folder[len(d):] + "/" + name, oct(info.st_mode), info.st_nlink, info.st_uid,
                         info.st_gid, 0 if stat.S_ISDIR(info.st_mode) else info.st_size))
    return answers, tree
native, mounted = steps(NATIVE), steps(MNT)
for step, (left, right) in enumerate(zip(native[0], mounted[0])):
    equal(right, left, "step %d" % step)
equal(mounted[1], native[1])
PY
check 'all of that left BACKING as it was' backing_is_untouched

check 'a mapping of the mount, its handles and its other names show the same bytes' py <<'PY'
path = MNT + "/dir/sub/10"
os.truncate(path, 20000)
os.link(path, MNT + "/ten")
fd, other = os.open(path, os.O_RDWR), os.open(MNT + "/ten", os.O_RDWR)
with mmap.mmap(fd, 20000) as one, mmap.mmap(other, 20000) as two:
    one[5000:5005] = b"store"
    equal(two[5000:5005], b"store")
    one.flush()
    equal(os.pread(other, 5, 5000), b"store")
    os.pwrite(other, b"write", 12000)
    equal(one[12000:12005], b"write")
direct = os.open(path, os.O_RDWR | os.O_DIRECT)
equal(os.pwrite(direct, b"direct", 7), 6)
equal(os.pread(fd, 6, 7), b"direct")
PY

check 'a page is copied when it is written, and no other' py <<'PY'
before = statistics()["layer"]["bytes"]
fd = os.open(MNT + "/sparse", os.O_RDWR)
os.pwrite(fd, b"x", 500001000)
os.pwrite(fd, b"y", 500000999)
os.pwrite(fd, b"z" * 8192, 4096 * 1000)
equal(statistics()["layer"]["bytes"] - before, 3 * 4096)
equal(os.pread(fd, 1004, 500000000), b"data" + bytes(995) + b"yx" + bytes(3))
equal(os.fstat(fd).st_size, 1 << 30)
os.ftruncate(fd, 4096 * 1000)
equal(statistics()["layer"]["bytes"], before)
os.ftruncate(fd, 1 << 30)
equal(os.pread(fd, 100, 500000000), bytes(100))
equal(os.pread(fd, 100, 4096 * 1000), bytes(100))
PY

check 'memory past the end of a file, where fallocate(2) put it, goes with a truncation, and none is given that there is not' py <<'PY'
def page_files():
    sizes = {}  # several descriptors may be of one file
    for name in os.listdir("/proc/%s/fd" % os.environ["DAEMON"]):
        info = os.stat("/proc/%s/fd/%s" % (os.environ["DAEMON"], name))
        if stat.S_ISREG(info.st_mode) and info.st_dev != os.stat(BACKING).st_dev:
            sizes[info.st_dev, info.st_ino] = info.st_blocks * 512
    return sum(sizes.values())
fd = os.open(MNT + "/reserved", os.O_RDWR | os.O_CREAT)
before = page_files()
fallocate(fd, FALLOC_KEEP_SIZE, 0, 16 * MIB)
equal(page_files() - before, 16 * MIB)
os.ftruncate(fd, 0)
equal(page_files() - before, 0)
with raises(ENOSPC):
    fallocate(fd, 0, 0, 1 << 42)
equal((os.fstat(fd).st_size, page_files() - before), (0, 0))
PY

check 'a change of attributes, names or links copies nothing' py <<'PY'
before = statistics()["layer"]["bytes"]
os.chmod(MNT + "/dir/sub/20", 0o600)
os.rename(MNT + "/dir/sub/20", MNT + "/twenty")
os.link(MNT + "/twenty", MNT + "/vingt")
os.rename(MNT + "/dir", MNT + "/elsewhere")
os.utime(MNT + "/vingt", ns=(1, 2))
equal(statistics()["layer"]["bytes"], before)
equal(read_file(MNT + "/vingt"), b"20\n")
equal(os.stat(MNT + "/vingt").st_ino, os.stat(BACKING + "/dir/sub/20").st_ino)
equal(os.stat(MNT + "/elsewhere").st_ino, os.stat(BACKING + "/dir").st_ino)
os.rename(MNT + "/elsewhere", MNT + "/dir")
PY

check 'a listing has every lasting entry once while others come and go' py <<'PY'
for i in range(3000):
    write_file(MNT + "/empty/lasting-%d" % i, b"")
fd = os.open(MNT + "/empty", os.O_RDONLY | os.O_DIRECTORY)
seen, count = [], 0
with os.scandir(fd) as entries:
    for entry in entries:
        seen.append(entry.name)
        count += 1
        if count % 3 == 0:
            write_file(MNT + "/empty/coming-%d" % count, b"")
        if count % 5 == 0:
            os.unlink(MNT + "/empty/" + seen[-1])
lasting = [name for name in seen if name.startswith("lasting")]
equal(len(lasting), 3000)
equal(len(set(lasting)), 3000)
PY

check 'a directory may be read from any offset, and shows nothing but its names' py <<'PY'
fd = os.open(MNT + "/dir", os.O_RDONLY | os.O_DIRECTORY)
names = set(os.listdir(MNT + "/dir")) | {".", ".."}
equal(len(names) > 2, True)
for offset in [*range(600), 4095, 4096, 1 << 20, (1 << 63) - 1]:
    os.lseek(fd, offset, os.SEEK_SET)
    with os.scandir(fd) as entries:
        equal({entry.name for entry in entries} <= names, True, "offset %d" % offset)
os.lseek(fd, 0, os.SEEK_SET)
equal(set(os.listdir(fd)) | {".", ".."}, names)
PY

check 'what a renaming leaves as a whiteout is of the caller, and an ACL may follow any name' py <<'PY'
os.mkdir(MNT + "/shared/open")
os.chown(MNT + "/shared/open", 4711, -1)
write_file(MNT + "/shared/open/old", b"")
def move():
    renameat2(MNT + "/shared/open/old", MNT + "/shared/open/new", RENAME_WHITEOUT)
os.seteuid(4711)
try:
    move()
finally:
    os.seteuid(0)
info = os.stat(MNT + "/shared/open/old")
equal((oct(info.st_mode), info.st_rdev, info.st_uid), ("0o20000", 0, 4711))
acl = os.getxattr(MNT + "/shared", "system.posix_acl_default")
os.setxattr(MNT + "/shared/open", "system.posix_acl_default", acl)
equal(os.getxattr(MNT + "/shared/open", "system.posix_acl_default"), acl)
PY

check 'set-id bits go or stay by all groups of the caller, and with a chown(2) of nobody to nobody' py <<'PY'
from steps import set_id_steps
on_both(set_id_steps)
PY

check 'removing an ACL that is not there changes nothing' py <<'PY'
def steps(d):
    write_file(d + "/plain", b"x")
    os.mkdir(d + "/plain-dir")
    answers = []
    for path, name in (("/plain", "access"), ("/plain", "default"), ("/plain-dir", "access"), ("/plain-dir", "default")):
        before = os.stat(d + path).st_ctime_ns
        time.sleep(0.02)
        for remove in (lambda: os.removexattr(d + path, "system.posix_acl_" + name),
                       lambda: os.setxattr(d + path, "system.posix_acl_" + name, struct.pack("<I", 2))):
            answers.append((path, name, outcome(remove), os.stat(d + path).st_ctime_ns == before))
    acl = struct.pack("<IHHIHHIHHIHHIHHI", 2, 1, 6, 0xFFFFFFFF, 2, 4, 4711, 4, 4, 0xFFFFFFFF, 16, 4, 0xFFFFFFFF, 32, 4, 0xFFFFFFFF)
    os.setxattr(d + "/plain", "system.posix_acl_access", acl)
    before = os.stat(d + "/plain").st_ctime_ns
    time.sleep(0.02)
    os.removexattr(d + "/plain", "system.posix_acl_access")
    answers.append((os.stat(d + "/plain").st_ctime_ns != before, os.listxattr(d + "/plain")))
    return answers
answers = on_both(steps)
equal(all(answer[3] for answer in answers[:8]), True)
PY

check 'a write takes a capability away, a store through a mapping does not' py <<'PY'
def steps(d):
    answers = []
    for name in ("own", "sym"):
        path = d + "/caps-" + name
        write_file(path, b"x" * 8192)
        os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
        fd = os.open(path, os.O_RDWR)
        with mmap.mmap(fd, 8192) as mapped:
            mapped[5] = 66
            mapped.flush()
        os.fsync(fd)
        answers.append("security.capability" in os.listxattr(path))
        os.pwrite(fd, b"y", 0)
        answers.append("security.capability" in os.listxattr(path))
        os.close(fd)
    return answers
equal(on_both(steps), [True, False] * 2)
PY

check 'the number of ".." is that of the directory above, also after a renaming' py <<'PY'
def dots(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    data, found = getdents64(fd), {}
    os.close(fd)
    for name, ino in data:
        if name in (".", ".."):
            found[name] = ino
    return found
def right(path, above):
    equal(dots(path), {".": os.stat(path).st_ino, "..": os.stat(above).st_ino}, path)
os.makedirs(MNT + "/above/below/deep")
right(MNT, MNT)
right(MNT + "/dir", MNT)
right(MNT + "/dir/sub", MNT + "/dir")
right(MNT + "/above/below", MNT + "/above")
os.rename(MNT + "/above/below", MNT + "/dir/moved")
right(MNT + "/dir/moved", MNT + "/dir")
os.rename(MNT + "/dir/moved", MNT + "/above/below")
right(MNT + "/above/below", MNT + "/above")
PY

check 'git works, and commits the tree' bash -ec '
	cd "$MNT/empty" && git init -q work && cd work && git config user.email a@b && git config user.name a
	cp ../../numbers . && git add . && git commit -qm one && seq 50 >>numbers && git commit -qam two
	git gc -q && git fsck --strict && test -z "$(git status --porcelain)"'
check 'sqlite works in WAL mode and is sound' bash -ec '
	cd "$MNT"
	sqlite3 db "PRAGMA journal_mode=WAL; CREATE TABLE t(a, b);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
		INSERT INTO t SELECT i, hex(randomblob(50)) FROM n; DELETE FROM t WHERE a % 3 = 0; VACUUM;" >/dev/null
	test "$(sqlite3 db "PRAGMA integrity_check; SELECT count(*) FROM t")" = "ok
13334"'
check 'rsync copies into the mount and finds nothing to do afterwards' bash -ec '
	rsync -aHAX "$VIEW/dir" "$MNT/copy/" && test -z "$(rsync -aHAXni "$VIEW/dir" "$MNT/copy/")"'

check 'the kernel keeps locks of this mount, and leaves BACKING alone' py <<'PY'
fd, other = (os.open(MNT + "/text", os.O_RDWR) for _ in range(2))
fcntl.flock(fd, fcntl.LOCK_EX)
with raises(EWOULDBLOCK):
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
behind = os.open(BACKING + "/text", os.O_RDONLY | os.O_NOATIME)
fcntl.flock(behind, fcntl.LOCK_EX | fcntl.LOCK_NB)
PY
check 'after all of it BACKING is as it was' backing_is_untouched

stop_mount
check 'unmounting leaves BACKING as it was' backing_is_untouched
start_mount_at "$BACKING" "$MNT" mode=cow
check 'the next mount shows BACKING, and nothing of what was changed' py <<'PY'
equal(sorted(os.listdir(MNT)), sorted(os.listdir(os.environ["VIEW"])))
equal(read_file(MNT + "/text"), b"text\n")
PY
stop_mount

start_mount_at "$BACKING" "$MNT" mode=cow,ro
check 'a read-only mount refuses changes' py <<'PY'
with raises(EROFS):
    os.mkdir(MNT + "/new")
with raises(EROFS):
    os.open(MNT + "/text", os.O_RDWR)
PY
stop_mount

start_mount_at "$BACKING" "$MNT" mode=cow,layer_max=1M
check 'past layer_max writes get ENOSPC, nothing else breaks, and removing makes room' py <<'PY'
fd = os.open(MNT + "/big", os.O_RDWR | os.O_CREAT)
equal(os.pwrite(fd, b"a" * 900000, 0), 900000)
put = os.pwrite(fd, b"b" * 900000, 900000)
equal(900000 + put, MIB)
with raises(ENOSPC):
    os.pwrite(fd, b"c", MIB + 5)
with raises(ENOSPC):
    os.pwrite(os.open(MNT + "/text", os.O_WRONLY), b"c", 0)
equal(os.pwrite(fd, b"over", 10), 4)
equal(os.pread(fd, 2 * MIB, 0), b"a" * 10 + b"over" + b"a" * 899986 + b"b" * put)
os.mkdir(MNT + "/names")
os.chmod(MNT + "/text", 0o600)
equal(statistics()["faults"]["nospace"], 2)
equal(os.statvfs(MNT).f_bavail, 0)
fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 8192)
equal(os.pwrite(os.open(MNT + "/text", os.O_WRONLY), b"c", 0), 1)
with raises(ENOSPC):
    fallocate(fd, 0, MIB, 65536)
os.close(fd)
os.unlink(MNT + "/big")
wait_until(5, lambda: statistics()["layer"]["bytes"] == 4096)
write_file(MNT + "/big", b"d" * 500000)
PY
check 'a full layer has left BACKING as it was' backing_is_untouched
stop_mount
