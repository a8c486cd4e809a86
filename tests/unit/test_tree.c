/* test_tree.c - nodes, maps and store maps against a naive model: a sorted list of items. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hashtree/internal.h"

static uint64_t seed = 20240301;
static const struct sr_hash none;

static uint64_t chance(uint64_t below) /* xorshift64 */
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static struct sr_nodes *new_nodes(void)
{
	struct sr_tree_key key;
	uint8_t secret[SR_KEY_LEN];

	for (size_t i = 0; i < sizeof secret; i++)
		secret[i] = (uint8_t)(i * 151 + 7);
	sr_tree_key_set(&key, secret);
	return sr_nodes_new(&key);
}

static struct sr_hash some_hash(void)
{
	struct sr_hash h;

	for (size_t i = 0; i < SR_HASH_LEN; i++)
		h.b[i] = (uint8_t)(1 + chance(255));
	return h;
}

/* --- the model --------------------------------------------------------------------------------------------------- */

struct item {
	struct sr_bytes path;
	struct sr_version v;
};

struct model { /* sorted by path; the paths belong to the universe below */
	struct item *at;
	size_t n, cap;
};

static size_t model_lower(const struct model *m, struct sr_bytes path)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (sr_bytes_cmp(m->at[middle].path, path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct item *model_find(const struct model *m, struct sr_bytes path)
{
	size_t i = model_lower(m, path);

	return i < m->n && sr_bytes_eq(m->at[i].path, path) ? &m->at[i] : NULL;
}

static bool lies_below(struct sr_bytes path, struct sr_bytes top)
{
	return path.len > top.len && path.at[top.len] == 0 && memcmp(path.at, top.at, top.len) == 0;
}

/* Remove what lies below `path`, and itself too if wanted. */
static void model_remove(struct model *m, struct sr_bytes path, bool itself)
{
	size_t to = 0;

	for (size_t i = 0; i < m->n; i++)
		if (!lies_below(m->at[i].path, path) && !(itself && sr_bytes_eq(m->at[i].path, path)))
			m->at[to++] = m->at[i];
	m->n = to;
}

static void model_put(struct model *m, struct sr_bytes path, const struct sr_version *v)
{
	size_t i = model_lower(m, path);

	if (i == m->n || !sr_bytes_eq(m->at[i].path, path)) {
		if (m->n == m->cap) {
			m->cap = m->cap ? 2 * m->cap : 64;
			m->at = sr_realloc(m->at, m->cap * sizeof *m->at);
		}
		memmove(m->at + i + 1, m->at + i, (m->n - i) * sizeof *m->at);
		m->n++;
	}
	m->at[i] = (struct item){path, *v};
}

static void model_edit(struct model *m, uint8_t kind, const struct sr_edit *e)
{
	static const struct sr_version implicit = {.kind = SR_KIND_DIR};

	if (e->to.kind == SR_KIND_NONE) {
		model_remove(m, e->path, true);
		return;
	}
	for (size_t i = 0; kind == SR_KIND_FILES && i < e->path.len; i++) {
		struct sr_bytes parent = sr_bytes(e->path.at, i);
		struct item *it = model_find(m, parent);

		if (e->path.at[i] == 0 && (!it || it->v.kind != SR_KIND_DIR))
			model_put(m, parent, &implicit);
	}
	if (e->to.kind == SR_KIND_FILE)
		model_remove(m, e->path, false);
	model_put(m, e->path, &e->to);
}

static struct model model_copy(const struct model *m)
{
	struct model c = {.at = sr_alloc((m->n + 1) * sizeof *c.at), .n = m->n, .cap = m->n + 1};

	if (m->n)
		memcpy(c.at, m->at, m->n * sizeof *c.at);
	return c;
}

/* The store map of the items [from, to), all of which lie below a prefix of `skip` bytes, built without any edit. */
static void model_build(struct sr_nodes *s, const struct model *m, size_t from, size_t to, size_t skip, struct sr_bytes attrs,
                        struct sr_entry *out)
{
	struct sr_entry *entries = sr_alloc((to - from + 1) * sizeof *entries);
	size_t n = 0;

	while (from < to) {
		const struct item *it = &m->at[from++];
		struct sr_entry e = {.name = sr_bytes(it->path.at + skip, it->path.len - skip), .kind = it->v.kind, .mode = it->v.mode,
		                     .hash = it->v.hash, .leaves = 1, .bytes = it->v.bytes};
		size_t end = from;

		if (sr_kind_nests(e.kind)) {
			while (end < to && lies_below(m->at[end].path, it->path))
				end++;
			model_build(s, m, from, end, it->path.len + 1,
			            e.kind == SR_KIND_TABLE ? sr_bytes(it->v.hash.b, SR_HASH_LEN) : sr_bytes(NULL, 0), &e);
			if (e.kind == SR_KIND_DIR && e.leaves == 0)
				e.leaves = 1;
			from = end;
		}
		entries[n++] = e;
	}
	for (size_t i = n; i > 1; i--) { /* the order is nothing to it */
		size_t j = chance(i);
		struct sr_entry t = entries[i - 1];

		entries[i - 1] = entries[j];
		entries[j] = t;
	}
	sr_map_build(s, attrs, entries, n, out);
	free(entries);
}

/* --- a universe of paths ------------------------------------------------------------------------------------------ */

struct universe {
	uint8_t kind;
	struct sr_buf *paths; /* sorted, each once */
	size_t n;
};

static int buf_cmp(const void *a, const void *b)
{
	const struct sr_buf *ba = a, *bb = b;

	return sr_bytes_cmp(sr_buf_view(ba), sr_buf_view(bb));
}

static void universe_close(struct universe *u)
{
	size_t n = 0;

	qsort(u->paths, u->n, sizeof *u->paths, buf_cmp);
	for (size_t i = 0; i < u->n; i++) {
		if (n && buf_cmp(&u->paths[n - 1], &u->paths[i]) == 0)
			sr_buf_free(&u->paths[i]);
		else
			u->paths[n++] = u->paths[i];
	}
	u->n = n;
}

static void universe_free(struct universe *u)
{
	for (size_t i = 0; i < u->n; i++)
		sr_buf_free(&u->paths[i]);
	free(u->paths);
}

/* Paths of one to four components with few names, so that they nest; two directories with enough names to pass a bucket's size and fall
 * below it again. */
static struct universe files_universe(void)
{
	struct universe u = {.kind = SR_KIND_FILES, .paths = sr_alloc(1500 * sizeof *u.paths)};

	for (; u.n < 1500; u.n++) {
		struct sr_buf *p = &u.paths[u.n];

		if (u.n < 600) {
			for (size_t depth = 1 + chance(4); depth; depth--) {
				sr_buf_byte(p, (uint8_t)('a' + chance(5)));
				sr_buf_byte(p, (uint8_t)(chance(9) ? 1 + chance(3) : 255));
				sr_buf_add(p, "/", depth > 1);
			}
		} else {
			sr_buf_printf(p, u.n < 1050 ? "wide/%zu" : "aa/deep/%zu", u.n);
		}
		for (size_t i = 0; i < p->len; i++)
			if (p->at[i] == '/')
				p->at[i] = 0;
	}
	universe_close(&u);
	return u;
}

static struct universe database_universe(void)
{
	struct universe u = {.kind = SR_KIND_DATABASE, .paths = sr_alloc(1503 * sizeof *u.paths)};

	for (; u.n < 1503; u.n++) {
		struct sr_buf *p = &u.paths[u.n];

		sr_buf_printf(p, "%s", u.n % 3 ? u.n % 3 == 1 ? "users" : "items" : u.n % 30 ? "log" : "t");
		if (u.n < 6)
			continue;
		sr_buf_byte(p, 0);
		sr_buf_printf(p, "%zu", u.n * 7919);
		if (u.n % 5 == 0)
			sr_buf_byte(p, 0); /* a key holds any byte */
		if (u.n % 7 == 0)
			sr_buf_printf(p, "/..");
	}
	universe_close(&u);
	return u;
}

static bool is_table(const struct sr_buf *path)
{
	return !memchr(path->at, 0, path->len);
}

static struct sr_version random_version(const struct universe *u, size_t i, const struct model *m)
{
	struct sr_version v = {0};
	struct sr_bytes table;

	if (u->kind == SR_KIND_FILES) {
		v.kind = chance(4) ? SR_KIND_FILE : SR_KIND_DIR;
		v.mode = (uint16_t)(chance(2) ? 0644 : 0755);
	} else {
		v.kind = is_table(&u->paths[i]) ? SR_KIND_TABLE : SR_KIND_ROW;
		table = sr_bytes(u->paths[i].at, strnlen((char *)u->paths[i].at, u->paths[i].len));
		if (v.kind == SR_KIND_ROW && !model_find(m, table))
			return (struct sr_version){0}; /* rows need their table: only remove */
	}
	if (v.kind != SR_KIND_DIR)
		v.hash = some_hash();
	if (v.kind == SR_KIND_FILE || v.kind == SR_KIND_ROW)
		v.bytes = chance(100000);
	return v;
}

/* A batch of random edits, applied to the model as well. */
static size_t random_edits(const struct universe *u, struct model *m, unsigned of_ten, unsigned remove_of_ten, struct sr_edit *edits)
{
	size_t n = 0, stride = chance(3) ? 1 : 1 + chance(u->n);

	for (size_t i = chance(stride); i < u->n; i += stride) {
		struct sr_edit e = {.path = sr_buf_view(&u->paths[i])};

		if (chance(10) >= of_ten)
			continue;
		if (chance(10) >= remove_of_ten)
			e.to = random_version(u, i, m);
		else if (u->kind == SR_KIND_DATABASE && is_table(&u->paths[i]) && chance(4))
			continue; /* or there would hardly ever be rows */
		model_edit(m, u->kind, &e);
		edits[n++] = e;
	}
	return n;
}

static struct sr_hash model_root(struct sr_nodes *s, const struct model *m)
{
	struct sr_entry top = {0};

	model_build(s, m, 0, m->n, 0, sr_bytes(NULL, 0), &top);
	return top.hash;
}

/* --- differences --------------------------------------------------------------------------------------------------- */

struct seen {
	struct model a, b; /* the two versions reported of each path */
	struct sr_buf *paths;
	size_t n, cap;
};

static enum sr_status see(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	struct seen *seen = ctx;
	struct sr_bytes copy, parent;

	if (seen->n == seen->cap) {
		seen->cap = seen->cap ? 2 * seen->cap : 64;
		seen->paths = sr_realloc(seen->paths, seen->cap * sizeof *seen->paths);
	}
	seen->paths[seen->n] = (struct sr_buf){0};
	sr_buf_bytes(&seen->paths[seen->n], path);
	copy = sr_buf_view(&seen->paths[seen->n++]);
	assert_null(model_find(&seen->a, copy)); /* once each */
	for (size_t i = 0; i < seen->a.n; i++) {  /* nothing below it came before */
		parent = seen->a.at[i].path;
		assert_false(lies_below(parent, copy));
	}
	model_put(&seen->a, copy, a);
	model_put(&seen->b, copy, b);
	return SR_OK;
}

static void seen_free(struct seen *seen)
{
	for (size_t i = 0; i < seen->n; i++)
		sr_buf_free(&seen->paths[i]);
	free(seen->paths);
	free(seen->a.at);
	free(seen->b.at);
}

static void check_diff(const struct sr_nodes *s, uint8_t kind, const struct model *ma, const struct sr_hash *a, const struct model *mb,
                       const struct sr_hash *b)
{
	static const struct sr_version absent;
	struct seen seen = {0};
	struct sr_err err;
	size_t i = 0, j = 0, expected = 0;

	assert_int_equal(sr_store_diff(s, kind, a, b, see, &seen, &err), SR_OK);
	while (i < ma->n || j < mb->n) {
		int order = i == ma->n ? 1 : j == mb->n ? -1 : sr_bytes_cmp(ma->at[i].path, mb->at[j].path);
		struct sr_bytes path = order <= 0 ? ma->at[i].path : mb->at[j].path;
		const struct sr_version *va = order <= 0 ? &ma->at[i++].v : &absent;
		const struct sr_version *vb = order >= 0 ? &mb->at[j++].v : &absent;

		if (sr_version_eq(va, vb))
			continue;
		expected++;
		assert_non_null(model_find(&seen.a, path));
		assert_true(sr_version_eq(&model_find(&seen.a, path)->v, va));
		assert_true(sr_version_eq(&model_find(&seen.b, path)->v, vb));
	}
	assert_int_equal(seen.n, expected);
	seen_free(&seen);
}

/* --- the properties ------------------------------------------------------------------------------------------------ */

static void check_get(const struct sr_nodes *s, const struct universe *u, const struct model *m, const struct sr_hash *root)
{
	for (size_t i = 0; i < u->n; i += 1 + chance(20)) {
		struct sr_version v, absent = {0};
		struct item *it = model_find(m, sr_buf_view(&u->paths[i]));
		struct sr_err err;

		assert_int_equal(sr_store_get(s, u->kind, root, sr_buf_view(&u->paths[i]), &v, &err), SR_OK);
		assert_true(sr_version_eq(&v, it ? &it->v : &absent));
	}
}

static void check_universe(struct universe *u)
{
	static const unsigned of_ten[] = {10, 1, 5, 1, 9, 1, 10, 3}, removes[] = {2, 5, 8, 3, 1, 9, 10, 5};
	struct sr_nodes *s = new_nodes();
	struct model m = {0}, empty = {0};
	struct sr_edit *edits = sr_alloc(u->n * sizeof *edits);
	struct sr_hash root = none;

	for (int round = 0; round < 48; round++) {
		struct model before = model_copy(&m);
		size_t n = random_edits(u, &m, of_ten[round % 8], removes[round % 8], edits);
		struct sr_hash next, built, second = root;
		struct sr_err err;

		assert_int_equal(sr_store_edit(s, u->kind, &root, edits, n, &next, &err), SR_OK);
		built = model_root(s, &m);
		assert_true(sr_hash_eq(&next, &built));
		for (size_t i = 0, step; round < 8 && i < n; i += step) { /* and in small batches */
			step = 1 + chance(1 + n / 4);
			step = step > n - i ? n - i : step;
			assert_int_equal(sr_store_edit(s, u->kind, &second, edits + i, step, &second, &err), SR_OK);
		}
		if (round < 8 && n)
			assert_true(sr_hash_eq(&second, &built));
		check_get(s, u, &m, &next);
		check_diff(s, u->kind, &before, &root, &m, &next);
		if (round < 4) {
			check_diff(s, u->kind, &m, &next, &before, &root);
			check_diff(s, u->kind, &empty, &none, &m, &next);
			check_diff(s, u->kind, &m, &next, &empty, &none);
		}
		sr_nodes_hold(s, &next);
		sr_nodes_release(s, &root);
		sr_nodes_sweep(s);
		root = next;
		free(before.at);
	}
	free(m.at);
	free(edits);
	sr_nodes_free(s);
	universe_free(u);
}

static void test_files_like_the_model(void **state)
{
	struct universe u = files_universe();

	(void)state;
	check_universe(&u);
}

static void test_database_like_the_model(void **state)
{
	struct universe u = database_universe();

	(void)state;
	check_universe(&u);
}

/* One row at a time, over the size of a bucket and back, in two orders. */
static void test_single_rows_across_the_bucket_size(void **state)
{
	struct sr_nodes *s = new_nodes();
	struct sr_hash roots[701], root;
	struct sr_edit e = {.path = sr_bytes_of("t"), .to = {.kind = SR_KIND_TABLE}};
	struct sr_err err;

	(void)state;
	assert_int_equal(sr_store_edit(s, SR_KIND_DATABASE, &none, &e, 1, &root, &err), SR_OK);
	roots[0] = root;
	for (unsigned i = 0; i < 700; i++) {
		char path[16] = "t";
		int len = snprintf(path + 2, sizeof path - 2, "%u", i);

		e = (struct sr_edit){sr_bytes(path, 2 + (size_t)len), {.kind = SR_KIND_ROW, .hash = {{(uint8_t)(i + 1), 1}}}};
		assert_int_equal(sr_store_edit(s, SR_KIND_DATABASE, &root, &e, 1, &root, &err), SR_OK);
		roots[i + 1] = root;
	}
	for (unsigned i = 700; i-- > 0;) {
		char path[16] = "t";
		int len = snprintf(path + 2, sizeof path - 2, "%u", i);

		e = (struct sr_edit){.path = sr_bytes(path, 2 + (size_t)len)};
		assert_int_equal(sr_store_edit(s, SR_KIND_DATABASE, &root, &e, 1, &root, &err), SR_OK);
		assert_true(sr_hash_eq(&root, &roots[i]));
	}
	sr_nodes_free(s);
}

static enum sr_status count_entry(void *ctx, const struct sr_entry *e)
{
	uint64_t *sums = ctx;

	sums[0]++;
	sums[1] += e->leaves;
	sums[2] += e->bytes;
	return SR_OK;
}

static size_t build_rows(struct sr_nodes *s, size_t n, struct sr_entry *top)
{
	struct sr_entry *entries = sr_alloc((n + 1) * sizeof *entries);
	uint64_t *keys = sr_alloc((n + 1) * sizeof *keys);

	for (size_t i = 0; i < n; i++) {
		keys[i] = i * 3;
		entries[i] = (struct sr_entry){sr_bytes(&keys[i], 8), SR_KIND_ROW, 0, some_hash(), 1, i};
	}
	sr_map_build(s, sr_bytes_of("0123456789abcdef"), entries, n, top);
	free(entries);
	free(keys);
	return n;
}

static void test_map_reads(void **state)
{
	struct sr_nodes *s = new_nodes();
	size_t sizes[] = {0, 1, 256, 257, 20000};

	(void)state;
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		uint64_t sums[3] = {0}, leaves, bytes, key, n = sizes[k];
		struct sr_entry top, e;
		struct sr_bytes attrs;
		struct sr_node node;
		struct sr_err err;

		build_rows(s, n, &top);
		assert_int_equal(sr_map_each(s, &top.hash, count_entry, sums, &err), SR_OK);
		assert_true(sums[0] == n && sums[1] == n && sums[2] == n * (n - 1) / 2);
		assert_int_equal(sr_map_counts(s, &top.hash, &leaves, &bytes), SR_OK);
		assert_true(leaves == n && bytes == sums[2] && top.leaves == leaves && top.bytes == bytes);
		assert_int_equal(sr_map_attrs(s, &top.hash, &attrs), SR_OK);
		assert_true(sr_bytes_eq(attrs, sr_bytes_of("0123456789abcdef")));
		assert_int_equal(sr_nodes_load(s, &top.hash, NULL, 0, &node, &err), SR_OK);
		assert_int_equal(node.inner, n > SR_BUCKET_MAX);
		sr_node_free(&node);
		for (uint64_t i = 0; i < n; i += 1 + n / 100) {
			key = i * 3;
			assert_int_equal(sr_map_get(s, &top.hash, sr_bytes(&key, 8), &e), SR_OK);
			assert_int_equal(e.bytes, i);
			key++;
			assert_int_equal(sr_map_get(s, &top.hash, sr_bytes(&key, 8), &e), SR_E_NOTFOUND);
		}
	}
	sr_nodes_free(s);
}

static enum sr_status add_to_builder(void *ctx, const struct sr_entry *entry)
{
	sr_builder_add(ctx, entry);
	return SR_OK;
}

/* Entry by entry the same map comes out; of two entries of one name none does. */
static void test_builder(void **state)
{
	struct sr_nodes *s = new_nodes();
	size_t sizes[] = {0, 1, 256, 257, 20000};

	(void)state;
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		struct sr_entry want, top, first;
		struct sr_builder *b = sr_builder_new(s);
		uint64_t key = 0;

		build_rows(s, sizes[k], &want);
		assert_int_equal(sr_map_each(s, &want.hash, add_to_builder, b, NULL), SR_OK);
		assert_true(sr_builder_finish(b, sr_bytes_of("0123456789abcdef"), &top));
		assert_true(sr_hash_eq(&top.hash, &want.hash) && top.leaves == want.leaves && top.bytes == want.bytes);
		if (!sizes[k])
			continue;
		b = sr_builder_new(s);
		assert_int_equal(sr_map_each(s, &want.hash, add_to_builder, b, NULL), SR_OK);
		assert_int_equal(sr_map_get(s, &want.hash, sr_bytes(&key, 8), &first), SR_OK);
		first.hash = some_hash();
		sr_builder_add(b, &first);
		assert_false(sr_builder_finish(b, sr_bytes_of("0123456789abcdef"), &top));
	}
	sr_builder_free(NULL);
	sr_nodes_free(s);
}

