/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/figures.h"
#include "util.h"

enum ctl_status ctl_stats(const char *const *options, char **operands, int count)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(free_pointer) char *mount = NULL;
	json_t *stats;

	(void)count;
	if ((options[0] != NULL) + (options[1] != NULL) + (options[2] != NULL) > 1)
		return ctl_usage_error("--json, --prometheus and --reset exclude each other");
	if (client_open(operands[0], CLIENT_ROOT, &client) < 0)
		return CTL_FAILED;
	if (options[2] != NULL)
		return client_run(&client, "stats", "reset") < 0 ? CTL_FAILED : CTL_DONE;
	if (client_ask(&client, "stats", NULL, &stats) < 0)
		return CTL_FAILED;
	if (options[0] != NULL)
		return ctl_print_json(stats);
	mount = realpath(operands[0], NULL);
	if (options[1] != NULL)
		figures_prometheus(stdout, mount == NULL ? operands[0] : mount, stats);
	else
		figures_table(stdout, mount == NULL ? operands[0] : mount, stats);
	json_decref(stats);
	return CTL_DONE;
}
