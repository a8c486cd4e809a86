#!/usr/bin/env bats
# Hostile and broken input, both ways: refused with a clear error, nothing changed, the daemon lives.

load lib

# A datastore that lies to B about A's latest changes.
begin() {
	fill A
	start_datastore
	rounds A B
	echo first >"$T/A/resources/first"
	rounds A
	start_proxy
	rounds B # the proxy has seen a bundle
	head -c 50000 /dev/urandom >"$T/A/resources/blob"
	sql "$T/A/users.db" "INSERT INTO users VALUES(50, 'new', 'n@example.org', 0)"
	rounds_without_proxy A
	snapshot B && cp "$T/B.snapshot" "$T/before"
}

# MODE TEXT: B's round fails, says TEXT and changes nothing; without the lie it goes through
lied_to() {
	tamper "$1"
	run once B
	[ "$status" -ne 0 ]
	grep -q "^tamper $1" "$T/proxy.log" || fail 'nothing was tampered with'
	[ "$(grep -c '^sameroot-sync: ' "$T/B.once")" -eq 1 ]
	grep -qiE "$2" "$T/B.once" || fail "it said: $(cat "$T/B.once")"
	snapshot B
	diff -a "$T/before" "$T/B.snapshot"
	[ "$(conflicts B length)" -eq 0 ]
	rounds_without_proxy B
	assert_same
	check_databases
}

@test "a node that does not match its hash" {
	begin
	lied_to nodes-flip 'hash|node'
}

@test "a node of zeros" {
	begin
	lied_to nodes-zero 'hash|node'
}

@test "a root that does not exist" {
	begin
	lied_to tree-root 'walk|root|node|older'
}

@test "an answer of /api/tree that is cut off" {
	begin
	lied_to tree-cut 'api/tree|JSON|check-in'
}

@test "a truncated bundle" {
	begin
	lied_to bundle-cut 'bundle'
}

@test "a bundle with garbage behind its end" {
	begin
	lied_to bundle-garbage 'bundle'
}

@test "a bundle of which one byte is another" {
	begin
	lied_to bundle-flip 'bundle|hash'
}

@test "a bundle with an entry that was not asked for" {
	begin
	lied_to bundle-extra 'not asked for|bundle'
}

@test "a bundle that answers another question" {
	begin
	lied_to bundle-other 'not asked for|bundle'
}

@test "an empty answer, and one that is no JSON" {
	begin
	tamper error
	run once B
	[ "$status" -ne 0 ]
	snapshot B && cmp "$T/before" "$T/B.snapshot"
	lied_to bundle-empty 'bundle'
}

# MODE: a push of A's that is damaged on the way is refused; the datastore lives, and has nothing of it
damaged() {
	fill A
	start_datastore
	rounds A B
	start_proxy
	snapshot datastore && cp "$T/datastore.snapshot" "$T/before"
	seq=$(status_of datastore .seq)
	head -c 50000 /dev/urandom >"$T/A/resources/blob"
	sql "$T/A/users.db" "INSERT INTO users VALUES(50, 'new', 'n@example.org', 0)"
	tamper "$1"
	run once A
	[ "$status" -ne 0 ]
	grep -q "^tamper $1" "$T/proxy.log"
	[ "$(grep -c '^sameroot-sync: ' "$T/A.once")" -eq 1 ]
	grep -q push "$T/A.once"
	ready datastore
	snapshot datastore && diff -a "$T/before" "$T/datastore.snapshot"
	[ "$(status_of datastore .seq)" -eq "$seq" ]
	[ -z "$(find "$T/datastore/resources/.sameroot/stage" -type f 2>/dev/null)" ]
	rounds_without_proxy A B
	assert_same
}

@test "a push that is truncated" {
	damaged push-cut
}

@test "a push with garbage behind its end" {
	damaged push-garbage
}

@test "a push of which one byte is another" {
	damaged push-flip
}

lost() { # MODE
	fill A
	start_datastore
	rounds A B
	start_proxy
	echo lost >"$T/A/resources/lost"
	sql "$T/A/users.db" "INSERT INTO users VALUES(50, 'lost', NULL, 0)"
	tamper "$1" 1
	run once A
	[ "$status" -ne 0 ]
}

@test "a push whose answer was lost is settled, and not sent again" {
	lost push-lost
	[ -f "$T/datastore/resources/lost" ]
	seq=$(status_of datastore .seq)
	rounds A
	grep -q 'its answer was lost; the datastore says: committed' "$T/A.once"
	[ "$(status_of datastore .seq)" -eq "$seq" ]
	rounds B
	assert_same
	[ "$(conflicts A length)" -eq 0 ]
}

@test "a push that never arrived is cancelled and sent anew" {
	lost push-never
	rounds A B
	grep -q 'its answer was lost; the datastore says: not committed' "$T/A.log"
	assert_same
}

@test "a push that arrives after it was cancelled is refused" {
	lost push-late
	sql "$T/A/users.db" "UPDATE users SET email = 'newer' WHERE uid = 50"
	rounds A B
	wait_for 'it arrived late' test -s "$T/late"
	jq -e '.verdict == "cancelled" or .verdict == "stale"' <<<"$(cut -d ' ' -f 2- "$T/late")" || fail "$(cat "$T/late")"
	assert_same
	[ "$(sql "$T/B/users.db" 'SELECT email FROM users WHERE uid = 50')" = newer ]
}

