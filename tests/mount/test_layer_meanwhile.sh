#!/bin/bash
# SPDX-License-Identifier: MIT
# What programs rename, make and remove while a commit is between giving names in BACKING and its last look at them.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

sanitized && skip 'strace and a sanitizer do not get on'
command -v strace >/dev/null || skip 'strace is missing'
CTL=$(dirname "$MEMMAPFS_BIN")/memmapfsctl
export CTL


cat >"$WORK/meanwhile.py" <<'PY'
from fsutil import *

rename = os.rename
here = lambda path: MNT + "/" + path

def content(root):
    return {os.path.relpath(os.path.join(folder, name), root): read_file(os.path.join(folder, name))
            for folder, _, names in os.walk(root) for name in names}

@contextlib.contextmanager
def syncs_delayed(which):
    """Those of file systems: the first is of what was made, the second of what has got its name."""
    tasks = "/proc/%s/task" % os.environ["DAEMON"]
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e",
                               "inject=syncfs:delay_enter=4s:when=" + which, "-p", os.environ["DAEMON"]])
    wait_until(20, lambda: not any(b"TracerPid:\t0\n" in read_file("%s/%s/status" % (tasks, task))
                                   for task in os.listdir(tasks)))
    yield tracer
    tracer.terminate()
    tracer.wait()

def committing(*paths):
    return subprocess.Popen([os.environ["CTL"], "layer", "commit", MNT, *paths], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)

def commit():
    process = committing()
    equal(process.wait(60), 0, process.stderr.read())
PY

# mount_layer NAME: over a new BACKING
mount_layer() {
	LAYER=$WORK/layer.$1
	mkdir "$WORK/mnt.$1"
	start_mount_at "$BACKING" "$WORK/mnt.$1" "mode=cow,layer=$LAYER"
}

new_backing
mkdir "$BACKING"/{moved,emptied,inside,left,under,turned,turned/within}
for file in file1 file2 file3 moved/below emptied/child inside/child left/one under/child turned/within/deep; do
	echo "$file" >"$BACKING/$file"
done
mount_layer first

# What is new has a name in the stage until the end of the commit; what was there has none, unless it moved before.
check 'nothing is lost of what changes places while a commit waits for the disk' py <<'PY'
from meanwhile import *
new = ["new%d" % n for n in range(1, 8)]
for name in new:
    write_file(here(name), name.encode())
os.mkdir(here("newdir"))
write_file(here("newdir/kept"), b"kept")
rename(here("under"), here("under-now"))
rename(here("turned"), here("turned-now"))
with syncs_delayed("2"):
    process = committing()
    wait_until(20, lambda: os.path.exists(BACKING + "/newdir/kept") and os.path.exists(BACKING + "/turned-now") and
               all(os.path.exists(BACKING + "/" + name) for name in new))
    # Over a file that has moved.
    rename(here("file1"), here("file1-now"))
    rename(here("new1"), here("file1"))
    # A directory, for one that has moved.
    rename(here("moved"), here("moved-now"))
    rename(here("newdir"), here("moved"))
    # Into a directory that BACKING has not, and that is in another one that it has not.
    os.makedirs(here("made/within"))
    rename(here("new2"), here("made/within/new2"))
    # The same, of one that something new has taken the place of.
    rename(here("file2"), here("made/within/file2"))
    rename(here("new3"), here("file2"))
    # Out of a directory that is removed, and whose place something new takes.
    rename(here("emptied/child"), here("child-now"))
    os.rmdir(here("emptied"))
    rename(here("new4"), here("emptied"))
    # A directory with something in it, into a new one, and something new in its place.
    rename(here("inside"), here("made/inside"))
    rename(here("new5"), here("inside"))
    # Two change places.
    renameat2(here("new6"), here("left/one"), RENAME_EXCHANGE)
    os.unlink(here("new7"))
    # From a directory that has moved, and is removed, to where something was that has moved, too.
    rename(here("file3"), here("file3-now"))
    rename(here("under-now/child"), here("file3"))
    os.rmdir(here("under-now"))
    # A directory into what was in it.
    rename(here("turned-now/within"), here("within"))
    rename(here("turned-now"), here("within/turned"))
    equal(process.poll(), None, "the commit is still at it")
equal(process.wait(30), 0, process.stderr.read())
expected = {"file1-now": b"file1\n", "file1": b"new1", "moved-now/below": b"moved/below\n", "moved/kept": b"kept",
            "made/within/new2": b"new2", "made/within/file2": b"file2\n", "file2": b"new3",
            "child-now": b"emptied/child\n", "emptied": b"new4", "made/inside/child": b"inside/child\n",
            "inside": b"new5", "new6": b"left/one\n", "left/one": b"new6", "file3-now": b"file3\n",
            "file3": b"under/child\n", "within/deep": b"turned/within/deep\n"}
