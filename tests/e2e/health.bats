#!/usr/bin/env bats
# What makes a running webserver DEAD: its application is not well, or it is too far behind the datastore.

bats_require_minimum_version 1.5.0

load lib
load balance

# An application whose answer stands in $T/well: a status, or "hang".  APP is its URL; with a certificate and a key it serves https.
application() { # [CERTIFICATE KEY]
	cat >"$T/application.py" <<-'PY'
		import http.server, ssl, sys, time
		class Handler(http.server.BaseHTTPRequestHandler):
		    def do_GET(self):
		        said = open(sys.argv[1]).read().strip()
		        while said == "hang":
		            time.sleep(0.1)
		            said = open(sys.argv[1]).read().strip()
		        self.send_response(int(said) if self.path == "/health?deep=1" else 404)
		        self.send_header("Location", "/health?deep=1")
		        self.send_header("Content-Length", "0")
		        self.end_headers()
		    def log_message(self, *args):
		        pass
		server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
		if len(sys.argv) > 2:
		    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		    context.load_cert_chain(sys.argv[2], sys.argv[3])
		    server.socket = context.wrap_socket(server.socket, server_side=True)
		print(f"listening on 127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
		server.serve_forever()
	PY
	launch application python3 "$T/application.py" "$T/well" "$@"
	APP="${URL[application]}/health?deep=1"
}

well() { # STATUS
	echo "$1" >"$T/well.new"
	mv "$T/well.new" "$T/well"
}

@test "Health-Check-URL: what is not well is DEAD, and ALIVE after one good answer; SIGHUP takes it away; no line for a look" {
	local bad lines
	well 503
	application
	write_config A "Health-Check-URL=$APP"
	fill A
	start_datastore
	start_webserver A
	wait_for 'A knows its tree' ready A
	says A '503 DEAD' # it was not well yet
	well 200
	wait_for 'A is alive' says A '200 ALIVE'
	for bad in 302 hang; do
		well "$bad"
		wait_for "A is dead by $bad" says A '503 DEAD'
		wait_for 'the datastore knows why' in_registry '.[0].status.balancer | .state == "running" and (.why | contains("Health-Check-URL"))'
		"$BIN/sameroot" status -c "$T/A.conf" | grep -q 'the application is not well (Health-Check-URL): '
		well 204
		wait_for 'A is alive' says A '200 ALIVE'
	done
	[ "$(grep -c 'balancer status' "$T/A.log")" -eq 5 ] # each change, and nothing else
	stop application KILL
	wait_for 'A is dead without it' says A '503 DEAD'
	edit_config A Health-Check-URL= 'Health-Check-URL='
	kill -HUP "${PID[A]}"
	wait_for 'A is alive' says A '200 ALIVE'
	[ "$(as_admin A dead)" = 204 ]
	says A '503 DEAD'
}

@test "an https Health-Check-URL is verified, but on the loopback interface" {
	export TLS_OFF=false
	write_config A
	"$BIN/sameroot-sync" -c "$T/A.conf" >"$T/A.log" 2>&1 3>&- || [ $? -eq 78 ] # for want of a secret
	install -m 600 <(echo a-secret-of-at-least-thirty-two-characters) "$T/control-auth"
	launch A "$BIN/sameroot-sync" -c "$T/A.conf" # which makes a certificate
	stop A
	well 200
	application "$T/A/state/certificate.pem" "$T/A/state/key.pem"
	export TLS_OFF=true
	APP=https://${APP#http://}
	write_config A "Health-Check-URL=$APP"
	fill A
	start_datastore
	start_webserver A
	wait_for 'A is alive' says A '200 ALIVE'
	edit_config A Health-Check-URL= "Health-Check-URL=${APP/127.0.0.1/$(hostname)}"
	kill -HUP "${PID[A]}"
	wait_for 'A is dead' says A '503 DEAD'
}

@test "Max-Lag: a webserver that has not had everything for so long is DEAD until it has; without the datastore it stays ALIVE" {
	write_config A 'Max-Lag=2'
	fill A
	start_datastore
	start_webserver A
	wait_same datastore A
	wait_for 'A is alive' says A '200 ALIVE'
	mv "$T/A/webstore.db" "$T/kept.db" # lost: the store pauses
	wait_for 'A is dead' says A '503 DEAD'
	wait_for 'the datastore knows why' in_registry '.[0].status.balancer.why | contains("Max-Lag")'
	in_registry '.[0].lag >= 2'
	mv "$T/kept.db" "$T/A/webstore.db"
	wait_for 'A is alive' says A '200 ALIVE'
	wait_for 'it lags no more' in_registry '.[0].lag == 0'
	stop datastore
	wait_for 'A misses it' eval "status_of A .trouble >'$T/answer'"
	for _ in {1..40}; do # longer than Max-Lag
		says A '200 ALIVE'
		sleep 0.1
	done
}

@test "what cannot be is refused: Health-Check-URL, Max-Lag" {
	local bad
	for bad in ftp://a/ http:// 'http://a b/' http://u:p@a/ http://a/#x localhost:80; do
		write_config A "Health-Check-URL=$bad"
		run "$BIN/sameroot-sync" -c "$T/A.conf" --check-config
		[ "$status" -eq 78 ]
		[[ $output == *Health-Check-URL* ]]
	done
	write_config A 'Max-Lag=1'
	run "$BIN/sameroot-sync" -c "$T/A.conf" --check-config
	[ "$status" -eq 78 ]
	[[ $output == *'two of Datastore-Update-Interval'* ]]
	write_config A 'Health-Check-URL=https://[::1]:8443/health?deep=1' 'Max-Lag=0'
	"$BIN/sameroot-sync" -c "$T/A.conf" --check-config | grep -q '^Health-Check-URL='
}
