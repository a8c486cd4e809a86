#!/usr/bin/env bats
# What `sameroot adopt` shows before it asks, in words and as JSON.

load lib

tool() { # NODE COMMAND...: what it says in $output
	local node=$1
	shift
	run "$BIN/sameroot" "$@" -c "$T/$node.conf" </dev/null
}

json() { # NODE COMMAND...: standard output alone
	local node=$1
	shift
	"$BIN/sameroot" "$@" --json -c "$T/$node.conf" </dev/null 2>/dev/null || true
}

says() {
	local word
	for word; do [[ $output == *"$word"* ]] || fail "no '$word' in: $output" || return 1; done
}

@test "adopt --mirror: of each store and table; what is empty at the datastore is refused, and said before" {
	begin
	value A "UPDATE users SET email = 'mine' WHERE uid = 1; INSERT INTO users VALUES(4, 'Mine', NULL, 0), (5, 'Mine too', NULL, 0); DELETE FROM members WHERE uid = 3;
		CREATE TABLE mine(a PRIMARY KEY); INSERT INTO mine VALUES(1), (2)"
	echo mine >"$T/A/resources/mine"
	tool A adopt --mirror
	[ "$status" -eq 64 ]
	grep -E '^users.db +[0-9]+ +5 +1 +1 *$' <<<"$output"
	grep -E '^  members +0 +1 +0 +rows$' <<<"$output"
	grep -E '^  mine +3 +0 +0 +the table itself, and rows$' <<<"$output"
	grep -E '^  users +2 +0 +1 +rows$' <<<"$output"
	grep -E '^resources +[0-9]+ +1 +0 +0 *$' <<<"$output"
	[[ $output != *refused* ]]
	tool A adopt --mirror --store users.db
	says 'all stores at once, without --store'
	json A adopt --mirror | jq -e '.what == "mirror" and .result == null and (.preview[0] | .name == "users.db" and .here == 5 and .emptied == false
		and (.tables | length == 3 and .[1] == {"name": "mine", "here": 3, "there": 0, "different": 0, "itself": "here"}
			and .[2] == {"name": "users", "here": 2, "there": 0, "different": 1, "itself": null}))'
	json A adopt --mirror --yes | jq -e '.result == {}'
	rounds A
	assert_same datastore A
	stop datastore
	mv "$T/datastore" "$T/old"
	mkdir "$T/datastore"
	start_datastore
	tool A adopt --mirror
	[ "$status" -eq 1 ]
	says 'refused: store users.db is empty at the datastore, and not here'
	json A adopt --mirror | jq -e 'all(.preview[]; .emptied)'
}

none_held() {
	[ "$(status_of datastore '[.stores[].held[]] | length')" = 0 ]
}

@test "adopt --deletions names the first ten paths, on a webserver and on the datastore; adopt --union as JSON" {
	fill A
	mkdir "$T/A/resources/many"
	for i in {10..29}; do echo "$i" >"$T/A/resources/many/$i"; done
	start_datastore
	rounds A B
	rm "$T"/A/resources/many/{10..27}
	run once A
	[ "$status" -eq 1 ]
	tool A adopt --deletions
	[ "$status" -eq 64 ]
	says '18 of 23 leaves would be deleted everywhere' resources/many/10 resources/many/19 'and 8 more'
	[[ $output != *resources/many/20* ]]
	json A adopt --deletions | jq -e '.what == "deletions" and .result == null and (.preview | length == 1 and .[0].store == "resources"
		and (.[0].held[0] | .deletions == 18 and (.paths | length == 10) and .paths[0] == "resources/many/10"))'
	json A adopt --deletions --yes | jq -e '.result == {}'
	rounds A B
	[ "$(find "$T/B/resources/many" -type f | wc -l)" -eq 2 ]
	tool A adopt --deletions
	[ "$status" -eq 0 ]
	says 'No deletions are held'

	sql "$T/datastore/users.db" 'DELETE FROM members; DELETE FROM users; DELETE FROM groups'
	kill -USR1 "${PID[datastore]}"
	wait_for 'it is held' is_held
	tool datastore adopt --deletions
	says 'table users: 3 of 3 rows were deleted directly' users.db/users/1 users.db/members/
	json datastore adopt --deletions --yes | jq -e '(.preview[0].held | length == 3) and .result.role == "datastore"'
	wait_for 'nothing is held' none_held
	tool datastore adopt --deletions
	[ "$status" -eq 0 ]
	says 'No deletions are held here'
	json datastore adopt --union | jq -e '.what == "union" and .preview.epoch == 1 and (.preview.stores | length == 3) and (.preview.webservers | length == 2) and .result == null'
	json datastore adopt --union --yes | jq -e '.result.epoch == 2'
}

is_held() {
	status_of datastore '.stores[0].mode == "paused"'
}

@test "adopt --union counts what each webserver that answers has otherwise, and says of the others why not" {
	begin
	stop datastore
	cp -a "$T/datastore" "$T/backup"
	start_datastore
	start_webserver A
	value A "INSERT INTO users VALUES(4, 'Later', NULL, 0); UPDATE users SET email = 'later' WHERE uid = 1"
	rm "$T/A/resources/hosts.csv"
	sync_now A
	stop datastore
	rm -r "$T/datastore" && mv "$T/backup" "$T/datastore" # rolled back
	start_datastore
	sync_now A
	[ "$(status_of datastore '.webservers[] | select(.history == "ahead") | .name')" != "" ]
	tool datastore adopt --union
	[ "$status" -eq 64 ]
	says '1 only at the datastore, 1 only there, 1 different' 'not compared (it did not tell where it listens): its state is united when it checks in'
	json datastore adopt --union | jq -e '[.preview.webservers[] | select(.compared) | .compared | .here, .there, .different] == [1, 1, 1]'
	json datastore adopt --union | jq -e '.preview.webservers[] | select(.compared) | .compared.equal == 16'
	stop A
	tool datastore adopt --union
	[ "$(grep -c 'not compared' <<<"$output")" = 2 ]
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	rounds A B
	assert_same
}
