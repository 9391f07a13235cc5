# SPDX-License-Identifier: MIT
"""
A guest with persistent memory. A part of its own memory, which is a file of the host's, is declared to be that
(memmap=): file systems there have DAX and MAP_SYNC, and when the power goes what is in it stays. A second
one, of virtio, has DAX but no MAP_SYNC.
"""

import os
import shutil
import subprocess

from disk import Disk
from guest import Guest

MIB = 1 << 20
MEMORY, AT, SIZE = 512 * MIB, 256 * MIB, 128 * MIB
WORDS = ["script=pmem.sh", "fs=ext4"]


class Pmem:
    """The files, and what QEMU and the kernel have to be told of them."""

    def __init__(self, directory):
        self.directory = directory
        self.memory, other = (os.path.join(directory, name) for name in ("ram", "virtio"))
        for path, size, at in ((self.memory, MEMORY, AT), (other, SIZE, 0)):
            with open(path, "wb") as file:
                file.truncate(size)
            # A file system whose blocks are pages, as DAX wants it.
            subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", f"offset={at},nodiscard", path,
                            f"{SIZE // 1024}k"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        backend = "memory-backend-file,share=on,id="
        self.machine = ["-machine", "q35,memory-backend=ram", "-m", f"{MEMORY // MIB},slots=1,maxmem=2G"]
        self.machine += ["-object", f"{backend}ram,size={MEMORY},mem-path={self.memory}"]
        self.machine += ["-object", f"{backend}virtio,size={SIZE},mem-path={other}"]
        self.machine += ["-device", "virtio-pmem-pci,memdev=virtio"]
        self.append = f"memmap={SIZE // MIB}M!{AT // MIB}M"

    def image(self):
        """What is left of the first one: a file system image."""
        path = os.path.join(self.directory, "stable.img")
        with open(self.memory, "rb") as memory, open(path, "wb") as image:
            memory.seek(AT)
            for _ in range(SIZE // MIB):
                image.write(memory.read(MIB))
        return path


def boot_with_pmem(directory, kernel, initramfs, words):
    """Returns the running guest, its persistent memory, and a disk that is not used."""
    images = [os.path.join(directory, name) for name in ("current.img", "unused.img")]
    for path in images:
        with open(path, "wb") as file:
            file.truncate(MIB)
    pmem, disk = Pmem(directory), Disk(os.path.join(directory, "nbd"), *images)
    guest = Guest(directory, kernel, initramfs, disk, pmem=pmem)
    try:
        guest.wait_for("P")
        guest.tell(WORDS + words)
    except BaseException:
        guest.kill()
        raise
    return guest, pmem, disk


def ask(work, kernel, initramfs, verbose):
    """What becomes of a write to a file in DAX mode. Returns the number of answers that are not as they should be."""
    directory = os.path.join(work, "questions")
    os.mkdir(directory)
    guest, _, _ = boot_with_pmem(directory, kernel, initramfs, ["kinds=questions"])
    try:
        guest.wait_for("G")
        answers = dict(line.split(" ", 2)[1:] for line in guest.log().splitlines() if line.startswith("V "))
    finally:
        guest.kill()
    wrong = 0
    for name, due in (("e820-mapped", "MAP_SYNC"), ("e820-syncs", "0"), ("e820-behind", "kept"), ("e820-said", "0"),
                      ("virtio-mapped", "msync"), ("virtio-syncs", "8"), ("virtio-behind", "kept"),
                      ("virtio-said", "1")):
        right = answers.get(name) == due
        wrong += not right
        if verbose or not right:
            print(f"{'ok  ' if right else 'FAIL'} {name}: {answers.get(name)}, due was {due}", flush=True)
    shutil.rmtree(directory)
    return wrong
