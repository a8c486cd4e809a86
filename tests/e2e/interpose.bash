# A round that crashes at a chosen step, and the copy of everything from which it is played again.
# shellcheck shell=bash disable=SC2034,SC2154 # T, BIN: lib.bash

# A library that sits between a program and what it does to files: fsync(), fdatasync(), syncfs(), renameat2(), unlinkat(), mkdirat().
# Each is a step, "sync PATH", "rename PATH", ...  The environment says what happens:
#   CRASH_AT=N       the Nth step in which CRASH_FILE occurs ("": any) is the last thing that the process does
#   HOOK_AT=N        the Nth step in which HOOK_FILE occurs is followed by the shell command HOOK
#   RENAME_FAILS=X   a rename to or from a name that ends with X fails with EIO
# STEPS_TO=FILE gets every step, a line each.
interpose() {
	[[ ! -e $T/interpose.so ]] || return 0
	cat >"$T/interpose.c" <<-'END'
		#define _GNU_SOURCE
		#include <dlfcn.h>
		#include <errno.h>
		#include <fcntl.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <string.h>
		#include <sys/stat.h>
		#include <unistd.h>

		#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

		static int ends(const char *text, const char *end)
		{
			size_t n = strlen(text), m = strlen(end);

			return n >= m && !strcmp(text + n - m, end);
		}

		static int counts(const char *path, const char *at, const char *file, int *count)
		{
			const char *n = getenv(at), *part = getenv(file);

			return n && strstr(path, part ? part : "") && ++*count == atoi(n);
		}

		static int step(const char *what, int fd, const char *name, int rc)
		{
			static int crash, hook;
			char link[64], dir[4096] = "", path[8192];
			const char *to = getenv("STEPS_TO"), *command = getenv("HOOK");
			int old = errno, out;

			snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
			if (rc || (fd >= 0 && readlink(link, dir, sizeof dir - 1) < 0))
				return rc;
			snprintf(path, sizeof path, "%s %s%s%s", what, dir, *name ? "/" : "", name);
			if (to && (out = open(to, O_WRONLY | O_CREAT | O_APPEND, 0600)) >= 0) {
				dprintf(out, "%s\n", path);
				close(out);
			}
			if (counts(path, "CRASH_AT", "CRASH_FILE", &crash))
				_exit(99);
			if (command && counts(path, "HOOK_AT", "HOOK_FILE", &hook)) {
				unsetenv("LD_PRELOAD");
				if (system(command))
					_exit(98);
			}
			errno = old;
			return rc;
		}

		int fsync(int fd)
		{
			return step("sync", fd, "", REAL(fsync)(fd));
		}

		int fdatasync(int fd)
		{
			return step("sync", fd, "", REAL(fdatasync)(fd));
		}

		int syncfs(int fd)
		{
			return step("sync", fd, "", REAL(syncfs)(fd));
		}

		int unlinkat(int dir, const char *name, int flags)
		{
			return step("unlink", dir, name, REAL(unlinkat)(dir, name, flags));
		}

		int mkdirat(int dir, const char *name, mode_t mode)
		{
			return step("mkdir", dir, name, REAL(mkdirat)(dir, name, mode));
		}

		int renameat2(int from, const char *a, int to, const char *b, unsigned flags)
		{
			const char *end = getenv("RENAME_FAILS");

			if (end && (ends(a, end) || ends(b, end))) {
				errno = EIO;
				return -1;
			}
			return step("rename", to, b, REAL(renameat2)(from, a, to, b, flags));
		}
	END
	cc -shared -fPIC -O1 -o "$T/interpose.so" "$T/interpose.c" -ldl
	# A sanitizer's own library has to come first.
	PRELOAD="$(ldd "$BIN/sameroot-sync" | awk '/lib(asan|ubsan|tsan)/ { printf "%s ", $3 }')$T/interpose.so"
}

# NAME VARIABLE=VALUE...: a round of NAME under the library
round_with() {
	local name=$1 status=0
	shift
	interpose
	[[ -z ${DATASTORE_PORT:-} ]] || edit_config "$name" Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
	env LD_PRELOAD="$PRELOAD" "$@" "$BIN/sameroot-sync" --once -c "$T/$name.conf" >"$T/$name.once" 2>&1 3>&- || status=$?
	cat "$T/$name.once" >>"$T/$name.log"
	return "$status"
}

# All directories as they are now, and back.
keep_copy() {
	for name in A B datastore; do
		rm -rf "$T/$name.copy"
		cp -a "$T/$name" "$T/$name.copy"
	done
}

# In place: a database of another inode would be another copy.
back_to_copy() {
	for name in A B datastore; do
		find "$T/$name" -mindepth 1 ! -name '*.db' ! -path "$T/$name/resources" ! -path "$T/$name/state" -delete
		cp -a "$T/$name.copy/." "$T/$name"
	done
}
