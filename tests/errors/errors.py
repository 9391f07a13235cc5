# SPDX-License-Identifier: MIT
"""Every call that can lose data fails once; every handle is asked what it has heard. See scripts/errors."""

import argparse
import atexit
import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

from model import KINDS, File, Injector

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT)
FILES = 8
EXTENTS = 8
GAP = 1 << 16  # between extents
SYNCHRONOUS = os.O_DSYNC
LOGGED = re.compile(r"sync '(.*)' offset (\d+) length (\d+): ([^;]*)")
SETTLE_SECONDS = 20


class Mount:
    """The daemon with the injector in it, over a directory of its own."""

    def __init__(self, arguments):
        self.work, self.sync = arguments.work, arguments.sync
        self.backing, self.path = (os.path.join(self.work, name) for name in ("backing", "mnt"))
        for path in (self.backing, self.path):
            os.makedirs(path, exist_ok=True)
        self.inode = os.stat(self.backing).st_ino
        self.injector = Injector(os.path.join(self.work, "inject"))
        self.injector.fields.skip_real = not arguments.real
        options = [f"sync={self.sync}", "log_level=warning", "writes=pwrite"]
        options += ["sync_interval=10ms"] if self.sync == "periodic" else []
        options += [arguments.options] if arguments.options else []
        self.said_path = os.path.join(self.work, "stderr")
        environment = dict(os.environ, LD_PRELOAD=arguments.injector, INJECT=os.path.join(self.work, "inject"))
        with open(self.said_path, "wb") as said:
            self.daemon = subprocess.Popen(
                [arguments.bin, "-f", self.backing, self.path, "-o", ",".join(options)], env=environment, stderr=said
            )
        # Nobody else would end it, nor is there another way into its mount.
        atexit.register(self.daemon.kill)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.said = open(self.said_path, encoding="utf-8", errors="replace")
        deadline = time.monotonic() + 10
        while not os.path.ismount(self.path):
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                sys.exit("errors: the daemon does not mount: " + self.said.read())
            time.sleep(0.01)

    def stats(self, part="sync"):
        return json.loads(os.getxattr(self.path, "user.memmapfs.stats"))[part]

    def settle(self):
        """Until nothing is dirty and nothing is being synced."""
        if self.sync != "periodic":
            return
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.stats()["dirty_bytes"] != 0 or self.injector.fields.running:
            if time.monotonic() > deadline:
                raise TimeoutError(f"dirty bytes stay: {self.stats()}")
            time.sleep(0.002)

    def lines(self):
        return self.said.read().splitlines()

    def end(self):
        subprocess.run(["umount", self.path], check=True)
        return self.daemon.wait(60)


