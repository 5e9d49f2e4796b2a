/* SPDX-License-Identifier: Apache-2.0 */
/* device.map and device.dat over a GPU that is memory of ours. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "snapshot/device_files.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

#define MIB ((size_t)1 << 20)

static struct {
	unsigned int waits;
	int result; /* of the next copies */
} gpu;

static int use_context(void *context)
{
	return context ? GPU_RESULT_OK : GPU_RESULT_INVALID_VALUE;
}

static int stream_wait(void *stream)
{
	(void)stream;
	(void)__atomic_add_fetch(&gpu.waits, 1, __ATOMIC_RELAXED);
	return gpu.result;
}

static int copy_out(void *to, uint64_t address, size_t bytes, void *stream)
{
	(void)stream;
	memcpy(to, (const void *)(uintptr_t)address, bytes);
	return GPU_RESULT_OK;
}

static int copy_in(uint64_t address, const void *from, size_t bytes, void *stream)
{
	(void)stream;
	memcpy((void *)(uintptr_t)address, from, bytes);
	return GPU_RESULT_OK;
}

static int fill(uint64_t address, unsigned char value, size_t bytes, void *stream)
{
	(void)stream;
	memset((void *)(uintptr_t)address, value, bytes);
	return GPU_RESULT_OK;
}

/* pid, GPU, size, and where content is: the rest are zeros */
static const struct part {
	pid_t pid;
	uint32_t device;
	size_t bytes;
	size_t from, to;
} parts[] = {
	{100, 0, 5 * MIB, MIB, 4 * MIB + 77},
	{100, 1, 2 * MIB, 0, 0},
	{101, 0, 3 * MIB + 100, 3 * MIB, 3 * MIB + 100},
};

#define STORED (3 * MIB + 2 * (size_t)PAGE_BYTES)

static struct {
	struct gpu_window windows[ARRAY_LEN(parts)];
	struct gpu_storage storage;
} place;

static unsigned char byte_at(size_t part, size_t at)
{
	size_t word = (at + 1) * (part + 3) * 2654435761U;

	return at >= parts[part].from && at < parts[part].to ? (unsigned char)(word >> 7 | 1) : 0;
}

static void begin(void)
{
	static int context;

	gpu.result = GPU_RESULT_OK;
	place.storage = (struct gpu_storage){
		.calls = {.use_context = use_context,
			  .stream_wait = stream_wait,
			  .copy_out = copy_out,
			  .copy_in = copy_in,
			  .fill = fill},
		.windows = place.windows,
		.n_windows = ARRAY_LEN(parts),
	};
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		/* exactly as large, so that a sanitizer sees a byte too many */
		unsigned char *bytes = malloc(parts[i].bytes);

		assert_non_null(bytes);
		for (size_t k = 0; k < parts[i].bytes; k++)
			bytes[k] = byte_at(i, k);
		place.windows[i] = (struct gpu_window){
			.pid = parts[i].pid,
			.device = parts[i].device,
			.address = (uintptr_t)bytes,
			.bytes = parts[i].bytes,
			.context = &context,
		};
	}
}

static unsigned char *bytes_of(size_t part)
{
	return (unsigned char *)(uintptr_t)place.windows[part].address;
}

static void end(void)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		free(bytes_of(i));
}

static void spoil(void)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		memset(bytes_of(i), 0xee, parts[i].bytes);
}

static void assert_content(void)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		for (size_t k = 0; k < parts[i].bytes; k++) {
			if (bytes_of(i)[k] != byte_at(i, k))
				fail_msg("part %zu, byte %zu", i, k);
		}
	}
}

static bool is_noted;

static int note(void *arg, struct snap_error *err)
{
	const struct sandbox *box = arg;
	struct stat st;

	(void)err;
	/* whoever reads the note must find them */
	is_noted = fstatat(box->fd, DEVICE_MAP_NAME, &st, 0) == 0 &&
		   fstatat(box->fd, DEVICE_DATA_NAME, &st, 0) == 0;
	return 0;
}

static struct device_files files_in(struct sandbox *box)
{
	is_noted = false;
	return (struct device_files){
		.gen_fd = box->fd, .compress = CODEC_CHOICE_NONE, .note = note, .arg = box};
}

