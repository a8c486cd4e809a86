/* test_replica.c - stores, tree and state in step: real databases, real files, restarts. */
#include <pthread.h>
#include <stdatomic.h>

#include "lib/replica/backup.h"
#include "lib/replica/verify.h"
#include "tests/unit/replica_world.h"

/* --- opening ------------------------------------------------------------------------------------------------------ */

static void a_first_start_waits_for_its_key(void **state)
{
	struct world *w = *state;
	struct sr_uuid node;
	struct sr_hash id;

	open_replica(w);
	assert_true(w->r->fresh);
	assert_false(w->r->keyed);
	assert_false(sr_uuid_none(&w->r->node));
	assert_int_equal(w->r->n, 0);
	assert_false(sr_replica_use(w->r));
	start_with(w, 1);
	assert_true(w->r->keyed);
	assert_int_equal(w->r->n, 3);
	assert_string_equal(w->r->stores[USERS].name, "users.db");
	assert_string_equal(w->r->stores[RESOURCES].name, "resources");
	assert_false(sr_hash_none(&w->r->root));
	assert_true(sr_replica_use(w->r));
	sr_replica_unuse(w->r);
	node = w->r->node;
	id = w->r->key.id;
	restart_replica(w);
	assert_false(w->r->fresh);
	assert_true(w->r->keyed);
	assert_int_equal(w->r->n, 3);
	assert_memory_equal(&w->r->node, &node, sizeof node);
	assert_true(sr_hash_eq(&w->r->key.id, &id));
}

static void two_replicas_do_not_share_a_state(void **state)
{
	struct world *w = *state;
	struct sr_replica *other = NULL;

	open_replica(w);
	assert_int_equal(sr_replica_open(&other, w->config, SR_ROLE_WEBSERVER, &w->err), SR_E_BUSY);
	assert_null(other);
	ok(sr_replica_open(&other, w->config, SR_ROLE_DATASTORE, &w->err));
	assert_true(other->fresh);
	sr_replica_close(other);
}

static void stores_are_found_by_name(void **state)
{
	struct world *w = *state;
	size_t i = 99;

	assert_ptr_equal(sr_replica_find(w->r, sr_bytes_of("webstore.db"), &i), &w->r->stores[WEBSTORE]);
	assert_int_equal(i, WEBSTORE);
	assert_ptr_equal(sr_replica_find(w->r, sr_bytes_of("resources"), NULL), &w->r->stores[RESOURCES]);
	assert_null(sr_replica_find(w->r, sr_bytes_of("resource"), NULL));
	assert_null(sr_replica_find(w->r, sr_bytes("", 0), NULL));
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

static void mark(struct world *w, size_t i)
{
	struct sr_uuid id = sr_uuid_random(), instance = sr_uuid_random();

	ok(sr_replica_mark(w->r, i, &id, &instance, 1, 2, &w->err));
}

static void nothing_there_is_new(void **state)
{
	struct world *w = *state;

	open_replica(w);
	start_with(w, 1);
	sr_replica_look(w->r);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(w->r->stores[i].mode, SR_MODE_NEW);
	fill_stores(w);
	sr_replica_look(w->r);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(w->r->stores[i].mode, SR_MODE_READY);
		assert_true(w->r->stores[i].has_content);
		assert_true(sr_uuid_none(&w->r->stores[i].marker.id));
	}
}

static void a_store_of_ours_that_is_gone_is_lost(void **state)
{
	struct world *w = *state;

	scan_all(w);
	for (size_t i = 0; i < 3; i++)
		mark(w, i);
	close_replica(w);
	remove_tree(below(w, "res"));
	unlink(below(w, "users.db"));
	unlink(below(w, "users.db-wal"));
	unlink(below(w, "users.db-shm"));
	open_replica(w);
	sr_replica_look(w->r);
	assert_int_equal(w->r->stores[USERS].mode, SR_MODE_PAUSED);
	assert_non_null(strstr(w->r->stores[USERS].why, "lost"));
	assert_true(w->r->stores[USERS].since_ms > 0);
	assert_int_equal(w->r->stores[RESOURCES].mode, SR_MODE_PAUSED);
	assert_non_null(strstr(w->r->stores[RESOURCES].why, "lost"));
	assert_int_equal(w->r->stores[WEBSTORE].mode, SR_MODE_READY);
	/* Its map stays what it was, and so does the root. */
	assert_int_equal(version_at(w, RESOURCES, file_path("top")).kind, SR_KIND_FILE);

	make_dir(w, "res"); /* a mount point whose file system is missing */
	sr_replica_look_at(w->r, RESOURCES);
	assert_int_equal(w->r->stores[RESOURCES].mode, SR_MODE_PAUSED);
	put(w, "res/top", "top");
	sr_replica_look_at(w->r, RESOURCES);
	assert_int_equal(w->r->stores[RESOURCES].mode, SR_MODE_READY);
	assert_string_equal(w->r->stores[RESOURCES].why, "");
	assert_int_equal(w->r->stores[RESOURCES].since_ms, 0);
}

/* A first fill that was broken off is not a loss: the store may be filled again. */
static void a_pending_marker_alone_does_not_make_it_ours(void **state)
{
	struct world *w = *state;

	w->r->stores[RESOURCES].row.pending = sr_uuid_random();
	ok(sr_state_store_put(w->r->state, &w->r->stores[RESOURCES].row, &w->err));
	restart_replica(w);
	remove_tree(below(w, "res"));
	sr_replica_look(w->r);
	assert_int_equal(w->r->stores[RESOURCES].mode, SR_MODE_NEW);
}

