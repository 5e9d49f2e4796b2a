/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "snapshot/manifest.h"
#include "snapshot/manifest_json.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sample.h"
#include "tests/unit/snapshot/sandbox.h"

#define BAD_PREFIX "should-fail-"

/* one file each; the message must hold the words, the code is corrupt if none is given */
struct bad_case {
	const char *name;
	const char *words;
	enum snap_code code;
};

/* clang-format off */
static const struct bad_case bad_cases[] = {
	{"schema-2", "manifest schema 2, this snapinit reads 1", SNAP_E_INCOMPATIBLE},
	{"schema-0", "manifest schema 0, this snapinit reads 1", SNAP_E_INCOMPATIBLE},
	{"schema-is-text", "manifest.json: schema: not an integer", 0},
	{"schema-missing", "manifest.json: schema: missing", 0},
	{"requires-unknown", "requires 'pages-v2'", SNAP_E_INCOMPATIBLE},
	{"requires-is-text", "manifest.json: requires: not a list", 0},
	{"requires-holds-number", "manifest.json: requires[0]: not a string", 0},
	{"generation-is-path", "manifest.json: generation: not of the form gen-N", 0},
	{"generation-leading-zero", "manifest.json: generation: not of the form gen-N", 0},
	{"created-local-time", "manifest.json: created: not an RFC 3339 time in UTC", 0},
	{"verified-is-number", "manifest.json: verified: neither true nor false", 0},
	{"snapinit_version-empty", "manifest.json: snapinit_version: empty", 0},
	{"identity-is-list", "manifest.json: identity: not an object", 0},
	{"argv-empty", "manifest.json: identity.argv: names no program", 0},
	{"argv-holds-null", "manifest.json: identity.argv[2]: not a string", 0},
	{"cwd-relative", "manifest.json: identity.cwd: not an absolute path", 0},
	{"uid-negative", "manifest.json: identity.uid: -1 is not within 0 and", 0},
	{"uid-is-invalid-uid", "manifest.json: identity.uid: 4294967295 is not within", 0},
	{"gid-is-real", "manifest.json: identity.gid: not an integer", 0},
	{"groups-unsorted", "manifest.json: identity.groups[1]: not in ascending order", 0},
	{"env_salt-short", "manifest.json: identity.env_salt: not 32 lower case hex digits", 0},
	{"env-digest-upper-case", "manifest.json: identity.env[0].digest: not 64 lower case", 0},
	{"env-name-with-equals", "manifest.json: identity.env[0].name: has a '='", 0},
	{"env-unsorted", "manifest.json: identity.env[1]: not in ascending order", 0},
	{"env-twice", "manifest.json: identity.env[1]: not in ascending order", 0},
	{"cpu_flags-holds-number", "manifest.json: host.cpu_flags[3]: not a string", 0},
	{"cpu_flags-unsorted", "manifest.json: host.cpu_flags[1]: not in ascending order", 0},
	{"criu_build_id-odd", "manifest.json: host.criu_build_id: not a build id in hex", 0},
	{"caps_effective-is-number", "manifest.json: host.caps_effective: not a string", 0},
	{"caps_bounding-17-digits", "manifest.json: host.caps_bounding: not of the form 0x1f", 0},
	{"setting-unknown", "manifest.json: host.setting: none of A, B, C, none", 0},
	{"memory_limit-decimal", "manifest.json: host.memory_limit: not of the form 0x1f", 0},
	{"cpus-zero", "manifest.json: host.cpus: 0 is not within 1 and", 0},
	{"page_size-tiny", "manifest.json: host.page_size: 512 is not within 4096 and", 0},
	{"nofile-missing", "manifest.json: host.nofile: missing", 0},
	{"file-path-relative", "manifest.json: files[0].path: not an absolute path", 0},
	{"file-path-dotdot", "manifest.json: files[0].path: has a '.' or '..' component", 0},
	{"file-path-empty-component", "manifest.json: files[0].path: has an empty path", 0},
	{"file-path-trailing-slash", "manifest.json: files[0].path: has an empty path", 0},
	{"file-path-too-long", "manifest.json: files[0].path: longer than 4096 bytes", 0},
	{"file-size-negative", "manifest.json: files[1].size: -5 is not within 0 and", 0},
	{"file-mode-type-bits", "manifest.json: files[0].mode: 33188 is not within 0 and", 0},
	{"file-stored-absolute", "manifest.json: files[1].stored: not a relative path", 0},
	{"file-stored-dotdot", "manifest.json: files[1].stored: has a '.' or '..' component", 0},
	{"file-stored-blank", "manifest.json: files[1].stored: has a character outside", 0},
	{"file-stored-null", "manifest.json: files[1].stored: not a string", 0},
	{"file-mapped-is-text", "manifest.json: files[0].mapped: neither true nor false", 0},
	{"files-is-object", "manifest.json: files: not a list", 0},
	{"dir-path-dot", "manifest.json: dirs[0].path: has a '.' or '..' component", 0},
	{"listener-protocol-sctp", "manifest.json: listeners[0].protocol: none of tcp,", 0},
	{"listener-port-too-large", "manifest.json: listeners[0].port: 65536 is not within", 0},
	{"listener-address-name", "manifest.json: listeners[0].address: not a numeric tcp", 0},
	{"listener-address-other-family", "manifest.json: listeners[1].address: not a numeric tcp6", 0},
	{"image-name-absolute", "manifest.json: images[1].name: not a relative path", 0},
	{"image-name-dotdot", "manifest.json: images[1].name: has a '.' or '..' component", 0},
	{"image-name-climbs", "manifest.json: images[1].name: has a '.' or '..' component", 0},
	{"image-in-a-deeper-folder", "manifest.json: images[1].name: neither pages.map, device.map nor in", 0},
	{"image-is-the-manifest", "manifest.json: images[1].name: neither pages.map, device.map nor in", 0},
	{"image-twice", "manifest.json: images[1]: not in ascending order", 0},
	{"image-digest-not-hex", "manifest.json: images[1].digest: not 32 lower case", 0},
	{"image-digest-missing", "manifest.json: images[1].digest: missing", 0},
	{"root_pid-not-in-pids", "manifest.json: root_pid: 999 is not in pids", 0},
	{"pids-zero", "manifest.json: pids[0]: 0 is not within 1 and 4194304", 0},
	{"pids-too-large", "manifest.json: pids[1]: 4194305 is not within 1 and 4194304", 0},
	{"pids-twice", "manifest.json: pids[1]: not in ascending order", 0},
	{"mapping-overlaps", "manifest.json: mappings[1]: not whole pages in ascending order", 0},
	{"mapping-not-pages", "manifest.json: mappings[0]: not whole pages in ascending order", 0},
	{"mapping-empty", "manifest.json: mappings[0]: not whole pages in ascending order", 0},
	{"mapping-beyond-user-space", "manifest.json: mappings[0]: not whole pages in", 0},
	{"mapping-pid-not-in-pids", "manifest.json: mappings[0]: 999 is not in pids", 0},
	{"mappings-unsorted", "manifest.json: mappings[1]: not in ascending order", 0},
	{"mapping-prot-8", "manifest.json: mappings[0].prot: 8 is not within 0 and 7", 0},
	{"mapping-lock-3", "manifest.json: mappings[0].lock: 3 is not within 0 and 2", 0},
	{"gpu-mode-unknown", "manifest.json: gpu.mode: neither staging nor storage", 0},
	{"gpu-storage-without-map", "manifest.json: gpu.mode: storage, but images do not name", 0},
	{"gpu-library-relative", "manifest.json: gpu.library: not an absolute path", 0},
	{"gpu-uuid-short", "manifest.json: gpu.devices[0].uuid: not 32 lower case hex", 0},
	{"gpu-compute-zero", "manifest.json: gpu.devices[0].compute: 0 is not within 1 and", 0},
	{"gpu-without-devices", "manifest.json: gpu: no device or no process", 0},
	{"gpu-process-not-in-pids", "manifest.json: gpu.processes[0]: 999 is not in pids", 0},
	{"gpu-staging-not-pages", "manifest.json: gpu.staging[0]: not whole pages in", 0},
	{"gpu-staging-empty", "manifest.json: gpu.staging[0]: not whole pages in", 0},
	{"stdio-two-entries", "manifest.json: stdio: not a list of three", 0},
	{"stdio-is-socket", "manifest.json: stdio[1]: not of the form pipe:[N]", 0},
	{"ready-is-list", "manifest.json: ready: not a string", 0},
	{"resident_bytes-is-text", "manifest.json: resident_bytes: not an integer", 0},
	{"cold_boot_ms-negative", "manifest.json: cold_boot_ms: -1 is not within", 0},
	{"document-is-list", "manifest.json: not an object", 0},
	{"too-deep", "manifest.json: takes more than 80 MiB of memory or 8 levels", 0},
	{"key-twice", "duplicate object key", 0},
	{"nul-in-string", "manifest.json: no JSON", 0},
	{"truncated", "manifest.json: no JSON", 0},
	{"trailing-garbage", "manifest.json: no JSON", 0},
	{"number-too-large", "manifest.json: no JSON", 0},
	{"empty", "manifest.json: no JSON", 0},
	{"comment", "manifest.json: no JSON", 0},
	{"not-utf8", "manifest.json: no JSON", 0},
	{"nul-byte", "manifest.json: no JSON", 0},
	{"utf-16", "manifest.json: no JSON", 0},
	{"nan", "manifest.json: no JSON", 0},
	{"infinity", "manifest.json: no JSON", 0},
	{"number-2-to-63", "manifest.json: no JSON", 0},
	{"key-twice-in-object", "duplicate object key", 0},
	{"resident_bytes-is-real", "manifest.json: resident_bytes: not an integer", 0},
	{"digest-of-other-text", "but the text has", 0},
	{"digest-short", "manifest.json: digest: not 32 lower case hex digits", 0},
	{"digest-missing", "manifest.json: digest: missing", 0},
	{"digest-not-last", "manifest.json: digest: not the last member", 0},
};

