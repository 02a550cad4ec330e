#pragma once
/// Attention over the kept sets that tau and jcut describe.

#include "kernels/attention/attention.h"

namespace pivot::attention {

/// Rows of a block of masked_forward.
inline constexpr int kForwardRows = 64;

/// Fills a.out, a.lse and, where present, a.lse_visible and a.entropy, from a.tau and a.jcut; adds
/// to a.nan_rows. BF16, D = 64 or 128.
void masked_forward(const AttentionForward& a, Context& ctx);

}  // namespace pivot::attention
