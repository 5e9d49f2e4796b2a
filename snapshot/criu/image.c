/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/criu/image.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"

#define SIZE_BYTES	  4U
#define VARINT_BYTES_MAX  10U
#define RECORD_FIELD_ROOM (1U + VARINT_BYTES_MAX) /* numbers of fields are below 16 */

static uint32_t get_u32(const unsigned char *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static void put_u32(unsigned char *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (unsigned char)(value >> (8 * i));
}

static int take(struct image_bytes *from, size_t n, struct image_bytes *ret)
{
	if (n > from->n)
		return -EUCLEAN;
	*ret = (struct image_bytes){from->at, n};
	from->at += n;
	from->n -= n;
	return 0;
}

int image_parse(const void *data, size_t size, const char *name, enum image_magic magic,
		struct image *ret, struct snap_error *err)
{
	struct image_bytes all = {data, size}, head;

	*ret = (struct image){.data = NULL};
	(void)snprintf(ret->name, sizeof(ret->name), "%s", name);
	if (take(&all, IMAGE_HEAD_BYTES, &head) < 0 || get_u32(head.at) != IMAGE_MAGIC_COMMON ||
	    get_u32(head.at + 4) != (uint32_t)magic)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
				       "'%s' is no image of CRIU's of that kind", name);
	ret->rest = all;
	return 0;
}

int image_load(int dir_fd, const char *name, enum image_magic magic, struct image *ret,
	       struct snap_error *err)
{
	char *data;
	size_t size;
	int r = io_read_file(dir_fd, name, IMAGE_FILE_MAX, &data, &size, err);

	*ret = (struct image){.data = NULL};
	if (r < 0)
		return r;
	r = image_parse(data, size, name, magic, ret, err);
	if (r < 0)
		free(data);
	else
		ret->data = data;
	return r;
}

void image_done(struct image *image)
{
	free(image->data);
	*image = (struct image){.data = NULL};
}

int image_next(struct image *image, struct image_bytes *ret, struct snap_error *err)
{
	struct image_bytes size;

	if (image->rest.n == 0)
		return 0;
	if (take(&image->rest, SIZE_BYTES, &size) < 0 ||
	    take(&image->rest, get_u32(size.at), ret) < 0)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN, "'%s' ends within a record",
				       image->name);
	return 1;
}

static int take_varint(struct image_bytes *from, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < VARINT_BYTES_MAX && i < from->n; i++) {
		uint64_t bits = from->at[i] & 0x7f;

		/* the tenth byte has room for one bit */
		if (i == VARINT_BYTES_MAX - 1 && from->at[i] > 1)
			return -EUCLEAN;
		value |= bits << (7 * i);
		if (from->at[i] & 0x80)
			continue;
		from->at += i + 1;
		from->n -= i + 1;
		*ret = value;
		return 0;
	}
	return -EUCLEAN;
}

static int take_value(struct image_bytes *from, struct image_field *field)
{
	struct image_bytes word;
	uint64_t n;
	int r;

	switch (field->wire) {
	case IMAGE_WIRE_VARINT:
		return take_varint(from, &field->value);
	case IMAGE_WIRE_64:
		r = take(from, 8, &word);
		if (r == 0)
			field->value = get_u32(word.at) | (uint64_t)get_u32(word.at + 4) << 32;
		return r;
	case IMAGE_WIRE_32:
		r = take(from, 4, &word);
		if (r == 0)
			field->value = get_u32(word.at);
		return r;
	case IMAGE_WIRE_BYTES:
		r = take_varint(from, &n);
		return r == 0 ? take(from, n, &field->bytes) : r;
	}
	return -EUCLEAN;
}

int image_field_next(struct image_bytes *message, struct image_field *ret)
{
	uint64_t key;

	if (message->n == 0)
		return 0;
	if (take_varint(message, &key) < 0 || key >> 3 == 0 || key >> 3 > UINT32_MAX)
		return -EUCLEAN;
	*ret = (struct image_field){
		.number = (uint32_t)(key >> 3),
		.wire = (enum image_wire)(key & 7),
	};
	return take_value(message, ret) < 0 ? -EUCLEAN : 1;
}

/* the last one with that number; another type than the wanted is damage */
static int find(struct image_bytes message, uint32_t number, bool wants_bytes,
		struct image_field *ret)
{
	struct image_field field;
	int found = 0, r;

	while ((r = image_field_next(&message, &field)) > 0) {
		if (field.number != number)
			continue;
		if ((field.wire == IMAGE_WIRE_BYTES) != wants_bytes)
			return -EUCLEAN;
		*ret = field;
		found = 1;
	}
	return r < 0 ? r : found;
}

int image_number(struct image_bytes message, uint32_t field, uint64_t *ret)
{
	struct image_field found;
	int r = find(message, field, false, &found);

	if (r > 0)
		*ret = found.value;
	return r;
}

int image_sub(struct image_bytes message, uint32_t field, struct image_bytes *ret)
{
	struct image_field found;
	int r = find(message, field, true, &found);

	if (r > 0)
		*ret = found.bytes;
	return r;
}

void image_record_begin(struct image_record *record)
{
	record->n = SIZE_BYTES;
}

void image_record_add(struct image_record *record, uint32_t field, uint64_t value)
{
	if (record->n + RECORD_FIELD_ROOM > sizeof(record->bytes))
		return;
	record->bytes[record->n++] = (unsigned char)(field << 3 | IMAGE_WIRE_VARINT);
	while (value > 0x7f) {
		record->bytes[record->n++] = (unsigned char)(value | 0x80);
		value >>= 7;
	}
	record->bytes[record->n++] = (unsigned char)value;
}

size_t image_record_end(struct image_record *record)
{
	put_u32(record->bytes, (uint32_t)(record->n - SIZE_BYTES));
	return record->n;
}

void image_head(enum image_magic magic, unsigned char ret[IMAGE_HEAD_BYTES])
{
	put_u32(ret, IMAGE_MAGIC_COMMON);
	put_u32(ret + 4, (uint32_t)magic);
}