static void what_is_no_store_is_paused(void **state)
{
	struct world *w = *state;
	char garbage[4096];

	memset(garbage, 'x', sizeof garbage);
	put_bytes(w, "users.db", garbage, sizeof garbage);
	put(w, "res", "a file");
	make_dir(w, "webstore.db");
	open_replica(w);
	start_with(w, 1);
	sr_replica_look(w->r);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(w->r->stores[i].mode, SR_MODE_PAUSED);
		assert_true(w->r->stores[i].why[0]);
	}
}

static void a_marker_is_pending_then_written_then_known(void **state)
{
	struct world *w = *state;
	struct sr_replica_store *s = &w->r->stores[RESOURCES];
	struct sr_uuid id = sr_uuid_random(), instance = sr_uuid_random();
	struct sr_store_row row;

	sr_replica_look(w->r);
	ok(sr_replica_mark(w->r, RESOURCES, &id, &instance, 3, 4, &w->err));
	ok(sr_state_store(w->r->state, "resources", &row, &w->err));
	assert_memory_equal(&row.marker, &id, sizeof id);
	assert_memory_equal(&row.node, &w->r->node, sizeof id);
	assert_true(sr_uuid_none(&row.pending));
	sr_replica_look_at(w->r, RESOURCES);
	assert_memory_equal(&s->marker.id, &id, sizeof id);
	assert_memory_equal(&s->marker.node, &w->r->node, sizeof id);
	assert_memory_equal(&s->marker.instance, &instance, sizeof id);
	assert_int_equal(s->marker.epoch, 3);
	assert_int_equal(s->marker.seq, 4);

	/* It cannot be written: both the last and the pending one are remembered. */
	remove_tree(below(w, "res"));
	put(w, "res", "a file");
	instance = sr_uuid_random();
	assert_int_not_equal(sr_replica_mark(w->r, RESOURCES, &instance, &instance, 5, 6, &w->err), SR_OK);
	assert_non_null(strstr(w->err.text, "resources"));
	ok(sr_state_store(w->r->state, "resources", &row, &w->err));
	assert_memory_equal(&row.marker, &id, sizeof id);
	assert_memory_equal(&row.pending, &instance, sizeof id);
}

/* --- scanning ----------------------------------------------------------------------------------------------------- */

struct heard {
	size_t n, made, gone;
	struct sr_version from, to; /* of the last */
	bool refuse;
	struct world *w;
};

static enum sr_status hear(void *ctx, size_t i, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to,
			   struct sr_err *err)
{
	struct heard *h = ctx;
	struct world *w = h->w;
	struct sr_leaf_row row = row_at(w, i, path); /* recorded before it is told */

	assert_true(sr_version_eq(&row.local, to));
	h->n++;
	h->made += from->kind == SR_KIND_NONE;
	h->gone += to->kind == SR_KIND_NONE;
	h->from = *from;
	h->to = *to;
	return h->refuse ? sr_err_set(err, SR_E_HELD, "refused by the test") : SR_OK;
}

static struct heard scan_heard(struct world *w, size_t i)
{
	struct heard h = {.w = w};

	ok(sr_replica_scan(w->r, i, true, hear, &h, &w->err));
	sr_replica_unview(w->r);
	return h;
}

static void a_scan_is_recorded(void **state)
{
	struct world *w = *state;
	struct sr_version top = file_version(w, "top");
	struct sr_leaf_row row;
	struct heard h;

	sr_replica_look(w->r);
	h = scan_heard(w, RESOURCES);
	assert_int_equal(h.n, 5); /* img, its two files, empty, top */
	assert_int_equal(h.made, 5);
	h = scan_heard(w, USERS);
	assert_int_equal(h.n, 3); /* the table and two rows */
	row = row_at(w, RESOURCES, file_path("top"));
	assert_true(sr_version_eq(&row.local, &top));
	assert_true(row.signature != 0);
	assert_int_equal(row.base_state, SR_BASE_UNKNOWN);
	assert_int_equal(row_at(w, RESOURCES, file_path("empty")).local.kind, SR_KIND_DIR);
	assert_int_equal(row_at(w, RESOURCES, file_path("img/\xff")).local.kind, SR_KIND_FILE);
	assert_int_equal(row_at(w, USERS, sr_bytes_of("users")).local.kind, SR_KIND_TABLE);
	assert_int_equal(row_at(w, USERS, user_path(2)).local.kind, SR_KIND_ROW);
	assert_int_equal(row_at(w, USERS, user_path(3)).local.kind, SR_KIND_NONE);

	assert_int_equal(scan_heard(w, RESOURCES).n, 0);
	assert_int_equal(scan_heard(w, USERS).n, 0);
	assert_int_equal(w->r->stores[RESOURCES].hashed, 3);
	assert_int_equal(w->r->stores[USERS].rows_read, 2);
	assert_true(w->r->stores[RESOURCES].row.inode != 0);

	put(w, "res/top", "tip");
	h = scan_heard(w, RESOURCES);
	assert_int_equal(h.n, 1);
	assert_true(sr_version_eq(&h.from, &top));
	top = file_version(w, "tip");
	assert_true(sr_version_eq(&h.to, &top));
	assert_int_equal(w->r->stores[RESOURCES].hashed, 4);

	unlink(below(w, "res/top"));
	sql(w, "users.db", "DELETE FROM users WHERE id = 1; UPDATE users SET name = 'eve'");
	assert_int_equal(scan_heard(w, RESOURCES).gone, 1);
	h = scan_heard(w, USERS);
	assert_int_equal(h.n, 2);
	assert_int_equal(h.gone, 1);
	assert_int_equal(row_at(w, RESOURCES, file_path("top")).local.kind, SR_KIND_NONE);
	assert_int_equal(row_at(w, USERS, user_path(1)).local.kind, SR_KIND_NONE);
}

