#!/usr/bin/env bats
# GET /metrics of both daemons: what Prometheus and its promtool make of it, and whether it is true.

# shellcheck disable=SC2034 # lib.bash reads them

bats_require_minimum_version 1.5.0

load lib

PAGE=$HERE/../../man/sameroot-metrics.7

metrics() { # NAME: into $T/NAME.metrics, checked
	api "$1" /metrics -f >"$T/$1.metrics"
	promtool check metrics <"$T/$1.metrics"
}

value_of() { # NAME SERIES: as it is told now; empty: not at all
	api "$1" /metrics -f | awk -v series="$2" 'index($0, series " ") == 1 { print $NF }'
}

is() { # NAME SERIES VALUE
	[[ $(value_of "$1" "$2") == "$3" ]]
}

rises() { # NAME SERIES VALUE: it is more than that
	awk -v a="$(value_of "$1" "$2")" -v b="$3" 'BEGIN { exit !(a > b) }'
}

names_told() { # NAME...
	local name
	for name; do sed -n 's/^# TYPE \([a-z_]*\) .*/\1/p' "$T/$name.metrics"; done | LC_ALL=C sort -u
}

names_of_page() { # [SECTION...]
	local section
	for section; do
		awk -v name=".Sh $section" '/^\.Sh / { on = $0 == name } on && /^\.It Cm / { print $3 }' "$PAGE"
	done | LC_ALL=C sort -u
}

@test "promtool finds no fault; the page names what is told, and only that" {
	local name
	fill A
	start_all
	wait_same
	for name in datastore A; do
		metrics $name
		curl -sS -o /dev/null -D "$T/head" -H "Authorization: Bearer $(<"$T/control-auth")" "${URL[$name]}/metrics"
		grep -qi '^Content-Type: text/plain; version=0.0.4' "$T/head"
		[ "$(curl -sS -o /dev/null -w '%{http_code}' "${URL[$name]}/metrics")" = 401 ]
		grep -c '^# HELP' "$T/$name.metrics" | grep -qx "$(grep -c '^# TYPE' "$T/$name.metrics")"
		[ -z "$(grep -v '^#' "$T/$name.metrics" | sed 's/ [^ ]*$//' | sort | uniq -d)" ] # each series once
	done
	diff <(names_told datastore) <(names_of_page 'BOTH DAEMONS' 'THE DATASTORE')
	diff <(names_told A) <(names_of_page 'BOTH DAEMONS' WEBSERVERS)
}

@test "what is told is true: rounds, entries, requests, what is held, who is there" {
	local before i
	fill A
	start_all
	wait_same
	[ "$(value_of A 'sameroot_entries_total{what="pushed"}')" -ge 18 ]
	[ "$(value_of B 'sameroot_entries_total{what="pulled"}')" = "$(value_of A 'sameroot_entries_total{what="pushed"}')" ]
	[ "$(value_of A 'sameroot_store_leaves{store="users.db"}')" -eq 8 ]
	[ "$(value_of datastore 'sameroot_store_bytes{store="resources"}')" -ge 200000 ]
	[ "$(value_of A sameroot_sequence)" = "$(value_of datastore sameroot_sequence)" ]
	wait_for 'A is in step' is A sameroot_in_sync 1
	is datastore sameroot_webservers 2
	[ "$(api datastore /metrics | grep -c '^sameroot_webserver_lag_seconds{webserver="127.0.0.1:807[56]",uuid=".*"} 0$')" -eq 2 ]
	[ "$(api datastore /metrics | grep -c '^sameroot_webserver_balancer_alive{.*} 1$')" -eq 2 ]

	for i in {1..30}; do api A "/api/nothing/$i" >/dev/null; done
	for i in {1..20}; do api A "/api/results/of/$i" >/dev/null; done
	is A 'sameroot_http_requests_total{route="none",method="any",code="404"}' 30
	is A 'sameroot_http_requests_total{route="/api/results/{}/{}",method="GET",code="404"}' 20
	[ "$(api A /metrics | grep -c '^sameroot_http_requests_total{route="none"')" -eq 1 ]
	curl -sS -o /dev/null "${URL[A]}/api/tree"
	is A 'sameroot_http_requests_total{route="/api/tree",method="GET",code="401"}' 1
	before=$(value_of A sameroot_http_sent_bytes_total)
	api A '/api/bundle?path=resources/img/logo' >/dev/null
	wait_for 'A counts what it sent' rises A sameroot_http_sent_bytes_total $((before + 199999))

	admin A /api/system/lbstatus/override/drain -X PUT
	is A sameroot_balancer_alive 0
	is A 'sameroot_balancer_state{state="draining"}' 1
	is A 'sameroot_balancer_state{state="running"}' 0
	is A sameroot_held 0
	rm -r "$T/A/resources"
	wait_for 'A is paused' is A 'sameroot_store_paused{store="resources"}' 1
	is A sameroot_in_sync 0
	is B sameroot_lag_seconds 0
	echo new >"$T/B/resources/new"
	wait_for 'A lags, for it cannot take that' rises A sameroot_lag_seconds 0
	stop datastore
	before=$(value_of B 'sameroot_rounds_total{outcome="unavailable"}')
	wait_for 'B counts rounds in vain' rises B 'sameroot_rounds_total{outcome="unavailable"}' "$before"
	metrics B
}

