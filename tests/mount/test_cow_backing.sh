#!/bin/bash
# SPDX-License-Identifier: MIT
# mode=cow: what happens to BACKING meanwhile, where BACKING lies, and who mounts.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # the shells of the checks expand them
. "$(dirname "$0")/lib.sh"

start_mount mode=cow,attr_timeout=0,entry_timeout=0
expect_stderr "was (changed|removed) in BACKING since the layer has pages of it"

check 'what is not changed follows BACKING, in names, attributes, bytes and unchanged pages' py <<'PY'
write_file(BACKING + "/follow", b"a" * 20000)
equal(read_file(MNT + "/follow"), b"a" * 20000)
write_file(BACKING + "/follow", b"b" * 30000)
wait_until(5, lambda: read_file(MNT + "/follow") == b"b" * 30000)
os.chmod(MNT + "/follow", 0o604)
write_file(BACKING + "/follow", b"c" * 40000)
wait_until(5, lambda: read_file(MNT + "/follow") == b"c" * 40000)
equal(oct(os.stat(MNT + "/follow").st_mode), "0o100604")
fd = os.open(MNT + "/follow", os.O_RDWR)
os.pwrite(fd, b"private", 5000)
with open(BACKING + "/follow", "r+b") as file:
    file.write(b"d" * 40000)
expected = bytearray(b"d" * 40000)
expected[4096:8192] = b"c" * 4096
expected[5000:5007] = b"private"
wait_until(5, lambda: read_file(MNT + "/follow") == bytes(expected))
os.mkdir(MNT + "/here")
os.mkdir(BACKING + "/there")
wait_until(5, lambda: os.path.isdir(MNT + "/there") and not os.path.exists(BACKING + "/here"))
PY

check 'no private byte is lost when BACKING cuts, replaces, renames or removes the file' py <<'PY'
size = 100 * 4096
for name in ("cut", "replaced", "renamed", "removed"):
    write_file(BACKING + "/" + name, b"o" * size)
    fd = os.open(MNT + "/" + name, os.O_RDWR)
    os.pwrite(fd, b"p" * 4096, 50 * 4096)
    os.close(fd)