/* clang-format on */

static int parse_file(const char *path, struct manifest *ret, struct snap_error *err)
{
	snap_cleanup_free char *text = NULL;
	size_t size;

	assert_int_equal(io_read_file(AT_FDCWD, path, MANIFEST_SIZE_MAX, &text, &size, NULL), 0);
	return manifest_parse(text, size, ret, err);
}

static void test_every_bad_file_is_refused_by_field(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad_cases); i++) {
		const struct bad_case *bad = &bad_cases[i];
		struct snap_error err = {0};
		struct manifest m;
		char path[256];

		(void)snprintf(path, sizeof(path), "%s/" BAD_PREFIX "%s.json", SNAP_TEST_DATA,
			       bad->name);
		if (parse_file(path, &m, &err) >= 0)
			fail_msg("%s was accepted", bad->name);
		if (!strstr(err.msg, bad->words))
			fail_msg("%s: '%s' does not say '%s'", bad->name, err.msg, bad->words);
		assert_int_equal(err.code, bad->code ? bad->code : SNAP_E_CORRUPT);
		assert_null(strchr(err.msg, '\n'));
	}
}

static void test_every_bad_file_is_in_the_table(void **state)
{
	DIR *dir = opendir(SNAP_TEST_DATA);
	struct dirent *entry;
	size_t n = 0;

	(void)state;
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += strncmp(entry->d_name, BAD_PREFIX, strlen(BAD_PREFIX)) == 0;
	(void)closedir(dir);
	assert_int_equal(n, ARRAY_LEN(bad_cases));
}