static void a_scan_that_cannot_be_recorded_is_made_again(void **state)
{
	struct world *w = *state;
	struct heard h = {.w = w, .refuse = true};
	struct sr_hash before;

	scan_all(w);
	before = w->r->stores[RESOURCES].map;
	put(w, "res/new", "new");
	sql(w, "users.db", "INSERT INTO users VALUES (3, 'cy')");
	assert_int_equal(sr_replica_scan(w->r, RESOURCES, true, hear, &h, &w->err), SR_E_HELD);
	assert_int_equal(sr_replica_scan(w->r, USERS, true, hear, &h, &w->err), SR_E_HELD);
	assert_int_equal(h.n, 2);
	assert_true(sr_hash_eq(&w->r->stores[RESOURCES].map, &before));
	assert_int_equal(row_at(w, RESOURCES, file_path("new")).local.kind, SR_KIND_NONE);
	assert_null(w->r->stores[RESOURCES].view);
	assert_int_equal(scan_heard(w, RESOURCES).n, 1);
	assert_int_equal(scan_heard(w, USERS).n, 1);
}

/* The disk was full for what comes after it: what went away before the next one is seen to be gone. */
static void what_a_scan_recorded_is_gone_on_from(void **state)
{
	struct world *w = *state;
	struct sr_bytes path = row_path("items", &(struct sr_value){.class = SR_TEXT, .b = sr_bytes_of("b")});
	struct heard h = {.w = w};

	scan_all(w);
	sql(w, "webstore.db", "INSERT INTO items VALUES ('b', 2)");
	sql(w, "state/state.db", "CREATE TRIGGER full BEFORE INSERT ON store BEGIN SELECT RAISE(ABORT, 'full'); END;"
				 "CREATE TRIGGER full_too BEFORE UPDATE ON store BEGIN SELECT RAISE(ABORT, 'full'); END");
	assert_int_not_equal(sr_replica_scan(w->r, WEBSTORE, true, hear, &h, &w->err), SR_OK);
	assert_int_equal(h.made, 1);
	assert_int_equal(row_at(w, WEBSTORE, path).local.kind, SR_KIND_ROW);
	sql(w, "state/state.db", "DROP TRIGGER full; DROP TRIGGER full_too");
	sql(w, "webstore.db", "DELETE FROM items WHERE sku = 'b'");
	assert_int_equal(scan_heard(w, WEBSTORE).gone, 1);
	assert_int_equal(row_at(w, WEBSTORE, path).local.kind, SR_KIND_NONE);
}

static void a_scan_within_the_callers_step(void **state)
{
	struct world *w = *state;

	sr_replica_look(w->r);
	ok(sr_state_begin(w->r->state, &w->err));
	ok(sr_replica_scan(w->r, RESOURCES, false, NULL, NULL, &w->err));
	assert_non_null(w->r->stores[RESOURCES].view);
	sr_replica_unview(w->r);
	assert_null(w->r->stores[RESOURCES].view);
	ok(sr_state_commit(w->r->state, &w->err));
	restart_replica(w);
	assert_int_equal(row_at(w, RESOURCES, file_path("top")).local.kind, SR_KIND_FILE);
}

static void the_view_reads_what_was_scanned(void **state)
{
	struct world *w = *state;
	struct sr_version v;
	struct sr_content c;
	struct sr_hash seen;

	sr_replica_look(w->r);
	ok(sr_replica_scan(w->r, USERS, true, NULL, NULL, &w->err));
	sql(w, "users.db", "UPDATE users SET name = 'other'");
	v = version_at(w, USERS, user_path(1));
	ok(sr_view_read(w->r->stores[USERS].view, user_path(1), &c, &w->err));
	sr_hash_of(&seen, &w->r->key, c.record);
	assert_true(sr_hash_eq(&seen, &v.hash));
	sr_replica_unview(w->r);
}

/* --- verifying ---------------------------------------------------------------------------------------------------- */

struct between {
	struct world *w;
	int looks, wrong, skipped;
};

static enum sr_status look_and_write(void *ctx, size_t i, struct sr_err *err)
{
	struct between *b = ctx;
	enum sr_status rc;

	if (i == USERS && b->looks == 1)
		sql(b->w, "users.db", "UPDATE users SET name = 'ada' WHERE id = 1");
	rc = sr_replica_scan(b->w->r, i, true, NULL, NULL, err);
	sr_replica_unview(b->w->r);
	if (i == USERS && b->looks++ == 0)
		sql(b->w, "users.db", "UPDATE users SET name = 'between' WHERE id = 1");
	return rc;
}