code() { # PATH OPTION...: the HTTP status of the datastore
	local path=$1
	shift
	curl -sS --max-time 30 -o "$T/body" -w '%{http_code}' "$@" "${URL[datastore]}$path"
}

@test "requests that no webserver makes" {
	fill A
	start_datastore
	rounds A
	snapshot datastore && cp "$T/datastore.snapshot" "$T/before"
	auth="Authorization: Bearer $(<"$T/control-auth")"
	for path in /api/tree /api/tree/nodes /api/bundle /api/push /api/webservers /api/admin/status /api/tree/list; do
		[ "$(code "$path")" = 401 ] || [ "$(code "$path" -X POST)" = 401 ] || fail "$path without a secret"
	done
	[ "$(code /api/tree -H 'Authorization: Bearer wrong')" = 401 ]
	jq -e '.error and .detail' "$T/body"
	[ "$(code /api/tree -H 'Authorization: Basic YTpi')" = 401 ]
	[ "$(code /api/admin/status -H "$auth")" = 403 ]
	[ "$(code /no/such/path -H "$auth")" = 404 ]
	jq -e .error "$T/body"
	[ "$(code /no/such/path)" = 404 ] || [ "$(code /no/such/path)" = 401 ]
	[ "$(code /api/tree -X PATCH -H "$auth")" = 405 ]
	[ "$(code /api/tree/node/0123456789abcdef0123456789abcdef -H "$auth")" = 404 ]
	[ "$(code /api/tree/node/nonsense -H "$auth")" = 400 ]
	[ "$(code '/api/tree/list?path=resources/..%2f..%2fstate' -H "$auth")" = 404 ]
	[ "$(code /api/tree/nodes -H "$auth" --data-binary 123)" = 400 ]
	[ "$(code /api/bundle -H "$auth" --data-binary nonsense)" = 400 ]
	[ "$(code /api/push -H "$auth" --data-binary nonsense)" = 400 ]
	[ "$(code /api/push -H "$auth" --data-binary '')" = 400 ]
	[ "$(code /api/push/nonsense -X DELETE -H "$auth")" = 400 ]
	[ "$(code /api/webservers/nonsense -X PUT -H "$auth" -d '{}')" = 400 ]
	[ "$(code /api/tree -H "$auth" -H 'Sameroot-Check-In: a b c')" = 400 ]
	ready datastore
	snapshot datastore && diff -a "$T/before" "$T/datastore.snapshot"
}

@test "health needs no secret, and what people may look at does" {
	fill A
	start_all
	wait_same
	for name in datastore A; do
		[ "$(curl -sS "${URL[$name]}/healthz")" = ok ]
		curl -fsS "${URL[$name]}/readyz"
		[ "$(curl -sS -o /dev/null -w '%{http_code}' "${URL[$name]}/api/tree")" = 401 ]
		api $name '/api/tree/list?path=resources' | jq -e '[.entries[].path] | index("resources/hosts.csv")'
		api $name '/api/tree/list?path=users.db/users' | jq -e '.entries | length == 3'
		api $name '/api/bundle?path=resources/img' | tar -xO resources/img/logo | cmp - "$T/A/resources/img/logo"
		hash=$(api $name '/api/tree/list?path=resources' | jq -r '.entries[] | select(.path == "resources/hosts.csv") | .hash')
		[ "$(api $name "/api/tree/list?path=resources/img" | jq -r '.entries[0].leaves')" = 1 ]
		[ -n "$hash" ]
	done
	wait_for 'both have reported their root' reported
}

reported() {
	api datastore /api/webservers | jq -e '(if type == "array" then . else .webservers end) | length == 2 and all(.[]; .root != null)'
}

# NAME BYTES ARGUMENT...: sameroot there takes no more
takes_at_most() {
	local name=$1 bytes=$2
	shift 2
	run "$BIN/sameroot" "$@" -c "$T/$name.conf"
	[ "$status" -eq 65 ]
	[[ $output == *"answer over $bytes bytes"* ]] || fail "$*: $output"
}

@test "an answer without end in the place of a daemon: sameroot takes as much as what was asked can have" {
	local mib=1048576
	write_config datastore Max-Webservers=10
	start_datastore
	start_webserver A
	stop A
	stop datastore
	launch endless python3 "$HERE/endless.py"
	echo "${URL[endless]}" | tee "$T/A/state/address" >"$T/datastore/state/address"
	takes_at_most A $((64 * mib)) status
	takes_at_most A $((64 * mib)) lb status
	takes_at_most A $((16 * mib)) conflicts list
	takes_at_most A $((32 * mib)) conflicts show 2026
	takes_at_most datastore $((64 * mib + 10 * 16384)) status
	takes_at_most datastore $((16 * mib + 100 * 1024)) log
	takes_at_most datastore $((16 * mib + 5 * 1024)) log --limit 5
	takes_at_most datastore $((16 * mib + 1000 * 1024)) restore resources/x --at @1 --dry-run
}
