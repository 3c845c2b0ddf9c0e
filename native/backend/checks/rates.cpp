#include "backend/checks/rates.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>

#include "core/file.h"
#include "core/memory.h"
#include "core/random.h"
#include "core/wrapped_buffer.h"

#if defined(__APPLE__)
#include <mach/mach.h>
#endif

namespace flashmoe::checks {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kGroup = 64;
/// The largest of the matrices and room to move it.
constexpr size_t kLeastMemory = size_t{192} << 20;
constexpr uint32_t kChains = 5, kMostCalls = 4096;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Memory that a backend knows, every 32-bit word of it set.
class Filled {
  public:
    Filled(Backend& backend, size_t bytes, const std::function<uint32_t()>& word)
        : memory_(bytes), buffer_(backend, memory_.data(), memory_.size()) {
        auto* words = reinterpret_cast<uint32_t*>(memory_.data());
        for (size_t i = 0; i < bytes / 4; ++i) words[i] = word();
    }
    Span span(size_t offset = 0) const { return buffer_.span(offset); }

  private:
    PageMemory memory_;
    WrappedBuffer buffer_;
};

class Measurement {
  public:
    Measurement(Backend& backend, size_t memory, double seconds)
        : backend_(backend), seconds_(seconds), codes_bytes_(memory), codes_(backend, memory, [this] { return plain_word(); }),
          // Two bf16 of 0.01, and one f32 of the same: nothing overflows, nothing is denormal.
          scales_(backend, memory / 8, [] { return 0x3c243c24u; }), floats_(backend, 16 << 20, [] { return 0x3c23d70au; }),
          out_(backend, 16 << 20, [] { return 0u; }) {}

    Rates take() {
        linear("lm_head, 4-bit 65536x4096", 65536, 4096, 4);
        linear("4-bit 12288x4096", 12288, 4096, 4);
        linear("4-bit 4096x4096", 4096, 4096, 4);
        linear("8-bit 4096x4096", 4096, 4096, 8);
        linear("2-bit 4096x4096", 4096, 4096, 2);
        linear("bf16 4096x4096", 4096, 4096, 0);
        linear("4-bit 4096x4096, 64 tokens", 4096, 4096, 4, 64);
        experts("8 experts of 768x2048, 4-bit", 2048, 768, 4);
        experts("8 experts of 768x2048, 2-bit", 2048, 768, 2);
        attention("attention, 32/4 heads of 128, 8192 keys", 32, 4, 128, 8192);
        rates_.wait_seconds = wait();
        return std::move(rates_);
    }

  private:
    /// Two bf16 between 1e-19 and 2: none of them denormal, which processors are slow with.
    uint32_t plain_word() { return (static_cast<uint32_t>(random_.next()) & 0x3fff3fffu) | 0x20002000u; }

    Matrix matrix(uint32_t rows, uint32_t cols, uint32_t bits, size_t& at) const {
        Matrix made{.weight = {}, .scales = {}, .biases = {}, .rows = rows, .cols = cols, .bits = bits, .group = bits == 0 ? 0 : kGroup};
        const size_t bytes = rows * made.row_bytes();
        if (at + bytes > codes_bytes_) at = 0;
        made.weight = codes_.span(at);
        at += round_up(bytes, 256);
        // The same scales for every one of a chain's matrices would stay in a cache: they move along with the codes.
        const size_t scale_bytes = bits == 0 ? 0 : rows * made.groups() * 2;
        const size_t place = (at / 16 / 256 * 256) % std::max<size_t>(1, codes_bytes_ / 8 - 2 * scale_bytes);
        made.scales = scales_.span(place / 16 * 16);
        made.biases = scales_.span(place / 16 * 16 + scale_bytes);
        return made;
    }
    static double bytes_of(const Matrix& one) { return static_cast<double>(one.rows * (one.row_bytes() + one.groups() * 4)); }

    void linear(const char* name, uint32_t rows, uint32_t cols, uint32_t bits, uint32_t tokens = 1) {
        size_t at = 0;
        const double bytes = bytes_of(matrix(rows, cols, bits, at)) + tokens * 4.0 * (rows + cols);
        time(name, bytes, [&] { backend_.linear(matrix(rows, cols, bits, at), floats_.span(), out_.span(), tokens); });
    }

