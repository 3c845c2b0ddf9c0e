#include "core/json.h"

#include "test/harness.h"

using flashmoe::Field;
using flashmoe::Json;
using flashmoe::parse_json;

namespace {

Json parse(const std::string& text) { return parse_json(text, "file.json"); }

} // namespace

TEST("every kind of JSON value is read") {
    const Json json = parse(R"( {"a": [1, -2.5e3, 0, true, false, null], "b": {"c": "x\n\"\\\u00e9\ud83d\ude00é"}} )");
    const Field root(json, "file.json:");
    const auto items = root.at("a").items(6);
    EXPECT_EQ(items[0].integer(0, 5), 1u);
    EXPECT_EQ(items[1].number(), -2500.0);
    EXPECT(items[3].boolean() && !items[4].boolean() && items[5].is_null());
    EXPECT_EQ(root.at("b").at("c").string(), "x\n\"\\\xC3\xA9\xF0\x9F\x98\x80\xC3\xA9");
    EXPECT_EQ(parse("1e-7").number, 1e-7);
    EXPECT_EQ(parse("0.1234567890123456789").number, 0.1234567890123456789);
}

TEST("text that is not strict JSON is refused with its place") {
    const std::vector<std::string> bad = {
        "", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "[1 2]", "01", "1.", ".5", "+1", "1e", "-", "NaN",
        "Infinity", "1e999", "nul", "truee", "\"abc", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
        "\"\\udc00\"", "\"\t\"", "\"\xFF\"", "\"\xC0\x80\"", "\"\xE0\x80\x80\"", "\"\xED\xA0\x80\"", "\"\xF5\x80\x80\x80\"",
        "\"\xC3\"", "{\"a\":1,\"a\":2}", "1 2", "[1]]", "'a'", "/* */ 1", "\xEF\xBB\xBF{}",
    };
    for (const std::string& text : bad) EXPECT_THROWS(parse(text), "file.json: not valid JSON at line 1, column ");
    EXPECT_THROWS(parse("{\n \"a\": x}"), "line 2, column 7");
}

TEST("depth is limited, so that a hostile file can't exhaust the stack") {
    EXPECT_THROWS(parse(std::string(100'000, '[')), "nested too deeply");
    std::string objects;
    for (int i = 0; i < 1000; ++i) objects += "{\"a\":";
    EXPECT_THROWS(parse(objects), "nested too deeply");
    parse("[[[[[[[[1]]]]]]]]");
}

TEST("a field names its path when it is not what is expected") {
    const Json json = parse(R"({"a":[{"b":"text","n":1.5,"big":1e17,"nul":"a\u0000b"}]})");
    const Field root(json, "file.json:");
    const Field item = root.at("a").items(1)[0];
    EXPECT_THROWS(item.at("c"), "file.json: a[0].c: missing");
    EXPECT_THROWS(item.at("b").integer(1, 2), "file.json: a[0].b: expected an integer from 1 to 2");
    EXPECT_THROWS(item.at("n").integer(1, 2), "a[0].n: expected an integer");
    EXPECT_THROWS(item.at("big").integer(1, UINT64_MAX), "a[0].big");
    EXPECT_THROWS(item.at("nul").string(), "a[0].nul");
    EXPECT_THROWS(item.at("n").string(), "a[0].n: expected a text");
    EXPECT_THROWS(item.items(3), "a[0]: expected an array");
    EXPECT_THROWS(root.at("a").items(0), "a: more than 0 entries");
    EXPECT_THROWS(root.at("a").at("x"), "a: expected an object");
}
