#!/usr/bin/env bats
# What changes on one webserver is on the other, while all daemons run: rows and files, both ways.

load lib

@test "a webserver with nothing becomes as the one that has something; the roots are those of a tree built from scratch" {
	fill A
	start_all
	wait_same
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM members')" -eq 3 ]
	[ "$(dump_schema "$T/A/users.db")" = "$(dump_schema "$T/B/users.db")" ]
	[ "$(dump_schema "$T/A/webstore.db")" = "$(dump_schema "$T/datastore/webstore.db")" ]
	root=$(root_of datastore)
	for name in A B; do # its state is gone: the tree is built anew from what is there
		stop $name
		rm -r "$T/$name/state"
		start_webserver $name
		wait_for "$name knows its tree" ready $name
		[ "$(root_of $name)" = "$root" ]
	done
	wait_same
}

rows_travel() { # JOURNAL_MODE
	fill A "$1"
	sql "$T/B/users.db" "PRAGMA journal_mode=$1; $USERS_SCHEMA" >/dev/null
	start_all
	wait_same
	sql "$T/A/users.db" "INSERT INTO users VALUES(10, 'Dora', 'it''s', 1); UPDATE users SET email = NULL WHERE uid = 1"
	sql "$T/B/users.db" "UPDATE users SET email = 'bert@example.org' WHERE uid = 2; INSERT INTO groups VALUES(3, 'ops')"
	sql "$T/B/webstore.db" "DELETE FROM history WHERE owner = 1; INSERT INTO history VALUES(x'00', -9223372036854775808, char(0) || 'q')"
	sql "$T/A/webstore.db" "UPDATE dashboards SET body = x'00', updated = 1e300 WHERE id = 'd-2'"
	wait_same
	[ "$(sql "$T/B/users.db" 'SELECT name, email, admin FROM users WHERE uid = 10')" = "Dora|it's|1" ]
	[ "$(sql "$T/B/users.db" 'SELECT email IS NULL FROM users WHERE uid = 1')" = 1 ]
	[ "$(sql "$T/A/users.db" 'SELECT email FROM users WHERE uid = 2')" = bert@example.org ]
	[ "$(sql "$T/A/users.db" 'SELECT name FROM groups WHERE gid = 3')" = ops ]
	[ "$(sql "$T/A/webstore.db" 'SELECT hex(id), owner, hex(query) FROM history ORDER BY id LIMIT 1')" = '00|-9223372036854775808|0071' ]
	[ "$(sql "$T/A/webstore.db" 'SELECT count(*) FROM history')" -eq 2 ]
	[ "$(sql "$T/B/webstore.db" "SELECT hex(body) FROM dashboards WHERE id = 'd-2'")" = 00 ]
	sql "$T/A/users.db" 'DELETE FROM users WHERE uid = 10'
	sql "$T/B/webstore.db" "UPDATE preferences SET value = 'light' WHERE owner = 1 AND name = 'THEME'"
	wait_same
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM users WHERE uid = 10')" -eq 0 ]
	[ "$(sql "$T/A/webstore.db" "SELECT value FROM preferences WHERE owner = 1 AND name = 'theme'")" = light ]
	check_databases
	[ "$(sql "$T/A/users.db" 'PRAGMA journal_mode')" = "$1" ]
	[ "$(sql "$T/B/users.db" 'PRAGMA journal_mode')" = "$1" ]
	[ "$(conflicts A length)$(conflicts B length)" = 00 ]
}

@test "rows inserted, updated and deleted on either side: WAL" {
	rows_travel wal
}

@test "rows inserted, updated and deleted on either side: rollback journal" {
	rows_travel delete
}

@test "files created, edited, renamed and deleted, and their modes" {
	fill A
	start_all
	wait_same
	echo more >>"$T/A/resources/hosts.csv"
	mkdir -p "$T/B/resources/new/deep/er" && echo deep >"$T/B/resources/new/deep/er/file"
	: >"$T/B/resources/empty-file"
	wait_same
	[ "$(cat "$T/B/resources/hosts.csv")" = $'a table\nmore' ]
	[ "$(cat "$T/A/resources/new/deep/er/file")" = deep ]
	chmod 755 "$T/B/resources/hosts.csv"
	chmod 700 "$T/A/resources/img"
	mv "$T/A/resources/new/deep" "$T/A/resources/moved"
	wait_same
	[ "$(stat -c %a "$T/A/resources/hosts.csv")" = 755 ]
	[ "$(stat -c %a "$T/B/resources/img")" = 700 ]
	[ -f "$T/B/resources/moved/er/file" ]
	[ ! -e "$T/B/resources/new/deep" ]
	rm "$T/B/resources/hosts.csv"
	rm -r "$T/A/resources/moved"
	wait_same
	[ ! -e "$T/A/resources/hosts.csv" ]
	[ ! -e "$T/B/resources/moved" ]
	[ -e "$T/B/resources/img/logo" ]
	[ "$(conflicts A length)$(conflicts B length)" = 00 ]
}

@test "modification times are carried" {
	fill A
	touch -d '2001-02-03 04:05:06.789' "$T/A/resources/hosts.csv"
	start_all
	wait_same
	[ "$(stat -c %y "$T/B/resources/hosts.csv")" = "$(stat -c %y "$T/A/resources/hosts.csv")" ]
}

