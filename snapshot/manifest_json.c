/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One table of fields describes the manifest: name, type, place in the struct, limits. Reader and
 * writer walk the same table, so a field cannot be written in one way and read in another.
 *
 * Reading: the text is first measured (how many values, how deep) because jansson builds the whole
 * tree before anything can be refused; then each field of the table is fetched and checked, and
 * last the rules between fields. Members that the table does not know are ignored, so that a later
 * snapinit can add some; what must not be ignored is named in the list "requires".
 */

#include "snapshot/manifest_json.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "snapshot/digest.h"
#include "snapshot/manifest.h"
#include "snapshot/pages/map.h"
#include "snapshot/rule.h"

#define DEPTH_MAX      8 /* ours is 4 deep; unknown members may be a little deeper */
#define NAME_MAX_BYTES 256
#define SEAL_DIGITS    32

/* what jansson takes for a value, a string, a member of an object, an object; measured */
#define VALUE_BYTES  40U
#define STRING_BYTES 40U
#define MEMBER_BYTES 48U
#define OBJECT_BYTES 200U
#define PID_LIMIT    4194304 /* PID_MAX_LIMIT of 64-bit kernels */

enum field_type {
	FIELD_STRING,  /* char * */
	FIELD_HEX,     /* char [max + 1], exactly max lower case digits */
	FIELD_BOOL,    /* bool */
	FIELD_U32,     /* uint32_t */
	FIELD_I32,     /* int32_t */
	FIELD_U64,     /* uint64_t that fits 63 bits */
	FIELD_I64,     /* int64_t */
	FIELD_MASK,    /* uint64_t of any size, as "0x…" */
	FIELD_STRINGS, /* struct string_list */
	FIELD_U32S,    /* uint32_t *, ascending */
	FIELD_I32S,    /* int32_t *, strictly ascending */
	FIELD_STDIO,   /* char *[3], entries may be null */
	FIELD_OBJECT,  /* a struct inside */
	FIELD_OBJECTS, /* pointer to structs */
	FIELD_TYPE_MAX_,
};

struct field {
	const char *name; /* NULL ends a table */
	enum field_type type;
	size_t offset;
	size_t n_offset; /* of a list's count */
	size_t length;	 /* most bytes of a string, exact digits of a hex */
	int64_t min;	 /* of a number */
	int64_t max;
	bool optional;		    /* absent: NULL, false or 0, and not written then */
	rule_fn rule;		    /* of a string */
	const struct field *fields; /* of an object */
	size_t size;		    /* of an object in a list */
};

