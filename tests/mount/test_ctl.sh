#!/bin/bash
# SPDX-License-Identifier: MIT
# memmapfsctl: what its commands show, whom they obey, what they say of paths that are not theirs, and that umount
# tells how the daemon ended.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ctl.sh"

start_mount sync=never,cache=none
dd if=/dev/urandom of="$BACKING/file" bs=64K count=16 status=none
sync "$BACKING/file"

not_mounted() {
	[ "$(count_mounts "$1")" = 0 ]
}

# --- words ------------------------------------------------------------------------------------------

every_command_has_help() {
	local command count=0
	while read -r command; do
		count=$((count + 1))
		# shellcheck disable=SC2086 # some are two words
		ctl $command --help | grep -q "^usage: memmapfsctl $command"
	done < <(ctl --help | sed -nE 's/^  ([a-z]+( [a-z]+)?)  +[a-z].*/\1/p')
	[ "$count" -ge 14 ]
	ctl --version | grep -q '^memmapfsctl [0-9]'
}
check 'every command has a help text' every_command_has_help

wrong_words_are_a_usage_error() {
	exits 2 ctl
	exits 2 ctl nonsense
	exits 2 ctl stats
	exits 2 ctl stats --nonsense "$MNT"
	exits 2 ctl stats --json --prometheus "$MNT"
	exits 2 ctl stats "$MNT" "$MNT"
	exits 2 ctl list "$MNT"
	exits 2 ctl top --sort=size "$MNT"
	exits 2 ctl top --sort
	exits 2 ctl top --interval=0 "$MNT"
	exits 2 ctl profile
	exits 2 ctl profile save "$WORK/profile"
	exits 2 ctl advise random
	says "unknown command 'nonsense'" ctl nonsense
	says "Try 'memmapfsctl stats --help'" ctl stats
}
check 'wrong words on the command line are status 2' wrong_words_are_a_usage_error

foreign_paths_are_refused() {
	local command
	mkfifo "$BACKING/fifo"
	echo x >"$NATIVE/file"
	for command in stats top umount map explain preload evict lock unlock sync 'advise random'; do
		# shellcheck disable=SC2086
		exits 1 ctl $command "$NATIVE/file" 2>"$WORK/said"
		grep -q "'$NATIVE/file' is not on a mount of memmapfs-fuse" "$WORK/said"
		# shellcheck disable=SC2086
		exits 1 ctl $command "$MNT/absent" 2>"$WORK/said"
		grep -q "'$MNT/absent': No such file" "$WORK/said"
	done
	says 'not a regular file' ctl map "$MNT"
	says 'neither a regular file nor a directory' timeout 5 "$CTL" map "$MNT/fifo"
	says 'not the mount point itself' ctl stats "$MNT/file"
	says 'not the mount point itself' ctl umount "$MNT/file"
	exits 1 ctl profile save "$WORK/profile" "$NATIVE"
	exits 1 ctl profile load "$WORK/profile" "$NATIVE"
	rm "$BACKING/fifo"
}
check 'a path that is not on such a mount is refused and named' foreign_paths_are_refused

names_do_not_steer_the_terminal() {
	says 'a\?\[31mb' ctl map "$NATIVE/"$'a\e[31mb'
}
check 'control characters of names are not printed' names_do_not_steer_the_terminal

a_full_pipe_is_told() {
	exits 1 ctl stats "$MNT" >/dev/full 2>"$WORK/said"
	grep -q 'cannot write: No space left' "$WORK/said"
}
check 'output that cannot be written is a failure' a_full_pipe_is_told

# --- figures ----------------------------------------------------------------------------------------

dd if="$MNT/file" of=/dev/null bs=64K status=none

stats_agree_with_the_attribute() {
	ctl stats --json "$MNT" | python3 -m json.tool >/dev/null
	same 'bytes read' "$(statistic io.read_bytes)" \
		"$(ctl stats --json "$MNT" | python3 -c 'import json, sys; print(json.load(sys.stdin)["io"]["read_bytes"])')"
	ctl stats "$MNT" | grep -q '^windows  .*hits'
	ctl stats "$MNT" | awk 'length > 80 { print; bad = 1 } END { exit bad }'
}
check 'stats says what the attribute says, as JSON and as a table' stats_agree_with_the_attribute

