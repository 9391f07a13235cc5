#!/bin/bash
# SPDX-License-Identifier: MIT
# Names and directories: any bytes, any length, deep trees, big directories.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
start_mount sync=periodic

check 'names of any bytes but / and NUL arrive unchanged' py <<'PY'
names = [
    b"n" * 255,
    b"new\nline",
    b"trailing spaces  ",
    b" leading",
    b"\xff\xfe invalid UTF-8 \xc3",
    b"\x01\x7f control",
    "Zürich 東京".encode(),
    b"-rf",
    b"*?[]$`'\"\\",
    b"...",
    b"user.memmapfs.stats",
    b".fuse_hidden0000000000000001",
]
names += [bytes([b]) for b in range(1, 256) if bytes([b]) not in (b"/", b".")]
mount, backing = os.fsencode(MNT + "/any"), os.fsencode(BACKING + "/any")
os.mkdir(mount)
for name in names:
    write_file(mount + b"/" + name, name)
equal(sorted(os.listdir(mount)), sorted(names), "listed on the mount")
equal(sorted(os.listdir(backing)), sorted(names), "listed in BACKING")
for name in names:
    equal(read_file(backing + b"/" + name), name, "content in BACKING")
    equal(read_file(mount + b"/" + name), name, "content on the mount")
    os.unlink(mount + b"/" + name)
equal(os.listdir(backing), [])
PY

check 'a name of 256 bytes is refused as on BACKING' py <<'PY'
def steps(d):
    long = d + "/" + "n" * 256
    return [
        outcome(os.mkdir, long),
        outcome(os.stat, long),
        outcome(os.open, long, os.O_CREAT | os.O_WRONLY),
        outcome(os.rename, d, long),
        outcome(os.mkdir, d + "/" + "ü" * 128),
        outcome(os.stat, "/" + "d/" * 3000),
    ]
equal(on_both(steps)[0], "ENAMETOOLONG")
PY

check 'a tree deeper than PATH_MAX can be made, walked and removed' py <<'PY'
depth, name = 300, "a-directory-of-20-ch"
fd = os.open(MNT, os.O_RDONLY)
for level in range(depth):
    os.mkdir(name, dir_fd=fd)
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    os.close(fd)
    fd = below
file = os.open("bottom", os.O_CREAT | os.O_RDWR, 0o644, dir_fd=fd)
os.write(file, b"deep")
os.close(file)
os.close(fd)
found = subprocess.check_output(["find", MNT, "-name", "bottom", "-printf", "%d"])
equal(int(found), depth + 1, "depth seen by find")
found = subprocess.check_output(["find", BACKING, "-name", "bottom", "-printf", "%d"])
equal(int(found), depth + 1, "depth in BACKING")
subprocess.check_call(["rm", "-r", MNT + "/" + name])
equal(os.path.exists(BACKING + "/" + name), False, "still in BACKING")
PY

check 'a directory of 5,000 entries is listed whole, once each, with types and inode numbers' py <<'PY'
d = BACKING + "/big"
os.mkdir(d)
for i in range(5000):
    if i % 10 == 0:
        os.mkdir("%s/d%05d" % (d, i))
    elif i % 10 == 1:
        os.symlink("x", "%s/l%05d" % (d, i))
    else:
        os.close(os.open("%s/f%05d-%s" % (d, i, "x" * (i % 200)), os.O_CREAT))
