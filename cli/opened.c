/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/opened.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/credentials.h"
#include "common/fd.h"
#include "snapshot/trusted.h"

static int open_all(struct opened *opened, const char *path, const char *generation,
		    struct snap_error *err)
{
	char current[STORE_NAME_MAX] = "";
	int r = store_open(&opened->store, path, false, err);

	if (r < 0)
		return r;
	r = store_current(&opened->store, current, generation ? NULL : err);
	if (r < 0 && !generation)
		return r;
	(void)snprintf(opened->generation, sizeof(opened->generation), "%s",
		       generation ? generation : current);
	opened->is_current = strcmp(opened->generation, current) == 0;
	/* what is looked at is not removed meanwhile */
	opened->gen_fd =
		store_hold_generation(&opened->store, generation ? generation : current, err);
	return opened->gen_fd < 0 ? opened->gen_fd : 0;
}

int opened_init(struct opened *opened, const char *path, const char *generation,
		struct snap_error *err)
{
	int r;

	*opened = (struct opened){.store = {.fd = FD_NONE}, .gen_fd = FD_NONE};
	manifest_init(&opened->manifest);
	credentials_act_as_owner(path);
	r = open_all(opened, path, generation, err);
	credentials_return();
	if (r < 0)
		opened_done(opened);
	return r;
}

int opened_load_manifest(struct opened *opened, struct snap_error *err)
{
	return manifest_load(opened->gen_fd, &opened->manifest, err);
}

int opened_check_rights(const struct opened *opened, struct snap_error *err)
{
	int r;

	credentials_act_as_owner(opened->store.path);
	r = trusted_check_tree(opened->gen_fd, opened->generation, err);
	credentials_return();
	return r;
}

int opened_check_owner(const struct opened *opened, uid_t uid, gid_t gid, struct snap_error *err)
{
	int r = credentials_act_as(uid, gid, err);

	if (r < 0)
		return r;
	r = trusted_check_fd(opened->store.fd, opened->store.path, err);
	if (r == 0)
		r = trusted_check_fd(opened->gen_fd, opened->generation, err);
	credentials_return();
	return r;
}

void opened_done(struct opened *opened)
{
	manifest_done(&opened->manifest);
	opened->gen_fd = fd_close(opened->gen_fd);
	store_close(&opened->store);
}

char **opened_command(const struct opened *opened, struct snap_error *err)
{
	const struct string_list *argv = &opened->manifest.identity.argv;
	char **command = calloc(argv->n + 1, sizeof(*command));

	if (!command)
		(void)snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot make a command line");
	else if (argv->n > 0)
		memcpy(command, argv->items, argv->n * sizeof(*command));
	return command;
}
