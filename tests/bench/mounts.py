# SPDX-License-Identifier: MIT
"""A mounted peer: started, watched for what it costs, taken down. Each measurement gets a new one, so the
kernel has nothing of the mount cached and no other daemon runs beside it."""
import contextlib
import glob
import os
import resource
import signal
import subprocess
import threading
import time

START_SECONDS = 20
END_SECONDS = 60
IO_URING_SWITCH = "/sys/module/fuse/parameters/enable_uring"


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


@contextlib.contextmanager
def io_uring(wanted):
    """FUSE over io_uring is on, for who mounts inside; afterwards it is as it was."""
    if not wanted:
        yield
        return
    with open(IO_URING_SWITCH) as file:
        before = file.read()
    with open(IO_URING_SWITCH, "w") as file:
        file.write("Y")
    try:
        yield
    finally:
        with open(IO_URING_SWITCH, "w") as file:
            file.write(before)


class Mount:
    """A context: with Mount(peer, area, mnt, cpus) as mount: ... mount.top ..."""

    def __init__(self, peer, area, mnt, cpus=None, log=None):
        self.peer, self.area, self.mnt, self.cpus = peer, area, mnt, cpus
        self.log = log or mnt + ".log"
        self.process = None
        self.pid = None
        self.connection = None  # the number under which the kernel knows it
        self.aborted = False
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
        with io_uring(self.peer.io_uring):
            return self._mount()

    def _mount(self):
        os.makedirs(self.mnt, exist_ok=True)
        words = self.peer.words(backing=self.area.backing, mnt=self.mnt, lower=self.area.lower,
                                upper=self.area.upper, scratch=self.area.scratch)
        if self.peer.kind == "kernel":
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode != 0:
                raise MountFailed("does not mount: " + done.stderr.strip())
            return self
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
        self.connection = mount_of(self.mnt).split(":")[1]
        try:
            with self.watched(START_SECONDS):
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
        """End a daemon that hangs, and with it its connection, so that nobody waits for it."""
        self.aborted = True
        for end in (lambda: os.kill(self.pid or self.process.pid, signal.SIGKILL), self._abort_connection):
            with contextlib.suppress(OSError, AttributeError):  # it is gone, or there was none
                end()

    def _abort_connection(self):
        # a daemon can be past being killed; not every machine has these files
        with open("/sys/fs/fuse/connections/%s/abort" % self.connection, "w") as file:
            file.write("1")

    @contextlib.contextmanager
    def watched(self, seconds):
        """What is done inside asks the daemon something: it must not wait forever."""
        timer = threading.Timer(seconds, self.abort)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _end(self):
        if self.peer.kind == "native":
            return
        with self.watched(END_SECONDS):
            for attempt in range(50):
                if mount_of(self.mnt) is None:
                    break
                # a program may still be on its way out
                words = ["umount", self.mnt] if attempt < 40 else ["umount", "--lazy", self.mnt]
                if subprocess.run(words, capture_output=True).returncode != 0:
                    time.sleep(0.1)
        if self.process is None:
            return
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number:
                self.process.send_signal(number)
            try:
                patient = number is None and not self.aborted and mount_of(self.mnt) is None
                self.process.wait(timeout=END_SECONDS if patient else 3)
                break
            except subprocess.TimeoutExpired:
                continue
        deadline = time.monotonic() + (3 if self.aborted else END_SECONDS)
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