check 'stats --prometheus is what the text format asks for' py <<'PY'
import re
text = subprocess.check_output([os.environ["CTL"], "stats", "--prometheus", MNT], text=True)
assert text.endswith("\n")
kinds, samples = {}, {}
for line in text.splitlines():
    if line.startswith("# HELP "):
        assert re.fullmatch(r"# HELP [a-zA-Z_:][a-zA-Z0-9_:]* .+", line), line
    elif line.startswith("# TYPE "):
        name, kind = re.fullmatch(r"# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge)", line).groups()
        assert name not in kinds, "a second type of " + name
        kinds[name] = kind
    else:
        pattern = r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{([a-z]+="(?:[^"\\\n]|\\.)*",?)+\} (-?[0-9.e+-]+)'
        name, _, value = re.fullmatch(pattern, line).groups()
        assert name in kinds, "no type of " + name
        assert name not in samples, "a second sample of " + name
        samples[name] = float(value)
for name, kind in kinds.items():
    assert (kind == "counter") == name.endswith("_total"), name
    assert name in samples, name
stats = statistics()
equal(samples["memmapfs_io_read_bytes_total"], stats["io"]["read_bytes"])
equal(samples["memmapfs_windows"], stats["windows"]["count"])
leaves = sum(len(v) if isinstance(v, dict) else isinstance(v, (int, float))
             for k, v in stats.items() if k != "options")
equal(len(samples), leaves + 1, "samples, with memmapfs_info")
PY

stats_are_reset() {
	exits 1 as 65534 "$CTL" stats --reset "$MNT"
	statistic_above io.reads 0
	ctl stats --reset "$MNT"
	same reads 0 "$(statistic io.reads)"
}
check 'stats --reset is for the owner of the root, and works' stats_are_reset

# --- list -------------------------------------------------------------------------------------------

mounts_are_listed() {
	ctl list | grep -E "^$MNT +serving +rw +$BACKING"
	ctl list --json | python3 -c '
import json, os, sys
mine = [m for m in json.load(sys.stdin) if m["mountpoint"] == os.environ["MNT"]]
assert mine == [{"mountpoint": os.environ["MNT"], "backing": os.environ["BACKING"], "state": "serving",
                 "read_only": False, "user": 0}], mine'
}
check 'list shows the mount and that it serves' mounts_are_listed

# --- top --------------------------------------------------------------------------------------------

busiest_is_file() {
	dd if="$MNT/file" of=/dev/null bs=64K status=none
	ctl top "$MNT" | sed -n 6p | grep -E '^ *[0-9.]+ MiB .* file$'
}
top_prints_once_into_a_pipe() {
	local text
	echo small >"$MNT/small"
	# the rate is that of the last whole second
	wait_until 5 busiest_is_file
	text=$(timeout 10 "$CTL" top "$MNT")
	grep -qE ' small$' <<<"$text"
	awk 'length > 80 { print; bad = 1 } END { exit bad }' <<<"$text"
}
check 'top prints once into a pipe, the busiest file first' top_prints_once_into_a_pipe

check 'the listing sorts by each measure, and bad ones are refused' py <<'PY'
CONTROL = 0xC0000000 | ((32 + 16 + 12288) << 16) | (ord("m") << 8) | 0xF5
def run(path, name, value, uid=None):
    message = bytearray(struct.pack("32sIiII12288s", name.encode(), 1, 0, len(value), 0, value.encode()))
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, CONTROL, message)
    os.close(fd)
    _, _, status, length, _, text = struct.unpack("32sIiII12288s", message)
    return status, text[:length].decode()
for measure in ("io", "mapped", "resident", "dirty", "locked"):
    status, text = run(MNT, "files", measure + ":10")
    equal(status, 0)
    rows = json.loads(text)["rows"]
    key = {"io": "rate"}.get(measure, measure)
    equal([r[key] for r in rows], sorted((r[key] for r in rows), reverse=True), measure)
equal(len(json.loads(run(MNT, "files", "io:1")[1])["rows"]), 1)
for bad in ("size", "io:", "io:0", "io:x", "", "io:1:1"):
    equal(run(MNT, "files", bad)[0], EINVAL, bad)
