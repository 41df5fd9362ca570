/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Walks the B+ trees of an LMDB data file (liblmdb 0.9, data version 1,
 * 64-bit) without LMDB. A page is reached by number from the meta page, the
 * number is checked against the end of the file before it is read and against
 * a bitmap before it is counted, so neither a loop nor a shared page gets
 * past. The free list is held against the same bitmap: a page that is both
 * free and used would be overwritten by a later commit.
 *
 * Reads only. The caller's read transaction keeps a live writer from reusing
 * the pages. One thread; all memory is freed before returning.
 */
#include "lib/store/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

enum {
	PAGES_META = 2,
	PAGES_HEAD = 16,      /* page header */
	PAGES_DEPTH_MAX = 32, /* LMDB's own limit */
	PAGES_SUBTREES = 3,   /* main, a table, its duplicates */
	PAGES_NODE = 8,       /* node header */
	PAGES_DB = 48,
	PAGES_TRIES = 20
};
enum {
	P_BRANCH = 1,
	P_LEAF = 2,
	P_OVERFLOW = 4,
	P_META = 8,
	P_DIRTY = 16, /* stays set in embedded pages only */
	P_LEAF2 = 32, /* values of one size, without headers of rows */
	P_SUBP = 64   /* embedded in a row of another page */
};
enum { F_BIGDATA = 1, F_SUBDATA = 2, F_DUPDATA = 4 };

#define PAGES_MAGIC 0xbeefc0deu
#define PAGES_NONE UINT64_MAX /* root of an empty tree */

/* These three mirror the file; all are read by memcpy. */
typedef struct pages_db {
	uint32_t pad;
	uint16_t flags, depth;
	uint64_t branch, leaf, overflow, entries, root;
} pages_db;

typedef struct pages_meta {
	uint32_t magic, version;
	uint64_t address, map_bytes;
	pages_db free, main;
	uint64_t last_page, txn;
} pages_meta;

typedef struct pages_head {
	uint64_t number;
	uint16_t pad, flags, lower, upper; /* overflow: u32 count */
} pages_head;

_Static_assert(sizeof(pages_db) == PAGES_DB, "as in the file");
_Static_assert(sizeof(pages_meta) == 136, "as in the file");
_Static_assert(sizeof(pages_head) == PAGES_HEAD, "as in the file");

typedef struct pages_walk {
	int fd;
	uint32_t page_bytes;
	uint64_t limit; /* pages that are in the file and in use */
	uint8_t *seen;
	uint8_t *buffers; /* one page per level */
	wbi_pages_result result;
	const wbi_pages_tick *tick;
	wb_error *err;
} pages_walk;

/* What a tree is, and what it turned out to have. */
typedef struct pages_count {
	const pages_db *db;
	unsigned subtree; /* 0: main tables, free list; 1: a table; 2: the
			   * duplicates of one of its keys */
	bool is_free_list;
	uint64_t branch, leaf, overflow, entries;
} pages_count;

/* ---- meta pages --------------------------------------------------------- */

static wb_code pages_read(int fd, void *ret, size_t len, uint64_t at,
			  wb_error *err)
{
	ssize_t n;

	do
		n = pread(fd, ret, len, (off_t)at);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return wbi_fail_errno(err, errno, __func__,
				      "read at byte %" PRIu64, at);
	if ((size_t)n != len)
		return WBI_FAIL(err, WB_ECORRUPT,
				"the file is truncated: it ends at byte %" PRIu64
				" within a page",
				at + (uint64_t)n);
	return WB_OK;
}

