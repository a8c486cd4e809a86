# machines.bash - machines of a test's own, and lib.bash's functions over TLS.  To be loaded after lib.bash.

HOLDERS=()

eval "lib_teardown() $(declare -f teardown | tail -n +2)"
eval "launch_plain() $(declare -f launch | tail -n +2)"

teardown() {
	local pid
	lib_teardown || return
	for pid in "${HOLDERS[@]}"; do kill "$pid"; done
}

launch() {
	launch_plain "$@" && URL[$1]=${URL[$1]/http:/https:}
}

curl() {
	command curl -k "$@"
}

# The pin of a certificate on stdin; of what NAME serves
pin_in() {
	openssl x509 -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64 | sed s,^,sha256//,
}

pin_of() {
	pin_in <"$T/$1/state/certificate.pem"
}

# A machine of a test's own: a network that has nothing but a loopback interface, and /var/lib and /etc with what a bare machine has.  A
# process holds it; MACHINE is the command to run something there.
make_machine() { # COMMAND...
	"$@" bash -c "mount --make-rprivate / && mount -t tmpfs none /var/lib && mount --bind '$T/etc' /etc && echo && exec sleep 1000" \
		>"$T/held" 3>&- &
	HOLDERS+=($!)
	wait_for 'a machine' test -s "$T/held"
	rm "$T/held"
	# shellcheck disable=SC2034 # the tests run it
	MACHINE=(nsenter -t "${HOLDERS[-1]}" -m -n --)
}
