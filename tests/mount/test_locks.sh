#!/bin/bash
# SPDX-License-Identifier: MIT
# flock and fcntl locks: shared with processes on BACKING, never in the way of other requests,
# interruptible, and released with the last descriptor.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# A lock is taken through one path and tried through another; everything here uses these.
cat >"$WORK/locking.py" <<'EOP'
from fsutil import *

def open_rw(path):
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

def try_flock(path, kind=fcntl.LOCK_EX):
    """Whether a process of its own could take the lock right now."""
    fd = open_rw(path)
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)

def try_fcntl(path, kind=fcntl.LOCK_EX, length=0, start=0):
    """The same for an fcntl lock; in a child, since a process never conflicts with itself."""
    def attempt():
        fd = open_rw(path)
        try:
            fcntl.lockf(fd, kind | fcntl.LOCK_NB, length, start)
            return True
        except (BlockingIOError, PermissionError):
            return False
    return as_user(0, attempt)

def take_flock(fd, kind=fcntl.LOCK_EX):
    fcntl.flock(fd, kind)

def take_fcntl(fd, kind=fcntl.LOCK_EX, length=0, start=0):
    fcntl.lockf(fd, kind, length, start)

KINDS = [("flock", take_flock, try_flock), ("fcntl", take_fcntl, try_fcntl)]
PAIRS = [(MNT, BACKING), (BACKING, MNT), (MNT, MNT)]
EOP
PYTHONPATH=$WORK:$PYTHONPATH

locking() {
	{
		echo 'from locking import *'
		cat
	} | py
}

start_mount sync=periodic,max_threads=2

check 'a lock is seen between mount and BACKING, both ways, and gone after unlock' locking <<'PY'
for name, take, attempt in KINDS:
    for one, other in PAIRS:
        path, seen = one + "/" + name, other + "/" + name
        def holder(me):
            fd = open_rw(path)
            take(fd)
            me.say("held")
            me.wait_for_go()
            take(fd, fcntl.LOCK_UN)
            me.say("released")
        child = Process(holder)
        equal(child.hear(), "held")
        equal(attempt(seen), False, "%s held on %s, tried on %s" % (name, one, other))
        equal(attempt(seen, fcntl.LOCK_SH), False, "shared, while exclusive")
        child.go()
        equal(child.hear(), "released")
        equal(attempt(seen), True, "%s after the release" % name)
        child.kill()
PY

check 'a lock set through a descriptor for reading is gone once its close has returned' locking <<'PY'
# A file's first lock is the one whose descriptor may close without a message: each round has a file of its own.
def taker(me):
    for i in range(300):
        me.wait_for_go()
        fd = os.open(MNT + "/reader%d" % i, os.O_RDWR)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            me.say("free")
        except BlockingIOError:
            me.say("locked")
        os.close(fd)
child = Process(taker)
for i in range(300):
    path = MNT + "/reader%d" % i
    os.close(open_rw(path))
    fd = os.open(path, os.O_RDONLY)
    take_fcntl(fd, fcntl.LOCK_SH)
    os.close(fd)
    child.go()
    equal(child.hear(), "free", "round %d" % i)
PY

check 'shared locks go together and keep exclusive ones out' locking <<'PY'
for name, take, attempt in KINDS:
    for one, other in PAIRS:
        def holder(me):
            take(open_rw(one + "/sh" + name), fcntl.LOCK_SH)
            me.say("held")
        child = Process(holder)
        child.hear()
        equal(attempt(other + "/sh" + name, fcntl.LOCK_SH), True)
        equal(attempt(other + "/sh" + name, fcntl.LOCK_EX), False)
        child.kill()
        wait_until(5, lambda: attempt(other + "/sh" + name, fcntl.LOCK_EX))
PY

