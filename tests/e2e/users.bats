#!/usr/bin/env bats
# Users: made on one webserver, known on all; and their logins at the daemons.

bats_require_minimum_version 1.5.0

load lib

ours() { # A has the stores of Sameroot's own schema, the others get them
	"$BIN/sameroot" init --webserver --yes -c "$T/A.conf"
	start_datastore
	rounds A B
}

user() { # NAME WORDS: `sameroot user` there; the password is the first line of the standard input
	local name=$1
	shift
	"$BIN/sameroot" user "$@" -c "$T/$name.conf"
}

datastore_has_seq() {
	status_of datastore ".seq >= $1" >/dev/null
}

# NAME LOGIN [CURL OPTION...]: the HTTP status of its admin status
asked() {
	local name=$1 login=$2
	shift 2
	curl -sS -o "$T/answer" -D "$T/head" -w '%{http_code}' -u "$login" "$@" "${URL[$name]}/api/admin/status"
}

@test "a user made on A is known on B, and may do there what he may" {
	ours
	echo 'a good password' | user A add --admin ada
	echo 'another password' | user A add grace
	rounds A B
	user B list >"$T/list"
	grep -q '^ada  *admin' "$T/list"
	grep -q '^grace  *user' "$T/list"
	[ "$(user B show Ada --json | jq -c '[.name, .admin, .enabled, has("password")]')" = '["ada",true,true,false]' ]
	start_webserver B
	[ "$(asked B 'ada:a good password')" = 200 ]
	[ "$(asked datastore 'ada:a good password')" = 200 ]
	[ "$(curl -sS -u 'ada:a good password' "${URL[datastore]}/api/webservers" | jq length)" -ge 1 ]
	[ "$(asked B 'grace:another password')" = 403 ]
	grep -q 'grace is none' "$T/answer"
	[ "$(asked B 'ada:a bad password')" = 401 ]
	grep -qi '^WWW-Authenticate: Basic realm="Sameroot"' "$T/head"
	[ "$(asked B 'nobody:a good password')" = 401 ]
}

@test "what is changed of a user holds at once: password, admin, disabled, deleted" {
	ours
	echo 'a good password' | user A add --admin ada
	start_webserver A
	[ "$(asked A 'ada:a good password')" = 200 ]
	echo 'quite another one' | user A passwd ada
	[ "$(asked A 'ada:a good password')" = 401 ]
	[ "$(asked A 'ada:quite another one')" = 200 ]
	user A admin --revoke ada 2>"$T/remark"
	grep -q 'no admin is left' "$T/remark"
	[ "$(asked A 'ada:quite another one')" = 403 ]
	user A admin ada
	user A disable ada
	user A show ada | grep -q '^is  *admin, disabled$'
	[ "$(asked A 'ada:quite another one')" = 401 ]
	user A enable ada 2>"$T/remark"
	[ ! -s "$T/remark" ]
	[ "$(asked A 'ada:quite another one')" = 200 ]
	run user A delete ada </dev/null
	[ "$status" -eq 64 ]
	[[ $output == *'--yes'* && $output != *above* ]]
	user A delete --yes ada 2>"$T/remark"
	grep -q 'no admin is left' "$T/remark"
	[ "$(asked A 'ada:quite another one')" = 401 ]
	run user A show ada
	[ "$status" -eq 66 ]
}

@test "who guesses has to wait, with the right password as well; another address has not" {
	ours
	echo 'a good password' | user A add --admin ada
	start_webserver A
	for _ in 1 2 3 4 5; do [ "$(asked A 'ada:guess')" = 401 ]; done
	[ "$(asked A 'ada:a good password')" = 429 ]
	grep -qi '^Retry-After: [0-9]' "$T/head"
	[ "$(asked A 'ada:a good password' --interface 127.0.0.2)" = 200 ]
}

@test "a name or a password that cannot be is refused, and nothing is made" {
	ours
	for bad in '' 'a:b' $'a\tb' ' a'; do
		run user A add "$bad" <<<'a good password'
		[ "$status" -eq 64 ]
	done
	run user A add ada <<<short
	[ "$status" -eq 64 ]
	run user A add ada </dev/null
	[ "$status" -eq 64 ]
	run user A add ada < <(yes | tr -d '\n') # without an end
	[ "$status" -eq 64 ]
	[[ $output == *'too long'* ]]
	run user A add ada < <(printf 'a good\0 password\n')
	[ "$status" -eq 64 ]
	[[ $output == *NUL* ]]
	user A add ada <<<'a good password'
	run user A add Ada <<<'a good password'
	[ "$status" -eq 65 ]
	[[ $output == *'a user of that name already'* ]]
	[ "$(user A list --json | jq length)" = 1 ]
}

