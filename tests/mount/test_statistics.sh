#!/bin/bash
# SPDX-License-Identifier: MIT
# user.memmapfs.stats and user.memmapfs.file: what they tell, and that they exist on the mount only.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
start_mount mode=rw,sync=periodic,sync_interval=300ms,cache=none

check 'the statistics are one JSON object with every promised number' py <<'PY'
stats = statistics()
SHAPE = {
    "windows": ["count", "bytes", "hits", "misses", "evictions"],
    "io": ["reads", "read_bytes", "writes", "write_bytes", "read_fallbacks", "write_fallbacks"],
    "sync": ["ticks", "msyncs", "synced_bytes", "dirty_bytes", "errors"],
    "faults": ["truncated", "nospace", "io"],
}
missing = [group + "." + name for group, names in SHAPE.items() for name in names
           if not isinstance(stats.get(group, {}).get(name), int)]
missing += [name for name, kind in (("version", str), ("options", dict), ("uptime_s", (int, float)), ("inodes", int))
            if not isinstance(stats.get(name), kind)]
equal(missing, [], "missing or of the wrong type")
equal(stats["options"].get("mode"), "rw")
equal(stats["options"].get("sync"), "periodic")
equal(stats["options"].get("cache"), "none")
equal(0 <= stats["uptime_s"] < 60, True)
PY

check 'reads, writes, windows and syncs are counted' py <<'PY'
before = statistics()
write_file(MNT + "/counted", b"x" * MIB)
equal(len(read_file(MNT + "/counted")), MIB)
after = statistics()
def grew(group, name):
    return after[group][name] - before[group][name]
equal(grew("io", "write_bytes") >= MIB, True, "write_bytes %d" % grew("io", "write_bytes"))
equal(grew("io", "read_bytes") >= MIB, True, "read_bytes %d" % grew("io", "read_bytes"))
equal(grew("io", "write_bytes") < 2 * MIB and grew("io", "read_bytes") < 2 * MIB, True, "not counted twice")
equal(grew("io", "reads") >= 1 and grew("io", "writes") >= 1, True)
equal(grew("windows", "misses") >= 1, True, "a first window is a miss")
equal(after["windows"]["count"] >= 1 and after["windows"]["bytes"] >= MIB, True, "mapped")
equal(after["windows"]["bytes"] <= 2 * MIB, True, "bytes inside files")
equal(after["inodes"] >= 1, True)
for n in range(5):
    read_file(MNT + "/counted")
again = statistics()
equal(again["windows"]["hits"] > after["windows"]["hits"], True, "hits grow with every read")
equal(again["windows"]["misses"], after["windows"]["misses"], "no new window for what is mapped")
wait_until(5, lambda: statistics()["sync"]["msyncs"] > before["sync"]["msyncs"])
wait_until(5, lambda: statistics()["sync"]["dirty_bytes"] == 0)
equal(statistics()["sync"]["errors"], 0)
equal(statistics()["sync"]["synced_bytes"] >= MIB, True)
equal(statistics()["sync"]["ticks"] >= 1, True)
PY

check "a file's attribute tells its windows, and its mapped, resident, dirty and locked bytes" py <<'PY'
write_file(MNT + "/told", b"x" * MIB)
read_file(MNT + "/told")
told = json.loads(os.getxattr(MNT + "/told", "user.memmapfs.file"))
def keys(value):
    found = set()
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= {key} | keys(inner)
    return found
known = " ".join(keys(told))
for word in ("policy", "rule", "windows", "mapped", "resident", "dirty", "locked", "errors"):
    equal(word in known, True, "'%s' in %s" % (word, known))
def user():
    return json.loads(os.getxattr(MNT + "/told", "user.memmapfs.file")) is not None
equal(as_user(12345, user), True, "who may read the file may ask")
os.chmod(MNT + "/told", 0o600)
equal(as_user(12345, lambda: outcome(os.getxattr, MNT + "/told", "user.memmapfs.file")), "EACCES")
PY

