#!/usr/bin/env bats
# A datastore that answers 200 with an empty tree, made by hand: it has the right secret, key and instance, a higher seq, vouches for the deletions, and knows each
# webserver's last push.  Only that everything is gone at once is not believable.

load lib

state() {
	sqlite3 "$T/datastore/state/state.db" "$1"
}

empty_by_hand() {
	stop datastore
	for table in members users groups; do sql "$T/datastore/users.db" "DELETE FROM $table"; done
	for table in dashboards preferences history; do sql "$T/datastore/webstore.db" "DELETE FROM $table"; done
	find "$T/datastore/resources" -mindepth 1 -maxdepth 1 ! -name .sameroot -exec rm -r {} +
	state "DELETE FROM leaf; DELETE FROM root; DELETE FROM journal; DELETE FROM replaced; DELETE FROM deleted;
		UPDATE meta SET value = value + 7 WHERE name = 'seq'"
	start_datastore
	api datastore /api/tree | jq -e '[.stores[] | .leaves] == [0, 0, 0] and all(.stores[]; .approved_seq > 0 and .paused == null)'
}

@test "an empty tree of the same instance, at a plausible point: nothing is deleted, and the operator is told; let through here, it goes" {
	begin
	echo edited >"$T/B/resources/of-B"
	snapshot A && cp "$T/A.snapshot" "$T/before"
	snapshot B && cp "$T/B.snapshot" "$T/before-B"
	empty_by_hand
	for name in A B A; do
		run once $name
		[ "$status" -eq 1 ] || fail "$name: $(cat "$T/$name.once")"
	done
	rm "$T/A/resources/of-B"
	snapshot A && diff -a "$T/before" "$T/A.snapshot"
	snapshot B && diff -a "$T/before-B" "$T/B.snapshot"
	[ "$(cat "$T/datastore/resources/of-B")" = edited ] # what is new goes on
	run "$BIN/sameroot" status -c "$T/A.conf"
	[ "$status" -ne 0 ]
	[[ $output == *'would be deleted here'*'adopt --deletions'* ]]
	value A "UPDATE users SET email = 'edited' WHERE uid = 1"
	round A
	[ "$(value A 'SELECT email FROM users WHERE uid = 1')" = edited ]
	"$BIN/sameroot" adopt --deletions --yes -c "$T/B.conf"
	round B
	[ "$(value B 'SELECT count(*) FROM users')" = 0 ]
}
