#pragma once

#include "base/simd/axpy.h"
#include "base/simd/dot.h"
