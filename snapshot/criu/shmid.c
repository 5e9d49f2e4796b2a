/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way through the images: a descriptor is in fdinfo-N.img (N: ids-PID.img), which names an
 * entry of files.img, which names an inode of memfd.img, which has the number. A mapping is in
 * mm-PID.img, and has the number itself or, of a memfd, names an entry of files.img too.
 */
#include "snapshot/criu/shmid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "snapshot/criu/image.h"

/* fields and values of CRIU's images/{core,fdinfo,memfd,mm,vma}.proto and include/image.h */
#define IDS_FILES	2U
#define FDINFO_ID	1U
#define FDINFO_TYPE	3U
#define FDINFO_FD	4U
#define FILE_TYPE	1U
#define FILE_ID		2U
#define FILE_MEMFD	20U
#define MEMFD_INODE	5U
#define INODE_SHMID	5U
#define INODE_ID	7U
#define MM_VMAS		14U
#define VMA_START	1U
#define VMA_END		2U
#define VMA_SHMID	4U
#define VMA_STATUS	7U
#define TYPE_MEMFD	18U
#define VMA_ANON_SHARED 0x100U
#define VMA_MEMFD	0x4000U

#define NOT_FOUND 0

/* a record that has these numbers in these fields: 1 with it, NOT_FOUND, or negative */
struct wanted {
	uint32_t field;
	uint64_t value;
};

static int matches(struct image_bytes record, const struct wanted *wanted, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t value = 0;
		int r = image_number(record, wanted[i].field, &value);

		if (r <= 0 || value != wanted[i].value)
			return r < 0 ? r : NOT_FOUND;
	}
	return 1;
}

/* where a number is: in `field` (or, within > 0, in `field` of that submessage) of an image */
struct source {
	const char *name;
	enum image_magic magic;
	uint32_t within;
	uint32_t field;
};

/* the number of the first record that matches */
static int look_up(int criu_fd, const struct source *source, const struct wanted *wanted, size_t n,
		   uint64_t *ret, struct snap_error *err)
{
	struct image_bytes record;
	struct image image;
	int found = NOT_FOUND, r = image_load(criu_fd, source->name, source->magic, &image, err);

	if (r < 0)
		return r;
	while (found == NOT_FOUND && (r = image_next(&image, &record, err)) > 0) {
		found = matches(record, wanted, n);
		if (found > 0 && source->within > 0)
			found = image_sub(record, source->within, &record);
		if (found > 0)
			found = image_number(record, source->field, ret);
	}
	image_done(&image);
	if (r < 0)
		return r;
	return found < 0 ? snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
					   "'%s' has a record that is no message", source->name)
			 : found;
}

/* from the number of an open file */
static int shmid_of_file(int criu_fd, uint64_t file, uint64_t *ret, struct snap_error *err)
{
	const struct source files = {"files.img", IMAGE_MAGIC_FILES, FILE_MEMFD, MEMFD_INODE};
	const struct source memfds = {"memfd.img", IMAGE_MAGIC_MEMFD, 0, INODE_SHMID};
	const struct wanted memfd[] = {{FILE_TYPE, TYPE_MEMFD}, {FILE_ID, file}};
	struct wanted inode = {.field = INODE_ID};
	int r = look_up(criu_fd, &files, memfd, 2, &inode.value, err);

	if (r > 0)
		r = look_up(criu_fd, &memfds, &inode, 1, ret, err);
	return r;
}

int shmid_of_descriptor(int criu_fd, pid_t pid, int fd, uint64_t *ret, struct snap_error *err)
{
	const struct wanted memfd[] = {{FDINFO_TYPE, TYPE_MEMFD}, {FDINFO_FD, (uint64_t)fd}};
	char name[IMAGE_NAME_MAX];
	const struct source ids = {name, IMAGE_MAGIC_IDS, 0, IDS_FILES};
	const struct source fdinfo = {name, IMAGE_MAGIC_FDINFO, 0, FDINFO_ID};
	uint64_t files, file;
	int r;

	(void)snprintf(name, sizeof(name), "ids-%d.img", (int)pid);
	r = look_up(criu_fd, &ids, NULL, 0, &files, err);
	if (r > 0) {
		(void)snprintf(name, sizeof(name), "fdinfo-%" PRIu64 ".img", files);
		r = look_up(criu_fd, &fdinfo, memfd, 2, &file, err);
	}
	if (r > 0)
		r = shmid_of_file(criu_fd, file, ret, err);
	if (r == NOT_FOUND)
		return snap_fail_plain(err, SNAP_E_CORRUPT, ENOENT,
				       "descriptor %d of pid %d is no memfd in CRIU's images", fd,
				       (int)pid);
	return r < 0 ? r : 0;
}

/* the number that the vma has; *ret_is_file: it is that of an open file */
static int look_at_vma(struct image_bytes vma, uint64_t start, uint64_t end, uint64_t *ret,
		       bool *ret_is_file)
{
	uint64_t from = 0, to = 0, status = 0;

	if (image_number(vma, VMA_START, &from) < 0 || image_number(vma, VMA_END, &to) < 0 ||
	    image_number(vma, VMA_STATUS, &status) < 0)
		return -EUCLEAN;
	if (from > start || to < end || !(status & (VMA_MEMFD | VMA_ANON_SHARED)))
		return NOT_FOUND;
	*ret_is_file = status & VMA_MEMFD;
	return image_number(vma, VMA_SHMID, ret);
}

static int find_vma(struct image_bytes mm, uint64_t start, uint64_t end, uint64_t *ret,
		    bool *ret_is_file)
{
	struct image_field field;
	int r, found = NOT_FOUND;

	while (found == NOT_FOUND && (r = image_field_next(&mm, &field)) > 0) {
		if (field.number != MM_VMAS)
			continue;
		if (field.wire != IMAGE_WIRE_BYTES)
			return -EUCLEAN;
		found = look_at_vma(field.bytes, start, end, ret, ret_is_file);
	}
	return found == NOT_FOUND ? r : found;
}

int shmid_of_mapping(int criu_fd, pid_t pid, uint64_t start, uint64_t end, uint64_t *ret,
		     struct snap_error *err)
{
	char name[IMAGE_NAME_MAX];
	struct image_bytes mm;
	struct image image;
	bool is_file = false;
	uint64_t number = 0;
	int r;

	(void)snprintf(name, sizeof(name), "mm-%d.img", (int)pid);
	r = image_load(criu_fd, name, IMAGE_MAGIC_MM, &image, err);
	if (r < 0)
		return r;
	r = image_next(&image, &mm, err);
	if (r > 0) {
		r = find_vma(mm, start, end, &number, &is_file);
		if (r < 0)
			(void)snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
					      "'%s' has a record that is no message", name);
	}
	image_done(&image);
	*ret = number;
	if (r > 0 && is_file)
		r = shmid_of_file(criu_fd, number, ret, err);
	if (r == NOT_FOUND)
		return snap_fail_plain(err, SNAP_E_CORRUPT, ENOENT,
				       "%s has no shared mapping at 0x%" PRIx64, name, start);
	return r < 0 ? r : 0;
}