check 'fcntl locks are ranges: splitting, growing and touching them is as on one file system' locking <<'PY'
for one, other in PAIRS:
    def holder(me):
        fd = open_rw(one + "/ranges")
        take_fcntl(fd, fcntl.LOCK_EX, 100, 0)
        me.say("0-99")
        me.wait_for_go()
        take_fcntl(fd, fcntl.LOCK_UN, 20, 40)
        me.say("without 40-59")
        me.wait_for_go()
        take_fcntl(fd, fcntl.LOCK_SH, 10, 0)
        me.say("0-9 shared")
        me.wait_for_go()
        take_fcntl(fd, fcntl.LOCK_EX, 0, 1 << 40)
        me.say("to the end")
    child = Process(holder)
    child.hear()
    seen = other + "/ranges"
    def free(start, length=1, kind=fcntl.LOCK_EX):
        return try_fcntl(seen, kind, length, start)
    equal([free(0), free(99), free(100), free(50, 100), free(100, 0)], [False, False, True, False, True])
    child.go()
    child.hear()
    equal([free(39), free(40), free(59), free(60), free(40, 20)], [False, True, True, False, True])
    child.go()
    child.hear()
    equal([free(5), free(5, 1, fcntl.LOCK_SH), free(15, 1, fcntl.LOCK_SH)], [False, True, False])
    child.go()
    child.hear()
    equal([free((1 << 40) - 1), free(1 << 40), free((1 << 62))], [True, False, False])
    child.kill()
PY

check 'F_GETLK tells of a lock held on the other side' locking <<'PY'
def getlk(path, start, length):
    fd = open_rw(path)
    raw = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, start, length, 0))
    kind, whence, start, length, pid = struct.unpack("hhqqi4x", raw)
    return kind if kind == fcntl.F_UNLCK else (kind, start, length)
for one, other in PAIRS:
    def holder(me):
        fd = open_rw(one + "/getlk")
        take_fcntl(fd, fcntl.LOCK_EX, 10, 5)
        take_fcntl(fd, fcntl.LOCK_SH, 10, 50)
        me.say("held")
    child = Process(holder)
    child.hear()
    equal(as_user(0, getlk, other + "/getlk", 0, 20), (fcntl.F_WRLCK, 5, 10))
    equal(as_user(0, getlk, other + "/getlk", 40, 100), (fcntl.F_RDLCK, 50, 10))
    equal(as_user(0, getlk, other + "/getlk", 15, 35), fcntl.F_UNLCK)
    child.kill()
PY

check 'locks of open file descriptions conflict within one process and with BACKING' locking <<'PY'
F_OFD_SETLK = 37
def ofd(fd, kind, start=0, length=10):
    fcntl.fcntl(fd, F_OFD_SETLK, struct.pack("hhqqi4x", kind, 0, start, length, 0))
one, two = open_rw(MNT + "/ofd"), open_rw(MNT + "/ofd")
ofd(one, fcntl.F_WRLCK)
with raises(EAGAIN):
    ofd(two, fcntl.F_WRLCK)
equal(try_fcntl(BACKING + "/ofd"), False)
ofd(two, fcntl.F_WRLCK, 10, 10)
ofd(one, fcntl.F_UNLCK)
ofd(two, fcntl.F_WRLCK)
os.close(two)
wait_until(5, lambda: try_fcntl(BACKING + "/ofd"))
PY

check 'a process does not conflict with itself, and loses its fcntl locks with any close' locking <<'PY'
def steps(d):
    path = d + "/self"
    one, two = open_rw(path), open_rw(path)
    take_fcntl(one)
    answers = [outcome(take_fcntl, two), try_fcntl(path)]
    os.close(two)
    return answers + [try_fcntl(path)]
equal(on_both(steps), [None, False, True])
PY

check 'descriptors must be open for what an fcntl lock means; flock does not care' locking <<'PY'
def steps(d):
    open_rw(d + "/f")
    reading, writing = os.open(d + "/f", os.O_RDONLY), os.open(d + "/f", os.O_WRONLY)
    return [
        outcome(take_fcntl, reading, fcntl.LOCK_EX | fcntl.LOCK_NB),
        outcome(take_fcntl, writing, fcntl.LOCK_SH | fcntl.LOCK_NB),
        outcome(take_fcntl, reading, fcntl.LOCK_SH | fcntl.LOCK_NB),
        outcome(take_flock, reading, fcntl.LOCK_EX | fcntl.LOCK_NB),
        outcome(take_flock, writing, fcntl.LOCK_SH | fcntl.LOCK_NB),
        outcome(take_flock, reading, fcntl.LOCK_SH | fcntl.LOCK_NB),
    ]
on_both(steps)
PY

