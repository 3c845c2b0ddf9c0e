// The gated delta net as dispatches.
#include "backend/metal/metal_backend.h"

#include <iterator>

#include "../../../metal/args.h"
#include "core/error.h"

namespace flashmoe::metal {

void MetalBackend::delta_net(const DeltaNet& op) {
    const uint32_t channels = 2 * op.key_heads * op.key_dim + op.value_heads * op.value_dim;
    if (op.conv_kernel < kFewestTaps || op.conv_kernel - kFewestTaps >= std::size(kernels_.delta_conv)) {
        fail(FM_ENGINE, "a convolution over ", op.conv_kernel, " tokens");
    }
    const uint32_t values = op.key_dim <= 32 ? 1 : op.key_dim <= 64 ? 2 : op.key_dim <= 128 ? 4 : 8;
    if (op.key_dim > 256 || op.key_dim % values != 0) {
        fail(FM_ENGINE, "key_dim ", op.key_dim, ": the Metal delta net takes up to 256, a multiple of ", values);
    }
    const FmDeltaConvArgs conv{channels, op.tokens};
    const FmDeltaStepArgs step{op.key_heads, op.value_heads, op.key_dim, op.value_dim, op.tokens, op.qk_norm_eps, op.norm_eps};
    recorder_.begin(kernels_.delta_conv[op.conv_kernel - kFewestTaps]);
    recorder_.bind(0, op.qkv);
    recorder_.bind(1, op.conv);
    recorder_.bind(2, op.history);
    recorder_.bytes(3, conv);
    recorder_.dispatch({groups_of(channels, kThreads), 1, 1}, kThreads);
    recorder_.begin(values == 1   ? kernels_.delta_step_32
          : values == 2 ? kernels_.delta_step_64
          : values == 4 ? kernels_.delta_step_128
                        : kernels_.delta_step_256);
    recorder_.bind(0, op.qkv);
    recorder_.bind(1, op.a);
    recorder_.bind(2, op.b);
    recorder_.bind(3, op.a_log);
    recorder_.bind(4, op.dt_bias);
    recorder_.bind(5, op.state);
    recorder_.bind(6, op.out);
    recorder_.bytes(7, step);
    recorder_.dispatch({groups_of(op.value_dim, 4 * kSimds), op.value_heads, 1}, kThreads);
    recorder_.begin(kernels_.gated_norm);
    recorder_.bind(0, op.out);
    recorder_.bind(1, op.z);
    recorder_.bind(2, op.norm);
    recorder_.bytes(3, step);
    recorder_.dispatch({op.value_heads, op.tokens, 1}, kSimd);
}

} // namespace flashmoe::metal
