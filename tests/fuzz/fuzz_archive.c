/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/archive/import.h"
#include "snapshot/folder.h"
#include "snapshot/images.h"
#include "snapshot/pages/chunk.h"

#include "tests/fuzz/fuzz_target.h"

/*
 * What is refused leaves nothing, not even the store; what is accepted is a generation in which
 * every digest and checksum is right, and nothing lies beside it.
 */

static char folder[64];
static int folder_fd = -1;

static void remove_folder(void)
{
	(void)rmdir(folder);
}

static void make_folder(void)
{
	/* a million small files want no disk */
	(void)snprintf(folder, sizeof(folder), "%s/fuzz_archive.XXXXXX",
		       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	FUZZ_CHECK(mkdtemp(folder) != NULL);
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(folder_fd >= 0);
	(void)atexit(remove_folder);
}

static int count_entry(int dir_fd, const char *name, void *arg)
{
	int *count = arg;

	(void)dir_fd;
	FUZZ_CHECK(strcmp(name, "current") == 0 || strcmp(name, "gen-1") == 0);
	++*count;
	return 0;
}

static void check_whole(const char *path)
{
	const atomic_bool stop = false;
	struct page_map map = {.n_chunks = 0};
	const unsigned char *bytes;
	struct chunk_reader reader;
	struct manifest m;
	struct store store;
	int gen_fd, count = 0;

	manifest_init(&m);
	FUZZ_CHECK(store_open(&store, path, false, NULL) == 0);
	FUZZ_CHECK(folder_each(store.fd, count_entry, &count) == 0 && count == 2);
	gen_fd = store_open_generation(&store, "gen-1", NULL);
	FUZZ_CHECK(gen_fd >= 0);
	FUZZ_CHECK(manifest_load(gen_fd, &m, NULL) == 0);
	FUZZ_CHECK(strcmp(m.generation, "gen-1") == 0);
	for (size_t i = 0; i < m.n_files; i++) {
		free(m.files[i].stored);
		m.files[i].stored = NULL;
	}
	FUZZ_CHECK(images_verify(gen_fd, &m, IMAGES_ALL, &stop, NULL) == 0);
	for (unsigned int files = 0; files < PAGE_FILES_MAX_; files++) {
		if (files == PAGE_FILES_TREE ? m.pages_bytes == 0
					     : !manifest_has_device_files(&m.gpu))
			continue;
		FUZZ_CHECK(page_map_load(gen_fd, (enum page_files)files, &map, NULL) == 0);
		FUZZ_CHECK(chunk_reader_open(gen_fd, &map, &reader, NULL) == 0);
		for (size_t i = 0; i < map.n_chunks; i++)
			FUZZ_CHECK(chunk_read(&reader, i, &bytes, NULL) == 0);
		chunk_reader_close(&reader);
		page_map_done(&map);
	}
	manifest_done(&m);
	(void)close(gen_fd);
	store_close(&store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct archive_talk talk = {.stop = NULL};
	struct import_result result;
	struct snap_error err = {0};
	char path[96];
	struct stat st;
	int fd, r;

	if (!folder[0])
		make_folder();
	(void)snprintf(path, sizeof(path), "%s/s", folder);
	fd = memfd_create("archive", MFD_CLOEXEC);
	FUZZ_CHECK(fd >= 0 && io_write_full(fd, data, size) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	r = import_archive(fd, path, &talk, &result, &err);
	(void)close(fd);
	if (r < 0) {
		FUZZ_CHECK(err.code != SNAP_OK);
		FUZZ_CHECK(err.msg[0] != '\0' && !strchr(err.msg, '\n'));
		FUZZ_CHECK(lstat(path, &st) < 0 && errno == ENOENT);
		return 0;
	}
	check_whole(path);
	FUZZ_CHECK(folder_remove(folder_fd, "s") == 0);
	return 0;
}
