# SPDX-License-Identifier: MIT
"""What a cut has taken of the acknowledged writes, promised or not."""

import os
import struct

from evidence import MAGIC, UNIT


def _sequences(path, run, number):
    """By unit, the write that the file has the bytes of."""
    found = {}
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return found
    size, at = os.fstat(fd).st_size, 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, at, os.SEEK_HOLE)
        except OSError:
            break  # there is nothing but a hole
        at -= at % UNIT
        data = os.pread(fd, end - at, at)
        for offset in range(0, len(data) - 15, UNIT):
            magic, owner, file_number, sequence = struct.unpack_from("<IIII", data, offset)
            if (magic, owner, file_number) == (MAGIC, run, number):
                found[(at + offset) // UNIT] = sequence
        at = end
    os.close(fd)
    return found


def losses(log, root, run):
    """Every acknowledged write of which a unit is older, or not there: [(age in µs at the cut, bytes)]."""
    lost = []
    for file in log.files.values():
        found = _sequences(os.path.join(root, file.path), run, file.number)
        for write in file.writes.values():
            if write.letter != "W":
                continue
            first = write.offset // UNIT
            gone = sum(found.get(unit, 0) < write.sequence for unit in range(first, first + write.length // UNIT))
            if gone:
                lost.append((log.end - write.time, gone * UNIT))
    return lost
