#!/bin/bash
# SPDX-License-Identifier: MIT
# mode=cow,layer_base=DIR: kept layers that are read below the one that is written.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # the shells of the checks expand them
. "$(dirname "$0")/lib.sh"

new_backing
export LAYERS=$WORK/layers
mkdir -p "$LAYERS" "$BACKING/dir/sub" "$BACKING/gone" "$BACKING/many"
seq 20000 >"$BACKING/numbers"
echo text >"$BACKING/text"
ln "$BACKING/text" "$BACKING/hard"
echo deep >"$BACKING/dir/sub/deep"
truncate -s 64M "$BACKING/big"
touch "$BACKING/many/"{a..f}
cp -a "$BACKING" "$NATIVE/copy"
mnt=$(mktemp -d "$WORK/mnt.XXXXXX")
other=$(mktemp -d "$WORK/mnt.XXXXXX")

cat >"$WORK/tree.py" <<'PY'
import hashlib, os, sys
for folder, names, files in os.walk(sys.argv[1]):
    names.sort()
    for name in sorted(names + files):
        path = folder + "/" + name
        info = os.lstat(path)
        content = ""
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
        print(path[len(sys.argv[1]):], info.st_ino, oct(info.st_mode), info.st_nlink, info.st_uid, info.st_gid,
              info.st_size, info.st_mtime_ns, info.st_ctime_ns, content,
              sorted((n, os.getxattr(path, n)) for n in os.listxattr(path)) if not os.path.islink(path) else
              os.readlink(path))
PY

mount_layers() {
	start_mount_at "$BACKING" "$mnt" "mode=cow,$1"
}
see() { python3 "$WORK/tree.py" "$MNT"; }
same_as() { see | diff "$1" - | cut -c1-300 && see | cmp "$1" -; }

mount_layers "layer=$LAYERS/low"
check 'the lowest layer is changed in every way' py <<'PY'
fd = os.open(MNT + "/numbers", os.O_RDWR)
os.pwrite(fd, b"low", 50000)
os.ftruncate(fd, 90001)
fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 8192, 8192)
big = os.open(MNT + "/big", os.O_RDWR)
for page in range(0, 1000):
    os.pwrite(big, b"low %d" % page, page * 4096)
