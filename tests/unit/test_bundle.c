/* test_bundle.c - bundles out and in, hostile ones, the tar and the JSON for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hashtree/record.h"
#include "lib/bundle/bundle.h"

#define LIT(s) sr_bytes(s, sizeof(s) - 1)
#define BLOCK 512

static const struct sr_bundle_limits no_limits = {.bytes = UINT64_MAX, .leaves = UINT64_MAX, .file = UINT64_MAX, .frame = UINT64_MAX};

static struct sr_tree_key test_key(uint8_t salt)
{
	struct sr_tree_key key;
	uint8_t secret[SR_KEY_LEN];

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)(i * 37 + salt);
	sr_tree_key_set(&key, secret);
	return key;
}

/* ---- a stream in memory ---- */

struct source {
	struct sr_bytes in;
	size_t pos, step; /* step: bytes a read at most; 0: as many as asked for */
	size_t fail_at;   /* 0: never */
	bool ended;
};

static enum sr_status to_buf(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	(void)err;
	sr_buf_add(ctx, at, n);
	return SR_OK;
}

static enum sr_status from_source(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	struct source *s = ctx;

	assert_false(s->ended); /* not asked again after the end */
	if (s->fail_at && s->pos >= s->fail_at)
		return sr_err_set(err, SR_E_UNAVAILABLE, "the line is cut");
	if (s->step && n > s->step)
		n = s->step;
	if (n > s->in.len - s->pos)
		n = s->in.len - s->pos;
	if (n)
		memcpy(at, s->in.at + s->pos, n);
	s->pos += n;
	*got = n;
	s->ended = n == 0;
	return SR_OK;
}

/* ---- a sink that writes down what it is given ---- */

struct notes {
	struct sr_buf text; /* events, without the pieces that content comes in */
	struct sr_buf content;
	size_t leaves, begun, ok, voids;
	size_t refuse_at; /* 0: never; the leaf that is refused */
};

static enum sr_status note_leaf(void *ctx, const char *store, const struct sr_leaf *leaf, bool has_content, struct sr_err *err)
{
	struct notes *n = ctx;

	if (++n->leaves == n->refuse_at)
		return sr_err_set(err, SR_E_FULL, "no more");
	sr_buf_printf(&n->text, "\nleaf %s %d ", store, has_content);
	sr_leaf_encode(&n->text, leaf);
	return SR_OK;
}

static enum sr_status note_begin(void *ctx, const char *store, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct notes *n = ctx;

	(void)err;
	n->begun++;
	sr_buf_clear(&n->content);
	sr_buf_printf(&n->text, "\nbegin %s ", store);
	sr_buf_bytes(&n->text, leaf->path);
	return SR_OK;
}

static enum sr_status note_data(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	return to_buf(&((struct notes *)ctx)->content, at, n, err);
}

static enum sr_status note_end(void *ctx, const char *store, const struct sr_leaf *leaf, bool ok, struct sr_err *err)
{
	struct notes *n = ctx;
	struct sr_tree_key key = test_key(1);
	struct sr_hash hash;

	(void)err;
	(void)store;
	assert_int_equal(n->content.len, leaf->to.bytes);
	sr_hash_of(&hash, &key, sr_buf_view(&n->content));
	if (ok)
		assert_true(sr_hash_eq(&hash, &leaf->to.hash));
	n->ok += ok;
	n->voids += !ok;
	sr_buf_printf(&n->text, "\nend %d ", ok);
	sr_buf_add(&n->text, hash.b, SR_HASH_LEN);
	return SR_OK;
}

static void notes_free(struct notes *n)
{
	sr_buf_free(&n->text);
	sr_buf_free(&n->content);
}

static enum sr_status read_source(struct source *source, const struct sr_bundle_limits *limits, struct notes *notes, struct sr_err *err)
{
	struct sr_bundle_sink sink = {notes, note_leaf, note_begin, note_data, note_end};
	struct sr_tree_key key = test_key(1);
	struct sr_bundle_reader *r = NULL;
	enum sr_status rc = sr_bundle_reader_new(&r, &key, limits, from_source, source, err);

	if (!rc)
		rc = sr_bundle_read(r, &sink, err);
	if (rc)
		assert_true(err->code == rc && err->text[0]);
	else
		assert_string_equal(sr_bundle_head(r), "{\"push\": 1}");
	sr_bundle_reader_free(r);
	return rc;
}

static enum sr_status read_bundle(struct sr_bytes in, struct notes *notes, struct sr_err *err)
{
	return read_source(&(struct source){.in = in}, &no_limits, notes, err);
}

static enum sr_status read_only(struct sr_bytes in)
{
	struct notes notes = {0};
	struct sr_err err;
	enum sr_status rc = read_bundle(in, &notes, &err);

	notes_free(&notes);
	return rc;
}

/* ---- making bundles ---- */

struct maker {
	struct sr_tree_key key;
	struct sr_bundle_writer *w;
	struct sr_buf out;
	size_t voids;
};

static void maker_start(struct maker *m, bool zstd)
{
	*m = (struct maker){.key = test_key(1)};
	assert_int_equal(sr_bundle_writer_new(&m->w, &m->key, "{\"push\": 1}", zstd, to_buf, &m->out, NULL), SR_OK);
}

static void maker_end(struct maker *m)
{
	assert_int_equal(sr_bundle_finish(m->w, NULL), SR_OK);
	sr_bundle_writer_free(m->w);
}

