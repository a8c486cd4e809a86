#!/usr/bin/env bats
# The conflict archive: bounded, seen from everywhere, and what lies in it comes back.

load lib

# NAME ARGUMENT...: `sameroot conflicts` on that node
on() {
	local name=$1
	shift
	"$BIN/sameroot" conflicts "$@" -c "$T/$name.conf"
}

# NAME [FILTER]: ids of its archive
ids() {
	conflicts "$1" ".[] | ${2:-.} | .id" | tr -d '"'
}

# Both change it while B does not run: B's version will lose.
both_change_the_file() { # NAME-IN-RESOURCES CONTENT-OF-A CONTENT-OF-B; B does not run any more
	stop B
	printf %s "$2" >"$T/A/resources/$1"
	printf %s "$3" >"$T/B/resources/$1"
	sync_now A
}

both_change_the_row() { # ID TITLE-OF-A TITLE-OF-B, while B does not run
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = '$2' WHERE id = '$1'"
	sql "$T/B/webstore.db" "UPDATE dashboards SET title = '$3' WHERE id = '$1'"
	sync_now A
}

title() { # NAME ID
	sql "$T/$1/webstore.db" "SELECT title FROM dashboards WHERE id = '$2'"
}

paused() { # NAME STORE WORDS
	status_of "$1" ".stores[] | select(.name == \"$2\") | .trouble // empty" 2>/dev/null | grep -q "$3"
}

no_new_conflict() { # COUNT-OF-A COUNT-OF-B COUNT-OF-DATASTORE
	[ "$(conflicts A length) $(conflicts B length) $(conflicts datastore length)" = "$1 $2 $3" ] ||
		fail "archives hold $(conflicts A length) $(conflicts B length) $(conflicts datastore length), not $1 $2 $3"
}

begin_three() {
	fill A
	start_all
	wait_same
}

@test "a full archive pauses the one store that needs it; a larger limit, or room, and it goes on" {
	sed -i 's/^\[global\]$/&\nConflict-Max-Bytes=40000/' "$T/B.conf"
	begin_three
	big=$(head -c 50000 /dev/zero | tr '\0' b)
	both_change_the_file hosts.csv 'from A' "$big"
	both_change_the_row d-1 'A title' 'B title'
	sql "$T/A/users.db" "INSERT INTO users VALUES(50, 'Zoe', NULL, 0)"
	sync_now A
	start_webserver B

	# more than the whole limit: the files wait, both databases go on
	wait_for 'the store pauses' paused B resources 'more than all of Conflict-Max-Bytes, 40000'
	wait_for 'the others go on' same_title_and_user
	[ "$(cat "$T/B/resources/hosts.csv")" = "$big" ]
	[ "$(cat "$T/A/resources/hosts.csv")" = 'from A' ]
	[ "$(cat "$T/datastore/resources/hosts.csv")" = 'from A' ]
	[ "$(conflicts B '[.[] | .columns.title] | tostring')" = '"[\"B title\"]"' ]
	status=0
	"$BIN/sameroot" status -c "$T/B.conf" >"$T/said" || status=$?
	[ "$status" = 1 ]
	grep -q 'conflict archive.*Conflict-Max-Bytes' "$T/said"
	"$BIN/sameroot" status --datastore -c "$T/datastore.conf" >"$T/said" || true
	grep -q 'conflict archive.*Conflict-Max-Bytes' "$T/said"

	# a larger limit, by reload
	edit_config B Conflict-Max-Bytes= Conflict-Max-Bytes=60000
	kill -HUP "${PID[B]}"
	wait_same
	[ "$(cat "$(archived B "$(ids B 'select(.store == "resources")')")")" = "$big" ]
	"$BIN/sameroot" status -c "$T/B.conf" >"$T/said"
	grep -q 'of 60000 bytes' "$T/said"

	# full: room is made by removing
	both_change_the_file hosts.csv 'A again' "$big again"
	start_webserver B
	wait_for 'the store pauses' paused B resources 'is full: 2 entries'
	[ "$(cat "$T/B/resources/hosts.csv")" = "$big again" ]
	on B remove "$(ids B 'select(.store == "resources")')" --yes
	wait_same
	[ "$(cat "$T/B/resources/hosts.csv")" = 'A again' ]
	[ "$(cat "$(archived B "$(ids B 'select(.store == "resources")')")")" = "$big again" ]
	no_new_conflict 0 2 0
}

