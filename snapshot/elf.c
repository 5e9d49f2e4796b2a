/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/elf.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"

#define HEADERS_MAX   64U /* program headers; real files have about a dozen */
#define NOTES_MAX     4096U
#define BUILD_ID_MAX  20U /* SHA-1, the largest that linkers make by default */
#define NATIVE_ENDIAN (__BYTE_ORDER == __LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB)

static size_t align4(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

/* 0, or -ENODATA when these notes hold no build id */
static int find_build_id(const unsigned char *notes, size_t size, char *ret_hex, size_t ret_size)
{
	size_t at = 0;

	while (size - at >= sizeof(Elf64_Nhdr)) {
		const unsigned char *name, *id;
		Elf64_Nhdr note;

		memcpy(&note, notes + at, sizeof(note));
		at += sizeof(note);
		if (note.n_namesz > NOTES_MAX || note.n_descsz > NOTES_MAX ||
		    align4(note.n_namesz) + align4(note.n_descsz) > size - at)
			return -ENODATA;
		name = notes + at;
		id = name + align4(note.n_namesz);
		at += align4(note.n_namesz) + align4(note.n_descsz);
		if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 ||
		    memcmp(name, "GNU", 4) != 0)
			continue;
		if (note.n_descsz == 0 || note.n_descsz > BUILD_ID_MAX)
			return -ENODATA;
		if (ret_size < 2 * (size_t)note.n_descsz + 1)
			return -ENOSPC;
		for (size_t i = 0; i < note.n_descsz; i++)
			(void)snprintf(ret_hex + 2 * i, 3, "%02x", id[i]);
		return 0;
	}
	return -ENODATA;
}

static bool is_native(const Elf64_Ehdr *header)
{
	return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
	       header->e_ident[EI_CLASS] == ELFCLASS64 &&
	       header->e_ident[EI_DATA] == NATIVE_ENDIAN &&
	       header->e_phentsize == sizeof(Elf64_Phdr);
}

int elf_build_id(const char *path, char *ret_hex, size_t size)
{
	snap_cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	unsigned char notes[NOTES_MAX];
	Elf64_Ehdr header;

	if (fd < 0)
		return -errno;
	if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) || !is_native(&header))
		return -ENOEXEC;

	for (unsigned int i = 0; i < header.e_phnum && i < HEADERS_MAX; i++) {
		uint64_t at = header.e_phoff + (uint64_t)i * sizeof(Elf64_Phdr);
		Elf64_Phdr segment;
		size_t want;
		ssize_t n;
		int r;

		if (header.e_phoff > INT32_MAX ||
		    pread(fd, &segment, sizeof(segment), (off_t)at) != (ssize_t)sizeof(segment))
			return -ENOEXEC;
		if (segment.p_type != PT_NOTE || segment.p_offset > INT64_MAX)
			continue;
		want = segment.p_filesz < sizeof(notes) ? (size_t)segment.p_filesz : sizeof(notes);
		n = pread(fd, notes, want, (off_t)segment.p_offset);
		if (n < 0)
			return -ENOEXEC;
		r = find_build_id(notes, (size_t)n, ret_hex, size);
		if (r != -ENODATA)
			return r;
	}
	return -ENODATA;
}
