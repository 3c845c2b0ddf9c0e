#include "backend/metal/kernel_source.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "core/error.h"

namespace flashmoe::metal {
namespace {

void append(std::string& program, const std::filesystem::path& path) {
    std::ifstream file(path);
    if (!file) fail(FM_ENGINE, path.string(), ": the Metal kernels are not where the engine was installed");
    program += "#line 1 \"" + path.filename().string() + "\"\n";
    for (std::string line; std::getline(file, line);) {
        // An empty line in its place keeps the numbers.
        if (line.rfind("#include \"", 0) != 0) program += line;
        program += '\n';
    }
}

} // namespace

std::string kernel_source(const std::string& folder) {
    // Headers first: args.h and common.h, which the others need, and then those.
    const auto rank = [](const std::filesystem::path& path) {
        return path.filename() == "args.h" ? 0 : path.filename() == "common.h" ? 1 : path.extension() == ".h" ? 2 : 3;
    };
    std::vector<std::filesystem::path> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
        if (entry.path().extension() == ".metal" || entry.path().extension() == ".h") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end(), [&](const auto& a, const auto& b) { return std::pair(rank(a), a) < std::pair(rank(b), b); });
    if (error || files.empty() || rank(files.front()) != 0 || rank(files.back()) != 3) {
        fail(FM_ENGINE, folder, ": holds no Metal kernels");
    }
    std::string program;
    for (const auto& path : files) append(program, path);
    return program;
}

} // namespace flashmoe::metal