same_title_and_user() {
	[[ $(title B d-1) == 'A title' && $(value B "SELECT name FROM users WHERE uid = 50") == Zoe ]]
}

@test "at the datastore a union that does not fit is refused for its store alone, and nothing is overwritten" {
	sed -i 's/^\[global\]$/&\nConflict-Max-Bytes=30000/' "$T/datastore.conf"
	begin
	old=$(head -c 50000 /dev/zero | tr '\0' o)
	echo -n "$old" >"$T/A/resources/hosts.csv"
	rounds A B
	# the datastore goes back to an older copy of both stores; A and B have the newer versions
	stop datastore
	mkdir "$T/older"
	cp -a "$T/datastore/." "$T/older/"
	start_datastore
	echo -n new >"$T/A/resources/hosts.csv"
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'new' WHERE id = 'd-1'"
	rounds A B
	stop datastore
	rm -r "$T/datastore"
	mv "$T/older" "$T/datastore"
	start_datastore
	round A
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf" >"$T/said"
	round A
	round A
	cat "$T/A.once"
	[ "$(title datastore d-1)" = new ] # its loser had room
	[ "$(cat "$T/datastore/resources/hosts.csv")" = "$old" ]
	[ "$(cat "$T/A/resources/hosts.csv")" = new ]
	grep -q 'conflict archive' "$T/A.once"
	status=0
	"$BIN/sameroot" status -c "$T/datastore.conf" >"$T/said" || status=$?
	[ "$status" = 1 ]
	grep -q 'conflict archive.*Conflict-Max-Bytes' "$T/said"
	edit_config datastore Conflict-Max-Bytes= Conflict-Max-Bytes=0
	kill -HUP "${PID[datastore]}"
	rounds A B A
	assert_same
	[ "$(cat "$T/datastore/resources/hosts.csv")" = new ]
	conflicts datastore '[.[] | .reason] | unique == ["union"]'
	[ "$(cat "$(archived datastore "$(ids datastore 'select(.store == "resources")')")")" = "$old" ]
}

# --- seen from everywhere, and back ------------------------------------------------------------------------------------------

# B loses a file, two rows (one of them deleted by A) and a row of the other database; the ids in $file, $row, $gone, $user
lose() {
	begin_three
	both_change_the_file hosts.csv 'from A' 'from B'
	both_change_the_row d-1 'A title' 'B title'
	sql "$T/A/webstore.db" "DELETE FROM history WHERE id = x'0001'"
	sql "$T/B/webstore.db" "UPDATE history SET query = 'kept by B' WHERE id = x'0001'"
	sync_now A
	start_webserver B
	wait_same
	no_new_conflict 0 3 0
	file=$(ids B 'select(.kind == "file")')
	row=$(ids B 'select(.path == "webstore.db/dashboards/d-1")')
	gone=$(ids B 'select(.reason == "edited-deleted")')
}

told() { # COUNT [FILTER]: the datastore knows so many
	[[ $(api datastore /api/conflicts | jq "[.[] | ${2:-.} | .entries[]] | length") == "$1" ]]
}

quiet_since() { # all three the same, and nothing new in any archive
	wait_same
	sync_now A
	sync_now B
	no_new_conflict "$@"
}

