#!/bin/bash
# SPDX-License-Identifier: MIT
# What programs rename, make and remove while a commit is between giving names in BACKING and its last look at them.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

sanitized && skip 'strace and a sanitizer do not get on'
command -v strace >/dev/null || skip 'strace is missing'
CTL=$(dirname "$MEMMAPFS_BIN")/memmapfsctl
export CTL

new_backing
mkdir "$BACKING"/{moved,emptied,inside,left}
for file in file1 file2 moved/below emptied/child inside/child left/one; do
	echo "$file" >"$BACKING/$file"
done
mkdir "$WORK/mnt"
start_mount_at "$BACKING" "$WORK/mnt" "mode=cow,layer=$WORK/layer"

# What is new has a name in the stage until the end of the commit; what was there has none, unless it moved before.
check 'nothing is lost of what changes places with something new while a commit waits for the disk' py <<'PY'
new = ["new%d" % n for n in range(1, 8)]
for name in new:
    write_file(MNT + "/" + name, name.encode())
os.mkdir(MNT + "/newdir")
write_file(MNT + "/newdir/kept", b"kept")

tasks = "/proc/%s/task" % os.environ["DAEMON"]
# The first waits for what was made, the second for what has got its name.
tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=syncfs:delay_enter=4s:when=2",
                           "-p", os.environ["DAEMON"]])
wait_until(20, lambda: not any(b"TracerPid:\t0\n" in read_file("%s/%s/status" % (tasks, task))
                               for task in os.listdir(tasks)))
committing = subprocess.Popen([os.environ["CTL"], "layer", "commit", MNT], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
wait_until(20, lambda: os.path.exists(BACKING + "/newdir/kept") and all(os.path.exists(BACKING + "/" + name)
                                                                        for name in new))
rename, here = os.rename, lambda path: MNT + "/" + path
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
equal(committing.poll(), None, "the commit is still at it")
tracer.terminate()
tracer.wait()
equal(committing.wait(30), 0, committing.stderr.read())

expected = {"file1-now": b"file1\n", "file1": b"new1", "moved-now/below": b"moved/below\n", "moved/kept": b"kept",
            "made/within/new2": b"new2", "made/within/file2": b"file2\n", "file2": b"new3",
            "child-now": b"emptied/child\n", "emptied": b"new4", "made/inside/child": b"inside/child\n",
            "inside": b"new5", "new6": b"left/one\n", "left/one": b"new6"}

def content(root):
    return {os.path.relpath(os.path.join(folder, name), root): read_file(os.path.join(folder, name))
            for folder, _, names in os.walk(root) for name in names}

equal(content(MNT), expected)
subprocess.check_call([os.environ["CTL"], "layer", "commit", MNT], stdout=subprocess.DEVNULL)
equal(content(MNT), expected)
equal(content(BACKING), expected)
PY
stop_mount
