// The smallest test frame that serves: TEST("a sentence about behaviour") { EXPECT(...); }. A failed expectation
// ends its test, is printed with file and line, and fails the run.
#pragma once

#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace harness {

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Test {
    const char* name;
    std::function<void()> body;
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

struct Register {
    Register(const char* name, std::function<void()> body) { tests().push_back({name, std::move(body)}); }
};

template <typename... Parts> [[noreturn]] void fail_at(const char* file, int line, const Parts&... parts) {
    std::ostringstream text;
    text << file << ":" << line << ": ";
    (text << ... << parts);
    throw Failure(text.str());
}

} // namespace harness

#define HARNESS_JOIN2(a, b) a##b
#define HARNESS_JOIN(a, b) HARNESS_JOIN2(a, b)
#define TEST(name)                                                                                                     \
    static void HARNESS_JOIN(test_, __LINE__)();                                                                       \
    static const harness::Register HARNESS_JOIN(register_, __LINE__)(name, HARNESS_JOIN(test_, __LINE__));             \
    static void HARNESS_JOIN(test_, __LINE__)()

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) harness::fail_at(__FILE__, __LINE__, "not true: " #condition);                               \
    } while (false)

/// Copies both: a reference into a temporary would outlive it.
#define EXPECT_EQ(left, right)                                                                                         \
    do {                                                                                                               \
        const auto harness_left = (left);                                                                              \
        const auto harness_right = (right);                                                                            \
        if (!(harness_left == harness_right)) {                                                                        \
            harness::fail_at(__FILE__, __LINE__, #left " is ", harness_left, ", expected ", harness_right);            \
        }                                                                                                              \
    } while (false)

/// `expression` throws, and the message contains `part`.
#define EXPECT_THROWS(expression, part)                                                                                \
    do {                                                                                                               \
        std::string harness_message;                                                                                   \
        bool harness_thrown = false;                                                                                   \
        try {                                                                                                          \
            (void)(expression);                                                                                        \
        } catch (const std::exception& harness_error) {                                                                \
            harness_thrown = true;                                                                                     \
            harness_message = harness_error.what();                                                                    \
        }                                                                                                              \
        if (!harness_thrown) harness::fail_at(__FILE__, __LINE__, #expression " threw nothing");                       \
        if (harness_message.find(part) == std::string::npos) {                                                         \
            harness::fail_at(__FILE__, __LINE__, "\"", harness_message, "\" does not contain \"", part, "\"");         \
        }                                                                                                              \
    } while (false)
