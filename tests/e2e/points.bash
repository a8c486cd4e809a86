# points.bash - for the tests that cut one round short at each of its steps: a round with a bit of everything in it.  After lib.bash and interpose.bash.

# shellcheck disable=SC2154,SC2034,SC2086 # lib.bash has them, or reads them

# A's application does a bit of everything.
busy_day() {
	sql "$T/A/users.db" "UPDATE users SET email = 'day' WHERE uid = 2; DELETE FROM members WHERE uid = 3;
		INSERT INTO users VALUES(30, 'Dora', NULL, 0); UPDATE groups SET name = 'x' WHERE gid = 1;
		UPDATE groups SET name = 'staff' WHERE gid = 2; UPDATE groups SET name = 'guests' WHERE gid = 1"
	sql "$T/A/webstore.db" "DELETE FROM dashboards WHERE id = 'd-1'; INSERT INTO history VALUES(x'0009', 1, 'day')"
	echo day >"$T/A/resources/hosts.csv"
	chmod 600 "$T/A/resources/hosts.csv"
	rm "$T/A/resources/img/logo"
	rmdir "$T/A/resources/img" "$T/A/resources/empty"
	echo now-a-file >"$T/A/resources/img"
	mkdir -p "$T/A/resources/deep/er"
	echo day >"$T/A/resources/deep/er/file"
	snapshot A
	cp "$T/A.snapshot" "$T/wanted"
}

crashes() { # COMMAND...: once for each step at which what it starts may crash, $n
	interpose
	keep_copy
	for ((n = 1; n < 300; n++)); do
		: >"$T/steps"
		"$@"
		[ "$(wc -l <"$T/steps")" -ge "$n" ] || break
		back_to_copy
	done
	echo "$n points" >&3
	[ "$n" -gt 5 ]
}

as_wanted() {
	for name in datastore A B; do
		snapshot $name
		cmp -s "$T/wanted" "$T/$name.snapshot" || fail "crash at $n: $name differs: $(diff -a "$T/wanted" "$T/$name.snapshot" | head -n 20)" || return 1
	done
	[ "$(conflicts A length)$(conflicts B length)$(conflicts datastore length)" = 000 ] || fail "crash at $n: conflicts $(conflicts A)$(conflicts B)$(conflicts datastore)"
}