class Case:
    """One case: some calls, one of which fails, and what everybody is told afterwards."""

    def __init__(self, mount, name, chance, handles):
        self.mount, self.name, self.random = mount, name, chance
        self.injector, self.fields = mount.injector, mount.injector.fields
        self.wrong = []
        self.trace = []
        self.made = True  # were calls of the kind made at all?
        self.failures = 0
        self.directory_failures = 0
        self.merged = 0  # of the failures, those that may have been counted with another
        self.rangeless = 0  # syncs that failed with nothing to sync
        self.files = {}
        self.reported = 0
        self.seen = 0  # of the calls made to fail, since the injector was armed
        for number in range(FILES):
            path = os.path.join(mount.path, f"{name}.{number}")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            file = File(f"{name}.{number}", os.fstat(descriptor).st_ino)
            self.files[file.inode] = file
            file.opened(descriptor, os.O_RDWR)
            while len(file.handles) < handles:
                self.open(file)

    def say(self, what):
        self.trace.append(what)

    def tale(self):
        """What led to here: the failures, and the last steps."""
        early = [line for line in self.trace[:-15] if "failed" in line or "dirty then" in line]
        return early[-20:] + self.trace[-15:]

    def complain(self, what):
        self.wrong.append(what + "\n    " + "\n    ".join(self.tale()))

    def path(self, file):
        return os.path.join(self.mount.path, file.name)

    def open(self, file, flags=None):
        if flags is None:
            flags = self.random.choice((os.O_RDWR, os.O_RDONLY, os.O_RDWR | SYNCHRONOUS))
        handle = file.opened(os.open(self.path(file), flags), flags)
        self.say(f"open {file.name} flags {flags:#o}: handle {handle.descriptor}, due {handle.due()}")
        return handle

    def attempt(self, handle, what, call, due, failing):
        """Run one call. @failing: a failure injected meanwhile is this call's own. Returns what it told."""
        before = self.fields.failed
        try:
            call()
            told = 0
        except OSError as error:
            told = error.errno
        # A file that is closed while dirty may have failed in the background a while ago.
        since = before if failing or not what.startswith("close") else self.seen
        failed = handle.file.inode in self.injector.failed(since)
        if failed and failing:
            self.seen = self.fields.failed
        expected = self.fields.error if failed and failing else due
        self.say(
            f"{what} of {handle.file.name} by handle {handle.descriptor}: {errno.errorcode.get(told, told)}"
            + (" (a call failed meanwhile)" if failed else "")
        )
        if failed:
            self.say(f"  dirty then: {handle.file.dirty}")
        self.reported += told != 0
        allowed = {expected}
        if what.startswith("close") and handle.may_be_silent and handle.due():
            allowed.add(0)
        if failed and not failing:  # in the background: before the call, or after it
            allowed = {due, self.fields.error}
        if told not in allowed:
            names = "/".join(errno.errorcode.get(one, "nothing") for one in allowed)
            self.complain(f"{what}: told {errno.errorcode.get(told, 'nothing')}, due was {names}")
        return told, failed

    def write(self, handle, extent):
        """A write. A plain one is told of its own failure only, and a synchronous one consumes."""
        file = handle.file
        offset, length = extent * GAP, self.random.randrange(1, 4096)
        synchronous = handle.flags & SYNCHRONOUS or self.mount.sync == "immediate"
        due = handle.due() if synchronous else 0
        told, failed = self.attempt(
            handle,
            f"write {offset}+{length}",
            lambda: os.pwrite(handle.descriptor, b"x" * length, offset),
            due,
            self.fields.kind == KINDS["pwrite"] or synchronous,
        )
        own = failed and (self.fields.kind == KINDS["pwrite"] or synchronous)
        if synchronous and not own:
            handle.consume()
        if own and self.fields.kind != KINDS["pwrite"]:
            self.record(file)
            # Of the kernel's own FSYNC after it, when the write itself has synced.
            self.rangeless += 1
            handle.consume()
        if not synchronous and not told:
            file.dirty.append((offset, length))
        if synchronous and not (own and self.fields.kind == KINDS["pwrite"]):
            file.dirty.clear()  # it takes along what others have written

    def record(self, file):
        file.fail(self.fields.error)
        self.failures += 1

    def sync(self, handle, datasync):
        call = os.fdatasync if datasync else os.fsync
        name = "fdatasync" if datasync else "fsync"
        own = self.attempt(handle, name, lambda: call(handle.descriptor), handle.due(), True)[1]
        if own:
            self.record(handle.file)
            self.rangeless += not handle.file.dirty
        handle.consume()
        handle.file.dirty.clear()

    def close(self, handle, dup):
        descriptor = os.dup(handle.descriptor) if dup else handle.descriptor
        lazy = self.mount.sync == "lazy"
        what = "close of a dup" if dup else "close"
        failed = self.attempt(handle, what, lambda: os.close(descriptor), handle.due(), lazy)[1]
        if failed and lazy:
            self.record(handle.file)
            self.rangeless += not handle.file.dirty
        if lazy:
            handle.file.dirty.clear()
        if not dup:
            handle.file.handles.remove(handle)
            if lazy:
                self.await_release()

    def await_release(self):
        """The kernel sends RELEASE after close has returned, and lazy syncs once more then."""
        handles = sum(len(file.handles) for file in self.files.values())
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.mount.stats("handles") != handles:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.mount.stats('handles')} handles in the daemon, {handles} here")
            time.sleep(0.0005)

    def dirty_all(self):
        """Write to every file, in as many places as it can be dirty in."""
        for file in self.files.values():
            writable = [handle for handle in file.handles if handle.writes()]
            plain = [handle for handle in writable if not handle.flags & SYNCHRONOUS]
            closing = None
            if not plain:
                closing = self.open(file, os.O_RDWR)
            for extent in range(EXTENTS):
                self.write(closing or self.random.choice(plain), extent)
            if closing:
                self.close(closing, False)

    def settle(self):
        """Let the background syncs end. Files that a failure has met since then are told so."""
        hit = set()
        self.mount.settle()
        for inode in self.injector.failed(self.seen):
            self.seen += 1
            if self.fields.kind == KINDS["pwrite"]:
                continue
            file = self.files.get(inode)
            if inode == self.mount.inode:
                # Names in it may be lost. It has no handle that writes, and nobody to tell but the log.
                self.directory_failures += 1
                continue
            if file is None:
                self.complain(f"a call failed for inode {inode}, which is none of the test's")
                continue
            self.record(file)
            # Several of a file in one round may be one failure.
            self.merged += inode in hit
            hit.add(inode)
            self.say(f"a sync of {file.name} has failed in the background")
        if self.mount.sync == "periodic":
            for file in self.files.values():
                file.dirty.clear()

    def reach(self, kind):
        """Have calls of a kind made until the one that is to fail was. False: there are none in this mode."""
        for turn in range(400):
            if self.fields.failed:
                return True
            if turn == 10 and self.fields.count == 0:
                return False
            chosen = self.random.choice(list(self.files.values()))
            if kind in ("fdatasync", "fsync") and chosen.handles and self.random.random() < 0.7:
                for handle in list(chosen.handles):
                    self.sync(handle, kind == "fdatasync")
            else:
                self.dirty_all()
                self.settle()
                if self.mount.sync in ("lazy", "never"):
                    for handle in list(chosen.handles):
                        self.close(handle, True)
        self.complain(f"no call failed: {self.fields.count} of {kind} seen, number {self.fields.number} wanted")
        return True

    def ask(self, steps):
        """Everybody is asked, in any order; some are opened only now."""
        for _ in range(steps):
            file = self.random.choice(list(self.files.values()))
            victim = self.files.get(self.fields.inodes[0]) if self.fields.failed == 1 else None
            if victim is not None and self.random.random() < 0.7:
                file = victim
            what = self.random.randrange(6)
            if what == 0 and len(file.handles) < 12 or not file.handles:
                self.open(file)
                continue
            handle = self.random.choice(file.handles)
            if what in (1, 2):
                self.sync(handle, what == 1)
            elif what == 3 and handle.flags & SYNCHRONOUS:
                self.write(handle, 0)
            else:
                self.close(handle, what != 5)

    def end(self):
        for file in self.files.values():
            for handle in list(file.handles):
                self.close(handle, False)
            # Who comes now hears of it only if nobody has.
            self.sync(self.open(file, os.O_RDONLY), False)
            for handle in list(file.handles):
                self.close(handle, False)
            os.unlink(self.path(file))

    def check_log(self, lines, kind, counted):
        """Each failure was logged, once, with a range that was written."""
        names = {file.name for file in self.files.values()}
        found = []
        for line in lines:
            match = LOGGED.search(line)
            if match and os.path.basename(match.group(1)) in names:
                found.append(line)
            elif "sync" in line and kind != "pwrite" and any(name in line for name in names):
                self.complain(f"logged without a range: {line}")
            elif "takes longer" not in line and not (self.directory_failures and "sync directory" in line):
                self.complain(f"the daemon said: {line}")
        if kind != "pwrite" and len(found) != counted and not self.wrong:
            self.complain(f"{counted} syncs failed, and logged were: {found}")
        for line in found:
            match = LOGGED.search(line)
            start, length = int(match.group(2)), int(match.group(3))
            known = any(os.strerror(error) in line for error in (ERRORS if kind == "any" else [self.fields.error]))
            self.rangeless -= length == 0
            if start + length > EXTENTS * GAP or not known:
                self.complain(f"logged wrongly: {line}")
        if self.rangeless < 0:
            self.complain(f"there was a range, and logged was none: {[line for line in found if 'length 0:' in line]}")


