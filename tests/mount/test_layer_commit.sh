#!/bin/bash
# SPDX-License-Identifier: MIT
# memmapfsctl layer commit: BACKING becomes what the mount shows, from a mount that is used meanwhile and from a kept
# layer that nobody has mounted; what others changed there is not written over; an interruption does no harm.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # the shells of the checks expand them
. "$(dirname "$0")/lib.sh"

CTL=$(dirname "$MEMMAPFS_BIN")/memmapfsctl
export CTL
expect_stderr 'was (changed|removed) in BACKING since the layer has pages of it'

cat >"$WORK/tree.py" <<'PY'
from fsutil import *
import hashlib

def tree(root):
    """Everything but what a commit must change: change times, and the inode numbers of what was made."""
    rows = {}
    for folder, names, files in os.walk(root):
        for path in [folder] + [os.path.join(folder, name) for name in names + files]:
            info = os.lstat(path)
            content = ""
            if stat.S_ISREG(info.st_mode):
                content = hashlib.sha256(read_file(path)).hexdigest()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            names = os.listxattr(path, follow_symlinks=False)
            rows[path[len(root):]] = (oct(info.st_mode), info.st_nlink, info.st_uid, info.st_gid, info.st_rdev,
                                      info.st_size if not stat.S_ISDIR(info.st_mode) else 0, info.st_mtime_ns,
                                      content,
                                      sorted((name, os.getxattr(path, name, follow_symlinks=False))
                                             for name in names))
    return rows

def same(one, other):
    for path in sorted(set(one) | set(other)):
        equal(other.get(path), one.get(path), path)

