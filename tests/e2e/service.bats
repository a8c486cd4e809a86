#!/usr/bin/env bats
# Under a service manager: what the daemons tell it, by the real protocol; and that the units' filters let them do what they do.

# shellcheck disable=SC2034,SC2154 # lib.bash and bats know them

bats_require_minimum_version 1.5.0

load lib
load filters

# NAME ADDRESS: from now on what is started tells $T/NAME.told
manager() {
	touch "$T/$1.told"
	launch "manager-$1" python3 "$HERE/manager.py" "$2" "$T/$1.told"
	export NOTIFY_SOCKET=$2
}

told() { # NAME LINE
	grep -qxF -- "$2" "$T/$1.told"
}

told_like() { # NAME REGEX
	grep -qxE -- "$2" "$T/$1.told"
}

times_told() { # NAME LINE
	grep -cxF -- "$2" "$T/$1.told"
}

@test "the datastore tells its service manager: READY, STATUS, RELOADING, STOPPING" {
	manager datastore "$T/notify"
	edit_config datastore Shutdown-Timeout= Shutdown-Timeout=100
	start_datastore
	unset NOTIFY_SOCKET
	[ "$(head -n 1 "$T/datastore.told")" = READY=1 ]
	wait_for 'its status' told datastore STATUS=ready

	kill -HUP "${PID[datastore]}"
	wait_for 'a reload' eval '[ "$(times_told datastore READY=1)" = 2 ]'
	told_like datastore 'RELOADING=1 MONOTONIC_USEC=[0-9]+'
	echo Nonsense=1 >>"$T/datastore.conf" # refused; and the reload is over all the same
	kill -HUP "${PID[datastore]}"
	wait_for 'another one' eval '[ "$(times_told datastore READY=1)" = 3 ]'
	sed -i '$d' "$T/datastore.conf"

	# a store that is lost: which, and where to look
	mv "$T/datastore/users.db" "$T/away"
	wait_for 'the pause' told datastore 'STATUS=ready; users.db is paused: see `sameroot status`'
	mv "$T/away" "$T/datastore/users.db"
	stop datastore
	grep -qx 'STOPPING=1 EXTEND_TIMEOUT_USEC=115000000' "$T/datastore.told" # Shutdown-Timeout and a little
	[ "$(grep -c ^STATUS= "$T/datastore.told")" -le 8 ] # when it changes, not every second
}

@test "the sync daemon tells it, at an abstract socket, without a datastore, and once it is in sync" {
	DATASTORE_PORT=$(free_port)
	edit_config datastore Datastore-Port= "Datastore-Port=$DATASTORE_PORT"
	fill A
	echo 0123456789abcdef0123456789abcdef >"$T/control-auth"
	chmod 600 "$T/control-auth"
	manager A "@sameroot-test-$$-$BATS_TEST_NUMBER"
	start_webserver A
	unset NOTIFY_SOCKET
	wait_for 'it waits' told_like A 'STATUS=waiting for the datastore: .*'
	[ "$(head -n 1 "$T/A.told")" = READY=1 ]
	start_datastore
	wait_for 'it is in sync' told A 'STATUS=in sync'
	kill -HUP "${PID[A]}"
	wait_for 'a reload' eval '[ "$(times_told A READY=1)" = 2 ]'
	told_like A 'RELOADING=1 MONOTONIC_USEC=[0-9]+'
	sync_now A
	sync_now A
	[ "$(times_told A 'STATUS=in sync')" = 1 ] # of each thing once
	stop A
	grep -qx 'STOPPING=1 EXTEND_TIMEOUT_USEC=18000000' "$T/A.told" # Shutdown-Timeout and a little
}

@test "a manager that is gone, or an address that is none, keeps nobody from working" {
	fill A
	export NOTIFY_SOCKET
	for NOTIFY_SOCKET in "$T/nobody" relative / "/$(printf 'x%.0s' {1..200})"; do
		start_datastore
		rounds A
		stop datastore
	done
}

@test "what the daemons do is what their units let them" {
	local unit name
	command -v systemd-analyze >/dev/null || skip 'systemd-analyze is not installed'
	strace -o "$T/true.trace" true 2>/dev/null || skip 'strace may not trace here'
	allowed_by "$HERE/../../service/sameroot-sync.service.in" >"$T/allowed"
	grep -qx fchown "$T/allowed"
	[ "$(wc -l <"$T/allowed")" -gt 200 ]
	run ! grep -qxE 'reboot|setuid|mount|ioprio_set' "$T/allowed"

	fill A
	TLS_OFF=false
	for name in datastore A; do sed -i 's/^\(Datastore-Insecure-Disable-TLS\|Insecure-Disable-HTTPS\)=.*/\1=false/' "$T/$name.conf"; done
	launch datastore strace -f -qq -o "$T/datastore.trace" "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	DATASTORE_PORT=${URL[datastore]##*:}
	edit_config A Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
	launch A strace -f -qq -o "$T/A.trace" "$BIN/sameroot-sync" -c "$T/A.conf"
	wait_for 'a pull and a push' same_content datastore A
	echo more >"$T/A/resources/more"
	rm "$T/A/resources/hosts.csv"
	wait_for 'another one' same_content datastore A
	# strace ends with what it traces
	for name in datastore A; do
		pkill -TERM -P "${PID[$name]}"
		wait_for "$name ends" gone "${PID[$name]}"
		unset "PID[$name]"
	done
	for name in datastore A; do
		unit=$HERE/../../service/sameroot-$([[ $name == A ]] && echo sync || echo datastore).service.in
		keeps_to "$unit" "$T/$name.trace"
	done
}
