#!/usr/bin/env bats
# The graceful shutdown of both daemons, step by step, and its end at each of them.

bats_require_minimum_version 1.5.0

load lib
load balance

# NAME: SIGTERM, and nothing is waited for
signal() {
	kill -TERM "${PID[$1]}"
}

# NAME: it ends by itself, with status 0
ends() {
	local status=0
	wait_for "$1 ends" gone "${PID[$1]}"
	wait "${PID[$1]}" || status=$?
	unset "PID[$1]"
	[ "$status" = 0 ] || fail "$1 ended with status $status"
}

# NAME TEXT: its log says it
logged() {
	grep -qF -- "$2" "$T/$1.log"
}

# NAME: where a shutdown with the hook of hold_line is in its midst
held() {
	wait_for "$1 runs its hook" [ -e "$T/held" ]
}

# A hook that holds the shutdown up until $T/go is there; with a child of its own
hold_line() {
	echo "Shutdown-Hook=sleep 1000 & echo \$! >$T/child; touch $T/held; while [ ! -e $T/go ]; do sleep 0.1; done; kill \$!"
}

add_rows() { # NAME FROM TO
	sql "$T/$1/users.db" "WITH RECURSIVE n(i) AS (SELECT $2 UNION ALL SELECT i + 1 FROM n WHERE i < $3) INSERT INTO users SELECT i, 'user ' || i, NULL, 0 FROM n"
}

# METHOD PATH NAME [OPTION...]: "STATUS CONNECTION", body in $T/answer
ask() {
	local method=$1 path=$2 name=$3
	shift 3
	curl -sS --max-time 20 -o "$T/answer" -D "$T/head" -w '%{http_code}' -X "$method" "$@" "${URL[$name]}$path"
	sed -nE 's/^connection: *(.*)\r$/ \1/Ip' "$T/head" | tr -d '\n'
}

token() { # NAME
	echo "Authorization: Bearer $(<"$T/$1/state/admin-token")"
}

@test "10,000 rows that no round has pushed are at the datastore when SIGTERM has ended the webserver" {
	export INTERVAL=600 SHUTDOWN=25
	write_config A
	fill A
	start_datastore
	start_webserver A
	wait_same datastore A
	add_rows A 100 10099
	[ "$(value datastore 'SELECT count(*) FROM users')" = 3 ]
	stop A
	[ "$(value datastore 'SELECT count(*) FROM users')" = 10003 ]
	same_content datastore A
	logged A 'stopping; all that is here is at the datastore, too'
	in_registry '.[0].status.balancer | .state == "shutting down" and .answer == "DEAD"'
}

@test "with the datastore down it ends within its time, says what is left, and the rows arrive after the next start" {
	export INTERVAL=600 SHUTDOWN=3
	write_config A
	fill A
	start_datastore
	start_webserver A B
	wait_same
	stop datastore
	add_rows A 100 10099
	echo new >"$T/A/resources/new"
	signal A
	stop B # has nothing that is to be waited for
	ends A
	run ! logged B 'is waited for'
	logged B 'stopping; all that is here is at the datastore, too'
	logged A 'it does not have users.db: 10000 rows; resources: 1 file'
	logged A 'stopping; the datastore does not have users.db: 10000 rows; resources: 1 file'
	start_datastore
	start_webserver A B
	wait_same
	[ "$(value B 'SELECT count(*) FROM users')" = 10003 ]
	no_conflicts
}

@test "what the deletion limit holds is not waited for, and is called deletions" {
	export INTERVAL=600 SHUTDOWN=30
	write_config A
	fill A
	for i in {1..30}; do echo "$i" >"$T/A/resources/$i"; done
	start_datastore
	start_webserver A
	wait_same datastore A
	rm "$T"/A/resources/{1..30}
	echo new >"$T/A/resources/new"
	stop A
	logged A 'stopping; the datastore does not have resources: 30 deletions'
	[ -e "$T/datastore/resources/30" ]
	[ "$(<"$T/datastore/resources/new")" = new ]
}

