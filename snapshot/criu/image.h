/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CRIU_IMAGE_H
#define SNAP_SNAPSHOT_CRIU_IMAGE_H

/*
 * CRIU's image files: two magic numbers, then records, each a size and a protobuf message. Only
 * the wire format is known here (varints, fixed words, delimited bytes); which field means what,
 * know the callers. Nothing in a file is trusted.
 */

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define IMAGE_FILE_MAX	 (64U << 20) /* bytes of an image that is read as a whole */
#define IMAGE_NAME_MAX	 64U
#define IMAGE_RECORD_MAX 64U /* bytes of a record that image_put_record() writes */

enum image_magic {
	IMAGE_MAGIC_COMMON = 0x54564319,
	IMAGE_MAGIC_CORE = 0x55053847,
	IMAGE_MAGIC_FDINFO = 0x56213732,
	IMAGE_MAGIC_FILES = 0x56303138,
	IMAGE_MAGIC_IDS = 0x54432030,
	IMAGE_MAGIC_MEMFD = 0x48453499,
	IMAGE_MAGIC_MM = 0x57492820,
	IMAGE_MAGIC_PAGEMAP = 0x56084025,
};

/* bytes not read yet of a message, or of a file */
struct image_bytes {
	const unsigned char *at;
	size_t n;
};

struct image {
	char name[IMAGE_NAME_MAX];
	char *data; /* NULL: none, or the caller's */
	struct image_bytes rest;
};

enum image_wire {
	IMAGE_WIRE_VARINT = 0,
	IMAGE_WIRE_64 = 1,
	IMAGE_WIRE_BYTES = 2,
	IMAGE_WIRE_32 = 5,
};

struct image_field {
	uint32_t number;
	enum image_wire wire;
	uint64_t value;		  /* of a number */
	struct image_bytes bytes; /* of BYTES: a message, a string or packed numbers */
};

/* read a file of that type; -ENOENT when it is not there; *ret is the caller's to image_done() */
int image_load(int dir_fd, const char *name, enum image_magic magic, struct image *ret,
	       struct snap_error *err);

/* the same from memory that outlives *ret */
int image_parse(const void *data, size_t size, const char *name, enum image_magic magic,
		struct image *ret, struct snap_error *err);
void image_done(struct image *image); /* idempotent */

/* the next record: 1, 0 at the end, or negative */
int image_next(struct image *image, struct image_bytes *ret, struct snap_error *err);

/* the next field: 1, 0 at the end, -EUCLEAN for what is no protobuf */
int image_field_next(struct image_bytes *message, struct image_field *ret);

/*
 * The number in a field of the message, by protobuf's rule the last one: 1, 0 when it is absent
 * (*ret is then left as it is), -EUCLEAN. image_sub(): the same for a message within.
 */
int image_number(struct image_bytes message, uint32_t field, uint64_t *ret);
int image_sub(struct image_bytes message, uint32_t field, struct image_bytes *ret);

/* numbers into a record of IMAGE_RECORD_MAX bytes; image_record_end() returns its whole size */
struct image_record {
	unsigned char bytes[IMAGE_RECORD_MAX];
	size_t n;
};

void image_record_begin(struct image_record *record);
void image_record_add(struct image_record *record, uint32_t field, uint64_t value);
size_t image_record_end(struct image_record *record);

/* the two magic numbers that a file begins with */
#define IMAGE_HEAD_BYTES 8U
void image_head(enum image_magic magic, unsigned char ret[IMAGE_HEAD_BYTES]);

#endif
