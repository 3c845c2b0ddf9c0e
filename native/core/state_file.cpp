#include "core/state_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/hash.h"

namespace flashmoe {
namespace {

struct Header {
    char magic[8];
    uint32_t version, from, to, unused;
    uint64_t key, tokens_before_hash, payload_bytes, payload_hash;
    /// Of the fields before.
    uint64_t header_hash;
};
constexpr char kMagic[8] = {'F', 'M', 'S', 'T', 'A', 'T', 'E', '\n'};
constexpr uint32_t kVersion = 3;
/// Between two looks at whether to stop.
constexpr size_t kPiece = 4u << 20;

uint64_t header_hash(const Header& header) { return hash_bytes(&header, offsetof(Header, header_hash)); }

class Descriptor {
  public:
    Descriptor(const std::string& path, int flags) : path_(path) {
        // Never through a link somebody else put there; never waiting for a pipe.
        value_ = open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (value_ < 0) fail_io();
    }
    ~Descriptor() { close(value_); }
    Descriptor(const Descriptor&) = delete;

    [[noreturn]] void fail_io() const { fail(FM_IO, path_, ": ", std::strerror(errno)); }

    void write_at(const void* data, size_t bytes, uint64_t offset) const {
        for (const auto* at = static_cast<const char*>(data); bytes != 0;) {
            const ssize_t done = pwrite(value_, at, bytes, static_cast<off_t>(offset));
            if (done < 0 && errno == EINTR) continue;
            if (done <= 0) fail_io();
            at += done, offset += static_cast<uint64_t>(done), bytes -= static_cast<size_t>(done);
        }
    }

    void read_at(void* data, size_t bytes, uint64_t offset) const {
        for (auto* at = static_cast<char*>(data); bytes != 0;) {
            const ssize_t done = pread(value_, at, bytes, static_cast<off_t>(offset));
            if (done < 0 && errno == EINTR) continue;
            if (done < 0) fail_io();
            if (done == 0) fail(FM_ENGINE, path_, ": the saved state is cut short");
            at += done, offset += static_cast<uint64_t>(done), bytes -= static_cast<size_t>(done);
        }
    }

    uint64_t size() const {
        struct stat status {};
        if (fstat(value_, &status) != 0) fail_io();
        if (!S_ISREG(status.st_mode)) fail(FM_ENGINE, path_, ": not a regular file");
        return static_cast<uint64_t>(status.st_size);
    }

  private:
    const std::string& path_;
    int value_;
};

/// Goes through [data, data + bytes) in pieces, folding them into a hash; `move` reads or writes a piece at an offset.
class Stream {
  public:
    Stream(uint64_t total, const StateProgress& progress) : total_(total), progress_(progress) {}

    template <typename Move> void pass(std::byte* data, size_t bytes, Move&& move) {
        for (size_t at = 0; at < bytes;) {
            if (progress_ && !progress_(done_, total_)) fail(FM_INTERRUPTED, "stopped on request");
            const size_t piece = std::min(kPiece, bytes - at);
            move(data + at, piece, sizeof(Header) + done_);
            hash_ = hash_bytes(data + at, piece, hash_);
            at += piece, done_ += piece;
        }
    }
    uint64_t hash() const { return hash_; }