/* clang-format off */
#define AT(type_, s, member, ...) \
	{.name = #member, .type = (type_), .offset = offsetof(struct s, member), __VA_ARGS__}
#define AT_LIST(type_, s, member, ...) \
	AT(type_, s, member, .n_offset = offsetof(struct s, n_##member), __VA_ARGS__)
#define STRING(s, member, length_, rule_) AT(FIELD_STRING, s, member, .length = (length_), .rule = (rule_))
#define MAYBE(s, member, length_) AT(FIELD_STRING, s, member, .length = (length_), .optional = true)
#define BYTES(s, member) AT(FIELD_U64, s, member, .max = INT64_MAX)
#define ID(s, member)    AT(FIELD_U32, s, member, .max = UINT32_MAX - 1)
#define MODE(s)          AT(FIELD_U32, s, mode, .max = 07777)
#define END              {.name = NULL}

static const struct field env_fields[] = {
	STRING(manifest_env, name, MANIFEST_STRING_MAX, rule_env_name),
	AT(FIELD_HEX, manifest_env, digest, .length = 64),
	END,
};

static const struct field identity_fields[] = {
	AT(FIELD_STRINGS, manifest_identity, argv, .length = MANIFEST_STRING_MAX),
	STRING(manifest_identity, cwd, PATH_MAX, rule_folder),
	ID(manifest_identity, uid),
	ID(manifest_identity, gid),
	AT_LIST(FIELD_U32S, manifest_identity, groups, .max = UINT32_MAX - 1),
	AT(FIELD_HEX, manifest_identity, env_salt, .length = 32),
	AT_LIST(FIELD_OBJECTS, manifest_identity, env, .fields = env_fields,
		.size = sizeof(struct manifest_env)),
	STRING(manifest_identity, adapter, NAME_MAX_BYTES, rule_not_empty),
	END,
};

static const struct field host_fields[] = {
	STRING(fingerprint, machine, NAME_MAX_BYTES, rule_not_empty),
	STRING(fingerprint, kernel_release, NAME_MAX_BYTES, rule_not_empty),
	STRING(fingerprint, kernel_version, NAME_MAX_BYTES, NULL),
	AT(FIELD_STRINGS, fingerprint, cpu_flags, .length = NAME_MAX_BYTES),
	STRING(fingerprint, criu_version, NAME_MAX_BYTES, rule_not_empty),
	STRING(fingerprint, criu_build_id, NAME_MAX_BYTES, rule_build_id),
	AT(FIELD_MASK, fingerprint, caps_effective),
	AT(FIELD_MASK, fingerprint, caps_bounding),
	AT(FIELD_BOOL, fingerprint, no_new_privs),
	AT(FIELD_BOOL, fingerprint, seccomp_filter),
	STRING(fingerprint, setting, NAME_MAX_BYTES, rule_setting),
	AT(FIELD_U64, fingerprint, cpus, .min = 1, .max = 1 << 20),
	AT(FIELD_MASK, fingerprint, memory_limit),
	AT(FIELD_U64, fingerprint, nofile, .max = INT64_MAX),
	AT(FIELD_U64, fingerprint, page_size, .min = 4096, .max = 1 << 20),
	END,
};

static const struct field file_fields[] = {
	STRING(manifest_file, path, PATH_MAX, rule_absolute_path),
	BYTES(manifest_file, size),
	AT(FIELD_I64, manifest_file, mtime_ns, .min = INT64_MIN, .max = INT64_MAX),
	MODE(manifest_file),
	ID(manifest_file, uid),
	ID(manifest_file, gid),
	AT(FIELD_BOOL, manifest_file, mapped, .optional = true),
	AT(FIELD_BOOL, manifest_file, append, .optional = true),
	AT(FIELD_STRING, manifest_file, stored, .length = PATH_MAX, .optional = true,
	   .rule = rule_relative_path),
	END,
};

static const struct field dir_fields[] = {
	STRING(manifest_dir, path, PATH_MAX, rule_absolute_path),
	MODE(manifest_dir),
	ID(manifest_dir, uid),
	ID(manifest_dir, gid),
	END,
};

static const struct field listener_fields[] = {
	STRING(manifest_listener, protocol, NAME_MAX_BYTES, rule_protocol),
	STRING(manifest_listener, address, NAME_MAX_BYTES, rule_not_empty),
	AT(FIELD_U32, manifest_listener, port, .min = 1, .max = 65535),
	END,
};

static const struct field image_fields[] = {
	STRING(manifest_image, name, PATH_MAX, rule_image),
	BYTES(manifest_image, size),
	AT(FIELD_HEX, manifest_image, digest, .length = 32),
	END,
};

static const struct field xcomp_fields[] = {
	AT(FIELD_I32, manifest_xcomp, pid, .min = 1, .max = PID_LIMIT),
	AT(FIELD_MASK, manifest_xcomp, permissions),
	END,
};

static const struct field tile_config_fields[] = {
	AT(FIELD_I32, manifest_tile_config, tid, .min = 1, .max = PID_LIMIT),
	AT(FIELD_HEX, manifest_tile_config, config, .length = 128),
	END,
};

static const struct field mapping_fields[] = {
	AT(FIELD_I32, manifest_mapping, pid, .min = 1, .max = PID_LIMIT),
	AT(FIELD_MASK, manifest_mapping, start),
	AT(FIELD_MASK, manifest_mapping, end),
	AT(FIELD_U32, manifest_mapping, prot, .max = PROT_READ | PROT_WRITE | PROT_EXEC),
	AT(FIELD_U32, manifest_mapping, lock, .max = MANIFEST_LOCK_ON_FAULT, .optional = true),
	END,
};

static const struct field gpu_device_fields[] = {
	AT(FIELD_HEX, manifest_gpu_device, uuid, .length = 32),
	STRING(manifest_gpu_device, name, NAME_MAX_BYTES, rule_not_empty),
	AT(FIELD_U32, manifest_gpu_device, compute, .min = 1, .max = 999),
	BYTES(manifest_gpu_device, memory_bytes),
	BYTES(manifest_gpu_device, used_bytes),
	END,
};

static const struct field gpu_process_fields[] = {
	AT(FIELD_I32, manifest_gpu_process, pid, .min = 1, .max = PID_LIMIT),
	AT(FIELD_I32, manifest_gpu_process, restore_tid, .min = 1, .max = PID_LIMIT),
	BYTES(manifest_gpu_process, staging_bytes),
	END,
};

static const struct field gpu_staging_fields[] = {
	AT(FIELD_I32, manifest_gpu_staging, pid, .min = 1, .max = PID_LIMIT),
	AT(FIELD_MASK, manifest_gpu_staging, start),
	AT(FIELD_MASK, manifest_gpu_staging, end),
	END,
};

/* mode is the first: an object that may be absent is, when its first member is a NULL pointer */
static const struct field gpu_fields[] = {
	STRING(manifest_gpu, mode, NAME_MAX_BYTES, rule_gpu_mode),
	STRING(manifest_gpu, driver, NAME_MAX_BYTES, NULL),
	STRING(manifest_gpu, library, PATH_MAX, rule_absolute_path),
	STRING(manifest_gpu, library_build_id, NAME_MAX_BYTES, rule_build_id),
	AT(FIELD_U32, manifest_gpu, cuda, .min = 1000, .max = 999999),
	AT_LIST(FIELD_OBJECTS, manifest_gpu, devices, .fields = gpu_device_fields,
		.size = sizeof(struct manifest_gpu_device)),
	AT_LIST(FIELD_OBJECTS, manifest_gpu, processes, .fields = gpu_process_fields,
		.size = sizeof(struct manifest_gpu_process)),
	AT_LIST(FIELD_OBJECTS, manifest_gpu, staging, .fields = gpu_staging_fields,
		.size = sizeof(struct manifest_gpu_staging)),
	END,
};

static const struct field manifest_fields[] = {
	AT(FIELD_U32, manifest, schema, .min = MANIFEST_SCHEMA, .max = MANIFEST_SCHEMA),
	STRING(manifest, snapinit_version, NAME_MAX_BYTES, rule_not_empty),
	STRING(manifest, generation, NAME_MAX_BYTES, rule_generation),
	STRING(manifest, created, NAME_MAX_BYTES, rule_time),
	AT(FIELD_BOOL, manifest, verified),
	AT(FIELD_BOOL, manifest, unprivileged),
	AT(FIELD_OBJECT, manifest, identity, .fields = identity_fields),
	AT(FIELD_OBJECT, manifest, host, .fields = host_fields),
	AT_LIST(FIELD_OBJECTS, manifest, files, .fields = file_fields,
		.size = sizeof(struct manifest_file)),
	AT_LIST(FIELD_OBJECTS, manifest, dirs, .fields = dir_fields,
		.size = sizeof(struct manifest_dir)),
	AT_LIST(FIELD_OBJECTS, manifest, listeners, .fields = listener_fields,
		.size = sizeof(struct manifest_listener)),
	AT_LIST(FIELD_OBJECTS, manifest, images, .fields = image_fields,
		.size = sizeof(struct manifest_image)),
	AT(FIELD_I32, manifest, root_pid, .min = 1, .max = PID_LIMIT),
	AT_LIST(FIELD_I32S, manifest, pids, .min = 1, .max = PID_LIMIT),
	AT_LIST(FIELD_OBJECTS, manifest, xcomp, .fields = xcomp_fields,
		.size = sizeof(struct manifest_xcomp), .optional = true),
	AT_LIST(FIELD_OBJECTS, manifest, tile_configs, .fields = tile_config_fields,
		.size = sizeof(struct manifest_tile_config), .optional = true),
	AT_LIST(FIELD_OBJECTS, manifest, mappings, .fields = mapping_fields,
		.size = sizeof(struct manifest_mapping), .optional = true),
	AT(FIELD_OBJECT, manifest, gpu, .fields = gpu_fields, .optional = true),
	AT(FIELD_BOOL, manifest, tree_has_filter),
	BYTES(manifest, resident_bytes),
	BYTES(manifest, snapshot_bytes),
	AT(FIELD_U64, manifest, pages_bytes, .max = INT64_MAX, .optional = true),
	AT(FIELD_STDIO, manifest, stdio, .length = NAME_MAX_BYTES, .rule = rule_pipe),
	MAYBE(manifest, ready, MANIFEST_STRING_MAX),
	MAYBE(manifest, oracle_request, MANIFEST_STRING_MAX),
	MAYBE(manifest, oracle_answer, MANIFEST_ANSWER_MAX),
	MAYBE(manifest, reclaim_request, MANIFEST_STRING_MAX),
	AT(FIELD_U64, manifest, cold_boot_ms, .max = INT64_MAX),
	AT(FIELD_U64, manifest, capture_ms, .max = INT64_MAX),
	AT(FIELD_U64, manifest, frozen_ms, .max = INT64_MAX),
	END,
};

/* clang-format on */

/* where in the document we are, for messages: "host.cpu_flags[3]" */
struct place {
	char text[160];
	struct snap_error *err;
};

static size_t place_enter(struct place *place, const char *name)
{
	size_t used = strlen(place->text);

	(void)snprintf(place->text + used, sizeof(place->text) - used, "%s%s", used > 0 ? "." : "",
		       name);
	return used;
}

static size_t place_enter_item(struct place *place, size_t i)
{
	size_t used = strlen(place->text);

	(void)snprintf(place->text + used, sizeof(place->text) - used, "[%zu]", i);
	return used;
}

static void place_leave(struct place *place, size_t mark)
{
	place->text[mark] = '\0';
}

static int __attribute__((format(printf, 2, 3)))
place_fail(struct place *place, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)snap_fail(place->err, SNAP_E_CORRUPT, 0, "manifest.json: %s%s%s", place->text,
			place->text[0] ? ": " : "", text);
	return -EBADMSG;
}

/* reading */

static int read_object(struct place *place, const json_t *json, const struct field *fields,
		       char *base);

static int read_text(struct place *place, const json_t *json, const struct field *field, char **ret)
{
	const char *text, *complaint;
	size_t size;

	if (!json_is_string(json))
		return place_fail(place, "not a string");
	text = json_string_value(json);
	size = json_string_length(json);
	if (size > field->length)
		return place_fail(place, "longer than %zu bytes", field->length);
	if (strlen(text) != size)
		return place_fail(place, "has a NUL");
	complaint = field->rule ? field->rule(text) : NULL;
	if (complaint)
		return place_fail(place, "%s", complaint);
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int read_number(struct place *place, const json_t *json, const struct field *field,
		       int64_t *ret)
{
	int64_t value;

	if (!json_is_integer(json))
		return place_fail(place, "not an integer");
	value = json_integer_value(json);
	if (value < field->min || value > field->max)
		return place_fail(place, "%" PRId64 " is not within %" PRId64 " and %" PRId64,
				  value, field->min, field->max);
	*ret = value;
	return 0;
}

static int read_hex(struct place *place, const json_t *json, const struct field *field, char *ret)
{
	const char *text = json_string_value(json);

	if (!text)
		return place_fail(place, "not a string");
	if (json_string_length(json) != field->length ||
	    strspn(text, "0123456789abcdef") != field->length)
		return place_fail(place, "not %zu lower case hex digits", field->length);
	memcpy(ret, text, field->length + 1);
	return 0;
}

static int read_mask(struct place *place, const json_t *json, uint64_t *ret)
{
	const char *text = json_string_value(json);
	size_t n;

	if (!text)
		return place_fail(place, "not a string");
	n = strncmp(text, "0x", 2) == 0 ? strspn(text + 2, "0123456789abcdef") : 0;
	if (n < 1 || n > 16 || json_string_length(json) != n + 2)
		return place_fail(place, "not of the form 0x1f with 1 to 16 digits");
	*ret = strtoull(text + 2, NULL, 16);
	return 0;
}

static int read_count(struct place *place, const json_t *json, size_t *ret)
{
	if (!json_is_array(json))
		return place_fail(place, "not a list");
	if (json_array_size(json) > MANIFEST_ITEMS_MAX)
		return place_fail(place, "more than %u entries", MANIFEST_ITEMS_MAX);
	*ret = json_array_size(json);
	return 0;
}

static int read_strings(struct place *place, const json_t *json, const struct field *field,
			struct string_list *ret)
{
	size_t n;
	int r = read_count(place, json, &n);

	if (r < 0 || n == 0)
		return r;
	ret->items = calloc(n, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	for (; ret->n < n; ret->n++) {
		size_t mark = place_enter_item(place, ret->n);

		r = read_text(place, json_array_get(json, ret->n), field, &ret->items[ret->n]);
		if (r < 0)
			return r;
		place_leave(place, mark);
	}
	return 0;
}

/* groups and pids: 32 bits wide both, in ascending order */
static int read_numbers(struct place *place, const json_t *json, const struct field *field,
			char *base)
{
	size_t n, *ret_n = (size_t *)(void *)(base + field->n_offset);
	int64_t last = INT64_MIN;
	uint32_t *items;
	int r = read_count(place, json, &n);

	if (r < 0 || n == 0)
		return r;
	items = calloc(n, sizeof(*items));
	if (!items)
		return -ENOMEM;
	memcpy(base + field->offset, &items, sizeof(items));
	*ret_n = n;
	for (size_t i = 0; i < n; i++) {
		size_t mark = place_enter_item(place, i);
		int64_t value;

		r = read_number(place, json_array_get(json, i), field, &value);
		if (r < 0)
			return r;
		if (value < last || (value == last && field->type == FIELD_I32S))
			return place_fail(place, "not in ascending order");
		last = value;
		items[i] = (uint32_t)value;
		place_leave(place, mark);
	}
	return 0;
}

static int read_objects(struct place *place, const json_t *json, const struct field *field,
			char *base)
{
	size_t n, *ret_n = (size_t *)(void *)(base + field->n_offset);
	char *items;
	int r = read_count(place, json, &n);

	if (r < 0 || n == 0)
		return r;
	items = calloc(n, field->size);
	if (!items)
		return -ENOMEM;
	memcpy(base + field->offset, &items, sizeof(items));
	*ret_n = n;
	for (size_t i = 0; i < n; i++) {
		size_t mark = place_enter_item(place, i);

		r = read_object(place, json_array_get(json, i), field->fields,
				items + i * field->size);
		if (r < 0)
			return r;
		place_leave(place, mark);
	}
	return 0;
}

static int read_stdio(struct place *place, const json_t *json, const struct field *field,
		      char **ret)
{
	if (!json_is_array(json) || json_array_size(json) != 3)
		return place_fail(place, "not a list of three");
	for (size_t i = 0; i < 3; i++) {
		size_t mark = place_enter_item(place, i);
		const json_t *item = json_array_get(json, i);
		int r = json_is_null(item) ? 0 : read_text(place, item, field, &ret[i]);

		if (r < 0)
			return r;
		place_leave(place, mark);
	}
	return 0;
}

static int read_bool(struct place *place, const json_t *json, bool *ret)
{
	if (!json_is_boolean(json))
		return place_fail(place, "neither true nor false");
	*ret = json_is_true(json);
	return 0;
}

static int read_value(struct place *place, const json_t *json, const struct field *field,
		      char *base)
{
	void *target = base + field->offset;
	int64_t number = 0;
	int r;

	switch (field->type) {
	case FIELD_STRING:
		return read_text(place, json, field, target);
	case FIELD_HEX:
		return read_hex(place, json, field, target);
	case FIELD_BOOL:
		return read_bool(place, json, target);
	case FIELD_U32:
	case FIELD_I32:
		r = read_number(place, json, field, &number);
		*(uint32_t *)target = (uint32_t)number;
		return r;
	case FIELD_U64:
	case FIELD_I64:
		r = read_number(place, json, field, &number);
		*(int64_t *)target = number;
		return r;
	case FIELD_MASK:
		return read_mask(place, json, target);
	case FIELD_STRINGS:
		return read_strings(place, json, field, target);
	case FIELD_U32S:
	case FIELD_I32S:
		return read_numbers(place, json, field, base);
	case FIELD_STDIO:
		return read_stdio(place, json, field, target);
	case FIELD_OBJECT:
		return read_object(place, json, field->fields, target);
	case FIELD_OBJECTS:
		return read_objects(place, json, field, base);
	case FIELD_TYPE_MAX_:
		break;
	}
	return -EINVAL;
}

static int read_object(struct place *place, const json_t *json, const struct field *fields,
		       char *base)
{
	if (!json_is_object(json))
		return place_fail(place, "not an object");
	for (const struct field *field = fields; field->name; field++) {
		const json_t *value = json_object_get(json, field->name);
		size_t mark = place_enter(place, field->name);
		int r = 0;

		if (value)
			r = read_value(place, value, field, base);
		else if (!field->optional)
			r = place_fail(place, "missing");
		if (r < 0)
			return r;
		place_leave(place, mark);
	}
	return 0;
}

/*
 * How much jansson will allocate and how deep it will go, before it does: it builds the whole tree
 * first. False: more than a manifest may take.
 */
static bool is_measured(const char *text, size_t size)
{
	size_t bytes = VALUE_BYTES, depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (in_string) {
			bytes++;
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			bytes += STRING_BYTES;
			in_string = true;
		} else if (c == '[' || c == '{') {
			bytes += VALUE_BYTES + (c == '{' ? OBJECT_BYTES : 0);
			depth++;
		} else if ((c == ']' || c == '}') && depth > 0) {
			depth--;
		} else if (c == ',' || c == ':') {
			bytes += c == ',' ? VALUE_BYTES : MEMBER_BYTES;
		}
		if (depth > DEPTH_MAX || bytes > MANIFEST_MEMORY_MAX)
			return false;
	}
	return true;
}

/* what a snapshot may need of its reader; one that does not know it must not wake it */
#define REQUIRES_PAGES	  "pages" /* content of memory lies in pages.map and pages.dat */
#define REQUIRES_XCOMP	  "xcomp" /* processes get permissions, threads tile configurations back */
#define REQUIRES_SEAL	  "digest" /* so that damage cannot make the digest a member that is absent */
#define REQUIRES_MAPPINGS "mappings" /* protections and locks that CRIU may restore wrongly */

#define REQUIRES_GPU "gpu" /* the driver restores device memory before anything runs */

#define REQUIRES_RECLAIM "reclaim" /* the engine is without memory of its own until it is asked */

static int check_requirement(struct place *place, const json_t *need, size_t i)
{
	if (!json_is_string(need)) {
		(void)place_enter_item(place, i);
		return place_fail(place, "not a string");
	}
	if (strcmp(json_string_value(need), REQUIRES_PAGES) == 0 ||
	    strcmp(json_string_value(need), REQUIRES_XCOMP) == 0 ||
	    strcmp(json_string_value(need), REQUIRES_MAPPINGS) == 0 ||
	    strcmp(json_string_value(need), REQUIRES_GPU) == 0 ||
	    strcmp(json_string_value(need), REQUIRES_RECLAIM) == 0 ||
	    strcmp(json_string_value(need), REQUIRES_SEAL) == 0)
		return 0;
	(void)snap_fail(place->err, SNAP_E_INCOMPATIBLE, 0,
			"manifest requires '%.64s', which this snapinit does not know",
			json_string_value(need));
	return -EPROTONOSUPPORT;
}

/* the schema and the names under "requires" are looked at before anything else */
static int check_readable(struct place *place, const json_t *json)
{
	const json_t *schema = json_object_get(json, "schema");
	const json_t *needs = json_object_get(json, "requires");
	size_t mark;

	if (json_is_integer(schema) && json_integer_value(schema) != MANIFEST_SCHEMA) {
		(void)snap_fail(place->err, SNAP_E_INCOMPATIBLE, 0,
				"manifest schema %" JSON_INTEGER_FORMAT ", this snapinit reads %d",
				json_integer_value(schema), MANIFEST_SCHEMA);
		return -EPROTONOSUPPORT;
	}
	if (!needs)
		return 0;
	mark = place_enter(place, "requires");
	if (!json_is_array(needs))
		return place_fail(place, "not a list");
	for (size_t i = 0; i < json_array_size(needs); i++) {
		int r = check_requirement(place, json_array_get(needs, i), i);

		if (r < 0)
			return r;
	}
	place_leave(place, mark);
	return 0;
}

static bool requires_seal(const json_t *json)
{
	const json_t *needs = json_object_get(json, "requires");

	for (size_t i = 0; i < json_array_size(needs); i++) {
		if (strcmp(json_string_value(json_array_get(needs, i)), REQUIRES_SEAL) == 0)
			return true;
	}
	return false;
}

/* bytes of text in front of the digest's digits; 0 when it is not the last member */
static size_t sealed_bytes(const char *text, size_t size, const char *digits)
{
	static const char blanks[] = " \t\r\n";
	size_t n = strlen(digits);
	int braces = 0;

	while (size > 0 && (strchr(blanks, text[size - 1]) || (text[size - 1] == '}' && !braces)))
		braces += text[--size] == '}';
	if (size < n + 2 || braces == 0 || text[size - 1] != '"' ||
	    memcmp(text + size - 1 - n, digits, n) != 0 || text[size - 2 - n] != '"')
		return 0;
	return size - 1 - n;
}

/*
 * A flipped bit may leave JSON that every rule allows, of another port or another answer. The
 * digest is over the very bytes, for whoever writes a manifest by hand may leave it out.
 */
static int check_seal(struct place *place, const json_t *json, const char *text, size_t size)
{
	const json_t *seal = json_object_get(json, "digest");
	char digits[SEAL_DIGITS + 1], found[SEAL_DIGITS + 1];
	static const struct field field = {.length = SEAL_DIGITS};
	size_t n;
	int r;

	if (!seal && !requires_seal(json))
		return 0;
	(void)place_enter(place, "digest");
	if (!seal)
		return place_fail(place, "missing");
	r = read_hex(place, seal, &field, digits);
	if (r < 0)
		return r;
	n = sealed_bytes(text, size, digits);
	if (n == 0)
		return place_fail(place, "not the last member");
	data_digest(text, n, found);
	if (strcmp(found, digits) == 0)
		return 0;
	return place_fail(place, "%s, but the text has %s: it was changed", digits, found);
}

/* page content elsewhere means that CRIU's images alone would restore zeros */
static int check_pages(struct place *place, const struct manifest *m)
{
	bool has_map = false;

	for (size_t i = 0; i < m->n_images; i++)
		has_map |= strcmp(m->images[i].name, "pages.map") == 0;
	if (has_map == (m->pages_bytes > 0))
		return 0;
	(void)place_enter(place, "pages_bytes");
	if (has_map)
		return place_fail(place, "0, but images name pages.map");
	return place_fail(place, "%" PRIu64 ", but images do not name pages.map", m->pages_bytes);
}

static int check_device_files(struct place *place, const struct manifest *m)
{
	bool has_map = false;

	for (size_t i = 0; i < m->n_images; i++)
		has_map |= strcmp(m->images[i].name, "device.map") == 0;
	if (has_map == manifest_has_device_files(&m->gpu))
		return 0;
	(void)place_enter(place, "gpu.mode");
	return place_fail(place, has_map ? "not storage, but images name device.map"
					 : "storage, but images do not name device.map");
}

static int by_number(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return (x > y) - (x < y);
}

/* entry i of a list is about task id, the one before it about last */
static int check_task(struct place *place, const struct manifest *m, const char *list, size_t i,
		      int32_t last, int32_t id)
{
	bool is_known = m->n_pids > 0 && bsearch(&id, m->pids, m->n_pids, sizeof(id), by_number);

	if (is_known && (i == 0 || id > last))
		return 0;
	(void)place_enter(place, list);
	(void)place_enter_item(place, i);
	if (!is_known)
		return place_fail(place, "%d is not in pids", (int)id);
	return place_fail(place, "not in ascending order");
}

static int check_xcomp(struct place *place, const struct manifest *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_xcomp; i++)
		r = check_task(place, m, "xcomp", i, i > 0 ? m->xcomp[i - 1].pid : 0,
			       m->xcomp[i].pid);
	for (size_t i = 0; r == 0 && i < m->n_tile_configs; i++)
		r = check_task(place, m, "tile_configs", i, i > 0 ? m->tile_configs[i - 1].tid : 0,
			       m->tile_configs[i].tid);
	return r;
}

/* a name twice would be copied over itself */
static int check_images(struct place *place, const struct manifest *m)
{
	for (size_t i = 1; i < m->n_images; i++) {
		if (strcmp(m->images[i - 1].name, m->images[i].name) >= 0) {
			(void)place_enter(place, "images");
			(void)place_enter_item(place, i);
			return place_fail(place, "not in ascending order");
		}
	}
	return 0;
}

static bool are_pages(uint64_t start, uint64_t end)
{
	return start < end && start % PAGE_BYTES == 0 && end % PAGE_BYTES == 0 &&
	       end <= PAGE_MAP_ADDRESS_END;
}

static int check_mapping(struct place *place, const struct manifest *m, size_t i)
{
	const struct manifest_mapping *mapping = &m->mappings[i];
	const struct manifest_mapping *last = &m->mappings[i > 0 ? i - 1 : 0];
	bool same_pid = i > 0 && last->pid == mapping->pid;
	int r = check_task(place, m, "mappings", i, i == 0 || same_pid ? 0 : last->pid,
			   mapping->pid);

	if (r < 0)
		return r;
	if (are_pages(mapping->start, mapping->end) && (!same_pid || mapping->start >= last->end))
		return 0;
	(void)place_enter(place, "mappings");
	(void)place_enter_item(place, i);
	return place_fail(place, "not whole pages in ascending order");
}

static int check_mappings(struct place *place, const struct manifest *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_mappings; i++)
		r = check_mapping(place, m, i);
	return r;
}

static int check_gpu_staging(struct place *place, const struct manifest *m, size_t i)
{
	const struct manifest_gpu_staging *staging = &m->gpu.staging[i];
	const struct manifest_gpu_staging *last = &m->gpu.staging[i > 0 ? i - 1 : 0];
	bool same_pid = i > 0 && last->pid == staging->pid;
	int r = check_task(place, m, "gpu.staging", i, i == 0 || same_pid ? 0 : last->pid,
			   staging->pid);

	if (r < 0)
		return r;
	if (are_pages(staging->start, staging->end) && (!same_pid || staging->start >= last->end))
		return 0;
	(void)place_enter(place, "gpu.staging");
	(void)place_enter_item(place, i);
	return place_fail(place, "not whole pages in ascending order");
}

static int check_gpu(struct place *place, const struct manifest *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->gpu.n_processes; i++)
		r = check_task(place, m, "gpu.processes", i,
			       i > 0 ? m->gpu.processes[i - 1].pid : 0, m->gpu.processes[i].pid);
	for (size_t i = 0; r == 0 && i < m->gpu.n_staging; i++)
		r = check_gpu_staging(place, m, i);
	if (r == 0 && m->gpu.mode && (m->gpu.n_processes == 0 || m->gpu.n_devices == 0)) {
		(void)place_enter(place, "gpu");
		return place_fail(place, "no device or no process");
	}
	return r;
}

