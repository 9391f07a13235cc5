# SPDX-License-Identifier: MIT
"""A table whose rows are judged by goals, in parts that can be asked for one by one: the frame of scripts/sync-cost
and of scripts/cow-speed."""
import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time

import machine
from cases import FULL, QUICK, CaseFailed, Run
from measure import Bench, rounds
from mounts import Mount, MountFailed
from peers import Peer


def timed(call, *words):
    """What a call takes; µs."""
    start = time.perf_counter()
    call(*words)
    return (time.perf_counter() - start) * 1e6


class Table:
    """What the parts share, and the rows."""

    def __init__(self, words, work, area):
        self.words, self.area, self.work = words, area, work
        self.sizes = QUICK if words.quick else FULL
        self.missed = 0
        tools = {"driver": os.path.join(words.tools, "bench_driver"), "work": work}
        self.bench = Bench(area, lambda seed=1: Run(tools, area, self.sizes, seed, 300),
                           os.path.join(work, "mnt"), 0)

    def ours(self, options, name=None):
        """memmapfs-fuse with these options."""
        return Peer(name or options, "fuse", [self.words.bin, "-f", "{backing}", "{mnt}", "-o",
                                              "allow_other,log_level=warning," + options], ours=True)

    def mounted(self, peer):
        """It, mounted over an empty directory of BACKING's."""
        return Mount(peer, self.area, os.path.join(self.work, "mnt"))

    def samples(self, case, peers):
        """By name, the samples of a case, none of which failed."""
        samples = rounds(self.bench, case, peers, self.words.runs, self.words.verbose)
        failed = [sample["failed"] for mine in samples.values() for sample in mine if "failed" in sample]
        if failed:
            raise CaseFailed("%s: %s" % (case.name, failed[0]))
        return samples

    def medians(self, case, peers, what=lambda sample: sample["seconds"]):
        """By name, what the median run of a case took."""
        return {name: statistics.median(map(what, mine)) for name, mine in self.samples(case, peers).items()}

    def row(self, what, wanted, measured, met, how=""):
        """One judgement, said at once."""
        self.missed += not met
        print("| %s | %s | %s | %s |" % (what, wanted, measured, how or "-") + ("" if met else " **missed**"),
              flush=True)


class Parts:
    """The parts of one table by name, and its command line."""

    def __init__(self, name, about, size):
        """@size(words): MiB of the loop device."""
        self.name, self.about, self.size = name, about, size
        self.functions = {}

    def part(self, function):
        """Decorator: a part is a function(Table) that adds rows."""
        self.functions[function.__name__] = function
        return function

    def _words(self, add):
        parser = argparse.ArgumentParser(prog="scripts/" + self.name, description=self.about.split(". ")[0] + ".")
        parser.add_argument("parts", nargs="*", metavar="PART", help="of %s; all" % ", ".join(self.functions))
        parser.add_argument("--runs", type=int, metavar="N", help="of each, interleaved; medians are taken (7)")
        parser.add_argument("--quick", action="store_true", help="small, to see whether it works")
        parser.add_argument("--size", type=int, metavar="MIB", help="of the loop device (as much as is needed)")
        parser.add_argument("--backing", metavar="DIR", help="make BACKING in DIR, not on a loop device")
        parser.add_argument("-v", "--verbose", action="store_true", help="tell every sample")
        parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
        parser.add_argument("--tools", required=True, help=argparse.SUPPRESS)
        if add:
            add(parser)
        words = parser.parse_args()
        unknown = [name for name in words.parts if name not in self.functions]
        if unknown:
            parser.error("no part '%s': there are %s" % (unknown[0], ", ".join(self.functions)))
        if os.geteuid() != 0:
            sys.exit("scripts/%s: mounting needs root" % self.name)
        words.bin, words.tools = os.path.abspath(words.bin), os.path.abspath(words.tools)
        words.runs = words.runs or (2 if words.quick else 7)
        words.size = words.size or self.size(words)
        return words

    def main(self, add=None, prepare=None):
        """Measure; @add(parser) adds options of this table's own, @prepare(table) sees to them. Returns the exit
        status."""
        words = self._words(add)
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
        work = tempfile.mkdtemp(prefix="memmapfs-%s." % self.name, dir=os.environ.get("TMPDIR", "/var/tmp"))
        area, table = None, None
        try:
            area = machine.Area(work, words.backing, words.size << 20)
            table = Table(words, work, area)
            if prepare:
                prepare(table)
            print("| measured on %s, %d runs | goal | median | |\n|---|---|---|---|" % (area.describe(), words.runs))
            for name in words.parts or self.functions:
                self.functions[name](table)
        except (CaseFailed, MountFailed) as error:
            sys.exit("scripts/%s: %s" % (self.name, error))
        finally:
            if area:
                area.close()
            shutil.rmtree(work, ignore_errors=True)
        return 1 if table.missed else 0
