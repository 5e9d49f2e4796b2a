/* SPDX-License-Identifier: Apache-2.0 */
#include "row.h"

#include <stdio.h>

static void put_text(const char *value)
{
	(void)putchar('"');
	for (const unsigned char *c = (const unsigned char *)value; *c; c++) {
		if (*c == '"' || *c == '\\')
			(void)putchar('\\');
		if (*c < 0x20 || *c >= 0x7f)
			(void)putchar('?');
		else
			(void)putchar(*c);
	}
	(void)putchar('"');
}

void row_open(const char *step, const char *what)
{
	printf("{\"step\":\"%s\",\"what\":\"%s\"", step, what);
}

void row_text(const char *key, const char *value)
{
	printf(",\"%s\":", key);
	put_text(value);
}

void row_number(const char *key, long long value)
{
	printf(",\"%s\":%lld", key, value);
}

void row_ms(const char *key, double value)
{
	printf(",\"%s\":%.3f", key, value);
}

void row_flag(const char *key, int value)
{
	printf(",\"%s\":%s", key, value ? "true" : "false");
}

void row_speed(const char *key, double bytes, double ms)
{
	if (bytes > 0 && ms > 0)
		row_ms(key, bytes / ms / 1e6);
}

void row_close(void)
{
	(void)puts("}");
	(void)fflush(stdout);
}
