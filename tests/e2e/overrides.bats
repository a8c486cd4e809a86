#!/usr/bin/env bats
# A node's balancer status, overridden by people: at that node, and by way of any other.

bats_require_minimum_version 1.5.0

load lib
load balance

pass() { # NAME WEBSERVER WORD [CURL OPTION...]: the status
	local name=$1 webserver=$2 word=$3
	shift 3
	curl -sS --max-time 20 -o "$T/answer" -w '%{http_code}' -X PUT "$@" "${URL[$name]}/api/webservers/$webserver/lbstatus/override/$word"
}

address_of() {
	sed -n 's/^External-Addr=//p' "$T/$1.conf"
}

@test "an admin who was made on A overrides B: by B itself, by A and by the datastore; grace does not; who and when is known to all" {
	local ada=(-u 'ada:a good password') via
	start_with_users
	[ "$(override B drain "${ada[@]}" -d '')" = 204 ]
	says B '404 DEAD'
	wait_for 'the datastore knows who' in_registry "map(select(.external_addr == \"$(address_of B)\"))[0].status.balancer | .state == \"draining\" and .by == \"ada\" and .since_ms > 0"
	[ "$(override B undead "${ada[@]}")" = 400 ]
	[ "$(override B auto)" = 401 ]
	[ "$(override B auto -u 'grace:a good password')" = 403 ]
	[ "$(override B auto -u 'ada:a bad password')" = 401 ]
	says B '404 DEAD'
	for via in A datastore B; do
		[ "$(pass "$via" "$(address_of B)" Dead "${ada[@]}")" = 204 ]
		says B '503 DEAD'
		[ "$(pass "$via" "$(uuid_of B)" auto "${ada[@]}" -d '{}')" = 204 ]
		says B '200 ALIVE'
		[ "$(pass "$via" "$(uuid_of B)" undead "${ada[@]}")" = 400 ]
		[ "$(pass "$via" "$(uuid_of B)" dead)" = 401 ]
		[ "$(pass "$via" "$(uuid_of B)" dead -u 'grace:a good password')" = 403 ]
		[ "$(pass "$via" "$(uuid_of B)" dead -H "Authorization: Bearer $(<"$T/control-auth")")" = 403 ]
		says B '200 ALIVE'
	done
	says A '200 ALIVE'
	[ "$(pass A 127.0.0.1 dead "${ada[@]}")" = 404 ] # the host of both
	grep -q "127.0.0.1 is several webservers, say which: .*$(address_of A).*" "$T/answer"
	grep -q "$(address_of B)" "$T/answer"
	[ "$(pass A "$(uuid_of B | head -c 8)" drain "${ada[@]}")" = 204 ] # the beginning of it is enough
	says B '404 DEAD'
}

@test "what keeps a word from another node is said with that node's name" {
	local ada=(-u 'ada:a good password') b
	start_with_users
	b=$(address_of B)
	[ "$(pass A nowhere dead "${ada[@]}")" = 404 ]
	grep -q "no webserver is called nowhere; known are: .*$b" "$T/answer"
	[ "$(pass A "$b" dead -H "Authorization: Bearer $(<"$T/A/state/admin-token")")" = 403 ]
	grep -q "$b is another node.*--user NAME" "$T/answer"
	stop datastore
	[ "$(pass A "$b" dead "${ada[@]}")" = 204 ] # as it was last known
	says B '503 DEAD'
	[ "$(pass A nowhere dead "${ada[@]}")" = 404 ]
	grep -q "the datastore cannot be asked.*known from before are: .*$b" "$T/answer"
	"$BIN/sameroot" user passwd ada -c "$T/A.conf" <<<'quite another one' # which B cannot know
	[ "$(pass A "$b" auto -u 'ada:quite another one')" = 403 ]
	grep -q "$b does not take this login: its own users.db" "$T/answer"
	stop B
	[ "$(pass A "$b" auto -u 'ada:quite another one')" = 502 ]
	grep -q "$b does not answer" "$T/answer"
}

