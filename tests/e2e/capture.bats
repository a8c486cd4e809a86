#!/usr/bin/env bats
# Change-Capture=triggers: a webserver finds changed rows by the log that triggers write in the application's database.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them; keys of PID

load lib

setup() {
	export INTERVAL=3600
	T=$BATS_TEST_TMPDIR
	write_config datastore
	CAPTURE=triggers write_config A
	CAPTURE=scan write_config B
}

ours() { # NAME: triggers and log in its users.db
	value "$1" "SELECT count(*) FROM sqlite_master WHERE name LIKE '\_sameroot\_%' ESCAPE '\' AND name <> '_sameroot_meta'"
}

captures() { # NAME
	status_of "$1" '[.stores[] | select(.name == "users.db").capture.on] | all and length == 1' >/dev/null
}

rows_read() {
	status_of "$1" '.stores[] | select(.name == "users.db").rows_read'
}

has() { # NAME SQL ANSWER
	[ "$(value "$1" "$2")" = "$3" ]
}

tool() {
	"$BIN/sameroot" "$@" -c "$T/A.conf"
}

begin_captured() {
	fill A
	sql "$T/A/users.db" "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500) INSERT INTO t SELECT i, 'u'||i, 0 FROM n"
	start_datastore
	start_webserver A
	start_webserver B
	wait_for 'all are in step' same datastore A B
	wait_for 'A captures' captures A
	sql "$T/A/users.db" "UPDATE t SET v=1 WHERE id=1" # the marker has got its table meanwhile, and the schema is another
	wait_for 'B has it' has B "SELECT v FROM t WHERE id=1" 1
	wait_for 'all are in step' same datastore A B
}

@test "changed rows are found by the log, and everybody has them" {
	begin_captured
	before=$(rows_read A)
	sql "$T/A/users.db" "UPDATE t SET v=7 WHERE id=5"
	wait_for 'B has it' has B "SELECT v FROM t WHERE id=5" 7
	sql "$T/A/users.db" "INSERT OR REPLACE INTO t VALUES(1000, 'u9', 1)" # and 9 goes, which no trigger is told
	wait_for 'B has it, and not the other' has B "SELECT group_concat(id) FROM t WHERE id IN (9, 1000)" 1000
	sql "$T/B/users.db" "UPDATE t SET v=8 WHERE id=6"
	wait_for 'A has it' has A "SELECT v FROM t WHERE id=6" 8
	sql "$T/A/users.db" "UPDATE t SET v=v+1 WHERE id IN (6, 7)"
	wait_for 'B has both' has B "SELECT group_concat(v) FROM t WHERE id IN (6, 7)" 9,1
	wait_for 'all are the same' same datastore A B
	[ "$(($(rows_read A) - before))" -lt 100 ] || fail "$(($(rows_read A) - before)) rows were read"
	[ "$(ours datastore)" = 0 ] || fail "the datastore has $(ours datastore)"
	[ "$(ours B)" = 0 ] || fail "B has $(ours B)"
	assert_same datastore A B
	no_conflicts A B
	run tool status
	grep -q '^ *users\.db  *by triggers, of ' <<<"$output" || fail "$output"
}

@test "triggers that were dropped, and a schema that changed, lose nothing" {
	begin_captured
	sql "$T/A/users.db" "DROP TRIGGER _sameroot_u_t; UPDATE t SET v=7 WHERE id=5"
	wait_for 'B has it' has B "SELECT v FROM t WHERE id=5" 7
	sql "$T/A/users.db" "CREATE TABLE n(id INTEGER PRIMARY KEY, u UNIQUE, v); INSERT INTO n SELECT id, u, v+1 FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t"
	wait_for 'the datastore has it' has datastore "SELECT v FROM t WHERE id=5" 8
	sql "$T/A/users.db" "UPDATE t SET v=9 WHERE id=5"
	wait_for 'the datastore has that' has datastore "SELECT v FROM t WHERE id=5" 9
	stop A KILL
	sql "$T/A/users.db" "UPDATE t SET v=10 WHERE id=5; DELETE FROM t WHERE id=6"
	start_webserver A
	wait_for 'the datastore has that, too' has datastore "SELECT v FROM t WHERE id=5" 10
	wait_for 'and what was deleted' has datastore "SELECT count(*) FROM t WHERE id=6" 0
	wait_for 'they are the same' same datastore A
}

@test "it is removed: by the daemon that is not to have it any more, and by the command" {
	begin_captured
	run tool capture --remove
	[ "$status" -eq 64 ] || fail "$status: $output"
	[ "$(ours A)" -gt 5 ] || fail "$(ours A)"
	run tool capture
	grep -q '^users\.db  *[1-9][0-9]*  *[0-9]*  there$' <<<"$output" || fail "$output"
	stop A
	edit_config A Change-Capture= Change-Capture=scan
	start_webserver A
	wait_for 'they are removed' has A "SELECT count(*) FROM sqlite_master WHERE name LIKE '\_sameroot\_%' ESCAPE '\'" 1
	stop A
	edit_config A Change-Capture= Change-Capture=triggers
	start_webserver A
	wait_for 'A captures' captures A
	stop A
	edit_config A Change-Capture= Change-Capture=scan
	tool capture --remove --json | jq -e '.[] | select(.store == "users.db") | .removed and .triggers > 5' >/dev/null
	[ "$(ours A)" = 0 ] || fail "$(ours A)"
	run tool capture
	[ "$status" -eq 0 ]
	grep -q '^users.db  *0  *0  none$' <<<"$output" || fail "$output"
}
