#!/usr/bin/env bats
# HTTPS: the self-signed pair that a daemon makes, trusted by its pin.

# shellcheck disable=SC2034 # lib.bash reads them

load lib

setup() {
	T=$BATS_TEST_TMPDIR
	TLS_OFF=false
	for name in datastore A B; do write_config $name; done
	fill A
}

start_tls() {
	start_datastore
	PIN=sha256//$(openssl x509 -in "$T/datastore/state/certificate.pem" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64)
}

# start_datastore waits for /readyz
ready() {
	curl -kfsS --max-time 5 -o /dev/null "${URL[$1]/http:/https:}/readyz" 2>/dev/null
}

@test "a self-signed pair is made at first start, for no one else to read, and stays" {
	start_tls
	[ "$(stat -c %a "$T/datastore/state/key.pem")" = 600 ]
	openssl x509 -in "$T/datastore/state/certificate.pem" -noout -checkend 86400
	before=$(sha256sum "$T"/datastore/state/*.pem)
	stop datastore
	start_tls
	[ "$(sha256sum "$T"/datastore/state/*.pem)" = "$before" ]
}

@test "the right pin is trusted, and rounds go through" {
	start_tls
	for name in A B; do write_config $name "Datastore-Key-Pin=$PIN"; done
	rounds A B
	assert_same
	grep -q . "$T/B/resources/hosts.csv"
}

@test "a wrong pin is refused, and the secret is not sent" {
	start_tls
	write_config A "Datastore-Key-Pin=sha256//$(head -c 32 /dev/zero | base64)"
	run once A
	[ "$status" -ne 0 ]
	grep -qiE 'pin|key|certificate' "$T/A.once"
	[ "$(status_of_tls datastore .seq)" -eq 0 ]
	[ -z "$(tree_sum "$T/datastore/resources")" ]
}

status_of_tls() {
	curl -ksS -H "Authorization: Bearer $(<"$T/$1/state/admin-token")" "${URL[$1]/http:/https:}/api/admin/status" | jq -er "$2"
}

@test "Datastore-Insecure-Skip-TLS-Verify trusts any key" {
	start_tls
	write_config A Datastore-Insecure-Skip-TLS-Verify=true
	rounds A
	assert_same datastore A
}

@test "a configured certificate is used" {
	openssl req -x509 -newkey rsa:2048 -nodes -keyout "$T/own.key" -out "$T/own.pem" -days 2 -subj /CN=own 2>/dev/null
	write_config datastore "Certificate-File=$T/own.pem" "Key-File=$T/own.key"
	start_datastore
	PIN=sha256//$(openssl x509 -in "$T/own.pem" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64)
	write_config A "Datastore-Key-Pin=$PIN"
	rounds A
	assert_same datastore A
	[ ! -e "$T/datastore/state/key.pem" ]
}

@test "a plain-HTTP client on the TLS port gets nothing, and the daemon lives" {
	start_tls
	run curl -sS --max-time 10 -H "Authorization: Bearer $(<"$T/control-auth")" "${URL[datastore]}/api/tree"
	[[ $output != *root* ]]
	head -c 4000 /dev/urandom >"/dev/tcp/127.0.0.1/$DATASTORE_PORT" || true
	TLS_OFF=true write_config B
	run once B
	[ "$status" -ne 0 ]
	grep -q '^sameroot-sync: ' "$T/B.once"
	ready datastore
	write_config A "Datastore-Key-Pin=$PIN"
	rounds A
}

@test "a TLS client on a plain port fails clearly" {
	TLS_OFF=true write_config datastore
	launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	DATASTORE_PORT=${URL[datastore]##*:}
	write_config A Datastore-Insecure-Skip-TLS-Verify=true
	run once A
	[ "$status" -ne 0 ]
	grep -q '^sameroot-sync: ' "$T/A.once"
}

@test "the sync daemon's own port speaks HTTPS" {
	start_tls
	write_config A "Datastore-Key-Pin=$PIN"
	start_webserver A
	wait_for 'A is ready' ready A
	[ "$(curl -ksS "${URL[A]/http:/https:}/healthz")" = ok ]
	run curl -sS --max-time 10 "${URL[A]}/healthz"
	[ "$output" != ok ]
	curl -ksS -H "Authorization: Bearer $(<"$T/control-auth")" "${URL[A]/http:/https:}/api/tree" | jq -e .root
	stop A
}

restores_nothing() { # STATUS URL: what it says in $output
	local expected=$1
	run "$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --dry-run --from "$2"
	[ "$status" -eq "$expected" ] || fail "status $status: $output"
}

@test "a source of sameroot-restore that is asked over plain HTTP, or is down, or is none of this cluster, is told apart" {
	start_tls
	start_webserver A
	stop datastore
	restores_nothing 75 "${URL[A]/https:/http:}"
	[[ $output == *'asked over plain HTTP: a sync daemon speaks https'* ]] || fail "$output"
	stop A
	restores_nothing 75 "${URL[A]/http:/https:}"
	[[ $output == *refused* && $output != *'does not prove'* ]] || fail "$output"
	head -c 48 /dev/urandom | base64 >"$T/another-secret"
	chmod 600 "$T/another-secret"
	edit_config A Control-Auth-File= "Control-Auth-File=$T/another-secret"
	start_webserver A
	restores_nothing 77 "${URL[A]/http:/https:}"
	[[ $output == *'does not prove that it is a webserver of this cluster'* ]] || fail "$output"
}