@test "over TLS a word goes to the key that the registry has, and to no other" {
	export TLS_OFF=false
	local b
	write_config datastore
	write_config A
	write_config B
	"$BIN/sameroot" init --webserver --yes -c "$T/A.conf" >/dev/null
	"$BIN/sameroot" user add --admin ada -c "$T/A.conf" <<<'a good password'
	curl() { command curl -k "$@"; }
	launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	export DATASTORE_PORT=${URL[datastore]##*:}
	start_webserver A B
	for name in datastore A B; do URL[$name]=${URL[$name]/http:/https:}; done
	b=$(address_of B)
	wait_for 'both are in the registry' in_registry 'length == 2 and all(.status.balancer.answer == "ALIVE")'
	wait_same datastore A B
	[ "$(pass A "$b" dead -u 'ada:a good password')" = 204 ]
	says B '503 DEAD'
	stop datastore
	stop B
	rm "$T/B/state/certificate.pem" "$T/B/state/key.pem"
	sed -i "s/^Sync-Port=.*/Sync-Port=${URL[B]##*:}/" "$T/B.conf"
	start_webserver B
	[ "$(pass A "$b" auto -u 'ada:a good password')" = 502 ]
	grep -q "who answers there is not $b" "$T/answer"
}

lb_of() { # NAME WORDS: `sameroot lb` there
	local name=$1
	shift
	"$BIN/sameroot" lb "$@" -c "$T/$name.conf"
}

@test "sameroot lb: this node with its token, another with an admin's login; status tells of all, on each" {
	local b name
	start_with_users
	b=$(address_of B)
	[ "$(lb_of A drain)" = 'this node: drain' ]
	says A '404 DEAD'
	lb_of A status | grep -q "^$(address_of A) .*draining  draining  here, now  .*drain, root@$(hostname), 20"
	lb_of A auto
	says A '200 ALIVE'
	lb_of B dead "$b" # this very node
	says B '503 DEAD'
	lb_of B auto "$b" --user ada <<<'a good password'
	says B '200 ALIVE'
	for name in A datastore; do
		[ "$(lb_of "$name" dead "$b" --user ada <<<'a good password')" = "$b: dead" ]
		says B '503 DEAD'
		[ "$(lb_of "$name" auto "$b" --user ada --json <<<'a good password')" = "{\"webserver\":\"$b\",\"override\":\"auto\"}" ]
		says B '200 ALIVE'
	done
	lb_of A drain "$b" --user ada <<<'a good password'
	for name in A datastore B; do
		wait_for "$name knows of it" grep_status "$name" "^$b  *draining  *draining  .*  drain, ada, 20"
		[ "$(lb_of "$name" status "$b" --json | jq -c '.[] | [.balancer.override, .balancer.by, .stale]')" = '["drain","ada",false]' ]
		[ "$(lb_of "$name" status | wc -l)" -eq "$([ "$name" = datastore ] && echo 4 || echo 3)" ]
	done
	"$BIN/sameroot" status -c "$T/datastore.conf" | grep -q "^$b  *draining  *20"
	"$BIN/sameroot" status -c "$T/A.conf" >"$T/status" # what waits elsewhere is not this node's
	grep -q "^$b  *draining  *20" "$T/status"
	grep -q '^balancer  *ALIVE$' "$T/status"
	"$BIN/sameroot" status -c "$T/B.conf" | grep -q '^balancer  *draining, by ada since 20.*`sameroot lb auto` ends that'
	[ "$(api A /api/webservers | jq -c 'map(.uuid) | sort')" = "$(api datastore /api/webservers | jq -c 'map(.uuid) | sort')" ]
	stop datastore
	wait_for 'A notices' eval "api A /api/webservers -D '$T/head' -o '$T/answer' && grep -qi '^Warning: 111 ' '$T/head'"
	grep -qi '^Age: [0-9]' "$T/head"
	[ "$(jq length "$T/answer")" = 2 ]
	lb_of A status 2>&1 | grep -q 'the datastore does not tell of the others now: .*Connection refused'
	"$BIN/sameroot" status -c "$T/A.conf" >"$T/status" || [ $? -eq 75 ]
	grep -q 'the webservers, as the datastore told .* ago' "$T/status"
	# the day on which the datastore is gone is no day to have forgotten the others, not even after a restart
	stop A
	start_webserver A
	wait_for 'A is alive' says A '200 ALIVE'
	lb_of A status 2>/dev/null | grep -q "^$(address_of A) .*here, now"
	lb_of A dead "$b" --user ada <<<'a good password'
	says B '503 DEAD'
}

@test "while the datastore hangs a webserver's status says what is known, and how old that is" {
	start_all
	wait_same
	wait_for 'A knows of B' grep_status A "^$(address_of B)"
	kill -STOP "${PID[datastore]}"
	run timeout 30 "$BIN/sameroot" status -c "$T/A.conf"
	kill -CONT "${PID[datastore]}"
	[ "$status" -eq 0 ] || [ "$status" -eq 75 ]
	grep -q 'the webservers, as the datastore told .* ago' <<<"$output"
	grep -q "^$(address_of B) " <<<"$output"
}

grep_status() { # NAME PATTERN
	lb_of "$1" status | grep -q "$2"
}

@test "sameroot lb says what went wrong, and what helps" {
	local b
	start_with_users
	b=$(address_of B)
	run lb_of A dead "$b" </dev/null
	[ "$status" -eq 64 ]
	[[ $output == *"$b is another node"*'--user NAME'* ]]
	run lb_of A dead "$b" --user ada <<<'a bad password'
	[ "$status" -eq 77 ]
	run lb_of A dead "$b" --user grace <<<'a good password'
	[ "$status" -eq 77 ]
	[[ $output == *'grace is none'* ]]
	run lb_of A dead nowhere --user ada <<<'a good password'
	[ "$status" -eq 66 ]
	[[ $output == *"no webserver is called nowhere; known are: "*"$b"* ]]
	run lb_of A status nowhere
	[ "$status" -eq 66 ]
	stop B
	run lb_of A dead "$b" --user ada <<<'a good password'
	[ "$status" -eq 75 ]
	[[ $output == *"$b does not answer"* ]]
	says A '200 ALIVE'
	# at a terminal both are asked for
	start_webserver B
	wait_for 'A knows where B listens now' eval "api A /api/webservers | jq -e 'any(.sync_port == ${URL[B]##*:})' >'$T/answer'"
	PYTHONPATH=$HERE python3 - "$BIN/sameroot" lb drain "$b" -c "$T/A.conf" >"$T/said" <<-'PY' || { [ $? -eq 77 ] && skip 'there are no pseudo-terminals here'; false; }
		import sys, ptys
		t, answers = ptys.Terminal(sys.argv[1:]), [(b"name", "ada"), (b"Password of ada", "a good password")]
		for output in t.shown():
		    if answers and answers[0][0] in output:
		        t.type(answers.pop(0)[1])
		sys.exit(t.wait())
	PY
	grep -q 'Password of ada' "$T/said"
	run ! grep -q 'a good password' "$T/said"
	says B '404 DEAD'
}

@test "a webserver that does not come any more is marked stale on every node, and no more when it is back" {
	local b name
	start_with_users
	b=$(address_of B)
	stop B KILL
	for name in datastore A; do
		wait_for "B is stale by $name" eval "'$BIN/sameroot' status -c '$T/$name.conf' | grep -q '^$b  *stale, was ALIVE  *20'"
		"$BIN/sameroot" status -c "$T/$name.conf" | grep -q "^$(address_of A)  *ALIVE  *20"
		lb_of "$name" status | grep -q "^$b  *stale, was ALIVE  *was running  *20"
	done
	[ "$(api datastore /api/conflicts | jq -c "map(select(.name == \"$b\"))[0].stale")" = true ]
	start_webserver B
	wait_for 'B is back' in_registry 'all(.stale == false)'
	"$BIN/sameroot" status -c "$T/datastore.conf" | grep -q "^$b  *ALIVE  *20"
}

forget() { # NAME WORDS: `sameroot forget` there
	local name=$1
	shift
	"$BIN/sameroot" forget "$@" -c "$T/$name.conf"
}

@test "the datastore forgets a webserver that is stale, for an admin, and one that comes back goes on" {
	local b uuid
	start_with_users
	b=$(address_of B)
	uuid=$(uuid_of B)
	run forget datastore "$b" --yes
	[ "$status" -eq 1 ]
	[[ $output == *"$b is not stale"*'stop it first'* ]]
	run forget A "$b" --yes
	[ "$status" -eq 64 ]
	[[ $output == *'do it there'* ]]
	run forget datastore nowhere --yes
	[ "$status" -eq 66 ]
	stop B
	wait_for 'B is stale' in_registry 'any(.stale)'
	"$BIN/sameroot" lb status -c "$T/datastore.conf" | grep -q "^$b  *stale, stopped  *stopped  *20"
	run forget datastore "$b" </dev/null
	[ "$status" -eq 64 ] # nobody to ask
	[[ $output == *"$b, UUID $uuid"* ]]
	[ "$(curl -sS -o "$T/answer" -w '%{http_code}' -X DELETE -H "Authorization: Bearer $(<"$T/control-auth")" "${URL[datastore]}/api/webservers/$uuid")" = 403 ]
	in_registry 'length == 2'
	[ "$(forget datastore "$b" --yes)" = "$b: forgotten" ]
	grep -q "webserver .*($uuid) is forgotten, said root@" "$T/datastore.log"
	in_registry 'length == 1'
	run ! grep -q "$b" <("$BIN/sameroot" lb status -c "$T/A.conf")
	value B "UPDATE users SET full_name = 'Grace' WHERE name = 'grace'"
	stop datastore # which knows of it only what outlives a restart
	start_datastore
	wait_for 'A is there' in_registry 'length == 1 and all(.stale == false)'
	start_webserver B
	wait_same datastore A B
	[ "$(value A "SELECT count(*) FROM users WHERE full_name = 'Grace'")" = 1 ]
	in_registry 'length == 2'
}

@test "an override on the datastore says that no balancer sends users there" {
	start_datastore
	lb_of datastore dead >"$T/said" 2>&1
	grep -q '^the datastore: dead$' "$T/said"
	grep -q 'no balancer sends users there' "$T/said"
	says datastore '503 DEAD'
}
