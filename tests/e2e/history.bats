#!/usr/bin/env bats
# What was replaced or deleted is kept at the datastore, listed by `sameroot log`, and brought back by `sameroot restore`, for every webserver.

# shellcheck disable=SC2154 # keys of PID

load lib

# [SQL]: two webservers in step; SQL: more in their users.db
in_step() {
	unlimited_deletions
	fill A
	[[ $# -eq 0 ]] || sql "$T/A/users.db" "$1"
	start_datastore
	rounds A B
}

# A command on the datastore.  STATUS: what it ends with
on_datastore() {
	local want=$1 status=0
	shift
	output=$("$BIN/sameroot" "$@" -c "$T/datastore.conf" 2>&1) || status=$?
	[ "$status" -eq "$want" ] || fail "sameroot $*: status $status: $output"
}

seq() {
	status_of datastore .seq
}

has() {
	[[ $output == *"$1"* ]] || fail "no $1 in: $output"
}

has_not() {
	[[ $output != *"$1"* ]] || fail "$1 in: $output"
}

# The datastore's clock as it would have been: what it knows to have happened was N days earlier.
days_ago() {
	stop datastore
	sql "$T/datastore/state/state.db" "UPDATE journal SET at_ms = at_ms - $1 * 86400000; UPDATE replaced SET at_ms = at_ms - $1 * 86400000;
		UPDATE root SET at_ms = at_ms - $1 * 86400000"
	start_datastore
}

# NODE FILE: its mode and time
file_of() {
	stat -c '%a %Y' "$T/$1/resources/$2"
}

@test "a file, a row and a whole table deleted yesterday come back by restore --at, on every webserver" {
	local before
	in_step
	snapshot A >"$T/before"
	before=$(file_of A hosts.csv)
	# two days ago all was well; then, yesterday evening, ...
	days_ago 1
	rm "$T/A/resources/hosts.csv" "$T/A/resources/img/logo"
	rmdir "$T/A/resources/img"
	sql "$T/A/users.db" 'PRAGMA foreign_keys=ON; DELETE FROM users WHERE uid = 1'
	sql "$T/A/webstore.db" "DELETE FROM dashboards"
	rounds A
	days_ago 1
	# today's work goes on
	sql "$T/B/users.db" "PRAGMA foreign_keys=ON; UPDATE users SET email = 'today' WHERE uid = 3"
	rounds B A B
	[ ! -e "$T/B/resources/hosts.csv" ]
	[ "$(sql "$T/B/webstore.db" 'SELECT count(*) FROM dashboards')" -eq 0 ]

	on_datastore 0 log users.db/users/1
	has deleted
	has yes
	on_datastore 0 log resources
	has 'deleted  file'
	has resources/img/logo
	on_datastore 0 restore resources --at 36h --dry-run
	has '3 come back'
	[ ! -e "$T/datastore/resources/hosts.csv" ]
	on_datastore 64 restore resources --at 36h </dev/null # nobody is there to be asked
	on_datastore 0 restore resources/hosts.csv --at 36h --yes
	[ "$(file_of datastore hosts.csv)" = "$before" ]
	on_datastore 0 restore resources/img/logo --at 36h --yes # with the directory above
	on_datastore 1 restore users.db/members --at 36h --yes  # their user is not there
	has users.db/members
	has refers
	on_datastore 0 restore users.db/users/1 --at 36h --yes
	on_datastore 0 restore users.db --at 36h --yes # today's work goes back, too
	on_datastore 0 restore webstore.db/dashboards --at 36h --yes
	has '2 came back'
	rounds A B
	[ "$(file_of B hosts.csv)" = "$before" ]
	assert_same
	snapshot A >"$T/after"
	diff "$T/before" "$T/after"
	no_conflicts A B datastore
	on_datastore 0 log users.db/users/1
	has restore
	on_datastore 0 restore users.db --at yesterday --dry-run
	on_datastore 0 restore resources --at 1h --dry-run
	has 'as it was'
}

@test "as it was at @SEQ: what was created since stays, with --exact it goes; a store at once; no limit holds it" {
	local at
	in_step
	edit_config datastore Max-Delete-Percent= 'Max-Delete-Percent=1'
	stop datastore
	start_datastore
	at=$(seq)
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'spoilt', body = NULL; DELETE FROM history WHERE id = x'0001'; INSERT INTO history VALUES(x'0003', 3, 'new');
		INSERT INTO preferences VALUES(9, 'newer', 1)"
	mkdir "$T/A/resources/newer"
	for i in {1..30}; do echo "$i" >"$T/A/resources/newer/$i"; done
	echo changed >"$T/A/resources/hosts.csv"
	chmod 600 "$T/A/resources/img/logo"
	rounds A B
	snapshot A >"$T/spoilt"
	on_datastore 0 restore webstore.db --at "@$at" --yes
	on_datastore 0 restore resources --at "@$at" --yes
	has '31 newer stay'
	rounds A B
	assert_same
	[ "$(sql "$T/B/webstore.db" "SELECT group_concat(title) FROM dashboards")" = Load,Disks ]
	[ "$(sql "$T/B/webstore.db" "SELECT count(*) FROM history")" -eq 3 ]
	[ "$(cat "$T/B/resources/hosts.csv")" = 'a table' ]
	[ "$(stat -c %a "$T/B/resources/img/logo")" = 644 ]
	[ "$(find "$T/B/resources/newer" -type f | wc -l)" -eq 30 ]

	"$BIN/sameroot" restore resources --at "@$at" --exact --yes --json -c "$T/datastore.conf" 2>/dev/null |
		jq -e '.removed == 31 and .lost == 0 and .refused == 0'
	on_datastore 0 restore webstore.db --at "@$at" --exact --yes
	rounds A B # nothing is held
	[ ! -e "$T/B/resources/newer" ]
	[ "$(sql "$T/B/webstore.db" "SELECT count(*) FROM history")" -eq 2 ]
	assert_same

	# and all of that was only another change
	on_datastore 0 log resources/newer/7 --json
	at=$(jq '.entries[0].seq' <<<"$output")
	on_datastore 0 restore resources --at "@$((at - 1))" --yes
	rounds A B
	[ "$(cat "$T/B/resources/newer/7")" = 7 ]
	assert_same
	on_datastore 66 restore resources --at @999999 --yes
	on_datastore 66 restore nothing --at "@$at" --yes
	on_datastore 64 restore resources --at 'in spring' --yes
}

@test "what cannot come back is named: a UNIQUE value that is taken, a direct edit, a table of another shape" {
	local at
	in_step "CREATE UNIQUE INDEX emails ON users(email); CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT); INSERT INTO notes VALUES(1, 'one'), (2, 'two');
		CREATE TABLE marks(text TEXT); INSERT INTO marks VALUES('x'), ('x'), ('y')"
	at=$(seq)
	sql "$T/A/users.db" "UPDATE users SET email = 'elsewhere' WHERE uid = 1; UPDATE users SET email = 'ada@example.org' WHERE uid = 2; DELETE FROM notes; DELETE FROM marks"
	rounds A B
	sql "$T/A/users.db" "UPDATE users SET email = NULL WHERE uid = 1"
	rounds A B
	sql "$T/A/users.db" "ALTER TABLE notes ADD COLUMN grade INTEGER NOT NULL DEFAULT 3"
	rounds A
	on_datastore 0 restore users.db/notes --at "@$at" --yes
	on_datastore 0 restore users.db/marks --at "@$at" --yes
	[ "$(sql "$T/datastore/users.db" 'SELECT group_concat(id || text || grade) FROM notes')" = 1one3,2two3 ]
	[ "$(sql "$T/datastore/users.db" 'SELECT group_concat(text) FROM (SELECT text FROM marks ORDER BY text)')" = x,x,y ]
	# of equal rows there are more by now
	sql "$T/A/users.db" "INSERT INTO marks VALUES('x'), ('x'), ('y'), ('z')"
	rounds A
	[ "$(sql "$T/datastore/users.db" 'SELECT count(*) FROM marks')" -eq 7 ]
	on_datastore 0 restore users.db/marks --at "@$at" --exact --yes
	has_not 'cannot come back'
	rounds A
	[ "$(sql "$T/A/users.db" 'SELECT group_concat(text) FROM (SELECT text FROM marks ORDER BY text)')" = x,x,y ]
	sql "$T/datastore/users.db" "UPDATE users SET name = 'direct' WHERE uid = 3"
	on_datastore 1 restore users.db/users/1 --at "@$at" --yes
	has 'users.db/users/1'
	has UNIQUE
	has ': users.db/users/2' # has it now
	has '0 came back'
	has '0 put back'
	on_datastore 1 restore users.db/users/1 --at "@$at" --yes --json
	jq -e '.reverted == 0 and .back == 0 and .tables.users.reverted == 0 and .refused == 1' <<<"$(grep '^{' <<<"$output")"
	wait_for 'the direct edit is seen' direct_edit_is_seen
	on_datastore 0 log users.db/users/3
	has datastore
	on_datastore 1 restore users.db/users/3 --at "@$at" --yes
	has 'users.db/users/3'
	has 'not kept'
	rounds A
	no_conflicts A
}

direct_edit_is_seen() {
	kill -HUP "${PID[datastore]}"
	"$BIN/sameroot" log users.db/users/3 -c "$T/datastore.conf" 2>&1 | grep -q 'changed'
}

# PATH: so many changes of that row were seen that no webserver made
directly() {
	"$BIN/sameroot" log "users.db/pages/${1/\//%2F}" --json -c "$T/datastore.conf" | jq '[.entries[] | select(.by == "datastore")] | length'
}

changed_directly() { # PATH N: more than N
	kill -HUP "${PID[datastore]}"
	[[ $(directly "$1") -gt $2 ]]
}

# COLUMN: their applications add it everywhere, and the datastore knows its rows in their new shape
all_grow() {
	local before
	before=$(directly /p5)
	for name in A B; do sql "$T/$name/users.db" "ALTER TABLE pages ADD COLUMN $1"; done
	rounds A B
	wait_for 'the rows are in the new shape' changed_directly /p5 "$before"
	rounds A B
}

@test "restore --at reaches times before columns were added: rows as they were, at the new columns' defaults" {
	local at first grown before name
	in_step "CREATE TABLE pages(path TEXT PRIMARY KEY, text TEXT); INSERT INTO pages VALUES('/p1', 'was'), ('/p2', 'was'), ('/p3', 'was'), ('/p4', 'was'), ('/p5', 'was')"
	sql "$T/A/users.db" "UPDATE pages SET text = 'one'"
	rounds A B
	first=$(seq)
	all_grow "lang TEXT DEFAULT 'en'"
	grown=$(seq)
	# nothing but its shape is new
	on_datastore 0 restore users.db/pages --at "@$first" --exact --dry-run
	has 'as it was'
	sql "$T/A/users.db" "DELETE FROM pages WHERE path = '/p1'; UPDATE pages SET text = 'two' WHERE path = '/p2'; INSERT INTO pages VALUES('/p6', 'new', 'fr')"
	sql "$T/B/users.db" "UPDATE pages SET lang = 'de' WHERE path = '/p3'"
	rounds A B A
	on_datastore 0 restore users.db/pages/%2Fp1 --at "@$first" --dry-run
	has '1 come back'
	"$BIN/sameroot" restore users.db/pages --at "@$first" --dry-run --json -c "$T/datastore.conf" 2>/dev/null |
		jq -e '.back == 1 and .reverted == 2 and .newer == 1 and .lost == 0'
	on_datastore 0 restore users.db/pages --at "@$first" --exact --yes
	rounds A B
	for name in datastore A B; do
		[ "$(sql "$T/$name/users.db" "SELECT group_concat(path || text || lang) FROM (SELECT * FROM pages ORDER BY path)")" = /p1oneen,/p2oneen,/p3oneen,/p4oneen,/p5oneen ]
	done
	on_datastore 0 restore users.db/pages --at "@$first" --exact --dry-run
	has 'as it was'

	# it grows once more
	all_grow 'level INTEGER DEFAULT 3'
	on_datastore 0 restore users.db/pages --at "@$first" --exact --dry-run
	has 'as it was'
	on_datastore 0 restore users.db/pages --at "@$grown" --exact --dry-run
	has 'as it was'
	sql "$T/A/users.db" "DELETE FROM pages WHERE path IN ('/p1', '/p5')"
	rounds A B
	on_datastore 0 restore users.db/pages --at "@$first" --yes
	[ "$(sql "$T/datastore/users.db" "SELECT group_concat(path || text || lang || level) FROM pages WHERE path IN ('/p1', '/p5')")" = /p1oneen3,/p5oneen3 ]

	# what was changed directly meanwhile is lost, as ever
	at=$(seq)
	before=$(directly /p4)
	sql "$T/datastore/users.db" "UPDATE pages SET text = 'direct' WHERE path = '/p4'"
	wait_for 'the direct edit is seen' changed_directly /p4 "$before"
	for at in "$at" "$first"; do
		on_datastore 1 restore users.db/pages/%2Fp4 --at "@$at" --dry-run
		has '1 cannot come back'
		has 'users.db/pages/%2Fp4 is not as it was, and nothing of it can come back'
	done

	# ... and when the table grew with it, though what it became is kept
	at=$(seq)
	before=$(directly /p2)
	for name in A B; do sql "$T/$name/users.db" "ALTER TABLE pages ADD COLUMN rank INTEGER DEFAULT 1"; done
	sql "$T/datastore/users.db" "BEGIN; ALTER TABLE pages ADD COLUMN rank INTEGER DEFAULT 1; UPDATE pages SET text = 'direct' WHERE path = '/p2'; COMMIT"
	wait_for 'the direct edit is seen' changed_directly /p2 "$before"
	rounds A B
	sql "$T/A/users.db" "UPDATE pages SET text = 'three' WHERE path IN ('/p2', '/p3')"
	rounds A
	on_datastore 1 restore users.db/pages/%2Fp2 --at "@$at" --dry-run
	has '1 cannot come back'
	on_datastore 0 restore users.db/pages/%2Fp3 --at "@$at" --dry-run
	has '1 are put back'
}

kept_files() {
	find "$T/datastore/resources/.sameroot/kept" -type f 2>/dev/null | wc -l
}

# It forgets, then removes the file, then counts, once a turn.
counts_what_lies_there() {
	[[ $(kept_files) -eq $(status_of datastore .trash.files) ]]
}

@test "kept for Trash-Days within Trash-Max-Bytes; forgotten, log and restore say so" {
	local at
	sed -i 's/^\[global\]$/&\nTrash-Days=3/' "$T/datastore.conf"
	in_step
	at=$(seq)
	for i in 1 2 3; do
		head -c 100000 /dev/urandom >"$T/A/resources/big$i"
		rounds A
		rm "$T/A/resources/big$i"
		rounds A
		days_ago 1
	done
	days_ago 0 # what it has, is asked for after a first turn
	for i in {1..66}; do # so many roots stay readable
		echo "$i" >"$T/A/resources/many"
		rounds A
	done
	wait_for 'what it keeps is counted' status_of datastore '.trash.files > 60 and .trash.bytes > 200000 and .trash.days == 3'
	on_datastore 0 status
	has 'of 10737418240 bytes, for 3 days'
	on_datastore 0 log resources/big3
	has yes
	days_ago 1
	wait_for 'the oldest is forgotten' log_says resources/big1 no
	log_says resources/big3 yes
	wait_for 'what it counts is what lies there' counts_what_lies_there
	on_datastore 1 restore resources/big1 --at "@$((at + 1))" --yes
	has 'not kept'
	on_datastore 0 restore resources/big3 --at "@$((at + 5))" --yes
	[ "$(stat -c %s "$T/datastore/resources/big3")" -eq 100000 ]
	# Less of it: the oldest goes.
	touch "$T/datastore/resources/.sameroot/kept/00000000000000000000000000000abc" # which a crash left
	stop datastore
	edit_config datastore Trash-Days= 'Trash-Max-Bytes=1000'
	start_datastore
	wait_for 'the large ones are forgotten' log_says resources/big2 no
	wait_for 'what it counts is what lies there' counts_what_lies_there
	status_of datastore '.trash.files > 0 and .trash.bytes <= 1000'
}

@test "the disk is full: the older half of what is kept gives way, and what comes is taken when it comes again" {
	mkdir "$T/small"
	mount -t tmpfs -o size=30m none "$T/small" 2>/dev/null || skip 'no mount here'
	# shellcheck disable=SC2034 # teardown unmounts it
	MOUNTED=$T/small
	edit_config datastore Datastore-Resource-Store= "Datastore-Resource-Store=$T/small/resources"
	in_step
	for i in 1 2 3 4; do
		head -c 1500000 /dev/urandom >"$T/A/resources/big$i"
		rounds A
		rm "$T/A/resources/big$i"
		rounds A
	done
	for i in {1..66}; do # so many roots stay readable
		echo "$i" >"$T/A/resources/many"
		rounds A
	done
	days_ago 1
	log_says resources/big1 yes
	head -c 10000000 /dev/urandom >"$T/A/resources/new"
	round A
	grep -q 'no space for' "$T/A.once"
	grep -q 'the disk is full: forgot the older half of what was replaced or deleted' "$T/datastore.log"
	rounds A B
	cmp "$T/A/resources/new" "$T/B/resources/new"
	log_says resources/big1 no
	log_says resources/big4 yes
	wait_for 'it is counted' status_of datastore '.trash.bytes > 1500000 and .trash.bytes < 3500000'
	[ "$(find "$T/small/resources/.sameroot/kept" -type f | wc -l)" -eq "$(status_of datastore .trash.files)" ]
}

@test "the disk of the datastore is full: its log says so once, its status as long as a webserver tries, and that it went through" {
	mkdir "$T/small"
	mount -t tmpfs -o size=6m none "$T/small" 2>/dev/null || skip 'no mount here'
	# shellcheck disable=SC2034 # teardown unmounts it
	MOUNTED=$T/small
	rmdir "$T/datastore"
	ln -s "$T/small" "$T/datastore"
	in_step
	head -c 20000000 /dev/zero >"$T/small/junk" 2>/dev/null || true
	sql "$T/A/webstore.db" "INSERT INTO dashboards(id, body) VALUES('big', randomblob(2000000))"
	round A
	round A
	run "$BIN/sameroot" status -c "$T/datastore.conf"
	[[ $status -eq 1 && $output == *'disk '*'No space left on device'*'make room on that file system'* ]] || fail "status $status: $output"
	grep -q 'No space left on device' "$T/A.once"
	[ "$(grep -c 'what webservers send cannot be taken: .*No space left on device' "$T/datastore.log")" = 1 ]
	rm "$T/small/junk"
	[ -n "${PID[datastore]:-}" ]
	rounds A B
	assert_same
	"$BIN/sameroot" status -c "$T/datastore.conf" >/dev/null
}

log_says() { # PATH KEPT
	[[ $("$BIN/sameroot" log "$1" --json -c "$T/datastore.conf" | jq -r '.entries[0].kept') == "$2" ]]
}

@test "the log: paths, times, limits, who; on a webserver that of its datastore" {
	in_step
	sql "$T/B/users.db" "UPDATE users SET name = 'Berta' WHERE uid = 2"
	rounds B A
	rm "$T/A/resources/hosts.csv"
	rounds A
	on_datastore 0 log
	has 'resources/hosts.csv'
	on_datastore 0 log --limit 1
	has 'there are more'
	has_not users.db
	on_datastore 0 log --since 1h
	has users.db/users/2
	on_datastore 0 log --since now
	has_not users.db
	on_datastore 64 log --since @3
	on_datastore 66 log nowhere
	on_datastore 66 log resources/nosuch
	has 'no such path in store resources'
	on_datastore 66 log users.db/nosuch/1
	on_datastore 66 log users.db/users/777
	on_datastore 0 log users.db/users/2 --since now
	on_datastore 0 log resources/hosts.csv --since now # it was there
	on_datastore 0 log users.db/users/2 --json
	jq -e '[.entries[] | .what] == ["changed", "created"] and [.entries[] | .kept] == ["current", "yes"] and .entries[0].webserver != null' <<<"$output"
	# a name as the shell completes it
	echo odd >"$T/A/resources/odd"$'\xff'
	rounds A
	rm "$T/A/resources/odd"$'\xff'
	rounds A
	on_datastore 0 log $'resources/odd\xff'
	has 'resources/odd%FF'
	on_datastore 0 restore $'resources/odd\xff' --at "@$(($(seq) - 1))" --yes
	on_datastore 0 ls $'resources/odd\xff'
	has 'resources/odd%FF'
	[ "$(cat "$T/datastore/resources/odd"$'\xff')" = odd ]
	run "$BIN/sameroot" log users.db/users/2 -c "$T/A.conf"
	[ "$status" -eq 0 ]
	has changed
	run "$BIN/sameroot" restore users.db/users/2 --at @1 --webserver -c "$T/A.conf"
	[ "$status" -eq 64 ]
	has 'on the datastore'
	[ "$(api datastore /api/log -o /dev/null -w '%{http_code}')" = 200 ]
	[ "$(api datastore /api/admin/restore -X POST -d '{}' -o /dev/null -w '%{http_code}')" = 403 ]
	[ "$(curl -s -o /dev/null -w '%{http_code}' "${URL[datastore]}/api/log")" = 401 ]
}

@test "of a datastore that was rebuilt the history begins with what it was rebuilt as: what goes later comes back by time, too" {
	in_step
	"$BIN/sameroot" backup -c "$T/datastore.conf" "$T/backup.tar"
	before=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
	stop datastore
	rm -rf "$T/datastore"
	"$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --yes --from-backup "$T/backup.tar"
	start_datastore
	rounds A B
	at=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
	rm "$T/A/resources/hosts.csv"
	sql "$T/A/users.db" "DELETE FROM members WHERE uid = 1"
	rounds A B
	on_datastore 75 restore resources/hosts.csv --at "$before" --yes
	has 'the history begins with what was there at @1'
	on_datastore 75 restore resources/hosts.csv --at @0 --yes
	on_datastore 0 restore resources/hosts.csv --at "$at" --yes
	on_datastore 0 restore users.db --at "$at" --yes
	rounds A B
	[ -e "$T/A/resources/hosts.csv" ]
	everywhere 'SELECT count(*) FROM members WHERE uid = 1' 1
	assert_same
}
