#!/usr/bin/env bats
# The guards (design section 8): what is held says so on both sides, with the command that resolves it; and that command, after a look at what it will do.

# shellcheck disable=SC2154 # keys of PID

load lib

# NODE COMMAND...: `sameroot` on that node; what it says in $output
tool() {
	local node=$1
	shift
	run "$BIN/sameroot" "$@" -c "$T/$node.conf" </dev/null
}

says() { # WORD...
	local word
	for word; do [[ $output == *"$word"* ]] || fail "no '$word' in: $output" || return 1; done
}

# The datastore is another one, with its own stores: a foreign history.
replace_datastore() {
	stop datastore
	mv "$T/datastore" "$T/old-datastore"
	mkdir "$T/datastore"
	start_datastore
}

# NAME...: a round of each is held
held() {
	local name
	for name; do
		run once "$name"
		[ "$status" -eq 1 ] || fail "$name: status $status: $(<"$T/$name.once")"
	done
}

# --- status -------------------------------------------------------------------------------------------------------------

@test "what is held on a webserver, or paused, is shown on the datastore too, with the command, until it is resolved" {
	begin
	tool datastore status
	[ "$status" -eq 0 ]
	mv "$T/B/resources" "$T/unmounted"
	round B A
	tool datastore status
	[ "$status" -eq 1 ]
	says '127.0.0.1: resources' 'lost: nothing is there' 'since' 'sameroot-restore webserver --from-datastore --store resources' 'put it back'
	mv "$T/unmounted" "$T/B/resources"
	rounds B
	tool datastore status
	[ "$status" -eq 0 ] || fail "$output"
	replace_datastore
	held A
	tool datastore status
	[ "$status" -eq 1 ]
	says 'round' 'held: the datastore'"'"'s history is foreign' 'sameroot adopt --union' 'sameroot adopt --mirror'
	api datastore /api/webservers | jq -e '.[0].status | .held[0].command and .held[0].since_ms > 0 and .conflicts.entries == 0 and .paused == []'
	snapshot A
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	rounds A B
	tool datastore status
	[ "$status" -eq 0 ] || fail "$output"
	assert_same
	[ "$(value datastore 'SELECT count(*) FROM users')" = 3 ]
}
