/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/config_file.h"
#include "common/init_options.h"

#include "tests/fuzz/fuzz_target.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* what a table may rely on */
static void check_line(const struct config_file *config, unsigned int i, size_t size)
{
	const struct config_line *line = &config->lines[i];
	const char *end = config->text + size;
	size_t n = strlen(line->value);

	FUZZ_CHECK(line->key >= config->text && line->key < line->value && line->value < end);
	FUZZ_CHECK(line->key[0] != '\0' && n > 0);
	FUZZ_CHECK(line->value + n <= end);
	FUZZ_CHECK(!is_blank(line->value[0]) && !is_blank(line->value[n - 1]));
	FUZZ_CHECK(i == 0 || line->number > config->lines[i - 1].number);
	FUZZ_CHECK(strpbrk(line->value, "\n\r\x1b") == NULL);
}

static void check_mistake(const struct snap_error *err)
{
	FUZZ_CHECK(err->code == SNAP_E_USAGE);
	FUZZ_CHECK(strncmp(err->msg, "FILE:", 5) == 0);
	FUZZ_CHECK(strchr(err->msg, '\n') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config_file config = {.path = "FILE"};
	static struct init_options target;
	struct snap_error err = {.code = SNAP_OK};
	struct options options;
	int r;

	if (size > CONFIG_SIZE_MAX)
		size = CONFIG_SIZE_MAX;
	memset(config.text, 0x55, sizeof(config.text));
	if (size > 0)
		memcpy(config.text, data, size);
	r = config_file_parse(&config, size, &err);
	FUZZ_CHECK(r == 0 || r == -EINVAL);
	if (r < 0) {
		check_mistake(&err);
		return 0;
	}
	FUZZ_CHECK(config.n <= CONFIG_LINES_MAX);
	for (unsigned int i = 0; i < config.n; i++)
		check_line(&config, i, size);

	memset(&target, 0, sizeof(target));
	options_init(&options, init_options_table, &target);
	r = options_take_config(&options, &config, NULL, &err);
	FUZZ_CHECK(r == 0 || r == -EINVAL);
	if (r < 0)
		check_mistake(&err);
	FUZZ_CHECK(target.include.n <= OPTION_LIST_MAX && target.accept.n <= OPTION_LIST_MAX);
	FUZZ_CHECK(!target.help && target.verbose == 0 && !target.exit_when_ready);
	return 0;
}
