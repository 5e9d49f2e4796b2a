/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/create.h"
#include "cli/damage.h"
#include "cli/layout.h"
#include "cli/opened.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "common/clock.h"
#include "common/fd.h"

struct verify_options {
	struct verb_common common;
	const char *generation;
	const char *rights;
	const char *user;
	const char *criu;
	const char *snapinit;
	uint64_t timeout_ms;
	bool wake;
};

#define AT(member) offsetof(struct verify_options, member)

const struct option_def verb_verify_options[] = {
	{"generation", 0, OPTION_STRING, AT(generation), NULL, "NAME",
	 .help = "this generation (the current one)"},
	{"wake", 0, OPTION_FLAG, AT(wake), NULL, NULL,
	 .help = "wake it in a container and ask its oracle; exit status 10 or 13"},
	{"for", 0, OPTION_CHOICE, AT(rights), NULL, NULL,
	 "with --wake, rights of the container (as it was made)", .words = RIGHTS_WORDS},
	{"user", 0, OPTION_STRING, AT(user), NULL, "USER[:GROUP]",
	 "with --wake, wake it as that user (as it was made)", .value = OPTION_VALUE_USER},
	{"timeout", 0, OPTION_DURATION, AT(timeout_ms), NULL, "DUR",
	 .help = "with --wake, give up after DUR"},
	VERB_CRIU_OPTION(struct verify_options),
	VERB_SNAPINIT_OPTION(struct verify_options),
	VERB_COMMON_OPTIONS(struct verify_options),
};

struct verification {
	const char *path;
	struct opened opened;
	struct damage damage;
	struct snap_error foreign; /* whole or not, a wake would not have it: code is not SNAP_OK */
	bool woken;
	uint64_t wake_ms;
	int interrupted_by; /* 0: no signal */
};

/* a manifest that cannot be read is damage with a name like any other */
static int find_damage(struct verification *v, struct snap_error *err)
{
	struct progress_reads reads;
	int r = opened_load_manifest(&v->opened, err);

	if (r == 0) {
		progress_from_reads(&reads);
		/* images and pages.dat, each of which is read once */
		progress_start("verify", v->opened.manifest.snapshot_bytes, progress_reads, &reads);
		r = damage_find(v->opened.gen_fd, &v->opened.manifest, &v->damage, err);
		progress_stop();
		return r;
	}
	if (err->code != SNAP_E_CORRUPT)
		return r;
	return damage_add(&v->damage, "manifest.json", err->msg);
}

/* whom the snapshot was made as; NULL when that is who we are */
static const struct credentials *made_as(const struct manifest_identity *identity,
					 struct credentials *buf)
{
	if (geteuid() != 0 || identity->n_groups > CREDENTIALS_GROUPS_MAX ||
	    (identity->uid == 0 && identity->gid == getegid() &&
	     identity->n_groups == (size_t)getgroups(0, NULL)))
		return NULL;
	*buf = (struct credentials){
		.uid = identity->uid,
		.gid = identity->gid,
		.n_groups = identity->n_groups,
	};
	for (size_t i = 0; i < identity->n_groups; i++)
		buf->groups[i] = identity->groups[i];
	return buf;
}

/* the least that has what the capture had, or the gate would refuse */
static const char *rights_made_with(const struct fingerprint *had)
{
	uint64_t docker = rights_mask(RIGHTS_DOCKER, UINT64_MAX);

	return strcmp(had->setting, "A") == 0 || (had->caps_effective & ~docker) != 0 ? "full"
										      : "docker";
}

static int fill_place(const struct verify_options *options, const struct manifest *m,
		      struct credentials *user, struct create_place *ret, struct snap_error *err)
{
	const char *rights = options->rights ? options->rights : rights_made_with(&m->host);
	char dir[PATH_MAX];
	int r = rights_parse(rights, "--for", &ret->rights, err);

	if (r == 0 && options->user) {
		r = credentials_parse(options->user, user, err);
		ret->user = user;
	} else {
		ret->user = made_as(&m->identity, user);
	}
	if (r == 0)
		r = layout_self_dir(dir, err);
	if (r == 0)
		r = layout_find_snapinit(dir, options->snapinit, ret->snapinit, err);
	ret->criu = options->criu;
	ret->out_fd = STDERR_FILENO;
	ret->records = !options->common.quiet;
	ret->log_level = "info";
	return r;
}

