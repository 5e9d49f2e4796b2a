/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/elf.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

#define ID_BYTES 20

/* the smallest file that has what elf_build_id() looks at */
struct tiny_elf {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	Elf64_Nhdr other;
	char other_name[4];
	unsigned char other_id[4];
	Elf64_Nhdr note;
	char name[4];
	unsigned char id[ID_BYTES];
};

static void make_tiny(struct tiny_elf *elf)
{
	memset(elf, 0, sizeof(*elf));
	memcpy(elf->header.e_ident, ELFMAG, SELFMAG);
	elf->header.e_ident[EI_CLASS] = ELFCLASS64;
	elf->header.e_ident[EI_DATA] = ELFDATA2LSB;
	elf->header.e_phoff = offsetof(struct tiny_elf, segment);
	elf->header.e_phentsize = sizeof(Elf64_Phdr);
	elf->header.e_phnum = 1;
	elf->segment.p_type = PT_NOTE;
	elf->segment.p_offset = offsetof(struct tiny_elf, other);
	elf->segment.p_filesz = sizeof(*elf) - offsetof(struct tiny_elf, other);
	elf->other = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 3, .n_type = NT_GNU_ABI_TAG};
	memcpy(elf->other_name, "GNU", 4);
	elf->note = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = ID_BYTES, .n_type = NT_GNU_BUILD_ID};
	memcpy(elf->name, "GNU", 4);
	for (size_t i = 0; i < ID_BYTES; i++)
		elf->id[i] = (unsigned char)(0xf0 + i);
}

static int read_tiny(const struct tiny_elf *elf, size_t file_size, char *hex, size_t size)
{
	struct sandbox box;
	char path[128];
	int r;

	sandbox_init(&box);
	sandbox_put(&box, "elf", elf, file_size);
	r = elf_build_id(sandbox_path(&box, "elf", path, sizeof(path)), hex, size);
	sandbox_done(&box);
	return r;
}

static void test_build_id_is_found_behind_other_notes(void **state)
{
	struct tiny_elf elf;
	char hex[41];

	(void)state;
	make_tiny(&elf);
	assert_int_equal(read_tiny(&elf, sizeof(elf), hex, sizeof(hex)), 0);
	assert_string_equal(hex, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff00010203");
	assert_int_equal(read_tiny(&elf, sizeof(elf), hex, 40), -ENOSPC);
}

static void test_lying_sizes_are_refused(void **state)
{
	struct tiny_elf elf;
	char hex[41];

	(void)state;
	make_tiny(&elf);
	elf.note.n_descsz = 0xfffffffd;
	assert_int_equal(read_tiny(&elf, sizeof(elf), hex, sizeof(hex)), -ENODATA);
	make_tiny(&elf);
	elf.note.n_namesz = 0xffffffff;
	assert_int_equal(read_tiny(&elf, sizeof(elf), hex, sizeof(hex)), -ENODATA);
	make_tiny(&elf);
	elf.note.n_descsz = ID_BYTES + 1;
	assert_int_equal(read_tiny(&elf, sizeof(elf), hex, sizeof(hex)), -ENODATA);
	make_tiny(&elf);
	elf.segment.p_filesz = UINT64_MAX;
	assert_int_equal(read_tiny(&elf, sizeof(elf), hex, sizeof(hex)), 0);
	elf.segment.p_offset = UINT64_MAX;
	assert_int_equal(read_tiny(&elf, sizeof(elf), hex, sizeof(hex)), -ENODATA);
	make_tiny(&elf);
	elf.header.e_phoff = UINT64_MAX - 8;
	assert_int_equal(read_tiny(&elf, sizeof(elf), hex, sizeof(hex)), -ENOEXEC);
	make_tiny(&elf);
	elf.header.e_phnum = UINT16_MAX;
	elf.segment.p_type = PT_NULL;
	assert_true(read_tiny(&elf, sizeof(elf), hex, sizeof(hex)) < 0);
	make_tiny(&elf);
	assert_int_equal(read_tiny(&elf, sizeof(elf) - 1, hex, sizeof(hex)), -ENODATA);
}

static void test_other_files_are_no_elf(void **state)
{
	struct tiny_elf elf;
	char hex[41];

	(void)state;
	assert_int_equal(elf_build_id("/nowhere/x", hex, sizeof(hex)), -ENOENT);
	assert_int_equal(elf_build_id("/etc/passwd", hex, sizeof(hex)), -ENOEXEC);
	assert_int_equal(elf_build_id("/dev/null", hex, sizeof(hex)), -ENOEXEC);
	make_tiny(&elf);
	assert_int_equal(read_tiny(&elf, 10, hex, sizeof(hex)), -ENOEXEC);
	elf.header.e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(read_tiny(&elf, sizeof(elf), hex, sizeof(hex)), -ENOEXEC);
}

static void test_system_libc_has_one(void **state)
{
	char hex[41];
	int r = elf_build_id("/lib/x86_64-linux-gnu/libc.so.6", hex, sizeof(hex));

	(void)state;
	if (r == -ENOENT) {
		print_message("SKIP: no libc where Debian has it\n");
		skip();
	}
	assert_int_equal(r, 0);
	assert_int_equal(strspn(hex, "0123456789abcdef"), 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build_id_is_found_behind_other_notes),
		cmocka_unit_test(test_lying_sizes_are_refused),
		cmocka_unit_test(test_other_files_are_no_elf),
		cmocka_unit_test(test_system_libc_has_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