/* What is held stays, what is not goes, and not a node is left when nothing is held. */
static void test_hold_and_sweep(void **state)
{
	struct sr_nodes *s = new_nodes(), *fresh = new_nodes();
	struct universe u = files_universe();
	struct model m = {0};
	struct sr_edit *edits = sr_alloc(u.n * sizeof *edits);
	struct sr_hash roots[9] = {none};
	uint64_t nodes, bytes, want_nodes, want_bytes;
	struct sr_err err;

	(void)state;
	for (int i = 1; i < 9; i++) {
		size_t n = random_edits(&u, &m, 7, 4, edits);

		assert_int_equal(sr_store_edit(s, u.kind, &roots[i - 1], edits, n, &roots[i], &err), SR_OK);
		sr_nodes_hold(s, &roots[i]);
		sr_nodes_hold(s, &roots[i]);
		sr_nodes_sweep(s);
	}
	for (int i = 1; i < 8; i++) {
		sr_nodes_release(s, &roots[i]);
		sr_nodes_release(s, &roots[i]);
	}
	sr_nodes_release(s, &roots[8]);
	sr_nodes_sweep(s);
	check_get(s, &u, &m, &roots[8]);
	assert_true(sr_nodes_whole(s, &roots[8]));

	model_root(fresh, &m);
	sr_nodes_count(s, &nodes, &bytes);
	sr_nodes_count(fresh, &want_nodes, &want_bytes);
	assert_int_equal(nodes, want_nodes);
	assert_int_equal(bytes, want_bytes);

	sr_nodes_release(s, &roots[8]);
	sr_nodes_sweep(s);
	sr_nodes_count(s, &nodes, &bytes);
	assert_true(nodes == 0 && bytes == 0);
	sr_nodes_free(s);
	sr_nodes_free(fresh);
	universe_free(&u);
	free(m.at);
	free(edits);
}

