#!/bin/bash
# SPDX-License-Identifier: MIT
# Where BACKING and MOUNTPOINT may lie: the same directory, one below the other, twice mounted, on top of
# files, over other mounts.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# BACKING is MOUNTPOINT: what is covered can be seen through a descriptor opened before.
new_backing
same_directory=$BACKING
echo before >"$BACKING/file"
exec 9<"$BACKING"
start_mount_at "$same_directory" "$same_directory" sync=periodic
BACKING=/proc/self/fd/9
in_place() {
	same 'old content' before "$(cat "$MNT/file")"
	echo after >"$MNT/file"
	mkdir "$MNT/dir"
	echo new >"$MNT/dir/new"
	same 'covered' after "$(cat /proc/self/fd/9/file)"
	same 'covered' new "$(cat /proc/self/fd/9/dir/new)"
	same 'listing' "$(ls /proc/self/fd/9)" "$(ls "$MNT")"
	timeout 20 find "$MNT" >/dev/null
	rm -r "$MNT/dir"
	[ ! -e /proc/self/fd/9/dir ]
}
check 'BACKING may be MOUNTPOINT itself' in_place
exec 9<&-
stop_mount
check 'and shows its files again after the unmount' same 'content' after "$(cat "$same_directory/file")"

# BACKING contains MOUNTPOINT.
new_backing
mkdir -p "$BACKING/sub/mnt" "$BACKING/other"
echo x >"$BACKING/other/file"
echo y >"$BACKING/sub/file"
start_mount_at "$BACKING" "$BACKING/sub/mnt" sync=periodic
mount_below_backing() {
	local found
	same 'through the mount' x "$(cat "$MNT/other/file")"
	found=$(timeout 20 find "$MNT" -printf '%P\n' | sort)
	same 'find ends and enters nothing twice' "$(printf '%s\n' '' other other/file sub sub/file sub/mnt)" "$found"
	same 'the number of links of its parent' "$(stat -c %h "$BACKING/sub")" "$(stat -c %h "$MNT/sub")"
	timeout 20 ls -lR "$MNT" >/dev/null
	same 'own root' '' "$(timeout 20 ls -A "$MNT/sub/mnt")"
	[ "$(timeout 20 stat -c %F "$MNT/sub/mnt")" = directory ]
	timeout 20 du -s "$MNT" >/dev/null
	says 'No such file' timeout 20 stat "$MNT/sub/mnt/sub"
	echo z >"$MNT/sub/new"
	same 'written beside it' z "$(cat "$BACKING/sub/new")"
	timeout 20 cp -a "$MNT" "$NATIVE/copy"
	same 'copied' z "$(cat "$NATIVE/copy/sub/new")"
	# The kernel refuses to remove or move what is mounted upon; through the mount it must be no better.
	says '.' timeout 20 rmdir "$MNT/sub/mnt"
	[ -d "$BACKING/sub/mnt" ]
}
check "BACKING may contain MOUNTPOINT: below it the mount's own root is an empty directory" mount_below_backing
stop_mount
check 'and what the mount covered is as empty as before' same 'listing' '' "$(ls -A "$BACKING/sub/mnt")"

# MOUNTPOINT contains BACKING.
new_backing
mkdir "$BACKING/inner"
echo inside >"$BACKING/inner/file"
above=$BACKING
exec 9<"$above/inner"
start_mount_at "$above/inner" "$above" sync=periodic
mount_above_backing() {
	same 'through the mount' inside "$(cat "$above/file")"
	echo written >"$above/new"
	same 'covered' written "$(cat /proc/self/fd/9/new)"
	[ ! -e "$above/inner" ]
	timeout 20 find "$above" >/dev/null
}
check 'MOUNTPOINT may contain BACKING' mount_above_backing
exec 9<&-
stop_mount

# Two mounts of one backing directory
start_mount cache=none
first=$MNT
first_backing=$BACKING
start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" cache=none,writes=window
FIRST=$first
export FIRST
check 'two mounts of one BACKING agree on bytes, names and locks' py <<'PY'
FIRST = os.environ["FIRST"]
write_file(FIRST + "/file", b"1" * 10000)
equal(read_file(MNT + "/file"), b"1" * 10000)
one, two = os.open(FIRST + "/file", os.O_RDWR), os.open(MNT + "/file", os.O_RDWR)
for n in range(50):
    os.pwrite(one, b"%04d" % n, 5000)
    equal(os.pread(two, 4, 5000), b"%04d" % n)
    os.pwrite(two, b"%04d" % n, 6000)
    equal(os.pread(one, 4, 6000), b"%04d" % n)
