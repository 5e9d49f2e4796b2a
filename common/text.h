/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_TEXT_H
#define SNAP_COMMON_TEXT_H

/* each control character becomes a '?': what others chose is shown in one line, and moves no cursor
 */
void text_make_printable(char *text);

#endif