static int check_listeners(struct place *place, const struct manifest *m)
{
	for (size_t i = 0; i < m->n_listeners; i++) {
		const struct manifest_listener *listener = &m->listeners[i];
		int family = strchr(listener->protocol, '6') ? AF_INET6 : AF_INET;
		struct in6_addr address;

		if (inet_pton(family, listener->address, &address) != 1) {
			(void)place_enter(place, "listeners");
			(void)place_enter_item(place, i);
			(void)place_enter(place, "address");
			return place_fail(place, "not a numeric %s address", listener->protocol);
		}
	}
	return 0;
}

/* what one field alone cannot say */
static int check_relations(struct place *place, const struct manifest *m)
{
	bool root_listed = false;
	int r;

	if (m->identity.argv.n == 0 || m->identity.argv.items[0][0] == '\0') {
		(void)place_enter(place, "identity.argv");
		return place_fail(place, "names no program");
	}
	for (size_t i = 1; i < m->identity.n_env; i++) {
		if (strcmp(m->identity.env[i - 1].name, m->identity.env[i].name) >= 0) {
			(void)place_enter(place, "identity.env");
			(void)place_enter_item(place, i);
			return place_fail(place, "not in ascending order");
		}
	}
	for (size_t i = 1; i < m->host.cpu_flags.n; i++) {
		if (strcmp(m->host.cpu_flags.items[i - 1], m->host.cpu_flags.items[i]) >= 0) {
			(void)place_enter(place, "host.cpu_flags");
			(void)place_enter_item(place, i);
			return place_fail(place, "not in ascending order");
		}
	}
	r = check_images(place, m);
	if (r == 0)
		r = check_pages(place, m);
	if (r < 0)
		return r;
	for (size_t i = 0; i < m->n_pids; i++)
		root_listed |= m->pids[i] == m->root_pid;
	if (!root_listed) {
		(void)place_enter(place, "root_pid");
		return place_fail(place, "%d is not in pids", (int)m->root_pid);
	}
	r = check_xcomp(place, m);
	if (r == 0)
		r = check_mappings(place, m);
	if (r == 0)
		r = check_gpu(place, m);
	if (r == 0)
		r = check_device_files(place, m);
	return r < 0 ? r : check_listeners(place, m);
}