check 'a close without unlocking releases, with flock only the last close of all copies' locking <<'PY'
for seen in (MNT, BACKING):
    fd = open_rw(MNT + "/close")
    take_flock(fd)
    copy = os.dup(fd)
    os.close(fd)
    equal(try_flock(seen + "/close"), False, "a dup keeps the flock")
    os.close(copy)
    wait_until(5, lambda: try_flock(seen + "/close"))

    def holder(me):
        fd = open_rw(MNT + "/close")
        take_fcntl(fd)
        me.say("held")
        me.wait_for_go()
        os.close(fd)
        me.say("closed")
    child = Process(holder)
    child.hear()
    equal(try_fcntl(seen + "/close"), False)
    child.go()
    child.hear()
    equal(try_fcntl(seen + "/close"), True)
    child.kill()

    fd = open_rw(MNT + "/inherited")
    take_flock(fd)
    child = Process(lambda me: me.say("inherits"))
    child.hear()
    os.close(fd)
    equal(try_flock(seen + "/inherited"), False, "a child that inherited keeps the flock")
    child.kill()
    wait_until(5, lambda: try_flock(seen + "/inherited"))
PY

check 'the end of a process, by kill too, releases all its locks' locking <<'PY'
for name, take, attempt in KINDS:
    def holder(me):
        take(open_rw(MNT + "/exit" + name))
        me.say("held")
    child = Process(holder)
    child.hear()
    equal(attempt(BACKING + "/exit" + name), False)
    child.kill()
    wait_until(5, lambda: attempt(BACKING + "/exit" + name))
    equal(attempt(MNT + "/exit" + name), True)
PY

check 'blocked lockers, more than the daemon has workers, stall nobody and all get their turn' locking <<'PY'
write_file(MNT + "/data", b"d" * 100000)
for name, take, attempt in KINDS:
    for side in (BACKING, MNT):
        path = "/wait" + name
        def holder(me):
            take(open_rw(side + path))
            me.say("held")
        holding = Process(holder)
        holding.hear()
        def waiter(me):
            fd = open_rw(MNT + path)
            me.say("waiting")
            take(fd)
            me.say("got it")
        waiters = [Process(waiter) for n in range(20)]
        for child in waiters:
            equal(child.hear(), "waiting")
        time.sleep(0.2)
        equal([child for child in waiters if child.hears_within(0)], [], "nobody got it early")
        began = time.monotonic()
        for n in range(20):
            equal(len(read_file(MNT + "/data")), 100000)
            write_file(MNT + "/other%d" % n, b"x" * 5000)
            os.listdir(MNT)
            equal(try_fcntl(MNT + "/other%d" % n), True, "another file's lock")
            os.unlink(MNT + "/other%d" % n)
        equal(time.monotonic() - began < 10, True, "other requests while lockers wait")
        holding.kill()
        # Each holds it until it ends, so they come one after the other.
        pending = list(waiters)
        deadline = time.monotonic() + 30
        while pending:
            ready = [child for child in pending if child.hears_within(0.01)]
            for child in ready:
                equal(child.hear(), "got it")
                child.kill()
                pending.remove(child)
            equal(time.monotonic() < deadline, True, "%d of 20 still wait for %s" % (len(pending), name))
        wait_until(5, lambda: attempt(BACKING + path))
PY

check 'a blocked wait ends by a signal with EINTR, and takes no lock later' locking <<'PY'
class Alarm(Exception):
    pass
for name, take, attempt in KINDS:
    for side in (BACKING, MNT):
        path = "/eintr" + name
        def holder(me):
            fd = open_rw(side + path)
            take(fd)
            me.say("held")
            me.wait_for_go()
            take(fd, fcntl.LOCK_UN)
            me.say("released")
        holding = Process(holder)
        holding.hear()
        def waiter(me):
            def handler(number, frame):
                raise Alarm
            signal.signal(signal.SIGALRM, handler)
            fd = open_rw(MNT + path)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            began = time.monotonic()
            try:
                take(fd)
                me.say("got a lock that is held")
            except Alarm:
                me.say("interrupted" if time.monotonic() - began < 5 else "late")
            me.wait_for_go()
        child = Process(waiter)
        equal(child.hear(), "interrupted", name)
        holding.go()
        equal(holding.hear(), "released")
        time.sleep(0.3)
        equal(attempt(BACKING + path), True, "no lock is left behind by the interrupted wait")
        equal(attempt(MNT + path), True, "nor on the mount")
        child.kill()
        holding.kill()
PY

