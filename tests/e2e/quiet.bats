#!/usr/bin/env bats
# Nothing changes: one request a round, no write to disk, nothing hashed.

# shellcheck disable=SC2154 # keys of PID

load lib

quiet_rounds() {
	[ "$(status_of A .rounds)" -ge "$1" ] && [ "$(status_of B .rounds)" -ge "$1" ]
}

# NAME: everything that a daemon did so far which costs a disk something
efforts() {
	if [[ $1 == datastore ]]; then
		status_of datastore .seq
	else
		status_of "$1" '[.stores[] | .hashed, .rows_read] | tostring'
	fi
	grep -E '^write_bytes' "/proc/${PID[$1]}/io"
	find "$T/$1" -printf '%P %s %T@ %C@\n' | LC_ALL=C sort
}

begin_quiet() {
	fill A
	start_all
	wait_same
	sleep 2.5 # what was changed within 2 s of a scan is hashed once more
	rounds=$(status_of A .rounds)
	wait_for 'it is quiet' quiet_rounds $((rounds + 4))
}

@test "a quiet round: one request, no write, nothing read or hashed again" {
	begin_quiet
	for name in datastore A B; do efforts $name >"$T/$name.efforts"; done
	rounds=$(status_of A .rounds)
	wait_for 'five more rounds' quiet_rounds $((rounds + 5))
	for name in datastore A B; do
		efforts $name | diff "$T/$name.efforts" - || fail "$name did something"
	done
	for name in A B; do
		[ "$(status_of $name .last_round.requests)" -eq 1 ]
		[ "$(status_of $name '.last_round | .sent + .received')" -lt 500 ]
		status_of $name .in_sync
	done
}

@test "a quiet round under strace: no file is written, made, renamed, removed or synced" {
	begin_quiet
	for name in datastore A B; do
		strace -f -qq -y -e trace=write,pwrite64,writev,pwritev,fsync,fdatasync,syncfs,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,chmod,fchmod,link,linkat,utimensat \
			-o "$T/$name.strace" -p "${PID[$name]}" 3>&- 2>"$T/$name.strace-says" &
		PID[strace-$name]=$!
		wait_for 'strace is attached' grep -q '^TracerPid:.*[1-9]' "/proc/${PID[$name]}/status" || skip "strace may not attach here: $(cat "$T/$name.strace-says")"
	done
	rounds=$(status_of A .rounds)
	wait_for 'four more rounds' quiet_rounds $((rounds + 4))
	for name in datastore A B; do
		stop strace-$name INT || true
		# sockets, pipes and eventfds are no files
		grep -vE '^[0-9]+ +(write|writev)\([0-9]+<(TCP|socket|pipe|anon_inode)|^[0-9]+ +<\.\.\.|^[0-9]+ +(---|\+\+\+)' "$T/$name.strace" >"$T/$name.written" || true
		[ ! -s "$T/$name.written" ] || fail "$name: $(head -n 20 "$T/$name.written")"
	done
}

@test "after one change it becomes quiet again" {
	begin_quiet
	echo change >"$T/A/resources/change"
	sql "$T/A/users.db" "UPDATE users SET email = 'change' WHERE uid = 1"
	wait_same
	sleep 2.5
	rounds=$(status_of A .rounds)
	wait_for 'it is quiet' quiet_rounds $((rounds + 4))
	for name in datastore A B; do efforts $name >"$T/$name.efforts"; done
	rounds=$(status_of A .rounds)
	wait_for 'three more rounds' quiet_rounds $((rounds + 3))
	for name in datastore A B; do
		efforts $name | diff "$T/$name.efforts" - || fail "$name did something"
	done
}

@test "after a checkpoint of the application nothing is read again and again" {
	begin_quiet
	for name in datastore A B; do sql "$T/$name/users.db" 'PRAGMA wal_checkpoint' >/dev/null; done
	rounds=$(status_of A .rounds)
	wait_for 'it is quiet' quiet_rounds $((rounds + 4))
	for name in datastore A B; do efforts $name >"$T/$name.efforts"; done
	rounds=$(status_of A .rounds)
	wait_for 'three more rounds' quiet_rounds $((rounds + 3))
	for name in datastore A B; do
		efforts $name | diff "$T/$name.efforts" - || fail "$name did something"
	done
}
