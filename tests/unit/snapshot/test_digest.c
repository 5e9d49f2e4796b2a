/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/digest.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

static void test_digests_are_those_of_xxh128sum(void **state)
{
	struct sandbox box;
	uint64_t size = 1;
	char hex[33];

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "empty", "");
	assert_int_equal(file_digest(box.fd, "empty", hex, &size, NULL), 0);
	assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
	assert_int_equal(size, 0);
	sandbox_put_text(&box, "criu/abc", "abc");
	assert_int_equal(file_digest(box.fd, "criu/abc", hex, &size, NULL), 0);
	assert_string_equal(hex, "06b05ab6733a618578af5f94892f3950");
	assert_int_equal(size, 3);
	sandbox_done(&box);
}

static void test_one_changed_bit_of_a_large_file_shows(void **state)
{
	size_t size = (3U << 20) + 17;
	char *data = calloc(1, size), before[33], after[33];
	uint64_t seen;
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	sandbox_put(&box, "f", data, size);
	assert_int_equal(file_digest(box.fd, "f", before, &seen, NULL), 0);
	assert_int_equal(seen, size);
	data[size - 1] ^= 1;
	sandbox_put(&box, "f", data, size);
	assert_int_equal(file_digest(box.fd, "f", after, &seen, NULL), 0);
	assert_string_not_equal(before, after);
	free(data);
	sandbox_done(&box);
}

static void test_links_and_odd_files_are_refused(void **state)
{
	struct snap_error err = {0};
	struct sandbox box;
	uint64_t size;
	char hex[33];

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "a/f", "x");
	assert_int_equal(symlinkat("a", box.fd, "link"), 0);
	assert_int_equal(mkfifoat(box.fd, "fifo", 0600), 0);
	assert_true(file_digest(box.fd, "link/f", hex, &size, &err) < 0);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	assert_int_equal(file_digest(box.fd, "fifo", hex, &size, &err), -EBADMSG);
	assert_string_equal(err.msg, "'fifo' is no regular file");
	assert_int_equal(file_digest(box.fd, "none", hex, &size, &err), -ENOENT);
	sandbox_done(&box);
}

static void test_size_is_compared_before_a_byte_is_read(void **state)
{
	struct snap_error err = {0};
	struct sandbox box;
	uint64_t size;
	char hex[33];
	int fd;

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "f", "abc");
	assert_int_equal(file_digest(box.fd, "f", hex, &size, NULL), 0);
	assert_int_equal(file_verify(box.fd, "f", 3, hex, &err), 0);
	hex[0] = hex[0] == '0' ? '1' : '0';
	assert_int_equal(file_verify(box.fd, "f", 3, hex, &err), -EUCLEAN);
	assert_non_null(strstr(err.msg, "'f' is damaged: digest "));
	/* reading that would take an hour */
	fd = openat(box.fd, "f", O_WRONLY | O_CLOEXEC);
	if (ftruncate(fd, (off_t)1 << 40) == 0) {
		assert_int_equal(file_verify(box.fd, "f", 3, hex, &err), -EUCLEAN);
		assert_string_equal(err.msg, "'f' has 1099511627776 bytes, the manifest says 3");
	}
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	(void)close(fd);
	sandbox_done(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digests_are_those_of_xxh128sum),
		cmocka_unit_test(test_one_changed_bit_of_a_large_file_shows),
		cmocka_unit_test(test_links_and_odd_files_are_refused),
		cmocka_unit_test(test_size_is_compared_before_a_byte_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
