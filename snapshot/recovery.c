/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/recovery.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/pages/fill.h"

enum record_kind {
	RECORD_THREAD = 1,
	RECORD_DROPPED = 2,
};

/* in front of each record; both ends are the same program on the same machine */
struct record_head {
	uint32_t kind;
	uint32_t bytes; /* that follow */
};

struct record_thread {
	int32_t tid;
	uint32_t pad;
	uint64_t mask;
	struct user_regs_struct registers;
};

struct record_dropped {
	char store[PATH_MAX];
	char generation[STORE_NAME_MAX];
};

union record_body {
	struct record_thread thread;
	struct record_dropped dropped;
};

/* a memfd never writes less than it was given unless memory is out */
static int append(int fd, uint32_t kind, const void *body, size_t size)
{
	struct record_head head = {.kind = kind, .bytes = (uint32_t)size};
	struct iovec parts[] = {{&head, sizeof(head)}, {(void *)(uintptr_t)body, size}};
	ssize_t n;

	if (fd < 0)
		return 0;
	n = writev(fd, parts, ARRAY_LEN(parts));
	if (n < 0)
		return -errno;
	return (size_t)n == sizeof(head) + size ? 0 : -ENOSPC;
}

int recovery_note_thread(const struct injector *injector, void *arg)
{
	const struct recovery_journal *journal = arg;
	struct record_thread body = {
		.tid = injector->tid,
		.mask = injector->saved_mask,
		.registers = injector->saved,
	};

	return append(journal->fd, RECORD_THREAD, &body, sizeof(body));
}

int recovery_note_dropped(const struct recovery_journal *journal, const char *store_path,
			  const char *generation)
{
	struct record_dropped body = {0};

	if (journal->fd < 0)
		return 0;
	if (strlen(generation) >= sizeof(body.generation) || !realpath(store_path, body.store))
		return -errno;
	memcpy(body.generation, generation, strlen(generation));
	return append(journal->fd, RECORD_DROPPED, &body, sizeof(body));
}

int recovery_forget(const struct recovery_journal *journal)
{
	if (journal->fd < 0)
		return 0;
	if (ftruncate(journal->fd, 0) < 0 || lseek(journal->fd, 0, SEEK_SET) < 0)
		return -errno;
	return 0;
}

/* 1: a record; 0: the end, or one that its writer did not finish: nothing was done after it */
static int next_record(int fd, off_t *at, struct record_head *head, union record_body *body)
{
	ssize_t n = pread(fd, head, sizeof(*head), *at);

	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof(*head))
		return 0;
	if (head->bytes > sizeof(*body))
		return -EUCLEAN;
	n = pread(fd, body, head->bytes, *at + (off_t)sizeof(*head));
	if (n < 0)
		return -errno;
	if (n < (ssize_t)head->bytes)
		return 0;
	*at += (off_t)(sizeof(*head) + head->bytes);
	return 1;
}

static int refill(struct record_dropped *dropped, struct snap_error *err)
{
	struct fill_options options = {.thp = FILL_THP_NEVER};
	snap_cleanup_close int gen_fd = FD_NONE;
	struct store store = {.fd = FD_NONE};
	struct fill_result result;
	struct page_map map = {0};
	int r;

	dropped->store[sizeof(dropped->store) - 1] = '\0';
	dropped->generation[sizeof(dropped->generation) - 1] = '\0';
	r = store_open(&store, dropped->store, false, err);
	if (r < 0)
		return r;
	gen_fd = store_open_generation(&store, dropped->generation, err);
	r = gen_fd < 0 ? gen_fd : page_map_load(gen_fd, &map, err);
	if (r == 0)
		r = pages_fill(&map, gen_fd, &options, &result, err);
	page_map_done(&map);
	store_close(&store);
	return r;
}

static int put_back(const struct record_thread *thread, struct snap_error *err)
{
	int r = injector_put_back(thread->tid, &thread->registers, thread->mask, err);

	return r == -ESRCH ? 0 : r;
}

/* one pass over the journal for each kind of record: threads come last */
static int run_kind(int fd, uint32_t kind, struct snap_error *err)
{
	struct record_head head;
	union record_body body;
	off_t at = 0;
	int r;

	while ((r = next_record(fd, &at, &head, &body)) > 0) {
		if (head.kind != kind)
			continue;
		if (kind == RECORD_DROPPED && head.bytes == sizeof(body.dropped))
			r = refill(&body.dropped, err);
		else if (kind == RECORD_THREAD && head.bytes == sizeof(body.thread))
			r = put_back(&body.thread, err);
		else
			r = -EUCLEAN;
		if (r < 0)
			break;
	}
	if (r == -EUCLEAN)
		return snap_fail_plain(err, SNAP_E_INTERNAL, EUCLEAN, "the journal is damaged");
	return r;
}

int recovery_run(int journal_fd, struct snap_error *err)
{
	int r = run_kind(journal_fd, RECORD_DROPPED, err);

	return r == 0 ? run_kind(journal_fd, RECORD_THREAD, err) : r;
}
