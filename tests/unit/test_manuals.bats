#!/usr/bin/env bats
# What a program's --help says stands in its manual page.

@test "each program has a page, and each option of --help stands in it" {
	programs=("$SAMEROOT_SOURCE"/cmd/*.c)
	[ -e "${programs[0]}" ] || skip "there are no programs yet"
	for source in "${programs[@]}"; do
		name=$(basename "$source" .c)
		pages=("$SAMEROOT_SOURCE"/man/"$name".[18])
		[ -e "${pages[0]}" ] || { echo "$name has no manual page"; return 1; }
		text=$(mandoc -T ascii "${pages[0]}" | sed 's/.\x08//g')
		options=$("$BIN/$name" --help | grep -oE '(^|[^A-Za-z0-9_-])-(-[a-z][a-z-]+|[a-zA-Z]\b)' | grep -oE -- '--?[A-Za-z][a-z-]*' | sort -u)
		[ -n "$options" ] || { echo "$name --help names no option"; return 1; }
		for option in $options; do
			grep -qE -- "(^|[^A-Za-z0-9-])$option([^A-Za-z0-9-]|\$)" <<<"$text" || { echo "${pages[0]} lacks $option"; return 1; }
		done
	done
}
