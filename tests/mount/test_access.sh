#!/bin/bash
# SPDX-License-Identifier: MIT
# Who may do what on root's mount, and that nothing leads out of BACKING.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
start_mount sync=periodic

check 'nobody reads, writes, enters or removes what BACKING would refuse him' py <<'PY'
def steps(d):
    os.chmod(d, 0o755)
    write_file(d + "/secret", b"secret", 0o600)
    write_file(d + "/readable", b"text", 0o644)
    write_file(d + "/writable", b"", 0o622)
    write_file(d + "/script", b"#!/bin/sh\nexit 0\n", 0o644)
    os.makedirs(d + "/closed/inside")
    write_file(d + "/closed/inside/file", b"x", 0o666)
    os.makedirs(d + "/listable")
    write_file(d + "/listable/file", b"x", 0o666)
    os.makedirs(d + "/passable")
    write_file(d + "/passable/file", b"x", 0o666)
    os.chmod(d + "/closed", 0o700)
    os.chmod(d + "/listable", 0o744)
    os.chmod(d + "/passable", 0o711)
    def user():
        return [
            outcome(read_file, d + "/secret"),
            outcome(os.open, d + "/secret", os.O_WRONLY),
            outcome(os.truncate, d + "/secret", 0),
            outcome(os.unlink, d + "/secret"),
            outcome(os.rename, d + "/secret", d + "/x"),
            outcome(os.link, d + "/secret", d + "/x"),
            outcome(read_file, d + "/readable"),
            outcome(os.open, d + "/readable", os.O_RDWR),
            outcome(os.open, d + "/readable", os.O_RDONLY | os.O_TRUNC),
            outcome(read_file, d + "/writable"),
            outcome(lambda: os.write(os.open(d + "/writable", os.O_WRONLY), b"x")),
            outcome(subprocess.call, [d + "/script"]),
            outcome(read_file, d + "/closed/inside/file"),
            outcome(os.listdir, d + "/closed"),
            outcome(os.stat, d + "/closed/inside"),
            outcome(os.mkdir, d + "/closed/new"),
            outcome(os.mkdir, d + "/new"),
            outcome(write_file, d + "/new", b""),
            outcome(os.listdir, d + "/listable"),
            outcome(os.stat, d + "/listable/file"),
            outcome(os.listdir, d + "/passable"),
            outcome(read_file, d + "/passable/file"),
            [os.access(d + "/" + n, m) for n in ("secret", "readable", "writable", "script", "closed")
             for m in (os.R_OK, os.W_OK, os.X_OK, os.F_OK)],
        ]
    answers = as_user(12345, user)
    equal(answers[0], "EACCES")
    return answers
on_both(steps)
PY

check 'what root has read and cached stays closed to others' py <<'PY'
write_file(MNT + "/cached", b"secret" * 1000, 0o600)
fd = os.open(MNT + "/cached", os.O_RDONLY)
os.read(fd, 6000)
with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
    view[0]
    def user():
        return [outcome(read_file, MNT + "/cached"), outcome(os.open, MNT + "/cached", os.O_RDWR)]
    equal(as_user(12345, user), ["EACCES", "EACCES"])
PY

check 'a handle opened before chmod goes on reading, a new open is refused' py <<'PY'
write_file(MNT + "/closing", b"text", 0o666)
def steps(me):
    os.setgid(12345)
    os.setuid(12345)
    fd = os.open(MNT + "/closing", os.O_RDWR)
    me.say("open")
    me.wait_for_go()
    me.say("%s %s %s" % (outcome(os.pread, fd, 4, 0), outcome(os.pwrite, fd, b"more", 0),
                         outcome(os.open, MNT + "/closing", os.O_RDONLY)))
child = Process(steps)
child.hear()
os.chmod(MNT + "/closing", 0o600)
child.go()
equal(child.hear(), "b'text' 4 EACCES")
child.kill()
PY

check 'root reads and writes whatever its mode' py <<'PY'
def steps(d):
    write_file(d + "/nothing", b"x", 0)
    os.mkdir(d + "/shut", 0)
    return [
        outcome(read_file, d + "/nothing"),
        outcome(lambda: os.write(os.open(d + "/nothing", os.O_RDWR), b"y")),
        outcome(os.mkdir, d + "/shut/in"),
        outcome(os.listdir, d + "/shut"),
        outcome(subprocess.call, [d + "/nothing"]),
        os.access(d + "/nothing", os.X_OK),
    ]
on_both(steps)
PY

check 'no symlink or .. leads a lookup out of BACKING inside the daemon' py <<'PY'
# A link in BACKING is followed by the client; the daemon must never do it instead.
write_file(WORK + "/outside", b"outside", 0o600)
os.symlink(WORK, BACKING + "/way-out")
os.symlink(WORK + "/outside", BACKING + "/file-out")
equal(stat.S_ISLNK(os.lstat(MNT + "/way-out").st_mode), True)
equal(stat.S_ISLNK(os.lstat(MNT + "/file-out").st_mode), True)
with raises(ELOOP):
    os.open(MNT + "/file-out", os.O_RDONLY | os.O_NOFOLLOW)
os.chown(MNT + "/file-out", 12345, 12345, follow_symlinks=False)
equal(os.stat(WORK + "/outside").st_uid, 0, "owner of what the link names")
# A file replaced by a link behind the mount's back: the handle's inode counts, not the name.
write_file(MNT + "/victim", b"inside")
fd = os.open(MNT + "/victim", os.O_RDWR)
os.unlink(BACKING + "/victim")
os.symlink(WORK + "/outside", BACKING + "/victim")
os.fchmod(fd, 0o777)
os.fchown(fd, 12345, 12345)
os.ftruncate(fd, 0)
os.utime(fd, ns=(1, 1))
info = os.stat(WORK + "/outside")
equal((oct(info.st_mode), info.st_uid, info.st_size), ("0o100600", 0, 7), "untouched outside")
PY
