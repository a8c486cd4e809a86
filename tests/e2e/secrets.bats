#!/usr/bin/env bats
# Secrets: Control-Auth is changed over a running cluster, and none of them stands in a log.

bats_require_minimum_version 1.5.0

load lib
load balance
declare -gA PID URL
eval "lib_$(declare -f teardown)"

teardown() {
	[[ -z ${PID[lb]:-} ]] || stop lb || true # and its HAProxy with it
	lib_teardown
}

NODES=(datastore A B)

# NAME...: each has a file of its own with these secrets, and reads it
give() { # SECRETS NAME...
	local name secrets=$1
	shift
	for name; do
		install -m 600 /dev/stdin "$T/$name-auth.new" <<<"$secrets"
		mv "$T/$name-auth.new" "$T/$name-auth"
		reload "$name"
	done
}

reload() { # NAME: and it is over
	local before
	before=$(reloads "$1")
	kill -HUP "${PID[$1]}"
	wait_for "$1 reloads" eval "[ \$(reloads $1) -gt $before ]"
}

reloads() {
	grep -cE 'reload: (secrets, |the configuration is taken)' "$T/$1.log" || true
}

# NAME CODE: how many requests it has answered so
answered() {
	admin "$1" /metrics | awk -v code="code=\"$2\"" '/^sameroot_http_requests_total/ && index($0, code) { n += $NF } END { print n + 0 }'
}

seconds() { # NAME
	admin "$1" /metrics | awk '$1 == "sameroot_http_second_secret_total" { print $2 }'
}

# An edit of A's is everywhere; B asks A for a result, with the secret.
works() { # TEXT
	echo "$1" >"$T/A/resources/edit"
	sync_now A
	sync_now B
	wait_for 'the edit is on B' cmp -s "$T/A/resources/edit" "$T/B/resources/edit"
	[ "$(curl -sS --max-time 30 -H "Authorization: Bearer $(head -n 1 "$T/B-auth")" "${URL[B]}/api/results/q1/found")" = 'a result' ]
}

none_refused() {
	local name
	for name in "${NODES[@]}"; do [ "$(answered "$name" 401)" = 0 ] || fail "$name refused $(answered "$name" 401)" || return 1; done
}

start_cluster() {
	local name
	OLD=the-old-secret-$(head -c 24 /dev/urandom | base64 | tr -d /+=) NEW=the-new-secret-$(head -c 24 /dev/urandom | base64 | tr -d /+=)
	for name in "${NODES[@]}"; do
		install -m 600 /dev/stdin "$T/$name-auth" <<<"$OLD"
		edit_config $name Control-Auth-File= "Control-Auth-File=$T/$name-auth\nLog-Level=debug"
	done
	mkdir -p "$T/A/results/q1"
	echo 'a result' >"$T/A/results/q1/found"
	edit_config A State-Directory= "State-Directory=$T/A/state\nResults-Directory=$T/A/results"
	cp "$T/datastore-auth" "$T/control-auth" # for lib.bash
	start_with_users
	start_lb
	works 1
}

start_lb() {
	LB_PORT=$(free_port)
	cp "$T/datastore-auth" "$T/lb-auth"
	printf '%s\n' '[Global]' "Datastore=127.0.0.1:$DATASTORE_PORT" Datastore-Insecure-Disable-TLS=true "Control-Secret-File=$T/lb-auth" \
		Insecure-Disable-HTTPS=true Bind-Addr=127.0.0.1 "Web-Port=$LB_PORT" Update-Interval=1 "State-Directory=$T/lb" Log-Level=debug >"$T/lb.conf"
	launch lb "$BIN/sameroot-lb" -c "$T/lb.conf"
}

@test "Control-Auth is changed over a running cluster by SIGHUP without a refused request; no secret is in any log" {
	start_cluster
	none_refused

	# First each node accepts both ...
	give "$OLD"$'\n'"$NEW" A datastore lb B
	works 2
	# ... then each sends the new one, in any order ...
	give "$NEW"$'\n'"$OLD" B
	works 3
	cp "$T/B-auth" "$T/control-auth"
	[ "$(seconds datastore)" -gt 0 ]
	wait_for 'the log says who sends the other one' grep -q '127.0.0.1 sends the second Control-Auth' "$T/datastore.log"
	give "$NEW"$'\n'"$OLD" A datastore lb
	works 4
	# ... and when nobody sends the old one any more, it goes.
	before=$(seconds datastore)
	works 5
	[ "$(seconds datastore)" = "$before" ]
	none_refused
	give "$NEW" datastore A B lb
	cp "$T/B-auth" "$T/control-auth"
	works 6
	none_refused
	[ "$(curl -sS -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $OLD" "${URL[datastore]}/api/tree")" = 401 ]

	# What is no secret is refused, and the ones of before stay.
	give short datastore
	grep -q 'reload: the secrets of before are kept: .*Control-Auth-File .*32 characters' "$T/datastore.log"
	works 7
	give "$NEW" datastore

	# The admin token is made anew where it was taken away.
	token=$(<"$T/datastore/state/admin-token")
	rm "$T/datastore/state/admin-token"
	reload datastore
	wait_for 'another token' test -s "$T/datastore/state/admin-token"
	[ "$(curl -sS -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $token" "${URL[datastore]}/api/admin/status")" = 401 ]
	[ -n "$(status_of datastore .seq)" ]

	# Wrong passwords, a right one, and what libcurl says of a peer that is gone.
	curl -sS -o /dev/null -u "ada:a wrong password" "${URL[datastore]}/api/admin/status"
	curl -sS -o /dev/null -u "ada:a good password" "${URL[A]}/api/admin/status"
	"$BIN/sameroot" lb drain --user ada -c "$T/datastore.conf" "$(uuid_of B)" <<<'a good password' >"$T/said.log" 2>&1 || true
	"$BIN/sameroot" status -c "$T/A.conf" >>"$T/said.log" 2>&1 || true
	run ! grep 'does not tell its webservers' "$T/lb.log"

	# A balancer that is confined cannot take a secret from where it may not look.
	if grep -q 'sandbox: Landlock' "$T/lb.log"; then
		edit_config lb Control-Secret-File= "Control-Secret-File=$BATS_FILE_TMPDIR/auth"
		kill -HUP "${PID[lb]}"
		wait_for 'it says so' grep -q "the old one kept: Control-Secret-File: $BATS_FILE_TMPDIR/auth is out of reach of this process since its start" "$T/lb.log"
	fi
	stop lb
	stop A
	curl -sS -o /dev/null --max-time 30 -H "Authorization: Bearer $NEW" "${URL[B]}/api/results/q1/found"
	stop datastore
	"$BIN/sameroot-sync" --once -c "$T/A.conf" >>"$T/said.log" 2>&1 || true
	"$BIN/sameroot" status -c "$T/A.conf" >>"$T/said.log" 2>&1 || true
	for name in datastore A; do "$BIN/sameroot-sync" --check-config --json -c "$T/$name.conf" >>"$T/said.log" 2>&1 || true; done
	stop B
	for secret in "$OLD" "$NEW" "$token" "$(<"$T/datastore/state/admin-token")" "$(<"$T/A/state/admin-token")" 'a good password' 'a wrong password' \
		"$(printf 'ada:a good password' | base64)" "$(printf 'ada:a wrong password' | base64)"; do
		! grep -F -l -e "$secret" "$T"/*.log || fail "a secret is in a log: $secret"
	done
	grep -q ' debug' "$T/B.log"
}