@test "of an application's own schema Admin-Query tells who the admins are; its users are its own to make" {
	fill A
	value A "ALTER TABLE users ADD COLUMN hash TEXT"
	value A "UPDATE users SET hash = '$(python3 -W ignore -c 'import crypt; print(crypt.crypt("an old password", "$6$salt"))')', admin = 1 WHERE uid = 1"
	start_datastore
	rounds A B
	run user A list
	[ "$status" -eq 78 ]
	[[ $output == *Admin-Query* ]]
	for name in A B; do echo 'Admin-Query="SELECT name, hash, admin FROM users WHERE hash IS NOT NULL"' >>"$T/$name.conf"; done
	user B list --json >"$T/list"
	[ "$(jq -c 'map([.name, .admin])' "$T/list")" = '[["Ada",true]]' ]
	run user A add grace <<<'a good password'
	[ "$status" -eq 78 ]
	start_webserver B
	[ "$(asked B 'ada:an old password')" = 200 ]
	stop B
	sed -i 's/SELECT name, hash, admin/SELECT login, hash, admin/' "$T/B.conf"
	start_webserver B
	for _ in 1 2; do # whoever asks learns no path; the log has it, once
		[ "$(asked B 'nobody:guesses that')" = 500 ]
		[[ $(jq -r .detail "$T/answer") == 'logins cannot be checked here'* ]]
		run ! grep -q "$T" "$T/answer"
	done
	[ "$(grep -c "logins cannot be checked: Admin-Query: $T/B/users.db: no such column" "$T/B.log")" = 1 ]
}

@test "init makes the tables where there is no database, --no-schema and Admin-Query= keep them away, and what is there is left alone" {
	"$BIN/sameroot" init --webserver --yes -c "$T/A.conf" >"$T/made"
	[ "$(sql "$T/A/users.db" "SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name)")" = 'groups members users' ]
	[ "$(sql "$T/A/webstore.db" "SELECT count(*) FROM sqlite_schema WHERE name IN ('dashboards', 'preferences', 'search_history')")" = 3 ]
	"$BIN/sameroot" init --webserver --no-schema --yes -c "$T/B.conf"
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM sqlite_schema')" = 0 ]
	"$BIN/sameroot" init --datastore --address 127.0.0.1:9405 --yes -c "$T/datastore.conf"
	[ "$(sql "$T/datastore/users.db" 'SELECT count(*) FROM sqlite_schema')" = 0 ] # or it would not be founded
	"$BIN/sameroot" init --webserver --yes -c "$T/B.conf"
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM sqlite_schema')" = 0 ]
	user B add ada <<<'a good password' # the first user makes the tables
	[ "$(user B list --json | jq length)" = 1 ]
	rm "$T"/B/users.db*
	run user B add ada <<<'a good password'
	[ "$status" -eq 66 ]
	[ ! -e "$T/B/users.db" ]
}

@test "what is refused of an application's database leaves its journal mode what it is" {
	fill A delete
	run user A add ada <<<'a good password'
	[ "$status" -eq 78 ]
	[ "$(value A 'PRAGMA journal_mode')" = delete ]
}

@test "a datastore that was never started takes no user, or it would not be founded; a name that cannot be makes no tables" {
	"$BIN/sameroot" init --datastore --address 127.0.0.1:9405 --yes -c "$T/datastore.conf"
	run user datastore add --admin ada <<<'a good password'
	[ "$status" -eq 75 ]
	[[ $output == *'start sameroot-datastore'* ]]
	start_datastore
	run user datastore add 'a:da' <<<'a good password'
	[ "$status" -eq 64 ]
	[ -z "$(dump_schema "$T/datastore/users.db")" ]
	user datastore add --admin ada <<<'a good password'
	wait_for 'the datastore has found ada' datastore_has_seq 1
	rounds A B
	[ "$(user B list --json | jq -c 'map(.name)')" = '["ada"]' ]
}

@test "where users.db has no tables, or is gone, it is said, and what helps" {
	"$BIN/sameroot" init --webserver --no-schema --yes -c "$T/A.conf"
	run user A list
	[ "$status" -eq 78 ]
	[[ $output == *'no tables yet'*'sameroot user add'* && $output != *Admin-Query* ]]
	start_datastore
	start_webserver A
	[ "$(asked A 'ada:a good password')" = 500 ]
	grep -q 'logins cannot be checked: .* no tables yet' "$T/A.log"
	rm "$T"/A/users.db*
	for _ in 1 2; do [ "$(asked A 'ada:a good password')" = 401 ]; done
	[ "$(grep -c "logins cannot be checked: .*users.db: No such file" "$T/A.log")" = 1 ]
	run user A list
	[ "$status" -eq 66 ]
	[[ $output == *'sameroot status'* ]]
}
