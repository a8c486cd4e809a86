/* sql.h - every sentence that state*.c says to SQLite: X(NAME, "table: what for", "text").  The tables are made in state.c. */
#ifndef SR_STATE_SQL_H
#define SR_STATE_SQL_H

#define SR_LEAF_COLUMNS "path, local, signature, base_state, base, epoch, seq"

#define SR_JOURNAL_COLUMNS "epoch, seq, store, path, before, after, webserver, at_ms, mtime"

#define SR_SQL_LIST(X) \
	X(BEGIN_WRITE, "begin", "BEGIN IMMEDIATE") \
	X(BEGIN_READ, "begin", "BEGIN") \
	X(COMMIT, "commit", "COMMIT") \
	X(ROLLBACK, "roll back", "ROLLBACK") \
\
	X(META_GET, "meta: read", "SELECT value FROM meta WHERE name = ?") \
	X(META_PUT, "meta: write", "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value") \
	X(META_DROP, "meta: drop", "DELETE FROM meta WHERE name = ?") \
\
	X(STORE_GET, "store: read", "SELECT id, inode, marker, pending, node, base_known, epoch, seq, written, born FROM store WHERE name = ?") \
	X(STORE_EACH, "store: list", "SELECT id, inode, marker, pending, node, base_known, epoch, seq, written, born FROM store ORDER BY id") \
	X(STORE_NEW, "store: make", "INSERT INTO store (name) VALUES (?)") \
	X(STORE_WAS, "store: read", "SELECT base_known, epoch, seq FROM store WHERE id = ?") \
	X(STORE_PUT, "store: write", \
	  "UPDATE store SET inode = ?, marker = ?, pending = ?, node = ?, base_known = ?, epoch = ?, seq = ?, written = ?, born = ? WHERE id = ?") \
	X(STORE_FORGET, "store: forget base", "UPDATE store SET base_known = ?, epoch = ?, seq = ? WHERE id = ?") \
