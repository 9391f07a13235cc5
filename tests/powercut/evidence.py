# SPDX-License-Identifier: MIT
"""
What the guest's log acknowledges, what its mode therefore promises, and what the image holds.

A promise is about a unit of 128 bytes (record.h): it must be there as the promised write left it, or as a
later one did. A unit without a promise may be old, new or not there, but nothing that was never written.
"""

import os
import struct

UNIT = 128
MAGIC = 0x54554350
_MASK = (1 << 64) - 1
ALWAYS = 1 << 62


def unit_bytes(run, file, sequence, offset):
    word = (run << 32 | file) ^ (sequence << 40 & _MASK) ^ (offset // UNIT)
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _MASK
    word ^= word >> 31
    head = struct.pack("<IIIIQ", MAGIC, run, file, sequence, offset)
    return head + struct.pack("<Q", word) * ((UNIT - 24) // 8)


class Write:
    __slots__ = ("sequence", "offset", "length", "time", "letter", "stored", "why")

    def __init__(self, letter, sequence, offset, length, time):
        self.letter, self.sequence, self.offset, self.length, self.time = letter, sequence, offset, length, time
        self.stored = time if letter == "S" else None  # when it was a store and nothing else
        self.why = None  # by what it is promised


class File:
    def __init__(self, number, kind, path):
        self.number, self.kind, self.path = number, kind, path
        self.writes = {}  # by sequence
        self.truncations = []  # (sequence, size)
        self.covers = []  # (sequence, time, letter, how)
        self.renames = []  # paths that it may have got
        self.lines = []

    def last(self):
        sequences = list(self.writes) + [sequence for sequence, _ in self.truncations]
        return max(sequences, default=0)


class Log:
    """The guest's log. A last line that the cut left incomplete is none."""

    def __init__(self, text):
        self.files = {}
        self.errors = []
        self.beats = []  # (time, late)
        self.begun = self.end = 0
        self.queued, self.worked = {}, []
        self.discarded = 0  # round of the last discard that was acknowledged
        for line in text[: text.rfind("\n") + 1].splitlines():
            self._line(line)

    def _line(self, line):
        letter, *words = line.split(" ")
        if letter == "P":
            return
        handler = getattr(self, "_on_" + {"t": "truncate", "r": "renaming"}.get(letter, letter), None)
        if handler is None:
            self.errors.append(f"line '{line}' of the log makes no sense")
            return
        handler(words)
        if letter in "NWSMUDAFCtrR":
            self.files[int(words[0])].lines.append(line)

    def _time(self, word):
        time = int(word)
        self.end = max(self.end, time)
        return time

    def _on_N(self, words):
        self.files[int(words[0])] = File(int(words[0]), words[1], words[2])

    def _write(self, letter, words):
        sequence, offset, length = (int(word) for word in words[1:4])
        time = self._time(words[-1]) if letter != "A" else None
        writes = self.files[int(words[0])].writes
        old = writes.get(sequence)
        writes[sequence] = Write(letter, sequence, offset, length, time)
        # A store that nothing was called for, and that munmap has handed over later.
        if old is not None and old.stored is not None:
            writes[sequence].stored = old.stored

    def _on_W(self, words):
        self._write("W", words)

    def _on_S(self, words):
        self._write("S", words)

    def _on_M(self, words):
        self._write("M", words)

    def _on_U(self, words):
        self._write("U", words)

    def _on_D(self, words):
        self._write("D", words)

    def _on_A(self, words):
        self._write("A", words)

    def _cover(self, letter, words):
        time = self._time(words[2])
        self.files[int(words[0])].covers.append((int(words[1]), time, letter, " ".join(words[3:])))

    def _on_X(self, words):
        self.discarded = int(words[0])

    def _on_F(self, words):
        self._cover("F", words)

    def _on_C(self, words):
        self._cover("C", words)

    def _on_truncate(self, words):
        self.files[int(words[0])].truncations.append((int(words[1]), int(words[2])))

    def _on_renaming(self, words):
        self.files[int(words[0])].renames.append(words[1])

    def _on_R(self, words):
        pass

    def _on_H(self, words):
        self.beats.append((self._time(words[0]), int(words[1])))

    def _on_G(self, words):
        self.begun = self._time(words[0])

    def _on_E(self, words):
        self.errors.append(" ".join(words))

    def _on_Q(self, words):
        self.queued[int(words[0])] = self._time(words[1])

    def _on_Y(self, words):
        queued = self.queued.pop(int(words[0]))
        time = self._time(words[1])
        if int(words[2]) > 0:
            self.worked.append((queued, time))

    def busy(self):
        """When background work that syncs was queued or running, as intervals that do not overlap."""
        merged = []
        for begin, end in sorted(self.worked + [(begin, self.end) for begin in self.queued.values()]):
            if merged and begin <= merged[-1][1]:
                merged[-1][1] = max(end, merged[-1][1])
            else:
                merged.append([begin, end])
        return merged

    def tolerance_us(self, since):
        """How late the emulated machine may have been for the daemon's timer, after @since.

        Two threads have to be woken, the one that waits for the timer and the one that syncs; no thread was
        seen woken later than the heartbeat at its latest. libuv counts whole milliseconds, for the moment
        when a timer is set and for the moment when it is due.
        """
        late = [late for time, late in self.beats if time >= since]
        late.append(self.end - max((time for time, _ in self.beats), default=self.begun))
        return 2 * max(late) + 2000


def promise_bound(log, interval_us, intervals):
    """The latest time at which a write was acknowledged that must be on disk by the end of the log.

    @intervals times sync_interval must have gone by since, not counting the time spent syncing. Returns it and
    the tolerance in it.
    """
    bound = 0
    # How late the machine was at first, say while it was mounting, does not count.
    for _ in range(2):
        tolerance = log.tolerance_us(bound)
        need = intervals * interval_us + tolerance
        at = log.end
        for begin, end in reversed(log.busy()):
            if at - end >= need:
                break
            need -= max(at - end, 0)
            at = min(at, begin)
        bound = at - need
    return bound, tolerance


def _late(what, time, bound, end):
    return f"{what} {(end - time) / 1000:.1f} ms before the last sign of life; the bound was {(end - bound) / 1000:.1f} ms"


def promise(log, mode, interval_us, writeback):
    """Mark every write with why it is promised. Returns how many are."""
    bound = held = handed = 0
    if mode == "periodic":
        # What the kernel holds back is due an interval after the mount's own tick fetched it.
        held, _ = promise_bound(log, interval_us, 2)
        handed, tolerance = promise_bound(log, interval_us, 1)
        bound = held if writeback else handed
        # munmap hands pages over; Linux 6.1 does not wait for them to be taken, 6.18 does: one more thread
        # has to be woken. For the same reason its return is no promise of sync=immediate.
        handed -= tolerance
    count = 0
    for file in log.files.values():
        covered = {"F": (0, ""), "C": (0, "")}
        for sequence, time, letter, how in file.covers:
            covered[letter] = max(covered[letter], (sequence, f"{how} returned at {time}"))
        for write in file.writes.values():
            if write.letter in "MD":
                write.why = "msync returned" if write.letter == "M" else "the descriptor is synchronous"
            elif write.sequence <= covered["F"][0] and write.letter != "S":
                write.why = covered["F"][1]
            elif mode == "lazy" and write.sequence <= covered["C"][0] and write.letter != "S":
                write.why = covered["C"][1]
            elif mode == "immediate" and write.letter == "W" and not writeback:
                write.why = "it returned"
            elif write.letter == "W" and write.time <= bound:
                write.why = _late("it returned", write.time, bound, log.end)
            elif write.letter == "U" and write.time <= handed:
                write.why = _late("its munmap returned", write.time, handed, log.end)
            elif write.stored is not None and write.stored <= held:
                write.why = _late("it was stored", write.stored, held, log.end)
            count += write.why is not None
    return count


class Checker:
    def __init__(self, log, root, run):
        self.log, self.root, self.run = log, root, run
        self.violations = []
        self.units = 0  # promised ones

    def check(self):
        for file in self.log.files.values():
            self._file(file)
        return self.violations

    def _is(self, path, number):
        """Does the file at this path hold units of that number, and of no other?"""
        try:
            with open(os.path.join(self.root, path), "rb") as file:
                head = file.read(UNIT)
        except OSError:
            return None
        found = struct.unpack_from("<IIII", head) if len(head) == UNIT else (0, 0, 0, 0)
        return found[2] == number if found[:2] == (MAGIC, self.run) else None

    def _exists(self, path):
        return os.path.exists(os.path.join(self.root, path))

    def _replaced(self, file):
        """Has a later file, which is no longer where it was made, been renamed over it?"""
        return any(
            other.number > file.number and path in other.renames and self._exists(path) and not self._exists(other.path)
            for path in file.renames
            for other in self.log.files.values()
        )

    def _find(self, file, wanted):
        """The path that the file has now; None: there is none, and that is a violation if it is wanted."""
        for path in reversed(file.renames):
            if self._is(path, file.number):
                return path
        if not self._exists(file.path):
            if wanted and not self._replaced(file):
                self._say(file, wanted[-1], "the file is not there, or its beginning is not", 0)
            return None
        return file.path

    def _file(self, file):
        wanted = sorted((w for w in file.writes.values() if w.why), key=lambda w: w.sequence)
        path = self._find(file, wanted)
        if path is None:
            return
        full = os.path.join(self.root, path)
        size = os.stat(full).st_size
        need = {}
        for write in wanted:
            first = write.offset // UNIT
            need.update(dict.fromkeys(range(first, first + write.length // UNIT), write.sequence))
        for sequence, cut in file.truncations:
            need = {unit: number for unit, number in need.items() if number > sequence or unit * UNIT < cut}
        self.units += len(need)
        with open(full, "rb") as data:
            self._holes(file, data, size, need)
        by_write = {write.sequence: write for write in wanted}
        reported = set()
        with open(full, "rb") as data:
            for unit, sequence in sorted(need.items()):
                data.seek(unit * UNIT)
                problem = self._unit(file, unit, data.read(UNIT), sequence)
                if problem and sequence not in reported:
                    reported.add(sequence)
                    self._say(file, by_write[sequence], problem, unit * UNIT)

    def _holes(self, file, data, size, need):
        """Look at the units that nothing is promised of; holes are skipped."""
        at = 0
        while at < size:
            try:
                at = os.lseek(data.fileno(), at, os.SEEK_DATA)
                end = os.lseek(data.fileno(), at, os.SEEK_HOLE)
            except OSError:
                return
            for offset in range(at - at % UNIT, min(end, size), UNIT):
                if offset // UNIT in need:
                    continue
                data.seek(offset)
                problem = self._unit(file, offset // UNIT, data.read(UNIT), 0)
                if problem:
                    self._say(file, None, problem, offset)
                    return
            at = end

    def _unit(self, file, unit, data, sequence):
        offset = unit * UNIT
        if data == bytes(len(data)) and sequence == 0:
            return None
        if len(data) == UNIT:
            magic, run, number, found, place = struct.unpack_from("<IIIIQ", data)
            whole = (magic, run) == (MAGIC, self.run) and data == unit_bytes(run, number, found, place)
            if whole and (number, place) != (file.number, offset):
                return f"there is a unit of file {number}, offset {place}, write {found}"
            if whole and found < sequence:
                return f"there is what write {found} had put there"
            if whole and found <= file.last() + 1:
                return None
            if whole:
                return f"there is write {found}, which was never begun"
        if sequence and data == bytes(len(data)):
            return "the file ends before" if not data else "there are zeros"
        return None if self._mixed(file, offset, data, sequence) else f"there is {data[:48].hex()}..."

    def _mixed(self, file, offset, data, sequence):
        """Is every byte one that some allowed write put there? The disk may have read a page being written."""
        allowed = [bytes(UNIT)] if sequence == 0 else []
        for write in [*file.writes.values(), Write("A", file.last() + 1, offset, UNIT, None)]:
            if write.sequence >= sequence and write.offset <= offset < write.offset + write.length:
                allowed.append(unit_bytes(self.run, file.number, write.sequence, offset))
        return all(any(byte == one[i] for one in allowed) for i, byte in enumerate(data)) and (
            len(data) == UNIT or sequence == 0
        )

    def _say(self, file, write, problem, offset):
        text = [f"{file.path} (file {file.number}, kind {file.kind}), offset {offset}: {problem}"]
        if write:
            text.append(
                f"  promised: write {write.sequence} of {write.length} bytes at {write.offset}: {write.why}"
            )
        text.append(f"  the last sign of life was at {self.log.end}; the file's last lines:")
        text += ["    " + line for line in file.lines[-12:]]
        self.violations.append("\n".join(text))
