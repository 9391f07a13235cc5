#!/bin/bash
# SPDX-License-Identifier: MIT
# memmapfsctl layer discard: what it throws away shows BACKING again, on a mount and in a kept layer that nobody
# has mounted.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # the shells of the checks expand them
. "$(dirname "$0")/lib.sh"

CTL=$(dirname "$MEMMAPFS_BIN")/memmapfsctl
export CTL

fill_backing() {
	mkdir -p "$BACKING/dir/sub" "$BACKING/gone/deep" "$BACKING/plain"
	seq 20000 >"$BACKING/numbers"
	echo text >"$BACKING/text"
	ln "$BACKING/text" "$BACKING/hard"
	echo deep >"$BACKING/dir/sub/deep"
	echo x >"$BACKING/gone/deep/x"
	echo a >"$BACKING/a"
	echo b >"$BACKING/b"
	ln -s target "$BACKING/plain/link"
	truncate -s 8M "$BACKING/big"
}

# tree ROOT: names, attributes, bytes and inode numbers
cat >"$WORK/tree.py" <<'PY'
from fsutil import *
import hashlib

def tree(root):
    rows = {}
    for folder, names, files in os.walk(root):
        for path in [folder] + [os.path.join(folder, name) for name in names + files]:
            info = os.lstat(path)
            content = ""
            if stat.S_ISREG(info.st_mode):
                content = hashlib.sha256(read_file(path)).hexdigest()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            rows[path[len(root):]] = (info.st_ino, oct(info.st_mode), info.st_nlink, info.st_uid, info.st_gid,
                                      info.st_size, info.st_mtime_ns, content,
                                      [] if stat.S_ISLNK(info.st_mode) else sorted(os.listxattr(path)))
    return rows

def same_tree():
    seen, backing = tree(MNT), tree(BACKING)
    for path in sorted(set(seen) | set(backing)):
        equal(seen.get(path), backing.get(path), path)

def discard(target, *paths):
    subprocess.check_call([os.environ["CTL"], "layer", "discard", target, *paths])

def changes(target):
    text = subprocess.run([os.environ["CTL"], "layer", "diff", "--json", target], stdout=subprocess.PIPE).stdout
    return {row["path"]: row["change"] for row in json.loads(text)["changes"]}

def change():
    with open(MNT + "/numbers", "r+b") as file:
        file.seek(50000)
        file.write(b"changed")
    os.truncate(MNT + "/numbers", 90001)
    write_file(MNT + "/new", b"new" * 5000)
    os.link(MNT + "/new", MNT + "/plain/new2")
    os.link(MNT + "/text", MNT + "/third")
    os.chmod(MNT + "/text", 0o4711)
    os.setxattr(MNT + "/text", "user.a", b"b")
    os.rename(MNT + "/dir", MNT + "/plain/moved")
    write_file(MNT + "/plain/moved/sub/added", b"added")
    os.unlink(MNT + "/gone/deep/x")
    os.rmdir(MNT + "/gone/deep")
    os.rmdir(MNT + "/gone")
    os.mkdir(MNT + "/gone")
    os.mkdir(MNT + "/made")
    os.mkdir(MNT + "/made/below")
    os.rename(MNT + "/big", MNT + "/made/below/big")
    # Two names change places.
    os.rename(MNT + "/a", MNT + "/c")
    os.rename(MNT + "/b", MNT + "/a")
    os.rename(MNT + "/c", MNT + "/b")
    os.unlink(MNT + "/hard")
    os.unlink(MNT + "/plain/link")
    os.symlink("other", MNT + "/plain/link")
PY
export PYTHONPATH=$PYTHONPATH:$WORK

for kind in memory kept; do
	new_backing
	fill_backing
	export LAYER=$WORK/layer.$kind
	options=mode=cow
	if [ "$kind" = kept ]; then options=mode=cow,layer=$LAYER; fi
	mnt=$(mktemp -d "$WORK/mnt.XXXXXX")
	start_mount_at "$BACKING" "$mnt" "$options"
	check "$kind: all of a layer is thrown away, and the mount shows BACKING" py <<'PY'
from tree import *
same_tree()
change()
held = os.open(MNT + "/numbers", os.O_RDWR)
made = os.open(MNT + "/new", os.O_RDWR)
mapped = mmap.mmap(held, 4096)
equal(changes(MNT) != {}, True)
discard(MNT)
same_tree()
equal(changes(MNT), {})
# Open files go on: of BACKING's what BACKING has, of those made here what they had.
equal(os.pread(held, 200000, 0), read_file(BACKING + "/numbers"))
equal(mapped[:10], b"1\n2\n3\n4\n5\n")
equal(os.pread(made, 20000, 0), b"new" * 5000)
os.pwrite(made, b"more", 0)
equal(os.pread(made, 4, 0), b"more")
equal(os.fstat(made).st_nlink, 0)
# And everything can be changed again.
os.pwrite(held, b"again", 0)
equal(read_file(MNT + "/numbers")[:7], b"again\n4")
os.close(made)
os.close(held)
mapped.close()
discard(MNT, "numbers")
same_tree()
# What was made is gone once nobody holds it any more: a round of syncs may.
wait_until(15, lambda: statistics()["layer"]["bytes"] == 0)
PY
	check "$kind: pages of both read in turns are those of now, before and after" py <<'PY'
