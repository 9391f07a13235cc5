# SPDX-License-Identifier: MIT
"""Compare memmapfs-fuse with its peers over one backing file system. Run by scripts/bench.

scripts/bench [OPTION]...          all cases, all peers: tables and a picture in --out
scripts/bench mapping [OPTION]...  the mapping cache in process, beside pread(2)
scripts/bench list                 the names of the cases
"""
import argparse
import fnmatch
import json
import os
import shutil
import signal
import sys
import tempfile
import time

import cases_data  # noqa: F401  each of the three registers its cases
import cases_files  # noqa: F401
import cases_programs  # noqa: F401
import goals
import machine
import mapping
import peers as who
import report
import results
from cases import CASES, FULL, QUICK, Run
from measure import Bench, rounds
from mounts import IO_URING_SWITCH
from plot import svg

VARIANTS = ("plain writeback io_uring io_uring,writeback io_uring,opens=skip io_uring,io=passthrough "
            "io_uring,io=passthrough,cache=none")
MODULES = (cases_data, cases_files, cases_programs)


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n\n")[0],
                                     epilog=__doc__.split("\n\n")[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("all", "mapping", "list"), default="all")
    parser.add_argument("--cases", metavar="GLOB[,GLOB...]", help="only cases whose names match")
    parser.add_argument("--peers", metavar="GLOB[,GLOB...]", help="only these file systems, and native")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND",
                        help="one more, as 'NAME=COMMAND {backing} {mnt}'; where NAME has the word writeback it "
                             "is compared with those that have a write-back cache")
    parser.add_argument("--variants", default=default_variants(), metavar="'OPTIONS ...'",
                        help="memmapfs-fuse with each of these sets of options; plain is none; with io_uring the "
                             "kernel is told to offer it to that mount (%(default)s)")
    parser.add_argument("--runs", type=int, metavar="N", help="runs of each (7)")
    parser.add_argument("--quick", action="store_true", help="few cases, small sizes, two runs: about a minute")
    parser.add_argument("--out", default="bench-results", metavar="DIR", help="where results go (%(default)s)")
    parser.add_argument("--backing", metavar="DIR", help="make BACKING in DIR, not on a loop device")
    parser.add_argument("--size", type=int, default=4096, metavar="MIB", help="of the loop device (%(default)s)")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS",
                        help="how long the kernel trusts attributes and names, everywhere (%(default)s)")
    parser.add_argument("--limit", type=float, default=300, metavar="SECONDS",
                        help="after which a program of a case counts as hung (%(default)s)")
    parser.add_argument("--cpu", type=int, metavar="N", help="the processor of pinned cases (the last)")
    parser.add_argument("--pin", action="store_true", help="pin every case")
    parser.add_argument("--keep-samples", action="store_true", help="every sample into the JSON, not medians only")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell every sample")
    parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--tools", required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def matches(name, globs):
    """Does a name match one of the patterns?"""
    return any(fnmatch.fnmatch(name, glob) for glob in globs.split(","))


def choose_cases(words):
    """The cases that were asked for."""
    chosen = [case for case in CASES if (matches(case.name, words.cases) if words.cases
                                         else case.quick or not (words.quick or case.only_named))]
    if not chosen:
        sys.exit("scripts/bench: no case matches '%s'; scripts/bench list names them" % words.cases)
    if words.pin:
        for case in chosen:
            case.pinned = True
    return chosen


def default_variants():
    """VARIANTS; where the kernel has no FUSE over io_uring, the same by the device."""
    if os.access(IO_URING_SWITCH, os.W_OK):
        return VARIANTS
    by_device = (words.replace("io_uring,", "").replace("io_uring", "plain") for words in VARIANTS.split())
    return " ".join(dict.fromkeys(by_device))


def choose_peers(words, work):
    """Who takes part, and lines about those who cannot."""
    found, left_out = who.standard_peers(work, words.timeout, os.path.join(words.tools, "bench_bare"))
    try:
        found += [who.peer_from_words(text) for text in words.peer]
    except ValueError as error:
        sys.exit("scripts/bench: %s" % error)
    ours, refused = who.variants(words.bin, words.variants.split(), words.timeout)
    found += ours
    if words.peers:
        found = [peer for peer in found if peer.kind in ("native", "bare") or matches(peer.name, words.peers)]
    return found, left_out + refused