equal(run(MNT + "/file", "files", "io")[0], EOPNOTSUPP)
for bad in ("", "0", "0:4096", "0:100:1", "0:4096:513", "0:0:1", "-1:4096:1", "9223372036854775807:4096:2", "0:9223372036854771712:9"):
    equal(run(MNT + "/file", "residency", bad)[0], EINVAL, bad)
for bad in ("", "0", "x:1", "1:-1", "9223372036854775807:2"):
    equal(run(MNT + "/file", "runs", bad)[0], EINVAL, bad)
equal(run(MNT, "nonsense", "")[0], EOPNOTSUPP)
# As far as files can reach is answered at once, and a refusal is one line.
equal(json.loads(run(MNT + "/file", "runs", "0:9223372036854775807")[1])["runs"], [[0, MIB]])
status, text = run(MNT + "/file", "runs", "a\nb\x1bc")
equal((status, "'a?b?c'" in text), (EINVAL, True), text)
PY

check 'a descriptor for writing only, and a message that makes no sense, are refused' py <<'PY'
CONTROL = 0xC0000000 | ((32 + 16 + 12288) << 16) | (ord("m") << 8) | 0xF5
good = struct.pack("32sIiII12288s", b"file", 0, 0, 0, 0, b"")
fd = os.open(MNT + "/file", os.O_WRONLY)
with raises(EBADF):
    fcntl.ioctl(fd, CONTROL, bytearray(good))
os.close(fd)
fd = os.open(MNT + "/file", os.O_RDONLY)
for bad in (struct.pack("32sIiII12288s", b"x" * 32, 0, 0, 0, 0, b""), struct.pack("32sIiII12288s", b"file", 2, 0, 0, 0, b""),
            struct.pack("32sIiII12288s", b"file", 0, 0, 12288, 0, b""), struct.pack("32sIiII12288s", b"file", 1, 0, 2**32 - 1, 0, b"")):
    with raises(EINVAL):
        fcntl.ioctl(fd, CONTROL, bytearray(bad))
with raises(ENOTTY):
    fcntl.ioctl(fd, CONTROL + (1 << 16), bytearray(20000))
os.close(fd)
PY

strangers_see_only_their_own_files_in_top() {
	chmod 700 "$BACKING/file"
	echo mine >"$MNT/mine"
	chown 65534 "$BACKING/mine"
	cat "$MNT/mine"
	as 65534 "$CTL" top "$MNT" >"$WORK/top"
	grep -q ' mine$' "$WORK/top"
	if grep -qE ' (file|small)$' "$WORK/top"; then
		cat "$WORK/top"
		return 1
	fi
	exits 1 as 65534 "$CTL" map "$MNT/file" 2>"$WORK/said"
	grep -q 'Permission denied' "$WORK/said"
	chmod 644 "$BACKING/file"
}
check 'ordinary users see their own files only, and none that they may not read' \
	strangers_see_only_their_own_files_in_top

# --- map --------------------------------------------------------------------------------------------

check 'map says what mincore says of the file in BACKING, page by page' py <<'PY'
with open(BACKING + "/cold", "wb") as f:
    f.write(os.urandom(256 * PAGE))
fd = os.open(BACKING + "/cold", os.O_RDONLY)
os.fsync(fd)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
for at in (3, 4, 5, 200):
    os.pread(fd, 1, at * PAGE)