check 'a killed waiter ends at once, and its lock is never taken' locking <<'PY'
for name, take, attempt in KINDS:
    path = "/killed" + name
    def holder(me):
        fd = open_rw(BACKING + path)
        take(fd)
        me.say("held")
        me.wait_for_go()
        take(fd, fcntl.LOCK_UN)
        me.say("released")
    holding = Process(holder)
    holding.hear()
    def waiter(me):
        fd = open_rw(MNT + path)
        me.say("waiting")
        take(fd)
    children = [Process(waiter) for n in range(5)]
    for child in children:
        child.hear()
    time.sleep(0.2)
    for child in children:
        child.signal(signal.SIGKILL)
    for child in children:
        equal(child.ends_within(5) is not None, True, "killed while waiting for %s" % name)
    holding.go()
    holding.hear()
    wait_until(5, lambda: attempt(BACKING + path))
    time.sleep(0.2)
    equal(attempt(BACKING + path), True)
    holding.kill()
PY

check 'an unlinked and a renamed file keep their locks' locking <<'PY'
fd = open_rw(MNT + "/moving")
take_flock(fd)
other = os.open(BACKING + "/moving", os.O_RDWR)
os.rename(MNT + "/moving", MNT + "/moved")
equal(try_flock(BACKING + "/moved"), False)
os.unlink(MNT + "/moved")
with raises(EAGAIN):
    take_flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.close(fd)
wait_until(5, lambda: outcome(take_flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB) is None)
PY

check 'an flock is converted, and a failed conversion is as on BACKING' locking <<'PY'
def steps(d):
    one, two = open_rw(d + "/f"), open_rw(d + "/f")
    answers = [outcome(take_flock, one, fcntl.LOCK_SH), outcome(take_flock, two, fcntl.LOCK_SH)]
    answers.append(outcome(take_flock, one, fcntl.LOCK_EX | fcntl.LOCK_NB))
    answers.append(outcome(take_flock, two, fcntl.LOCK_UN))
    answers.append(outcome(take_flock, one, fcntl.LOCK_EX | fcntl.LOCK_NB))
    answers.append(outcome(take_flock, two, fcntl.LOCK_SH | fcntl.LOCK_NB))
    answers.append(outcome(take_flock, one, fcntl.LOCK_SH | fcntl.LOCK_NB))
    answers.append(outcome(take_flock, two, fcntl.LOCK_SH | fcntl.LOCK_NB))
    return answers
on_both(steps)
PY

check 'eight processes counting under a lock lose no count' locking <<'PY'
for name, take, attempt in KINDS:
    path = MNT + "/counter" + name
    write_file(path, b"0".ljust(16))
    def counter(side):
        def count(me):
            fd = open_rw(side + "/counter" + name)
            for n in range(50):
                take(fd)
                value = int(os.pread(fd, 16, 0))
                os.pwrite(fd, str(value + 1).encode().ljust(16), 0)
                take(fd, fcntl.LOCK_UN)
            me.say("done")
        return count
    children = [Process(counter(MNT)) for n in range(8)]
    for child in children:
        equal(child.hear(40), "done")
        child.kill()
    equal(int(read_file(BACKING + "/counter" + name)), 400, name)
PY

daemon_ends_under_waiters() {
	locking <<'PY'
daemon = int(os.environ["DAEMON"])
holding = open_rw(BACKING + "/end")
take_flock(holding)
take_fcntl(holding)
def waiter(take):
    def wait(me):
        fd = open_rw(MNT + "/end")
        me.say("waiting")
        me.say(str(outcome(take, fd)))
    return wait
children = [Process(waiter(take)) for name, take, attempt in KINDS for n in range(4)]
for child in children:
    child.hear()
time.sleep(0.2)
os.kill(daemon, signal.SIGTERM)
for child in children:
    said = child.hear(10)
    equal(said != "None", True, "the waiter got an error instead of the lock")
    child.kill()
PY
}
check 'SIGTERM with blocked lockers ends the daemon, and the lockers with an error' daemon_ends_under_waiters
daemon_ends 15

start_mount sync=periodic
umount_under_waiter() {
	locking <<'PY'
holding = open_rw(BACKING + "/busy")
take_flock(holding)
def waiter(me):
    fd = open_rw(MNT + "/busy")
    me.say("waiting")
    me.say(str(outcome(take_flock, fd)))
child = Process(waiter)
child.hear()
time.sleep(0.2)
began = time.monotonic()
equal(subprocess.call(["umount", MNT], stderr=subprocess.DEVNULL) != 0, True, "umount says busy")
equal(subprocess.call(["umount", "-l", MNT]), 0)
equal(time.monotonic() - began < 5, True, "without waiting for the lock")
child.signal(signal.SIGKILL)
equal(child.ends_within(5) is not None, True, "the locker can be killed")
PY
}
check 'umount and umount -l under a blocked locker do not hang' umount_under_waiter
daemon_ends 15
