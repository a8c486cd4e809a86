#!/usr/bin/env bats
# sameroot-restore while the applications go on: no store fails because its source moves on, and what is edited before the daemon is back is not reverted.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them, keys of URL

load lib
load disaster

restore() { # ARG...: what it says in $output
	run "$BIN/sameroot-restore" "$@"
	echo "sameroot-restore $*: status $status"
	echo "$output"
}

@test "all stores from a webserver that is written to throughout" {
	at_work
	stop datastore
	rm -rf "$T"/datastore/users.db* "$T"/datastore/webstore.db* "$T/datastore/resources"
	restore datastore -c "$T/datastore.conf" --yes --from "${URL[A]}" --store users.db --store webstore.db
	[ "$status" -eq 0 ]
	restore datastore -c "$T/datastore.conf" --yes --from "${URL[A]}"
	[[ $status -le 1 ]] # 1: a file changed whenever it was asked for
	start_datastore
	RETURNED=1 all_is_well
}
