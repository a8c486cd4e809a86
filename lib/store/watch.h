/* watch.h - what of one store may have changed since it was scanned, by inotify.  Private to lib/store.
 *
 * Events are hints: they mark directories, and the next scan of the store looks at these and takes all else from the scan before.  A mark is
 * cleared before its directory is looked at, and a directory is watched before it is listed, so that what changes meanwhile is marked again;
 * what a scan found counts when its owner has taken it (sr_watch_taken), else it is looked at once more.  New directories are not watched when
 * they are told of, but when the scan comes to them: what lies below them then is found by listing.  A directory that moves drops its watches with
 * all below it, and is new wherever it comes to.
 *
 * The next scan is a full one, over watches made anew: the first, one after Full-Scan-Interval, after the queue ran over, an unmount, a watch that the
 * kernel dropped by itself, another root, and sr_watch_lose.  Not told by the kernel, and found by that alone: what is written through a mapping,
 * through a hard link in another directory, and a mount inside of a tree.  What cannot be watched is scanned as ever, and sr_watch_report says
 * why: mount points inside, file systems that others change (nfs, cifs, fuse, 9p, ...), no watches or instances left; it is tried again after
 * Full-Scan-Interval.
 *
 * Of a database the directory of its file is watched, for that, its -wal and its -journal.
 *
 * Threads: sr_watch_drain, sr_watch_lose and sr_watch_report from any; the rest is the store's owner's.  Source: inotify(7). */
#ifndef SR_STORE_WATCH_H
#define SR_STORE_WATCH_H

#include <sys/stat.h>

#include "lib/store/internal.h"
#include "lib/store/watcher_internal.h"

struct sr_watch;

struct sr_watch *sr_watch_new(struct sr_watcher *watcher, struct sr_store *st); /* BORROWS both */
void sr_watch_free(struct sr_watch *w); /* NULL is a no-op */

/* Take in what the kernel has told, and add to *hints what it was. */
void sr_watch_drain(struct sr_watch *w, struct sr_hints *hints);
/* Meanwhile nothing is taken in: the store's exclusions change.  NULL is a no-op. */
void sr_watch_hold(struct sr_watch *w);
void sr_watch_release(struct sr_watch *w);
/* What is told between the two comes of our own apply, most of it: it is looked at, and waits for that. */
void sr_watch_ours(struct sr_watch *w, bool begin);
int64_t sr_watch_full_ms(const struct sr_watch *w); /* Full-Scan-Interval */
/* The next scan is a full one. */
void sr_watch_lose(struct sr_watch *w);
void sr_watch_report(struct sr_watch *w, struct sr_watch_report *out);

/* Nothing was told since the last look and scan, these were taken, and the directory is the one that is watched. */
bool sr_watch_is_quiet(struct sr_watch *w);
/* Of a database: as that - or, `anyhow`, however it is -, but it was written to, by a commit or by less: its data_version is to be looked at now.  The mark is cleared if nothing was
 * written for 10 s; else it stays, for the kernel tells of a write before the commit that it belongs to can be seen, and not of its end. */
bool sr_watch_was_written(struct sr_watch *w, bool anyhow);
/* That look found it as it was (it is due again, after as long as the last write is past), or not. */
void sr_watch_looked_at(struct sr_watch *w, bool moved);
/* Was anything told since the last scan, or of a database since the last look?  (What was merely left to be looked at again was not.) */
bool sr_watch_has_news(struct sr_watch *w);
/* Before a look at what is there and its marker. */
void sr_watch_look(struct sr_watch *w);

/* --- a scan of a tree ---------------------------------------------------------------------------------------------------- */

enum sr_watch_state {
	SR_WATCH_NEW,     /* not watched: all of it is to be looked at */
	SR_WATCH_MARKED,  /* to be looked at, and what of its directories is */
	SR_WATCH_BELOW,   /* only some directories below are */
	SR_WATCH_CLEAN,   /* neither it nor any below */
};

/* Begin a scan of the tree at `root`; true: a full one - or `full` says so -, and all directories are to be added.  Paths are from there. */
bool sr_watch_begin(struct sr_watch *w, int root, bool full);
/* The same of a database: what is written to it from now on is marked again. */
void sr_watch_begin_database(struct sr_watch *w);
/* Watch the directory open at fd, before it is listed. */
void sr_watch_add(struct sr_watch *w, struct sr_bytes path, int fd);
/* Of a directory in one that is listed: the inode is as listed; 0: not known.  Not asked about: it is watched no more (sr_watch_listed). */
enum sr_watch_state sr_watch_state(struct sr_watch *w, struct sr_bytes path, uint64_t inode);
void sr_watch_listed(struct sr_watch *w, struct sr_bytes path); /* all its directories were asked about */
/* The names of the directories in `path` that are MARKED or have some BELOW, each with a NUL, sorted. */
void sr_watch_below(struct sr_watch *w, struct sr_bytes path, struct sr_buf *names);
/* Look at this directory, or the one above, again next time. */
void sr_watch_again(struct sr_watch *w, struct sr_bytes path);
/* The same by the first scan in which what changed there until now is settled (sr_files_settled): what is told meanwhile is looked at as ever. */
void sr_watch_later(struct sr_watch *w, struct sr_bytes path);
/* well: it went through. */
void sr_watch_end(struct sr_watch *w, bool well);
/* What the last scan saw is what the owner's map says. */
void sr_watch_taken(struct sr_watch *w);

#endif
