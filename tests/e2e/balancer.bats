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

# NAME [PORT]: the application of that webserver, whose External-Addr it is
start_app() {
	launch "app-$1" python3 "$HERE/webapp.py" serve "$1" "${2:-0}"
	[[ ! -e $T/$1.conf ]] || edit_config "$1" External-Addr= "External-Addr=127.0.0.1:${URL[app-$1]##*:}"
}

# [LINE...]: $T/lb.conf; LINEs are added to [Global], or may begin a section
write_lb() {
	{
		echo '[Global]'
		[[ $* == *Disable-Datastore* ]] || echo "Datastore=127.0.0.1:$DATASTORE_PORT"
		echo "Datastore-Insecure-Disable-TLS=${TLS_OFF:-true}"
		echo "Control-Secret-File=$T/control-auth"
		echo 'Insecure-Disable-HTTPS=true'
		echo 'Bind-Addr=127.0.0.1'
		echo "Web-Port=${LB_PORT:=$(free_port)}"
		echo 'Update-Interval=1'
		echo "State-Directory=$T/lb"
		[[ $# -eq 0 ]] || printf '%s\n' "$@"
	} >"$T/lb.conf"
}

start_lb() {
	launch lb "$BIN/sameroot-lb" -c "$T/lb.conf"
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

@test "under load one is overridden DEAD, comes back, and the other is drained: no request fails, and users stay until their server goes" {
	start_world
	begin_load
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
