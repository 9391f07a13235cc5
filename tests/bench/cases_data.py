# SPDX-License-Identifier: MIT
"""Reads and writes of large files, appends, and clients' own mappings."""
from cases import CASES, Case, CaseFailed, case

KIB, MIB = 1 << 10, 1 << 20


def large_file(run):
    """Where the large file is."""
    return run.path("data", "large")


def warm_large(run):
    """Bring the large file into memory: BACKING's page cache, or through the mount its own, too."""
    run.drive("read", large_file(run), size=run.sizes.large, block=MIB, sequential=1)


def touch_large(run):
    """Let the daemon meet the whole file without the kernel keeping any of it for the mount: what is
    measured then is a daemon at work, and not one that starts."""
    if run.state["kind"] == "fuse":
        try:
            run.drive("read", large_file(run), size=run.sizes.large, block=MIB, sequential=1, direct=1)
        except CaseFailed:
            pass  # a peer without O_DIRECT still has its buffered case


# --- what is there before anything is asked ----------------------------------------------------------

def ping(run):
    """statfs(2), which the kernel answers from no cache."""
    return run.drive("ping", run.path(), count=run.sizes.pings)


for pinned in (True, False):
    where = "pinned" if pinned else "free"
    CASES.append(Case("bare-" + where, "bare round trip: a daemon that does nothing, " + where, "µs", ping,
                      bare=True, bare_only=True, pinned=pinned, quick=True))
    CASES.append(Case("statfs-" + where, "statfs(2), a round trip, " + where, "µs", ping, pinned=pinned))


# --- random reads ----------------------------------------------------------------------------------

def random_miss(jobs):
    """Every block once, so that the mount's cache never has it; read-ahead off as for random access."""
    def run_it(run):
        return run.drive("read", large_file(run), size=run.sizes.large, count=run.sizes.random, threads=jobs)
    return run_it


