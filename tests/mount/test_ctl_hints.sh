#!/bin/bash
# SPDX-License-Identifier: MIT
# memmapfsctl's commands that do something: what becomes of the pages in BACKING, who may ask, and read-only mounts.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ctl.sh"

# map_says KEY FILE: one of the sums of the picture
map_says() {
	ctl map --json "$2" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

# cold FILE...: written back, and out of the page cache
cold() {
	local file
	for file in "$@"; do
		sync "$file"
		dd if="$file" iflag=nocache count=0 status=none
	done
}

start_mount sync=periodic,sync_interval=1h
mkdir -p "$BACKING/tree/below"
for file in tree/one tree/below/two tree/below/three; do
	dd if=/dev/urandom of="$BACKING/$file" bs=1M count=2 status=none
	cold "$BACKING/$file"
done
: >"$BACKING/tree/empty"
SIZE=$((2 << 20))

preload_brings_whole_trees() {
	same 'resident before' 0 "$(map_says resident "$MNT/tree/one")"
	ctl preload "$MNT/tree"
	same resident $SIZE "$(map_says resident "$MNT/tree/one")"
	same resident $SIZE "$(map_says resident "$MNT/tree/below/three")"
	ctl preload --progress "$MNT/tree/one" "$MNT/tree/empty" 2>"$WORK/said"
	same 'said into a file' '' "$(cat "$WORK/said")"
}
check 'preload reads files and trees into memory' preload_brings_whole_trees

evict_drops_them_again() {
	ctl evict "$MNT/tree" >"$WORK/said"
	same said '' "$(cat "$WORK/said")"
	same resident 0 "$(map_says resident "$MNT/tree/one")"
	same resident 0 "$(map_says resident "$MNT/tree/below/two")"
	same bytes "$(sha1sum <"$BACKING/tree/one")" "$(sha1sum <"$MNT/tree/one")"
}
check 'evict drops the pages' evict_drops_them_again

evict_loses_no_written_byte() {
	echo written >"$MNT/tree/new"
	ctl evict "$MNT/tree/new"
	same content written "$(cat "$BACKING/tree/new")"
	same dirty 0 "$(map_says dirty "$MNT/tree/new")"
}
check 'evict writes back first' evict_loses_no_written_byte

what_others_map_stays_and_is_counted() {
	ctl preload "$MNT/tree/one"
	python3 - "$BACKING/tree/one" "$CTL" "$MNT/tree/one" <<'PY'
import mmap, subprocess, sys
with open(sys.argv[1], "rb") as f:
    with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        sum(m[i] for i in range(0, 1 << 20, 4096))
        said = subprocess.check_output([sys.argv[2], "evict", sys.argv[3]], text=True)
assert "of 1 files stayed" in said, said
PY
}
check 'pages that others map stay, and evict counts them' what_others_map_stays_and_is_counted

lock_keeps_pages() {
	ctl lock "$MNT/tree/one"
	same locked $SIZE "$(map_says locked "$MNT/tree/one")"
	ctl map "$MNT/tree/one" | grep -q '|LLLL'
	ctl top --sort=locked "$MNT" | sed -n 6p | grep -E '2\.0 MiB +[0-9]+ tree/one$'
	awk '/^VmLck/ { exit $2 < 2048 }' "/proc/$DAEMON/status"
	ctl unlock "$MNT/tree/one"
	same locked 0 "$(map_says locked "$MNT/tree/one")"
}
check 'lock keeps pages in memory, map and top show it, unlock undoes it' lock_keeps_pages

check 'locks outlive the last close and that the kernel forgets the file; unlock and evict end them' py <<'PY'
def locked():
    windows = statistics()["windows"]
    return windows["locked_files"], windows["locked"]
def of(name):
    return json.loads(os.getxattr(MNT + "/" + name, "user.memmapfs.file"))["locked"]
def names_of(name):
    return sorted(entry for entry in os.listdir(MNT) if entry.startswith(name))
equal(locked(), (0, 0))
equal(statistics()["windows"]["locked_files_max"] > 1000, True)
write_file(BACKING + "/stays", b"s" * 10 * PAGE)
os.setxattr(MNT + "/stays", "user.memmapfs.lock", b"now")
equal((of("stays"), locked()), (10 * PAGE, (1, 10 * PAGE)))
os.setxattr(MNT + "/stays", "user.memmapfs.lock", b"now:0:4K")
equal(locked(), (1, 10 * PAGE))
# The event has the kernel drop the name, and with it the inode, which nobody has open.
for turn in range(5):
    os.rename(BACKING + "/stays", BACKING + "/moved")
    wait_until(5, lambda: names_of("stays") == [] and not os.path.exists(MNT + "/stays"))
    equal(locked(), (1, 10 * PAGE))
    equal(of("moved"), 10 * PAGE)
    os.rename(BACKING + "/moved", BACKING + "/stays")
    wait_until(5, lambda: not os.path.exists(MNT + "/moved") and os.path.exists(MNT + "/stays"))
equal(of("stays"), 10 * PAGE)
os.setxattr(MNT + "/stays", "user.memmapfs.unlock", b"now:0:%d" % (2 * PAGE))
equal((of("stays"), locked()), (8 * PAGE, (1, 8 * PAGE)))
os.setxattr(MNT + "/stays", "user.memmapfs.unlock", b"now")
equal((of("stays"), locked()), (0, (0, 0)))
os.setxattr(MNT + "/stays", "user.memmapfs.lock", b"now:0:4K")
equal(locked(), (1, PAGE))
os.setxattr(MNT + "/stays", "user.memmapfs.evict", b"now")
equal(locked(), (0, 0))
PY

check 'locks go with the last name of a file that nobody has open' py <<'PY'
def locked():
    windows = statistics()["windows"]
    return windows["locked_files"], windows["locked"]
def lock(name):
    write_file(MNT + "/" + name, b"s" * 10 * PAGE)
    os.setxattr(MNT + "/" + name, "user.memmapfs.lock", b"now")
lock("gone")
os.link(MNT + "/gone", MNT + "/again")
os.unlink(MNT + "/gone")
equal(locked(), (1, 10 * PAGE))
os.unlink(MNT + "/again")
wait_until(1, lambda: locked() == (0, 0))
# In BACKING, when the kernel knows the file and when it does not.
lock("gone")
os.unlink(BACKING + "/gone")
wait_until(5, lambda: locked() == (0, 0))
lock("gone")
os.rename(BACKING + "/gone", BACKING + "/unseen")
wait_until(5, lambda: not os.path.exists(MNT + "/gone"))
equal(locked(), (1, 10 * PAGE))
os.unlink(BACKING + "/unseen")
wait_until(5, lambda: locked() == (0, 0))
lock("gone")
fd = os.open(MNT + "/gone", os.O_RDONLY)
os.unlink(MNT + "/gone")
time.sleep(2.5)
equal(locked(), (1, 10 * PAGE))
os.close(fd)
wait_until(5, lambda: locked() == (0, 0))
PY

check 'links and directories that are swapped in while a tree is walked lead nowhere' py <<'PY'
CTL = os.environ["CTL"]
NAMES = 24
def swap(ours, theirs):
    """As fast as can be, until this process is killed."""
    while True:
        for number in range(NAMES):
            renameat2("%s/%d" % (ours, number), "%s/%d" % (theirs, number), RENAME_EXCHANGE)
def ctl(*words):
    subprocess.run([CTL, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
def of(name, key="locked"):
    return json.loads(os.getxattr(MNT + "/" + name, "user.memmapfs.file"))[key]
for directory in ("raced", "links", "secret", "secret/below"):
    os.mkdir(BACKING + "/" + directory)
for name in ("secret/file", "secret/below/file"):
    write_file(BACKING + "/" + name, b"s" * PAGE)
for number in range(NAMES):
    ours, link = BACKING + "/raced/%d" % number, BACKING + "/links/%d" % number
    if number % 2:
        write_file(ours, b"o" * PAGE)
        os.symlink(MNT + "/secret/file", link)
    else:
        os.mkdir(ours)
        write_file(ours + "/file", b"o" * PAGE)
        os.symlink(MNT + "/secret/below", link)
swapper = os.fork()
if swapper == 0:
    swap(MNT + "/raced", MNT + "/links")
try:
    end = time.monotonic() + 3
    while time.monotonic() < end:
        ctl("lock", MNT + "/raced")
        equal([of("secret/file"), of("secret/below/file")], [0, 0])
        ctl("unlock", MNT + "/raced")
    ctl("preload", MNT + "/raced")
    for name in ("secret/file", "secret/below/file"):
        equal(of(name, "windows"), 0, name)
finally:
    os.kill(swapper, signal.SIGKILL)
    os.waitpid(swapper, 0)
ctl("lock", MNT + "/raced", MNT + "/links")
equal(statistics()["windows"]["locked"], NAMES * PAGE)
ctl("unlock", MNT + "/raced", MNT + "/links")
equal(statistics()["windows"]["locked"], 0)
PY

links_below_are_left_alone_and_told_of_in_order() {
	local tree=$BACKING/walked
	mkdir -p "$tree/a/deep" "$tree/a.b" "$tree/c"
	echo x | tee "$tree/a/deep/one" "$tree/a.b/two" "$tree/b" "$tree/c/three" >/dev/null
	ln -s "$MNT/tree" "$tree/link"
	ln -s "$MNT/tree/one" "$tree/a/link"
	mkfifo "$tree/pipe"
	chmod 644 "$tree"/*/*/* "$tree"/a.b/* "$tree/b" "$tree/c/three"
	exits 1 as 65534 "$CTL" lock "$MNT/walked" 2>"$WORK/said"
	same 'the order' "a/deep/one a.b/two b c/three" \
		"$(sed "s|.*lock '$MNT/walked/\([^']*\)'.*|\1|" "$WORK/said" | paste -sd ' ')"
	# A link that the user names is followed.
	exits 1 as 65534 "$CTL" lock "$MNT/walked/a/link" 2>"$WORK/said"
	grep -q "walked/a/link': 'lock' is for the owner and root" "$WORK/said"
	rm -r "$tree"
}
check 'a tree is walked in the order of its names, without its links' links_below_are_left_alone_and_told_of_in_order

advice_is_taken_or_refused_with_a_reason() {
	ctl advise random "$MNT/tree/one" "$MNT/tree/below/two"
	same advice random "$(getfattr --absolute-names --only-values -n user.memmapfs.advice "$MNT/tree/one")"
	ctl advise willneed:4096:8192 "$MNT/tree/one"
	ctl advise normal "$MNT/tree/one"
	says 'destroy|data' ctl advise free "$MNT/tree/one"
	says "advice '$MNT/tree/one'" ctl advise nonsense "$MNT/tree/one"
	says 'outside of the file' ctl advise willneed:0:1G "$MNT/tree/one"
}
check 'advise gives hints, and says why one is refused' advice_is_taken_or_refused_with_a_reason

sync_reaches_the_disk() {
	echo first >"$MNT/tree/new"
	echo second >"$MNT/tree/other"
	statistic_above sync.dirty_bytes 0
	ctl sync "$MNT/tree/new"
	same dirty 0 "$(map_says dirty "$MNT/tree/new")"
	ctl sync "$MNT"
	same 'dirty bytes' 0 "$(statistic sync.dirty_bytes)"
	says 'neither a file nor a mount point' ctl sync "$MNT/tree"
}
check 'sync syncs a file, or the mount, at once' sync_reaches_the_disk

holes_are_not_read() {
	truncate -s 8T "$BACKING/tree/sparse"
	printf data | dd of="$BACKING/tree/sparse" bs=1M seek=1M conv=notrunc status=none
	timeout 10 "$CTL" preload "$MNT/tree/sparse"
	timeout 10 "$CTL" map "$MNT/tree/sparse" | grep -q '^8.0 TiB'
	between resident 4096 $((64 << 20)) "$(map_says resident "$MNT/tree/sparse")"
	ctl evict "$MNT/tree/sparse"
	timeout 10 setfattr -n user.memmapfs.preload -v now "$MNT/tree/sparse"
	between resident 4096 $((64 << 20)) "$(map_says resident "$MNT/tree/sparse")"
	rm "$BACKING/tree/sparse"
}
check 'preload leaves out what a sparse file has not got' holes_are_not_read

names_are_shown_without_control_characters() {
	local name=$MNT/tree/$'new\nline'
	echo x >"$name"
	ctl explain "$name" | head -n 1 | grep -qF 'new?line'
	ctl map "$name" | head -n 1 | grep -qF 'new?line'
	rm "$name"
}
check 'names are shown without control characters' names_are_shown_without_control_characters

users_may_what_their_rights_say() {
	chown 65534 "$BACKING/tree/below/two"
	chmod 644 "$BACKING/tree/one" "$BACKING/tree/below/two"
	as 65534 "$CTL" preload "$MNT/tree/one"
	as 65534 "$CTL" advise sequential "$MNT/tree/one"
	as 65534 "$CTL" sync "$MNT/tree/one"
	exits 1 as 65534 "$CTL" evict "$MNT/tree/one" 2>"$WORK/said"
	grep -q 'for the owner and root' "$WORK/said"
	exits 1 as 65534 "$CTL" lock "$MNT/tree/one"
	exits 1 as 65534 "$CTL" unlock "$MNT/tree/one"
	as 65534 "$CTL" lock "$MNT/tree/below/two"
	as 65534 "$CTL" unlock "$MNT/tree/below/two"
	as 65534 "$CTL" evict "$MNT/tree/below/two"
	chmod 600 "$MNT/tree/one"
	exits 1 as 65534 "$CTL" preload "$MNT/tree/one"
	exits 1 as 65534 "$CTL" preload "$MNT/tree" 2>"$WORK/said"
	grep -q "tree/one': Permission denied" "$WORK/said"
}
check 'who may read a file may give hints, its owner may lock and evict' users_may_what_their_rights_say

a_profile_is_loaded() {
	cold "$BACKING/tree/one" "$BACKING/tree/below/two" "$BACKING/tree/below/three"
	ctl evict "$MNT" >"$WORK/said"
	ctl preload "$MNT/tree/one" "$MNT/tree/below/two"
	ctl profile save "$WORK/profile" "$MNT" | grep -E '^2 of [0-9]+ files, 4\.0 MiB$'
	ctl evict "$MNT"
	touch "$BACKING/tree/below/two"
	same resident 0 "$(map_says resident "$MNT/tree/one")"
	ctl profile load "$WORK/profile" "$MNT/" >"$WORK/said"
	same said '1 files, 2.0 MiB; skipped 1 that changed or vanished' "$(cat "$WORK/said")"
	same resident $SIZE "$(map_says resident "$MNT/tree/one")"
	same resident 0 "$(map_says resident "$MNT/tree/below/two")"
}
check 'profile load brings back what is as it was, and counts the rest' a_profile_is_loaded

progress_is_shown_on_a_terminal() {
	ctl evict "$MNT/tree" >"$WORK/said" || true
	script -qec "'$CTL' preload --progress '$MNT/tree'" "$WORK/typescript" </dev/null >/dev/null
	grep -qE '\[#{20}\] [0-9.]+ MiB in 0:0[0-9], [0-9.]+ .iB/s' "$WORK/typescript"
}
if command -v script >/dev/null; then
	check 'preload --progress shows bytes, time and rate on a terminal' progress_is_shown_on_a_terminal
else
	skip_check 'preload --progress shows bytes, time and rate on a terminal' 'script is missing'
fi

stop_mount

if user_mounts_work; then
	chmod 755 "$BACKING"
	chmod 644 "$BACKING/tree/one"
	user_mnt=$(mktemp -d "$WORK/mnt.XXXXXX")
	chown 65534:65534 "$user_mnt"
	LAUNCH=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
	ORDINARY_USER=1 start_mount_at "$BACKING" "$user_mnt" sync=periodic
	LAUNCH=()

	untold_residency_is_no_failure() {
		cold "$BACKING/tree/one"
		as 65534 "$CTL" preload "$MNT/tree/one"
		py <<<'equal(set(resident_pages(BACKING + "/tree/one")), {1})'
		as 65534 "$CTL" explain "$MNT/tree/one"
	}
	check 'a daemon that the kernel tells nothing of residency preloads all the same' untold_residency_is_no_failure
	stop_mount
else
	skip_check 'a daemon that the kernel tells nothing of residency preloads all the same' "$USER_MOUNTS_ERROR"
fi

start_mount_at "$BACKING" "$MNT" mode=ro

read_only_mounts_take_hints() {
	ctl preload "$MNT/tree/below/three"
	same resident $SIZE "$(map_says resident "$MNT/tree/below/three")"
	ctl advise random "$MNT/tree/one"
	ctl lock "$MNT/tree/one"
	ctl unlock "$MNT/tree/one"
	ctl sync "$MNT" "$MNT/tree/one"
	ctl evict "$MNT/tree/below/three"
	same resident 0 "$(map_says resident "$MNT/tree/below/three")"
}
check 'all of it works on a read-only mount' read_only_mounts_take_hints