/* Any single byte of a node changed: refused, or exactly what encoding that node gives. */
static void check_mutations(const struct sr_nodes *s, const struct sr_hash *hash)
{
	struct sr_bytes bytes;
	struct sr_buf copy = {0}, again = {0};
	struct sr_err err;
	struct sr_node node;

	assert_true(sr_nodes_get(s, hash, &bytes));
	sr_buf_bytes(&copy, bytes);
	for (size_t i = 0; i < copy.len; i++) {
		for (unsigned v = 0; v < 256; v++) {
			copy.at[i] = (uint8_t)v;
			if (sr_node_decode(sr_buf_view(&copy), &node, &err) != SR_OK) {
				assert_true(err.code == SR_E_DATA && err.text[0] && v != bytes.at[i]);
				continue;
			}
			sr_buf_clear(&again);
			sr_node_encode(&again, &node);
			assert_true(sr_bytes_eq(sr_buf_view(&copy), sr_buf_view(&again)));
			sr_node_free(&node);
		}
		copy.at[i] = bytes.at[i];
		assert_int_equal(sr_node_decode(sr_bytes(copy.at, i), &node, &err), SR_E_DATA); /* cut short */
	}
	sr_buf_byte(&copy, 0);
	assert_int_equal(sr_node_decode(sr_buf_view(&copy), &node, &err), SR_E_DATA);
	sr_buf_free(&copy);
	sr_buf_free(&again);
}

