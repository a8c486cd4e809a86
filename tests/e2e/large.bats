#!/usr/bin/env bats
# What is large: a file that is cut in the middle, parts that are not what they seem, many entries, long paths, a row of 50 MB.

load lib
load wire

MIB=1048576

# FILE MIBS [SEED]: bytes that do not compress, always the same
big_file() {
	mkdir -p "$(dirname "$1")"
	head -c $(($2 * MIB)) /dev/zero | openssl enc -aes-128-ctr -nosalt -pass "pass:${3:-seed}" -pbkdf2 -iter 1 >"$1"
}

# DIR FROM TO [TEXT]: small files
entries() {
	python3 - "$@" <<-'PYTHON'
		import sys
		for k in range(int(sys.argv[2]), int(sys.argv[3])):
		    with open(f"{sys.argv[1]}/entry-{k:05}", "w") as file:
		        file.write(f"{k} {sys.argv[4:]}\n")
	PYTHON
}

# NAME up|down: a round that a cut ends
cut_short() {
	! once "$1" || fail "the round of $1 went through"
	grep -q "^cut $2 " "$T/wire.log" || fail "nothing was cut"
}

# NAME: rounds until one finds all well; a cut ends some of them, and what was cut waits until its connection is seen to be gone
rounds_through() {
	wait_for "a round of $1 finds all well" once "$1"
}

parts_of() {
	find "$T/$1/resources/.sameroot/parts" -type f 2>/dev/null
}

# Dumps of such rows would be long.
assert_digests() {
	local name first=
	for name in datastore A B; do
		sum=$(sql "$T/$name/webstore.db" 'SELECT hex(substr(body, 1, 100)), length(body), hex(substr(body, -100)) FROM t')
		[[ -n $sum && $sum == "${first:=$sum}" ]] || fail "the row of $name differs" || return 1
	done
}

same_file() {
	cmp "$T/$1/resources/$3" "$T/$2/resources/$3"
}

