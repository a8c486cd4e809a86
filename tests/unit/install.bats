#!/usr/bin/env bats
# What `make install` puts where; what systemd's own tools say of the units, the user and the directories; the completions and --help.

# shellcheck disable=SC2030,SC2031 # each test runs in a shell of its own

bats_require_minimum_version 1.5.0

PAGES='man/*.[1578]'

setup_file() {
	cd "$SAMEROOT_SOURCE" || exit
	install_into "$BATS_FILE_TMPDIR/root" /opt/sr
}

setup() {
	cd "$SAMEROOT_SOURCE" || exit
	T=$BATS_TEST_TMPDIR
	ROOT=$BATS_FILE_TMPDIR/root
}

# DESTDIR PREFIX [TARGET]: as a make of its own, of the build that is tested
install_into() {
	local san=
	[[ $BUILD != */san-* ]] || san=${BUILD##*/san-}
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -s -j1 -C "$SAMEROOT_SOURCE" "${3:-install}" B="$BUILD" SAN="$san" DESTDIR="$1" PREFIX="$2" >"$BATS_FILE_TMPDIR/make.out" 2>&1 ||
		{ cat "$BATS_FILE_TMPDIR/make.out"; return 1; }
}

needs() { # PROGRAM
	command -v "$1" >/dev/null || skip "$1 is not installed"
}

# Units whose programs really lie where ExecStart says, for tools that look
installed_for_real() {
	[[ -d $BATS_FILE_TMPDIR/real ]] || install_into / "$BATS_FILE_TMPDIR/real"
	UNITS=("$BATS_FILE_TMPDIR/real/lib/systemd/system"/*.service)
	[ "${#UNITS[@]}" -ge 2 ]
}

programs() {
	local file
	for file in cmd/*.c; do basename "$file" .c; done
}

@test "make install: every program, page, unit and completion, with its mode; make uninstall takes them away" {
	local name page
	cd "$ROOT/opt/sr"
	for name in $(cd "$SAMEROOT_SOURCE" && programs); do
		case $name in
		sameroot | sameroot-restore) [ "$(stat -c %a "bin/$name")" = 755 ] ;;
		*) [ "$(stat -c %a "sbin/$name")" = 755 ] && [ "$(stat -c %a "lib/systemd/system/$name.service")" = 644 ] ;;
		esac || { echo "$name"; return 1; }
		[ -f "share/bash-completion/completions/$name" ] || { echo "no completion of $name"; return 1; }
	done
	for page in "$SAMEROOT_SOURCE"/$PAGES; do
		[ "$(stat -c %a "share/man/man${page##*.}/${page##*/}")" = 644 ] || { echo "$page"; return 1; }
	done
	for name in sameroot sameroot-lb; do [ -f lib/sysusers.d/$name.conf ] && [ -f lib/tmpfiles.d/$name.conf ]; done

	# nothing outside the prefix, nothing left of what is replaced, and the paths follow
	[ "$(ls -A "$ROOT")" = opt ]
	run ! grep -rn '@[a-z]*@' "$ROOT" --include='*.service' --include='*.conf'
	[ "$(grep -h ^ExecStart= lib/systemd/system/*.service | grep -vc '^ExecStart=/opt/sr/sbin/')" = 0 ]

	install_into "$T/again" /usr
	[ -x "$T/again/usr/sbin/sameroot-datastore" ]
	cd "$SAMEROOT_SOURCE"
	install_into "$T/again" /usr uninstall
	[ -z "$(find "$T/again" ! -type d)" ]
}

