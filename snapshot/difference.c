/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/difference.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"

#define NS_IN_S	      1000000000LL
#define ITEMS_FIRST   32U
#define ENV_CHANGED_A "one value"
#define ENV_CHANGED_B "another value"

struct diff {
	const struct manifest *a;
	const struct manifest *b;
	struct differences *result;
	size_t room;
	bool failed; /* no memory */
};

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

/* a and b may be NULL, not both; nothing is added when they are equal */
static void add(struct diff *d, bool matters, const char *name, const char *a, const char *b)
{
	struct differences *result = d->result;
	struct difference *item;

	if (a && b && strcmp(a, b) == 0)
		return;
	if (result->n == d->room) {
		size_t room = d->room > 0 ? 2 * d->room : ITEMS_FIRST;
		struct difference *bigger = reallocarray(result->items, room, sizeof(*bigger));

		if (!bigger) {
			d->failed = true;
			return;
		}
		result->items = bigger;
		d->room = room;
	}
	item = &result->items[result->n++];
	*item = (struct difference){strdup(name), copy(a), copy(b), matters};
	result->n_matter += matters;
	if (!item->name || (a && !item->a) || (b && !item->b))
		d->failed = true;
}

static void add_number(struct diff *d, bool matters, const char *name, uint64_t a, uint64_t b)
{
	char text_a[24], text_b[24];

	(void)snprintf(text_a, sizeof(text_a), "%" PRIu64, a);
	(void)snprintf(text_b, sizeof(text_b), "%" PRIu64, b);
	add(d, matters, name, text_a, text_b);
}

static void add_mask(struct diff *d, const char *name, uint64_t a, uint64_t b)
{
	char text_a[24], text_b[24];

	(void)snprintf(text_a, sizeof(text_a), "%#" PRIx64, a);
	(void)snprintf(text_b, sizeof(text_b), "%#" PRIx64, b);
	add(d, true, name, text_a, text_b);
}

static void add_bool(struct diff *d, bool matters, const char *name, bool a, bool b)
{
	add(d, matters, name, a ? "yes" : "no", b ? "yes" : "no");
}

static void add_named(struct diff *d, bool matters, const char *kind, const char *thing,
		      const char *a, const char *b)
{
	size_t size = strlen(kind) + strlen(thing) + 2;
	snap_cleanup_free char *name = malloc(size);

	if (!name) {
		d->failed = true;
		return;
	}
	(void)snprintf(name, size, "%s:%s", kind, thing);
	add(d, matters, name, a, b);
}

