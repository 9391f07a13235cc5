#!/bin/bash
# SPDX-License-Identifier: MIT
# Links, renames, unlinked open files, special files, O_TMPFILE.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
start_mount sync=periodic

check 'hard links are one inode whose link count is right at once by every name' py <<'PY'
a, b = MNT + "/a", MNT + "/b"
os.mkdir(MNT + "/dir")
c = MNT + "/dir/c"
write_file(a, b"first")
os.link(a, b)
os.link(b, c)
infos = [os.stat(p) for p in (a, b, c)]
equal({i.st_ino for i in infos}, {infos[0].st_ino}, "inode numbers")
equal([i.st_nlink for i in infos], [3, 3, 3], "link counts")
equal(os.stat(BACKING + "/dir/c").st_nlink, 3, "link count in BACKING")
with open(b, "r+b") as file:
    file.write(b"SECOND")
equal(read_file(a), b"SECOND", "by another name")
equal([os.stat(p).st_size for p in (a, b, c)], [6, 6, 6], "sizes")
os.unlink(b)
equal([os.stat(p).st_nlink for p in (a, c)], [2, 2], "link counts after unlink")
os.rename(c, b)
os.rename(a, b)
equal(os.stat(a).st_nlink, 2, "renaming one link over another does nothing")
os.unlink(a)
equal(os.stat(b).st_nlink, 1)
equal(read_file(b), b"SECOND")
PY

check 'hard links found by different names share one cache' py <<'PY'
write_file(BACKING + "/one", b"x" * 8192)
os.link(BACKING + "/one", BACKING + "/two")
equal(os.stat(MNT + "/one").st_ino, os.stat(MNT + "/two").st_ino, "inode number")
with open(MNT + "/one", "r+b") as one, open(MNT + "/two", "r+b") as two:
    left, right = mmap.mmap(one.fileno(), 0), mmap.mmap(two.fileno(), 0)
    left[4096:4101] = b"hello"
    equal(right[4096:4101], b"hello", "through the other name's mapping")
    os.pwrite(two.fileno(), b"world", 4096)
    equal(left[4096:4101], b"world", "written by the other name")
PY

check 'link and unlink fail as on BACKING' py <<'PY'
def steps(d):
    write_file(d + "/f", b"")
    os.mkdir(d + "/dir")
    os.symlink("f", d + "/sym")
    os.link(d + "/sym", d + "/symlink-linked", follow_symlinks=False)
    return [
        outcome(os.link, d + "/f", d + "/dir"),
        outcome(os.link, d + "/dir", d + "/dir2"),
        outcome(os.link, d + "/none", d + "/x"),
        outcome(os.link, d + "/f", d + "/none/x"),
        outcome(os.link, d + "/f", WORK + "/elsewhere") if d.startswith(MNT) else "EXDEV",
        os.readlink(d + "/symlink-linked"),
        os.lstat(d + "/sym").st_nlink,
    ]
# On the mount, crossing into another file system must say so.
on_both(steps)
PY

check 'symlinks keep their text, whatever it is' py <<'PY'
def steps(d):
    answers = []
    for n, text in enumerate(["x", "/", "../" * 100, "t" * 4095, "new\nline", "ünï", "/proc/self/cwd"]):
        name = "%s/l%d" % (d, n)
        answers.append(outcome(os.symlink, text, name))
        answers.append(outcome(os.readlink, name))
        answers.append(outcome(lambda: os.lstat(name).st_size))
    answers.append(outcome(os.symlink, "", d + "/empty"))
    answers.append(outcome(os.symlink, "x", d + "/l0"))
    os.symlink("loop2", d + "/loop1")
    os.symlink("loop1", d + "/loop2")
    answers.append(outcome(os.stat, d + "/loop1"))
    answers.append(outcome(os.readlink, d))
    write_file(d + "/target", b"seen")
    os.symlink("target", d + "/good")
    answers.append(read_file(d + "/good"))
    answers.append(outcome(os.open, d + "/good", os.O_RDONLY | os.O_NOFOLLOW))
    return answers
on_both(steps)
PY

check 'rename replaces, refuses and moves as on BACKING' py <<'PY'
def steps(d):
    for name in ("a", "b"):
        write_file(d + "/" + name, name.encode())
    os.makedirs(d + "/empty")
    os.makedirs(d + "/full/sub")
    write_file(d + "/full/sub/file", b"deep")
    answers = [
        outcome(os.rename, d + "/a", d + "/b"),
        read_file(d + "/b"),
        outcome(os.rename, d + "/full", d + "/full/sub/inside"),
        outcome(os.rename, d + "/empty", d + "/full"),
        outcome(os.rename, d + "/b", d + "/full"),
        outcome(os.rename, d + "/full", d + "/b"),
        outcome(os.rename, d + "/none", d + "/b"),
        outcome(os.rename, d + "/full", d + "/empty"),
        read_file(d + "/empty/sub/file"),
        outcome(os.rename, d + "/b", d + "/b"),
        outcome(os.rename, d + "/empty/sub", d + "/sub"),
        read_file(d + "/sub/file"),
        os.stat(d + "/empty").st_nlink,
        os.stat(d + "/sub/..").st_ino == os.stat(d).st_ino,
        sorted(os.listdir(d)),
    ]
    return answers
