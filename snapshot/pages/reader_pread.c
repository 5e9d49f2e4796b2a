/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

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
	size_t done = 0;

	while (done < read->bytes) {
		ssize_t n = pread(reader->fd, read->buf + done, read->bytes - done,
				  (off_t)(read->offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
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
