// What both the fuzzer and the mutation test do with bytes that somebody sent: read them as either manifest.
#pragma once

#include <string>

#include "core/manifest.h"

/// True when the text is a manifest; false when it was refused as one should be. Anything else is the finding.
inline bool read_manifest(const std::string& text) {
    bool any = false;
    const auto attempt = [&](auto&& parse) {
        try {
            parse(text, "fuzz");
            any = true;
        } catch (const flashmoe::Error& error) {
            if (error.status() != FM_MODEL_DAMAGED && error.status() != FM_UNSUPPORTED_MODEL) throw;
        }
    };
    attempt(flashmoe::parse_dense_manifest);
    attempt(flashmoe::parse_experts_manifest);
    return any;
}