@test "what could not be looked at is not said to be at the datastore: a store that is paused, a disk that is full" {
	export INTERVAL=600 SHUTDOWN=20
	mkdir "$T/small"
	mount -t tmpfs -o size=6m none "$T/small" 2>/dev/null || skip 'no mount here'
	# shellcheck disable=SC2034 # teardown unmounts it
	MOUNTED=$T/small
	write_config A
	edit_config A State-Directory= "State-Directory=$T/small/state"
	fill A
	start_datastore
	start_webserver A B
	wait_for 'both have it' same_content datastore A B
	mv "$T/B/users.db" "$T/B/elsewhere"
	dd if=/dev/zero of="$T/small/rest" bs=1k 2>/dev/null || true # before they are pushed
	add_rows A 100 2099
	stop A
	stop B
	[ "$(value datastore 'SELECT count(*) FROM users')" = 3 ]
	for name in A B; do
		grep -qE 'stopping; users.db(, resources)? could not be looked at' "$T/$name.log" # that has signatures to write, perhaps
		run ! logged "$name" 'all that is here is at the datastore'
	done
	rm "$T/small/rest"
	start_webserver A
	wait_for 'the datastore has it' same_content datastore A
}

@test "with a datastore that hangs it ends within its time, too, and says the same" {
	export INTERVAL=600 SHUTDOWN=3
	write_config A
	fill A
	start_datastore
	start_webserver A
	wait_same datastore A
	kill -STOP "${PID[datastore]}"
	add_rows A 100 199
	signal A
	ends A
	kill -CONT "${PID[datastore]}"
	logged A 'stopping; the datastore does not have users.db: 100 rows'
	run ! logged A 'the time is up'
	kill -STOP "${PID[datastore]}"
	run "$BIN/sameroot" status --datastore -c "$T/datastore.conf" --json
	kill -CONT "${PID[datastore]}"
	[ "$status" -eq 75 ]
	[[ $output == *"does not answer, though process ${PID[datastore]} runs"* && $output == *"\"process\":${PID[datastore]}"* ]]
	run "$BIN/sameroot" status -c "$T/A.conf"
	[ "$status" -eq 75 ]
	[[ $output == *'is not running (`systemctl start sameroot-sync`)'* && $output == *'not pushed'*'users.db: 100 items'* ]]
	start_webserver A
	wait_same datastore A
	[ "$(value datastore 'SELECT count(*) FROM users')" = 103 ]
}

@test "a datastore that comes back in time gets it" {
	export INTERVAL=600 SHUTDOWN=600
	write_config A
	fill A
	start_datastore
	start_webserver A
	wait_same datastore A
	stop datastore
	add_rows A 100 199
	signal A
	wait_for 'it waits' logged A 'the datastore is waited for'
	start_datastore
	ends A
	same_content datastore A
}

@test "the recognition period: DEAD at once, everything is served, the registry knows it; a second SIGTERM ends it" {
	local name
	export INTERVAL=600 RECOGNITION=600 SHUTDOWN=3600
	write_config A
	write_config datastore
	fill A
	start_datastore
	start_webserver A
	wait_same datastore A
	wait_for 'A is in the registry' in_registry '.[0].status.balancer.state == "running"'
	for name in A datastore; do
		says "$name" '200 ALIVE'
		signal "$name"
		wait_for "$name is DEAD" says "$name" '503 DEAD'
		logged "$name" 'requests are served for another 600 s'
		root_of "$name" >/dev/null
		ready "$name"
		[ "$(ask POST /api/system/shutdown/shutdown "$name" -H "$(token "$name")" -d '{}')" = 202 ]
		[ "$(jq '.within_s > 600 and .within_s <= 3600' "$T/answer")" = true ]
		[ "$name" = datastore ] || wait_for 'the registry knows it' in_registry '.[0].status.balancer | .state == "shutting down" and .answer == "DEAD"'
	done
	add_rows A 100 199
	for name in A datastore; do
		signal "$name"
		ends "$name"
		logged "$name" 'stopping at once'
	done
	RECOGNITION=0 write_config A
	RECOGNITION=0 write_config datastore
	start_all
	wait_same
}

