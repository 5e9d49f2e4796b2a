/* SPDX-License-Identifier: Apache-2.0 */
#include "common/text.h"

#include <stdint.h>
#include <string.h>

/* by its first byte: how many, the bits of it that count, and the least that needs so many */
static const struct {
	unsigned char mask;
	unsigned char mark;
	unsigned char size;
	uint32_t least;
} forms[] = {
	{0x80, 0x00, 1, 0x1},
	{0xe0, 0xc0, 2, 0x80},
	{0xf0, 0xe0, 3, 0x800},
	{0xf8, 0xf0, 4, 0x10000},
};

size_t text_char_size(const char *text)
{
	const unsigned char *bytes = (const unsigned char *)text;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		uint32_t code = bytes[0] & (unsigned char)~forms[i].mask;

		if ((bytes[0] & forms[i].mask) != forms[i].mark)
			continue;
		for (size_t k = 1; k < forms[i].size; k++) {
			if ((bytes[k] & 0xc0) != 0x80) /* the NUL is none either */
				return 0;
			code = code << 6 | (bytes[k] & 0x3f);
		}
		/* too long a form, a half of a surrogate pair, beyond the last plane */
		if (code < forms[i].least || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff)
			return 0;
		return forms[i].size;
	}
	return 0;
}

bool text_char_is_control(const char *text, size_t size)
{
	const unsigned char *bytes = (const unsigned char *)text;

	return (size == 1 && (bytes[0] < ' ' || bytes[0] == 0x7f)) ||
	       (size == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0);
}

void text_make_printable(char *text)
{
	while (*text) {
		size_t size = text_char_size(text);

		if (size == 0 || text_char_is_control(text, size))
			memset(text, '?', size > 0 ? size : 1);
		text += size > 0 ? size : 1;
	}
}
