# SPDX-License-Identifier: MIT
"""One power cut: a disk, a guest that writes to it, the end of both, and what the evidence says."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

from disk import Disk
from evidence import Checker, Log, promise, promise_bound

IMAGE_SIZE = 512 << 20
BOOT_SECONDS = 90
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
}


class Failure(Exception):
    """The cut could not be made or looked at: neither a violation nor a pass."""


def make_disk(directory, fs):
    current, stable = (os.path.join(directory, name) for name in ("current.img", "stable.img"))
    with open(stable, "wb") as image:
        image.truncate(IMAGE_SIZE)
    subprocess.run([*MKFS[fs], stable], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    subprocess.run(["cp", "--sparse=always", stable, current], check=True)
    return current, stable


def qemu_command(directory, kernel, initramfs, words):
    log, console, nbd = (os.path.join(directory, name) for name in ("log", "console", "nbd"))
    return (
        ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-machine", "q35", "-m", "512", "-smp", "1"]
        + ["-nodefaults", "-display", "none", "-no-reboot", "-kernel", kernel, "-initrd", initramfs]
        + ["-append", "console=ttyS0 quiet panic=-1 " + " ".join(words)]
        + ["-serial", f"file:{console}", "-device", "virtio-serial-pci"]
        + ["-chardev", f"file,id=log,path={log}", "-device", "virtserialport,chardev=log,name=powercut"]
        + ["-blockdev", f"driver=nbd,node-name=disk,server.type=unix,server.path={nbd},cache.no-flush=off"]
        + ["-device", "virtio-blk-pci,drive=disk,write-cache=on"]
    )


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def wait_for_writers(qemu, directory):
    """Until the guest says that all of its writers run."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        said = read_text(os.path.join(directory, "log"))
        if "\nG " in said or said.startswith("G "):
            return
        if "\nE " in said or said.startswith("E "):
            raise Failure("the guest said: " + said[-400:])
        if qemu.poll() is not None or time.monotonic() > deadline:
            console = read_text(os.path.join(directory, "console"))
            raise Failure(f"the guest did not come up; its console: {console[-800:]}")
        time.sleep(0.05)


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


def run_guest(spec, directory, chance):
    """Boot, let it write for a while, cut. Returns what share of the unflushed blocks the disk kept."""
    current, stable = make_disk(directory, spec["fs"])
    disk = Disk(os.path.join(directory, "nbd"), current, stable)
    words = [f"pc.{name}={spec[name]}" for name in ("fs", "run", "kinds", "options")]
    if spec["broken"]:
        words.append("pc.break=1")
    with open(os.path.join(directory, "qemu.err"), "wb") as said:
        qemu = subprocess.Popen(
            qemu_command(directory, spec["kernel"], spec["initramfs"], words),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        wait_for_writers(qemu, directory)
        time.sleep(chance.uniform(*spec["seconds"]))
    finally:
        qemu.send_signal(signal.SIGKILL)
        qemu.wait()
        keep = {"none": 0.0, "some": chance.random(), "all": 1.0}[spec["keep"]]
        unflushed = disk.cut(keep, chance)
    os.unlink(current)
    return stable, disk, keep, unflushed


def cut(spec):
    """Make the cut that @spec describes. Returns what is known of it afterwards, with "violations"."""
    directory = spec["directory"]
    os.mkdir(directory)
    chance = random.Random(spec["run"])
    result = dict(spec, violations=[], failure=None, writes=0, promised=0, units=0)
    started = time.monotonic()
    try:
        stable, disk, keep, unflushed = run_guest(spec, directory, chance)
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
            checker = Checker(log, root, spec["run"])
            result["violations"] = checker.check()
        result["units"] = checker.units
    except (Failure, RuntimeError, OSError, subprocess.SubprocessError) as error:
        result["failure"] = f"{type(error).__name__}: {error}"
    result["took_s"] = round(time.monotonic() - started, 1)
    if not result["violations"] and not result["failure"]:
        shutil.rmtree(directory)
    return result