/* jansson quotes what it read: our messages are one line of plain text */
static void make_printable(char *text)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

int manifest_parse(const char *text, size_t size, struct manifest *ret, struct snap_error *err)
{
	struct place place = {.err = err};
	struct manifest m;
	json_error_t why;
	json_t *json;
	int r;

	if (size > MANIFEST_SIZE_MAX)
		return place_fail(&place, "larger than %u bytes", MANIFEST_SIZE_MAX);
	if (!is_measured(text, size))
		return place_fail(&place, "takes more than %u MiB of memory or %d levels",
				  MANIFEST_MEMORY_MAX >> 20, DEPTH_MAX);
	json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
	if (!json) {
		make_printable(why.text);
		return place_fail(&place, "no JSON: line %d: %s", why.line, why.text);
	}

	manifest_init(&m);
	r = check_readable(&place, json);
	if (r == 0)
		r = read_object(&place, json, manifest_fields, (char *)&m);
	if (r == 0)
		r = check_relations(&place, &m);
	if (r == 0)
		r = check_seal(&place, json, text, size);
	json_decref(json);
	if (r == -ENOMEM)
		(void)snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot read manifest.json");
	if (r < 0) {
		manifest_done(&m);
		return r;
	}
	*ret = m;
	return 0;
}

