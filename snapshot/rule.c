/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/rule.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "common/cleanup.h"
#include "snapshot/store.h"

#define LOWER_HEX	"0123456789abcdef"
#define DIGITS		"0123456789"
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-"

static bool is_one_of(const char *text, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(text, words[i]) == 0)
			return true;
	}
	return false;
}

/* path begins behind the leading slash, if there is one */
static const char *check_components(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");

		if (len == 0)
			return "has an empty path component";
		if ((len == 1 && path[0] == '.') || (len == 2 && memcmp(path, "..", 2) == 0))
			return "has a '.' or '..' component";
		if (path[len] == '\0')
			return NULL;
		path += len + 1;
	}
}

const char *rule_not_empty(const char *text)
{
	return text[0] == '\0' ? "empty" : NULL;
}

const char *rule_absolute_path(const char *text)
{
	if (text[0] != '/')
		return "not an absolute path";
	if (strlen(text) >= PATH_MAX)
		return "longer than a path may be";
	return check_components(text + 1);
}

const char *rule_folder(const char *text)
{
	return strcmp(text, "/") == 0 ? NULL : rule_absolute_path(text);
}

const char *rule_relative_path(const char *text)
{
	if (text[0] == '/')
		return "not a relative path";
	if (text[strspn(text, NAME_CHARACTERS)] != '\0')
		return "has a character outside [A-Za-z0-9._/-]";
	if (strlen(text) >= PATH_MAX)
		return "longer than a path may be";
	return check_components(text);
}

const char *rule_image(const char *text)
{
	static const char *const folders[] = {"criu/", "files/"};
	const char *complaint = rule_relative_path(text);

	if (complaint)
		return complaint;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		size_t n = strlen(folders[i]);

		if (strncmp(text, folders[i], n) == 0 && !strchr(text + n, '/'))
			return NULL;
	}
	if (strcmp(text, "pages.map") == 0 || strcmp(text, "device.map") == 0)
		return NULL;
	return "neither pages.map, device.map nor in criu/ or files/";
}

const char *rule_env_name(const char *text)
{
	if (text[0] == '\0')
		return "empty";
	return strchr(text, '=') ? "has a '=' in a variable's name" : NULL;
}

const char *rule_generation(const char *text)
{
	return store_name_is_valid(text) ? NULL : "not of the form gen-N";
}

const char *rule_time(const char *text)
{
	static const char shape[] = "0000-00-00T00:00:00";
	size_t i;

	for (i = 0; shape[i] != '\0'; i++) {
		bool is_digit = text[i] >= '0' && text[i] <= '9';

		if (shape[i] == '0' ? !is_digit : text[i] != shape[i])
			return "not an RFC 3339 time in UTC";
	}
	if (text[i] == '.') {
		size_t n = strspn(text + i + 1, DIGITS);

		if (n < 1 || n > 9)
			return "not an RFC 3339 time in UTC";
		i += 1 + n;
	}
	return strcmp(text + i, "Z") == 0 ? NULL : "not an RFC 3339 time in UTC";
}

const char *rule_build_id(const char *text)
{
	size_t n = strspn(text, LOWER_HEX);

	return text[n] != '\0' || n > 40 || n % 2 != 0 ? "not a build id in hex" : NULL;
}

const char *rule_setting(const char *text)
{
	static const char *const words[] = {"A", "B", "C", "none"};

	return is_one_of(text, words, ARRAY_LEN(words)) ? NULL : "none of A, B, C, none";
}

const char *rule_gpu_mode(const char *text)
{
	static const char *const words[] = {"staging", "storage"};

	return is_one_of(text, words, ARRAY_LEN(words)) ? NULL : "neither staging nor storage";
}

const char *rule_protocol(const char *text)
{
	static const char *const words[] = {"tcp", "tcp6", "udp", "udp6"};

	return is_one_of(text, words, ARRAY_LEN(words)) ? NULL : "none of tcp, tcp6, udp, udp6";
}

const char *rule_pipe(const char *text)
{
	size_t n;

	if (strncmp(text, "pipe:[", 6) != 0)
		return "not of the form pipe:[N]";
	n = strspn(text + 6, DIGITS);
	if (n < 1 || n > 20 || strcmp(text + 6 + n, "]") != 0)
		return "not of the form pipe:[N]";
	return NULL;
}