static enum sr_status count_wrong(void *ctx, const char *path, const char *what, struct sr_err *err)
{
	(void)path, (void)what, (void)err;
	((struct between *)ctx)->wrong++;
	return SR_OK;
}

static enum sr_status count_skipped(void *ctx, const char *store, const char *why, struct sr_err *err)
{
	(void)why, (void)err;
	assert_string_equal(store, "users.db");
	((struct between *)ctx)->skipped++;
	return SR_OK;
}

static void what_was_written_and_taken_back_is_no_rot(void **state)
{
	struct world *w = *state;
	struct between b = {.w = w};
	struct sr_verify_ops ops = {.ctx = &b, .wrong = count_wrong, .skipped = count_skipped};
	struct sr_verify_counts counts;
	struct sr_version before, after;
	struct sr_pin pin = {0};
	int lock = -1;

	scan_all(w);
	before = version_at(w, USERS, user_path(1));
	ok(sr_backup_begin(w->r, &lock, &w->err));
	sr_pin_take(&pin, w->r, look_and_write, &b);
	assert_true(pin.stores[USERS].exact);
	ok(sr_verify_pin(&pin, &ops, &counts, &w->err));
	sr_pin_release(&pin);
	sr_backup_end(lock);
	assert_int_equal(b.wrong, 0);
	assert_int_equal(b.skipped, 1);
	sql(w, "users.db", "UPDATE users SET name = 'between' WHERE id = 1");
	scan_all(w);
	after = version_at(w, USERS, user_path(1));
	assert_false(sr_version_eq(&before, &after));
}

static void a_restart_remembers(void **state)
{
	struct world *w = *state;
	struct sr_hash root, maps[3];
	uint64_t leaves, bytes;

	scan_all(w);
	root = w->r->root;
	leaves = w->r->leaves;
	bytes = w->r->bytes;
	for (size_t i = 0; i < 3; i++)
		maps[i] = w->r->stores[i].map;
	assert_int_equal(leaves, 4 + 2 + 1);
	restart_replica(w);
	assert_true(sr_hash_eq(&w->r->root, &root));
	assert_int_equal(w->r->leaves, leaves);
	assert_int_equal(w->r->bytes, bytes);
	scan_all(w);
	scan_all(w);
	assert_true(sr_hash_eq(&w->r->root, &root));
	assert_int_equal(w->r->stores[RESOURCES].hashed, 0);
	assert_int_equal(w->r->stores[USERS].rows_read, 2); /* once: nobody vouches for a database before */
	assert_int_equal(w->r->stores[WEBSTORE].rows_read, 1);
	for (size_t i = 0; i < 3; i++)
		assert_true(sr_hash_eq(&w->r->stores[i].map, &maps[i]));
	put(w, "res/top", "changed");
	scan_all(w);
	assert_int_equal(w->r->stores[RESOURCES].hashed, 1);
	assert_false(sr_hash_eq(&w->r->root, &root));
}

/* By hand, with nodes of its own. */
static void the_root_is_that_of_a_tree_from_scratch(void **state)
{
	struct world *w = *state;
	struct sr_nodes *nodes;
	struct sr_column columns[2] = {{sr_bytes_of("id"), {.class = SR_INT}}, {sr_bytes_of("name"), {.class = SR_TEXT}}};
	struct sr_version table, item;
	struct sr_version rows[2] = {{.kind = SR_KIND_ROW}, {.kind = SR_KIND_ROW}};
	struct sr_version dir = {.kind = SR_KIND_DIR, .mode = 0755}, picture = file_version(w, "picture"), odd = file_version(w, "odd"),
			  top = file_version(w, "top"), sku = {.kind = SR_KIND_ROW};
	struct sr_column columns2[2] = {{sr_bytes_of("sku"), {.class = SR_TEXT, .b = sr_bytes_of("a")}}, {sr_bytes_of("n"), {.class = SR_INT, .i = 1}}};
	struct sr_entry entries[3] = {{.name = sr_bytes_of("users.db"), .kind = SR_KIND_DATABASE},
				      {.name = sr_bytes_of("webstore.db"), .kind = SR_KIND_DATABASE},
				      {.name = sr_bytes_of("resources"), .kind = SR_KIND_FILES}};
	struct sr_entry root;
	struct sr_buf record = {0};
	struct sr_hash none = {0};

	scan_all(w);
	nodes = sr_nodes_new(&w->r->key);
	for (int i = 0; i < 2; i++) {
		columns[0].value.i = i + 1;
		columns[1].value.b = sr_bytes_of(i ? "bob" : "ada");
		sr_buf_clear(&record);
		sr_record_encode(&record, columns, 2);
		rows[i].bytes = record.len;
		sr_hash_of(&rows[i].hash, &w->r->key, sr_buf_view(&record));
	}
	table = version_at(w, USERS, sr_bytes_of("users")); /* the fingerprint is the store's affair */
	struct sr_edit users[] = {{sr_bytes_of("users"), table}, {user_path(1), rows[0]}, {user_path(2), rows[1]}};

	ok(sr_store_edit(nodes, SR_KIND_DATABASE, &none, users, 3, &entries[0].hash, &w->err));
	sr_buf_clear(&record);
	sr_record_encode(&record, columns2, 2);
	sku.bytes = record.len;
	sr_hash_of(&sku.hash, &w->r->key, sr_buf_view(&record));
	item = version_at(w, WEBSTORE, sr_bytes_of("items"));
	struct sr_edit items[] = {{sr_bytes_of("items"), item}, {row_path("items", &columns2[1].value), sku}};

	if (sr_bytes_eq(columns2[0].name, sr_bytes_of("sku"))) /* encoding sorts them */
		items[1].path = row_path("items", &columns2[0].value);
	ok(sr_store_edit(nodes, SR_KIND_DATABASE, &none, items, 2, &entries[1].hash, &w->err));
	struct sr_edit files[] = {{file_path("empty"), dir}, {file_path("img"), dir}, {file_path("img/a b.png"), picture},
				  {sr_bytes("img\0\xff", 5), odd}, {sr_bytes_of("top"), top}};

	ok(sr_store_edit(nodes, SR_KIND_FILES, &none, files, 5, &entries[2].hash, &w->err));
	for (size_t i = 0; i < 3; i++) {
		assert_true(sr_hash_eq(&entries[i].hash, &w->r->stores[i].map));
		assert_int_equal(sr_map_counts(nodes, &entries[i].hash, &entries[i].leaves, &entries[i].bytes), SR_OK);
	}
	sr_map_build(nodes, sr_bytes(NULL, 0), entries, 3, &root);
	assert_true(sr_hash_eq(&root.hash, &w->r->root));
	sr_buf_free(&record);
	sr_nodes_free(nodes);
}

