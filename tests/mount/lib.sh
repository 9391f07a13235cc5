# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What every mount test shares: a mount with a watched daemon, checks that are sentences, a tidy end.
#
#	. "$(dirname "$0")/lib.sh"
#	start_mount sync=never
#	check 'a file written on the mount is in BACKING' written_file_is_in_backing
#	check 'a name may hold a newline' py <<'PY'
#	...
#	PY
#
# No call at the end is needed: the EXIT trap unmounts, waits for the daemons, fails the test on a
# daemon's exit status or on a line of its stderr that no expect_stderr announced, and removes what
# was made.
#
# Environment:
#	MEMMAPFS_BIN		the daemon (build/memmapfs-fuse)
#	TEST_BACKING_ROOT	where backing directories are made: the file system under test
#	TEST_MOUNT_OPTS		options added to every mount, to run a test in another configuration
#	MEMMAPFS_SHORT		1: less of what takes long
#	CHECK_TIMEOUT		seconds after which one check counts as hung (60)

set -eu

# In a mount namespace of its own nobody copies a test's mounts and keeps them alive, a test that is killed
# leaves none behind, and it may cover directories of the machine.
if [ -z "${MEMMAPFS_TEST_NAMESPACE:-}" ]; then
	[ "$(id -u)" = 0 ] || {
		echo 'skip: mount tests need root'
		exit 77
	}
	unshare --mount true 2>/dev/null || {
		echo 'skip: no mount namespace can be made here'
		exit 77
	}
	MEMMAPFS_TEST_NAMESPACE=1 exec unshare --mount --propagation private bash "$0" "$@"
fi
unset MEMMAPFS_TEST_NAMESPACE

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$TESTS/../.." && pwd)
MEMMAPFS_BIN=${MEMMAPFS_BIN:-$REPO/build/memmapfs-fuse}
CHECK_TIMEOUT=${CHECK_TIMEOUT:-60}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/memmapfs-test.XXXXXX")
chmod 755 "$WORK"
export WORK REPO MEMMAPFS_BIN
export PYTHONPATH=$TESTS PYTHONDONTWRITEBYTECODE=1
export BACKING='' NATIVE='' MNT='' DAEMON=''

LAUNCH=()          # words put before the daemon, such as (prlimit --nofile=64)
failures=0
mounts=()          # mount points of daemons started, oldest first
daemons=()         # their process ids; empty once waited for
stderr_files=()    # what they said
expected_stderr=() # what they may say
images=()          # mount points of loop images and other helpers' mounts
backing_roots=()   # directories made below TEST_BACKING_ROOT

# --- what a test says -------------------------------------------------------------------------------

# fail TEXT: count a failure that is no check
fail() {
	printf 'FAIL %s\n' "$*"
	failures=$((failures + 1))
}

# skip REASON: nothing of this test can run on this machine
skip() {
	printf 'skip: %s\n' "$*"
	skipped=1
	exit 77
}

# skip_check SENTENCE REASON: this one check cannot run on this machine
skip_check() {
	printf 'skip %s (%s)\n' "$1" "$2"
}

# kill_tree PID: end a process of this test with all its descendants
kill_tree() {
	local child
	for child in $(pgrep -P "$1" || true); do
		kill_tree "$child"
	done
	kill -KILL "$1" 2>/dev/null || true
}

# check SENTENCE COMMAND...: run the command in a subshell with errexit; it passes with status 0.
# A check that hangs gets its processes and the daemons ended, so that the test goes on to report it.
check() {
	local sentence=$1 status=0 case_pid timer finished=''
	shift
	(
		set -e
		trap - EXIT
		"$@"
	) >"$WORK/check.log" 2>&1 <&0 &
	case_pid=$!
	sleep "$CHECK_TIMEOUT" >/dev/null 2>&1 &
	timer=$!
	wait -n -p finished "$case_pid" "$timer" || status=$?
	if [ "$finished" = "$timer" ]; then
		printf 'FAIL %s\n     hung for %s seconds; daemon and waiting processes:\n' "$sentence" "$CHECK_TIMEOUT"
		# shellcheck disable=SC2009 # the whole lines are wanted
		ps -e -o pid,ppid,stat,wchan:24,args | grep -F "$WORK" | sed 's/^/     /' || true
		end_daemons_now
		kill_tree "$case_pid"
		sed 's/^/     /' "$WORK/check.log"
		failures=$((failures + 1))
		exit 1
	fi
	# Not by TERM: on a busy machine the timer is no sleep yet but a copy of this shell, which would run its
	# traps, unmount everything and remove WORK.
	kill -KILL "$timer" 2>/dev/null || true
	wait "$timer" 2>/dev/null || true
	if [ "$status" -eq 0 ]; then
		printf 'ok   %s\n' "$sentence"
	elif [ "$status" -eq 77 ]; then
		printf 'skip %s (%s)\n' "$sentence" "$(tail -n 1 "$WORK/check.log")"
	else
		printf 'FAIL %s (status %s)\n' "$sentence" "$status"
		tail -n 40 "$WORK/check.log" | sed 's/^/     /'
		failures=$((failures + 1))
	fi
}

