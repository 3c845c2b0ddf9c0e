// What JavaScript objects hold: shared handles, so an engine lives as long as any of its sessions, and a session as
// long as its running job.
#pragma once

#include "addon/values.h"

#include <atomic>
#include <memory>

namespace flashmoe::addon {

struct EngineHandle {
    fm_engine* engine = nullptr;
    ~EngineHandle() { fm_engine_close(engine); }
};

struct SessionHandle {
    fm_session* session = nullptr;
    uint32_t vocab = 0, hidden = 0, residual = 0, layers = 0;
    uint64_t largest_expert = 0;
    /// A job is at work: nothing else may touch the state.
    std::atomic<bool> busy{false};
    ~SessionHandle() { fm_session_close(session); }
};

/// Keeps a session busy until end(), or until a job that never began is gone.
struct Claim {
    explicit Claim(std::shared_ptr<SessionHandle> session) : handle(std::move(session)) { handle->busy.store(true); }
    ~Claim() { end(); }
    Claim(const Claim&) = delete;
    void end() {
        if (!ended) handle->busy.store(false);
        ended = true;
    }
    const std::shared_ptr<SessionHandle> handle;
    bool ended = false;
};

/// What a JavaScript object refers to; empty after close().
template <typename Handle> struct Reference {
    std::shared_ptr<Handle> handle;
    const std::shared_ptr<Handle>& get(const char* what) const {
        if (!handle) misuse(std::string("the ") + what + " is closed");
        return handle;
    }
};
using EngineReference = std::shared_ptr<Reference<EngineHandle>>;
using SessionReference = std::shared_ptr<Reference<SessionHandle>>;

/// NativeSession of src/addon/types.ts.
Napi::Object session_object(Napi::Env env, std::shared_ptr<SessionHandle> handle);

} // namespace flashmoe::addon
