#!/bin/bash
# SPDX-License-Identifier: MIT
# File handles, as an NFS server takes them: valid beyond the life of the daemon.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

new_backing
native_handles() {
	py <<'PY'
name_to_handle(NATIVE)
PY
}
if ! native_handles >/dev/null 2>&1; then
	image ext4 64M || skip "no file system with file handles here, and $IMAGE_ERROR"
	use_image_as_backing
fi
backing=$BACKING
mkdir "$WORK/handles"
start_mount_at "$backing" "$WORK/handles" sync=periodic

check 'handles of files, directories and symlinks open what they name' py <<'PY'
os.makedirs(MNT + "/dir/sub")
write_file(MNT + "/dir/sub/file", b"by handle")
handles = {name: name_to_handle(MNT + name) for name in ("/dir/sub/file", "/dir/sub", "/dir", "")}
fd = open_handle(MNT, handles["/dir/sub/file"], os.O_RDWR)
equal(os.pread(fd, 100, 0), b"by handle")
os.pwrite(fd, b"BY", 0)
equal(read_file(BACKING + "/dir/sub/file"), b"BY handle")
equal(os.listdir(open_handle(MNT, handles["/dir/sub"], os.O_RDONLY)), ["file"])
equal(os.listdir(open_handle(MNT, handles["/dir"], os.O_RDONLY)), ["sub"])
equal("dir" in os.listdir(open_handle(MNT, handles[""], os.O_RDONLY)), True)
with open(WORK + "/handles.pickle", "wb") as file:
    pickle.dump(handles, file)
equal(name_to_handle(MNT + "/dir/sub/file"), handles["/dir/sub/file"], "the same handle again")
os.link(MNT + "/dir/sub/file", MNT + "/dir/link")
os.rename(MNT + "/dir/sub", MNT + "/dir/renamed")
fd = open_handle(MNT, handles["/dir/sub/file"], os.O_RDONLY)
equal(os.pread(fd, 100, 0), b"BY handle", "after a rename above it")
PY

stop_mount
start_mount_at "$backing" "$WORK/handles" sync=periodic

check 'they are still valid after the daemon was started anew, before any name was looked up' py <<'PY'
handles = pickle.load(open(WORK + "/handles.pickle", "rb"))
fd = open_handle(MNT, handles["/dir/sub/file"], os.O_RDWR)
equal(os.pread(fd, 100, 0), b"BY handle")
equal(os.fstat(fd).st_nlink, 2)
os.pwrite(fd, b"new", 9)
equal(read_file(BACKING + "/dir/link"), b"BY handlenew")
directory = open_handle(MNT, handles["/dir/sub"], os.O_RDONLY)
equal(os.listdir(directory), ["file"])
equal(read_file("/proc/self/fd/%d/file" % directory), b"BY handlenew")
equal(sorted(os.listdir("/proc/self/fd/%d/.." % directory)), ["link", "renamed"], "its parent")
os.close(os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
equal(os.path.exists(BACKING + "/dir/renamed/made"), True)
equal(os.stat(MNT + "/dir/link").st_ino, os.fstat(fd).st_ino, "by name and by handle one inode")
PY

check 'the handle of a removed file is stale, also when its inode number is used again' py <<'PY'
for attempt in range(20):
    write_file(MNT + "/short-lived", b"old")
    handle, number = name_to_handle(MNT + "/short-lived"), os.stat(MNT + "/short-lived").st_ino
    os.unlink(MNT + "/short-lived")
    with raises(ESTALE):
        open_handle(MNT, handle, os.O_RDONLY)
    write_file(MNT + "/next", b"new")
    with raises(ESTALE):
        open_handle(MNT, handle, os.O_RDONLY)
    os.unlink(MNT + "/next")
handles = pickle.load(open(WORK + "/handles.pickle", "rb"))
os.unlink(MNT + "/dir/link")
os.unlink(MNT + "/dir/renamed/file")
with raises(ESTALE):
    open_handle(MNT, handles["/dir/sub/file"], os.O_RDONLY)
PY

check 'a made-up handle is refused and leads nowhere' py <<'PY'
kind, data = name_to_handle(MNT + "/dir")
rng = random.Random(5)
for attempt in range(200):
    forged = bytearray(data)
    for n in range(rng.randrange(1, 4)):
        forged[rng.randrange(len(forged))] = rng.randrange(256)
    if bytes(forged) == data:
        continue
    fd = outcome(open_handle, MNT, (kind, bytes(forged)), os.O_RDONLY)
    if isinstance(fd, int):
        # A hit on something that does exist in BACKING is no fault.
        os.close(fd)
    else:
        equal(fd in ("ESTALE", "EACCES", "ENOENT"), True, fd)
equal(os.listdir(MNT) != [], True, "the mount still serves")
PY
