/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "common/init_options.h"
#include "common/parse.h"
#include "engine/address.h"

#include "tests/fuzz/fuzz_target.h"

/*
 * Words of a command line. Numbers that are read print as the same; an address that is read is
 * printed and read again; the words, parted by newlines, are a command line of snapinit's.
 */

#define WORDS_MAX 64

static void read_numbers(const char *text)
{
	uint64_t number, ms, bytes;
	int small;
	char again[24];

	if (parse_u64(text, &number) == 0) {
		(void)snprintf(again, sizeof(again), "%llu", (unsigned long long)number);
		FUZZ_CHECK(strcmp(text + strspn(text, "0"), again) == 0 || number == 0);
	}
	if (parse_int(text, -5, 5, &small) == 0)
		FUZZ_CHECK(small >= -5 && small <= 5);
	if (parse_signal(text, &small) == 0)
		FUZZ_CHECK(small > 0 && small <= 64);
	(void)parse_duration_ms(text, &ms);
	(void)parse_size(text, &bytes);
}

static void read_address(const char *text)
{
	char host[ADDRESS_HOST_MAX], same[ADDRESS_HOST_MAX], printed[ADDRESS_TEXT_MAX];
	struct snap_error err = {0};
	int port, again;

	if (address_parse(text, strlen(text), 80, host, &port, &err) < 0) {
		FUZZ_CHECK(err.msg[0]);
		return;
	}
	FUZZ_CHECK(port > 0 && port < 65536);
	address_format(host, port, printed);
	FUZZ_CHECK(address_parse(printed, strlen(printed), 80, same, &again, NULL) == 0);
	FUZZ_CHECK(port == again && strcmp(host, same) == 0);
}

static void read_options(char *text)
{
	char program[] = "snapinit", *argv[WORDS_MAX + 2] = {program}, *save = NULL;
	struct init_options options;
	struct snap_error err = {0};
	int argc = 1;

	for (char *word = strtok_r(text, "\n", &save); word && argc <= WORDS_MAX;
	     word = strtok_r(NULL, "\n", &save))
		argv[argc++] = word;
	if (init_options_parse(&options, argc, argv, &err) < 0)
		FUZZ_CHECK(err.code == SNAP_E_USAGE && err.msg[0]);
	else
		FUZZ_CHECK(options.help || options.version || options.license || options.pause ||
			   options.argv[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	read_numbers(text);
	read_address(text);
	read_options(text);
	free(text);
	return 0;
}