@test "after it: 503 and Connection: close for all but balancer status, health and hello; also where a connection was kept" {
	local name
	export INTERVAL=600 SHUTDOWN=3600
	write_config A "$(hold_line)"
	write_config datastore "$(hold_line)"
	fill A
	start_datastore
	start_webserver A
	wait_same datastore A
	for name in A datastore; do
		rm -f "$T/held" "$T/kept"
		python3 - "${URL[$name]}" "$T" <<-'PY' &
			import http.client, os, sys, time
			connection = http.client.HTTPConnection(sys.argv[1].removeprefix("http://"), timeout=60)
			def get():
			    connection.request("GET", "/readyz")
			    answer = connection.getresponse()
			    return f"{answer.status} {answer.getheader('Connection')} {answer.read().decode()}"
			first = get()
			open(f"{sys.argv[2]}/kept", "w").close()
			while not os.path.exists(f"{sys.argv[2]}/held"):
			    time.sleep(0.05)
			with open(f"{sys.argv[2]}/kept", "w") as file:
			    file.write(first.split()[0] + "\n" + get() + "\n")
		PY
		wait_for 'a connection is kept' [ -e "$T/kept" ]
		signal "$name"
		held "$name"
		wait $!
		[ "$(head -n 1 "$T/kept")" = 200 ]
		[[ $(tail -n 1 "$T/kept") == '503 close '*'this node is shutting down'* ]]
		says "$name" '503 DEAD'
		[ "$(ask GET /healthz "$name")" = '200 close' ]
		[ "$(ask GET '/api/hello?nonce=none' "$name")" = '404 close' ] # over plain HTTP there is no key to prove
		for path in /readyz /api/tree /api/admin/status /api/nothing; do
			[ "$(ask GET "$path" "$name" -H "$(token "$name")")" = '503 close' ]
			[ "$(jq -r '.error + ": " + .detail' "$T/answer")" = 'unavailable: this node is shutting down' ]
		done
		[ "$(ask PUT "/api/upload/x" "$name" -H "$(token "$name")" --data-binary "@$T/A/resources/img/logo")" = '503 close' ]
		[ "$(ask POST /api/system/shutdown/shutdown "$name" -H "$(token "$name")")" = '202 close' ]
		touch "$T/go"
		ends "$name"
		rm "$T/go"
	done
}

@test "a request under way is finished, also when it is slow" {
	local name curl
	export INTERVAL=600 SHUTDOWN=600
	write_config A
	write_config datastore
	fill A
	head -c 48000000 /dev/urandom >"$T/A/resources/large" # more than sockets hold
	start_datastore
	start_webserver A
	wait_same datastore A
	for name in A datastore; do
		: >"$T/$name.tar"
		curl -sS --max-time 60 --limit-rate 12M -H "$(token "$name")" -o "$T/$name.tar" "${URL[$name]}/api/admin/backup" &
		curl=$!
		wait_for 'the backup has begun' [ -s "$T/$name.tar" ]
		signal "$name"
		wait_for 'it is waited for' logged "$name" 'requests under way are waited for'
		wait "$curl"
		ends "$name"
		"$BIN/sameroot" verify "$T/$name.tar"
	done
}

@test "hooks: in their order, with what they print in the log, and what they write last reaches the datastore; one hangs and is killed with its child" {
	export INTERVAL=600 SHUTDOWN=8
	write_config A "Shutdown-Hook=sleep 0.3; echo first >>$T/order; echo to the log; printf 'and\nmore' >&2" \
		"Shutdown-Hook=echo second >>$T/order; cat >>$T/order; exit 3" "Shutdown-Hook=kill -9 \$\$" \
		"Shutdown-Hook=env | grep ^SAMEROOT_ >$T/env; sqlite3 $T/A/users.db \"UPDATE users SET email = 'last' WHERE uid = 1\"; echo last >$T/A/resources/last" \
		"Shutdown-Hook=trap '' TERM; sh -c 'trap \"\" TERM; echo \$\$ >$T/child; while :; do sleep 1; done'; sleep 1000" \
		"Shutdown-Hook=touch $T/never"
	fill A
	start_datastore
	start_webserver A
	wait_same datastore A
	signal A
	ends A
	printf '%s\n' first second | cmp - "$T/order"
	logged A 'Shutdown-Hook 1: to the log'
	logged A 'Shutdown-Hook 1: and'
	logged A 'Shutdown-Hook 1: more'
	logged A 'Shutdown-Hook 2: it ended with status 3; the shutdown goes on'
	logged A 'Shutdown-Hook 3: it was ended by signal 9'
	logged A 'Shutdown-Hook 5: its time is up, it is ended'
	logged A 'Shutdown-Hook 5: it had not ended by itself (its time is up)'
	logged A 'Shutdown-Hook 6 and what follows it are not run'
	[ ! -e "$T/never" ]
	gone "$(<"$T/child")"
	grep -qx SAMEROOT_ROLE=webserver "$T/env"
	grep -qx SAMEROOT_REASON=SIGTERM "$T/env"
	grep -qx 'SAMEROOT_SECONDS=[1-6]' "$T/env"
	grep -qx "SAMEROOT_CONFIG=$T/A.conf" "$T/env"
	grep -q '^SAMEROOT_EXTERNAL_ADDR=127.0.0.1:' "$T/env"
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 1')" = last ]
	[ "$(<"$T/datastore/resources/last")" = last ]
	same_content datastore A
}