equal(content(MNT), expected)
commit()
equal(content(MNT), expected)
equal(content(BACKING), expected)
equal(os.path.isdir(BACKING + "/within/turned"), True)
PY
stop_mount

# The daemon opens it by the name that it has in the stage, which goes.
new_backing
mount_layer opened
check 'what is opened while a commit waits is found again by the next ones' py <<'PY'
from meanwhile import *
write_file(here("old"), b"first" * 2000)
with syncs_delayed("2"):
    process = committing()
    wait_until(20, lambda: os.path.exists(BACKING + "/old"))
    equal(read_file(here("old")), b"first" * 2000)
    equal(process.poll(), None, "the commit is still at it")
equal(process.wait(30), 0, process.stderr.read())
write_file(here("new"), b"new")
with syncs_delayed("2"):
    process = committing()
    wait_until(20, lambda: os.path.exists(BACKING + "/new"))
    write_file(here("old"), b"second")
    rename(here("old"), here("old-now"))
    rename(here("new"), here("old"))
    equal(process.poll(), None, "the commit is still at it")
equal(process.wait(30), 0, process.stderr.read())
write_file(here("old-now"), b"third")
commit()
equal(content(MNT), {"old": b"new", "old-now": b"third"})
equal(content(BACKING), {"old": b"new", "old-now": b"third"})
PY
stop_mount

# What is written last was noted, when a name of it went, as what BACKING had there.
new_backing
echo file >"$BACKING/kept"
ln "$BACKING/kept" "$BACKING/removed"
ln "$BACKING/kept" "$BACKING/replaced"
mount_layer written
check 'what a commit itself writes is no change by others to the next one' py <<'PY'
from meanwhile import *
write_file(here("kept"), b"first")
write_file(here("made"), b"made")
with syncs_delayed("2"):
    process = committing()
    wait_until(20, lambda: read_file(BACKING + "/kept") == b"first")
    os.unlink(here("removed"))
    write_file(here("new"), b"new")
    rename(here("new"), here("replaced"))
    write_file(here("kept"), b"second")
    equal(process.poll(), None, "the commit is still at it")
    stage = BACKING + "/" + [name for name in os.listdir(BACKING) if name.startswith(".memmapfs-commit-")][0]
equal(process.wait(30), 0, process.stderr.read())
equal(content(BACKING), {"kept": b"second", "made": b"made", "removed": b"second",
                         "replaced": b"second"})
# What somebody else puts there is not the next one's to use, or to remove.
os.mkdir(stage)
write_file(stage + "/theirs", b"theirs")
process = committing()
equal(process.wait(30), 1)
equal("'%s' in BACKING is in the way" % os.path.basename(stage) in process.stderr.read(), True)
equal(read_file(stage + "/theirs"), b"theirs")
os.unlink(stage + "/theirs")
os.rmdir(stage)
commit()
equal(content(MNT), {"kept": b"second", "made": b"made", "replaced": b"new"})
equal(content(BACKING), content(MNT))
PY
stop_mount

# One of some paths is killed when what it has in the stage is not below them any more.
expect_stderr 'a commit of layer .* was interrupted'
expect_stderr 'was changed in BACKING since the layer has pages of it'
new_backing
mkdir "$BACKING/dir"
echo file1 >"$BACKING/file1"
mount_layer killed
check 'a commit of some paths is killed after they were changed' py <<'PY'
from meanwhile import *
write_file(here("dir/new1"), b"new1")
with syncs_delayed("2+") as tracer:
    process = committing("dir/new1")
    wait_until(20, lambda: os.path.exists(BACKING + "/dir/new1"))
    os.mkdir(here("made"))
    rename(here("file1"), here("made/file1"))
    rename(here("dir/new1"), here("file1"))
    os.sync()
    equal(process.poll(), None, "the commit is still at it")
    wait_until(20, lambda: read_file(BACKING + "/file1") == b"new1")
    os.kill(int(os.environ["DAEMON"]), signal.SIGKILL)
    tracer.kill()
process.wait(30)
equal(len([name for name in os.listdir(BACKING) if name.startswith(".memmapfs-commit")]), 1)
PY
wait "$DAEMON" 2>/dev/null || true
daemons[${#daemons[@]} - 1]=''
umount -l "$MNT"
start_mount_at "$BACKING" "$WORK/mnt.killed" "mode=cow,layer=$LAYER"
check 'repeated, it loses nothing either' py <<'PY'
from meanwhile import *
expected = {"file1": b"new1", "made/file1": b"file1\n"}
equal(content(MNT), expected)
commit()
equal(content(MNT), expected)
equal(content(BACKING), expected)
PY
stop_mount