static wb_code pages_check_meta(const pages_head *head, const pages_meta *meta,
				unsigned index, wb_error *err)
{
	if (meta->magic != PAGES_MAGIC)
		return WBI_FAIL(err, WB_ECORRUPT,
				"meta page %u: not an LMDB file", index);
	if (meta->version != 1)
		return WBI_FAIL(err, WB_EVERSION,
				"meta page %u: LMDB data version %u, not 1",
				index, meta->version);
	if (head->number != index || !(head->flags & P_META))
		return WBI_FAIL(err, WB_ECORRUPT,
				"meta page %u: its header says otherwise",
				index);
	if (meta->free.pad < 512 || meta->free.pad > 65536 ||
	    (meta->free.pad & (meta->free.pad - 1)))
		return WBI_FAIL(err, WB_ECORRUPT,
				"meta page %u: a page size of %u", index,
				meta->free.pad);
	/* MDB_INTEGERKEY; MDB_FIXEDMAP and MDB_NOSUBDIR may be noted there */
	if ((meta->free.flags & ~0x4001) != 0x08 || meta->main.flags != 0)
		return WBI_FAIL(err, WB_ECORRUPT,
				"meta page %u: wrong flags of the main tables",
				index);
	if (meta->last_page < 1 ||
	    meta->last_page > meta->map_bytes / meta->free.pad)
		return WBI_FAIL(err, WB_ECORRUPT,
				"meta page %u: page %" PRIu64 " in a map of "
				"%" PRIu64 " bytes",
				index, meta->last_page, meta->map_bytes);
	return WB_OK;
}

/* Commits alternate between the two pages, so the numbers are neighbours; in a
 * file that was never written to both are 0. */
static wb_code pages_check_pair(const pages_meta meta[PAGES_META],
				wb_error *err)
{
	uint64_t a = meta[0].txn, b = meta[1].txn;
	bool fresh = a == 0 && b == 0;

	if (meta[0].free.pad != meta[1].free.pad)
		return WBI_FAIL(err, WB_ECORRUPT,
				"the meta pages differ in page size");
	if (fresh || ((a & 1) == 0 && (b & 1) == 1 && (a + 1 == b ||
						       b + 1 == a)))
		return WB_OK;
	return WBI_FAIL(err, WB_ECORRUPT,
			"the meta pages are of transactions %" PRIu64
			" and %" PRIu64 ", which do not follow on each other",
			a, b);
}

static wb_code pages_read_metas(int fd, pages_meta ret[PAGES_META],
				wb_error *err)
{
	uint8_t bytes[PAGES_HEAD + sizeof(pages_meta)];
	uint64_t at = 0;

	for (unsigned i = 0; i < PAGES_META; i++) {
		pages_head head;
		wb_code code = pages_read(fd, bytes, sizeof(bytes), at, err);

		if (code != WB_OK)
			return code;
		memcpy(&head, bytes, sizeof(head));
		memcpy(&ret[i], bytes + PAGES_HEAD, sizeof(ret[i]));
		code = pages_check_meta(&head, &ret[i], i, err);
		if (code != WB_OK)
			return code;
		at += ret[i].free.pad;
	}
	return pages_check_pair(ret, err);
}

static wb_code pages_open(const char *path, int *ret_fd, uint64_t *ret_bytes,
			  wb_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0)
		return wbi_fail_errno(err, errno, __func__, "\"%s\"", path);
	if (fstat(fd, &st)) {
		wb_code code = wbi_fail_errno(err, errno, __func__, "\"%s\"",
					      path);

		close(fd);
		return code;
	}
	*ret_fd = fd;
	*ret_bytes = (uint64_t)st.st_size;
	return WB_OK;
}

/* A commit may be going on: what is wrong now may be right in a moment. */
static wb_code pages_read_metas_live(int fd, pages_meta ret[PAGES_META],
				     wb_error *err)
{
	const struct timespec pause = {0, 500000};
	wb_error cause = WB_ERROR_INIT;
	wb_code code = WB_OK;

	for (int i = 0; i < PAGES_TRIES; i++) {
		wb_error_clear(&cause);
		code = pages_read_metas(fd, ret, &cause);
		if (code == WB_OK)
			return WB_OK;
		nanosleep(&pause, NULL);
	}
	wbi_error_pass(err, &cause);
	return code;
}

