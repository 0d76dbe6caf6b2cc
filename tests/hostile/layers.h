/*
 * Which layers of the confinement are there: see layers.c.
 */
#ifndef HOSTILE_LAYERS_H
#define HOSTILE_LAYERS_H

#include "base/base.h"

bool layer_is_on(const char *name);

#endif
