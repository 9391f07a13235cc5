#!/bin/bash
# SPDX-License-Identifier: MIT
# Modes, owners, times, birth time, set-id bits, sizes.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
start_mount sync=periodic

check 'chmod works on files, directories, fifos and open handles, and reaches BACKING' py <<'PY'
write_file(MNT + "/f", b"x")
os.mkdir(MNT + "/d")
os.mkfifo(MNT + "/p")
for name in ("f", "d", "p"):
    for mode in (0o000, 0o777, 0o1755, 0o4711, 0o2775, 0o600):
        os.chmod(MNT + "/" + name, mode)
        for root in (MNT, BACKING):
            equal(oct(stat.S_IMODE(os.lstat(root + "/" + name).st_mode)), oct(mode), root + name)
fd = os.open(MNT + "/f", os.O_RDONLY)
os.fchmod(fd, 0o604)
equal(stat.S_IMODE(os.stat(BACKING + "/f").st_mode), 0o604)
PY

check 'chown sets user and group, together and alone, also of symlinks' py <<'PY'
write_file(MNT + "/owned", b"x")
os.symlink("owned", MNT + "/sym")
for uid, gid in [(1, 2), (-1, 3), (4, -1), (-1, -1), (2**31, 2**31 + 1)]:
    before = os.stat(BACKING + "/owned")
    os.chown(MNT + "/owned", uid, gid)
    expected = (uid if uid != -1 else before.st_uid, gid if gid != -1 else before.st_gid)
    for root in (MNT, BACKING):
        info = os.stat(root + "/owned")
        equal((info.st_uid, info.st_gid), expected, root)
os.chown(MNT + "/sym", 77, 78, follow_symlinks=False)
info = os.lstat(BACKING + "/sym")
equal((info.st_uid, info.st_gid), (77, 78))
equal(os.stat(BACKING + "/owned").st_uid, 2**31)
PY

check 'an ordinary user changes modes and groups as BACKING allows' py <<'PY'
def steps(d):
    for name, uid in (("mine", 12345), ("other", 1)):
        write_file(d + "/" + name, b"x")
        os.chown(d + "/" + name, uid, uid)
    def user():
        return [
            outcome(os.chmod, d + "/mine", 0o640),
            outcome(os.chmod, d + "/other", 0o640),
            outcome(os.chown, d + "/mine", -1, 4242),
            outcome(os.chown, d + "/mine", -1, 4243),
            outcome(os.chown, d + "/mine", 1, -1),
            outcome(os.chown, d + "/mine", 12345, -1),
            outcome(os.chown, d + "/other", -1, 12345),
            outcome(os.chmod, d + "/mine", 0o2640),
            oct(os.stat(d + "/mine").st_mode),
            outcome(os.chown, d + "/mine", -1, 12345),
            outcome(os.chmod, d + "/mine", 0o2640),
            oct(os.stat(d + "/mine").st_mode),
        ]
    return as_user(12345, user, groups=[4242])
on_both(steps)
PY

check 'times are set to the nanosecond, each alone, to now, and on symlinks' py <<'PY'
def steps(d):
    path = d + "/f"
    write_file(path, b"x")
    os.symlink("f", d + "/sym")
    answers = []
    def times(name="f"):
        info = os.lstat(d + "/" + name)
        return info.st_atime_ns, info.st_mtime_ns
    utimensat(path, (1, 2), (3, 4))
    answers.append(times())
    utimensat(path, (0, UTIME_OMIT), (10**9, 999999999))
    answers.append(times())
    utimensat(path, (2**32 + 5, 7), (0, UTIME_OMIT))
    answers.append(times())
    utimensat(path, (-5, 1), (-100000, 5))
    answers.append(times())
    utimensat(path, (0, UTIME_OMIT), (0, UTIME_OMIT))
    answers.append(times())
    before = time.time_ns()
    utimensat(path, (0, UTIME_NOW), (0, UTIME_OMIT))
    answers.append((before - 10**8 <= times()[0] <= time.time_ns(), times()[1]))
    utimensat(path, (3, 3), (0, UTIME_NOW))
    answers.append((times()[0], before - 10**8 <= times()[1] <= time.time_ns()))
    utimensat(d + "/sym", (11, 12), (13, 14), follow=False)
    answers.append((times("sym"), times()[0]))
    answers.append(outcome(utimensat, path, (0, 10**9), (0, 0)))
    return answers
on_both(steps)
PY

