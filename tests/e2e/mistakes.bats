#!/usr/bin/env bats
# Too much was deleted by mistake, and is taken back by the runbook's one command; and a machine that was cloned while both copies write.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them

load lib
load disaster

# 60 % of both are deleted at A, which does not hold it itself unless its limit says so.
deleted_by_mistake() {
	all_have_them
	stop A # or a round may see a part of it, which is not too much
	value A "DELETE FROM kept WHERE CAST(substr(key, 5) AS INT) <= 120"
	rm "$T"/A/resources/d1/file-{1..36}
	start_webserver A
}

all_as_before() {
	wait_same
	snapshot B
	diff "$T/before" "$T/B.snapshot"
	for name in A B datastore; do wait_for "$name is well" is_well "$name"; done
}

@test "60 % of a store deleted by mistake, held by the datastore: adopt --mirror where it arose takes it back, nothing is lost" {
	edit_config datastore Max-Delete-Percent= Max-Delete-Percent=10
	deleted_by_mistake
	wait_for 'A shows it' says A '120 of 200 rows would be deleted everywhere'
	wait_for 'the datastore shows it' says datastore '120 of 200 rows would be deleted everywhere'
	"$BIN/sameroot" adopt --mirror --yes -c "$T/A.conf"
	all_as_before
}

@test "60 % of a store deleted by mistake, held by the datastore, which starts anew before it is taken back: it shows it no longer than that" {
	edit_config datastore Max-Delete-Percent= Max-Delete-Percent=10
	deleted_by_mistake
	wait_for 'A has told of it' says datastore '120 of 200 rows would be deleted everywhere'
	wait_for 'the datastore holds it' says datastore '120 of 200 rows would be deleted by a webserver'
	stop A
	stop datastore
	start_datastore
	wait_for 'it still does' says datastore '120 of 200 rows would be deleted by a webserver'
	"$BIN/sameroot" adopt --mirror --yes -c "$T/A.conf"
	start_webserver A
	all_as_before
}

@test "60 % of a store deleted by mistake, held where it arose: adopt --mirror there takes it back" {
	edit_config A Max-Delete-Percent= Max-Delete-Percent=10
	deleted_by_mistake
	wait_for 'A holds it' says A '120 of 200 rows would be deleted'
	"$BIN/sameroot" adopt --mirror --yes -c "$T/A.conf"
	all_as_before
}

