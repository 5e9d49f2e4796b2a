/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/passthrough.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* the option of ours that a word "--name", "--name=value", "-x" or "-xvalue" names, or NULL */
static const struct option_def *find_own(const struct option_def *defs, const char *word)
{
	size_t len = strcspn(word, "=");

	for (const struct option_def *def = defs; def->name; def++) {
		if (word[1] == '-' && strlen(def->name) == len - 2 &&
		    strncmp(def->name, word + 2, len - 2) == 0)
			return def;
		if (word[1] != '-' && def->letter && word[1] == def->letter)
			return def;
	}
	return NULL;
}

static bool takes_next_word(const struct option_def *def, const char *word)
{
	if (def->type == OPTION_FLAG || def->type == OPTION_COUNT)
		return false;
	return word[1] == '-' ? !strchr(word, '=') : word[2] == '\0';
}

int passthrough_split(const struct option_def *defs, int argc, char **argv, struct passthrough *ret,
		      struct snap_error *err)
{
	struct passthrough words = {.n_own = 0};
	int at;

	words.own = calloc((size_t)argc + 1, sizeof(*words.own));
	words.rest = calloc((size_t)argc + 1, sizeof(*words.rest));
	if (!words.own || !words.rest) {
		passthrough_done(&words);
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot take the line apart");
	}
	words.own[words.n_own++] = argv[0];
	for (at = 1; at < argc; at++) {
		bool is_option = argv[at][0] == '-' && argv[at][1] != '\0';
		const struct option_def *def = is_option ? find_own(defs, argv[at]) : NULL;

		if (strcmp(argv[at], "--") == 0) {
			at++;
			break;
		}
		if (!is_option && words.n_rest == 0)
			break;
		if (!def) {
			words.rest[words.n_rest++] = argv[at];
			continue;
		}
		words.own[words.n_own++] = argv[at];
		if (takes_next_word(def, argv[at]) && at + 1 < argc)
			words.own[words.n_own++] = argv[++at];
	}
	if (at >= argc && words.n_rest > 0 && strcmp(argv[argc - 1], "--") != 0) {
		passthrough_done(&words);
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "behind options of snapinit the command begins with --");
	}
	words.command = argv + at;
	*ret = words;
	return 0;
}

void passthrough_done(struct passthrough *words)
{
	free(words->own);
	free(words->rest);
	*words = (struct passthrough){.n_own = 0};
}
