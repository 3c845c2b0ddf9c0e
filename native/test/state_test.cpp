// Going back in a conversation, and states in files.
#include <cstring>
#include <filesystem>

#include "test/harness.h"
#include "test/tiny_model.h"

namespace {

constexpr const char* kProgram = "test 1";

void expect_same(const std::vector<float>& left, const std::vector<float>& right) {
    EXPECT_EQ(left.size(), right.size());
    EXPECT(std::memcmp(left.data(), right.data(), left.size() * sizeof(float)) == 0);
}

std::vector<int32_t> part(const std::vector<int32_t>& tokens, size_t from, size_t to) {
    return {tokens.begin() + static_cast<long>(from), tokens.begin() + static_cast<long>(to)};
}

/// Asks for marks at these lengths of later prefills.
void ask_marks(const OpenSession& session, const std::vector<uint32_t>& lengths) {
    fm_error error;
    EXPECT_EQ(fm_session_mark_at(session.get(), lengths.data(), lengths.size(), &error), FM_OK);
}

void rewind_to(const OpenSession& session, uint32_t length) {
    fm_error error;
    if (fm_session_rewind(session.get(), length, &error) != FM_OK) harness::fail_at(__FILE__, __LINE__, error.message);
    EXPECT_EQ(fm_session_length(session.get()), length);
}

class Taken {
  public:
    Taken(const OpenSession& session, uint32_t length) {
        fm_error error;
        if (fm_snapshot_take(session.get(), length, &snapshot_, &error) != FM_OK) {
            harness::fail_at(__FILE__, __LINE__, error.message);
        }
    }
    ~Taken() { fm_snapshot_free(snapshot_); }
    Taken(const Taken&) = delete;
    fm_status save_part(const std::vector<int32_t>& tokens, const fm_state_file& file, fm_error& error,
                        fm_progress progress = nullptr) const {
        uint64_t bytes = 0;
        const fm_status status =
            fm_snapshot_save(snapshot_, tokens.data(), kProgram, &file, progress, nullptr, &bytes, &error);
        if (status == FM_OK) EXPECT_EQ(bytes, std::filesystem::file_size(file.path));
        return status;
    }
    /// The caches in `path`, the state of fixed size beside it.
    fm_status save(const std::vector<int32_t>& tokens, const std::string& path, fm_error& error,
                   fm_progress progress = nullptr) const {
        const auto count = static_cast<uint32_t>(tokens.size());
        const fm_status status = save_part(tokens, {path.c_str(), 0, count}, error, progress);
        const std::string fixed = path + ".fixed";
        return status != FM_OK ? status : save_part(tokens, {fixed.c_str(), count, count}, error, progress);
    }

  private:
    fm_snapshot* snapshot_ = nullptr;
};

fm_status restore_parts(const OpenSession& session, const std::vector<int32_t>& tokens,
                        const std::vector<fm_state_file>& files, fm_error& error, const char* program = kProgram) {
    return fm_session_restore(session.get(), tokens.data(), tokens.size(), program, files.data(), files.size(), nullptr,
                              nullptr, &error);
}

fm_status restore(const OpenSession& session, const std::vector<int32_t>& tokens, const std::string& path,
                  fm_error& error, const char* program = kProgram) {
    const auto count = static_cast<uint32_t>(tokens.size());
    const std::string fixed = path + ".fixed";
    return restore_parts(session, tokens, {{path.c_str(), 0, count}, {fixed.c_str(), count, count}}, error, program);
}

} // namespace

/// Around the ends of chunks; under a sanitizer, where each costs seconds, one before and one behind.
#ifdef __SANITIZE_ADDRESS__
constexpr uint32_t kMarks[] = {64, 1025};
#else
constexpr uint32_t kMarks[] = {1, 64, 500, 1023, 1025};
#endif

TEST("a state gone back to in the middle of a batch goes on with the bits of a fresh one") {
    const TinyModel model;
    const OpenEngine engine(model);
    const std::vector<int32_t> tokens = some_tokens(1100);
    for (const uint32_t mark : kMarks) {
        OpenSession session(engine, 1200), fresh(engine, 1200);
        ask_marks(session, {mark});
        session.prefill(tokens);
        session.decode(5);
        EXPECT_EQ(fm_session_reachable(session.get(), 1100), mark);
        rewind_to(session, mark);
        session.prefill({7, 8, 9});
        fresh.prefill(part(tokens, 0, mark));
        fresh.prefill({7, 8, 9});
        expect_same(session.logits(), fresh.logits());
    }
}