    void experts(const char* name, uint32_t hidden, uint32_t width, uint32_t bits) {
        constexpr uint32_t kExperts = 8;
        const uint32_t rows[kExperts] = {};
        uint32_t places[kExperts];
        float weights[kExperts];
        for (uint32_t e = 0; e < kExperts; ++e) {
            places[e] = e;
            weights[e] = 0.125f;
        }
        size_t at = 0;
        std::vector<ExpertWork> works(kExperts);
        const auto draw = [&] {
            double bytes = 0;
            for (uint32_t e = 0; e < kExperts; ++e) {
                works[e] = {matrix(width, hidden, bits, at), matrix(width, hidden, bits, at), matrix(hidden, width, bits, at), e, 1};
                bytes += bytes_of(works[e].gate) + bytes_of(works[e].up) + bytes_of(works[e].down);
            }
            return bytes;
        };
        time(name, draw(), [&] {
            draw();
            backend_.experts({.works = works.data(), .count = kExperts, .tokens = rows, .weights = weights, .x = floats_.span(), .results = out_.span(1 << 20), .first_row = 0});
            backend_.add_experts({rows, places, kExperts, out_.span(1 << 20), out_.span(), hidden});
        });
    }

    void attention(const char* name, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t keys) {
        const size_t codes = size_t{keys} * kv_heads * dim * 2, scales = size_t{keys} * kv_heads * 4;
        size_t at = 0;
        const auto cache = [&] {
            if (at + codes > codes_bytes_) at = 0;
            const KvCache made{codes_.span(at), floats_.span(0)};
            at += codes;
            return made;
        };
        time(name, 2.0 * static_cast<double>(codes + scales), [&] {
            const KvCache k = cache(), v = cache();
            backend_.gqa_attend({.q = floats_.span(), .q_stride = dim, .gated = false, .k_cache = k, .v_cache = v, .out = out_.span(), .heads = heads, .kv_heads = kv_heads, .head_dim = dim, .scale = 0.01f, .position = keys - 1, .tokens = 1});
        });
    }

    double wait() {
        std::vector<double> rounds;
        for (int round = 0; round < 64; ++round) {
            const Clock::time_point start = Clock::now();
            backend_.add(out_.span(), floats_.span(), 64);
            backend_.wait();
            rounds.push_back(seconds_since(start));
        }
        return median(rounds);
    }

    void time(const char* name, double bytes, const std::function<void()>& call) {
        // One call to have the kernel ready and to see how many fill the time.
        call();
        backend_.wait();
        Clock::time_point start = Clock::now();
        call();
        backend_.wait();
        const double one = std::max(seconds_since(start), 1e-6);
        const auto calls = static_cast<uint32_t>(std::clamp(seconds_ / kChains / one, 1.0, static_cast<double>(kMostCalls)));
        std::vector<double> rounds, device;
        for (uint32_t chain = 0; chain < kChains; ++chain) {
            const double before = backend_.counters().device_seconds;
            start = Clock::now();
            for (uint32_t i = 0; i < calls; ++i) call();
            backend_.wait();
            rounds.push_back(seconds_since(start) / calls);
            device.push_back((backend_.counters().device_seconds - before) / calls);
        }
        rates_.operations.push_back({name, bytes, median(rounds), median(device)});
    }

    static double median(std::vector<double>& values) {
        std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
        return values[values.size() / 2];
    }

    Backend& backend_;
    double seconds_;
    Random random_{1};
    size_t codes_bytes_;
    Filled codes_, scales_, floats_, out_;
    Rates rates_;
};

/// Every byte of a buffer goes through the device once: a product with an unquantised matrix that it is.
void read_all(Backend& backend, Span data, size_t bytes) {
    constexpr uint32_t kCols = 4096;
    const auto rows = static_cast<uint32_t>(bytes / 4 / kCols);
    const Filled x(backend, kCols * 4, [] { return 0u; }), y(backend, round_up(size_t{rows} * 4, kPage), [] { return 0u; });
    backend.linear({.weight = data, .scales = {}, .biases = {}, .rows = rows, .cols = kCols, .bits = 0, .group = 0, .type = ElementType::f32}, x.span(), y.span(), 1);
    backend.wait();
}

} // namespace

Rates measure_rates(Backend& backend, size_t memory, double seconds) {
    if (memory < kLeastMemory) fail(FM_ENGINE, "measuring takes ", kLeastMemory, " bytes at least, given are ", memory);
    return Measurement(backend, memory, seconds).take();
}

double wired_bytes() {
#if defined(__APPLE__)
    vm_statistics64_data_t facts;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&facts), &count) != KERN_SUCCESS) return -1;
    return static_cast<double>(facts.wire_count) * static_cast<double>(vm_kernel_page_size);
#else
    return -1;
#endif
}

WiredGrowth measure_wired(Backend& backend, const std::string& path) {
    WiredGrowth growth;
    const ModelFile file(path);
    const size_t bytes = file.size() / kPage * kPage;
    {
        const MappedFile mapped(file);
        const double before = wired_bytes();
        const WrappedBuffer buffer(backend, mapped.data(), bytes);
        read_all(backend, buffer.span(), bytes);
        growth.mapped_file = wired_bytes() - before;
    }
    const double before = wired_bytes();
    const Filled allocated(backend, bytes, [] { return 0u; });
    read_all(backend, allocated.span(), bytes);
    growth.allocated = wired_bytes() - before;
    return growth;
}

} // namespace flashmoe::checks
