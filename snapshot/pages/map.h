/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_MAP_H
#define SNAP_SNAPSHOT_PAGES_MAP_H

/*
 * pages.map: which bytes of pages.dat belong at which address of which process or shared object.
 * Little-endian, fixed-size records, every count bounded (docs/formats/pages.md). Memory that is
 * not named here is either in CRIU's images or holds zeros.
 *
 * A space is an address space (or a shared object) of the tree; its chunks lie one after another
 * in the table. A chunk is what is read, checked and decoded as one: the pages of its extents, one
 * after another, at most PAGES_CHUNK_MAX bytes. Extents of one space ascend and never overlap.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define PAGES_MAP_NAME	 "pages.map"
#define PAGES_DATA_NAME	 "pages.dat"
#define DEVICE_MAP_NAME	 "device.map"
#define DEVICE_DATA_NAME "device.dat"

#define PAGE_MAP_VERSION     1U
#define PAGE_BYTES	     4096U
#define PAGES_CHUNK_MAX	     (2U << 20) /* bytes of memory that a chunk covers: one huge page */
#define PAGES_DENSE_ALIGN    (2U << 20) /* where data of a dense run starts in pages.dat */
#define PAGE_MAP_SPACES_MAX  (1U << 16)
#define PAGE_MAP_CHUNKS_MAX  (1U << 22)
#define PAGE_MAP_EXTENTS_MAX (1U << 24)
#define PAGE_MAP_REGIONS_MAX (1U << 20)
#define PAGE_MAP_DEVICES_MAX 64 /* GPUs */
#define PAGE_REGION_NAME_MAX 64U

/* first address beyond user space: x86-64 with four levels of page tables, what the kernel hands
 * out unless a hint asks for more (Documentation/arch/x86/x86_64/mm.rst) */
#define PAGE_MAP_ADDRESS_END ((uint64_t)1 << 47)
#define PAGE_MAP_OBJECT_MAX  ((uint64_t)1 << 46) /* bytes of a shared object */
#define PAGE_MAP_DATA_MAX    ((uint64_t)1 << 46) /* bytes of pages.dat */