check 'reset sets the counters to zero; only the owner and root may' py <<'PY'
read_file(MNT + "/counted")
equal(statistics()["io"]["read_bytes"] > 0, True)
said = as_user(12345, lambda: outcome(os.setxattr, MNT, "user.memmapfs.stats", b"reset"))
equal(said in ("EPERM", "EACCES"), True, "an ordinary user's reset: %s" % said)
equal(statistics()["io"]["read_bytes"] > 0, True)
os.setxattr(MNT, "user.memmapfs.stats", b"reset")
stats = statistics()
equal([stats["io"]["reads"], stats["io"]["writes"], stats["io"]["read_bytes"], stats["windows"]["hits"]], [0] * 4)
equal(stats["windows"]["count"] >= 1, True, "what is mapped stays told")
equal(outcome(os.setxattr, MNT, "user.memmapfs.stats", b"nonsense"), "EINVAL")
PY

check 'the names are never listed and never reach BACKING' py <<'PY'
write_file(MNT + "/plain", b"x")
os.mkdir(MNT + "/plain-dir")
os.setxattr(MNT + "/plain", "user.own", b"v")
for path in ("", "/plain", "/plain-dir"):
    listed = os.listxattr(MNT + path)
    equal([name for name in listed if "memmapfs" in name], [], "listed on the mount")
    equal([name for name in os.listxattr(BACKING + path) if "memmapfs" in name], [], "stored in BACKING")
for path in ("/plain", "/plain-dir"):
    said = outcome(os.setxattr, MNT + path, "user.memmapfs.mine", b"x")
    equal(said is not None, True, "a reserved name was taken")
    equal(outcome(os.getxattr, MNT + path, "user.memmapfs.mine"), "ENODATA")
    equal(outcome(os.removexattr, MNT + path, "user.memmapfs.file") is not None, True)
    equal([name for name in os.listxattr(BACKING + path) if "memmapfs" in name], [])
equal(os.listxattr(BACKING + "/plain"), ["user.own"])
# One that somebody put into BACKING stays unseen and unchanged.
os.setxattr(BACKING + "/plain", "user.memmapfs.file", b"foreign")
json.loads(os.getxattr(MNT + "/plain", "user.memmapfs.file"))
equal(os.listxattr(MNT + "/plain"), ["user.own"])
outcome(os.setxattr, MNT + "/plain", "user.memmapfs.file", b"changed")
equal(os.getxattr(BACKING + "/plain", "user.memmapfs.file"), b"foreign")
# A name that only begins alike is an ordinary one.
os.setxattr(MNT + "/plain", "user.memmapfsx", b"v")
equal(os.getxattr(BACKING + "/plain", "user.memmapfsx"), b"v")
PY

copies_are_clean() {
	mkdir "$MNT/copies"
	echo x >"$MNT/copies/file"
	cp -a "$MNT/copies" "$NATIVE/cp"
	[ -z "$(getfattr -R -d -m memmapfs "$NATIVE/cp")" ]
	if command -v rsync >/dev/null; then
		rsync -aX "$MNT/copies/" "$NATIVE/rsync/"
		[ -z "$(getfattr -R -d -m memmapfs "$NATIVE/rsync")" ]
	fi
	tar --xattrs --xattrs-include='*' -C "$MNT" -cf "$NATIVE/tar" copies
	same 'attributes in the archive' 0 "$(grep -c memmapfs "$NATIVE/tar")"
}
check 'cp -a, rsync -X and tar do not copy them' copies_are_clean

check 'a buffer that is too small gets ERANGE, size 0 the size' py <<'PY'
libc = ctypes.CDLL(None, use_errno=True)
path = os.fsencode(MNT)
size = libc.getxattr(path, b"user.memmapfs.stats", None, 0)
equal(size > 100, True, "size: %d" % size)
buffer = ctypes.create_string_buffer(10)
equal(libc.getxattr(path, b"user.memmapfs.stats", buffer, 10), -1)
equal(ctypes.get_errno(), ERANGE)
equal(outcome(os.getxattr, MNT + "/counted", "user.memmapfs.stats"), "ENODATA", "on the mount's root only")
PY

check 'symlinks and special files have no such attributes' py <<'PY'
os.symlink("counted", MNT + "/link")
os.mkfifo(MNT + "/fifo")
equal(outcome(os.getxattr, MNT + "/link", "user.memmapfs.file", follow_symlinks=False) in ("EPERM", "ENODATA"), True)
equal(outcome(os.getxattr, MNT + "/fifo", "user.memmapfs.file") in ("EPERM", "ENODATA"), True)
PY
