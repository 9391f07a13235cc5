# SPDX-License-Identifier: MIT
"""
The rule of who hears of a failed sync, and the shared page that makes calls fail.

As the kernel's errseq_t: every failure of a file moves its sequence on. A handle has not heard of a failure
while its cursor is behind; every close then reports it, and fsync, fdatasync and a synchronous write report
and consume it. A handle begins with everything heard, but for a last failure that no handle has consumed.
One opened for reading while nobody had the file open for writing may close without asking: its fsync tells.
"""

import ctypes
import mmap
import os

KINDS = {"msync": 1, "pwrite": 2, "fdatasync": 3, "fsync": 4}


RING = 256


class _Fields(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint32)
        for name in ("kind", "number", "error", "chance", "count", "failed", "skip_real", "padding")
    ] + [("inodes", ctypes.c_uint64 * RING), ("calls", ctypes.c_uint64 * 5), ("running", ctypes.c_uint64)]


class Injector:
    """See inject.h."""

    def __init__(self, path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, mmap.PAGESIZE)
        self._page = mmap.mmap(descriptor, mmap.PAGESIZE)
        self.fields = _Fields.from_buffer(self._page)
        os.close(descriptor)

    def arm(self, kind, number, error, chance=1):
        fields = self.fields
        fields.kind = 0
        fields.count = fields.failed = 0
        fields.number, fields.error, fields.chance = number, error, chance
        fields.kind = KINDS[kind]

    def failed(self, since):
        """The inodes of the calls made to fail, but for the first @since."""
        return [self.fields.inodes[number % RING] for number in range(since, self.fields.failed)]

    def disarm(self):
        self.fields.kind = 0


class File:
    """What a file's handles are to be told."""

    def __init__(self, name, inode):
        self.name, self.inode = name, inode
        self.sequence = 0
        self.error = 0
        self.consumed = True
        self.handles = []
        self.dirty = []  # (offset, length) written and not synced

    def fail(self, error):
        self.sequence += 1
        self.error = error
        self.consumed = False

    def opened(self, descriptor, flags):
        handle = Handle(self, descriptor, flags)
        handle.may_be_silent = not handle.writes() and not any(other.writes() for other in self.handles)
        handle.seen = self.sequence - (not self.consumed)
        self.handles.append(handle)
        return handle


class Handle:
    def __init__(self, file, descriptor, flags):
        self.file, self.descriptor, self.flags = file, descriptor, flags
        self.seen = 0
        self.may_be_silent = False

    def writes(self):
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    def due(self):
        """What its next close or fsync must report; 0: nothing."""
        return self.file.error if self.seen != self.file.sequence else 0

    def consume(self):
        error = self.due()
        self.seen = self.file.sequence
        if error:
            self.file.consumed = True
        return error
