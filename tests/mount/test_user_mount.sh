#!/bin/bash
# SPDX-License-Identifier: MIT
# A mount of an ordinary user's own, through fusermount3.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

user=nobody
uid=$(id -u "$user")

user_mounts_work || skip "$USER_MOUNTS_ERROR"

new_backing
mkdir "$WORK/usermnt"
chown "$user": "$BACKING" "$NATIVE" "$WORK/usermnt"
echo roots >"$BACKING/roots"
chmod 600 "$BACKING/roots"
echo shared >"$BACKING/shared"
chmod 644 "$BACKING/shared"
LAUNCH=(setpriv "--reuid=$uid" "--regid=$uid" --clear-groups)
ORDINARY_USER=1 start_mount_at "$BACKING" "$WORK/usermnt" sync=periodic
LAUNCH=()
export uid

# What the daemon may not map it says once.
expect_stderr 'Permission denied|Operation not permitted'

check 'an ordinary user mounts his directory and works in it' py <<'PY'
os.setgroups([])
os.setgid(int(os.environ["uid"]))
os.setuid(int(os.environ["uid"]))
def steps(d):
    os.makedirs(d + "/dir/sub")
    write_file(d + "/dir/file", b"x" * 100000)
    fd = os.open(d + "/dir/file", os.O_RDWR)
    answers = [
        os.pwrite(fd, b"end", 99997),
        os.pread(fd, 10, 99990),
        outcome(os.rename, d + "/dir/file", d + "/dir/sub/moved"),
        outcome(os.chmod, d + "/dir/sub/moved", 0o600),
        outcome(os.symlink, "sub", d + "/dir/sym"),
        outcome(os.link, d + "/dir/sub/moved", d + "/link"),
        os.stat(d + "/link").st_nlink,
        outcome(os.setxattr, d + "/link", "user.a", b"v"),
        outcome(os.getxattr, d + "/link", "user.a"),
        outcome(os.utime, d + "/link", ns=(5, 6)),
        os.stat(d + "/dir/sub/moved").st_mtime_ns,
        outcome(os.truncate, d + "/link", 10),
        outcome(os.ftruncate, fd, 8192),
        outcome(fallocate, fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 4096),
        outcome(fcntl.flock, fd, fcntl.LOCK_EX),
        outcome(os.chown, d + "/link", 0, -1),
        outcome(os.mknod, d + "/dev", stat.S_IFCHR, 259),
        outcome(os.mkfifo, d + "/fifo"),
        outcome(os.fsync, fd),
        sorted(os.listdir(d)),
    ]
    with mmap.mmap(fd, 8192) as view:
        view[5000:5005] = b"store"
    answers.append(read_file(d + "/link")[5000:5005])
    os.unlink(d + "/link")
    os.unlink(d + "/dir/sub/moved")
    answers.append(os.pread(fd, 5, 5000))
    os.close(fd)
    return answers
on_both(steps)
PY

check 'on his mount the user reads and writes what he may in BACKING, and nothing more' py <<'PY'
write_file(BACKING + "/append", b"x", 0o600)
os.chown(BACKING + "/append", int(os.environ["uid"]), -1)
os.setgroups([])
os.setgid(int(os.environ["uid"]))
os.setuid(int(os.environ["uid"]))
equal(outcome(read_file, MNT + "/roots"), "EACCES")
equal(read_file(MNT + "/shared"), b"shared\n")
equal(outcome(os.open, MNT + "/shared", os.O_WRONLY), "EACCES")
# A file he may write but not read
write_file(MNT + "/blind", b"", 0o200)
fd = os.open(MNT + "/blind", os.O_WRONLY)
equal(os.write(fd, b"written blindly"), 15)
equal(os.fstat(fd).st_size, 15)
equal(outcome(read_file, MNT + "/blind"), "EACCES")
os.close(fd)
os.chmod(MNT + "/blind", 0o600)
equal(read_file(MNT + "/blind"), b"written blindly")
# A file whose permission goes while it is open
fd = os.open(MNT + "/blind", os.O_RDWR)
os.chmod(MNT + "/blind", 0)
equal(os.pread(fd, 7, 0), b"written")
equal(os.pwrite(fd, b"WRITTEN", 0), 7)
equal(os.fstat(fd).st_size, 15)
os.ftruncate(fd, 7)
equal(os.pread(fd, 20, 0), b"WRITTEN")
os.close(fd)
fd = os.open(MNT + "/append", os.O_WRONLY | os.O_APPEND)
os.write(fd, b"y")
equal(read_file(MNT + "/append"), b"xy")
PY

check 'without allow_other the mount is closed to everybody else, root included' py <<'PY'
with raises(EACCES):
    os.listdir(MNT)
with raises(EACCES):
    as_user(12345, os.listdir, MNT)
PY

user_unmounts() {
	setpriv "--reuid=$uid" "--regid=$uid" --clear-groups fusermount3 -u "$MNT"
}
check 'the user unmounts with fusermount3 -u' user_unmounts
daemon_ends 20

# A file system of its own below BACKING, as where many users' directories lie
mkdir "$BACKING/sub"
mount -t tmpfs -o "uid=$uid" sub "$BACKING/sub"
images+=("$BACKING/sub")
# shellcheck disable=SC2054 # one word for strace
# Nobody can look for leaks in what is traced.
LAUNCH=(strace -f -qq -o "$WORK/calls" -e trace=syncfs env "ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0"
	setpriv "--reuid=$uid" "--regid=$uid" --clear-groups)
ORDINARY_USER=1 start_mount_at "$BACKING" "$WORK/usermnt" sync=never
LAUNCH=()
write_below() {
	py <<'PY'
os.setgroups([])
os.setgid(int(os.environ["uid"]))
os.setuid(int(os.environ["uid"]))
write_file(MNT + "/sub/file", b"x" * 100000)
PY
	user_unmounts
}
check 'the user writes to a file system below BACKING' write_below
daemon_ends 20
synced_all() {
	[ "$(grep -c 'syncfs(.*= 0' "$WORK/calls")" -ge 2 ]
}
check 'the end of his mount syncs the file systems below BACKING as well' synced_all