  private:
    uint64_t total_, done_ = 0, hash_ = 0;
    const StateProgress& progress_;
};

uint64_t payload_bytes(uint32_t tokens, uint64_t state_bytes) { return tokens * sizeof(int32_t) + state_bytes; }

uint64_t total_bytes(const std::vector<StatePart>& parts) {
    uint64_t bytes = 0;
    for (const StatePart& part : parts) bytes += part.bytes;
    return bytes;
}

uint64_t hash_before(const StateIdentity& identity) {
    return hash_bytes(identity.tokens, identity.from * sizeof(int32_t));
}

std::byte* range_tokens(const StateIdentity& identity) {
    return reinterpret_cast<std::byte*>(const_cast<int32_t*>(identity.tokens + identity.from));
}

} // namespace

uint64_t write_state_file(const std::string& path, const StateIdentity& identity, const std::vector<StatePart>& parts,
                          const StateProgress& progress) {
    const Descriptor file(path, O_WRONLY | O_CREAT | O_EXCL);
    try {
        const uint32_t count = identity.to - identity.from;
        Header header{.magic = {},
                      .version = kVersion,
                      .from = identity.from,
                      .to = identity.to,
                      .unused = 0,
                      .key = identity.key,
                      .tokens_before_hash = hash_before(identity),
                      .payload_bytes = payload_bytes(count, total_bytes(parts)),
                      .payload_hash = 0,
                      .header_hash = 0};
        std::memcpy(header.magic, kMagic, sizeof kMagic);
        const auto write = [&](std::byte* data, size_t bytes, uint64_t offset) { file.write_at(data, bytes, offset); };
        Stream stream(header.payload_bytes, progress);
        stream.pass(range_tokens(identity), count * sizeof(int32_t), write);
        for (const StatePart& part : parts) stream.pass(part.data, part.bytes, write);
        header.payload_hash = stream.hash();
        header.header_hash = header_hash(header);
        file.write_at(&header, sizeof header, 0);
        return sizeof header + header.payload_bytes;
    } catch (...) {
        unlink(path.c_str());
        throw;
    }
}

void read_state_file(const std::string& path, const StateIdentity& identity, uint32_t known,
                     const std::vector<StatePart>& parts, const std::function<void()>& begins,
                     const StateProgress& progress) {
    const Descriptor file(path, O_RDONLY);
    const uint64_t size = file.size();
    Header header;
    if (size < sizeof header) fail(FM_ENGINE, path, ": the saved state is cut short");
    file.read_at(&header, sizeof header, 0);
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.version != kVersion) {
        fail(FM_ENGINE, path, ": no saved state of this version");
    }
    if (header.header_hash != header_hash(header)) fail(FM_ENGINE, path, ": the saved state is damaged");
    if (header.key != identity.key) {
        fail(FM_ENGINE, path, ": the saved state is of another model, quantisation, top-k or program");
    }
    const uint32_t count = identity.to - identity.from, wanted = std::min(identity.to, known) - identity.from;
    // Of planes the parts have only the wanted rows, and as many bytes of each row as the file.
    const uint64_t bytes = count == wanted ? total_bytes(parts) : total_bytes(parts) / wanted * count;
    const uint64_t expected = payload_bytes(count, bytes);
    if (header.from != identity.from || header.to != identity.to || header.payload_bytes != expected ||
        size != sizeof header + expected || header.tokens_before_hash != hash_before(identity)) {
        fail(FM_ENGINE, path, ": the saved state is of other tokens, or damaged");
    }
    Stream stream(expected, progress);
    std::vector<int32_t> tokens(count);
    const auto read = [&](std::byte* data, size_t piece, uint64_t offset) { file.read_at(data, piece, offset); };
    stream.pass(reinterpret_cast<std::byte*>(tokens.data()), count * sizeof(int32_t), read);
    if (!std::equal(tokens.begin(), tokens.begin() + wanted, identity.tokens + identity.from)) {
        fail(FM_ENGINE, path, ": the saved state is of other tokens, or damaged");
    }
    begins();
    std::vector<std::byte> rows;
    for (const StatePart& part : parts) {
        if (count == wanted) {
            stream.pass(part.data, part.bytes, read);
            continue;
        }
        rows.resize(part.bytes / wanted * count);
        stream.pass(rows.data(), rows.size(), read);
        std::copy_n(rows.begin(), part.bytes, part.data);
    }
    if (stream.hash() != header.payload_hash) fail(FM_ENGINE, path, ": the saved state is damaged");
}

} // namespace flashmoe
