#!/bin/bash
# SPDX-License-Identifier: MIT
# Whom new files belong to and what modes they get: users, groups, umask, set-gid and sticky directories.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
start_mount sync=periodic

check 'whatever an ordinary user makes is his, on the mount and in BACKING' py <<'PY'
os.mkdir(MNT + "/open")
os.chmod(MNT + "/open", 0o777)
d = MNT + "/open"
def user():
    os.close(os.open(d + "/file", os.O_CREAT | os.O_WRONLY, 0o640))
    os.mkdir(d + "/dir", 0o750)
    os.symlink("x", d + "/sym")
    os.mkfifo(d + "/fifo", 0o600)
    os.mknod(d + "/node", stat.S_IFREG | 0o604)
    with contextlib.suppress(OSError):
        link_fd(os.open(d, os.O_TMPFILE | os.O_RDWR, 0o600), d + "/tmpfile")
    socket.socket(socket.AF_UNIX).bind(d + "/socket") if len(d) < 90 else None
as_user(12345, user, gid=54321)
made = os.listdir(BACKING + "/open")
equal(len(made) >= 5, True, "things made")
for root in (MNT, BACKING):
    for name in made:
        info = os.lstat(root + "/open/" + name)
        equal((info.st_uid, info.st_gid), (12345, 54321), root + name)
equal(oct(os.stat(BACKING + "/open/file").st_mode), "0o100640")
equal(oct(os.stat(BACKING + "/open/dir").st_mode), "0o40750")
equal(oct(os.stat(BACKING + "/open/node").st_mode), "0o100604")
PY

check 'a user reaches a directory that only his supplementary group may use' py <<'PY'
def steps(d):
    os.chown(d, 0, 4242)
    os.chmod(d, 0o770)
    write_file(d + "/theirs", b"x", 0o660)
    os.chown(d + "/theirs", 0, 4242)
    def user():
        return [
            outcome(write_file, d + "/file", b"mine"),
            outcome(os.mkdir, d + "/dir"),
            outcome(os.symlink, "x", d + "/sym"),
            outcome(os.mkfifo, d + "/fifo"),
            outcome(os.rename, d + "/file", d + "/file2"),
            outcome(os.link, d + "/file2", d + "/link"),
            outcome(read_file, d + "/theirs"),
            outcome(lambda: os.write(os.open(d + "/theirs", os.O_WRONLY), b"y")),
            outcome(os.truncate, d + "/theirs", 0),
            outcome(os.unlink, d + "/theirs"),
            outcome(os.rmdir, d + "/dir"),
            outcome(lambda: os.close(os.open(d, os.O_TMPFILE | os.O_RDWR))),
            outcome(lambda: sorted(os.listdir(d))),
            outcome(lambda: (os.stat(d + "/file2").st_uid, os.stat(d + "/file2").st_gid)),
        ]
    return [as_user(12345, user, groups=[1, 4242, 7]), as_user(12346, user, groups=[1, 7])]
inside, outside = on_both(steps)
equal(inside[0], None)
equal(outside[0], "EACCES")
PY

check 'a user in more groups than a request carries is still let in' py <<'PY'
groups = list(range(5000, 5100)) + [4242]
def steps(d):
    os.chown(d, 0, 4242)
    os.chmod(d, 0o770)
    return as_user(12345, lambda: [outcome(write_file, d + "/f", b"x"), outcome(os.listdir, d)], groups=groups)
on_both(steps)
PY

check 'a set-gid directory hands its group on, and directories the bit too' py <<'PY'
def steps(d):
    os.chown(d, 0, 4242)
    os.chmod(d, 0o2777)
    def user():
        os.close(os.open(d + "/file", os.O_CREAT, 0o666))
        os.close(os.open(d + "/setgid-file", os.O_CREAT, 0o2775))
        os.close(os.open(d + "/locking-file", os.O_CREAT, 0o2767))
        os.mkdir(d + "/dir")
        os.mknod(d + "/node", stat.S_IFREG | 0o2775)
        os.symlink("x", d + "/sym")
        with contextlib.suppress(OSError):
            link_fd(os.open(d, os.O_TMPFILE | os.O_RDWR, 0o2775), d + "/tmpfile")
        return [(n, oct(os.lstat(d + "/" + n).st_mode), os.lstat(d + "/" + n).st_uid, os.lstat(d + "/" + n).st_gid)
                for n in sorted(os.listdir(d))]
    outsider = as_user(12345, user)
    for name in os.listdir(d):
        os.rmdir(d + "/" + name) if name == "dir" else os.unlink(d + "/" + name)
    return outsider + as_user(12345, user, groups=[4242])