static bool same_version(struct sr_version a, struct sr_version b)
{
	return sr_version_eq(&a, &b);
}

/* --- unknown is not absent ------------------------------------------------------------------------------------------ */

static void unknown_paths_keep_their_rows(void **state)
{
	struct world *w = *state;
	struct sr_version top = file_version(w, "top"), was;
	struct sr_hash root;

	scan_all(w);
	was = row_at(w, RESOURCES, file_path("img")).local;
	unlink(below(w, "res/top"));
	assert_int_equal(symlink("img", below(w, "res/top")), 0);
	unlink(below(w, "res/img/\xff"));
	unlink(below(w, "res/img/a b.png"));
	assert_int_equal(symlink("x", below(w, "res/img/a b.png")), 0); /* img now holds nothing that can be seen */
	assert_int_equal(scan_heard(w, RESOURCES).n, 1);                /* only that img/\xff is gone */
	sr_replica_reroot(w->r);
	assert_int_equal(w->r->stores[RESOURCES].scan.unknowns, 2);
	assert_true(sr_replica_unknown(w->r, RESOURCES, file_path("top")));
	assert_true(sr_replica_unknown(w->r, RESOURCES, file_path("top/below")));
	assert_false(sr_replica_unknown(w->r, RESOURCES, file_path("to")));
	assert_false(sr_replica_unknown(w->r, RESOURCES, file_path("top2")));
	assert_false(sr_replica_unknown(w->r, RESOURCES, file_path("img")));
	assert_true(sr_replica_unknown_below(w->r, RESOURCES, file_path("img")));
	assert_true(sr_replica_unknown_below(w->r, RESOURCES, file_path("top")));
	assert_false(sr_replica_unknown_below(w->r, RESOURCES, file_path("im")));
	assert_false(sr_replica_unknown_below(w->r, RESOURCES, file_path("empty")));
	assert_false(sr_replica_unknown(w->r, USERS, sr_bytes_of("users")));

	top = file_version(w, "top");
	assert_true(same_version(row_at(w, RESOURCES, file_path("top")).local, top));
	assert_int_equal(row_at(w, RESOURCES, file_path("img/a b.png")).local.kind, SR_KIND_FILE);
	assert_true(same_version(row_at(w, RESOURCES, file_path("img")).local, was)); /* a directory of unknown paths is not gone */
	assert_int_equal(row_at(w, RESOURCES, file_path("img/\xff")).local.kind, SR_KIND_NONE);
	root = w->r->root;
	restart_replica(w);
	scan_all(w);
	assert_true(sr_hash_eq(&w->r->root, &root));
	assert_true(same_version(row_at(w, RESOURCES, file_path("top")).local, top));
}

/* Else everyone who follows this tree would delete them. */
static void unknown_paths_stay_in_the_tree(void **state)
{
	struct world *w = *state;
	struct sr_hash root;

	put(w, "res/img/deep", "deep");
	scan_all(w);
	root = w->r->root;
	assert_int_equal(rename(below(w, "res/img"), below(w, "aside")), 0);
	assert_int_equal(symlink("../aside", below(w, "res/img")), 0);
	unlink(below(w, "res/top"));
	assert_int_equal(mkfifo(below(w, "res/top"), 0644), 0);
	assert_int_equal(mkfifo(below(w, "res/empty/never seen"), 0644), 0);
	for (int i = 0; i < 2; i++) {
		scan_all(w);
		assert_int_equal(w->r->stores[RESOURCES].scan.unknowns, 3);
		assert_true(sr_hash_eq(&w->r->root, &root));
	}
	assert_int_equal(version_at(w, RESOURCES, file_path("empty/never seen")).kind, SR_KIND_NONE);
	restart_replica(w);
	assert_true(sr_hash_eq(&w->r->root, &root));
	scan_all(w);
	assert_true(sr_hash_eq(&w->r->root, &root));

	/* What is seen beside them changes as ever. */
	put(w, "res/other", "other");
	assert_int_equal(scan_heard(w, RESOURCES).n, 1);
	unlink(below(w, "res/other"));
	assert_int_equal(scan_heard(w, RESOURCES).n, 1);

	/* And what can be seen again is what it is. */
	unlink(below(w, "res/img"));
	assert_int_equal(rename(below(w, "aside"), below(w, "res/img")), 0);
	unlink(below(w, "res/top"));
	put(w, "res/top", "tip");
	assert_int_equal(scan_heard(w, RESOURCES).n, 1);
	unlink(below(w, "res/empty/never seen"));
	assert_int_equal(scan_heard(w, RESOURCES).n, 0);
}