# same WHAT EXPECTED ACTUAL: for use inside checks
same() {
	[ "$2" = "$3" ] || {
		printf '%s: expected "%s", got "%s"\n' "$1" "$2" "$3"
		return 1
	}
}

# between WHAT LOW HIGH ACTUAL: for use inside checks
between() {
	if [ "$4" -lt "$2" ] || [ "$4" -gt "$3" ]; then
		printf '%s: expected %s to %s, got %s\n' "$1" "$2" "$3" "$4"
		return 1
	fi
}

# says REGEX COMMAND...: the command fails and its output matches; for use inside checks
says() {
	local regex=$1 out
	shift
	if out=$("$@" 2>&1); then
		printf 'succeeded, but should have said "%s": %s\n' "$regex" "$*"
		return 1
	fi
	grep -Eq -- "$regex" <<<"$out" || {
		printf 'should have said "%s": %s\nbut said: %s\n' "$regex" "$*" "$out"
		return 1
	}
}

# pause: for 10 ms, and without a process, since there are so many
mkfifo "$WORK/pause"
pause() {
	read -rt 0.01 <>"$WORK/pause" || true
}

# wait_until SECONDS COMMAND...: poll until the command succeeds
wait_until() {
	local deadline=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ "${EPOCHREALTIME/./}" -ge "$deadline" ]; then
			printf 'did not happen in time: %s\n' "$*"
			return 1
		fi
		pause
	done
}

# py: run the Python program on stdin with everything of fsutil.py in scope
py() {
	local program
	program=$(mktemp "$WORK/case.XXXXXX.py")
	{
		echo 'from fsutil import *'
		cat
	} >"$program"
	# without site-packages, whose hooks may take longer than the program
	python3 -S "$program"
}

# as UID COMMAND...: as an ordinary user of no other group
as() {
	local uid=$1
	shift
	setpriv --reuid="$uid" --regid="$uid" --clear-groups -- "$@"
}

# short: builds with sanitizers and other slow ones are given less to do
short() {
	[ "${MEMMAPFS_SHORT:-0}" = 1 ]
}

# sanitized: the daemon is built with a sanitizer, which needs address space and time of its own
sanitized() {
	grep -Eqa '__asan_init|__tsan_init' "$MEMMAPFS_BIN"
}

# --- mounts -----------------------------------------------------------------------------------------

# count_mounts DIR: how many mounts sit on DIR
count_mounts() {
	local mounts mount count=0
	mapfile -t mounts </proc/self/mountinfo
	for mount in "${mounts[@]}"; do
		# its fifth word
		[[ $mount =~ ^([^ ]+\ ){4}([^ ]+) && ${BASH_REMATCH[2]} == "$1" ]] && count=$((count + 1))
	done
	echo "$count"
}

# mounted_more_than COUNT DIR
mounted_more_than() {
	[ "$(count_mounts "$2")" -gt "$1" ]
}

process_gone() {
	local state=''
	{ read -r state <"/proc/$1/stat"; } 2>/dev/null || true
	# the word behind its name; nothing where there is no such process
	state=${state##*) }
	[[ $state != [!Z]* ]]
}

# new_backing: set BACKING, and NATIVE beside it on the same file system, to new empty directories
new_backing() {
	local base
	base=$(mktemp -d "${TEST_BACKING_ROOT:-$WORK}/backing.XXXXXX")
	if [ -n "${TEST_BACKING_ROOT:-}" ]; then
		backing_roots+=("$base")
	fi
	chmod 755 "$base"
	mkdir "$base/backing" "$base/native"
	BACKING=$base/backing
	NATIVE=$base/native
}

# start_mount [OPTS]: a new backing directory mounted on a new mount point; sets BACKING, NATIVE, MNT
# and DAEMON
start_mount() {
	new_backing
	start_mount_at "$BACKING" "$(mktemp -d "$WORK/mnt.XXXXXX")" "$@"
}

# start_mount_at BACKING MOUNTPOINT [OPTS]: the same for directories of the caller's choice
start_mount_at() {
	local opts=${3:-} before said deadline died=0
	BACKING=$1
	MNT=$2
	opts=${opts}${TEST_MOUNT_OPTS:+${opts:+,}$TEST_MOUNT_OPTS}
	case ,$opts, in
	*,log_level=*) ;;
	*) opts=log_level=warning${opts:+,$opts} ;;
	esac
	if [ "${ORDINARY_USER:-0}" = 0 ]; then
		opts=allow_other,$opts
	fi
	said=$WORK/stderr.${#daemons[@]}
	before=$(count_mounts "$MNT")
	# A background job starts with SIGINT ignored; the daemon must see it as from a terminal.
	# In a session of its own, as without -f.
	"${LAUNCH[@]}" setsid env --default-signal=INT,QUIT "$MEMMAPFS_BIN" -f "$BACKING" "$MNT" -o "$opts" \
		2>"$said" >"$said.out" </dev/null &
	DAEMON=$!
	mounts+=("$MNT")
	daemons+=("$DAEMON")
	stderr_files+=("$said")
	deadline=$((SECONDS + 30))
	while ! mounted_more_than "$before" "$MNT"; do
		if process_gone "$DAEMON" || [ "$SECONDS" -gt "$deadline" ]; then
			died=1
			break
		fi
		pause
	done
	if [ "$died" = 1 ]; then
		printf 'the daemon did not mount: %s -f %s %s -o %s\n' "$MEMMAPFS_BIN" "$BACKING" "$MNT" "$opts"
		sed 's/^/     /' "$said"
		fail 'mounting'
		exit 1
	fi
}