TEST("a mark keeps logits where it was made at the end, and none where a prompt passed by") {
    const TinyModel model;
    const OpenEngine engine(model);
    OpenSession session(engine, 64);
    ask_marks(session, {4});
    session.prefill(some_tokens(10));
    const std::vector<float> end = session.logits();
    fm_error error;
    EXPECT_EQ(fm_session_mark(session.get(), &error), FM_OK);
    session.decode(1);
    rewind_to(session, 10);
    expect_same(session.logits(), end);
    rewind_to(session, 4);
    std::vector<float> none(TinyModel::kVocab);
    EXPECT_EQ(fm_session_logits(session.get(), none.data(), &error), FM_ENGINE);
    const fm_sampling greedy{};
    int32_t token = -7;
    EXPECT_EQ(fm_session_sample(session.get(), &greedy, &token, &error), FM_ENGINE);
    // The later mark went when the state went back before it.
    EXPECT_EQ(fm_session_rewind(session.get(), 10, &error), FM_ENGINE);
    EXPECT(std::string(error.message).find("can't be gone back to at 10") != std::string::npos);
}

TEST("of many marks the first and the newest stay, and the rest lie apart") {
    const TinyModel model;
    const OpenEngine engine(model);
    OpenSession session(engine, 1100);
    std::vector<uint32_t> lengths;
    for (uint32_t i = 1; i <= 524; ++i) lengths.push_back(i * 2);
    ask_marks(session, lengths);
    session.prefill(some_tokens(1050));
    EXPECT_EQ(fm_session_reachable(session.get(), 3), 2u);
    EXPECT_EQ(fm_session_reachable(session.get(), 1049), 1048u);
    size_t kept = 0;
    for (const uint32_t length : lengths) kept += fm_session_reachable(session.get(), length) == length ? 1 : 0;
    EXPECT_EQ(kept, size_t{512});
    EXPECT_EQ(fm_session_reachable(session.get(), 1), 0u);
}

TEST("a failed decode loses the state, and going back to a mark mends it") {
    const TinyModel model;
    const OpenEngine engine(model);
    OpenSession session(engine, 64), fresh(engine, 64);
    ask_marks(session, {6});
    session.prefill(some_tokens(10));
    const std::string bytes = model.read("layer_02.bin");
    std::filesystem::resize_file(model.path("layer_02.bin"), 0);
    fm_step_stats stats;
    fm_error error;
    EXPECT_EQ(fm_session_decode(session.get(), 1, &stats, &error), FM_IO);
    model.write("layer_02.bin", bytes);
    EXPECT_EQ(fm_session_decode(session.get(), 1, &stats, &error), FM_ENGINE);
    EXPECT_EQ(fm_session_reachable(session.get(), 10), 6u);
    rewind_to(session, 6);
    session.prefill({1, 2, 3});
    fresh.prefill(part(some_tokens(10), 0, 6));
    fresh.prefill({1, 2, 3});
    expect_same(session.logits(), fresh.logits());
}

TEST("a prefill stopped after a whole chunk keeps that chunk, and no logits of an earlier length") {
    const TinyModel model;
    const OpenEngine engine(model);
    OpenSession session(engine, 2048), fresh(engine, 2048);
    const std::vector<int32_t> tokens = some_tokens(1100);
    session.prefill({1});
    fm_step_stats stats;
    fm_error error;
    const auto stop = [](void*, uint64_t done, uint64_t) { return done > 1024 ? 1 : 0; };
    EXPECT_EQ(fm_session_prefill(session.get(), tokens.data(), tokens.size(), stop, nullptr, &stats, &error), FM_INTERRUPTED);
    EXPECT_EQ(fm_session_length(session.get()), 1025u);
    std::vector<float> none(TinyModel::kVocab);
    EXPECT_EQ(fm_session_logits(session.get(), none.data(), &error), FM_ENGINE);
    session.prefill(part(tokens, 1024, 1100));
    fresh.prefill({1});
    fresh.prefill(tokens);
    expect_same(session.logits(), fresh.logits());
}

