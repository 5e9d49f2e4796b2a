/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate is asked as if the snapshot's own command were started here, in its folder, by its user
 * when we could become that user, in a pid namespace of its own; without a right to wake anything,
 * in the user namespace that `snapctl run` would make. Environment, files, kernel and rights are
 * what they are.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/damage.h"
#include "cli/gpu_report.h"
#include "cli/host.h"
#include "cli/image_groups.h"
#include "cli/opened.h"
#include "cli/output.h"
#include "cli/pages_report.h"
#include "cli/user_container.h"
#include "cli/verbs.h"
#include "common/cleanup.h"
#include "common/text.h"
#include "snapshot/gate.h"
#include "snapshot/identity.h"
#include "snapshot/manifest_json.h"

struct inspect_options {
	struct verb_common common;
	const char *generation;
	const char *criu;
	const char *rate;
	bool verify_files;
	bool all;
};

#define AT(member) offsetof(struct inspect_options, member)

const struct option_def verb_inspect_options[] = {
	{"generation", 0, OPTION_STRING, AT(generation), NULL, "NAME",
	 .help = "this generation (the current one)"},
	{"verify-files", 0, OPTION_FLAG, AT(verify_files), NULL, NULL,
	 .help = "compare every file's digest too; exit status 5 on damage"},
	{"all", 0, OPTION_FLAG, AT(all), NULL, NULL,
	 .help = "show all mappings, not the largest only"},
	{"rate", 0, OPTION_STRING, AT(rate), NULL, "GB/S",
	 .help = "tell how long a wake takes when pages are read at that rate"},
	VERB_CRIU_OPTION(struct inspect_options),
	VERB_COMMON_OPTIONS(struct inspect_options),
};

struct inspection {
	const char *path;
	struct opened opened;
	struct host host;
	struct gate_reasons reasons;
	struct damage damage;	    /* with --verify-files */
	struct pages_report *pages; /* NULL: all memory is in CRIU's images, or unreadable */
	struct page_map *devices;   /* NULL: there is no device.map, or it is unreadable */
	struct snap_error pages_err;
	double rate; /* bytes a second; 0: not given */
	const struct inspect_options *options;
	bool in_user_namespace; /* that `snapctl run` would make */
	uid_t wake_uid;		/* whom it would wake as */
	gid_t wake_gid;
};

