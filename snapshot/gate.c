/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The checks are a table, run in order, and each adds its clauses to one line. A clause names the
 * field, what was found and what the capture had; values of environment variables never appear.
 */

#include "snapshot/gate.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/text.h"
#include "snapshot/gate_check.h"

#define CLAUSE_MAX 512
#define MORE_ROOM  40 /* "; and 18446744073709551615 more" */

struct check {
	const char *name; /* what --accept takes */
	gate_check_fn fn;
	bool fixed; /* a damaged snapshot is nobody's preference */
};

static const struct check checks[] = {
	{.name = "schema", .fn = gate_check_schema, .fixed = true},
	{.name = "argv", .fn = gate_check_argv},
	{.name = "cwd", .fn = gate_check_cwd},
	{.name = "uid", .fn = gate_check_uid},
	{.name = "gid", .fn = gate_check_gid},
	{.name = "groups", .fn = gate_check_groups},
	{.name = "env", .fn = gate_check_env},
	{.name = "adapter", .fn = gate_check_adapter},
	{.name = "machine", .fn = gate_check_machine},
	{.name = "kernel", .fn = gate_check_kernel},
	{.name = "cpu", .fn = gate_check_cpu},
	{.name = "criu", .fn = gate_check_criu},
	{.name = "setting", .fn = gate_check_setting},
	{.name = "caps", .fn = gate_check_caps},
	{.name = "filter", .fn = gate_check_filter},
	{.name = "privileged", .fn = gate_check_privileged},
	{.name = "no_new_privs", .fn = gate_check_no_new_privs},
	{.name = "page_size", .fn = gate_check_page_size},
	{.name = "nofile", .fn = gate_check_nofile},
	{.name = "memory", .fn = gate_check_memory},
	{.name = "image", .fn = gate_check_image, .fixed = true},
	{.name = "file", .fn = gate_check_file},
	{.name = "dir", .fn = gate_check_dir},
	{.name = "listener", .fn = gate_check_listener},
	{.name = "pid", .fn = gate_check_pid},
	{.name = "stdio", .fn = gate_check_stdio},
};

/* apart from the others because it can be asked before anything is started */
static const struct check gpu_check = {.name = "gpu", .fn = gate_check_gpu};

static bool is_accepted(const struct gate_accept *accept, const char *check, const char *thing)
{
	size_t len = strlen(check);

	for (size_t i = 0; accept && i < accept->n; i++) {
		const char *item = accept->items[i];

		if (strncmp(item, check, len) != 0)
			continue;
		if (item[len] == '\0')
			return true;
		if (thing && item[len] == ':' && strcmp(item + len + 1, thing) == 0)
			return true;
	}
	return false;
}

bool gate_accepts(const struct gate *gate, const char *thing)
{
	return !gate->is_fixed && is_accepted(gate->accept, gate->check, thing);
}

const char *gate_quote(const char *text, char *buf, size_t size)
{
	static const char mark[] = "...";
	size_t len = strlen(text), used = 0;

	if (len >= size) {
		text += len - (size - sizeof(mark));
		/* not in the middle of a UTF-8 character */
		while (((unsigned char)*text & 0xc0) == 0x80)
			text++;
		used = sizeof(mark) - 1;
		memcpy(buf, mark, used);
	}
	memcpy(buf + used, text, strlen(text) + 1);
	text_make_printable(buf);
	return buf;
}

void gate_names_add(struct gate_names *names, const char *name)
{
	size_t used = strlen(names->text);
	char quoted[64];

	if (names->n++ < GATE_NAMES_MAX)
		(void)snprintf(names->text + used, sizeof(names->text) - used, "%s%s",
			       used > 0 ? ", " : "", gate_quote(name, quoted, sizeof(quoted)));
}

const char *gate_names_text(struct gate_names *names)
{
	size_t used = strlen(names->text);

	if (names->n > GATE_NAMES_MAX)
		(void)snprintf(names->text + used, sizeof(names->text) - used, " and %zu more",
			       names->n - GATE_NAMES_MAX);
	return names->text;
}

/* false: it does not fit; room for the last words is kept */
static bool append(struct gate_reasons *reasons, const char *clause)
{
	size_t used = strlen(reasons->text);

	if (used + 2 + strlen(clause) + MORE_ROOM >= sizeof(reasons->text))
		return false;
	(void)snprintf(reasons->text + used, sizeof(reasons->text) - used, "%s%s",
		       used > 0 ? "; " : "", clause);
	return true;
}

static void __attribute__((format(printf, 2, 0)))
add_clause(struct gate *gate, const char *fmt, va_list ap)
{
	char clause[CLAUSE_MAX];

	gate->ret->n++;
	gate->n_clauses++;
	/* further ones of this check are told as a number when it ends */
	if (gate->n_clauses > GATE_NAMES_MAX)
		return;
	(void)vsnprintf(clause, sizeof(clause), fmt, ap);
	if (!append(gate->ret, clause))
		gate->n_hidden++;
}

void gate_refuse(struct gate *gate, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_clause(gate, fmt, ap);
	va_end(ap);
}

void gate_refuse_thing(struct gate *gate, const char *thing, const char *fmt, ...)
{
	va_list ap;

	if (gate_accepts(gate, thing))
		return;
	va_start(ap, fmt);
	add_clause(gate, fmt, ap);
	va_end(ap);
}

static void run_check(struct gate *gate, const struct check *check)
{
	char clause[64];
	size_t more;

	gate->check = check->name;
	gate->is_fixed = check->fixed;
	gate->n_clauses = 0;
	if (gate_accepts(gate, NULL))
		return;
	check->fn(gate);
	if (gate->n_clauses <= GATE_NAMES_MAX)
		return;
	more = gate->n_clauses - GATE_NAMES_MAX;
	(void)snprintf(clause, sizeof(clause), "and %zu more of %s", more, check->name);
	if (!append(gate->ret, clause))
		gate->n_hidden += more;
}

static void tell_hidden(const struct gate *gate)
{
	char *text = gate->ret->text;
	size_t used = strlen(text);

	if (gate->n_hidden > 0)
		(void)snprintf(text + used, sizeof(gate->ret->text) - used, "%sand %zu more",
			       used > 0 ? "; " : "", gate->n_hidden);
}

int gate_check(const struct manifest *m, const struct manifest_identity *want,
	       const struct fingerprint *here, int gen_fd, const struct gate_accept *accept,
	       struct gate_reasons *ret)
{
	struct gate gate = {
		.m = m,
		.want = want,
		.here = here,
		.gen_fd = gen_fd,
		.accept = accept,
		.ret = ret,
	};

	*ret = (struct gate_reasons){0};
	for (size_t i = 0; i < ARRAY_LEN(checks); i++)
		run_check(&gate, &checks[i]);
	tell_hidden(&gate);
	return ret->n > 0;
}

int gate_check_gpus(const struct manifest *m, bool is_trusted, const struct gate_accept *accept,
		    struct gpu_host **ret_host, struct gate_reasons *ret)
{
	struct gate gate = {.m = m, .accept = accept, .ret = ret, .is_trusted = is_trusted};
	size_t before = ret->n;

	run_check(&gate, &gpu_check);
	tell_hidden(&gate);
	if (ret_host)
		*ret_host = gate.gpu_host;
	else
		free(gate.gpu_host);
	return ret->n > before;
}
