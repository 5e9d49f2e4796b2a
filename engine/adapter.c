/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/adapter.h"

#include <string.h>

#include "common/cleanup.h"

/* the last one recognises everything */
static const struct engine_adapter *const adapters[] = {
	&adapter_llama_server, &adapter_vllm, &adapter_sglang,
	&adapter_http,	       &adapter_tcp,  &adapter_none,
};

const struct engine_adapter *adapter_find(const struct engine_config *config,
					  struct snap_error *err)
{
	bool is_auto = !config->adapter || strcmp(config->adapter, "auto") == 0;

	for (size_t i = 0; i < ARRAY_LEN(adapters); i++) {
		if (is_auto ? adapters[i]->recognises(config)
			    : strcmp(config->adapter, adapters[i]->name) == 0)
			return adapters[i];
	}
	(void)snap_fail(
		err, SNAP_E_USAGE, EINVAL,
		"engine '%s' is not known: auto, llama-server, vllm, sglang, http, tcp or none",
		config->adapter ? config->adapter : "");
	return NULL;
}