def run_case(mount, name, kind, seed, handles, body):
    """@body of a new case; then whether all that failed was counted and logged."""
    case = Case(mount, name, random.Random(seed), handles)
    before = mount.stats()["errors"]
    mount.lines()
    try:
        body(case)
        mount.injector.disarm()
        case.end()
    finally:
        mount.injector.disarm()
    counted = mount.stats()["errors"] - before
    failed = case.failures + case.directory_failures
    if not failed - case.merged <= counted <= failed:
        case.complain(f"{failed} syncs failed, and the statistics counted {counted}")
    case.check_log(mount.lines(), kind, counted - case.directory_failures)
    return case


def fail_once(kind, number, error):
    def body(case):
        case.injector.arm(kind, number, error)
        case.made = case.reach(kind)
        case.settle()
        case.injector.disarm()
        case.ask(30)

    return body


def fail_often(case):
    """One in a few calls fails, of any kind, each time with another errno; between that, everybody is asked."""
    for _ in range(12):
        case.seen = 0
        case.injector.arm(
            case.random.choice(("msync", "fdatasync", "fsync")), 0, case.random.choice(ERRORS), case.random.choice((2, 5, 20))
        )
        for file in case.files.values():
            while len(file.handles) < 2:
                case.open(file)
        case.dirty_all()
        case.settle()
        case.ask(15)
        case.settle()


