# Sameroot.  `scripts/setup` installs what this needs; everything it makes lies in build/.
#
#   make                 the programs, build/bin/
#   make check           unit tests, fuzz corpora, end-to-end tests; T=PATTERN runs those whose name matches
#   make check SAN=address     the same with a sanitizer (address, undefined, thread), in build/san-address/
#   make sim SEEDS=1000  simulated histories, tests/sim/README.md; FROM=SEED the first of them
#   make sim-plants      bugs planted in a copy of the product, and how many histories it takes to find each
#   make fuzz MINUTES=1  fuzz with clang, so many minutes a target; T=PATTERN
#   make crash           stop the daemons at every step that writes, renames, syncs or sends, and by power cuts; SCENARIO='pull push' of some
#   make load            200 webservers and changes at one datastore for ten minutes; WEBSERVERS=n MINUTES=n CHANGES=n
#   make hostile-table   write tests/HOSTILE.md anew, which `make check` compares
#   make bench           beside rsync, syncthing and others (scripts/setup --bench): a table, build/bench/bench.json and a plot; QUICK=1 in three minutes;
#                        T=W3 one workload; tests/bench/run
#   make bench-scale     100,000 files and 1,000,000 rows first synchronised: time, memory, traffic; FILES=n ROWS=n
#   make bench-large     a file of 4 GiB that is cut on its way, and a directory of 100,000 entries; GIB=n ENTRIES=n
#   make bench-lock      how long an apply keeps an application from committing
#   make install DESTDIR= PREFIX=/usr/local UNITDIR=     programs, pages, systemd units, completions; make uninstall takes them away
#   make deb             Debian packages in build/deb/; make check-deb tries them
#   make lint demo soak dist clean

VERSION := $(shell sed -n 's/.*SR_VERSION "\(.*\)".*/\1/p' lib/base/version.h)
PACKAGES := libmicrohttpd gnutls libcurl libarchive sqlite3 libxxhash jansson inih libcrypt
PREFIX ?= /usr/local
SAN ?=
T ?=
MINUTES ?= 1
B := build$(if $(SAN),/san-$(SAN))

# As many jobs as there are processors, unless -j says otherwise.
MAKEFLAGS += -j$(shell nproc)

ifneq ($(filter-out clean lint dist deb,$(or $(MAKECMDGOALS),all)),)
ifneq ($(shell pkg-config --exists $(PACKAGES) cmocka && echo yes),yes)
$(error libraries are missing: run scripts/setup as root)
endif
PACKAGE_CFLAGS := $(shell pkg-config --cflags $(PACKAGES))
PACKAGE_LIBS := $(shell pkg-config --libs $(PACKAGES))
TEST_LIBS := $(shell pkg-config --libs cmocka)
endif

CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wmissing-prototypes -Wformat=2
ALL_CFLAGS := -std=c11 $(CFLAGS) $(WARNINGS) -fstack-protector-strong -pthread
ALL_CPPFLAGS := -D_GNU_SOURCE -I. $(PACKAGE_CFLAGS) $(CPPFLAGS)
ALL_LDFLAGS := -pthread -Wl,--as-needed -Wl,-z,relro,-z,now $(LDFLAGS)

ifeq ($(SAN),)
ALL_CPPFLAGS += -D_FORTIFY_SOURCE=2
ALL_CFLAGS += $(if $(CI),-Werror)
else ifeq ($(SAN),fuzzer)
CC := clang
# Nothing is NULL and 0 here, and NULL + 0 is NULL, as C2y says.
SAN_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=pointer-overflow -fno-sanitize-recover=all
else
SAN_FLAGS := -fsanitize=$(SAN) $(if $(filter undefined,$(SAN)),-fno-sanitize-recover=all)
endif
# gcc warns of what only its own instrumentation makes possible, hence the two -Wno and no -Werror above.
ALL_CFLAGS += $(if $(SAN),$(SAN_FLAGS) -fno-omit-frame-pointer $(if $(filter fuzzer,$(SAN)),-Wno-format-nonliteral,-Wno-format-overflow -Wno-format-truncation))
ALL_LDFLAGS += $(SAN_FLAGS)

LIB := $(B)/libsameroot.a
LIB_SOURCES := $(sort $(wildcard lib/*/*.c hashtree/*.c http/*.c))
PROGRAMS := $(patsubst cmd/%.c,$(B)/bin/%,$(sort $(wildcard cmd/*.c)))
TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
SIMULATORS := $(patsubst tests/sim/%.c,$(B)/tests/%,$(sort $(wildcard tests/sim/sim_*.c)))
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/tests/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
PAGE := $(sort $(wildcard lib/node/page/*))
OBJECTS := $(patsubst %.c,$(B)/obj/%.o,$(LIB_SOURCES) $(wildcard cmd/*.c tests/*/*.c))