/* A row of `table` with a text of n bytes. */
static void add_row(struct maker *m, const char *table, int64_t id, size_t n)
{
	char *text = sr_alloc(n + 1);
	struct sr_value key = {.class = SR_INT, .i = id};
	struct sr_column columns[] = {{LIT("id"), key}, {LIT("text"), {.class = SR_TEXT, .b = sr_bytes(text, n)}}};
	struct sr_leaf leaf = {.to = {.kind = SR_KIND_ROW}};
	struct sr_buf path = {0}, record = {0};

	memset(text, 'a' + (int)(id % 26), n);
	sr_buf_bytes(&path, sr_bytes_of(table));
	sr_buf_byte(&path, 0);
	sr_key_encode(&path, &key, 1);
	sr_record_encode(&record, columns, 2);
	leaf.path = sr_buf_view(&path);
	leaf.record = sr_buf_view(&record);
	leaf.to.bytes = record.len;
	sr_hash_of(&leaf.to.hash, &m->key, leaf.record);
	assert_int_equal(sr_bundle_add(m->w, "users.db", &leaf, -1, NULL, NULL), SR_OK);
	sr_buf_free(&path);
	sr_buf_free(&record);
	free(text);
}

static uint8_t *noise(size_t n)
{
	uint8_t *at = sr_alloc(n);
	uint32_t x = (uint32_t)n + 12345;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		at[i] = (uint8_t)(x >> 24);
	}
	return at;
}

static int memory_file(const void *at, size_t n)
{
	int fd = memfd_create("content", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, at, n), n);
	return fd;
}

/* The leaf says `said` bytes of noise; the file has `there` of them. */
static void add_file(struct maker *m, const char *name, size_t said, size_t there)
{
	uint8_t *content = noise(said > there ? said : there); /* the same for one pair of sizes */
	struct sr_leaf leaf = {.path = sr_bytes_of(name), .mtime_ns = 1, .stage = LIT("ours"), .inode = 7, .flags = SR_LEAF_VOID};
	int fd = memory_file(content, there);
	bool voided;

	leaf.to = (struct sr_version){.kind = SR_KIND_FILE, .mode = 0600, .bytes = said};
	sr_hash_of(&leaf.to.hash, &m->key, sr_bytes(content, said));
	assert_int_equal(sr_bundle_add(m->w, "resources", &leaf, fd, &voided, NULL), SR_OK);
	assert_int_equal(voided, said != there);
	m->voids += voided;
	close(fd);
	free(content);
}

static void add_plain(struct maker *m, const char *name, struct sr_version to)
{
	struct sr_leaf leaf = {.path = sr_bytes_of(name), .to = to, .flags = SR_LEAF_UNION, .epoch = 3, .seq = 4};

	assert_int_equal(sr_bundle_add(m->w, "resources", &leaf, -1, NULL, NULL), SR_OK);
}

/* A bundle with a little of everything. */
static void make_small(struct sr_buf *out, bool zstd)
{
	struct maker m;

	maker_start(&m, zstd);
	add_row(&m, "users", 1, 10);
	add_plain(&m, "gone", (struct sr_version){0});
	add_plain(&m, "dir", (struct sr_version){.kind = SR_KIND_DIR, .mode = 0755});
	add_file(&m, "one", 1, 1);
	add_file(&m, "void", 600, 599);
	add_row(&m, "users", 2, 100);
	maker_end(&m);
	*out = m.out;
}

/* ---- there and back ---- */

static void round_trip(bool zstd)
{
	static const size_t sizes[] = {0, 1, 511, 512, 65535, 65536, 65537, 5 << 20};
	struct notes notes = {0};
	struct sr_err err = {0};
	struct maker m;

	maker_start(&m, zstd);
	for (int i = 0; i < 5000; i++)
		add_row(&m, "users", i, (size_t)i % 300);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		add_file(&m, "f", sizes[i], sizes[i]);
	add_row(&m, "users", 5000, 3 << 20); /* a frame over many pieces */
	add_plain(&m, "dir", (struct sr_version){.kind = SR_KIND_DIR, .mode = 0755});
	maker_end(&m);
	if (read_bundle(sr_buf_view(&m.out), &notes, &err))
		fail_msg("%s", err.text);
	assert_int_equal(notes.leaves, 5000 + 8 + 2);
	assert_int_equal(notes.ok, 8);
	assert_int_equal(notes.voids, 0);
	notes_free(&notes);
	sr_buf_free(&m.out);
}

static void test_round_trip(void **state)
{
	(void)state;
	round_trip(false);
	round_trip(true);
}

static void test_empty_bundle(void **state)
{
	struct notes notes = {0};
	struct sr_err err;
	struct maker m;

	(void)state;
	maker_start(&m, false);
	maker_end(&m);
	assert_int_equal(read_bundle(sr_buf_view(&m.out), &notes, &err), SR_OK);
	assert_int_equal(notes.leaves, 0);
	sr_buf_free(&m.out);
	notes_free(&notes);
}

