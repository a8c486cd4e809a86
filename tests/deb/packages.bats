#!/usr/bin/env bats
# The Debian packages in $DEB: lintian, what lies where, and on a copy of this machine: installed, started as the unit starts it, purged.

bats_require_minimum_version 1.5.0

setup() {
	cd "$(dirname "$BATS_TEST_FILENAME")/../.." || exit
	T=$BATS_TEST_TMPDIR
	mapfile -t PACKAGES < <(sed -n 's/^Package: //p' debian/control)
	VERSION=$(sed -n 's/.*SR_VERSION "\(.*\)".*/\1/p' lib/base/version.h)
}

teardown() {
	[[ -z ${ROOT:-} ]] || umount -R "$ROOT/root" 2>/dev/null || true
	[[ -z ${ROOT:-} ]] || { umount "$ROOT" && rmdir "$ROOT"; }
}

deb() { # PACKAGE
	echo "$DEB/$1_${VERSION}_$(dpkg --print-architecture).deb"
}

@test "the packages have the version of the programs, and the programs of cmd/ are each in one" {
	local package program
	[ "$(dpkg-parsechangelog -S Version)" = "$VERSION" ]
	for package in "${PACKAGES[@]}"; do dpkg-deb -c "$(deb "$package")" | awk '{ print $6 }' >>"$T/files"; done
	for program in cmd/*.c; do
		program=$(basename "$program" .c)
		[ "$(grep -cE "^\./usr/s?bin/$program\$" "$T/files")" = 1 ] || { echo "$program"; return 1; }
		[ "$(grep -cE "^\./usr/share/man/man[18]/$program\.[18]\.gz\$" "$T/files")" = 1 ] || { echo "page of $program"; return 1; }
	done
	[ "$(grep -c '^\./lib/systemd/system/.*service$' "$T/files")" = "$(find service -name '*.service.in' | wc -l)" ]
	dpkg-deb -I "$(deb sameroot-common)" conffiles | grep -qx /etc/sameroot/sameroot.conf
	dpkg-deb -I "$(deb sameroot-balancer)" conffiles | grep -qx /etc/sameroot/loadbalancer.conf
}

@test "lintian has no errors or warnings, as a normal user" {
	command -v lintian >/dev/null || skip 'lintian is not installed'
	local as=()
	cp "$DEB"/sameroot* "$T/"
	if [ "$(id -u)" -eq 0 ]; then
		chmod 755 "$BATS_RUN_TMPDIR" && chown -R nobody "$T"
		as=(setpriv --reuid nobody --regid nogroup --clear-groups env "HOME=$T" "TMPDIR=$T")
	fi
	run "${as[@]}" lintian --fail-on error,warning "$T"/*.changes
	[ "$status" -eq 0 ]
	[ -z "$output" ] || { echo "$output"; return 1; }
}

@test "built without git: what make dist packs gives the same files" {
	git rev-parse --git-dir >/dev/null 2>&1 || skip 'this is no checkout'
	local package
	git archive HEAD | tar -x -C "$T"
	"$T/scripts/deb" "$T/out"
	for package in "${PACKAGES[@]}"; do
		[ "$(dpkg-deb -c "$T/out/${package}_$VERSION"_*.deb | awk '{ print $1, $2, $6, $8 }')" = "$(dpkg-deb -c "$(deb "$package")" | awk '{ print $1, $2, $6, $8 }')" ]
	done
}

# A copy of this machine in memory, in which nothing of Sameroot is: ROOT/root
copy_of_this_machine() {
	[ "$(id -u)" -eq 0 ] || skip 'only root can install packages'
	ROOT=$(mktemp -d "${TMPDIR:-/tmp}/sameroot-deb.XXXXXX")
	mount -t tmpfs none "$ROOT" || { rmdir "$ROOT"; ROOT=; skip 'no right to mount'; }
	mkdir "$ROOT"/{up,work,root}
	mount -t overlay none -o "lowerdir=/,upperdir=$ROOT/up,workdir=$ROOT/work" "$ROOT/root" || skip 'no overlay of this machine'
	mount -t proc proc "$ROOT/root/proc"
	mount --rbind /dev "$ROOT/root/dev" && mount --make-rslave "$ROOT/root/dev"
	rm -rf "$ROOT/root/var/lib/sameroot" "$ROOT/root/etc/sameroot"
	mkdir -p "$ROOT/root/deb"
	cp "$DEB"/*.deb "$ROOT/root/deb/"
	rm -f "$ROOT/root/deb/"*dbgsym*
}

inside() {
	chroot "$ROOT/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive bash -eo pipefail -c "$1"
}

@test "installed: the user, the directories and the units are there; enabled and started as the unit says, the datastore is ready; purged" {
	local unit
	copy_of_this_machine
	inside 'dpkg -i /deb/*.deb' >"$T/dpkg" 2>&1 || { cat "$T/dpkg"; return 1; }
	[ "$(inside 'stat -c "%U %G %a" /var/lib/sameroot /etc/sameroot /etc/sameroot/sameroot.conf' | tr '\n' ' ')" = \
		'sameroot sameroot 755 root root 755 root root 644 ' ]
	[ "$(inside 'sameroot-datastore --check-config | grep -v ^# | sha256sum')" = "$(inside 'sameroot-datastore --check-config -c /dev/null | grep -v ^# | sha256sum')" ]
	[ "$(inside 'stat -c "%U %G %a" /etc/sameroot/loadbalancer.conf')" = 'root sameroot-lb 640' ]
	inside 'setpriv --reuid sameroot-lb --regid sameroot-lb --init-groups cat /etc/sameroot/loadbalancer.conf' | grep -q Control-Secret
	for unit in $(find service -name '*.service.in' -printf '%f\n' | sed 's/\.in$//'); do
		[ "$(inside "systemctl is-enabled $unit || true")" = disabled ]
		[ -z "$(inside "systemd-analyze verify --man=no $unit 2>&1 | grep sameroot || true")" ]
	done

	inside 'systemctl enable sameroot-datastore.service' 2>/dev/null
	[ "$(inside 'systemctl is-enabled sameroot-datastore.service')" = enabled ]
	# what the unit would do: its command, as its user, without capabilities
	inside 'unit=/lib/systemd/system/sameroot-datastore.service
		umask "$(sed -n s/^UMask=//p $unit)"
		echo Datastore-Port=0 >>/etc/sameroot/sameroot.conf # this machine may have one
		setpriv --reuid "$(sed -n s/^User=//p $unit)" --regid "$(sed -n s/^Group=//p $unit)" --init-groups --no-new-privs --bounding-set=-all \
			$(sed -n s/^ExecStart=//p $unit) >/log 2>&1 &
		for i in $(seq 300); do grep -q " ready: " /log && break; kill -0 $!; sleep 0.1; done
		url=$(sed -n "s/^listening on .*:/https:\/\/127.0.0.1:/p" /log)
		curl -fksS $url/readyz
		sameroot status
		kill $!
		wait $!' || { cat "$ROOT/root/log"; return 1; }
	[ -z "$(inside 'find /var/lib/sameroot ! -user sameroot')" ]
	[ "$(inside 'ls /var/lib/sameroot' | tr '\n' ' ')" = 'control-auth datastore-state datastore-users.db datastore-webstore.db resources ' ]
	# init has nothing to make beside it
	run inside 'sameroot init --datastore --yes --json --address localhost:9405 </dev/null'
	[ "$status" -eq 0 ]
	[[ $output != *'"made"'* ]]

	# what the cluster holds outlives the package; what is the package's does not
	inside 'dpkg -P $(dpkg-query -W -f "\${Package} " "sameroot-*") 2>&1' >"$T/purge" || { cat "$T/purge"; return 1; }
	inside 'test -e /var/lib/sameroot/datastore-users.db && test ! -e /etc/sameroot/sameroot.conf && test ! -e /usr/sbin/sameroot-datastore'
	[ ! -e "$ROOT/root/etc/systemd/system/multi-user.target.wants/sameroot-datastore.service" ]
}
