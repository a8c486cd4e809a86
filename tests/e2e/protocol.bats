#!/usr/bin/env bats
# Two versions that speak different protocols: each refuses the other, both say so, and it goes on by itself.

bats_require_minimum_version 1.5.0

load lib
load balance

begin() {
	fill A
	start_datastore
	start_proxy
}

says_of() { # NAME PATTERN: `sameroot status` there
	"$BIN/sameroot" status -c "$T/$1.conf" >"$T/status" || true
	grep -q "$2" "$T/status"
}

@test "a webserver of another protocol is refused, and named with its version; both sides say it once, and it goes on by itself" {
	begin
	tamper speaks-2
	start_webserver A
	wait_for 'A is refused' says_of A 'this webserver speaks protocol 2 (version 9.9), and the datastore protocol 1 (version [0-9.]*): upgrade the older of both'
	grep -q 'upgrade the older of both: `sameroot --version`' "$T/status"
	[ "$(root_of datastore)" = "$(api datastore /api/tree | jq -r .root)" ]
	in_registry '.[0] | .refused == "it speaks protocol 2 (version 9.9), and this datastore protocol 1 (version '"$("$BIN/sameroot" --version | sed 's/.* //')"')" and .stale == false'
	says_of datastore 'refused: it speaks protocol 2 (version 9.9), and this datastore protocol 1'
	run "$BIN/sameroot" status -c "$T/datastore.conf"
	[ "$status" -eq 1 ]
	wait_for 'it asks again' eval '[ "$(status_of A .rounds)" -ge 4 ]'
	[ "$(grep -c 'speaks protocol 2' "$T/datastore.log")" -eq 1 ]
	[ "$(grep -c 'speaks protocol 2' "$T/A.log")" -eq 1 ]
	[ "$(api datastore /api/tree | jq '[.stores[].leaves] | add')" -eq 0 ] # nothing came of it
	tamper pass # it was upgraded
	wait_same datastore A
	in_registry '.[0].refused == null'
	says_of A '^in sync  *yes'
	stop A # and now it has a name
	tamper speaks-2
	start_webserver A
	wait_for 'A is refused' in_registry '.[0].refused != null and .[0].name != null'
	wait_for 'the datastore names it' eval "[ \"\$(grep -c 'webserver 127.0.0.1[0-9:]*, from .* speaks protocol 2' '$T/datastore.log')\" -eq 1 ]"
	tamper pass
	wait_for 'A is taken again' in_registry '.[0].refused == null'
}

@test "a datastore of another protocol is refused by the webserver, which asks until it is of its own" {
	begin
	tamper tree-proto
	start_webserver A
	wait_for 'A says it' says_of A 'the other side speaks protocol 2 (version .*), and this program protocol 1 (version .*): upgrade the older of both'
	wait_for 'it asks again' eval '[ "$(status_of A .rounds)" -ge 4 ]'
	[ "$(grep -c 'speaks protocol 2' "$T/A.log")" -eq 1 ]
	[ "$(api datastore /api/tree | jq '[.stores[].leaves] | add')" -eq 0 ]
	tamper pass
	wait_same datastore A
}

@test "who does not say what it speaks speaks the first protocol; another one is refused whatever else it says" {
	start_datastore
	fill A
	local node=0123456789abcdef0123456789abcdef
	[ "$(api datastore /api/tree -o "$T/answer" -w '%{http_code}' -H "Sameroot-Check-In: $node - 0 0 - -")" = 200 ]
	[ "$(api datastore /api/tree -o "$T/answer" -w '%{http_code}' -H "Sameroot-Check-In: $node - 0 0 - -" -H 'Sameroot-Protocol: 1 0.0.1')" = 200 ]
	[ "$(api datastore /api/tree -o "$T/answer" -w '%{http_code}' -H "Sameroot-Check-In: $node of/another=kind" -H 'Sameroot-Protocol: 2')" = 409 ]
	[ "$(jq -r .error "$T/answer")" = held ]
	in_registry '.[0].refused | startswith("it speaks protocol 2,")'
	for _ in 1 2 3; do
		[ "$(api datastore /api/tree -o "$T/answer" -w '%{http_code}' -H 'Sameroot-Check-In: ?' -H $'Sameroot-Protocol: 10 \x80\x81<b>')" = 409 ]
	done
	grep -q 'protocol 10 (version ??<b>)' "$T/answer"
	[ "$(grep -c 'protocol 10' "$T/datastore.log")" -eq 1 ]
	[ "$(api datastore "/api/webservers/$node/token" -X PUT -o "$T/answer" -w '%{http_code}' -d '[]' -H "Sameroot-Check-In: $node" -H 'Sameroot-Protocol: 3 4')" = 409 ]
}
