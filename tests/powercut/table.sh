#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-License-Identifier: MIT
# In the guest: what /dev/mapper/flaky does with writes from now on. Nothing is flushed on the way.
size=$(blockdev --getsz /dev/vda)
case $1 in
create) exec dmsetup create flaky --table "0 $size linear /dev/vda 0" ;;
linear) table="0 $size linear /dev/vda 0" ;;
flakey) table="0 $size flakey /dev/vda 0 0 3600 1 error_writes" ;;
esac
dmsetup suspend --noflush --nolockfs flaky && dmsetup load flaky --table "$table" && dmsetup resume flaky
