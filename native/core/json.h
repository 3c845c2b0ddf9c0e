// A strict JSON reader for files that may be hostile: RFC 8259 without extensions, no duplicate names, limits on
// depth and count, valid UTF-8. Values are read through a Field, which knows its path, so that every complaint names it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"

namespace flashmoe {

struct JsonMember;

struct Json {
    enum class Kind { null, boolean, number, string, array, object };
    Kind kind = Kind::null;
    bool boolean = false;
    double number = 0;
    std::string string;
    std::vector<Json> items;
    /// In file order; names are unique.
    std::vector<JsonMember> members;

    const Json* find(std::string_view name) const;
};

struct JsonMember {
    std::string name;
    Json value;
};

/// `file` is for messages only. Throws FM_MODEL_DAMAGED with line and column.
Json parse_json(std::string_view text, const std::string& file);

/// A value and where it stands: "layout.json: layouts[0].expert_size".
class Field {
  public:
    Field(const Json& value, std::string path) : value_(&value), path_(std::move(path)) {}

    const std::string& path() const { return path_; }
    const Json& json() const { return *value_; }
    bool has(std::string_view name) const;
    bool is_null() const { return value_->kind == Json::Kind::null; }

    Field at(std::string_view name) const;
    std::vector<Field> items(size_t max_count) const;
    std::vector<std::pair<std::string, Field>> members(size_t max_count) const;

    uint64_t integer(uint64_t min, uint64_t max) const;
    /// Finite.
    double number() const;
    bool boolean() const;
    /// Not empty, at most 512 bytes, no NUL.
    const std::string& string() const;

    [[noreturn]] void damaged(const std::string& what) const;

  private:
    const Json* value_;
    std::string path_;
};

} // namespace flashmoe
