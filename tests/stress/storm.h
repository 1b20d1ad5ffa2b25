/* One shape of the whole server under load, over loopback: rounds of traffic, each followed by quiet, in
 * which all that was accepted has to arrive. A wake-up that was lost shows there, for nobody sends who
 * would make up for it. Returns the hand-overs. */
#ifndef STRESS_STORM_H
#define STRESS_STORM_H

#include <stdint.h>

#include "shape.h"

uint64_t storm_run(const struct shape *s);

#endif
