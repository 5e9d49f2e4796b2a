/* SPDX-License-Identifier: Apache-2.0 */
#include "common/text.h"

void text_make_printable(char *text)
{
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
}