/* the user and groups of the manifest, when we could become them */
static int borrow_user(const struct inspection *i, struct manifest_identity *to)
{
	const struct manifest_identity *from = &i->opened.manifest.identity;
	uint32_t *groups;

	if (geteuid() != 0 || i->in_user_namespace)
		return 0;
	groups = calloc(from->n_groups + 1, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	if (from->n_groups > 0)
		memcpy(groups, from->groups, from->n_groups * sizeof(*groups));
	free(to->groups);
	to->groups = groups;
	to->n_groups = from->n_groups;
	to->uid = from->uid;
	to->gid = from->gid;
	return 0;
}

static int ask_gate(struct inspection *i, struct snap_error *err)
{
	/* the container to come has pids of its own */
	static const char *const accepted[] = {"pid"};
	const struct gate_accept accept = {accepted, ARRAY_LEN(accepted)};
	const struct manifest *m = &i->opened.manifest;
	snap_cleanup_free char *before = getcwd(NULL, 0);
	snap_cleanup_free char **command = opened_command(&i->opened, err);
	struct manifest_identity want = {.uid = 0};
	int r;

	if (!command)
		return -ENOMEM;
	/* a folder that is not there makes the gate say so */
	if (chdir(m->identity.cwd) < 0 && !before)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "there is no working folder");
	r = identity_take(command, environ, m->identity.adapter, m->identity.env_salt, &want, err);
	if (r == 0 && borrow_user(i, &want) < 0)
		r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot ask the gate");
	i->wake_uid = want.uid;
	i->wake_gid = want.gid;
	if (r == 0)
		(void)gate_check(m, &want, &i->host.fingerprint, i->opened.gen_fd, &accept,
				 &i->reasons);
	if (r == 0)
		(void)gate_check_gpus(m, false, &accept, NULL, &i->reasons);
	identity_done(&want);
	if (before && chdir(before) < 0 && r == 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot go back to '%s'", before);
	return r;
}

/* a wake looks at owners and modes before it asks the gate */
static void ask_rights(struct inspection *i)
{
	struct gate_reasons *reasons = &i->reasons;
	struct snap_error err = {.code = SNAP_OK};
	size_t used = strlen(reasons->text);

	if (opened_check_owner(&i->opened, i->wake_uid, i->wake_gid, &err) == 0 &&
	    opened_check_rights(&i->opened, &err) == 0)
		return;
	reasons->n++;
	(void)snprintf(reasons->text + used, sizeof(reasons->text) - used, "%s%s",
		       used > 0 ? "; " : "", err.msg);
}

static void print_command(const struct string_list *argv)
{
	(void)printf("command      ");
	for (size_t i = 0; i < argv->n; i++) {
		char word[512];

		output_shell_word(argv->items[i], word, sizeof(word));
		(void)printf("%s%s", i > 0 ? " " : "", word);
	}
	(void)printf("\n");
}

static void print_sizes(const struct manifest *m)
{
	struct image_groups groups = image_groups_of(m);
	char all[OUTPUT_SIZE_MAX], memory[OUTPUT_SIZE_MAX], state[OUTPUT_SIZE_MAX],
		files[OUTPUT_SIZE_MAX], resident[OUTPUT_SIZE_MAX];
	size_t carried = 0;

	for (size_t i = 0; i < m->n_files; i++)
		carried += m->files[i].stored != NULL;
	(void)printf("size         %s: memory %s, state %s, files %s\n",
		     output_size(m->snapshot_bytes, all), output_size(groups.memory, memory),
		     output_size(groups.state, state), output_size(groups.files, files));
	(void)printf("tree         %zu pids and tids, root %d, %s resident\n", m->n_pids,
		     m->root_pid, output_size(m->resident_bytes, resident));
	(void)printf("files        %zu mapped or open, %zu of them carried\n", m->n_files, carried);
}

static void print_listeners(const struct manifest *m)
{
	if (m->n_listeners == 0)
		return;
	(void)printf("listens      ");
	for (size_t i = 0; i < m->n_listeners; i++)
		(void)printf("%s%s %s port %u", i > 0 ? ", " : "", m->listeners[i].protocol,
			     m->listeners[i].address, m->listeners[i].port);
	(void)printf("\n");
}

static void print_reasons(const struct inspection *i)
{
	const struct gate_reasons *reasons = &i->reasons;
	const char *at = reasons->text;

	(void)printf("wakes here   %s", reasons->n == 0 ? "yes" : "no");
	if (i->in_user_namespace)
		(void)printf(", in the user namespace that snapctl run makes");
	else if (reasons->n == 0 && i->wake_uid != geteuid())
		(void)printf(", as its user (snapctl run --user %u:%u)", i->wake_uid, i->wake_gid);
	(void)printf("\n");
	while (*at) {
		const char *end = strstr(at, "; ");
		size_t n = end ? (size_t)(end - at) : strlen(at);

		(void)printf("             - %.*s\n", (int)n, at);
		at += end ? n + 2 : n;
	}
}

static struct wake_forecast forecast_of(const struct inspection *i)
{
	struct wake_forecast forecast = wake_forecast(&i->opened.manifest, i->pages, i->rate);

	if (i->devices)
		forecast.stream_ms += (uint64_t)((double)i->devices->data_bytes / i->rate * 1e3);
	return forecast;
}

static void print_pages(const struct inspection *i, bool all)
{
	struct wake_forecast forecast;
	char sum[OUTPUT_SIZE_MAX];

	if (i->pages)
		pages_report_print(i->pages, all);
	else
		(void)printf("pages        %s\n", i->pages_err.code == SNAP_OK
							  ? "none, all memory is in CRIU's images"
							  : i->pages_err.msg);
	if (i->rate <= 0)
		return;
	forecast = forecast_of(i);
	(void)printf(
		"would wake   in about %s: %lu ms fixed, %lu ms for CRIU's pages, %lu ms at "
		"%.1f GB/s\n",
		output_duration(forecast.fixed_ms + forecast.criu_ms + forecast.stream_ms, sum),
		(unsigned long)forecast.fixed_ms, (unsigned long)forecast.criu_ms,
		(unsigned long)forecast.stream_ms, i->rate / 1e9);
}

/* of what a manifest names, a terminal gets no control characters */
static void make_shown(struct manifest *m)
{
	char *const texts[] = {m->identity.cwd,	     m->identity.adapter, m->created,
			       m->snapinit_version,  m->host.machine,	  m->host.kernel_release,
			       m->host.criu_version, m->host.setting,	  m->ready,
			       m->oracle_request,    m->reclaim_request};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (texts[i])
			text_make_printable(texts[i]);
	}
}