@test "a push that is cut in the middle of a file sends only the rest, and the datastore may have been restarted" {
	start_datastore
	start_wire
	big_file "$T/A/resources/big" 48
	touch -d '2020-02-02 02:02:02.123456789' "$T/A/resources/big"
	cp "$T/A/resources/big" "$T/A/resources/twin" # travels once
	wire cut-up $((30 * MIB))
	cut_short A up
	[ -n "$(parts_of datastore)" ]
	[ ! -e "$T/datastore/resources/big" ]
	stop datastore
	DATASTORE_PORT=$REAL_PORT start_datastore
	DATASTORE_PORT=${URL[wire]##*:}
	rounds_through A
	same_file A datastore big
	same_file A datastore twin
	[ "$(stat -c %.9Y "$T/datastore/resources/big")" = "$(stat -c %.9Y "$T/A/resources/big")" ]
	(($(passed up) < 50 * MIB))
	[ -z "$(parts_of datastore)" ]
}

@test "a pull that is cut in the middle of a file fetches only the rest, after kill -9, too" {
	start_datastore
	big_file "$T/A/resources/dir/big file" 48
	touch -d '1969-02-02 02:02:02.123456789' "$T/A/resources/dir/big file"
	rounds A
	start_wire
	wire cut-down $((20 * MIB))
	cut_short B down
	[ -n "$(parts_of B)" ]
	echo other >"$T/A/resources/other" # the root is another by now
	DATASTORE_PORT=$REAL_PORT rounds A
	DATASTORE_PORT=${URL[wire]##*:}
	wire hold-down $((10 * MIB))
	start_webserver B
	wait_for 'bytes are held' test -e "$T/meter/held"
	stop B KILL
	wire pass
	rounds_through B
	same_file A B 'dir/big file'
	[ "$(stat -c %.9Y "$T/B/resources/dir/big file")" = "$(stat -c %.9Y "$T/A/resources/dir/big file")" ]
	(($(passed down) < 51 * MIB))
	[ "$(cat "$T/B/resources/other")" = other ]
	[ -z "$(parts_of B)" ]
}

@test "small files that came before a cut are not fetched again, and keep their times" {
	start_datastore
	mkdir -p "$T/A/resources/many"
	for k in $(seq 400); do head -c 50000 /dev/urandom >"$T/A/resources/many/$k"; done
	cp -p "$T/A/resources/many/7" "$T/A/resources/many/7-again"
	touch -d '2001-01-01 01:01:01.5' "$T/A/resources/many"/*
	rounds A
	start_wire
	wire cut-down 15000000
	cut_short B down
	rounds_through B
	assert_same A B datastore
	[ -z "$(find "$T/B/resources/many" -type f -not -newermt '2001-01-01 01:01:00' -o -type f -newermt '2001-01-01 01:01:02')" ]
	(($(passed down) < 21500000))
}

@test "a part that was damaged on the disk is noticed and comes anew, in both directions" {
	start_datastore
	start_wire
	big_file "$T/A/resources/big" 12
	wire cut-up $((8 * MIB))
	cut_short A up
	part=$(parts_of datastore)
	printf X | dd of="$part" bs=1 seek=$((2 * MIB)) conv=notrunc status=none
	rounds_through A
	same_file A datastore big
	wire cut-down $((8 * MIB))
	cut_short B down
	part=$(parts_of B)
	printf X | dd of="$part" bs=1 seek=$((2 * MIB)) conv=notrunc status=none
	rounds_through B
	same_file A B big
	assert_same
	[ -z "$(parts_of datastore)$(parts_of B)" ]
}

@test "a file that is written to while it is sent is left out, what goes with it is not; then it is sent as it is" {
	start_datastore
	start_wire
	big_file "$T/A/resources/big" 40 # more than what may lie in sockets on the way
	echo small >"$T/A/resources/small"
	wire hold-up $((6 * MIB))
	start_webserver A
	wait_for 'bytes are held' test -e "$T/meter/held"
	printf X | dd of="$T/A/resources/big" conv=notrunc status=none
	printf X | dd of="$T/A/resources/big" bs=1M seek=39 conv=notrunc status=none
	wire pass
	wait_same datastore A
	same_file A datastore big
	same_file A datastore small
	(($(passed up) < 70 * MIB)) # no more of what it no longer was
}

@test "two webservers push the same large content at once" {
	start_datastore
	start_wire
	big_file "$T/A/resources/big" 24
	big_file "$T/B/resources/big" 24
	wire hold-up $((10 * MIB))
	start_webserver A
	wait_for 'bytes are held' test -e "$T/meter/held"
	DATASTORE_PORT=$REAL_PORT start_webserver B
	sync_now B # it finds the other's part, and leaves its file alone
	[ "$(status_of B '.stores[] | select(.name == "resources").skipped')" -gt 0 ]
	wire pass
	wait_same
	same_file A datastore big
	[ -z "$(conflicts A '.[]')$(conflicts B '.[]')$(conflicts datastore '.[]')" ]
	(($(passed up) < 26 * MIB)) # not twice
}

# FILE OFFSET COMMAND [REST]: what COMMAND prints stands before what was at OFFSET; REST bytes of that go
edit() {
	local to
	to=$(mktemp -p "$T")
	{ head -c "$2" "$1" && eval "$3" && tail -c +$(($2 + ${4:-0} + 1)) "$1"; } >"$to"
	cat "$to" >"$1"
	rm "$to"
}

# NAME...: rounds past the wire
rounds_past() {
	DATASTORE_PORT=$REAL_PORT rounds "$@"
	DATASTORE_PORT=${URL[wire]##*:}
}

@test "of a large file that was edited a webserver fetches what is new, and goes on with that after a cut" {
	start_datastore
	start_wire
	big_file "$T/A/resources/dir/big file" 32
	rounds_past A B
	edit "$T/A/resources/dir/big file" $((20 * MIB + 7)) 'echo inserted'
	for k in {1..20}; do edit "$T/A/resources/dir/big file" $((k * 1200000)) 'head -c 4096 /dev/urandom' 4096; done
	touch -d '2020-02-02 02:02:02.123456789' "$T/A/resources/dir/big file"
	rounds_past A
	rounds B
	same_file A B 'dir/big file'
	[ "$(stat -c %.9Y "$T/B/resources/dir/big file")" = "$(stat -c %.9Y "$T/A/resources/dir/big file")" ]
	(($(passed down) < 350000)) # 20 chunks would be more
	head -c $((8 * MIB)) /dev/urandom >>"$T/A/resources/dir/big file"
	rounds_past A
	before=$(passed down)
	wire cut-down $((5 * MIB))
	cut_short B down
	(($(parts_of B | xargs -r stat -c %s) > 34 * MIB))
	rounds_through B
	same_file A B 'dir/big file'
	(($(passed down) - before < 9 * MIB))
	[ -z "$(parts_of B)" ]
}

@test "of a large file that was edited a webserver sends what is new, and goes on with that after a cut" {
	start_datastore
	big_file "$T/A/resources/dir/big file" 32
	rounds A
	start_wire
	edit "$T/A/resources/dir/big file" $((20 * MIB + 7)) 'echo inserted'
	for k in {1..20}; do edit "$T/A/resources/dir/big file" $((k * 1200000)) 'head -c 4096 /dev/urandom' 4096; done
	rounds A
	same_file A datastore 'dir/big file'
	(($(passed up) < 300000 && $(passed down) < 150000))
	head -c $((8 * MIB)) /dev/urandom >>"$T/A/resources/dir/big file"
	before=$(passed up)
	wire cut-up $((5 * MIB))
	cut_short A up
	(($(parts_of datastore | xargs -r stat -c %s) > 34 * MIB))
	rounds_through A
	same_file A datastore 'dir/big file'
	(($(passed up) - before < 9 * MIB))
	[ -z "$(parts_of datastore)" ]
}

@test "what a webserver uploads is bounded, and needs the secret" {
	start_datastore
	hash=0123456789abcdef0123456789abcdef
	put() { api datastore "/api/upload/$1" -X PUT --data-binary @"$T/body" -o "$T/answer" -w '%{http_code}'; }
	head -c $((2 * MIB)) /dev/zero >"$T/body"
	[ "$(put "$hash?store=resources&size=$((3 * MIB))&offset=0")" = 200 ]
	[ "$(jq .have "$T/answer")" = $((2 * MIB)) ]
	[ "$(api datastore "/api/upload/$hash?store=resources" | jq .have)" = $((2 * MIB)) ]
	[ "$(put "$hash?store=resources&size=$((3 * MIB))&offset=$MIB")" = 409 ]
	[ "$(jq .have "$T/answer")" = $((2 * MIB)) ]
	[ "$(put "$hash?store=resources&size=$((3 * MIB))&offset=$((2 * MIB))")" = 400 ] # more than its size
	[ "$(put "$hash?store=resources&size=99999999999&offset=0")" = 413 ]
	[ "$(put "$hash?store=resources&size=100&offset=0")" = 400 ]
	[ "$(put "$hash?store=users.db&size=$((3 * MIB))&offset=0")" = 404 ]
	[ "$(put "..%2f..%2fout?store=resources&size=$((3 * MIB))&offset=0")" = 400 ]
	[ "$(curl -sS -o /dev/null -w '%{http_code}' "${URL[datastore]}/api/upload/$hash?store=resources")" = 401 ]
	[ "$(curl -sS -o /dev/null -w '%{http_code}' -X PUT "${URL[datastore]}/api/upload/$hash/delta?store=resources")" = 401 ]
	[ "$(parts_of datastore | wc -l)" = 1 ]
	rounds A
}

@test "a directory of 5000 entries, both ways" {
	start_datastore
	mkdir -p "$T/A/resources/dir"
	entries "$T/A/resources/dir" 0 5000
	rounds A B
	assert_same
	rm "$T/B/resources/dir"/entry-000*
	entries "$T/B/resources/dir" 4500 6000 again
	rounds B A
	assert_same
}

@test "a path of 4000 bytes, and names of 255, with any bytes" {
	start_datastore
	mkdir -p "$T/A/resources"
	long=$(printf '%248s' '' | tr ' ' x)$'\xe4%?&' # 252 bytes, no UTF-8
	many=$(printf 'd/%.0s' {1..60})
	(
		cd "$T/A/resources"
		for k in {1..15}; do mkdir "$long$k" && cd "$long$k"; done # 3,816 bytes
		echo deep >"$(printf '%0190d' 7)"
		big_file large 2
		cd "$T/A/resources"
		mkdir -p "$many"
		echo many >"${many}file"
	)
	rounds A B
	assert_same
	(cd "$T/B/resources" && for k in {1..15}; do cd "$long$k"; done && echo changed >"$(printf '%0190d' 7)" && big_file large 2 other)
	rounds B A
	assert_same
	rm -rf "$T/A/resources"/*
	echo one >"$T/A/resources/one"
	rounds A B
	assert_same
}

@test "a row of 50 MB, both ways, and as the loser of a conflict" {
	start_datastore
	sql "$T/A/webstore.db" "CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB); INSERT INTO t VALUES(1, randomblob(50000000))"
	rounds A B
	assert_digests
	sql "$T/A/webstore.db" "UPDATE t SET body = randomblob(50000001)"
	sql "$T/B/webstore.db" "UPDATE t SET body = randomblob(50000002)"
	rounds A B A
	assert_digests
	[ "$(sql "$T/datastore/webstore.db" 'SELECT length(body) FROM t')" = 50000001 ]
	[ "$(conflicts B length)" = 1 ]
	(($(find "$T/B/state/archive" -name '*.data' -printf '%s\n') > 50000002))
}

hwm() { # NAME: the most memory that it ever had, KiB
	awk '/^VmHWM/ { print $2 }' "/proc/${PID[$1]}/status"
}

@test "a table of 100 MB is read as text from the datastore without memory for it" {
	local before most=6000
	[[ $BIN != */san-* ]] || most=100000 # what is freed is kept for a while
	fill A
	sql "$T/A/webstore.db" 'CREATE TABLE mass(id INTEGER PRIMARY KEY, data);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO mass SELECT i, zeroblob(500000) FROM n'
	start_datastore
	rounds A
	api datastore '/api/bundle?path=webstore.db/history' >"$T/tar"
	before=$(hwm datastore)
	[ "$(api datastore '/api/bundle?path=webstore.db' | tar --warning=none -xO webstore.db/mass.jsonl | grep -c '"id": ')" = 100 ]
	[ $(($(hwm datastore) - before)) -lt $most ]
}