/* What is the sender's own does not travel; everything else does. */
static void test_leaf_arrives_as_it_was(void **state)
{
	struct sr_leaf leaf;
	struct notes notes = {0};
	struct sr_buf small;
	struct sr_err err;
	struct sr_reader r;

	(void)state;
	make_small(&small, false);
	assert_int_equal(read_bundle(sr_buf_view(&small), &notes, &err), SR_OK);
	assert_int_equal(notes.leaves, 6);
	assert_int_equal(notes.ok, 1);
	assert_int_equal(notes.voids, 1);
	r = sr_reader(sr_buf_view(&notes.text));
	for (size_t i = 0; memcmp(r.in.at + i, "\nbegin", 6); i++) {
		if (memcmp(r.in.at + i, "\nleaf resources 1 ", 18))
			continue;
		r.pos = i + 18;
	}
	for (size_t n = 0;; n++) { /* where the leaf ends is known only by decoding it */
		assert_true(n < sr_read_left(&r));
		if (!sr_leaf_decode(sr_bytes(r.in.at + r.pos, n), &leaf, NULL))
			break;
	}
	assert_int_equal(leaf.mtime_ns, 1);
	assert_int_equal(leaf.to.mode, 0600);
	assert_int_equal(leaf.stage.len, 0);
	assert_int_equal(leaf.inode, 0);
	assert_int_equal(leaf.flags, 0);
	notes_free(&notes);
	sr_buf_free(&small);
}

static void read_in_steps(bool zstd)
{
	struct notes at_once = {0}, in_steps = {0};
	struct sr_buf small;
	struct sr_err err;

	make_small(&small, zstd);
	assert_int_equal(read_bundle(sr_buf_view(&small), &at_once, &err), SR_OK);
	for (size_t step = 1; step < 1400; step = step * 2 + 1) {
		in_steps.text.len = 0;
		assert_int_equal(read_source(&(struct source){.in = sr_buf_view(&small), .step = step}, &no_limits, &in_steps, &err), SR_OK);
		assert_true(sr_bytes_eq(sr_buf_view(&at_once.text), sr_buf_view(&in_steps.text)));
	}
	notes_free(&at_once);
	notes_free(&in_steps);
	sr_buf_free(&small);
}

static void test_a_byte_at_a_time(void **state)
{
	(void)state;
	read_in_steps(false);
	read_in_steps(true);
}

static void test_changing_files_are_void(void **state)
{
	static const size_t pairs[][2] = {{10, 9}, {10, 11}, {0, 1}, {1, 0}, {70000, 65536}, {65536, 70000}, {70000, 0}};
	struct notes notes = {0};
	struct sr_err err = {0};
	struct maker m;

	(void)state;
	maker_start(&m, false);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		add_file(&m, "steady", 5, 5);
		add_file(&m, "moving", pairs[i][0], pairs[i][1]);
	}
	maker_end(&m);
	if (read_bundle(sr_buf_view(&m.out), &notes, &err))
		fail_msg("%s", err.text);
	assert_int_equal(notes.ok, 7);
	assert_int_equal(notes.voids, 7);
	notes_free(&notes);
	sr_buf_free(&m.out);
}

static void test_unreadable_file_is_void(void **state)
{
	struct sr_leaf leaf = {.path = LIT("f"), .to = {.kind = SR_KIND_FILE, .bytes = 3, .hash = {{1}}}};
	struct maker m;
	bool voided = false;
	int dir = open("/", O_RDONLY | O_DIRECTORY);

	(void)state;
	maker_start(&m, false);
	assert_int_equal(sr_bundle_add(m.w, "resources", &leaf, dir, &voided, NULL), SR_OK);
	assert_true(voided);
	close(dir);
	maker_end(&m);
	assert_int_equal(read_only(sr_buf_view(&m.out)), SR_OK);
	sr_buf_free(&m.out);
}

static void test_writer_refuses_a_wrong_row(void **state)
{
	struct sr_leaf leaf = {.path = LIT("t\0\1\0"), .to = {.kind = SR_KIND_ROW, .bytes = 1, .hash = {{1}}}, .record = LIT("\0")};
	struct maker m;

	(void)state;
	maker_start(&m, false);
	assert_int_equal(sr_bundle_add(m.w, "users.db", &leaf, -1, NULL, NULL), SR_E_CHANGED);
	maker_end(&m);
	assert_int_equal(read_only(sr_buf_view(&m.out)), SR_OK);
	sr_buf_free(&m.out);
}

/* ---- damage ---- */

static void test_every_truncation_is_refused(void **state)
{
	struct sr_buf small;

	(void)state;
	for (int zstd = 0; zstd < 2; zstd++) {
		make_small(&small, zstd);
		for (size_t n = 0; n < small.len; n++)
			if (read_only(sr_bytes(small.at, n)) != SR_E_DATA)
				fail_msg("%zu of %zu bytes were accepted, zstd %d", n, small.len, zstd);
		sr_buf_free(&small);
	}
}

static void test_unfinished_is_refused(void **state)
{
	struct maker m;
	size_t len;

	(void)state;
	maker_start(&m, false);
	add_file(&m, "f", 1000, 1000);
	len = m.out.len;
	sr_bundle_writer_free(m.w); /* and freeing writes nothing */
	assert_int_equal(m.out.len, len);
	assert_int_equal(read_only(sr_buf_view(&m.out)), SR_E_DATA);
	sr_buf_free(&m.out);
}

static void test_every_flipped_byte_is_refused(void **state)
{
	static const uint8_t flips[] = {0x01, 0x20, 0xff};
	struct sr_buf small;

	(void)state;
	make_small(&small, false);
	for (size_t i = 0; i < small.len; i++) {
		uint8_t flip = flips[i % 3];

		small.at[i] ^= flip;
		if (read_only(sr_buf_view(&small)) == SR_OK)
			fail_msg("byte %zu ^ %02x was accepted", i, flip);
		small.at[i] ^= flip;
	}
	assert_int_equal(read_only(sr_buf_view(&small)), SR_OK);
	sr_buf_free(&small);
}

