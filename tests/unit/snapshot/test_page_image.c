/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/io.h"
#include "snapshot/criu/page_image.h"
#include "snapshot/criu/runnable.h"
#include "snapshot/criu/shmid.h"
#include "snapshot/merge.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

/* images and messages, put together by hand */
struct bytes {
	unsigned char at[512];
	size_t n;
};

static void put(struct bytes *b, const void *data, size_t n)
{
	assert_true(b->n + n <= sizeof(b->at));
	memcpy(b->at + b->n, data, n);
	b->n += n;
}

static void put_varint(struct bytes *b, uint64_t value)
{
	unsigned char byte;

	for (; value > 127; value >>= 7) {
		byte = (unsigned char)(value | 128);
		put(b, &byte, 1);
	}
	byte = (unsigned char)value;
	put(b, &byte, 1);
}

static void put_number(struct bytes *b, uint32_t field, uint64_t value)
{
	put_varint(b, (uint64_t)field << 3);
	put_varint(b, value);
}

static void put_sub(struct bytes *b, uint32_t field, const struct bytes *sub)
{
	put_varint(b, (uint64_t)field << 3 | 2);
	put_varint(b, sub->n);
	put(b, sub->at, sub->n);
}

static struct bytes begin(enum image_magic magic)
{
	struct bytes b = {.n = 0};
	unsigned char head[IMAGE_HEAD_BYTES];

	image_head(magic, head);
	put(&b, head, sizeof(head));
	return b;
}

static void put_record(struct bytes *b, const struct bytes *record)
{
	uint32_t n = (uint32_t)record->n;

	put(b, &n, sizeof(n));
	put(b, record->at, record->n);
}

static struct bytes numbers(const uint64_t *pairs, size_t n)
{
	struct bytes b = {.n = 0};

	for (size_t i = 0; i + 1 < n; i += 2)
		put_number(&b, (uint32_t)pairs[i], pairs[i + 1]);
	return b;
}

#define NUMBERS(...) numbers((uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8)
#define ADD(image, ...)                                     \
	do {                                                \
		struct bytes record = NUMBERS(__VA_ARGS__); \
		put_record(image, &record);                 \
	} while (0)

static void test_numbers_are_found_whatever_surrounds_them(void **state)
{
	static const unsigned char fixed[] = {6 << 3 | 1, 1, 2,		 3, 4, 5, 6,
					      7,	  8, 7 << 3 | 5, 9, 0, 0, 0};
	struct bytes sub = NUMBERS(1, 77), b = NUMBERS(1, 5, 2, UINT64_MAX);
	struct image_bytes message, inner;
	uint64_t value = 1;

	(void)state;
	put_sub(&b, 4, &sub);
	put(&b, fixed, sizeof(fixed));
	put_number(&b, 1, 6);
	message = (struct image_bytes){b.at, b.n};
	assert_int_equal(image_number(message, 1, &value), 1);
	assert_true(value == 6); /* the last one counts */
	assert_int_equal(image_number(message, 2, &value), 1);
	assert_true(value == UINT64_MAX);
	assert_int_equal(image_number(message, 6, &value), 1);
	assert_true(value == 0x0807060504030201);
	assert_int_equal(image_number(message, 7, &value), 1);
	assert_true(value == 9);
	assert_int_equal(image_number(message, 3, &value), 0);
	assert_true(value == 9);
	assert_int_equal(image_sub(message, 4, &inner), 1);
	assert_int_equal(image_number(inner, 1, &value), 1);
	assert_true(value == 77);
	assert_int_equal(image_number(message, 4, &value), -EUCLEAN);
	assert_int_equal(image_sub(message, 1, &inner), -EUCLEAN);
}

