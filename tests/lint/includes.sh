#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Who may include what:
#   src/mapping/   knows libc, util.h and its own headers
#   src/fuse_ops/  knows neither libuv nor sys/mman.h
#   src/loop.c     alone knows libuv
set -eu
cd "$SOURCE_ROOT"
found=0

wrong() {
	printf '%s\n' "$1"
	found=1
}

# includes FILE: each included name with its brackets or quotes, after line number and a colon
includes() {
	sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*([<"][^>"]+[>"]).*/\1/;T;=;p' "$1" | paste -d: - -
}

libc='(assert|ctype|dirent|errno|fcntl|float|fnmatch|inttypes|limits|poll|pthread|sched|semaphore|setjmp'
libc+='|signal|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|threads|time'
libc+='|ucontext|unistd|(sys|linux|asm)/[a-z_/-]+)\.h'

for file in src/mapping/*.[ch]; do
	while IFS=: read -r line name; do
		bare=${name:1:-1}
		case $name in
		'<'*) [[ $bare =~ ^$libc$ ]] || wrong "$file:$line: $name is neither libc's nor util.h" ;;
		*)
			[ "${bare##*/}" = util.h ] || [ -f "src/mapping/${bare#mapping/}" ] ||
				wrong "$file:$line: $name is not a header of src/mapping"
			;;
		esac
	done < <(includes "$file")
done

for file in src/fuse_ops/*.[ch]; do
	while IFS=: read -r line name; do
		case ${name:1:-1} in
		uv.h | uv/* | sys/mman.h) wrong "$file:$line: $name belongs to src/loop.c or src/mapping" ;;
		esac
	done < <(includes "$file")
done

while IFS= read -r file; do
	[ "$file" != src/loop.c ] || continue
	while IFS=: read -r line name; do
		case ${name:1:-1} in
		uv.h | uv/*) wrong "$file:$line: only src/loop.c includes $name" ;;
		esac
	done < <(includes "$file")
done < <(find src -name '*.[ch]' | sort)

exit $found