/* Some bits of zstd's frame say nothing of the content: then what arrives must be the same. */
static void test_flipped_zstd_never_lies(void **state)
{
	struct notes right = {0}, got = {0};
	struct sr_buf small;
	struct sr_err err;
	size_t refused = 0;

	(void)state;
	make_small(&small, true);
	assert_int_equal(read_bundle(sr_buf_view(&small), &right, &err), SR_OK);
	for (size_t i = 0; i < small.len * 8; i++) {
		got.text.len = 0;
		small.at[i / 8] ^= (uint8_t)(1 << i % 8);
		if (read_bundle(sr_buf_view(&small), &got, &err))
			refused++;
		else
			assert_true(sr_bytes_eq(sr_buf_view(&right.text), sr_buf_view(&got.text)));
		small.at[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	assert_true(refused > small.len * 7);
	notes_free(&right);
	notes_free(&got);
	sr_buf_free(&small);
}

static void test_trailing_bytes_are_refused(void **state)
{
	static const size_t lengths[] = {1, 511, 512, 1024, 10240, 100000};
	struct sr_buf small, twice = {0};

	(void)state;
	for (int zstd = 0; zstd < 2; zstd++) {
		make_small(&small, zstd);
		for (size_t i = 0; i < 12; i++) {
			size_t n = lengths[i / 2];

			sr_buf_clear(&twice);
			sr_buf_bytes(&twice, sr_buf_view(&small));
			memset(sr_buf_room(&twice, n), i % 2 ? 'x' : 0, n);
			twice.len += n;
			if (read_only(sr_buf_view(&twice)) != SR_E_DATA)
				fail_msg("%zu more bytes were accepted, zstd %d", n, zstd);
		}
		sr_buf_clear(&twice);
		sr_buf_bytes(&twice, sr_buf_view(&small));
		sr_buf_bytes(&twice, sr_buf_view(&small));
		assert_int_equal(read_only(sr_buf_view(&twice)), SR_E_DATA);
		sr_buf_free(&small);
	}
	sr_buf_free(&twice);
}

static void test_other_key_is_refused(void **state)
{
	struct sr_tree_key other = test_key(2);
	struct sr_bundle_reader *r;
	struct source source = {0};
	struct sr_buf small;
	struct sr_err err;

	(void)state;
	make_small(&small, false);
	source.in = sr_buf_view(&small);
	assert_int_equal(sr_bundle_reader_new(&r, &other, &no_limits, from_source, &source, &err), SR_E_DATA);
	assert_non_null(strstr(err.text, "tree key"));
	sr_buf_free(&small);
}

/* ---- bundles that our writer does not make ---- */

struct forged {
	struct sr_tree_key key;
	struct sr_buf out;
};

static void add_header(struct sr_buf *out, const char *name, char type, const char *link, uint64_t size)
{
	char h[BLOCK] = {0};
	unsigned sum = 0;

	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 8, "000644 ");
	snprintf(h + 108, 8, "000000 ");
	snprintf(h + 116, 8, "000000 ");
	snprintf(h + 124, 13, "%011" PRIo64 " ", size);
	snprintf(h + 136, 13, "%011o ", 0);
	memset(h + 148, ' ', 8);
	h[156] = type;
	snprintf(h + 157, 100, "%s", link);
	memcpy(h + 257, "ustar\0" "00", 8);
	snprintf(h + 329, 8, "000000 ");
	snprintf(h + 337, 8, "000000 ");
	for (int i = 0; i < BLOCK; i++)
		sum += (uint8_t)h[i];
	snprintf(h + 148, 8, "%06o", sum & 0777777);
	sr_buf_add(out, h, BLOCK);
}

static void add_raw(struct sr_buf *out, const char *name, char type, const char *link, struct sr_bytes content)
{
	size_t pad = (BLOCK - content.len % BLOCK) % BLOCK;

	add_header(out, name, type, link, content.len);
	sr_buf_bytes(out, content);
	memset(sr_buf_room(out, pad), 0, pad);
	out->len += pad;
}

static void forge_start(struct forged *f)
{
	char id[SR_HASH_TEXT];
	struct sr_buf head = {0};

	*f = (struct forged){.key = test_key(1)};
	sr_hash_text(id, &f->key.id);
	sr_buf_printf(&head, "sameroot-bundle 1\nkey %s\n{\"push\": 1}", id);
	add_raw(&f->out, "sameroot", '0', "", sr_buf_view(&head));
	sr_buf_free(&head);
}

static void forge(struct forged *f, const char *name, struct sr_bytes content)
{
	add_raw(&f->out, name, '0', "", content);
}

static void forge_frame(struct sr_buf *out, const struct sr_leaf *leaf, uint8_t content)
{
	struct sr_buf frame = {0};

	sr_buf_string(&frame, sr_bytes_of("resources"));
	sr_buf_byte(&frame, content);
	sr_leaf_encode(&frame, leaf);
	sr_buf_string(out, sr_buf_view(&frame));
	sr_buf_free(&frame);
}

/* A .leaves member with one frame of `leaf`. */
static void forge_leaf(struct forged *f, const char *name, const struct sr_leaf *leaf, uint8_t content)
{
	struct sr_buf frame = {0};

	forge_frame(&frame, leaf, content);
	forge(f, name, sr_buf_view(&frame));
	sr_buf_free(&frame);
}

static struct sr_leaf file_leaf(const struct sr_tree_key *key, struct sr_bytes content)
{
	struct sr_leaf leaf = {.path = LIT("f"), .to = {.kind = SR_KIND_FILE, .mode = 0644, .bytes = content.len}};

	sr_hash_of(&leaf.to.hash, key, content);
	return leaf;
}

static void assert_forged(struct forged *f, const char *fault)
{
	struct notes notes = {0};
	struct sr_err err;

	assert_int_equal(read_bundle(sr_buf_view(&f->out), &notes, &err), SR_E_DATA);
	if (!strstr(err.text, fault))
		fail_msg("\"%s\" instead of \"%s\"", err.text, fault);
	notes_free(&notes);
	sr_buf_free(&f->out);
}

/* The forger's tar is the writer's, or the tests below would pass for the wrong reason. */
static void test_forged_good_bundle(void **state)
{
	struct sr_leaf leaf;
	struct forged f;
	struct maker m;

	(void)state;
	forge_start(&f);
	leaf = file_leaf(&f.key, LIT("abc"));
	forge_leaf(&f, "00000001.leaves", &leaf, 1);
	forge(&f, "00000002.data", LIT("abc"));
	maker_start(&m, false);
	int fd = memory_file("abc", 3);
	assert_int_equal(sr_bundle_add(m.w, "resources", &leaf, fd, NULL, NULL), SR_OK);
	close(fd);
	maker_end(&m);
	assert_true(m.out.len > f.out.len);
	assert_memory_equal(m.out.at, f.out.at, f.out.len);
	sr_buf_free(&m.out);
	sr_buf_free(&f.out);
}

static void test_forged_members(void **state)
{
	static const char *const wrong_names[] = {"00000002.leaves", "1.leaves", "00000001.data", "00000001.void", "x", "sameroot",
	                                          "../00000001.leaves", "00000001.leaves/x"};
	struct forged f;
	struct sr_leaf leaf;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong_names) / sizeof(*wrong_names); i++) {
		forge_start(&f);
		forge(&f, wrong_names[i], LIT("abc"));
		assert_forged(&f, "not in its place");
	}
	forge_start(&f);
	add_raw(&f.out, "00000001.leaves", '2', "/etc/passwd", LIT(""));
	assert_forged(&f, "not a plain file");
	forge_start(&f);
	add_raw(&f.out, "00000001.leaves", '1', "sameroot", LIT(""));
	assert_forged(&f, "not a plain file");
	for (const char *type = "345"; *type; type++) {
		forge_start(&f);
		add_raw(&f.out, "00000001.leaves", *type, "", LIT(""));
		assert_forged(&f, "not a plain file");
	}
	forge_start(&f);
	forge(&f, "00000001.leaves", LIT(""));
	assert_forged(&f, "empty");
	forge_start(&f);
	forge(&f, "end", LIT("123456789012345678901234567890123"));
	assert_forged(&f, "its size is wrong");
	forge_start(&f);
	forge(&f, "end", LIT("12345678901234567890123456789012"));
	assert_forged(&f, "its counts are wrong");
	forge_start(&f);
	forge(&f, "end", LIT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" "1234567890123456"));
	assert_forged(&f, "its hash is wrong");
	f = (struct forged){0};
	leaf = (struct sr_leaf){.path = LIT("d")};
	forge_leaf(&f, "00000000.leaves", &leaf, 0);
	assert_forged(&f, "does not begin");
}

