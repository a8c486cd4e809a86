#!/usr/bin/env bats
# The first page's `cp` commands: a datastore's stores copied by hand from a webserver's.  Another node's marker means "base unknown", and nothing worse.

# shellcheck disable=SC2154 # keys of URL

load lib

prepare() {
	fill A
	start_all
	wait_same
	sql "$T/A/webstore.db" "DELETE FROM history WHERE id = 1"
	sql "$T/A/users.db" "UPDATE users SET email = 'the last one' WHERE uid = 1"
	sync_now A
	wait_same
	stop datastore
}

lose_stores() {
	rm -rf "$T"/datastore/users.db* "$T"/datastore/webstore.db* "$T/datastore/resources"
}

# The page's, with the two wrong ones done right: the web store is not copied onto itself, the resources have one path.
literally() {
	cp "$T/A/users.db" "$T/datastore/users.db"
	cp "$T/A/webstore.db" "$T/datastore/webstore.db"
	mkdir -p "$T/datastore/resources"
	cp -r "$T"/A/resources/* "$T/datastore/resources/"
}

equal_at_last() {
	wait_same
	everywhere "SELECT email FROM users WHERE uid = 1" "$1"
	check_databases
}

@test "done literally, with the application's log left behind: nothing is lost, everyone goes on" {
	prepare
	lose_stores
	literally
	start_datastore
	[ "$(status_of datastore .epoch)" -eq 2 ]
	equal_at_last 'the last one'
	[ "$(conflicts A length)$(conflicts B length)" = 00 ] || fail "$(conflicts A) $(conflicts B)"
}

@test "with .sameroot and the logs copied, too, while the application writes" {
	prepare
	lose_stores
	sql "$T/A/users.db" "UPDATE users SET email = 'not sent yet' WHERE uid = 1"
	cp "$T"/A/users.db* "$T/datastore/"
	cp "$T"/A/webstore.db* "$T/datastore/"
	rm -f "$T"/datastore/*-shm
	cp -r "$T/A/resources" "$T/datastore/"
	sql "$T/B/users.db" "INSERT INTO users(uid, name) VALUES(90, 'b wrote on')"
	start_datastore
	equal_at_last 'not sent yet'
	everywhere "SELECT name FROM users WHERE uid = 90" 'b wrote on'
}

# What an application's last connection does when it closes; here the sync daemon has it open, too.
into_the_file() {
	local db
	for db in users webstore; do sql "$T/A/$db.db" 'PRAGMA wal_checkpoint(TRUNCATE)'; done
}

@test "the state directory is lost with them: a copy's marker says whose history is gone on with" {
	prepare
	instance=$(api A /api/tree | jq -r .instance)
	rm -rf "$T/datastore"
	mkdir "$T/datastore"
	into_the_file
	literally
	start_datastore
	[ "$(status_of datastore .instance)" = "$instance" ]
	equal_at_last 'the last one'
	[ "$(conflicts A length)$(conflicts B length)" = 00 ]
}

both_have_asked() {
	[ "$(status_of datastore '.webservers | length')" -eq 2 ]
}

@test "nothing says whose they are: the datastore waits for adopt --union, and the webservers' versions stand" {
	prepare
	rm -rf "$T/datastore"
	mkdir "$T/datastore"
	literally
	launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	wait_for 'it says what to do' grep -q 'adopt --union' "$T/datastore.log"
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	wait_for 'both have asked' both_have_asked # who did before that is let in, others are held
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	equal_at_last 'the last one'
	[ "$(conflicts A length)$(conflicts B length)" = 00 ] || fail "$(conflicts A) $(conflicts B)"
}

@test "one database only, over the old one with its log beside it; the file that is copied onto itself harms nothing" {
	prepare
	sql "$T/datastore/users.db" "UPDATE users SET email = 'in the old log' WHERE uid = 2" # a log lies beside what is overwritten
	cp "$T/A/users.db" "$T/datastore/users.db"
	cp "$T/A/webstore.db" "$T/A/webstore.db" 2>/dev/null || true
	start_datastore
	equal_at_last 'the last one'
}
