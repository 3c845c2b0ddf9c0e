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
    std::vector<std::filesystem::path> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
        if (entry.path().extension() == ".metal") files.push_back(entry.path());
    }
    if (error || files.empty()) fail(FM_ENGINE, folder, ": holds no Metal kernels");
    std::sort(files.begin(), files.end());
    files.insert(files.begin(), {std::filesystem::path(folder) / "args.h", std::filesystem::path(folder) / "common.h"});
    std::string program;
    for (const auto& path : files) append(program, path);
    return program;
}

} // namespace flashmoe::metal
