/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>

#include "snapshot/pages/reader.h"

struct uring_state {
	struct io_uring ring;
	uint32_t done[READER_DEPTH_MAX]; /* bytes that have come */
	bool busy[READER_DEPTH_MAX];
	int result[READER_DEPTH_MAX];
};

static int uring_open(struct page_reader *reader)
{
	struct uring_state *state = calloc(1, sizeof(*state));
	int r = state ? io_uring_queue_init(READER_DEPTH_MAX * 2, &state->ring, 0) : -ENOMEM;

	if (r < 0) {
		free(state);
		return r;
	}
	reader->state = state;
	return 0;
}

static int submit(struct page_reader *reader, unsigned int slot)
{
	struct uring_state *state = reader->state;
	const struct page_read *read = &reader->slots[slot];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&state->ring);
	int r;

	if (!sqe)
		return -EBUSY;
	io_uring_prep_read(sqe, reader->fd, read->buf + state->done[slot],
			   read->bytes - state->done[slot], read->offset + state->done[slot]);
	io_uring_sqe_set_data64(sqe, slot);
	do
		r = io_uring_submit(&state->ring);
	while (r == -EINTR || r == -EAGAIN);
	state->busy[slot] = r >= 0;
	return r < 0 ? r : 0;
}

static int uring_start(struct page_reader *reader, unsigned int slot)
{
	struct uring_state *state = reader->state;

	state->done[slot] = 0;
	state->result[slot] = 0;
	return submit(reader, slot);
}

/* a short read goes on where it ended */
static void take_completion(struct page_reader *reader, const struct io_uring_cqe *cqe)
{
	struct uring_state *state = reader->state;
	unsigned int slot = (unsigned int)io_uring_cqe_get_data64(cqe);
	int n = cqe->res;

	state->busy[slot] = false;
	if (n > 0)
		state->done[slot] += (uint32_t)n;
	if (n == 0)
		state->result[slot] = -EIO;
	else if (n < 0 && n != -EINTR && n != -EAGAIN)
		state->result[slot] = n;
	else if (state->done[slot] < reader->slots[slot].bytes)
		state->result[slot] = submit(reader, slot);
}

static int uring_finish(struct page_reader *reader, unsigned int slot)
{
	struct uring_state *state = reader->state;

	while (state->busy[slot]) {
		struct io_uring_cqe *cqe;
		struct io_uring_cqe seen;
		int r = io_uring_wait_cqe(&state->ring, &cqe);

		if (r == -EINTR)
			continue;
		if (r < 0)
			return r;
		seen = *cqe;
		io_uring_cqe_seen(&state->ring, cqe);
		take_completion(reader, &seen);
	}
	return state->result[slot];
}

static void uring_close(struct page_reader *reader)
{
	struct uring_state *state = reader->state;

	if (!state)
		return;
	for (unsigned int slot = 0; slot < READER_DEPTH_MAX; slot++)
		(void)uring_finish(reader, slot);
	io_uring_queue_exit(&state->ring);
	free(state);
	reader->state = NULL;
}

const struct page_reader_type page_reader_uring = {
	.name = "uring",
	.open = uring_open,
	.start = uring_start,
	.finish = uring_finish,
	.close = uring_close,
};
