#!/bin/bash
# SPDX-License-Identifier: MIT
# mode=ro and ro: everything can be read, every change is refused with EROFS.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

new_backing
py <<'PY'
os.chmod(BACKING, 0o777)
write_file(BACKING + "/file", bytes(range(256)) * 400, 0o666)
write_file(BACKING + "/program", b"#!/bin/sh\necho it runs\n", 0o755)
os.makedirs(BACKING + "/dir/sub")
os.mkdir(BACKING + "/empty")
os.symlink("file", BACKING + "/sym")
os.mkfifo(BACKING + "/fifo")
with contextlib.suppress(OSError):
    os.setxattr(BACKING + "/file", "user.a", b"v")
PY

snapshot() {
	find "$BACKING" -printf '%P %y %m %U %G %s %T@ %C@ %n %l\n' | sort
	sha256sum "$BACKING/file" "$BACKING/program"
}
snapshot >"$WORK/before"

backing=$BACKING
native=$NATIVE
for options in mode=ro ro mode=rw,ro mode=ro,cache=none mode=ro,cache=always; do
	mkdir -p "$WORK/ro"
	start_mount_at "$backing" "$WORK/ro" "$options"
	NATIVE=$native

	check "$options: every change is refused with EROFS, also where BACKING would refuse nothing" py <<'PY'
file, d = MNT + "/file", MNT
reading = os.open(file, os.O_RDONLY)
changes = {
    "create": lambda: os.open(d + "/new", os.O_CREAT | os.O_WRONLY),
    "create for reading": lambda: os.open(d + "/new", os.O_CREAT | os.O_RDONLY),
    "open for writing": lambda: os.open(file, os.O_WRONLY),
    "open for reading and writing": lambda: os.open(file, os.O_RDWR),
    "open for appending": lambda: os.open(file, os.O_WRONLY | os.O_APPEND),
    "open with O_TRUNC": lambda: os.open(file, os.O_RDONLY | os.O_TRUNC),
    "O_TMPFILE": lambda: os.open(d, os.O_TMPFILE | os.O_RDWR),
    "truncate": lambda: os.truncate(file, 5),
    "truncate to the same size": lambda: os.truncate(file, 102400),
    "chmod": lambda: os.chmod(file, 0o600),
    "fchmod": lambda: os.fchmod(reading, 0o600),
    "chown": lambda: os.chown(file, 1, 1),
    "lchown": lambda: os.chown(d + "/sym", 1, 1, follow_symlinks=False),
    "utimens": lambda: os.utime(file, ns=(1, 1)),
    "futimens": lambda: os.utime(reading),
    "setxattr": lambda: os.setxattr(file, "user.b", b"x"),
    "removexattr": lambda: os.removexattr(file, "user.a"),
    "mkdir": lambda: os.mkdir(d + "/new"),
    "mkdir below": lambda: os.mkdir(d + "/dir/new"),
    "rmdir": lambda: os.rmdir(d + "/empty"),
    "unlink": lambda: os.unlink(file),
    "unlink of a link": lambda: os.unlink(d + "/sym"),
    "rename": lambda: os.rename(file, d + "/new"),
    "rename over": lambda: os.rename(file, d + "/program"),
    "exchange": lambda: renameat2(file, d + "/program", RENAME_EXCHANGE),
    "rename without replacing": lambda: renameat2(file, d + "/new", RENAME_NOREPLACE),
    "link": lambda: os.link(file, d + "/new"),
    "symlink": lambda: os.symlink("x", d + "/new"),
    "mknod": lambda: os.mknod(d + "/new", stat.S_IFREG | 0o600),
    "mkfifo": lambda: os.mkfifo(d + "/new"),
    "chattr": lambda: set_flags(file, get_flags(BACKING + "/file") | FS_APPEND_FL),
}
problems = []
for name, change in changes.items():
    said = outcome(change)
    if said != "EROFS":
        problems.append("%s: %s" % (name, said))
for name in ("file", "dir", "."):
    if os.access(MNT + "/" + name, os.W_OK):
        problems.append("access(2) says that %s may be written" % name)
equal(problems, [])
def user():
    return [outcome(os.open, file, os.O_WRONLY), outcome(os.mkdir, d + "/new")]
equal(as_user(12345, user), ["EROFS", "EROFS"])
PY

	check "$options: everything can be read" py <<'PY'
content = bytes(range(256)) * 400
equal(read_file(MNT + "/file"), content)
with open(MNT + "/file", "rb") as file:
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        equal(view[:] == content, True, "shared mapping")
    with mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as view:
        view[0:4] = b"mine"
        equal(view[0:4], b"mine", "private mapping")
    with raises(EACCES):
        mmap.mmap(file.fileno(), 0)
    with raises(EBADF):
        os.pwrite(file.fileno(), b"x", 0)
    fcntl.flock(file, fcntl.LOCK_EX)
    equal(os.lseek(file.fileno(), 0, os.SEEK_HOLE), len(content))
equal(subprocess.check_output([MNT + "/program"]), b"it runs\n")
equal(sorted(os.listdir(MNT)), sorted(os.listdir(BACKING)))
equal(os.readlink(MNT + "/sym"), "file")
equal(outcome(os.getxattr, MNT + "/file", "user.a"), outcome(os.getxattr, BACKING + "/file", "user.a"))
os.statvfs(MNT)
fd = os.open(MNT + "/file", os.O_CREAT | os.O_RDONLY)
os.fsync(fd)
with raises(EEXIST, EROFS):
    os.open(MNT + "/file", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
# A fifo is no part of the file system's data.
fifo = os.open(MNT + "/fifo", os.O_RDWR | os.O_NONBLOCK)
os.write(fifo, b"through")
equal(os.read(fifo, 10), b"through")
PY
	stop_mount
done

nothing_changed() {
	snapshot | diff -u "$WORK/before" -
}
check 'nothing in BACKING has changed' nothing_changed

start_mount_at "$backing" "$WORK/ro" mode=ro
check 'what others change in BACKING is seen' py <<'PY'
equal(os.path.exists(MNT + "/made-behind"), False)
write_file(BACKING + "/made-behind", b"1" * 5000)
wait_until(5, lambda: os.path.exists(MNT + "/made-behind"))
equal(read_file(MNT + "/made-behind"), b"1" * 5000)
write_file(BACKING + "/made-behind", b"2" * 6000)
wait_until(5, lambda: read_file(MNT + "/made-behind") == b"2" * 6000)
PY
