#!/usr/bin/env bats
# The datastore's worst days, while two applications go on writing: nothing is lost, nothing is reverted, nothing is deleted unasked, status says what is held and
# which command resolves it, and that command brings all roots together.  application.py is both the applications and the judge of every value.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them

load lib
load disaster

# --- stores that are gone -------------------------------------------------------------------------------------------------------------

@test "the datastore's store lies on a mount that is gone: paused, and it goes on by itself when it is mounted again" {
	take_away datastore first
	at_work
	take_away datastore
	wait_for 'it is seen' says datastore 'lost: nothing is there'
	says datastore 'mount'
	value A "INSERT INTO kept VALUES('A-goes-on', 'goes on', NULL)"
	wait_for 'the databases go on' has B 'A-goes-on'
	bring_back datastore
	all_is_well
}

# --- another history --------------------------------------------------------------------------------------------------------------------

@test "everything at the datastore is deleted and it starts empty: held, nothing is deleted, one command unites" {
	at_work
	stop datastore
	lose datastore
	start_datastore
	wait_for 'A is held' says A 'held:.*history is foreign.*sameroot adopt --union'
	wait_for 'B is held' says B 'held:.*history is foreign.*sameroot adopt --union'
	wait_for 'the datastore says so' says datastore 'adopt --union'
	[ "$(value datastore 'SELECT count(*) FROM sqlite_master')" -le 1 ] # nobody filled it unasked
	adopt_union
	RETURNED=1 all_is_well
}

@test "the datastore is replaced by another one, with a state and content of its own: held, one command unites all of both" {
	write_config C Max-Delete-Percent=100
	application make "$T/C"
	start_datastore
	start_webserver C
	work C
	wait_for 'C has written' test -s "$T/C/resources/d0"
	rest C
	wait_same datastore C
	stop datastore
	stop C
	mv "$T/datastore" "$T/another"
	mkdir "$T/datastore"
	at_work
	stop datastore
	lose datastore
	mv "$T/another" "$T/datastore"
	start_datastore
	wait_for 'A is held' says A 'held:.*history is foreign.*sameroot adopt --union'
	wait_for 'B is held' says B 'held:.*history is foreign'
	adopt_union
	start_webserver C
	RETURNED=1 all_is_well A B C
}

@test "the datastore is restored from a backup that is older than the webservers' state: held, one command unites, the newer versions stand" {
	at_work
	stop datastore
	cp -a "$T/datastore" "$T/backup"
	start_datastore
	worked
	stop datastore
	lose datastore
	mv "$T/backup" "$T/datastore"
	start_datastore
	wait_for 'A is held' says A 'held:.*history is (ahead|fork).*sameroot adopt --union'
	wait_for 'B is held' says B 'held:.*sameroot adopt --union'
	adopt_union
	RETURNED=1 all_is_well
}

@test "the datastore's state directory is lost, its stores are not: it goes on by itself, and equal data is no conflict" {
	at_work
	stop datastore
	lose datastore/state
	start_datastore
	STRICT=1 RETURNED=1 all_is_well
	grep -q 'no state, but store .* carries the marker of instance' "$T/datastore.log"
}