TEST("a saved state goes on exactly as its origin, which went on while it was saved") {
    const TinyModel model;
    const OpenEngine engine(model);
    const std::vector<int32_t> tokens = some_tokens(30);
    OpenSession session(engine, 64);
    ask_marks(session, {20});
    session.prefill(tokens);
    const std::string path = model.path("saved.state");
    fm_error error;
    {
        const Taken snapshot(session, 20);
        session.decode(3);
        session.decode(4);
        EXPECT_EQ(snapshot.save(part(tokens, 0, 20), path, error), FM_OK);
        session.decode(5);
        // What is being saved can't be gone back behind.
        EXPECT_EQ(fm_session_reset(session.get(), &error), FM_ENGINE);
        EXPECT(std::string(error.message).find("being saved") != std::string::npos);
        EXPECT_EQ(restore(session, part(tokens, 0, 20), path, error), FM_ENGINE);
        fm_snapshot* second = nullptr;
        EXPECT_EQ(fm_snapshot_take(session.get(), 20, &second, &error), FM_ENGINE);
    }
    EXPECT(std::filesystem::status(path).permissions() == std::filesystem::perms(0600));
    OpenSession restored(engine, 40), fresh(engine, 64);
    EXPECT_EQ(restore(restored, part(tokens, 0, 20), path, error), FM_OK);
    EXPECT_EQ(fm_session_length(restored.get()), 20u);
    restored.prefill(part(tokens, 20, 30));
    for (const int32_t token : {3, 4, 5}) restored.decode(token);
    expect_same(restored.logits(), session.logits());
    // It can be gone back to as well.
    rewind_to(restored, 20);
    restored.prefill({9, 9});
    fresh.prefill(part(tokens, 0, 20));
    fresh.prefill({9, 9});
    expect_same(restored.logits(), fresh.logits());
}

TEST("saved caches are cut anywhere, and gone on from wherever the state agrees with them") {
    const TinyModel model;
    const OpenEngine engine(model);
    const std::vector<int32_t> tokens = some_tokens(40);
    OpenSession origin(engine, 64);
    ask_marks(origin, {16, 20, 26});
    origin.prefill(tokens);
    fm_error error;
    const std::string first = model.path("first.state"), second = model.path("second.state");
    const std::string fixed = model.path("20.state");
    {
        const Taken snapshot(origin, 40);
        EXPECT_EQ(snapshot.save_part(tokens, {first.c_str(), 0, 16}, error), FM_OK);
        EXPECT_EQ(snapshot.save_part(tokens, {second.c_str(), 16, 40}, error), FM_OK);
        EXPECT_EQ(snapshot.save_part(tokens, {fixed.c_str(), 20, 20}, error), FM_OK);
        EXPECT_EQ(snapshot.save_part(tokens, {model.path("21.state").c_str(), 21, 21}, error), FM_ENGINE);
        EXPECT_EQ(snapshot.save_part(tokens, {model.path("41.state").c_str(), 0, 41}, error), FM_ENGINE);
    }
    std::vector<int32_t> others = tokens;
    others[20] ^= 1;
    const std::vector<int32_t> wanted = part(others, 0, 20);
    OpenSession fresh(engine, 64);
    fresh.prefill(others);
    const auto same = [&](OpenSession& session) {
        EXPECT_EQ(fm_session_length(session.get()), 20u);
        session.prefill(part(others, 20, 40));
        expect_same(session.logits(), fresh.logits());
    };
    // From nothing, in a context that the second file goes beyond.
    OpenSession small(engine, 40), agreeing(engine, 64), other(engine, 64);
    const fm_state_file from_first{first.c_str(), 0, 16}, from_second{second.c_str(), 16, 40};
    const fm_state_file behind{fixed.c_str(), 20, 20};
    EXPECT_EQ(restore_parts(small, wanted, {from_first, from_second, behind}, error), FM_OK);
    same(small);
    // The first sixteen are here, and with them a mark.
    ask_marks(agreeing, {10});
    agreeing.prefill(part(tokens, 0, 16));
    agreeing.prefill({9, 9, 9});
    EXPECT_EQ(restore_parts(agreeing, wanted, {from_second, behind}, error), FM_OK);
    EXPECT_EQ(fm_session_reachable(agreeing.get(), 19), 10u);
    same(agreeing);
    // All caches are here.
    other.prefill(part(tokens, 0, 20));
    other.decode(7);
    EXPECT_EQ(restore_parts(other, wanted, {behind}, error), FM_OK);
    same(other);

    // Gaps, other tokens, or no state of fixed size.
    OpenSession empty(engine, 64);
    for (const std::vector<fm_state_file>& files : {std::vector<fm_state_file>{from_second, behind},
                                                    {from_first, behind},
                                                    {behind},
                                                    {from_first, from_second},
                                                    {from_second, from_first, behind},
                                                    {behind, from_first, from_second},
                                                    {}}) {
        EXPECT_EQ(restore_parts(empty, wanted, files, error), FM_ENGINE);
        EXPECT_EQ(fm_session_length(empty.get()), 0u);
    }
    std::vector<int32_t> departs = wanted;
    departs[18] ^= 1;
    EXPECT_EQ(restore_parts(empty, departs, {from_first, from_second, behind}, error), FM_ENGINE);
    departs = wanted;
    departs[3] ^= 1;
    EXPECT_EQ(restore_parts(agreeing, departs, {from_second, behind}, error), FM_ENGINE);
}

