/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/interrupt.h"
#include "cli/opened.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/tarball.h"
#include "cli/verbs.h"
#include "common/cleanup.h"
#include "snapshot/criu/program.h"
#include "snapshot/export.h"

struct export_options {
	struct verb_common common;
	const char *generation;
	const char *to;
	struct tarball_options tar;
};

#define AT(member) offsetof(struct export_options, member)

const struct option_def verb_export_options[] = {
	{"criu", 0, OPTION_STRING, AT(to), NULL, "DIR",
	 "put images for criu restore here; it is made, or is empty", .value = OPTION_VALUE_DIR},
	{"tar", 0, OPTION_STRING, AT(tar.to), NULL, "FILE",
	 "write one archive for snapctl import, - for standard output", .value = OPTION_VALUE_FILE},
	{"compress", 0, OPTION_STRING, AT(tar.compress), NULL, "NAME",
	 "with --tar, zstd unless told otherwise", .words = "zstd|none"},
	{"generation", 0, OPTION_STRING, AT(generation), NULL, "NAME",
	 .help = "this generation (the current one)"},
	VERB_COMMON_OPTIONS(struct export_options),
};

#define INHERIT_MAX 40U

/* what a restore by hand needs; stdio is for who restores to open */
struct restore_command {
	const char *words[20];
	size_t n_program; /* words that start CRIU */
	char inherit[3][INHERIT_MAX];
	size_t n;
};

/* the CRIU that a wake here would use, by real paths; where there is none, one that is in PATH */
static void name_program(struct criu_program *ret)
{
	char *const parts[] = {ret->ldso, ret->libpath, ret->path};

	if (criu_program_find(getenv("SNAPCTL_CRIU"), ret, NULL) < 0)
		*ret = (struct criu_program){.path = "criu"};
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		char real[PATH_MAX];

		if (parts[i][0] && realpath(parts[i], real))
			(void)snprintf(parts[i], sizeof(ret->path), "%s", real);
	}
}

/* as snapworker asks CRIU at a wake; program and to must outlive *ret */
static void make_command(const struct manifest *m, const struct criu_program *program,
			 const char *to, struct restore_command *ret)
{
	static const char *const nothing[] = {NULL};
	static const char *const words[] = {
		"restore",
		"--ext-unix-sk",
		"--file-locks",
		"--link-remap",
		"--manage-cgroups=ignore",
		"--tcp-close",
		"--images-dir",
		NULL,
	};

	*ret = (struct restore_command){.n = 0};
	criu_program_argv(program, nothing, ret->words);
	while (ret->words[ret->n])
		ret->n++;
	ret->n_program = ret->n;
	for (const char *const *word = words; *word; word++)
		ret->words[ret->n++] = *word;
	ret->words[ret->n++] = to;
	if (m->unprivileged)
		ret->words[ret->n++] = "--unprivileged";
	for (int i = 0; i < 3; i++) {
		if (!m->stdio[i])
			continue;
		(void)snprintf(ret->inherit[i], INHERIT_MAX, "--inherit-fd=fd[%d]:%s", i,
			       m->stdio[i]);
		ret->words[ret->n++] = ret->inherit[i];
	}
}

static int print_json(const struct opened *opened, const char *store, const char *to,
		      const struct export_result *result, struct snap_error *err)
{
	struct restore_command command;
	struct criu_program criu;
	json_t *program = json_array(), *words = json_pack("[s]", "criu");

	name_program(&criu);
	make_command(&opened->manifest, &criu, to, &command);
	for (size_t i = 0; i < command.n_program; i++)
		(void)json_array_append_new(program, json_string(command.words[i]));
	for (size_t i = command.n_program; i < command.n; i++)
		(void)json_array_append_new(words, json_string(command.words[i]));
	return output_json(json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:o, s:o}", "schema",
				     "snapctl.export/v1", "store", store, "generation",
				     opened->generation, "criu", to, "files",
				     (json_int_t)result->files, "bytes", (json_int_t)result->bytes,
				     "merged_bytes", (json_int_t)result->merged_bytes,
				     "criu_version", opened->manifest.host.criu_version, "restore",
				     words, "criu_program", program),
			   err);
}

static void print_text(const struct opened *opened, const char *store, const char *to,
		       const struct export_result *result)
{
	struct restore_command command;
	struct criu_program criu;
	char size[OUTPUT_SIZE_MAX];

	(void)printf("%s %s %s %s, %lu files for CRIU %s\n", store, opened->generation, to,
		     output_size(result->bytes, size), (unsigned long)result->files,
		     opened->manifest.host.criu_version);
	name_program(&criu);
	make_command(&opened->manifest, &criu, to, &command);
	for (size_t i = 0; i < command.n; i++) {
		char word[4400];

		output_shell_word(command.words[i], word, sizeof(word));
		(void)printf("%s%s", i > 0 ? " " : "", word);
	}
	(void)printf("\n");
}

/* every image twice, for its digest and to copy it; what is left is pages.dat */
static uint64_t bytes_to_read(const struct manifest *m)
{
	uint64_t bytes = m->snapshot_bytes;

	for (size_t i = 0; i < m->n_images; i++)
		bytes += m->images[i].size;
	return bytes;
}

static int export(struct opened *opened, const struct export_options *options, const char *store,
		  struct snap_error *err)
{
	struct export_result result;
	struct progress_reads reads;
	int r = opened_check_rights(opened, err);

	if (r == 0)
		r = opened_load_manifest(opened, err);
	if (r == 0) {
		progress_from_reads(&reads);
		progress_start("export", bytes_to_read(&opened->manifest), progress_reads, &reads);
		r = export_images(opened->gen_fd, &opened->manifest, options->to, interrupt_watch(),
				  &result, err);
		progress_stop();
	}
	if (r < 0)
		return r;
	if (options->common.json)
		return print_json(opened, store, options->to, &result, err);
	print_text(opened, store, options->to, &result);
	return 0;
}

int verb_export(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct export_options options = {.generation = NULL};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	struct opened opened;
	int r;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	if (!!options.to + !!options.tar.to != 1 || (options.to && !options.to[0]))
		return snap_fail_plain(err, SNAP_E_USAGE, 0,
				       "one of --criu DIR and --tar FILE is needed"),
		       VERB_FAILED;
	if (options.tar.compress && !options.tar.to)
		return snap_fail_plain(err, SNAP_E_USAGE, 0, "--compress goes with --tar"),
		       VERB_FAILED;
	if (opened_init(&opened, argv[next], options.generation, err) < 0)
		return VERB_FAILED;
	if (options.tar.to)
		r = tarball_write(&opened, argv[next], &options.tar, &options.common, err);
	else
		r = export(&opened, &options, argv[next], err);
	opened_done(&opened);
	/* as import and create have it */
	if (r < 0 && (err->errnum == ENOSPC || err->errnum == EDQUOT))
		err->code = SNAP_E_PREFLIGHT;
	if (r == -ECANCELED && interrupt_signal() != 0)
		return 128 + interrupt_signal();
	return r < 0 ? VERB_FAILED : 0;
}