def mount_all(bench, found, left_out):
    """Those who mount; the others become lines."""
    mounted = []
    for peer in found:
        why = bench.trial(peer)
        if why is None:
            mounted.append(peer)
        else:
            left_out.append("%s: %s" % (peer.name, why))
    for line in left_out:
        print("left out: " + line, file=sys.stderr)
    return mounted


def peer_words(peer, words, work):
    """A peer as it is told of, without paths that only mean something here."""
    command = [word.replace(work + "/", "").replace(words.bin, "memmapfs-fuse").replace(words.tools + "/", "")
               for word in peer.command]
    return {"name": peer.name, "kind": peer.kind, "version": peer.version, "ours": peer.ours,
            "writeback": peer.writeback, "command": command}


def compare_all(words, work, area, collected):
    """Every case with everybody."""
    tools = {"driver": os.path.join(words.tools, "bench_driver"), "work": work,
             "sockets": os.path.join(work, "sockets")}
    sizes = QUICK if words.quick else FULL

    def make_run(seed=1):
        return Run(tools, area, sizes, seed, words.limit)

    cpu = max(os.sched_getaffinity(0)) if words.cpu is None else words.cpu
    bench = Bench(area, make_run, os.path.join(work, "mnt"), cpu)
    found, left_out = choose_peers(words, work)
    found = mount_all(bench, found, left_out)
    collected["peers"] = [peer_words(peer, words, work) for peer in found]
    collected["left_out"] = left_out
    collected["cases"] = []
    chosen = choose_cases(words)
    for index, case in enumerate(chosen):
        start = time.monotonic()
        samples = rounds(bench, case, found, words.runs, words.verbose)
        if not samples:
            continue
        figures = results.compare(case, found, samples)
        if not words.keep_samples:
            for mine in figures.values():
                mine["samples"] = [results.shown(case, sample) for sample in mine["samples"]
                                   if "failed" not in sample]
        collected["cases"].append({"name": case.name, "title": case.title, "unit": case.unit,
                                   "writes": case.writes, "pinned": case.pinned, "results": figures})
        print("%d/%d %s: %.0f s" % (index + 1, len(chosen), case.name, time.monotonic() - start), file=sys.stderr,
              flush=True)
        write(words.out, collected)  # what there is survives what comes


def write(out, collected):
    """The files."""
    collected["goals"] = goals.judge(collected)
    os.makedirs(out, exist_ok=True)
    texts = {"results.json": json.dumps(collected, indent=1, ensure_ascii=False) + "\n",
             "results.md": report.markdown(collected)}
    if collected.get("cases"):
        picture = svg(collected)
        if picture:
            texts["results.svg"] = picture
    for name, text in texts.items():
        with open(os.path.join(out, name + ".new"), "w") as file:
            file.write(text)
        os.replace(os.path.join(out, name + ".new"), os.path.join(out, name))


def main():
    """Returns the exit status."""
    words = arguments()
    if words.what == "list":
        for case in CASES:
            print("%-28s %s" % (case.name, case.title))
        return 0
    words.bin, words.tools = os.path.abspath(words.bin), os.path.abspath(words.tools)
    words.runs = words.runs or (2 if words.quick else 7)
    if words.what == "all" and os.geteuid() != 0:
        sys.exit("scripts/bench: mounting and emptying caches need root")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    # on disk, never in memory; and PostgreSQL's user has to find its way through
    work = tempfile.mkdtemp(prefix="memmapfs-bench.", dir=os.environ.get("TMPDIR", "/var/tmp"))
    os.chmod(work, 0o755)
    area = None
    collected = {"machine": machine.describe(), "programs": machine.versions_of_programs(),
                 "settings": {"runs": words.runs, "timeout": words.timeout, "quick": words.quick}}
    try:
        if words.what == "mapping":
            collected["settings"]["backing"] = "a file in memory"
            collected["mapping"] = mapping.measure(words, work)
        else:
            area = machine.Area(work, words.backing, (1024 if words.quick else words.size) << 20)
            collected["settings"]["backing"] = area.describe()
            compare_all(words, work, area, collected)
            if not words.cases:
                collected["mapping"] = mapping.measure(words, work)
        write(words.out, collected)
        with open(os.path.join(words.out, "results.md")) as file:
            print(file.read())
    finally:
        if area:
            area.close()
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
