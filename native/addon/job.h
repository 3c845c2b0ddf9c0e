// Long work in a thread of its own, seen from JavaScript as { done: Promise, cancel() } (NativeJob in
// src/addon/types.ts). Not libuv's pool: four long jobs there would stop the process's file system.
#pragma once

#include <napi.h>

#include "core/error.h"
#include "pack/control.h"

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace flashmoe::addon {

using pack::Control;

/// An Error with `code`, as load.ts expects it.
Napi::Error coded_error(Napi::Env env, const std::string& code, const std::string& message);

/// A value from JavaScript that can't be right.
struct Misuse : Error {
    explicit Misuse(const std::string& message) : Error(FM_ENGINE, message) {}
};

/// What was thrown, as code and message. To be called inside a catch block. `misuse`: the code of a value that can't be right,
/// where that is a job's.
std::pair<std::string, std::string> caught(const char* misuse = "ERR_ENGINE");

/// A job that failed before it began.
Napi::Object failed_job(Napi::Env env, const std::string& code, const std::string& message);

template <typename Result>
class Job {
  public:
    using Work = std::function<Result(Control&)>;
    using Convert = std::function<Napi::Value(Napi::Env, Result&)>;

    /// `on_progress` may be undefined. `work` runs in the thread and touches no JavaScript; `convert` runs after it.
    static Napi::Object start(Napi::Env env, Napi::Value on_progress, Work work, Convert convert) {
        auto* job = new Job(env, std::move(work), std::move(convert));
        auto progress = on_progress.IsFunction()
                            ? on_progress.As<Napi::Function>()
                            : Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
        job->channel_ = Napi::ThreadSafeFunction::New(env, progress, "flashmoe job", 0, 1,
                                                      [job](Napi::Env) { job->finalize(); });
        Napi::Object object = Napi::Object::New(env);
        object.Set("done", job->deferred_.Promise());
        object.Set("cancel", Napi::Function::New(env, [control = job->control_](const Napi::CallbackInfo&) {
                       control->cancelled.store(true);
                   }));
        try {
            job->thread_ = std::thread([job] { job->run(); });
        } catch (const std::exception& error) {
            job->failure_ = {"EAGAIN", std::string("no thread for the job: ") + error.what()};
            job->finish();
        }
        return object;
    }

  private:
    Job(Napi::Env env, Work work, Convert convert)
        : deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)), convert_(std::move(convert)) {
        control_->progress = [this](std::uint64_t done, std::uint64_t total) { report(done, total); };
    }

    void run() {
        try {
            result_.emplace(work_(*control_));
        } catch (...) {
            failure_ = caught();
        }
        finish();
    }

    void finish() {
        channel_.BlockingCall([this](Napi::Env env, Napi::Function) { settle(env); });
        channel_.Release();
    }

    void settle(Napi::Env env) {
        if (!result_) {
            deferred_.Reject(coded_error(env, failure_.first, failure_.second).Value());
            return;
        }
        try {
            deferred_.Resolve(convert_(env, *result_));
        } catch (const Napi::Error& error) {
            deferred_.Reject(error.Value());
        } catch (...) {
            const auto [code, message] = caught();
            deferred_.Reject(coded_error(env, code, message).Value());
        }
    }

    /// Views redraw ten times a second; more calls would only cost.
    void report(std::uint64_t done, std::uint64_t total) {
        const auto now = std::chrono::steady_clock::now();
        if (done != total && now - last_report_ < std::chrono::milliseconds(50)) return;
        last_report_ = now;
        channel_.NonBlockingCall([done, total](Napi::Env env, Napi::Function callback) {
            callback.Call({Napi::Number::New(env, static_cast<double>(done)),
                           Napi::Number::New(env, static_cast<double>(total))});
        });
    }

    /// On the JavaScript thread, after the last call or when the environment goes away first.
    void finalize() {
        control_->cancelled.store(true);
        if (thread_.joinable()) thread_.join();
        delete this;
    }

    Napi::Promise::Deferred deferred_;
    Work work_;
    Convert convert_;
    std::shared_ptr<Control> control_ = std::make_shared<Control>();
    Napi::ThreadSafeFunction channel_;
    std::thread thread_;
    std::optional<Result> result_;
    std::pair<std::string, std::string> failure_;
    std::chrono::steady_clock::time_point last_report_{};
};

} // namespace flashmoe::addon
