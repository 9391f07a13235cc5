# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What watch=auto is to do, for root's mounts and for those of an ordinary user, who sets uid.

# run: as py, and as the user whose mount it is
run() {
	if [ -z "${uid:-}" ]; then
		py
	else
		{
			echo 'os.setgroups([]); os.setgid(int(os.environ["uid"])); os.setuid(int(os.environ["uid"]))'
			cat
		} | py
	fi
}

# Seconds in which a change must be seen; it takes about a millisecond when nobody else uses the machine.
export SOON=2

every_watch() {
	check "$1: what the kernel was told once it does not ask for again" run <<'PY'
os.mkdir(BACKING + "/quiet")
for n in range(50):
    write_file(BACKING + "/quiet/%d" % n, b"x" * 100)
time.sleep(1.5) # what has just changed is looked at once more after a second
for n in range(50):
    os.stat(MNT + "/quiet/%d" % n)
equal(os.path.exists(MNT + "/quiet/none"), False)
os.symlink("0", MNT + "/quiet/link")
listing = sorted(os.listdir(MNT + "/quiet"))
equal(len(listing), 51)
# Without privilege the kernel is not let to keep listings.
lists = os.getuid() == 0
equal(os.readlink(MNT + "/quiet/link"), "0")
time.sleep(1.5)
equal(sorted(os.listdir(MNT + "/quiet")), listing)
def look(me):
    if lists:
        equal(sorted(os.listdir(MNT + "/quiet")), listing)
    equal(os.readlink(MNT + "/quiet/link"), "0")
    for n in range(50):
        os.stat(MNT + "/quiet/%d" % n)
        os.access(MNT + "/quiet/%d" % n, os.R_OK)
    os.path.exists(MNT + "/quiet/none")
    me.say("done")
def is_silent():
    """Nobody answers requests meanwhile."""
    os.kill(int(os.environ["DAEMON"]), signal.SIGSTOP)
    looking = Process(look)
    try:
        return looking.hears_within(2) and looking.hear() == "done"
    finally:
        os.kill(int(os.environ["DAEMON"]), signal.SIGCONT)
        time.sleep(1)
# On a busy machine that one look may be late.
wait_until(15, is_silent)
PY

	check "$1: sizes, modes, times and link counts changed in BACKING are seen" run <<'PY'
SOON = float(os.environ["SOON"])
write_file(BACKING + "/file", b"old")
equal(os.stat(MNT + "/file").st_size, 3)
time.sleep(0.3)
with open(BACKING + "/file", "ab") as file:
    file.write(b" and new")
wait_until(SOON, lambda: os.stat(MNT + "/file").st_size == 11)
os.chmod(BACKING + "/file", 0o600)
wait_until(SOON, lambda: os.stat(MNT + "/file").st_mode & 0o777 == 0o600)
if os.getuid() == 0:
    os.chown(BACKING + "/file", 1234, 1234)
    wait_until(SOON, lambda: os.stat(MNT + "/file").st_uid == 1234)
os.utime(BACKING + "/file", (10**9, 10**9))
wait_until(SOON, lambda: os.stat(MNT + "/file").st_mtime == 10**9)
os.link(BACKING + "/file", BACKING + "/link")
wait_until(SOON, lambda: os.stat(MNT + "/file").st_nlink == 2)
os.unlink(BACKING + "/link")
wait_until(SOON, lambda: os.stat(MNT + "/file").st_nlink == 1)
os.truncate(BACKING + "/file", 1)
wait_until(SOON, lambda: os.stat(MNT + "/file").st_size == 1)
PY

	check "$1: names made, moved and removed in BACKING are seen, where they were missing too" run <<'PY'
SOON = float(os.environ["SOON"])
os.mkdir(MNT + "/names")
equal(os.listdir(MNT + "/names"), [])
for n in range(20):
    name = "/names/%d" % n
    equal(os.path.exists(MNT + name), False)
    write_file(BACKING + name, b"%d" % n)
    wait_until(SOON, lambda: os.path.exists(MNT + name))
    wait_until(SOON, lambda: "%d" % n in os.listdir(MNT + "/names"))
    equal(read_file(MNT + name), b"%d" % n)
    os.rename(BACKING + name, BACKING + name + ".moved")
    wait_until(SOON, lambda: not os.path.exists(MNT + name))
    wait_until(SOON, lambda: os.path.exists(MNT + name + ".moved"))
    write_file(BACKING + "/names/other", b"other")
    wait_until(SOON, lambda: os.path.exists(MNT + "/names/other"))
    os.rename(BACKING + "/names/other", BACKING + name + ".moved")
    wait_until(SOON, lambda: read_file(MNT + name + ".moved") == b"other")
    os.unlink(BACKING + name + ".moved")
    wait_until(SOON, lambda: not os.path.exists(MNT + name + ".moved"))
    wait_until(SOON, lambda: os.listdir(MNT + "/names") == [])
PY

	check "$1: directories made, moved and removed in BACKING are seen" run <<'PY'
SOON = float(os.environ["SOON"])
os.makedirs(MNT + "/tree/a/b")
write_file(MNT + "/tree/a/b/file", b"here")
equal(read_file(MNT + "/tree/a/b/file"), b"here")
os.rename(BACKING + "/tree/a", BACKING + "/tree/z")
wait_until(SOON, lambda: os.listdir(MNT + "/tree") == ["z"])
equal(read_file(MNT + "/tree/z/b/file"), b"here")
wait_until(SOON, lambda: not os.path.exists(MNT + "/tree/a"))
equal(os.stat(MNT + "/tree/z").st_nlink, 3)
os.mkdir(BACKING + "/tree/z/c")
wait_until(SOON, lambda: os.stat(MNT + "/tree/z").st_nlink == 4)
os.chmod(BACKING + "/tree/z", 0o700)
wait_until(SOON, lambda: os.stat(MNT + "/tree/z").st_mode & 0o777 == 0o700)
subprocess.run(["rm", "-r", BACKING + "/tree"], check=True)
wait_until(SOON, lambda: not os.path.exists(MNT + "/tree"))
PY

	check "$1: bytes changed in BACKING are read by who has the file open, and through its other names" run <<'PY'
SOON = float(os.environ["SOON"])
write_file(BACKING + "/bytes", b"a" * 100000)
os.mkdir(BACKING + "/elsewhere")
os.link(BACKING + "/bytes", BACKING + "/elsewhere/bytes")
fd = os.open(MNT + "/bytes", os.O_RDONLY)
equal(len(os.pread(fd, 100000, 0)), 100000)
behind = os.open(BACKING + "/elsewhere/bytes", os.O_RDWR)
for n in range(50):
    os.pwrite(behind, b"%04d" % n, 50000)
    wait_until(SOON, lambda: os.pread(fd, 4, 50000) == b"%04d" % n)
with mmap.mmap(behind, 100000) as view:
    view[0:6] = b"stored"
os.close(behind)
wait_until(SOON, lambda: os.pread(fd, 6, 0) == b"stored")
PY

	check "$1: what the mount itself does is no event" run <<'PY'
def count():
    return statistics()["watch"]["events"]
time.sleep(0.3)
before = count()
os.mkdir(MNT + "/own")
for n in range(50):
    write_file(MNT + "/own/%d" % n, b"own" * 1000)
    equal(read_file(MNT + "/own/%d" % n), b"own" * 1000)
    os.rename(MNT + "/own/%d" % n, MNT + "/own/%d.moved" % n)
    os.link(MNT + "/own/%d.moved" % n, MNT + "/own/%d" % n)
    os.unlink(MNT + "/own/%d" % n)
fd = os.open(MNT + "/own/written", os.O_RDWR | os.O_CREAT)
for n in range(200):
    os.pwrite(fd, b"w" * 4096, n * 4096)
time.sleep(0.3)
equal(count() - before, 0)
write_file(BACKING + "/own/foreign", b"foreign")
wait_until(5, lambda: count() > before)
PY

	check "$1: a look-up that meets a change in BACKING does not remember the old state" run <<'PY'
SOON = float(os.environ["SOON"])
os.mkdir(BACKING + "/raced")
def changer(me):
    for n in range(1500):
        path = BACKING + "/raced/%d" % (n % 8)
        if n % 3 == 0:
            write_file(path, b"x" * (n % 5000 + 1))
        elif n % 3 == 1:
            write_file(BACKING + "/raced/new", b"y" * (n % 3000 + 1))
            os.rename(BACKING + "/raced/new", path)
        elif os.path.exists(path):
            os.unlink(path)
    me.say("done")
child = Process(changer)
while not child.hears_within(0):
    for n in range(8):
        outcome(os.stat, MNT + "/raced/%d" % n)
        outcome(read_file, MNT + "/raced/%d" % n)
    os.listdir(MNT + "/raced")
def same_state():
    if sorted(os.listdir(MNT + "/raced")) != sorted(os.listdir(BACKING + "/raced")):
        return False
    for n in range(8):
        left, right = MNT + "/raced/%d" % n, BACKING + "/raced/%d" % n
        if outcome(read_file, left) != outcome(read_file, right):
            return False
        if os.path.exists(right) and os.stat(left).st_size != os.stat(right).st_size:
            return False
    return True
wait_until(3, same_state)
time.sleep(1.5)
equal(same_state(), True)
PY

	check "$1: writers on both sides leave nothing old behind" run <<'PY'
write_file(BACKING + "/both", b"\0" * 65536)
def writer(path, start):
    def run(me):
        fd = os.open(path, os.O_RDWR)
        for n in range(300):
            for page in range(start, 16, 2):
                os.pwrite(fd, struct.pack("I", n) * 1024, page * 4096)
                os.pread(fd, 4096, (page + 1) % 16 * 4096)
        me.say("done")
    return run
children = [Process(writer(MNT + "/both", 0)), Process(writer(BACKING + "/both", 1))]
for child in children:
    equal(child.hear(50), "done")
fd = os.open(MNT + "/both", os.O_RDONLY)
wait_until(5, lambda: os.pread(fd, 65536, 0) == read_file(BACKING + "/both"))
PY
}