static void print_text(struct inspection *i, const struct inspect_options *options)
{
	struct manifest *m = &i->opened.manifest;
	char boot[OUTPUT_SIZE_MAX], whole[OUTPUT_SIZE_MAX], still[OUTPUT_SIZE_MAX];

	make_shown(m);
	(void)printf("snapshot     %s in %s%s\n", i->opened.generation, i->path,
		     i->opened.is_current ? ", current" : "");
	print_command(&m->identity.argv);
	(void)printf("folder       %s\n", m->identity.cwd);
	(void)printf("user         uid %u, gid %u\n", m->identity.uid, m->identity.gid);
	(void)printf("adapter      %s\n", m->identity.adapter);
	(void)printf("created      %s by snapinit %s\n", m->created, m->snapinit_version);
	(void)printf("host         %s, Linux %s, CRIU %s\n", m->host.machine,
		     m->host.kernel_release, m->host.criu_version);
	(void)printf("setting      %s, CRIU %s\n", m->host.setting,
		     m->unprivileged ? "unprivileged" : "privileged");
	print_sizes(m);
	print_listeners(m);
	gpu_report_print(m, i->pages ? &i->pages->map : NULL, i->devices);
	if (m->ready)
		(void)printf("ready        %s\n", m->ready);
	(void)printf("oracle       %.200s\n", m->oracle_request ? m->oracle_request : "none");
	if (m->reclaim_request)
		(void)printf("reclaim      %.200s\n", m->reclaim_request);
	(void)printf("times        cold boot %s, capture %s, stood still for %s\n",
		     m->cold_boot_ms > 0 ? output_duration(m->cold_boot_ms, boot) : "not known",
		     output_duration(m->capture_ms, whole), output_duration(m->frozen_ms, still));
	(void)printf("verified     %s\n", m->verified ? "yes" : "no");
	print_reasons(i);
	print_pages(i, options->all);
	if (!options->verify_files)
		return;
	(void)printf("digests      %zu files, %zu damaged\n", i->damage.files, i->damage.n_all);
	for (size_t k = 0; k < i->damage.n; k++)
		(void)printf("             - %s %s\n", i->damage.items[k].name,
			     i->damage.items[k].problem);
}

/* the reasons as a list; NULL without memory */
static json_t *reasons_json(const struct gate_reasons *reasons)
{
	json_t *list = json_array();
	const char *at = reasons->text;

	while (*at) {
		const char *end = strstr(at, "; ");
		size_t n = end ? (size_t)(end - at) : strlen(at);

		(void)json_array_append_new(list, json_stringn(at, n));
		at += end ? n + 2 : n;
	}
	return list;
}

static json_t *forecast_json(const struct inspection *i)
{
	struct wake_forecast forecast;

	if (i->rate <= 0)
		return json_null();
	forecast = forecast_of(i);
	return json_pack("{s:f, s:I, s:I, s:I, s:I}", "bytes_per_s", i->rate, "fixed_ms",
			 (json_int_t)forecast.fixed_ms, "criu_ms", (json_int_t)forecast.criu_ms,
			 "stream_ms", (json_int_t)forecast.stream_ms, "predicted_ms",
			 (json_int_t)forecast.fixed_ms + (json_int_t)forecast.criu_ms +
				 (json_int_t)forecast.stream_ms);
}

static int print_json(const struct inspection *i, bool with_files, struct snap_error *err)
{
	const struct manifest *m = &i->opened.manifest;
	struct image_groups groups = image_groups_of(m);
	snap_cleanup_free char *text = NULL;
	json_t *result, *damaged;
	size_t size;
	int r = manifest_format(m, &text, &size, err);

	if (r < 0)
		return r;
	result = json_pack("{s:s, s:s, s:s, s:b, s:b, s:{s:b, s:o}, s:{s:I, s:I, s:I}}", "schema",
			   "snapctl.inspect/v1", "store", i->path, "generation",
			   i->opened.generation, "current", i->opened.is_current, "verified",
			   m->verified, "gate", "ok", i->reasons.n == 0, "reasons",
			   reasons_json(&i->reasons), "image_bytes", "memory",
			   (json_int_t)groups.memory, "state", (json_int_t)groups.state, "files",
			   (json_int_t)groups.files);
	if (with_files) {
		damaged = json_array();
		for (size_t k = 0; k < i->damage.n; k++)
			(void)json_array_append_new(
				damaged, json_pack("{s:s, s:s}", "name", i->damage.items[k].name,
						   "problem", i->damage.items[k].problem));
		(void)json_object_set_new(result, "damaged", damaged);
	}
	(void)json_object_set_new(result, "user_namespace", json_boolean(i->in_user_namespace));
	(void)json_object_set_new(result, "pages",
				  i->pages ? pages_report_json(i->pages) : json_null());
	(void)json_object_set_new(result, "gpu",
				  gpu_report_json(m, i->pages ? &i->pages->map : NULL, i->devices));
	(void)json_object_set_new(result, "wake_forecast", forecast_json(i));
	(void)json_object_set_new(result, "manifest", json_loadb(text, size, 0, NULL));
	return output_json(result, err);
}

