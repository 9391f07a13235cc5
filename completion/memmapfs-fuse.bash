# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Completion of memmapfs-fuse and memmapfsctl for bash. What they offer they are asked themselves, by
# --help, so that nothing here can be out of date.

# _memmapfs_reply WORD CANDIDATE...: of the candidates that WORD begins, what bash is to put in; it takes
# '=' and ':' for ends of words
_memmapfs_reply() {
	local word=$1 candidate head
	shift
	head=${word%"${word##*[=:]}"}
	for candidate in "$@"; do
		if [[ $candidate == "$word"* ]]; then
			COMPREPLY+=("${candidate#"$head"}")
		fi
	done
	# a list or a value goes on
	if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
		compopt -o nospace 2>/dev/null
	fi
}

_memmapfs_paths() {
	local kind=$1 word=$2
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen "$kind" -- "$word")
}

# What stands before the cursor, by blanks: the last word and the one before it.
_memmapfs_words() {
	local line=${COMP_LINE:0:COMP_POINT}
	read -ra words <<<"$line"
	if [[ $line == *[[:space:]] ]]; then
		words+=('')
	fi
	word=${words[-1]}
}

# The options that -o takes: NAME, or NAME=VALUE for each value that is a word.
_memmapfs_mount_options() {
	local line name values value
	while IFS= read -r line; do
		[[ $line =~ ^\ {4}([a-z_]+)(=([^ ]*))?(\ |$) ]] || continue
		name=${BASH_REMATCH[1]} values=${BASH_REMATCH[3]}
		if [[ -z ${BASH_REMATCH[2]} ]]; then
			printf '%s\n' "$name"
			continue
		fi
		printf '%s=\n' "$name"
		for value in ${values//|/ }; do
			if [[ $value =~ ^[a-z]+$ ]]; then
				printf '%s=%s\n' "$name" "$value"
			fi
		done
	done < <("$1" --help 2>/dev/null)
	printf '%s\n' ro allow_other allow_root noatime nodev nosuid noexec auto_unmount fsname= subtype=
}

_memmapfs_fuse() {
	local -a words candidates
	local word before
	COMPREPLY=()
	_memmapfs_words
	before=${words[-2]:-}
	if [[ $before == -o ]]; then
		mapfile -t candidates < <(_memmapfs_mount_options "$1")
		# behind a name, its values; otherwise names
		if [[ ${word##*,} == *=* ]]; then
			mapfile -t candidates < <(printf '%s\n' "${candidates[@]}" | grep -E '=.')
		else
			mapfile -t candidates < <(printf '%s\n' "${candidates[@]}" | grep -vE '=.')
		fi
		if [[ $word == *,* ]]; then
			candidates=("${candidates[@]/#/"${word%,*},"}")
		fi
		compopt -o nospace 2>/dev/null
		_memmapfs_reply "$word" "${candidates[@]}"
	elif [[ $word == -* ]]; then
		mapfile -t candidates < <("$1" --help 2>/dev/null | grep -oE '^  (-[A-Za-z], )?--?[A-Za-z-]+' |
			grep -oE -- '--?[A-Za-z-]+')
		_memmapfs_reply "$word" "${candidates[@]}"
	else
		_memmapfs_paths -d "$word"
	fi
}

_memmapfsctl() {
	local -a words candidates
	local word command
	COMPREPLY=()
	_memmapfs_words
	command=${words[1]:-}
	if [[ ${#words[@]} -eq 2 ]]; then
		mapfile -t candidates < <("$1" --help 2>/dev/null | sed -nE 's/^  ([a-z]+) .*/\1/p; s/^ .*(--[a-z]+) .*/\1/p' |
			sort -u)
		_memmapfs_reply "$word" "${candidates[@]}"
		return
	fi
	if [[ $command == profile && ${#words[@]} -eq 3 ]]; then
		_memmapfs_reply "$word" save load
		return
	fi
	if [[ $command == layer && ${#words[@]} -eq 3 ]]; then
		_memmapfs_reply "$word" status diff commit discard checkpoint adopt
		return
	fi
	if [[ $word == --sort=* ]]; then
		_memmapfs_reply "$word" --sort={io,mapped,resident,dirty,locked}
		return
	fi
	if [[ $word == -* ]]; then
		if [[ $command == profile || $command == layer ]]; then
			command="$command ${words[2]}"
		fi
		# shellcheck disable=SC2086 # two words for a profile or a layer
		mapfile -t candidates < <("$1" $command --help 2>/dev/null | sed -nE 's/^  (-h, )?(--[a-z]+=?).*/\2/p')
		_memmapfs_reply "$word" "${candidates[@]}"
		return
	fi
	case $command in
	advise)
		if [[ ${#words[@]} -eq 3 ]]; then
			_memmapfs_reply "$word" normal random sequential willneed dontneed cold pageout hugepage \
				nohugepage populate_read collapse
		else
			_memmapfs_paths -f "$word"
		fi
		;;
	stats | top | umount | layer)
		_memmapfs_paths -d "$word"
		if [[ -z $word ]]; then
			mapfile -t COMPREPLY < <("$1" list 2>/dev/null | sed -nE '2,$s/^(\S+)  .*/\1/p')
		fi
		;;
	list) ;;
	*) _memmapfs_paths -f "$word" ;;
	esac
}

complete -F _memmapfs_fuse memmapfs-fuse
complete -F _memmapfsctl memmapfsctl