check 'only the owner sets times, and whoever may write sets them to now' py <<'PY'
def steps(d):
    write_file(d + "/shared", b"x", 0o666)
    write_file(d + "/private", b"x", 0o644)
    def user():
        return [
            outcome(utimensat, d + "/shared", (1, 1), (1, 1)),
            outcome(utimensat, d + "/shared", (0, UTIME_NOW), (0, UTIME_NOW)),
            outcome(utimensat, d + "/shared", (0, UTIME_NOW), (0, UTIME_OMIT)),
            outcome(utimensat, d + "/private", (0, UTIME_NOW), (0, UTIME_NOW)),
            outcome(utimensat, d + "/private", (0, UTIME_OMIT), (0, UTIME_OMIT)),
        ]
    return as_user(12345, user)
on_both(steps)
PY

check 'writing, truncating, linking and renaming move mtime and ctime as on BACKING' py <<'PY'
def steps(d):
    path = d + "/f"
    write_file(path, b"x" * 100)
    os.mkdir(d + "/dir")
    fd = os.open(path, os.O_RDWR)
    def moved(action, target=path):
        if target == path:
            os.utime(path, ns=(10**18, 10**18))
        time.sleep(0.012)
        before = os.stat(target)
        action()
        after = os.stat(target)
        return after.st_mtime_ns > before.st_mtime_ns, after.st_ctime_ns > before.st_ctime_ns
    answers = [
        moved(lambda: os.pwrite(fd, b"y", 0)),
        moved(lambda: os.pwrite(fd, b"z", 200)),
        moved(lambda: os.pwrite(fd, b"", 0)),
        moved(lambda: os.ftruncate(fd, 50)),
        moved(lambda: os.ftruncate(fd, 50)),
        moved(lambda: os.truncate(path, 50)),
        moved(lambda: os.truncate(path, 10)),
        moved(lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))),
        moved(lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))),
        moved(lambda: fallocate(fd, 0, 0, 4096)),
        moved(lambda: os.chmod(path, 0o600)),
        moved(lambda: os.link(path, d + "/link")),
        moved(lambda: os.setxattr(path, "user.t", b"v")),
        moved(lambda: os.unlink(d + "/link")),
        moved(lambda: os.rename(path, path + "2") or os.rename(path + "2", path)),
        moved(lambda: write_file(d + "/dir/new", b""), d + "/dir"),
        moved(lambda: os.unlink(d + "/dir/new"), d + "/dir"),
        moved(lambda: os.mkdir(d + "/dir/sub"), d + "/dir"),
    ]
    return answers
on_both(steps)
PY

check 'stores through a mapping move mtime once they are synced' py <<'PY'
def steps(d):
    write_file(d + "/f", b"x" * 8192)
    with open(d + "/f", "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        time.sleep(0.05)
        before = os.stat(d + "/f").st_mtime_ns
        time.sleep(0.05)
        view[0:1] = b"y"
        view.flush()
        return os.stat(d + "/f").st_mtime_ns > before
equal(on_both(steps), True)
PY

check 'mtime stays what utimens set it to, also after close and in BACKING' py <<'PY'
fd = os.open(MNT + "/kept", os.O_CREAT | os.O_RDWR)
os.write(fd, b"x" * 5000)
os.utime(fd, ns=(123456789, 987654321))
os.close(fd)
for root in (MNT, BACKING):
    equal(os.stat(root + "/kept").st_mtime_ns, 987654321, root)
time.sleep(1.2)
equal(os.stat(BACKING + "/kept").st_mtime_ns, 987654321, "after the attributes' time-out")
PY

statx_reaches_daemons() {
	# FUSE_STATX came with Linux 6.6, and no request tells whether the kernel would send it.
	local release
	release=$(uname -r)
	[ "$(printf '%s\n6.6\n' "${release%%-*}" | sort -V | head -n 1)" = 6.6 ]
}

birth_time_is_backings() {
	statx_reaches_daemons || {
		echo 'this kernel asks no FUSE file system for birth times'
		return 77
	}
	mkdir "$MNT/born-dir"
	echo x >"$MNT/born"
	local name
	[ "$(stat -c %W "$BACKING/born")" != 0 ] || {
		echo 'this backing file system has no birth times'
		return 77
	}
	for name in born born-dir; do
		same "birth time of $name" "$(stat -c %w "$BACKING/$name")" "$(stat -c %w "$MNT/$name")"
	done
	sleep 0.02
	echo more >>"$MNT/born"
	same 'birth time after a write' "$(stat -c %w "$BACKING/born")" "$(stat -c %w "$MNT/born")"
}
check "the birth time is BACKING's" birth_time_is_backings

check 'set-id bits go and stay on writing, truncating and chown as on BACKING' py <<'PY'
def steps(d):
    answers = []
    def user_action(action):
        def act():
            return outcome(action)
        return act
    for mode in (0o4777, 0o2777, 0o6777, 0o2767, 0o6766):
        for uid in (0, 12345):
            for name, action in [
                ("write", lambda p: os.pwrite(os.open(p, os.O_WRONLY), b"y", 0)),
                ("extend", lambda p: os.pwrite(os.open(p, os.O_WRONLY), b"y", 5000)),
                ("append", lambda p: os.write(os.open(p, os.O_WRONLY | os.O_APPEND), b"y")),
                ("truncate", lambda p: os.truncate(p, 10)),
                ("same size", lambda p: os.truncate(p, 100)),
                ("ftruncate", lambda p: os.ftruncate(os.open(p, os.O_RDWR), 0)),
                ("O_TRUNC", lambda p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC))),
                ("fallocate", lambda p: fallocate(os.open(p, os.O_RDWR), 0, 0, 8192)),
                ("punch", lambda p: fallocate(os.open(p, os.O_RDWR), 3, 0, 50)),
                ("chown", lambda p: os.chown(p, -1, os.stat(p).st_gid)),
                ("chmod", lambda p: os.chmod(p, stat.S_IMODE(os.stat(p).st_mode))),
            ]:
                path = "%s/%o-%d-%s" % (d, mode, uid, name.replace(" ", "-"))
                write_file(path, b"x" * 100)
                os.chown(path, 12345 if name in ("chown", "chmod") else 1, 12345)
                os.chmod(path, mode)
                def act(path=path, action=action):
                    return str(outcome(action, path))
                said = act() if uid == 0 else as_user(uid, act)
                answers.append((name, uid, oct(mode), said, oct(os.stat(path).st_mode)))
    return answers