static void test_good_file_is_read_whole(void **state)
{
	struct manifest m;

	(void)state;
	sample_manifest(&m);
	assert_int_equal(m.schema, 1);
	assert_string_equal(m.generation, "gen-3");
	assert_true(m.verified && m.unprivileged && !m.tree_has_filter);
	assert_int_equal(m.identity.argv.n, 5);
	assert_string_equal(m.identity.argv.items[4], "8080");
	assert_int_equal(m.identity.n_groups, 2);
	assert_int_equal(m.identity.groups[1], 1000);
	assert_int_equal(m.identity.n_env, 2);
	assert_string_equal(m.identity.env[1].name, "PATH");
	assert_int_equal(strlen(m.identity.env[1].digest), 64);
	assert_true(m.host.memory_limit == UINT64_MAX);
	assert_true(m.host.caps_effective == ((1ULL << 40) | (1ULL << 8)));
	assert_int_equal(m.n_files, 2);
	assert_true(m.files[0].mapped && !m.files[0].append && !m.files[0].stored);
	assert_true(m.files[0].mtime_ns == 1763956883123456789);
	assert_true(!m.files[1].mapped && m.files[1].append);
	assert_string_equal(m.files[1].stored, "f-000001");
	assert_int_equal(m.dirs[0].mode, 0700);
	assert_int_equal(m.listeners[1].port, 8080);
	assert_true(m.images[1].size == 8589934592);
	assert_int_equal(m.n_pids, 3);
	assert_string_equal(m.stdio[1], "pipe:[4712]");
	assert_null(m.stdio[2]);
	assert_int_equal(m.frozen_ms, 96);
	manifest_done(&m);
	manifest_done(&m);
}

