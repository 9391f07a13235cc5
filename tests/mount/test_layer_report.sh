#!/bin/bash
# SPDX-License-Identifier: MIT
# memmapfsctl layer status and diff: of a mount and of a kept layer that nobody has mounted; and what happened to
# BACKING meanwhile.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # the shells of the checks expand them
. "$(dirname "$0")/lib.sh"

CTL=$(dirname "$MEMMAPFS_BIN")/memmapfsctl
export CTL
expect_stderr 'was (changed|removed) in BACKING since the layer has pages of it'

fill_backing() {
	mkdir -p "$BACKING/dir/sub" "$BACKING/gone"
	seq 20000 >"$BACKING/numbers"
	echo text >"$BACKING/text"
	echo deep >"$BACKING/dir/sub/deep"
	echo x >"$BACKING/gone/x"
	echo old >"$BACKING/old"
	echo one >"$BACKING/replaced"
	truncate -s 64M "$BACKING/big"
}

# What every kind of change looks like in the two reports.
cat >"$WORK/expect.py" <<'PY'
from fsutil import *

def ask(*words):
    done = subprocess.run([os.environ["CTL"], "layer", *words], stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout

def status(target):
    code, text = ask("status", "--json", target)
    equal(code, 0)
    report = json.loads(text)
    return report, {row["path"]: row for row in report["files"]}

def diff(target, code=1, *words):
    got, text = ask("diff", "--json", *words, target)
    equal(got, code)
    report = json.loads(text)
    return report, {row["path"]: row for row in report["changes"]}

def expect_all(target):
    report, files = status(target)
    equal(report["backing"], os.path.realpath(BACKING))
    equal(report["totals"], {"files": 4, "pages": 1003, "bytes": 1003 * 4096, "base_changes": 0})
    equal(files["big"], {"path": "big", "new": False, "size": 64 << 20, "pages": 1000, "bytes": 1000 * 4096,
                         "base": "same"})
    equal(files["new"]["base"], None)
    equal(files["numbers"]["pages"], 1)
    report, changes = diff(target)
    equal({path: row["change"] for path, row in changes.items()},
          {"big": "changed", "dir": "removed", "gone": "removed", "moved": "added", "moved/sub/deep": "changed",
           "new": "added", "new2": "added", "numbers": "changed", "old": "removed", "renamed": "added",
           "replaced": "replaced", "sym": "added", "text": "changed", "?\1": "added"})
    equal(report["totals"], {"added": 6, "removed": 3, "replaced": 1, "changed": 4,
                             "bytes": 1000 * 4096 + 2 * 6 + 4 + 4096 + 5905})
    equal(changes["big"]["ranges"], [[page * 4096, 4096] for page in range(0, 2000, 2)])
    equal(changes["numbers"]["ranges"], [[49152, 4096], [90001, 5905]])
    equal((changes["numbers"]["old_size"], changes["numbers"]["size"]), (108894, 95906))
    equal(sorted(changes["text"]["attributes"]), ["mode", "owner", "xattrs"])
    equal(changes["moved"]["from"], "dir")
    equal(changes["moved/sub/deep"]["attributes"], ["mode"])
    equal(changes["renamed"]["from"], "old")
    equal((changes["sym"]["type"], changes["moved"]["type"]), ("symlink", "directory"))
    equal(diff(target, 1, "--stat")[1]["big"].get("ranges"), None)
    code, text = ask("diff", target)
    equal(code, 1)
    equal("M file      numbers  content,mtime\n    49152+4096\n" in text, True, text)
    equal("A directory moved  from dir\n" in text and "\n    8192+4096\n" in text, True, text)
    code, text = ask("diff", "--stat", target)
    equal("M file      big  content,mtime  3.9 MiB of 64.0 MiB\n" in text, True, text)
    equal("6 added, 3 removed, 1 replaced, 4 changed; " in text, True, text)
    code, text = ask("status", target)
    equal(" 1000   3.9 MiB  64.0 MiB  same     big\n" in text, True, text)
    equal("4 files, 1003 pages, 3.9 MiB; changed in BACKING meanwhile: 0\n" in text, True, text)
PY

change_everything() {
	py <<'PY'
from expect import *
equal(status(MNT)[0]["files"], [])
equal(diff(MNT, 0)[0], {"totals": {"added": 0, "removed": 0, "replaced": 0, "changed": 0, "bytes": 0},
                        "changes": []})
fd = os.open(MNT + "/numbers", os.O_RDWR)
os.pwrite(fd, b"changed", 50000)
os.ftruncate(fd, 90001)
os.ftruncate(fd, 95906)
os.close(fd)
fd = os.open(MNT + "/big", os.O_RDWR)
for page in range(0, 2000, 2):
    os.pwrite(fd, b"x", page * 4096)
os.close(fd)
write_file(MNT + "/new", b"longer")
os.link(MNT + "/new", MNT + "/new2")
write_file(MNT + "/temporary", b"new\n")
os.rename(MNT + "/temporary", MNT + "/replaced")
os.rename(MNT + "/dir", MNT + "/moved")
os.chmod(MNT + "/moved/sub/deep", 0o600)
os.rename(MNT + "/old", MNT + "/renamed")
os.unlink(MNT + "/gone/x")
os.rmdir(MNT + "/gone")
os.symlink("target", MNT + "/sym")
os.chmod(MNT + "/text", 0o4711)
os.chown(MNT + "/text", 12, 34)
os.chmod(MNT + "/text", 0o4711)
os.setxattr(MNT + "/text", "user.a", b"b")
os.mkdir(os.fsencode(MNT) + b"/\xff\n")
os.rmdir(os.fsencode(MNT) + b"/\xff\n")
os.mkdir(os.fsencode(MNT) + b"/\xff\x01")
PY
}
export PYTHONPATH=$PYTHONPATH:$WORK

for kind in memory kept; do
	new_backing
	fill_backing
	LAYER=$WORK/layer.$kind
	export LAYER
	options=mode=cow
	if [ "$kind" = kept ]; then options=mode=cow,layer=$LAYER; fi
	mnt=$(mktemp -d "$WORK/mnt.XXXXXX")
	start_mount_at "$BACKING" "$mnt" "$options"
	check "$kind: every change is made" change_everything
	check "$kind: status and diff tell of it, asked by any path on the mount" py <<'PY'
from expect import *
expect_all(MNT)
expect_all(MNT + "/moved/sub/deep")
PY
	if [ "$kind" = kept ]; then
		check 'a kept layer in use is refused, and says by whom' bash -c '
			! "$CTL" layer status "$LAYER" 2>"$WORK/said" &&
				grep -q "layer .$LAYER. is in use by process $DAEMON, mounted on .$MNT." "$WORK/said"'
	fi
	check "$kind: they are for root and who mounted" bash -c '
		! setpriv --reuid=12 --regid=12 --clear-groups "$CTL" layer diff "$MNT" 2>"$WORK/said" &&
			grep -q "is for root and the user who mounted" "$WORK/said"'
	check "$kind: what happens to files in BACKING is told, and no private byte is lost" py <<'PY'
from expect import *
before = {name: read_file(MNT + "/" + name) for name in ("numbers", "big")}
for name in ("cut", "rewritten", "swapped", "deleted", "same", "modes"):
    write_file(BACKING + "/" + name, b"o" * 40960)
    fd = os.open(MNT + "/" + name, os.O_RDWR)
    os.pwrite(fd, b"p" * 4096, 20480)
    os.close(fd)
os.chmod(MNT + "/modes", 0o600)
os.truncate(BACKING + "/cut", 10)
fd = os.open(BACKING + "/rewritten", os.O_RDWR)
info = os.stat(BACKING + "/rewritten")
os.pwrite(fd, b"x" * 4096, 0)
os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))
write_file(BACKING + "/other", b"q" * 40960)
os.rename(BACKING + "/other", BACKING + "/swapped")
os.unlink(BACKING + "/deleted")
report, files = status(MNT)
equal({name: files[name]["base"] for name in ("cut", "rewritten", "swapped", "deleted", "same", "modes")},
      {"cut": "changed", "rewritten": "changed", "swapped": "replaced", "deleted": "gone", "same": "same",
       "modes": "same"})