@test "systemd-analyze security: at most 1.5, and 2.5 for the sync daemon" {
	local unit most
	needs systemd-analyze
	systemd-analyze security --help | grep -q -- --offline || skip 'systemd-analyze knows no --offline'
	for unit in "$ROOT"/opt/sr/lib/systemd/system/*.service; do
		most=15
		[[ $unit != *-sync.service ]] || most=25
		systemd-analyze security --no-pager --offline=true --threshold=$most "$unit" >"$T/said" || { tail -n 1 "$T/said"; return 1; }
		grep -q 'Overall exposure level' "$T/said"
	done
}

@test "systemd-analyze verify has nothing to say" {
	needs systemd-analyze
	installed_for_real
	MANPATH=$BATS_FILE_TMPDIR/real/share/man run systemd-analyze verify --man="$(command -v man >/dev/null && echo yes || echo no)" "${UNITS[@]}"
	# of other units of this machine it may complain
	[ -z "$(grep -i sameroot <<<"$output")" ] || { echo "$output"; return 1; }
	[ "$status" -eq 0 ]
	sed -i s/ExecStart=/ExecStrt=/ "${UNITS[0]}"
	run systemd-analyze verify --man=no "${UNITS[0]}"
	[ "$status" -ne 0 ] # it does look
	rm -r "$BATS_FILE_TMPDIR/real"
}

@test "the units: users, capabilities, what stops and restarts them" {
	local unit
	cd "$ROOT/opt/sr/lib/systemd/system"
	for unit in *.service; do
		grep -qx Type=notify "$unit"
		grep -qx TimeoutStopSec=45 "$unit" # Shutdown-Timeout is 30
		grep -qx "ExecReload=/bin/kill -HUP \$MAINPID" "$unit"
		grep -qx 'RestartPreventExitStatus=64 78' "$unit"
		grep -qx WantedBy=multi-user.target "$unit"
	done
	grep -qx User=sameroot sameroot-datastore.service
	grep -qx User=sameroot-lb sameroot-lb.service
	grep -qx CapabilityBoundingSet=CAP_NET_BIND_SERVICE sameroot-lb.service
	grep -qx KillMode=process sameroot-lb.service # HAProxy outlives it
	grep -qx CapabilityBoundingSet= sameroot-datastore.service
	grep -qx 'CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER' sameroot-sync.service
	run ! grep -q ^User= sameroot-sync.service
}

@test "sysusers and tmpfiles make the users and the directories" {
	needs systemd-sysusers
	needs systemd-tmpfiles
	cp -a "$ROOT" "$T/root"
	mkdir -p "$T/root/etc" "$T/root/usr"
	mv "$T/root/opt/sr/lib" "$T/root/usr/lib"
	systemd-sysusers --root="$T/root" --dry-run
	[ ! -e "$T/root/etc/passwd" ]
	[ "$(id -u)" -eq 0 ] || skip 'only root can make files of others'
	systemd-sysusers --root="$T/root"
	grep -q '^sameroot:x:.*:/var/lib/sameroot:.*nologin$' "$T/root/etc/passwd"
	grep -q '^sameroot-lb:x:.*nologin$' "$T/root/etc/passwd"
	install -D -m 644 service/loadbalancer.conf "$T/root/etc/sameroot/loadbalancer.conf"
	systemd-tmpfiles --root="$T/root" --create sameroot.conf sameroot-lb.conf
	uid=$(grep ^sameroot: "$T/root/etc/passwd" | cut -d: -f3)
	[ "$(stat -c '%a %u' "$T/root/var/lib/sameroot")" = "755 $uid" ]
	[ "$(stat -c '%a %u' "$T/root/var/lib/sameroot/resources")" = "755 $uid" ]
	[ "$(stat -c '%a %u' "$T/root/etc/sameroot")" = '755 0' ]
	gid=$(grep ^sameroot-lb: "$T/root/etc/group" | cut -d: -f3)
	[ "$(stat -c '%a %u %g' "$T/root/etc/sameroot/loadbalancer.conf")" = "640 0 $gid" ]
}

# PROGRAM FILE SET...: FILE sets nothing, and what is commented out in it is the default, but for keys that are SET to be named
check_example() {
	local program=$1 file=$2 line
	shift 2
	"$BIN/$program" --check-config -c "$file.defaults" | grep -v '^#' >"$T/defaults"
	[ "$(cat "$T/defaults")" = "$({ cat "$file" && printf '%s\n' "$@"; } >"$T/example.conf" && "$BIN/$program" --check-config -c "$T/example.conf" | grep -v '^#')" ]
	[ "$(grep -c '^#[A-Z]' "$file")" -ge 5 ]
	while read -r line; do
		grep -qixF "$line" "$T/defaults" || [[ $line == *= ]] || { echo "$line is not the default"; return 1; }
	done < <(sed -n 's/^#\([A-Z]\)/\1/p' "$file")
	sed 's/^#\([A-Z][^=]*=.\)/\1/' "$T/example.conf" >"$T/all.conf" # each key exists
	"$BIN/$program" --check-config -c "$T/all.conf" >"$T/said"
}

@test "the packages' configurations: what is commented out is the default, and nothing is set" {
	cp service/*.conf "$T/"
	: >"$T/sameroot.conf.defaults"
	check_example sameroot-datastore "$T/sameroot.conf"
	printf '[Global]\nDatastore=a\n' >"$T/loadbalancer.conf.defaults"
	check_example sameroot-lb "$T/loadbalancer.conf" Datastore=a
}

# COMMAND LINE: what completion offers for its last word, one a line
complete_line() {
	(
		PATH=$BIN:$PATH
		compopt() { :; }
		# shellcheck disable=SC1091
		. service/sameroot.bash
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_sameroot "$1" "${@: -1}"
		printf '%s\n' "${COMPREPLY[@]}"
	)
}

# PROGRAM [WORD...]: its long options, read in another way than the completion does
long_options() {
	"$@" --help | grep -oE '^  .{4}--[a-z-]+' | grep -oE -- '--.*' | sort
}

@test "completion offers just the commands and options of --help" {
	local name words
	for name in $(programs); do
		[ "$(complete_line "$name" -- | sort)" = "$(long_options "$BIN/$name")" ] || { echo "$name"; return 1; }
		grep -qE "^complete .* $name( |\$)" service/sameroot.bash || { echo "$name has no completion"; return 1; }
	done
	"$BIN/sameroot" --help | awk '/^$/ { n++ } n == 1 && /^  / { print substr($0, 3, 18) }' >"$T/commands"
	[ "$(wc -l <"$T/commands")" -ge 20 ]
	[ "$(complete_line sameroot '' | sort)" = "$(awk '{ print $1 }' "$T/commands" | sort -u)" ]
	while read -r -a words; do
		[ "$(complete_line sameroot "${words[@]}" -- | sort)" = "$(long_options "$BIN/sameroot" "${words[@]}")" ] || { echo "${words[*]}"; return 1; }
		[[ ${#words[@]} -eq 1 ]] || complete_line sameroot "${words[0]}" '' | grep -qx "${words[1]}"
	done <"$T/commands"

	# values: files where one is asked for, nothing where only a person knows
	cd "$T"
	touch here.conf
	cp "$SAMEROOT_SOURCE/service" -r .
	[ "$(complete_line sameroot-sync -c he)" = here.conf ]
	[ -z "$(complete_line sameroot log --since '')" ]
}
