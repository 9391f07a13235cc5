#!/bin/bash
# SPDX-License-Identifier: MIT
# rules=: which files a rule is for, what it changes, how it is reread, and who may command what.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

new_backing
RULES=$WORK/rules
export RULES
cat >"$RULES" <<'RULES'
# what the tests below rely on
*.db          advise=random cache=none
/models/**    mlock
*.log         advise=sequential idle=1h:pageout
/models/*.log advise=normal
RULES
start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" "rules=$RULES,log_level=info"
expect_stderr "'$RULES': [0-9]+ rules are in force"
expect_stderr "$RULES:[0-9]+:[0-9]+: .*; the rules stay as they were"
expect_stderr 'SIGHUP'

check 'the last rule that matches wins, option by option, and is named' py <<'PY'
os.mkdir(MNT + "/models")
for name in ("a.db", "models/x.log", "models/big", "other"):
    write_file(MNT + "/" + name, b"x" * PAGE)
    read_file(MNT + "/" + name)
def policy(name):
    told = json.loads(os.getxattr(MNT + "/" + name, "user.memmapfs.file"))
    return [told["policy"][option] for option in ("advise", "cache", "mlock", "idle")] + [told["rule"]]
rules = os.environ["RULES"]
equal(policy("a.db"), ["random", "none", "off", "0", rules + ":2"])
equal(policy("models/x.log"), ["normal", "auto", "on", "1h:pageout", rules + ":5"])
equal(policy("models/big"), ["normal", "auto", "on", "0", rules + ":3"])
equal(policy("other"), ["normal", "auto", "off", "0", "mount options"])
explained = json.loads(os.getxattr(MNT + "/models/x.log", "user.memmapfs.explain"))
equal(explained["path"], "models/x.log")
equal([explained["policy"][option]["from"] for option in ("advise", "mlock", "idle", "window_size")],
      [rules + ":5", rules + ":3", rules + ":4", "mount options"])
equal(os.getxattr(MNT + "/a.db", "user.memmapfs.advice"), b"random")
PY

check 'a rule changes what is done with the file' py <<'PY'
write_file(MNT + "/models/locked", b"x" * (MIB + 1))
read_file(MNT + "/models/locked")
wait_until(5, lambda: json.loads(os.getxattr(MNT + "/models/locked", "user.memmapfs.file"))["locked"] == MIB + PAGE)
write_file(MNT + "/none.db", b"x" * 10)
with open(MNT + "/none.db", "rb") as file:
    equal(file.read(), b"x" * 10)
    write_file(BACKING + "/none.db", b"y" * 10)
    equal(os.pread(file.fileno(), 10, 0), b"y" * 10, "cache=none: seen at once")
PY

check 'SIGHUP rereads the rules, for files that are open as well' py <<'PY'
def told(name):
    return json.loads(os.getxattr(MNT + "/" + name, "user.memmapfs.file"))
with open(MNT + "/models/locked", "rb") as file:
    file.read(1)
    equal(told("models/locked")["locked"], MIB + PAGE)
    write_file(os.environ["RULES"], b"/models/locked advise=random\n*.db mlock\n")
    os.kill(int(os.environ["DAEMON"]), signal.SIGHUP)
    wait_until(5, lambda: told("models/locked")["policy"]["advise"] == "random")
    equal(told("models/locked")["locked"], 0)
    equal(told("models/locked")["rule"], os.environ["RULES"] + ":1")
    wait_until(5, lambda: told("a.db")["policy"]["mlock"] == "on")
    wait_until(5, lambda: told("a.db")["locked"] == PAGE)
PY

check 'a bad file is refused whole and the old rules stay' py <<'PY'
write_file(os.environ["RULES"], b"*.db advise=sequential\n  * advize=normal\n")
os.kill(int(os.environ["DAEMON"]), signal.SIGHUP)
time.sleep(0.5)
said = read_file(WORK + "/stderr.0").decode()
equal(os.environ["RULES"] + ":2:5: unknown option 'advize': did you mean 'advise'?" in said, True, said)
told = json.loads(os.getxattr(MNT + "/a.db", "user.memmapfs.file"))
equal([told["policy"]["advise"], told["policy"]["mlock"]], ["normal", "on"])
PY

check 'a file that was renamed follows the rules of its new name when it is opened' py <<'PY'
write_file(os.environ["RULES"], b"*.db advise=random\n")
os.kill(int(os.environ["DAEMON"]), signal.SIGHUP)
wait_until(5, lambda: os.getxattr(MNT + "/a.db", "user.memmapfs.advice") == b"random")
os.rename(MNT + "/a.db", MNT + "/a.txt")
read_file(MNT + "/a.txt")
equal(json.loads(os.getxattr(MNT + "/a.txt", "user.memmapfs.file"))["policy"]["advise"], "normal")
os.rename(MNT + "/a.txt", MNT + "/a.db")
with open(MNT + "/a.db", "rb"):
    equal(json.loads(os.getxattr(MNT + "/a.db", "user.memmapfs.file"))["policy"]["advise"], "random")
    os.unlink(MNT + "/a.db")
PY

check 'who may write a file may hint; its owner and root may lock, evict and reset' py <<'PY'
write_file(MNT + "/shared", b"x" * PAGE)
os.chmod(MNT + "/shared", 0o666)
def try_it(name, value=b"now"):
    return as_user(12345, lambda: outcome(os.setxattr, MNT + "/shared", "user.memmapfs." + name, value))
equal([try_it("advice", b"random"), try_it("preload"), try_it("sync")], [None] * 3)
equal([try_it("lock"), try_it("unlock"), try_it("evict")], ["EPERM"] * 3)
os.chown(MNT + "/shared", 12345, 12345)
equal([try_it("lock"), try_it("unlock"), try_it("evict")], [None] * 3)
os.chmod(MNT + "/shared", 0o444)
os.chown(MNT + "/shared", 0, 0)
equal(try_it("advice", b"random"), "EACCES")
PY

check 'values that make no sense are refused' py <<'PY'
write_file(MNT + "/file", b"x" * 10000)
def say(name, value, path="/file"):
    return outcome(os.setxattr, MNT + path, "user.memmapfs." + name, value)
for value in (b"", b"x", b"Random", b"random:1", b"random:0:0", b"random:0:10001", b"random:10000:1", b"normal:-1:1",
              b"random:18446744073709551615:2", b"random\0", b"random:0:1\0", b"x" * 60000):
    equal(say("advice", value), "EINVAL", value[:30])
for value in (b"free", b"remove", b"free:0:1"):
    equal(say("advice", value), "EPERM", value)
for value in (b"random:0:10000", b"cold:1:9999", b"dontneed:4095:2"):
    equal(say("advice", value), None, value)
equal(read_file(BACKING + "/file"), b"x" * 10000)
for name in ("sync", "preload", "lock", "unlock", "evict"):
    equal(say(name, b"then"), "EINVAL", name)
    equal(say(name, b"now:0:10001"), "EINVAL", name)
equal(say("file", b"now"), "EPERM")
equal(say("advice", b"random", "/models"), "ENOTSUP")
equal(say("sync", b"now:0:1", ""), "EINVAL")
equal(say("sync", b"now", ""), None)
equal(outcome(os.getxattr, MNT + "/file", "user.memmapfs.evict"), "ENODATA")
write_file(MNT + "/empty", b"")
for name, value in (("advice", b"random"), ("advice", b"hugepage"), ("preload", b"now"), ("lock", b"now"),
                    ("evict", b"now"), ("sync", b"now")):
    equal(say(name, value, "/empty"), None, name)
PY

check 'sync=now hands over what was stored through a mapping of the mount' py <<'PY'
fd = os.open(MNT + "/mapped", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, PAGE)
view = mmap.mmap(fd, PAGE)
view[0:5] = b"hello"
os.setxattr(MNT + "/mapped", "user.memmapfs.sync", b"now")
equal(read_file(BACKING + "/mapped")[:5], b"hello")
view[0:5] = b"world"
os.setxattr(MNT, "user.memmapfs.sync", b"now")
equal(read_file(BACKING + "/mapped")[:5], b"world")
view.close()
os.close(fd)
PY

no_such_rules() {
	says "cannot read rules '$WORK/nowhere': No such file or directory" \
		"$MEMMAPFS_BIN" -f "$BACKING" "$MNT" -o "rules=$WORK/nowhere"
	status=0
	"$MEMMAPFS_BIN" -f "$BACKING" "$MNT" -o "rules=$WORK/nowhere" 2>/dev/null || status=$?
	same 'exit status' 1 "$status"
	printf '*.db mlock\n*.log adviSe=random\n' >"$WORK/bad"
	says "$WORK/bad:2:7: unknown option 'adviSe': did you mean 'advise'" \
		"$MEMMAPFS_BIN" "$BACKING" "$MNT" -o "rules=$WORK/bad"
}
check 'rules that cannot be read or parsed end the start with status 1' no_such_rules
