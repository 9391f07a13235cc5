#!/bin/bash
# SPDX-License-Identifier: MIT
# writeback: the kernel collects writes; after fsync and close everything is in BACKING.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

start_mount sync=periodic,writeback
check 'writeback: what was written is in BACKING after fsync and after close, sizes and appends included' py <<'PY'
fd = os.open(MNT + "/collected", os.O_CREAT | os.O_RDWR)
for n in range(1000):
    os.write(fd, b"%07d\n" % n)
equal(os.fstat(fd).st_size, 8000)
os.fsync(fd)
equal(read_file(BACKING + "/collected"), b"".join(b"%07d\n" % n for n in range(1000)))
os.write(fd, b"last")
os.close(fd)
equal(read_file(BACKING + "/collected")[8000:], b"last")
with open(MNT + "/collected", "ab") as file:
    file.write(b" words")
equal(read_file(BACKING + "/collected")[8000:], b"last words")
with open(MNT + "/collected", "r+b") as file:
    file.seek(3)
    file.write(b"X")
    file.truncate(10)
equal(read_file(BACKING + "/collected"), b"000X000\n00")
# A descriptor open for writing alone makes the kernel read what it fills up.
fd = os.open(MNT + "/collected", os.O_WRONLY)
os.pwrite(fd, b"Y", 5)
os.close(fd)
equal(read_file(BACKING + "/collected"), b"000X0Y0\n00")
PY
check 'writeback: times set by hand and sizes survive the collected writes' py <<'PY'
fd = os.open(MNT + "/dated", os.O_CREAT | os.O_RDWR)
os.write(fd, b"x" * 5000)
os.utime(fd, ns=(10**18, 123456789000000000))
os.close(fd)
os.sync()
time.sleep(1.2)
equal(os.stat(BACKING + "/dated").st_mtime_ns, 123456789000000000)
equal(os.stat(MNT + "/dated").st_size, 5000)
PY
check 'writeback: what is collected and not handed over is data, not a hole' py <<'PY'
fd = os.open(MNT + "/sparse", os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, MIB)
os.pwrite(fd, b"data", 500000)
other = os.open(MNT + "/sparse", os.O_RDONLY)
equal(os.lseek(other, 0, os.SEEK_DATA) <= 500000, True)
equal(os.lseek(other, 500000, os.SEEK_HOLE) > 500000, True)
PY
stop_mount
