/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_RULE_H
#define SNAP_SNAPSHOT_RULE_H

/*
 * What a text in the manifest must look like. Each rule answers NULL when the text keeps it, else
 * what is wrong with it, in words that fit behind the field's name ("not an absolute path").
 */

typedef const char *(*rule_fn)(const char *text);

const char *rule_not_empty(const char *text);

/* absolute, no empty, "." or ".." component, shorter than PATH_MAX; a folder may be "/" too */
const char *rule_absolute_path(const char *text);
const char *rule_folder(const char *text);

/* relative, of [A-Za-z0-9._/-], no empty, "." or ".." component */
const char *rule_relative_path(const char *text);

/* a file of a generation that has a digest: a page map, or one in criu/ or files/, not deeper */
const char *rule_image(const char *text);

const char *rule_env_name(const char *text);
const char *rule_generation(const char *text); /* "gen-1" */
const char *rule_time(const char *text);       /* "2026-11-24T04:01:23Z", with a fraction or not */
const char *rule_build_id(const char *text);   /* "" or up to 40 hex digits */
const char *rule_setting(const char *text);
const char *rule_gpu_mode(const char *text);
const char *rule_protocol(const char *text);
const char *rule_pipe(const char *text); /* "pipe:[4711]" */

#endif