Q := $(if $(V),,@)
say = @printf '  %-4s %s\n' $(1) $(2)

all: $(PROGRAMS)

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# The status page's files, as they are.
$(B)/obj/lib/node/page_files.o: lib/node/page_files.S $(PAGE) Makefile
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) -c $< -o $@

$(LIB): $(LIB_SOURCES:%.c=$(B)/obj/%.o) $(B)/obj/lib/node/page_files.o
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/bin/%: $(B)/obj/cmd/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@ $(PACKAGE_LIBS)

$(B)/tests/test_%: $(B)/obj/tests/unit/test_%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@ $(PACKAGE_LIBS) $(TEST_LIBS)

# The disk of a test stands between libc and the program, its libraries too: tests/sim/disk.h.
DISK := $(patsubst tests/sim/%.c,$(B)/obj/tests/sim/%.o,$(sort $(wildcard tests/sim/disk*.c)))
DISK_TESTS := $(patsubst %,$(B)/tests/test_%,disk durable files sqlite_reshape)
$(DISK_TESTS): $(DISK)
$(DISK_TESTS) $(SIMULATORS): ALL_LDFLAGS += -rdynamic

# The simulator, tests/sim/README.md: it stands in the place of http/'s sockets, libc's clocks, threads and files.
SIM := $(patsubst %,$(B)/obj/tests/sim/%.o,chance faults history judge machine network play schedule stat users)
$(B)/tests/sim_%: $(B)/obj/tests/sim/sim_%.o $(SIM) $(DISK) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@ $(PACKAGE_LIBS)

# The same, for programs that know nothing of it (tests/crash), without sanitizers.
CRASH := $(B)/tests/disk.so $(B)/tests/powercut $(B)/tests/swap.so
$(B)/tests/disk.so: tests/crash/preload.c $(wildcard tests/sim/disk*.[ch]) Makefile
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CPPFLAGS) -std=c11 $(CFLAGS) $(WARNINGS) -fPIC -shared $(filter %.c,$^) -o $@

$(B)/tests/swap.so: tests/e2e/swap.c Makefile
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CPPFLAGS) -std=c11 $(CFLAGS) $(WARNINGS) -fPIC -shared $(filter %.c,$^) -o $@

$(B)/tests/powercut: $(B)/obj/tests/crash/powercut.o $(filter %/disk_model.o %/disk_put.o,$(DISK))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@

# A target with replay.c runs the files of its corpus; with libFuzzer it makes new ones.
FUZZ_MAIN := $(if $(filter fuzzer,$(SAN)),,$(B)/obj/tests/fuzz/replay.o)
$(B)/tests/fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(FUZZ_MAIN) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(if $(FUZZ_MAIN),,-fsanitize=fuzzer) $^ -o $@ $(PACKAGE_LIBS)

# Many webservers in one process: tests/load.
$(B)/tests/load: $(B)/obj/tests/load/load.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@ $(PACKAGE_LIBS)

# What `make bench` compares with: tests/bench.
BENCH := $(B)/tests/bench_hello $(B)/tests/bench_walk
$(BENCH): $(B)/tests/bench_%: $(B)/obj/tests/bench/%.o
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@ $(PACKAGE_LIBS)

check: all $(TESTS) $(SIMULATORS) $(FUZZERS) $(CRASH) $(B)/tests/load $(BENCH)
	@BUILD=$(B) tests/run -t '$(T)' unit fuzz sim crash e2e

SEEDS ?= 1000
FROM ?= 1
sim: $(SIMULATORS)
	@$(B)/tests/sim_histories --from $(FROM) --count $(SEEDS)