from tree import *
def seen():
    fd = os.open(MNT + "/turns", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    content = os.pread(fd, 1 << 20, 0)
    os.close(fd)
    return content
given = b"".join(b"%04d" % page * 1024 for page in range(100)) + b"end"
write_file(BACKING + "/turns", given)
for turn in range(4):
    fd, now = os.open(MNT + "/turns", os.O_WRONLY), bytearray(given)
    for page in range(turn % 2, 101, 2):
        piece = b"%d" % turn * len(now[page * 4096:(page + 1) * 4096])
        os.pwrite(fd, piece, page * 4096)
        now[page * 4096:page * 4096 + len(piece)] = piece
    os.fsync(fd)
    equal(seen() == now, True, turn)
    os.ftruncate(fd, 9000 + turn)
    equal(seen() == now[:9000 + turn], True, "cut %d" % turn)
    os.ftruncate(fd, 50000)
    os.pwrite(fd, b"again", 20000)
    equal(seen() == (now[:9000 + turn].ljust(20000, b"\0") + b"again").ljust(50000, b"\0"), True, "grown %d" % turn)
    os.close(fd)
    discard(MNT)
    equal(seen() == given, True, "discarded %d" % turn)
os.unlink(BACKING + "/turns")
PY
	check "$kind: by path: an object with all its names, and what a move had covered" py <<'PY'
from tree import *
change()
discard(MNT, "numbers", "plain/new2", MNT + "/text")
for name in ("numbers", "text", "hard"):
    equal(tree(MNT)["/" + name], tree(BACKING)["/" + name])
equal(set(changes(MNT)) & {"numbers", "new", "plain/new2", "text", "third", "hard"}, set())
equal(os.path.exists(MNT + "/new") or os.path.exists(MNT + "/third"), False)
discard(MNT, "a")
for name in ("a", "b"):
    equal(tree(MNT)["/" + name], tree(BACKING)["/" + name])
discard(MNT, "dir")
equal(read_file(MNT + "/dir/sub/deep"), b"deep\n")
equal(os.path.exists(MNT + "/plain/moved"), False)
equal(os.listdir(MNT + "/dir/sub"), ["deep"])
discard(MNT, "gone", "made")
equal(read_file(MNT + "/gone/deep/x"), b"x\n")
equal(os.stat(MNT + "/big").st_size, 8 << 20)
equal(os.path.exists(MNT + "/made"), False)
discard(MNT, "plain/link")
equal(os.readlink(MNT + "/plain/link"), "target")
equal(changes(MNT), {})
discard(MNT)
same_tree()
PY
	check "$kind: clients that read and write meanwhile see one of both" py <<'PY'
from tree import *
write_file(BACKING + "/race", b"o" * 65536)
def writer(me):
    end = time.monotonic() + 1.5
    fd = os.open(MNT + "/race", os.O_RDWR)
    while time.monotonic() < end:
        os.pwrite(fd, b"p" * 4096, random.randrange(16) * 4096)
        got = os.pread(fd, 65536, 0)
        equal(len(got), 65536)
        equal(set(got) <= set(b"op"), True)
        with contextlib.suppress(FileNotFoundError):
            write_file(MNT + "/made-%d" % random.randrange(5), b"x" * 100)
    me.say("done")
process = Process(writer)
rounds = 0
while not process.hears_within(0):
    discard(MNT)
    rounds += 1
equal(rounds > 1, True, rounds)
discard(MNT)
wait_until(5, lambda: read_file(MNT + "/race") == b"o" * 65536)
os.unlink(BACKING + "/race")
PY
	check "$kind: what cannot be is refused, and nothing is thrown away" bash -ec '
		refused() {
			if "$CTL" layer discard "${@:2}" 2>"$WORK/said"; then exit 1; fi
			grep -q "$1" "$WORK/said" || { cat "$WORK/said"; exit 1; }
		}
		echo keep >"$MNT/kept"
		refused "none.: No such file" "$MNT" kept none
		refused "text/x.: Not a directory" "$MNT" text/x
		refused "plain/..: Invalid argument" "$MNT" plain/.
		refused "plain/../kept.: Invalid argument" "$MNT" plain/../kept
		refused "paths are relative to the mount" "$MNT" /etc/passwd
		test "$(cat "$MNT/kept")" = keep
		"$CTL" layer discard "$MNT"'
	if [ "$kind" = kept ]; then
		check 'a kept layer is changed, and left' py <<'PY'
from tree import *
change()
PY
		stop_mount
		check 'offline a part of it is thrown away' py <<'PY'
from tree import *
layer = os.environ["LAYER"]
discard(layer, "numbers", "plain/moved", "b")
equal(set(changes(layer)) & {"numbers", "a", "b", "dir", "plain/moved"}, set())
equal(changes(layer)["third"], "added")
PY
		mount_again() { start_mount_at "$BACKING" "$mnt" "mode=cow,layer=$LAYER"; }
		mount_again
		check 'the next mount shows BACKING there, and the rest as it was' py <<'PY'
from tree import *
for name in ("numbers", "a", "b", "dir", "dir/sub", "dir/sub/deep"):
    equal(tree(MNT)["/" + name], tree(BACKING)["/" + name])
equal(read_file(MNT + "/plain/new2"), b"new" * 5000)
PY
		stop_mount
		check 'and then all of it' py <<'PY'
from tree import *
layer = os.environ["LAYER"]
discard(layer)
equal(changes(layer), {})
equal(os.listdir(layer + "/pages"), [])
PY
		mount_again
		check 'of which nothing is left' py <<'PY'
from tree import *
same_tree()
PY
	fi
	stop_mount
done
