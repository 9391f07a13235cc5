#!/bin/bash
# SPDX-License-Identifier: MIT
# watch=auto on the mount of an ordinary user, who hears of what he asks for, object by object.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch_checks.sh"

uid=$(id -u nobody)
export uid
user_mounts_work || skip "$USER_MOUNTS_ERROR"

# start_user_mount [OPTS]
start_user_mount() {
	new_backing
	mkdir -p "$WORK/usermnt"
	chown "$uid:$uid" "$BACKING" "$NATIVE" "$WORK/usermnt"
	LAUNCH=(setpriv "--reuid=$uid" "--regid=$uid" --clear-groups)
	ORDINARY_USER=1 start_mount_at "$BACKING" "$WORK/usermnt" "$@"
	LAUNCH=()
}

stop_user_mount() {
	as "$uid" fusermount3 -u "$MNT"
	daemon_ends 20
}

watches() {
	run <<<'sys.exit(statistics()["watch"]["active"] != 1)'
}

start_user_mount
watches || skip 'this kernel lets ordinary users hear of no changes by file handle'
OPTIONS=opens=track every_watch 'a user, opens=track'

check 'what others change is seen at once, of objects that the kernel asks for no more' run <<'PY'
SOON = float(os.environ["SOON"])
os.makedirs(BACKING + "/asked/sub")
os.mkdir(BACKING + "/elsewhere2")
for name in "size", "mode", "link", "written", "victim", "moved":
    write_file(BACKING + "/asked/" + name, b"old")
write_file(BACKING + "/asked/new", b"brand new")
names = ["/asked", "/asked/sub"] + ["/asked/" + n for n in ("size", "mode", "link", "written", "victim", "moved")]
held = os.open(MNT + "/asked/moved", os.O_RDONLY)
def look(me):
    for n in names:
        os.stat(MNT + n)
    me.say("done")
def is_silent():
    for n in names:
        os.stat(MNT + n)
    os.kill(int(os.environ["DAEMON"]), signal.SIGSTOP)
    looking = Process(look)
    try:
        return looking.hears_within(2)
    finally:
        os.kill(int(os.environ["DAEMON"]), signal.SIGCONT)
        time.sleep(1.2)
wait_until(15, is_silent)
os.truncate(BACKING + "/asked/size", 1000)
wait_until(SOON, lambda: os.stat(MNT + "/asked/size").st_size == 1000)
os.chmod(BACKING + "/asked/mode", 0o600)
wait_until(SOON, lambda: os.stat(MNT + "/asked/mode").st_mode & 0o777 == 0o600)
# By a name in a directory that nobody looked into: of the link, and of what is written through it.
os.link(BACKING + "/asked/link", BACKING + "/elsewhere2/other")
wait_until(SOON, lambda: os.stat(MNT + "/asked/link").st_nlink == 2)
with open(BACKING + "/elsewhere2/other", "ab") as file:
    file.write(b" and new")
wait_until(SOON, lambda: os.stat(MNT + "/asked/link").st_size == 11)
os.unlink(BACKING + "/elsewhere2/other")
wait_until(SOON, lambda: os.stat(MNT + "/asked/link").st_nlink == 1)
write_file(BACKING + "/asked/written", b"other bytes")
wait_until(SOON, lambda: read_file(MNT + "/asked/written") == b"other bytes")
os.rename(BACKING + "/asked/new", BACKING + "/asked/victim")
wait_until(SOON, lambda: read_file(MNT + "/asked/victim") == b"brand new")
before = os.fstat(held).st_ctime_ns
os.rename(BACKING + "/asked/moved", BACKING + "/elsewhere2/moved")
wait_until(SOON, lambda: os.fstat(held).st_ctime_ns > before)
wait_until(SOON, lambda: not os.path.exists(MNT + "/asked/moved"))
os.close(held)
# The directory, moved and another put in its place
os.chmod(BACKING + "/asked/sub", 0o700)
wait_until(SOON, lambda: os.stat(MNT + "/asked/sub").st_mode & 0o777 == 0o700)
os.rename(BACKING + "/asked", BACKING + "/elsewhere2/asked")
os.mkdir(BACKING + "/asked")
write_file(BACKING + "/asked/mode", b"of the directory that came after")
wait_until(SOON, lambda: read_file(MNT + "/asked/mode") == b"of the directory that came after")
wait_until(SOON, lambda: sorted(os.listdir(MNT + "/asked")) == ["mode"])
equal(read_file(MNT + "/elsewhere2/asked/victim"), b"brand new")
subprocess.run(["rm", "-r", BACKING + "/elsewhere2"], check=True)
wait_until(SOON, lambda: not os.path.exists(MNT + "/elsewhere2"))
PY

check 'what the kernel forgets is no longer asked for' run <<'PY'
before = statistics()["watch"]["objects"]
os.mkdir(BACKING + "/many")
for n in range(100):
    os.mkdir(BACKING + "/many/%d" % n)
time.sleep(0.3) # a look that comes before the event is taken back by it
for n in range(100):
    os.path.exists(MNT + "/many/%d/none" % n)
equal(statistics()["watch"]["objects"] > before + 50, True)
# Not by way of the mount, which holds what it has changed until it is synced.
subprocess.run(["rm", "-r", BACKING + "/many"], check=True)
wait_until(20, lambda: statistics()["watch"]["objects"] <= before)
PY

check 'what the user may not read is looked at again after a second' run <<'PY'
write_file(BACKING + "/blind", b"1", 0o200)
for n in range(2):
    equal(os.stat(MNT + "/blind").st_size, 1)
    time.sleep(1.1)
with open(BACKING + "/blind", "ab") as file:
    file.write(b"2")
wait_until(3, lambda: os.stat(MNT + "/blind").st_size == 2)
PY
stop_user_mount

start_user_mount opens=skip
expect_overflow
check 'a user: what was missed when events were lost is seen' run <<<"$OVERFLOW"
stop_user_mount

# The limit of a user name space of its own: nobody else's is touched.
limited() {
	new_backing
	mkdir -p "$WORK/limited"
	chown "$uid:$uid" "$BACKING" "$NATIVE" "$WORK/limited"
	export BIN=$MEMMAPFS_BIN MNT=$WORK/limited BACKING SAID=$NATIVE/said
	# shellcheck disable=SC2016 # for the inner shell
	as "$uid" unshare --user --map-root-user --mount --propagation private bash -euc '
		echo 20 >/proc/sys/user/max_fanotify_marks
		"$BIN" -f "$BACKING" "$MNT" 2>"$SAID" &
		trap "umount \"$MNT\"; wait" EXIT
		while ! grep -q " $MNT " /proc/self/mountinfo; do sleep 0.05; done
		python3 -
		grep -c max_user_marks "$SAID" | grep -qx 1
	'
}
check 'past the limit of what can be watched objects are looked at again after a second' limited <<'PY'
import json, os, time
mnt, backing = os.environ["MNT"], os.environ["BACKING"]
for n in range(40):
    os.mkdir(backing + "/%d" % n)
    assert not os.path.exists(mnt + "/%d/new" % n)
    open(backing + "/%d/new" % n, "w").close()
end = time.monotonic() + 5
while not all(os.path.exists(mnt + "/%d/new" % n) for n in range(40)):
    assert time.monotonic() < end
    time.sleep(0.1)
watch = json.loads(os.getxattr(mnt, "user.memmapfs.stats"))["watch"]
assert watch["active"] == 1 and 10 <= watch["objects"] <= 20, watch
PY