@test "empty directories, made and removed" {
	fill A
	start_all
	wait_same
	[ -d "$T/B/resources/empty" ]
	mkdir -p "$T/B/resources/e/f"
	rmdir "$T/A/resources/empty"
	wait_same
	[ -d "$T/A/resources/e/f" ]
	[ ! -e "$T/B/resources/empty" ]
}

@test "names that are not UTF-8, with newlines, spaces and leading dashes" {
	fill A
	start_all
	wait_same
	d=$T/A/resources/$'d\xff\xfe'
	mkdir "$d"
	echo 1 >"$d/"$'\xc3\x28 latin \xe9'
	echo 2 >"$d/"$'new\nline'
	echo 3 >"$d/-rf *"
	echo 4 >"$T/B/resources/%41"
	echo 5 >"$T/B/resources/.hidden"
	wait_same
	[ "$(cat "$T/B/resources/"$'d\xff\xfe/\xc3\x28 latin \xe9')" = 1 ]
	[ "$(cat "$T/B/resources/"$'d\xff\xfe/new\nline')" = 2 ]
	[ "$(cat "$T/A/resources/%41")" = 4 ]
	rm "$d/"$'new\nline'
	wait_same
	[ ! -e "$T/B/resources/"$'d\xff\xfe/new\nline' ]
}

@test "a file becomes a directory, and back" {
	fill A
	start_all
	wait_same
	rm "$T/A/resources/hosts.csv"
	mkdir "$T/A/resources/hosts.csv" && echo in >"$T/A/resources/hosts.csv/part"
	wait_same
	[ "$(cat "$T/B/resources/hosts.csv/part")" = in ]
	rm -r "$T/B/resources/hosts.csv"
	echo back >"$T/B/resources/hosts.csv"
	wait_same
	[ "$(cat "$T/A/resources/hosts.csv")" = back ]
}

@test "an edit of the same size and the same mtime is seen" {
	fill A
	start_all
	wait_same
	touch -r "$T/A/resources/hosts.csv" "$T/stamp"
	printf 'A TABLE\n' >"$T/A/resources/hosts.csv"
	touch -r "$T/stamp" "$T/A/resources/hosts.csv"
	wait_same
	[ "$(cat "$T/B/resources/hosts.csv")" = 'A TABLE' ]
}

@test "symbolic links and FIFOs stay where they are; what they are called is not deleted" {
	fill A
	start_all
	wait_same
	ln -s /etc/passwd "$T/A/resources/link"
	mkfifo "$T/A/resources/fifo"
	mkdir "$T/A/resources/dir" && ln -s ../hosts.csv "$T/A/resources/dir/only-a-link"
	echo after >"$T/A/resources/after"
	wait_for 'the file behind the link is there' test -f "$T/B/resources/after"
	sync_now A
	sync_now B
	[ ! -e "$T/B/resources/link" ] && [ ! -e "$T/B/resources/fifo" ]
	[ -L "$T/A/resources/link" ] && [ -p "$T/A/resources/fifo" ] && [ -L "$T/A/resources/dir/only-a-link" ]
	status_of A '.stores[] | select(.name == "resources") | .unknown_count' | grep -x 3
	same_roots datastore A B
}

@test "what is changed directly in the datastore's files reaches the webservers" {
	fill A
	start_all
	wait_same
	sql "$T/datastore/users.db" "UPDATE users SET email = 'direct' WHERE uid = 3"
	echo direct >"$T/datastore/resources/direct"
	wait_same
	[ "$(sql "$T/A/users.db" 'SELECT email FROM users WHERE uid = 3')" = direct ]
	[ "$(cat "$T/B/resources/direct")" = direct ]
}

@test "a new table reaches the datastore and a database that does not exist yet" {
	fill A
	start_datastore
	rounds A
	sql "$T/A/webstore.db" "CREATE TABLE notes(id INTEGER PRIMARY KEY, text); INSERT INTO notes VALUES(1, 'n')"
	rounds A
	[ "$(sql "$T/datastore/webstore.db" 'SELECT text FROM notes')" = n ]
	rounds B
	assert_same
	[ "$(dump_schema "$T/A/webstore.db")" = "$(dump_schema "$T/B/webstore.db")" ]
}

@test "further stores, configured by [store] sections, go round too" {
	for name in datastore A B; do
		path=Path
		[ $name != datastore ] || path=Datastore-Path
		write_config $name '[store "wiki"]' Kind=files "$path=$T/$name/wiki" '[store "shop.db"]' Kind=sqlite "$path=$T/$name/shop.db"
	done
	fill A
	mkdir "$T/A/wiki" && echo page >"$T/A/wiki/page"
	sql "$T/A/shop.db" "CREATE TABLE orders(id INTEGER PRIMARY KEY, what); INSERT INTO orders VALUES(1, 'tea')"
	start_all
	wait_for 'the wiki' test -f "$T/B/wiki/page"
	wait_same
	wait_for 'the shop' test "$(dump_db "$T/A/shop.db")" = "$(dump_db "$T/datastore/shop.db")"
	[ "$(sql "$T/B/shop.db" 'SELECT what FROM orders')" = tea ]
}