static void test_broken_messages_are_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} cases[] = {
		{"\x08", 1},					      /* no value */
		{"\x08\x80", 2},				      /* half a varint */
		{"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11}, /* 65 bits */
		{"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
		{"\x0a\x05xx", 4},				      /* bytes beyond the end */
		{"\x09\x01\x02", 3},				      /* half a word */
		{"\x0b\x00", 2},				      /* a group */
		{"\x00\x00", 2},				      /* field 0 */
		{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* length 2^64 - 1 */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t value;

		assert_int_equal(
			image_number((struct image_bytes){(const void *)cases[i].bytes, cases[i].n},
				     1, &value),
			-EUCLEAN);
	}
}

static void parse_pagemap(const struct bytes *b, const char *complaint)
{
	struct snap_error err = {0};
	struct page_image image;
	struct page_run run;
	int r = page_image_parse(b->at, b->n, &image, &err);

	while (r == 0 && (r = page_image_next(&image, &run, &err)) > 0)
		r = 0;
	if (!complaint) {
		assert_int_equal(r, 0);
		return;
	}
	assert_true(r < 0);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	assert_non_null(strstr(err.msg, complaint));
}

static void test_pagemap_of_an_older_criu_is_read(void **state)
{
	struct bytes b = begin(IMAGE_MAGIC_PAGEMAP);
	struct page_image image;
	struct page_run run;

	(void)state;
	ADD(&b, 1, 7);
	ADD(&b, 1, 0x2000, 2, 5);	      /* until 4.2 */
	ADD(&b, 1, 0x9000, 2, 0, 4, 6, 5, 3); /* since then, lazy too */
	assert_int_equal(page_image_parse(b.at, b.n, &image, NULL), 0);
	assert_int_equal(image.pages_id, 7);
	assert_int_equal(page_image_next(&image, &run, NULL), 1);
	assert_true(run.address == 0x2000 && run.n_pages == 5 && run.flags == 4);
	assert_int_equal(page_image_next(&image, &run, NULL), 1);
	assert_true(run.address == 0x9000 && run.n_pages == 3 && run.flags == 6);
	assert_int_equal(page_image_next(&image, &run, NULL), 0);
}

static void test_pagemaps_that_cannot_be_merged_are_refused(void **state)
{
	struct bytes good = begin(IMAGE_MAGIC_PAGEMAP), b = begin(IMAGE_MAGIC_MM);

	(void)state;
	parse_pagemap(&b, "no image of CRIU's");
	parse_pagemap(&good, "does not begin with");
	ADD(&good, 1, 1);
	parse_pagemap(&good, NULL);
	b = good;
	ADD(&b, 1, 0x1000, 2, 1, 3, 1);
	parse_pagemap(&b, "not in it");
	b = good;
	ADD(&b, 1, 0x1000, 2, 1, 4, 2);
	parse_pagemap(&b, "not in it");
	b = good;
	ADD(&b, 1, 0x1001, 2, 1);
	parse_pagemap(&b, "no range");
	b = good;
	ADD(&b, 1, 0x1000, 2, 0);
	parse_pagemap(&b, "no range");
	b = good;
	ADD(&b, 1, 0x1000, 2, 0, 5, UINT64_MAX);
	parse_pagemap(&b, "no range");
	b = good;
	ADD(&b, 1, 0x1000, 2, 2);
	ADD(&b, 1, 0x2000, 2, 1);
	parse_pagemap(&b, "do not ascend");
	b = good;
	ADD(&b, 2, 1);
	parse_pagemap(&b, "no entry");
	b = good;
	ADD(&b, 1, 0x1000, 2, 1);
	b.n--;
	parse_pagemap(&b, "within a record");
}

/* each page is filled with a letter */
static void fill(unsigned char *pages, const char *letters)
{
	for (size_t i = 0; letters[i]; i++)
		memset(pages + i * PAGE_BYTES, letters[i], PAGE_BYTES);
}

/* what the images below dir_fd say: "4000:ab 9000:c", one group an entry */
static void describe(int dir_fd, const char *name, char *buf, size_t size)
{
	char pages[IMAGE_NAME_MAX];
	struct page_image image;
	struct page_run run;
	size_t used = 0;
	off_t at = 0;
	struct stat st;
	int fd;

	assert_int_equal(page_image_open(dir_fd, name, &image, NULL), 0);
	page_image_pages_name(image.pages_id, pages);
	fd = openat(dir_fd, pages, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	buf[0] = '\0';
	while (page_image_next(&image, &run, NULL) > 0) {
		used += (size_t)snprintf(buf + used, size - used, "%s%lx:", used ? " " : "",
					 (unsigned long)run.address);
		for (uint64_t i = 0; i < run.n_pages; i++, at += PAGE_BYTES) {
			char first, last;

			assert_int_equal(pread(fd, &first, 1, at), 1);
			assert_int_equal(pread(fd, &last, 1, at + PAGE_BYTES - 1), 1);
			assert_int_equal(first, last);
			used += (size_t)snprintf(buf + used, size - used, "%c", first);
		}
	}
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size == at);
	(void)fd_close(fd);
	page_image_close(&image);
}

static void test_runs_that_touch_become_one_of_a_mib_at_most(void **state)
{
	const size_t n = PAGE_IMAGE_RUN_MAX + 10;
	unsigned char *pages = calloc(n, PAGE_BYTES);
	struct page_image_writer w;
	struct page_image image;
	struct page_run run = {0x4000, 1, 4};
	struct sandbox box;

	(void)state;
	assert_non_null(pages);
	sandbox_init(&box);
	assert_int_equal(page_image_create(box.fd, "pagemap-9.img", 3, &w, NULL), 0);
	assert_int_equal(page_image_put(&w, &run, pages), 0);
	run = (struct page_run){0x5000, n, 4};
	assert_int_equal(page_image_put(&w, &run, pages), 0);
	run = (struct page_run){0x5000 + n * PAGE_BYTES, 1, 6};
	assert_int_equal(page_image_put(&w, &run, pages), 0);
	assert_true(w.bytes == (n + 2) * PAGE_BYTES);
	assert_int_equal(page_image_finish(&w), 0);
	assert_int_equal(page_image_open(box.fd, "pagemap-9.img", &image, NULL), 0);
	assert_int_equal(image.pages_id, 3);
	assert_int_equal(page_image_next(&image, &run, NULL), 1);
	assert_true(run.address == 0x4000 && run.n_pages == PAGE_IMAGE_RUN_MAX && run.flags == 4);
	assert_int_equal(page_image_next(&image, &run, NULL), 1);
	assert_true(run.address == 0x4000 + PAGE_IMAGE_RUN_MAX * PAGE_BYTES && run.n_pages == 11);
	assert_int_equal(page_image_next(&image, &run, NULL), 1);
	assert_true(run.n_pages == 1 && run.flags == 6);
	assert_int_equal(page_image_next(&image, &run, NULL), 0);
	page_image_close(&image);
	free(pages);
	sandbox_done(&box);
}

/* a generation: what is with CRIU, and a map with one chunk of ours */
struct scene {
	struct sandbox box;
	int criu_fd, to_fd;
	struct page_map map;
	struct chunk_reader reader;
	struct merge merge;
	atomic_bool stop;
};

static void scene_init(struct scene *s, const char *letters, const struct page_extent *extents,
		       size_t n)
{
	struct page_space space = {.kind = PAGE_SPACE_TASK, .pid = 1000, .n_chunks = 1, .fd = -1};
	struct page_chunk chunk = {
		.stored_bytes = (uint32_t)(strlen(letters) * PAGE_BYTES),
		.bytes = (uint32_t)(strlen(letters) * PAGE_BYTES),
		.n_extents = (uint32_t)n,
	};
	unsigned char *pages = malloc(chunk.bytes);
	XXH128_hash_t sum;

	*s = (struct scene){.stop = false};
	assert_non_null(pages);
	sandbox_init(&s->box);
	assert_int_equal(mkdirat(s->box.fd, "criu", 0700), 0);
	assert_int_equal(mkdirat(s->box.fd, "to", 0700), 0);
	s->criu_fd = openat(s->box.fd, "criu", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->to_fd = openat(s->box.fd, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fill(pages, letters);
	sandbox_put(&s->box, PAGES_DATA_NAME, pages, chunk.bytes);
	sum = XXH3_128bits(pages, chunk.bytes);
	chunk.checksum_low = sum.low64;
	chunk.checksum_high = sum.high64;
	free(pages);
	assert_int_equal(page_map_add_space(&s->map, &space), 0);
	assert_int_equal(page_map_add_chunk(&s->map, &chunk), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(page_map_add_extent(&s->map, &extents[i]), 0);
	s->map.data_bytes = chunk.bytes;
	assert_int_equal(page_map_check(&s->map, NULL), 0);
	assert_int_equal(chunk_reader_open(s->box.fd, &s->map, &s->reader, NULL), 0);
	s->merge = (struct merge){
		.criu_fd = s->criu_fd,
		.to_fd = s->to_fd,
		.reader = &s->reader,
		.stop = &s->stop,
		.next_pages_id = 40,
	};
}

static void scene_done(struct scene *s)
{
	chunk_reader_close(&s->reader);
	page_map_done(&s->map);
	(void)fd_close(s->criu_fd);
	(void)fd_close(s->to_fd);
	sandbox_done(&s->box);
}

static void keep(struct scene *s, uint64_t address, const char *letters,
		 struct page_image_writer *w)
{
	struct page_run run = {address, strlen(letters), 4};
	unsigned char *pages = malloc(run.n_pages * PAGE_BYTES);

	(void)s;
	assert_non_null(pages);
	fill(pages, letters);
	assert_int_equal(page_image_put(w, &run, pages), 0);
	free(pages);
}

static void test_kept_pages_and_ours_are_merged_in_order_and_ours_win(void **state)
{
	static const struct page_extent extents[] = {
		{.address = 0x3000, .n_pages = 2},
		{.address = 0x8000, .n_pages = 1},
		{.address = 0xa000, .n_pages = 3},
	};
	struct page_image_writer w;
	char seen[256];
	struct scene s;

	(void)state;
	scene_init(&s, "ABCDEF", extents, ARRAY_LEN(extents));
	assert_int_equal(page_image_create(s.criu_fd, "pagemap-1000.img", 2, &w, NULL), 0);
	keep(&s, 0x1000, "abcdef", &w); /* 0x1000-0x6fff: ours lies within */
	keep(&s, 0xb000, "xyz", &w);	/* 0xb000-0xdfff: ours begins before and ends within */
	keep(&s, 0x20000, "q", &w);
	assert_int_equal(page_image_finish(&w), 0);
	assert_int_equal(merge_space(&s.merge, &s.map.spaces[0], "pagemap-1000.img", NULL), 0);
	describe(s.to_fd, "pagemap-1000.img", seen, sizeof(seen));
	assert_string_equal(seen, "1000:abABef 8000:C a000:DEFz 20000:q");
	assert_true(s.merge.bytes == 12 * PAGE_BYTES);
	assert_int_equal(s.merge.next_pages_id, 40);
	scene_done(&s);
}

static void test_space_without_an_image_gets_a_number_of_its_own(void **state)
{
	static const struct page_extent extents[] = {{.address = 0, .n_pages = 2}};
	char seen[64];
	struct scene s;

	(void)state;
	scene_init(&s, "AB", extents, 1);
	assert_int_equal(merge_space(&s.merge, &s.map.spaces[0], "pagemap-shmem-5.img", NULL), 0);
	describe(s.to_fd, "pagemap-shmem-5.img", seen, sizeof(seen));
	assert_string_equal(seen, "0:AB");
	assert_int_equal(s.merge.next_pages_id, 41);
	assert_int_equal(faccessat(s.to_fd, "pages-40.img", F_OK, 0), 0);
	scene_done(&s);
}

static void test_what_is_not_whole_is_not_merged(void **state)
{
	static const struct page_extent extents[] = {{.address = 0x5000, .n_pages = 1}};
	struct snap_error err = {0};
	struct page_image_writer w;
	struct scene s;

	(void)state;
	scene_init(&s, "A", extents, 1);
	assert_int_equal(page_image_create(s.criu_fd, "pagemap-1000.img", 2, &w, NULL), 0);
	keep(&s, 0x1000, "ab", &w);
	assert_int_equal(page_image_finish(&w), 0);
	sandbox_put_text(&s.box, "criu/pages-2.img", "short");
	assert_true(merge_space(&s.merge, &s.map.spaces[0], "pagemap-1000.img", &err) < 0);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	assert_non_null(strstr(err.msg, "not all there"));

	sandbox_put_text(&s.box, PAGES_DATA_NAME, "damaged");
	assert_true(merge_space(&s.merge, &s.map.spaces[0], "pagemap-9.img", &err) < 0);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	assert_non_null(strstr(err.msg, "pages.dat: chunk 0"));

	atomic_store(&s.stop, true);
	assert_int_equal(merge_space(&s.merge, &s.map.spaces[0], "pagemap-9.img", &err),
			 -ECANCELED);
	scene_done(&s);
}

static void put_image(const struct sandbox *box, const char *name, const struct bytes *image)
{
	sandbox_put(box, name, image->at, image->n);
}

static void make_ids(const struct sandbox *box)
{
	struct bytes b = begin(IMAGE_MAGIC_IDS), file = NUMBERS(1, 18, 2, 5),
		     sub = NUMBERS(1, 5, 5, 3);

	ADD(&b, 1, 1, 2, 44);
	put_image(box, "ids-1000.img", &b);
	b = begin(IMAGE_MAGIC_FDINFO);
	ADD(&b, 1, 4, 3, 1, 4, 6); /* a regular file */
	ADD(&b, 1, 5, 3, 18, 4, 7);
	put_image(box, "fdinfo-44.img", &b);
	b = begin(IMAGE_MAGIC_FILES);
	ADD(&b, 1, 1, 2, 4);
	put_sub(&file, 20, &sub);
	put_record(&b, &file);
	put_image(box, "files.img", &b);
	b = begin(IMAGE_MAGIC_MEMFD);
	ADD(&b, 5, 111, 7, 2);
	ADD(&b, 5, 4711, 7, 3);
	put_image(box, "memfd.img", &b);
}

static void make_mm(const struct sandbox *box)
{
	struct bytes b = begin(IMAGE_MAGIC_MM), mm = NUMBERS(1, 0x400000), vma;

	vma = NUMBERS(1, 0x10000, 2, 0x20000, 4, 9, 7, 0x201); /* private */
	put_sub(&mm, 14, &vma);
	vma = NUMBERS(1, 0x20000, 2, 0x30000, 4, 815, 7, 0x101); /* shared anonymous */
	put_sub(&mm, 14, &vma);
	vma = NUMBERS(1, 0x30000, 2, 0x40000, 4, 5, 7, 0x4081); /* of a memfd: file 5 */
	put_sub(&mm, 14, &vma);
	put_record(&b, &mm);
	put_image(box, "mm-1000.img", &b);
}

static void test_shared_object_is_found_by_descriptor_and_mapping(void **state)
{
	struct snap_error err = {0};
	struct sandbox box;
	uint64_t id = 0;

	(void)state;
	sandbox_init(&box);
	make_ids(&box);
	make_mm(&box);
	assert_int_equal(shmid_of_descriptor(box.fd, 1000, 7, &id, NULL), 0);
	assert_true(id == 4711);
	assert_int_equal(shmid_of_mapping(box.fd, 1000, 0x20000, 0x30000, &id, NULL), 0);
	assert_true(id == 815);
	assert_int_equal(shmid_of_mapping(box.fd, 1000, 0x30000, 0x40000, &id, NULL), 0);
	assert_true(id == 4711);

	assert_int_equal(shmid_of_descriptor(box.fd, 1000, 6, &id, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "descriptor 6 of pid 1000"));
	assert_int_equal(shmid_of_mapping(box.fd, 1000, 0x10000, 0x20000, &id, &err), -ENOENT);
	assert_int_equal(shmid_of_mapping(box.fd, 1000, 0x20000, 0x40000, &id, &err), -ENOENT);
	assert_int_equal(shmid_of_mapping(box.fd, 1001, 0x20000, 0x30000, &id, &err), -ENOENT);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	sandbox_put_text(&box, "mm-1000.img", "no image");
	assert_int_equal(shmid_of_mapping(box.fd, 1000, 0x20000, 0x30000, &id, &err), -EUCLEAN);
	sandbox_done(&box);
}

static void test_stopped_task_comes_back_running(void **state)
{
	struct bytes b = begin(IMAGE_MAGIC_CORE), core = NUMBERS(1, 1), task = NUMBERS(1, 3, 2, 3);
	struct bytes want = begin(IMAGE_MAGIC_CORE), want_core = NUMBERS(1, 1),
		     want_task = NUMBERS(1, 1, 2, 3);
	unsigned char seen[512];
	struct sandbox box;
	int fd;

	(void)state;
	sandbox_init(&box);
	put_sub(&core, 3, &task);
	put_record(&b, &core);
	put_sub(&want_core, 3, &want_task);
	put_record(&want, &want_core);
	put_image(&box, "core-1000.img", &b);
	fd = openat(box.fd, "core-1000.img", O_RDWR | O_CLOEXEC);
	assert_int_equal(runnable_make(fd, "mm-1000.img", NULL), 0);
	assert_int_equal(pread(fd, seen, sizeof(seen), 0), b.n);
	assert_memory_equal(seen, b.at, b.n);
	assert_int_equal(runnable_make(fd, "core-1000.img", NULL), 0);
	assert_int_equal(pread(fd, seen, sizeof(seen), 0), want.n);
	assert_memory_equal(seen, want.at, want.n);
	(void)fd_close(fd);
	sandbox_done(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_are_found_whatever_surrounds_them),
		cmocka_unit_test(test_broken_messages_are_refused),
		cmocka_unit_test(test_pagemap_of_an_older_criu_is_read),
		cmocka_unit_test(test_pagemaps_that_cannot_be_merged_are_refused),
		cmocka_unit_test(test_runs_that_touch_become_one_of_a_mib_at_most),
		cmocka_unit_test(test_kept_pages_and_ours_are_merged_in_order_and_ours_win),
		cmocka_unit_test(test_space_without_an_image_gets_a_number_of_its_own),
		cmocka_unit_test(test_what_is_not_whole_is_not_merged),
		cmocka_unit_test(test_shared_object_is_found_by_descriptor_and_mapping),
		cmocka_unit_test(test_stopped_task_comes_back_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
