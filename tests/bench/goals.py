# SPDX-License-Identifier: MIT
"""What memmapfs-fuse wants to be, judged by one run's figures. A goal whose cases were not run, or whose
variant this binary does not offer, is left out."""

OURS = "memmapfs-fuse"
PROGRAMS = ("sqlite-delete", "sqlite-wal", "pgbench", "make", "make-again", "untar", "git-status-cold",
            "git-status-warm")
LARGE_IO = ("seqread-128k-cold", "seqread-128k-cold-both", "seqread-1m-cold", "seqread-1m-cold-both",
            "seqread-1m-warm", "seqwrite-new", "seqwrite-existing", "mmap-read", "mmap-read-warm", "mmap-write",
            "mmap-msync")


class Judge:
    """Gathers rows, for requests that come one way: by the device, or over io_uring."""

    def __init__(self, collected, io_uring):
        self.cases = {case["name"]: case for case in collected.get("cases", ())}
        self.rows = []
        common = ["io_uring"] if io_uring else []
        self.plain, self.writeback, self.skip, self.passthrough, self.passthrough_none = (
            " ".join([OURS] + ([",".join(common + words)] if common + words else []))
            for words in ([], ["writeback"], ["opens=skip"], ["io=passthrough"], ["io=passthrough", "cache=none"]))

    def figures(self, case, peer):
        """One case and one file system, or {}."""
        return self.cases.get(case, {"results": {}})["results"].get(peer, {})

    def row(self, goal, wanted, measured, met):
        """One judgement."""
        self.rows.append({"goal": goal, "wanted": wanted, "measured": measured, "met": bool(met)})

    def at_least(self, case, peer, least, key="ratio_to_best_peer"):
        """A ratio of speed, to the best peer or to native."""
        mine = self.figures(case, peer)
        if mine.get("failed") and "median" not in mine:
            self.row("%s, %s" % (case, peer), "≥ %g" % least, "failed: %s" % mine["why"], False)
        elif key in mine:
            other = mine["best_peer"] if key == "ratio_to_best_peer" else "native"
            self.row("%s, %s" % (case, peer), "≥ %g × %s" % (least, other), "%.2f" % mine[key], mine[key] >= least)

    def at_most(self, case, peer, most, key, what):
        """A cost that must not be above something."""
        mine = self.figures(case, peer)
        if key in mine:
            self.row("%s, %s: %s" % (case, peer, what), "≤ %g" % most, "%.2f" % mine[key], mine[key] <= most)


def names(judge):
    """Many small files."""
    judge.at_least("open-warm", judge.skip, 5)
    judge.at_least("open-warm", judge.plain, 1.2)
    judge.at_least("stat-cold", judge.plain, 1.5)
    judge.at_least("stat-warm", judge.plain, 1)
    judge.at_least("create-unlink", judge.plain, 1)


def reads(judge):
    """Random and sequential reads that reach the daemon."""
    for case in judge.cases:
        if case.startswith(("randread-miss", "randread-direct")):
            judge.at_least(case, judge.plain, 1.05 if case.endswith("pinned") else 1)
            judge.at_most(case, judge.plain, 0.7, "daemon_cpu_to_best_peer", "daemon CPU, times the best peer's")
    for case in ("seqread-128k-cold", "seqread-1m-cold"):
        judge.at_least(case, judge.plain, 1.5)
        judge.at_most(case, judge.plain, 0.4, "daemon_cpu_to_best_peer", "daemon CPU, times the best peer's")


def writes(judge):
    """Random writes and appends."""
    judge.at_least("randwrite", judge.writeback, 1.2)
    judge.at_least("randwrite-fsync100", judge.plain, 1.2)
    judge.at_least("randwrite-fsync100", judge.writeback, 0.7, "ratio_to_native")
    judge.at_least("append", judge.plain, 1)
    ours, native = (judge.figures("randwrite-fsync100", name) for name in (judge.plain, "native"))
    bare = judge.figures("bare-free", "bare")
    if all("median" in figures for figures in (ours, native, bare)):
        hundreds = ours["operations"] / 100
        over = (ours["seconds"] - native["seconds"]) / hundreds * 1e6
        judge.row("randwrite-fsync100, %s: time over native for each hundred" % judge.plain,
                  "≤ %.0f µs, a hundred bare round trips and a tenth" % (bare["median"] * 110),
                  "%.0f µs" % over, over <= bare["median"] * 110)


def disk(judge):
    """What reaches the disk, whoever of us wrote it."""
    for name, case in judge.cases.items():
        for peer in case["results"]:
            if case["writes"] and peer.startswith(OURS):
                judge.at_most(name, peer, 1.1, "disk_written_to_native",
                              "bytes written to the disk, times native's")


def passthrough(judge):
    """The kernel reads and writes by itself."""
    for case in LARGE_IO:
        judge.at_least(case, judge.passthrough, 0.95, "ratio_to_native")
    for case in judge.cases:
        if case.startswith("randread-miss"):
            judge.at_least(case, judge.passthrough, 0.85, "ratio_to_native")
    judge.at_least("randwrite", judge.passthrough, 0.75, "ratio_to_native")
    for case in ("seqread-128k-cold-both", "seqread-1m-cold-both"):
        for peer in (judge.passthrough, judge.passthrough_none):
            judge.at_most(case, peer, 1.02, "page_cache_to_bytes", "page cache, times the bytes read")
    for case in PROGRAMS:
        judge.at_least(case, judge.passthrough, 0.9, "ratio_to_native")


def programs(judge):
    """Half of the distance from the best peer to native, or nearly native, with windows in the loop."""
    for case in PROGRAMS:
        native = judge.figures(case, "native")
        best = None
        for peer, mine in judge.cases.get(case, {"results": {}})["results"].items():
            other = judge.figures(case, mine.get("best_peer"))
            if not peer.startswith(OURS) or "io=passthrough" in peer or not (
                    "seconds" in mine and "seconds" in native and "seconds" in other):
                continue
            distance = other["seconds"] - native["seconds"]
            # where a peer is as fast as native there is no distance, and only the other way is left
            closed = (other["seconds"] - mine["seconds"]) / distance if distance > 0 else 0
            if best is None or mine["ratio_to_native"] > best[0]:
                best = mine["ratio_to_native"], peer, closed
        if best:
            ratio, peer, closed = best
            judge.row("%s, best of io=window: %s" % (case, peer), "half of the way to native, or ≥ 0.95 × native",
                      "%.0f %% of the way, %.2f × native" % (closed * 100, ratio), closed >= 0.5 or ratio >= 0.95)


def judge(collected):
    """Every goal that these figures can judge."""
    rows = []
    for io_uring in (True, False):
        found = Judge(collected, io_uring)
        for part in (names, reads, writes, passthrough):
            part(found)
        rows += found.rows
    found = Judge(collected, False)
    disk(found)
    programs(found)
    for entry in collected.get("mapping", ()):
        if entry["length"] == 64:
            times = entry["pread"]["median"] / entry["pin"]["median"]
            found.row("mapping cache in process, 64 bytes", "≥ 10 × pread(2)", "%.1f" % times, times >= 10)
    return rows + found.rows