\
	X(LEAF_GET, "leaf: read", "SELECT " SR_LEAF_COLUMNS " FROM leaf WHERE store = ? AND path = ?") \
	X(LEAF_PUT, "leaf: write", \
	  "INSERT INTO leaf (store, " SR_LEAF_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (store, path) DO UPDATE SET " \
	  "local = excluded.local, signature = excluded.signature, base_state = excluded.base_state, base = excluded.base, " \
	  "epoch = excluded.epoch, seq = excluded.seq") \
	/* These go through many rows.  OR FAIL: a step that failed is rolled back as a whole, so SQLite need not keep each page as it was before the \
	 * statement. */ \
	X(LEAF_FILL, "leaf: write", \
	  "INSERT OR FAIL INTO leaf (store, " SR_LEAF_COLUMNS ") SELECT ?, c0, c1, c2, c3, c4, c5, c6 FROM sr_feed WHERE true " \
	  "ON CONFLICT (store, path) DO UPDATE SET local = excluded.local, signature = excluded.signature, " \
	  "base_state = excluded.base_state, base = excluded.base, epoch = excluded.epoch, seq = excluded.seq") \
	X(LEAF_ANY, "leaf: read", "SELECT 1 FROM leaf WHERE store = ? LIMIT 1") \
	X(LEAF_AGREE_OPEN, "leaf: agree", "UPDATE OR FAIL leaf SET base_state = 3, base = NULL, epoch = ?, seq = ? WHERE store = ? AND base_state <> 3") \
	X(LEAF_AGREE, "leaf: agree", "UPDATE leaf SET base_state = 3, base = NULL, epoch = ?, seq = ? WHERE store = ? AND path = ? AND local = ?") \
	X(LEAF_DROP, "leaf: drop", "DELETE FROM leaf WHERE store = ? AND path = ?") \
	X(LEAF_SIGN, "leaf: sign", "UPDATE leaf SET signature = ? WHERE store = ? AND path = ? AND local IS NOT NULL") \
	X(LEAF_EACH, "leaf: list", "SELECT " SR_LEAF_COLUMNS " FROM leaf WHERE store = ? ORDER BY path") \
	X(LEAF_OPEN, "leaf: list open", \
	  "SELECT " SR_LEAF_COLUMNS " FROM leaf INDEXED BY leaf_open WHERE store = ? AND base_state <> 3 ORDER BY path") \
	X(LEAF_COUNT_OPEN, "leaf: count open", "SELECT count(*) FROM leaf INDEXED BY leaf_open WHERE store = ? AND base_state <> 3") \
	/* Rows that say no more than their absence, once base_known has turned or the store's date has passed theirs. */ \
	X(LEAF_PURGE, "leaf: purge", \
	  "DELETE FROM leaf INDEXED BY leaf_absent WHERE store = ? AND local IS NULL AND base_state = ? AND (epoch, seq) <= (?, ?)") \
	/* Of what is not here, all is forgotten but a base that was something, and a hint. */ \
	X(LEAF_FORGET_ABSENT, "leaf: forget base", "DELETE FROM leaf WHERE store = ? AND local IS NULL") \
	X(LEAF_FORGET, "leaf: forget base", "UPDATE leaf SET base_state = 0, base = NULL WHERE store = ? AND base_state <> 0") \
	X(LEAF_CLEAR, "leaf: forget all", "DELETE FROM leaf WHERE store = ?") \
	X(LEAF_HINT_ABSENT, "leaf: make hints", \
	  "DELETE FROM leaf WHERE store = ?1 AND local IS NULL AND base IS NULL AND base_state <> 2 " \
	  "AND (epoch, seq) <= (SELECT epoch, seq FROM store WHERE id = ?1)") \
	X(LEAF_HINT, "leaf: make hints", \
	  "UPDATE leaf SET base = iif(base_state = 3, local, base), base_state = 2 WHERE store = ? AND base_state IN (1, 3)") \
\
	X(INTENT_HEAD_GET, "intent_head: read", "SELECT marker, epoch, seq, note FROM intent_head WHERE store = ?") \
	X(INTENT_HEAD_PUT, "intent_head: write", "INSERT INTO intent_head (store, marker, epoch, seq, note) VALUES (?, ?, ?, ?, ?)") \
	X(INTENT_HEAD_DROP, "intent_head: drop", "DELETE FROM intent_head WHERE store = ?") \
	X(INTENT_FILL, "intent: write", "INSERT OR FAIL INTO intent (store, n, leaf) SELECT ?, c0, c1 FROM sr_feed") \
	X(INTENT_EACH, "intent: list", "SELECT leaf FROM intent WHERE store = ? ORDER BY n") \
	X(INTENT_DROP, "intent: drop", "DELETE FROM intent WHERE store = ?") \
\
	X(OUTBOX_GET, "outbox: read", "SELECT id, prev, instance, epoch, seq, start FROM outbox") \
	X(OUTBOX_PUT, "outbox: write", \
	  "INSERT OR REPLACE INTO outbox (only, id, prev, instance, epoch, seq, start) VALUES (1, ?, ?, ?, ?, ?, ?)") \
	X(OUTBOX_DROP, "outbox: drop", "DELETE FROM outbox") \
	X(OUTBOX_LEAF_OTHERS, "outbox_leaf: drop", "DELETE FROM outbox_leaf WHERE store >= 0 AND NOT EXISTS (SELECT 1 FROM outbox WHERE id = ?)") \
	X(OUTBOX_LEAF_NEXT, "outbox_leaf: read", "SELECT ifnull(max(n) + 1, 0) FROM outbox_leaf WHERE store = ?") \
	X(OUTBOX_LEAF_FILL, "outbox_leaf: write", "INSERT OR FAIL INTO outbox_leaf (store, n, leaf) SELECT ?, c0, c1 FROM sr_feed") \
	X(OUTBOX_LEAF_EACH, "outbox_leaf: list", "SELECT leaf FROM outbox_leaf WHERE store = ? ORDER BY n") \
	X(OUTBOX_LEAF_DROP, "outbox_leaf: drop", "DELETE FROM outbox_leaf WHERE store >= 0") \
	X(OUTBOX_LEAF_DROP_OF, "outbox_leaf: drop", "DELETE FROM outbox_leaf WHERE store = ?") \
\
	X(ROOT_PUT, "root: write", "INSERT INTO root (epoch, seq, root, at_ms) VALUES (?, ?, ?, ?)") \
	X(ROOT_GET, "root: read", "SELECT epoch, seq, root, at_ms FROM root WHERE epoch = ? AND seq = ?") \
	X(ROOT_NEWEST, "root: read", "SELECT epoch, seq, root, at_ms FROM root ORDER BY epoch DESC, seq DESC LIMIT 1") \
	X(ROOT_EACH, "root: list", "SELECT epoch, seq, root, at_ms FROM root WHERE (epoch, seq) >= (?, ?) ORDER BY epoch, seq") \
	X(ROOT_TRIM, "root: trim", \
	  "DELETE FROM root WHERE (epoch, seq) <= (SELECT epoch, seq FROM root ORDER BY epoch DESC, seq DESC LIMIT 1 OFFSET ?)") \
\
	X(JOURNAL_PUT, "journal: write", \
	  "INSERT INTO journal (epoch, seq, store, path, before, after, webserver, at_ms, mtime) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)") \
	X(JOURNAL_FILL, "journal: write", \
	  "INSERT OR FAIL INTO journal (epoch, seq, store, webserver, at_ms, path, before, after, mtime) SELECT ?, ?, ?, ?, ?, c0, c1, c2, c3 FROM sr_feed") \
	X(JOURNAL_EACH, "journal: list", \
	  "SELECT " SR_JOURNAL_COLUMNS " FROM journal WHERE (epoch, seq) > (?, ?) ORDER BY epoch, seq, n") \
	X(JOURNAL_BACK, "journal: list", \
	  "SELECT " SR_JOURNAL_COLUMNS " FROM journal WHERE at_ms >= ?1 AND (?2 IS NULL OR store = ?2) AND " \
	  "(?3 IS NULL OR path = ?3 OR (path > ?4 AND path < ?5)) ORDER BY n DESC LIMIT ?6") \
	/* The first row of each path: of the bare columns SQLite takes those of the row with the least n. */ \
	X(JOURNAL_THEN, "journal: list", \
	  "SELECT epoch, seq, store, path, before, after, webserver, at_ms, mtime, min(n) FROM journal WHERE (epoch, seq) > (?1, ?2) AND " \
	  "store = ?3 AND (?4 IS NULL OR path = ?4 OR (path > ?5 AND path < ?6)) GROUP BY path ORDER BY path") \
	X(JOURNAL_ENDS, "journal: read", "SELECT ifnull((SELECT min(n) FROM journal), 0), ifnull((SELECT max(n) FROM journal), 0)") \
	/* One that is on the wrong side of row ?1 for its time: the clock was set. */ \
	X(JOURNAL_ASTRAY, "journal: read", "SELECT seq FROM journal WHERE (n < ?1) <> (at_ms <= ?2) LIMIT 1") \
	X(JOURNAL_ROW, "journal: read", "SELECT at_ms, epoch, seq FROM journal WHERE n = ?") \
	/* All before the commit that the row is of; by n, for that commit may be a giant that is looked at again and again as it grows. */ \
	X(JOURNAL_TRIM, "journal: trim", \
	  "DELETE FROM journal WHERE n < (SELECT min(n) FROM journal WHERE (epoch, seq) = (SELECT epoch, seq FROM journal WHERE n = ?))") \
\
	X(REPLACED_PUT, "replaced: write", \
	  "INSERT INTO replaced (hash, record, file, bytes, epoch, seq, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO UPDATE SET " \
	  "epoch = excluded.epoch, seq = excluded.seq, at_ms = excluded.at_ms WHERE (excluded.epoch, excluded.seq) > (epoch, seq)") \
	X(REPLACED_GET, "replaced: read", "SELECT record, file FROM replaced WHERE hash = ?") \
	X(REPLACED_HAS, "replaced: read", "SELECT file OR length(record) > 0 FROM replaced WHERE hash = ?") \
	X(REPLACED_AGE, "replaced: read", "SELECT at_ms FROM replaced ORDER BY at_ms LIMIT 1") \
	/* The following two are answered by the index replaced_age alone. */ \
	X(REPLACED_SMALL, "replaced: read", "SELECT at_ms FROM replaced WHERE file = 0 AND bytes <= 16384 ORDER BY at_ms DESC LIMIT 1 OFFSET ?") \
	X(REPLACED_OLDEST, "replaced: list", \
	  "SELECT at_ms, bytes FROM replaced WHERE file OR bytes > 16384 OR at_ms < ? ORDER BY at_ms") \
	X(REPLACED_TRIM, "replaced: trim", \
	  "DELETE FROM replaced WHERE rowid IN (SELECT rowid FROM replaced WHERE at_ms < ? AND (epoch, seq) < (?, ?) AND " \
	  "(file OR bytes > 16384 OR at_ms < ?) ORDER BY at_ms LIMIT ?) RETURNING hash, file") \
	X(TRASH_GET, "trash: read", "SELECT files, records, bytes FROM trash") \
\
	/* REPLACE gives the row a new n: the newest deletion is the last to be forgotten. */ \
	X(DELETED_PUT, "deleted: write", \
	  "INSERT OR REPLACE INTO deleted (store, path, epoch, seq) SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS " \
	  "(SELECT 1 FROM deleted WHERE store = ?1 AND path = ?2 AND (epoch, seq) > (?3, ?4))") \
	X(DELETED_GET, "deleted: read", "SELECT epoch, seq FROM deleted WHERE store = ? AND path = ?") \
	X(DELETED_COUNT, "deleted: count", "SELECT count(*) FROM deleted") \
	X(DELETED_TRIM, "deleted: trim", "DELETE FROM deleted WHERE n <= (SELECT n FROM deleted ORDER BY n DESC LIMIT 1 OFFSET ?)") \
\
	X(PUSH_GET, "push_result: read", "SELECT id, kind, epoch, seq, root, answer FROM push_result WHERE webserver = ?") \
	X(PUSH_PUT, "push_result: write", \
	  "INSERT OR REPLACE INTO push_result (webserver, id, kind, epoch, seq, root, answer) VALUES (?, ?, ?, ?, ?, ?, ?)") \
\
	X(CONFLICT_PUT, "conflict: write", "INSERT OR REPLACE INTO conflict (webserver, id, entry) VALUES (?, ?, ?)") \
	X(CONFLICT_DROP, "conflict: drop", "DELETE FROM conflict WHERE webserver = ? AND id = ?") \
	X(CONFLICT_DROP_ALL, "conflict: drop all", "DELETE FROM conflict WHERE webserver = ?") \
	X(CONFLICT_COUNT, "conflict: count", "SELECT count(*) FROM conflict WHERE webserver = ?") \
	X(CONFLICT_EACH, "conflict: list", "SELECT entry FROM conflict WHERE webserver = ? ORDER BY id") \
	X(CONFLICT_REPORT_PUT, "conflict_report: write", \
	  "INSERT OR REPLACE INTO conflict_report (webserver, token, total, bytes, at_ms) VALUES (?, ?, ?, ?, ?)") \
	X(CONFLICT_REPORT_GET, "conflict_report: read", "SELECT token, total, bytes, at_ms FROM conflict_report WHERE webserver = ?") \
\
	X(WEBSERVER_PUT, "webserver: write", \
	  "INSERT OR REPLACE INTO webserver (uuid, name, external_addr, peer, version, pin, sync_port, epoch, seq, root, seen_ms, status) " \
	  "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)") \
	X(WEBSERVER_DROP, "webserver: drop", "DELETE FROM webserver WHERE uuid = ?") \
	X(CONFLICT_SWEEP, "conflict: drop", "DELETE FROM conflict WHERE webserver NOT IN (SELECT uuid FROM webserver)") \
	X(CONFLICT_REPORT_SWEEP, "conflict_report: drop", "DELETE FROM conflict_report WHERE webserver NOT IN (SELECT uuid FROM webserver)") \
	X(WEBSERVER_EACH, "webserver: list", \
	  "SELECT uuid, name, external_addr, peer, version, pin, sync_port, epoch, seq, root, seen_ms, status FROM webserver ORDER BY name, uuid")

enum sr_sql {
#define SR_SQL_NAME(name, what, text) SR_SQL_##name,
	SR_SQL_LIST(SR_SQL_NAME)
#undef SR_SQL_NAME
	SR_SQL_COUNT
};

#endif