/* writing; a NULL result of the first failing value ends everything, place names it */

static json_t *write_object(struct place *place, const struct field *fields, const char *base);

static json_t *write_text(const char *text)
{
	return text ? json_string(text) : NULL;
}

static json_t *write_mask(uint64_t value)
{
	char text[20];

	(void)snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_string(text);
}

/* consumes value */
static int write_item(json_t *list, json_t *value)
{
	return json_array_append_new(list, value);
}

static json_t *write_item_of(struct place *place, const struct field *field, const char *base,
			     size_t i)
{
	const void *items = NULL;

	memcpy(&items, base + field->offset, sizeof(items));
	if (field->type == FIELD_STDIO) {
		const char *const *names =
			(const char *const *)(const void *)(base + field->offset);

		return names[i] ? json_string(names[i]) : json_null();
	}
	if (field->type == FIELD_STRINGS)
		return write_text(((const char *const *)items)[i]);
	if (field->type == FIELD_U32S)
		return json_integer((json_int_t)((const uint32_t *)items)[i]);
	if (field->type == FIELD_I32S)
		return json_integer((json_int_t)((const int32_t *)items)[i]);
	return write_object(place, field->fields, (const char *)items + i * field->size);
}

static json_t *write_list(struct place *place, const struct field *field, const char *base)
{
	json_t *list = json_array();
	size_t n = 3;

	if (field->type == FIELD_STRINGS)
		n = ((const struct string_list *)(const void *)(base + field->offset))->n;
	else if (field->type != FIELD_STDIO)
		memcpy(&n, base + field->n_offset, sizeof(n));
	for (size_t i = 0; i < n; i++) {
		size_t mark = place_enter_item(place, i);

		if (write_item(list, write_item_of(place, field, base, i)) < 0) {
			json_decref(list);
			return NULL;
		}
		place_leave(place, mark);
	}
	return list;
}

