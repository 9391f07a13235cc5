# SPDX-License-Identifier: MIT
"""
The guest. It is booted once: what it has in memory when it is ready to be told what to do is kept in a file,
and every later guest begins there. The disks may be others then, as it has looked at none of them.
"""

import json
import os
import signal
import socket
import subprocess
import time

BOOT_SECONDS = 180
WORDS_SIZE = 4096


class Failure(Exception):
    """Something other than the program under test went wrong: neither a violation nor a pass."""


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class Guest:
    """A machine with a disk that @disk serves, in a directory of its own; see init for what it does."""

    def __init__(self, directory, kernel, initramfs, disk, memory=None, pmem=None):
        """@memory: begin there and do not boot. @pmem: what pmem.py adds to the machine."""
        self.directory, self.disk = directory, disk
        self._words = os.path.join(directory, "words")
        with open(self._words, "wb") as file:
            file.write(b"wait\n".ljust(WORDS_SIZE, b"\0"))
        log, console = (os.path.join(directory, name) for name in ("log", "console"))
        self._control = os.path.join(directory, "control")
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "1"]
        command += pmem.machine if pmem else ["-machine", "q35", "-m", "512"]
        command += ["-nodefaults", "-display", "none", "-no-reboot", "-kernel", kernel, "-initrd", initramfs]
        append = "console=ttyS0 quiet panic=-1 no_timer_check" + (" " + pmem.append if pmem else "")
        command += ["-append", append, "-serial", f"file:{console}"]
        command += ["-device", "virtio-serial-pci", "-chardev", f"file,id=log,path={log}"]
        command += ["-device", "virtserialport,chardev=log,name=powercut"]
        command += ["-blockdev", f"driver=nbd,node-name=disk,server.type=unix,server.path={disk.address}"]
        command += ["-device", "virtio-blk-pci,drive=disk,write-cache=on"]
        command += ["-blockdev", f"driver=file,node-name=words,filename={self._words},read-only=on"]
        command += ["-device", "virtio-blk-pci,drive=words"]
        command += ["-qmp", f"unix:{self._control},server=on,wait=off"]
        if memory:
            command += ["-incoming", f"exec:cat {memory}"]
        with open(os.path.join(directory, "qemu.err"), "wb") as said:
            self.qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def tell(self, words):
        """What it is waiting for: words of the form name=value."""
        with open(self._words, "r+b") as file:
            file.write(("go " + " ".join(words) + "\n").encode().ljust(WORDS_SIZE, b"\0"))

    def log(self):
        return read_text(os.path.join(self.directory, "log"))

    def wait_for(self, letter, errors=True):
        """Until the log has a line that begins so, or, with @errors, until it has one of an error."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            lines = self.log().splitlines()
            if any(line.startswith(letter + " ") for line in lines):
                return
            complaints = [line for line in lines if line.startswith("E ")]
            if complaints and errors:
                raise Failure("the guest said: " + "; ".join(complaints[:5]))
            if self.qemu.poll() is not None or time.monotonic() > deadline:
                said = [read_text(os.path.join(self.directory, name))[-800:] for name in ("console", "qemu.err")]
                raise Failure(f"the guest did not come up; its console: {said[0]}; QEMU: {said[1]}")
            time.sleep(0.02)

    def save(self, path):
        """Keep what it has in memory, and end it."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._control)
            stream = connection.makefile("rw", encoding="utf-8")

            def ask(name, **arguments):
                stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
                stream.flush()
                while True:
                    answer = json.loads(stream.readline())
                    if "error" in answer:
                        raise Failure(f"QEMU: {answer['error']}")
                    if "return" in answer:
                        return answer["return"]

            ask("qmp_capabilities")
            ask("migrate-set-parameters", **{"max-bandwidth": 1 << 34})
            ask("migrate", uri=f"exec:cat >{path}")
            while True:
                status = ask("query-migrate").get("status")
                if status == "completed":
                    break
                if status == "failed":
                    raise Failure("the guest's memory cannot be kept")
                time.sleep(0.05)
        self.kill()

    def kill(self):
        """The power goes: from now on nothing that the guest does reaches the disk."""
        if self.qemu.poll() is None:
            self.qemu.send_signal(signal.SIGKILL)
        self.qemu.wait()
