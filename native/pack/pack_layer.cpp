#include "pack/pack_layer.h"

#include "core/file.h"
#include "pack/sha256.h"
#include "quant/requantise.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>

namespace flashmoe::pack {

namespace {

/// Opens every source once and checks that it is long enough before the target is touched.
class Sources {
  public:
    void add(const Part& part, std::uint64_t experts) {
        const StackedTensor& tensor = *part.tensor;
        auto [entry, is_new] = files_.try_emplace(tensor.source);
        if (is_new) entry->second = File::open_source(tensor.source);
        const std::uint64_t end = tensor.offset + (experts - 1) * part.source_stride + part.source_size;
        if (end > entry->second.size()) {
            throw Error("ERR_IO", tensor.source + ": is " + std::to_string(entry->second.size()) +
                                        " bytes, but bytes up to " + std::to_string(end) + " are needed");
        }
    }
    const File& of(const StackedTensor& tensor) const { return files_.at(tensor.source); }

  private:
    std::map<std::string, File> files_;
};

/// What one thread holds: the finished expert, and the parts of a projection that is being requantised.
struct Workspace {
    std::vector<std::uint8_t> expert;
    std::array<std::vector<std::uint8_t>, 3> parts;
    std::vector<quant::ErrorSums> errors;
};

quant::ParamType param_type(DType dtype) {
    switch (dtype) {
    case DType::f16: return quant::ParamType::f16;
    case DType::f32: return quant::ParamType::f32;
    default: return quant::ParamType::bf16;
    }
}

class Packer {
  public:
    Packer(const PackLayerJob& job, const Control& control) : job_(job), control_(control) {
        check_job(job);
        errors_.resize(job.projections.size());
        open(mine_, job.expert_stride, job.projections);
        if (!job.other_experts.empty()) open(others_, job.others.expert_stride, job.others.projections);
        is_other_.resize(job.experts);
        for (const auto expert : job.other_experts) is_other_[expert] = true;
        for (std::uint64_t expert = 0; expert < job.experts; ++expert) {
            offsets_.push_back(total_);
            total_ += made(expert).stride;
        }
        target_ = File::open_target(job.target, true);
    }

    PackLayerResult run() {
        std::vector<std::thread> threads;
        const auto count = static_cast<unsigned>(std::min<std::uint64_t>(job_.threads, job_.experts));
        for (unsigned i = 1; i < count; ++i) {
            try {
                threads.emplace_back([this] { work(); });
            } catch (const std::system_error&) {
                break; // fewer threads give the same bytes
            }
        }
        work();
        for (auto& thread : threads) thread.join();
        if (failure_) std::rethrow_exception(failure_);
        control_.check();
        target_.sync();
        result_.sha256 = hash_.hex();
        result_.errors = errors_;
        return std::move(result_);
    }

  private:
    /// What becomes of an expert, with the files that it is made of open.
    struct Making {
        std::uint64_t stride = 0;
        const std::vector<Projection>* projections = nullptr;
        std::vector<std::vector<Part>> parts;
        /// One a projection, open where it has any.
        std::vector<File> importance;
        std::uint64_t source_bytes = 0;
    };

    void open(Making& making, std::uint64_t stride, const std::vector<Projection>& projections) {
        making.stride = stride;
        making.projections = &projections;
        making.importance.resize(projections.size());
        for (const auto& projection : projections) {
            making.parts.push_back(checked_parts(job_, projection, stride));
            for (const auto& part : making.parts.back()) {
                sources_.add(part, job_.experts);
                making.source_bytes += part.source_size;
            }
            if (projection.importance.columns > 0) {
                making.importance[making.parts.size() - 1] = File::open_source(projection.importance_source);
            }
        }
    }

    const Making& made(std::uint64_t expert) const { return is_other_[expert] ? others_ : mine_; }

    void work() {
        try {
            Workspace space;
            for (;;) {
                control_.check();
                std::uint64_t expert;
                {
                    const std::lock_guard lock(mutex_);
                    if (failure_ || next_ == job_.experts) return;
                    expert = next_++;
                }
                space.errors.assign(job_.projections.size(), {});
                // What no component covers is zeros.
                space.expert.assign(made(expert).stride, 0);
                fill(space, made(expert), expert);
                target_.write_at(space.expert.data(), space.expert.size(), offsets_[expert]);
                commit(space, expert);
            }
        } catch (...) {
            const std::lock_guard lock(mutex_);
            if (!failure_) failure_ = std::current_exception();
            turn_.notify_all();
        }
    }

