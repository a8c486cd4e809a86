#!/usr/bin/env bats
# sameroot-lb with a real HAProxy, real daemons, and a small web application on each webserver.

bats_require_minimum_version 1.5.0

load lib
declare -gA PID URL
eval "lib_$(declare -f teardown)"

teardown() {
	local socket pid
	for socket in "$T"/lb*/haproxy.sock; do # one that has lost its balancer goes on
		pid=$(master "$socket" 'show proc' 2>/dev/null | awk '$2 == "master" { print $1 }') || continue
		[[ -z $pid ]] || kill "$pid" || true
	done
	lib_teardown
}

# --- the world ---------------------------------------------------------------------------------------------------------------

# NAME [PORT [CERTIFICATE KEY]]: the application of that webserver, whose External-Addr it is
start_app() {
	launch "app-$1" python3 "$HERE/webapp.py" serve "$1" "${2:-0}" "${@:3}"
	[[ ! -e $T/$1.conf ]] || edit_config "$1" External-Addr= "External-Addr=127.0.0.1:${URL[app-$1]##*:}"
}

# [LINE...]: $T/lb.conf; LINEs are added to [Global], or may begin a section
write_lb() {
	{
		echo '[Global]'
		[[ $* == *Disable-Datastore* ]] || echo "Datastore=127.0.0.1:$DATASTORE_PORT"
		echo "Datastore-Insecure-Disable-TLS=${TLS_OFF:-true}"
		echo "Control-Secret-File=$T/control-auth"
		echo "Insecure-Disable-HTTPS=${PLAIN:-true}"
		echo 'Bind-Addr=127.0.0.1'
		echo "Web-Port=${LB_PORT:=$(free_port)}"
		echo 'Update-Interval=1'
		echo "State-Directory=$T/lb"
		[[ $# -eq 0 ]] || printf '%s\n' "$@"
	} >"$T/lb.conf"
}

start_lb() {
	launch lb env -C "$T" "$BIN/sameroot-lb" -c lb.conf
	[ "${URL[lb]}" = "http://127.0.0.1:$LB_PORT" ]
}

# Two webservers with their applications, alive, behind a balancer that knows both.
# shellcheck disable=SC2120
start_world() { # [LINE...]: of write_lb
	fill A
	start_datastore
	start_app A
	start_app B
	start_webserver A B
	wait_for 'both are alive' both_alive
	write_lb "$@"
	start_lb
	wait_for 'both have users' served_by 'A B'
}

both_alive() {
	[ "$(curl -sS "${URL[A]}/api/system/lbstatus")$(curl -sS "${URL[B]}/api/system/lbstatus")" = ALIVEALIVE ]
}

override() { # NAME WORD
	[ "$(curl -sS -o /dev/null -w '%{http_code}' -X PUT -H "Authorization: Bearer $(<"$T/$1/state/admin-token")" \
		"${URL[$1]}/api/system/lbstatus/override/$2")" = 204 ]
}

stop_quietly() { # NAME
	kill "${PID[$1]}"
	wait "${PID[$1]}" || true
	unset "PID[$1]"
}

# --- asking --------------------------------------------------------------------------------------------------------------------

# SOCKET COMMAND: of HAProxy's master
master() {
	python3 - "$@" <<-'PY'
		import socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.settimeout(5)
		s.connect(sys.argv[1])
		s.sendall(sys.argv[2].encode() + b"\n")
		s.shutdown(socket.SHUT_WR)
		sys.stdout.write(b"".join(iter(lambda: s.recv(65536), b"")).decode())
	PY
}

drip() { # SOCKET: a line every half second, whatever it is asked
	python3 - "$1" >"$T/drip.log" 2>&1 3>&- <<-'PY' &
		import contextlib, socket, sys, time
		s = socket.socket(socket.AF_UNIX)
		s.bind(sys.argv[1])
		s.listen()
		while True:
		    with s.accept()[0] as c, contextlib.suppress(OSError):
		        while True:
		            c.sendall(b"#\n")
		            time.sleep(0.5)
	PY
	PID[drip]=$!
}

haproxy_pid() {
	master "$T/lb/haproxy.sock" 'show proc' | awk '$2 == "master" { print $1 }'
}

served_by() { # 'A B': those who have users that come without a cookie, all of them and no others
	local seen
	seen=$(for _ in {1..12}; do curl -sS --max-time 10 "${URL[lb]}/" && echo; done | sort -u | xargs)
	[ "$seen" = "$1" ]
}

code_of() {
	curl -sS --max-time 10 -o "$T/page" -w '%{http_code}' "${URL[lb]}/"
}

answers() { # STATUS
	[ "$(code_of)" = "$1" ]
}

lacks() { # PATTERN FILE...
	! grep -E "$@"
}

# --- load ------------------------------------------------------------------------------------------------------------------------

# Users with cookies, and wrk without, until end_load.
begin_load() {
	rm -f "$T"/end*
	python3 "$HERE/webapp.py" use "${URL[lb]}" 6 "$T/end" >"$T/users" 3>&- &
	PID[users]=$!
	wrk -t 1 -c 8 -d 600s "${URL[lb]}/" >"$T/wrk" 3>&- &
	PID[wrk]=$!
	wait_for 'all users are served' test -e "$T/end.begun"
}

# No request failed.
end_load() {
	touch "$T/end"
	kill -INT "${PID[wrk]}"
	wait "${PID[wrk]}" "${PID[users]}"
	unset 'PID[wrk]' 'PID[users]'
	[ "$(awk '/requests in/ { print $1 }' "$T/wrk")" -gt 500 ] || fail "$(<"$T/wrk")"
	! grep -E 'Non-2xx|Socket errors' "$T/wrk" || fail "$(<"$T/wrk")"
	jq -e '.failed == 0 and .requests > 100' "$T/users" || fail "$(<"$T/users")"
}

# --- the tests ---------------------------------------------------------------------------------------------------------------------

@test "under load one shuts down gracefully, comes back, and the other is drained: no request fails, and users stay until their server goes" {
	local port
	RECOGNITION=3 SHUTDOWN=10 write_config A
	start_world
	port=${URL[app-A]##*:}
	begin_load
	stop A
	stop_quietly app-A
	served_by B
	start_app A "$port"
	start_webserver A
	wait_for 'A is back' served_by 'A B'
	override A dead
	wait_for 'nobody comes to A' served_by B
	override A auto
	wait_for 'A is back' served_by 'A B'
	# All users with a cookie are at B now, and stay there while it is drained.
	override B drain
	wait_for 'nobody new comes to B' served_by A
	curl -sS "${URL[lb]}/" >/dev/null
	end_load
	jq -e '.users | all(. == ["B"] or . == ["A", "B"]) and any(. == ["A", "B"])' "$T/users"
	override B auto
	wait_for 'B is back' served_by 'A B'
}

@test "kill -9 of a webserver and its application: traffic moves, and its return is noticed" {
	local port
	start_world
	port=${URL[app-A]##*:}
	begin_load
	stop app-A KILL
	stop A KILL
	wait_for 'all go to B' served_by B
	start_app A "$port"
	start_webserver A # at another port, which the datastore tells
	wait_for 'A is back' served_by 'A B'
	touch "$T/end"
	kill -INT "${PID[wrk]}"
	wait "${PID[wrk]}" "${PID[users]}"
	unset 'PID[wrk]' 'PID[users]'
	# No more is lost than what was under way.
	jq -e '.failed <= 6 and .requests > 100 and (.users | any(. == ["A", "B"]))' "$T/users" || fail "$(<"$T/users")"
	! grep -E 'Non-2xx' "$T/wrk" || [ "$(awk '/Non-2xx/ { print $NF }' "$T/wrk")" -le 8 ] || fail "$(<"$T/wrk")"
}

no_webserver() { # PORT: of an application
	! grep -q "127.0.0.1:$1 " "$T/lb/haproxy.cfg"
}

@test "a third webserver joins under load, and goes, and no request fails; the datastore forgets it, and it leaves" {
	local port
	start_world
	begin_load
	write_config C
	start_app C
	port=${URL[app-C]##*:}
	start_webserver C
	wait_for 'C has users' served_by 'A B C'
	override C dead
	wait_for 'C has no users' served_by 'A B'
	stop C
	end_load
	stop datastore
	sqlite3 "$T/datastore/state/state.db" "DELETE FROM webserver WHERE external_addr = '127.0.0.1:$port'"
	begin_load
	start_datastore
	wait_for 'C has left' no_webserver "$port"
	grep -q 'webserver 127.0.0.1_.* leaves' "$T/lb.log"
	end_load
}

@test "without the datastore the list stays, over a restart and a kill of the balancer and of HAProxy; with nobody alive there is a page" {
	local pid
	start_world
	stop datastore
	wait_for 'that is noticed' grep -q 'the 2 last known stay' "$T/lb.log"
	served_by 'A B'
	stop lb
	! curl -sS --max-time 5 "${URL[lb]}/" || fail 'HAProxy goes on'
	start_lb
	wait_for 'both have users' served_by 'A B'

	pid=$(haproxy_pid)
	begin_load
	stop lb KILL
	served_by 'A B'
	start_lb
	grep -q "taken over (pid $pid)" "$T/lb.log"
	[ "$(haproxy_pid)" = "$pid" ]
	wait_for 'both have users' served_by 'A B'
	end_load

	kill -KILL "$pid"
	wait_for 'it is noticed' grep -q 'HAProxy ended; it is started again in' "$T/lb.log"
	wait_for 'both have users' served_by 'A B'
	[ "$(haproxy_pid)" != "$pid" ]

	override A dead
	override B dead
	wait_for 'nobody is alive' answers 503
	grep -q 'No webserver can answer at the moment' "$T/page"
	curl -sS -D - -o /dev/null "${URL[lb]}/" | grep -qi '^retry-after: 5'
	override B auto
	wait_for 'B is back' served_by B
}

@test "SIGHUP takes another port, and refuses what is not valid; SIGTERM waits for what is under way, and a second balancer is refused" {
	local old
	start_world
	curl -sS -H 'X-Forwarded-For: 6.6.6.6' -H 'Forwarded: for=6.6.6.6' -H 'X-Forwarded-Proto: gopher' -H 'Cookie: a=b' "${URL[lb]}/headers" >"$T/headers"
	lacks '6\.6\.6\.6|gopher|SAMEROOT' "$T/headers"
	grep -qi '^x-forwarded-for: 127.0.0.1' "$T/headers"
	grep -qi '^x-forwarded-proto: http' "$T/headers"
	grep -qi "^x-forwarded-host: 127.0.0.1:$LB_PORT" "$T/headers"

	run -75 "$BIN/sameroot-lb" -c "$T/lb.conf"
	echo 'Nonsense=1' >>"$T/lb.conf"
	kill -HUP "${PID[lb]}"
	wait_for 'it is refused' grep -q 'refused and the old one kept: .*unknown key Nonsense' "$T/lb.log"
	served_by 'A B'

	# A reload forgets no drain: nobody new comes to B, not even before the first check.
	override B drain
	wait_for 'nobody new comes to B' served_by A
	write_lb 'Session-Timeout=2'
	kill -HUP "${PID[lb]}"
	wait_for 'it is reloaded' eval '[ "$(grep -c "HAProxy runs with 2" "$T/lb.log")" = 2 ]'
	served_by A
	override B auto
	wait_for 'B is back' served_by 'A B'

	old=${URL[lb]}
	LB_PORT=$(free_port)
	write_lb 'Session-Timeout=1'
	kill -HUP "${PID[lb]}"
	URL[lb]=http://127.0.0.1:$LB_PORT
	wait_for 'the new port' answers 200
	wait_for 'the old one is closed' eval "! curl -sS -o '$T/page' $old/ 2>'$T/page'"
	served_by 'A B'

	curl -sS --max-time 20 -o "$T/slow" -w '%{http_code}' "${URL[lb]}/slow" >"$T/slow.code" 3>&- &
	wait_for 'it is under way' eval "master '$T/lb/haproxy.sock' '@1 show sess' | grep -q 'be=sameroot '"
	stop lb
	wait $!
	[ "$(<"$T/slow.code")" = 200 ]
}

@test "--print needs neither root nor HAProxy, and HAProxy takes it; hostile names in the registry come to nothing, and the secret is nowhere" {
	local n=0 external uuid
	start_world
	for external in 'web 1:80' 'web1:80 check' $'web1:80\u000a    server evil 6.6.6.6:80' '${HOME}:80' "web1'\\"'"':80 '6.6.6.6:80#' 'unix@/run/x'; do
		n=$((n + 1))
		uuid=$(printf '00000000-0000-4000-8000-%012d' "$n")
		jq -n --arg e "$external" '{name: "evil\"${HOME}'"'"' name", external_addr: $e, sync_port: 9406, pin: null}' |
			api datastore "/api/webservers/$uuid" -X PUT --data-binary @- -o /dev/null
	done
	# Of such a name at a good address the name is made plain.
	api datastore /api/webservers/00000000-0000-4000-8000-00000000ffff -X PUT -o /dev/null \
		--data-binary '{"name": "a b\"${HOME}#", "external_addr": "127.0.0.1:9", "sync_port": 9, "pin": null}'
	wait_for 'it has joined' grep -q '    server a_b___HOME__-[0-9a-f]* 127.0.0.1:9 cookie' "$T/lb/haproxy.cfg"
	wait_for 'they are left out' grep -q 'left out: .*its External-Addr is not host:port' "$T/lb.log"
	lacks '^ .*(evil|6\.6\.6\.6|HOME\}|unix@)' "$T/lb/haproxy.cfg"
	served_by 'A B'

	sed -i 's|^HAProxy=.*||; $a HAProxy=/nonexistent' "$T/lb.conf"
	chmod -R a+rX "$T" 2>/dev/null || true # a database's files come and go
	chmod 644 "$T/control-auth" && ! "$BIN/sameroot-lb" -c "$T/lb.conf" --print # a secret that all may read
	chmod 600 "$T/control-auth"
	if [[ $(id -u) -eq 0 ]]; then
		sed "s|^Control-Secret-File=.*|Control-Secret=$(<"$T/control-auth")|" "$T/lb.conf" >"$T/print.conf"
		chmod 755 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/test" "$T" || true
		setpriv --reuid 65534 --regid 65534 --clear-groups "$BIN/sameroot-lb" -c /dev/stdin --print <"$T/print.conf" >"$T/printed"
	else
		"$BIN/sameroot-lb" -c "$T/lb.conf" --print >"$T/printed"
	fi
	haproxy -c -f "$T/printed" >"$T/said" 2>&1 || fail "$(<"$T/said")"
	lacks global "$T/printed"
	[ "$(grep -c "^    server .*:$(sed 's/.*://' <<<"${URL[app-A]}") cookie" "$T/printed")" -eq 1 ]

	lacks -r -e "$(<"$T/control-auth")" "$T/lb" "$T/lb.log" "$T/printed"
	stop datastore
	"$BIN/sameroot-lb" -c "$T/lb.conf" --print 2>"$T/said" >"$T/again"
	grep -q 'this is the last known list' "$T/said"
	diff "$T/printed" "$T/again"
	sed -i "s|^State-Directory=.*|State-Directory=$T/none|" "$T/lb.conf"
	run -75 "$BIN/sameroot-lb" -c "$T/lb.conf" --print
}

ready() { # as in tls.bats: over TLS it is not verified here
	curl -kfsS --max-time 5 -o /dev/null "${URL[$1]}/readyz" 2>/dev/null || curl -kfsS --max-time 5 -o /dev/null "${URL[$1]/http:/https:}/readyz" 2>/dev/null
}

certificate_of() { # of the balancer's port: its subject's serial number
	openssl s_client -connect "127.0.0.1:$LB_PORT" </dev/null 2>/dev/null | openssl x509 -noout -serial
}

other_certificate() {
	[ "$(certificate_of)" != "$1" ]
}

@test "over TLS: the datastore is known by first contact, health by lbstatus, applications by their certificate, users see one of ours" {
	local serial
	TLS_OFF=false
	write_config datastore
	write_config A
	write_config B
	fill A
	start_datastore
	start_app A
	start_webserver A
	wait_for 'A has a certificate' test -s "$T/A/state/certificate.pem"
	start_app B 0 "$T/A/state/certificate.pem" "$T/A/state/key.pem"
	start_webserver B
	PLAIN=false
	write_lb
	start_lb
	grep -q 'first contact: the datastore at .* holds this cluster' "$T/lb.log"
	wait_for 'A has users' served_by_tls A

	# A wrong secret is called so, by whoever makes first contact anew.
	sed "s|^Control-Secret.*|Control-Secret=$(head -c 24 /dev/urandom | base64 -w 0)|; s|^State-Directory=.*|State-Directory=$T/none|" "$T/lb.conf" >"$T/other.conf"
	run -77 "$BIN/sameroot-lb" -c "$T/other.conf" --print
	[[ $output == *'the secrets differ (give the datastore'*'Control-Secret'* ]]

	# A certificate that is replaced in place is seen by itself.
	serial=$(certificate_of)
	rm "$T/lb/certificate.pem" "$T/lb/key.pem"
	wait_for 'a new certificate' other_certificate "$serial"

	# https: what no CA vouches for is refused, unless one says so.
	write_lb 'Webserver-Protocol=https'
	kill -HUP "${PID[lb]}"
	wait_for 'nobody is verified' tls_answers 503
	write_lb 'Webserver-Protocol=https' 'Insecure-Skip-TLS-Verify=true'
	kill -HUP "${PID[lb]}"
	wait_for 'B has users' served_by_tls B

	# The datastore has another key: nothing is sent to it, and what is known stays.
	stop datastore
	rm "$T"/datastore/state/{certificate,key}.pem
	start_datastore
	wait_for 'it is seen' grep -q 'the key of the server at .* is not the one that was pinned .* Datastore-Key-Pin in loadbalancer.conf' "$T/lb.log"
	served_by_tls B
}

served_by_tls() {
	[ "$(for _ in {1..2}; do curl -ksS --max-time 10 "https://127.0.0.1:$LB_PORT/" && echo; done | grep -v '<' | sort -u | xargs)" = "$1" ]
}

tls_answers() {
	[ "$(curl -ksS --max-time 10 -o "$T/page" -w '%{http_code}' "https://127.0.0.1:$LB_PORT/")" = "$1" ]
}

@test "overrides without a datastore; and a configuration that HAProxy cannot take leaves it as it was" {
	start_app A
	start_app B
	write_lb 'Disable-Datastore=true' '[Overrides "one"]' "Webserver=${URL[app-A]#http://}" 'Sync-Port=0' \
		'[Override "two"]' "Webserver=localhost:${URL[app-B]##*:}" 'Sync-Port=0'
	start_lb
	wait_for 'both have users' served_by 'A B'
	start_app C "$(free_port)"
	sed -i "s|^Web-Port=.*|Web-Port=${URL[app-C]##*:}|" "$T/lb.conf"
	cp "$T/lb/haproxy.cfg" "$T/before"
	kill -HUP "${PID[lb]}"
	wait_for 'that is said' grep -q 'HAProxy did not take its new configuration' "$T/lb.log"
	wait_for 'it is as it was' cmp -s "$T/before" "$T/lb/haproxy.cfg"
	served_by 'A B'
	stop_quietly app-C
	URL[lb]=http://127.0.0.1:${URL[app-C]##*:}
	wait_for 'it is tried again' served_by 'A B'
}

@test "a HAProxy of one's own choice is replaced, hangs when it is asked, is gone, dies, and hangs for good: what runs goes on, and the balancer ends" {
	local haproxy pid
	haproxy=$(PATH=$PATH:/usr/sbin command -v haproxy)
	cp "$haproxy" "$T/proxy"
	start_app A
	write_lb 'Disable-Datastore=true' "HAProxy=$T/proxy" 'Shutdown-Timeout=1' '[Overrides "one"]' "Webserver=${URL[app-A]#http://}" 'Sync-Port=0'
	PATH=/usr/bin:/bin start_lb
	wait_for 'it has users' served_by A

	rm "$T/proxy" # as an upgrade does
	cp "$haproxy" "$T/proxy"
	sed -i 's/^Shutdown-Timeout.*/Session-Timeout=2/' "$T/lb.conf"
	kill -HUP "${PID[lb]}"
	wait_for 'it is reloaded' eval '[ "$(grep -c "HAProxy runs with 1" "$T/lb.log")" = 2 ]'
	served_by A
	[ "$(readlink "/proc/$(haproxy_pid)/exe")" = "$T/proxy" ]

	mv "$T/proxy" "$T/real"
	printf '#!/bin/sh\nsleep 1000\n' >"$T/proxy"
	chmod +x "$T/proxy"
	sed -i 's/^Session-Timeout.*/Session-Timeout=3/' "$T/lb.conf"
	kill -HUP "${PID[lb]}"
	wait_for 'that is said' grep -q "$T/proxy -c, which is to check the configuration, was ended" "$T/lb.log"
	served_by A
	rm "$T/proxy"
	wait_for 'that is said' grep -q "HAProxy=$T/proxy (install the package haproxy): No such file" "$T/lb.log"
	served_by A
	mv "$T/real" "$T/proxy"
	wait_for 'it is tried again' eval '[ "$(grep -c "HAProxy runs with 1" "$T/lb.log")" = 3 ]'

	kill -KILL "$(haproxy_pid)"
	wait_for 'it is noticed' grep -q 'it is started again' "$T/lb.log"
	wait_for 'it is back' served_by A

	pid=$(haproxy_pid)
	sed -i 's/^Session-Timeout.*/Shutdown-Timeout=1/' "$T/lb.conf"
	kill -HUP "${PID[lb]}"
	wait_for 'it is reloaded' eval '[ "$(grep -c "HAProxy runs with 1" "$T/lb.log")" = 5 ]'
	kill -STOP -- "-$pid"
	stop lb
	grep -q 'HAProxy hangs, and is killed' "$T/lb.log"
	wait_for 'nothing is left of it' eval "! kill -0 -- -$pid 2>/dev/null"
}

@test "a certificate that is wrong is called by its own name; a disk that is full changes nothing, and is said as what it is; one that hangs does not keep the balancer from ending" {
	local pid cfg
	start_app A
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$T/key" -out "$T/chain" -days 2 -subj /CN=a 2>"$T/openssl"
	mkdir "$T/lb"
	mount -t tmpfs -o size=400k none "$T/lb" 2>/dev/null || skip 'no mount here'
	# shellcheck disable=SC2034 # teardown unmounts it
	MOUNTED=$T/lb
	PLAIN=false write_lb 'Disable-Datastore=true' 'Shutdown-Timeout=0' "Certificate-File=$T/chain" "Key-File=$T/key" \
		'[Override "one"]' "Webserver=${URL[app-A]#http://}" 'Sync-Port=0'
	start_lb
	cfg=$T/lb/haproxy.cfg
	sha256sum "$cfg" >"$T/sum"

	mv "$T/chain" "$T/chain.away"
	kill -HUP "${PID[lb]}"
	wait_for 'that is said' grep -q "error .*Certificate-File and Key-File: .*$T/chain: No such file" "$T/lb.log"
	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$T/key" 2>"$T/openssl"
	mv "$T/chain.away" "$T/chain"
	wait_for 'that is said' grep -q "error .*Certificate-File and Key-File: $T/chain and $T/key: " "$T/lb.log"
	sha256sum -c "$T/sum"
	[ "$(curl -sSk --max-time 10 "https://127.0.0.1:$LB_PORT/")" = A ]

	openssl req -x509 -key "$T/key" -out "$T/chain" -days 2 -subj /CN=a
	dd if=/dev/zero of="$T/lb/fill" bs=1k 2>"$T/dd" || true
	sha256sum "$cfg" >"$T/sum"
	sed -i 's/^Shutdown-Timeout=.*/&\nSession-Timeout=2/' "$T/lb.conf"
	kill -HUP "${PID[lb]}"
	wait_for 'that is said' grep -q 'error .*No space left on device' "$T/lb.log"
	[ "$(curl -sSk --max-time 10 "https://127.0.0.1:$LB_PORT/")" = A ]
	sha256sum -c "$T/sum"
	lacks 'is not what runs' "$T/lb.log"
	rm "$T/lb/fill"
	wait_for 'it is tried again' grep -q 'maxidle 120s' "$cfg"
	wait_for 'it is taken' eval '[ "$(grep -c "HAProxy runs with 1" "$T/lb.log")" = 2 ]'

	pid=$(haproxy_pid)
	rm "$cfg"
	mkfifo "$cfg" # whoever opens it waits
	kill -HUP "${PID[lb]}"
	wait_for 'it is about to' eval '[ "$(grep -c "reload: the configuration is taken" "$T/lb.log")" = 3 ]'
	stop lb
	grep -q 'warn .*the time is up' "$T/lb.log"
	kill "$pid"
}

@test "an existing HAProxy is reloaded by the socket of its master, and goes on without the balancer" {
	fill A
	start_datastore
	start_app A
	start_app B
	start_webserver A B
	wait_for 'both are alive' both_alive
	touch "$T/sameroot.cfg"
	printf 'defaults\n mode http\n timeout connect 1s\n timeout client 9s\n timeout server 9s\nfrontend other\n bind 127.0.0.1:%s\n http-request return status 200 content-type text/plain string other\n' \
		"$(free_port)" >"$T/existing.cfg"
	haproxy -W -f "$T/existing.cfg" -f "$T/sameroot.cfg" -S "$T/lb-existing.sock" >"$T/existing.log" 2>&1 3>&- &
	PID[existing]=$!
	write_lb "HAProxy-Socket=$T/lb-existing.sock" "HAProxy-Config=$T/sameroot.cfg"
	start_lb
	wait_for 'both have users' served_by 'A B'
	begin_load
	override B drain
	wait_for 'nobody new comes to B' served_by A
	override B auto
	wait_for 'B is back' served_by 'A B'
	stop lb
	served_by 'A B'
	start_lb
	end_load

	# It is gone, something else answers in its place and never comes to an end, and it is back.
	stop_quietly existing
	wait_for 'that is said' grep -q "error .*HAProxy does not answer at $T/lb-existing.sock: Connection refused" "$T/lb.log"
	rm "$T/lb-existing.sock"
	drip "$T/lb-existing.sock"
	wait_for 'that is said' grep -q "error .*HAProxy does not answer at $T/lb-existing.sock: show proc" "$T/lb.log"
	stop_quietly drip
	rm "$T/lb-existing.sock"
	haproxy -W -f "$T/existing.cfg" -f "$T/sameroot.cfg" -S "$T/lb-existing.sock" >"$T/existing.log" 2>&1 3>&- &
	PID[existing]=$!
	wait_for 'both have users' served_by 'A B'
	override B drain
	wait_for 'nobody new comes to B' served_by A
	stop lb
	stop_quietly existing
}

# NAME: the lines of that snippet of the manual
snippet() {
	awk -v name="$1" '$0 == ".\\\" snippet " name { on = 1 } on && /^\.Ed/ { exit } on > 1 { print } on && /^\.Bd/ { on = 2 }' \
		"$HERE/../../man/sameroot-lb.8" | sed 's/\\e/\\/g'
}

@test "the snippets of the manual for HAProxy and nginx, run: traffic goes through them" {
	local port
	[[ -x /usr/sbin/nginx ]] || skip 'there is no nginx: scripts/setup'
	TLS_OFF=false
	write_config datastore
	write_config A
	write_config B
	fill A
	start_datastore
	start_app A
	start_app B
	start_webserver A B
	LB_PORT=$(free_port)
	URL[lb]=http://127.0.0.1:$LB_PORT

	# Two machines are two ports here.
	snippet haproxy | sed -E "s/\*:80/127.0.0.1:$LB_PORT/; s/ port 9406//
		s/10\.0\.0\.1:8080/${URL[app-A]#http://} port ${URL[A]##*:}/; s/10\.0\.0\.2:8080/${URL[app-B]#http://} port ${URL[B]##*:}/" >"$T/haproxy.cfg"
	haproxy -c -f "$T/haproxy.cfg" >"$T/said" 2>&1 || fail "$(<"$T/said")"
	haproxy -f "$T/haproxy.cfg" >"$T/haproxy.log" 2>&1 3>&- &
	PID[haproxy]=$!
	wait_for 'both have users' served_by 'A B'
	begin_load
	tls_override A drain
	wait_for 'nobody new comes to A' served_by B
	tls_override A dead
	end_load
	stop_quietly haproxy

	port=$(free_port)
	{
		printf 'daemon off;\npid %s/nginx.pid;\nerror_log stderr;\nworker_processes 1;\nevents {}\nhttp {\naccess_log off;\n' "$T"
		printf '%s_temp_path %s/nginx;\n' client_body "$T" proxy "$T" fastcgi "$T" uwsgi "$T" scgi "$T"
		snippet nginx | sed "s/listen 80;/listen 127.0.0.1:$port;/; s/10\.0\.0\.1:8080/${URL[app-A]#http://}/; s/10\.0\.0\.2:8080/${URL[app-B]#http://}/"
		echo '}'
	} >"$T/nginx.conf"
	nginx -t -q -c "$T/nginx.conf" 2>"$T/said" || fail "$(<"$T/said")"
	nginx -c "$T/nginx.conf" 2>"$T/nginx.log" 3>&- &
	PID[nginx]=$!
	URL[lb]=http://127.0.0.1:$port
	wait_for 'there are users' answers 200
	begin_load
	stop app-A KILL # what is refused is passed over
	served_by B
	end_load
	stop_quietly nginx
}

tls_override() { # NAME WORD
	curl -ksS -o /dev/null -X PUT -H "Authorization: Bearer $(<"$T/$1/state/admin-token")" "${URL[$1]/http:/https:}/api/system/lbstatus/override/$2"
}