static void test_saved_is_byte_for_byte_what_was_loaded(void **state)
{
	snap_cleanup_free char *golden = NULL, *saved = NULL;
	size_t golden_size, saved_size;
	struct manifest m, again;
	struct sandbox box;
	struct stat st;

	(void)state;
	sandbox_init(&box);
	sample_manifest(&m);
	assert_int_equal(manifest_save(box.fd, &m, NULL), 0);
	assert_int_equal(fstatat(box.fd, "manifest.json", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(io_read_file(AT_FDCWD, SNAP_TEST_DATA "/good.json", 1 << 20, &golden,
				      &golden_size, NULL),
			 0);
	assert_int_equal(io_read_file(box.fd, "manifest.json", 1 << 20, &saved, &saved_size, NULL),
			 0);
	assert_string_equal(saved, golden);
	assert_int_equal(manifest_load(box.fd, &again, NULL), 0);
	assert_string_equal(again.oracle_answer, m.oracle_answer);
	manifest_done(&again);
	manifest_done(&m);
	sandbox_done(&box);
}

static void test_absent_optional_fields_stay_empty(void **state)
{
	snap_cleanup_free char *text = NULL;
	struct manifest m, again;
	size_t size;

	(void)state;
	sample_manifest(&m);
	sample_set(&m.ready, NULL);
	sample_set(&m.oracle_request, NULL);
	sample_set(&m.oracle_answer, NULL);
	assert_int_equal(manifest_format(&m, &text, &size, NULL), 0);
	assert_null(strstr(text, "oracle"));
	assert_int_equal(manifest_parse(text, size, &again, NULL), 0);
	assert_null(again.ready);
	assert_null(again.oracle_answer);
	manifest_done(&again);
	manifest_done(&m);
}

/* requires and digest are the last members */
static void cut_seal(char *text)
{
	char *requires = strstr(text, ",\n \"requires\"");

	assert_non_null(requires);
	*requires = '\0';
}

static void test_mappings_are_read_and_written(void **state)
{
	snap_cleanup_free char *golden = NULL, *text = NULL;
	size_t golden_size, size;
	struct manifest m;

	(void)state;
	assert_int_equal(io_read_file(AT_FDCWD, SNAP_TEST_DATA "/good-mappings.json", 1 << 20,
				      &golden, &golden_size, NULL),
			 0);
	assert_int_equal(manifest_parse(golden, golden_size, &m, NULL), 0);
	assert_int_equal(m.n_mappings, 3);
	assert_int_equal(m.mappings[1].pid, 1001);
	assert_true(m.mappings[1].start == 0x7f0000004000 && m.mappings[1].end == 0x7f0000006000);
	assert_int_equal(m.mappings[1].prot, 7);
	assert_int_equal(m.mappings[1].lock, MANIFEST_LOCK_NONE);
	assert_int_equal(m.mappings[2].lock, MANIFEST_LOCK_ON_FAULT);
	assert_int_equal(manifest_format(&m, &text, &size, NULL), 0);
	assert_int_equal(size, golden_size);
	assert_memory_equal(text, golden, size);
	manifest_done(&m);
}

static void test_gpus_are_read_and_written(void **state)
{
	snap_cleanup_free char *golden = NULL, *text = NULL;
	size_t golden_size, size;
	struct manifest m;

	(void)state;
	assert_int_equal(io_read_file(AT_FDCWD, SNAP_TEST_DATA "/good-gpu.json", 1 << 20, &golden,
				      &golden_size, NULL),
			 0);
	assert_int_equal(manifest_parse(golden, golden_size, &m, NULL), 0);
	assert_string_equal(m.gpu.mode, "staging");
	assert_string_equal(m.gpu.driver, "580.159.04");
	assert_int_equal(m.gpu.n_devices, 1);
	assert_int_equal(m.gpu.devices[0].compute, 90);
	assert_int_equal(m.gpu.n_processes, 1);
	assert_int_equal(m.gpu.processes[0].restore_tid, 1002);
	assert_int_equal(m.gpu.n_staging, 1);
	assert_true(m.gpu.staging[0].end - m.gpu.staging[0].start ==
		    m.gpu.processes[0].staging_bytes);
	assert_int_equal(manifest_format(&m, &text, &size, NULL), 0);
	assert_int_equal(size, golden_size);
	assert_memory_equal(text, golden, size);
	manifest_done(&m);
}

static void test_unknown_members_are_ignored(void **state)
{
	snap_cleanup_free char *text = NULL, *more = NULL;
	struct manifest m, again;
	size_t size;

	(void)state;
	sample_manifest(&m);
	assert_int_equal(manifest_format(&m, &text, &size, NULL), 0);
	cut_seal(text);
	assert_true(asprintf(&more, "{\"later\":{\"a\":[1,2]},\"requires\":[],%s}", text + 1) > 0);
	assert_int_equal(manifest_parse(more, strlen(more), &again, NULL), 0);
	manifest_done(&again);
	manifest_done(&m);
}

static void test_every_flipped_bit_is_refused(void **state)
{
	snap_cleanup_free char *text = NULL;
	struct manifest m, again;
	size_t size;

	(void)state;
	sample_manifest(&m);
	assert_int_equal(manifest_format(&m, &text, &size, NULL), 0);
	for (size_t i = 0; i < size * 8; i++) {
		char byte = text[i / 8];

		text[i / 8] = (char)(byte ^ 1 << i % 8);
		/* behind the digest are blanks, and one is as good as another */
		if (manifest_parse(text, size, &again, NULL) == 0) {
			if (i / 8 < size - 4)
				fail_msg("bit %zu of byte %zu", i % 8, i / 8);
			manifest_done(&again);
		}
		text[i / 8] = byte;
	}
	manifest_done(&m);
}

static void test_what_load_would_refuse_is_not_saved(void **state)
{
	struct snap_error err = {0};
	struct sandbox box;
	struct manifest m;

	(void)state;
	sandbox_init(&box);
	sample_manifest(&m);
	sample_set(&m.identity.cwd, "not/absolute");
	assert_true(manifest_save(box.fd, &m, &err) < 0);
	assert_int_equal(err.code, SNAP_E_INTERNAL);
	assert_string_equal(err.msg,
			    "not written: manifest.json: identity.cwd: not an absolute path");
	assert_false(sandbox_has(&box, "manifest.json"));
	manifest_done(&m);
	sandbox_done(&box);
}

static void test_text_that_is_no_utf8_is_named(void **state)
{
	struct snap_error err = {0};
	struct sandbox box;
	struct manifest m;

	(void)state;
	sandbox_init(&box);
	sample_manifest(&m);
	sample_set(&m.identity.argv.items[2], "/models/\xff");
	assert_int_equal(manifest_save(box.fd, &m, &err), -EILSEQ);
	assert_string_equal(err.msg, "manifest.json: identity.argv[2]: no UTF-8 text");
	assert_false(sandbox_has(&box, "manifest.json"));
	manifest_done(&m);
	sandbox_done(&box);
}

static void test_list_of_65537_entries_is_refused(void **state)
{
	struct snap_error err = {0};
	struct manifest m, again;
	snap_cleanup_free char *text = NULL;
	size_t size;

	(void)state;
	sample_manifest(&m);
	free(m.pids);
	m.n_pids = MANIFEST_ITEMS_MAX + 1;
	m.pids = calloc(m.n_pids, sizeof(*m.pids));
	for (size_t i = 0; i < m.n_pids; i++)
		m.pids[i] = (int32_t)i + 1;
	assert_int_equal(manifest_format(&m, &text, &size, NULL), 0);
	assert_true(manifest_parse(text, size, &again, &err) < 0);
	assert_string_equal(err.msg, "manifest.json: pids: more than 65536 entries");
	m.n_pids--;
	free(text);
	assert_int_equal(manifest_format(&m, &text, &size, NULL), 0);
	assert_int_equal(manifest_parse(text, size, &again, NULL), 0);
	assert_int_equal(again.n_pids, MANIFEST_ITEMS_MAX);
	manifest_done(&again);
	manifest_done(&m);
}

static void test_argument_longer_than_the_kernel_takes_is_refused(void **state)
{
	char *longest = calloc(1, MANIFEST_STRING_MAX + 2);
	struct snap_error err = {0};
	struct sandbox box;
	struct manifest m;

	(void)state;
	sandbox_init(&box);
	memset(longest, 'a', MANIFEST_STRING_MAX);
	sample_manifest(&m);
	sample_set(&m.identity.argv.items[1], longest);
	assert_int_equal(manifest_save(box.fd, &m, NULL), 0);
	longest[MANIFEST_STRING_MAX] = 'a';
	sample_set(&m.identity.argv.items[1], longest);
	assert_true(manifest_save(box.fd, &m, &err) < 0);
	assert_non_null(strstr(err.msg, "identity.argv[1]: longer than 131072 bytes"));
	free(longest);
	manifest_done(&m);
	sandbox_done(&box);
}

static void test_millions_of_values_are_refused_before_they_are_built(void **state)
{
	size_t size = MANIFEST_SIZE_MAX;
	char *text = malloc(size);
	struct snap_error err = {0};
	struct manifest m;

	(void)state;
	for (size_t i = 0; i < size; i++)
		text[i] = i % 2 ? ',' : '1';
	text[0] = '[';
	text[1] = '1';
	text[size - 1] = ']';
	assert_true(manifest_parse(text, size, &m, &err) < 0);
	assert_string_equal(err.msg, "manifest.json: takes more than 80 MiB of memory or 8 levels");
	assert_true(manifest_parse(text, size + 1, &m, &err) < 0);
	assert_string_equal(err.msg, "manifest.json: larger than 16777216 bytes");
	free(text);
}

static void test_brackets_in_strings_are_not_levels(void **state)
{
	snap_cleanup_free char *text = NULL;
	struct manifest m, again;
	size_t size;

	(void)state;
	sample_manifest(&m);
	sample_set(&m.identity.argv.items[1], "[[[[[[[[[[[[\"[[[[\\[[[[,,,,");
	assert_int_equal(manifest_format(&m, &text, &size, NULL), 0);
	assert_int_equal(manifest_parse(text, size, &again, NULL), 0);
	assert_string_equal(again.identity.argv.items[1], "[[[[[[[[[[[[\"[[[[\\[[[[,,,,");
	manifest_done(&again);
	manifest_done(&m);
}

static void test_missing_large_or_odd_files_are_corrupt(void **state)
{
	struct snap_error err = {0};
	struct sandbox box;
	struct manifest m;

	(void)state;
	sandbox_init(&box);
	assert_int_equal(manifest_load(box.fd, &m, &err), -ENOENT);
	assert_int_equal(err.code, SNAP_E_CORRUPT);

	assert_int_equal(symlinkat("/dev/null", box.fd, "manifest.json"), 0);
	assert_true(manifest_load(box.fd, &m, &err) < 0);
	assert_string_equal(err.msg, "'manifest.json' is no regular file");
	assert_int_equal(unlinkat(box.fd, "manifest.json", 0), 0);

	assert_int_equal(mkfifoat(box.fd, "manifest.json", 0600), 0);
	assert_true(manifest_load(box.fd, &m, &err) < 0);
	assert_string_equal(err.msg, "'manifest.json' is no regular file");
	assert_int_equal(unlinkat(box.fd, "manifest.json", 0), 0);

	sandbox_put_text(&box, "manifest.json", "");
	assert_true(manifest_load(box.fd, &m, &err) < 0);
	sandbox_put_text(&box, "manifest.json", "{}");
	assert_int_equal(truncate(sandbox_path(&box, "manifest.json", (char[128]){0}, 128),
				  MANIFEST_SIZE_MAX + 1),
			 0);
	assert_int_equal(manifest_load(box.fd, &m, &err), -EFBIG);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	sandbox_done(&box);
}

static void test_string_list_owns_copies(void **state)
{
	struct string_list list = {0};
	char word[] = "one";

	(void)state;
	assert_int_equal(string_list_add(&list, word), 0);
	word[0] = 'x';
	assert_int_equal(string_list_add(&list, word), 0);
	assert_int_equal(list.n, 2);
	assert_string_equal(list.items[0], "one");
	assert_string_equal(list.items[1], "xne");
	string_list_done(&list);
	string_list_done(&list);
	assert_int_equal(list.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_bad_file_is_refused_by_field),
		cmocka_unit_test(test_every_bad_file_is_in_the_table),
		cmocka_unit_test(test_good_file_is_read_whole),
		cmocka_unit_test(test_saved_is_byte_for_byte_what_was_loaded),
		cmocka_unit_test(test_absent_optional_fields_stay_empty),
		cmocka_unit_test(test_mappings_are_read_and_written),
		cmocka_unit_test(test_gpus_are_read_and_written),
		cmocka_unit_test(test_unknown_members_are_ignored),
		cmocka_unit_test(test_every_flipped_bit_is_refused),
		cmocka_unit_test(test_what_load_would_refuse_is_not_saved),
		cmocka_unit_test(test_text_that_is_no_utf8_is_named),
		cmocka_unit_test(test_list_of_65537_entries_is_refused),
		cmocka_unit_test(test_argument_longer_than_the_kernel_takes_is_refused),
		cmocka_unit_test(test_millions_of_values_are_refused_before_they_are_built),
		cmocka_unit_test(test_brackets_in_strings_are_not_levels),
		cmocka_unit_test(test_missing_large_or_odd_files_are_corrupt),
		cmocka_unit_test(test_string_list_owns_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
