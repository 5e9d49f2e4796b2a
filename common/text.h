/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_TEXT_H
#define SNAP_COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* bytes of the UTF-8 character that text begins with; 0: it is none, or text is empty */
size_t text_char_size(const char *text);

/* does a terminal obey it? U+0000 to U+001F, U+007F, and U+0080 to U+009F; `size` as above */
bool text_char_is_control(const char *text, size_t size);

/*
 * Each byte of a control character, and each that is no UTF-8, becomes a '?': what others chose is
 * shown in one line, and moves no cursor.
 */
void text_make_printable(char *text);

#endif