static int compare_words(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/*
 * Two lists of things that have a name, each sorted by it; the visitor gets what is in one of them
 * alone with NULL for the other.
 */
typedef void (*pair_fn)(struct diff *d, const void *a, const void *b);

static void walk_pairs(struct diff *d, const void *const *a, size_t n_a, const void *const *b,
		       size_t n_b, int (*compare)(const void *, const void *), pair_fn visit)
{
	size_t i = 0, j = 0;

	while (i < n_a || j < n_b) {
		int order = i == n_a ? 1 : j == n_b ? -1 : compare(&a[i], &b[j]);

		visit(d, order <= 0 ? a[i] : NULL, order >= 0 ? b[j] : NULL);
		i += order <= 0;
		j += order >= 0;
	}
}

/* pointers to the n things of that size, sorted; NULL without memory */
static const void **sort_things(const void *things, size_t n, size_t size,
				int (*compare)(const void *, const void *))
{
	const void **sorted = calloc(n + 1, sizeof(*sorted));

	for (size_t i = 0; sorted && i < n; i++)
		sorted[i] = (const char *)things + i * size;
	if (sorted && n > 0)
		qsort(sorted, n, sizeof(*sorted), compare);
	return sorted;
}

struct things {
	const void *items;
	size_t n;
};

static void compare_things(struct diff *d, struct things a, struct things b, size_t size,
			   int (*compare)(const void *, const void *), pair_fn visit)
{
	snap_cleanup_free const void **sorted_a = sort_things(a.items, a.n, size, compare);
	snap_cleanup_free const void **sorted_b = sort_things(b.items, b.n, size, compare);

	if (sorted_a && sorted_b)
		walk_pairs(d, sorted_a, a.n, sorted_b, b.n, compare, visit);
	else
		d->failed = true;
}

/* --- for whom --- */

static void compare_argv(struct diff *d)
{
	const struct string_list *a = &d->a->identity.argv, *b = &d->b->identity.argv;
	size_t n = a->n > b->n ? a->n : b->n;

	for (size_t i = 0; i < n; i++) {
		char number[24];

		(void)snprintf(number, sizeof(number), "%zu", i);
		add_named(d, true, "argv", number, i < a->n ? a->items[i] : NULL,
			  i < b->n ? b->items[i] : NULL);
	}
}

static void compare_groups(struct diff *d)
{
	char text[2][256] = {"", ""};

	for (int side = 0; side < 2; side++) {
		const struct manifest_identity *who = side ? &d->b->identity : &d->a->identity;
		size_t used = 0;

		for (size_t i = 0; i < who->n_groups && used < sizeof(text[0]); i++)
			used += (size_t)snprintf(text[side] + used, sizeof(text[0]) - used, "%s%u",
						 i ? " " : "", who->groups[i]);
	}
	if (d->a->identity.n_groups != d->b->identity.n_groups ||
	    (d->a->identity.n_groups > 0 &&
	     memcmp(d->a->identity.groups, d->b->identity.groups,
		    d->a->identity.n_groups * sizeof(uint32_t)) != 0))
		add(d, true, "groups", text[0], strcmp(text[0], text[1]) ? text[1] : "others");
}

static bool is_value(const struct manifest_identity *here, const struct manifest_env *env)
{
	for (size_t i = 0; here && i < here->n_env; i++) {
		if (strcmp(here->env[i].name, env->name) == 0)
			return strcmp(here->env[i].digest, env->digest) == 0;
	}
	return false;
}

static void compare_variable(struct diff *d, const struct manifest_env *a,
			     const struct manifest_env *b, const struct manifest_identity *here_a,
			     const struct manifest_identity *here_b)
{
	bool one_salt = strcmp(d->a->identity.env_salt, d->b->identity.env_salt) == 0;
	bool is_a = is_value(here_a, a), is_b = is_value(here_b, b);

	if (one_salt ? strcmp(a->digest, b->digest) == 0 : is_a && is_b)
		return;
	if (one_salt || is_a || is_b)
		add_named(d, true, "env", a->name, ENV_CHANGED_A, ENV_CHANGED_B);
	else if (string_list_add(&d->result->unknown_env, a->name) < 0)
		d->failed = true;
}

/* both lists are strictly ascending: the manifest's reader saw to that */
static void compare_env(struct diff *d, const struct manifest_identity *here_a,
			const struct manifest_identity *here_b)
{
	const struct manifest_identity *a = &d->a->identity, *b = &d->b->identity;
	size_t i = 0, j = 0;

	while (i < a->n_env || j < b->n_env) {
		int order = i == a->n_env   ? 1
			    : j == b->n_env ? -1
					    : strcmp(a->env[i].name, b->env[j].name);

		if (order == 0)
			compare_variable(d, &a->env[i], &b->env[j], here_a, here_b);
		else
			add_named(d, true, "env", order < 0 ? a->env[i].name : b->env[j].name,
				  order < 0 ? "set" : NULL, order > 0 ? "set" : NULL);
		i += order <= 0;
		j += order >= 0;
	}
}

static void compare_identity(struct diff *d, const struct manifest_identity *here_a,
			     const struct manifest_identity *here_b)
{
	const struct manifest_identity *a = &d->a->identity, *b = &d->b->identity;

	compare_argv(d);
	add(d, true, "cwd", a->cwd, b->cwd);
	add_number(d, true, "uid", a->uid, b->uid);
	add_number(d, true, "gid", a->gid, b->gid);
	compare_groups(d);
	add(d, true, "adapter", a->adapter, b->adapter);
	compare_env(d, here_a, here_b);
}

/* --- where --- */

static void visit_flag(struct diff *d, const void *a, const void *b)
{
	const char *const *flag = a ? a : b;

	assert(flag);
	if (!a || !b)
		add_named(d, true, "cpu", *flag, a ? "has it" : NULL, b ? "has it" : NULL);
}

static int compare_flags(const void *a, const void *b)
{
	return compare_words(*(const void *const *)a, *(const void *const *)b);
}

static void compare_host(struct diff *d)
{
	const struct fingerprint *a = &d->a->host, *b = &d->b->host;

	add(d, true, "machine", a->machine, b->machine);
	add(d, true, "kernel", a->kernel_release, b->kernel_release);
	add_number(d, true, "page_size", a->page_size, b->page_size);
	compare_things(d, (struct things){a->cpu_flags.items, a->cpu_flags.n},
		       (struct things){b->cpu_flags.items, b->cpu_flags.n}, sizeof(char *),
		       compare_flags, visit_flag);
	add(d, true, "criu", a->criu_version, b->criu_version);
	add_named(d, true, "criu", "build-id", a->criu_build_id, b->criu_build_id);
	add(d, true, "setting", a->setting, b->setting);
	add_mask(d, "caps", a->caps_effective, b->caps_effective);
	add_mask(d, "caps:bounding", a->caps_bounding, b->caps_bounding);
	add_bool(d, true, "filter", d->a->tree_has_filter, d->b->tree_has_filter);
	add_bool(d, true, "privileged", !d->a->unprivileged, !d->b->unprivileged);
	add_bool(d, true, "no_new_privs", a->no_new_privs, b->no_new_privs);
	add_number(d, true, "nofile", a->nofile, b->nofile);
	add(d, false, "kernel_version", a->kernel_version, b->kernel_version);
	add_bool(d, false, "seccomp_filter", a->seccomp_filter, b->seccomp_filter);
	add_number(d, false, "cpus", a->cpus, b->cpus);
	add_number(d, false, "memory_limit", a->memory_limit, b->memory_limit);
}

/* --- what it needs --- */

static int compare_files(const void *a, const void *b)
{
	const struct manifest_file *x = *(const void *const *)a, *y = *(const void *const *)b;

	return strcmp(x->path, y->path);
}

static const char *digest_of(const struct manifest *m, const char *stored)
{
	for (size_t i = 0; stored && i < m->n_images; i++) {
		const char *name = m->images[i].name;

		if (strncmp(name, "files/", strlen("files/")) == 0 &&
		    strcmp(name + strlen("files/"), stored) == 0)
			return m->images[i].digest;
	}
	return "none";
}

static void describe_file(const struct manifest *m, const struct manifest_file *file, char *buf,
			  size_t size)
{
	int64_t ns = file->mtime_ns % NS_IN_S, at = file->mtime_ns / NS_IN_S - (ns < 0);
	time_t seconds = (time_t)at;
	char when[64] = "?";
	struct tm tm;

	if (gmtime_r(&seconds, &tm))
		(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(buf, size, "%" PRIu64 " bytes, mtime %s.%09" PRId64 "Z%s%s%s", file->size,
		       when, (int64_t)(ns < 0 ? ns + NS_IN_S : ns), file->append ? ", append" : "",
		       file->stored ? ", carried with digest " : "",
		       file->stored ? digest_of(m, file->stored) : "");
}

static void describe_owner(uint32_t mode, uint32_t uid, uint32_t gid, char *buf, size_t size)
{
	(void)snprintf(buf, size, "mode %04o, uid %u, gid %u", mode, uid, gid);
}

static void visit_file(struct diff *d, const void *pa, const void *pb)
{
	const struct manifest_file *a = pa, *b = pb;
	const char *path = a ? a->path : b ? b->path : "";
	char text_a[256], text_b[256];

	assert(a || b);
	if (a)
		describe_file(d->a, a, text_a, sizeof(text_a));
	if (b)
		describe_file(d->b, b, text_b, sizeof(text_b));
	add_named(d, true, "file", path, a ? text_a : NULL, b ? text_b : NULL);
	if (!a || !b)
		return;
	/* those of a carried file are made at a wake, those of others are not looked at */
	describe_owner(a->mode, a->uid, a->gid, text_a, sizeof(text_a));
	describe_owner(b->mode, b->uid, b->gid, text_b, sizeof(text_b));
	add_named(d, a->stored || b->stored, "file", path, text_a, text_b);
}

static int compare_dirs(const void *a, const void *b)
{
	const struct manifest_dir *x = *(const void *const *)a, *y = *(const void *const *)b;

	return strcmp(x->path, y->path);
}

static void visit_dir(struct diff *d, const void *pa, const void *pb)
{
	const struct manifest_dir *a = pa, *b = pb;
	char text_a[96], text_b[96];

	assert(a || b);
	if (a)
		describe_owner(a->mode, a->uid, a->gid, text_a, sizeof(text_a));
	if (b)
		describe_owner(b->mode, b->uid, b->gid, text_b, sizeof(text_b));
	add_named(d, true, "dir", a ? a->path : b->path, a ? text_a : NULL, b ? text_b : NULL);
}

static int compare_listeners(const void *a, const void *b)
{
	const struct manifest_listener *x = *(const void *const *)a, *y = *(const void *const *)b;
	int r = strcmp(x->protocol, y->protocol);

	if (r == 0)
		r = strcmp(x->address, y->address);
	return r != 0 ? r : (x->port > y->port) - (x->port < y->port);
}

static void visit_listener(struct diff *d, const void *a, const void *b)
{
	const struct manifest_listener *one = a ? a : b;
	char name[128];
	bool is_v6;

	assert(one);
	is_v6 = strchr(one->address, ':') != NULL;
	(void)snprintf(name, sizeof(name), "%s%.64s%s:%u", is_v6 ? "[" : "", one->address,
		       is_v6 ? "]" : "", one->port);
	if (!a || !b)
		add_named(d, true, "listener", name, a ? one->protocol : NULL,
			  b ? one->protocol : NULL);
}

static void compare_needs(struct diff *d)
{
	const struct manifest *a = d->a, *b = d->b;

	compare_things(d, (struct things){a->files, a->n_files},
		       (struct things){b->files, b->n_files}, sizeof(*a->files), compare_files,
		       visit_file);
	compare_things(d, (struct things){a->dirs, a->n_dirs}, (struct things){b->dirs, b->n_dirs},
		       sizeof(*a->dirs), compare_dirs, visit_dir);
	compare_things(d, (struct things){a->listeners, a->n_listeners},
		       (struct things){b->listeners, b->n_listeners}, sizeof(*a->listeners),
		       compare_listeners, visit_listener);
}

static void add_text(struct diff *d, const char *name, const char *a, const char *b)
{
	if (a || b)
		add(d, false, name, a, b);
}

static void compare_rest(struct diff *d)
{
	const struct manifest *a = d->a, *b = d->b;

	add(d, false, "created", a->created, b->created);
	add(d, false, "snapinit_version", a->snapinit_version, b->snapinit_version);
	add_bool(d, false, "verified", a->verified, b->verified);
	add_text(d, "ready", a->ready, b->ready);
	add_text(d, "reclaim", a->reclaim_request, b->reclaim_request);
	add_text(d, "oracle", a->oracle_request, b->oracle_request);
	if (a->oracle_answer && b->oracle_answer && strcmp(a->oracle_answer, b->oracle_answer) != 0)
		add(d, false, "oracle_answer", "one", "another");
	add_number(d, false, "tasks", a->n_pids, b->n_pids);
}

static int compare_weights(const void *a, const void *b)
{
	const struct difference *x = *(const void *const *)a, *y = *(const void *const *)b;

	if (x->matters != y->matters)
		return x->matters ? -1 : 1;
	return (x > y) - (x < y);
}

static void sort_by_weight(struct diff *d)
{
	struct differences *result = d->result;
	snap_cleanup_free const void **order =
		sort_things(result->items, result->n, sizeof(*result->items), compare_weights);
	struct difference *sorted = calloc(result->n + 1, sizeof(*sorted));

	if (!order || !sorted) {
		free(sorted);
		d->failed = true;
		return;
	}
	for (size_t i = 0; i < result->n; i++)
		sorted[i] = *(const struct difference *)order[i];
	free(result->items);
	result->items = sorted;
}

int differences_find(const struct manifest *a, const struct manifest *b,
		     const struct manifest_identity *here_a, const struct manifest_identity *here_b,
		     struct differences *ret, struct snap_error *err)
{
	struct diff d = {.a = a, .b = b, .result = ret};

	*ret = (struct differences){.n = 0};
	compare_identity(&d, here_a, here_b);
	compare_host(&d);
	compare_needs(&d);
	compare_rest(&d);
	sort_by_weight(&d);
	if (!d.failed)
		return 0;
	differences_done(ret);
	return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot compare");
}

void differences_done(struct differences *differences)
{
	for (size_t i = 0; i < differences->n; i++) {
		free(differences->items[i].name);
		free(differences->items[i].a);
		free(differences->items[i].b);
	}
	free(differences->items);
	string_list_done(&differences->unknown_env);
	*differences = (struct differences){.n = 0};
}