@test "every archive is listed from anywhere, while its webserver is down, too; and an id says where it lies" {
	lose
	wait_for 'the datastore was told' told 3
	uuid=$(status_of B .node)
	stop B
	for name in datastore A B; do
		on $name list --all --json >"$T/all"
		jq -e --arg u "$uuid" 'length == 3 and all(.[]; .uuid == $u and .store and .when and .reason and .kind and .size)' "$T/all"
		[ "$(jq -r '.[].id' "$T/all")" = "$(ids B)" ]
	done
	on A list --all resources/ --json | jq -e --arg i "$file" 'length == 1 and .[0].id == $i'
	wait_for 'it is known to be away' stale "${uuid:0:8}"
	[ "$(on A list --json)" = '[]' ]
	status=0
	on A show "$file" 2>"$T/said" || status=$?
	[ "$status" = 66 ]
	grep -q "lies on the webserver .* (${uuid:0:8}): run it there" "$T/said"
	"$BIN/sameroot" status -c "$T/datastore.conf" --json | jq -e --arg u "$uuid" '.webservers[] | select(.uuid == $u) | .status.conflicts.entries == 3'

	# told after a restart of the datastore, of what went while it was down, and of nothing twice
	stop datastore
	on B remove --older-than 0 --all-of resources --yes | grep -q '^1 removed'
	start_datastore
	told 3
	start_webserver B
	wait_for 'it was told that one went' told 2
	on B remove "${row##*-}" --yes | grep -q '^1 removed'
	wait_for 'it was told that another went' told 1
	status=0
	on B remove "$row" --yes 2>"$T/said" || status=$?
	[ "$status" = 66 ]
	[ "$(ids B)" = "$gone" ]
	[ "$(find "$T/B/state/archive" -type f | wc -l)" = 2 ]
}

stale() {
	on A list --all | grep "$1" | grep -q 'not seen since'
}

@test "a row, a file and a deleted row are restored on a webserver, everywhere, and without a new conflict" {
	lose
	# what is shown
	on B show "$row" >"$T/said"
	grep -qE '^\* +title +"B title" +"A title" +"A title"' "$T/said"
	grep -qE '^  +owner +1 +1 +1' "$T/said"
	on B show "${row:0:$((${#row} - 1))}" --json | jq -e '.is_winner and (.is_it | not) and .winner_columns.title == "A title" and .now.columns.title == "A title"'
	[ "$(on B show "$file" --content)" = 'from B' ]
	on B show "$gone" --json | jq -e '.now.kind == "absent" and .columns.query == "kept by B"'

	on B restore "$row" | grep -q 'webstore.db/dashboards/d-1: restored'
	on B restore "$file" "$gone" --keep --json | jq -e 'length == 2 and all(.[]; .result == "restored")'
	wait_for 'they travel' everywhere_restored
	quiet_since 0 2 0
	# twice is harmless; then the entries go
	on B restore "$file" "$gone" --json | jq -e 'all(.[]; .result == "there already")'
	quiet_since 0 0 0
	everywhere_restored
	status=0
	on B restore "$file" 2>"$T/said" || status=$?
	[ "$status" = 66 ]
	check_databases
}

everywhere_restored() {
	local name
	for name in datastore A B; do
		[[ $(title $name d-1) == 'B title' && $(cat "$T/$name/resources/hosts.csv") == 'from B' ]] || return 1
		[[ $(sql "$T/$name/webstore.db" "SELECT query FROM history WHERE id = x'0001'") == 'kept by B' ]] || return 1
	done
}

