#!/bin/bash
# SPDX-License-Identifier: MIT
# memmapfsctl layer checkpoint: a kept layer becomes a base, live and unmounted, and goes on empty over it.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # the shells of the checks expand them
. "$(dirname "$0")/lib.sh"

new_backing
export LAYERS=$WORK/layers
export CTL=${MEMMAPFS_BIN%/*}/memmapfsctl
mkdir -p "$LAYERS" "$BACKING/dir"
seq 20000 >"$BACKING/numbers"
echo text >"$BACKING/text"
truncate -s 64M "$BACKING/big"
mnt=$(mktemp -d "$WORK/mnt.XXXXXX")

cat >"$WORK/tree.py" <<'PY'
import hashlib, os, sys
for folder, names, files in os.walk(sys.argv[1]):
    names.sort()
    for name in sorted(names + files):
        path = folder + "/" + name
        info = os.lstat(path)
        content = ""
        if os.path.isfile(path):
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
        print(path[len(sys.argv[1]):], info.st_ino, oct(info.st_mode), info.st_nlink, info.st_uid, info.st_gid,
              info.st_size, info.st_mtime_ns, info.st_ctime_ns, content,
              sorted((n, os.getxattr(path, n)) for n in os.listxattr(path)))
PY
mount_layers() {
	start_mount_at "$BACKING" "$mnt" "mode=cow,$1"
}
see() { python3 "$WORK/tree.py" "$MNT"; }
same_as() { see | diff "$1" - | cut -c1-300 && see | cmp "$1" -; }

mount_layers "layer=$LAYERS/top,sync=never"
check 'a layer is changed' py <<'PY'
fd = os.open(MNT + "/numbers", os.O_RDWR)
os.pwrite(fd, b"first", 50000)
big = os.open(MNT + "/big", os.O_RDWR)
for page in range(0, 2000, 2):
    os.pwrite(big, b"first %d" % page, page * 4096)
write_file(MNT + "/new", b"new" * 10000)
os.mkdir(MNT + "/made")
write_file(MNT + "/made/one", b"1" * 5000)
os.rename(MNT + "/dir", MNT + "/moved")
os.chmod(MNT + "/text", 0o601)
os.setxattr(MNT + "/text", "user.first", b"1")
write_file(MNT + "/removed", b"r")
os.unlink(MNT + "/removed")
PY
see >"$WORK/first"
export DU='du -s --block-size=4096'
check 'a checkpoint of the live mount copies no page, and nothing is seen of it' bash -ec '
	"$CTL" sync "$MNT"
	before=$($DU "$LAYERS/top/pages" | cut -f1)
	"$CTL" layer checkpoint "$MNT" "$LAYERS/first"
	test "$($DU "$LAYERS/first/pages" | cut -f1)" -eq "$before"
	test -z "$(ls "$LAYERS/top/pages")"'
check 'names, bytes, attributes and inode numbers are the same' same_as "$WORK/first"
check 'files that were open go on, and writes go into the new layer' py <<'PY'
fd = os.open(MNT + "/big", os.O_RDWR)
gone = os.open(MNT + "/gone", os.O_RDWR | os.O_CREAT)
os.pwrite(gone, b"gone" * 3000, 0)
os.unlink(MNT + "/gone")
mapped = os.open(MNT + "/mapped", os.O_RDWR | os.O_CREAT)
os.ftruncate(mapped, 20000)
memory = mmap.mmap(mapped, 20000)
memory[:5] = b"store"
os.pwrite(fd, b"second", 3 * 4096)
subprocess.run([os.environ["CTL"], "layer", "checkpoint", MNT, os.environ["LAYERS"] + "/second"], check=True)
equal(memory[:5], b"store")
memory[4096:4101] = b"later"
equal(os.pread(gone, 4, 4096), b"gone")
os.pwrite(gone, b"!", 0)
equal(os.pread(gone, 4, 0), b"!one")
equal(os.fstat(gone).st_nlink, 0)
os.pwrite(fd, b"third", 2 * 4096 + 100)
equal(os.pread(fd, 7, 2 * 4096), b"first 2")
equal(os.pread(fd, 5, 2 * 4096 + 100), b"third")
equal(os.pread(fd, 6, 3 * 4096), b"second")
os.ftruncate(fd, 10 * 4096)
os.fsync(fd)
memory.flush()
os.rename(MNT + "/made/one", MNT + "/moved/two")
with open(MNT + "/new", "ab") as file:
    file.write(b"more")
PY
see >"$WORK/third"
stop_mount
mount_layers "layer=$LAYERS/top"
check 'the next mount brings the checkpoints along' same_as "$WORK/third"
check 'status says over which layers it lies' bash -ec '
	"$CTL" layer status "$MNT" >"$WORK/said"
	test "$(head -n 1 "$WORK/said")" = "layer $LAYERS/top, over layer $LAYERS/second and 1 more, over $BACKING"'
stop_mount
mount_layers "layer_base=$LAYERS/first"
check 'a checkpoint is what the layer was' same_as "$WORK/first"
stop_mount

check 'a checkpoint of a layer that is not mounted' bash -ec '
	"$CTL" layer checkpoint "$LAYERS/top" "$LAYERS/third"
	test -z "$(ls "$LAYERS/top/pages")"'
mount_layers "layer=$LAYERS/top"
check 'shows the same, too' same_as "$WORK/third"
check 'and its base is shared' bash -ec '
	mkdir "$WORK/other"
	"$MEMMAPFS_BIN" "$BACKING" "$WORK/other" -o "mode=cow,layer_base=$LAYERS/third"
	cmp "$WORK/other/new" "$MNT/new"
	umount "$WORK/other"'
stop_mount

mount_layers "layer=$LAYERS/top"
check 'checkpoints while programs write lose nothing' py <<'PY'
import threading
stop = False
written = [0] * 4
def work(number):
    fd = os.open(MNT + "/busy%d" % number, os.O_RDWR | os.O_CREAT)
    while not stop:
        at = written[number]
        os.pwrite(fd, b"%08d" % at, at % 300 * 4096 + at // 300 % 500 * 8)
        if at % 50 == 0:
            os.fsync(fd)
            write_file(MNT + "/busy%d.%d" % (number, at // 50 % 20), b"%d" % at)
        written[number] = at + 1
    os.close(fd)
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for number in range(8):
    subprocess.run([os.environ["CTL"], "layer", "checkpoint", MNT, os.environ["LAYERS"] + "/busy%d" % number], check=True)
    time.sleep(0.1)
stop = True
for thread in threads:
    thread.join()
def look():
    for number in range(4):
        content = read_file(MNT + "/busy%d" % number)
        for at in range(max(0, written[number] - 300 * 500), written[number]):
            place = at % 300 * 4096 + at // 300 % 500 * 8
            equal(content[place:place + 8], b"%08d" % at)
look()
open(os.environ["WORK"] + "/written", "w").write(repr(written))
PY
stop_mount
mount_layers "layer=$LAYERS/top"
check 'nor does the next mount' py <<'PY'
written = eval(open(os.environ["WORK"] + "/written").read())
equal(min(written) > 100, True)
for number in range(4):
    content = read_file(MNT + "/busy%d" % number)
    for at in range(max(0, written[number] - 300 * 500), written[number]):
        place = at % 300 * 4096 + at // 300 % 500 * 8
        equal(content[place:place + 8], b"%08d" % at)
PY

refused() {
	local text=$1
	shift
	check "refused: $text" bash -ec '
		text=$1; shift
		if "$CTL" layer checkpoint "$@" 2>"$WORK/said"; then exit 1; fi
		grep -q "$text" "$WORK/said" || { cat "$WORK/said"; exit 1; }' - "$text" "$@"
}
refused "layer '$LAYERS/top' is in use by process $DAEMON, mounted on '$MNT'" "$LAYERS/top" "$WORK/x"
refused "layer '$LAYERS/first' is in use by process $DAEMON, which reads it for '$MNT'" "$MNT" "$LAYERS/first"
refused "'$WORK/first' is there already" "$MNT" "$WORK/first"
refused "'/dev/shm/x' is not on the file system of layer '$LAYERS/top'" "$MNT" /dev/shm/x
refused "$WORK/none/at': No such file" "$MNT" "$WORK/none/at"
refused "'$WORK' is neither on a mount of memmapfs-fuse nor the directory of a layer" "$WORK" "$WORK/x"
mkdir "$LAYERS/empty"
check 'into an empty directory, and by a relative name' bash -ec '
	cd "$LAYERS/empty"
	"$CTL" layer checkpoint "$MNT" ../empty'
check 'a layer that was moved under its mount is not exchanged' bash -ec '
	mv "$LAYERS/top" "$LAYERS/elsewhere"
	if "$CTL" layer checkpoint "$MNT" "$LAYERS/y" 2>"$WORK/said"; then exit 1; fi
	grep -q "it was moved" "$WORK/said"
	test ! -e "$LAYERS/y"
	mv "$LAYERS/elsewhere" "$LAYERS/top"
	echo goes on >"$MNT/after"
	"$CTL" sync "$MNT"'
stop_mount
mount_layers "layer=$LAYERS/foreign"
check 'another layer is made' touch "$MNT/x"
stop_mount
refused "'$LAYERS/foreign' is there already, and is another layer" "$LAYERS/top" "$LAYERS/foreign"
check 'what an interrupted one has left is taken by the next' bash -ec '
	cp -a "$LAYERS/top" "$WORK/copy"
	"$CTL" layer checkpoint "$WORK/copy" "$WORK/one"
	# As if it had been interrupted before the exchange.
	mv "$WORK/copy" "$WORK/fresh"; mv "$WORK/one" "$WORK/copy"; mv "$WORK/fresh" "$WORK/one"
	"$CTL" layer checkpoint "$WORK/copy" "$WORK/one"
	# As if it had been interrupted before there was a database.
	mkdir "$WORK/begun"
	touch "$WORK/begun/lock"
	"$CTL" layer checkpoint "$WORK/copy" "$WORK/begun"'
start_mount_at "$BACKING" "$mnt" mode=cow
refused "the layer of this mount is in memory: it needs layer=" "$MNT" "$WORK/x"
stop_mount
start_mount_at "$BACKING" "$mnt" mode=rw
refused "the mount has no layer: it is not one of mode=cow" "$MNT" "$WORK/x"
