# SPDX-License-Identifier: MIT
"""What mode=cow costs beside file systems that copy whole files, as ratios taken in one run, each with its goal.
Called by scripts/cow-speed."""
import dataclasses
import os
import random
import statistics
import subprocess
import sys

import cases_data  # noqa: F401  it registers its cases
from cases import FULL, QUICK, Case, named
from parts import Parts, timed
from peers import overlays

BLOCK, MIB = 4096, 1 << 20
# overlayfs wants its work directory empty and its upper one for itself; a layer is made where it is not
VIEWS = {"in memory": "mode=cow", "layer=": "mode=cow,layer={upper}/layer"}


def huge(words):
    """MiB of the huge file."""
    return words.huge or (QUICK if words.quick else FULL).huge // MIB


PARTS = Parts("cow-speed", __doc__, lambda words: 2 * huge(words) + (1024 if words.quick else 6144))


def views(table):
    """memmapfs-fuse with a layer in memory and with a kept one."""
    return [table.ours(options, name) for name, options in VIEWS.items()]


def fresh_view(run):
    """Before each mount: nothing is changed."""
    run.area.clear_upper()


def shown(seconds):
    """A time that may be of any size."""
    return "%.2f s" % seconds if seconds >= 1 else "%.3f ms" % (seconds * 1e3)