on_both(steps)
PY

check 'renameat2 knows NOREPLACE and EXCHANGE' py <<'PY'
def steps(d):
    for name in ("a", "b"):
        write_file(d + "/" + name, name.encode())
    os.makedirs(d + "/dir/sub")
    return [
        outcome(renameat2, d + "/a", d + "/b", RENAME_NOREPLACE),
        outcome(renameat2, d + "/a", d + "/c", RENAME_NOREPLACE),
        outcome(renameat2, d + "/c", d + "/b", RENAME_EXCHANGE),
        read_file(d + "/b"),
        read_file(d + "/c"),
        outcome(renameat2, d + "/c", d + "/none", RENAME_EXCHANGE),
        outcome(renameat2, d + "/c", d + "/dir/sub", RENAME_EXCHANGE),
        read_file(d + "/dir/sub"),
        os.path.isdir(d + "/c"),
        outcome(renameat2, d + "/c", d + "/b", RENAME_EXCHANGE | RENAME_NOREPLACE),
        sorted(os.listdir(d)),
    ]
answers = on_both(steps)
equal(answers[0], "EEXIST")
equal(answers[3], b"a")
PY

check 'a renamed open file keeps its handle, and an open file renamed over keeps its data' py <<'PY'
os.mkdir(MNT + "/over")
a, b = MNT + "/over/a", MNT + "/over/b"
write_file(a, b"content of a")
write_file(b, b"content of b")
with open(a, "r+b", buffering=0) as old_a, open(b, "r+b", buffering=0) as old_b:
    os.rename(a, b)
    equal(old_b.read(), b"content of b", "the replaced file")
    equal(os.fstat(old_b.fileno()).st_nlink, 0, "its link count")
    os.pwrite(old_b.fileno(), b"ghost", 0)
    os.pwrite(old_a.fileno(), b"CONTENT", 0)
    equal(read_file(b), b"CONTENT of a", "the new file under the name")
    equal(read_file(BACKING + "/over/b"), b"CONTENT of a", "in BACKING")
    equal(os.pread(old_b.fileno(), 20, 0), b"ghostnt of b")
equal(os.listdir(BACKING + "/over"), ["b"], "nothing hidden left behind")
PY

check 'a file reached through a directory renamed meanwhile is still the same file' py <<'PY'
os.makedirs(MNT + "/was/here")
write_file(MNT + "/was/here/f", b"1")
with open(MNT + "/was/here/f", "r+b", buffering=0) as file:
    os.rename(MNT + "/was", MNT + "/is")
    file.write(b"2")
    equal(read_file(MNT + "/is/here/f"), b"2")
    equal(os.path.exists(MNT + "/was"), False)
    os.rename(BACKING + "/is", BACKING + "/behind")
    file.write(b"3")
    equal(read_file(BACKING + "/behind/here/f"), b"23")
PY

check 'an unlinked open file can still be read, written, truncated, changed, mapped and locked' py <<'PY'
def steps(d):
    path = d + "/unlinked"
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b"before")
    os.unlink(path)
    answers = [
        os.path.exists(path),
        os.listdir(d),
        os.fstat(fd).st_nlink,
        os.pread(fd, 100, 0),
        os.pwrite(fd, b"after" * 2000, 6),
        os.fstat(fd).st_size,
        os.pread(fd, 10, 9990),
        outcome(os.ftruncate, fd, 5000),
        os.fstat(fd).st_size,
        outcome(os.fchmod, fd, 0o640),
        oct(os.fstat(fd).st_mode),
        outcome(os.fchown, fd, 1, 2),
        (os.fstat(fd).st_uid, os.fstat(fd).st_gid),
        outcome(os.utime, fd, ns=(10**18 + 1, 10**18 + 2)),
        os.fstat(fd).st_mtime_ns,
        outcome(os.setxattr, fd, "user.t", b"v"),
        outcome(os.getxattr, fd, "user.t"),
        outcome(os.listxattr, fd),
        outcome(fcntl.flock, fd, fcntl.LOCK_EX),
        outcome(fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB),
        outcome(os.fsync, fd),
        outcome(fallocate, fd, 0, 0, 8192),
        os.fstat(fd).st_size,
        outcome(os.lseek, fd, 0, os.SEEK_DATA),
        outcome(link_fd, fd, d + "/again"),
    ]
    again = os.open("/proc/self/fd/%d" % fd, os.O_RDWR)
    answers.append(os.pread(again, 6, 0))
    with mmap.mmap(fd, 8192) as view:
        view[0:5] = b"MAPPD"
        answers.append(view[0:11])
    answers.append(os.pread(again, 6, 0))
    os.close(fd)
    answers.append(os.pread(again, 6, 0))
    os.close(again)
    answers.append(os.listdir(d))
    return answers
