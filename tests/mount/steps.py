# SPDX-License-Identifier: MIT
"""What several mount tests do, natively and on a mount of their own: on_both(set_id_steps)."""
import fcntl
import mmap
import os
import time

from fsutil import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, as_user, fallocate, link_fd, outcome, read_file,
                    write_file)


def set_id_steps(d):
    """Who changes a file how, and what becomes of its bits."""
    answers = []
    os.makedirs(d + "/setids")
    os.chmod(d + "/setids", 0o777)
    for mode in (0o644, 0o4755, 0o6755, 0o2745, 0o2767, 0o6767, 0o4777):
        for uid, groups in ((0, ()), (12345, ()), (12345, (4242,)), (12345, tuple(range(5000, 5100)) + (4242,))):
            for name, action in [
                ("chown to nobody", lambda p: os.chown(p, -1, -1)),
                ("chown", lambda p: os.chown(p, -1, 12345)),
                ("write", lambda p: os.pwrite(os.open(p, os.O_WRONLY), b"y", 0)),
                ("truncate", lambda p: os.truncate(p, 10)),
                ("fallocate", lambda p: fallocate(os.open(p, os.O_RDWR), 0, 0, 8192)),
            ]:
                path = "%s/setids/%o-%d-%d-%s" % (d, mode, uid, len(groups), name.replace(" ", "-"))
                write_file(path, b"x" * 100)
                os.chown(path, 12345, 4242)
                os.chmod(path, mode)
                before = os.stat(path).st_ctime_ns
                time.sleep(0.005)
                def act(path=path, action=action):
                    return str(outcome(action, path))
                said = act() if uid == 0 else as_user(uid, act, groups=groups)
                now = os.stat(path)
                answers.append((name, uid, len(groups), oct(mode), said, oct(now.st_mode), now.st_ctime_ns != before))
    return answers


def open_file_steps(directory):
    """All that can be done with an open file."""
    path = directory + "/file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
    steps = [os.write(fd, b"0123456789" * 1000), os.pread(fd, 12, 9995), os.fstat(fd).st_size]
    os.ftruncate(fd, 5000)
    steps += [os.pread(fd, 10, 4995), os.fstat(fd).st_size]
    fallocate(fd, 0, 8000, 100)
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 4096)
    steps += [os.pread(fd, 10, 4090), os.fstat(fd).st_size, os.lseek(fd, 4096, os.SEEK_DATA)]
    os.fsync(fd)
    os.fdatasync(fd)
    other = os.open(directory + "/other", os.O_RDWR | os.O_CREAT)
    steps += [os.copy_file_range(fd, other, 500, 4096, 0), os.pread(other, 10, 0)]
    appending = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(appending, b"tail")
    steps += [read_file(path)[-6:]]
    with mmap.mmap(fd, 8104) as view:
        view[0:3] = b"map"
        view.flush()
    steps += [read_file(path)[:4], outcome(os.write, os.open(path, os.O_RDONLY), b"x")]
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    steps += [os.fstat(fd).st_size]
    os.unlink(path)
    os.write(fd, b"gone")
    steps += [os.pread(fd, 100, 12104), os.fstat(fd).st_nlink]
    nameless = os.open(directory, os.O_TMPFILE | os.O_RDWR)
    os.write(nameless, b"named later")
    link_fd(nameless, directory + "/later")
    steps += [read_file(directory + "/later"), sorted(os.listdir(directory))]
    fcntl.lockf(other, fcntl.LOCK_EX)
    fcntl.flock(other, fcntl.LOCK_EX)
    return steps
