/* SPDX-License-Identifier: Apache-2.0 */
#include "common/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "common/text.h"
#include "common/user_namespace.h"

#define KEY_CHARS "abcdefghijklmnopqrstuvwxyz0123456789-"
#define BLANKS	  " \t"

static int fail_line(const struct config_file *config, unsigned int number, const char *what,
		     struct snap_error *err)
{
	return snap_fail(err, SNAP_E_USAGE, EINVAL, "%s:%u: %s", config->path, number, what);
}

/* tabs are blanks; any other control character is no part of a setting, and a NUL is none */
static bool has_control(const char *line, size_t size)
{
	for (const char *end = line + size; line < end;) {
		size_t n = text_char_size(line);

		if (*line == '\0' || (*line != '\t' && text_char_is_control(line, n)))
			return true;
		line += n > 0 ? n : 1;
	}
	return false;
}

static int parse_line(struct config_file *config, char *line, size_t size, unsigned int number,
		      struct snap_error *err)
{
	char *key = line + strspn(line, BLANKS), *end = line + size, *value;
	size_t key_size = strspn(key, KEY_CHARS);

	if (has_control(line, size))
		return fail_line(config, number, "a control character", err);
	if (*key == '\0' || *key == '#')
		return 0;
	value = key + key_size + strspn(key + key_size, BLANKS);
	if (key_size == 0 || *value != '=')
		return fail_line(config, number, "neither 'key = value' nor a comment", err);
	value += 1 + strspn(value + 1, BLANKS);
	while (end > value && strchr(BLANKS, end[-1]))
		end--;
	if (end == value)
		return fail_line(config, number, "no value behind '='", err);
	if (config->n >= CONFIG_LINES_MAX)
		return fail_line(config, number, "too many settings", err);
	key[key_size] = '\0';
	*end = '\0';
	config->lines[config->n++] =
		(struct config_line){.key = key, .value = value, .number = number};
	return 0;
}

int config_file_parse(struct config_file *config, size_t size, struct snap_error *err)
{
	char *line = config->text, *end = config->text + size;
	int r = 0;

	config->n = 0;
	*end = '\0';
	for (unsigned int number = 1; r == 0 && line < end; number++) {
		char *stop = memchr(line, '\n', (size_t)(end - line));

		if (!stop)
			stop = end;
		*stop = '\0';
		r = parse_line(config, line, (size_t)(stop - line), number, err);
		line = stop + 1;
	}
	return r;
}

/*
 * What stands in it root runs, so whoever can change it is root. In a user namespace that has no
 * user of the overflow id, that id is somebody's outside: the host's root's, mostly, or whoever's
 * who gave us our files.
 */
static int check_owner(const struct config_file *config, const struct stat *st,
		       struct snap_error *err)
{
	bool is_outside = st->st_uid == USER_NAMESPACE_OVERFLOW_UID &&
			  !user_namespace_has(USER_NAMESPACE_OVERFLOW_UID);

	if (geteuid() != 0)
		return 0;
	if (st->st_uid != 0 && !is_outside)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "'%s' is owned by uid %u, who is not root, as who reads it is: "
				 "chown root",
				 config->path, st->st_uid);
	if ((st->st_mode & S_IWOTH) != 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "'%s' may be written by everybody: chmod o-w", config->path);
	if ((st->st_mode & S_IWGRP) != 0 && st->st_gid != 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "'%s' may be written by group %u: chmod g-w", config->path,
				 st->st_gid);
	return 0;
}

static int check_file(const struct config_file *config, int fd, struct snap_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return snap_fail(err, SNAP_E_USAGE, errno, "cannot look at '%s'", config->path);
	if (!S_ISREG(st.st_mode))
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "'%s' is no regular file",
				 config->path);
	if (st.st_size > (off_t)CONFIG_SIZE_MAX)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "'%s' has more than %u bytes",
				 config->path, CONFIG_SIZE_MAX);
	return check_owner(config, &st, err);
}

/* -ENOENT without err when it is not there */
static int load(struct config_file *config, const char *path, struct snap_error *err)
{
	/* a FIFO must not hold us up before it is refused */
	snap_cleanup_close int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	ssize_t size;
	int r;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return -ENOENT;
	(void)snprintf(config->path, sizeof(config->path), "%s", path);
	if (fd < 0 && errno == ELOOP)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "'%s' is a symbolic link", path);
	if (fd < 0)
		return snap_fail_plain(err, SNAP_E_USAGE, errno, "cannot open '%s': %s", path,
				       strerror(errno));
	r = check_file(config, fd, err);
	if (r < 0)
		return r;
	size = io_read_full(fd, config->text, CONFIG_SIZE_MAX);
	if (size < 0)
		return snap_fail_plain(err, SNAP_E_USAGE, (int)-size, "cannot read '%s': %s", path,
				       strerror((int)-size));
	return config_file_parse(config, (size_t)size, err);
}

int config_file_load_first(struct config_file *config, const char *const *places,
			   struct snap_error *err)
{
	config->path[0] = '\0';
	config->n = 0;
	for (; *places; places++) {
		int r = load(config, *places, err);

		if (r != -ENOENT)
			return r;
	}
	return 0;
}

/* "…/bin/snapinit" has "…/etc/snapinit.conf"; so has snapctl, which the bundle runs by
 * "…/lib/ld.so" */
static const char *place_beside_us(char path[PATH_MAX])
{
	static const char tail[] = "/etc/snapinit.conf";
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);

	path[n < 0 ? 0 : n] = '\0';
	for (int i = 0; i < 2; i++) {
		char *slash = strrchr(path, '/');

		if (!slash)
			return NULL;
		*slash = '\0';
	}
	if (strlen(path) + sizeof(tail) > PATH_MAX)
		return NULL;
	memcpy(path + strlen(path), tail, sizeof(tail));
	return path;
}

int config_file_load(struct config_file *config, const char *chosen, struct snap_error *err)
{
	char beside[PATH_MAX];
	const char *places[] = {"/etc/snapinit.conf", NULL, NULL};
	int r;

	if (!chosen) {
		places[1] = place_beside_us(beside);
		return config_file_load_first(config, places, err);
	}
	config->path[0] = '\0';
	config->n = 0;
	if (strcmp(chosen, CONFIG_NONE) == 0)
		return 0;
	r = load(config, chosen, err);
	if (r == -ENOENT && config->path[0] == '\0')
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "there is no configuration file '%s'",
				 chosen);
	return r;
}