wb_code wbi_pages_header_read(const char *path, wbi_pages_header *ret,
			      wb_error *err)
{
	pages_meta meta[PAGES_META];
	const pages_meta *newer;
	uint64_t bytes = 0;
	int fd = -1;
	wb_code code = pages_open(path, &fd, &bytes, err);

	if (code != WB_OK)
		return code;
	code = pages_read_metas_live(fd, meta, err);
	close(fd);
	if (code != WB_OK)
		return code;
	newer = &meta[meta[1].txn > meta[0].txn];
	ret->page_bytes = newer->free.pad;
	ret->txn = newer->txn;
	ret->last_page = newer->last_page;
	ret->map_bytes = newer->map_bytes;
	ret->file_bytes = bytes;
	return WB_OK;
}

/* ---- trees -------------------------------------------------------------- */

/* Count `count` pages from `number` on as somebody's. */
static wb_code pages_take(pages_walk *w, uint64_t number, uint64_t count,
			  const char *what)
{
	if (number < PAGES_META || count > w->limit ||
	    number > w->limit - count)
		return WBI_FAIL(w->err, WB_ECORRUPT,
				"%s: pages %" PRIu64 " to %" PRIu64
				" are not in the file, which is cut off or "
				"damaged",
				what, number, number + count - 1);
	for (uint64_t i = number; i < number + count; i++) {
		uint8_t bit = (uint8_t)(1u << (i & 7));

		if (w->seen[i / 8] & bit)
			return WBI_FAIL(w->err, WB_ECORRUPT,
					"%s: page %" PRIu64 " belongs to "
					"something else already",
					what, i);
		w->seen[i / 8] |= bit;
	}
	if (w->tick && w->tick->call)
		w->tick->call(w->tick->ctx);
	return WB_OK;
}

static wb_code pages_bad(pages_walk *w, uint64_t number, const char *why)
{
	return WBI_FAIL(w->err, WB_ECORRUPT, "page %" PRIu64 ": %s", number,
			why);
}

static wb_code pages_tree(pages_walk *w, const pages_db *db, unsigned level,
			  unsigned subtree, bool is_free_list);

/* The list of pages that one transaction freed: a count, then numbers, the
 * highest first. */
static wb_code pages_free_list(pages_walk *w, const uint8_t *ids, size_t size)
{
	uint64_t count, number, before = UINT64_MAX;

	if (size < sizeof(count))
		return WBI_FAIL(w->err, WB_ECORRUPT, "free list: too short");
	memcpy(&count, ids, sizeof(count));
	if (count > size / 8 - 1)
		return WBI_FAIL(w->err, WB_ECORRUPT,
				"free list: %" PRIu64 " pages in %zu bytes",
				count, size);
	for (uint64_t i = 1; i <= count; i++) {
		uint64_t limit = w->limit;
		wb_code code;

		memcpy(&number, ids + 8 * i, sizeof(number));
		if (number >= before)
			return WBI_FAIL(w->err, WB_ECORRUPT,
					"free list: not in order");
		before = number;
		/* The file need not reach to the end of free pages. */
		w->limit = w->result.total;
		code = pages_take(w, number, 1, "free list");
		w->limit = limit;
		if (code != WB_OK)
			return code;
	}
	w->result.free += count;
	return WB_OK;
}

static wb_code pages_free_list_big(pages_walk *w, uint64_t number, size_t size)
{
	uint8_t *bytes = malloc(size);
	wb_code code;

	if (!bytes)
		return WBI_FAIL(w->err, WB_ENOMEM, "free list of %zu bytes",
				size);
	code = pages_read(w->fd, bytes, size,
			  number * w->page_bytes + PAGES_HEAD, w->err);
	if (code == WB_OK)
		code = pages_free_list(w, bytes, size);
	free(bytes);
	return code;
}

/* A value that was overwritten by a smaller one in the same transaction keeps
 * all of its pages; that they are as many as its table says is found later. */
static wb_code pages_overflow(pages_walk *w, uint64_t number, size_t size,
			      pages_count *count)
{
	uint64_t pages = (PAGES_HEAD - 1 + size) / w->page_bytes + 1;
	pages_head head;
	uint32_t stored;
	wb_code code;

	if (number >= w->limit)
		return pages_bad(w, number, "a large value is not in the file, "
					    "which is cut off or damaged");
	code = pages_read(w->fd, &head, sizeof(head), number * w->page_bytes,
			  w->err);
	if (code != WB_OK)
		return code;
	memcpy(&stored, &head.lower, sizeof(stored));
	if (head.number != number || !(head.flags & P_OVERFLOW) ||
	    stored < pages)
		return pages_bad(w, number, "not the large value that it "
					    "should be");
	code = pages_take(w, number, stored, "a large value");
	if (code != WB_OK)
		return code;
	count->overflow += stored;
	w->result.used += stored;
	if (count->is_free_list)
		return pages_free_list_big(w, number, size);
	return WB_OK;
}

