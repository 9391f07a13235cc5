/* SPDX-License-Identifier: MIT */
/* The frame of every unit test's program: each test in a process of its own, exit status 1 when one failed. */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>

int main(void)
{
	Suite *suite = suite_create(program_invocation_short_name);
	TCase *tests = tcase_create(program_invocation_short_name);
	SRunner *runner = srunner_create(suite);
	int failed;

	add_tests(tests);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