@test "what a hook does at the datastore is committed before it ends" {
	export INTERVAL=600
	write_config datastore "Shutdown-Hook=sqlite3 $T/datastore/users.db \"UPDATE users SET email = 'last' WHERE uid = 1\""
	fill A
	start_datastore
	rounds A
	stop datastore
	logged datastore 'store users.db: 1 entries were changed directly'
	tail -n 1 "$T/datastore.log" | grep -q 'stopping at seq [0-9]'
	start_datastore
	rounds A
	[ "$(value A 'SELECT email FROM users WHERE uid = 1')" = last ]
}

@test "a second SIGTERM ends it at once, at each step, and nothing is lost" {
	local curl from name
	export INTERVAL=600 SHUTDOWN=3600
	write_config A "$(hold_line)"
	write_config datastore "$(hold_line)"
	fill A
	head -c 48000000 /dev/urandom >"$T/A/resources/large" # more than sockets hold
	start_datastore
	start_webserver A
	wait_same datastore A

	# during a hook
	for name in A datastore; do
		[ "$name" = A ] && from=1001 || from=50001 # what A has may be there by now
		add_rows "$name" "$((from + RANDOM))" "$((from + 39000))"
		rm -f "$T/held"
		signal "$name"
		held "$name"
		signal "$name"
		ends "$name"
		wait_for 'the child of the hook is gone' gone "$(<"$T/child")"
		logged "$name" 'Shutdown-Hook 1: this node stops at once, it is ended'
		sql "$T/$name/users.db" "DELETE FROM users WHERE uid > 1000"
	done
	write_config A
	write_config datastore
	sed -i 's/^\[global\]$/&\nMax-Delete-Percent=100/' "$T"/*.conf
	start_all
	wait_same

	# during a slow request
	for name in A datastore; do
		: >"$T/$name.tar"
		curl -sS --max-time 60 --limit-rate 200k -H "$(token "$name")" -o "$T/$name.tar" "${URL[$name]}/api/admin/backup" &
		curl=$!
		wait_for 'the backup has begun' [ -s "$T/$name.tar" ]
		signal "$name"
		wait_for 'it is waited for' logged "$name" 'requests under way are waited for'
		signal "$name"
		ends "$name"
		wait "$curl" && fail 'the backup is whole'
	done

	# while a push has no answer, and while the datastore is waited for
	start_datastore
	start_proxy
	start_webserver A
	wait_for 'A knows its tree' says A '200 ALIVE'
	tamper push-hold
	add_rows A 100 1099
	kill -USR1 "${PID[A]}"
	wait_for 'the push is there' eval '[ "$(value datastore "SELECT count(*) FROM users")" = 1003 ]'
	: >"$T/A.log"
	signal A
	wait_for 'it is told' logged A 'shutting down'
	signal A
	ends A
	logged A 'stopping at once'
	tamper busy
	add_rows A 1100 2099
	start_webserver A
	wait_for 'A knows its tree' says A '200 ALIVE'
	signal A
	wait_for 'it waits' logged A 'the datastore is waited for'
	signal A
	ends A
	tamper pass
	touch "$T/go"
	start_webserver A
	wait_same
	[ "$(value B 'SELECT count(*) FROM users')" = 2003 ]
	no_conflicts
}

@test "a webserver that does not know its tree yet ends at once" {
	export SHUTDOWN=3600 RECOGNITION=600
	write_config A
	fill A
	start_datastore
	start_proxy
	tamper tree-wait
	start_webserver A
	wait_for 'its first round is under way' grep -q tree-wait "$T/proxy.log"
	says A '503 DEAD'
	signal A
	ends A
	run ! logged A 'requests are served'
	touch "$T/go"
}

@test "POST: 401, 403, 202, and who it was; asked again, 202 again" {
	export SHUTDOWN=600
	write_config B "$(hold_line)"
	start_with_users
	[ "$(ask POST /api/system/shutdown/shutdown B)" = 401 ]
	[ "$(ask POST /api/system/shutdown/shutdown B -H "Authorization: Bearer $(<"$T/control-auth")")" = 403 ]
	[ "$(ask POST /api/system/shutdown/shutdown B -u 'grace:a good password')" = 403 ]
	[ "$(ask GET /api/system/shutdown/shutdown B -u 'ada:a good password')" = 405 ]
	says B '200 ALIVE'
	[[ $(ask POST /api/system/shutdown/shutdown B -u 'ada:a good password' -d '') == 202* ]]
	held B
	logged B 'shutting down (ada)'
	[ "$(ask POST /api/system/shutdown/shutdown B -u 'ada:a good password')" = '202 close' ]
	[ "$(ask POST /api/system/shutdown/shutdown B -u 'grace:a good password')" = '403 close' ]
	signal B # who asked before was another: it goes on as it is
	[ "$(ask GET /healthz B)" = '200 close' ]
	touch "$T/go"
	ends B
	run ! logged B 'stopping at once'
}

@test "a datastore that shuts down while webservers push: they see an outage, and nothing else" {
	local i writer
	fill A
	start_all
	wait_same
	(for ((i = 0; i < 400; i++)); do add_rows A "$((1000 + 10 * i))" "$((1009 + 10 * i))"; kill -USR1 "${PID[A]}"; done) 3>&- &
	writer=$!
	wait_for 'they push' eval '[ "$(value datastore "SELECT count(*) FROM users")" -gt 100 ]'
	for i in 1 2; do
		stop datastore
		wait_for 'an outage is seen' logged A 'asked again until it answers'
		start_datastore
	done
	wait "$writer"
	wait_same
	[ "$(value B 'SELECT count(*) FROM users')" = 4003 ]
	run ! grep -E ' (warn|error) ' <(grep -hv 'asked again until it answers' "$T/A.log" "$T/B.log" "$T/datastore.log")
	no_conflicts
}

address_of() { # NAME
	sed -n 's/^External-Addr=//p' "$T/$1.conf"
}

@test "sameroot shutdown: this node by its token, another by an admin's login, through any node" {
	export SHUTDOWN=600
	local b name
	for name in datastore A B; do write_config "$name"; done
	start_with_users
	b=$(address_of B)
	run "$BIN/sameroot" shutdown "$b" -c "$T/A.conf" </dev/null
	[ "$status" -eq 64 ]
	[[ $output == *'wants an admin'* ]]
	run "$BIN/sameroot" shutdown "$b" --user grace -c "$T/A.conf" <<<'a good password'
	[ "$status" -eq 77 ]
	run "$BIN/sameroot" shutdown nowhere --user ada -c "$T/A.conf" <<<'a good password'
	[ "$status" -ne 0 ]
	[[ $output == *'no webserver is called nowhere'* ]]
	says B '200 ALIVE'
	[ "$("$BIN/sameroot" shutdown "$b" --user ada -c "$T/A.conf" <<<'a good password')" = "$b: shuts down, within 600 s" ]
	ends B
	logged B 'shutting down (ada)'
	start_webserver B
	wait_for 'B is alive' says B '200 ALIVE'
	[ "$("$BIN/sameroot" shutdown "$b" --user ada --json -c "$T/datastore.conf" <<<'a good password')" = "{\"within_s\":600,\"webserver\":\"$b\"}" ]
	ends B
	[ "$("$BIN/sameroot" shutdown "$(address_of A)" -c "$T/A.conf")" = "$(address_of A): shuts down, within 600 s" ] # this very node
	ends A
	logged A "shutting down (root@$(hostname))"
	run "$BIN/sameroot" shutdown -c "$T/A.conf"
	[ "$status" -eq 75 ]
	[[ $output == *'the sync daemon is not running'* ]]
	[ "$("$BIN/sameroot" shutdown -c "$T/datastore.conf")" = 'this node: shuts down, within 600 s' ]
	ends datastore
}
