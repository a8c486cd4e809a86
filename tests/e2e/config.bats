#!/usr/bin/env bats
# The configuration as the programs take it.

load lib

setup() {
	T=$BATS_TEST_TMPDIR
	conf=$T/x.conf
}

teardown() { :; }

check() { # PROGRAM
	run "$BIN/$1" --check-config -c "$conf"
}

refused() { # LINE TEXT: exit 78, with the line and what is wrong
	run "$BIN/sameroot-sync" --check-config -c "$conf"
	echo "$output"
	[ "$status" -eq 78 ]
	[[ $output == *"$conf:$1: "*$2* ]]
}

@test "the lines of the first page, exactly as printed: port 9555, all interfaces" {
	printf '%s\n' '[global]' $'Datastore-Listen-Address=\t# listen only on' $'Datastore-Port=9555\t\t\t\t\t# listen on port 9555 instead of 9405' >"$conf"
	check sameroot-datastore
	echo "$output"
	[ "$status" -eq 0 ]
	[[ $'\n'$output$'\n' == *$'\nDatastore-Port=9555\n'* ]]
	[[ $'\n'$output$'\n' == *$'\nDatastore-Listen-Address=\n'* ]]
}

@test "without a port line: 9405, and an interval of 10" {
	printf '%s\n' '[global]' 'Datastore=10.0.0.1' 'External-Addr=10.0.0.2:443' >"$conf"
	for program in sameroot-datastore sameroot-sync; do
		check $program
		[ "$status" -eq 0 ]
		[[ $'\n'$output$'\n' == *$'\nDatastore-Port=9405\n'* ]]
		[[ $'\n'$output$'\n' == *$'\nDatastore-Update-Interval=10\n'* ]]
		[[ $'\n'$output$'\n' == *$'\nSync-Port=9406\n'* ]]
	done
}

@test "--check-config writes nothing and shows no secret" {
	printf '%s\n' '[global]' "State-Directory=$T/state" "Datastore-State-Directory=$T/ds" "Control-Auth-File=$T/auth" \
		'Control-Auth=0123456789abcdef0123456789abcdef' >"$conf"
	for program in sameroot-datastore sameroot-sync; do
		check $program
		[ "$status" -eq 0 ]
		[[ $output != *0123456789abcdef* ]]
	done
	[ "$(find "$T" -mindepth 1 -newer "$conf" -not -path "$conf" | grep -cE 'state|ds$|auth')" -eq 0 ]
}

@test "what --check-config prints is a configuration that prints the same" {
	printf '%s\n' '[global]' 'Datastore="ds.example.org"' 'External-Addr=web1:443  # this machine' 'LOG-LEVEL=debug' \
		'[store "wiki"]' 'Kind=files' "Path=$T/wiki" "Datastore-Path=$T/wiki-ds" 'Exclude=*.tmp' >"$conf"
	check sameroot-sync
	[ "$status" -eq 0 ]
	first=$(sed 1d <<<"$output")
	echo "$first" >"$conf"
	check sameroot-sync
	[ "$status" -eq 0 ]
	[ "$(sed 1d <<<"$output")" = "$first" ]
}

@test "--check-config --json is JSON" {
	printf '%s\n' '[global]' 'Datastore-Port=9555' >"$conf"
	"$BIN/sameroot-datastore" --check-config --json -c "$conf" | jq -e . >/dev/null
}

@test "CRLF line ends are taken" {
	printf '[global]\r\nDatastore-Port=9555\r\n' >"$conf"
	check sameroot-datastore
	[ "$status" -eq 0 ]
	[[ $output == *Datastore-Port=9555* ]]
}

@test "an unknown key is refused with its line" {
	printf '%s\n' '[global]' '# a comment' 'Datastore-Prot=9405' >"$conf"
	refused 3 Datastore-Prot
}

@test "a bad value is refused with its line" {
	printf '%s\n' '[global]' 'Datastore-Port=70000' >"$conf"
	refused 2 Datastore-Port
	printf '%s\n' '[global]' '' 'Datastore-Update-Interval=0' >"$conf"
	refused 3 Datastore-Update-Interval
}

