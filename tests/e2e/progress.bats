#!/usr/bin/env bats
# A long round on a terminal says how far it is; nowhere else does it.

load lib

@test "a push that takes its time shows what, how many, how fast, and clears the line" {
	fill A
	start_datastore
	edit_config A Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
	status=0
	python3 "$HERE/terminal.py" "$DATASTORE_PORT" "$T/A.conf" 'sending: ' "$BIN/sameroot-sync" --once -c "$T/A.conf" \
		>"$T/A.shown" 3>&- || status=$?
	[ $status -ne 77 ] || skip 'no pseudo-terminal'
	cat -v "$T/A.shown"
	[ $status -eq 0 ]
	items='sending: [0-9]+ of [0-9]+ items, [0-9.]+ of 0\.2 MB, [0-9.]+ MB/s'
	grep -aqE $'\r\e\\[K'"$items"'.*'$'\r' "$T/A.shown"
	[ "$(tail -c 4 "$T/A.shown")" = $'\r\e[K' ]
	once B
	once B # what did not change shows nothing, wherever
	! grep -aE $'sending|\e' "$T/B.once"
}

@test "--once --json says what the round did" {
	fill A
	start_datastore
	edit_config A Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
	"$BIN/sameroot-sync" --once --json -c "$T/A.conf" >"$T/A.json"
	[ "$(jq -r '[.in_sync, .pulled, .conflicts, .skipped] | join(" ")' "$T/A.json")" = 'true 0 0 0' ]
	[ "$(jq '.pushed > 10 and .requests >= 3 and .sent > 200000 and .received > 0' "$T/A.json")" = true ]
	"$BIN/sameroot-sync" --once --json -c "$T/A.conf" >"$T/A.json"
	[ "$(jq .pushed "$T/A.json")" -eq 0 ]
}