answers = on_both(steps)
equal([a[3] for a in answers], [4242] * len(answers), "groups")
PY

check 'umask is applied once, for every kind of object' py <<'PY'
def steps(d):
    answers = []
    for umask in (0o000, 0o027, 0o777):
        def user(umask=umask):
            os.close(os.open("%s/f%o" % (d, umask), os.O_CREAT, 0o666))
            os.mkdir("%s/d%o" % (d, umask), 0o1777)
            os.mkfifo("%s/p%o" % (d, umask), 0o666)
            os.mknod("%s/n%o" % (d, umask), stat.S_IFREG | 0o4777)
            with contextlib.suppress(OSError):
                link_fd(os.open(d, os.O_TMPFILE | os.O_RDWR, 0o666), "%s/t%o" % (d, umask))
            return [(n, oct(os.lstat(d + "/" + n).st_mode)) for n in sorted(os.listdir(d))]
        answers += as_user(12345, user, umask=umask)
    return answers
on_both(steps)
PY

check 'a file made without write permission can be written through the handle that made it' py <<'PY'
def steps(d):
    def user():
        fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR, 0o444)
        none = os.open(d + "/none", os.O_CREAT | os.O_RDWR, 0)
        return [
            outcome(os.write, fd, b"through"),
            outcome(os.pread, fd, 10, 0),
            outcome(os.ftruncate, fd, 3),
            outcome(os.write, none, b"nobody may open it"),
            outcome(os.pread, none, 6, 0),
            outcome(os.fchmod, fd, 0o400),
            outcome(os.write, fd, b"again"),
            outcome(os.open, d + "/f", os.O_WRONLY),
            outcome(os.open, d + "/none", os.O_RDONLY),
        ]
    return as_user(12345, user)
equal(on_both(steps)[0], 7)
PY

check 'in a sticky directory nobody removes what is not his' py <<'PY'
def steps(d):
    os.chmod(d, 0o1777)
    write_file(d + "/roots", b"", 0o666)
    def owner():
        write_file(d + "/his", b"", 0o666)
        os.mkdir(d + "/hisdir")
    as_user(12346, owner)
    def user():
        write_file(d + "/mine", b"")
        return [
            outcome(os.unlink, d + "/roots"),
            outcome(os.unlink, d + "/his"),
            outcome(os.rmdir, d + "/hisdir"),
            outcome(os.rename, d + "/his", d + "/stolen"),
            outcome(os.rename, d + "/mine", d + "/his"),
            outcome(os.rename, d + "/mine", d + "/renamed"),
            outcome(os.unlink, d + "/renamed"),
        ]
    return as_user(12345, user)
on_both(steps)
PY

check 'many users making files at the same time each get their own' py <<'PY'
os.mkdir(MNT + "/many")
os.chmod(MNT + "/many", 0o777)
def maker(uid):
    def make(me):
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        for i in range(150):
            os.close(os.open("%s/many/%d-%d" % (MNT, uid, i), os.O_CREAT | os.O_WRONLY, 0o600))
            os.mkdir("%s/many/%d-%d.d" % (MNT, uid, i), 0o700)
        me.say("done")
    return make
children = [Process(maker(uid)) for uid in (0, 12345, 12346, 12347)]
for child in children:
    equal(child.hear(30), "done")
    child.kill()
names = os.listdir(BACKING + "/many")
equal(len(names), 4 * 300)
for name in names:
    info = os.lstat(BACKING + "/many/" + name)
    uid = int(name.split("-")[0])
    equal((info.st_uid, info.st_gid), (uid, uid), name)
    equal(stat.S_IMODE(info.st_mode), 0o700 if name.endswith(".d") else 0o600, name)
PY
stop_mount

