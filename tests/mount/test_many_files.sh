#!/bin/bash
# SPDX-License-Identifier: MIT
# Walks over many more files than the daemon has descriptors.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

FILES=20000
if short; then
	FILES=5000
fi
export FILES

user_mounts=1
user_mounts_work || user_mounts=0

new_backing
py <<'PY'
for n in range(int(os.environ["FILES"])):
    if n % 100 == 0:
        directory = "%s/%03d" % (BACKING, n // 100)
        os.mkdir(directory)
    with open("%s/%05d" % (directory, n), "wb") as file:
        file.write(b"content of %05d" % n)
PY
chown -R nobody: "$BACKING"

walks() {
	check "$1: all of $FILES files are found, and stay what they are while others are walked" py <<'PY'
held = open(MNT + "/000/00000", "r+b", buffering=0)
held_directory = os.open(MNT + "/001", os.O_RDONLY)
os.chdir(MNT + "/002")
first = {}
for top, directories, files in os.walk(MNT):
    for name in files:
        first[name] = os.lstat(top + "/" + name).st_ino
equal(len(first), int(os.environ["FILES"]), "files found")
equal(len(set(first.values())), len(first), "inode numbers are distinct")
for n in range(0, int(os.environ["FILES"]), 37):
    equal(read_file("%s/%03d/%05d" % (MNT, n // 100, n)), b"content of %05d" % n)
second = {}
for top, directories, files in os.walk(MNT):
    for name in files:
        second[name] = os.lstat(top + "/" + name).st_ino
equal(first == second, True, "inode numbers are the same in the second walk")
# What is in use was not dropped.
equal(os.pread(held.fileno(), 100, 0), b"content of 00000")
equal(os.pwrite(held.fileno(), b"CONTENT", 0), 7)
equal(len(os.listdir(held_directory)), 100)
equal(os.stat("00200").st_size, 16)
equal(read_file(BACKING + "/000/00000"), b"CONTENT of 00000")
os.pwrite(held.fileno(), b"content", 0)
equal(os.path.exists("/proc/%s/fd" % os.environ["DAEMON"]), True)
descriptors = len(os.listdir("/proc/%s/fd" % os.environ["DAEMON"]))
equal(descriptors < 1024, True, "descriptors: %d" % descriptors)
PY

	check "$1: four walkers at a time find all" py <<'PY'
def walker(me):
    me.say(subprocess.check_output("find %s -type f -size -2 | wc -l" % MNT, shell=True, text=True).strip())
children = [Process(walker) for n in range(4)]
for child in children:
    equal(child.hear(60), os.environ["FILES"])
    child.kill()
PY
}

forgets() {
	local before after
	before=$(statistic inodes)
	[ "$before" -gt 100 ]
	find "$MNT" -type f -exec rm -f {} +
	after=$(statistic inodes)
	[ "$after" -lt $((before / 10 + 300)) ] || {
		echo "inodes known before and after the files were removed: $before, $after"
		return 1
	}
}

backing=$BACKING
mkdir "$WORK/many"
LAUNCH=(prlimit --nofile=1024:1024)
start_mount_at "$backing" "$WORK/many" sync=periodic
walks 'as root, 1,024 descriptors'
stop_mount

LAUNCH=(prlimit --nofile=1024:1024 setpriv --reuid=nobody --regid=nogroup --clear-groups)
if [ "$user_mounts" = 1 ]; then
	mkdir "$WORK/ordinary"
	chown nobody: "$WORK/ordinary"
	ORDINARY_USER=1 start_mount_at "$backing" "$WORK/ordinary" sync=periodic
	as_nobody_walks() {
		py <<'PY'
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
held = open(MNT + "/000/00000", "r+b", buffering=0)
os.chdir(MNT + "/002")
for attempt in range(2):
    found = sum(len(files) for top, directories, files in os.walk(MNT))
    equal(found, int(os.environ["FILES"]), "files found")
    count = 0
    for top, directories, files in os.walk(MNT):
        for name in files:
            equal(os.lstat(top + "/" + name).st_size, 16)
            count += 1
for n in range(0, int(os.environ["FILES"]), 37):
    equal(read_file("%s/%03d/%05d" % (MNT, n // 100, n)), b"content of %05d" % n)
equal(os.pread(held.fileno(), 100, 0), b"content of 00000")
equal(os.stat("00200").st_size, 16)
PY
	}
	check "as an ordinary user, 1,024 descriptors: all of $FILES files are found and read" as_nobody_walks
	stop_mount
else
	skip_check 'the same as an ordinary user' "$USER_MOUNTS_ERROR"
fi

LAUNCH=()
start_mount_at "$backing" "$WORK/many" sync=periodic
find "$MNT" -type f -size -2 >/dev/null
check 'inodes of removed files are given up' forgets
