/* SPDX-License-Identifier: Apache-2.0 */

/* Is the start at hand the one that the snapshot was made for? */

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "snapshot/gate_check.h"

#define QUOTE_MAX 72

void gate_check_schema(struct gate *gate)
{
	if (gate->m->schema != MANIFEST_SCHEMA)
		gate_refuse(gate, "manifest schema %u, this snapinit reads %d", gate->m->schema,
			    MANIFEST_SCHEMA);
}

/* does the argument, or the option before it, look like a credential? */
static bool is_secret(const char *argument)
{
	static const char *const words[] = {"key", "token", "secret", "passw", "auth", "cred"};
	char lower[256];
	size_t n = 0;

	for (; n < sizeof(lower) - 1 && argument[n]; n++)
		lower[n] = (char)tolower((unsigned char)argument[n]);
	lower[n] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strstr(lower, words[i]))
			return true;
	}
	return false;
}

void gate_check_argv(struct gate *gate)
{
	const struct string_list *want = &gate->want->argv, *had = &gate->m->identity.argv;
	char a[QUOTE_MAX], b[QUOTE_MAX];
	size_t i = 0;

	while (i < want->n && i < had->n && strcmp(want->items[i], had->items[i]) == 0)
		i++;
	if (i == want->n && i == had->n)
		return;
	if (i == want->n || i == had->n)
		gate_refuse(gate, "argv has %zu words, captured with %zu", want->n, had->n);
	else if (is_secret(want->items[i]) || is_secret(had->items[i]) ||
		 (i > 0 && is_secret(want->items[i - 1])))
		gate_refuse(gate, "argv[%zu] differs from the captured one", i);
	else
		gate_refuse(gate, "argv[%zu] is '%s', captured with '%s'", i,
			    gate_quote(want->items[i], a, sizeof(a)),
			    gate_quote(had->items[i], b, sizeof(b)));
}

void gate_check_cwd(struct gate *gate)
{
	const char *want = gate->want->cwd, *had = gate->m->identity.cwd;
	char a[QUOTE_MAX], b[QUOTE_MAX];
	struct stat st;

	if (strcmp(want, had) != 0)
		gate_refuse(gate, "cwd is '%s', captured in '%s'", gate_quote(want, a, sizeof(a)),
			    gate_quote(had, b, sizeof(b)));
	else if (stat(had, &st) < 0 || !S_ISDIR(st.st_mode))
		gate_refuse(gate, "cwd '%s' is no folder here", gate_quote(had, b, sizeof(b)));
}

void gate_check_uid(struct gate *gate)
{
	if (gate->want->uid != gate->m->identity.uid)
		gate_refuse(gate, "uid is %u, captured as %u", gate->want->uid,
			    gate->m->identity.uid);
}

void gate_check_gid(struct gate *gate)
{
	if (gate->want->gid != gate->m->identity.gid)
		gate_refuse(gate, "gid is %u, captured as %u", gate->want->gid,
			    gate->m->identity.gid);
}

/* both lists ascend; what only the first has goes to names */
static void name_missing_groups(const uint32_t *first, size_t n_first, const uint32_t *second,
				size_t n_second, struct gate_names *names)
{
	size_t at = 0;

	for (size_t i = 0; i < n_first; i++) {
		char text[16];

		while (at < n_second && second[at] < first[i])
			at++;
		if (at < n_second && second[at] == first[i])
			continue;
		(void)snprintf(text, sizeof(text), "%u", first[i]);
		gate_names_add(names, text);
	}
}

void gate_check_groups(struct gate *gate)
{
	const struct manifest_identity *want = gate->want, *had = &gate->m->identity;
	struct gate_names added = {.n = 0}, removed = {.n = 0};

	name_missing_groups(want->groups, want->n_groups, had->groups, had->n_groups, &added);
	name_missing_groups(had->groups, had->n_groups, want->groups, want->n_groups, &removed);
	if (added.n == 0 && removed.n == 0)
		return;
	gate_refuse(gate, "groups differ:%s%s%s%s%s", added.n > 0 ? " added " : "",
		    gate_names_text(&added), added.n > 0 && removed.n > 0 ? "," : "",
		    removed.n > 0 ? " removed " : "", gate_names_text(&removed));
}

static void name_variable(const struct gate *gate, const char *name, struct gate_names *names)
{
	if (!gate_accepts(gate, name))
		gate_names_add(names, name);
}

void gate_check_env(struct gate *gate)
{
	const struct manifest_identity *want = gate->want, *had = &gate->m->identity;
	struct gate_names added = {.n = 0}, removed = {.n = 0}, changed = {.n = 0};
	char text[3 * sizeof(added.text)] = "";
	size_t i = 0, j = 0, used, n_names;

	if (strcmp(want->env_salt, had->env_salt) != 0) {
		gate_refuse(gate, "environment was digested with another salt");
		return;
	}
	while (i < want->n_env || j < had->n_env) {
		int r = i == want->n_env  ? 1
			: j == had->n_env ? -1
					  : strcmp(want->env[i].name, had->env[j].name);

		if (r < 0) {
			name_variable(gate, want->env[i++].name, &added);
		} else if (r > 0) {
			name_variable(gate, had->env[j++].name, &removed);
		} else {
			if (strcmp(want->env[i].digest, had->env[j].digest) != 0)
				name_variable(gate, had->env[j].name, &changed);
			i++, j++;
		}
	}
	if (added.n > 0)
		(void)snprintf(text, sizeof(text), ", added %s", gate_names_text(&added));
	used = strlen(text);
	if (removed.n > 0)
		(void)snprintf(text + used, sizeof(text) - used, ", removed %s",
			       gate_names_text(&removed));
	used = strlen(text);
	if (changed.n > 0)
		(void)snprintf(text + used, sizeof(text) - used, ", changed %s",
			       gate_names_text(&changed));
	if (text[0] == '\0')
		return;
	n_names = added.n + removed.n + changed.n;
	gate_refuse(gate, "environment differs: %s (remedy: --accept env:%s%s)", text + 2,
		    n_names > 1	    ? "NAME"
		    : added.n > 0   ? added.text
		    : removed.n > 0 ? removed.text
				    : changed.text,
		    n_names > 1 ? " for each that may" : "");
}

void gate_check_adapter(struct gate *gate)
{
	const char *want = gate->want->adapter, *had = gate->m->identity.adapter;
	char a[QUOTE_MAX], b[QUOTE_MAX];

	if (strcmp(want, had) != 0)
		gate_refuse(gate, "adapter is '%s', captured with '%s'",
			    gate_quote(want, a, sizeof(a)), gate_quote(had, b, sizeof(b)));
}