static json_t *write_value(struct place *place, const struct field *field, const char *base)
{
	const void *source = base + field->offset;

	switch (field->type) {
	case FIELD_STRING:
		return write_text(*(const char *const *)source);
	case FIELD_HEX:
		return write_text(source);
	case FIELD_BOOL:
		return json_boolean(*(const bool *)source);
	case FIELD_U32:
		return json_integer(*(const uint32_t *)source);
	case FIELD_I32:
		return json_integer(*(const int32_t *)source);
	case FIELD_U64:
	case FIELD_I64:
		return json_integer(*(const int64_t *)source);
	case FIELD_MASK:
		return write_mask(*(const uint64_t *)source);
	case FIELD_STRINGS:
	case FIELD_U32S:
	case FIELD_I32S:
	case FIELD_STDIO:
	case FIELD_OBJECTS:
		return write_list(place, field, base);
	case FIELD_OBJECT:
		return write_object(place, field->fields, source);
	case FIELD_TYPE_MAX_:
		break;
	}
	return NULL;
}

static bool is_absent(const struct field *field, const char *base)
{
	const void *source = base + field->offset;

	if (!field->optional)
		return false;
	if (field->type == FIELD_BOOL)
		return !*(const bool *)source;
	if (field->type == FIELD_U32)
		return *(const uint32_t *)source == 0;
	return !*(const char *const *)source;
}

