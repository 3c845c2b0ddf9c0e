// The C API: translates handles, options and exceptions. Nothing is decided here.
#include "flashmoe.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "backend/checks/checker.h"
#include "backend/checks/rates.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/fast_kernels.h"
#include "backend/cpu/self_test.h"
#include "backend/metal/kernel_source.h"
#include "backend/metal/metal_backend.h"
#include "core/session.h"

using flashmoe::Engine;
using flashmoe::Error;
using flashmoe::Session;

struct fm_engine {
    std::shared_ptr<Engine> engine;
};

struct fm_session {
    std::shared_ptr<Session> session;
};

struct fm_snapshot {
    std::shared_ptr<Session> session;
    flashmoe::Snapshot snapshot;
};

namespace {

void describe(fm_error* error, fm_status status, const char* message) {
    if (error == nullptr) return;
    error->status = status;
    std::strncpy(error->message, message, sizeof error->message - 1);
    error->message[sizeof error->message - 1] = '\0';
}

template <typename Work> fm_status guarded(fm_error* error, Work&& work) noexcept {
    try {
        work();
        return FM_OK;
    } catch (const Error& thrown) {
        describe(error, thrown.status(), thrown.what());
        return thrown.status();
    } catch (const std::bad_alloc&) {
        describe(error, FM_ENGINE, "out of memory");
        return FM_ENGINE;
    } catch (const std::exception& thrown) {
        describe(error, FM_ENGINE, thrown.what());
        return FM_ENGINE;
    }
}

std::unique_ptr<flashmoe::gpu::Device> open_device() {
    std::string reason;
    auto device = flashmoe::gpu::open_device(reason);
    if (device == nullptr) flashmoe::fail(FM_ENGINE, "no Metal: ", reason);
    return device;
}

/// The best table, or the one of that name.
const flashmoe::cpu::Kernels& cpu_kernels(const char* isa, bool fast) {
    const flashmoe::cpu::Kernels* found = &flashmoe::cpu::best_kernels();
    if (isa != nullptr && isa[0] != '\0') {
        found = nullptr;
        for (const auto* table : flashmoe::cpu::available_kernels()) {
            if (std::strcmp(table->isa, isa) == 0) found = table;
        }
        if (found == nullptr) flashmoe::fail(FM_ENGINE, "this machine has no instruction set ", isa);
    }
    return fast ? flashmoe::cpu::fast_kernels(*found) : *found;
}

std::unique_ptr<flashmoe::Backend> open_backend(const std::string& name, const char* kernels_dir, uint32_t threads,
                                                  const flashmoe::cpu::Kernels& kernels) {
    if (name == "metal") {
        return std::make_unique<flashmoe::metal::MetalBackend>(open_device(), flashmoe::metal::kernel_source(kernels_dir));
    }
    if (name != "cpu") flashmoe::fail(FM_ENGINE, "there is no backend ", name);
    return std::make_unique<flashmoe::cpu::CpuBackend>(threads, kernels);
}

Session::Progress wrap(fm_progress progress, void* user) {
    if (progress == nullptr) return {};
    return [=](uint64_t done, uint64_t total) { return progress(user, done, total) == 0; };
}

} // namespace

