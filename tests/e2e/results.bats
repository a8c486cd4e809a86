#!/usr/bin/env bats
# Results of searches: made on one webserver, read on any.

# shellcheck disable=SC2034 # lib.bash reads them

bats_require_minimum_version 1.5.0

load lib

setup() {
	T=$BATS_TEST_TMPDIR
	local name
	write_config datastore
	for name in A B; do
		write_config "$name" "Results-Directory=$T/$name/results"
		mkdir -p "$T/$name/results"
	done
}

# A ran the searches q1 (out, 100000 bytes) and q2, B ran q3; all know each other, and ada and grace, who is no admin.
begin_results() {
	"$BIN/sameroot" init --webserver --yes -c "$T/A.conf" >/dev/null
	start_datastore
	rounds A
	echo 'a good password' | "$BIN/sameroot" user add --admin ada -c "$T/A.conf"
	echo 'another password' | "$BIN/sameroot" user add grace -c "$T/A.conf"
	mkdir "$T"/A/results/{q1,q2} "$T/B/results/q3"
	head -c 100000 /dev/urandom >"$T/A/results/q1/out"
	echo 'of q2' >"$T/A/results/q2/out"
	echo 'of q3' >"$T/B/results/q3/out"
	start_webserver A B
	wait_for 'all know each other' all_known
	wait_same
}

all_known() {
	[[ $(api datastore /api/webservers | jq '[.[] | select(.sync_port > 0)] | length') == 2 ]]
}

# NAME ID/FILE [CURL OPTION...]: the HTTP status; the answer in $T/answer, its head in $T/head
result() {
	local name=$1 path=$2
	shift 2
	curl -ksS --path-as-is --max-time 20 -o "$T/answer" -D "$T/head" -w '%{http_code}' "$@" "${URL[$name]}/api/results/$path"
}

control() { # as result
	result "$@" -H "Authorization: Bearer $(<"$T/control-auth")"
}

head_says() {
	tr -d '\r' <"$T/head" | grep -qix "$1" || fail "no $1 in: $(<"$T/head")"
}

detail() {
	jq -er .detail "$T/answer"
}

talks() { # NAME: somebody has a connection to it
	local port
	port=$(printf '%04X' "${URL[$1]##*:}")
	awk -v port=":$port" '$4 == "01" && substr($2, length($2) - 4) == port { found = 1 } END { exit !found }' /proc/net/tcp
}

silent() {
	! talks "$1"
}

hwm() { # NAME: the most memory that it ever had, KiB
	awk '/^VmHWM/ { print $2 }' "/proc/${PID[$1]}/status"
}

@test "any user reads on any node what one webserver has; nobody else does" {
	local name
	begin_results
	for name in A B datastore; do
		[ "$(result $name q1/out -u 'grace:another password')" = 200 ]
		cmp "$T/answer" "$T/A/results/q1/out"
		head_says 'X-Content-Type-Options: nosniff'
		head_says 'Content-Type: application/octet-stream'
		head_says 'Content-Length: 100000'
		[ "$(result $name q3/out -u 'ada:a good password')" = 200 ]
		[ "$(<"$T/answer")" = 'of q3' ]
		[ "$(control $name q2/out)" = 200 ]
		[ "$(result $name q2/out -H "Authorization: Bearer $(<"$T/$name/state/admin-token")")" = 200 ]
		[ "$(result $name q1/out)" = 401 ]
		[ "$(result $name q1/out -u 'grace:a bad password')" = 401 ]
		[ "$(result $name q1/out -u 'nobody:another password')" = 401 ]
		[ "$(result $name q1/out -X DELETE -u 'ada:a good password')" = 405 ]
		[ "$(result $name q4/out -u 'grace:another password')" = 404 ]
		[ "$(result $name q1/nothing -u 'grace:another password')" = 404 ]
		[[ $(detail) == 'no webserver has this result' ]]
	done
	"$BIN/sameroot" user disable grace -c "$T/B.conf"
	[ "$(result B q1/out -u 'grace:another password')" = 401 ]
}

