# SPDX-License-Identifier: MIT
"""What each sync= mode costs, as ratios taken in one run, each with its goal. Called by scripts/sync-cost."""
import fnmatch
import json
import mmap
import multiprocessing
import os
import random
import statistics
import struct
import sys
import time

import cases_data  # noqa: F401  it registers its cases
import cases_files  # noqa: F401
from cases import Case, CaseFailed, named
from measure import rounds
from parts import Parts, timed
from peers import Peer

PARTS = Parts("sync-cost", __doc__, lambda words: 1024 if words.quick else 2048)
FILES = {"tick": 100000, "many": 10000}
BLOCK = 4096


def figures_of(top):
    """The mount's statistics."""
    return json.loads(os.getxattr(top, "user.memmapfs.stats"))


def seconds_with(cost, case, options):
    """What one run took."""
    sample, = rounds(cost.bench, case, [cost.ours(options)], 1, cost.words.verbose)[options]
    if "failed" in sample:
        raise CaseFailed("%s: %s" % (case.name, sample["failed"]))
    return sample["seconds"]


def periodic_beside_never(cost, cases, periodically):
    """Throughput of a periodic mode, times that of never. Each takes part twice: what one differs from itself by is
    what the machine's other work does to the figures."""
    modes = {"periodic": periodically, "never": "sync=never"}
    turns = [(mode, copy) for copy in (1, 2) for mode in modes]
    for case in cases:
        seconds = {turn: [] for turn in turns}
        seconds_with(cost, case, periodically)  # It pays for the memory that the case before gave back.
        for number in range((cost.words.runs + 1) // 2):
            for turn in turns if number % 2 == 0 else reversed(turns):
                seconds[turn].append(seconds_with(cost, case, modes[turn[0]]))
        pooled = {mode: statistics.median(seconds[mode, 1] + seconds[mode, 2]) for mode in modes}
        noise = [statistics.median(seconds[mode, 1]) / statistics.median(seconds[mode, 2]) for mode in modes]
        ratio = pooled["never"] / pooled["periodic"]
        cost.row("%s: throughput with %s, times never's" % (case.name, periodically), "≥ 0.95", "%.3f" % ratio,
                 ratio >= 0.95, "each beside itself: %.2f, %.2f" % tuple(noise))


@PARTS.part
def periodic(cost):
    """Noting what is dirty must not cost the writers much: the benchmark's workloads."""
    names = ("randwrite", "seqwrite-new", "seqwrite-existing", "append", "mmap-write", "create-unlink")
    chosen = [name for name in names if fnmatch.fnmatch(name, cost.words.cases)]
    periodic_beside_never(cost, map(named, chosen), "sync=periodic")


@PARTS.part
def ticking(cost):
    """Nor must syncing it beside them: a workload that ticks fall into."""
    sizes = cost.sizes
    case = Case("randwrite, for seconds", "", "k/s", lambda run: run.drive(
        "write", run.path("run", "file"), size=sizes.writable, count=4 * sizes.random),
        reset=named("randwrite").reset, writes=True)
    periodic_beside_never(cost, [case], "sync=periodic,sync_interval=1s")


@PARTS.part
def immediate(cost):
    """A write that is on disk: what it costs natively, and the way to the daemon and back."""
    def write(run):
        return run.drive("write", run.path("run", "file"), size=cost.sizes.writable, count=cost.sizes.dsync,
                         dsync=run.state["kind"] == "native")

    case = Case("immediate", "", "µs", write, reset=named("randwrite").reset, writes=True, bare=False)
    bare = Peer("bare", "bare", [os.path.join(cost.words.tools, "bench_bare"), "-f", "{mnt}"])
    native, ours = Peer("native", "native"), cost.ours("sync=immediate")
    samples = {name: [] for name in ("native", "sync=immediate", "bare")}
    for _ in range(cost.words.runs):
        for mine, peer in ((case, native), (case, ours), (named("bare-free"), bare)):
            for name, found in rounds(cost.bench, mine, [peer], 1, cost.words.verbose).items():
                if "failed" in found[0]:
                    raise CaseFailed("%s: %s" % (name, found[0]["failed"]))
                samples[name].append(found[0]["seconds"] / found[0]["operations"] * 1e6)
    took = {name: statistics.median(mine) for name, mine in samples.items()}
    ratio = took["sync=immediate"] / (took["native"] + took["bare"])
    cost.row("immediate: a 4 KiB write, times O_DSYNC natively and a bare round trip", "≤ 1.10", "%.3f" % ratio,
             ratio <= 1.1, "%.0f µs; %.0f + %.0f" % (took["sync=immediate"], took["native"], took["bare"]))


def write_new(directory, number):
    """A file of 64 KiB, open; and another descriptor of it."""
    fd = os.open(os.path.join(directory, "close.%d" % number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(fd, b"x" * 65536)
    return fd, os.dup(fd)


@PARTS.part
def lazy(cost):
    """A close of what is written costs an fsync more than a close of what is clean. File by file, one natively and
    one on the mount: two fsyncs are comparable when they are neighbours."""
    closes, clean, syncs = [], [], []
    cost.area.clear_run()
    os.makedirs(os.path.join(cost.area.run, "native"))
    with cost.mounted(cost.ours("sync=lazy")) as mount:
        for number in range((10 if cost.words.quick else 100) * cost.words.runs):
            fds = write_new(os.path.join(cost.area.run, "native"), number)
            syncs.append(timed(os.fsync, fds[0]))
            for fd in fds:
                os.close(fd)
            fds = write_new(os.path.join(mount.top, "run"), number)
            closes.append(timed(os.close, fds[0]))
            clean.append(timed(os.close, fds[1]))
    closed, idle, native = map(statistics.median, (closes, clean, syncs))
    ratio = (closed - idle) / native
    cost.row("lazy: what it adds to close, times fsync natively", "≤ 1.10", "%.3f" % ratio, ratio <= 1.1,
             "%.0f µs − %.0f µs; %.0f µs" % (closed, idle, native))


@PARTS.part
def disk(cost):
    """Bytes that reach the disk, for 4 KiB random writes with an fsync each hundred."""
    peers = [Peer("native", "native")] + [cost.ours("sync=" + mode) for mode in ("periodic", "lazy", "never")]
    wrote = cost.medians(named("randwrite-fsync100"), peers, lambda sample: sample["disk_written"])
    for name in list(wrote)[1:]:
        ratio = wrote[name] / wrote["native"]
        cost.row("randwrite-fsync100, %s: bytes written to the disk, times native's" % name, "≤ 1.10",
                 "%.3f" % ratio, ratio <= 1.1)


def make_files(directory, count):
    """Files of one block, in directories of a thousand."""
    names = []
    for number in range(count):
        if number % 1000 == 0:
            os.makedirs(os.path.join(directory, str(number // 1000)))
        names.append(os.path.join(str(number // 1000), str(number)))
        fd = os.open(os.path.join(directory, names[-1]), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x" * BLOCK)
        os.close(fd)
    return names


@PARTS.part
def tick(cost):
    """A tick must not walk what is cached and clean."""
    count = 5000 if cost.words.quick else FILES["tick"]
    cost.area.clear_run()
    names = make_files(cost.area.run, count)
    cost.area.sync()
    with cost.mounted(cost.ours("sync=periodic,sync_interval=10ms,entry_timeout=3600,attr_timeout=3600")) as mount:
        for name in names:
            os.stat(os.path.join(mount.top, "run", name))
        # Somebody who could store through a mapping makes a tick ask the kernel.
        with open(os.path.join(mount.top, "run", names[0]), "r+b"):
            inodes = figures_of(mount.top)["inodes"]
            costs = []
            for _ in range(cost.words.runs):
                ticks, used = figures_of(mount.top)["sync"]["ticks"], mount.cpu()
                time.sleep(2)
                used = mount.cpu() - used
                costs.append(used / (figures_of(mount.top)["sync"]["ticks"] - ticks))
    median = statistics.median(costs) * 1e3
    cost.row("a tick with %d inodes cached and clean: processor time" % inodes, "< 1 ms", "%.3f ms" % median,
             median < 1 and inodes >= count)


def read_on(path, size, counter):
    """Random reads that the mount's cache does not answer, for ever; @counter is shared memory."""
    buffer, chance = mmap.mmap(-1, BLOCK), random.Random(1)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    done = 0
    while True:
        os.preadv(fd, [buffer], chance.randrange(size // BLOCK) * BLOCK)
        done += 1
        counter[:8] = struct.pack("<Q", done)


def read_rate(counter, until):
    """Reads a second, from now to the moment at which until() says so, and how long that was."""
    start, before = time.monotonic(), struct.unpack("<Q", counter[:8])[0]
    while not until():
        time.sleep(0.005)
    seconds = time.monotonic() - start
    return (struct.unpack("<Q", counter[:8])[0] - before) / seconds, seconds


def fsync_natively(area, names):
    """Seconds that it takes to write and fsync these files one after the other, by a tenth of them."""
    start = time.monotonic()
    for name in names[::10]:
        fd = os.open(os.path.join(area.run, name), os.O_WRONLY)
        os.write(fd, b"z" * BLOCK)
        os.fsync(fd)
        os.close(fd)
    return 10 * (time.monotonic() - start)


def dirty_many(cost, names, mode, interval):
    """Dirty all files while somebody reads. Returns the seconds from the first write until all is on disk, and the
    reads a second since the last write; what syncs nothing is watched for an interval."""
    counter = mmap.mmap(-1, 8)
    with cost.mounted(cost.ours(mode)) as mount:
        large = os.path.join(mount.top, "data", "large")
        reader = multiprocessing.get_context("fork").Process(
            target=read_on, args=(large, os.path.getsize(large), counter), daemon=True)
        reader.start()
        try:
            start = time.monotonic()
            for name in names:
                fd = os.open(os.path.join(mount.top, "run", name), os.O_WRONLY)
                os.write(fd, b"y" * BLOCK)
                os.close(fd)
            written = time.monotonic() - start
            if mode == "sync=never":
                end = time.monotonic() + interval
                return written, None, read_rate(counter, lambda: time.monotonic() > end)[0]
            rate, _ = read_rate(counter, lambda: figures_of(mount.top)["sync"]["dirty_bytes"] == 0)
            return written, time.monotonic() - start, rate
        finally:
            reader.terminate()
            reader.join()


@PARTS.part
def many(cost):
    """Many files dirtied within one interval: on disk within the bound, and reads go on meanwhile."""
    count, interval = (1000, 1) if cost.words.quick else (FILES["many"], 5)
    cost.area.clear_run()
    names = make_files(cost.area.run, count)
    cost.bench.data(named("randread-miss-1-free"))
    ages, natives, rates, without, writing = [], [], [], [], []
    for _ in range(cost.words.runs):
        cost.area.sync()
        natives.append(fsync_natively(cost.area, names))
        cost.area.sync()
        written, age, rate = dirty_many(cost, names, "sync=periodic,sync_interval=%ds" % interval, interval)
        writing.append(written)
        ages.append(age)
        rates.append(rate)
        cost.area.sync()
        without.append(dirty_many(cost, names, "sync=never", interval)[2])
    age, native = statistics.median(ages), statistics.median(natives)
    cost.row("%d files dirtied within an interval: all on disk, after the first write" % count,
             "≤ %d s and %.1f s, what the fsyncs take natively" % (interval, native), "%.1f s" % age,
             age <= interval + native, "written in %.1f s" % statistics.median(writing))
    ratio = statistics.median(rates) / statistics.median(without)
    cost.row("random reads until then, times those without a sync", "≥ 0.70", "%.2f" % ratio, ratio >= 0.7,
             "%.1f k/s" % (statistics.median(without) / 1e3))


def options(parser):
    """What this table has beside the others'."""
    parser.add_argument("--cases", default="*", metavar="GLOB", help="only these workloads of the part periodic")


if __name__ == "__main__":
    sys.exit(PARTS.main(options))
