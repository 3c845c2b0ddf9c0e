// The text of all kernels as one program, for a compiler that opens no files of ours.
#pragma once

#include <string>

namespace flashmoe::metal {

/// args.h, common.h and every .metal file of `folder`, in the order of their names, without the #include lines that
/// name one of ours; #line directives let the compiler's messages name file and line. Throws FM_ENGINE naming
/// what isn't there.
std::string kernel_source(const std::string& folder);

} // namespace flashmoe::metal
