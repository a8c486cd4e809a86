# filters.bash - what a unit's filters let a program do, beside what strace saw it do.  To be loaded after lib.bash; needs systemd-analyze.

# System calls that the unit's filter lets through, one a line
allowed_by() { # UNIT
	local list set
	mapfile -t list < <(sed -nE 's/^SystemCallFilter=//p' "$1" | sed -E 's/^~(.*)/\1/; t no; s/([^ ]+)/+\1/g; b; :no s/([^ ]+)/-\1/g' | tr ' ' '\n')
	for set in "${list[@]}"; do expand "${set:1}" | sed "s/^/${set:0:1}/"; done |
		awk '{ on[substr($0, 2)] = /^\+/ } END { for (call in on) if (on[call]) print call }' | sort
}

expand() { # SET
	local name
	[[ $1 == @* ]] || echo "$1"
	for name in $([[ $1 != @* ]] || systemd-analyze syscall-filter --no-pager "$1" | sed 's/\x1b\[[0-9;]*m//g' | awk 'NR > 1 && !/#/ { print $1 }'); do
		if [[ $name == @* ]]; then expand "$name"; else echo "$name"; fi
	done
}

# UNIT TRACE: the system calls that it made and may not
beyond() {
	sed -nE 's/^([0-9]+ +)?([a-z_0-9]+)\(.*/\2/p' "$2" | sort -u | comm -23 - <(allowed_by "$1")
}

# UNIT TRACE: nothing beyond SystemCallFilter, MemoryDenyWriteExecute and RestrictAddressFamilies, which all units have the same
keeps_to() {
	local families
	grep -q exit_group "$2" || fail "$2 is no trace" || return 1
	[ -z "$(beyond "$1" "$2")" ] || fail "$1: $(beyond "$1" "$2" | tr '\n' ' ')" || return 1
	! grep -E 'PROT_WRITE\|PROT_EXEC|mprotect\(.*PROT_EXEC' "$2" || return 1
	families=$(grep -oE '\bsocket\(AF_[A-Z0-9]+' "$2" | grep -vE 'AF_(INET6?|UNIX)$' || true)
	[ -z "$families" ] || fail "$1: $families"
}
