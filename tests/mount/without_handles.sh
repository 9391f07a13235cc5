#!/bin/bash
# SPDX-License-Identifier: MIT
# without_handles.sh NAME - run test_NAME.sh with a daemon that cannot open files by their handles, as that of an
# ordinary user: only paths lead to what is not open
drop=(setpriv --bounding-set=-dac_read_search --inh-caps=-dac_read_search)
if ! "${drop[@]}" true 2>/dev/null; then
	echo 'skip: a capability can be dropped by root only'
	exit 77
fi
export WITHOUT_HANDLES=1
exec "${drop[@]}" "$(dirname "$0")/test_$1.sh"
