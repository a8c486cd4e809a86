#!/usr/bin/env bats
# First contact: with an address and the copied control-auth, a webserver and its datastore find, prove and pin each other over TLS; an
# impostor gets nothing.

# shellcheck disable=SC2034 # lib.bash reads them

bats_require_minimum_version 1.5.0

load lib
load machines

setup() {
	T=$BATS_TEST_TMPDIR
	TLS_OFF=false
	for name in datastore A B; do write_config $name; done
}

# NAME WORDS: `sameroot` for that node
tool() {
	local name=$1
	shift
	"$BIN/sameroot" "$@" -c "$T/$name.conf" 2>&1
}

# [REAL-PORT]: on the port that webservers take for the datastore's, with a key of its own
start_impostor() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$T/impostor.key" -out "$T/impostor.pem" -days 2 \
		-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 2>/dev/null
	launch impostor python3 "$HERE/impostor.py" "${IMPOSTOR_PORT:-0}" "$1" "$T/impostor.pem" "$T/impostor.key" "$T/captured"
	DATASTORE_PORT=${URL[impostor]##*:}
}

# No form of the secret went there.
captured_no_secret() {
	local secret
	secret=$(<"$T/control-auth")
	[[ ${#secret} -ge 32 ]]
	for form in "$secret" "$(printf %s "$secret" | base64 -w 0)" "$(printf %s "$secret" | base64 -w 0 | cut -c 1-40)" Authorization; do
		! grep -aqiF -- "$form" "$T/captured" || fail "the impostor was sent $form" || return 1
	done
}

logged() { # NAME TEXT
	grep -qF -- "$2" "$T/$1.log"
}

in_sync() { # NAME
	[[ $(status_of "$1" .in_sync 2>/dev/null) == true ]]
}

troubled() { # NAME TEXT
	[[ $(status_of "$1" .trouble 2>/dev/null) == *"$2"* ]]
}

# --- on a bare machine ------------------------------------------------------------------------------------------------------

@test "two lines and one copied file on bare machines: rows and files go round over TLS" {
	unshare -m -n true 2>/dev/null || skip 'no right to make namespaces'
	state=/var/lib/sameroot
	mkdir -p "$T/etc/sameroot"
	cp -a /etc/passwd /etc/group /etc/hosts "$T/etc/" # no CAs
	make_machine unshare -m -n
	at_datastore=("${MACHINE[@]}")
	make_machine nsenter -t "${HOLDERS[0]}" -n unshare -m
	at_webserver=("${MACHINE[@]}")
	"${at_datastore[@]}" ip link set lo up
	"${at_webserver[@]}" mount -t tmpfs none /etc/sameroot

	launch datastore "${at_datastore[@]}" "$BIN/sameroot-datastore"
	[[ ${URL[datastore]} == *:9405 ]]
	"${at_webserver[@]}" bash -c "printf '%s\n' '[global]' Datastore=127.0.0.1 External-Addr=127.0.0.1:443 >/etc/sameroot/sameroot.conf"
	"${at_datastore[@]}" cat $state/control-auth >"$T/control-auth"
	"${at_webserver[@]}" install -D -m 600 "$T/control-auth" $state/control-auth
	"${at_webserver[@]}" install -D /etc/hosts $state/resources/webserver/hosts
	"${at_webserver[@]}" sqlite3 $state/users.db "CREATE TABLE users(uid INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES(1, 'Ada')"
	launch A "${at_webserver[@]}" "$BIN/sameroot-sync"
	[[ ${URL[A]} == *:9406 ]]
	wait_for 'A is in sync' "${at_webserver[@]}" "$BIN/sameroot" join
	logged A 'first contact: the datastore at 127.0.0.1:9405'
	"${at_webserver[@]}" "$BIN/sameroot" status | grep -qE 'in sync +yes'
	[ "$("${at_datastore[@]}" sqlite3 $state/datastore-users.db 'SELECT name FROM users')" = Ada ]
	"${at_datastore[@]}" cmp $state/resources/datastore/hosts /etc/hosts

	# and back
	"${at_datastore[@]}" sqlite3 -cmd '.timeout 20000' $state/datastore-users.db "INSERT INTO users VALUES(2, 'Bert')"
	kill -USR1 "${PID[datastore]}"
	bert() { kill -USR1 "${PID[A]}" && "${at_webserver[@]}" sqlite3 -readonly $state/users.db 'SELECT name FROM users' | grep -qx Bert; }
	wait_for 'Bert comes back' bert
	"${at_webserver[@]}" "$BIN/sameroot" diff

	# the key is pinned, and each knows the other's
	pin=$("${at_datastore[@]}" cat $state/datastore-state/certificate.pem | pin_in)
	[ "$("${at_webserver[@]}" "$BIN/sameroot" join --json | jq -r .pin)" = "$pin" ]
	listed=$("${at_datastore[@]}" curl -ksS -H "Authorization: Bearer $(<"$T/control-auth")" https://127.0.0.1:9405/api/webservers)
	[ "$(jq -r '.[0].pin' <<<"$listed")" = "$("${at_webserver[@]}" cat $state/state/certificate.pem | pin_in)" ]
	stop A
	stop datastore
}

# --- a pin ----------------------------------------------------------------------------------------------------------------------

@test "the pin is kept, the admin commands go by it, and a reload changes nothing" {
	fill A
	start_datastore
	start_webserver A
	wait_for 'A is in sync' in_sync A
	run --separate-stderr tool A join
	[ "$status" -eq 0 ]
	[[ $output == *"first contact on 20"*"$(pin_of datastore)"*'went through'* ]]
	run tool A diff
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	echo one >"$T/A/resources/one"
	kill -HUP "${PID[A]}"
	wait_for 'the reload' logged A reload
	sync_now A
	assert_same datastore A
	# a file that is not at the datastore yet, seen without a daemon
	stop A
	echo two >"$T/A/resources/two"
	run --separate-stderr tool A diff
	[ "$status" -eq 1 ]
	[[ $output == *'only here'*resources/two* ]]
	run tool A join
	[ "$status" -eq 75 ]
	[[ $output == *"$(pin_of datastore)"*'not running'* ]]
	rounds A
	assert_same datastore A
	[ "$(grep -c 'first contact' "$T/A.log")" -eq 1 ]
}

@test "the registry carries each webserver's pin, and its hello proves it" {
	start_datastore
	start_webserver A
	wait_for 'A is in sync' in_sync A
	[ "$(api datastore /api/webservers | jq -r '.[0].pin')" = "$(pin_of A)" ]
	uuid=$(api datastore /api/webservers | jq -r '.[0].uuid')
	[ "$(api datastore "/api/webservers/$uuid" -X PUT -d '{"pin":"sha256//x"}' -o /dev/null -w '%{http_code}')" = 400 ]
	[ "$(api datastore /api/webservers | jq -r '.[0].pin')" = "$(pin_of A)" ]
	nonce=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
	for name in A datastore; do
		proof=$(printf '%s' "sameroot hello 1$nonce$(pin_of $name)" | openssl dgst -sha256 -hmac "$(<"$T/control-auth")" | sed 's/.* //')
		[ "$(curl -sS "${URL[$name]}/api/hello?nonce=$nonce" | jq -r .proof)" = "$proof" ]
	done
	for bad in '' '?nonce=' "?nonce=${nonce:1}" "?nonce=${nonce}0" "?nonce=${nonce:0:63}g"; do
		[ "$(curl -sS -o /dev/null -w '%{http_code}' "${URL[datastore]}/api/hello$bad")" = 400 ]
	done
	# Without HTTPS there is no key to prove, and the registry forgets the one that was.
	stop A
	edit_config A Insecure-Disable-HTTPS= Insecure-Disable-HTTPS=true
	start_webserver A
	URL[A]=${URL[A]/https:/http:}
	[ "$(curl -sS -o /dev/null -w '%{http_code}' "${URL[A]}/api/hello?nonce=$nonce")" = 404 ]
	wait_for 'A is in sync' in_sync A
	[ "$(api datastore /api/webservers | jq -c '.[0].pin')" = null ]
}

@test "hello is answered while the datastore is not ready: --once waits through that as ever" {
	mkdir -p "$T/datastore/resources"
	echo content >"$T/datastore/resources/without-a-state" # 503 until someone adopts it
	launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	DATASTORE_PORT=${URL[datastore]##*:}
	once A &
	waiter=$!
	wait_for 'first contact' grep -q 'first contact' "$T/A.once"
	tool datastore adopt --union --yes
	wait "$waiter"
	assert_same datastore A
}

# --- impostors --------------------------------------------------------------------------------------------------------------------

@test "a man in the middle at first contact is refused, and sees no secret" {
	fill A
	start_datastore
	start_impostor "$DATASTORE_PORT"
	run once A
	[ "$status" -eq 1 ]
	grep -qF "the server at 127.0.0.1:$DATASTORE_PORT does not hold this cluster's Control-Auth" "$T/A.once"
	grep -aq '^GET /api/hello?nonce=[0-9a-f]\{64\} HTTP/1.1' "$T/captured" # it did have its chance
	captured_no_secret
	run tool A join
	[[ $output == *'no key is pinned'* ]]
	# the daemon neither
	start_webserver A
	wait_for 'trouble' troubled A "does not hold this cluster's Control-Auth"
	run tool A status
	[ "$status" -eq 1 ]
	[[ $output == *"does not hold this cluster's Control-Auth"* ]]
	sync_now A
	sync_now A
	[ "$(grep -c "does not hold" "$T/A.log")" -eq 2 ] # by --once, and once by the daemon
	captured_no_secret
	[ ! -e "$T/datastore/resources/hosts.csv" ]
}

@test "an impostor in the place of a datastore whose key is pinned gets not one request" {
	fill A
	start_datastore
	start_webserver A
	wait_for 'A is in sync' in_sync A
	IMPOSTOR_PORT=$DATASTORE_PORT
	stop datastore
	edit_config datastore Datastore-Port= Datastore-Port=0
	start_datastore
	start_impostor "$DATASTORE_PORT"
	wait_for 'trouble' troubled A 'is not the one that was pinned at first contact on 20'
	logged impostor connection
	run tool A diff
	[ "$status" -eq 77 ]
	[[ $output == *'is not the one that was pinned'* ]]
	# Even told to forget the old key, it does not take the impostor's.
	run tool A join --new-key --yes
	[ "$status" -eq 0 ]
	wait_for 'trouble' troubled A "does not hold this cluster's Control-Auth"
	captured_no_secret
}

@test "another program on that port, or another webserver: said, and nothing is sent to it" {
	start_datastore
	real=$DATASTORE_PORT
	start_impostor 0
	run once A
	[ "$status" -eq 1 ]
	grep -q 'answers 404 to /api/hello' "$T/A.once"
	captured_no_secret
	DATASTORE_PORT=$real
	start_webserver B
	DATASTORE_PORT=${URL[B]##*:}
	run once A
	[ "$status" -eq 78 ]
	grep -q 'it is a webserver, not a datastore' "$T/A.once"
}

@test "the wrong control-auth is told at first contact, and is not sent" {
	start_datastore
	(umask 077 && head -c 32 /dev/urandom | base64 >"$T/other-auth")
	edit_config A Control-Auth-File= "Control-Auth-File=$T/other-auth"
	run once A
	[ "$status" -eq 1 ]
	grep -q 'the secrets differ (copy the datastore.s control-auth.*no secret was sent' "$T/A.once"
	edit_config A Control-Auth-File= "Control-Auth-File=$T/control-auth"
	rounds A
}

# --- another key ------------------------------------------------------------------------------------------------------------------

@test "a changed key is refused, loudly and once; join --new-key mends it" {
	fill A
	start_datastore
	start_webserver A
	wait_for 'A is in sync' in_sync A
	old=$(pin_of datastore)
	stop datastore
	rm "$T"/datastore/state/{certificate,key}.pem
	start_datastore
	echo new >"$T/A/resources/new"
	wait_for 'trouble' troubled A 'sameroot join --new-key'
	sync_now A
	sync_now A
	[ "$(grep -c 'is not the one that was pinned' "$T/A.log")" -eq 1 ]
	grep 'is not the one that was pinned' "$T/A.log" | grep -q error
	[ ! -e "$T/datastore/resources/new" ]
	run tool A status
	[ "$status" -eq 1 ]
	[[ $output == *'nothing was sent to it'*'sameroot join --new-key'* ]]
	run tool A join
	[ "$status" -eq 1 ]
	[[ $output == *"$old"*'did not go through'* ]]
	run tool A join --new-key </dev/null
	[ "$status" -eq 64 ]
	run tool A join --new-key --yes
	[ "$status" -eq 0 ]
	[[ $output == *"$old"*Forgotten* ]]
	wait_for 'A is in sync' in_sync A
	wait_same datastore A
	run tool A join
	[ "$status" -eq 0 ]
	[[ $output == *"$(pin_of datastore)"* ]]
	[[ $output != *"$old"* ]]
}

@test "a changed key without a daemon: --once exits 1, join --new-key works under the lock" {
	start_datastore
	rounds A
	stop datastore
	rm "$T"/datastore/state/{certificate,key}.pem
	start_datastore
	run once A
	[ "$status" -eq 1 ]
	grep -q 'sameroot join --new-key' "$T/A.once"
	run tool A join --new-key --yes
	[ "$status" -eq 0 ]
	run tool A join --new-key --yes
	[ "$status" -eq 0 ]
	[[ $output == *'no key to forget'* ]]
	rounds A
	# a key that the configuration names is not forgotten but changed there
	write_config A 'Datastore-Key-Pin=sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
	run once A
	[ "$status" -eq 1 ]
	grep -q "is not Datastore-Key-Pin (sha256//AAAA.*change Datastore-Key-Pin in $T/A.conf" "$T/A.once"
	run tool A join --new-key --yes
	[ "$status" -eq 78 ]
}

@test "another address in the configuration is another first contact" {
	start_datastore
	rounds A
	stop datastore
	rm "$T"/datastore/state/{certificate,key}.pem
	edit_config datastore Datastore-Port= Datastore-Port=0
	start_datastore
	rounds A
	[ "$(grep -c 'first contact' "$T/A.log")" -eq 2 ]
}

# --- CAs --------------------------------------------------------------------------------------------------------------------------

@test "a certificate of a CA that the machine trusts needs no first contact" {
	unshare -m true 2>/dev/null || skip 'no right to make namespaces'
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$T/ca.key" -out "$T/ca.pem" -days 2 -subj /CN=ca 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$T/ds.key" -out "$T/ds.csr" -subj /CN=ds 2>/dev/null
	openssl x509 -req -in "$T/ds.csr" -CA "$T/ca.pem" -CAkey "$T/ca.key" -days 2 -out "$T/ds.pem" \
		-extfile <(echo subjectAltName=IP:127.0.0.1) 2>/dev/null
	write_config datastore "Certificate-File=$T/ds.pem" "Key-File=$T/ds.key"
	start_datastore
	edit_config A Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
	launch A unshare -m bash -c 'mount -t tmpfs none /etc/ssl && install -D "$0" /etc/ssl/certs/ca-certificates.crt && exec "$@"' "$T/ca.pem" \
		"$BIN/sameroot-sync" -c "$T/A.conf"
	wait_for 'A is in sync' in_sync A
	run tool A join --json
	[ "$(jq -c '[.trust, .pin]' <<<"$output")" = '["ca",null]' ]
	run ! logged A 'first contact'
	# The key changes to one that no CA vouches for: that is first contact.
	stop datastore
	write_config datastore
	start_datastore
	wait_for 'first contact' logged A 'first contact: '
	wait_for 'A is in sync' in_sync A
}
