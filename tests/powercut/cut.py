# SPDX-License-Identifier: MIT
"""One power cut: a disk, a guest that writes to it, the end of both, and what the evidence says."""

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import time

from disk import Disk
from evidence import Checker, Log, promise, promise_bound
from guest import Failure, Guest, read_text
from layers import check_given, commit_again
from pmem import boot_with_pmem

IMAGE_SIZE = 512 << 20
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
}


def make_disk(directory, fs):
    current, stable = (os.path.join(directory, name) for name in ("current.img", "stable.img"))
    with open(stable, "wb") as image:
        image.truncate(IMAGE_SIZE)
    subprocess.run([*MKFS[fs], stable], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    subprocess.run(["cp", "--sparse=always", stable, current], check=True)
    return current, stable


@contextlib.contextmanager
def mounted(directory, image, fs):
    """The image as the next boot finds it: its journal is replayed."""
    root = os.path.join(directory, "root")
    os.mkdir(root)
    done = subprocess.run(
        ["mount", "-t", fs, "-o", "loop" + (",nouuid" if fs == "xfs" else ""), image, root],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Failure(f"the image cannot be mounted: {done.stdout}")
    try:
        yield os.path.join(root, "data")
    finally:
        subprocess.run(["umount", root], check=True)


def look_into_layer(directory, layer):
    """What is wrong with its database, by a copy of it; and the layers below, where they are here."""
    copy = os.path.join(directory, "layer")
    os.mkdir(copy)
    for name in ("layer.db", "layer.db-wal"):
        if os.path.exists(os.path.join(layer, name)):
            shutil.copy(os.path.join(layer, name), copy)
    try:
        with contextlib.closing(sqlite3.connect(os.path.join(copy, "layer.db"))) as database:
            found = [row[0] for row in database.execute("PRAGMA integrity_check")]
            stack = database.execute("SELECT value FROM facts WHERE name = 'stack'").fetchone() or (b"",)
    except sqlite3.DatabaseError as error:
        return [f"the database of {layer}: {error}"], []
    below = [os.path.basename(line.split(b" ", 2)[2]).decode() for line in bytes(stack[0]).split(b"\0")[:-1]]
    bases = [os.path.join(os.path.dirname(layer), name) for name in below]
    return [] if found == ["ok"] else [f"the database of {layer}: {'; '.join(found[:3])}"], bases


@contextlib.contextmanager
def mounted_layer(directory, daemon, root, options):
    """What programs see of the layer after the cut: a mount by the daemon of this machine."""
    mount = os.path.join(directory, "mnt")
    os.mkdir(mount)
    with open(os.path.join(directory, "daemon"), "w+", encoding="utf-8") as said:
        with subprocess.Popen([daemon, "-f", root, mount, "-o", options], stdout=said, stderr=said) as process:
            while not os.path.ismount(mount) and process.poll() is None:
                time.sleep(0.02)
            if process.poll() is not None:
                said.seek(0)
                raise Torn(f"the layer does not open: {said.read()}")
            try:
                yield mount
            finally:
                subprocess.run(["umount", mount], check=True)
        said.seek(0)
        text = said.read()
    if process.returncode != 0 or text:
        raise Torn(f"the daemon over the layer ended with {process.returncode}: {text}")


class Torn(Exception):
    """The layer is not what it should be."""


def check_promises(spec, directory, log, root):
    """Returns the violations, and how many units are as promised."""
    if not spec["layer"]:
        checker = Checker(log, root, spec["run"])
        return checker.check(), checker.units
    layer, units = os.path.join(os.path.dirname(root), "layer"), 0
    violations, bases = look_into_layer(directory, layer)
    # That a commit was interrupted, and has changed BACKING, is no news here, nor are page files without a record.
    level = "error" if spec["command"] == "commits" else "warning"
    options = ",".join([f"mode=cow,layer={layer},log_level={level}"]
                       + ([f"layer_base={':'.join(bases)}"] if bases else []))
    try:
        with mounted_layer(directory, spec["daemon"], root, options) as mount:
            checker = Checker(log, mount, spec["run"])
            violations += checker.check()
            units = checker.units
            if spec["command"] == "discards":
                violations += check_given(log, mount)
            if spec["command"] == "commits":
                violations += commit_again(spec["daemon"], mount, root)
    except Torn as torn:
        violations.append(str(torn))
    others = set(os.listdir(root)) - {"given"}
    if others and spec["command"] != "commits":
        violations.append(f"BACKING has {sorted(others)[:5]}")
    return violations, units


def run_guest(spec, directory, chance):
    """Boot, let it write for a while, cut. Returns what share of the unflushed blocks the disk kept."""
    current, stable = make_disk(directory, spec["fs"])
    disk = Disk(os.path.join(directory, "nbd"), current, stable)
    words = [f"{name}={spec[name]}" for name in ("fs", "run", "kinds", "options", "mount", "command")
             if spec.get(name)]
    if spec["broken"]:
        words.append(f"break={spec['broken']}")
    guest = Guest(directory, spec["kernel"], spec["initramfs"], disk, spec["memory"])
    try:
        guest.tell(words)
        guest.wait_for("G")
        time.sleep(chance.uniform(*spec["seconds"]))
    finally:
        guest.kill()
        keep = {"none": 0.0, "some": chance.random(), "all": 1.0}[spec["keep"]]
        unflushed = disk.cut(keep, chance)
    os.unlink(current)
    return stable, disk, keep, unflushed


def run_on_pmem(spec, directory, chance):
    """The same where the disk is memory that keeps everything that has left the processor."""
    words = [f"{name}={spec[name]}" for name in ("run", "kinds", "options")]
    if spec["broken"]:
        words.append(f"break={spec['broken']}")
    guest, pmem, disk = boot_with_pmem(directory, spec["kernel"], spec["initramfs"], words)
    try:
        guest.wait_for("G")
        time.sleep(chance.uniform(*spec["seconds"]))
    finally:
        guest.kill()
    return pmem.image(), disk, 1.0, 0


def boot(directory, kernel, initramfs):
    """Boot a guest until it waits to be told what to do. Returns the file with what it has in memory."""
    os.mkdir(directory)
    images = [os.path.join(directory, name) for name in ("current.img", "stable.img")]
    for image in images:
        with open(image, "wb") as file:
            file.truncate(IMAGE_SIZE)
    disk = Disk(os.path.join(directory, "nbd"), *images)
    guest = Guest(directory, kernel, initramfs, disk)
    memory = os.path.join(directory, "memory")
    try:
        guest.wait_for("P")
        guest.save(memory)
    finally:
        guest.kill()
    return memory


def cut(spec):
    """Make the cut that @spec describes. Returns what is known of it afterwards, with "violations"."""
    directory = spec["directory"]
    os.mkdir(directory)
    chance = random.Random(spec["run"])
    result = dict(spec, violations=[], failure=None, writes=0, promised=0, units=0)
    started = time.monotonic()
    try:
        run = run_on_pmem if spec["dax"] else run_guest
        stable, disk, keep, unflushed = run(spec, directory, chance)
        log = Log(read_text(os.path.join(directory, "log")))
        if log.errors:
            raise Failure("; ".join(log.errors[:5]))
        result["promised"] = promise(log, spec["mode"], spec["interval_us"], "writeback" in spec["options"].split(","))
        result["writes"] = sum(write.letter != "A" for file in log.files.values() for write in file.writes.values())
        busy = log.busy()
        result.update(
            kept=keep,
            unflushed=unflushed,
            flushes=disk.flushes,
            lived_ms=(log.end - log.begun) // 1000,
            late_ms=max(late for _, late in log.beats) / 1000,
            tolerance_ms=promise_bound(log, spec["interval_us"], 1)[1] / 1000,
            longest_sync_ms=max((end - begin for begin, end in busy), default=0) / 1000,
        )
        with mounted(directory, stable, spec["fs"]) as root:
            result["violations"], result["units"] = check_promises(spec, directory, log, root)
    except (Failure, RuntimeError, OSError, subprocess.SubprocessError) as error:
        result["failure"] = f"{type(error).__name__}: {error}"
    result["took_s"] = round(time.monotonic() - started, 1)
    if not result["violations"] and not result["failure"]:
        shutil.rmtree(directory)
    return result