# expect_overflow: OVERFLOW is the program of a check that loses events
# shellcheck disable=SC2034 # used by who calls
expect_overflow() {
	OVERFLOW=$(
		cat <<'PY'
limit = int(read_file("/proc/sys/fs/fanotify/max_queued_events"))
if limit > 40000:
    skip("a queue of %d events takes long to fill" % limit)
SOON = float(os.environ["SOON"])
os.mkdir(BACKING + "/flood")
os.mkdir(BACKING + "/lost")
write_file(BACKING + "/lost/file", b"old")
write_file(BACKING + "/lost/gone", b"old")
def look():
    os.path.exists(MNT + "/flood/none")
    return (os.stat(MNT + "/lost/file").st_size, os.path.exists(MNT + "/lost/gone"),
            os.path.exists(MNT + "/lost/new"))
daemon = int(os.environ["DAEMON"])
def is_trusted():
    """Stops the daemon, and lets it go on where the kernel still asks."""
    equal(look(), (3, True, False))
    time.sleep(1.2)
    os.kill(daemon, signal.SIGSTOP)
    looking = Process(lambda me: me.say(str(look())))
    trusted = looking.hears_within(1) and looking.hear() == str((3, True, False))
    if not trusted:
        os.kill(daemon, signal.SIGCONT)
    return trusted
wait_until(20, is_trusted)
# Each name is an event of its own.
for n in range(limit + 10):
    os.close(os.open(BACKING + "/flood/%d" % n, os.O_CREAT | os.O_RDONLY))
write_file(BACKING + "/lost/file", b"longer")
os.unlink(BACKING + "/lost/gone")
write_file(BACKING + "/lost/new", b"new")
os.kill(daemon, signal.SIGCONT)
wait_until(SOON + 5, lambda: statistics()["watch"]["overflows"] > 0)
wait_until(SOON, lambda: look() == (6, False, True))
PY
	)
}
