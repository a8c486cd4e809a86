#!/usr/bin/env bats
# `sameroot init` and `join` on a machine with systemd, as root: the drop-in of the unit, and that what is made is the daemon's user's.

# shellcheck disable=SC2034,SC2154 # lib.bash and bats know them

bats_require_minimum_version 1.5.0

load lib
load filters

# A machine below $T, as init sees one by where its configuration lies; others than root may look into it.
setup() {
	T=$(mktemp -d "${TMPDIR:-/tmp}/sameroot-units.XXXXXX")
	chmod 755 "$T"
	mkdir -p "$T/etc/sameroot" "$T/etc/systemd/system" "$T/var"
	UNITS=$T/etc/systemd/system
}

eval "lib_teardown() $(declare -f teardown | tail -n +2)"

teardown() {
	lib_teardown || { rm -rf "$T"; return 1; }
	rm -rf "$T"
}

# LINE...: the machine's configuration
configure() {
	printf '%s\n' "$@" >"$T/etc/sameroot/sameroot.conf"
}

tool() {
	"$BIN/sameroot" "$@" -c "$T/etc/sameroot/sameroot.conf" </dev/null
}

paths() { # FILE
	sed -n 's/^ReadWritePaths=//p' "$1" | sort | tr '\n' ' '
}

webserver() { # DIRECTORY OF THE DATABASES
	configure "User-DB-Path=$1/users.db" "Web-Store-Path=$1/webstore.db" "Webserver-Resource-Store=$T/files" "State-Directory=$T/state" \
		"Control-Auth-File=$T/control-auth"
}