held = {name: os.open(MNT + "/" + name, os.O_RDWR) for name in ("cut", "removed")}
os.truncate(BACKING + "/cut", 4096)
write_file(BACKING + "/other", b"x" * 10)
os.rename(BACKING + "/other", BACKING + "/replaced")
os.rename(BACKING + "/renamed", BACKING + "/away")
os.unlink(BACKING + "/removed")
os.sync()
for path in [directory + "/" + name for directory in (BACKING, MNT) for name in ("cut", "replaced", "away")]:
    os.posix_fadvise(os.open(path, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
for fd in held.values():
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
forget_names(MNT)
for name in ("cut", "replaced", "renamed", "removed"):
    got = read_file(MNT + "/" + name)
    equal(len(got), size, name)
    equal(got[50 * 4096:51 * 4096], b"p" * 4096, name)
    equal(set(got[:50 * 4096] + got[51 * 4096:]) <= set(b"o\0"), True, name)
equal(read_file(MNT + "/renamed")[:10], b"o" * 10)
for name, fd in held.items():
    equal(os.pwrite(fd, b"more", 70 * 4096 + 1), 4, name)
    equal(os.pread(fd, 6, 70 * 4096)[1:5], b"more", name)
equal({"cut", "replaced", "renamed", "removed"} <= set(os.listdir(MNT)), True)
PY

check 'reads and writes that race truncation in BACKING find no old and no foreign byte' py <<'PY'
SIZE = 256 * 1024
write_file(BACKING + "/race", b"o" * SIZE)
fd = os.open(MNT + "/race", os.O_RDWR)
os.pwrite(fd, b"p" * 4096, 8192)
def cutter(me):
    behind = os.open(BACKING + "/race", os.O_RDWR)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        os.ftruncate(behind, random.randrange(SIZE))
        os.ftruncate(behind, SIZE)
        os.pwrite(behind, b"o" * SIZE, 0)
    me.say("done")
process = Process(cutter)
count = 0
while not process.hears_within(0):
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    got = os.pread(fd, SIZE, 0)
    equal(len(got), SIZE)
    equal(got[8192:12288], b"p" * 4096)
    equal(set(got) <= set(b"op\0"), True)
    os.pwrite(fd, b"p" * 100, 8192 + count % 3000)
    count += 1
equal(count > 10, True)
PY

check 'a directory removed from BACKING keeps what the layer has in it' py <<'PY'
os.mkdir(BACKING + "/lost")
write_file(BACKING + "/lost/old", b"old")
write_file(MNT + "/lost/new", b"new")
os.unlink(BACKING + "/lost/old")
os.rmdir(BACKING + "/lost")
wait_until(5, lambda: os.listdir(MNT + "/lost") == ["new"])
equal(read_file(MNT + "/lost/new"), b"new")
PY
stop_mount

new_backing
mkdir "$BACKING/over" "$BACKING/below"
echo one >"$BACKING/over/file"
start_mount_at "$BACKING/over" "$BACKING/over" mode=cow
check 'BACKING may be the mount point itself' py <<'PY'
equal(read_file(MNT + "/file"), b"one\n")
write_file(MNT + "/file", b"changed")
write_file(MNT + "/new", b"new")
equal(read_file(MNT + "/file"), b"changed")
PY
stop_mount
check 'and is as it was afterwards' py <<'PY'
equal(os.listdir(BACKING), ["file"])
equal(read_file(BACKING + "/file"), b"one\n")
PY

echo covered >"$(dirname "$BACKING")/below/inside"
start_mount_at "$(dirname "$BACKING")" "$(dirname "$BACKING")/below" mode=cow
check 'a mount point inside BACKING is an empty directory there that nothing changes' py <<'PY'
equal(os.listdir(MNT + "/below"), [])
with raises(EBUSY):
    os.mkdir(MNT + "/below/x")
with raises(EBUSY):
    os.rmdir(MNT + "/below")
with raises(EBUSY):
    os.rename(MNT + "/below", MNT + "/beside")
write_file(MNT + "/beside", b"")
PY
stop_mount

if image tmpfs 16M; then
	use_image_as_backing
	echo kept >"$BACKING/file"
	mount -o remount,ro "$IMAGE"
	start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" mode=cow
	check 'BACKING may be read-only' py <<'PY'
write_file(MNT + "/file", b"changed")
os.rename(MNT + "/file", MNT + "/other")
equal(read_file(MNT + "/other"), b"changed")
PY
	stop_mount
	drop_image
fi

if image tmpfs 64M; then
	use_image_as_backing
	truncate -s 32M "$BACKING/sparse"
	start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" mode=cow
	check 'what is read between private pages leaves the holes of a tmpfs holes' py <<'PY'
with open(MNT + "/sparse", "r+b") as file:
    file.write(b"x")
equal(read_file(MNT + "/sparse"), b"x" + bytes((32 << 20) - 1))
equal(os.stat(BACKING + "/sparse").st_blocks, 0)
PY
	stop_mount
	drop_image
fi

new_backing
check 'a file system mounted below BACKING is part of the tree, and is not written either' bash -ec '
	mkdir "$NATIVE/tree" "$NATIVE/tree/sub" "$NATIVE/view"
	mount -t tmpfs none "$NATIVE/tree/sub"
	echo deep >"$NATIVE/tree/sub/file"
	"$MEMMAPFS_BIN" "$NATIVE/tree" "$NATIVE/view" -o mode=cow
	trap "umount \"$NATIVE/view\"; umount \"$NATIVE/tree/sub\"" EXIT
	test "$(cat "$NATIVE/view/sub/file")" = deep
	echo changed >"$NATIVE/view/sub/file"
	mv "$NATIVE/view/sub/file" "$NATIVE/view/moved"
	test "$(cat "$NATIVE/view/moved")" = changed
	test "$(cat "$NATIVE/tree/sub/file")" = deep'

check 'what cannot be is refused with its reason' bash -ec '
	refused() {
		! "$MEMMAPFS_BIN" "$NATIVE" "$NATIVE/tree" -o "$1" 2>"$WORK/said" && grep -q "$2" "$WORK/said" ||
			{ cat "$WORK/said"; exit 1; }
	}
	refused mode=cow,io=passthrough "conflicts with .io=passthrough"
	refused mode=cow,writes=window "conflicts with .writes=window"
	refused layer_max=1M "needs mode=cow"'

user_mounts_work || {
	skip_check 'an ordinary user has a view of what he may read' "$USER_MOUNTS_ERROR"
	exit 0
}
new_backing
uid=$(id -u nobody)
mkdir "$WORK/usermnt" "$BACKING/mine" "$BACKING/roots"
echo roots >"$BACKING/roots/file"
chmod 644 "$BACKING/roots/file"
seq 20000 >"$BACKING/mine/file"
chown -R "$uid" "$BACKING/mine" "$WORK/usermnt"
touch -a -d 2001-01-01 "$BACKING/mine/file"
find "$BACKING/mine" >/dev/null
find "$BACKING/mine" -printf '%p %i %m %n %s %A@ %T@ %C@\n' >"$WORK/before"
LAUNCH=(setpriv "--reuid=$uid" "--regid=$uid" --clear-groups)
ORDINARY_USER=1 start_mount_at "$BACKING" "$WORK/usermnt" mode=cow,layer_max=8M
LAUNCH=()
export uid
expect_stderr 'Permission denied|Operation not permitted'
check 'an ordinary user has a writable view of what he may read' py <<'PY'
def work():
    equal(read_file(MNT + "/roots/file"), b"roots\n")
    fd = os.open(MNT + "/mine/file", os.O_RDWR)
    os.pwrite(fd, b"changed", 5000)
    equal(os.pread(fd, 7, 5000), b"changed")
    os.mkdir(MNT + "/mine/dir")
    for i in range(200):
        write_file(MNT + "/mine/dir/%d" % i, b"%d" % i)
    os.rename(MNT + "/mine/file", MNT + "/mine/dir/file")
    os.rename(MNT + "/mine/dir", MNT + "/mine/moved")
    equal(read_file(MNT + "/mine/moved/123"), b"123")
    equal(read_file(MNT + "/mine/moved/file")[5000:5007], b"changed")
    equal(os.stat(MNT + "/mine/moved/1").st_uid, os.getuid())
    with raises(EACCES):
        os.mkdir(MNT + "/roots/dir")
as_user(int(os.environ["uid"]), work)
PY
stop_mount
check 'and BACKING is as it was' bash -c '
	find "$BACKING/mine" -printf "%p %i %m %n %s %A@ %T@ %C@\n" | diff "$WORK/before" -'