@test "rm -rf resources/*, with .sameroot left: held, and taken back" {
	edit_config A Max-Delete-Percent= Max-Delete-Percent=10
	application make "$T/A"
	for i in {1..60}; do echo "$i" >"$T/A/resources/d$((i % 8))/file-$i"; done # empty directories are no content: they go
	start_all
	wait_same
	snapshot A
	cp "$T/A.snapshot" "$T/before"
	stop A # as above
	rm -rf "$T"/A/resources/*
	[ -d "$T/A/resources/.sameroot" ]
	start_webserver A
	wait_for 'A holds it' says A 'resources.*would be deleted'
	[ "$(find "$T/B/resources" -name 'file-*' | wc -l)" = 60 ]
	"$BIN/sameroot" adopt --mirror --store resources --yes -c "$T/A.conf"
	all_as_before
}

@test "deleted directly at the datastore: status and the preview say that it is kept nowhere, and name the command that puts it back" {
	edit_config datastore Max-Delete-Percent= Max-Delete-Percent=10
	all_have_them
	mv "$T/datastore/resources/d1" "$T/gone"
	value datastore "DELETE FROM kept WHERE CAST(substr(key, 5) AS INT) <= 150"
	kill -USR1 "${PID[datastore]}"
	wait_for 'the rows are held' says datastore '150 of 200 rows were deleted directly.*`sameroot-restore datastore --from https://WEBSERVER:9406 --store users.db`.*kept nowhere'
	wait_for 'the files are held' says datastore 'leaves were deleted directly.*`sameroot-restore datastore --from https://WEBSERVER:9406 --store resources`.*kept nowhere'
	run "$BIN/sameroot" adopt --deletions -c "$T/datastore.conf" </dev/null
	[[ $output == *'kept nowhere'*'--store users.db'*'kept nowhere'*'--store resources'* ]] || fail "$output"
	stop datastore
	restore datastore --from "${URL[A]}" --store users.db --store resources
	start_datastore
	all_as_before
}

# NAME PROGRAM: the middle of its state.db is overwritten while it is stopped; the program, sameroot-restore and status say what is to be done
damage_state() {
	local name=$1 program=$2 role=webserver status=0
	[[ $name == A ]] || role=datastore
	dd if=/dev/urandom of="$T/$name/state/state.db" bs=4096 seek=1 count=8 conv=notrunc status=none
	"$BIN/$program" -c "$T/$name.conf" </dev/null >"$T/ended" 2>&1 3>&- || status=$?
	[[ $status -eq 65 ]] && grep -q 'state.db: .*malformed; move it aside with its -wal and -shm .*sameroot-recovery(7)' "$T/ended" ||
		fail "$program: $status: $(<"$T/ended")"
	run "$BIN/sameroot-restore" "$role" -c "$T/$name.conf" --dry-run "${@:3}"
	[[ $status -eq 65 && $output == *'move it aside with its -wal and -shm'* ]] || fail "restore: $status: $output"
	run "$BIN/sameroot" status -c "$T/$name.conf"
	[[ $status -eq 75 && $output == *'move it aside with its -wal and -shm'* ]] || fail "status: $status: $output"
}

@test "a state.db that is damaged: each program says what to do, and moved aside, as the runbook has it, nothing is lost" {
	at_work
	rest A B
	stop datastore
	work A B
	damage_state datastore sameroot-datastore --from "${URL[A]}"
	mkdir "$T/damaged"
	mv "$T"/datastore/state/state.db* "$T/damaged"
	start_datastore
	worked
	rest A
	sync_now A
	stop A
	damage_state A sameroot-sync --from-datastore
	mv "$T"/A/state/state.db* "$T/damaged"
	start_webserver A
	sync_now A
	work A
	worked
	RETURNED=1 all_is_well
}

@test "a state.db that is older than the datastore's stores: the alarm does not call these the older ones, and all unite" {
	application make "$T/A"
	start_all
	wait_same
	stop datastore
	cp -a "$T/datastore/state" "$T/older"
	start_datastore
	value A "INSERT INTO kept VALUES('since then', 'v', NULL)"
	wait_same
	stop datastore
	rm -r "$T/datastore/state"
	mv "$T/older" "$T/datastore/state"
	"$BIN/sameroot" status -c "$T/datastore.conf" >"$T/said" 2>&1 || true
	[ "$(grep -c '^127.0.0.1:80[0-9]* ' "$T/said")" = 2 ] || fail "$(<"$T/said")" # each by its port
	start_datastore
	grep -q 'ALARM: store users.db: state.db is older than the store' "$T/datastore.log"
	[ "$(grep -c 'an older copy of it is in its place' "$T/datastore.log")" = 0 ]
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	wait_same
	has B 'since then'
}

@test "a cloned webserver while both copies write: one is refused, and with an identity of its own it brings all that was written there" {
	at_work
	rest A
	stop A
	write_config C Max-Delete-Percent=100
	rm -r "${T:?}/C"
	cp -a "$T/A" "$T/C"
	rm -f "$T/C/state/address"
	: >"$T/C/journal"
	start_webserver A C
	wait_for 'one of the two is refused' eval 'says A "join --new-uuid" || says C "join --new-uuid"'
	work A C
	wait_for 'C has written' has_written C 60
	"$BIN/sameroot" join --new-uuid --yes -c "$T/C.conf"
	wait_for 'C is let in' rounds_over C $(($(status_of C .rounds) + 2))
	all_is_well A B C
}
