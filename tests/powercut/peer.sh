# shellcheck shell=dash
# SPDX-License-Identifier: MIT
# Sourced by init: /backing/data served at /mnt by the command /scripts/mount.$mount.
# shellcheck disable=SC2034,SC2154 # mount is init's, daemon is for others
peer_start() {
	mkdir -p /backing/data /backing/scratch /lower && sync
	sh "/scripts/mount.$mount" >/tmp/said 2>&1 &
	daemon=$!
	wait_for_mount "$(tail -n 1 /tmp/said)"
}
