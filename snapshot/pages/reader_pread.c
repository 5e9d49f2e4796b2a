/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "common/io.h"
#include "snapshot/pages/reader.h"

static int pread_open(struct page_reader *reader)
{
	reader->depth = 1; /* nothing goes on while nobody waits */
	return 0;
}

static int pread_start(struct page_reader *reader, unsigned int slot)
{
	(void)reader;
	(void)slot;
	return 0;
}

static int pread_finish(struct page_reader *reader, unsigned int slot)
{
	const struct page_read *read = &reader->slots[slot];
	ssize_t n = io_pread_full(reader->fd, read->buf, read->bytes, read->offset);

	if (n < 0)
		return (int)n;
	return n == (ssize_t)read->bytes ? 0 : -EIO;
}

static void pread_close(struct page_reader *reader)
{
	(void)reader;
}

const struct page_reader_type page_reader_pread = {
	.name = "pread",
	.open = pread_open,
	.start = pread_start,
	.finish = pread_finish,
	.close = pread_close,
};