@test "of pushes that are a few KB, and in memory 200 MB each, only so many come at once; then a large row goes through again" {
	local before most=700000
	[[ $BIN != */san-* ]] || most=2000000 # what is freed is kept for a while
	begin
	cat >"$T/rows.py" <<-'PY'
		import http.client, json, socket, subprocess, sys, uuid
		from forge import Bundle, header, push_head, varint
		port, secret, n = int(sys.argv[1]), open(sys.argv[2]).read().strip(), 200 << 20
		auth = "Bearer " + secret
		c = http.client.HTTPConnection("127.0.0.1", port)
		c.request("GET", "/api/tree", headers={"Authorization": auth, "Sameroot-Key": "want"})
		info = json.loads(c.getresponse().read())
		def push(more): # a row of zeros, of which the last MB never comes: the end, or more is to follow
		    b = Bundle(bytes.fromhex(info["key"]), push_head(info, str(uuid.uuid4()), str(uuid.uuid4())))
		    row = b.out + header(b"00000001.leaves", n + 4) + varint.write(n) + bytes(n - (1 << 20))
		    row = subprocess.run(["zstd", "-q", "-1", "-c"], input=row, stdout=subprocess.PIPE, check=True).stdout
		    s = socket.create_connection(("127.0.0.1", port))
		    s.sendall(f"POST /api/push HTTP/1.1\r\nHost: x\r\nAuthorization: {auth}\r\nContent-Length: {len(row) + more}\r\n\r\n".encode() + row)
		    return s
		waiting, answer = [push(1000) for _ in range(2)], ""
		for _ in range(30): # these two may not be all there yet
		    answer = push(0).recv(1 << 16).decode()
		    if " 503 " in answer:
		        break
		print(answer)
	PY
	before=$(hwm datastore)
	PYTHONPATH=$HERE python3 "$T/rows.py" "$DATASTORE_PORT" "$T/control-auth" >"$T/answer"
	grep -q 'HTTP/1.1 503' "$T/answer"
	grep -q 'push: over the limit of 553648128 bytes of large rows' "$T/answer"
	echo "# $before KiB before, $(hwm datastore) after" >&3
	[ $(($(hwm datastore) - before)) -lt $most ]

	sql "$T/A/webstore.db" "INSERT INTO history VALUES(x'0003', 1, hex(zeroblob(10000000)))"
	wait_for 'there is room again' once A
	rounds A B
	assert_same
}
