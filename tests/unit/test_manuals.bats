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

# --- the commands that the texts tell one to type -------------------------------------------------------------------------------

# Every command line of ours in the pages and the README, one a line
told_commands() {
	{
		sed -nE 's/^\.(Dl|Ql) //p' man/*.[1578] | sed 's/\\&//g; s/\\-/-/g; s/\\(dq/"/g'
		grep -oE '`sameroot[a-z-]* [^`]*`' README.md NEWS.md | sed 's/^[^`]*`//; s/`$//'
		grep -E '^sameroot' README.md
	} | sed -E 's/ +#.*//; s/[|&;]+/\n/g' | sed -nE 's/^ *(ssh [a-z0-9]+ )?(sameroot(-[a-z]+)?( .*)?)$/\2/p' | sed -E 's/ [.,:;)].*$//; s/ ?[<>].*//' | sort -u
}

# COMMAND LINE: do its words and options exist?
is_real() {
	local name=$1 words="" option
	shift
	[ -x "$BIN/$name" ] || { echo "there is no program $name"; return 1; }
	if [ -n "$(commands_of "$name")" ] && [[ $# -gt 0 && $1 != -* && $1 != COMMAND ]]; then
		words=$1
		[[ $# -lt 2 ]] || ! commands_of "$name" | grep -qxF "$1 $2" || words="$1 $2"
		commands_of "$name" | grep -qE "^$words( |\$)" || { echo "$name has no command $words"; return 1; }
		commands_of "$name" | grep -qxF "$words" || return 0 # a family of them, named as such
	fi
	for option; do
		[[ $option == -?* ]] || continue
		# shellcheck disable=SC2086
		options_of_help "$name" $words | grep -qxF -- "${option%%=*}" || { echo "$name $words has no $option"; return 1; }
	done
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

@test "each command that a page or the README tells one to type exists, with its options" {
	n=0 wrong=0
	while read -r line; do
		n=$((n + 1))
		# shellcheck disable=SC2086
		is_real $line || { echo "  in: $line"; wrong=1; }
	done < <(told_commands)
	[ "$n" -ge 40 ]
	[ "$wrong" -eq 0 ]
}

@test "the runbook has the command of each disaster" {
	for command in 'sameroot-restore datastore --from ' 'sameroot-restore datastore --from-files' 'sameroot-restore datastore --from-backup' \
		'sameroot-restore webserver --from-datastore' 'sameroot adopt --union' 'sameroot adopt --mirror' 'sameroot adopt --deletions' \
		'sameroot join --new-uuid' 'sameroot join --new-key' 'sameroot join --line' 'sameroot init --datastore' 'sameroot backup' 'sameroot verify' \
		'sameroot log' 'sameroot restore .* --at' 'sameroot conflicts list --all' 'sameroot conflicts restore' 'sameroot conflicts remove'; do
		grep -qE "^\.Dl $command" man/sameroot-recovery.7 || { echo "sameroot-recovery.7 lacks $command"; return 1; }
	done
}
