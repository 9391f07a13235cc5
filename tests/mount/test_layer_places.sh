#!/bin/bash
# SPDX-License-Identifier: MIT
# What a commit does with places in BACKING that are not what they were: names of others, links, directories that have gone.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

CTL=$(dirname "$MEMMAPFS_BIN")/memmapfsctl
export CTL
expect_stderr 'was (changed|removed) in BACKING since the layer has pages of it'

cat >"$WORK/places.py" <<'PY'
from fsutil import *

def commit(*paths):
    subprocess.check_call([os.environ["CTL"], "layer", "commit", MNT, *paths], stdout=subprocess.DEVNULL)

def changes():
    text = subprocess.check_output([os.environ["CTL"], "layer", "diff", "--json", MNT])
    return {row["path"]: row["change"] for row in json.loads(text)["changes"]}
PY

new_backing
mkdir -p "$BACKING/above/dir" "$BACKING/gone" "$BACKING/tree" "$BACKING/turned/within"
echo one >"$BACKING/one"
ln "$BACKING/one" "$BACKING/other"
echo two >"$BACKING/two"
ln "$BACKING/two" "$BACKING/tree/two"
mkdir "$WORK/mnt"
LAYER=$WORK/layer
start_mount_at "$BACKING" "$WORK/mnt" "mode=cow,layer=$LAYER"

check 'what a path lies in stays where it is, and with it what somebody else has put there' py <<'PY'
from places import *
os.rename(MNT + "/above", MNT + "/elsewhere")
write_file(MNT + "/elsewhere/dir/new", b"new")
write_file(BACKING + "/elsewhere", b"theirs")
commit("elsewhere/dir/new")
equal(read_file(BACKING + "/elsewhere"), b"theirs")
equal(read_file(BACKING + "/above/dir/new"), b"new")
os.unlink(BACKING + "/elsewhere")
commit()
equal(read_file(BACKING + "/elsewhere/dir/new"), b"new")
equal(changes(), {})
PY

check 'one of several names is removed, and its directory, at once' py <<'PY'
from places import *
for name in ("other", "two"):
    with open(MNT + "/" + name, "ab") as file:
        file.write(b"more")
os.unlink(MNT + "/one")
os.unlink(MNT + "/tree/two")
os.rmdir(MNT + "/tree")
commit()
equal((os.path.exists(BACKING + "/one"), os.path.exists(BACKING + "/tree")), (False, False))
equal((read_file(BACKING + "/other"), read_file(BACKING + "/two")), (b"one\nmore", b"two\nmore"))
equal(changes(), {})
PY

check 'a directory that somebody has removed is made again for what is to be in it' py <<'PY'
from places import *
write_file(MNT + "/gone/new", b"new")
os.rmdir(BACKING + "/gone")
commit("--force", "gone/new")
equal(read_file(BACKING + "/gone/new"), b"new")
commit("--force")
equal(changes(), {})
PY

check 'directories that changed places, and are gone, are looked for and not found' py <<'PY'
from places import *
os.rename(MNT + "/turned/within", MNT + "/within")
os.rename(MNT + "/turned", MNT + "/within/turned")
subprocess.check_call(["rm", "-r", BACKING + "/turned"])
PY
stop_mount
start_mount_at "$BACKING" "$WORK/mnt" "mode=cow,layer=$LAYER"
check 'and the mount serves' py <<'PY'
from places import *
with contextlib.suppress(OSError):
    os.listdir(MNT + "/within/turned")
with contextlib.suppress(subprocess.CalledProcessError):
    commit("--force")
equal(read_file(MNT + "/two"), b"two\nmore")
PY
stop_mount
