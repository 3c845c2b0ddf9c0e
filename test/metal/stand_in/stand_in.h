// What tests ask the stand-in for Metal.
#pragma once

#include "executor/executor.h"

/// Metal objects that nobody has released.
int fm_stand_in_live();
void fm_stand_in_schedule(fm_msl::Schedule schedule);