static void test_mutated_nodes(void **state)
{
	struct sr_nodes *s = new_nodes();
	struct sr_entry top, mixed[] = {
		{sr_bytes_of("a"), SR_KIND_FILE, 0644, some_hash(), 1, 300},
		{sr_bytes_of("b"), SR_KIND_DIR, 0755, some_hash(), 200, 1 << 20},
		{sr_bytes_of("c"), SR_KIND_TABLE, 0, some_hash(), 0, 0},
		{sr_bytes_of("d"), SR_KIND_DATABASE, 0, some_hash(), UINT64_MAX, 1},
		{sr_bytes_of("e"), SR_KIND_FILES, 0, some_hash(), 1, UINT64_MAX},
	};
	struct sr_child children[] = {{0, some_hash(), 1, 1, 0}, {7, some_hash(), 300, 2000, 1 << 30}, {255, some_hash(), 1, 0, 9}};
	struct sr_node inner = {.inner = true, .children = children, .n = 3};
	struct sr_hash hash;

	(void)state;
	sr_map_build(s, sr_bytes(NULL, 0), mixed, 5, &top);
	check_mutations(s, &top.hash);
	build_rows(s, 5, &top);
	check_mutations(s, &top.hash);
	build_rows(s, 0, &top);
	check_mutations(s, &top.hash);
	sr_nodes_add(s, &inner, &hash);
	check_mutations(s, &hash);
	sr_nodes_free(s);
}