seen = json.loads(subprocess.check_output([os.environ["CTL"], "map", "--json", MNT + "/cold"]))
pages = resident_pages(BACKING + "/cold")
equal(seen["resident"], sum(pages) * PAGE)
equal(seen["part_bytes"], PAGE)
equal([p["resident"] // PAGE for p in seen["parts"]], pages)
equal(seen["resident"] + seen["not_resident"], seen["size"])
equal(seen["locked"], 0)
equal(sum(pages) < 256, True, "something is not resident")
os.close(fd)
PY

# Ranges that are resident and ranges that are not, some pages of the latter locked; after the check before.
if command -v vmtouch >/dev/null; then
	check 'map, stats and explain agree with vmtouch and /proc on the same file' py <<'PY'
import re
def smaps(path):
    """Rss and Locked of the daemon's mappings of a file, in bytes."""
    rss = locked = 0
    here = False
    for line in open("/proc/%s/smaps" % os.environ["DAEMON"]):
        words = line.split()
        if not words[0].endswith(":"):
            here = len(words) > 5 and words[5] == path
        elif here and words[0] in ("Rss:", "Locked:"):
            rss += int(words[1]) * 1024 * (words[0] == "Rss:")
            locked += int(words[1]) * 1024 * (words[0] == "Locked:")
    return rss, locked
before = statistics()["windows"]
fd = os.open(MNT + "/cold", os.O_RDONLY)
os.setxattr(MNT + "/cold", "user.memmapfs.advice", b"random")
os.pread(fd, 9 * PAGE, 100 * PAGE)
subprocess.check_call([os.environ["CTL"], "lock", MNT + "/cold"])
os.setxattr(MNT + "/cold", "user.memmapfs.unlock", b"now:%d:%d" % (30 * PAGE, 226 * PAGE))
os.posix_fadvise(os.open(BACKING + "/cold", os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
for attempt in range(2):
    said = subprocess.check_output(["vmtouch", "-v", BACKING + "/cold"], text=True)
    resident = int(re.search(r"Resident Pages: (\d+)/256", said).group(1))
    seen = json.loads(subprocess.check_output([os.environ["CTL"], "map", "--json", MNT + "/cold"]))
    told = json.loads(os.getxattr(MNT + "/cold", "user.memmapfs.file"))
    after = statistics()["windows"]
    equal(seen["resident"], resident * PAGE, said)
    equal(told["resident"], resident * PAGE)
    equal(seen["locked"], 30 * PAGE)
    equal(told["locked"], 30 * PAGE)
    equal(smaps(BACKING + "/cold")[1], 30 * PAGE)
    equal(smaps(BACKING + "/cold")[0] <= resident * PAGE, True)
    equal(after["locked"], 30 * PAGE)
    equal(told["mapped"], 256 * PAGE)
    # A character is some pages: O all of them, o some, blank none.
    drawn = re.findall(r"\[([oO ]+)\] \d+/256", said)[-1]
    each = -(-256 // len(drawn))
    for i, character in enumerate(drawn):
        part = [page["resident"] for page in seen["parts"][i * each:(i + 1) * each]]
        if character == "O":
            equal(min(part), PAGE, said)
        if character == " ":
            equal(max(part), 0, said)
    # Once with some pages, once with nothing but what is locked.
    os.close(fd)
    os.setxattr(MNT + "/cold", "user.memmapfs.advice", b"pageout:%d:%d" % (30 * PAGE, 226 * PAGE))
    fd = os.open(MNT + "/cold", os.O_RDONLY)
os.setxattr(MNT + "/cold", "user.memmapfs.unlock", b"now")
PY
else
	skip_check 'map, stats and explain agree with vmtouch and /proc on the same file' 'vmtouch is missing'
fi

check 'map tells dirty pages and holes' py <<'PY'
def write():
    with open(MNT + "/sparse", "wb") as f:
        f.truncate(64 * PAGE)
        f.seek(10 * PAGE)
        f.write(b"x" * 3 * PAGE)
def look():
    return json.loads(subprocess.check_output([os.environ["CTL"], "map", "--json", MNT + "/sparse"]))
# anybody's sync(1) may come in between
for attempt in range(10):
    write()
    seen = look()
    if seen["dirty"] == 3 * PAGE:
        break
equal(seen["dirty"], 3 * PAGE)
os.sync()
seen = look()
equal(seen["dirty"], 0)
equal(seen["hole"], 61 * PAGE)
equal(seen["resident"], 3 * PAGE)
equal(seen["not_resident"], 0)
picture = subprocess.check_output([os.environ["CTL"], "map", MNT + "/sparse"], text=True)
line = picture.splitlines()[2]
equal(line, "     0 B |" + " " * 10 + "###" + " " * 51 + "|")
equal(max(len(l) for l in picture.splitlines()) <= 80, True)
PY

an_empty_file_can_be_looked_at() {
	: >"$MNT/empty"
	ctl map "$MNT/empty"
	ctl map --json "$MNT/empty" | python3 -m json.tool >/dev/null
	ctl explain "$MNT/empty"
}
check 'an empty file has an empty picture' an_empty_file_can_be_looked_at

# --- explain ----------------------------------------------------------------------------------------

explain_shows_the_policy() {
	ctl explain "$MNT/file" >"$WORK/said"
	grep -qE '^  sync +never +mount options$' "$WORK/said"
	grep -qE '^  resident +' "$WORK/said"
	ctl explain --json "$MNT/file" | python3 -m json.tool >/dev/null
	exits 1 ctl explain "$MNT/absent" "$MNT/file" >"$WORK/said"
	grep -q 'mount options' "$WORK/said"
}
check 'explain shows the policy and where it comes from' explain_shows_the_policy

# --- profiles ---------------------------------------------------------------------------------------

a_profile_notes_what_is_resident() {
	cat "$MNT/file" >/dev/null
	ctl profile save "$WORK/profile" "$MNT"
	python3 - "$WORK/profile" <<'PY'
import json, sys
files = {f["path"]: f for f in json.load(open(sys.argv[1]))["files"]}
assert files["file"]["ranges"] == [[0, 1 << 20]], files["file"]
assert files["file"]["size"] == 1 << 20
assert "empty" not in files
PY
}
check 'profile save notes the resident ranges' a_profile_notes_what_is_resident

bad_profiles_are_refused() {
	echo '{"memmapfs_profile":1,"files":[{"path":"../x","size":1,"mtime_ns":1,"ranges":[]}]}' >"$WORK/bad"
	says 'entry 1 is none' ctl profile load "$WORK/bad" "$MNT"
	echo nonsense >"$WORK/bad"
	says 'line 1' ctl profile load "$WORK/bad" "$MNT"
	says 'No such file' ctl profile load "$WORK/absent" "$MNT"
}
check 'what is no profile is refused with a reason' bad_profiles_are_refused

a_profile_is_brought_back_at_mount() {
	local log=$WORK/profile.log
	echo changed >>"$BACKING/small"
	dd of="$BACKING/file" oflag=nocache conv=notrunc,fdatasync count=0 status=none
	"$MEMMAPFS_BIN" -f "$BACKING" "$WORK/second" -o "profile=$WORK/profile" 2>"$log" &
	wait_until 10 grep -q 'brought back' "$log"
	ctl map --json "$WORK/second/file" | python3 -c '
import json, sys
seen = json.load(sys.stdin)
assert seen["resident"] == seen["size"], seen["resident"]'
	ctl umount "$WORK/second"
	grep -qE 'profile: [0-9]+ files, [0-9]+ bytes brought back; skipped [1-9][0-9]* that' "$log"
}
mkdir "$WORK/second"
check 'profile= brings back at mount what is as it was' a_profile_is_brought_back_at_mount

bad_profiles_keep_the_mount_from_starting() {
	local status=0
	"$MEMMAPFS_BIN" -f "$BACKING" "$WORK/second" -o "profile=$WORK/bad" 2>"$WORK/said" || status=$?
	same status 1 "$status"
	grep -q "profile '$WORK/bad': line 1" "$WORK/said"
}
check 'a profile that is none is an error of the options' bad_profiles_keep_the_mount_from_starting

# --- umount -----------------------------------------------------------------------------------------

a_busy_mount_stays() {
	exec 7<"$MNT/file"
	says 'busy' ctl umount "$MNT"
	[ "$(count_mounts "$MNT")" = 1 ]
	exec 7<&-
}
check 'umount of a busy mount says so and changes nothing' a_busy_mount_stays

strangers_cannot_unmount() {
	exits 1 as 65534 "$CTL" umount "$MNT" 2>"$WORK/said"
	grep -q 'only root and the user who mounted' "$WORK/said"
	[ "$(count_mounts "$MNT")" = 1 ]
}
check 'umount is for root and who mounted' strangers_cannot_unmount

check 'umount ends with 0 once the daemon is gone' ctl umount "$MNT"
check 'and then the daemon is gone' process_gone "$DAEMON"
daemon_ends 1

# --- read-only and failing mounts -------------------------------------------------------------------

echo read-only >"$BACKING/file"
start_mount_at "$BACKING" "$MNT" mode=ro

read_only_mounts_take_commands() {
	cat "$MNT/file"
	ctl stats --reset "$MNT"
	ctl map "$MNT/file" | grep -q 'resident'
	ctl explain "$MNT/file" | grep -qE 'mode +ro'
	ctl top "$MNT" | grep -q ' file$'
	ctl list | grep -E "^$MNT +serving +ro"
}
check 'commands work on a read-only mount' read_only_mounts_take_commands
check 'umount of it ends with 0' ctl umount "$MNT"
daemon_ends 5

if command -v strace >/dev/null && ! sanitized; then
	LAUNCH=(strace -f -qq -o "$WORK/trace" -e 'inject=msync,fdatasync:error=EIO')
	start_mount sync=periodic,sync_interval=1h
	LAUNCH=()
	expect_stderr "sync '.*Input/output error"
	expect_stderr 'the last sync of'
	echo lost >"$MNT/file"

	a_failed_last_sync_is_told() {
		exits 1 ctl umount "$MNT" 2>"$WORK/said"
		grep -q 'ended with status 7: not everything is on disk' "$WORK/said"
	}
	check 'umount fails when the last sync failed, and says so' a_failed_last_sync_is_told
	daemon_ends 10 7

	LAUNCH=(strace -f -qq -o "$WORK/trace" -e 'inject=msync,fdatasync:delay_enter=4s')
	start_mount sync=periodic,sync_interval=1h
	LAUNCH=()
	echo late >"$MNT/file"
	# its own words of a process that is killed while it delays it
	expect_stderr '^strace: '

	a_killed_daemon_is_told() {
		local waiter status=0
		"$CTL" umount "$MNT" 2>"$WORK/said" &
		waiter=$!
		wait_until 5 not_mounted "$MNT"
		kill -0 "$waiter"
		kill -KILL "$(pgrep -P "$DAEMON")"
		wait "$waiter" || status=$?
		same status 1 "$status"
		grep -q 'ended without saying that everything is on disk' "$WORK/said"
	}
	check 'umount waits for the last sync, and fails when the daemon is killed before' a_killed_daemon_is_told
	daemon_ends 10 137
else
	skip_check 'umount fails when the last sync failed, and says so' 'strace cannot be used'
fi

start_mount sync=never

silence_is_told() {
	kill -STOP "$DAEMON"
	timeout 20 "$CTL" list >"$WORK/said" || true
	kill -CONT "$DAEMON"
	grep -E "^$MNT +silent" "$WORK/said"
}
check 'list tells of a daemon that does not answer' silence_is_told
ctl umount "$MNT"
daemon_ends 5

start_mount sync=never
{
	kill -KILL "$DAEMON"
	wait "$DAEMON"
} 2>/dev/null || true
daemons[${#daemons[@]} - 1]=''

dead_mounts_are_told() {
	ctl list | grep -E "^$MNT +dead"
	says 'the daemon of this mount is gone' ctl stats "$MNT"
}
check 'a mount whose daemon was killed is called dead' dead_mounts_are_told
umount -l "$MNT"

# --- ordinary users' mounts -------------------------------------------------------------------------

if user_mounts_work; then
	new_backing
	user_mnt=$(mktemp -d "$WORK/mnt.XXXXXX")
	chown -R 65534:65534 "$BACKING" "$user_mnt"
	LAUNCH=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
	ORDINARY_USER=1 start_mount_at "$BACKING" "$user_mnt" sync=periodic
	LAUNCH=()

	ordinary_users_have_it_all() {
		echo mine | as 65534 tee "$MNT/file"
		as 65534 "$CTL" stats --reset "$MNT"
		as 65534 "$CTL" top "$MNT" | grep -q ' file$'
		as 65534 "$CTL" map "$MNT/file" | grep -q 'resident'
		as 65534 "$CTL" umount "$MNT"
	}
	check 'an ordinary user looks at, and unmounts, a mount of theirs' ordinary_users_have_it_all
	daemon_ends 5
else
	skip_check 'an ordinary user looks at, and unmounts, a mount of theirs' "$USER_MOUNTS_ERROR"
fi
