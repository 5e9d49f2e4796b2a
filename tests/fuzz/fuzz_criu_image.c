/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "snapshot/criu/page_image.h"

#include "tests/fuzz/fuzz_target.h"

#define DEPTH_MAX 4
#define PAGE	  4096U

/* every field of a message lies within it; what may be a message is looked at as one */
static void walk(struct image_bytes message, int depth)
{
	const unsigned char *end = message.at + message.n;
	struct image_field field;

	while (image_field_next(&message, &field) > 0) {
		FUZZ_CHECK(field.number > 0);
		FUZZ_CHECK(message.at <= end && message.at + message.n == end);
		if (field.wire != IMAGE_WIRE_BYTES)
			continue;
		FUZZ_CHECK(field.bytes.at + field.bytes.n == message.at);
		if (depth < DEPTH_MAX)
			walk(field.bytes, depth + 1);
	}
}

static void look_up(struct image_bytes message)
{
	struct image_bytes sub = {NULL, 0};
	uint64_t number = 0;

	for (uint32_t field = 1; field < 24; field++) {
		int as_number = image_number(message, field, &number);
		int as_sub = image_sub(message, field, &sub);

		/* it cannot be both */
		FUZZ_CHECK(as_number <= 0 || as_sub <= 0);
	}
}

static void read_records(const uint8_t *data, size_t size, enum image_magic magic)
{
	struct image_bytes record;
	struct image image;
	size_t n = 0;

	if (image_parse(data, size, "image", magic, &image, NULL) < 0)
		return;
	while (image_next(&image, &record, NULL) > 0) {
		FUZZ_CHECK(record.at >= data && record.at + record.n <= data + size);
		walk(record, 0);
		look_up(record);
		n++;
	}
	FUZZ_CHECK(n <= size / 4);
}

static void read_pagemap(const uint8_t *data, size_t size)
{
	struct snap_error err = {0};
	struct page_image image;
	struct page_run run;
	uint64_t end = 0;
	int r = page_image_parse(data, size, &image, &err);

	while (r == 0 && (r = page_image_next(&image, &run, &err)) > 0) {
		FUZZ_CHECK(run.address >= end && run.address % PAGE == 0 && run.n_pages > 0);
		end = run.address + run.n_pages * PAGE;
		FUZZ_CHECK(end > run.address);
		r = 0;
	}
	if (r < 0)
		FUZZ_CHECK(err.code == SNAP_E_CORRUPT && err.msg[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum image_magic magics[] = {IMAGE_MAGIC_PAGEMAP, IMAGE_MAGIC_MM,
						  IMAGE_MAGIC_FILES};

	/* exactly its size, so that a sanitizer sees a step beyond it */
	uint8_t *copy = malloc(size ? size : 1);

	FUZZ_CHECK(copy);
	memcpy(copy, data, size);
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		read_records(copy, size, magics[i]);
	read_pagemap(copy, size);
	free(copy);
	return 0;
}