@test "equal and nested paths are refused" {
	printf '%s\n' '[global]' "User-DB-Path=$T/x.db" "Web-Store-Path=$T/x.db" >"$conf"
	refused 3 "$T/x.db"
	printf '%s\n' '[global]' "Webserver-Resource-Store=$T/res" "State-Directory=$T/res/state" >"$conf"
	refused 3 "$T/res"
}

@test "Datastore without External-Addr is refused" {
	printf '%s\n' '[global]' 'Datastore=10.0.0.1' >"$conf"
	refused 2 External-Addr
}

@test "a short secret is refused" {
	printf '%s\n' '[global]' 'Control-Auth=tooshort' >"$conf"
	refused 2 Control-Auth
	[[ $output != *tooshort* ]]
}

@test "a directory as the file, and a named file that is absent, are refused" {
	run "$BIN/sameroot-datastore" --check-config -c "$T"
	echo "$output"
	[ "$status" -eq 78 ]
	[[ $output == *"$T"*directory* ]]
	run "$BIN/sameroot-datastore" --check-config -c "$T/absent.conf"
	echo "$output"
	[ "$status" -ne 0 ]
	[[ $output == *"$T/absent.conf"* ]]
}

@test "a webserver without a shared secret exits 78 and says what to copy" {
	printf '%s\n' '[global]' 'Datastore=127.0.0.1:1' 'External-Addr=web1:443' "Control-Auth-File=$T/control-auth" "State-Directory=$T/state" \
		"User-DB-Path=$T/u.db" "Web-Store-Path=$T/w.db" "Webserver-Resource-Store=$T/res" >"$conf"
	run "$BIN/sameroot-sync" --once -c "$conf"
	echo "$output"
	[ "$status" -eq 78 ]
	[[ $output == *"$T/control-auth"*copy* ]]
}

@test "--help and --version exit 0, an unknown option 64" {
	for program in sameroot-datastore sameroot-sync; do
		run "$BIN/$program" --help
		[ "$status" -eq 0 ]
		[[ $output == usage:* ]]
		run "$BIN/$program" --version
		[ "$status" -eq 0 ]
		run "$BIN/$program" --no-such-option
		[ "$status" -eq 64 ]
	done
}

@test "stores of one's own: what their sections may not say, with the line" {
	refused_store() { # LINE TEXT CONFIGURATION-LINE...
		local line=$1 text=$2
		shift 2
		printf '%s\n' '[global]' "$@" >"$conf"
		refused "$line" "$text"
	}
	for name in 'two words' 'näher' '100%' '.hidden' 'a/b' '' "$(printf 'x%.0s' {1..65})"; do
		refused_store 2 "a store's name is" "[store \"$name\"]" 'Kind=files' 'Path=/x'
	done
	refused_store 5 'differs from "wiki" in case only' '[store "wiki"]' 'Kind=files' 'Path=/x' '[store "Wiki"]'
	refused_store 2 'differs from "users.db" in case only' '[store "Users.db"]' 'Path=/x'
	refused_store 2 'needs Kind=' '[store "wiki"]' 'Path=/x'
	refused_store 2 'needs Path' '[store "wiki"]' 'Kind=files'
	refused_store 3 'Kind' '[store "wiki"]' 'Kind=postgres' 'Path=/x'
	refused_store 3 'must be an absolute path' '[store "wiki"]' 'Path=x/y' 'Kind=files'
	refused_store 7 'lies inside' '[store "a"]' 'Kind=files' 'Path=/srv/a' '[store "b"]' 'Kind=sqlite' 'Path=/srv/a/b.db'
	refused_store 4 'there is no user called nobody-of-that-name' '[store "a"]' 'Kind=files' 'Owner=nobody-of-that-name' 'Path=/srv/a'
	refused_store 3 'there is no group called' '[store "a"]' 'Group=nobody-of-that-name'
	printf '%s\n' '[store "users.db"]' 'Exclude=sessions' '[store "wiki"]' 'Kind=files' 'Path="/srv/two words/100% näher"' >"$conf"
	check sameroot-sync
	[ "$status" -eq 0 ]
}
