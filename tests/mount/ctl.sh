# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What tests of memmapfsctl share. To be sourced after lib.sh.
#
# Environment: MEMMAPFSCTL_BIN, the program (memmapfsctl beside MEMMAPFS_BIN)

export CTL=${MEMMAPFSCTL_BIN:-${MEMMAPFS_BIN%/*}/memmapfsctl}

# ctl WORDS...: run it
ctl() {
	"$CTL" "$@"
}

# exits STATUS COMMAND...: for use inside checks
exits() {
	local expected=$1 status=0
	shift
	"$@" || status=$?
	same "status of $*" "$expected" "$status"
}
