#!/usr/bin/env bats
# What a program's --help says and what its manual page says: neither lacks anything of the other.

setup() {
	cd "$SAMEROOT_SOURCE" || exit
	programs=(cmd/*.c)
	[ -e "${programs[0]}" ] || skip "there are no programs yet"
	programs=("${programs[@]#cmd/}")
	programs=("${programs[@]%.c}")
}

page_of() { # PROGRAM
	local pages=(man/"$1".[18])
	[ -e "${pages[0]}" ] || { echo "$1 has no manual page" >&2; return 1; }
	echo "${pages[0]}"
}

# --- what --help says ---------------------------------------------------------------------------------------------------------

# PROGRAM [WORD...]: every option in its --help, one a line
options_of_help() {
	"$BIN/$1" "${@:2}" --help | grep -oE '(^|[^A-Za-z0-9_-])-(-[a-z][a-z-]+|[a-zA-Z]\b)' | grep -oE -- '--?[A-Za-z][a-z-]*' | sort -u
}

# PROGRAM: its commands, each "word" or "word word", one a line; none if it has none.  They are listed in --help before the options, indented.
commands_of() {
	"$BIN/$1" --help | awk '/^  +-|^    --/ { exit } /^  [a-z]/ { print $0 }' | sed -E 's/^  ([a-z]+( [a-z]+)?)( .*)?$/\1/'
}

# --- what the page says -------------------------------------------------------------------------------------------------------

# The .Fl words of mdoc lines on stdin, one option a line
options_of_mdoc() {
	awk '{ for (i = 1; i < NF; i++) if ($i ~ /^\.?Fl$/) print "-" $(i + 1) }' | sort -u
}

section() { # NAME PAGE
	awk -v name=".Sh $1" '/^\.Sh / { on = $0 == name } on' "$2"
}

# PAGE WORDS: the options in the SYNOPSIS of that command
synopsis_of() {
	section SYNOPSIS "$1" | awk -v words="$2" '
		/^\.Nm/ { block = ""; mine = 0; next }
		/^\.Cm / && !mine { sub(/^\.Cm /, ""); mine = $0 == words || index($0, words " ") == 1 ? 1 : 2; if (mine == 1) print; next }
		mine == 1' | options_of_mdoc
}

# --- the tests -----------------------------------------------------------------------------------------------------------------

@test "each option of --help stands in the program's page" {
	for name in "${programs[@]}"; do
		page=$(page_of "$name")
		text=$(mandoc -T ascii "$page" | sed 's/.\x08//g')
		options=$(options_of_help "$name")
		[ -n "$options" ] || { echo "$name --help names no option"; return 1; }
		for option in $options; do
			grep -qE -- "(^|[^A-Za-z0-9-])$option([^A-Za-z0-9-]|\$)" <<<"$text" || { echo "$page lacks $option"; return 1; }
		done
	done
}

@test "each option that a page lists stands in --help" {
	for name in "${programs[@]}"; do
		page=$(page_of "$name")
		known=$({
			options_of_help "$name"
			commands_of "$name" | while read -r words; do
				# shellcheck disable=SC2086
				options_of_help "$name" $words
			done
		} | sort -u)
		listed=$({ section SYNOPSIS "$page" && grep '^\.It Fl' "$page"; } | options_of_mdoc)
		[ "$(wc -l <<<"$listed")" -ge 4 ]
		for option in $listed; do
			grep -qxF -- "$option" <<<"$known" || { echo "$page: $option is in no --help of $name"; return 1; }
		done
	done
}

@test "each command has its own synopsis, with just the options of its --help" {
	found=0
	for name in "${programs[@]}"; do
		page=$(page_of "$name")
		while read -r words; do
			[ -n "$words" ] || continue
			found=$((found + 1))
			# shellcheck disable=SC2086
			help=$(options_of_help "$name" $words | grep -vxE -- '--(config|help|version)')
			synopsis=$(synopsis_of "$page" "$words" | grep -vxE -- '--(config|help|version)' || true)
			[ "$help" = "$synopsis" ] || { echo "$name $words: --help and the synopsis in $page differ:"; diff <(echo "$help") <(echo "$synopsis"); return 1; }
		done < <(commands_of "$name")
	done
	[ "$found" -ge 7 ]
}

@test "each command of a page's synopsis is one of --help" {
	while read -r words; do
		commands_of sameroot | grep -qxF "$words" || { echo "sameroot has no command $words"; return 1; }
	done < <(section SYNOPSIS man/sameroot.1 | sed -nE 's/^\.Cm ([a-z]+( [a-z]+)?)$/\1/p' | sort -u)
}