answers = on_both(steps)
equal([a for a in answers if a[0] == "write" and a[1] and a[2] == "0o4777"][0][4], "0o100777")
PY

check 'set-id bits go or stay by all groups of the caller, and with a chown(2) of nobody to nobody' py <<'PY'
from steps import set_id_steps
on_both(set_id_steps)
PY

check 'a set-id bit cleared by a write is cleared in BACKING and seen at once on the mount' py <<'PY'
write_file(MNT + "/setid", b"x")
os.chmod(MNT + "/setid", 0o4777)
def user():
    fd = os.open(MNT + "/setid", os.O_WRONLY)
    os.write(fd, b"y")
    return oct(os.fstat(fd).st_mode)
equal(as_user(12345, user), "0o100777")
equal(oct(os.stat(BACKING + "/setid").st_mode), "0o100777")
os.chown(MNT + "/setid", 12345, 12345)
os.chmod(MNT + "/setid", 0o6755)
os.chown(MNT + "/setid", 1, 1)
for root in (MNT, BACKING):
    equal(oct(os.stat(root + "/setid").st_mode), "0o100755", root)
PY

check 'sizes and block counts are those of BACKING, for tiny and for sparse files' py <<'PY'
for name, size in (("empty", 0), ("byte", 1), ("page", PAGE), ("page-and-byte", PAGE + 1)):
    write_file(MNT + "/" + name, b"x" * size)
with open(MNT + "/sparse", "wb") as file:
    file.truncate(1 << 40)
    os.pwrite(file.fileno(), b"x", 1 << 39)
os.sync()
for name in ("empty", "byte", "page", "page-and-byte", "sparse"):
    wait_until(5, lambda: os.stat(MNT + "/" + name).st_blocks == os.stat(BACKING + "/" + name).st_blocks)
    equal(os.stat(MNT + "/" + name).st_size, os.stat(BACKING + "/" + name).st_size, name)
equal(os.stat(MNT + "/sparse").st_blocks < 1000, True, "still sparse")
PY

check 'changes made in BACKING show on the mount' py <<'PY'
write_file(MNT + "/changing", b"x")
os.stat(MNT + "/changing")
os.chmod(BACKING + "/changing", 0o640)
os.chown(BACKING + "/changing", 5, 6)
os.truncate(BACKING + "/changing", 12345)
wait_until(5, lambda: (lambda i: (stat.S_IMODE(i.st_mode), i.st_uid, i.st_gid, i.st_size))(
    os.stat(MNT + "/changing")) == (0o640, 5, 6, 12345))
PY