static void below_an_unknown_directory_all_is_unknown(void **state)
{
	struct world *w = *state;

	scan_all(w);
	remove_tree(below(w, "res/img"));
	assert_int_equal(symlink("empty", below(w, "res/img")), 0);
	assert_int_equal(scan_heard(w, RESOURCES).n, 0);
	assert_true(sr_replica_unknown(w->r, RESOURCES, file_path("img/a b.png")));
	assert_int_equal(row_at(w, RESOURCES, file_path("img/a b.png")).local.kind, SR_KIND_FILE);
	unlink(below(w, "res/img"));
	assert_int_equal(scan_heard(w, RESOURCES).gone, 3); /* now it is seen that nothing is there */
	assert_int_equal(row_at(w, RESOURCES, file_path("img/a b.png")).local.kind, SR_KIND_NONE);
	assert_int_equal(version_at(w, RESOURCES, file_path("img")).kind, SR_KIND_NONE);
}

/* --- what an apply did ------------------------------------------------------------------------------------------------ */

static struct sr_leaves *taken_leaves(struct world *w, const struct sr_leaf *leaves, size_t n)
{
	struct sr_leaves *l = sr_leaves_new(NULL);

	for (size_t i = 0; i < n; i++)
		ok(sr_leaves_add(l, &leaves[i], &w->err));
	return l;
}

static void take(struct world *w, const struct sr_leaf *leaves, size_t n, enum sr_take_what what)
{
	struct sr_leaves *l = taken_leaves(w, leaves, n);

	ok(sr_state_begin(w->r->state, &w->err));
	ok(sr_replica_take(w->r, RESOURCES, l, what, 8, 9, &w->err));
	ok(sr_state_commit(w->r->state, &w->err));
	sr_leaves_free(l);
}

static void take_local(void **state)
{
	struct world *w = *state;
	struct sr_version top, new;
	struct sr_leaf_row row;

	scan_all(w);
	top = file_version(w, "top");
	new = file_version(w, "new");
	struct sr_leaf leaves[] = {{.path = sr_bytes_of("zz"), .to = new, .inode = 77},
				   {.path = sr_bytes_of("top"), .expect = top},
				   {.path = sr_bytes("img\0deep\0er", 11), .to = new}};

	take(w, leaves, 3, SR_TAKE_LOCAL);
	row = row_at(w, RESOURCES, file_path("zz"));
	assert_true(sr_version_eq(&row.local, &new));
	assert_int_equal(row.signature, 77);
	assert_int_equal(row.base_state, SR_BASE_UNKNOWN);
	assert_int_equal(row_at(w, RESOURCES, file_path("top")).local.kind, SR_KIND_NONE);
	assert_true(same_version(version_at(w, RESOURCES, file_path("zz")), new));
	assert_int_equal(version_at(w, RESOURCES, file_path("top")).kind, SR_KIND_NONE);
	assert_int_equal(version_at(w, RESOURCES, file_path("img/deep/er")).kind, SR_KIND_FILE);
}

static void take_base(void **state)
{
	struct world *w = *state;
	struct sr_version top, base;
	struct sr_leaf_row row;

	scan_all(w);
	top = file_version(w, "tip");
	base = file_version(w, "agreed");
	struct sr_leaf leaf = {.path = sr_bytes_of("top"), .expect = base, .to = top, .inode = 5, .epoch = 1, .seq = 1};

	take(w, &leaf, 1, SR_TAKE_BASE);
	row = row_at(w, RESOURCES, file_path("top"));
	assert_true(sr_version_eq(&row.local, &top));
	assert_int_equal(row.base_state, SR_BASE_KNOWN);
	assert_true(sr_version_eq(&row.base, &base));
	assert_int_equal(row.epoch, 8);
	assert_int_equal(row.seq, 9);
	assert_true(same_version(version_at(w, RESOURCES, file_path("top")), top));
}

static void take_as_of(void **state)
{
	struct world *w = *state;
	struct sr_version top;
	struct sr_leaf_row row;

	scan_all(w);
	top = file_version(w, "tip");
	struct sr_leaf leaf = {.path = sr_bytes_of("top"), .to = top, .epoch = 3, .seq = 4};

	take(w, &leaf, 1, SR_TAKE_AS_OF);
	row = row_at(w, RESOURCES, file_path("top"));
	assert_true(sr_version_eq(&row.local, &top) && sr_version_eq(&row.base, &top));
	assert_int_equal(row.base_state, SR_BASE_KNOWN);
	assert_int_equal(row.epoch, 3);
	assert_int_equal(row.seq, 4);
}

