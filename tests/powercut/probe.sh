# shellcheck shell=dash
# SPDX-License-Identifier: MIT
# Sourced by init: what the mount does about durability, asked by probe.
# shellcheck source=tests/powercut/peer.sh
. /scripts/peer.sh
flakey_backing
peer_start
for question in flushes client errors; do
	probe $question /mnt
done
# shellcheck disable=SC2154 # mount is init's
[ "$mount" = native ] || probe kill /mnt "$daemon"
echo 'G done' >&3
sleep 1000