def numbers(limit, stride):
    return sorted({1, 2, 3, limit} | set(range(stride, limit + 1, stride)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin")
    parser.add_argument("--injector")
    parser.add_argument("--work")
    parser.add_argument("--sync")
    parser.add_argument("--options")
    parser.add_argument("--calls")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--stride", type=int)
    parser.add_argument("--often", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--real", action="store_true")
    arguments = parser.parse_args()
    mount = Mount(arguments)
    failures = reported = wrong = unused = 0
    classes = {}
    plan = [
        (handles, kind, f"{errno.errorcode[error]} at {kind} {number}", fail_once(kind, number, error))
        for handles in (1, 2, 8)
        for kind in arguments.calls.split(",")
        for error in ERRORS
        for number in numbers(arguments.limit, arguments.stride)
    ]
    plan += [(handles, "any", "now and then", fail_often) for handles in (1, 2, 8) for _ in range(arguments.often)]
    for number, (handles, kind, what, body) in enumerate(plan):
        case = run_case(mount, f"case{number}", kind, arguments.seed * 1000003 + number, handles, body)
        failures += case.failures
        unused += not case.made
        reported += case.reported
        wrong += bool(case.wrong)
        for text in case.wrong:
            # One of each sort is enough to read.
            sort = re.sub(r"'[^']*'|[0-9]+", "", text.split("\n", maxsplit=1)[0])[:50]
            classes[sort] = classes.get(sort, 0) + 1
            if classes[sort] == 1:
                print(f"FAIL sync={arguments.sync}, {handles} handles, {what} (case {number}):\n  {text}", flush=True)
    status = mount.end()
    # The manual: a failed sync makes the exit status 7, even one that has been reported.
    odd = status != (7 if failures else 0)
    if odd:
        print(f"FAIL the daemon's exit status is {status}: {mount.lines()}")
    for sort, count in classes.items():
        print(f"{count} times: {sort}")
    print(
        f"errors: sync={arguments.sync}: {len(plan) - unused} cases ({unused} more of calls never made), {failures} failed syncs, {reported} reports,"
        f" {wrong} cases where the rule did not hold"
    )
    sys.exit(1 if wrong or odd else 0)


if __name__ == "__main__":
    main()