/* What was taken and rolled back is not in the map either, when the map could not follow. */
static void a_take_that_fails_changes_no_map(void **state)
{
	struct world *w = *state;
	struct sr_version v;
	struct sr_leaves *l;
	struct sr_hash before;

	scan_all(w);
	v = (struct sr_version){.kind = SR_KIND_ROW, .bytes = 1, .hash = file_version(w, "x").hash};
	struct sr_leaf leaf = {.path = row_path("no table", &(struct sr_value){.class = SR_INT, .i = 1}), .to = v};

	before = w->r->stores[USERS].map;
	l = taken_leaves(w, &leaf, 1);
	ok(sr_state_begin(w->r->state, &w->err));
	assert_int_equal(sr_replica_take(w->r, USERS, l, SR_TAKE_LOCAL, 0, 0, &w->err), SR_E_DATA);
	sr_state_rollback(w->r->state);
	sr_leaves_free(l);
	assert_true(sr_hash_eq(&w->r->stores[USERS].map, &before));
	scan_all(w);
	assert_true(sr_hash_eq(&w->r->stores[USERS].map, &before));
}

/* The map that a take made is the one that a scan finds, and costs no second look at the file. */
static void a_scan_agrees_with_what_was_taken(void **state)
{
	struct world *w = *state;
	struct sr_hash map;

	scan_all(w);
	put(w, "res/zz", "zz");
	unlink(below(w, "res/top"));
	struct sr_leaf leaves[] = {{.path = sr_bytes_of("top")}, {.path = sr_bytes_of("zz"), .to = file_version(w, "zz")}};

	take(w, leaves, 2, SR_TAKE_LOCAL);
	map = w->r->stores[RESOURCES].map;
	assert_int_equal(scan_heard(w, RESOURCES).n, 0);
	assert_true(sr_hash_eq(&w->r->stores[RESOURCES].map, &map));
	restart_replica(w);
	assert_true(sr_hash_eq(&w->r->stores[RESOURCES].map, &map));
}

/* --- another key -------------------------------------------------------------------------------------------------------- */

static void know_base(struct world *w, size_t i)
{
	w->r->stores[i].row.base_known = true;
	ok(sr_state_store_put(w->r->state, &w->r->stores[i].row, &w->err));
}

static void another_key_forgets_everything(void **state)
{
	struct world *w = *state;
	struct sr_hash root, first = {0};
	uint64_t open_rows = 99;

	scan_all(w);
	root = w->r->root;
	mark(w, RESOURCES);
	know_base(w, RESOURCES);
	first = w->r->stores[RESOURCES].map;
	start_with(w, 1); /* the same: nothing is forgotten */
	assert_true(sr_hash_eq(&w->r->root, &root));
	assert_true(w->r->stores[RESOURCES].row.base_known);
	assert_true(sr_hash_eq(&w->r->stores[RESOURCES].map, &first));

	start_with(w, 2);
	assert_false(sr_hash_eq(&w->r->root, &root));
	assert_int_equal(w->r->leaves, 0);
	for (size_t i = 0; i < 3; i++) {
		assert_false(w->r->stores[i].row.base_known);
		ok(sr_state_open_count(w->r->state, &w->r->stores[i].row, &open_rows, &w->err));
		assert_int_equal(open_rows, 0);
	}
	assert_int_equal(row_at(w, RESOURCES, file_path("top")).local.kind, SR_KIND_NONE);
	assert_false(sr_uuid_none(&w->r->stores[RESOURCES].row.marker)); /* it is still ours */
	scan_all(w);
	assert_int_equal(w->r->leaves, 7);
	assert_int_equal(w->r->stores[RESOURCES].hashed, 3);
	assert_int_equal(row_at(w, RESOURCES, file_path("top")).base_state, SR_BASE_UNKNOWN);
	root = w->r->root;
	restart_replica(w);
	assert_true(sr_hash_eq(&w->r->root, &root));
}

struct user {
	struct world *w;
	atomic_bool in, restarted;
	bool awaited, early, readable;
};

static void *use_stores(void *ctx)
{
	struct user *u = ctx;
	struct sr_replica *r = u->w->r;
	struct sr_view *view = NULL;
	struct sr_content c = {.fd = -1};
	struct sr_err err;

	if (!sr_replica_use(r))
		return NULL;
	atomic_store(&u->in, true);
	while (!sr_replica_awaited(r) && !atomic_load(&u->restarted))
		sched_yield();
	u->awaited = sr_replica_awaited(r);
	u->early = atomic_load(&u->restarted);
	if (sr_view_open(&view, r->stores[RESOURCES].store, SR_VIEW_EXTRA, &err) == SR_OK)
		u->readable = sr_view_read(view, sr_bytes_of("top"), &c, &err) == SR_OK;
	if (c.fd >= 0)
		close(c.fd);
	sr_view_close(view);
	sr_replica_unuse(r);
	return NULL;
}

static void a_start_waits_for_users_of_the_stores(void **state)
{
	struct world *w = *state;
	struct user u = {.w = w};
	pthread_t thread;

	scan_all(w);
	assert_int_equal(pthread_create(&thread, NULL, use_stores, &u), 0);
	while (!atomic_load(&u.in))
		sched_yield();
	start_with(w, 2);
	atomic_store(&u.restarted, true);
	pthread_join(thread, NULL);
	assert_true(u.awaited);
	assert_false(u.early);
	assert_true(u.readable);
	assert_false(sr_replica_awaited(w->r));
	assert_true(sr_replica_use(w->r));
	sr_replica_unuse(w->r);
}

