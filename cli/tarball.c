/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/tarball.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "common/fd.h"
#include "snapshot/archive/pack.h"

struct target {
	int fd;
	bool made; /* by us: to be removed after a failure */
};

static const char *const compress_names[] = {"zstd", "none"};

static int parse_compress(const char *text, enum archive_compress *ret, struct snap_error *err)
{
	*ret = ARCHIVE_COMPRESS_ZSTD;
	for (size_t i = 0; text && i < ARRAY_LEN(compress_names); i++) {
		if (strcmp(text, compress_names[i]) == 0) {
			*ret = (enum archive_compress)i;
			return 0;
		}
	}
	return text ? snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				      "--compress '%s' is neither zstd nor none", text)
		    : 0;
}

/* the archive gets standard output for itself, and what we tell goes to standard error */
static int take_stdout(struct snap_error *err)
{
	int fd;

	if (isatty(STDOUT_FILENO))
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "standard output is a terminal, and the archive is binary");
	fd = fd_dup_above(STDOUT_FILENO, STDERR_FILENO + 1);
	if (fd >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
		int saved = errno;

		(void)fd_close(fd);
		fd = -saved;
	}
	return fd < 0 ? snap_fail(err, SNAP_E_INTERNAL, -fd, "standard output") : fd;
}

static int open_target(const char *to, struct target *ret, struct snap_error *err)
{
	struct stat st;

	*ret = (struct target){.fd = FD_NONE};
	if (strcmp(to, "-") == 0) {
		ret->fd = take_stdout(err);
		return ret->fd < 0 ? ret->fd : 0;
	}
	ret->fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_NOCTTY | O_CLOEXEC, 0600);
	ret->made = ret->fd >= 0;
	if (ret->fd < 0 && errno == EEXIST && stat(to, &st) == 0 && !S_ISREG(st.st_mode))
		ret->fd = open(to, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (ret->fd >= 0)
		return 0;
	if (errno == EEXIST)
		return snap_fail_plain(err, SNAP_E_USAGE, EEXIST,
				       "'%s' exists and is not overwritten", to);
	return snap_fail(err, snap_code_of_place(errno), errno, "cannot make '%s'", to);
}

static int print_json(const struct opened *opened, const char *store, const char *to,
		      enum archive_compress compress, const struct archive_result *result,
		      struct snap_error *err)
{
	return output_json(json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "schema",
				     "snapctl.export/v1", "store", store, "generation",
				     opened->generation, "tar", to, "compress",
				     compress_names[compress], "files", (json_int_t)result->files,
				     "bytes", (json_int_t)result->bytes, "archive_bytes",
				     (json_int_t)result->archive_bytes),
			   err);
}

static int pack(const struct opened *opened, const struct target *target,
		enum archive_compress compress, struct archive_result *ret, struct snap_error *err)
{
	struct progress_told told = {.what = "export"};
	const struct archive_talk talk = {
		.stop = interrupt_watch(), .progress = progress_tell, .arg = &told};
	int r;

	/* a reader that has gone is a failure to tell, not a death */
	(void)signal(SIGPIPE, SIG_IGN);
	r = archive_pack(opened->gen_fd, target->fd, compress, &talk, ret, err);
	progress_stop();
	if (r == 0 && target->made && fsync(target->fd) < 0)
		r = snap_fail(err, SNAP_E_INTERNAL, errno, "cannot write the archive");
	return r;
}

int tarball_write(struct opened *opened, const char *store, const struct tarball_options *options,
		  const struct verb_common *common, struct snap_error *err)
{
	enum archive_compress compress;
	struct archive_result result;
	char size[OUTPUT_SIZE_MAX], packed[OUTPUT_SIZE_MAX];
	struct target target;
	int r = parse_compress(options->compress, &compress, err);

	if (r == 0)
		r = open_target(options->to, &target, err);
	if (r < 0)
		return r;
	r = pack(opened, &target, compress, &result, err);
	(void)fd_close(target.fd);
	if (r < 0) {
		if (target.made)
			(void)unlink(options->to);
		return r;
	}
	if (common->json)
		return print_json(opened, store, options->to, compress, &result, err);
	if (!common->quiet || strcmp(options->to, "-") != 0)
		(void)printf("%s %s %s %s of %s, %lu files\n", store, opened->generation,
			     options->to, output_size(result.archive_bytes, packed),
			     output_size(result.bytes, size), (unsigned long)result.files);
	return 0;
}