@test "names of any kind, and two with the same: each is one series, and Prometheus reads it" {
	local name='we"ird\ <b>näme</b> {a="b"} 1' uuid
	start_all
	for uuid in 00000000-0000-4000-8000-00000000000{1,2}; do
		jq -n --arg name "$name" '{name: $name, external_addr: $name, sync_port: 1}' |
			api datastore "/api/webservers/$uuid" -f -X PUT --data-binary @-
	done
	metrics datastore
	is datastore sameroot_webservers 4
	[ "$(grep -cF 'sameroot_webserver_held{webserver="we\"ird\\ <b>näme</b> {a=\"b\"} 1",uuid="00000000-0000-4000-8000-00000000000' "$T/datastore.metrics")" -eq 2 ]
}

# --- a real Prometheus -----------------------------------------------------------------------------------------------------

setup_tls() {
	T=$BATS_TEST_TMPDIR TLS_OFF=false
	local name
	for name in datastore A B; do write_config "$name"; done
	ready() { curl -kfsS --max-time 5 -o /dev/null "${URL[$1]/http:/https:}/readyz" 2>/dev/null; }
}

# FILE: the Nth literal block of the page
literal() {
	awk -v n="$1" '/^\.Bd -literal/ { k++; on = k == n; next } /^\.Ed/ { on = 0 } on' "$PAGE"
}

# What the page says, with this test's paths and daemons; every job once with the login and once with Control-Auth
prometheus_config() {
	echo 'global: {scrape_interval: 1s, scrape_timeout: 1s}'
	literal 1 | sed '/- targets:/,$d'
	targets
	literal 1 | sed '1d; s/job_name: .*/job_name: control/; /basic_auth:/,/password_file:/d; /- targets:/,$d'
	targets
	literal 2
}

targets() {
	echo "      - targets: ['${URL[datastore]#http://}', '${URL[A]#http://}']"
}

prometheus_says() { # QUERY: the values, sorted
	curl -fsS --max-time 5 --get --data-urlencode "query=$1" "$PROMETHEUS/api/v1/query" | jq -r '.data.result[].value[1]' | sort | tr '\n' ' '
}

prometheus_has() { # QUERY VALUES
	[[ $(prometheus_says "$1" 2>/dev/null) == "$2 " ]]
}

@test "Prometheus, configured as the page says, reads both daemons over TLS" {
	local port
	setup_tls
	"$BIN/sameroot" init --webserver --yes -c "$T/A.conf" >/dev/null
	start_datastore
	rounds A
	echo 'a password of its own' >"$T/sameroot-password"
	"$BIN/sameroot" user add prometheus -c "$T/A.conf" <"$T/sameroot-password"
	start_webserver A
	wait_for 'the user is everywhere' same_content datastore A
	cat "$T"/{datastore,A}/state/certificate.pem >"$T/sameroot.pem"
	cp "$T/control-auth" "$T/sameroot-control-auth"
	prometheus_config | sed "s|/etc/prometheus|$T|" >"$T/prometheus.yml"
	promtool check config "$T/prometheus.yml"
	port=$(free_port)
	prometheus --config.file="$T/prometheus.yml" --storage.tsdb.path="$T/tsdb" --web.listen-address="127.0.0.1:$port" >"$T/prometheus.log" 2>&1 3>&- &
	PID['prometheus']=$!
	PROMETHEUS=http://127.0.0.1:$port
	wait_for 'all are up' prometheus_has up '1 1 1 1' || {
		curl -sS "$PROMETHEUS/api/v1/targets" | jq -r '.data.activeTargets[].lastError'
		return 1
	}
	prometheus_has 'count(sameroot_build_info{role="webserver"})' 2
	prometheus_has 'sameroot_rounds_total{job="sameroot",outcome="failed"}' 0
	prometheus_has 'histogram_quantile(0.5, sum by (le) (sameroot_round_duration_seconds_bucket)) < bool 600' 1
	stop A
	wait_for 'A is down' prometheus_has 'up{job="control"}' '0 1'
}
