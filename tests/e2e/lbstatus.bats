#!/usr/bin/env bats
# The balancer status of both daemons, by curl and by what other probes send.

bats_require_minimum_version 1.5.0

load lib
load balance

probe() { # NAME TEXT: what a probe of other making sends; the whole answer
	python3 - "${URL[$1]}" "$2" <<-'PY'
		import socket, sys
		host, port = sys.argv[1].removeprefix('http://').rsplit(':', 1)
		s = socket.create_connection((host, int(port)), 10)
		s.sendall(sys.argv[2].encode().decode('unicode_escape').encode())
		sys.stdout.write(b"".join(iter(lambda: s.recv(4096), b"")).decode())
	PY
}

@test "ALIVE and DEAD of both daemons: GET, HEAD, HTTP/1.0, no newline, no login, no line in the log" {
	local name lines
	fill A
	start_all
	for name in datastore A; do
		wait_for "$name is alive" says "$name" '200 ALIVE'
		[ "$(curl -sS "${URL[$name]}/api/system/lbstatus" | wc -c)" -eq 5 ]
		curl -sS -D "$T/head" -o /dev/null "${URL[$name]}/api/system/lbstatus"
		grep -qi '^Content-Type: text/plain' "$T/head"
		curl -sS -I "${URL[$name]}/api/system/lbstatus" | grep -q '^HTTP/1.1 200'
		wait_same datastore A
		lines=$(wc -l <"$T/$name.log")
		probe "$name" 'GET /api/system/lbstatus HTTP/1.0\r\n\r\n' >"$T/answer"
		head -n 1 "$T/answer" | grep -q '^HTTP/1.[01] 200'
		[ "$(tail -c 5 "$T/answer")" = ALIVE ]
		probe "$name" 'HEAD /api/system/lbstatus HTTP/1.0\r\n\r\n' >"$T/answer"
		head -n 1 "$T/answer" | grep -q '^HTTP/1.[01] 200'
		! grep -q ALIVE "$T/answer"
		for _ in {1..20}; do # probes that do not wait for the answer
			python3 -c 'import socket, sys; s = socket.create_connection(("127.0.0.1", int(sys.argv[1]))); s.sendall(b"GET /api/system/lbstatus HTTP/1.1\r\nHost: x\r\n\r\n")' "${URL[$name]##*:}"
			python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])))' "${URL[$name]##*:}"
		done
		says "$name" '200 ALIVE'
		[ "$(wc -l <"$T/$name.log")" -eq "$lines" ]
	done
}

@test "a webserver without a tree is DEAD; with its own, also without the datastore, ALIVE" {
	fill A
	install -m 600 <(echo a-secret-of-at-least-thirty-two-characters) "$T/control-auth"
	start_webserver A # there is no datastore, and never was: there is no key for a tree
	says A '503 DEAD'
	start_datastore
	stop A
	start_webserver A
	wait_for 'A is alive' says A '200 ALIVE'
	stop A
	stop datastore
	start_webserver A
	wait_for 'A is alive without the datastore' says A '200 ALIVE'
}

@test "overrides: 204, 400, 401, 403; auto gives it back to the node; a restart keeps them" {
	local name
	fill A
	start_all
	for name in datastore A; do
		wait_for "$name is alive" says "$name" '200 ALIVE'
		[ "$(override "$name" dead)" = 401 ]
		[ "$(override "$name" dead -H "Authorization: Bearer $(<"$T/control-auth")")" = 403 ]
		[ "$(as_admin "$name" undead)" = 400 ]
		says "$name" '200 ALIVE'
		[ "$(as_admin "$name" Dead)" = 204 ]
		says "$name" '503 DEAD'
		[ "$(as_admin "$name" DRAIN)" = 204 ]
		says "$name" '404 DEAD'
		[ "$(as_admin "$name" alive)" = 204 ]
		says "$name" '200 ALIVE'
		[ "$(as_admin "$name" dead)" = 204 ]
	done
	stop A
	stop datastore
	start_datastore
	start_webserver A
	grep -q 'the balancer status is overridden by root@.*: dead' "$T/A.log"
	wait_for 'A knows its tree' ready A
	for name in datastore A; do
		says "$name" '503 DEAD'
		[ "$(as_admin "$name" auto)" = 204 ]
		says "$name" '200 ALIVE'
	done
	stop A
	start_webserver A
	wait_for 'A is alive' says A '200 ALIVE'
}

@test "who overrode what is known in the cluster's registry at once" {
	export INTERVAL=600
	write_config A
	fill A
	start_datastore
	start_webserver A
	wait_for 'A is in the registry' in_registry '.[0].status.balancer.state == "running"'
	[ "$(as_admin A drain)" = 204 ]
	wait_for 'the datastore knows it' in_registry '.[0].status.balancer | .state == "draining" and .answer == "DRAIN" and (.by | startswith("root@")) and .since_ms > 0'
	[ "$(as_admin A auto)" = 204 ]
	wait_for 'the datastore knows it' in_registry '.[0].status.balancer | .state == "running" and .answer == "ALIVE" and .by == null'
}