equal(report["totals"]["base_changes"], 4)
for name in ("cut", "rewritten", "swapped", "deleted", "same"):
    for i in range(3):
        equal(read_file(MNT + "/" + name)[20480:24576], b"p" * 4096)
        os.stat(MNT + "/" + name)
for name, content in before.items():
    equal(read_file(MNT + "/" + name), content)
for name in ("cut", "rewritten", "swapped", "deleted", "same", "modes"):
    os.unlink(MNT + "/" + name)
    if os.path.exists(BACKING + "/" + name):
        os.unlink(BACKING + "/" + name)
PY
	check "$kind: the log says so once for each" bash -c '
		for name in cut rewritten swapped deleted; do
			test "$(grep -c "/$name. was .* in BACKING since the layer has pages of it" "$1")" -eq 1 ||
				{ cat "$1"; exit 1; }
		done
		! grep -q "/same\|/modes" "$1"' sh "${stderr_files[-1]}"
	stop_mount
done

check 'a kept layer that nobody has mounted tells the same' py <<'PY'
from expect import *
expect_all(os.environ["LAYER"])
equal(status(os.environ["LAYER"])[0]["directory"], os.environ["LAYER"])
os.utime(BACKING + "/big")
equal(status(os.environ["LAYER"])[1]["big"]["base"], "changed")
PY

