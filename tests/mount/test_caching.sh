#!/bin/bash
# SPDX-License-Identifier: MIT
# cache=none, auto and always: what is seen when, shared mappings in each, and programs run from BACKING.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# Whatever the cache, one machine's processes see each other as on one file system.
every_mode() {
	check "$1: shared mappings, reads and writes of processes on the mount agree at once" py <<'PY'
path = MNT + "/shared"
write_file(path, b"." * 3 * PAGE)
fd = os.open(path, os.O_RDWR)
def other(me):
    with mmap.mmap(os.open(path, os.O_RDWR), 3 * PAGE) as view:
        me.say(view[0:5].decode())
        me.wait_for_go()
        me.say(view[0:6].decode())
        view[PAGE:PAGE + 6] = b"stored"
        me.say("stored")
        me.wait_for_go()
        me.say(os.pread(os.open(path, os.O_RDONLY), 7, 2 * PAGE).decode())
with mmap.mmap(fd, 3 * PAGE) as view:
    view[0:5] = b"first"
    child = Process(other)
    equal(child.hear(), "first", "the other's mapping")
    os.pwrite(fd, b"second", 0)
    equal(view[0:6], b"second", "own mapping after write(2)")
    child.go()
    equal(child.hear(), "second", "the other's mapping after write(2)")
    child.hear()
    equal(view[PAGE:PAGE + 6], b"stored", "stored by the other")
    equal(os.pread(fd, 6, PAGE), b"stored", "read(2) of what the other stored")
    view[2 * PAGE:2 * PAGE + 7] = b"by map!"
    child.go()
    equal(child.hear(), "by map!", "read(2) of what a mapping stored")
    child.kill()
PY

	check "$1: a store through a mapping is in BACKING after msync, after fsync and after munmap and close" py <<'PY'
path = MNT + "/stored"
write_file(path, b"." * 4 * PAGE)
fd = os.open(path, os.O_RDWR)
view = mmap.mmap(fd, 4 * PAGE)
view[0:5] = b"msync"
view.flush()
equal(read_file(BACKING + "/stored")[0:5], b"msync")
view[PAGE:PAGE + 5] = b"fsync"
os.fsync(fd)
equal(read_file(BACKING + "/stored")[PAGE:PAGE + 5], b"fsync")
view[2 * PAGE:2 * PAGE + 5] = b"unmap"
view.close()
os.close(fd)
wait_until(10, lambda: read_file(BACKING + "/stored")[2 * PAGE:2 * PAGE + 5] == b"unmap")
equal(os.stat(BACKING + "/stored").st_size, 4 * PAGE)
PY

	check "$1: a read-only mapping and a private one work, and a mapping outlives close and unlink" py <<'PY'
path = MNT + "/outlives"
write_file(path, b"kept" * 5000)
reading = os.open(path, os.O_RDONLY)
one = mmap.mmap(reading, 0, prot=mmap.PROT_READ)
private = mmap.mmap(reading, 0, flags=mmap.MAP_PRIVATE)
writing = os.open(path, os.O_RDWR)
shared = mmap.mmap(writing, 0)
os.close(reading)
os.close(writing)
private[0:4] = b"mine"
equal(read_file(path)[0:4], b"kept", "a private store stays private")
shared[0:4] = b"ours"
equal(one[0:4], b"ours")
os.unlink(path)
shared[4:8] = b"gone"
equal(one[0:8], b"oursgone")
equal(private[0:4], b"mine")
PY

	check "$1: written data is in BACKING when write returns" py <<'PY'
fd = os.open(MNT + "/through", os.O_CREAT | os.O_RDWR)
backing = os.open(BACKING + "/through", os.O_RDONLY)
for n in range(200):
    data = b"%d" % n * (n * 37 % 9000 + 1)
    os.pwrite(fd, data, n * 1000)
    equal(os.pread(backing, len(data), n * 1000) == data, True, "write %d" % n)
appending = os.open(MNT + "/through", os.O_WRONLY | os.O_APPEND)
size = os.fstat(fd).st_size
for n in range(50):
    os.write(appending, b"0123456789")
equal(os.stat(BACKING + "/through").st_size, size + 500)
PY

	check "$1: appends of many processes do not overwrite each other" py <<'PY'
def appender(n):
    def append(me):
        fd = os.open(MNT + "/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for i in range(200):
            os.write(fd, b"%d:%06d\n" % (n, i))
        me.say("done")
    return append
children = [Process(appender(n)) for n in range(4)]
for child in children:
    equal(child.hear(20), "done")
    child.kill()
lines = read_file(BACKING + "/log").split()
equal(len(lines), 800)
for n in range(4):
    equal([l for l in lines if l.startswith(b"%d:" % n)], [b"%d:%06d" % (n, i) for i in range(200)])
PY

	check "$1: a re-opened file shows what was changed in BACKING" py <<'PY'
write_file(BACKING + "/reopened", b"1" * 10000)
equal(read_file(MNT + "/reopened"), b"1" * 10000)
time.sleep(0.02)
write_file(BACKING + "/reopened", b"2" * 10000)
if "cache=always" in os.environ["OPTIONS"]:
    # It may go on showing the old bytes, but only those; a new file it must show.
    equal(read_file(MNT + "/reopened") in (b"1" * 10000, b"2" * 10000), True)
    write_file(BACKING + "/never-seen", b"3" * 10000)
    equal(read_file(MNT + "/never-seen"), b"3" * 10000)
else:
    wait_until(5, lambda: read_file(MNT + "/reopened") == b"2" * 10000)
PY

	check "$1: O_DIRECT reads and writes of any alignment work and agree with the rest" py <<'PY'
path = MNT + "/direct"
write_file(path, bytes(range(256)) * 64)
fd = os.open(path, os.O_RDWR | os.O_DIRECT)
with mmap.mmap(-1, 65536) as buffer:
    equal(os.preadv(fd, [memoryview(buffer)[:4096]], 4096), 4096)
    equal(buffer[0:256], bytes(range(256)))
    equal(os.preadv(fd, [memoryview(buffer)[3:104]], 7), 101)
    equal(buffer[3:7], bytes(range(7, 11)))
    buffer[0:5] = b"hello"
    equal(os.pwritev(fd, [memoryview(buffer)[0:5]], 1001), 5)
    equal(read_file(path)[1001:1006], b"hello")
    equal(read_file(BACKING + "/direct")[1001:1006], b"hello")
    os.pwrite(os.open(path, os.O_WRONLY), b"world", 1001)
    equal(os.preadv(fd, [memoryview(buffer)[0:5]], 1001), 5)
    equal(buffer[0:5], b"world")
PY

	check "$1: programs run from the mount" programs_run
	check "$1: the backing file can be executed after the mount read it, and soon after its last writer" backing_program_runs
}

programs_run() {
	cp /bin/echo "$MNT/program"
	same 'said' 'it runs' "$("$MNT/program" it runs)"
	printf '#!/bin/echo script\n' >"$MNT/script"
	chmod +x "$MNT/script"
	same 'said' "script $MNT/script runs" "$("$MNT/script" runs)"
	cp "$(ldd /bin/echo | grep -o '/[^ ]*libc.so[^ ]*')" "$MNT/libc.so.6"
	same 'said' 'with its library' "$(LD_LIBRARY_PATH=$MNT "$MNT/program" with its library)"
	exec 8>>"$MNT/program"
	says 'Text file busy' "$MNT/program" busy
	exec 8>&-
	wait_until 5 "$MNT/program" free
}

backing_program_runs() {
	cp /bin/echo "$BACKING/tool"
	cat "$MNT/tool" >/dev/null
	same 'right after a reader' 'runs' "$("$BACKING/tool" runs)"
	exec 7<"$MNT/tool"
	head -c 5000 <&7 >/dev/null
	same 'while a reader has it open' 'runs' "$("$BACKING/tool" runs)"
	exec 7<&-
	printf 'more' >>"$MNT/tool"
	wait_until 3 "$BACKING/tool" runs
	cp /bin/echo "$MNT/tool2"
	chmod +x "$MNT/tool2"
	wait_until 3 "$BACKING/tool2" runs
	py <<'PY'
with open(MNT + "/tool", "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
    view[-1:] = b"!"
PY
	wait_until 5 "$BACKING/tool" runs
}

for OPTIONS in cache=auto cache=none opens=skip cache=always cache=auto,writes=window cache=none,writes=window,window_size=4K; do
	export OPTIONS
	start_mount "$OPTIONS"
	every_mode "$OPTIONS"
	stop_mount
done

start_mount cache=none
check 'cache=none: what BACKING gets is seen at once by open handles' py <<'PY'
write_file(BACKING + "/live", b"0" * 5000)
fd = os.open(MNT + "/live", os.O_RDONLY)
backing = os.open(BACKING + "/live", os.O_RDWR)
for n in range(100):
    data = b"%03d" % n * 1500
    os.pwrite(backing, data, 0)
    equal(os.pread(fd, 4500, 0) == data, True, "overwritten, round %d" % n)
os.pwrite(backing, b"grown", 5000)
equal(os.pread(fd, 100, 4998), b"00grown", "grown")
with mmap.mmap(backing, 5005) as view:
    view[0:6] = b"mapped"
    equal(os.pread(fd, 6, 0), b"mapped", "stored through a mapping of BACKING")
PY
check 'cache=none: every read reaches the daemon' py <<'PY'
write_file(BACKING + "/counted", b"x" * 100)
fd = os.open(MNT + "/counted", os.O_RDONLY)
before = statistics()["io"]["reads"]
for n in range(50):
    os.pread(fd, 100, 0)
equal(statistics()["io"]["reads"] - before >= 50, True)
PY
stop_mount

start_mount cache=none,max_read=65536
check 'max_read= bounds what one request reads' py <<'PY'
write_file(BACKING + "/asked", b"x" * MIB)
fd = os.open(MNT + "/asked", os.O_RDONLY)
before = statistics()["io"]["reads"]
equal(os.pread(fd, MIB, 0), b"x" * MIB)
equal(statistics()["io"]["reads"] - before, MIB // 65536)
PY
stop_mount

# Before there is a mount, whose watch would tell it of this change late, between the reads.
for cache in auto always; do
	new_backing
	head -c 100000 /dev/zero >"$BACKING/kept"
	touch -d @1000000000 "$BACKING/kept"
	start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" "cache=$cache"
	check "cache=$cache: an unchanged file that is opened again is read from the kernel's cache" py <<'PY'
equal(len(read_file(MNT + "/kept")), 100000)
equal(len(read_file(MNT + "/kept")), 100000)
before = statistics()["io"]["reads"]
for n in range(20):
    equal(len(read_file(MNT + "/kept")), 100000)
equal(statistics()["io"]["reads"] - before <= 2, True, "no requests for what is cached")
PY
	stop_mount
done

# Writers that race under O_DIRECT: what they write must all be there, whatever the kernel sends at once.
start_mount cache=none
check 'cache=none: O_DIRECT writers of one file, inside it, past its end and appending, lose nothing' py <<'PY'
path, writers, rounds = MNT + "/raced", 4, 64
write_file(path, b"." * (writers * rounds * PAGE))
def inside(me, number):
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    for n in range(rounds):
        os.pwrite(fd, b"%c" % (65 + number) * PAGE, (n * writers + number) * PAGE)
    me.say("done")
def past(me, number):
    fd = os.open(path + ".grown", os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o600)
    for n in range(rounds):
        os.pwrite(fd, b"%c" % (65 + number) * PAGE, (n * writers + number) * PAGE)
    me.say("done")
def appending(me, number):
    fd = os.open(path + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DIRECT, 0o600)
    for n in range(rounds):
        os.write(fd, b"%c%02d\n" % (65 + number, n))
    me.say("done")
for job in inside, past, appending:
    children = [Process(lambda me, n=n: job(me, n)) for n in range(writers)]
    for child in children:
        equal(child.hear(30), "done")
stripes = b"".join(b"%c" % (65 + n) * PAGE for n in range(writers)) * rounds
for name in "/raced", "/raced.grown":
    equal(read_file(BACKING + name) == stripes, True, name)
lines = read_file(BACKING + "/raced.log").split(b"\n")
equal(len(lines), writers * rounds + 1)
for number in range(writers):
    mine = [line for line in lines if line.startswith(b"%c" % (65 + number))]
    equal(mine, [b"%c%02d" % (65 + number, n) for n in range(rounds)])
PY
stop_mount

if sanitized; then
	skip_check 'cache=none: O_DIRECT writes of one file are served at once' 'the leak detector does not work under strace'
elif command -v strace >/dev/null; then
	LAUNCH=(strace -f -qq -o "$WORK/trace" -e 'trace=pwrite64' -e 'inject=pwrite64:delay_enter=300ms')
	start_mount cache=none,max_threads=4
	LAUNCH=()
	check 'cache=none: O_DIRECT writes of one file are served at once, others one after the other' py <<'PY'
write_file(BACKING + "/slow", b"." * 4 * PAGE)
def seconds(flags):
    def writer(me, n):
        fd = os.open(MNT + "/slow", os.O_WRONLY | flags)
        me.say("ready")
        me.wait_for_go()
        os.pwrite(fd, b"w" * PAGE, n * PAGE)
        me.say("done")
    children = [Process(lambda me, n=n: writer(me, n)) for n in range(3)]
    for child in children:
        equal(child.hear(), "ready")
    began = time.monotonic()
    for child in children:
        child.go()
    for child in children:
        equal(child.hear(30), "done")
    return time.monotonic() - began
# On a busy machine each takes longer; one after the other they never take less than the delays.
for flags in 0, os.O_DIRECT | os.O_DSYNC:
    took = seconds(flags)
    equal(took >= 0.9, True, "with flags %#x it took %.2f s" % (flags, took))
wait_until(15, lambda: seconds(os.O_DIRECT) < 0.6)
PY
	stop_mount
else
	skip_check 'cache=none: O_DIRECT writes of one file are served at once' 'strace is missing'
fi
