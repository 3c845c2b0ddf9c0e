// openTape of src/addon/types.ts. Buffers are held by reference until their bytes are in the spool; nothing is copied on
// the way there.
#include "addon/error_sums.h"
#include "addon/fields.h"
#include "addon/job.h"
#include "addon/registers.h"
#include "pack/tape.h"

#include <algorithm>
#include <atomic>
#include <memory>

namespace flashmoe::addon {

namespace {

using namespace flashmoe::pack;

quant::ParamType param_type(const Napi::Object& object) {
    const std::string name = text_field(object, "dtype");
    if (name == "BF16") return quant::ParamType::bf16;
    if (name == "F16") return quant::ParamType::f16;
    if (name == "F32") return quant::ParamType::f32;
    misuse("dtype must be BF16, F16 or F32");
}

quant::Encoding encoding(const Napi::Object& object) {
    const std::string name = text_field(object, "encoding");
    if (name == "BF16") return quant::Encoding::bf16;
    if (name == "F16") return quant::Encoding::f16;
    if (name == "F32") return quant::Encoding::f32;
    if (name == "F8_E4M3") return quant::Encoding::e4m3;
    if (name == "int4") return quant::Encoding::int4;
    if (name == "mxfp4") return quant::Encoding::e2m1;
    misuse("encoding must be BF16, F16, F32, F8_E4M3, int4 or mxfp4");
}

Conversion conversion_of(const Napi::Object& object) {
    Conversion conversion;
    conversion.encoding = encoding(object);
    conversion.columns = count_field(object, "columns");
    conversion.rule = field(object, "likeMlx").ToBoolean() ? quant::Rule::mlx : quant::Rule::fit;
    // MLX turns all values into the model's type first, which is half precision where they are stored so.
    conversion.via_bf16 = conversion.rule == quant::Rule::mlx && conversion.encoding != quant::Encoding::f16;
    const Napi::Value own = field(object, "scales");
    if (own.IsObject()) {
        const auto scales = own.As<Napi::Object>();
        conversion.group_size = small_field(scales, "groupSize");
        conversion.scales_stride = count_field(scales, "stride");
        if (conversion.encoding == quant::Encoding::int4) conversion.scale_type = param_type(scales);
    }
    conversion.exact = field(object, "exact").ToBoolean();
    const Napi::Value plain = field(object, "plain");
    if (plain.IsObject()) {
        const auto target = plain.As<Napi::Object>();
        conversion.plain = param_type(target);
        conversion.addend = static_cast<float>(small_field(target, "addend"));
        conversion.log_of_negative = target.Get("logOfNegative").ToBoolean();
    }
    const Napi::Array ways = array_field(object, "ways");
    for (std::uint32_t i = 0; i < ways.Length(); ++i) {
        const Napi::Object way = object_of(ways.Get(i), "way");
        const Napi::Object offsets = object_of(field(way, "offsets"), "offsets");
        conversion.ways.push_back({small_field(way, "bits"), small_field(way, "groupSize"), count_field(offsets, "weight"),
                                   count_field(offsets, "scales"), count_field(offsets, "biases")});
    }
    return conversion;
}

Place place_of(const Napi::Object& object) {
    const std::string kind = text_field(object, "kind");
    Place place;
    if (kind == "drop") return place;
    place.file = count_field(object, "file");
    if (kind == "copy") {
        place.kind = Place::Kind::copy;
        place.offset = count_field(object, "offset");
        return place;
    }
    place.from = count_field(object, "from");
    place.slice = count_field(object, "slice");
    place.stride = count_field(object, "stride");
    if (field(object, "unit").IsNumber()) place.unit = count_field(object, "unit");
    if (kind == "spread") {
        place.kind = Place::Kind::spread;
        place.offset = count_field(object, "offset");
        if (place.unit != 0) place.second = count_field(object, "second");
        return place;
    }
    if (kind == "convert") {
        place.kind = Place::Kind::convert;
        place.conversion = conversion_of(object);
        const Napi::Value scales = field(object, "scales");
        if (scales.IsObject()) place.scales = count_field(scales.As<Napi::Object>(), "file");
        return place;
    }
    if (kind != "requantise") misuse("kind must be drop, copy, spread, requantise or convert");
    place.kind = Place::Kind::requantise;
    place.bits = small_field(object, "bits");
    if (field(object, "targetBits").IsNumber()) place.target_bits = small_field(object, "targetBits");
    if (field(object, "base").IsNumber()) place.base = count_field(object, "base");
    place.group_size = small_field(object, "groupSize");
    place.dtype = param_type(object);
    place.scales = count_field(object, "scales");
    place.biases = count_field(object, "biases");
    const Napi::Object offsets = object_of(field(object, "offsets"), "offsets");
    place.offsets = {count_field(offsets, "weight"), count_field(offsets, "scales"), count_field(offsets, "biases")};
    if (field(object, "importance").IsObject()) place.importance = importance_field(object, count_field(object, "columns"));
    return place;
}

TapeItem item_of(const Napi::Object& object) {
    const std::string type = text_field(object, "type");
    TapeItem item;
    if (type == "bytes") {
        item.size = count_field(object, "size");
        item.hashed = field(object, "hashed").ToBoolean();
        item.place = place_of(object_of(field(object, "place"), "place"));
    } else if (type == "recall") {
        item.type = TapeItem::Type::recall;
        item.file = count_field(object, "file");
        item.offset = count_field(object, "offset");
        item.size = count_field(object, "size");
    } else if (type == "seal") {
        item.type = TapeItem::Type::seal;
        item.sha256 = text_field(object, "sha256");
    } else {
        misuse("type must be bytes, recall or seal");
    }
    return item;
}

TapeJob tape_job(const Napi::Object& object) {
    TapeJob job;
    const Napi::Array files = array_field(object, "files");
    for (std::uint32_t i = 0; i < files.Length(); ++i) {
        const Napi::Object file = object_of(files.Get(i), "file");
        job.files.push_back({text_field(file, "path"), count_field(file, "size")});
    }
    const Napi::Array items = array_field(object, "items");
    job.items.reserve(items.Length());
    for (std::uint32_t i = 0; i < items.Length(); ++i) {
        const Napi::HandleScope scope(object.Env());
        job.items.push_back(item_of(object_of(items.Get(i), "item")));
    }
    job.spool = text_field(object, "spool");
    job.mark = text_field(object, "mark");
    if (field(object, "importance").IsString()) job.importance = text_field(object, "importance");
    job.window = count_field(object, "window");
    job.binding = text_field(object, "binding");
    job.threads = small_field(object, "threads");
    const std::string method = text_field(object, "method");
    if (method != "search" && method != "minmax") misuse("method must be search or minmax");
    job.search = method == "search";
    const Napi::Value from = field(object, "from");
    if (from.IsObject()) {
        const Napi::Object state = from.As<Napi::Object>();
        const auto hash = bytes_of_hex(text_field(state, "hash"));
        if (hash.size() != Sha256::kStateSize) misuse("hash must be a state of sha256");
        job.from = TapeState{count_field(state, "at"), count_field(state, "item"), {}};
        std::copy(hash.begin(), hash.end(), job.from->hash.begin());
        const Napi::Value sums = field(object, "sums");
        if (sums.IsObject()) job.sums = error_sums_of(sums.As<Napi::Object>());
    }
    return job;
}

/// A put under way: what keeps its buffers alive, and whom to tell.
struct PendingPut {
    explicit PendingPut(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
    Napi::Promise::Deferred deferred;
    Napi::ObjectReference chunks;
};

/// The writer and the channel by which its threads reach JavaScript. Lives until both are done with it.
struct Handle {
    std::unique_ptr<TapeWriter> writer;
    Napi::ThreadSafeFunction channel;
    std::size_t pending = 0;
    /// Read by the threads of jobs as well.
    std::atomic<bool> closed{false};
};
using Shared = std::shared_ptr<Handle>;

TapeWriter& open_writer(const Shared& handle) {
    if (handle->closed) misuse("the tape is closed");
    return *handle->writer;
}

void settle_put(const Shared& handle, Napi::Env env, PendingPut* put, const std::exception_ptr& failure) {
    const std::unique_ptr<PendingPut> owned(put);
    // An open writer with nothing under way keeps no process alive.
    if (--handle->pending == 0) handle->channel.Unref(env);
    if (!failure) return put->deferred.Resolve(env.Undefined());
    try {
        std::rethrow_exception(failure);
    } catch (...) {
        const auto [code, message] = caught("ERR_PLAN");
        put->deferred.Reject(coded_error(env, code, message).Value());
    }
}

Napi::Value rejected(Napi::Env env, const char* function) {
    const auto [code, message] = caught("ERR_PLAN");
    auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(coded_error(env, code, std::string(function) + ": " + message).Value());
    return deferred.Promise();
}

Napi::Value put(const Shared& handle, const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    try {
        TapeWriter& writer = open_writer(handle);
        const uint64_t position = count_of(info[0], "position");
        const Napi::Array chunks = array_of(info[1], "chunks");
        std::vector<std::span<const std::uint8_t>> spans;
        for (std::uint32_t i = 0; i < chunks.Length(); ++i) {
            const auto bytes = typed_of<Napi::Uint8Array>(chunks.Get(i), napi_uint8_array, "chunk");
            spans.push_back({bytes.Data(), bytes.ByteLength()});
        }
        auto* pending = new PendingPut(env);
        pending->chunks = Napi::Persistent(chunks.As<Napi::Object>());
        const Napi::Value promise = pending->deferred.Promise();
        if (handle->pending++ == 0) handle->channel.Ref(env);
        writer.put(position, std::move(spans),
                   [handle, pending](const std::exception_ptr& failure) {
                       handle->channel.BlockingCall([handle, pending, failure](Napi::Env env, Napi::Function) {
                           settle_put(handle, env, pending, failure);
                       });
                   });
        return promise;
    } catch (...) {
        return rejected(env, "put");
    }
}

Napi::Object checkpoint_object(Napi::Env env, const TapeWriter& writer, const Checkpoint& here) {
    const TapeState& state = here.state;
    Napi::Object object = Napi::Object::New(env);
    object.Set("at", number(env, state.at));
    object.Set("item", number(env, state.item));
    object.Set("hash", hex_of(state.hash.data(), state.hash.size()));
    object.Set("sealed", number(env, writer.sealed(state.item)));
    Napi::Array errors = Napi::Array::New(env);
    for (const auto& [item, sums] : here.errors) {
        Napi::Object entry = error_sums_object(env, sums);
        entry.Set("item", number(env, item));
        errors.Set(errors.Length(), entry);
    }
    object.Set("errors", errors);
    return object;
}

Napi::Value checkpoint(const Shared& handle, const Napi::CallbackInfo& info) {
    const bool drain = info[0].ToBoolean();
    const double journalled = info[1].IsNumber() ? info[1].As<Napi::Number>().DoubleValue() : 0;
    return Job<Checkpoint>::start(
               info.Env(), info.Env().Undefined(),
               [handle, drain, journalled](Control& control) {
                   if (handle->closed) misuse("the tape is closed");
                   return handle->writer->checkpoint(drain, static_cast<std::uint64_t>(std::max(0.0, journalled)), control);
               },
               [handle](Napi::Env env, Checkpoint& here) { return checkpoint_object(env, *handle->writer, here); })
        .Get("done");
}

Napi::Value state(const Shared& handle, const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const TapeProgress progress = handle->writer->progress();
    Napi::Object object = Napi::Object::New(env);
    object.Set("placed", number(env, progress.placed));
    object.Set("sealed", number(env, progress.sealed));
    Napi::Array received = Napi::Array::New(env, progress.received.size());
    for (std::uint32_t i = 0; i < progress.received.size(); ++i) {
        Napi::Object interval = Napi::Object::New(env);
        interval.Set("start", number(env, progress.received[i].start));
        interval.Set("end", number(env, progress.received[i].end));
        received.Set(i, interval);
    }
    object.Set("received", received);
    object.Set("mismatch", env.Null());
    if (progress.mismatch) {
        Napi::Object mismatch = Napi::Object::New(env);
        mismatch.Set("item", number(env, progress.mismatch->item));
        mismatch.Set("sha256", progress.mismatch->sha256);
        object.Set("mismatch", mismatch);
    }
    return object;
}

Napi::Value release(const Shared& handle, const Napi::CallbackInfo& info) {
    try {
        if (info[0].IsNumber()) handle->writer->release(info[0].As<Napi::Number>().Uint32Value());
    } catch (...) {
        const auto [code, message] = caught("ERR_PLAN");
        throw coded_error(info.Env(), code, message);
    }
    return info.Env().Undefined();
}

Napi::Value close(const Shared& handle, const Napi::CallbackInfo& info) {
    const bool first = !handle->closed.exchange(true);
    return Job<bool>::start(
               info.Env(), info.Env().Undefined(),
               [handle](Control&) {
                   handle->writer->close();
                   return true;
               },
               [handle, first](Napi::Env env, bool&) {
                   if (first) handle->channel.Release();
                   return env.Undefined();
               })
        .Get("done");
}

Napi::Value open_tape(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    try {
        const auto handle = std::make_shared<Handle>();
        handle->writer = std::make_unique<TapeWriter>(tape_job(object_of(info[0], "job")));
        auto* kept = new Shared(handle);
        handle->channel = Napi::ThreadSafeFunction::New(
            env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "flashmoe tape", 0, 1,
            // When the environment goes away first, the threads must not outlive it.
            [kept](Napi::Env) {
                (*kept)->closed = true;
                (*kept)->writer->close();
                delete kept;
            });
        handle->channel.Unref(env);
        Napi::Object object = Napi::Object::New(env);
        const auto method = [&](const char* name, Napi::Value (*body)(const Shared&, const Napi::CallbackInfo&)) {
            object.Set(name, Napi::Function::New(
                                 env, [handle, body](const Napi::CallbackInfo& call) { return body(handle, call); },
                                 name));
        };
        method("put", put);
        method("checkpoint", checkpoint);
        method("state", state);
        method("release", release);
        method("close", close);
        return object;
    } catch (const Napi::Error&) {
        throw;
    } catch (...) {
        const auto [code, message] = caught("ERR_PLAN");
        throw coded_error(env, code, message);
    }
}

} // namespace

void register_tape(Napi::Env env, Napi::Object exports) {
    exports.Set("openTape", Napi::Function::New(env, open_tape, "openTape"));
}

} // namespace flashmoe::addon