write_file(MNT + "/new", b"new" * 10000)
os.mkdir(MNT + "/made")
os.mkdir(MNT + "/made/sub")
write_file(MNT + "/made/one", b"1")
write_file(MNT + "/made/two", b"2" * 9000)
os.link(MNT + "/new", MNT + "/made/link")
os.rename(MNT + "/dir", MNT + "/moved")
os.rmdir(MNT + "/gone")
os.mkdir(MNT + "/gone")
write_file(MNT + "/gone/inside", b"inside")
os.chmod(MNT + "/hard", 0o4711)
os.setxattr(MNT + "/text", "user.low", b"\0b")
os.setxattr(MNT + "/made", "user.low", b"made")
os.symlink("target", MNT + "/sym")
os.mknod(MNT + "/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
os.unlink(MNT + "/many/a")
os.rename(MNT + "/many/b", MNT + "/many/B")
subprocess.run(["setfacl", "-m", "u:12:rw", MNT + "/made/two"], check=True)
PY
see >"$WORK/low"
stop_mount

mount_layers "layer_base=$LAYERS/low"
check 'a layer in memory over a base shows what the base had, inode numbers too' same_as "$WORK/low"
check 'and takes every change' py <<'PY'
equal(sorted(os.listdir(MNT + "/many")), ["B", "c", "d", "e", "f"])
os.unlink(MNT + "/made/one")
os.rename(MNT + "/made", MNT + "/renamed")
equal(sorted(os.listdir(MNT + "/renamed")), ["link", "sub", "two"])
equal(os.path.exists(MNT + "/made"), False)
os.mkdir(MNT + "/made")
equal(os.listdir(MNT + "/made"), [])
write_file(MNT + "/made/one", b"again")
os.unlink(MNT + "/new")
equal(os.stat(MNT + "/renamed/link").st_nlink, 1)
equal(read_file(MNT + "/renamed/link"), b"new" * 10000)
with open(MNT + "/renamed/link", "ab") as file:
    file.write(b"end")
equal(read_file(MNT + "/renamed/link"), b"new" * 10000 + b"end")
with raises(ENOTEMPTY):
    os.rmdir(MNT + "/gone")
os.unlink(MNT + "/gone/inside")
os.rmdir(MNT + "/gone")
with raises(ENOENT):
    os.stat(MNT + "/gone")
os.mkdir(MNT + "/gone")
equal(os.listdir(MNT + "/gone"), [])
PY
stop_mount

mount_layers "layer_base=$LAYERS/low"
check 'of which nothing reaches the base' same_as "$WORK/low"
stop_mount

mount_layers "layer=$LAYERS/mid,layer_base=$LAYERS/low"
check 'a kept layer is made over a base' py <<'PY'
fd = os.open(MNT + "/numbers", os.O_RDWR)
os.pwrite(fd, b"mid", 0)
equal(os.pread(fd, 3, 50000), b"low")
equal(os.pread(fd, 4, 9000), b"\0" * 4)
os.ftruncate(fd, 60000)
os.ftruncate(fd, 90001)
equal(os.pread(fd, 8, 59998)[2:], b"\0" * 6)
big = os.open(MNT + "/big", os.O_RDWR)
for page in range(1, 2000, 2):
    os.pwrite(big, b"mid %d" % page, page * 4096 + 100)
os.chmod(MNT + "/made/two", 0o640)
os.setxattr(MNT + "/text", "user.mid", b"m")
os.removexattr(MNT + "/text", "user.low")
os.setxattr(MNT + "/made", "user.mid", b"mid")
os.rename(MNT + "/made/sub", MNT + "/many/sub")
os.unlink(MNT + "/many/c")
write_file(MNT + "/many/a", b"back again")
os.link(MNT + "/made/two", MNT + "/three")
os.utime(MNT + "/sym", ns=(5, 7), follow_symlinks=False)
PY
see >"$WORK/mid"
check 'pages come from the layer that wrote them' py <<'PY'
fd = os.open(MNT + "/big", os.O_RDWR)
equal(os.pread(fd, 5, 2 * 4096), b"low 2")
equal(os.pread(fd, 5, 3 * 4096), b"low 3")
equal(os.pread(fd, 5, 3 * 4096 + 100), b"mid 3")
equal(os.pread(fd, 8, 1501 * 4096 + 100), b"mid 1501")
equal(os.pread(fd, 8, 1500 * 4096), b"\0" * 8)
equal(os.lseek(fd, 0, os.SEEK_HOLE), 1000 * 4096)
equal(os.lseek(fd, 1000 * 4096, os.SEEK_DATA), 1001 * 4096)
equal(os.stat(MNT + "/big").st_blocks in range(1500 * 8, 2000 * 8 + 1), True)
PY
check 'a base is shared, and refused to who would write it, who is told by whom it is read' bash -ec '
	"$MEMMAPFS_BIN" "$BACKING" "'"$other"'" -o "mode=cow,layer_base=$LAYERS/low"
	test "$(cat "'"$other"'/gone/inside")" = inside
	umount "'"$other"'"
	if "$MEMMAPFS_BIN" "$BACKING" "'"$other"'" -o "mode=cow,layer=$LAYERS/low" 2>"$WORK/said"; then exit 1; fi
	cat "$WORK/said"
	grep -q "layer .$LAYERS/low. is in use by process $DAEMON, which reads it for .$MNT." "$WORK/said"
	if "$MEMMAPFS_BIN" "$BACKING" "'"$other"'" -o "mode=cow,layer_base=$LAYERS/mid" 2>"$WORK/said"; then exit 1; fi
	cat "$WORK/said"
	grep -q "layer .$LAYERS/mid. is in use by process $DAEMON, mounted on .$MNT." "$WORK/said"'
stop_mount
check 'only pages that were written are in the upper layer' bash -c '
	test "$(du -s --block-size=4096 "$LAYERS/mid/pages" | cut -f1)" -lt 1010'

mount_layers "layer=$LAYERS/mid,layer_base=$LAYERS/low"
check 'after a remount everything is as it was' same_as "$WORK/mid"
stop_mount
mount_layers "layer=$LAYERS/mid"
check 'a layer remembers what it lies over' same_as "$WORK/mid"
stop_mount
mount_layers "layer_base=$LAYERS/mid"
check 'as a base, too' same_as "$WORK/mid"
stop_mount
mount_layers "layer=$LAYERS/top,layer_base=$LAYERS/mid:$LAYERS/low"
check 'a third layer shows what the second did, and goes on' same_as "$WORK/mid"
check 'page by page through all of them' py <<'PY'
fd = os.open(MNT + "/big", os.O_RDWR)
os.pwrite(fd, b"top", 3 * 4096 + 200)
equal(os.pread(fd, 300, 3 * 4096)[:5], b"low 3")
equal(os.pread(fd, 300, 3 * 4096)[100:105], b"mid 3")
equal(os.pread(fd, 300, 3 * 4096)[200:203], b"top")
os.rename(MNT + "/many/sub", MNT + "/sub")
os.rename(MNT + "/moved/sub/deep", MNT + "/sub/deep")
equal(read_file(MNT + "/sub/deep"), b"deep\n")
PY
see >"$WORK/top"
crash_daemon
mount_layers "layer=$LAYERS/top"
stop_mount
check 'a base that was killed while it was written is brought in order first' bash -ec '
	cp -a "$LAYERS/low" "$WORK/killed"'
mount_layers "layer=$WORK/killed"
check 'something is changed and synced there' py <<'PY'
write_file(MNT + "/killed", b"k" * 5000)
os.sync()
fd = os.open(MNT + "/killed", os.O_RDWR)
os.fsync(fd)
PY
crash_daemon
mount_layers "layer_base=$WORK/killed"
check 'with what was in its log' py <<'PY'
equal(read_file(MNT + "/killed"), b"k" * 5000)
PY
stop_mount

mount_layers "layer=$LAYERS/alone"
check 'another layer is made over BACKING alone' py <<'PY'
write_file(MNT + "/made", b"a file here")
fd = os.open(MNT + "/numbers", os.O_RDWR)
os.pwrite(fd, b"alone", 4096)
os.unlink(MNT + "/many/f")
write_file(MNT + "/only alone", b"alone")
PY
stop_mount
mount_layers "layer_base=$LAYERS/alone:$LAYERS/mid"
check 'over one it has nothing to do with its word counts, and the other shows below' py <<'PY'
equal(read_file(MNT + "/made"), b"a file here")
equal(read_file(MNT + "/only alone"), b"alone")
numbers = read_file(MNT + "/numbers")
equal(numbers[4096:4101], b"alone")
equal(numbers[50000:50003] != b"low" and numbers[:3] != b"mid", True)
equal(sorted(os.listdir(MNT + "/many")), ["B", "a", "d", "e", "sub"])
equal(os.stat(MNT + "/three").st_nlink, 2)
equal(read_file(MNT + "/gone/inside"), b"inside")
PY
stop_mount

refused() {
	local text=$1
	shift
	check "refused: $text" bash -ec '
		text=$1; shift
		if timeout 10 "$MEMMAPFS_BIN" "$BACKING" "$1" -o "mode=cow,$2" 2>"$WORK/said"; then exit 1; fi
		grep -q "$text" "$WORK/said" || { cat "$WORK/said"; exit 1; }' - "$text" "$other" "$1"
}
mkdir "$WORK/empty"
refused "cannot open layer '$WORK/none': No such file or directory" "layer_base=$WORK/none"
refused "'$WORK/empty' is no layer: it has no layer.db" "layer_base=$LAYERS/low:$WORK/empty"
refused "layer_base names layer '$LAYERS/low' twice" "layer_base=$LAYERS/low:$LAYERS/../layers/low"
refused "layer '$LAYERS/low' cannot be written and be below itself" "layer=$LAYERS/low,layer_base=$LAYERS/low"
refused "'$LAYERS/low' and '$WORK/killed' are copies of one layer" "layer_base=$LAYERS/low:$WORK/killed"
refused "layer '$LAYERS/mid' was made over layer '$LAYERS/low', and '$LAYERS/alone' lies there now" \
	"layer=$LAYERS/mid,layer_base=$LAYERS/alone"
refused "layer '$LAYERS/mid' was not made over layer '$LAYERS/alone'" \
	"layer=$LAYERS/mid,layer_base=$LAYERS/low:$LAYERS/alone"
refused "layer '$LAYERS/alone' was not made over layer '$LAYERS/low'" \
	"layer=$LAYERS/alone,layer_base=$LAYERS/low"
cp -r "$LAYERS/low" "$WORK/later"
sqlite3 "$WORK/later/layer.db" "PRAGMA user_version=7"
refused "has format 7, and this program knows format 2" "layer_base=$WORK/later"
head -c 5000 /dev/urandom >"$WORK/empty/layer.db"
refused "not a layer's database, or is damaged" "layer_base=$WORK/empty"
check 'a base of another BACKING is refused' bash -ec '
	if "$MEMMAPFS_BIN" "$NATIVE/copy" "'"$other"'" -o "mode=cow,layer_base=$LAYERS/low" 2>"$WORK/said"; then exit 1; fi
	grep -q "layer .$LAYERS/low. belongs to another directory, which was .$BACKING." "$WORK/said"'
many=$LAYERS/low
for i in {1..64}; do
	many+=:$LAYERS/low$i
	cp -r "$LAYERS/alone" "$LAYERS/low$i"
	sqlite3 "$LAYERS/low$i/layer.db" "UPDATE facts SET value=printf('%032x', $i) WHERE name='id';
		UPDATE facts SET value=randomblob(8) WHERE name='first'"
done
refused "more than 64 layers in layer_base: '$LAYERS/low64' is too many" "layer_base=$many"

cp -r "$LAYERS/low" "$WORK/low.saved"
mount_layers "layer=$LAYERS/low"
check 'a base may be mounted to be written when nobody reads it, and looked at' same_as "$WORK/low"
stop_mount
mount_layers "layer=$LAYERS/mid"
check 'which changes nothing for what lies over it' same_as "$WORK/mid"
stop_mount
mount_layers "layer=$LAYERS/low"
check 'it is changed' touch "$MNT/text"
stop_mount
refused "layer '$LAYERS/low' was changed after layer '$LAYERS/mid' had been made over it" "layer=$LAYERS/mid"
check 'BACKING has none of it' diff -r "$BACKING" "$NATIVE/copy"
