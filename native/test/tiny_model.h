// A packed model of random weights in a temporary folder: every block kind, 4-bit, 8-bit and plain tensors. For tests
// of loading, faults and state; its outputs mean nothing.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/random.h"
#include "flashmoe.h"

class TinyModel {
  public:
    /// What 4-bit linears and experts are stored as: the numbers are the same.
    enum class Linears { groups, blocks };
    explicit TinyModel(Linears linears = Linears::groups);
    ~TinyModel() { std::filesystem::remove_all(dir_); }
    TinyModel(const TinyModel&) = delete;
    TinyModel& operator=(const TinyModel&) = delete;

    std::string path(const std::string& name) const { return dir_ + "/" + name; }
    std::string read(const std::string& name) const;
    void write(const std::string& name, const std::string& text) const;
    /// Replaces the first occurrence of `from`, which must be there.
    void edit(const std::string& name, const std::string& from, const std::string& to) const;

    /// Opens with two threads and two readers.
    fm_status open(fm_engine** engine, fm_error* error, uint32_t experts_per_token = 0, bool direct_reads = false) const;

    static constexpr uint32_t kVocab = 96, kHidden = 64, kExperts = 8, kLayers = 4;

  private:
    void add(const std::string& name, const std::vector<uint32_t>& shape, const char* dtype, size_t bytes_each);
    void add_vector(const std::string& name, const std::vector<uint32_t>& shape, float low, float high);
    void add_linear(const std::string& name, const std::vector<uint32_t>& shape, uint32_t bits);
    void write_experts();

    const Linears linears_;
    std::string dir_, bin_, tensors_;
    size_t count_ = 0;
    flashmoe::Random random_{7};
};

/// An open engine, closed with the test; fails the test when it doesn't open.
class OpenEngine {
  public:
    explicit OpenEngine(const TinyModel& model, uint32_t experts_per_token = 0);
    explicit OpenEngine(fm_engine* engine) : engine_(engine) {}
    OpenEngine(const OpenEngine&) = delete;
    ~OpenEngine() { fm_engine_close(engine_); }
    fm_engine* get() const { return engine_; }

  private:
    fm_engine* engine_ = nullptr;
};

/// A session with room for `max_tokens`.
class OpenSession {
  public:
    OpenSession(const OpenEngine& engine, uint32_t max_tokens);
    explicit OpenSession(fm_session* session) : session_(session) {}
    ~OpenSession() { fm_session_close(session_); }
    OpenSession(const OpenSession&) = delete;
    fm_session* get() const { return session_; }
    void prefill(const std::vector<int32_t>& tokens);
    void decode(int32_t token);
    std::vector<float> logits() const;

  private:
    fm_session* session_ = nullptr;
};

/// `count` ids below the vocabulary's size.
std::vector<int32_t> some_tokens(size_t count);