# Faults of the product that are planted in a copy of it, each of which the simulator has to find: tests/sim/plants.
PLANTS := $(patsubst tests/sim/plants/%.patch,%,$(sort $(wildcard tests/sim/plants/*.patch)))
$(B)/plants/%: tests/sim/plants/%.patch $(SIMULATORS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)rm -rf $@.d && mkdir $@.d && cp --parents $$(sed -n 's,^+++ b/,,p' $<) $@.d && patch -s -d $@.d -p1 --fuzz=0 <$<
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c $$(find $@.d -name '*.c') -o $@.o
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -rdynamic $(B)/obj/tests/sim/sim_histories.o $(SIM) $(DISK) $@.o $(LIB) -o $@ $(PACKAGE_LIBS)

sim-plants: $(PLANTS:%=$(B)/plants/%)
	@for plant in $(PLANTS); do printf '%s: ' $$plant; $(B)/plants/$$plant --first --from $(FROM) --count $(SEEDS) || exit 1; done

unit: $(TESTS)
	@BUILD=$(B) tests/run -t '$(T)' unit

e2e: all
	@BUILD=$(B) tests/run -t '$(T)' e2e

ifeq ($(SAN),fuzzer)
fuzz: $(FUZZERS)
	@BUILD=$(B) scripts/fuzz $(MINUTES) '$(T)'
else
fuzz:
	@$(MAKE) --no-print-directory fuzz SAN=fuzzer
endif

# What hostile peers send, and what comes of it, anew: see what `git diff` says of it.
hostile-table: all
	HOSTILE_TABLE=1 BIN=$(abspath $(B))/bin bats tests/e2e/hostile_table.bats

lint:
	@scripts/lint

demo: all
	@BIN=$(B)/bin scripts/demo

# Each step of SCENARIO, or of all of them (tests/crash/crash.py): an hour.
crash: all $(CRASH)
	@BUILD=$(abspath $(B)) tests/crash/crash.py --all $(SCENARIO)

load: all $(B)/tests/load
	@BUILD=$(B) tests/load/run

soak: all $(SIMULATORS)
	@BIN=$(B)/bin BUILD=$(B) scripts/soak

bench: all $(BENCH)
	@BIN=$(B)/bin BUILD=$(B) QUICK='$(QUICK)' T='$(T)' tests/bench/run

FILES ?= 100000
ROWS ?= 1000000
bench-scale: all
	@BIN=$(B)/bin tests/bench/scale $(FILES) $(ROWS)

bench-large: all
	@BIN=$(B)/bin tests/bench/large

bench-lock: all
	@BIN=$(B)/bin tests/bench/lock

DAEMONS := sameroot-datastore sameroot-sync sameroot-lb
UNITS := $(patsubst service/%.in,%,$(wildcard service/*.service.in))
UNITDIR ?= $(PREFIX)/lib/systemd/system
bindir_of = $(PREFIX)/$(if $(filter $(DAEMONS),$(notdir $(1))),sbin,bin)
# Every file that is installed, for uninstall: a line of `install` below and one of these belong together.
INSTALLED := $(foreach p,$(PROGRAMS),$(call bindir_of,$(p))/$(notdir $(p))) \
	$(foreach page,$(wildcard man/*.[1578]),$(PREFIX)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page))) \
	$(UNITS:%=$(UNITDIR)/%) \
	$(patsubst service/%.sysusers,$(PREFIX)/lib/sysusers.d/%.conf,$(wildcard service/*.sysusers)) \
	$(patsubst service/%.tmpfiles,$(PREFIX)/lib/tmpfiles.d/%.conf,$(wildcard service/*.tmpfiles)) \
	$(PREFIX)/share/bash-completion/completions/sameroot \
	$(foreach p,$(filter-out %/sameroot,$(PROGRAMS)),$(PREFIX)/share/bash-completion/completions/$(notdir $(p)))

# On the machine itself (no DESTDIR) the user, the directories and the units are there at once; a package does the same by itself.
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(UNITDIR)
	$(foreach p,$(PROGRAMS),install -m 755 $(p) $(DESTDIR)$(call bindir_of,$(p))/ &&) true
	for page in man/*.[1578]; do install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page || exit 1; done
	for unit in $(UNITS); do \
		sed 's,@sbindir@,$(PREFIX)/sbin,' service/$$unit.in >$(DESTDIR)$(UNITDIR)/$$unit && chmod 644 $(DESTDIR)$(UNITDIR)/$$unit || exit 1; \
	done
	for name in sysusers tmpfiles; do for file in service/*.$$name; do \
		to=$${file#service/}; install -D -m 644 $$file $(DESTDIR)$(PREFIX)/lib/$$name.d/$${to%.*}.conf || exit 1; \
	done; done
	install -D -m 644 service/sameroot.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/sameroot
	$(foreach p,$(filter-out %/sameroot,$(PROGRAMS)),ln -sf sameroot \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$(notdir $(p)) &&) true
	if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ] && [ "$$(id -u)" = 0 ]; then \
		systemd-sysusers && systemd-tmpfiles --create sameroot.conf sameroot-lb.conf && systemctl daemon-reload; \
	fi

# What the daemons made stays: /etc/sameroot and /var/lib/sameroot.
uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))

# Debian packages, in build/deb/: no root, no network; needs scripts/setup --deb.
deb:
	@scripts/deb

# The packages built, looked at by lintian, and, as root, installed, run and purged on a copy of this machine.
check-deb: deb
	@DEB=$(CURDIR)/build/deb bats tests/deb/packages.bats

dist:
	@mkdir -p build
	git archive --prefix=sameroot-$(VERSION)/ -o build/sameroot-$(VERSION).tar.gz HEAD

clean:
	rm -rf build

.PHONY: all check sim sim-plants unit e2e fuzz hostile-table lint demo crash load soak bench bench-scale bench-large bench-lock install uninstall deb check-deb dist clean
.DELETE_ON_ERROR:
.SECONDARY:

-include $(OBJECTS:.o=.d)