static void test_put_refuses(void **state)
{
	struct sr_nodes *s = new_nodes(), *other = new_nodes();
	struct sr_entry top;
	struct sr_bytes bytes;
	struct sr_hash wrong = some_hash(), hash;
	struct sr_err err;
	uint64_t nodes, total;

	(void)state;
	build_rows(s, 10, &top);
	assert_true(sr_nodes_get(s, &top.hash, &bytes));
	assert_int_equal(sr_nodes_put(other, &wrong, bytes, &err), SR_E_DATA);
	sr_hash_of(&hash, sr_nodes_key(s), sr_bytes_of("no node"));
	assert_int_equal(sr_nodes_put(other, &hash, sr_bytes_of("no node"), &err), SR_E_DATA);
	sr_nodes_count(other, &nodes, &total);
	assert_int_equal(nodes, 0);
	assert_int_equal(sr_nodes_put(other, &top.hash, bytes, &err), SR_OK);
	assert_int_equal(sr_nodes_put(other, &top.hash, bytes, &err), SR_OK); /* again is nothing */
	sr_nodes_count(other, &nodes, &total);
	assert_int_equal(nodes, 1);
	sr_nodes_free(s);
	sr_nodes_free(other);
}

static enum sr_status ignore(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	(void)ctx;
	(void)path;
	(void)a;
	(void)b;
	return SR_OK;
}