static json_t *write_object(struct place *place, const struct field *fields, const char *base)
{
	json_t *object = json_object();

	for (const struct field *field = fields; field->name; field++) {
		size_t mark = place_enter(place, field->name);

		if (!is_absent(field, base) &&
		    json_object_set_new(object, field->name, write_value(place, field, base)) < 0) {
			json_decref(object);
			return NULL;
		}
		place_leave(place, mark);
	}
	return object;
}

/* a text file ends in a newline, which jansson does not write; consumes text */
static char *add_newline(char *text)
{
	size_t size = strlen(text);
	char *bigger = realloc(text, size + 2);

	if (!bigger) {
		free(text);
		return NULL;
	}
	memcpy(bigger + size, "\n", 2);
	return bigger;
}

static int add_requires(json_t *json, const struct manifest *m)
{
	json_t *needs = json_array();
	int r = 0;

	if (m->pages_bytes > 0)
		r = write_item(needs, json_string(REQUIRES_PAGES));
	if (r == 0 && (m->n_xcomp > 0 || m->n_tile_configs > 0))
		r = write_item(needs, json_string(REQUIRES_XCOMP));
	if (r == 0 && m->n_mappings > 0)
		r = write_item(needs, json_string(REQUIRES_MAPPINGS));
	if (r == 0 && m->gpu.mode)
		r = write_item(needs, json_string(REQUIRES_GPU));
	if (r == 0 && m->reclaim_request)
		r = write_item(needs, json_string(REQUIRES_RECLAIM));
	if (r == 0)
		r = write_item(needs, json_string(REQUIRES_SEAL));
	if (r == 0)
		r = json_object_set(json, "requires", needs);
	json_decref(needs);
	return r;
}

