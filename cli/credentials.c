/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/credentials.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/parse.h"

#define NAME_MAX_BYTES 256

static int parse_id(const char *text, uint32_t *ret)
{
	uint64_t value;
	int r = parse_u64(text, &value);

	/* the last one means "leave as it is" to the kernel */
	if (r == 0 && value >= UINT32_MAX)
		r = -ERANGE;
	if (r == 0)
		*ret = (uint32_t)value;
	return r;
}

static int find_group(const char *text, gid_t *ret, struct snap_error *err)
{
	const struct group *group;

	if (parse_id(text, ret) == 0)
		return 0;
	group = getgrnam(text);
	if (!group)
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL, "--user: there is no group '%s'",
				       text);
	*ret = group->gr_gid;
	return 0;
}

static int take_groups(const struct passwd *entry, struct credentials *ret, struct snap_error *err)
{
	int n = CREDENTIALS_GROUPS_MAX;

	if (getgrouplist(entry->pw_name, entry->pw_gid, ret->groups, &n) < 0)
		return snap_fail_plain(err, SNAP_E_USAGE, E2BIG, "--user: groups of '%s'",
				       entry->pw_name);
	ret->n_groups = (size_t)n;
	ret->gid = entry->pw_gid;
	return 0;
}

int credentials_parse(const char *text, struct credentials *ret, struct snap_error *err)
{
	char user[NAME_MAX_BYTES];
	size_t len = strcspn(text, ":");
	const struct passwd *entry;
	bool is_number;

	*ret = (struct credentials){.n_groups = 0};
	if (len == 0 || len >= sizeof(user) || (text[len] == ':' && text[len + 1] == '\0'))
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "--user: '%s' is not USER[:GROUP]", text);
	memcpy(user, text, len);
	user[len] = '\0';
	is_number = parse_id(user, &ret->uid) == 0;
	entry = is_number ? getpwuid(ret->uid) : getpwnam(user);
	if (!entry && !is_number)
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL, "--user: there is no user '%s'",
				       user);
	if (entry)
		ret->uid = entry->pw_uid;
	if (text[len] == ':')
		return find_group(text + len + 1, &ret->gid, err);
	return entry ? take_groups(entry, ret, err) : 0;
}

int credentials_apply(const struct credentials *credentials, struct snap_error *err)
{
	if (setgroups(credentials->n_groups, credentials->groups) < 0 ||
	    setresgid(credentials->gid, credentials->gid, credentials->gid) < 0 ||
	    setresuid(credentials->uid, credentials->uid, credentials->uid) < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno,
				 "cannot become uid %u, gid %u (are you root?)", credentials->uid,
				 credentials->gid);
	return 0;
}

int credentials_act_as(uid_t uid, gid_t gid, struct snap_error *err)
{
	if (uid == geteuid())
		return 0;
	if (setegid(gid) < 0 || seteuid(uid) < 0) {
		int saved = errno;

		credentials_return();
		return snap_fail(err, SNAP_E_PREFLIGHT, saved, "cannot act as uid %u", uid);
	}
	return 0;
}

void credentials_return(void)
{
	/* both succeed: they are our real ids */
	if (seteuid(getuid()) < 0 || setegid(getgid()) < 0)
		_exit(1);
}

void credentials_act_as_owner(const char *path)
{
	struct stat st;

	if (geteuid() == 0 && lstat(path, &st) == 0 && st.st_uid != 0)
		(void)credentials_act_as(st.st_uid, st.st_gid, NULL);
}