fcntl.flock(one, fcntl.LOCK_EX)
with raises(EAGAIN):
    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.close(one)
wait_until(5, lambda: outcome(fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB) is None)
os.ftruncate(two, 100)
wait_until(5, lambda: os.stat(FIRST + "/file").st_size == 100)
os.unlink(FIRST + "/file")
wait_until(5, lambda: not os.path.exists(MNT + "/file"))
PY
stop_mount

# A mount of a mount
start_mount_at "$first" "$(mktemp -d "$WORK/mnt.XXXXXX")" sync=periodic
BACKING=$first_backing
check 'a mount may itself be BACKING' py <<'PY'
write_file(MNT + "/twice", b"through two daemons" * 1000)
equal(read_file(BACKING + "/twice"), b"through two daemons" * 1000)
equal(read_file(MNT + "/twice"), b"through two daemons" * 1000)
with open(MNT + "/twice", "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
    view[0:7] = b"THROUGH"
    view.flush()
equal(read_file(BACKING + "/twice")[0:7], b"THROUGH")
os.rename(MNT + "/twice", MNT + "/renamed")
os.chmod(MNT + "/renamed", 0o600)
equal(oct(os.stat(BACKING + "/renamed").st_mode), "0o100600")
PY
stop_mount
MNT=$first
umount "$first"
wait_until 20 process_gone "${daemons[3]}" || fail 'the lower daemon did not end'

# A mount point that is not empty
new_backing
echo backing >"$BACKING/file"
mkdir "$WORK/full"
echo covered >"$WORK/full/file"
echo covered >"$WORK/full/other"
start_mount_at "$BACKING" "$WORK/full" sync=periodic
covers() {
	same 'listing' file "$(ls "$MNT")"
	same 'content' backing "$(cat "$MNT/file")"
}
check 'MOUNTPOINT need not be empty' covers
stop_mount

# Mount points below BACKING
new_backing
mkdir "$BACKING/one" "$BACKING/two" "$BACKING/late" "$BACKING/dir"
below=$BACKING
for name in one two; do
	mount -t tmpfs -o size=16M memmapfs-test "$below/$name"
	images+=("$below/$name")
	echo "on $name" >"$below/$name/file"
	mkdir "$below/$name/dir"
done
start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" sync=periodic
mounts_below() {
	same 'content' 'on one' "$(cat "$MNT/one/file")"
	same 'content' 'on two' "$(cat "$MNT/two/file")"
	same 'listing' "$(cd "$BACKING" && find . | sort)" "$(cd "$MNT" && timeout 20 find . | sort)"
	py <<'PY'
# Both tmpfs count their inodes from the same number on.
seen = {}
for top, directories, files in os.walk(MNT):
    for name in directories + files:
        info = os.lstat(top + "/" + name)
        key = (info.st_dev, info.st_ino)
        equal(key in seen, False, "%s and %s are one inode" % (seen.get(key), top + "/" + name))
        seen[key] = top + "/" + name
write_file(MNT + "/one/new", b"into the tmpfs" * 1000)
equal(read_file(BACKING + "/one/new"), b"into the tmpfs" * 1000)
equal(os.statvfs(MNT + "/one").f_blocks > 0, True)
write_file(MNT + "/file", b"x")
equal(outcome(os.link, MNT + "/file", MNT + "/one/link"), "EXDEV")
equal(outcome(os.rename, MNT + "/file", MNT + "/one/file2"), "EXDEV")
equal(outcome(os.rename, MNT + "/one", MNT + "/moved"), "EBUSY")
equal(outcome(os.rmdir, MNT + "/one") in ("EBUSY", "ENOTEMPTY"), True)
with open(MNT + "/one/new", "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
    view[0:4] = b"INTO"
    view.flush()
equal(read_file(BACKING + "/one/new")[0:4], b"INTO")
PY
	mv "$MNT/file" "$MNT/one/moved"
	same 'moved across' x "$(cat "$BACKING/one/moved")"
}
check 'file systems mounted below BACKING are seen, written, and their inodes told apart' mounts_below

mount -t tmpfs -o size=16M memmapfs-test "$below/late"
images+=("$below/late")
echo 'came late' >"$below/late/file"
late_mount() {
	wait_until 5 test -e "$MNT/late/file"
	same 'content' 'came late' "$(cat "$MNT/late/file")"
}
check 'one that is mounted later is seen too' late_mount
stop_mount
