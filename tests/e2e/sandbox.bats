#!/usr/bin/env bats
# Daemons that have given up the rights they do not need: what they are, and what an operator does with them all the same.
# That Shutdown-Hook is not confined, and HAProxy not hindered, is shown by shutdown.bats and balancer.bats.

bats_require_minimum_version 1.5.0

load lib

# NAME KEY: of /proc/PID/status
of_process() {
	awk -v key="$2:" '$1 == key { print $2 }' "/proc/${PID[$1]}/status"
}

logged() { # NAME TEXT
	grep -qF -- "$2" "$T/$1.log"
}

skip_without_landlock() {
	logged datastore 'sandbox: Landlock' || skip "$(grep -o 'no Landlock ([^)]*)' "$T/datastore.log")"
}

@test "both daemons are confined, a store that was moved away and back is reached, and a path elsewhere needs a restart" {
	local name
	fill A
	start_datastore
	start_webserver A
	wait_same datastore A
	for name in datastore A; do
		[ "$(of_process $name NoNewPrivs)" = 1 ]
		[ "$(of_process $name Seccomp)" = 2 ]
		[ "$(id -u)" != 0 ] || [ "$(of_process $name CapEff)" = 000000000000000b ]
	done
	skip_without_landlock

	# A store that is another directory than the one with which the daemon began
	mv "$T/A/resources" "$T/A/away"
	wait_for 'it is missed' eval '[ "$(status_of A ".stores[] | select(.name == \"resources\") | .state")" = paused ]'
	cp -a "$T/A/away" "$T/A/resources"
	echo more >"$T/A/resources/more"
	wait_for 'it is back' cmp -s "$T/A/resources/more" "$T/datastore/resources/more"

	# A secret in a directory of which nothing was said at the start
	elsewhere=$BATS_FILE_TMPDIR
	cp "$T/control-auth" "$elsewhere/auth"
	edit_config datastore Control-Auth-File= "Control-Auth-File=$elsewhere/auth"
	kill -HUP "${PID[datastore]}"
	wait_for 'the reload' logged datastore 'reload: secrets, '
	logged datastore "reload: Control-Auth-File: $elsewhere/auth is out of reach of this process since its start (Sandbox): restart the daemon to take it"
	logged datastore 'reload: the secrets of before are kept'
	stop datastore
	start_datastore
	[ "$(api datastore /api/tree -o /dev/null -w '%{http_code}')" = 200 ]

	# Without any of it
	stop A
	write_config A Sandbox=false
	start_webserver A
	logged A 'sandbox: none (Sandbox=false)'
	[ "$(of_process A Seccomp)" = 0 ]
	stop A
}
