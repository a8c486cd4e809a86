#!/usr/bin/env bats
# A webserver's worst days, while the applications of the others go on writing.  See disasters.bats; what its own application had not yet brought to the datastore
# when its disk went is gone with it, so that one rests first.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them

load lib
load disaster

# All is at the datastore that A's application wrote; B's goes on.
a_rests() {
	at_work
	rest A
	sync_now A
	sync_now A
}

# A sees it; B and the datastore go on all the while.
others_go_on() {
	value B "INSERT INTO kept VALUES('B-goes-on', 'goes on', NULL)"
	echo 'goes on' >"$T/B/resources/goes-on"
	wait_for 'the others go on' has datastore 'B-goes-on'
	[ "$(value datastore "SELECT count(*) FROM kept WHERE key LIKE 'A-%'")" = "$1" ]
}

rows_of_a() {
	value datastore "SELECT count(*) FROM kept WHERE key LIKE 'A-%'"
}

@test "a webserver's databases are deleted: paused there, deleted nowhere; sameroot-restore fills them from the datastore" {
	a_rests
	n=$(rows_of_a)
	rm "$T"/A/users.db* "$T"/A/webstore.db*
	wait_for 'A sees it' says A 'users.db.*lost: nothing is there'
	wait_for 'the datastore shows it' says datastore 'lost: nothing is there'
	others_go_on "$n"
	wait_for 'its files go on' test -s "$T/A/resources/goes-on"
	stop A
	restore A --from-datastore --store users.db --store webstore.db
	start_webserver A
	work A # at once: what is filled knows what it was filled with
	worked
	all_is_well
}

@test "a webserver's database is corrupt, in its header or in a page: paused there, and nothing of it is read as a deletion" {
	a_rests
	n=$(rows_of_a)
	size=$(stat -c %s "$T/A/webstore.db")
	value A 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
	dd if=/dev/urandom of="$T/A/users.db" bs=100 count=1 conv=notrunc status=none
	((size > 8192))
	# The root pages of its tables too, and another change counter, or whoever has the pages in its cache does not read them again; no one writes meanwhile.
	sqlite3 -bail -cmd '.timeout 20000' "$T/A/webstore.db" <<-EOF
		BEGIN IMMEDIATE;
		.shell dd if=/dev/urandom of='$T/A/webstore.db' bs=1 seek=4096 count=$((size - 4096)) conv=notrunc status=none
		.shell printf '\377\377\377\376' | dd of='$T/A/webstore.db' bs=1 seek=24 conv=notrunc status=none
		ROLLBACK;
	EOF
	wait_for 'A sees the header' says A 'users.db.*corrupt'
	wait_for 'A sees the pages' says A 'webstore.db.*corrupt.*malformed.*sameroot-restore webserver'
	others_go_on "$n"
	stop A
	restore A --from-datastore --store users.db --store webstore.db
	[ -n "$(find "$T/A" -name 'users.db.before-restore-*')" ]
	start_webserver A
	work A
	worked
	all_is_well
}

@test "a webserver's state directory is lost, its stores are not: united by itself, nothing comes back that was deleted" {
	a_rests
	stop A
	lose A/state
	worked_at B
	start_webserver A
	sync_now A
	work A
	worked
	all_is_well
}

worked_at() { # NAME: its application has written more
	local n
	n=$(lines "$1")
	wait_for "$1 has written more" has_written "$1" "$((n + 60))"
	sync_now "$1"
}

@test "a webserver's resources are unmounted: paused, deleted nowhere, and it goes on by itself when they are mounted again" {
	take_away A first
	at_work
	take_away A
	wait_for 'A sees it' says A 'resources.*lost:'
	others_go_on "$(rows_of_a)" || true # A's own rows go on changing
	[ -n "$(find "$T/datastore/resources" -type f -name 'A-*')" ]
	wait_for "A's databases go on" has A 'B-goes-on'
	bring_back A
	wait_for 'it goes on' test -s "$T/A/resources/goes-on"
	all_is_well
}

@test "a webserver is restored from an older image, state and stores: what it held then is no edit and no deletion" {
	a_rests
	stop A
	mkdir "$T/image"
	cp -a "$T"/A/{users.db*,webstore.db*,resources,state} "$T/image/"
	start_webserver A
	work A
	worked
	rest A
	sync_now A
	sync_now A
	stop A
	lose A/state
	rm -rf "$T"/A/{users.db*,webstore.db*,resources}
	cp -a "$T"/image/. "$T/A"
	start_webserver A
	wait_for 'it is not taken for a second machine' is_well A # for a few rounds it might be one
	work A
	worked
	all_is_well
}

@test "a webserver was away for weeks: its root is forgotten, its edits are not" {
	a_rests
	stop A
	work A # its application goes on, its daemon does not
	worked_at B
	rest A
	stop datastore
	sqlite3 "$T/datastore/state/state.db" "DELETE FROM root WHERE seq < (SELECT max(seq) FROM root)" # as after ten thousand commits
	start_datastore
	start_webserver A
	sync_now A
	admin datastore /api/admin/status | jq -e '.webservers | length == 2' >/dev/null
	all_is_well
}

# --- deleted by mistake -------------------------------------------------------------------------------------------------------------------

@test "60 % of a store deleted on a webserver by mistake: the datastore holds it, status says so everywhere, one command lets it through or takes it back" {
	edit_config datastore Max-Delete-Percent= Max-Delete-Percent=10
	edit_config B Max-Delete-Percent= Max-Delete-Percent=10 # A does not hold it itself
	all_have_them
	kill -STOP "${PID[A]}" # all of it goes in one push, however slow they are
	value A "DELETE FROM kept WHERE CAST(substr(key, 5) AS INT) <= 120"
	rm "$T"/A/resources/d1/file-{1..36}
	kill -CONT "${PID[A]}"
	wait_for 'A shows it' says A '120 of 200 rows would be deleted everywhere.*sameroot adopt --deletions'
	wait_for 'the datastore shows it' says datastore '120 of 200 rows would be deleted everywhere.*sameroot adopt --deletions'
	value B "UPDATE kept SET value = 'goes on' WHERE key = 'row-200'"
	wait_for 'B goes on' [ "$(value datastore "SELECT count(*) FROM kept")" = 200 ]
	[ "$(value B "SELECT count(*) FROM kept")" = 200 ]
	[ "$(find "$T/B/resources" -name 'file-*' | wc -l)" = 60 ]
	"$BIN/sameroot" adopt --deletions --yes -c "$T/datastore.conf" >"$T/adopted"
	wait_same
	[ "$(value B "SELECT count(*) FROM kept")" = 80 ]
	[ "$(find "$T/B/resources" -name 'file-*' | wc -l)" = 24 ]
	[ "$(value A "SELECT value FROM kept WHERE key = 'row-200'")" = 'goes on' ]
}