/* GNU and pax sparse files, whose real size is not the one on the tape. */
static void test_forged_sparse(void **state)
{
	struct forged f;

	(void)state;
	forge_start(&f);
	add_raw(&f.out, "PaxHeader/x", 'x', "", LIT("22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n36 GNU.sparse.name=00000001.leaves\n"
	                                             "30 GNU.sparse.realsize=100000\n"));
	forge(&f, "00000001.leaves", LIT("1\n99000\n3\nabc"));
	assert_forged(&f, "");
	forge_start(&f);
	add_raw(&f.out, "PaxHeader/x", 'x', "", LIT("28 GNU.sparse.size=100000000\n25 GNU.sparse.numblocks=1\n29 GNU.sparse.map=99999990,3\n"));
	forge(&f, "00000001.leaves", LIT("abc"));
	assert_forged(&f, "");
}

static void test_forged_sizes(void **state)
{
	struct forged f;
	struct sr_buf framed = {0};

	(void)state;
	for (int i = 0; i < 2; i++) { /* base-256 sizes: -1, and 2^63-1 */
		static const uint8_t sizes[2][12] = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		                                     {0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
		unsigned sum = 0;

		forge_start(&f);
		size_t at = f.out.len;
		forge(&f, "00000001.leaves", LIT("abc"));
		memcpy(f.out.at + at + 124, sizes[i], 12);
		memset(f.out.at + at + 148, ' ', 8);
		for (size_t j = 0; j < BLOCK; j++)
			sum += f.out.at[at + j];
		snprintf((char *)f.out.at + at + 148, 7, "%06o", sum & 0777777);
		assert_forged(&f, "");
	}
	sr_buf_varint(&framed, UINT64_MAX); /* a frame of 16 EiB */
	sr_buf_byte(&framed, 1);
	forge_start(&f);
	forge(&f, "00000001.leaves", sr_buf_view(&framed));
	assert_forged(&f, "cut short within a frame");
	forge_start(&f);
	forge(&f, "00000001.leaves", LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
	assert_forged(&f, "malformed frame");
	forge_start(&f);
	forge(&f, "00000001.leaves", LIT("\0"));
	assert_forged(&f, "malformed frame");
	sr_buf_free(&framed);
}

static void test_forged_leaves(void **state)
{
	struct forged f;
	struct sr_leaf leaf, dir = {.path = LIT("d"), .to = {.kind = SR_KIND_DIR}};

	(void)state;
	forge_start(&f);
	leaf = file_leaf(&f.key, LIT("abc"));
	forge_leaf(&f, "00000001.leaves", &leaf, 2);
	assert_forged(&f, "malformed frame");
	forge_start(&f);
	forge_leaf(&f, "00000001.leaves", &dir, 1);
	assert_forged(&f, "content for what is not a file");
	leaf.inode = 5;
	forge_start(&f);
	forge_leaf(&f, "00000001.leaves", &leaf, 0);
	assert_forged(&f, "sender's own");
	leaf.inode = 0;
	leaf.flags = SR_LEAF_VOID;
	forge_start(&f);
	forge_leaf(&f, "00000001.leaves", &leaf, 0);
	assert_forged(&f, "sender's own");
	leaf.flags = 0;
	leaf.path = LIT("..\0f");
	forge_start(&f);
	forge_leaf(&f, "00000001.leaves", &leaf, 0);
	assert_forged(&f, "no file name");
	forge_start(&f);
	leaf = (struct sr_leaf){.path = LIT("t\0\1\0"), .to = {.kind = SR_KIND_ROW, .bytes = 1, .hash = {{1}}}, .record = LIT("\0")};
	forge_leaf(&f, "00000001.leaves", &leaf, 0);
	assert_forged(&f, "record is not its hash");
	forge_start(&f);
	leaf.record = LIT("");
	forge_leaf(&f, "00000001.leaves", &leaf, 0);
	assert_forged(&f, "record is not its hash");
	forge_start(&f);
	leaf.record = LIT("\x7f");
	sr_hash_of(&leaf.to.hash, &f.key, leaf.record); /* its hash, but no record */
	forge_leaf(&f, "00000001.leaves", &leaf, 0);
	assert_forged(&f, "00000001.leaves");
	forge_start(&f);
	forge(&f, "00000001.leaves", LIT("\x05\x03" "a/b" "\0"));
	assert_forged(&f, "store name");
}

static void test_forged_content(void **state)
{
	struct forged f;
	struct sr_buf frames = {0};
	struct sr_leaf leaf, dir = {.path = LIT("d"), .to = {.kind = SR_KIND_DIR}};

	(void)state;
	forge_start(&f);
	leaf = file_leaf(&f.key, LIT("abc"));
	forge_frame(&frames, &leaf, 1);
	forge_frame(&frames, &dir, 0);
	forge(&f, "00000001.leaves", sr_buf_view(&frames));
	sr_buf_free(&frames);
	assert_forged(&f, "a frame after the one with content");
	forge_start(&f);
	forge_leaf(&f, "00000001.leaves", &leaf, 1);
	forge(&f, "00000002.data", LIT("abcd"));
	assert_forged(&f, "size that was announced");
	forge_start(&f);
	forge_leaf(&f, "00000001.leaves", &leaf, 1);
	forge(&f, "00000002.data", LIT("abd"));
	forge_leaf(&f, "00000003.leaves", &dir, 0);
	assert_forged(&f, "content is not its hash");
	forge_start(&f);
	forge_leaf(&f, "00000001.leaves", &leaf, 1);
	forge_leaf(&f, "00000002.leaves", &dir, 0);
	assert_forged(&f, "not the content that was announced");
	forge_start(&f);
	forge_leaf(&f, "00000001.leaves", &leaf, 1);
	forge(&f, "00000002.data", LIT("abc"));
	forge(&f, "00000003.data", LIT("abc"));
	assert_forged(&f, "not in its place");
	forge_start(&f);
	forge_leaf(&f, "00000001.leaves", &leaf, 1);
	forge(&f, "00000002.data", LIT("abc"));
	forge(&f, "00000003.void", LIT("x"));
	assert_forged(&f, "it has content");
	forge_start(&f);
	forge_leaf(&f, "00000001.leaves", &leaf, 0);
	forge(&f, "00000002.data", LIT("abc"));
	assert_forged(&f, "not in its place");
}

/* ---- limits ---- */

static enum sr_status read_limited(struct sr_bytes in, struct sr_bundle_limits limits, struct sr_err *err)
{
	struct notes notes = {0};
	enum sr_status rc = read_source(&(struct source){.in = in}, &limits, &notes, err);

	notes_free(&notes);
	return rc;
}

static void test_limits(void **state)
{
	struct sr_bundle_limits exact = {.leaves = 6, .file = 600, .frame = 0};
	struct sr_bundle_limits less;
	struct sr_buf small;
	struct sr_err err;

	(void)state;
	make_small(&small, false);
	exact.bytes = small.len;
	while (read_limited(sr_buf_view(&small), exact, &err))
		assert_true(err.code == SR_E_LIMIT && strstr(err.text, "a frame") && ++exact.frame < 300);
	assert_true(exact.frame > 100); /* the row of 100 bytes */
	less = exact, less.bytes--;
	assert_int_equal(read_limited(sr_buf_view(&small), less, &err), SR_E_LIMIT);
	less = exact, less.leaves--;
	assert_int_equal(read_limited(sr_buf_view(&small), less, &err), SR_E_LIMIT);
	assert_non_null(strstr(err.text, "5 leaves"));
	less = exact, less.file--;
	assert_int_equal(read_limited(sr_buf_view(&small), less, &err), SR_E_LIMIT);
	assert_non_null(strstr(err.text, "599 bytes a file"));
	sr_buf_free(&small);
}

static void test_zstd_bomb(void **state)
{
	struct sr_bundle_limits limits = no_limits;
	struct sr_leaf leaf = {.path = LIT("f"), .to = {.kind = SR_KIND_FILE, .bytes = 64 << 20, .hash = {{1}}}};
	int fd = memory_file("", 0);
	struct sr_err err;
	struct maker m;

	(void)state;
	limits.bytes = 1 << 20;
	maker_start(&m, true);
	assert_int_equal(ftruncate(fd, 64 << 20), 0);
	assert_int_equal(sr_bundle_add(m.w, "resources", &leaf, fd, NULL, NULL), SR_OK);
	close(fd);
	maker_end(&m);
	assert_true(m.out.len < 100000);
	assert_int_equal(read_limited(sr_buf_view(&m.out), limits, &err), SR_E_LIMIT);
	sr_buf_free(&m.out);
}

/* ---- those at both ends who say no ---- */

static void test_errors_pass_through(void **state)
{
	struct notes notes = {.refuse_at = 3};
	struct sr_buf small;
	struct sr_err err;

	(void)state;
	for (int zstd = 0; zstd < 2; zstd++) {
		make_small(&small, zstd);
		for (size_t at = 1; at < small.len; at += 100) {
			struct source source = {.in = sr_buf_view(&small), .step = 50, .fail_at = at};
			struct notes none = {0};

			assert_int_equal(read_source(&source, &no_limits, &none, &err), SR_E_UNAVAILABLE);
			assert_string_equal(err.text, "the line is cut");
			notes_free(&none);
		}
		sr_buf_free(&small);
	}
	make_small(&small, false);
	assert_int_equal(read_bundle(sr_buf_view(&small), &notes, &err), SR_E_FULL);
	assert_string_equal(err.text, "no more");
	notes_free(&notes);
	sr_buf_free(&small);
}

static enum sr_status take_some(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	size_t *left = ctx;

	(void)at;
	if (n > *left)
		return sr_err_set(err, SR_E_FULL, "full");
	*left -= n;
	return SR_OK;
}

static void test_writer_that_cannot_write(void **state)
{
	struct sr_tree_key key = test_key(1);
	struct sr_leaf leaf = {.path = LIT("f"), .to = {.kind = SR_KIND_FILE, .bytes = 5000}};
	struct sr_bundle_writer *w;
	struct sr_err err = {0};
	int fd = memory_file("", 0);

	(void)state;
	for (size_t room = 0; room < 9000; room += 500) {
		size_t left = room;
		enum sr_status rc = sr_bundle_writer_new(&w, &key, "{}", false, take_some, &left, &err);

		if (!rc) {
			rc = sr_bundle_add(w, "resources", &leaf, fd, NULL, &err);
			if (!rc)
				rc = sr_bundle_finish(w, &err);
			sr_bundle_writer_free(w);
		}
		assert_int_equal(rc, SR_E_FULL);
		assert_string_equal(err.text, "full");
	}
	close(fd);
}

/* ---- tools of others ---- */

static void write_file(const char *dir, const char *name, struct sr_bytes content)
{
	char *path = sr_format("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(content.at, 1, content.len, f), content.len);
	assert_int_equal(fclose(f), 0);
	free(path);
}

/* Run a command in dir. */
static void shell(const char *line, const char *dir)
{
	char *command = sr_format("cd %s && %s", dir, line);

	if (system(command) != 0)
		fail_msg("failed: %s", command);
	free(command);
}

static void test_plain_tar_lists_a_bundle(void **state)
{
	char dir[] = "/tmp/test_bundle.XXXXXX";
	struct sr_buf small;

	(void)state;
	assert_non_null(mkdtemp(dir));
	make_small(&small, false);
	write_file(dir, "b.tar", sr_buf_view(&small));
	shell("test \"$(LC_ALL=C tar tf b.tar | tr '\\n' ' ')\" = 'sameroot 00000001.leaves 00000002.data 00000003.leaves "
	      "00000004.data 00000005.void 00000006.leaves end '", dir);
	shell("LC_ALL=C tar tvf b.tar >list 2>&1 && test $(wc -l <list) = 8", dir);
	shell("rm -r \"$PWD\"", dir);
	sr_buf_free(&small);
}

static void add_tar_file(struct sr_tar_writer *w, struct sr_bytes name)
{
	int fd = memory_file("content", 7);

	assert_int_equal(sr_tar_add_file(w, name, 0640, 1700000000123456789, 7, fd, NULL), SR_OK);
	close(fd);
}

static void make_tar(struct sr_buf *out, struct sr_bytes *names, size_t n)
{
	struct sr_tar_writer *w;
	int fd = memory_file("shrunk", 6);

	assert_int_equal(sr_tar_writer_new(&w, to_buf, out, NULL), SR_OK);
	assert_int_equal(sr_tar_add_dir(w, LIT("d\xc3\xa9"), 0750, NULL), SR_OK);
	for (size_t i = 0; i < n; i++)
		add_tar_file(w, names[i]);
	assert_int_equal(sr_tar_add_file(w, LIT("shorter"), 0644, 0, 1000, fd, NULL), SR_E_CHANGED);
	assert_int_equal(sr_tar_add_bytes(w, LIT("t.jsonl"), 0644, 1000000000000000000, LIT("{}\n"), NULL), SR_OK);
	assert_int_equal(sr_tar_add_dir(w, LIT("a\0b"), 0755, NULL), SR_E_DATA);
	assert_int_equal(sr_tar_add_dir(w, LIT(""), 0755, NULL), SR_E_DATA);
	assert_int_equal(sr_tar_finish(w, NULL), SR_OK);
	sr_tar_writer_free(w);
	close(fd);
}

static void assert_extracted(const char *dir, struct sr_bytes name)
{
	char *text = sr_text(name), *path = sr_format("%s/%s", dir, text);
	struct stat st;

	if (stat(path, &st))
		fail_msg("%s was not extracted", path);
	assert_int_equal(st.st_size, 7);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(st.st_mtim.tv_sec, 1700000000);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);
	free(path);
	free(text);
}

static void test_tar_for_people(void **state)
{
	static const char *const locales[] = {"C", "C.UTF-8"};
	uint8_t long_name[250];
	struct sr_bytes names[] = {LIT("plain"), LIT("d\xc3\xa9/\xe6\x97\xa5\xe6\x9c\xac"), LIT("latin-\xe9\xff"), LIT(" a\nb\t'\"\\ "),
	                           {long_name, sizeof(long_name)}};
	struct sr_buf tar = {0};

	(void)state;
	memset(long_name, 'l', sizeof(long_name));
	long_name[100] = 0xfe;
	make_tar(&tar, names, 5);
	for (size_t i = 0; i < 2; i++) {
		char dir[] = "/tmp/test_bundle.XXXXXX";
		char *extract = sr_format("LC_ALL=%s tar xpf t.tar 2>warnings && test $(grep -vc hdrcharset warnings) = 0 && rm warnings && "
		                          "test $(find . -mindepth 1 -printf x | wc -c) = 9 && "
		                          "test $(stat -c %%a:%%s d*) = 750:$(stat -c %%s d*) && test $(stat -c %%s shorter) = 1000 && "
		                          "test $(stat -c %%Y t.jsonl) = 1000000000 && test \"$(cat t.jsonl)\" = {}", locales[i]);

		assert_non_null(mkdtemp(dir));
		write_file(dir, "t.tar", sr_buf_view(&tar));
		shell(extract, dir);
		for (size_t j = 0; j < 5; j++)
			assert_extracted(dir, names[j]);
		shell("rm -r \"$PWD\"", dir);
		free(extract);
	}
	sr_buf_free(&tar);
}

static void test_record_json(void **state)
{
	struct sr_column columns[] = {
		{LIT("a"), {.class = SR_INT, .i = INT64_MIN}},
		{LIT("b"), {.class = SR_REAL, .real = 0.1}},
		{LIT("c"), {.class = SR_REAL, .real = 1}},
		{LIT("d"), {.class = SR_REAL, .real = -INFINITY}},
		{LIT("e"), {.class = SR_TEXT, .b = LIT("\"\xc3\xa9\\\n\0\x01")}},
		{LIT("f"), {.class = SR_TEXT, .b = LIT("\xe9")}},
		{LIT("g"), {.class = SR_BLOB, .b = LIT("ab")}},
		{LIT("h"), {.class = SR_NULL}},
		{LIT("i\xff"), {.class = SR_REAL, .real = 1e300}},
	};
	struct sr_buf record = {0}, json = {0};

	(void)state;
	sr_record_encode(&record, columns, sizeof(columns) / sizeof(*columns));
	assert_int_equal(sr_record_json(&json, sr_buf_view(&record), NULL), SR_OK);
	assert_string_equal(sr_buf_text(&json),
	                    "{\"a\": -9223372036854775808, \"b\": 0.1, \"c\": 1.0, \"d\": {\"real\": \"-Infinity\"}, "
	                    "\"e\": \"\\\"\xc3\xa9\\\\\\n\\u0000\\u0001\", "
	                    "\"f\": {\"hex\": \"e9\"}, \"g\": {\"hex\": \"6162\"}, \"i%FF\": 1e+300}");
	assert_int_equal(sr_record_json(&json, LIT("\x01"), NULL), SR_E_DATA);
	sr_buf_free(&record);
	sr_buf_free(&json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_empty_bundle),
		cmocka_unit_test(test_leaf_arrives_as_it_was),
		cmocka_unit_test(test_a_byte_at_a_time),
		cmocka_unit_test(test_changing_files_are_void),
		cmocka_unit_test(test_unreadable_file_is_void),
		cmocka_unit_test(test_writer_refuses_a_wrong_row),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_unfinished_is_refused),
		cmocka_unit_test(test_every_flipped_byte_is_refused),
		cmocka_unit_test(test_flipped_zstd_never_lies),
		cmocka_unit_test(test_trailing_bytes_are_refused),
		cmocka_unit_test(test_other_key_is_refused),
		cmocka_unit_test(test_forged_good_bundle),
		cmocka_unit_test(test_forged_members),
		cmocka_unit_test(test_forged_sparse),
		cmocka_unit_test(test_forged_sizes),
		cmocka_unit_test(test_forged_leaves),
		cmocka_unit_test(test_forged_content),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_zstd_bomb),
		cmocka_unit_test(test_errors_pass_through),
		cmocka_unit_test(test_writer_that_cannot_write),
		cmocka_unit_test(test_plain_tar_lists_a_bundle),
		cmocka_unit_test(test_tar_for_people),
		cmocka_unit_test(test_record_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
