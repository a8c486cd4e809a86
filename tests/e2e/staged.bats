#!/usr/bin/env bats
# What sameroot-restore builds beside a store is its own until it is in place: whoever looks at it meanwhile, and whatever a run leaves.

# shellcheck disable=SC2154 # what run says

load lib

restore() { # ARG...: of the datastore, with --yes; what it says in $output
	run "$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --yes "$@"
	echo "sameroot-restore $*: status $status"
	echo "$output"
}

# The datastore is stopped, and $T/backup.tar has all of it
saved() {
	begin
	"$BIN/sameroot" backup -c "$T/datastore.conf" "$T/backup.tar"
	stop datastore
}

# Somebody reads users.db.restoring, as it was before anything is in it
look_at() {
	mkfifo "$T/reader"
	sqlite3 -init /dev/null "$T/datastore/users.db.restoring" <"$T/reader" >"$T/reader.log" 2>&1 3>&- &
	PID[reader]=$!
	exec 9>"$T/reader"
	printf '%s\n' 'BEGIN; SELECT count(*) FROM _sameroot_none;' ".shell touch $T/seen" >&9
	wait_for 'the reader looks' test -e "$T/seen"
}

let_go() {
	exec 9>&-
	wait "${PID[reader]}"
	unset 'PID[reader]'
}

@test "somebody reads the database that is being built: nothing is put in place, and it says so; when he is gone it completes" {
	saved
	rows=$(dump_db "$T/datastore/users.db")
	sql "$T/datastore/users.db.restoring" 'PRAGMA journal_mode = wal; CREATE TABLE _sameroot_none(x); INSERT INTO _sameroot_none VALUES(1)' >/dev/null
	look_at
	restore --from-backup "$T/backup.tar"
	[ "$status" -eq 75 ]
	[[ $output == *"$T/datastore/users.db.restoring"*'somebody has it open'* ]]
	[[ $output != *'users.db: restored'* ]]
	[ -z "$(find "$T/datastore" -name '*.before-restore-*')" ]
	[ ! -e "$T/datastore/state/restore/plan" ]
	let_go
	restore --from-backup "$T/backup.tar"
	[ "$status" -eq 0 ]
	[ "$(dump_db "$T/datastore/users.db")" = "$rows" ]
	[ "$(sql "$T/datastore/users.db" 'PRAGMA journal_mode')" = wal ]
	[ -z "$(find "$T/datastore" -name '*.restoring*')" ]
	start_datastore
	rounds A B
	assert_same
	no_conflicts
}

@test "logs of a half-built database that is not there any more are cleared away, and make nothing of the new one" {
	saved
	rows=$(dump_db "$T/datastore/users.db")
	echo 'of another one' | tee "$T/datastore/users.db.restoring-wal" "$T/datastore/users.db.restoring-journal" >"$T/datastore/users.db.restoring-shm"
	restore --from-backup "$T/backup.tar"
	[ "$status" -eq 0 ]
	[ -z "$(find "$T/datastore" -name '*.restoring*')" ]
	[ "$(dump_db "$T/datastore/users.db")" = "$rows" ]
}