def commit(target, *words, code=0):
    done = subprocess.run([os.environ["CTL"], "layer", "commit", target, *words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    equal(done.returncode, code, done.stdout)
    return done.stdout

def changes(target):
    text = subprocess.run([os.environ["CTL"], "layer", "diff", "--json", target], stdout=subprocess.PIPE).stdout
    return {row["path"]: row["change"] for row in json.loads(text)["changes"]}

def fill(root):
    for name in ("dir/sub", "gone/deep", "plain", "x/y/z", "swap1", "swap2"):
        os.makedirs(root + "/" + name)
    write_file(root + "/numbers", b"".join(b"%d\n" % i for i in range(20000)))
    write_file(root + "/text", b"text\n")
    os.link(root + "/text", root + "/hard")
    write_file(root + "/dir/sub/deep", b"deep\n")
    write_file(root + "/gone/deep/x", b"x\n")
    write_file(root + "/gone/rescued", b"rescued\n")
    write_file(root + "/a", b"a\n")
    write_file(root + "/b", b"b\n")
    write_file(root + "/x/y/z/file", b"file\n")
    write_file(root + "/swap1/one", b"1")
    write_file(root + "/swap2/two", b"2")
    write_file(root + "/long", b"o" * 100000)
    write_file(root + "/untouched", b"untouched")
    os.symlink("target", root + "/plain/link")
    os.truncate(root + "/untouched", 1 << 20)
    write_file(root + "/big", b"")
    os.truncate(root + "/big", 8 << 20)

def change(root):
    fd = os.open(root + "/numbers", os.O_RDWR)
    os.pwrite(fd, b"changed", 50000)
    os.ftruncate(fd, 90001)
    os.ftruncate(fd, 120000)
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 8192, 8192)
    os.close(fd)
    os.truncate(root + "/long", 5000)
    write_file(root + "/new", b"new" * 5000)
    os.link(root + "/new", root + "/plain/new2")
    os.link(root + "/text", root + "/third")
    os.chmod(root + "/text", 0o4711)
    os.chown(root + "/text", 12, 34)
    os.chmod(root + "/text", 0o4711)
    os.setxattr(root + "/text", "user.a", b"\0b")
    os.setxattr(root + "/plain", "user.dir", b"d")
    os.rename(root + "/dir", root + "/plain/moved")
    write_file(root + "/plain/moved/sub/added", b"added")
    os.rename(root + "/gone/rescued", root + "/rescued")
    os.unlink(root + "/gone/deep/x")
    os.rmdir(root + "/gone/deep")
    os.rmdir(root + "/gone")
    os.mkdir(root + "/gone", 0o700)
    os.mkdir(root + "/made")
    os.mkdir(root + "/made/below", 0o500)
    os.rename(root + "/big", root + "/made/big")
    with open(root + "/made/big", "r+b") as file:
        for page in range(0, 2000, 3):
            file.seek(page * 4096)
            file.write(b"%d" % page)
    for one, other in (("a", "b"), ("swap1", "swap2")):
        os.rename(root + "/" + one, root + "/c")
        os.rename(root + "/" + other, root + "/" + one)
        os.rename(root + "/c", root + "/" + other)
    # A directory into its own child.
    os.rename(root + "/x/y", root + "/y")
    os.rename(root + "/x", root + "/y/x")
    os.unlink(root + "/hard")
    os.unlink(root + "/plain/link")
    os.symlink("other", root + "/plain/link")
    os.mknod(root + "/null", 0o640 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(root + "/fifo")
    os.utime(root + "/plain/link", ns=(5, 7), follow_symlinks=False)
    os.utime(root + "/made/below", ns=(10**18, 11 * 10**17))
    os.mkdir(os.fsencode(root) + b"/\xff\n")
    write_file(root + "/untouched.tmp", b"saved anew")
    os.rename(root + "/untouched.tmp", root + "/untouched")
    os.utime(root, ns=(3 * 10**17, 4 * 10**17))
PY
export PYTHONPATH=$PYTHONPATH:$WORK

mount_layer() { start_mount_at "$BACKING" "$mnt" "$options${1:+,$1}"; }

for kind in memory kept; do
	new_backing
	export LAYER=$WORK/layer.$kind
	options=mode=cow
	if [ "$kind" = kept ]; then options=mode=cow,layer=$LAYER; fi
	mnt=$(mktemp -d "$WORK/mnt.XXXXXX")
	check "$kind: BACKING is filled" py <<'PY'
from tree import *
fill(BACKING)
PY
	mount_layer
	check "$kind: after a commit BACKING is what the mount shows, and the layer is empty" py <<'PY'
from tree import *
change(MNT)
held = os.open(MNT + "/numbers", os.O_RDWR)
made = os.open(MNT + "/new", os.O_RDWR)
mapped = mmap.mmap(os.open(MNT + "/made/big", os.O_RDWR), 8192)
mapped[4096:4100] = b"mmap"
ino = os.stat(MNT + "/numbers").st_ino
before = tree(MNT)
commit(MNT)
time.sleep(1.1)
backing = tree(BACKING)
same({path: row for path, row in before.items() if path != "/made/big"},
     {path: row for path, row in backing.items() if path != "/made/big"})
equal(read_file(BACKING + "/made/big")[4096:4100], b"mmap")
same(backing, tree(MNT))
equal(changes(MNT), {})
equal([name for name in os.listdir(BACKING) if name.startswith(".memmapfs")], [])
equal(os.stat(MNT + "/numbers").st_ino, ino)
equal(statistics()["layer"]["bytes"], 0)
# Open files go on, the layer takes what is written from here on, and BACKING has none of that.
equal(os.pread(made, 20000, 0), b"new" * 5000)
equal(os.fstat(made).st_ino, os.stat(BACKING + "/new").st_ino)
os.pwrite(made, b"later", 3)
os.pwrite(held, b"later", 0)
equal(read_file(MNT + "/plain/new2")[:10], b"newlaterwn")
equal(read_file(MNT + "/numbers")[:6], b"later\n")
equal(mapped[4096:4100], b"mmap")
same(backing, tree(BACKING))
equal(sorted(set(changes(MNT)) & {"numbers", "new", "plain/new2"})[-1:], ["plain/new2"])
equal(changes(MNT)["numbers"], "changed")
commit(MNT)
equal(read_file(BACKING + "/new")[:10], b"newlaterwn")
same(tree(BACKING), tree(MNT))
PY
	check "$kind: by path, with what belongs to it; the rest stays in the layer" py <<'PY'
from tree import *
for name in ("p1", "p2"):
    os.makedirs(MNT + "/%s/q/r" % name)
    write_file(MNT + "/%s/q/r/file" % name, b"file")
    write_file(MNT + "/%s/q/other" % name, b"other")
os.rename(MNT + "/a", MNT + "/a.new")
os.unlink(MNT + "/b")
with open(MNT + "/long", "r+b") as file:
    file.write(b"LONG")
commit(MNT, "p1/q/r/file")
equal(read_file(BACKING + "/p1/q/r/file"), b"file")
equal(os.listdir(BACKING + "/p1/q"), ["r"])
equal(sorted(os.listdir(MNT + "/p1/q")), ["other", "r"])
equal(os.path.exists(BACKING + "/p2"), False)
commit(MNT, MNT + "/p2")
equal(read_file(BACKING + "/p2/q/other"), b"other")
commit(MNT, "a.new")
equal((os.path.exists(BACKING + "/a"), os.path.exists(BACKING + "/a.new"), os.path.exists(BACKING + "/b")),
      (False, True, True))
commit(MNT, "b")
equal(os.path.exists(BACKING + "/b"), False)
equal(read_file(BACKING + "/long")[:4], b"oooo")
equal(changes(MNT), {"long": "changed", "p1/q/other": "added"})
commit(MNT, "long", "p1")
equal(changes(MNT), {})
# The times of directories that were not committed are the layer's still.
commit(MNT)
same(tree(BACKING), tree(MNT))
PY
	check "$kind: what somebody changed in BACKING meanwhile is not written over, unless by force" py <<'PY'
from tree import *
for name in ("cut", "swapped", "deleted", "same", "unlinked", "recreated", "restored"):
    write_file(BACKING + "/" + name, b"o" * 40960)
os.link(BACKING + "/recreated", BACKING + "/replaced")
for name in ("cut", "swapped", "deleted", "same", "restored"):
    with open(MNT + "/" + name, "r+b") as file:
        file.seek(20480)
        file.write(b"p" * 4096)
os.unlink(MNT + "/unlinked")
write_file(MNT + "/made-twice", b"mine")
os.utime(MNT + "/recreated", ns=(5, 7))
os.rename(MNT + "/made-twice", MNT + "/replaced")
write_file(MNT + "/made-twice", b"mine")
os.truncate(BACKING + "/cut", 10)
times = os.stat(BACKING + "/restored")
write_file(BACKING + "/restored", b"r" * 40960)
os.utime(BACKING + "/restored", ns=(times.st_atime_ns, times.st_mtime_ns))
write_file(BACKING + "/other", b"q" * 40960)
os.rename(BACKING + "/other", BACKING + "/swapped")
os.unlink(BACKING + "/deleted")
write_file(BACKING + "/unlinked", b"written again")
write_file(BACKING + "/made-twice", b"theirs")
write_file(BACKING + "/replaced", b"written through another name")
# It changes the time of what another name covers, and somebody else has changed that before.
commit(MNT, "recreated")
equal(os.stat(BACKING + "/recreated").st_mtime_ns, 7)
before, seen = tree(BACKING), {}
for name, said in (("cut", "changed"), ("swapped", "replaced"), ("deleted", "removed"), ("unlinked", "another"),
                   ("made-twice", "another"), ("replaced", "another"), ("restored", "changed"),
                   ("restored", "changed")):
    text = commit(MNT, name, code=1)
    equal("'%s'" % name in text and said in text and "nothing was committed" in text, True, text)
    seen[name] = read_file(MNT + "/" + name) if name != "unlinked" else None
commit(MNT, code=1)
same(before, tree(BACKING))
commit(MNT, "same")
equal(read_file(BACKING + "/same"), b"o" * 20480 + b"p" * 4096 + b"o" * 16384)
commit(MNT, "--force")
for name, content in seen.items():
    if content is None:
        equal(os.path.exists(BACKING + "/" + name), False, name)
    else:
        equal(read_file(BACKING + "/" + name) == content, True, name)
equal(changes(MNT), {})
same(tree(BACKING), tree(MNT))
PY
	check "$kind: after an error on the way the commit can be repeated" py <<'PY'
from tree import *
import shutil
write_file(BACKING + "/first", b"o" * 8192)
write_file(BACKING + "/second", read_file(shutil.which("sleep")), 0o755)
for name in ("first", "second"):
    with open(MNT + "/" + name, "r+b") as file:
        file.seek(4096)
        file.write(b"p" * 4096)
# Nobody can write what is being executed.
program = subprocess.Popen([BACKING + "/second", "60"])
text = commit(MNT, code=1)
program.kill()
program.wait()
equal("cannot write 'second' in BACKING: Text file busy" in text, True, text)
equal(read_file(BACKING + "/first"), b"o" * 4096 + b"p" * 4096)
commit(MNT)
equal(read_file(BACKING + "/second")[4096:8192], b"p" * 4096)
equal(changes(MNT), {})
# Once names have been changed as well.
os.mkdir(BACKING + "/fixed")
os.stat(MNT + "/fixed")
with open(MNT + "/first", "r+b") as file:
    file.write(b"q" * 4096)
os.rename(MNT + "/first", MNT + "/moved")
for name in ("new", "fixed/new"):
    write_file(MNT + "/" + name, b"new")
if subprocess.run(["chattr", "+i", BACKING + "/fixed"], stderr=subprocess.DEVNULL).returncode == 0:
    text = commit(MNT, code=1)
    subprocess.run(["chattr", "-i", BACKING + "/fixed"], check=True)
    equal("cannot change the name 'fixed/new' in BACKING: Operation not permitted" in text, True, text)
    equal([read_file(BACKING + "/" + name) for name in ("moved", "new")],
          [b"q" * 4096 + b"p" * 4096, b"new"])
commit(MNT)
equal(changes(MNT), {})
same(tree(BACKING), tree(MNT))
PY
	check "$kind: programs that write, rename and remove meanwhile lose nothing" py <<'PY'
from tree import *
# Only paths lead to objects: one that was renamed or removed at the wrong moment has its last state not noted.
FORCE = ["--force"] if "WITHOUT_HANDLES" in os.environ else []
os.mkdir(MNT + "/busy")
def worker(me):
    rng = random.Random(7)
    expected = {}
    end = time.monotonic() + 2
    while time.monotonic() < end:
        name = "%d" % rng.randrange(20)
        path = MNT + "/busy/" + name
        what = rng.randrange(4)
        if what < 2:
            content = bytes([rng.randrange(256)]) * rng.randrange(20000)
            with open(path, "wb") as file:
                file.write(content)
            expected[name] = content
        elif what == 2 and name in expected:
            other = "%d" % rng.randrange(20)
            os.rename(path, MNT + "/busy/" + other)
            expected[other] = expected.pop(name)
        elif what == 3 and name in expected:
            os.unlink(path)
            del expected[name]
        for one, content in expected.items():
            equal(read_file(MNT + "/busy/" + one), content, one)
    write_file(WORK + "/expected", pickle.dumps(expected))
    me.say("done")
process = Process(worker)
rounds = 0
while not process.hears_within(0):
    commit(MNT, *FORCE)
    rounds += 1
equal(process.hear(), "done")
equal(rounds > 1, True, rounds)
commit(MNT, *FORCE)
expected = pickle.loads(read_file(WORK + "/expected"))
equal({name: read_file(BACKING + "/busy/" + name) for name in os.listdir(BACKING + "/busy")}, expected)
equal(changes(MNT), {})
same(tree(BACKING), tree(MNT))
PY
	stop_mount
done

new_backing
export LAYER=$WORK/layer.offline
options=mode=cow,layer=$LAYER
mnt=$(mktemp -d "$WORK/mnt.XXXXXX")
check 'BACKING is filled once more' py <<'PY'
from tree import *
fill(BACKING)
PY
mount_layer
check 'a kept layer is changed, and left' py <<'PY'
from tree import *
change(MNT)
write_file(WORK + "/seen", pickle.dumps(tree(MNT)))
PY
stop_mount
check 'offline a part of it is committed, then the rest' py <<'PY'
from tree import *
layer = os.environ["LAYER"]
commit(layer, "a", "plain/moved", "text")
equal(set(changes(layer)) & {"a", "b", "dir", "plain/moved", "plain/moved/sub/added", "text", "third"}, set())
equal((read_file(BACKING + "/a"), read_file(BACKING + "/b")), (b"b\n", b"a\n"))
equal(read_file(BACKING + "/plain/moved/sub/added"), b"added")
equal(os.path.exists(BACKING + "/dir") or os.path.exists(BACKING + "/new"), False)
commit(layer)
equal(changes(layer), {})
equal(os.listdir(layer + "/pages"), [])
same(pickle.loads(read_file(WORK + "/seen")), tree(BACKING))
PY
mount_layer
check 'the next mount shows the same' py <<'PY'
from tree import *
same(tree(BACKING), tree(MNT))
PY
check 'what cannot be is refused by name' bash -ec '
	refused() {
		if "$CTL" layer commit "${@:2}" 2>"$WORK/said"; then exit 1; fi
		grep -q "$1" "$WORK/said" || { cat "$WORK/said"; exit 1; }
	}
	echo new >"$MNT/made-here"
	refused "none.: No such file" "$MNT" none
	refused "is in use by process" "$LAYER"
	chattr +i "$BACKING/numbers" 2>/dev/null || exit 77
	echo x >>"$MNT/numbers"
	refused "cannot write .numbers. in BACKING: Operation not permitted" "$MNT" numbers
	chattr -i "$BACKING/numbers"
	"$CTL" layer commit "$MNT"
	cmp "$BACKING/numbers" "$MNT/numbers"'
stop_mount
mount_layer ro
check 'a read-only mount commits nothing' bash -ec '
	if "$CTL" layer commit "$MNT" 2>"$WORK/said"; then exit 1; fi
	grep -q "the mount is read-only" "$WORK/said"'
stop_mount

rounds=${LAYER_KILL_ROUNDS:-4}
if image ext4 64M; then
	rm -rf "$IMAGE/lost+found"
	use_image_as_backing
	LAYER=$IMAGE/layer
	options=mode=cow,layer=$LAYER
	check 'a file system holds BACKING and a layer over it' py <<'PY'
from tree import *
fill(BACKING)
PY
	mnt=$(mktemp -d "$WORK/mnt.XXXXXX")
	mount_layer
	check 'with every kind of change' py <<'PY'
from tree import *
change(MNT)
for i in range(60):
    write_file(MNT + "/many-%d" % i, b"%d" % i * 3000)
write_file(WORK + "/seen", pickle.dumps(tree(MNT)))
PY
	stop_mount
	umount "$IMAGE"
	export IMAGE rounds
	CHECK_TIMEOUT=$((60 + rounds * 5))
	check "a commit is killed at random moments, $rounds times, and repeated: the same bytes in the end" py <<'PY'
from tree import *
layer, image = os.environ["LAYER"], os.environ["IMAGE"]
seen = pickle.loads(read_file(WORK + "/seen"))
mnt = WORK + "/killed"
os.mkdir(mnt)
rng = random.Random(int(os.environ.get("LAYER_KILL_SEED", "0")) or None)

def start(live):
    """A process that commits, and the one to kill: itself, or the daemon of a mount."""
    daemon = None
    if live:
        daemon = subprocess.Popen([os.environ["MEMMAPFS_BIN"], "-f", "-o", "log_level=error,mode=cow,layer=" + layer,
                                   BACKING, mnt], stderr=subprocess.DEVNULL)
        wait_until(10, lambda: os.path.ismount(mnt))
        equal(tree(mnt) == seen, True, "the view before")
    done = subprocess.Popen([os.environ["CTL"], "layer", "commit", mnt if live else layer],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=KILLED_ENVIRON)
    return done, daemon

def finish(done, daemon):
    said = done.communicate()[1]
    if daemon is not None:
        daemon.kill()
        daemon.wait()
        subprocess.call(["umount", "-l", mnt])
    return said

interrupted = 0
for number in range(int(os.environ["rounds"])):
    subprocess.check_call(["cp", "--sparse=always", image + ".image", image + ".copy"])
    subprocess.check_call(["mount", "-o", "loop", image + ".copy", image])
    try:
        for attempt in range(rng.randrange(1, 4)):
            done, daemon = start(rng.random() < 0.5)
            time.sleep(rng.random() ** 2 * 0.3)
            (daemon or done).kill()
            finish(done, daemon)
            status = subprocess.run([os.environ["CTL"], "layer", "status", "--json", layer], stdout=subprocess.PIPE)
            interrupted += json.loads(status.stdout)["interrupted"]
        commit(layer)
        equal(changes(layer), {})
        same(seen, tree(BACKING))
    finally:
        subprocess.check_call(["umount", image])
        os.unlink(image + ".copy")
print("%d of the commits were interrupted on the way" % interrupted)
PY
	mount -o loop "$IMAGE.image" "$IMAGE"
	drop_image
fi

# Where blocks can be shared nothing of a kept layer is copied.
for fs in xfs btrfs; do
	if ! image "$fs" 320M; then
		skip_check "$fs: a commit shares blocks" "$IMAGE_ERROR"
		continue
	fi
	use_image_as_backing
	LAYER=$IMAGE/layer
	options=mode=cow,layer=$LAYER
	check "$fs: files are given" py <<'PY'
from tree import *
for name in ("part", "short", "holed"):
    write_file(BACKING + "/" + name, b"b" * (64 * 4096 + 100))
os.sync()
PY
	mnt=$(mktemp -d "$WORK/mnt.XXXXXX")
	mount_layer
	check "$fs: a commit shares the blocks of pages, and no others are moved" py <<'PY'
from tree import *
import fcntl

def blocks(path):
    """By page of a file, where on the disk it is."""
    fd, found = os.open(path, os.O_RDONLY), {}
    buffer = bytearray(struct.pack("=QQLLLL", 0, 2 ** 64 - 1, 1, 0, 256, 0) + bytes(56 * 256))
    fcntl.ioctl(fd, 0xC020660B, buffer)  # FS_IOC_FIEMAP, of what was flushed before
    os.close(fd)
    for number in range(struct.unpack_from("=L", buffer, 20)[0]):
        logical, physical, length = struct.unpack_from("=QQQ", buffer, 32 + 56 * number)
        found.update({(logical + at) // 4096: physical + at for at in range(0, length, 4096)})
    return found

def overwrite(name, data, offset):
    fd = os.open(MNT + "/" + name, os.O_WRONLY | os.O_CREAT)
    os.pwrite(fd, data, offset)
    os.fsync(fd)
    os.close(fd)

given = blocks(BACKING + "/part")
overwrite("part", b"x" * (16 * 4096), 8 * 4096)
overwrite("part", b"y", 40 * 4096 + 5)
overwrite("part", b"z", 64 * 4096 + 99)
overwrite("short", b"x" * 8192, 0)
os.truncate(MNT + "/short", 4096 + 7)
overwrite("holed", b"x" * 16384, 8192)
subprocess.check_call(["fallocate", "--punch-hole", "-o", "8192", "-l", "4096", MNT + "/holed"])
overwrite("new", b"n" * (5 * 4096 + 1), 0)
os.sync()
subprocess.check_call([os.environ["CTL"], "sync", MNT])
pages = os.environ["LAYER"] + "/pages"
layer = {place for name in os.listdir(pages) for place in blocks(pages + "/" + name).values()}
seen = tree(MNT)
commit(MNT)
same(seen, tree(MNT))
same(seen, tree(BACKING))
os.sync()
now = blocks(BACKING + "/part")
equal(sorted(page for page in now if now[page] != given[page]), list(range(8, 24)) + [40, 64])
# Cutting a file's last page where the file ends makes some file systems write it anew.
equal({page for page in now if now[page] in layer} - {64}, set(range(8, 24)) | {40})
equal([place in layer for page, place in blocks(BACKING + "/new").items() if page < 5], [True] * 5, "what was made")
equal(blocks(BACKING + "/short")[0] in layer, True, "what was cut")
equal({page: place in layer for page, place in blocks(BACKING + "/holed").items() if page < 6},
      {0: False, 1: False, 3: True, 4: True, 5: True})
PY
	stop_mount
	drop_image
done
