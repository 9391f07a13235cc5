# SPDX-License-Identifier: MIT
"""A mounted peer: started, watched for what it costs, taken down. Each measurement gets a new one, so the
kernel has nothing of the mount cached and no other daemon runs beside it."""
import glob
import os
import resource
import signal
import subprocess
import time

START_SECONDS = 20
END_SECONDS = 60


class MountFailed(Exception):
    """The peer does not mount, or does not go; the text says why."""


def mount_of(path):
    """The major:minor of what is mounted at the path, or None."""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            words = line.split()
            if words[4] == path:
                return words[2]
    return None


def server_of(mnt):
    """The process that has /dev/fuse open and the mount point among its words, or None."""
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        number = link.split("/")[2]
        try:
            if os.readlink(link) == "/dev/fuse":
                with open("/proc/%s/cmdline" % number, "rb") as file:
                    if os.fsencode(mnt) in file.read():
                        return int(number)
        except OSError:
            pass
    return None


class Mount:
    """A context: with Mount(peer, area, mnt, cpus) as mount: ... mount.top ..."""

    def __init__(self, peer, area, mnt, cpus=None, log=None):
        self.peer, self.area, self.mnt, self.cpus = peer, area, mnt, cpus
        self.log = log or mnt + ".log"
        self.process = None
        self.pid = None
        self.top = area.backing if peer.kind == "native" else mnt

    def _prepare(self):
        if self.cpus:
            os.sched_setaffinity(0, self.cpus)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    def said(self):
        """The last thing that the daemon said."""
        with open(self.log, errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
        return lines[-1] if lines else ""

    def __enter__(self):
        if self.peer.kind == "native":
            return self
        os.makedirs(self.mnt, exist_ok=True)
        if self.peer.kind == "bind":
            subprocess.run(["mount", "--bind", self.area.backing, self.mnt], check=True)
            return self
        words = self.peer.words(backing=self.area.backing, mnt=self.mnt, lower=self.area.lower,
                                scratch=self.area.scratch)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=self._prepare, cwd="/")
        self.pid = self.process.pid
        deadline = time.monotonic() + START_SECONDS
        while mount_of(self.mnt) is None:
            if self.process.poll() not in (None, 0) or time.monotonic() > deadline:
                self._end()
                raise MountFailed("does not mount: " + (self.said() or "no word from it"))
            time.sleep(0.002)
        try:
            os.stat(self.mnt)
        except OSError as error:
            self._end()
            raise MountFailed("mounted, and then: %s %s" % (error.strerror, self.said())) from error
        if self.process.poll() is not None:
            self.pid = server_of(self.mnt)  # it went into the background
        return self

    def __exit__(self, kind, value, trace):
        self._end()

    def abort(self):
        """End the connection, so that nobody waits for a daemon that hangs."""
        number = mount_of(self.mnt)
        if self.peer.kind in ("fuse", "bare") and number:
            try:
                with open("/sys/fs/fuse/connections/%s/abort" % number.split(":")[1], "w") as file:
                    file.write("1")
            except OSError:
                pass

    def _end(self):
        if self.peer.kind == "native":
            return
        for attempt in range(50):
            if mount_of(self.mnt) is None:
                break
            # a program may still be on its way out
            if subprocess.run(["umount", self.mnt], capture_output=True).returncode != 0:
                time.sleep(0.1)
            if attempt == 40:
                self.abort()
                subprocess.run(["umount", "--lazy", self.mnt], capture_output=True)
        if self.process is None:
            return
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number:
                self.process.send_signal(number)
            try:
                self.process.wait(timeout=END_SECONDS if number is None and mount_of(self.mnt) is None else 3)
                break
            except subprocess.TimeoutExpired:
                continue
        deadline = time.monotonic() + END_SECONDS
        while self.pid not in (None, self.process.pid) and os.path.exists("/proc/%d" % self.pid):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)

    def cpu(self):
        """Seconds of processor time that the daemon has used: its utime and stime, of threads that ended
        too, by the process's own clock, which counts them in nanoseconds."""
        if self.pid is None:
            return None
        try:
            return time.clock_gettime(~self.pid << 3 | 2)
        except OSError:
            return None

    def private(self):
        """Bytes of memory that are the daemon's own: anonymous pages, not those of mapped files."""
        if self.pid is None:
            return None
        try:
            with open("/proc/%d/smaps_rollup" % self.pid) as file:
                for line in file:
                    if line.startswith("Anonymous:"):
                        return int(line.split()[1]) << 10
        except OSError:
            pass
        return None
