// copyRanges, hashFile, packLayer and measureReads of src/addon/types.ts. Reads plain objects field by field, so that a wrong
// one is a failed job with the field's name and not a crash.
#include "addon/error_sums.h"
#include "addon/fields.h"
#include "addon/job.h"
#include "addon/registers.h"
#include "pack/copy_ranges.h"
#include "pack/pack_layer.h"
#include "pack/read_rate.h"

namespace flashmoe::addon {

namespace {

using namespace flashmoe::pack;

DType dtype_field(const Napi::Object& object) {
    const Napi::Value value = field(object, "dtype");
    const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
    if (name == "U32") return DType::u32;
    if (name == "BF16") return DType::bf16;
    if (name == "F16") return DType::f16;
    if (name == "F32") return DType::f32;
    if (name == "U8") return DType::u8;
    misuse("dtype must be U32, BF16, F16, F32 or U8");
}

StackedTensor stacked_tensor(const Napi::Value& value, const char* name) {
    const Napi::Object object = object_of(value, name);
    return {text_field(object, "source"), count_field(object, "offset"), count_field(object, "size"),
            dtype_field(object), field(object, "stride").IsNumber() ? count_field(object, "stride") : 0};
}

std::optional<StackedTensor> optional_tensor(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    if (value.IsNull() || value.IsUndefined()) return std::nullopt;
    return stacked_tensor(value, name);
}

Projection projection_of(const Napi::Object& object) {
    const Napi::Object offsets = object_of(field(object, "targetOffsets"), "targetOffsets");
    const ImportancePlace importance = importance_field(object, count_field(object, "columns"));
    const bool has_any = importance.columns > 0;
    return {
        count_field(object, "rows"),
        count_field(object, "columns"),
        small_field(object, "sourceBits"),
        small_field(object, "groupSize"),
        stacked_tensor(field(object, "weight"), "weight"),
        optional_tensor(object, "scales"),
        optional_tensor(object, "biases"),
        optional_tensor(object, "bias"),
        small_field(object, "targetBits"),
        {count_field(offsets, "weight"), count_field(offsets, "scales"), count_field(offsets, "biases"),
         object.Get("bias").IsObject() ? count_field(offsets, "bias") : 0},
        importance,
        has_any ? text_field(object_of(field(object, "importance"), "importance"), "source") : "",
    };
}

std::vector<Projection> projections_of(const Napi::Object& object) {
    std::vector<Projection> made;
    const Napi::Array projections = array_field(object, "projections");
    for (std::uint32_t i = 0; i < projections.Length(); ++i) {
        made.push_back(projection_of(object_of(projections.Get(i), "projection")));
    }
    return made;
}

PackLayerJob pack_layer_job(const Napi::Value& value) {
    const Napi::Object object = object_of(value, "job");
    PackLayerJob job;
    job.target = text_field(object, "target");
    job.experts = count_field(object, "experts");
    job.expert_stride = count_field(object, "expertStride");
    job.projections = projections_of(object);
    if (const Napi::Value value = field(object, "others"); value.IsObject()) {
        const Napi::Object others = value.As<Napi::Object>();
        job.others = {count_field(others, "expertStride"), projections_of(others)};
        const Napi::Array experts = array_field(others, "experts");
        for (std::uint32_t i = 0; i < experts.Length(); ++i) {
            job.other_experts.push_back(count_of(experts.Get(i), "expert"));
        }
    }
    const std::string method = text_field(object, "method");
    if (method != "search" && method != "minmax") misuse("method must be search or minmax");
    job.search = method == "search";
    job.threads = small_field(object, "threads");
    return job;
}

CopyJob copy_job(const Napi::Value& value) {
    const Napi::Object object = object_of(value, "job");
    CopyJob job;
    job.target = text_field(object, "target");
    const Napi::Array ranges = array_field(object, "ranges");
    for (std::uint32_t i = 0; i < ranges.Length(); ++i) {
        const Napi::Object range = object_of(ranges.Get(i), "range");
        job.ranges.push_back({text_field(range, "source"), count_field(range, "sourceOffset"),
                              count_field(range, "targetOffset"), count_field(range, "size")});
    }
    const Napi::Value sync = field(object, "sync");
    job.sync = !sync.IsBoolean() || sync.As<Napi::Boolean>().Value();
    return job;
}

Napi::Value pack_result(Napi::Env env, PackLayerResult& result) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("bytesRead", number(env, result.bytes_read));
    object.Set("bytesWritten", number(env, result.bytes_written));
    object.Set("sha256", result.sha256);
    Napi::Array errors = Napi::Array::New(env, result.errors.size());
    for (std::uint32_t i = 0; i < result.errors.size(); ++i) {
        errors.Set(i, error_sums_object(env, result.errors[i]));
    }
    object.Set("error", errors);
    return object;
}

/// Reads the arguments with `start` and turns what it throws into a failed job.
template <typename Start>
Napi::Value guarded(Napi::Env env, const char* function, Start start) {
    try {
        return start();
    } catch (const Napi::Error&) {
        throw;
    } catch (...) {
        const auto [code, message] = caught("ERR_PLAN");
        return failed_job(env, code, std::string(function) + ": " + message);
    }
}

Napi::Value copy_ranges_binding(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "copyRanges", [&] {
        return Job<std::uint64_t>::start(
            info.Env(), info[1],
            [job = copy_job(info[0])](Control& control) { return copy_ranges(job, control); },
            [](Napi::Env env, std::uint64_t& bytes) {
                Napi::Object object = Napi::Object::New(env);
                object.Set("bytes", number(env, bytes));
                return object;
            });
    });
}