def beside_copies(table, what, call, goal):
    """One call on a file that the others copy first: rows with the goal in ms. By name how many times faster than
    they it is, and how that was found."""
    def run_it(run):
        path = run.path("data", "huge")
        os.stat(path)
        return 1, BLOCK, timed(call, path, run) / 1e6

    peers = views(table) + overlays(table.words.peer_runs)
    case = Case(what, "", "µs", run_it, needs=("huge",), reset=fresh_view, writes=True)
    took = table.medians(case, peers)
    size = "%d MiB" % (table.sizes.huge // MIB)
    for name in VIEWS:
        table.row("%s of a file of %s, %s" % (what, size, name), "< %g ms" % goal, shown(took[name]),
                  took[name] < goal / 1e3)
    slower, copies = max(took[name] for name in VIEWS), [peer for peer in peers if peer.runs]
    return {peer.name: (took[peer.name] / slower, "%s, of %d runs, each of which copies the file" % (
        shown(took[peer.name]), min(peer.runs, table.words.runs))) for peer in copies}


@PARTS.part
def first(table):
    """The first write into a large file."""
    def write(path, run):
        fd = os.open(path, os.O_RDWR)
        try:
            os.pwrite(fd, b"\xa5" * BLOCK, random.Random(run.seed).randrange(run.sizes.huge // BLOCK) * BLOCK)
        finally:
            os.close(fd)

    for name, (ratio, how) in beside_copies(table, "open, first write of 4 KiB and close", write, 2).items():
        table.row("open, first write and close: times faster than %s" % name, "≥ 1000", "%.0f" % ratio,
                  ratio >= 1000, how)


@PARTS.part
def chmod(table):
    """A mode is no reason to copy anything."""
    for name, (ratio, how) in beside_copies(table, "chmod", lambda path, run: os.chmod(path, 0o640), 1).items():
        table.row("chmod: times faster than %s" % name, "-", "%.0f" % ratio, True, how)


def memory_of(mount):
    """Bytes of the daemon's own and of all memory file systems, where pages are."""
    with open("/proc/meminfo") as file:
        amounts = dict(line.split(":") for line in file)
    return mount.private() + (int(amounts["Shmem"].split()[0]) << 10)


def disk_of(top):
    """Bytes of blocks below a directory."""
    return 512 * sum(os.lstat(os.path.join(where, name)).st_blocks
                     for where, _, names in os.walk(top) for name in names)


@PARTS.part
def pages(table):
    """What scattered writes take up, beside the pages that were written."""
    count = min(10000 if table.words.quick else 100000, table.sizes.huge // BLOCK)
    case = Case("pages", "", "k/s", None, needs=("huge",))
    table.bench.data(case)
    for peer in views(table):
        ratios, speeds = [], []
        for number in range(table.words.runs):
            run = table.bench.make_run(seed=number + 1)
            table.area.clear_upper()
            with table.mounted(peer) as mount:
                run.top = mount.top
                before = memory_of(mount) if peer.name == "in memory" else disk_of(table.area.upper)
                done = run.drive("write", run.path("data", "huge"), size=table.sizes.huge, count=count)
                os.sync()
                after = memory_of(mount) if peer.name == "in memory" else disk_of(table.area.upper)
            ratios.append((after - before) / (count * BLOCK))
            speeds.append(done[0] / done[2] / 1e3)
        ratio = statistics.median(ratios)
        table.row("%d random writes of 4 KiB into a file of %d MiB, %s: %s, times the pages written" % (
            count, table.sizes.huge // MIB, peer.name, "memory" if peer.name == "in memory" else "disk"),
            "≤ 1.10", "%.3f" % ratio, ratio <= 1.1, "%.1f k/s" % statistics.median(speeds))


def write_every_other_page(path):
    """Half of a file becomes the layer's, and none of it stays in the mount's cache."""
    fd = os.open(path, os.O_RDWR)
    try:
        for at in range(0, os.fstat(fd).st_size, 2 * BLOCK):
            os.pwrite(fd, b"\x5a" * BLOCK, at)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


@PARTS.part
def reads(table):
    """Reads of what the layer has nothing of, and of what it has half of, beside mode=rw."""
    for name in ("seqread-128k-cold", "randread-miss-1-free"):
        case = named(name)
        for goal, view in ((0.95, "clean"), (0.7, "private")):
            def warm(run, view=view, case=case):
                if view == "private" and run.state["peer"] != "mode=rw":
                    write_every_other_page(run.path("data", "large"))
                if case.warm:
                    case.warm(run)

            peers = [table.ours("mode=rw")] + views(table)
            measured = dataclasses.replace(case, name="%s, %s" % (name, view), warm=warm, reset=fresh_view)
            took = table.medians(measured, peers)
            for mine in VIEWS:
                ratio = took["mode=rw"] / took[mine]
                table.row("%s, %s, %s, times mode=rw" % (
                    case.title, "clean pages" if view == "clean" else "every other page private", mine),
                    "≥ %.2f" % goal, "%.2f" % ratio, ratio >= goal)


def copy(table, flush):
    """cp(1) of a file over one that is there, and with @flush onto the disk; seconds."""
    data = os.path.join(table.area.data, "committed")

    def call():
        subprocess.run(["cp", os.path.join(table.area.data, "source"), data], check=True)
        if flush:
            fd = os.open(data, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
    return timed(call) / 1e6


def commit_once(table, peer, number, scattered):
    """Pages of a file are changed, and committed; seconds. What is on its way to the disk gets there first."""
    ctl = os.path.join(os.path.dirname(table.words.bin), "memmapfsctl")
    run = table.bench.make_run(seed=number + 2)
    table.area.clear_upper()
    with table.mounted(peer) as mount:
        run.top = mount.top
        if scattered:
            write_every_other_page(run.path("data", "scattered"))
        else:
            run.drive("write", run.path("data", "committed"), size=table.sizes.committed, block=MIB, sequential=1)
        subprocess.run([ctl, "sync", mount.top], check=True)
        table.area.sync()
        return timed(lambda: subprocess.run([ctl, "layer", "commit", mount.top], check=True,
                                            stdout=subprocess.DEVNULL)) / 1e6


def commit_beside_cp(table, scattered):
    """Dirty pages into BACKING, beside cp of as much. What is in memory only is not synced by either."""
    table.bench.data(Case("commit", "", "s", None, needs=("committed",) + ("scattered",) * scattered))
    for peer in views(table):
        flush = peer.name == "layer="
        copies, commits = [], []
        for number in range(table.words.runs):
            table.area.sync()
            copies.append(copy(table, flush))
            table.area.sync()
            commits.append(commit_once(table, peer, number, scattered))
            if table.words.verbose:
                print("commit, %s: %.3f s, cp %.3f s" % (peer.name, commits[-1], copies[-1]), file=sys.stderr)
        took, native = statistics.median(commits), statistics.median(copies)
        table.row("commit of %d MiB, %s%s: speed, times cp's%s" % (
            table.sizes.committed // MIB, "every other page of a file, " if scattered else "", peer.name,
            " and fsync's" if flush else ""), "-" if scattered else "≥ 0.70", "%.2f" % (native / took),
            scattered or native / took >= 0.7, "%.2f s; cp %.2f s" % (took, native))


@PARTS.part
def commit(table):
    """All pages of a file."""
    commit_beside_cp(table, False)


@PARTS.part
def scattered(table):
    """As many, each by itself, which nothing that cp does is like: to be seen, and without a goal."""
    commit_beside_cp(table, True)


def options(parser):
    """What this table has beside the others'."""
    parser.add_argument("--huge", type=int, metavar="MIB", help="of the huge file (8192, 1024 with --quick); the loop "
                        "device needs twice that and some")
    parser.add_argument("--peer-runs", type=int, default=3, metavar="N",
                        help="runs of those that copy it each time (%(default)s)")


def prepare(table):
    """The size that was asked for."""
    table.sizes = dataclasses.replace(table.sizes, huge=huge(table.words) * MIB)


if __name__ == "__main__":
    sys.exit(PARTS.main(options, prepare))
