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

# --- adopt --mirror ---------------------------------------------------------------------------------------------------------

archived_rows() { # NAME REASON: the names of users in the archive
	conflicts "$1" "[.[] | select(.reason == \"$2\" and .kind == \"row\") | .columns.name // .columns.title // empty] | sort | join(\",\")" | tr -d '"'
}

# Another datastore, which has the sample data, but one row of another value, one more and one less, and so with files.
other_datastore() {
	begin
	replace_datastore
	write_config C
	fill C
	sql "$T/C/users.db" "UPDATE users SET email = 'theirs' WHERE uid = 1; INSERT INTO users VALUES(9, 'Theirs', NULL, 0);
		DELETE FROM members WHERE uid = 2; DELETE FROM users WHERE uid = 2"
	echo theirs >"$T/C/resources/hosts.csv"
	echo theirs >"$T/C/resources/theirs"
	rounds C
	assert_same datastore C
}

@test "adopt --mirror on a webserver that is held: it becomes what the other datastore is, and what it had lies in the archive" {
	other_datastore
	echo mine >"$T/A/resources/mine"
	value A "UPDATE users SET email = 'mine' WHERE uid = 3; INSERT INTO users VALUES(4, 'Mine', NULL, 0)"
	value A "CREATE TABLE own(id INTEGER PRIMARY KEY, title TEXT); INSERT INTO own VALUES(1, 'own')"
	held A B
	tool A adopt --mirror
	[ "$status" -eq 64 ]
	says 'Every store of this webserver will be what the datastore has' "$T/A/state/archive" '--yes'
	tool A adopt --mirror --store nothing --yes
	[ "$status" -eq 64 ]
	tool datastore adopt --mirror --yes
	[ "$status" -eq 64 ]
	tool A adopt --mirror --yes
	[ "$status" -eq 0 ] || fail "$output"
	rounds A
	EXCEPT=own assert_same datastore C A
	[ "$(archived_rows A mirror)" = Ada,Bert,Carol,Mine,own ]
	[ "$(value A 'SELECT count(*) FROM own')" = 0 ]
	for file in mine hosts.csv; do
		id=$(conflicts A ".[] | select(.path == \"resources/$file\" and .reason == \"mirror\") | .id" | tr -d '"')
		[ -s "$(archived A "$id")" ] || fail "$file is not in the archive: $(conflicts A)"
	done
	[ "$(cat "$(archived A "$(conflicts A '.[] | select(.path == "resources/mine") | .id' | tr -d '"')")")" = mine ]
	held B # it was not asked
	value A "UPDATE users SET email = 'goes on' WHERE uid = 9"
	rounds A
	round C A # C does not have the table
	[ "$(value C 'SELECT email FROM users WHERE uid = 9')" = 'goes on' ]
	[ "$(conflicts A length)" -eq "$(conflicts A '[.[] | select(.reason == "mirror")] | length')" ]
	check_databases
}

@test "adopt --mirror is refused by a store that is empty at the datastore, and --store takes the others" {
	begin
	start_webserver A
	wait_for 'a round' rounds_over A 1
	sed -i 's/^\[global\]$/&\nMax-Delete-Percent=100/' "$T"/*.conf
	replace_datastore
	sync_now A
	tool A adopt --mirror --yes
	sync_now A
	sync_now A
	[ "$(value A 'SELECT count(*) FROM users')" = 3 ]
	grep -q 'mirror is refused: store users.db is empty at the datastore' "$T/A.log"
	tool A status
	[ "$status" -eq 1 ]
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	sync_now A
	wait_same datastore A
	stop A
	# of one store alone; the others go on as ever
	value A "UPDATE users SET email = 'mine' WHERE uid = 1"
	sql "$T/A/webstore.db" "INSERT INTO dashboards VALUES('mine', 1, 'Mine', NULL, 1)"
	tool A adopt --mirror --store webstore.db --yes
	[ "$status" -eq 0 ]
	rounds A
	[ "$(sql "$T/A/webstore.db" "SELECT count(*) FROM dashboards WHERE id = 'mine'")" = 0 ]
	[ "$(archived_rows A mirror)" = Mine ]
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 1')" = mine ]
	assert_same datastore A
	rounds A
	sql "$T/A/webstore.db" "INSERT INTO dashboards VALUES('later', 1, 'Later', NULL, 1)"
	rounds A # it was once, and is over
	[ "$(sql "$T/datastore/webstore.db" "SELECT count(*) FROM dashboards WHERE id = 'later'")" = 1 ]
}