typedef struct pages_node {
	const uint8_t *key, *data;
	uint16_t flags, key_len;
	uint32_t size;  /* leaf: of the data, wherever it lies */
	uint64_t space; /* in this page */
	uint64_t child; /* branch */
} pages_node;

static bool pages_header_fits(const pages_head *head, uint32_t size)
{
	return head->lower >= PAGES_HEAD && head->lower <= head->upper &&
	       head->upper <= size;
}

static unsigned pages_rows(const pages_head *head)
{
	return (unsigned)(head->lower - PAGES_HEAD) >> 1;
}

/* Node `i` of a page; everything of it lies between `upper` and the end. */
static wb_code pages_node_read(pages_walk *w, const uint8_t *page,
			       uint32_t page_bytes, const pages_head *head,
			       unsigned i, pages_node *ret)
{
	bool leaf = head->flags & P_LEAF;
	uint16_t at, part[4]; /* low, high, flags, key's length */

	memcpy(&at, page + PAGES_HEAD + 2 * (size_t)i, sizeof(at));
	if (at < head->upper || (uint32_t)at + PAGES_NODE > page_bytes)
		return pages_bad(w, head->number, "a row lies outside of it");
	memcpy(part, page + at, sizeof(part));
	ret->flags = part[2];
	ret->key_len = part[3];
	ret->size = part[0] | (uint32_t)part[1] << 16;
	ret->child = ret->size | (uint64_t)part[2] << 32;
	ret->key = page + at + PAGES_NODE;
	ret->data = ret->key + ret->key_len;
	ret->space = PAGES_NODE + ret->key_len;
	if (leaf)
		ret->space += ret->flags & F_BIGDATA ? 8 : ret->size;
	if (at + ret->space > page_bytes)
		return pages_bad(w, head->number, "a row reaches outside of it");
	ret->space += ret->space & 1;
	return WB_OK;
}

/* LMDB packs rows from the end of a page on; it deletes one by moving those
 * before it, and would move beyond the page if they were not as long. */
static wb_code pages_check_space(pages_walk *w, const pages_head *head,
				 uint32_t page_bytes, uint64_t space)
{
	if (space == page_bytes - head->upper)
		return WB_OK;
	return pages_bad(w, head->number, "its rows overlap or leave a gap");
}

/* Values of one size stand behind the header, and each moves `upper` on by
 * what is more than the two bytes by which it moves `lower`. */
static wb_code pages_check_fixed(pages_walk *w, const pages_head *head,
				 uint32_t page_bytes)
{
	uint64_t rows = pages_rows(head), all = rows * head->pad;

	if (head->lower >= PAGES_HEAD && head->pad > 0 &&
	    all <= page_bytes - PAGES_HEAD &&
	    head->upper + all == page_bytes + 2 * rows)
		return WB_OK;
	return pages_bad(w, head->number, "values of one size are damaged");
}

/* The duplicates of a key, as long as they are few: a page within a row. */
static wb_code pages_embedded(pages_walk *w, const pages_head *outer,
			      const pages_node *node, pages_count *count)
{
	bool fixed = count->db->flags & MDB_DUPFIXED;
	pages_head head = {0};
	uint64_t space = 0;

	if (node->size >= PAGES_HEAD)
		memcpy(&head, node->data, sizeof(head));
	head.number = outer->number; /* for what is said of it */
	if ((head.flags & ~P_DIRTY) !=
		    (P_LEAF | P_SUBP | (fixed ? P_LEAF2 : 0)) ||
	    (!fixed && !pages_header_fits(&head, node->size)))
		return pages_bad(w, head.number, "duplicates damaged");
	count->entries += pages_rows(&head);
	if (fixed)
		return pages_check_fixed(w, &head, node->size);
	for (unsigned i = 0; i < pages_rows(&head); i++) {
		pages_node inner = {.flags = 0};
		wb_code code;

		code = pages_node_read(w, node->data, node->size, &head, i,
				       &inner);
		if (code == WB_OK && inner.flags != 0)
			code = pages_bad(w, head.number, "duplicates damaged");
		if (code != WB_OK)
			return code;
		space += inner.space;
	}
	return pages_check_space(w, &head, node->size, space);
}