Napi::Value hash_file_binding(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "hashFile", [&] {
        return Job<FileHash>::start(
            info.Env(), info[1],
            [path = name_of(info[0], "path")](Control& control) { return hash_file(path, control); },
            [](Napi::Env env, FileHash& hash) {
                Napi::Object object = Napi::Object::New(env);
                object.Set("sha256", hash.sha256);
                object.Set("bytes", number(env, hash.bytes));
                Napi::Array chain = Napi::Array::New(env, hash.chain.size());
                for (std::uint32_t i = 0; i < hash.chain.size(); ++i) chain.Set(i, hash.chain[i]);
                object.Set("chain", chain);
                return object;
            });
    });
}

Napi::Value check_blocks_binding(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "checkBlocks", [&] {
        std::vector<std::string> chain;
        const Napi::Array links = array_of(info[1], "chain");
        for (std::uint32_t i = 0; i < links.Length(); ++i) chain.push_back(text_of(links.Get(i), "link"));
        return Job<BlockCheck>::start(
            info.Env(), info[2],
            [path = name_of(info[0], "path"), chain = std::move(chain)](Control& control) {
                return check_blocks(path, chain, control);
            },
            [](Napi::Env env, BlockCheck& check) {
                Napi::Object object = Napi::Object::New(env);
                Napi::Array bad = Napi::Array::New(env, check.bad.size());
                for (std::uint32_t i = 0; i < check.bad.size(); ++i) bad.Set(i, number(env, check.bad[i]));
                object.Set("bad", bad);
                object.Set("bytes", number(env, check.bytes));
                return object;
            });
    });
}

Napi::Value pack_layer_binding(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "packLayer", [&] {
        return Job<PackLayerResult>::start(
            info.Env(), info[1],
            [job = pack_layer_job(info[0])](Control& control) { return pack_layer(job, control); }, pack_result);
    });
}

ReadRateJob read_rate_job(const Napi::Value& value) {
    const Napi::Object object = object_of(value, "job");
    ReadRateJob job;
    const Napi::Array files = array_field(object, "files");
    for (uint32_t i = 0; i < files.Length(); ++i) {
        job.files.push_back(name_of(files.Get(i), "file"));
    }
    job.read_bytes = count_field(object, "readBytes");
    job.depth = small_field(object, "depth");
    if (job.depth == 0 || job.depth > 64) misuse("depth must be 1 to 64");
    job.seconds = static_cast<double>(count_field(object, "milliseconds")) / 1000;
    job.seed = count_field(object, "seed");
    job.cached = object.Get("cached").ToBoolean();
    return job;
}

Napi::Value measure_reads_binding(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "measureReads", [&] {
        return Job<ReadRate>::start(
            info.Env(), info.Env().Undefined(),
            [job = read_rate_job(info[0])](Control& control) { return measure_reads(job, control); },
            [](Napi::Env env, ReadRate& rate) {
                Napi::Object object = Napi::Object::New(env);
                object.Set("bytes", number(env, rate.bytes));
                object.Set("reads", number(env, rate.reads));
                object.Set("seconds", Napi::Number::New(env, rate.seconds));
                object.Set("uncached", Napi::Boolean::New(env, rate.uncached));
                return object;
            });
    });
}

} // namespace

void register_pack(Napi::Env env, Napi::Object exports) {
    exports.Set("copyRanges", Napi::Function::New(env, copy_ranges_binding, "copyRanges"));
    exports.Set("hashFile", Napi::Function::New(env, hash_file_binding, "hashFile"));
    exports.Set("checkBlocks", Napi::Function::New(env, check_blocks_binding, "checkBlocks"));
    exports.Set("packLayer", Napi::Function::New(env, pack_layer_binding, "packLayer"));
    exports.Set("measureReads", Napi::Function::New(env, measure_reads_binding, "measureReads"));
}

} // namespace flashmoe::addon
