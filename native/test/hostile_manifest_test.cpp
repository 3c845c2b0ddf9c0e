// Manifests as a hostile or failing disk would have them: sound ones, mutated by a fixed sequence of random numbers. Run
// under ASan and UBSan by `make sanitized`; native/fuzz goes further where there is time.
#include <string>

#include "core/random.h"
#include "fuzz/read_manifest.h"
#include "test/harness.h"
#include "test/tiny_model.h"

namespace {

constexpr const char* kPieces[] = {"0",    "-1",   "1e300", "4294967296", "18446744073709551616", "null", "[]", "{}",
                                   "\"\"", "true", "\\",  "\"",         ",",                    "[[[[", "}",  "\xff"};

std::string mutated(std::string text, flashmoe::Random& random) {
    const auto below = [&](size_t limit) { return static_cast<size_t>(random.next() % limit); };
    for (size_t changes = 1 + below(3); changes > 0 && !text.empty(); --changes) {
        const size_t at = below(text.size());
        const size_t length = std::min(text.size() - at, 1 + below(12));
        switch (below(6)) {
        case 0: text[at] = static_cast<char>(text[at] ^ (1 << below(8))); break;
        case 1: text.erase(at, length); break;
        case 2: text.insert(at, text.substr(below(text.size()), length)); break;
        case 3: text.replace(at, length, kPieces[below(std::size(kPieces))]); break;
        case 4: text.resize(at); break;
        default: {
            // A number of the file for another.
            const size_t digit = text.find_first_of("0123456789", at);
            if (digit == std::string::npos) break;
            const size_t end = text.find_first_not_of("0123456789", digit);
            text.replace(digit, end - digit, kPieces[below(5)]);
        }
        }
    }
    return text;
}

} // namespace

TEST("mutated manifests are read or refused, and nothing else") {
    const TinyModel model;
    flashmoe::Random random(20);
    size_t read = 0, refused = 0;
    for (const char* name : {"model_weights.json", "layout.json"}) {
        const std::string sound = model.read(name);
        EXPECT(read_manifest(sound));
        for (int i = 0; i < 1500; ++i) ++(read_manifest(mutated(sound, random)) ? read : refused);
    }
    // Some changes change nothing that matters; most must be noticed.
    EXPECT(refused > 1500);
    EXPECT(read > 10);
}
