#!/usr/bin/env bats
# tests/HOSTILE.md: what hostile peers send to the real programs, and what comes of it.  `make hostile-table` writes it anew.

load lib

tables() {
	sql "$T/datastore/users.db" "SELECT name FROM sqlite_master ORDER BY name = 't' DESC, name, sql"
}

PAGE=$BATS_TEST_DIRNAME/../HOSTILE.md

compare() { # TITLE FILE...: that part of the page is these rows
	python3 "$HERE/table.py" "$PAGE" "$@" >"$T/HOSTILE.md"
	[[ -z ${HOSTILE_TABLE:-} ]] || cp "$T/HOSTILE.md" "$PAGE"
	diff -u "$PAGE" "$T/HOSTILE.md"
}

@test "what hostile webservers and clients send to a datastore, and what comes of it, is what HOSTILE.md says" {
	write_config datastore Client-Timeout=2 Max-Connections=64 Max-Webservers=6 Max-Leaves=1000 Max-Push-Bytes=67108864
	fill A
	head -c 32M /dev/zero >"$T/A/resources/big"
	start_datastore
	rounds A
	tables >"$T/tables"
	python3 "$HERE/hostile_webserver.py" "$DATASTORE_PORT" "$T/control-auth" >"$T/webserver"
	ready datastore
	check_databases
	tables | diff - "$T/tables" | diff - <(printf '1d0\n< t\n') # of all that, one
	[ -z "$(find "$T/datastore/resources/.sameroot/stage" -type f)" ]
	snapshot datastore && cp "$T/datastore.snapshot" "$T/untouched"
	stop datastore
	python3 "$HERE/hostile_backup.py" "$T" "$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --dry-run --from-backup >"$T/backup"
	[ -z "$(find "$T/datastore" -name '*.restoring*')" ]
	start_datastore
	snapshot datastore
	cmp "$T/datastore.snapshot" "$T/untouched"
	compare 'To a datastore' "$T/webserver" "$T/backup"
}

@test "what a hostile datastore answers a webserver, and what comes of it, is what HOSTILE.md says" {
	fill A
	start_datastore
	rounds A B
	python3 "$HERE/hostile_datastore.py" "$DATASTORE_PORT" "$T" "$BIN/sameroot-sync" >"$T/datastore-lies"
	check_databases
	[ -z "$(find "$T"/B/resources/.sameroot/stage -type f)" ]
	compare 'From a datastore' "$T/datastore-lies"
}

@test "what a hostile datastore tells a balancer, and what comes of it, is what HOSTILE.md says" {
	python3 "$HERE/hostile_registry.py" "$T" "$BIN/sameroot-lb" "$(command -v haproxy || echo /usr/sbin/haproxy)" >"$T/registry"
	compare 'From a datastore, to a balancer' "$T/registry"
}
