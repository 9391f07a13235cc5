/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/figures.h"
#include "ctl/top_view.h"
#include "unit.h"
#include "util.h"

static char *render(void (*print)(FILE *, const char *, const json_t *), const char *mount, json_t *stats)
{
	char *text;
	size_t length;
	FILE *stream = open_memstream(&text, &length);

	print(stream, mount, stats);
	fclose(stream);
	json_decref(stats);
	return text;
}

/* Bytes as people read them, groups a line each. */
START_TEST(the_table_has_a_line_for_each_group)
{
	CLEANUP(free_pointer)
	char *text = render(figures_table, "/m",
			    json_pack("{ss s{ss ss} si s{si si}}", "version", "1", "options", "mode", "rw",
				      "sync", "never", "uptime_s", 61, "io", "reads", 3, "read_bytes", 2048));

	ck_assert_str_eq(text, "mount       /m\n"
			       "version     1\n"
			       "options     mode=rw sync=never\n"
			       "uptime      1:01\n"
			       "io          reads 3, read_bytes 2.0 KiB\n");
}
END_TEST

/* Lines stay within 80 columns. */
START_TEST(long_groups_of_the_table_are_folded)
{
	json_t *group = json_object(), *stats = json_object();
	char key[24];

	for (int i = 0; i < 40; i++) {
		snprintf(key, sizeof(key), "number_%d", i);
		json_object_set_new(group, key, json_integer(i));
	}
	json_object_set_new(stats, "group", group);
	CLEANUP(free_pointer) char *text = render(figures_table, "/m", stats);
	for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
		ck_assert_uint_lt(strlen(line), 80);
}
END_TEST

/* Counters end in _total and say so; what is not known is a gauge; labels are escaped. */
START_TEST(the_prometheus_text_names_types_and_escapes_labels)
{
	CLEANUP(free_pointer)
	char *text = render(figures_prometheus, "/m\"\\\n",
			    json_pack("{ss s{ss ss} si s{si} s{si}}", "version", "1", "options", "mode", "rw",
				      "sync", "never", "uptime_s", 61, "io", "reads", 3, "new-group",
				      "some.value", 7));

	ck_assert_str_eq(text, "# HELP memmapfs_info What serves the mount, and how.\n"
			       "# TYPE memmapfs_info gauge\n"
			       "memmapfs_info{mountpoint=\"/m\\\"\\\\\\n\",version=\"1\",mode=\"rw\","
			       "sync=\"never\"} 1\n"
			       "# HELP memmapfs_uptime_seconds Time since the mount began to serve.\n"
			       "# TYPE memmapfs_uptime_seconds gauge\n"
			       "memmapfs_uptime_seconds{mountpoint=\"/m\\\"\\\\\\n\"} 61\n"
			       "# HELP memmapfs_io_reads_total Read requests.\n"
			       "# TYPE memmapfs_io_reads_total counter\n"
			       "memmapfs_io_reads_total{mountpoint=\"/m\\\"\\\\\\n\"} 3\n"
			       "# TYPE memmapfs_new_group_some_value gauge\n"
			       "memmapfs_new_group_some_value{mountpoint=\"/m\\\"\\\\\\n\"} 7\n");
}
END_TEST

static struct top_sample sample_of(int reads)
{
	return (struct top_sample){
		.seconds = 2,
		.stats = json_pack("{si s{si si si si}}", "uptime_s", 60, "io", "reads", reads, "read_bytes",
				   reads * 4096, "writes", 0, "write_bytes", 0),
		.files = json_pack("{si s[{ss si si si}]}", "files", 1, "rows", "path",
				   "a/path/that/is/longer/than/what/there/is/room/for", "rate", 2048,
				   "mapped", 4096, "open", 1),
	};
}

/* Every line fits the terminal it is made for, however narrow. */
START_TEST(lines_of_top_are_never_wider_than_the_terminal)
{
	struct top_sample sample = sample_of(1);

	for (size_t columns = 1; columns < 120; columns++) {
		for (unsigned i = 0; i < TOP_HEADER_LINES; i++) {
			CLEANUP(free_pointer) char *text = top_header("/mnt", &sample, NULL, i, columns);

			ck_assert_uint_le(strlen(text), columns);
		}
		CLEANUP(free_pointer) char *titles = top_titles("io", columns);
		CLEANUP(free_pointer) char *row = top_row(&sample, 0, columns);
		ck_assert_uint_le(strlen(titles), columns);
		ck_assert_uint_le(strlen(row), columns);
	}
	ck_assert_ptr_null(top_row(&sample, 1, 80));
	json_decref(sample.stats);
	json_decref(sample.files);
}
END_TEST

/* Between two looks counters become rates; a reset in between shows no nonsense. */
START_TEST(rates_of_top_come_from_two_samples)
{
	struct top_sample before = sample_of(10), now = sample_of(30);
	CLEANUP(free_pointer) char *first = top_header("/m", &now, NULL, 1, 80);
	CLEANUP(free_pointer) char *grown = top_header("/m", &now, &before, 1, 80);
	CLEANUP(free_pointer) char *reset = top_header("/m", &before, &now, 1, 80);

	ck_assert_str_eq(first, "so far: 30 reads, 120 KiB; 0 writes, 0 B");
	ck_assert_str_eq(grown, "a second: 10 reads, 40.0 KiB; 0 writes, 0 B");
	ck_assert_str_eq(reset, "a second: 0 reads, 0 B; 0 writes, 0 B");
	json_decref(before.stats);
	json_decref(before.files);
	json_decref(now.stats);
	json_decref(now.files);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, the_table_has_a_line_for_each_group);
	tcase_add_test(tests, long_groups_of_the_table_are_folded);
	tcase_add_test(tests, the_prometheus_text_names_types_and_escapes_labels);
	tcase_add_test(tests, lines_of_top_are_never_wider_than_the_terminal);
	tcase_add_test(tests, rates_of_top_come_from_two_samples);
}
