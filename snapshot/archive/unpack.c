/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/archive/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/beneath.h"
#include "snapshot/digest.h"
#include "snapshot/pages/chunk.h"

#define BUFFER_BYTES ((size_t)2 * PAGES_CHUNK_MAX) /* a chunk and what is decoded of it */
#define READ_BYTES   (256U << 10)
#define MAP_SIZE_MAX ((size_t)1 << 30) /* docs/formats/pages.md 1.2, rounded up */
#define SHOWN_MAX    120U

#define REFUSE(err, ...) snap_fail_plain((err), SNAP_E_CORRUPT, EBADMSG, __VA_ARGS__)

static bool is_stopped(const struct unpack *u)
{
	return u->talk->stop && atomic_load(u->talk->stop);
}

/* 0, ETIMEDOUT when nothing came; a signal only makes it look again */
static int await_input(const struct unpack *u)
{
	struct pollfd pfd = {.fd = u->from, .events = POLLIN};
	int r = 1;

	while (u->stall_ms > 0 && !is_stopped(u)) {
		r = poll(&pfd, 1, u->stall_ms);
		if (r >= 0 || errno != EINTR)
			break;
	}
	return r == 0 ? ETIMEDOUT : 0;
}

static la_ssize_t on_read(struct archive *tar, void *arg, const void **ret)
{
	struct unpack *u = arg;
	ssize_t n = 0;

	*ret = u->read_buf;
	u->errnum = await_input(u);
	if (u->errnum == 0) {
		do {
			n = is_stopped(u) ? 0 : read(u->from, u->read_buf, READ_BYTES);
		} while (n < 0 && errno == EINTR && !is_stopped(u));
		u->errnum = is_stopped(u) ? ECANCELED : n < 0 ? errno : 0;
	}
	if (u->errnum != 0) {
		archive_set_error(tar, u->errnum, "%s", strerror(u->errnum));
		return -1;
	}
	u->result.archive_bytes += (uint64_t)n;
	return n;
}

/* bytes of a stranger's, for a terminal */
static const char *shown(const char *name, char buf[SHOWN_MAX + 1])
{
	size_t n = strnlen(name, SHOWN_MAX);

	for (size_t i = 0; i < n; i++)
		buf[i] = (char)(name[i] >= ' ' && name[i] <= '~' ? name[i] : '?');
	buf[n] = '\0';
	return buf;
}

static int fail_read(const struct unpack *u, struct snap_error *err)
{
	const char *text = archive_error_string(u->tar);
	char buf[SHOWN_MAX + 1];

	if (u->errnum == ECANCELED)
		return snap_fail_plain(err, SNAP_E_INTERNAL, ECANCELED, "stopped");
	if (u->errnum == ETIMEDOUT)
		return snap_fail_plain(
			err, SNAP_E_PREFLIGHT, ETIMEDOUT,
			"the input stalled: nothing came for %d s, and without locks "
			"on this file system others wait for the store",
			u->stall_ms / 1000);
	if (u->errnum != 0)
		return snap_fail(err, SNAP_E_INTERNAL, u->errnum, "cannot read the archive");
	if (archive_errno(u->tar) == ENOMEM)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot read the archive");
	return REFUSE(err, "the archive is damaged, cut short, or none of ours: %s",
		      shown(text ? text : "no reason given", buf));
}

/* exactly size bytes of the member at hand */
static int take(struct unpack *u, const char *name, void *buf, size_t size, struct snap_error *err)
{
	size_t done = 0;

	while (done < size) {
		la_ssize_t n = archive_read_data(u->tar, (char *)buf + done, size - done);

		if (n < 0)
			return fail_read(u, err);
		if (n == 0)
			return REFUSE(err, "'%s' ends after %zu bytes too few", name, size - done);
		done += (size_t)n;
	}
	u->result.bytes += size;
	if (u->talk->progress)
		u->talk->progress(u->talk->arg, u->result.bytes, u->total);
	return 0;
}

static const char *kind_of(struct archive_entry *entry)
{
	if (archive_entry_hardlink(entry))
		return "a hard link";
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		return NULL;
	case AE_IFLNK:
		return "a symbolic link";
	case AE_IFDIR:
		return "a folder";
	case AE_IFCHR:
	case AE_IFBLK:
		return "a device";
	case AE_IFIFO:
		return "a fifo";
	default:
		return "no regular file";
	}
}

static bool leads_out(const char *name)
{
	for (const char *at = name; at; at = strchr(at, '/')) {
		at += *at == '/';
		if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0'))
			return true;
	}
	return name[0] == '/';
}

