/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/layout.h"
#include "cli/output.h"
#include "cli/user_container.h"
#include "cli/verbs.h"

#define STATUS_FAILED 3 /* something that is needed; with --strict, that would be good to have */

struct doctor_options {
	struct verb_common common;
	const char *store;
	const char *criu;
	const char *snapinit;
	bool no_trial;
	bool strict;
};

#define AT(member) offsetof(struct doctor_options, member)

const struct option_def verb_doctor_options[] = {
	{"store", 0, OPTION_STRING, AT(store), "SNAPINIT_SNAPSHOT", "DIR", "look at this store too",
	 .key = "snapshot", .value = OPTION_VALUE_DIR},
	{"no-trial", 0, OPTION_FLAG, AT(no_trial), NULL, NULL,
	 .help = "without the trial capture and wake (a second)"},
	{"strict", 0, OPTION_FLAG, AT(strict), NULL, NULL,
	 .help = "warnings fail, too: exit status 3"},
	VERB_CRIU_OPTION(struct doctor_options),
	VERB_SNAPINIT_OPTION(struct doctor_options),
	VERB_COMMON_OPTIONS(struct doctor_options),
};

static int doctor_init(struct doctor *doctor, const struct doctor_options *options,
		       struct snap_error *err)
{
	char dir[PATH_MAX];
	int r;

	*doctor = (struct doctor){
		.store = options->store,
		.criu = options->criu,
		.trial = !options->no_trial,
	};
	r = layout_self_dir(dir, err);
	if (r == 0)
		r = layout_find_self(dir, doctor->self, err);
	if (r < 0)
		return r;
	if (layout_find_snapinit(dir, options->snapinit, doctor->snapinit, NULL) < 0)
		doctor->snapinit[0] = '\0';
	r = host_take(options->criu, &doctor->host, err);
	if (r < 0)
		return r;
	if (!doctor->snapinit[0] ||
	    layout_find_snapworker(doctor->snapinit, doctor->worker, NULL) < 0)
		doctor->worker[0] = '\0';
	else
		doctor->worker_caps = probe_worker_caps(doctor->worker, &doctor->host.fingerprint);
	return 0;
}

static void print_finding(const char *id, const struct finding *finding)
{
	static const enum output_colour colours[] = {
		[CHECK_OK] = OUTPUT_GREEN,
		[CHECK_WARN] = OUTPUT_YELLOW,
		[CHECK_FAIL] = OUTPUT_RED,
		[CHECK_SKIP] = OUTPUT_PLAIN,
	};

	(void)printf("%s%-5s%s %-16s %s", output_colour(STDOUT_FILENO, colours[finding->status]),
		     check_status_name(finding->status), output_colour(STDOUT_FILENO, OUTPUT_PLAIN),
		     id, finding->observed);
	(void)printf("%s%s\n", finding->observed[0] ? ": " : "", finding->message);
	if (finding->status == CHECK_OK)
		return;
	(void)printf("%-22s needed: %s\n", "", finding->required);
	if (finding->remedy[0])
		(void)printf("%-22s remedy: %s\n", "", finding->remedy);
}

static json_t *text_or_null(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

static json_t *finding_json(const char *id, const struct finding *finding)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:s, s:o}", "id", id, "status",
			 check_status_name(finding->status), "observed",
			 text_or_null(finding->observed), "required",
			 text_or_null(finding->required), "message", finding->message, "remedy",
			 text_or_null(finding->remedy));
}

/* one run of the doctor */
struct examination {
	const struct doctor_options *options;
	struct doctor doctor;
	bool in_user_namespace;
};

/* run all checks; counts by status */
static int examine(const struct examination *e, size_t counts[CHECK_STATUS_MAX_],
		   struct snap_error *err)
{
	const struct doctor *doctor = &e->doctor;
	bool json = e->options->common.json;
	json_t *list = json ? json_array() : NULL;

	if (!json && e->in_user_namespace)
		(void)printf(
			"Not root: this is what holds in the user namespace that snapctl create "
			"and run make.\nWhere snapinit is started by this user in another way, "
			"engines boot cold.\n\n");
	for (const struct check *check = checks_table; check->id; check++) {
		struct finding finding = {.status = CHECK_SKIP};

		check->probe(doctor, &finding);
		counts[finding.status]++;
		if (json)
			(void)json_array_append_new(list, finding_json(check->id, &finding));
		else
			print_finding(check->id, &finding);
		(void)fflush(stdout);
	}
	if (!json) {
		(void)printf("\nsetting %s%s: %zu ok, %zu warnings, %zu failed, %zu skipped\n",
			     doctor_setting(doctor),
			     e->in_user_namespace ? " in a user namespace" : "", counts[CHECK_OK],
			     counts[CHECK_WARN], counts[CHECK_FAIL], counts[CHECK_SKIP]);
		return 0;
	}
	return output_json(json_pack("{s:s, s:s, s:b, s:b, s:o}", "schema", "snapctl.doctor/v1",
				     "setting", doctor_setting(doctor), "ok",
				     counts[CHECK_FAIL] == 0, "user_namespace",
				     e->in_user_namespace, "checks", list),
			   err);
}

/* the exit status, or -errno with err */
static int examine_here(void *arg, struct snap_error *err)
{
	struct examination *e = arg;
	size_t counts[CHECK_STATUS_MAX_] = {0};
	int r = doctor_init(&e->doctor, e->options, err);

	if (r == 0)
		r = examine(e, counts, err);
	host_done(&e->doctor.host);
	if (r < 0)
		return r;
	return counts[CHECK_FAIL] > 0 || (e->options->strict && counts[CHECK_WARN] > 0)
		       ? STATUS_FAILED
		       : 0;
}

int verb_doctor(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	static struct doctor_options options;
	static struct examination examination;
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	int r;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	examination.options = &options;
	r = doctor_init(&examination.doctor, &options, err);
	if (r < 0)
		return VERB_FAILED;
	/* file capabilities of snapworker do without one */
	examination.in_user_namespace =
		examination.doctor.worker_caps == 0 &&
		user_container_is_needed(&examination.doctor.host.fingerprint);
	host_done(&examination.doctor.host);
	r = examination.in_user_namespace ? user_container_run(examine_here, &examination, err)
					  : examine_here(&examination, err);
	return r < 0 ? VERB_FAILED : r;
}
