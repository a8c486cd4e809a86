#!/usr/bin/env bats
# A cluster from nothing, by `sameroot init` and `sameroot join LINE`: what they make, keep and refuse, and what they ask.

# shellcheck disable=SC2034,SC2154 # lib.bash and bats know them

bats_require_minimum_version 1.5.0

load lib
load machines

setup() {
	T=$BATS_TEST_TMPDIR
	TLS_OFF=false
	PORT=$(free_port)
	place datastore "Datastore-Listen-Address=127.0.0.1" "Datastore-Port=$PORT"
	place A
	place B
}

# NAME [LINE...]: a configuration that says where things are to lie, below $T/NAME, where nothing is yet
place() {
	local name=$1 prefix="" resources=Webserver-Resource-Store
	shift
	[[ $name != datastore ]] || prefix=Datastore- resources=Datastore-Resource-Store
	{
		echo '# mine'
		echo "${prefix}User-DB-Path=$T/$name/users.db"
		echo "${prefix}Web-Store-Path=$T/$name/webstore.db"
		echo "$resources=$T/$name/resources"
		echo "${prefix}State-Directory=$T/$name/state"
		echo "Control-Auth-File=$T/$name/control-auth"
		echo "Datastore-Update-Interval=1"
		echo "Lb-Recognition-Period=0"
		[[ $name == datastore ]] || printf '%s\n' 'Sync-Listen-Address=127.0.0.1' 'Sync-Port=0'
		[[ $# -eq 0 ]] || printf '%s\n' "$@"
		printf '# no newline at the end'
	} >"$T/$name.conf"
}

# NAME WORDS: `sameroot` for that node, with nobody to ask
tool() {
	local name=$1
	shift
	"$BIN/sameroot" "$@" -c "$T/$name.conf" </dev/null
}

# Some bare machines have no pseudo-terminals, at which something could be asked.
needs_terminal() {
	python3 -c 'import pty; pty.openpty()' 2>/dev/null || skip 'no pseudo-terminal'
}

# NAME ANSWERS -- WORDS: the same at a terminal
answer() {
	local name=$1 answers=()
	shift
	while [[ $1 != -- ]]; do answers+=("$1") && shift; done
	shift
	python3 "$HERE/answers.py" "${answers[@]}" -- "$BIN/sameroot" "$@" -c "$T/$name.conf"
}

begin_datastore() {
	tool datastore init --yes >"$T/init.out"
	LINE=$(tool datastore join --line 2>/dev/null)
	cp "$T/datastore/control-auth" "$T/control-auth" # for lib.bash
	start_datastore
}

# A line with other fields: SECRET KEY [ADDRESS]
forged() {
	python3 -c '
import base64, sys, zlib
text = f"sameroot://{sys.argv[3]}/#1.{base64.urlsafe_b64encode(sys.argv[1].encode()).decode().rstrip(chr(61))}.{sys.argv[2]}"
print(f"{text}.{zlib.crc32(text.encode()):08x}")' "$1" "$2" "${3:-127.0.0.1:$PORT}"
}

key_of_line() { # LINE
	cut -d. -f$(($(tr -cd . <<<"$1" | wc -c))) <<<"$1"
}

# Everything below A, and its configuration
state_of_A() {
	find "$T/A" "$T/A.conf" -printf '%m %s %T@ %p\n' 2>/dev/null | sort
}

@test "on bare machines: init on the datastore, one line on each webserver, and all are the same" {
	unshare -m -n true 2>/dev/null || skip 'no right to make namespaces'
	state=/var/lib/sameroot conf=/etc/sameroot/sameroot.conf
	mkdir -p "$T/etc/sameroot"
	cp -a /etc/passwd /etc/group /etc/hosts "$T/etc/" # no CAs
	make_machine unshare -m -n
	at_datastore=("${MACHINE[@]}")
	make_machine nsenter -t "${HOLDERS[0]}" -n unshare -m
	at_web1=("${MACHINE[@]}")
	make_machine nsenter -t "${HOLDERS[0]}" -n unshare -m
	at_web2=("${MACHINE[@]}")
	"${at_datastore[@]}" ip link set lo up
	"${at_datastore[@]}" mount -t tmpfs none /etc/sameroot
	"${at_web1[@]}" mount -t tmpfs none /etc/sameroot
	"${at_web2[@]}" mount -t tmpfs none /etc/sameroot

	# at a terminal it asks for the role of a new one
	run "${at_web1[@]}" python3 "$HERE/answers.py" w n -- "$BIN/sameroot" init
	[ "$status" -eq 1 ]
	[[ $output == *'the datastore, or a webserver? [webserver]'*"missing    configuration       $conf"* ]]
	"${at_web1[@]}" test ! -e $conf -a ! -e $state

	run "${at_datastore[@]}" "$BIN/sameroot" init --datastore --address 127.0.0.1 --yes
	[ "$status" -eq 0 ]
	for made in "configuration +$conf" "secret +$state/control-auth" "state +$state/datastore-state" \
		"certificate +$state/datastore-state/certificate.pem" "store users.db +$state/datastore-users.db" \
		"store resources +$state/resources/datastore"; do
		grep -qE "^made +$made\$" <<<"$output"
	done
	line=$(sed -n "s/^ *sameroot join '\(.*\)'\$/\1/p" <<<"$output")
	[[ $line == sameroot://127.0.0.1:9405/#1.* ]]
	[ "$("${at_datastore[@]}" stat -c %a $state/control-auth $state/datastore-state $conf | tr '\n' ' ')" = '600 700 644 ' ]
	launch datastore "${at_datastore[@]}" "$BIN/sameroot-datastore"

	"${at_web1[@]}" install -D /etc/hosts $state/resources/webserver/hosts
	"${at_web1[@]}" sqlite3 $state/users.db "CREATE TABLE users(uid INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES(1, 'Ada')"
	run "${at_web1[@]}" "$BIN/sameroot" join "$line" --external-addr 127.0.0.1:443 --yes
	[ "$status" -eq 0 ]
	[[ $output == *'this webserver is in sync'* ]]
	launch A "${at_web1[@]}" "$BIN/sameroot-sync"

	# the second has a port of its own already, and takes the line from where no list of processes shows it
	"${at_web2[@]}" bash -c "printf 'Sync-Port=0' >$conf"
	printf '%s\n' 'made  secret' '' "    sameroot join '$line'" '' 'Whoever has this line' | "${at_web2[@]}" "$BIN/sameroot" join - --external-addr 127.0.0.1:444 --yes
	[ "$("${at_web2[@]}" sqlite3 $state/users.db 'SELECT name FROM users')" = Ada ]
	"${at_web2[@]}" cmp $state/resources/webserver/hosts /etc/hosts
	[ "$("${at_web2[@]}" head -n 1 $conf)" = Sync-Port=0 ]
	launch B "${at_web2[@]}" "$BIN/sameroot-sync"

	"${at_web2[@]}" sqlite3 -cmd '.timeout 20000' $state/users.db "INSERT INTO users VALUES(2, 'Bert')"
	bert() { kill -USR1 "${PID[A]}" "${PID[B]}" && "${at_web1[@]}" sqlite3 -readonly $state/users.db 'SELECT name FROM users' | grep -qx Bert; }
	wait_for 'Bert goes round' bert
	wait_for 'web1 is in sync' "${at_web1[@]}" "$BIN/sameroot" join
	"${at_web1[@]}" "$BIN/sameroot" diff
	"${at_web2[@]}" "$BIN/sameroot" diff

	# joining again beside a daemon does no harm
	run "${at_web1[@]}" "$BIN/sameroot" join "$line" --yes
	[ "$status" -eq 0 ]
	[[ $output == *'The sync daemon runs'* && $output != *made* && $output == *'was in step'* ]]
	stop A
	stop B
	stop datastore
}

@test "init makes only what is missing, says it, and asks" {
	needs_terminal
	run tool datastore init
	[ "$status" -eq 64 ]
	[[ $output == *--yes* ]]
	run answer datastore n -- init
	[ "$status" -eq 1 ]
	[[ $output == *'missing'*'secret'*'Make what is missing?'* ]]
	[ ! -e "$T/datastore" ]

	mkdir -p "$T/datastore"
	echo 0123456789abcdef0123456789abcdef >"$T/datastore/control-auth"
	chmod 600 "$T/datastore/control-auth"
	sql "$T/datastore/users.db" 'CREATE TABLE t(a)'
	cp "$T/datastore.conf" "$T/conf.before"
	before=$(cd "$T/datastore" && sha256sum users.db control-auth)
	run answer datastore y -- init
	[ "$status" -eq 0 ]
	made=$(tool datastore init --json | jq -c '[.items[] | select(.is != "there")]')
	[ "$made" = '[]' ]
	[ "$before" = "$(cd "$T/datastore" && sha256sum users.db control-auth)" ]
	cmp "$T/datastore.conf" "$T/conf.before"
	[ "$(stat -c %a "$T/datastore/state")" = 700 ]
	[ "$(sql "$T/datastore/webstore.db" 'SELECT count(*) FROM sqlite_master')" = 0 ]
	[ -d "$T/datastore/resources/.sameroot" ]

	# the line is the same each time, and names the key of the certificate
	first=$(tool datastore init --json | jq -r .line)
	[ "$(tool datastore join --line 2>/dev/null)" = "$first" ]
	[ "$(key_of_line "$first")" = "$(pin_of datastore | sed 's/sha256..//; s/=$//' | tr +/ -_)" ]
	[[ $(tool datastore join --line --address db.example.org 2>/dev/null) == "sameroot://db.example.org:$PORT/#1."* ]]
	[[ $(tool datastore join --line --address db.example.org:9 2>/dev/null) == "sameroot://db.example.org:9/#1."* ]]
	run tool datastore join --line --address 'db example'
	[ "$status" -eq 64 ]

	# a new file needs a role; a webserver gets no secret by init
	run "$BIN/sameroot" init -c "$T/new/new.conf" --yes </dev/null
	[ "$status" -eq 64 ]
	[[ $output == *'--datastore or --webserver'* ]]
	[ ! -e "$T/new" ]
	run tool A init --webserver --json --yes
	[ "$status" -eq 0 ]
	[ "$(jq -c '[.items[] | select(.is == "made") | .what] | unique' <<<"$output")" = '["certificate","state","store"]' ]
	[ ! -e "$T/A/control-auth" ]
	run tool A join --line
	[ "$status" -ne 0 ]

	# at a terminal: the name by which webservers reach a datastore that listens everywhere
	sed -i '/Listen-Address/d' "$T/datastore.conf"
	run answer datastore db.example.org -- init
	[ "$status" -eq 0 ]
	[[ $output == *'reach this machine ['*"sameroot://db.example.org:$PORT/#1."* ]]
}

@test "init does not make what was lost" {
	begin_datastore
	rounds_of_A() { tool A join "$LINE" --external-addr 127.0.0.1:443 --yes; }
	fill_here A
	rounds_of_A
	stop datastore
	rm -r "$T/datastore"/users.db* "$T/A/resources"
	for name in datastore A; do
		role=datastore
		[ $name = datastore ] || role=webserver
		run tool $name init --yes --$role
		[ "$status" -eq 1 ]
		[[ $output == *'lost '*'sameroot-recovery'* ]]
	done
	[ ! -e "$T/datastore/users.db" ]
	[ ! -e "$T/A/resources" ]
}

fill_here() { # NAME
	mkdir -p "$T/$1"
	fill "$1"
}

@test "join: what is only here, only there, equal and different, then the first round" {
	needs_terminal
	begin_datastore
	fill_here A
	tool A join "$LINE" --external-addr 127.0.0.1:443 --yes >"$T/join.out"
	grep -qE '^users.db +0 +11 +0 +0' "$T/join.out"
	grep -qE '^resources +0 +4 +0 +0' "$T/join.out"
	[ "$(cat "$T/A/control-auth")" = "$(cat "$T/datastore/control-auth")" ]
	[ "$(stat -c %a "$T/A/control-auth")" = 600 ]

	# B has the same but for one row more, one less and one other, and a file more, one less and one other; and a link, which is nobody's
	fill_here B
	sql "$T/B/users.db" "INSERT INTO users VALUES(9, 'Zoe', NULL, 0); DELETE FROM groups WHERE gid = 2; UPDATE users SET email = 'b' WHERE uid = 2"
	rm "$T/B/resources/hosts.csv"
	echo more >"$T/B/resources/more"
	echo other >"$T/B/resources/img/logo"
	rmdir "$T/B/resources/empty" # where the datastore has a directory
	ln -s nowhere "$T/B/resources/empty"
	cp "$T/B.conf" "$T/conf.before"
	run answer B web2.example.org:443 n -- join "$LINE"
	[ "$status" -eq 1 ]
	[[ $output == *'reach the application on this machine ['*':443]'* ]]
	[[ $output == *'Do the first round now?'*'sameroot-sync does the first round'* ]]
	grep -qE '^users.db +9 +1 +1 +1' <<<"$output"
	grep -qE '^webstore.db +10 +0 +0 +0' <<<"$output"
	grep -qE '^resources +1 +1 +1 +1' <<<"$output"
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM groups')" = 1 ]
	[ ! -e "$T/B/state/state.db" ]

	# what it kept, and what it added
	cmp -n "$(stat -c %s "$T/conf.before")" "$T/conf.before" "$T/B.conf"
	[ "$(tail -n 3 "$T/B.conf" | tr '\n' ' ')" = "Datastore=127.0.0.1:$PORT External-Addr=web2.example.org:443 Datastore-Key-Pin=$(pin_of datastore) " ]

	rm "$T/B/resources/empty"
	mkdir "$T/B/resources/empty"
	ln -s nowhere "$T/B/resources/link"
	run answer B y -- join "$LINE"
	[ "$status" -eq 0 ]
	[[ $output == *'1 archived; this webserver is in sync'* || $output == *'2 archived; this webserver is in sync'* ]]
	[ "$(sql "$T/datastore/users.db" 'SELECT count(*) FROM users')" = 4 ]
	[ "$(sql "$T/B/users.db" 'SELECT email IS NULL FROM users WHERE uid = 2')" = 1 ]
	[ "$(cat "$T/datastore/resources/more")" = more ]
	[ -L "$T/B/resources/link" ]

	# twice is harmless; then the other gets it, and all are the same
	cp "$T/B.conf" "$T/conf.before"
	tool B join "$LINE" --external-addr web2.example.org:443 --yes --json >"$T/again.json"
	jq -e '.in_sync and .pulled == 0 and .pushed == 0 and ([.items[].is] | unique) == ["there"] and ([.stores[] | .here + .there + .different] | add) == 0' "$T/again.json"
	cmp "$T/B.conf" "$T/conf.before"
	tool A join "$LINE" --yes >/dev/null
	rm "$T/B/resources/link"
	assert_same datastore A B
	check_databases
}

@test "join: the first webserver of a cluster without tables brings Sameroot's own, unless they are not wanted or an application is here" {
	place C
	place D
	begin_datastore
	tool C join "$LINE" --external-addr 127.0.0.1:445 --no-schema --yes >"$T/join.out"
	grep -q 'this webserver is in sync' "$T/join.out"
	mkdir "$T/D"
	sql "$T/D/users.db" 'CREATE VIEW nobody AS SELECT 1' # an application begins to make it, and its webstore.db is to come
	tool D join "$LINE" --external-addr 127.0.0.1:446 --yes >"$T/join.out"
	[ -z "$(dump_schema "$T/C/users.db")$(dump_schema "$T/C/webstore.db")$(dump_schema "$T/D/webstore.db")$(dump_schema "$T/datastore/webstore.db")" ]

	tool A join "$LINE" --external-addr 127.0.0.1:443 --yes >"$T/join.out"
	grep -q 'this webserver is in sync' "$T/join.out"
	[ "$(sql "$T/A/users.db" 'SELECT count(*) FROM members')$(sql "$T/A/webstore.db" 'SELECT count(*) FROM dashboards')" = 00 ]
	echo 'a good password' | "$BIN/sameroot" user add --admin ada -c "$T/A.conf"
	"$BIN/sameroot-sync" --once -c "$T/A.conf"
	tool B join "$LINE" --external-addr 127.0.0.1:444 --yes >"$T/join.out"
	"$BIN/sameroot" user list -c "$T/B.conf" | grep -q '^ada  *admin'
	[ "$(dump_schema "$T/A/webstore.db")" = "$(dump_schema "$T/B/webstore.db")" ]
}

@test "join refuses a wrong line, secret, key, role and what contradicts, and changes nothing" {
	begin_datastore
	fill_here A
	before=$(state_of_A)
	secret=$(cat "$T/datastore/control-auth") key=$(key_of_line "$LINE")
	other=$(tr A-Za-z B-ZAb-za <<<"${key%?}")${key: -1} # another key, and well formed
	wrong=0123456789abcdef0123456789abcdef
	refused() { # STATUS TEXT LINE [WORDS]
		local expect=$1 text=$2
		shift 2
		run tool A join "$@" --yes
		[[ $status -eq $expect && $output == *"$text"* ]] || fail "$status $output" || return 1
		[ "$(state_of_A)" = "$before" ]
	}
	refused 64 --external-addr "$LINE"
	[[ $(forged "$secret" "$key") == "$LINE" ]]
	set -- --external-addr 127.0.0.1:443
	refused 65 'changed or cut' "${LINE/%?/x}" "$@"
	refused 65 'does not begin' 127.0.0.1 "$@"
	refused 77 "does not hold this cluster's Control-Auth" "$(forged $wrong "$key")" "$@"
	refused 77 'is not the one that the join line names' "$(forged "$secret" "$other")" "$@"
	refused 75 '' "$(forged "$secret" "$key" "127.0.0.1:$(free_port)")" "$@"
	refused 64 HOST:PORT "$LINE" --external-addr 'a b'
	run bash -c "'$BIN/sameroot' join - --yes -c '$T/A.conf' --external-addr a:1 </dev/null"
	[ "$status" -eq 64 ]

	# a webserver is no datastore
	tool B join "$LINE" --external-addr 127.0.0.1:444 --yes >/dev/null
	launch B "$BIN/sameroot-sync" -c "$T/B.conf"
	refused 78 'it is a webserver, not a datastore' "$(forged "$secret" tls "${URL[B]#https://}")" "$@"

	# what is there and says another thing
	echo >>"$T/A.conf"
	cp "$T/A.conf" "$T/conf.before"
	for line in Datastore=other:9405 External-Addr=a:1 "Datastore-Key-Pin=sha256//$(tr -- -_ +/ <<<"$other")=" Datastore-Insecure-Disable-TLS=true "Control-Auth=$wrong"; do
		{ cat "$T/conf.before" && echo "$line"; } >"$T/A.conf"
		before=$(state_of_A)
		refused 78 "A.conf:$(wc -l <"$T/A.conf"): ${line%%=*}" "$LINE" "$@"
		[[ $output != *"$wrong"* ]]
	done
	cp "$T/conf.before" "$T/A.conf"
	echo $wrong >"$T/A/control-auth"
	chmod 600 "$T/A/control-auth"
	before=$(state_of_A)
	refused 78 'control-auth holds another secret' "$LINE" "$@"
	echo Nonsense=1 >>"$T/A.conf"
	before=$(state_of_A)
	refused 78 'A.conf:12: unknown key Nonsense' "$LINE" "$@"
}

@test "join without a pin: first contact, or plain HTTP" {
	begin_datastore
	secret=$(cat "$T/datastore/control-auth")
	fill_here A
	tool A join "$(forged "$secret" tls)" --external-addr 127.0.0.1:443 --yes
	[ "$(tool A join --json 2>/dev/null | jq -r .trust)" = first-contact ]
	stop datastore
	echo >>"$T/datastore.conf"
	echo Datastore-Insecure-Disable-TLS=true >>"$T/datastore.conf"
	LINE=$(tool datastore join --line 2>/dev/null)
	[ "$(key_of_line "$LINE")" = plain ]
	launch_plain datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	wait_for 'the datastore is ready' ready datastore
	run tool B join "$(forged 0123456789abcdef0123456789abcdef plain)" --external-addr 127.0.0.1:444 --yes
	[ "$status" -eq 77 ]
	[[ $output == *'does not take the secret'* ]]
	tool B join "$LINE" --external-addr 127.0.0.1:444 --yes
	grep -qx Datastore-Insecure-Disable-TLS=true "$T/B.conf"
	assert_same datastore B
}