/* the next member must be this one; name NULL: there must be none. *ret_size is never negative */
static int expect(struct unpack *u, const char *name, uint64_t *ret_size, struct snap_error *err)
{
	struct archive_entry *entry;
	int r = archive_read_next_header(u->tar, &entry);
	const char *got, *kind;
	char buf[SHOWN_MAX + 1];

	if (r == ARCHIVE_EOF)
		return name ? REFUSE(err, "the archive ends where '%s' belongs", name) : 0;
	if (r != ARCHIVE_OK)
		return fail_read(u, err);
	got = archive_entry_pathname(entry);
	if (!got)
		return REFUSE(err, "the archive has a member without a name");
	shown(got, buf);
	kind = kind_of(entry);
	if (kind)
		return REFUSE(err, "member '%s' is %s, and only regular files are taken", buf,
			      kind);
	if (leads_out(got))
		return REFUSE(err, "member '%s' leads out of the store", buf);
	if (!name)
		return REFUSE(err, "member '%s' is not in the manifest", buf);
	if (strcmp(got, name) != 0)
		return REFUSE(err, "member '%s' stands where '%s' belongs", buf, name);
	if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0)
		return REFUSE(err, "member '%s' has no size", buf);
	*ret_size = (uint64_t)archive_entry_size(entry);
	u->result.files++;
	return 0;
}

static int expect_sized(struct unpack *u, const char *name, uint64_t size, struct snap_error *err)
{
	uint64_t got;
	int r = expect(u, name, &got, err);

	if (r == 0 && got != size)
		return REFUSE(err, "member '%s' has %" PRIu64 " bytes, %" PRIu64 " were announced",
			      name, got, size);
	return r;
}

