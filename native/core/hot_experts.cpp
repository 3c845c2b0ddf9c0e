#include "core/hot_experts.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <sstream>

#include "core/file.h"

namespace flashmoe {
namespace {

std::string first_line(uint64_t fingerprint) {
    char line[64];
    std::snprintf(line, sizeof line, "flashmoe-hot-experts 1 %016" PRIx64, fingerprint);
    return line;
}

} // namespace

void write_hot_experts(const std::string& path, uint64_t fingerprint, const std::vector<ExpertName>& experts) {
    const std::string partial = path + ".partial";
    std::FILE* file = std::fopen(partial.c_str(), "w");
    if (file == nullptr) fail(FM_IO, partial, ": ", std::strerror(errno));
    bool written = std::fprintf(file, "%s\n", first_line(fingerprint).c_str()) > 0;
    for (const ExpertName& name : experts) written &= std::fprintf(file, "%u %u\n", name.layer, name.expert) > 0;
    written &= std::fclose(file) == 0;
    if (!written || std::rename(partial.c_str(), path.c_str()) != 0) {
        const int reason = errno;
        std::remove(partial.c_str());
        fail(FM_IO, path, ": was not written: ", std::strerror(reason));
    }
}

std::vector<ExpertName> read_hot_experts(const std::string& path, uint64_t fingerprint) {
    std::vector<ExpertName> experts;
    try {
        std::istringstream text(read_text(path, 2 << 20));
        std::string line;
        if (!std::getline(text, line) || line != first_line(fingerprint)) return {};
        ExpertName name{};
        while (experts.size() < kMostHot && text >> name.layer >> name.expert) experts.push_back(name);
    } catch (const Error&) {
        return {};
    }
    return experts;
}

} // namespace flashmoe