/* Tables stand in the main one, duplicates in tables that may have some. */
static bool pages_flags_fit(const pages_node *node, const pages_count *count)
{
	switch (node->flags) {
	case 0:
	case F_BIGDATA:
		return true;
	case F_SUBDATA:
		return count->subtree == 0 && !count->is_free_list;
	case F_DUPDATA:
	case F_DUPDATA | F_SUBDATA:
		return count->subtree == 1 && count->db->flags & MDB_DUPSORT;
	default:
		return false;
	}
}

static wb_code pages_leaf(pages_walk *w, const pages_head *head,
			  const pages_node *node, unsigned level,
			  pages_count *count)
{
	uint64_t number;
	pages_db db;

	if (!pages_flags_fit(node, count))
		return pages_bad(w, head->number,
				 "a row has flags that it cannot have");
	if (node->flags & F_SUBDATA) {
		if (node->size != PAGES_DB)
			return pages_bad(w, head->number,
					 "a table's row is damaged");
		memcpy(&db, node->data, sizeof(db));
		count->entries += node->flags & F_DUPDATA ? db.entries : 1;
		return pages_tree(w, &db, level + 1, count->subtree + 1, false);
	}
	if (node->flags & F_DUPDATA) /* these count one by one */
		return pages_embedded(w, head, node, count);
	count->entries++;
	if (node->flags & F_BIGDATA) {
		memcpy(&number, node->data, sizeof(number));
		return pages_overflow(w, number, node->size, count);
	}
	if (count->is_free_list)
		return pages_free_list(w, node->data, node->size);
	return WB_OK;
}

/* LMDB compares numbers without asking for their length. The first key of a
 * branch is none. */
static bool pages_key_fits(const pages_node *node, const pages_count *count,
			   bool first_of_branch)
{
	return !(count->db->flags & MDB_INTEGERKEY) || first_of_branch ||
	       node->key_len == 8 ||
	       (node->key_len == 4 && !count->is_free_list);
}

static wb_code pages_page(pages_walk *w, uint64_t number, unsigned level,
			  pages_count *count, unsigned depth);

static wb_code pages_page_rows(pages_walk *w, const uint8_t *page,
			       const pages_head *head, unsigned level,
			       pages_count *count, unsigned depth)
{
	uint64_t space = 0;

	for (unsigned i = 0; i < pages_rows(head); i++) {
		pages_node node = {.flags = 0};
		wb_code code =
			pages_node_read(w, page, w->page_bytes, head, i, &node);

		if (code == WB_OK &&
		    !pages_key_fits(&node, count, depth > 1 && i == 0))
			code = pages_bad(w, head->number,
					 "a number has the wrong length");
		if (code == WB_OK)
			code = depth == 1 ? pages_leaf(w, head, &node, level,
						       count)
					  : pages_page(w, node.child, level + 1,
						       count, depth - 1);
		if (code != WB_OK)
			return code;
		space += node.space;
	}
	return pages_check_space(w, head, w->page_bytes, space);
}