/* damage is for --verify-files to name among the rest */
static int look_at_pages(struct inspection *i, const struct inspect_options *options,
			 struct pages_report *report, struct snap_error *err)
{
	int r;

	if (i->opened.manifest.pages_bytes == 0)
		return 0;
	r = pages_report_take(i->opened.gen_fd, report, &i->pages_err);
	if (r == 0)
		i->pages = report;
	else if (!options->verify_files || i->pages_err.code != SNAP_E_CORRUPT)
		*err = i->pages_err;
	else
		r = 0;
	return r;
}

/* as look_at_pages() */
static int look_at_devices(struct inspection *i, const struct inspect_options *options,
			   struct page_map *map, struct snap_error *err)
{
	struct snap_error why;
	int r;

	if (!manifest_has_device_files(&i->opened.manifest.gpu))
		return 0;
	r = page_map_load(i->opened.gen_fd, PAGE_FILES_DEVICES, map, &why);
	if (r == 0)
		i->devices = map;
	else if (!options->verify_files || why.code != SNAP_E_CORRUPT)
		*err = why;
	else
		r = 0;
	return r;
}

/* the exit status, or -errno with err */
static int judge_and_tell(void *arg, struct snap_error *err)
{
	struct inspection *i = arg;
	const struct inspect_options *options = i->options;
	int r = host_take(options->criu, &i->host, err);

	if (r < 0)
		return r;
	r = ask_gate(i, err);
	if (r == 0)
		ask_rights(i);
	if (r == 0 && options->verify_files)
		r = damage_find(i->opened.gen_fd, &i->opened.manifest, &i->damage, err);
	if (r == 0 && options->common.json)
		r = print_json(i, options->verify_files, err);
	else if (r == 0)
		print_text(i, options);
	host_done(&i->host);
	if (r == 0 && i->damage.n_all > 0)
		r = snap_code_exit_status(SNAP_E_CORRUPT);
	damage_done(&i->damage);
	return r;
}

/* not root: what `snapctl run` would do there */
static int judge(struct inspection *i, struct snap_error *err)
{
	struct host host;
	int r = host_take(i->options->criu, &host, err);

	if (r < 0)
		return r;
	i->in_user_namespace = user_container_is_needed(&host.fingerprint);
	host_done(&host);
	return i->in_user_namespace ? user_container_run(judge_and_tell, i, err)
				    : judge_and_tell(i, err);
}

static int inspect(struct inspection *i, struct snap_error *err)
{
	struct pages_report report = {.rows = NULL};
	struct page_map devices = {.n_spaces = 0};
	int r = opened_load_manifest(&i->opened, err);

	if (r == 0)
		r = look_at_pages(i, i->options, &report, err);
	if (r == 0)
		r = look_at_devices(i, i->options, &devices, err);
	if (r == 0)
		r = judge(i, err);
	pages_report_done(&report);
	page_map_done(&devices);
	i->pages = NULL;
	i->devices = NULL;
	return r;
}

int verb_inspect(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct inspect_options options = {.generation = NULL};
	struct inspection inspection = {.options = &options};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	int r;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	inspection.path = argv[next];
	if (options.rate && wake_rate_parse(options.rate, &inspection.rate, err) < 0)
		return VERB_FAILED;
	r = opened_init(&inspection.opened, inspection.path, options.generation, err);
	if (r < 0)
		return VERB_FAILED;
	r = inspect(&inspection, err);
	opened_done(&inspection.opened);
	return r < 0 ? VERB_FAILED : r;
}