@test "several versions of one path are restored together: the one archived last, and the others stay, which is said" {
	begin_three
	for k in 1 2; do
		both_change_the_file hosts.csv "A $k" 'the same twice'
		both_change_the_row d-1 "A $k" "B $k"
		start_webserver B
		sync_now B
	done
	mapfile -t rows < <(ids B 'select(.kind == "row")')
	mapfile -t files < <(ids B 'select(.kind == "file")')
	[ "${#rows[@]} ${#files[@]}" = '2 2' ]
	run on B restore "${rows[@]}" "${files[@]}" --yes
	[[ $status -eq 0 && $output == *"webstore.db/dashboards/d-1: ${rows[0]} stays in the archive, for ${rows[1]} of the same path is the later one"* ]] ||
		fail "status $status: $output"
	[ "$(title B d-1) $(<"$T/B/resources/hosts.csv")" = 'B 2 the same twice' ]
	[ "$(ids B)" = "${rows[0]}" ]
	on B restore "${rows[0]}" "${rows[0]}" --yes --json | jq -e 'length == 1 and .[0].result == "restored"'
	[ "$(title B d-1)" = 'B 1' ]
	wait_same
	[ "$(conflicts B length)" = 0 ]
}

@test "what was changed since is asked about, what is in the way is named, and another name is possible" {
	lose
	# changed on A since: the preview, and no without an answer
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'later' WHERE id = 'd-1'"
	sync_now A
	wait_same
	status=0
	on B restore "$row" >"$T/said" 2>&1 </dev/null || status=$?
	[ "$status" = 64 ]
	grep -q 'was changed since' "$T/said"
	grep -q -- '--yes' "$T/said"
	[ "$(title B d-1)" = later ]
	for over in '' ', "over": "3-0-1-00000000000000000000000000000000"'; do # nor is it replaced by who was shown something else
		[ "$(admin B /api/admin/conflicts/restore -o "$T/said" -w '%{http_code}' -d "{\"ids\": [{\"id\": \"$row\"$over}]}")" = 409 ]
	done
	[ "$(title B d-1)" = later ]
	on B restore "$row" --yes
	wait_for 'it travels' title_is 'B title'
	quiet_since 0 2 0

	# what the datastore does not have yet goes to the archive, not away
	stop datastore
	wait_for 'B is alone' status_of B '.trouble'
	echo -n unpushed >"$T/B/resources/hosts.csv"
	sync_now B
	status=0
	on B restore "$file" --yes || wait_for 'B has seen its own file' on B restore "$file" --yes
	[ "$(cat "$T/B/resources/hosts.csv")" = 'from B' ]
	[ "$(cat "$(archived B "$(ids B 'select(.reason == "restored-over")')")")" = unpushed ]
	start_datastore
	wait_same
	[ "$(cat "$T/A/resources/hosts.csv")" = 'from B' ]

	# under another name, below a directory that is not there
	over=$(ids B 'select(.reason == "restored-over")')
	status=0
	on B restore "$over" --as resources/img/logo 2>"$T/said" || status=$?
	[ "$status" = 75 ]
	grep -q 'something already' "$T/said"
	on B restore "$over" --as resources/old/a%20copy
	wait_for 'it travels' test -e "$T/A/resources/old/a copy"
	[ "$(cat "$T/A/resources/old/a copy")" = unpushed ]
	quiet_since 0 1 0
}

title_is() {
	[[ $(title A d-1) == "$1" && $(title datastore d-1) == "$1" ]]
}

@test "a row whose parent or UNIQUE value is missing is refused as it is, and comes with its parent" {
	begin_three
	stop B
	sql "$T/A/users.db" "PRAGMA foreign_keys = ON; DELETE FROM users WHERE uid = 2"
	sql "$T/B/users.db" "UPDATE users SET email = 'bert@b' WHERE uid = 2; UPDATE members SET since = 'from B' WHERE uid = 2"
	sync_now A
	start_webserver B
	wait_same
	no_new_conflict 0 2 0
	user=$(ids B 'select(.path == "users.db/users/2")')
	member=$(ids B 'select(.path | startswith("users.db/members/"))')
	status=0
	on B restore "$member" 2>"$T/said" || status=$?
	[ "$status" = 75 ]
	grep -q 'refers to a row that is not there' "$T/said"
	sql "$T/A/users.db" "INSERT INTO users VALUES(90, 'BERT', NULL, 0)"
	sync_now A
	wait_same
	status=0
	on B restore "$user" "$member" 2>"$T/said" || status=$?
	[ "$status" = 75 ]
	grep -q 'UNIQUE value' "$T/said"
	no_new_conflict 0 2 0
	wait_same
	everywhere 'SELECT count(*) FROM users WHERE uid = 2' 0
	sql "$T/A/users.db" 'DELETE FROM users WHERE uid = 90'
	sync_now A
	wait_same
	on B restore "$member" "$user"
	wait_for 'they travel' everywhere "SELECT email || since FROM users JOIN members USING(uid) WHERE uid = 2" 'bert@bfrom B'
	quiet_since 0 0 0
	check_databases
}

# NAME ID WORDS: it is not restored, and stays where it lies
not_restored() {
	local status=0
	on "$1" restore "$2" --yes >"$T/said" 2>&1 || status=$?
	[ "$status" = 75 ] || fail "status $status: $(<"$T/said")"
	grep -q "$3" "$T/said" || fail "no $3: $(<"$T/said")"
	[[ -e $(archived "$1" "$2") ]] || fail "$2 is gone"
}

@test "a row whose table is gone, and a file that is not there any more, keep their only copy, at a webserver and at the datastore" {
	lose
	stop A
	stop datastore
	sql "$T/B/webstore.db" 'ALTER TABLE dashboards RENAME TO aside'
	not_restored B "$row" 'webstore.db/dashboards/d-1 .*its table is not here'
	stop B
	not_restored B "$row" 'webstore.db/dashboards/d-1 .*its table is not here'
	sql "$T/B/webstore.db" 'ALTER TABLE aside RENAME TO dashboards'
	on B restore "$row" "$file" --keep | grep -c restored | grep -qx 2
	rm "$T/B/resources/hosts.csv"
	on B restore "$file" --yes >"$T/said" 2>&1 || true # as of the last look it may be there already
	[ -e "$T/B/resources/hosts.csv" ] || [ -e "$(archived B "$file")" ]

	# the datastore's own
	cp -r "$T"/B/state/archive/. "$T/datastore/state/archive/"
	sql "$T/datastore/webstore.db" 'ALTER TABLE dashboards RENAME TO aside'
	not_restored datastore "$row" 'its table is not here'
	sql "$T/datastore/webstore.db" 'ALTER TABLE aside RENAME TO dashboards'
	start_datastore
	sql "$T/datastore/webstore.db" 'ALTER TABLE dashboards RENAME TO aside'
	not_restored datastore "$row" 'webstore.db/dashboards/d-1: '
}

@test "a version that the datastore archived is restored there, with a daemon and without; what that replaces is kept" {
	fill A
	start_datastore
	rounds A
	stop datastore
	cp -a "$T/datastore" "$T/older"
	start_datastore
	echo -n new >"$T/A/resources/hosts.csv"
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'new' WHERE id = 'd-1'"
	rounds A
	stop datastore
	rm -r "$T/datastore"
	mv "$T/older" "$T/datastore"
	start_datastore
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf" >/dev/null
	rounds A A
	row=$(ids datastore 'select(.kind == "row")')
	file=$(ids datastore 'select(.kind == "file")')
	hash=$(on datastore show "$row" --json | jq -er .winner.hash)
	on datastore restore "$row" | grep -q restored
	[ "$(title datastore d-1)" = Load ]
	api datastore "/api/blob/$hash?path=webstore.db/dashboards/d-1" -f -o "$T/replaced" # it is in the history
	grep -qa new "$T/replaced"
	rounds A
	[ "$(title A d-1)" = Load ]
	stop datastore
	on datastore restore "$file" | grep -q 'when the daemon runs again'
	[ "$(cat "$T/datastore/resources/hosts.csv")" = 'a table' ]
	[ "$(cat "$(archived datastore "$(ids datastore)")")" = new ]
	start_datastore
	rounds A B A
	assert_same
	[ "$(cat "$T/A/resources/hosts.csv")" = 'a table' ]
	no_new_conflict 0 0 1
}

@test "equal rows without a key are restored to as many as there were, or as there are; a name as it is in the file system" {
	fill A
	sql "$T/A/users.db" "CREATE TABLE settings(name, value); CREATE UNIQUE INDEX names ON settings(name); INSERT INTO settings VALUES('theme', 'dark')"
	start_datastore
	rounds A B
	sql "$T/A/users.db" "UPDATE settings SET value = 'from A'"
	sql "$T/B/users.db" "UPDATE settings SET value = 'from B'"
	echo A >"$T/A/resources/odd"$'\xff'
	echo B >"$T/B/resources/odd"$'\xff'
	rounds A B A
	no_new_conflict 0 2 0
	row=$(ids B 'select(.kind == "row")')
	for odd in $'resources/odd\xff' resources/odd%FF; do
		[ "$(on B list "$odd" --json | jq -r '.[].id')" = "$(ids B 'select(.kind == "file")')" ]
	done
	for id in . .. ../x %2e; do
		status=0
		on B show "$id" 2>"$T/said" || status=$?
		[ "$status" = 66 ]
		grep -q 'no such archived version' "$T/said"
	done
	not_restored B "$row" 'UNIQUE value'
	sql "$T/A/users.db" "DELETE FROM settings"
	rounds A B
	on B restore "$row" --keep --yes | grep -q 'restored'
	on B restore "$row" --keep --yes | grep -q 'there already'
	everywhere_after "SELECT group_concat(value) FROM settings" 'from B'
	for name in datastore A B; do value $name 'DROP INDEX names'; done
	value B "INSERT INTO settings VALUES('theme', 'from B')"
	on B restore "$row" --keep --yes | grep -q 'there already'
	everywhere_after "SELECT group_concat(value) FROM settings" 'from B,from B'
	value A "DELETE FROM settings"
	rounds A B
	on B restore "$row" --yes | grep -q 'restored'
	everywhere_after "SELECT group_concat(value) FROM settings" 'from B'
	no_new_conflict 0 1 0
}

everywhere_after() { # SQL ANSWER: on all three after a round of each
	rounds B A
	assert_same
	everywhere "$1" "$2"
}

# As the old or as the new version, and never without its entry before it is the new one.
either() { # ID OLD NEW NOW
	[[ $4 == "$3" ]] || { [[ $4 == "$2" ]] && [[ -e $T/B/state/archive/$1.json ]]; } || fail "$1: neither $2 with its entry nor $3, but $4"
}

@test "killed in the middle of a restore, at each step that reaches the disk: either state, and it can be done again" {
	lose
	stop B
	killed=0
	for nth in 1 2 3 4 5 6 7 8 9 10 12 14 16; do
		status=0
		ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o "$T/strace" -e trace=fsync,fdatasync,renameat2,rename,unlinkat,syncfs \
			-e "inject=fsync,fdatasync,renameat2,rename,unlinkat,syncfs:signal=KILL:when=$nth" \
			"$BIN/sameroot" conflicts restore "$file" "$row" "$gone" -c "$T/B.conf" >"$T/said" 2>&1 || status=$?
		grep -q 'ptrace' "$T/said" && skip 'strace may not trace here'
		either "$file" 'from A' 'from B' "$(cat "$T/B/resources/hosts.csv")"
		either "$row" 'A title' 'B title' "$(title B d-1)"
		either "$gone" '' 'kept by B' "$(sql "$T/B/webstore.db" "SELECT query FROM history WHERE id = x'0001'")"
		[ "$status" = 137 ] || break
		killed=$((killed + 1))
	done
	echo "killed $killed times"
	[ "$killed" -ge 4 ]
	for id in $(ids B); do
		on B restore "$id"
	done
	start_webserver B
	wait_for 'they travel' everywhere_restored
	quiet_since 0 0 0
}
