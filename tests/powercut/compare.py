# SPDX-License-Identifier: MIT
"""
What other file systems do about durability, beside this one: each is mounted in the guest, asked by probe
what it does, and has its power cut. Called by scripts/peers-durability.

compare.py files ...: writes what the guest needs below --work and says it as NAME=FILE, a line each
compare.py run ...:   the tables
"""

import argparse
import concurrent.futures
import os
import random
import re
import shlex
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))

from cut import boot, make_disk, mounted, run_guest  # noqa: E402
from disk import Disk  # noqa: E402
from evidence import Log  # noqa: E402
from guest import Failure, Guest, read_text  # noqa: E402
from losses import losses  # noqa: E402
from peers import Peer, peer_from_words, standard_peers  # noqa: E402

VARIANTS = ("immediate", "periodic", "periodic,writeback", "lazy", "never")
# None of them syncs, or waits for a close, so that what is lost is as old as it can be.
KINDS = "overwrite,append,big"
PLACES = {"backing": "/backing/data", "mnt": "/mnt", "lower": "/lower", "scratch": "/backing/scratch"}
QUESTIONS = (
    ("a call that must put it on disk", "did the disk have to flush?", (
        ("fsync", "fsync"), ("fdatasync", "fdatasync"), ("O_DSYNC", "O_DSYNC write"), ("msync", "msync"),
        ("fsync-directory", "mkdir, fsync of the directory"), ("close", "write and close"))),
    ("after a write-back that failed", "who is told?", (
        ("write", "the write"), ("close-of-dup", "close of a dup"), ("fsync-writer", "fsync of the writer"),
        ("fsync-writer-again", "its second"), ("fsync-reader", "fsync of another that had it open"),
        ("fsync-late", "fsync of one opened later"))),
    ("SIGKILL", "what is in BACKING afterwards?", (
        ("kill-open", "daemon: written, file open"), ("kill-closed", "daemon: written and closed"),
        ("kill-mapped", "daemon: stored through a mapping"), ("kill-msynced", "daemon: stored, msync"),
        ("client-written", "client: written"), ("client-mapped", "client: stored through a mapping"))),
)


def file_name(name):
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def everybody(arguments):
    """Those who take part, and lines about those who cannot."""
    found, left_out = standard_peers(arguments.work, 1, "false")
    peers = [peer for peer in found if peer.kind == "native" or (peer.kind == "fuse" and not peer.writeback)]
    peers += [peer_from_words(text) for text in arguments.peer]
    for variant in arguments.variants.split():
        words = [arguments.bin, "-f", "{backing}", "{mnt}", "-o", "allow_other,log_level=error,sync=" + variant]
        peers.append(Peer("memmapfs-fuse sync=" + variant, "fuse", words, ours=True))
    return peers, left_out


def write_files(arguments):
    peers, left_out = everybody(arguments)
    for line in left_out:
        print(f"peers-durability: {line}", file=sys.stderr)
    programs = {}
    for peer in peers:
        words = peer.words(**PLACES) or ["mount", "-o", "bind", PLACES["backing"], PLACES["mnt"]]
        if peer.kind != "native":
            program = shutil.which(words[0])
            if program is None:
                sys.exit(f"peers-durability: '{words[0]}' of {peer.name} is no program")
            words[0] = "/bin/" + os.path.basename(program)
            programs[words[0][1:]] = program
        path = os.path.join(arguments.work, "mount." + file_name(peer.name))
        with open(path, "w", encoding="utf-8") as file:
            file.write("exec " + shlex.join(words) + "\n")
        print(f"scripts/mount.{file_name(peer.name)}={path}")
    for name, path in programs.items():
        # The daemon under test is in every guest.
        if name != "bin/memmapfs-fuse":
            print(f"{name}={path}")


def ask(spec):
    """What probe finds out: a dictionary."""
    directory = spec["directory"]
    os.mkdir(directory)
    try:
        disk = Disk(os.path.join(directory, "nbd"), *make_disk(directory, "ext4"))
        guest = Guest(directory, spec["kernel"], spec["initramfs"], disk, spec["memory"])
        try:
            guest.tell(["fs=ext4", "script=probe.sh", f"mount={spec['mount']}"])
            guest.wait_for("G")
            lines = guest.log().splitlines()
        finally:
            guest.kill()
        complaints = [line[2:] for line in lines if line.startswith("E ")]
        if complaints:
            raise Failure("; ".join(complaints))
    except (Failure, OSError) as error:
        return dict(spec, failure=str(error), answers={})
    shutil.rmtree(directory)
    return dict(spec, failure=None, answers=dict(line.split(" ", 2)[1:] for line in lines if line.startswith("V ")))