    void fill(Workspace& space, const Making& making, std::uint64_t expert) {
        for (std::size_t i = 0; i < making.parts.size(); ++i) {
            const Projection& projection = (*making.projections)[i];
            if (projection.source_bits != projection.target_bits) {
                space.errors[i] = requantise(space, making, i, expert);
                continue;
            }
            for (const auto& part : making.parts[i]) read(part, expert, space.expert.data() + part.target_offset);
        }
    }

    void read(const Part& part, std::uint64_t expert, std::uint8_t* to) const {
        sources_.of(*part.tensor).read_at(to, part.source_size, part.tensor->offset + expert * part.source_stride);
    }

    quant::ErrorSums requantise(Workspace& space, const Making& making, std::size_t index, std::uint64_t expert) const {
        const Projection& projection = (*making.projections)[index];
        const auto& parts = making.parts[index];
        if (parts.size() > 3) read(parts[3], expert, space.expert.data() + parts[3].target_offset); // a bias stays as it is
        for (std::size_t i = 0; i < 3; ++i) {
            space.parts[i].resize(parts[i].source_size);
            read(parts[i], expert, space.parts[i].data());
        }
        const quant::Codes source{space.parts[0].data(),
                                  space.parts[1].data(),
                                  space.parts[2].data(),
                                  param_type(projection.scales->dtype),
                                  projection.source_bits,
                                  projection.group_size,
                                  projection.rows * projection.columns / projection.group_size};
        std::uint8_t* const base = space.expert.data();
        const quant::AffineTarget target{base + parts[0].target_offset, base + parts[1].target_offset,
                                         base + parts[2].target_offset, projection.target_bits};
        const auto method = job_.search ? quant::Method::search : quant::Method::minmax;
        std::vector<std::uint8_t> weights;
        quant::Importance importance{};
        if (projection.importance.columns > 0) {
            weights = column_weights(making.importance[index], projection.importance, expert, projection.group_size);
            importance = {weights.data(), projection.columns / projection.group_size, 0};
        }
        const auto sums = quant::requantise(source, target, method, quant::best_isa(),
                                            weights.empty() ? nullptr : &importance);
        if (sums.broken_groups > 0) {
            throw Error("ERR_SAFETENSORS", projection.scales->source + ": expert " + std::to_string(expert) +
                                                 " has " + std::to_string(sums.broken_groups) +
                                                 " scales or biases that are no usable numbers");
        }
        return sums;
    }

    /// In order of experts, so that the hash and the sums of errors don't depend on threads.
    void commit(const Workspace& space, std::uint64_t expert) {
        std::unique_lock lock(mutex_);
        turn_.wait(lock, [&] { return failure_ || committed_ == expert; });
        if (failure_) return;
        // Only the thread whose turn it is gets here; the others may go on taking experts meanwhile.
        lock.unlock();
        hash_.update(space.expert.data(), space.expert.size());
        lock.lock();
        for (std::size_t i = 0; i < errors_.size(); ++i) errors_[i].add(space.errors[i]);
        result_.bytes_read += made(expert).source_bytes;
        result_.bytes_written += space.expert.size();
        ++committed_;
        turn_.notify_all();
        control_.report(result_.bytes_written, total_);
    }

    const PackLayerJob& job_;
    const Control& control_;
    Sources sources_;
    Making mine_, others_;
    std::vector<bool> is_other_;
    /// Where experts begin in the file, and its length.
    std::vector<std::uint64_t> offsets_;
    std::uint64_t total_ = 0;
    File target_;
    std::mutex mutex_;
    std::condition_variable turn_;
    std::uint64_t next_ = 0;
    std::uint64_t committed_ = 0;
    Sha256 hash_;
    std::vector<quant::ErrorSums> errors_;
    std::exception_ptr failure_;
    PackLayerResult result_;
};

} // namespace

PackLayerResult pack_layer(const PackLayerJob& job, const Control& control) {
    return Packer(job, control).run();
}

} // namespace flashmoe::pack