/* --- readers beside the owner ------------------------------------------------------------------------------------------- */

struct guard {
	int depth, times, most;
};

static void guard_in(void *ctx)
{
	struct guard *g = ctx;

	g->times++;
	if (++g->depth > g->most)
		g->most = g->depth;
}

static void guard_out(void *ctx)
{
	((struct guard *)ctx)->depth--;
}

static void a_guard_is_taken_once_a_node(void **state)
{
	struct world *w = *state;
	struct sr_nodes *nodes;
	struct sr_entry *entries = sr_alloc(2000 * sizeof *entries), top;
	char (*names)[8] = sr_alloc(2000 * sizeof *names);
	struct guard g = {0};
	uint64_t n, bytes;

	nodes = sr_nodes_new(&w->r->key);
	for (int i = 0; i < 2000; i++) {
		snprintf(names[i], sizeof *names, "%d", i);
		entries[i] = (struct sr_entry){.name = sr_bytes_of(names[i]), .kind = SR_KIND_FILE, .leaves = 1, .hash = file_version(w, names[i]).hash};
	}
	sr_nodes_guard(nodes, guard_in, guard_out, &g);
	sr_map_build(nodes, sr_bytes(NULL, 0), entries, 2000, &top);
	sr_nodes_count(nodes, &n, &bytes);
	assert_true(n > 8);
	assert_int_equal(g.times, n);
	assert_int_equal(g.most, 1);
	assert_int_equal(g.depth, 0);
	sr_map_build(nodes, sr_bytes(NULL, 0), entries, 2000, &top); /* all are here already */
	assert_int_equal(g.times, n);
	sr_nodes_guard(nodes, NULL, NULL, NULL);
	sr_map_build(nodes, sr_bytes(NULL, 0), entries, 1999, &top);
	assert_int_equal(g.times, n);
	sr_nodes_free(nodes);
	free(entries);
	free(names);
}

struct reader {
	struct sr_replica *r;
	atomic_bool stop;
	uint64_t trees, faults;
};

static enum sr_status count_item(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	(void)path, (void)a, (void)b;
	++*(uint64_t *)ctx;
	return SR_OK;
}

static void *read_trees(void *ctx)
{
	struct reader *rd = ctx;
	struct sr_hash none = {0};

	do {
		uint64_t items = 0;

		sr_replica_read_lock(rd->r);
		rd->faults += sr_store_diff(rd->r->nodes, SR_KIND_FILES, &none, &rd->r->stores[RESOURCES].map, count_item, &items, NULL) != SR_OK;
		rd->faults += items < 5;
		sr_replica_unlock(rd->r);
		rd->trees++;
	} while (!atomic_load(&rd->stop));
	return NULL;
}

static void readers_go_on_while_the_owner_scans(void **state)
{
	struct world *w = *state;
	struct reader rd = {.r = w->r};
	pthread_t thread;
	char name[64];

	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof name, "res/img/%d", i);
		put(w, name, name);
	}
	scan_all(w);
	assert_int_equal(pthread_create(&thread, NULL, read_trees, &rd), 0);
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof name, "res/img/%d", i);
		put(w, name, "changed");
		put(w, "res/top", name);
		scan_all(w);
	}
	atomic_store(&rd.stop, true);
	pthread_join(thread, NULL);
	assert_true(rd.trees > 0);
	assert_int_equal(rd.faults, 0);
}

int main(void)
{
#define empty_test(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)
#define full_test(f) cmocka_unit_test_setup_teardown(f, world_begin_full, world_end)
	const struct CMUnitTest tests[] = {
		empty_test(a_first_start_waits_for_its_key),
		empty_test(two_replicas_do_not_share_a_state),
		full_test(stores_are_found_by_name),
		empty_test(nothing_there_is_new),
		full_test(a_store_of_ours_that_is_gone_is_lost),
		full_test(a_pending_marker_alone_does_not_make_it_ours),
		empty_test(what_is_no_store_is_paused),
		full_test(a_marker_is_pending_then_written_then_known),
		full_test(a_scan_is_recorded),
		full_test(a_scan_that_cannot_be_recorded_is_made_again),
		full_test(what_a_scan_recorded_is_gone_on_from),
		full_test(a_scan_within_the_callers_step),
		full_test(the_view_reads_what_was_scanned),
		full_test(what_was_written_and_taken_back_is_no_rot),
		full_test(a_restart_remembers),
		full_test(the_root_is_that_of_a_tree_from_scratch),
		full_test(unknown_paths_keep_their_rows),
		full_test(unknown_paths_stay_in_the_tree),
		full_test(below_an_unknown_directory_all_is_unknown),
		full_test(take_local),
		full_test(take_base),
		full_test(take_as_of),
		full_test(a_take_that_fails_changes_no_map),
		full_test(a_scan_agrees_with_what_was_taken),
		full_test(another_key_forgets_everything),
		full_test(a_start_waits_for_users_of_the_stores),
		full_test(a_guard_is_taken_once_a_node),
		full_test(readers_go_on_while_the_owner_scans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
