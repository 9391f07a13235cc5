#!/bin/bash
# SPDX-License-Identifier: MIT
# memmapfsctl layer commit and discard of a layer that lies over others.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # the shells of the checks expand them
. "$(dirname "$0")/lib.sh"

export CTL=${MEMMAPFS_BIN%/*}/memmapfsctl LAYERS=$WORK/layers
mkdir "$LAYERS"
mnt=$(mktemp -d "$WORK/mnt.XXXXXX")

cat >"$WORK/see.py" <<'PY'
"""What can be seen below a directory, without what differs between two file systems."""
import hashlib, os, stat, sys
top = sys.argv[1]
for folder, names, files in os.walk(top):
    names.sort()
    for name in sorted(names + files):
        path = folder + "/" + name
        info = os.lstat(path)
        content = hashlib.sha256(open(path, "rb").read()).hexdigest() if stat.S_ISREG(info.st_mode) else ""
        attributes = [] if stat.S_ISLNK(info.st_mode) else sorted(
            (n, os.getxattr(path, n)) for n in os.listxattr(path))
        print(path[len(top):], oct(info.st_mode), info.st_nlink, info.st_uid, info.st_gid,
              0 if stat.S_ISDIR(info.st_mode) else info.st_size, info.st_mtime_ns, content, attributes,
              os.readlink(path) if stat.S_ISLNK(info.st_mode) else "")
PY
see() { python3 "$WORK/see.py" "${1:-$MNT}"; }
# seen_as FILE [DIR]
seen_as() {
	see "${2:-$MNT}" >"$WORK/seen"
	diff "$1" "$WORK/seen" | cut -c1-200
	cmp "$1" "$WORK/seen"
}
sums() { find "$LAYERS/$1" -type f ! -name lock -print0 | sort -z | xargs -0 sha256sum; }

# start_stack: a new BACKING with a base over it that changes everything, and what is seen of that
start_stack() {
	new_backing
	rm -rf "${LAYERS:?}"/*
	mkdir -p "$BACKING/dir/sub" "$BACKING/gone" "$BACKING/both"
	seq 20000 >"$BACKING/numbers"
	echo text >"$BACKING/text"
	ln "$BACKING/text" "$BACKING/hard"
	echo deep >"$BACKING/dir/sub/deep"
	echo swapped >"$BACKING/both/one"
	echo kept >"$BACKING/both/two"
	truncate -s 64M "$BACKING/big"
	start_mount_at "$BACKING" "$mnt" "mode=cow,layer=$LAYERS/low"
	check "$1: the base is changed in every way" py <<'PY'
fd = os.open(MNT + "/numbers", os.O_RDWR)
os.pwrite(fd, b"low", 50000)
os.ftruncate(fd, 90001)
fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 8192, 8192)
big = os.open(MNT + "/big", os.O_RDWR)
for page in range(0, 100):
    os.pwrite(big, b"low %d" % page, page * 8192)
write_file(MNT + "/new", b"new" * 10000)
os.mkdir(MNT + "/made")
os.mkdir(MNT + "/made/sub")
write_file(MNT + "/made/one", b"1" * 20000)
write_file(MNT + "/made/two", b"2" * 9000)
write_file(MNT + "/made/sub/three", b"3" * 9000)
os.link(MNT + "/new", MNT + "/made/link")
os.rename(MNT + "/dir", MNT + "/moved")
os.rmdir(MNT + "/gone")
os.rename(MNT + "/both/one", MNT + "/both/three")
os.rename(MNT + "/both/two", MNT + "/both/one")
os.rename(MNT + "/both/three", MNT + "/both/two")
os.chmod(MNT + "/hard", 0o4711)
os.chmod(MNT, 0o751)
os.setxattr(MNT + "/text", "user.low", b"\0b")
os.setxattr(MNT + "/made", "user.low", b"made")
os.symlink("target", MNT + "/sym")
os.utime(MNT + "/sym", ns=(5, 7), follow_symlinks=False)
PY
	stop_mount
	sums low >"$WORK/low.sums"
	start_mount_at "$BACKING" "$mnt" "mode=cow,$2"
	see >"$WORK/low.seen"
}

# What is done over it
cat >"$WORK/change.py" <<'PY'
from fsutil import *
MNT = os.environ["MNT"]
fd = os.open(MNT + "/numbers", os.O_RDWR)
os.pwrite(fd, b"top", 70000)
os.pwrite(fd, b"beside low", 50010)
big = os.open(MNT + "/big", os.O_RDWR)
for page in range(0, 50):
    os.pwrite(big, b"top %d" % page, page * 4096 * 3)
one = os.open(MNT + "/made/one", os.O_RDWR)
os.pwrite(one, b"top", 5000)
os.rename(MNT + "/made/two", MNT + "/second")
os.unlink(MNT + "/made/link")
os.rename(MNT + "/moved/sub", MNT + "/made/here")
write_file(MNT + "/made/here/fresh", b"fresh" * 3000)
os.chmod(MNT + "/made", 0o700)
os.setxattr(MNT + "/text", "user.top", b"t")
os.unlink(MNT + "/sym")
os.mkdir(MNT + "/gone")
write_file(MNT + "/gone/inside", b"inside")
write_file(MNT + "/made/sub/three", b"replaced")
PY

# --- discard ----------------------------------------------------------------------------------------

start_stack discard "layer=$LAYERS/top,layer_base=$LAYERS/low"
check 'what is changed over a base is discarded by its path, and the base shows again' bash -ec '
	python3 "$WORK/change.py"
	"$CTL" layer discard "$MNT" numbers big text made/one made/sub/three made/link sym gone'
check 'only that' py <<'PY'
equal(read_file(MNT + "/numbers")[50000:50003], b"low")
equal(read_file(MNT + "/numbers")[70000:70003] != b"top", True)
equal(read_file(MNT + "/made/one"), b"1" * 20000)
equal(os.stat(MNT + "/made/link").st_ino, os.stat(MNT + "/new").st_ino)
equal(os.readlink(MNT + "/sym"), "target")
equal(os.path.exists(MNT + "/gone"), False)
equal(os.listxattr(MNT + "/text"), ["user.low"])
equal(read_file(MNT + "/second"), b"2" * 9000)
equal(read_file(MNT + "/made/here/deep"), b"deep\n")
PY
check 'what the base has and was moved is back where it was' bash -ec '
	"$CTL" layer discard "$MNT" second made/here
	test ! -e "$MNT/second"; test "$(wc -c <"$MNT/made/two")" = 9000; test -e "$MNT/moved/sub/deep"'
check 'all of it: what is seen is the base' bash -ec '"$CTL" layer discard "$MNT"'
check 'bytes, names, attributes' seen_as "$WORK/low.seen"
check 'files that were open stay what they are, and take new changes' py <<'PY'
fd = os.open(MNT + "/made/one", os.O_RDWR)
os.pwrite(fd, b"open", 100)
subprocess.check_call([os.environ["CTL"], "layer", "discard", MNT], stdout=subprocess.DEVNULL)
equal(os.pread(fd, 4, 100), b"1111")
os.pwrite(fd, b"again", 100)
equal(read_file(MNT + "/made/one")[100:105], b"again")
PY
python3 "$WORK/change.py"
stop_mount
check 'offline' "$CTL" layer discard "$LAYERS/top"
start_mount_at "$BACKING" "$mnt" "mode=cow,layer=$LAYERS/top"
check 'which the next mount shows' seen_as "$WORK/low.seen"

# --- commit -----------------------------------------------------------------------------------------

python3 "$WORK/change.py"
see >"$WORK/top.seen"
check 'a path is committed as it is seen: with what the base has of it, and what it needs' bash -ec '
	"$CTL" layer commit "$MNT" made/one numbers
	cmp "$MNT/made/one" "$BACKING/made/one"; cmp "$MNT/numbers" "$BACKING/numbers"
	test ! -e "$BACKING/second"; test ! -e "$BACKING/moved"'
check 'the mount shows the same' seen_as "$WORK/top.seen"
check 'everything' "$CTL" layer commit "$MNT"
check 'the mount still shows the same' seen_as "$WORK/top.seen"
check 'BACKING has all of it' seen_as "$WORK/top.seen" "$BACKING"
untouched() {
	sums low | diff "$WORK/low.sums" -
}
check 'a second commit has nothing to do' bash -ec '"$CTL" layer commit "$MNT" | grep "^0 objects, "'
stop_mount
check 'the base is not touched' untouched
start_mount_at "$BACKING" "$mnt" "mode=cow,layer=$LAYERS/top"
check 'a remount shows the same' seen_as "$WORK/top.seen"
check 'what was committed follows BACKING, whatever the base says' bash -ec '
	printf BACKING | dd of="$BACKING/numbers" bs=1 seek=50000 conv=notrunc status=none
	test "$(dd if="$MNT/numbers" bs=1 skip=50000 count=7 status=none)" = BACKING'
check 'and can be changed and committed again' bash -ec '
	printf more | dd of="$MNT/numbers" bs=1 seek=60000 conv=notrunc status=none
	test "$(dd if="$MNT/numbers" bs=1 skip=50000 count=7 status=none)" = BACKING
	"$CTL" layer commit "$MNT"
	test "$(dd if="$BACKING/numbers" bs=1 skip=60000 count=4 status=none)" = more'
stop_mount

start_stack 'in memory' "layer_base=$LAYERS/low"
python3 "$WORK/change.py"
see >"$WORK/top.seen"
check 'in memory over a base: a commit' "$CTL" layer commit "$MNT"
check 'the mount shows the same' seen_as "$WORK/top.seen"
check 'BACKING has all of it' seen_as "$WORK/top.seen" "$BACKING"
stop_mount

start_stack offline "layer=$LAYERS/top,layer_base=$LAYERS/low"
python3 "$WORK/change.py"
see >"$WORK/top.seen"
stop_mount
check 'offline over a base: a commit' "$CTL" layer commit "$LAYERS/top"
check 'BACKING has all of it' seen_as "$WORK/top.seen" "$BACKING"
start_mount_at "$BACKING" "$mnt" "mode=cow,layer=$LAYERS/top"
check 'the mount shows it' seen_as "$WORK/top.seen"
stop_mount
