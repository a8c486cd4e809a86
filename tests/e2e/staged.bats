#!/usr/bin/env bats
# What sameroot-restore builds beside a store is its own until it is in place, whoever looks at it and whatever a run leaves; and what it is built from.

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

# --- what it is given ---------------------------------------------------------------------------------------------------------------

refused() { # WORDS ARG...: nothing is asked for, nothing changed
	local words=$1
	shift
	restore --from-files "$@"
	[ "$status" -eq 64 ] || fail "$*: it ended with $status" || return 1
	[[ $output == *"$words"* ]] || fail "$*: no '$words'"
}

@test "a path that is configured, or lies around or below one, is not taken for a store's content; nor is a state.db" {
	saved
	snapshot datastore
	mv "$T/datastore.snapshot" "$T/before"
	ln -s "$T/datastore/resources" "$T/link"
	mkdir "$T/other"
	cp "$T/datastore/state/state.db" "$T/other/state.db"
	refused "$T/datastore contains Datastore-State-Directory" --resources "$T/datastore"
	refused "$T/datastore/state is Datastore-State-Directory" --resources "$T/datastore/state"
	refused "lies inside Datastore-State-Directory" --resources "$T/datastore/state/archive"
	refused "$T/datastore/resources/img lies inside the datastore's store resources" --resources "$T/datastore/resources/img"
	refused "$T/datastore/resources/.sameroot lies inside the datastore's store resources" --resources "$T/datastore/resources/.sameroot"
	refused "$T/link is the datastore's store resources" --resources "$T/link"
	refused 'contains' --resources /
	refused 'it is the state of a daemon' --resources "$T/other"
	refused 'it is the state of a daemon' --users-db "$T/other/state.db"
	refused 'lies inside Datastore-State-Directory' --webstore-db "$T/datastore/state/state.db"
	refused "is the datastore's store users.db" --users-db "$T/datastore/users.db"
	refused "is the datastore's store webstore.db" --users-db "$T/datastore/webstore.db"
	snapshot datastore
	cmp "$T/datastore.snapshot" "$T/before"
	[ -z "$(find "$T/datastore" -name '*.before-restore-*' -o -name '*.restoring*')" ]
	restore --from-files --users-db "$T/A/users.db" --resources "$T/A/resources" --store users.db --store resources
	[ "$status" -eq 0 ]
	restore --from-files --store resources --resources "$(find "$T/datastore" -maxdepth 1 -name 'resources.before-restore-*')" # one of our own making
	[ "$status" -eq 0 ]
}
