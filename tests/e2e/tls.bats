#!/usr/bin/env bats
# HTTPS: the self-signed pair that a daemon makes, trusted by its pin.

# shellcheck disable=SC2034 # lib.bash reads them

bats_require_minimum_version 1.5.0
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

# --- versions, authorities, client certificates ---------------------------------------------------------------------------------

speaks() { # VERSION: is a session of that TLS version made with the datastore?
	openssl s_client -connect "127.0.0.1:$DATASTORE_PORT" "-$1" -cipher 'ALL:@SECLEVEL=0' </dev/null 2>&1 | grep -qE 'Cipher (is|    :) [A-Z]*(TLS|ECDHE|AES)'
}

@test "TLS 1.2 and 1.3 are spoken, 1.1 is not, on either side" {
	start_tls
	speaks tls1_2 && speaks tls1_3
	run ! speaks tls1_1
	stop datastore
	cat >"$T/old.py" <<-'PY'
		import ssl, socket, sys, threading
		t = sys.argv[1]
		c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		c.load_cert_chain(t + "/datastore/state/certificate.pem", t + "/datastore/state/key.pem")
		c.set_ciphers("ALL:@SECLEVEL=0")
		c.minimum_version = c.maximum_version = ssl.TLSVersion.TLSv1_1
		s = socket.create_server(("127.0.0.1", 0))
		print("listening on 127.0.0.1:%d" % s.getsockname()[1], flush=True)
		while True:
		    k = s.accept()[0]
		    try:
		        k = c.wrap_socket(k, server_side=True)
		        print("a session of", k.version(), flush=True)
		    except Exception as e:
		        print("refused:", e, flush=True)
		    k.close()
	PY
	launch old python3 "$T/old.py" "$T"
	DATASTORE_PORT=${URL[old]##*:}
	speaks tls1_1 # this openssl can
	write_config A "Datastore-Key-Pin=$PIN"
	run once A
	[ "$status" -eq 75 ] || fail "$status: $output"
	grep -q refused: "$T/old.log"
	[ "$(grep -c 'a session of' "$T/old.log")" = 1 ]
}

certificate() { # NAME CA [EXTENSION...]: $T/NAME.{pem,key}; CA NAME: of its own
	local name=$1 ca=$2
	shift 2
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$T/$name.key" -out "$T/$name.csr" -subj "/CN=$name" 2>/dev/null
	printf '%s\n' "$@" >"$T/$name.ext"
	if [[ $ca == "$name" ]]; then
		openssl x509 -req -in "$T/$name.csr" -signkey "$T/$name.key" -days 2 -out "$T/$name.pem" -extfile "$T/$name.ext" 2>/dev/null
	else
		openssl x509 -req -in "$T/$name.csr" -CA "$T/$ca.pem" -CAkey "$T/$ca.key" -CAcreateserial -days 2 -out "$T/$name.pem" -extfile "$T/$name.ext" 2>/dev/null
	fi
}

code() { # PATH [CURL OPTION...]
	local path=$1
	shift
	curl -sS --max-time 10 --cacert "$T/ca.pem" -o "$T/answer" -w '%{http_code}' "$@" "https://127.0.0.1:$DATASTORE_PORT$path"
}

refused_once() { # NAME TEXT
	run once "$1"
	[ "$status" -eq 1 ] || fail "$status: $output $(<"$T/$1.once")"
	grep -qF -- "$2" "$T/$1.once"
}

@test "with Client-CA-File a secret without a certificate is nothing worth; Datastore-CA-File is the only CA that counts" {
	local mine other
	for ca in ca stranger; do certificate $ca $ca basicConstraints=critical,CA:TRUE; done
	certificate server ca subjectAltName=IP:127.0.0.1 extendedKeyUsage=serverAuth
	certificate web ca extendedKeyUsage=clientAuth
	certificate foreign stranger extendedKeyUsage=clientAuth
	write_config datastore "Certificate-File=$T/server.pem" "Key-File=$T/server.key" "Client-CA-File=$T/ca.pem" Trusted-Proxies=127.0.0.1
	start_datastore
	mine=("Datastore-CA-File=$T/ca.pem" "Client-Certificate-File=$T/web.pem" "Client-Key-File=$T/web.key")

	# whoever has one
	write_config A "${mine[@]}"
	rounds A
	assert_same datastore A
	secret="Authorization: Bearer $(<"$T/control-auth")" wrong="Authorization: Bearer a-secret-that-is-wrong-and-long-enough"
	[ "$(code /api/tree --cert "$T/web.pem" --key "$T/web.key" -H "$secret")" = 200 ]
	[ "$(code /api/tree --cert "$T/web.pem" --key "$T/web.key" -H "$wrong")" = 401 ]

	# and who has not, who does not even learn whether the secret is right
	for header in "$secret" "$wrong"; do
		[ "$(code /api/tree -H "$header")" = 403 ]
		jq -e '.detail | test("this node has a Client-CA-File: the client showed no certificate")' "$T/answer"
		[ "$(code /api/tree --cert "$T/foreign.pem" --key "$T/foreign.key" -H "$header")" = 403 ]
		jq -e '.detail | test("CN=foreign.*not taken.*issuer")' "$T/answer"
		[ "$(code /api/tree --cert "$T/server.pem" --key "$T/server.key" -H "$header")" = 403 ] # is for a server
	done
	grep -q 'a request from 127.0.0.1 is refused: the client showed no certificate' "$T/datastore.log"
	[ "$(code /api/tree --cert "$T/web.pem" --key "$T/web.key")" = 401 ]

	# What is open stays so, and on the machine itself the admin token is enough.
	for path in /api/system/lbstatus /healthz /readyz "/api/hello?nonce=$(head -c 32 /dev/zero | od -An -v -tx1 | tr -d " \n")"; do [ "$(code "$path")" = 200 ] || fail "$path"; done
	token="Authorization: Bearer $(<"$T/datastore/state/admin-token")"
	[ "$(code /api/admin/status -H "$token")" = 200 ]
	[ "$(code /api/admin/status -H "$token" -H 'X-Forwarded-For: 192.0.2.7')" = 403 ]
	[ "$(code /api/admin/status -H "$token" -H 'X-Forwarded-For: 192.0.2.7' --cert "$T/web.pem" --key "$T/web.key")" = 200 ]

	# webservers without one, or with one of another CA, are told
	write_config B "Datastore-CA-File=$T/ca.pem"
	refused_once B 'this node has a Client-CA-File: the client showed no certificate (its Client-Certificate-File)'
	write_config B "Datastore-CA-File=$T/ca.pem" "Client-Certificate-File=$T/web.pem" "Client-Key-File=$T/foreign.key"
	run once B
	[ "$status" -eq 78 ]
	grep -q "Client-Certificate-File: $T/web.pem and $T/foreign.key: " "$T/B.once"
	# another CA than the datastore's, which no first contact helps over
	write_config B "${mine[@]/ca.pem/stranger.pem}"
	refused_once B "is not one that Datastore-CA-File ($T/stranger.pem) vouches for; nothing was sent to it"

	# the balancer
	printf '%s\n' '[Global]' "Datastore=127.0.0.1:$DATASTORE_PORT" "Control-Secret-File=$T/control-auth" "State-Directory=$T/lb" \
		"Datastore-CA-File=$T/ca.pem" "Client-Certificate-File=$T/web.pem" "Client-Key-File=$T/web.key" >"$T/lb.conf"
	"$BIN/sameroot-lb" -c "$T/lb.conf" --print >"$T/printed"
	sed -i /^Client-/d "$T/lb.conf"
	run "$BIN/sameroot-lb" -c "$T/lb.conf" --print
	[[ $status -ne 0 && $output == *'this node has a Client-CA-File'* ]]

	# Without any CA: the certificates that the daemons have made for themselves, of each webserver that may come.
	stop datastore
	write_config A "Datastore-CA-File=$T/ca.pem"
	start_webserver A
	wait_for 'it has made one' test -s "$T/A/state/certificate.pem"
	edit_config datastore Client-CA-File= "Client-CA-File=$T/A/state/certificate.pem"
	start_datastore
	rm "$T/A/resources/hosts.csv"
	wait_for 'A is let in' same_content datastore A
	write_config B "Datastore-CA-File=$T/ca.pem"
	refused_once B 'this node has a Client-CA-File'
	stop A
}
