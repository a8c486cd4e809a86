#!/usr/bin/env bats
# Who wins in a union, event by event: the datastore's users.db is replaced by a copy, and the webservers meet it one after the other.  What a webserver has edited,
# or was told to be committed, gives way to no older version that another one still has.

load lib

# NAME...: Ada's email becomes NAME's latest, there
edits() { # NAME EMAIL
	value "$1" "UPDATE users SET email = '$2' WHERE uid = 1"
}

other_change() { # NAME: of another row, so that the datastore's seq rises
	value "$1" "UPDATE users SET email = email || '+' WHERE uid = 3"
}

# FILE: the datastore's users.db is this one, and the epoch rises
replace() {
	stop datastore
	start_with "$1"
}

start_with() {
	rm -f "$T"/datastore/users.db*
	mv "$1" "$T/datastore/users.db"
	start_datastore
	[ "$(status_of datastore .epoch)" -ge 2 ]
}

copy() { # NAME: of its users.db, with the marker it has now
	rm -f "$T/copy"
	sql "$T/$1/users.db" "VACUUM INTO '$T/copy'"
}

unmarked() {
	sql "$T/copy" 'DROP TABLE _sameroot_meta'
}

# EMAIL, after rounds of A and B by turns
stands() {
	rounds A B A B
	everywhere 'SELECT email FROM users WHERE uid = 1' "$1"
	assert_same
}

# B made it, A has it, and A has been in step longer than B.
both_have() {
	edits B "$1"
	rounds B A
	other_change A
	rounds A
}

# --- an edit ----------------------------------------------------------------------------------------------------------------------------

@test "an edit that the copy holds, too, is an edit: the version before it, which is as of later elsewhere, does not replace it" {
	begin
	both_have before
	edits B edited
	copy B
	replace "$T/copy"
	rounds B A
	stands edited
}

@test "... of a copy without a marker" {
	begin
	both_have before
	edits B edited
	copy B
	unmarked
	replace "$T/copy"
	rounds B A
	stands edited
}

@test "... of a webserver that is no more: the others have had the version before it since before the copy was made" {
	begin
	both_have before
	rounds B
	edits B edited
	copy B
	other_change A
	rounds A
	replace "$T/copy"
	rounds A
	[ "$(value A 'SELECT email FROM users WHERE uid = 1')" = edited ]
	stands edited
}

@test "... but what others have only since then replaces what the copy holds" {
	begin
	both_have before
	rounds B
	copy B
	edits A later
	rounds A
	other_change A
	rounds A
	replace "$T/copy"
	rounds A
	stands later
}

@test "an edit that replaces an old copy's version is an edit: the version before it does not replace it" {
	begin
	copy datastore
	both_have before
	edits B edited
	replace "$T/copy"
	rounds B A
	stands edited
}

# --- an acknowledged version ----------------------------------------------------------------------------------------------------------------

@test "a version that the copy holds as of an unknown time, and that is current here, gives way to no older one" {
	begin
	both_have before
	edits B acknowledged
	rounds B
	copy B
	unmarked
	replace "$T/copy"
	rounds B A
	stands acknowledged
}

@test "a version that the copy holds as of earlier, and that is current again here, gives way to none from in between" {
	begin
	copy datastore
	both_have 'in between'
	edits B ada@example.org
	rounds B
	replace "$T/copy"
	rounds B A
	stands ada@example.org
}

@test "where the state is lost, too, and another store's marker says whose history it is, a copy without a marker is of an unknown time" {
	begin
	copy datastore
	unmarked
	both_have before
	edits B acknowledged
	rounds B A
	echo later >"$T/A/resources/later" # a store whose marker is of the end
	rounds A B
	stop datastore
	mv "$T/datastore/state" "$T/without-state"
	start_with "$T/copy"
	grep -q 'carries the marker of instance' "$T/datastore.log"
	stands acknowledged
}

