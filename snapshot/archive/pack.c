/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/archive/pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/archive/members.h"
#include "snapshot/beneath.h"
#include "snapshot/digest.h"
#include "snapshot/pages/chunk.h"

#define BUFFER_BYTES (1U << 20)
#define BLOCK_BYTES  (256 << 10)
#define ZSTD_LEVEL   "3"

struct pack {
	int gen_fd;
	int to;
	int errnum; /* why the last write failed */
	const struct archive_talk *talk;
	struct archive *tar;
	struct archive_result *result;
	struct manifest m;
	struct members members;
	struct page_map maps[PAGE_FILES_MAX_];
	uint64_t total;
	time_t created;
	unsigned char *buf; /* BUFFER_BYTES */
};

static bool is_stopped(const struct pack *p)
{
	return p->talk->stop && atomic_load(p->talk->stop);
}

static la_ssize_t on_write(struct archive *tar, void *arg, const void *bytes, size_t size)
{
	struct pack *p = arg;
	int r = p->errnum	? -p->errnum
		: is_stopped(p) ? -ECANCELED
				: io_write_full(p->to, bytes, size);

	if (r < 0) {
		p->errnum = -r;
		archive_set_error(tar, -r, "%s", strerror(-r));
		return -1;
	}
	p->result->archive_bytes += size;
	return (la_ssize_t)size;
}

static int fail_write(const struct pack *p, struct snap_error *err)
{
	if (p->errnum == ECANCELED)
		return snap_fail_plain(err, SNAP_E_INTERNAL, ECANCELED, "stopped");
	if (p->errnum == 0)
		return snap_fail_plain(err, SNAP_E_INTERNAL, EIO, "cannot write the archive: %s",
				       archive_error_string(p->tar));
	return snap_fail(err, SNAP_E_INTERNAL, p->errnum, "cannot write the archive");
}

static int put_bytes(struct pack *p, const void *bytes, size_t size, struct snap_error *err)
{
	if (is_stopped(p))
		p->errnum = ECANCELED;
	if (is_stopped(p) ||
	    (size > 0 && archive_write_data(p->tar, bytes, size) != (la_ssize_t)size))
		return fail_write(p, err);
	p->result->bytes += size;
	if (p->talk->progress)
		p->talk->progress(p->talk->arg, p->result->bytes, p->total);
	return 0;
}

/* who packed it, and when, is not in it */
static int put_header(struct pack *p, const char *name, uint64_t size, struct snap_error *err)
{
	struct archive_entry *entry = archive_entry_new();
	int r;

	if (!entry)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0600);
	archive_entry_set_size(entry, (la_int64_t)size);
	archive_entry_set_mtime(entry, p->created, 0);
	r = archive_write_header(p->tar, entry);
	archive_entry_free(entry);
	if (r != ARCHIVE_OK)
		return fail_write(p, err);
	p->result->files++;
	return 0;
}

static int fail_changed(const char *name, struct snap_error *err)
{
	return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
			       "'%s' is damaged: its size or digest is not the manifest's", name);
}

static int copy_member(struct pack *p, const struct member *member, int fd, struct digest *digest,
		       struct snap_error *err)
{
	uint64_t left = member->size;
	int r = 0;

	while (r == 0 && left > 0) {
		size_t want = left < BUFFER_BYTES ? (size_t)left : BUFFER_BYTES;
		ssize_t n = io_read_full(fd, p->buf, want);

		if (n < 0)
			return snap_fail(err, SNAP_E_CORRUPT, (int)-n, "cannot read '%s'",
					 member->name);
		if ((size_t)n != want)
			return fail_changed(member->name, err);
		digest_add(digest, p->buf, want);
		left -= want;
		r = put_bytes(p, p->buf, want, err);
	}
	return r;
}

static int put_member(struct pack *p, const struct member *member, struct snap_error *err)
{
	snap_cleanup_close int fd =
		beneath_open(p->gen_fd, member->name, O_RDONLY | O_NOCTTY | O_NONBLOCK);
	snap_cleanup(digest_done) struct digest digest = {NULL};
	struct stat st;
	char hex[33];
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return snap_fail(err, SNAP_E_CORRUPT, fd < 0 ? -fd : errno, "cannot open '%s'",
				 member->name);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != member->size)
		return fail_changed(member->name, err);
	if (digest_begin(&digest) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	r = put_header(p, member->name, member->size, err);
	if (r == 0)
		r = copy_member(p, member, fd, &digest, err);
	if (r < 0)
		return r;
	digest_end(&digest, hex);
	return strcmp(hex, member->digest) == 0 ? 0 : fail_changed(member->name, err);
}

static int put_zeros(struct pack *p, uint64_t size, struct snap_error *err)
{
	int r = 0;

	if (size > 0)
		memset(p->buf, 0, size < BUFFER_BYTES ? (size_t)size : BUFFER_BYTES);
	while (r == 0 && size > 0) {
		size_t want = size < BUFFER_BYTES ? (size_t)size : BUFFER_BYTES;

		r = put_bytes(p, p->buf, want, err);
		size -= want;
	}
	return r;
}

/* bytes that no chunk names have no meaning and are written as zeros */
static int put_chunks(struct pack *p, const struct page_map *map, struct chunk_reader *reader,
		      struct snap_error *err)
{
	const char *name = page_files_data_name(map->files);
	size_t n;
	snap_cleanup_free size_t *order = members_chunk_order(map, &n);
	uint64_t at = 0;
	int r;

