#!/bin/bash
# SPDX-License-Identifier: MIT
# memmapfsctl layer adopt: a kept layer goes on over what took BACKING's place.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2016 # the shells of the checks expand them
. "$(dirname "$0")/lib.sh"

new_backing
export LAYER=$WORK/layer CTL=${MEMMAPFS_BIN%/*}/memmapfsctl ORIGINAL=$BACKING
export COPY=$NATIVE/copy OTHER=$NATIVE/other
mkdir -p "$BACKING/dir/sub/deep" "$BACKING/gone" "$BACKING/swap"
seq 20000 >"$BACKING/numbers"
seq 20000 >"$BACKING/dir/sub/deep/file"
echo one >"$BACKING/swap/one"
echo two >"$BACKING/swap/two"
echo text >"$BACKING/text"
echo over >"$BACKING/over"
echo covered >"$BACKING/covered"
echo inside >"$BACKING/gone/inside"
ln "$BACKING/text" "$BACKING/hard"
mnt=$(mktemp -d "$WORK/mnt.XXXXXX")

# see: what can be compared between copies
see() {
	py <<'PY'
import hashlib
for folder, names, files in os.walk(MNT):
    names.sort()
    for name in sorted(names + files):
        path = folder + "/" + name
        info = os.lstat(path)
        content = hashlib.sha256(read_file(path)).hexdigest() if stat.S_ISREG(info.st_mode) else ""
        print(path[len(MNT):], oct(info.st_mode), info.st_nlink, info.st_size, info.st_mtime_ns, content)
PY
}

start_mount_at "$BACKING" "$mnt" "mode=cow,layer=$LAYER"
check 'a layer is changed in every way' py <<'PY'
fd = os.open(MNT + "/numbers", os.O_RDWR)
os.pwrite(fd, b"changed", 50000)
os.ftruncate(fd, 100000)
os.rename(MNT + "/dir/sub", MNT + "/moved")
fd = os.open(MNT + "/moved/deep/file", os.O_RDWR)
os.pwrite(fd, b"deep", 8192)
os.rename(MNT + "/over", MNT + "/covered")
os.chmod(MNT + "/covered", 0o600)
os.rename(MNT + "/swap/one", MNT + "/swap/three")
os.rename(MNT + "/swap/two", MNT + "/swap/one")
os.rename(MNT + "/swap/three", MNT + "/swap/two")
os.link(MNT + "/text", MNT + "/linked")
os.unlink(MNT + "/hard")
os.unlink(MNT + "/gone/inside")
os.rmdir(MNT + "/gone")
write_file(MNT + "/new", b"new" * 5000)
PY
see >"$WORK/before"
check 'one that is mounted is not given away' says "is in use by process $DAEMON" \
	"$CTL" layer adopt "$LAYER" "$NATIVE"
stop_mount
cp -a "$BACKING" "$COPY"
cp -a "$BACKING" "$OTHER"

check 'over a copy of BACKING it is refused, and the line names the way' \
	says "belongs to another directory, which was '$BACKING'; .*'memmapfsctl layer adopt'" \
	timeout 10 "$MEMMAPFS_BIN" "$COPY" "$mnt" -o "mode=cow,layer=$LAYER"
cp -a "$LAYER" "$WORK/second"
check 'the way is gone' bash -ec '
	"$CTL" layer adopt "$LAYER" "$COPY" | tee "$WORK/said"
	grep -qx "[1-9][0-9]* objects found, 0 missing" "$WORK/said"'
start_mount_at "$COPY" "$mnt" "mode=cow,layer=$LAYER"
shows_the_same() {
	see >"$WORK/after"
	diff "$WORK/before" "$WORK/after"
}
check 'and the mount shows what it did' shows_the_same
check 'nothing there counts as changed behind the layer' bash -ec '
	"$CTL" layer status --json "$MNT" >"$WORK/status"
	python3 -c "import json, sys; assert json.load(open(sys.argv[1]))[\"totals\"][\"base_changes\"] == 0" "$WORK/status"'
check 'pages that are not the layer`s follow the copy' bash -ec '
	printf follow | dd of="$COPY/numbers" conv=notrunc status=none
	test "$(head -c 6 "$MNT/numbers")" = follow'
check 'it is committed there' bash -ec '"$CTL" layer commit --force "$MNT"'
stop_mount
see_copy() {
	MNT=$COPY see | grep -v '^/numbers ' >"$WORK/after"
	grep -v '^/numbers ' "$WORK/before" | diff - "$WORK/after"
}
check 'which then has what was shown' see_copy
check 'the old BACKING was not touched' bash -ec '
	test "$(cat "$ORIGINAL/over")" = over; test -e "$ORIGINAL/gone/inside"; test ! -e "$ORIGINAL/new"'
expect_stderr "numbers. was changed in BACKING"

export LAYER=$WORK/second
touch "$OTHER/numbers"
check 'where a file that it has pages of is another, it is refused by name' \
	says "'numbers', which the layer has pages of, is another file, by its size or time, in '$OTHER'; nothing" \
	"$CTL" layer adopt "$LAYER" "$OTHER"
rm "$OTHER/numbers"
check 'likewise where it is missing' \
	says "'numbers', which the layer has pages of, is not in '$OTHER'; nothing was changed" \
	"$CTL" layer adopt "$LAYER" "$OTHER"
check 'the layer is still the old BACKING`s' "$CTL" layer status "$LAYER"
check 'unless --force says so' bash -ec '
	"$CTL" layer adopt --force "$LAYER" "$OTHER" | tee "$WORK/said"
	grep -qx "[1-9][0-9]* objects found, 1 missing" "$WORK/said"'
start_mount_at "$OTHER" "$mnt" "mode=cow,layer=$LAYER"
check 'no private byte of it is lost, and status tells' bash -ec '
	test "$(dd if="$MNT/numbers" bs=1 skip=50000 count=7 status=none)" = changed
	"$CTL" layer status "$MNT" | grep -E " gone +numbers$"'
stop_mount
expect_stderr "numbers. was removed in BACKING"

check 'what cannot be given away is refused by name' bash -ec '
	refused() {
		if "$CTL" layer adopt "$1" "$2" 2>"$WORK/said"; then exit 1; fi
		grep -q "$3" "$WORK/said" || { cat "$WORK/said"; exit 1; }
	}
	refused "$NATIVE" "$ORIGINAL" "is no layer"
	refused "$LAYER" "$ORIGINAL/none" "none.: No such file"
	refused "$LAYER" "$ORIGINAL/text" "text.: Not a directory"
	refused "$LAYER" "$WORK" "lies in"'