@test "a file that is current here gives way to no older one; its content is not sent to say so" {
	begin
	head -c 300000 /dev/urandom >"$T/B/resources/img/logo"
	rounds B A
	echo 'another' >"$T/A/resources/hosts.csv"
	rounds A
	head -c 300000 /dev/urandom >"$T/B/resources/img/logo"
	cp "$T/B/resources/img/logo" "$T/logo"
	rounds B
	stop datastore
	rm -rf "$T/datastore/resources"
	cp -r "$T/B/resources" "$T/datastore/resources"
	rm -rf "$T/datastore/resources/.sameroot"
	start_datastore
	edit_config B Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
	sent=$("$BIN/sameroot-sync" --once --json -c "$T/B.conf" | jq .sent)
	((sent < 100000)) || fail "$sent bytes"
	rounds A B A B
	assert_same
	cmp "$T/logo" "$T/datastore/resources/img/logo"
}

# --- epochs raised one after the other -------------------------------------------------------------------------------------------------------

adopt() { # EPOCH: it is this one then
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	[ "$(status_of datastore .epoch)" -eq "$1" ]
}

# A brings back what the older copy lacks; B was in step before, and has what that replaced.
brought_back() {
	begin
	copy datastore
	edits A acknowledged
	rounds A
	other_change A
	rounds A
	replace "$T/copy"
	rounds B A
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 1')" = acknowledged ]
}

@test "what a union brought back does not give way, as the next epoch is raised, to what it replaced" {
	brought_back
	adopt 3
	rounds B A
	stands acknowledged
}

@test "... nor to what a webserver has that lost its state" {
	brought_back
	mv "$T/B/state" "$T/B.state"
	rounds B A
	stands acknowledged
}

@test "... but to what was edited since" {
	brought_back
	edits B edited
	rounds A
	adopt 3
	rounds B A
	stands edited
}

# --- made anew ------------------------------------------------------------------------------------------------------------------------------

takes_away() { # NAME: a file and a row
	rm "$T/$1/resources/hosts.csv"
	value "$1" 'DELETE FROM users WHERE uid = 3'
}

makes_anew() { # NAME
	echo anew >"$T/$1/resources/hosts.csv"
	value "$1" "INSERT INTO users VALUES(3, 'Carol', 'anew', 0)"
}

anew_stands() {
	rounds A B A B
	everywhere 'SELECT email FROM users WHERE uid = 3' anew
	[ "$(<"$T/datastore/resources/hosts.csv")" = anew ]
	assert_same
}

# B has a newer version of what A takes away, C the one before that; then the datastore's state is lost, and with it that anything was taken away.
taken_away() {
	write_config C
	begin
	rounds C
	echo newer >"$T/B/resources/hosts.csv"
	value B "UPDATE users SET email = 'newer' WHERE uid = 3"
	rounds B A
	takes_away A
	rounds A
	stop datastore
	rm -r "$T/datastore/state"
	start_datastore
	[ "$(status_of datastore .epoch)" -gt 2 ]
}

newer_stands() {
	assert_same datastore A B C
	everywhere 'SELECT email FROM users WHERE uid = 3' newer
	[ "$(<"$T/datastore/resources/hosts.csv")" = newer ]
}

@test "of two versions of what is not at the datastore any more the later one comes back, also where the earlier one came first" {
	taken_away
	rounds C
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 3')" = c@example.org ]
	rounds B A C
	newer_stands
}

@test "... and where the later one came first" {
	taken_away
	rounds B C A B
	newer_stands
}

# The datastore is another instance, with another tree key, on the content that it had.
another_instance() {
	[[ -z ${PID[datastore]:-} ]] || stop datastore
	mv "$T/datastore/state" "$T/before"
	sql "$T/datastore/users.db" 'DROP TABLE _sameroot_meta'
	sql "$T/datastore/webstore.db" 'DROP TABLE _sameroot_meta'
	rm -rf "$T/datastore/resources/.sameroot"
	launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	wait_for 'the datastore is ready' ready datastore
	local was
	for _ in 1 2 3 4; do # beyond the numbers that the webservers have
		was=$(root_of datastore)
		value datastore "UPDATE users SET email = email || '+' WHERE uid = 1"
		wait_for 'the change is seen' another_root "$was"
	done
}

another_root() {
	[[ $(root_of datastore) != "$1" ]]
}

@test "what was deleted and made anew while a union was awaited is an edit" {
	begin
	takes_away B
	stop datastore
	round B # which finds nobody
	start_datastore
	adopt 2
	makes_anew B
	anew_stands
}