/* the last member, and its value is over all text in front of it */
static int add_seal(json_t *json)
{
	char digits[SEAL_DIGITS + 1];

	(void)snprintf(digits, sizeof(digits), "%0*d", SEAL_DIGITS, 0);
	return json_object_set_new(json, "digest", json_string(digits));
}

static void seal(char *text)
{
	char *digits = strrchr(text, '"') - SEAL_DIGITS, found[SEAL_DIGITS + 1];

	data_digest(text, (size_t)(digits - text), found);
	memcpy(digits, found, SEAL_DIGITS);
}

/* releases json, which may be NULL (no memory) */
static int dump(json_t *json, bool sealed, char **ret_text, size_t *ret_size,
		struct snap_error *err)
{
	char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;

	if (text && strlen(text) >= MANIFEST_SIZE_MAX) {
		free(text);
		text = json_dumps(json, JSON_COMPACT);
	}
	json_decref(json);
	text = text ? add_newline(text) : NULL;
	if (!text)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot write manifest.json");
	if (sealed)
		seal(text);
	*ret_size = strlen(text);
	*ret_text = text;
	return 0;
}

int manifest_format(const struct manifest *m, char **ret_text, size_t *ret_size,
		    struct snap_error *err)
{
	struct place place = {.err = err};
	json_t *json = write_object(&place, manifest_fields, (const char *)m);

	if (!json) {
		(void)snap_fail(err, SNAP_E_INTERNAL, 0, "manifest.json: %s: no UTF-8 text",
				place.text);
		return -EILSEQ;
	}
	if (add_requires(json, m) < 0 || add_seal(json) < 0) {
		json_decref(json);
		json = NULL;
	}
	return dump(json, true, ret_text, ret_size, err);
}

int manifest_rename(const char *text, size_t size, const char *generation, char **ret_text,
		    size_t *ret_size, struct snap_error *err)
{
	json_t *json = json_loadb(text, size, 0, NULL);
	bool sealed = json_object_get(json, "digest") != NULL;

	if (json && (json_object_set_new(json, "generation", json_string(generation)) < 0 ||
		     (sealed && add_seal(json) < 0))) {
		json_decref(json);
		json = NULL;
	}
	return dump(json, sealed, ret_text, ret_size, err);
}
