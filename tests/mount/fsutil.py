# SPDX-License-Identifier: MIT
"""System calls and small tools of the mount tests that Python's standard library lacks.

The programs in test_*.sh run with everything of this module in scope. Paths are str; MNT, BACKING,
NATIVE (a directory beside BACKING on the same file system) and WORK come from the test.
"""

import atexit
import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import pickle
import random  # noqa: F401 - this and the like are for the programs
import select
import signal
import socket  # noqa: F401
import stat  # noqa: F401
import struct
import subprocess
import sys
import time
from errno import *  # noqa: F401, F403 - ENOENT and friends, as the manual pages write them

MNT = os.environ.get("MNT", "")
BACKING = os.environ.get("BACKING", "")
NATIVE = os.environ.get("NATIVE", "")
WORK = os.environ.get("WORK", "")
PAGE = mmap.PAGESIZE
MIB = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_COLLAPSE = 0x01, 0x02, 0x08
FALLOC_ZERO_RANGE, FALLOC_INSERT, FALLOC_UNSHARE = 0x10, 0x20, 0x40
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
MS_REMOUNT = 32
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
FS_IMMUTABLE_FL, FS_APPEND_FL = 0x10, 0x20


def _checked(result, path=None):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def renameat2(old, new, flags):
    _checked(_libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags), old)


def fallocate(fd, mode, offset, length):
    _checked(_libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def getdents64(fd):
    """The rest of an open directory: (name, inode number) of each entry, "." and ".." included."""
    buffer, entries = ctypes.create_string_buffer(65536), []
    while (got := _checked(_libc.getdents64(fd, buffer, len(buffer)))) > 0:
        at = 0
        while at < got:
            ino, _, length = struct.unpack_from("=QqH", buffer, at)
            entries.append((os.fsdecode(buffer.raw[at + 19:at + length].split(b"\0", 1)[0]), ino))
            at += length
    return entries


def forget_names(mount):
    """Have the kernel forget what nobody uses there: what drop_caches does to all file systems, and other tests."""
    _checked(_libc.mount(b"none", os.fsencode(mount), None, MS_REMOUNT, None), mount)


def link_fd(fd, path):
    """Give the file behind an open descriptor, an O_TMPFILE one too, a name."""
    source = os.fsencode("/proc/self/fd/%d" % fd)
    _checked(_libc.linkat(AT_FDCWD, source, AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW), path)


def utimensat(path, atime, mtime, follow=True):
    """atime and mtime are (seconds, nanoseconds), UTIME_NOW and UTIME_OMIT included."""
    times = struct.pack("qqqq", *atime, *mtime)
    flags = 0 if follow else AT_SYMLINK_NOFOLLOW
    _checked(_libc.utimensat(AT_FDCWD, os.fsencode(path), times, flags), path)


def get_flags(path):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return struct.unpack("L", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))[0]
    finally:
        os.close(fd)


def set_flags(path, flags):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("L", flags))
    finally:
        os.close(fd)


def birth_time(path):
    return subprocess.check_output(["stat", "-c", "%w", path], text=True).strip()


class _FileHandle(ctypes.Structure):
    _fields_ = [
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_ubyte * 128),
    ]


def name_to_handle(path):
    """Return (type, bytes), which stays meaningful across mounts where the file system exports."""
    handle = _FileHandle(handle_bytes=128)
    mount_id = ctypes.c_int()
    _checked(
        _libc.name_to_handle_at(
            AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount_id), 0
        ),
        path,
    )
    return handle.handle_type, bytes(handle.f_handle[: handle.handle_bytes])


def open_handle(mount, handle, flags):
    """Open what name_to_handle() named, on the file system mounted at MOUNT."""
    kind, data = handle
    raw = _FileHandle(handle_bytes=len(data), handle_type=kind)
    ctypes.memmove(raw.f_handle, data, len(data))
    mount_fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _checked(_libc.open_by_handle_at(mount_fd, ctypes.byref(raw), flags))
    finally:
        os.close(mount_fd)


@contextlib.contextmanager
def raises(*numbers):
    """The block ends with an OSError of one of these errnos."""
    names = "/".join(errno.errorcode[n] for n in numbers)
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise AssertionError("expected %s, got %s" % (names, error)) from error
        return
    raise AssertionError("expected %s, but it succeeded" % names)


# For commands that are killed at random moments: killed while it looks for leaks, one may leave a report without a word.
KILLED_ENVIRON = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}


def outcome(function, *args, **kwargs):
    """What a call returns, or the name of its errno: for comparing two file systems."""
    try:
        return function(*args, **kwargs)
    except OSError as error:
        return errno.errorcode[error.errno]


