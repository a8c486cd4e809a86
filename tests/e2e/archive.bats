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
both_change_the_file() { # NAME-IN-RESOURCES CONTENT-OF-A CONTENT-OF-B
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