/* A forged map whose one bucket stands under every byte sixteen levels deep would be 2^128 visits. */
static void test_forged_multiplication(void **state)
{
	struct sr_nodes *s = new_nodes();
	struct sr_child children[256];
	struct sr_node bucket = {.n = 1}, inner = {.inner = true, .n = 256, .children = children};
	struct sr_entry file = {sr_bytes_of("a"), SR_KIND_FILE, 0644, some_hash(), 1, 1}, e;
	struct sr_hash hash, out;
	struct sr_edit edit = {sr_bytes_of("b"), {.kind = SR_KIND_FILE, .hash = some_hash()}};
	uint64_t sums[3];
	struct sr_err err;

	(void)state;
	bucket.entries = &file;
	sr_nodes_add(s, &bucket, &hash);
	for (int depth = 0; depth < 16; depth++) {
		for (unsigned b = 0; b < 256; b++)
			children[b] = (struct sr_child){(uint8_t)b, hash, 2, 2, 2};
		sr_nodes_add(s, &inner, &hash);
	}
	assert_int_equal(sr_store_diff(s, SR_KIND_FILES, &hash, &none, ignore, NULL, &err), SR_E_DATA);
	assert_int_equal(sr_map_each(s, &hash, count_entry, sums, &err), SR_E_DATA);
	assert_int_equal(sr_map_get(s, &hash, sr_bytes_of("b"), &e), SR_E_DATA);
	assert_int_equal(sr_store_edit(s, SR_KIND_FILES, &hash, &edit, 1, &out, &err), SR_E_DATA);

	for (unsigned b = 0; b < 256; b++) /* and one level more than a place has bytes */
		children[b] = (struct sr_child){(uint8_t)b, hash, 2, 2, 2};
	sr_nodes_add(s, &inner, &hash);
	assert_int_equal(sr_store_diff(s, SR_KIND_FILES, &hash, &none, ignore, NULL, &err), SR_E_DATA);
	sr_nodes_free(s);
}