def brief(value):
    text = repr(value)
    return text if len(text) <= 2000 else "%s... (%d characters)" % (text[:2000], len(text))


def equal(actual, expected, what=""):
    if actual == expected:
        return
    if isinstance(actual, dict) and isinstance(expected, dict):
        different = [key for key in {**expected, **actual} if (key in actual, actual.get(key)) !=
                     (key in expected, expected.get(key))]
        actual, expected = ({key: side[key] for key in different if key in side} for side in (actual, expected))
    raise AssertionError("%s: expected %s, got %s" % (what or "value", brief(expected), brief(actual)))


def skip(reason):
    """End the program; the check counts as skipped."""
    print(reason)
    sys.exit(77)


def write_file(path, data, mode=0o644):
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def resident_pages(path):
    """For each page of a file whether it is in memory, 1 or 0, by mincore(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    size = os.stat(path).st_size
    vector = (ctypes.c_ubyte * ((size + PAGE - 1) // PAGE))()
    fd = os.open(path, os.O_RDONLY)
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    os.close(fd)
    _checked(libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), vector), path)
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return [page & 1 for page in vector]


def as_user(uid, function, *args, gid=None, groups=(), umask=0o022):
    """Run a function as another user in a child; its result or exception becomes ours."""
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(list(groups))
            os.setgid(uid if gid is None else gid)
            os.setuid(uid)
            os.umask(umask)
            answer = (True, function(*args))
        except BaseException as error:  # noqa: B902 - handed to the parent
            answer = (False, error)
        with os.fdopen(write_end, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        good, value = pickle.load(pipe)
    os.waitpid(pid, 0)
    if good:
        return value
    raise value


_next_directory = [0]


def on_both(function, mode=0o777):
    """Run function(directory) in a new directory natively and on the mount; both must answer alike."""
    _next_directory[0] += 1
    name = "both-%d-%d" % (os.getpid(), _next_directory[0])
    answers = []
    for root in (NATIVE, MNT):
        directory = os.path.join(root, name)
        os.mkdir(directory)
        os.chmod(directory, mode)
        answers.append(function(directory))
    native, mounted = answers
    if isinstance(native, (list, tuple)) and isinstance(mounted, (list, tuple)):
        for index, (left, right) in enumerate(zip(native, mounted)):
            equal(right, left, "step %d, native against mount" % index)
    equal(mounted, native, "native against mount")
    return mounted


class Process:
    """A forked child that runs function(say) and then waits to be released or ended.

    say(text) sends a word to the parent, which reads it with hear(). The function may use
    self.wait_for_go() to wait for the parent's go(). Children left over end with the program.
    """

    _living = []

    def __init__(self, function):
        from_child, self._child_out = os.pipe()
        self._child_in, to_child = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(from_child)
            os.close(to_child)
            try:
                function(self)
                os.read(self._child_in, 1)
                os._exit(0)
            except BaseException as error:  # noqa: B902 - told to the parent
                self.say("error %r" % error)
                os._exit(1)
        os.close(self._child_out)
        os.close(self._child_in)
        self._from, self._to = from_child, to_child
        Process._living.append(self)

    # in the child
    def say(self, text):
        with contextlib.suppress(BrokenPipeError):
            os.write(self._child_out, (text + "\n").encode())

    def wait_for_go(self):
        os.read(self._child_in, 1)

    # in the parent
    def hears_within(self, seconds):
        return bool(select.select([self._from], [], [], seconds)[0])

    def hear(self, seconds=10):
        text = b""
        while not text.endswith(b"\n"):
            if not self.hears_within(seconds):
                raise AssertionError("process %d said nothing within %s s" % (self.pid, seconds))
            part = os.read(self._from, 1)
            if not part:
                raise AssertionError("process %d ended after %r" % (self.pid, text))
            text += part
        return text.decode().strip()

    def go(self):
        os.write(self._to, b"g")

    def signal(self, number):
        os.kill(self.pid, number)

    def ends_within(self, seconds):
        """Return the wait status, or None if it is still running."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                Process._living.remove(self)
                return status
            time.sleep(0.01)
        return None

    def kill(self):
        if self not in Process._living:
            return
        Process._living.remove(self)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@atexit.register
def _end_processes():
    for process in list(Process._living):
        process.kill()


def wait_until(seconds, function):
    deadline = time.monotonic() + seconds
    while not function():
        if time.monotonic() > deadline:
            raise AssertionError("did not happen within %s s" % seconds)
        time.sleep(0.02)


def statistics():
    return json.loads(os.getxattr(MNT, "user.memmapfs.stats"))
