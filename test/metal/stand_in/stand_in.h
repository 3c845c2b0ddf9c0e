// What tests ask the stand-in for Metal.
#pragma once

#include "device/executed_device.h"

/// Metal objects that nobody has released.
int fm_stand_in_live();
void fm_stand_in_options(const fm_msl::ExecutedOptions &options);
