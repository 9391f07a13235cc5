/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_FIGURES_H
#define MEMMAPFS_CTL_FIGURES_H

/*
 * The statistics object as text. Groups and numbers are printed as they come, so that figures of a newer daemon
 * are shown as well.
 */

#include <jansson.h>
#include <stdio.h>

/** figures_table() - a line a group, for people */
void figures_table(FILE *stream, const char *mount, const json_t *stats);

/**
 * figures_prometheus() - the text exposition format, version 0.0.4, each sample with the label mountpoint
 *
 * See: https://prometheus.io/docs/instrumenting/exposition_formats/
 */
void figures_prometheus(FILE *stream, const char *mount, const json_t *stats);

#endif