/* in the folder and with the command of the capture; the oracle is asked though it was before */
static int wake_as_made(struct verification *v, const struct create_spec *spec,
			const struct verify_options *options, struct snap_error *err)
{
	uint64_t deadline =
		options->timeout_ms ? deadline_after_ms(options->timeout_ms) : DEADLINE_NEVER;
	const char *cwd = v->opened.manifest.identity.cwd;
	struct attend attend;
	int r;

	if (chdir(cwd) < 0)
		return snap_fail(err, SNAP_E_INCOMPATIBLE, errno, "working folder '%s'", cwd);
	if (setenv("SNAPINIT_CHECK_ORACLE", "1", 1) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot ask for the oracle");
	r = attend_begin(&attend, err);
	if (r < 0)
		return r;
	output_progress("wake: %s in a fresh container, --for %s", v->opened.generation,
			rights_name(spec->place.rights));
	r = create_try_wake(spec, v->opened.generation, deadline, &attend, &v->wake_ms, err);
	v->interrupted_by = r == -EINTR ? attend.ended_by : 0;
	attend_end(&attend);
	v->woken = r == 0;
	return r;
}

static int wake(struct verification *v, const struct verify_options *options,
		struct snap_error *err)
{
	const struct manifest *m = &v->opened.manifest;
	snap_cleanup_free char **command = opened_command(&v->opened, err);
	snap_cleanup_free char *store = realpath(v->path, NULL);
	struct create_spec spec = {
		.engine = {.adapter = m->identity.adapter, .ready = m->ready, .command = command},
		.store = store,
	};
	struct credentials user;
	int r;

	if (!command)
		return -ENOMEM;
	if (!store)
		return snap_fail(err, SNAP_E_NO_SNAPSHOT, errno, "store '%s'", v->path);
	r = fill_place(options, m, &user, &spec.place, err);
	return r < 0 ? r : wake_as_made(v, &spec, options, err);
}

/* as a wake by the engine's user, or by us, would look at it */
static void check_owner(struct verification *v)
{
	const struct manifest_identity *identity = &v->opened.manifest.identity;
	bool any = geteuid() == 0;

	(void)opened_check_owner(&v->opened, any ? identity->uid : geteuid(),
				 any ? identity->gid : getegid(), &v->foreign);
}

static json_t *damage_json(const struct damage *damage)
{
	json_t *list = json_array();

	for (size_t i = 0; i < damage->n; i++)
		(void)json_array_append_new(list,
					    json_pack("{s:s, s:s}", "name", damage->items[i].name,
						      "problem", damage->items[i].problem));
	return list;
}

static bool is_foreign(const struct verification *v)
{
	return v->foreign.code != SNAP_OK;
}

static int print_json(const struct verification *v, const struct snap_error *failure, bool tried,
		      struct snap_error *err)
{
	json_t *wake_result = json_null();
	bool failed = failure->code != SNAP_OK;

	if (tried && !failed)
		wake_result = json_pack("{s:b, s:I}", "ok", true, "ms", (json_int_t)v->wake_ms);
	else if (tried)
		wake_result = json_pack("{s:b, s:s, s:s}", "ok", false, "code",
					snap_code_name(failure->code), "message", failure->msg);
	return output_json(
		json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:o, s:s?, s:o}", "schema",
			  "snapctl.verify/v1", "store", v->path, "generation", v->opened.generation,
			  "ok", v->damage.n_all == 0 && !failed && !is_foreign(v), "files",
			  (json_int_t)v->damage.files, "bytes", (json_int_t)v->damage.bytes,
			  "damaged_files", (json_int_t)v->damage.n_all, "damaged",
			  damage_json(&v->damage), "foreign", is_foreign(v) ? v->foreign.msg : NULL,
			  "wake", wake_result),
		err);
}

static void print_text(const struct verification *v)
{
	char size[OUTPUT_SIZE_MAX], time[OUTPUT_SIZE_MAX];

	for (size_t i = 0; i < v->damage.n; i++)
		(void)printf("%s/%s %s\n", v->opened.generation, v->damage.items[i].name,
			     v->damage.items[i].problem);
	if (v->damage.n < v->damage.n_all)
		(void)printf("and %zu more\n", v->damage.n_all - v->damage.n);
	if (v->damage.n_all > 0)
		return;
	(void)printf("%s %s intact, %zu files, %s", v->path, v->opened.generation, v->damage.files,
		     output_size(v->damage.bytes, size));
	if (v->woken)
		(void)printf(", awake in %s", output_duration(v->wake_ms, time));
	(void)printf("\n");
}

/* the exit status, or -errno with err */
static int verify(struct verification *v, const struct verify_options *options,
		  struct snap_error *err)
{
	struct snap_error failure = {.code = SNAP_OK};
	int r = find_damage(v, err);
	bool tried = false;

	if (r < 0)
		return r;
	if (v->damage.n_all == 0 && !options->user)
		check_owner(v);
	if (is_foreign(v))
		output_failure_line("verify", &v->foreign);
	if (options->wake && v->damage.n_all == 0 && !is_foreign(v)) {
		tried = true;
		r = wake(v, options, &failure);
		if (r < 0)
			output_failure_line("verify", &failure);
	}
	if (options->common.json)
		r = print_json(v, &failure, tried, err);
	else
		print_text(v);
	if (options->common.json && r < 0)
		return r;
	if (v->interrupted_by != 0)
		return 128 + v->interrupted_by;
	if (v->damage.n_all > 0 || is_foreign(v))
		return snap_code_exit_status(SNAP_E_CORRUPT);
	return snap_code_exit_status(failure.code);
}

int verb_verify(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct verify_options options = {.generation = NULL};
	struct verification v = {.path = NULL};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	int r;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	v.path = argv[next];
	r = opened_init(&v.opened, v.path, options.generation, err);
	if (r < 0)
		return VERB_FAILED;
	r = verify(&v, &options, err);
	damage_done(&v.damage);
	opened_done(&v.opened);
	return r < 0 ? VERB_FAILED : r;
}
