# SPDX-License-Identifier: MIT
"""The machine: what it is, its caches, and the fresh file system that every peer is mounted over."""
import ctypes
import mmap
import os
import platform
import shutil
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)


def first_line(*command):
    """The first line that a command prints, the one with its own name if there is one; '' without it."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    named = [line for line in lines if os.path.basename(command[0]) in line]
    return (named or lines or [""])[0]


def describe():
    """What a reader needs to judge the figures: processor, memory, kernel, versions."""
    model, memory, system = platform.machine(), 0, "Linux"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) << 10
    try:
        with open("/etc/os-release") as file:
            system = dict(line.rstrip().split("=", 1) for line in file if "=" in line)["PRETTY_NAME"].strip('"')
    except (OSError, KeyError):
        pass
    return {
        "processor": model, "architecture": platform.machine(), "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": memory, "kernel": platform.release(), "system": system,
        "libfuse": first_line("pkg-config", "--modversion", "fuse3"), "fio": first_line("fio", "--version"),
        "python": platform.python_version(),
    }


def versions_of_programs():
    """The programs that the cases run."""
    answers = {
        "git": first_line("git", "--version"), "sqlite3": first_line("sqlite3", "--version")[:16].strip(),
        "tar": first_line("tar", "--version"), "make": first_line("make", "--version"),
        "cc": first_line("cc", "--version"), "postgresql": first_line("psql", "--version"),
    }
    return {name: answer for name, answer in answers.items() if answer}


def drop_caches():
    """Empty the kernel's caches of everything, disks included."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3\n")


def memory_cached():
    """Bytes of page cache that belong to files, those in memory only (tmpfs) left out."""
    amounts = {}
    with open("/proc/meminfo") as file:
        for line in file:
            words = line.split()
            amounts[words[0]] = int(words[1]) << 10
    return amounts["Cached:"] - amounts["Shmem:"]


def resident_bytes(path):
    """How much of a file is in the page cache."""
    size = os.path.getsize(path)
    pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), size) as area:
        states = (ctypes.c_ubyte * pages)()
        address = ctypes.addressof(ctypes.c_char.from_buffer(area))
        if LIBC.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), states) != 0:
            return 0
        return sum(bytes(states).translate(bytes(n & 1 for n in range(256)))) * mmap.PAGESIZE


def run_quietly(*command):
    """Run a command; its words only when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit("%s: %s" % (" ".join(command), done.stdout.strip()))
    return done.stdout.strip()


class Area:
    """A place for BACKING and what belongs to it: ext4 on a loop device, or a directory that was given."""

    def __init__(self, work, given, size):
        self.image = None
        self.loop = False
        self.given = given
        if given:
            self.root = os.path.join(os.path.abspath(given), "memmapfs-bench.%d" % os.getpid())
            os.makedirs(self.root)
        else:
            self.root = os.path.join(work, "area")
            os.makedirs(self.root)
            self._make_loop(os.path.join(work, "image"), size)
        self.backing = os.path.join(self.root, "backing")
        self.data = os.path.join(self.backing, "data")
        self.run = os.path.join(self.backing, "run")
        # fuse-overlayfs wants an empty lower directory and a place to work in, beside its upper one
        self.lower = os.path.join(self.root, "lower")
        self.scratch = os.path.join(self.root, "scratch")
        # where changes go that are kept apart from BACKING
        self.upper = os.path.join(self.root, "upper")
        for path in (self.data, self.run, self.lower, self.scratch, self.upper):
            os.makedirs(path)
        os.chmod(self.root, 0o755)
        device = os.stat(self.root).st_dev
        self.statistics = "/sys/dev/block/%d:%d/stat" % (os.major(device), os.minor(device))
        self._root_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)

    def _make_loop(self, image, size):
        with open(image, "wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError:
                file.truncate(size)
        # nothing left for the kernel to initialize while something is measured
        run_quietly("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        setup = ["losetup", "--find", "--show", image]
        done = subprocess.run(setup[:1] + ["--direct-io=on"] + setup[1:], capture_output=True, text=True)
        if done.returncode == 0:
            device = done.stdout.strip()
        else:
            device = run_quietly(*setup)
        with open("/sys/block/%s/loop/dio" % os.path.basename(device)) as file:
            direct = file.read().strip() == "1"
        self.loop = True
        self.how = "ext4 on a loop device, %d MiB, %s, noatime" % (
            size >> 20, "direct I/O to its image" if direct else "through the page cache of its image")
        # without direct I/O the image's own pages are in the page cache as well
        self.image = None if direct else image
        run_quietly("mount", "-t", "ext4", "-o", "noatime", device, self.root)
        # it goes with the mount, whatever becomes of this process
        run_quietly("losetup", "--detach", device)

    def describe(self):
        """Where BACKING lies, in words."""
        if self.loop:
            return self.how
        return first_line("findmnt", "-n", "-o", "FSTYPE,OPTIONS", "-T", self.root) or "a directory"

    def sync(self):
        """Write back all of the area's file system and nothing else."""
        if LIBC.syncfs(self._root_fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs")

    def disk(self):
        """Bytes that the device has read and written so far; None where there is no such device."""
        try:
            with open(self.statistics) as file:
                fields = file.read().split()
        except OSError:
            return None
        return int(fields[2]) * 512, int(fields[6]) * 512

    def page_cache(self):
        """Bytes of page cache in use, the loop image's own pages left out."""
        return memory_cached() - (resident_bytes(self.image) if self.image else 0)

    def clear_run(self):
        """An empty directory for what one measurement writes."""
        shutil.rmtree(self.run, ignore_errors=True)
        os.makedirs(self.run)

    def clear_upper(self):
        """Nothing is changed in a view of BACKING."""
        for path in (self.upper, self.scratch):
            shutil.rmtree(path, ignore_errors=True)
            os.makedirs(path)

    def close(self):
        """Take it down; what was made is removed."""
        os.close(self._root_fd)
        if self.given:
            shutil.rmtree(self.root, ignore_errors=True)
        else:
            subprocess.run(["umount", "--lazy", self.root], check=False)