@test "parts, heads and what is known already: the same from the owner and through another" {
	local name etag date
	begin_results
	for name in A B; do
		[ "$(control $name q1/out -I)" = 200 ]
		head_says 'Content-Length: 100000'
		head_says 'Accept-Ranges: bytes'
		etag=$(tr -d '\r' <"$T/head" | sed -n 's/^ETag: //p')
		date=$(tr -d '\r' <"$T/head" | sed -n 's/^Last-Modified: //p')
		[ "$(date -d "$date" +%s)" = "$(stat -c %Y "$T/A/results/q1/out")" ]
		[ "$(control $name q1/out -r 100-199)" = 206 ]
		head_says 'Content-Range: bytes 100-199/100000'
		cmp "$T/answer" <(tail -c +101 "$T/A/results/q1/out" | head -c 100)
		[ "$(control $name q1/out -r -7)" = 206 ]
		cmp "$T/answer" <(tail -c 7 "$T/A/results/q1/out")
		[ "$(control $name q1/out -r 99990-)" = 206 ]
		cmp "$T/answer" <(tail -c 10 "$T/A/results/q1/out")
		[ "$(control $name q1/out -r 5-9 -H "If-Range: $etag")" = 206 ]
		[ "$(control $name q1/out -r 5-9 -H 'If-Range: "another"')" = 200 ]
		[ "$(control $name q1/out -r 100000-)" = 416 ]
		head_says 'Content-Range: bytes \*/100000'
		[ "$(control $name q1/out -H 'Range: bytes=1-2,5-6')" = 200 ]
		[ "$(control $name q1/out -H "If-None-Match: $etag")" = 304 ]
		[ "$(control $name q1/out -H 'If-None-Match: "another"')" = 200 ]
	done
	: >"$T/A/results/q1/empty"
	[ "$(control B q1/empty)" = 200 ]
	head_says 'Content-Length: 0'
	[ "$(control B q1/empty -r 0-)" = 416 ]
	sleep 0.01
	echo more >>"$T/A/results/q1/out"
	[ "$(control B q1/out -H "If-None-Match: $etag")" = 200 ]
	[ "$(stat -c %s "$T/answer")" -eq 100005 ]
}

@test "200 MB made on A are read through B, and through the datastore, without memory for them" {
	local name before most=6000
	[[ $BIN != */san-* ]] || most=100000 # what is freed is kept for a while
	begin_results
	truncate -s 200000000 "$T/A/results/q1/large"
	echo end >>"$T/A/results/q1/large"
	for name in B datastore; do
		control $name q1/out >"$T/status" # connections and threads have theirs
		before=$(hwm $name)
		curl -sS --max-time 60 -H "Authorization: Bearer $(<"$T/control-auth")" "${URL[$name]}/api/results/q1/large" | cmp - "$T/A/results/q1/large"
		echo "# $name: $before KiB before, $(hwm $name) after" >&3
		[ $(($(hwm $name) - before)) -lt $most ]
	done
}

@test "an owner that is stopped, frozen or unknown: 502 with its name within 5 s; found again when it is back" {
	begin_results
	[ "$(control B q1/out)" = 200 ]
	kill -STOP "${PID[A]}"
	[ "$(control B q1/out --max-time 5)" = 502 ]
	[[ $(detail) == *'127.0.0.1:8075, which does not answer' ]]
	[ "$(control datastore q1/out --max-time 5)" = 502 ] # which never asked it before
	[[ $(detail) == *'no answer came from 127.0.0.1:8075 ('* ]]
	[ "$(control B q3/out)" = 200 ]
	kill -CONT "${PID[A]}"
	[ "$(control B q1/out)" = 200 ]
	stop A
	[ "$(control B q1/out --max-time 5)" = 502 ]
	[[ $(detail) == *'127.0.0.1:8075, which does not answer' ]]
	[ "$(control B nobodys/out --max-time 5)" = 502 ] # it may be A's
	start_webserver A
	wait_for 'the registry knows where A is now' reads B q1/out
}

reads() { # NAME ID/FILE
	[[ $(control "$1" "$2") == 200 ]]
}

@test "without the datastore what is known goes on, and what is not is said" {
	begin_results
	[ "$(control B q1/out)" = 200 ]
	stop datastore KILL
	sleep 2.1 # what was learnt is old by now
	[ "$(control B q2/out)" = 200 ]
	[ "$(control B q1/out)" = 200 ]
	[ "$(control B q4/out)" = 404 ]
	stop B
	start_webserver B
	[ "$(control B q3/out)" = 200 ]
	[ "$(control B q1/out)" = 200 ] # who there is outlives a restart
	stop B
	rm "$T/B/state/registry"
	start_webserver B
	[ "$(control B q1/out --max-time 5)" = 502 ]
	[[ $(detail) == 'which webservers there are is not known: '* ]]
}

@test "names are names: nothing outside of the directory, no link, no device, no waiting; and no circles" {
	local path
	begin_results
	echo secret >"$T/secret"
	mkdir "$T/A/results/q1/folder"
	echo inner >"$T/A/results/q1/folder/inner"
	ln -s "$T/secret" "$T/A/results/q1/link"
	ln -s out "$T/A/results/q1/alias"
	ln -s "$T" "$T/A/results/away"
	ln -s q1 "$T/A/results/q1alias"
	mkfifo "$T/A/results/q1/fifo"
	python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$T/A/results/q1/sock"
	for path in q1/link q1/alias away/secret q1alias/out q1/fifo q1/sock q1/folder q1/folder%2finner q1%2ffolder/inner q1/ /out q1/..%2f..%2f..%2fsecret \
		..%2f..%2f/secret "q1/$(printf 'x%.0s' {1..300})" q1/out%0a 'q1/%ff' q1/out/more q1; do
		[ "$(control A "$path" --max-time 5)" = 404 ] || [ "$(control A "$path" --max-time 5)" = 400 ] || fail "$path: $(<"$T/head")"
		[ "$(control B "$path" --max-time 5)" = 404 ] || [ "$(control B "$path" --max-time 5)" = 400 ] || fail "$path: $(<"$T/head")"
		! grep -q secret "$T/answer"
	done
	for path in q1/.. ../secret %2e%2e/secret q1/%2e%2e q1/out%00; do
		[ "$(control B "$path")" = 400 ] || fail "$path: $(<"$T/head")"
	done
	printf x >"$T/A/results/q1/"$'\303\244 +%&?\n'
	[ "$(control B 'q1/%c3%a4%20+%25%26%3f%0a')" = 200 ]
	[ "$(control A q3/out -H 'Sameroot-Forwarded: 1')" = 404 ]
	[[ $(detail) == 'this result is not here' ]]
}

