# bash completion of sameroot(1) and its daemons.  It knows nothing by itself: commands and options are what --help says.

# Commands as --help lists them, "word" or "word word"
_sameroot_commands() {
	"$1" --help 2>/dev/null | sed -nE '/^ +-/q; s/^  ([a-z]+( [a-z]+)?)( .*)?$/\1/p'
}

# PROGRAM [WORD...]: "option", or "option VALUE", one a line
_sameroot_options() {
	"$@" --help 2>/dev/null | sed -nE 's/^  (-[a-zA-Z]), (--[a-z-]+)( ([][A-Z:=]+))? .*/\1 \4\n\2 \4/p; s/^      ?(--[a-z-]+)( ([][A-Z:=]+))? .*/\1 \3/p'
}

_sameroot() {
	local program=$1 cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} commands options value i
	local -a words=()

	COMPREPLY=()
	commands=$(_sameroot_commands "$program")
	for ((i = 1; i < COMP_CWORD && ${#words[@]} < 2; i++)); do
		grep -qE "^${words[*]:+${words[*]} }${COMP_WORDS[i]//[^a-z]/.}( |\$)" <<<"$commands" && words+=("${COMP_WORDS[i]}")
	done
	options=$(_sameroot_options "$program" "${words[@]}")
	value=$(awk -v option="$prev" '$1 == option { print $2 }' <<<"$options")
	case $value in
	'') ;;
	*FILE | *PATH) mapfile -t COMPREPLY < <(compgen -f -- "$cur") && compopt -o filenames && return ;;
	DIRECTORY) mapfile -t COMPREPLY < <(compgen -d -- "$cur") && compopt -o filenames && return ;;
	*) return ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(awk '{ print $1 }' <<<"$options")" -- "$cur")
	elif [[ -n $commands ]]; then
		# the word that goes on, of the commands that begin with those that are there
		mapfile -t COMPREPLY < <(compgen -W "$(awk -v n=${#words[@]} -v begin="${words[*]:+${words[*]} }" \
			'index($0 " ", begin) == 1 && NF > n { print $(n + 1) }' <<<"$commands" | sort -u)" -- "$cur")
	fi
	if [[ ${#COMPREPLY[@]} -eq 0 && $cur != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur") && compopt -o filenames
	fi
}
complete -F _sameroot sameroot sameroot-datastore sameroot-sync sameroot-restore sameroot-lb
