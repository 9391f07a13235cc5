#!/bin/bash
# SPDX-License-Identifier: MIT
# memmapfsctl top on a terminal: what it draws at which size, its keys, and how it ends when the mount does.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ctl.sh"

cat >"$WORK/live.py" <<'PY'
from fsutil import *
import pty, re, termios


class Terminal:
    """top on a terminal of its own."""

    def __init__(self, columns, rows, *words):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LANG="C.UTF-8")
            os.environ.pop("COLUMNS", None)
            os.environ.pop("LINES", None)
            time.sleep(0.2)  # until the size is set
            os.execv(os.environ["CTL"], ["memmapfsctl", "top", "--interval=0.2", *words, MNT])
        self.resize(columns, rows)

    def resize(self, columns, rows):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def read(self):
        while select.select([self.fd], [], [], 0)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # the other end is closed
                return
            self.seen += data

    def shows(self, text, seconds=10):
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            self.read()
            assert time.monotonic() < deadline, "never showed %r: %r" % (text, self.seen[-2000:])
            time.sleep(0.02)

    def type(self, keys):
        os.write(self.fd, keys)

    def status(self):
        deadline = time.monotonic() + 10
        while (ended := os.waitpid(self.pid, os.WNOHANG))[0] == 0:
            self.read()
            assert time.monotonic() < deadline, "it does not end"
            time.sleep(0.02)
        self.read()
        return os.waitstatus_to_exitcode(ended[1])

    def last_line(self):
        """What is on the shell's screen at the end, without the sequences that bring it back."""
        text = re.sub(rb"\x1b(\[[0-9;?]*[A-Za-z]|\([A-Z]|[>=])", b"", self.seen).decode()
        return text.split("\r")[-2].strip() if text.endswith("\r\n") else text
PY

# live: run the Python program on stdin with everything of live.py in scope
live() {
	{
		echo 'from live import *'
		cat
	} >"$WORK/case.py"
	PYTHONPATH=$TESTS:$WORK python3 "$WORK/case.py"
}

# A stopped daemon hears no events either, and on a busy machine it misses some and says so.
start_mount sync=never,watch=off
echo text >"$MNT/a-file"
cat "$MNT/a-file" >/dev/null

check 'it draws, sorts by the keys, and q quits' live <<'PY'
top = Terminal(80, 24)
top.shows(b"a-file")
top.shows(b"*IO/S")
columns = 80
for key, title in ((b"m", b"*MAPPED"), (b"r", b"*RESIDENT"), (b"d", b"*DIRTY"), (b"l", b"*LOCKED"), (b"x", b"")):
    top.type(key)
    time.sleep(0.1)
    # Only what changes is drawn, but for a new size.
    top.seen = b""
    columns += 1
    top.resize(columns, 24)
    top.shows(title)
top.type(b"q")
equal(top.status(), 0)
PY

check 'it follows the terminal to any size' live <<'PY'
top = Terminal(80, 24)
top.shows(b"a-file")
for columns, rows in ((40, 8), (10, 2), (1, 1), (200, 60), (80, 24)):
    top.resize(columns, rows)
    top.seen = b""
    time.sleep(0.5)
    top.read()
top.shows(b"a-file")
top.type(b"q")
equal(top.status(), 0)
PY

check 'an interrupt ends it' live <<'PY'
top = Terminal(80, 24)
top.shows(b"a-file")
top.type(b"\x03")
equal(top.status() in (0, 1, -signal.SIGINT), True)
PY

check 'q quits though the daemon answers nobody, and so it is shown' live <<'PY'
daemon = int(os.environ["DAEMON"])
top = Terminal(80, 24)
top.shows(b"a-file")
os.kill(daemon, signal.SIGSTOP)
try:
    top.shows(b"no answer from the daemon for 0:0")
    top.type(b"q")
    equal(top.status(), 0)
    # One that has not even been able to look at the mount.
    late = Terminal(80, 24)
    late.shows(b"no answer from the daemon for 0:0")
    late.type(b"q")
    equal(late.status(), 0)
    again = Terminal(80, 24)
    again.shows(b"no answer")
finally:
    os.kill(daemon, signal.SIGCONT)
again.shows(b"a-file")
again.type(b"q")
equal(again.status(), 0)
PY

check 'a daemon that goes is told where it can be read' live <<'PY'
top = Terminal(80, 24)
top.shows(b"a-file")
os.kill(int(os.environ["DAEMON"]), signal.SIGKILL)
equal(top.status(), 1)
equal(top.last_line(), "memmapfsctl: '%s': the daemon of this mount is gone" % MNT)
PY
{
	wait "$DAEMON"
} 2>/dev/null || true
daemons[${#daemons[@]} - 1]=''
umount -l "$MNT"