@test "a directory that goes away is said, once, and is found again" {
	begin_results
	[ "$(control A q1/out)" = 200 ]
	mv "$T/A/results" "$T/aside"
	[ "$(control A q1/out)" = 404 ]
	[ "$(control B q1/out)" = 404 ]
	[ "$(control A q3/out)" = 200 ] # what another has is had through it
	[ "$(grep -c "Results-Directory $T/A/results is not there any more" "$T/A.log")" -eq 1 ]
	mv "$T/aside" "$T/A/results"
	[ "$(control B q1/out)" = 200 ]
}

@test "who goes away lets go of the owner's connection" {
	local pid
	begin_results
	truncate -s 200000000 "$T/A/results/q1/large"
	wait_for 'nobody asks A for anything' silent A
	curl -sS --limit-rate 100K -o /dev/null -H "Authorization: Bearer $(<"$T/control-auth")" "${URL[B]}/api/results/q1/large" 3>&- &
	pid=$!
	wait_for 'A sends' talks A
	kill "$pid"
	wait "$pid" || true
	wait_for 'A is let go of' silent A
}

@test "who is gone for more than an hour makes no unknown result a 502; what is known to be his is one" {
	begin_results
	[ "$(control B q1/out)" = 200 ]
	stop A KILL
	wait_for 'A is stale' eval '[[ $(api datastore /api/webservers | jq "map(select(.stale)) | length") == 1 ]]'
	[ "$(control B q9/out)" = 502 ] # a moment ago it was there
	stop datastore
	sql "$T/datastore/state/state.db" 'UPDATE webserver SET seen_ms = seen_ms - 3700000'
	start_datastore
	wait_for 'A is gone' eval '[[ $(api datastore /api/webservers | jq -c "map(select(.stale and .unseen > 3600)) | length") == 1 ]]'
	wait_for 'B has its datastore again' eval '[[ $(control B q9/out) == 404 ]]'
	[[ $(detail) == *'who is gone for more than an hour: 127.0.0.1:80'* ]]
	[ "$(control datastore q9/out)" = 404 ]
	[ "$(control B q1/out)" = 502 ]
	[[ $(detail) == *'are on 127.0.0.1:80'*'which does not answer' ]]
}

@test "more slow readers than there is room for are told to wait, and the rest goes on" {
	local pids=()
	begin_results
	truncate -s 200000000 "$T/A/results/q1/large"
	wait_for 'there is no room' one_more_is_too_many
	grep -qi '^Retry-After: 1' "$T/head"
	[ "$(control B q3/out)" = 200 ]
	[ "$(control A q1/out)" = 200 ]
	sync_now B
	kill "${pids[@]}"
	wait "${pids[@]}" || true
	wait_for 'there is room again' reads B q2/out
}

one_more_is_too_many() {
	curl -sS --limit-rate 10K -o /dev/null -H "Authorization: Bearer $(<"$T/control-auth")" "${URL[B]}/api/results/q1/large" 3>&- &
	pids+=($!)
	[[ $(control B q2/out) == 503 ]]
}

@test "over TLS the owner is known by the key that the registry has of it" {
	TLS_OFF=false
	setup
	begin_tls
	[ "$(result B q1/out -u 'grace:another password')" = 200 ]
	cmp "$T/answer" "$T/A/results/q1/out"
	[ "$(result datastore q1/out -u 'grace:another password')" = 200 ]
	stop A
	rm "$T"/A/state/{key,certificate}.pem # another key at another port: as soon as the registry knows, it is the right one
	start_webserver A
	URL[A]=${URL[A]/http:/https:}
	wait_for 'A is found by its new key' reads B q1/out
}

begin_tls() {
	ready() { curl -kfsS --max-time 5 -o /dev/null "${URL[$1]/http:/https:}/readyz" 2>/dev/null; }
	api() { curl -ksS --max-time 30 -H "Authorization: Bearer $(<"$T/control-auth")" "${URL[$1]/http:/https:}$2"; }
	wait_same() { wait_for 'the same content' same_content datastore A B; }
	begin_results
	local name
	for name in "${!URL[@]}"; do URL[$name]=${URL[$name]/http:/https:}; done
}