static void check_wrong_level(uint8_t kind, struct sr_entry e, struct sr_bytes attrs)
{
	struct sr_nodes *s = new_nodes();
	struct sr_entry top;
	struct sr_err err;

	sr_map_build(s, sr_bytes(NULL, 0), NULL, 0, &top);
	if (sr_kind_nests(e.kind))
		e.hash = top.hash;
	sr_map_build(s, attrs, &e, 1, &top);
	assert_int_equal(sr_store_diff(s, kind, &none, &top.hash, ignore, NULL, &err), SR_E_DATA);
	sr_nodes_free(s);
}

static void test_wrong_levels(void **state)
{
	struct sr_bytes empty = sr_bytes(NULL, 0);

	(void)state;
	check_wrong_level(SR_KIND_FILES, (struct sr_entry){sr_bytes_of("x"), SR_KIND_ROW, 0, some_hash(), 1, 1}, empty);
	check_wrong_level(SR_KIND_FILES, (struct sr_entry){sr_bytes_of("x"), SR_KIND_TABLE, 0, none, 1, 1}, empty);
	check_wrong_level(SR_KIND_FILES, (struct sr_entry){sr_bytes_of("x"), SR_KIND_FILE, 0, some_hash(), 1, 1}, sr_bytes_of("attrs"));
	check_wrong_level(SR_KIND_DATABASE, (struct sr_entry){sr_bytes_of("x"), SR_KIND_FILE, 0, some_hash(), 1, 1}, empty);
	check_wrong_level(SR_KIND_DATABASE, (struct sr_entry){sr_bytes_of("x"), SR_KIND_TABLE, 0, none, 0, 0}, empty); /* no fingerprint */
}

static void test_empty_bucket_below_the_top(void **state)
{
	struct sr_nodes *s = new_nodes();
	struct sr_child children[2] = {{.byte = 1, .entries = 200}, {.byte = 2, .entries = 200}};
	struct sr_node inner = {.inner = true, .n = 2, .children = children};
	struct sr_hash hash;
	struct sr_err err;

	(void)state;
	sr_store_empty(s, SR_KIND_FILES, &children[0].hash);
	children[1].hash = children[0].hash;
	sr_nodes_add(s, &inner, &hash);
	assert_int_equal(sr_store_diff(s, SR_KIND_FILES, &hash, &none, ignore, NULL, &err), SR_E_DATA);
	sr_nodes_free(s);
}

static void test_version_eq(void **state)
{
	struct sr_version v = {.kind = SR_KIND_FILE, .mode = 0644, .bytes = 7, .hash = some_hash()}, w[5] = {v, v, v, v, v};

	(void)state;
	w[1].kind = SR_KIND_DIR;
	w[2].mode = 0755;
	w[3].bytes = 8;
	w[4].hash.b[15] ^= 1;
	for (int i = 0; i < 5; i++)
		assert_int_equal(sr_version_eq(&v, &w[i]), i == 0);
}

static void test_missing_nodes_are_gone(void **state)
{
	struct sr_nodes *s = new_nodes();
	struct sr_edit edit = {sr_bytes_of("b"), {.kind = SR_KIND_FILE, .hash = some_hash()}};
	struct sr_hash absent = some_hash(), out;
	struct sr_version v;
	struct sr_entry e;
	struct sr_bytes bytes;
	uint64_t n;
	struct sr_err err;

	(void)state;
	assert_int_equal(sr_store_diff(s, SR_KIND_FILES, &absent, &none, ignore, NULL, &err), SR_E_GONE);
	assert_int_equal(sr_store_get(s, SR_KIND_FILES, &absent, sr_bytes_of("x"), &v, &err), SR_E_GONE);
	assert_int_equal(sr_store_edit(s, SR_KIND_FILES, &absent, &edit, 1, &out, &err), SR_E_GONE);
	assert_int_equal(sr_map_get(s, &absent, sr_bytes_of("x"), &e), SR_E_GONE);
	assert_int_equal(sr_map_counts(s, &absent, &n, &n), SR_E_GONE);
	assert_int_equal(sr_map_attrs(s, &absent, &bytes), SR_E_GONE);
	sr_nodes_hold(s, &absent); /* a hold on what is not here yet does not make it so */
	assert_int_equal(sr_map_counts(s, &absent, &n, &n), SR_E_GONE);
	assert_false(sr_nodes_get(s, &absent, &bytes));
	sr_nodes_free(s);
}