def random_direct(jobs):
    """The same by O_DIRECT, with fio. On BACKING itself O_DIRECT would time the disk: there through its
    page cache, which is what a mount has to come close to."""
    def run_it(run):
        direct = int(run.state["kind"] == "fuse")
        return run.fio(large_file(run), jobs, rw="randread", bs="4k", direct=direct,
                       number_ios=run.sizes.random // jobs)
    return run_it


for jobs in (1, 4):
    for pinned in (True, False):
        words = "%d %s, %s" % (jobs, "job" if jobs == 1 else "jobs", "pinned" if pinned else "free")
        name = "%d-%s" % (jobs, "pinned" if pinned else "free")
        CASES.append(Case("randread-miss-" + name, "4 KiB random read, not cached by the mount, " + words, "k/s",
                          random_miss(jobs), needs=("large",), warm_backing=warm_large, warm=touch_large,
                          pinned=pinned,
                          quick=name in ("1-pinned", "4-free")))
        CASES.append(Case("randread-direct-" + name, "4 KiB random read, O_DIRECT on the mount (fio), " + words,
                          "k/s", random_direct(jobs), needs=("large",), warm_backing=warm_large, warm=touch_large,
                          pinned=pinned))


# How many threads serve how many clients best: see docs/threads.md.
for jobs in (16, 64):
    CASES.append(Case("randread-direct-%d-free" % jobs, "4 KiB random read, O_DIRECT on the mount (fio), %d jobs, free"
                      % jobs, "k/s", random_direct(jobs), needs=("large",), warm_backing=warm_large, warm=touch_large,
                      only_named=True))


@case("randread-cached-cold", "4 KiB random read through the mount's cache, cold in the mount", "k/s",
      needs=("large",), warm_backing=warm_large)
def random_cached_cold(run):
    """Each block is asked for several times; the first time it misses."""
    size = min(run.sizes.large, run.sizes.cached * 4096 // 4)
    return run.drive("read", large_file(run), size=size, count=run.sizes.cached)


@case("randread-cached-warm", "4 KiB random read through the mount's cache, warm", "k/s", needs=("large",),
      warm_backing=warm_large, warm=warm_large, quick=True)
def random_cached_warm(run):
    """All of the file has been read through the mount."""
    return run.drive("read", large_file(run), size=run.sizes.large, count=run.sizes.cached)


# --- sequential reads --------------------------------------------------------------------------------

def sequential_read(block):
    """The large file from its beginning to its end."""
    def run_it(run):
        return run.drive("read", large_file(run), size=run.sizes.large, block=block, sequential=1)
    return run_it


for block, text in ((128 * KIB, "128 KiB"), (MIB, "1 MiB")):
    short = text.replace(" ", "").replace("iB", "").lower()
    CASES.append(Case("seqread-%s-cold" % short, "sequential read, %s, cold in the mount, warm in BACKING" % text,
                      "MB/s", sequential_read(block), needs=("large",), warm_backing=warm_large,
                      quick=block == MIB))
    CASES.append(Case("seqread-%s-cold-both" % short, "sequential read, %s, cold in both" % text, "MB/s",
                      sequential_read(block), needs=("large",), cold="both", read_cache=True))


@case("seqread-fio", "sequential read, 128 KiB, cold in the mount, warm in BACKING (fio)", "MB/s",
      needs=("large",), warm_backing=warm_large)
def sequential_read_fio(run):
    """The same by another program."""
    return run.fio(large_file(run), 1, rw="read", bs="128k")


@case("seqread-1m-warm", "sequential read, 1 MiB, warm", "MB/s", needs=("large",), warm_backing=warm_large,
      warm=warm_large)
def sequential_read_warm(run):
    """All of it is in the mount's cache, where it keeps one."""
    return sequential_read(MIB)(run)


# --- writes ------------------------------------------------------------------------------------------

def make_writable(size_name):
    """In BACKING, before the mount: a file of that size, on disk and in memory."""
    def reset(run):
        run.drive("write", run.native("run", "file"), size=getattr(run.sizes, size_name), block=MIB,
                  sequential=1, create=1)
    return reset


def written(run):
    """The file that is written."""
    return run.path("run", "file")


@case("randwrite", "4 KiB random write, close included", "k/s", reset=make_writable("writable"), writes=True,
      quick=True)
def random_write(run):
    """Over a file that is there."""
    return run.drive("write", written(run), size=run.sizes.writable, count=run.sizes.random)


@case("randwrite-fsync100", "4 KiB random write, an fsync each hundred", "k/s", reset=make_writable("writable"),
      writes=True, quick=True)
def random_write_fsync(run):
    """The same, made durable a hundred at a time."""
    return run.drive("write", written(run), size=run.sizes.writable, count=run.sizes.fsynced, each=100)


@case("write-dsync", "4 KiB random write, O_DSYNC", "µs", reset=make_writable("writable"), writes=True)
def random_write_dsync(run):
    """Each write durable."""
    return run.drive("write", written(run), size=run.sizes.writable, count=run.sizes.dsync, dsync=1)


@case("seqwrite-new", "sequential write of a new file, 1 MiB, close included", "MB/s", writes=True, quick=True)
def sequential_write_new(run):
    """Into blocks that must be found."""
    return run.drive("write", written(run), size=run.sizes.writable, block=MIB, sequential=1, create=1)


@case("seqwrite-existing", "sequential write of an existing file, 1 MiB, close included", "MB/s",
      reset=make_writable("writable"), writes=True)
def sequential_write_existing(run):
    """Over blocks that are there."""
    return run.drive("write", written(run), size=run.sizes.writable, block=MIB, sequential=1)


@case("append", "appends of 128 bytes, close included", "k/s", writes=True, quick=True)
def append(run):
    """As a log grows."""
    return run.drive("append", run.path("run", "log"), block=128, count=run.sizes.appends)


# --- clients' mappings -------------------------------------------------------------------------------

@case("mmap-read", "client's mapping, a load a page, cold in the mount", "MB/s", needs=("large",),
      warm_backing=warm_large)
def map_read(run):
    """In order, so read-ahead helps."""
    return run.drive("map-read", large_file(run), size=run.sizes.large, sequential=1)


@case("mmap-read-warm", "client's mapping, a load a page, warm", "MB/s", needs=("large",),
      warm_backing=warm_large, warm=warm_large)
def map_read_warm(run):
    """All pages are in the mount's cache, where it keeps one."""
    return map_read(run)


@case("mmap-write", "client's mapping, a store a page, munmap and close included", "MB/s",
      reset=make_writable("map_writable"), writes=True)
def map_write(run):
    """In order, over all of the file."""
    return run.drive("map-write", written(run), size=run.sizes.map_writable, sequential=1)


@case("mmap-msync", "client's mapping, random stores, an msync each 256", "k/s",
      reset=make_writable("map_writable"), writes=True)
def map_sync(run):
    """As a database that maps its file."""
    count = min(4096, run.sizes.map_writable // 4096)
    return run.drive("map-sync", written(run), size=run.sizes.map_writable, count=count, each=256)
