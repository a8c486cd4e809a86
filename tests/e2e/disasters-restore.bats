#!/usr/bin/env bats
# The datastore's worst days that the runbook, sameroot-recovery(7), resolves by sameroot-restore: the applications go on writing where it fetches from, too.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them

load lib
load disaster

@test "the datastore's databases are deleted: paused, the files go on, sameroot-restore brings them from a webserver" {
	at_work
	rm "$T"/datastore/users.db* "$T"/datastore/webstore.db*
	wait_for 'it is seen' says datastore 'lost: nothing is there'
	goes_on
	stop datastore
	restore datastore --from "${URL[A]}" --store users.db --store webstore.db
	start_datastore
	RETURNED=1 all_is_well # what was deleted meanwhile may be back: a union deletes nothing
}

@test "the datastore's resources are deleted, directory and all: paused, the databases go on; sameroot-restore brings them from a webserver" {
	at_work
	until rm -rf "$T/datastore/resources" 2>/dev/null; do :; done # the daemon makes something in it just now
	wait_for 'it is seen' says datastore 'lost: nothing is there'
	value A "INSERT INTO kept VALUES('A-goes-on', 'goes on', NULL)"
	wait_for 'the databases go on' has B 'A-goes-on'
	stop datastore
	restore datastore --from "${URL[B]}" --store resources
	start_datastore
	RETURNED=1 all_is_well
}

@test "everything at the datastore is deleted: sameroot-restore takes it from both webservers before it starts again" {
	at_work
	stop datastore
	lose datastore
	mkdir "$T/datastore"
	restore datastore --from "${URL[A]}" --from "${URL[B]}"
	start_datastore
	RETURNED=1 all_is_well
	[ "$(status_of datastore .epoch)" -gt 2 ]
}

@test "everything at the datastore is deleted, and it started empty: sameroot-restore, and the history's name goes on" {
	at_work
	instance=$(status_of datastore .instance)
	stop datastore
	lose datastore
	start_datastore
	wait_for 'A is held' says A 'held:.*history is foreign'
	stop datastore
	restore datastore --from "${URL[A]}"
	start_datastore
	RETURNED=1 all_is_well
	[ "$(status_of datastore .instance)" = "$instance" ]
}