# With one worker each request runs on the thread that served the one before, whoever sent it.
start_mount sync=periodic,max_threads=1
check "one user's request leaves nothing behind that changes what the next user's does" py <<'PY'
def steps(d):
    write_file(d + "/theirs", b"x", 0o666)
    write_file(d + "/roots", b"x", 0o600)
    acl = struct.pack("<IHHIHHIHHI", 2, 1, 7, 0xFFFFFFFF, 4, 5, 0xFFFFFFFF, 32, 1, 0xFFFFFFFF)
    os.mkdir(d + "/group")
    os.chown(d + "/group", 0, 4242)
    os.chmod(d + "/group", 0o2777)
    answers = []
    def ordinary():
        os.pwrite(os.open(d + "/theirs", os.O_WRONLY), b"y", 0)
        os.close(os.open(d + "/made", os.O_CREAT | os.O_WRONLY, 0o666))
        os.unlink(d + "/made")
        os.truncate(d + "/theirs", 0)
        os.pwrite(os.open(d + "/theirs", os.O_WRONLY), b"y", 0)
    actions = {
        "chmod": lambda p: os.chmod(p, 0o2711),
        "acl": lambda p: os.setxattr(p, "system.posix_acl_access", acl),
        "write": lambda p: os.pwrite(os.open(p, os.O_WRONLY), b"z", 0),
        "truncate": lambda p: os.truncate(p, 0),
        "fallocate": lambda p: fallocate(os.open(p, os.O_RDWR), 0, 0, 5000),
        "utime": lambda p: os.utime(p, ns=(1, 1)),
        "link": lambda p: os.link(p, p + ".link"),
        "mknod": lambda p: os.mknod(p + ".node", stat.S_IFREG | 0o2755),
        "open": lambda p: os.close(os.open(p + ".new", os.O_CREAT | os.O_WRONLY, 0o2775)),
        "mkdir": lambda p: os.mkdir(p + ".dir", 0o777),
        "tmpfile": lambda p: link_fd(os.open(os.path.dirname(p), os.O_TMPFILE | os.O_RDWR, 0o2775), p + ".tmp"),
    }
    for name, action in actions.items():
        path = d + "/group/" + name
        write_file(path, b"x")
        os.chown(path, 1, 4242)
        os.chmod(path, 0o2711)
        as_user(12345, ordinary, umask=0o077, groups=[9])
        answers.append((name, outcome(action, path)))
    for name in sorted(os.listdir(d + "/group")):
        info = os.lstat(d + "/group/" + name)
        answers.append((name, oct(info.st_mode), info.st_uid, info.st_gid))
    # and the other way round: root's request before an ordinary user's
    os.chmod(d + "/theirs", 0o6777)
    os.pwrite(os.open(d + "/roots", os.O_WRONLY), b"x", 0)
    as_user(12345, lambda: os.pwrite(os.open(d + "/theirs", os.O_WRONLY), b"x", 0))
    answers.append(oct(os.stat(d + "/theirs").st_mode))
    return answers
on_both(steps)
PY

# The kernel executes by the mode that it knows, and leaves it to the daemon to take set-id bits away.
for options in watch=auto watch=off,attr_timeout=60 mode=cow,attr_timeout=60; do
	start_mount "suid,$options"
	export ROUND=${options%%,*}
	check "$options: a set-user-id program that another user changes is nobody's but the caller's from then on" py <<'PY'
def effective(path):
    return int(subprocess.run([path, "-u"], stdout=subprocess.PIPE, check=True).stdout)
def write(path):
    fd = os.open(path, os.O_RDWR)
    byte = os.pread(fd, 1, 100)
    os.pwrite(fd, byte, 100)
    os.close(fd)
def allocate(path):
    fd = os.open(path, os.O_RDWR)
    fallocate(fd, 1, 0, 4096)  # FALLOC_FL_KEEP_SIZE
    os.close(fd)
os.chmod(BACKING, 0o755)
for change in write, allocate:
    name = "/" + os.environ["ROUND"] + change.__name__
    write_file(BACKING + name, read_file("/usr/bin/id"))
    os.chmod(BACKING + name, 0o4777)
    equal(as_user(1000, effective, MNT + name), 0, "before")
    as_user(1000, change, MNT + name)
    equal(as_user(1000, effective, MNT + name), 1000, change.__name__)
PY
	stop_mount
done