@test "... under another tree key, too, when it was away as the key came" {
	begin
	takes_away B
	another_instance
	if once B; then fail "a foreign datastore was not held"; fi
	grep -q 'held' "$T/B.once"
	makes_anew B
	round A
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	anew_stands
}

@test "... and when it was made anew before, or is new" {
	begin
	rm "$T/B/resources/hosts.csv"
	rounds B A
	stop datastore
	echo 'a table' >"$T/datastore/resources/hosts.csv"
	echo anew >"$T/B/resources/hosts.csv"
	value B "UPDATE users SET email = 'anew' WHERE uid = 3"
	another_instance
	round B A
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	anew_stands
}

@test "a copy is as of the last root that it held all of, not of one of which the rest never came" {
	begin
	start_proxy
	edits A equal
	value A "UPDATE users SET email = 'newer' WHERE uid = 2"
	rounds A
	edits B equal
	tamper bundle-cut
	once B && fail 'the rest came'
	grep -q 'users.db: pull' "$T/B.once"
	copy B
	replace "$T/copy"
	tamper pass
	rounds B A
	stands equal
	everywhere 'SELECT email FROM users WHERE uid = 2' newer
}

@test "what is new since the last round, and stands in a copy at the datastore as it was then, is an edit when it was made anew" {
	begin
	rounds A B
	value B "INSERT INTO users VALUES(9, 'Zoe', 'first', 0)"
	copy B
	value B 'DELETE FROM users WHERE uid = 9'
	replace "$T/copy"
	value B "INSERT INTO users VALUES(9, 'Zoe', 'anew', 0)"
	rounds A B A B
	everywhere 'SELECT email FROM users WHERE uid = 9' anew
	assert_same
}

# A's look, B's round, and A's push, after which the datastore is away: A is not as of its own push.
a_push_meets_another() {
	start_proxy
	edit_config B Datastore= "Datastore=127.0.0.1:$REAL_PORT"
	cat >"$T/meanwhile" <<-EOF
		#!/bin/sh
		if [ ! -e "$T/B.went" ]; then
			"$BIN/sameroot-sync" --once -c "$T/B.conf" >"$T/B.went" 2>&1
			echo push-meanwhile 1 >"$T/tamper.new"
		else
			echo busy >"$T/tamper.new"
		fi
		mv "$T/tamper.new" "$T/tamper"
	EOF
	chmod +x "$T/meanwhile"
	tamper tree-meanwhile 1
	once A && fail 'the datastore was there'
	tamper pass
	DATASTORE_PORT=$REAL_PORT
}

@test "what was deleted by a push that met another one on its way, and was made anew since, is an edit of that absence" {
	begin
	value A 'DELETE FROM users WHERE uid = 2'
	rm "$T/A/resources/hosts.csv"
	value B "UPDATE users SET email = 'meanwhile' WHERE uid = 3"
	echo meanwhile >"$T/B/resources/meanwhile"
	a_push_meets_another
	[ -z "$(value datastore 'SELECT 1 FROM users WHERE uid = 2')" ]
	[ "$(value B 'SELECT email FROM users WHERE uid = 3')" = "$(value datastore 'SELECT email FROM users WHERE uid = 3')" ]
	copy B
	stop datastore
	rm -rf "$T/datastore/resources"
	cp -a "$T/B/resources" "$T/datastore/resources"
	start_with "$T/copy"
	value A "INSERT INTO users VALUES(2, 'Bert', 'anew', 0)"
	echo anew >"$T/A/resources/hosts.csv"
	rounds B A B A
	everywhere 'SELECT email FROM users WHERE uid = 2' anew
	[ "$(<"$T/datastore/resources/hosts.csv")" = anew ]
	assert_same
}

@test "what was deleted, agreed on as absent, and made anew is newer than what another webserver's union brings back meanwhile" {
	begin
	copy datastore
	value A "INSERT INTO groups VALUES (71, 'before')"
	rounds A B
	stop datastore
	value A "DELETE FROM groups WHERE gid = 71"
	start_with "$T/copy"
	rounds A
	value A "INSERT INTO groups VALUES (71, 'anew')"
	rounds B
	[ "$(value datastore 'SELECT name FROM groups WHERE gid = 71')" = before ]
	rounds A B A
	everywhere 'SELECT name FROM groups WHERE gid = 71' anew
	assert_same
}