native = sorted((e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in os.scandir(d))
m = MNT + "/big"
for attempt in range(2):
    listed = sorted((e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in os.scandir(m))
    equal(len(listed), 5000, "entries")
    equal(listed == native, True, "same entries and types")
inodes = {e.name: e.inode() for e in os.scandir(m)}
for name in list(inodes)[::50]:
    equal(os.lstat(m + "/" + name).st_ino, inodes[name], "inode number of readdir and stat")
PY

check 'a listing goes on correctly while entries come and go, and can be rewound' py <<'PY'
d = MNT + "/moving"
os.mkdir(d)
stay = {"stay%04d" % i for i in range(1000)}
for name in stay:
    os.close(os.open(d + "/" + name, os.O_CREAT))
for i in range(1000):
    os.close(os.open("%s/go%04d" % (d, i), os.O_CREAT))
seen = []
with os.scandir(d) as listing:
    for n, entry in enumerate(listing):
        seen.append(entry.name)
        if n < 1000:
            os.close(os.open("%s/new%04d" % (d, n), os.O_CREAT))
            with contextlib.suppress(FileNotFoundError):
                os.unlink("%s/go%04d" % (d, n))
equal(len([s for s in seen if s in stay]), 1000, "lasting entries seen")
equal(len(seen), len(set(seen)), "no entry twice")

fd = os.open(d, os.O_RDONLY)
first = sorted(os.listdir(fd))
os.close(os.open(d + "/later", os.O_CREAT))
os.lseek(fd, 0, os.SEEK_SET)
equal(sorted(os.listdir(fd)), sorted(first + ["later"]), "after a rewind")
PY

check 'telldir positions lead back to the same place' py <<'PY'
d = MNT + "/positions"
os.mkdir(d)
for i in range(500):
    os.close(os.open("%s/%04d" % (d, i), os.O_CREAT))
libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
for f in (libc.readdir, libc.telldir, libc.closedir):
    f.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
def next_name(dirp):
    entry = libc.readdir(dirp)
    return ctypes.string_at(entry + 19) if entry else None
dirp = libc.opendir(d.encode())
places = []
while True:
    place, name = libc.telldir(dirp), next_name(dirp)
    if name is None:
        break
    places.append((place, name))
equal(len(places), 502, "entries with . and ..")
random.seed(1)
for place, name in random.sample(places, 100):
    libc.seekdir(dirp, place)
    equal(next_name(dirp), name, "entry at a remembered place")
libc.closedir(dirp)
PY

check 'errors of directory operations are those of BACKING' py <<'PY'
def steps(d):
    write_file(d + "/file", b"x")
    os.makedirs(d + "/full/sub")
    return [
        outcome(os.mkdir, d + "/file"),
        outcome(os.mkdir, d + "/no/such"),
        outcome(os.mkdir, d + "/file/below"),
        outcome(os.rmdir, d + "/full"),
        outcome(os.rmdir, d + "/file"),
        outcome(os.rmdir, d + "/none"),
        outcome(os.unlink, d + "/full"),
        outcome(os.unlink, d + "/none"),
        outcome(os.rmdir, d + "/full/sub/."),
        outcome(os.rmdir, d + "/full/sub/.."),
        outcome(os.open, d + "/full", os.O_WRONLY),
        outcome(os.open, d + "/file", os.O_RDONLY | os.O_DIRECTORY),
        outcome(os.open, d + "/file", os.O_CREAT | os.O_EXCL | os.O_WRONLY),
        outcome(os.listdir, d + "/file"),
        outcome(os.truncate, d + "/full", 0),
        os.stat(d + "/full").st_nlink,
        os.stat(d).st_nlink,
    ]
on_both(steps)
PY

check 'a removed directory that is still open is empty and takes nothing new' py <<'PY'
def steps(d):
    os.mkdir(d + "/gone")
    fd = os.open(d + "/gone", os.O_RDONLY)
    os.rmdir(d + "/gone")
    return [
        outcome(os.listdir, fd) in ([], "ENOENT"),
        outcome(os.open, "new", os.O_CREAT, dir_fd=fd),
        outcome(os.mkdir, "new", dir_fd=fd),
        outcome(lambda: os.fstat(fd).st_nlink),
        os.close(fd),
    ]
on_both(steps)
PY

check 'what appears and goes in BACKING appears and goes on the mount' py <<'PY'
write_file(BACKING + "/appears", b"x")
equal(read_file(MNT + "/appears"), b"x")
os.unlink(BACKING + "/appears")
wait_until(5, lambda: not os.path.exists(MNT + "/appears"))
equal(os.path.exists(MNT + "/later"), False)
write_file(BACKING + "/later", b"y")
wait_until(5, lambda: os.path.exists(MNT + "/later"))
os.rename(BACKING + "/later", BACKING + "/moved")
wait_until(5, lambda: not os.path.exists(MNT + "/later"))
equal(read_file(MNT + "/moved"), b"y")
PY

check 'a name that became another file in BACKING is that other file on the mount' py <<'PY'
write_file(BACKING + "/replaced", b"old")
equal(read_file(MNT + "/replaced"), b"old")
held = open(MNT + "/replaced", "rb")
write_file(BACKING + "/replaced.new", b"new content")
os.rename(BACKING + "/replaced.new", BACKING + "/replaced")
wait_until(5, lambda: read_file(MNT + "/replaced") == b"new content")
equal(held.read(), b"old", "the open file stays what it was")
PY

check 'statfs tells the size of the file system below' py <<'PY'
native, mounted = os.statvfs(BACKING), os.statvfs(MNT)
for field in ("f_bsize", "f_frsize", "f_blocks", "f_files", "f_namemax"):
    equal(getattr(mounted, field), getattr(native, field), field)
equal(abs(mounted.f_bfree - native.f_bfree) * native.f_frsize < 256 * MIB, True, "free blocks alike")
PY
