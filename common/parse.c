/* SPDX-License-Identifier: Apache-2.0 */
#include "common/parse.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* digits at text; *end is the first character after them */
static int parse_digits(const char *text, const char **end, uint64_t *ret)
{
	char *stop;
	unsigned long long value;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &stop, 10);
	if (errno != 0)
		return -errno;
	*end = stop;
	*ret = value;
	return 0;
}

int parse_u64(const char *text, uint64_t *ret)
{
	const char *end = text;
	uint64_t value;
	int r = parse_digits(text, &end, &value);

	if (r < 0)
		return r;
	if (*end != '\0')
		return -EINVAL;
	*ret = value;
	return 0;
}

int parse_int(const char *text, int min, int max, int *ret)
{
	int sign = text[0] == '-' ? -1 : 1;
	uint64_t value;
	int64_t v;
	int r = parse_u64(text + (sign < 0), &value);

	if (r < 0)
		return r;
	if (value > INT32_MAX)
		return -ERANGE;
	v = sign * (int64_t)value;
	if (v < min || v > max)
		return -ERANGE;
	*ret = (int)v;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static int parse_with_units(const char *text, const struct unit *units, uint64_t *ret)
{
	const char *end = text;
	uint64_t value;
	int r = parse_digits(text, &end, &value);

	if (r < 0)
		return r;
	for (const struct unit *u = units; u->name; u++) {
		if (strcmp(end, u->name) != 0)
			continue;
		if (__builtin_mul_overflow(value, u->factor, &value))
			return -ERANGE;
		*ret = value;
		return 0;
	}
	return -EINVAL;
}

int parse_duration_ms(const char *text, uint64_t *ret_ms)
{
	static const struct unit units[] = {
		{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0},
	};

	return parse_with_units(text, units, ret_ms);
}

int parse_size(const char *text, uint64_t *ret_bytes)
{
	static const struct unit units[] = {
		{"", 1}, {"K", 1ULL << 10}, {"M", 1ULL << 20}, {"G", 1ULL << 30}, {NULL, 0},
	};

	return parse_with_units(text, units, ret_bytes);
}

int parse_signal(const char *text, int *ret)
{
	int n;

	if (isdigit((unsigned char)text[0])) {
		if (parse_int(text, 1, SIGRTMAX, &n) < 0)
			return -EINVAL;
		*ret = n;
		return 0;
	}
	if (strncmp(text, "SIG", 3) == 0)
		text += 3;
	if (strncmp(text, "RTMIN", 5) == 0) {
		n = 0;
		if (text[5] == '+' && parse_int(text + 6, 0, SIGRTMAX - SIGRTMIN, &n) < 0)
			return -EINVAL;
		if (text[5] != '\0' && text[5] != '+')
			return -EINVAL;
		*ret = SIGRTMIN + n;
		return 0;
	}
	for (n = 1; n < SIGRTMIN; n++) {
		const char *name = sigabbrev_np(n);

		if (name && strcmp(name, text) == 0) {
			*ret = n;
			return 0;
		}
	}
	return -EINVAL;
}
