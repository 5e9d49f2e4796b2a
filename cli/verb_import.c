/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/credentials.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "common/fd.h"
#include "snapshot/archive/import.h"

struct import_options {
	struct verb_common common;
};

const struct option_def verb_import_options[] = {
	VERB_COMMON_OPTIONS(struct import_options),
};

static int open_archive(const char *path, struct snap_error *err)
{
	int fd;

	if (strcmp(path, "-") == 0) {
		if (isatty(STDIN_FILENO))
			return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
					       "standard input is a terminal, not an archive");
		fd = fd_dup_above(STDIN_FILENO, STDERR_FILENO + 1);
	} else {
		fd = open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	}
	return fd < 0 ? snap_fail_plain(err, SNAP_E_USAGE, -fd, "cannot open '%s' (%s)", path,
					strerror(-fd))
		      : fd;
}

static int print_json(const char *from, const char *store, const struct import_result *result,
		      struct snap_error *err)
{
	return output_json(json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I}", "schema",
				     "snapctl.import/v1", "archive", from, "store", store,
				     "generation", result->generation, "was", result->was,
				     "verified", result->verified, "files",
				     (json_int_t)result->archive.files, "bytes",
				     (json_int_t)result->archive.bytes, "archive_bytes",
				     (json_int_t)result->archive.archive_bytes),
			   err);
}

static int import(const char *from, const char *store, const struct import_options *options,
		  struct snap_error *err)
{
	struct progress_told told = {.what = "import"};
	const struct archive_talk talk = {
		.stop = interrupt_watch(), .progress = progress_tell, .arg = &told};
	snap_cleanup_close int fd = open_archive(from, err);
	struct import_result result;
	char size[OUTPUT_SIZE_MAX];
	int r;

	if (fd < 0)
		return fd;
	/* what is made in a store of the engine's user must be theirs */
	credentials_act_as_owner(store);
	r = import_archive(fd, store, &talk, &result, err);
	progress_stop();
	credentials_return();
	if (r < 0)
		return r;
	if (options->common.json)
		return print_json(from, store, &result, err);
	(void)printf("%s %s %s, it was %s, %s\n", store, result.generation,
		     output_size(result.archive.bytes, size), result.was,
		     result.verified ? "verified where it was made and not here" : "not verified");
	return 0;
}

int verb_import(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct import_options options = {.common = {.help = false}};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	int r;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	r = import(argv[next], argv[next + 1], &options, err);
	if (r == -ECANCELED && interrupt_signal() != 0)
		return 128 + interrupt_signal();
	return r < 0 ? VERB_FAILED : 0;
}