TEST("a damaged, foreign or oversized saved state is refused, and nothing of it is used") {
    const TinyModel model;
    const OpenEngine engine(model), fewer(model, 2);
    const std::vector<int32_t> tokens = some_tokens(20);
    OpenSession session(engine, 64), origin(engine, 64);
    ask_marks(origin, {20});
    origin.prefill(tokens);
    const std::string path = model.path("saved.state");
    fm_error error;
    EXPECT_EQ(Taken(origin, 20).save(tokens, path, error), FM_OK);
    const std::string whole = model.read("saved.state");

    const auto refused = [&](const std::vector<int32_t>& of, const char* program = kProgram) {
        session.prefill({1, 2, 3});
        const uint32_t before = fm_session_length(session.get());
        EXPECT_EQ(restore(session, of, path, error, program), FM_ENGINE);
        const uint32_t after = fm_session_length(session.get());
        EXPECT(after == before || after == 0);
        OpenSession fresh(engine, 64);
        std::vector<int32_t> again;
        for (uint32_t i = 0; i < after; i += 3) again.insert(again.end(), {1, 2, 3});
        again.insert(again.end(), {4, 5});
        fresh.prefill(again);
        session.prefill({4, 5});
        expect_same(session.logits(), fresh.logits());
        EXPECT_EQ(fm_session_reset(session.get(), &error), FM_OK);
    };
    for (const size_t at : {size_t{0}, size_t{9}, size_t{13}, size_t{17}, size_t{25}, size_t{33}, size_t{41}, size_t{50},
                            size_t{70}, whole.size() / 2, whole.size() - 1}) {
        std::string flipped = whole;
        flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
        model.write("saved.state", flipped);
        refused(tokens);
    }
    for (const size_t length : {size_t{0}, size_t{7}, size_t{48}, size_t{60}, whole.size() - 1}) {
        model.write("saved.state", whole.substr(0, length));
        refused(tokens);
    }
    model.write("saved.state", whole + "x");
    refused(tokens);
    model.write("saved.state", whole);
    refused(part(tokens, 0, 19));
    std::vector<int32_t> others = tokens;
    others[7] ^= 1;
    refused(others);
    refused(tokens, "test 2");

    OpenSession other(fewer, 64), small(engine, 19);
    EXPECT_EQ(restore(other, tokens, path, error), FM_ENGINE);
    EXPECT_EQ(restore(small, tokens, path, error), FM_CONTEXT);
    std::filesystem::create_symlink(path, model.path("link.state"));
    EXPECT_EQ(restore(session, tokens, model.path("link.state"), error), FM_IO);
    EXPECT_EQ(restore(session, tokens, model.path("none.state"), error), FM_IO);
    EXPECT_EQ(restore(session, tokens, path, error), FM_OK);
}

TEST("saving that is stopped or has no room leaves no file, and never writes over one") {
    const TinyModel model;
    const OpenEngine engine(model);
    const std::vector<int32_t> tokens = some_tokens(20);
    OpenSession session(engine, 64);
    ask_marks(session, {20});
    session.prefill(tokens);
    const std::string path = model.path("saved.state");
    fm_error error;
    const Taken snapshot(session, 20);
    const auto stop = [](void*, uint64_t done, uint64_t) { return done > 100 ? 1 : 0; };
    EXPECT_EQ(snapshot.save(tokens, path, error, stop), FM_INTERRUPTED);
    EXPECT(!std::filesystem::exists(path));
    EXPECT_EQ(snapshot.save(tokens, model.path("nowhere/saved.state"), error), FM_IO);
    model.write("saved.state", "mine");
    EXPECT_EQ(snapshot.save(tokens, path, error), FM_IO);
    EXPECT_EQ(model.read("saved.state"), "mine");
}