static wb_code pages_page(pages_walk *w, uint64_t number, unsigned level,
			  pages_count *count, unsigned depth)
{
	uint8_t *page = w->buffers + (size_t)level * w->page_bytes;
	bool fixed = count->subtree == 2 && count->db->flags & MDB_DUPFIXED;
	pages_head head;
	wb_code code;

	if (level >= PAGES_DEPTH_MAX * PAGES_SUBTREES || depth == 0)
		return pages_bad(w, number, "the tree is too deep");
	code = pages_take(w, number, 1, "a table");
	if (code == WB_OK)
		code = pages_read(w->fd, page, w->page_bytes,
				  number * w->page_bytes, w->err);
	if (code != WB_OK)
		return code;
	memcpy(&head, page, sizeof(head));
	w->result.used++;
	/* Leaves are all on the lowest level. */
	fixed = fixed && depth == 1;
	if (head.flags !=
	    (depth > 1 ? P_BRANCH : P_LEAF | (fixed ? P_LEAF2 : 0)))
		return pages_bad(w, number, "of the wrong kind");
	if (head.number != number ||
	    (!fixed && !pages_header_fits(&head, w->page_bytes)) ||
	    (fixed && head.pad != count->db->pad))
		return pages_bad(w, number, "its header is damaged");
	*(depth == 1 ? &count->leaf : &count->branch) += 1;
	if (!fixed)
		return pages_page_rows(w, page, &head, level, count, depth);
	count->entries += pages_rows(&head);
	return pages_check_fixed(w, &head, w->page_bytes);
}

static wb_code pages_tree(pages_walk *w, const pages_db *db, unsigned level,
			  unsigned subtree, bool is_free_list)
{
	pages_count count = {
		.db = db, .subtree = subtree, .is_free_list = is_free_list};
	wb_code code = WB_OK;

	if (db->root != PAGES_NONE)
		code = pages_page(w, db->root, level, &count, db->depth);
	if (code != WB_OK)
		return code;
	if (count.branch != db->branch || count.leaf != db->leaf ||
	    count.overflow != db->overflow || count.entries != db->entries)
		return WBI_FAIL(w->err, WB_ECORRUPT,
				"the table at page %" PRIu64 " has %" PRIu64
				" rows on %" PRIu64 "+%" PRIu64 "+%" PRIu64
				" pages, and says %" PRIu64 " on %" PRIu64
				"+%" PRIu64 "+%" PRIu64,
				db->root, count.entries, count.branch,
				count.leaf, count.overflow, db->entries,
				db->branch, db->leaf, db->overflow);
	return WB_OK;
}

static wb_code pages_walk_all(pages_walk *w, const pages_meta *meta,
			      uint64_t bytes)
{
	uint64_t in_file = bytes / meta->free.pad;
	wb_code code;

	w->page_bytes = meta->free.pad;
	w->result.total = meta->last_page + 1;
	w->limit = in_file < w->result.total ? in_file : w->result.total;
	w->seen = calloc(1, w->result.total / 8 + 1);
	w->buffers = malloc((size_t)PAGES_DEPTH_MAX * PAGES_SUBTREES *
			    w->page_bytes);
	if (!w->seen || !w->buffers)
		code = WBI_FAIL(w->err, WB_ENOMEM, "check %" PRIu64 " pages",
				w->result.total);
	else
		code = pages_tree(w, &meta->main, 0, 0, false);
	if (code == WB_OK)
		code = pages_tree(w, &meta->free, 0, 0, true);
	free(w->seen);
	free(w->buffers);
	return code;
}

wb_code wbi_pages_check(const char *path, MDB_txn *txn,
			const wbi_pages_tick *tick, wbi_pages_result *ret,
			wb_error *err)
{
	pages_walk w = {.fd = -1, .tick = tick, .err = err};
	pages_meta meta[PAGES_META];
	uint64_t bytes = 0, id = mdb_txn_id(txn);
	const pages_meta *mine;
	wb_code code = pages_open(path, &w.fd, &bytes, err);

	if (code != WB_OK)
		return code;
	code = pages_read_metas_live(w.fd, meta, err);
	mine = &meta[id & 1];
	if (code == WB_OK && id == 0)
		mine = &meta[0];
	/* Two commits since `txn` began: its meta page is gone. */
	if (code == WB_OK && mine->txn != id)
		code = WBI_FAIL(err, WB_EAGAIN, "the store is being written");
	if (code == WB_OK)
		code = pages_walk_all(&w, mine, bytes);
	close(w.fd);
	if (code == WB_OK)
		*ret = w.result;
	return code;
}