def cut(spec):
    """One power cut: how many writes, and which of them are lost."""
    directory = spec["directory"]
    os.mkdir(directory)
    try:
        stable = run_guest(spec, directory, random.Random(spec["run"]))[0]
        log = Log(read_text(os.path.join(directory, "log")))
        if log.errors:
            raise Failure("; ".join(log.errors[:3]))
        with mounted(directory, stable, "ext4") as root:
            lost = losses(log, root, spec["run"])
        writes = sum(write.letter == "W" for file in log.files.values() for write in file.writes.values())
    except (Failure, RuntimeError, OSError) as error:
        return dict(spec, failure=str(error), writes=0, lost=[])
    shutil.rmtree(directory)
    return dict(spec, failure=None, writes=writes, lost=lost)


def shown(failures):
    for line in failures:
        print(f"peers-durability: {line}", file=sys.stderr, flush=True)


def table_of_answers(results):
    for title, what, rows in QUESTIONS:
        print(f"\n| {title}: {what} | " + " | ".join(result["name"] for result in results) + " |")
        print("|---" * (len(results) + 1) + "|")
        for key, label in rows:
            print(f"| {label} | " + " | ".join(result["answers"].get(key, "-") for result in results) + " |")


def table_of_cuts(names, results, seconds):
    print(f"\n| power cut after {seconds[0]:g} to {seconds[1]:g} s | cuts | writes acknowledged | lost "
          "| KiB lost, a cut | oldest lost |")
    print("|---|---|---|---|---|---|")
    for name in names:
        mine = [result for result in results if result["name"] == name and not result["failure"]]
        lost = [loss for result in mine for loss in result["lost"]]
        if not mine:
            continue
        print(f"| {name} | {len(mine)} | {sum(result['writes'] for result in mine)} | {len(lost)} "
              f"| {sum(size for _, size in lost) / 1024 / len(mine):.0f} "
              f"| {max((age for age, _ in lost), default=0) / 1e6:.1f} s |")


def run(arguments):
    peers, _ = everybody(arguments)
    initramfs = os.path.join(arguments.work, "initramfs")
    base = {"fs": "ext4", "kernel": arguments.kernel, "initramfs": initramfs, "kinds": KINDS, "options": "",
            "broken": None, "keep": "none", "seconds": arguments.seconds,
            "memory": boot(os.path.join(arguments.work, "boot"), arguments.kernel, initramfs)}
    chance = random.Random(arguments.seed)
    asked, cuts = [], []
    for peer in peers:
        mine = dict(base, name=peer.name, mount=file_name(peer.name))
        asked.append(dict(mine, directory=os.path.join(arguments.work, f"ask.{mine['mount']}")))
        for number in range(arguments.cuts):
            cuts.append(dict(mine, run=chance.randrange(1 << 24),
                             directory=os.path.join(arguments.work, f"cut.{mine['mount']}.{number}")))
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs) as pool:
        answers, results = list(pool.map(ask, asked)), list(pool.map(cut, cuts))
    failures = [f"{result['name']}: {result['failure']}" for result in answers + results if result["failure"]]
    table_of_answers([result for result in answers if not result["failure"]])
    if cuts:
        table_of_cuts([peer.name for peer in peers], results, arguments.seconds)
    shown(failures)
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("files", "run"))
    for name in ("--bin", "--work", "--kernel", "--variants"):
        parser.add_argument(name)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--seconds", type=lambda text: tuple(float(word) for word in text.split("-")))
    for name in ("--cuts", "--jobs", "--seed"):
        parser.add_argument(name, type=int)
    arguments = parser.parse_args()
    try:
        sys.exit(write_files(arguments) if arguments.what == "files" else run(arguments))
    except ValueError as error:
        sys.exit(f"peers-durability: {error}")
    except Failure as failure:
        sys.exit(f"peers-durability: {failure}")


if __name__ == "__main__":
    main()