check 'a damaged note of a commit is refused by name, and leads nowhere' py <<'PY'
from expect import *
import sqlite3
layer = os.environ["LAYER"]
def note(value):
    db = sqlite3.connect(layer + "/layer.db")
    db.execute("INSERT OR REPLACE INTO facts(name,value) VALUES('commit',?)", (value,))
    db.commit()
    db.close()
for value in (b"numbers\0", b".memmapfs-commit-../numbers\0", b".memmapfs-commit-\0", b".memmapfs-commit-00",
              b".memmapfs-commit-" + b"0" * 50 + b"\0"):
    note(value)
    for words in (["status", layer], ["commit", layer]):
        done = subprocess.run([os.environ["CTL"], "layer", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        equal(done.returncode, 1, value)
        equal("layer '%s': its note of a commit is damaged" % layer in done.stdout, True, done.stdout)
note(b"")
equal(status(layer)[0]["interrupted"], False)
PY

check 'one of format 1 is brought up to date, and says that it does not know' py <<'PY'
from expect import *
import sqlite3
layer = os.environ["LAYER"]
db = sqlite3.connect(layer + "/layer.db")
for index in ("names", "whiteouts", "covers"):
    db.execute("DROP INDEX " + index)
for table, names in (("nodes", "before_size before_mtime before_mtime_ns before_ctime before_ctime_ns"),
                     ("entries", "removed_ino removed_birth removed_size removed_mtime removed_mtime_ns")):
    for name in names.split():
        db.execute("ALTER TABLE %s DROP COLUMN %s" % (table, name))
db.execute("PRAGMA user_version=1")
db.commit()
db.close()
report, files = status(layer)
equal({files[name]["base"] for name in ("big", "numbers")}, {"unknown"})
equal(len(diff(layer)[1]), 14)
db = sqlite3.connect(layer + "/layer.db")
equal(db.execute("PRAGMA user_version").fetchone()[0], 2)
PY

check 'what is no layer is refused by name' bash -ec '
	refused() {
		if "$CTL" layer "${@:2}" 2>"$WORK/said"; then exit 1; fi
		grep -q "$1" "$WORK/said" || { cat "$WORK/said"; exit 1; }
	}
	refused "neither on a mount of memmapfs-fuse nor the directory of a layer" status "$BACKING"
	refused "No such file" diff "$BACKING/none"
	refused "neither on a mount" diff "$BACKING/text"
	refused "too few words" status
	refused "unknown option" diff --all "$LAYER"
	cp -r "$LAYER" "$WORK/later"
	sqlite3 "$WORK/later/layer.db" "PRAGMA user_version=9"
	refused "has format 9, and this program knows format 2" status "$WORK/later"
	mv "$BACKING" "$BACKING.away"
	refused "cannot open BACKING .$BACKING.: No such file" status "$LAYER"
	mv "$BACKING.away" "$BACKING"'

start_mount mode=rw
check 'a mount without a layer says so' bash -ec '
	if "$CTL" layer status "$MNT" 2>"$WORK/said"; then exit 1; fi
	grep -q "the mount has no layer" "$WORK/said"'