/* bytes that whole pages take */
static inline uint64_t page_round_up(uint64_t bytes)
{
	return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

/* two pairs of files in one format, by what they hold */
enum page_files {
	PAGE_FILES_TREE,    /* pages.map, pages.dat: host memory, TASK and SHARED */
	PAGE_FILES_DEVICES, /* device.map, device.dat: DEVICE spaces and no other */
	PAGE_FILES_MAX_,
};

enum page_space_kind {
	PAGE_SPACE_TASK = 1,   /* private memory of process pid; extents are addresses */
	PAGE_SPACE_SHARED = 2, /* an object of shared memory; extents are offsets in it */
	PAGE_SPACE_DEVICE = 3, /* memory of a process on one GPU; extents are offsets in it */
};

/* 48 bytes on disk; TASK: start, end and object_bytes are 0, fd is 0 or -1 */
struct page_space {
	uint32_t kind; /* enum page_space_kind */
	int32_t pid;   /* SHARED: a process that has the object mapped or open */
	int32_t fd;    /* SHARED: its descriptor of the object, -1: reach it through the mapping;
			  DEVICE: number of the GPU in the manifest */
	uint32_t first_chunk;
	uint32_t n_chunks;
	uint32_t pad;
	uint64_t start; /* SHARED: a mapping of the object in pid, 0 (and end 0): none */
	uint64_t end;
	uint64_t object_bytes; /* SHARED, DEVICE: its size */
};

enum page_codec {
	PAGE_CODEC_NONE = 0,
	PAGE_CODEC_LZ4 = 1,
	PAGE_CODEC_ZSTD = 2,
	PAGE_CODEC_MAX_,
};

enum page_chunk_flag {
	PAGE_CHUNK_DENSE = 1,	  /* one whole 2 MiB page of a process */
	PAGE_CHUNK_READ_ONLY = 2, /* the mapping lacks PROT_WRITE: fill through /proc/PID/mem */
	PAGE_CHUNK_NO_HUGE = 4,	  /* the mapping wants no huge pages: MADV_NOHUGEPAGE */
};

/* 56 bytes on disk */
struct page_chunk {
	uint64_t offset;       /* in pages.dat, a multiple of PAGE_BYTES; two chunks may share it */
	uint64_t checksum_low; /* XXH3-128 of the bytes in memory, not of the stored ones */
	uint64_t checksum_high;
	uint32_t stored_bytes; /* in pages.dat; codec none: equal to bytes */
	uint32_t bytes;	       /* in memory: the sum of its extents */
	uint32_t space;
	uint32_t first_extent;
	uint32_t n_extents;
	uint32_t rank;	/* order of first use after a wake, 0: unknown */
	uint16_t codec; /* enum page_codec */
	uint16_t flags; /* enum page_chunk_flag */
	uint32_t pad;
};

/* 16 bytes on disk */
struct page_extent {
	uint64_t address; /* or offset in the object */
	uint32_t n_pages;
	uint32_t pad;
};

/* why pages of a mapping are in CRIU's images; bits, they may add up */
enum page_kept {
	PAGE_KEPT_SMALL = 1,   /* below the threshold */
	PAGE_KEPT_STACK = 2,   /* a stack page in use */
	PAGE_KEPT_THREAD = 4,  /* TLS, rseq, clear_tid or robust list of a thread */
	PAGE_KEPT_COW = 8,     /* shared copy-on-write with another process */
	PAGE_KEPT_LOCKED = 16, /* mlocked */
	PAGE_KEPT_HUGETLB = 32,
	PAGE_KEPT_SEALED = 64, /* write-sealed memfd */
	PAGE_KEPT_KIND = 128,  /* vdso, AIO ring, userfaultfd, device … */
	PAGE_KEPT_SWAPPED = 256,
	PAGE_KEPT_UNREACHABLE = 512, /* the object cannot be opened with our rights */
};

/* 144 bytes on disk: what became of one mapping, for people (snapctl inspect) */
struct page_region {
	uint64_t start;
	uint64_t end;
	uint64_t stored_bytes; /* in pages.dat, before compression */
	uint64_t zero_bytes;   /* present and all zero: not stored */
	uint64_t shared_bytes; /* content of a shared object that another region or file accounts
				  for */
	uint64_t kept_bytes;   /* present and left with CRIU */
	int32_t pid;
	uint32_t kept;	 /* enum page_kept */
	uint32_t prot;	 /* PROT_* */
	uint32_t shared; /* 1: MAP_SHARED */
	uint64_t pad;
	char name[PAGE_REGION_NAME_MAX]; /* the end of a longer path; NUL to the end of the field */
	uint64_t pad2;
};

struct page_map {
	enum page_files files;
	struct page_space *spaces;
	size_t n_spaces;
	struct page_chunk *chunks;
	size_t n_chunks;
	struct page_extent *extents;
	size_t n_extents;
	struct page_region *regions;
	size_t n_regions;
	uint64_t data_bytes; /* size of the data file */
	/* entries that there is memory for; page_map_add_*() alone */
	size_t spaces_room;
	size_t chunks_room;
	size_t extents_room;
	size_t regions_room;
};

const char *page_files_map_name(enum page_files files);
const char *page_files_data_name(enum page_files files);

void page_map_done(struct page_map *map); /* idempotent; frees the four tables */

/* append a copy; 0, -ENOMEM, or -E2BIG beyond the bound */
int page_map_add_space(struct page_map *map, const struct page_space *space);
int page_map_add_chunk(struct page_map *map, const struct page_chunk *chunk);
int page_map_add_extent(struct page_map *map, const struct page_extent *extent);
int page_map_add_region(struct page_map *map, const struct page_region *region);

/* everything the format demands; SNAP_E_CORRUPT names the first record that breaks it */
int page_map_check(const struct page_map *map, struct snap_error *err);

/* the bytes of pages.map in fresh memory, the caller's to free; SNAP_E_INTERNAL for what
 * page_map_check() refuses */
int page_map_format(const struct page_map *map, void **ret_data, size_t *ret_size,
		    struct snap_error *err);

/* the same, as the map's file (0600) below gen_fd, synced and complete */
int page_map_save(int gen_fd, const struct page_map *map, struct snap_error *err);

/* read, bound, check; the size of the data file is compared too. SNAP_E_CORRUPT,
 * SNAP_E_INCOMPATIBLE for another version */
int page_map_load(int gen_fd, enum page_files files, struct page_map *ret, struct snap_error *err);

/* the same from pages.map and pages.dat that are open already, wherever they lie; both stay open */
int page_map_load_from(int map_fd, int data_fd, struct page_map *ret, struct snap_error *err);

/* the same from memory, without the look at the data: what the fuzz target calls */
int page_map_parse(const void *data, size_t size, enum page_files files, struct page_map *ret,
		   struct snap_error *err);

#endif