static int make_file(int gen_fd, const char *name, struct snap_error *err)
{
	char folder[16];
	const char *slash = strchr(name, '/');
	int at, fd;

	if (slash) {
		size_t len = (size_t)(slash - name); /* "criu" or "files": members_make() */

		memcpy(folder, name, len);
		folder[len] = '\0';
		if (mkdirat(gen_fd, folder, 0700) < 0 && errno != EEXIST)
			return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make '%s'", folder);
		name = slash + 1;
	}
	at = openat(gen_fd, slash ? folder : ".", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	fd = at < 0 ? -1
		    : openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		(void)snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make '%s'", name);
	(void)fd_close(at);
	return fd < 0 ? -EIO : fd;
}

static int unpack_member(struct unpack *u, int gen_fd, const struct member *member,
			 struct snap_error *err)
{
	snap_cleanup(digest_done) struct digest digest = {NULL};
	snap_cleanup_close int fd = FD_NONE;
	uint64_t left = member->size;
	char hex[33];
	int r = expect_sized(u, member->name, member->size, err);

	if (r < 0)
		return r;
	if (digest_begin(&digest) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	fd = make_file(gen_fd, member->name, err);
	if (fd < 0)
		return fd;
	while (left > 0) {
		size_t want = left < BUFFER_BYTES ? (size_t)left : BUFFER_BYTES;

		r = take(u, member->name, u->buf, want, err);
		if (r < 0)
			return r;
		digest_add(&digest, u->buf, want);
		r = io_write_full(fd, u->buf, want);
		if (r < 0)
			return io_fail_write(err, SNAP_E_INTERNAL, -r, member->name);
		left -= want;
	}
	digest_end(&digest, hex);
	if (strcmp(hex, member->digest) != 0)
		return REFUSE(err, "member '%s' is damaged: digest %s, the manifest says %s",
			      member->name, hex, member->digest);
	return 0;
}

static int skip(struct unpack *u, const char *name, uint64_t size, struct snap_error *err)
{
	int r = 0;

	while (r == 0 && size > 0) {
		size_t want = size < BUFFER_BYTES ? (size_t)size : BUFFER_BYTES;

		r = take(u, name, u->buf, want, err);
		size -= want;
	}
	return r;
}

/* what no chunk names has no meaning: a hole takes less of the disk, and nothing unchecked is kept
 */
static int unpack_chunks(struct unpack *u, const struct page_map *map, int fd, const size_t *order,
			 size_t n, struct snap_error *err)
{
	const char *name = page_files_data_name(map->files);
	uint64_t at = 0;

	for (size_t i = 0; i < n; i++) {
		const struct page_chunk *chunk = &map->chunks[order[i]];
		const unsigned char *bytes;
		int r = skip(u, name, chunk->offset - at, err);

		if (r == 0)
			r = take(u, name, u->buf, chunk->stored_bytes, err);
		if (r < 0)
			return r;
		r = chunk_decode(map, order[i], u->buf, u->buf + PAGES_CHUNK_MAX, &bytes, err);
		if (r < 0) {
			snap_error_prefix(err, "%s", name);
			return r;
		}
		r = io_pwrite_full(fd, u->buf, chunk->stored_bytes, chunk->offset);
		if (r < 0)
			return io_fail_write(err, SNAP_E_INTERNAL, -r, name);
		at = chunk->offset + chunk->stored_bytes;
	}
	if (ftruncate(fd, (off_t)map->data_bytes) < 0)
		return io_fail_write(err, SNAP_E_INTERNAL, errno, name);
	return skip(u, name, map->data_bytes - at, err);
}

static int load_map(struct unpack *u, int gen_fd, enum page_files files, struct snap_error *err)
{
	struct page_map *map = &u->maps[files];
	snap_cleanup_free char *data = NULL;
	size_t size;
	int r = io_read_file(gen_fd, page_files_map_name(files), MAP_SIZE_MAX, &data, &size, err);

	if (r < 0)
		return r;
	r = page_map_parse(data, size, files, map, err);
	u->total += map->data_bytes;
	return r;
}

static int unpack_data(struct unpack *u, int gen_fd, const struct page_map *map,
		       int (*check_space)(void *arg, uint64_t bytes, struct snap_error *err),
		       void *arg, struct snap_error *err)
{
	const char *name = page_files_data_name(map->files);
	size_t n;
	snap_cleanup_free size_t *order = members_chunk_order(map, &n);
	snap_cleanup_close int fd = FD_NONE;
	uint64_t stored = 0;
	int r;

	if (!order)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	/* chunks do not overlap and end within data_bytes, so the sum is small enough */
	for (size_t i = 0; i < n; i++)
		stored += page_round_up(map->chunks[order[i]].stored_bytes);
	r = check_space(arg, stored, err);
	if (r == 0)
		r = expect_sized(u, name, map->data_bytes, err);
	if (r < 0)
		return r;
	fd = make_file(gen_fd, name, err);
	return fd < 0 ? fd : unpack_chunks(u, map, fd, order, n, err);
}

int unpack_members(struct unpack *u, int gen_fd,
		   int (*check_space)(void *arg, uint64_t bytes, struct snap_error *err), void *arg,
		   struct snap_error *err)
{
	uint64_t none;
	int r = 0;

	for (size_t i = 0; r == 0 && i < u->members.n; i++) {
		unsigned int files = members_files_of(u->members.items[i].name);

		r = unpack_member(u, gen_fd, &u->members.items[i], err);
		if (r == 0 && files < PAGE_FILES_MAX_)
			r = load_map(u, gen_fd, (enum page_files)files, err);
	}
	for (unsigned int i = 0; r == 0 && i < PAGE_FILES_MAX_; i++) {
		if (u->members.has_data[i])
			r = unpack_data(u, gen_fd, &u->maps[i], check_space, arg, err);
	}
	return r == 0 ? expect(u, NULL, &none, err) : r;
}

static int open_tar(struct unpack *u, struct snap_error *err)
{
	u->read_buf = malloc(READ_BYTES);
	u->buf = malloc(BUFFER_BYTES);
	u->tar = archive_read_new();
	if (!u->read_buf || !u->buf || !u->tar)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	/* nothing else is ever tried: no other format, and no decompression program */
	if (archive_read_support_filter_zstd(u->tar) != ARCHIVE_OK ||
	    archive_read_support_format_tar(u->tar) != ARCHIVE_OK ||
	    archive_read_open(u->tar, u, NULL, on_read, NULL) != ARCHIVE_OK)
		return fail_read(u, err);
	/* the last one stands for the bytes as they came; libarchive goes on as long as it finds
	 * one */
	if (archive_filter_count(u->tar) > 2)
		return REFUSE(err, "the archive is compressed more than once");
	return 0;
}

static int take_manifest(struct unpack *u, struct snap_error *err)
{
	uint64_t size;
	int r = expect(u, MANIFEST_NAME, &size, err);

	if (r < 0)
		return r;
	if (size > MANIFEST_SIZE_MAX)
		return REFUSE(err, MANIFEST_NAME " has %" PRIu64 " bytes, more than %u", size,
			      MANIFEST_SIZE_MAX);
	u->total = size;
	u->text_size = (size_t)size;
	u->text = malloc((size_t)size + 1);
	if (!u->text)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	r = take(u, MANIFEST_NAME, u->text, u->text_size, err);
	if (r == 0)
		r = manifest_parse(u->text, u->text_size, &u->m, err);
	if (r == 0)
		r = members_make(&u->m, &u->members, err);
	u->total += u->members.bytes;
	return r;
}

int unpack_begin(struct unpack *u, int from, const struct archive_talk *talk,
		 struct snap_error *err)
{
	int r;

	*u = (struct unpack){.from = from, .talk = talk};
	manifest_init(&u->m);
	r = open_tar(u, err);
	if (r == 0)
		r = take_manifest(u, err);
	if (r < 0)
		unpack_done(u);
	return r;
}

void unpack_done(struct unpack *u)
{
	(void)archive_read_free(u->tar);
	u->tar = NULL;
	for (unsigned int i = 0; i < PAGE_FILES_MAX_; i++)
		page_map_done(&u->maps[i]);
	members_done(&u->members);
	manifest_done(&u->m);
	free(u->text);
	free(u->read_buf);
	free(u->buf);
	u->text = NULL;
	u->read_buf = u->buf = NULL;
}