static void test_content_comes_back(void **state)
{
	struct sandbox box;
	struct device_files files, again;
	struct gpu_content content;
	struct stat st;

	(void)state;
	sandbox_init(&box);
	begin();
	files = files_in(&box);
	assert_int_equal(device_files_reserve(&files, 64 * MIB, NULL), 0);
	assert_int_equal(device_files_reserve(&files, 64 * MIB, NULL), 0);
	assert_int_equal(fstatat(box.fd, DEVICE_DATA_NAME, &st, 0), 0);
	assert_true(st.st_size == (off_t)(64 * MIB) && st.st_blocks * 512 >= st.st_size);
	content = device_files_content(&files);
	assert_int_equal(content.save(content.arg, &place.storage, NULL), 0);
	assert_true(is_noted && files.is_saved);
	assert_true(files.written.stored_bytes == STORED);
	assert_int_equal(fstatat(box.fd, DEVICE_DATA_NAME, &st, 0), 0);
	/* what was reserved is cut off; a huge page begins at a multiple of its size */
	assert_true(st.st_size >= (off_t)STORED && st.st_size < (off_t)(STORED + 2 * MIB));
	assert_true((st.st_mode & 07777) == 0600);
	assert_int_equal(fstatat(box.fd, DEVICE_MAP_NAME, &st, 0), 0);
	assert_true((st.st_mode & 07777) == 0600);

	spoil();
	assert_int_equal(content.load(content.arg, &place.storage, NULL), 0);
	assert_content();

	/* as a wake does, in another order */
	spoil();
	again = files_in(&box);
	assert_int_equal(page_map_load(box.fd, PAGE_FILES_DEVICES, &again.map, NULL), 0);
	content = device_files_content(&again);
	gpu.waits = 0;
	assert_int_equal(content.load(content.arg, &place.storage, NULL), 0);
	assert_content();
	/* each window is cleared, and a chunk is one copy, however it was read */
	assert_true(gpu.waits >= ARRAY_LEN(parts) + again.map.n_chunks);
	assert_true(gpu.waits <= ARRAY_LEN(parts) + again.map.n_extents);
	device_files_done(&files);
	device_files_done(&again);
	end();
	sandbox_done(&box);
}

static void expect_refused(struct device_files *files, const char *words)
{
	struct gpu_content content = device_files_content(files);
	struct snap_error err = {0};

	assert_true(content.load(content.arg, &place.storage, &err) < 0);
	if (!strstr(err.msg, words))
		fail_msg("'%s' does not say '%s'", err.msg, words);
}

static void test_windows_must_be_those_of_the_map(void **state)
{
	struct sandbox box;
	struct device_files files;
	struct gpu_content content;

	(void)state;
	sandbox_init(&box);
	begin();
	files = files_in(&box);
	content = device_files_content(&files);
	assert_int_equal(content.save(content.arg, &place.storage, NULL), 0);
	spoil();

	place.windows[2].bytes -= PAGE_BYTES;
	expect_refused(&files, "gives process 101 3141732 bytes on GPU 0, device.map has 3145828");
	place.windows[2].bytes += PAGE_BYTES;
	place.windows[2].device = 1;
	expect_refused(&files, "gives process 101 0 bytes on GPU 0");
	place.windows[2].device = 0;
	place.storage.n_windows = 2;
	expect_refused(&files, "gives process 101 0 bytes on GPU 0");
	place.storage.n_windows = 3;
	files.map.n_spaces = 2;
	expect_refused(&files, "gives 3 parts of device memory, device.map has 2");
	files.map.n_spaces = 3;
	/* nothing was touched */
	assert_int_equal(bytes_of(0)[0], 0xee);
	device_files_done(&files);
	end();
	sandbox_done(&box);
}

static void test_damage_and_devices_that_fail(void **state)
{
	struct sandbox box;
	struct device_files files;
	struct gpu_content content;
	struct snap_error err = {0};
	int fd;

	(void)state;
	sandbox_init(&box);
	begin();
	files = files_in(&box);
	content = device_files_content(&files);
	assert_int_equal(content.save(content.arg, &place.storage, NULL), 0);
	gpu.result = GPU_RESULT_ILLEGAL_STATE;
	expect_refused(&files, "cannot clear device memory of process 100");
	gpu.result = GPU_RESULT_OK;
	fd = openat(box.fd, DEVICE_DATA_NAME, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, MIB), 1);
	(void)close(fd);
	expect_refused(&files, "device.dat is damaged: chunk ");
	device_files_done(&files);

	assert_int_equal(unlinkat(box.fd, DEVICE_DATA_NAME, 0), 0);
	files = files_in(&box);
	gpu.result = GPU_RESULT_ILLEGAL_STATE;
	assert_int_equal(content.save(content.arg, &place.storage, &err), -EIO);
	assert_string_equal(err.msg, "cannot read device memory of pid 100: Input/output error");
	assert_false(is_noted || files.is_saved);
	device_files_done(&files);
	end();
	sandbox_done(&box);
}

static void test_room_that_is_not_there(void **state)
{
	struct sandbox box;
	struct device_files files;
	struct snap_error err = {0};

	(void)state;
	sandbox_init(&box);
	files = files_in(&box);
	assert_true(device_files_reserve(&files, (uint64_t)1 << 56, &err) < 0);
	assert_non_null(strstr(err.msg, "cannot write 'device.dat'"));
	assert_false(files.is_reserved);
	sandbox_done(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content_comes_back),
		cmocka_unit_test(test_windows_must_be_those_of_the_map),
		cmocka_unit_test(test_damage_and_devices_that_fail),
		cmocka_unit_test(test_room_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
