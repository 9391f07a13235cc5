#!/bin/bash
# SPDX-License-Identifier: MIT
# memmapfsctl layer discard and checkpoint, killed with SIGKILL at random moments, the daemon or the command: the layer
# is as it was or as it should be then, and the command repeated comes to its end. Commits are in test_layer_commit.sh.
# LAYER_KILL_ROUNDS, LAYER_KILL_SEED: see scripts/layer-kill
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

export CTL=${MEMMAPFS_BIN%/*}/memmapfsctl LAYERS=$WORK/layers rounds=${LAYER_KILL_ROUNDS:-4}
CHECK_TIMEOUT=$((60 + rounds * 5))
new_backing
mkdir "$LAYERS"

cat >"$WORK/killing.py" <<'PY'
"""Layers that are killed."""
from fsutil import *
import hashlib

GIVEN, TOP, POINT = (os.environ["LAYERS"] + "/" + name for name in ("given", "top", "point"))
AT = WORK + "/killed"
rng = random.Random(int(os.environ.get("LAYER_KILL_SEED", "0")) or None)


def tree(root):
    """Everything but change times: discarding is a change."""
    rows = {}
    for folder, names, files in os.walk(root):
        for path in [folder] + [os.path.join(folder, name) for name in names + files]:
            info = os.lstat(path)
            content = hashlib.sha256(read_file(path)).hexdigest() if stat.S_ISREG(info.st_mode) else ""
            rows[path[len(root):]] = (info.st_ino, oct(info.st_mode), info.st_nlink, info.st_uid, info.st_size,
                                      info.st_mtime_ns, content, sorted(os.listxattr(path)))
    return rows


def same(one, other, what):
    for path in sorted(set(one) | set(other)):
        equal(other.get(path), one.get(path), "%s: %s" % (what, path))


def ctl(*words):
    return subprocess.run([os.environ["CTL"], "layer", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)


def mount():
    daemon = subprocess.Popen([os.environ["MEMMAPFS_BIN"], "-f", "-o", "log_level=error,mode=cow,layer=" + TOP,
                               BACKING, AT], stderr=subprocess.DEVNULL)
    wait_until(10, lambda: os.path.ismount(AT) or daemon.poll() is not None)
    equal(daemon.poll(), None, "the layer opens")
    return daemon


def view():
    """What the next mount shows."""
    daemon = mount()
    seen = tree(AT)
    subprocess.check_call(["umount", AT])
    equal(daemon.wait(20), 0)
    return seen


def kill(command, longest):
    """A fresh copy of the layer; @command gets its mount or its directory, and is killed in the middle."""
    subprocess.check_call("rm -rf '%s' '%s'; cp -a '%s' '%s'" % (TOP, POINT, GIVEN, TOP), shell=True)
    daemon = mount() if rng.random() < 0.5 else None
    done = subprocess.Popen([os.environ["CTL"], "layer", *command(AT if daemon else TOP)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=KILLED_ENVIRON)
    time.sleep(rng.random() * longest)
    (daemon or done).kill()
    if daemon:
        # By force: a thread that waits for its own mount goes only with the connection.
        subprocess.check_call(["umount", "-f", "-l", AT])
        daemon.wait(20)
    done.wait(20)
PY
export PYTHONPATH=$PYTHONPATH:$WORK

check 'BACKING has files' py <<'PY'
for number in range(200):
    write_file(BACKING + "/%d" % number, b"given %d\n" % number * 1000)
os.mkdir(BACKING + "/dir")
for number in range(50):
    write_file(BACKING + "/dir/%d" % number, b"given\n")
PY
mnt=$(mktemp -d "$WORK/mnt.XXXXXX")
start_mount_at "$BACKING" "$mnt" "mode=cow,layer=$LAYERS/given"
check 'and a layer over it changes of every kind' py <<'PY'
for number in range(200):
    fd = os.open(MNT + "/%d" % number, os.O_WRONLY)
    os.pwrite(fd, b"changed %d" % number, 5000)
    os.close(fd)
    os.chmod(MNT + "/%d" % number, 0o601)
for number in range(0, 50, 2):
    os.rename(MNT + "/dir/%d" % number, MNT + "/dir/%d.moved" % number)
    os.unlink(MNT + "/dir/%d" % (number + 1))
    write_file(MNT + "/dir/made%d" % number, b"made" * 3000)
    os.setxattr(MNT + "/dir/made%d" % number, "user.a", b"b")
PY
stop_mount
mkdir "$WORK/killed"

check "a discard is killed, $rounds times: all of what it was asked for is thrown away, or nothing" py <<'PY'
from killing import *
subprocess.check_call(["cp", "-a", GIVEN, TOP])
seen, backing = view(), tree(BACKING)
ended = 0
for number in range(int(os.environ["rounds"])):
    paths = rng.choice([[], ["%d" % one for one in range(200)], ["dir"]])
    if paths == ["dir"]:
        wanted = {path: row for path, row in seen.items() if not (path + "/").startswith("/dir/")}
        wanted.update({path: row for path, row in backing.items() if (path + "/").startswith("/dir/")})
    elif paths:
        wanted = dict(seen, **{"/" + path: backing["/" + path] for path in paths})
    else:
        wanted = backing
    kill(lambda target: ["discard", target, *paths], 0.03)
    now = view()
    ended += now != seen
    if now != seen:
        same(wanted, now, "round %d, discard %s" % (number, paths[:1]))
    done = ctl("discard", TOP, *paths)
    equal(done.returncode, 0, done.stdout)
    same(wanted, view(), "round %d, discard %s again" % (number, paths[:1]))
print("%d of the discards had ended" % ended)
PY

check "a checkpoint is killed, $rounds times: the layer shows the same before, between and after" py <<'PY'
from killing import *
subprocess.check_call("rm -rf '%s'; cp -a '%s' '%s'" % (TOP, GIVEN, TOP), shell=True)
seen, ended = view(), 0
for number in range(int(os.environ["rounds"])):
    kill(lambda target: ["checkpoint", target, POINT], 0.06)
    same(seen, view(), "round %d" % number)
    done = ctl("checkpoint", TOP, POINT)
    # If it had been made, it is what the layer lies over now.
    ended += done.returncode != 0
    equal(done.returncode == 0 or "which reads it for" in done.stdout, True, done.stdout)
    equal(json.loads(ctl("diff", "--json", TOP).stdout)["changes"], [])
    same(seen, view(), "round %d, again" % number)
print("%d of the checkpoints had ended" % ended)
PY