@test "init writes where stores lie into the unit's drop-in, follows them, and systemd takes it" {
	dropin=$UNITS/sameroot-sync.service.d/stores.conf
	webserver "$T/my app"
	tool init --webserver --yes >"$T/said"
	grep -q "^made *unit sameroot-sync.service *$dropin\$" "$T/said"
	grep -q 'systemctl daemon-reload' "$T/said"
	[ "$(paths "$dropin")" = "\"-$T/files\" \"-$T/my app\" \"-$T/state\" " ]
	[ "$(stat -c %a "$dropin")" = 644 ]
	[ ! -e "$UNITS/sameroot-datastore.service.d" ]

	# again: nothing to do, nothing to say
	tool init --webserver --yes >"$T/said"
	grep -q '^there *unit sameroot-sync.service' "$T/said"
	run ! grep -q daemon-reload "$T/said"

	# paths that change: asked about, then it follows
	webserver "$T/other"
	mkdir "$T/other"
	cp "$T/my app"/*.db "$T/other/"
	run tool init --webserver
	[ "$status" -eq 64 ]
	[[ $output == *'to update  unit sameroot-sync.service'* ]]
	tool init --webserver --yes --json >"$T/said"
	[ "$(jq -r '.items[] | select(.what == "unit") | .is' "$T/said")" = updated ]
	[ "$(paths "$dropin")" = "\"-$T/files\" \"-$T/other\" \"-$T/state\" " ]

	if command -v systemd-analyze >/dev/null; then
		sed "s,@sbindir@,$BIN," "$HERE/../../service"/sameroot-sync.service.in >"$UNITS/sameroot-sync.service"
		run systemd-analyze verify --man=no "$UNITS/sameroot-sync.service"
		[ "$status" -eq 0 ]
		[[ $output != *sameroot* ]]
		echo ReadWritePaths=relative >>"$dropin"
		run systemd-analyze verify --man=no "$UNITS/sameroot-sync.service"
		[[ $output == *stores.conf* ]] # it does look there
	fi
}

@test "a drop-in that is not needed any more is removed; without systemd, or for another configuration, there is none" {
	[ -w /var/lib ] && [ ! -e /var/lib/sameroot ] || skip 'there is a Sameroot here, or no right to make one'
	unshare -m true 2>/dev/null || skip 'no right to make namespaces'
	dropin=$UNITS/sameroot-datastore.service.d/stores.conf
	configure "Datastore-Resource-Store=$T/files"
	unshare -m bash -c "mount --make-rprivate / && mount -t tmpfs none /var/lib && '$BIN/sameroot' init --datastore --yes -c '$T/etc/sameroot/sameroot.conf' && ls -ld /var/lib/sameroot" >"$T/said" </dev/null
	[ "$(paths "$dropin")" = "\"-$T/files\" " ]
	configure ''
	unshare -m bash -c "mount --make-rprivate / && mount -t tmpfs none /var/lib && '$BIN/sameroot' init --datastore --yes -c '$T/etc/sameroot/sameroot.conf'" >"$T/said" </dev/null
	grep -q '^updated *unit sameroot-datastore.service' "$T/said"
	[ ! -e "$dropin" ]

	webserver "$T/app"
	cp "$T/etc/sameroot/sameroot.conf" "$T/mine.conf"
	"$BIN/sameroot" init --webserver --yes -c "$T/mine.conf" </dev/null >"$T/said"
	run ! grep -q ' unit ' "$T/said"
	rm -r "$T/etc/systemd"
	tool init --webserver --yes >"$T/said"
	run ! grep -q ' unit ' "$T/said"
	[ ! -e "$T/etc/systemd" ]
}

@test "init as root: what the datastore has to write is its user's, and it runs as that user" {
	[ "$(id -u)" -eq 0 ] || skip 'only root can give files away'
	cp "$BIN/sameroot-datastore" "$T/" # where that user can reach it
	install -d -o 12345 -g 12346 "$T/var/sameroot"
	configure "Datastore-User-DB-Path=$T/var/sameroot/users.db" "Datastore-Web-Store-Path=$T/elsewhere/deep/webstore.db" \
		"Datastore-Resource-Store=$T/var/sameroot/files/datastore" "Datastore-State-Directory=$T/var/sameroot/state" \
		"Control-Auth-File=$T/var/sameroot/control-auth" Datastore-Listen-Address=127.0.0.1 "Datastore-Port=$(free_port)"
	tool init --datastore --yes >"$T/said"
	[ -z "$(find "$T/var/sameroot" "$T/elsewhere" ! \( -user 12345 -group 12346 \))" ] || { find "$T" -ls; return 1; }
	[ "$(stat -c %u "$T/etc/sameroot/sameroot.conf" "$UNITS/sameroot-datastore.service.d/stores.conf" | tr '\n' ' ')" = '0 0 ' ]

	launch datastore setpriv --reuid 12345 --regid 12346 --clear-groups --no-new-privs --bounding-set=-all \
		"$T/sameroot-datastore" -c "$T/etc/sameroot/sameroot.conf"
	URL[datastore]=${URL[datastore]/http:/https:}
	curl() { command curl -k "$@"; }
	wait_for 'it is ready' ready datastore
	[ "$(stat -c %u "/proc/${PID[datastore]}")" = 12345 ]
	stop datastore
	[ -z "$(find "$T/var/sameroot" "$T/elsewhere" ! -user 12345)" ]
}

# What the unit of the balancer lets it and HAProxy do, as a user without rights: see service.bats
@test "the balancer and its HAProxy do what their unit lets them, as a user of their own; and the service manager is told" {
	local as=()
	command -v haproxy >/dev/null || skip 'haproxy is not installed'
	if [ "$(id -u)" -eq 0 ]; then
		as=(setpriv --reuid 12345 --regid 12346 --clear-groups --no-new-privs --bounding-set=-all)
		install -d -o 12345 -g 12346 "$T/lb"
	fi
	cp "$BIN/sameroot-lb" "$T/"
	chmod 777 "$T"
	port=$(free_port)
	printf '%s\n' '[Global]' Disable-Datastore=true Bind-Addr=127.0.0.1 "Web-Port=$port" "State-Directory=$T/lb" '[Override "a"]' \
		"Webserver=127.0.0.1:$(free_port)" Insecure-Disable-HTTPS=true >"$T/lb.conf"
	launch manager python3 "$HERE/manager.py" "@sameroot-units-$$" "$T/told.lb"
	export NOTIFY_SOCKET=@sameroot-units-$$
	strace -o "$T/true.trace" true 2>/dev/null && as+=(strace -f -qq -o "$T/lb.trace")
	install -d -m 700 "$T/closed" && cd "$T/closed" # to the user, as root's home is
	launch lb "${as[@]}" "$T/sameroot-lb" -c "$T/lb.conf"
	unset NOTIFY_SOCKET
	wait_for 'it is ready' grep -qx READY=1 "$T/told.lb"
	wait_for 'its status' grep -qx 'STATUS=HAProxy runs with 1 webserver' "$T/told.lb"
	[ "$(curl -ksS -o /dev/null -w '%{http_code}' "https://127.0.0.1:$port/")" = 503 ]
	daemon=${PID[lb]}
	[[ ! -e $T/lb.trace ]] || daemon=$(pgrep -P "$daemon")
	kill -HUP "$daemon"
	wait_for 'a reload' eval '[ "$(grep -cx READY=1 "$T/told.lb")" = 2 ]'
	kill "$daemon"
	wait_for 'it ends' gone "${PID[lb]}"
	unset 'PID[lb]'
	grep -qx 'STOPPING=1 EXTEND_TIMEOUT_USEC=45000000' "$T/told.lb" # Shutdown-Timeout and a little
	[[ -e $T/lb.trace ]] || skip 'strace may not trace here'
	command -v systemd-analyze >/dev/null || skip 'systemd-analyze is not installed'
	grep -q haproxy "$T/lb.trace"
	keeps_to "$HERE/../../service/sameroot-lb.service.in" "$T/lb.trace"
}

@test "without a list of webservers the balancer is ready all the same, and says what it waits for" {
	command -v haproxy >/dev/null || skip 'haproxy is not installed'
	printf '%s\n' '[Global]' "Datastore=127.0.0.1:$(free_port)" Control-Secret=0123456789abcdef0123456789abcdef Bind-Addr=127.0.0.1 \
		"Web-Port=$(free_port)" "State-Directory=$T/lb" >"$T/lb.conf"
	launch manager python3 "$HERE/manager.py" "$T/notify" "$T/told.lb"
	NOTIFY_SOCKET=$T/notify "$BIN/sameroot-lb" -c "$T/lb.conf" </dev/null >"$T/lb.log" 2>&1 3>&- &
	PID[lb]=$!
	wait_for 'it is ready' grep -qx READY=1 "$T/told.lb"
	[ "$(head -n 1 "$T/told.lb")" = "STATUS=waiting for the datastore's list of webservers" ]
	stop lb
}