	if (!order)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	r = put_header(p, name, map->data_bytes, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct page_chunk *chunk = &map->chunks[order[i]];
		const unsigned char *bytes;

		r = chunk_read(reader, order[i], &bytes, err);
		if (r < 0) {
			snap_error_prefix(err, "%s", name);
			return r;
		}
		r = put_zeros(p, chunk->offset - at, err);
		if (r == 0)
			r = put_bytes(p, reader->buffers, chunk->stored_bytes, err);
		at = chunk->offset + chunk->stored_bytes;
	}
	return r == 0 ? put_zeros(p, map->data_bytes - at, err) : r;
}

static int put_data(struct pack *p, const struct page_map *map, struct snap_error *err)
{
	struct chunk_reader reader;
	int r = chunk_reader_open(p->gen_fd, map, &reader, err);

	if (r == 0) {
		r = put_chunks(p, map, &reader, err);
		chunk_reader_close(&reader);
	}
	return r;
}

static int put_all(struct pack *p, const char *text, size_t size, struct snap_error *err)
{
	int r = put_header(p, MANIFEST_NAME, size, err);

	if (r == 0)
		r = put_bytes(p, text, size, err);
	for (size_t i = 0; r == 0 && i < p->members.n; i++)
		r = put_member(p, &p->members.items[i], err);
	for (unsigned int i = 0; r == 0 && i < PAGE_FILES_MAX_; i++) {
		if (p->members.has_data[i])
			r = put_data(p, &p->maps[i], err);
	}
	if (r == 0 && archive_write_close(p->tar) != ARCHIVE_OK)
		r = fail_write(p, err);
	return r;
}

static int add_zstd(struct archive *tar)
{
	int r = archive_write_add_filter_zstd(tar);

	return r == ARCHIVE_OK ? archive_write_set_filter_option(tar, "zstd", "compression-level",
								 ZSTD_LEVEL)
			       : r;
}

/* plain ustar where it can say everything: only members of 8 GiB and more need a pax header */
static int open_tar(struct pack *p, enum archive_compress compress, struct snap_error *err)
{
	p->tar = archive_write_new();
	if (!p->tar)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	if (archive_write_set_format_pax_restricted(p->tar) != ARCHIVE_OK ||
	    (compress == ARCHIVE_COMPRESS_ZSTD && add_zstd(p->tar) != ARCHIVE_OK) ||
	    archive_write_set_bytes_per_block(p->tar, BLOCK_BYTES) != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(p->tar, 1) != ARCHIVE_OK ||
	    archive_write_open(p->tar, p, NULL, on_write, NULL) != ARCHIVE_OK)
		return fail_write(p, err);
	return 0;
}

/* raw, so that what a later version has put in is kept; a wake may replace the file meanwhile */
static int take_manifest(struct pack *p, char **ret_text, size_t *ret_size, struct snap_error *err)
{
	struct tm created = {.tm_year = 70};
	int r = io_read_file(p->gen_fd, MANIFEST_NAME, MANIFEST_SIZE_MAX, ret_text, ret_size, err);

	if (r < 0) {
		if (err)
			err->code = SNAP_E_CORRUPT;
		return r;
	}
	r = manifest_parse(*ret_text, *ret_size, &p->m, err);
	if (r == 0)
		r = members_make(&p->m, &p->members, err);
	p->total = *ret_size + p->members.bytes;
	for (unsigned int i = 0; r == 0 && i < PAGE_FILES_MAX_; i++) {
		if (p->members.has_data[i])
			r = page_map_load(p->gen_fd, (enum page_files)i, &p->maps[i], err);
		p->total += p->maps[i].data_bytes;
	}
	if (r < 0)
		return r;
	if (strptime(p->m.created, "%Y-%m-%dT%H:%M:%S", &created))
		p->created = timegm(&created);
	return 0;
}

/* libarchive would write the rest of the member as zeros; closing gives its buffers back */
static void give_up(struct pack *p)
{
	p->errnum = p->errnum ? p->errnum : ECANCELED;
	(void)archive_write_fail(p->tar);
	(void)archive_write_close(p->tar);
}

int archive_pack(int gen_fd, int to, enum archive_compress compress,
		 const struct archive_talk *talk, struct archive_result *ret,
		 struct snap_error *err)
{
	struct pack p = {.gen_fd = gen_fd, .to = to, .talk = talk, .result = ret};
	snap_cleanup_free unsigned char *buf = malloc(BUFFER_BYTES);
	snap_cleanup_free char *text = NULL;
	size_t size = 0;
	int r;

	*ret = (struct archive_result){.files = 0};
	if (!buf)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	p.buf = buf;
	manifest_init(&p.m);
	r = take_manifest(&p, &text, &size, err);
	if (r == 0)
		r = open_tar(&p, compress, err);
	if (r == 0)
		r = put_all(&p, text, size, err);
	if (p.tar && r < 0)
		give_up(&p);
	(void)archive_write_free(p.tar);
	for (unsigned int i = 0; i < PAGE_FILES_MAX_; i++)
		page_map_done(&p.maps[i]);
	members_done(&p.members);
	manifest_done(&p.m);
	return r;
}
