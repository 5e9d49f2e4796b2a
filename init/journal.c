/* SPDX-License-Identifier: Apache-2.0 */
#include "init/journal.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOURNAL_SIZE_MAX                                                        \
	(64 << 20) /* 16,384 paths of PATH_MAX; beyond it the worker misbehaves \
		    */

int journal_open(void)
{
	int fd = memfd_create("journal", MFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void undo_record(const char *record)
{
	if (record[0] == 'F' && record[1] == '/')
		(void)unlink(record + 1);
	else if (record[0] == 'D' && record[1] == '/')
		(void)rmdir(record + 1);
}

void journal_undo(int fd)
{
	struct stat st;
	size_t size, end;
	char *text;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > JOURNAL_SIZE_MAX)
		return;
	size = (size_t)st.st_size;
	text = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (text == MAP_FAILED)
		return;
	/* a record that was cut short by its writer's death has no end: skip it */
	end = size;
	while (end > 0 && text[end - 1] != '\0')
		end--;
	while (end > 0) {
		size_t start = end - 1;

		while (start > 0 && text[start - 1] != '\0')
			start--;
		undo_record(text + start);
		end = start;
	}
	(void)munmap(text, size);
	/* else the next cold boot undoes once more what is gone: no harm */
	if (ftruncate(fd, 0) < 0)
		return;
}
