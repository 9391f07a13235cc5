# SPDX-License-Identifier: MIT
"""What a case is, and what one is given to run with. The cases themselves are in cases_*.py."""
import dataclasses
import json
import os
import signal
import subprocess
import time

CASES = []


class CaseFailed(Exception):
    """The peer does not do what the case asks of it; the text says what went wrong."""


@dataclasses.dataclass
class Case:
    """One row of the table."""
    name: str
    title: str
    unit: str  # MB/s: of bytes; k/s: of thousand operations; µs: an operation; s: the whole
    run: object  # function(Run) -> (operations, bytes, seconds)
    needs: tuple = ()  # data sets, see datasets.py
    cold: str = "mount"  # mount: nothing cached by the mount, all of BACKING; both: nothing cached at all
    warm: object = None  # function(Run), through the mount, before anything is measured
    reset: object = None  # function(Run), in BACKING, before the mount
    after: object = None  # function(Run), when it has been measured or has failed
    warm_backing: object = None  # function(Run), in BACKING: bring what will be read into memory
    pinned: bool = False  # client and daemon on one processor
    writes: bool = False
    quick: bool = False
    bare: bool = False  # for the bare daemon, too
    bare_only: bool = False
    only_named: bool = False  # not among all of them: where its name is asked for
    read_cache: bool = False  # page cache used over bytes read means something


def case(name, title, unit, **words):
    """Decorator: the function is the case's run."""
    def register(function):
        CASES.append(Case(name, title, unit, function, **words))
        return function
    return register


def named(name):
    """The case of that name."""
    return next(case for case in CASES if case.name == name)


@dataclasses.dataclass
class Sizes:
    """How much work a case is."""
    huge: int  # bytes of a file that nobody wants to copy
    committed: int  # bytes that a layer gives to BACKING
    large: int  # bytes of the large file
    writable: int  # bytes of a file that is written
    map_writable: int
    random: int  # 4 KiB requests
    cached: int  # the same, when all of them hit
    fsynced: int  # writes with an fsync each hundred
    dsync: int
    appends: int
    files: int  # small files
    created: int
    pings: int
    tree: int  # files of the git repository and of the archive
    units: int  # C files to compile
    sqlite_delete: int  # transactions
    sqlite_wal: int
    pgbench: int  # transactions of each of four clients
    pg_scale: int


FULL = Sizes(huge=8 << 30, committed=1 << 30, large=512 << 20, writable=256 << 20, map_writable=64 << 20,
             random=32768, cached=131072, fsynced=5000, dsync=1000, appends=20000, files=10000, created=3000,
             pings=20000, tree=3000, units=80, sqlite_delete=200, sqlite_wal=1000, pgbench=500, pg_scale=5)
QUICK = Sizes(huge=1 << 30, committed=128 << 20, large=64 << 20, writable=32 << 20, map_writable=16 << 20,
              random=4096, cached=16384, fsynced=1000, dsync=200, appends=4000, files=2000, created=500,
              pings=3000, tree=200, units=8, sqlite_delete=30, sqlite_wal=100, pgbench=50, pg_scale=1)


class Run:
    """What a case works with: where it is, how much it shall do, and how to have it done."""

    def __init__(self, tools, area, sizes, seed, timeout):
        self.tools, self.area, self.sizes, self.seed = tools, area, sizes, seed
        self.top = area.backing
        self.cpus = None
        self.timeout = timeout
        self.on_timeout = None
        self.state = {}  # what a case's functions tell each other

    def path(self, *names):
        """A path on the mount, or in BACKING where there is none yet."""
        return os.path.join(self.top, *names)

    def native(self, *names):
        """A path in BACKING, around the mount."""
        return os.path.join(self.area.backing, *names)

    def _prepare(self):
        os.setpgid(0, 0)
        if self.cpus:
            os.sched_setaffinity(0, self.cpus)

    def command(self, *words, text=None, cwd="/", env=None):
        """Run a program to its end: its output and the seconds it took. CaseFailed when it fails or hangs."""
        start = time.perf_counter()
        process = subprocess.Popen(words, stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=env,
                                   preexec_fn=self._prepare)
        try:
            output, errors = process.communicate(text, timeout=self.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            if self.on_timeout:
                self.on_timeout()
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                pass
            raise CaseFailed("%s: not done after %g s" % (os.path.basename(words[0]), self.timeout)) from None
        seconds = time.perf_counter() - start
        if process.returncode != 0:
            lines = [line.strip() for line in (errors or output).splitlines() if line.strip()]
            raise CaseFailed(lines[-1][:200] if lines else "%s: exit status %d" % (words[0], process.returncode))
        return output, seconds

    def drive(self, operation, path, **words):
        """One operation of the driver: operations, bytes, seconds."""
        words.setdefault("seed", self.seed)
        output, _ = self.command(self.tools["driver"], operation, "path=" + path,
                                 *("%s=%d" % (name, value) for name, value in words.items()))
        done = json.loads(output)
        return done["operations"], done["bytes"], done["seconds"]

    def fio(self, path, jobs, **words):
        """One job description for fio, each job with a part of the file of its own."""
        part = self.sizes.large // jobs
        output, _ = self.command(
            "fio", "--name=bench", "--filename=" + path, "--ioengine=psync", "--thread", "--gtod_reduce=1",
            "--allow_file_create=0", "--invalidate=0", "--group_reporting", "--output-format=json",
            "--numjobs=%d" % jobs, "--size=%d" % part, "--offset_increment=%d" % part,
            "--randseed=%d" % self.seed, *("--%s=%s" % word for word in words.items()))
        job = json.loads(output[output.index("{"):])["jobs"][0]
        if job["error"]:
            raise CaseFailed("fio: " + os.strerror(job["error"]))
        read = job["read"]
        return read["total_ios"], read["io_bytes"], max(read["runtime"], 1) / 1000