static void test_bad_edits(void **state)
{
	static const struct sr_version file = {.kind = SR_KIND_FILE, .mode = 0644, .hash = {{1}}}, bare = {.kind = SR_KIND_FILE};
	static const struct sr_version wild = {.kind = SR_KIND_FILE, .mode = 01755, .hash = {{1}}};
	static const struct sr_version row = {.kind = SR_KIND_ROW, .hash = {{1}}}, table = {.kind = SR_KIND_TABLE};
	const struct {
		uint8_t kind;
		struct sr_edit e;
	} bad[] = {
		{SR_KIND_FILES, {sr_bytes("", 0), file}},
		{SR_KIND_FILES, {sr_bytes("a\0", 2), file}},
		{SR_KIND_FILES, {sr_bytes("a\0\0b", 4), file}},
		{SR_KIND_FILES, {sr_bytes("a\0..", 4), file}},
		{SR_KIND_FILES, {sr_bytes_of("a/b"), file}},
		{SR_KIND_FILES, {sr_bytes_of("a"), row}},
		{SR_KIND_FILES, {sr_bytes_of("a"), wild}},
		{SR_KIND_FILES, {sr_bytes_of("a"), bare}},
		{SR_KIND_DATABASE, {sr_bytes_of("t"), row}},
		{SR_KIND_DATABASE, {sr_bytes("t\0k", 3), table}},
		{SR_KIND_DATABASE, {sr_bytes("t\0k", 3), row}}, /* without its table */
		{SR_KIND_DATABASE, {sr_bytes("t\0", 2), row}},
	};
	struct sr_edit unsorted[] = {{sr_bytes_of("b"), file}, {sr_bytes_of("a"), file}};
	struct sr_edit twice[] = {{sr_bytes_of("b"), file}, {sr_bytes_of("b"), file}};
	struct sr_nodes *s = new_nodes();
	struct sr_hash out;
	struct sr_err err;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(sr_store_edit(s, bad[i].kind, &none, &bad[i].e, 1, &out, &err), SR_E_DATA);
	assert_int_equal(sr_store_edit(s, SR_KIND_FILES, &none, unsorted, 2, &out, &err), SR_E_DATA);
	assert_int_equal(sr_store_edit(s, SR_KIND_FILES, &none, twice, 2, &out, &err), SR_E_DATA);
	sr_nodes_free(s);
}

static void test_deepest_path(void **state)
{
	struct sr_nodes *s = new_nodes();
	struct sr_buf path = {0};
	struct sr_edit e = {.to = {.kind = SR_KIND_DIR, .mode = 0700}};
	struct sr_hash root;
	struct sr_version v;
	struct sr_err err;

	(void)state;
	for (int i = 0; i < SR_DEPTH_MAX; i++)
		sr_buf_add(&path, "d", 1 + (i + 1 < SR_DEPTH_MAX)); /* with the NUL between */
	e.path = sr_buf_view(&path);
	assert_int_equal(sr_store_edit(s, SR_KIND_FILES, &none, &e, 1, &root, &err), SR_OK);
	assert_int_equal(sr_store_get(s, SR_KIND_FILES, &root, e.path, &v, &err), SR_OK);
	assert_true(sr_version_eq(&v, &e.to));
	assert_int_equal(sr_store_diff(s, SR_KIND_FILES, &none, &root, ignore, NULL, &err), SR_OK);
	sr_buf_add(&path, "\0d", 2);
	e.path = sr_buf_view(&path);
	assert_int_equal(sr_store_edit(s, SR_KIND_FILES, &none, &e, 1, &root, &err), SR_E_DATA);
	sr_buf_free(&path);
	sr_nodes_free(s);
}

static void test_longest_names_fit(void **state)
{
	struct sr_nodes *s = new_nodes();
	struct sr_entry top, entries[SR_BUCKET_MAX];
	uint8_t *names = sr_alloc(SR_BUCKET_MAX * (size_t)SR_NAME_MAX);
	uint64_t leaves, bytes;

	(void)state;
	for (unsigned i = 0; i < SR_BUCKET_MAX; i++) {
		uint8_t *name = names + i * (size_t)SR_NAME_MAX;

		name[0] = (uint8_t)i;
		entries[i] = (struct sr_entry){sr_bytes(name, SR_NAME_MAX), SR_KIND_ROW, 0, some_hash(), 1, UINT64_MAX};
	}
	sr_map_build(s, sr_bytes(NULL, 0), entries, SR_BUCKET_MAX, &top);
	assert_int_equal(sr_map_counts(s, &top.hash, &leaves, &bytes), SR_OK);
	assert_true(leaves == SR_BUCKET_MAX && bytes == UINT64_MAX); /* the sum stops there */
	free(names);
	sr_nodes_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_like_the_model),
		cmocka_unit_test(test_database_like_the_model),
		cmocka_unit_test(test_single_rows_across_the_bucket_size),
		cmocka_unit_test(test_map_reads),
		cmocka_unit_test(test_builder),
		cmocka_unit_test(test_hold_and_sweep),
		cmocka_unit_test(test_mutated_nodes),
		cmocka_unit_test(test_put_refuses),
		cmocka_unit_test(test_forged_multiplication),
		cmocka_unit_test(test_wrong_levels),
		cmocka_unit_test(test_empty_bucket_below_the_top),
		cmocka_unit_test(test_version_eq),
		cmocka_unit_test(test_missing_nodes_are_gone),
		cmocka_unit_test(test_bad_edits),
		cmocka_unit_test(test_deepest_path),
		cmocka_unit_test(test_longest_names_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