extern "C" {

fm_status fm_engine_open(const fm_engine_options* options, fm_engine** engine, fm_error* error) {
    return guarded(error, [&] {
        if (options->model_dir == nullptr || options->experts_dir == nullptr) flashmoe::fail(FM_ENGINE, "a folder is missing");
        const flashmoe::EngineOptions plain{.model_dir = options->model_dir,
                                            .experts_dir = options->experts_dir,
                                            .threads = std::clamp(options->threads, 1u, 1024u),
                                            .io_threads = std::clamp(options->io_threads, 1u, 256u),
                                            .token_limit = options->token_limit,
                                            .experts_per_token = options->experts_per_token,
                                            .expert_caching = options->direct_reads != 0 ? flashmoe::Caching::none
                                                                                         : flashmoe::Caching::page_cache,
                                            .exact_caches = options->exact_caches != 0,
                                            .map_experts = options->map_experts != 0,
                                            .expert_bytes = options->expert_bytes,
                                            .expert_mass = options->expert_mass > 0 && options->expert_mass < 1 ? options->expert_mass : 1,
                                            .fast = options->fast != 0,
                                            .prefill_tokens = options->prefill_tokens == 0 ? 1024 : options->prefill_tokens};
        auto backend = open_backend(options->backend, options->kernels_dir, plain.threads, cpu_kernels(options->isa, plain.fast));
        *engine = new fm_engine{std::make_shared<Engine>(plain, std::move(backend))};
    });
}

void fm_engine_info_get(const fm_engine* engine, fm_engine_info* info) { *info = engine->engine->info(); }

fm_status fm_engine_observe(fm_engine* engine, fm_error* error) {
    return guarded(error, [&] { engine->engine->observe(); });
}

fm_status fm_engine_squares(const fm_engine* engine, uint32_t layer, fm_channel_squares* squares, fm_error* error) {
    return guarded(error, [&] {
        const auto* observer = engine->engine->observed();
        if (observer == nullptr || layer >= engine->engine->model().layers.size()) {
            flashmoe::fail(FM_ENGINE, "layer ", layer, " is not observed");
        }
        const auto& sums = observer->layer(layer);
        *squares = {sums.experts, sums.hidden, sums.intermediate, sums.input.data(), sums.inner.data(), sums.tokens.data()};
    });
}

fm_status fm_engine_resize_experts(fm_engine* engine, uint64_t bytes, fm_error* error) {
    return guarded(error, [&] { engine->engine->resize_experts(bytes); });
}

fm_status fm_engine_save_hottest(fm_engine* engine, const char* path, fm_error* error) {
    return guarded(error, [&] { engine->engine->save_hottest(path); });
}

fm_status fm_engine_warm(fm_engine* engine, const char* path, fm_error* error) {
    return guarded(error, [&] { engine->engine->warm_from(path); });
}

void fm_engine_close(fm_engine* engine) { delete engine; }

fm_status fm_session_create(fm_engine* engine, uint32_t max_tokens, fm_session** session, fm_error* error) {
    return guarded(error, [&] { *session = new fm_session{std::make_shared<Session>(engine->engine, max_tokens)}; });
}

void fm_session_close(fm_session* session) { delete session; }

uint32_t fm_session_length(const fm_session* session) { return session->session->length(); }

fm_status fm_session_prefill(fm_session* session, const int32_t* tokens, size_t count, fm_progress progress, void* user,
                             fm_step_stats* stats, fm_error* error) {
    return guarded(error, [&] { *stats = session->session->prefill(tokens, count, wrap(progress, user)); });
}

fm_status fm_session_decode(fm_session* session, int32_t token, fm_step_stats* stats, fm_error* error) {
    return guarded(error, [&] { *stats = session->session->decode(token); });
}

fm_status fm_session_evaluate(fm_session* session, const int32_t* tokens, size_t count, float* logits,
                              float* const* hidden, fm_progress progress, void* user, fm_error* error) {
    return guarded(error, [&] { session->session->evaluate(tokens, count, logits, hidden, wrap(progress, user)); });
}

fm_status fm_session_logits(const fm_session* session, float* logits, fm_error* error) {
    return guarded(error, [&] {
        const std::vector<float>& values = session->session->logits();
        std::memcpy(logits, values.data(), values.size() * sizeof(float));
    });
}

void fm_session_seed(fm_session* session, uint64_t seed) { session->session->seed(seed); }

fm_status fm_session_sample(fm_session* session, const fm_sampling* sampling, int32_t* token, fm_error* error) {
    return guarded(error, [&] { *token = static_cast<int32_t>(session->session->sample(*sampling)); });
}

fm_status fm_session_reset(fm_session* session, fm_error* error) {
    return guarded(error, [&] { session->session->reset(); });
}

fm_status fm_session_fork(const fm_session* session, fm_session** fork, fm_error* error) {
    return guarded(error, [&] { *fork = new fm_session{session->session->fork()}; });
}

fm_status fm_session_mark_at(fm_session* session, const uint32_t* lengths, size_t count, fm_error* error) {
    return guarded(error, [&] { session->session->mark_at({lengths, lengths + count}); });
}

fm_status fm_session_mark(fm_session* session, fm_error* error) {
    return guarded(error, [&] { session->session->mark(); });
}

uint32_t fm_session_reachable(const fm_session* session, uint32_t limit) { return session->session->reachable(limit); }

fm_status fm_session_rewind(fm_session* session, uint32_t length, fm_error* error) {
    return guarded(error, [&] { session->session->rewind(length); });
}

uint64_t fm_engine_state_key(const fm_engine* engine, const char* program) { return engine->engine->state_key(program); }

fm_status fm_snapshot_take(fm_session* session, uint32_t length, fm_snapshot** snapshot, fm_error* error) {
    return guarded(error, [&] { *snapshot = new fm_snapshot{session->session, {session->session, length}}; });
}

fm_status fm_snapshot_save(const fm_snapshot* snapshot, const int32_t* tokens, const char* program,
                           const fm_state_file* file, fm_progress progress, void* user, uint64_t* bytes,
                           fm_error* error) {
    return guarded(error, [&] {
        const uint64_t key = snapshot->session->engine().state_key(program);
        *bytes = snapshot->snapshot.save({file->path, file->from, file->to}, tokens, key, wrap(progress, user));
    });
}

void fm_snapshot_free(fm_snapshot* snapshot) { delete snapshot; }

fm_status fm_session_restore(fm_session* session, const int32_t* tokens, size_t count, const char* program,
                             const fm_state_file* files, size_t file_count, fm_progress progress, void* user,
                             fm_error* error) {
    return guarded(error, [&] {
        Session& state = *session->session;
        std::vector<flashmoe::StateFile> parts;
        for (size_t i = 0; i < file_count; ++i) parts.push_back({files[i].path, files[i].from, files[i].to});
        state.restore(tokens, static_cast<uint32_t>(count), state.engine().state_key(program), parts,
                      wrap(progress, user));
    });
}

size_t fm_self_test(fm_kernel_check* checks, size_t capacity, const char** backend, const char** isa) {
    const flashmoe::cpu::Kernels& kernels = flashmoe::cpu::best_kernels();
    *backend = "cpu";
    *isa = kernels.isa;
    return flashmoe::cpu::self_test(kernels, checks, capacity);
}

fm_status fm_metal_device(fm_device* device, fm_error* error) {
    return guarded(error, [&] {
        const flashmoe::gpu::DeviceFacts facts = open_device()->facts();
        *device = {.name = {},
                   .recommended_working_set = facts.recommended_working_set,
                   .max_buffer_bytes = facts.max_buffer_bytes,
                   .low_power = facts.low_power};
        std::snprintf(device->name, sizeof device->name, "%s", facts.name.c_str());
    });
}

fm_status fm_self_test_backend(const char* name, const char* kernels_dir, uint64_t seed, fm_kernel_check* checks,
                               size_t capacity, size_t* count, char* isa, size_t isa_bytes, fm_error* error) {
    return guarded(error, [&] {
        static thread_local std::vector<flashmoe::checks::Check> results;
        const auto backend = open_backend(name, kernels_dir, 1, flashmoe::cpu::best_kernels());
        std::snprintf(isa, isa_bytes, "%s", backend->isa());
        results = flashmoe::checks::check_backend(*backend, seed);
        *count = results.size();
        for (size_t i = 0; i < std::min(capacity, results.size()); ++i) {
            const auto& result = results[i];
            checks[i] = {result.name.c_str(), result.max_error, result.tolerance, result.ok()};
        }
    });
}

fm_status fm_measure_rates(const char* name, const char* kernels_dir, uint32_t threads, uint64_t memory, double seconds,
                           fm_rate* rates, size_t capacity, size_t* count, double* wait_seconds, fm_error* error) {
    return guarded(error, [&] {
        const auto backend = open_backend(name, kernels_dir, threads, flashmoe::cpu::best_kernels());
        const flashmoe::checks::Rates measured = flashmoe::checks::measure_rates(*backend, memory, seconds);
        *count = measured.operations.size();
        *wait_seconds = measured.wait_seconds;
        for (size_t i = 0; i < std::min(capacity, *count); ++i) {
            const auto& one = measured.operations[i];
            rates[i] = {.name = {}, .bytes = one.bytes, .seconds = one.seconds, .device_seconds = one.device_seconds};
            std::snprintf(rates[i].name, sizeof rates[i].name, "%s", one.name.c_str());
        }
    });
}

fm_status fm_measure_wired(const char* name, const char* kernels_dir, const char* file, double* mapped, double* allocated,
                           fm_error* error) {
    return guarded(error, [&] {
        if (flashmoe::checks::wired_bytes() < 0) flashmoe::fail(FM_ENGINE, "this system does not say how much memory is wired");
        const auto backend = open_backend(name, kernels_dir, 1, flashmoe::cpu::best_kernels());
        const flashmoe::checks::WiredGrowth growth = flashmoe::checks::measure_wired(*backend, file);
        *mapped = growth.mapped_file;
        *allocated = growth.allocated;
    });
}

} // extern "C"