on_both(steps)
PY

check 'a file unlinked in BACKING stays usable through an open handle of the mount' py <<'PY'
write_file(MNT + "/behind-back", b"x" * 10000)
fd = os.open(MNT + "/behind-back", os.O_RDWR)
os.pread(fd, 10, 0)
os.unlink(BACKING + "/behind-back")
equal(os.pread(fd, 4, 9996), b"xxxx")
equal(os.pwrite(fd, b"yyyy", 9998), 4)
equal(os.pread(fd, 10, 9996), b"xxyyyy")
equal(os.fstat(fd).st_size, 10002)
os.ftruncate(fd, 3)
equal(os.pread(fd, 10, 0), b"xxx")
PY

check 'a fifo connects a process on the mount with another' py <<'PY'
os.mkfifo(MNT + "/fifo", 0o644)
equal(stat.S_ISFIFO(os.lstat(BACKING + "/fifo").st_mode), True, "a fifo in BACKING")
def reader(me):
    with open(MNT + "/fifo", "rb") as file:
        me.say(file.read().decode())
child = Process(reader)
with open(MNT + "/fifo", "wb") as file:
    file.write(b"through the fifo")
equal(child.hear(), "through the fifo")
child.kill()
PY

check 'a socket can be bound and reached on the mount' py <<'PY'
os.chdir(MNT)
server = socket.socket(socket.AF_UNIX)
server.bind("socket")
server.listen()
equal(stat.S_ISSOCK(os.lstat(BACKING + "/socket").st_mode), True, "a socket in BACKING")
client = socket.socket(socket.AF_UNIX)
client.connect("socket")
client.send(b"hello")
equal(server.accept()[0].recv(10), b"hello")
os.unlink("socket")
with raises(ENOENT):
    socket.socket(socket.AF_UNIX).connect("socket")
PY

check 'device nodes keep kind and number' py <<'PY'
for name, mode, device in [("null", stat.S_IFCHR, (1, 3)), ("big", stat.S_IFCHR, (511, 70000)),
                           ("block", stat.S_IFBLK, (7, 300))]:
    os.mknod(MNT + "/" + name, mode | 0o640, os.makedev(*device))
    for root in (BACKING, MNT):
        info = os.lstat(root + "/" + name)
        equal(stat.S_IFMT(info.st_mode), mode, name)
        equal((os.major(info.st_rdev), os.minor(info.st_rdev)), device, name)
equal(as_user(12345, lambda: outcome(os.mknod, MNT + "/mine", stat.S_IFCHR, 259)), "EACCES")
os.chmod(MNT, 0o777)
equal(as_user(12345, lambda: outcome(os.mknod, MNT + "/mine", stat.S_IFCHR, 259)), "EPERM")
os.mknod(MNT + "/plain", stat.S_IFREG | 0o600)
equal(os.stat(BACKING + "/plain").st_mode, stat.S_IFREG | 0o600)
PY

check 'O_TMPFILE makes a nameless file that link can name' py <<'PY'
def steps(d):
    answers = []
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o640)
    answers.append(os.fstat(fd).st_nlink)
    answers.append(oct(os.fstat(fd).st_mode))
    answers.append(os.write(fd, b"nameless" * 1000))
    answers.append(os.pread(fd, 8, 7992))
    answers.append(os.listdir(d))
    answers.append(outcome(link_fd, fd, d + "/named"))
    answers.append(os.fstat(fd).st_nlink)
    answers.append(os.listdir(d))
    answers.append(read_file(d + "/named")[:8])
    answers.append(os.stat(d + "/named").st_ino == os.fstat(fd).st_ino)
    os.close(fd)
    excl = os.open(d, os.O_TMPFILE | os.O_EXCL | os.O_WRONLY, 0o600)
    answers.append(outcome(link_fd, excl, d + "/never"))
    os.close(excl)
    answers.append(outcome(os.open, d + "/named", os.O_TMPFILE | os.O_RDWR))
    answers.append(outcome(os.open, d, os.O_TMPFILE | os.O_RDONLY))
    return answers
probe = outcome(os.open, NATIVE, os.O_TMPFILE | os.O_RDWR)
if probe == "EOPNOTSUPP":
    skip("this backing file system has no O_TMPFILE")
on_both(steps)
PY
