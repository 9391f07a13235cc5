#!/bin/bash
# SPDX-License-Identifier: MIT
# The manual's recipe for shared memory: two programs that know nothing of the mount exchange messages through
# MAP_SHARED, one on the mount and one in BACKING, in a file that a rule pins and never syncs.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

cat >"$WORK/rules" <<'END'
/exchange    sync=never mlock preload=populate
/direct      sync=never mlock cache=none
END

# A page for each direction: the mount hands over whole pages. A message is a number, and its answer that number
# plus one; 0 is nothing yet.
cat >"$WORK/peer.py" <<'PY'
import mmap, os, struct, sys, time

path, role, rounds, how = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
mine, other = (0, mmap.PAGESIZE) if role == "asks" else (mmap.PAGESIZE, 0)
fd = os.open(path, os.O_RDWR)
view = mmap.mmap(fd, 2 * mmap.PAGESIZE)


def look():
    if how == "pread":
        return struct.unpack("Q", os.pread(fd, 8, other))[0]
    return struct.unpack_from("Q", view, other)[0]


def say(number):
    if how == "pread":
        os.pwrite(fd, struct.pack("Q", number), mine)
        return
    struct.pack_into("Q", view, mine, number)
    if how == "msync":
        view.flush(mine, mmap.PAGESIZE)


def wait_for(number):
    deadline = time.monotonic() + 20
    while look() != number:
        if time.monotonic() > deadline:
            sys.exit("%s still sees %d and waits for %d" % (role, look(), number))
        time.sleep(0 if how != "msync" else 0.001)


for i in range(rounds):
    if role == "asks":
        say(2 * i + 1)
        wait_for(2 * i + 2)
    else:
        wait_for(2 * i + 1)
        say(2 * i + 2)
PY

# exchange ROUNDS ASKER HOW ANSWERER HOW: both to their end
exchange() {
	local other
	python3 "$WORK/peer.py" "$4" answers "$1" "$5" &
	other=$!
	python3 "$WORK/peer.py" "$2" asks "$1" "$3"
	wait "$other"
}

new_file() {
	head -c 8192 /dev/zero >"$1"
	sync "$1"
}

new_backing
for file in exchange direct other; do
	new_file "$BACKING/$file"
done
start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" "rules=$WORK/rules,sync=periodic,sync_interval=100ms"

check 'two programs on the mount share memory at once, with no call at all' \
	exchange 200 "$MNT/exchange" store "$MNT/exchange" store

check 'the rule pins the file' py <<'PY'
fd = os.open(MNT + "/exchange", os.O_RDWR)
os.pread(fd, 1, 0)
wait_until(5, lambda: json.loads(os.getxattr(MNT + "/exchange", "user.memmapfs.file"))["locked"] == 2 * PAGE)
os.posix_fadvise(os.open(BACKING + "/exchange", os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
equal(resident_pages(BACKING + "/exchange"), [1, 1])
PY

check 'and nobody syncs it, while other files are' py <<'PY'
os.close(os.open(MNT + "/exchange", os.O_RDWR))
# What an exchange before has left to be handed over
subprocess.check_call(["sync", BACKING + "/exchange"])
with open(MNT + "/exchange", "r+b", buffering=0) as file, open(MNT + "/other", "r+b", buffering=0) as other:
    file.write(b"x")
    before = statistics()["sync"]
    time.sleep(1)
    after = statistics()["sync"]
    equal(after["ticks"] > before["ticks"], True)
    equal(after["msyncs"], before["msyncs"])
    other.write(b"x")
    wait_until(5, lambda: statistics()["sync"]["msyncs"] > after["msyncs"])
PY
new_file "$BACKING/exchange"

check 'a store on the mount is in BACKING when msync returns, one in BACKING on the mount within seconds' \
	exchange 2 "$MNT/exchange" msync "$BACKING/exchange" msync
new_file "$BACKING/exchange"
check 'the same with the other side asking' exchange 1 "$BACKING/exchange" msync "$MNT/exchange" msync

check 'read and write on the mount with cache=none meet a mapping in BACKING at once' \
	exchange 500 "$MNT/direct" pread "$BACKING/direct" store

check 'a mapping made anew with cache=none shows what BACKING has now' py <<'PY'
fd, other = os.open(MNT + "/direct", os.O_RDWR), os.open(BACKING + "/direct", os.O_RDWR)
with mmap.mmap(other, 2 * PAGE) as theirs:
    for number in range(20):
        theirs[PAGE] = number
        with mmap.mmap(fd, 2 * PAGE) as ours:
            equal(ours[PAGE], number)
PY

check 'a lock taken on one side keeps the other out' py <<'PY'
fd, other = os.open(MNT + "/exchange", os.O_RDWR), os.open(BACKING + "/exchange", os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
with raises(EAGAIN):
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.flock(fd, fcntl.LOCK_UN)
fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
PY