# daemon_ends SECONDS [STATUS]: the newest daemon ends in time with that exit status (0)
daemon_ends() {
	local last=$((${#daemons[@]} - 1)) status=0
	wait_until "$1" process_gone "${daemons[last]}" || {
		kill -KILL "${daemons[last]}"
		fail "the daemon of ${mounts[last]} did not end within $1 seconds"
	}
	wait "${daemons[last]}" 2>/dev/null || status=$?
	daemons[last]=''
	if [ "$status" -ne "${2:-0}" ]; then
		fail "the daemon of ${mounts[last]} ended with status $status instead of ${2:-0}"
	fi
}

# stop_mount: unmount the newest mount and wait for its daemon
stop_mount() {
	umount "$MNT" || {
		fail "umount $MNT"
		umount -l "$MNT"
	}
	daemon_ends 20
}

# crash_daemon: kill -9 the newest daemon and clear its mount point away
crash_daemon() {
	local last=$((${#daemons[@]} - 1))
	kill -KILL "${daemons[last]}"
	wait "${daemons[last]}" 2>/dev/null || true
	daemons[last]=''
	umount -l "$MNT"
}

# end_daemons_now: a hung check's way out; requests in flight end with an error
end_daemons_now() {
	local pid
	for pid in "${daemons[@]}"; do
		if [ -n "$pid" ]; then
			kill -KILL "$pid" 2>/dev/null || true
		fi
	done
}

# expect_stderr REGEX: lines that daemons of this test may print
expect_stderr() {
	expected_stderr+=("$1")
}

# True under load, which is the machine's, and nothing is lost by it; a watch hears of all that other tests do, too
expect_stderr 'a sync takes longer than its interval'
expect_stderr 'changes in .* come faster than they can be watched'

# statistic PATH: one number of the statistics, such as io.reads
statistic() {
	getfattr --absolute-names -n user.memmapfs.stats --only-values "$MNT" |
		python3 -c '
import functools, json, sys
print(functools.reduce(lambda o, k: o[k], sys.argv[1].split("."), json.load(sys.stdin)))' "$1"
}

# statistic_above PATH NUMBER
statistic_above() {
	local value
	value=$(statistic "$1")
	[ "$value" -gt "$2" ] || {
		printf '%s is %s, should be above %s\n' "$1" "$value" "$2"
		return 1
	}
}

# image FS SIZE [MKFS-WORDS...]: make and mount a new file system; sets IMAGE to its directory.
# Returns 1 where the machine cannot (the reason is in IMAGE_ERROR).
# shellcheck disable=SC2034 # IMAGE_ERROR is for the tests
image() {
	local fs=$1 size=$2 file
	shift 2
	IMAGE_ERROR="no $fs image can be mounted here"
	IMAGE=$(mktemp -d "$WORK/fs.XXXXXX")
	if [ "$fs" = tmpfs ]; then
		mount -t tmpfs -o "size=$size,mode=755" memmapfs-test "$IMAGE" 2>/dev/null || return 1
	else
		command -v "mkfs.$fs" >/dev/null || {
			IMAGE_ERROR="mkfs.$fs is missing"
			return 1
		}
		file=$IMAGE.image
		truncate -s "$size" "$file"
		"mkfs.$fs" -q "$@" "$file" >"$WORK/mkfs.log" 2>&1 || {
			IMAGE_ERROR="mkfs.$fs: $(tail -n 1 "$WORK/mkfs.log")"
			return 1
		}
		mount -t "$fs" -o loop "$file" "$IMAGE" 2>/dev/null || return 1
	fi
	images+=("$IMAGE")
	chmod 755 "$IMAGE"
}

# drop_image: unmount and remove the newest image
drop_image() {
	umount "$IMAGE" || fail "umount $IMAGE"
	rm -f "$IMAGE.image"
	unset 'images[-1]'
}

# use_image_as_backing: BACKING and NATIVE below IMAGE
use_image_as_backing() {
	mkdir -p "$IMAGE/backing" "$IMAGE/native"
	BACKING=$IMAGE/backing
	NATIVE=$IMAGE/native
}

# user_mounts_work: whether ordinary users can mount here (the reason is in USER_MOUNTS_ERROR). udev
# opens /dev/fuse to everybody; where no udev did, do so for this test. MEMMAPFS_BIN is theirs to run, too.
# shellcheck disable=SC2034 # USER_MOUNTS_ERROR is for the tests
user_mounts_work() {
	local fusermount
	fusermount=$(command -v fusermount3) || {
		USER_MOUNTS_ERROR='fusermount3 is missing'
		return 1
	}
	[ -u "$fusermount" ] || {
		USER_MOUNTS_ERROR='fusermount3 is not set-uid'
		return 1
	}
	if ! as 65534 test -w /dev/fuse; then
		mkdir "$WORK/dev"
		mount -t tmpfs -o mode=755,dev memmapfs-test "$WORK/dev"
		images+=("$WORK/dev")
		mknod -m 666 "$WORK/dev/fuse" c 10 229
		mount --bind "$WORK/dev/fuse" /dev/fuse
		images+=(/dev/fuse)
	fi
	as 65534 test -w /dev/fuse || {
		USER_MOUNTS_ERROR='/dev/fuse cannot be opened to ordinary users'
		return 1
	}
	# A checkout in root's home is closed to them.
	as 65534 test -x "$MEMMAPFS_BIN" || {
		cp "$MEMMAPFS_BIN" "$WORK/memmapfs-fuse"
		MEMMAPFS_BIN=$WORK/memmapfs-fuse
	}
}

# --- the end ----------------------------------------------------------------------------------------

judge_stderr() {
	local file line regex known
	for file in "${stderr_files[@]}"; do
		if grep -Eq 'AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error' "$file"; then
			fail 'a sanitizer spoke up'
			sed 's/^/     /' "$file" | head -n 120
			continue
		fi
		while IFS= read -r line; do
			known=0
			for regex in "${expected_stderr[@]}"; do
				if [[ $line =~ $regex ]]; then
					known=1
				fi
			done
			if [ "$known" = 0 ]; then
				fail "unexpected from the daemon: $line"
			fi
		done < <(head -n 200 "$file")
	done
}

finish() {
	local status=$? i
	trap - EXIT
	trap '' TERM INT HUP
	set +e
	cd /
	for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
		[ -n "${daemons[i]}" ] || continue
		MNT=${mounts[i]}
		if [ "$(count_mounts "$MNT")" -gt 0 ]; then
			wait_until 5 umount "$MNT" >/dev/null || {
				fail "umount $MNT: $(umount "$MNT" 2>&1)"
				umount -l "$MNT"
				kill -TERM "${daemons[i]}" 2>/dev/null
			}
		fi
		wait_until 20 process_gone "${daemons[i]}" >/dev/null || {
			fail "the daemon of $MNT did not end"
			kill -KILL "${daemons[i]}" 2>/dev/null
		}
		wait "${daemons[i]}" 2>/dev/null
		daemon_status=$?
		if [ "$daemon_status" -ne 0 ]; then
			fail "the daemon of $MNT ended with status $daemon_status"
		fi
	done
	judge_stderr
	for ((i = ${#images[@]} - 1; i >= 0; i--)); do
		wait_until 10 umount "${images[i]}" >/dev/null || umount -l "${images[i]}"
	done
	if grep -Fq " $WORK/" /proc/self/mountinfo; then
		fail "still mounted: $(grep -o " $WORK/[^ ]*" /proc/self/mountinfo)"
	else
		rm -rf --one-file-system "$WORK" "${backing_roots[@]}"
	fi
	if [ "${skipped:-0}" = 1 ] && [ "$failures" -eq 0 ]; then
		exit 77
	fi
	if [ "$failures" -gt 0 ]; then
		printf '%s failed\n' "$failures"
		exit 1
	fi
	exit "$status"
}
trap finish EXIT
trap 'exit 143' TERM INT HUP

[ -e /dev/fuse ] || skip 'no /dev/fuse on this machine'
[ -x "$MEMMAPFS_BIN" ] || {
	fail "no daemon at $MEMMAPFS_BIN"
	exit 1
}
