#include "core/json.h"

#include <clocale>
#include <cmath>
#include <cstdlib>
#include <locale.h>
#include <unordered_set>
#ifdef __APPLE__
#include <xlocale.h>
#endif

namespace flashmoe {
namespace {

constexpr int kMaxDepth = 24;
// A manifest of the largest known model has some 20,000 values; this bounds memory, not models.
constexpr size_t kMaxValues = 4'000'000;

class Parser {
  public:
    Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

    Json document() {
        Json value = parse_value(0);
        skip_space();
        if (at_ != text_.size()) damaged("text after the value");
        return value;
    }

  private:
    [[noreturn]] void damaged(const char* what) const {
        size_t line = 1, column = 1;
        for (size_t i = 0; i < at_ && i < text_.size(); ++i) {
            if (text_[i] == '\n') ++line, column = 1;
            else ++column;
        }
        fail(FM_MODEL_DAMAGED, file_, ": not valid JSON at line ", line, ", column ", column, ": ", what);
    }

    bool end() const { return at_ >= text_.size(); }
    char peek() const { return end() ? '\0' : text_[at_]; }

    void skip_space() {
        while (!end() && (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t')) ++at_;
    }

    bool take(char c) {
        if (end() || text_[at_] != c) return false;
        ++at_;
        return true;
    }

    Json parse_value(int depth) {
        if (depth > kMaxDepth) damaged("nested too deeply");
        if (++values_ > kMaxValues) damaged("too many values");
        skip_space();
        if (end()) damaged("ends too early");
        Json value;
        switch (peek()) {
        case '{': parse_object(value, depth); break;
        case '[': parse_array(value, depth); break;
        case '"':
            value.kind = Json::Kind::string;
            value.string = parse_string();
            break;
        case 't': literal("true"), value.kind = Json::Kind::boolean, value.boolean = true; break;
        case 'f': literal("false"), value.kind = Json::Kind::boolean; break;
        case 'n': literal("null"); break;
        default: value.kind = Json::Kind::number, value.number = parse_number();
        }
        return value;
    }

    void literal(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) damaged("unknown word");
        at_ += word.size();
    }

    void parse_object(Json& value, int depth) {
        value.kind = Json::Kind::object;
        std::unordered_set<std::string> names;
        ++at_;
        skip_space();
        if (take('}')) return;
        for (;;) {
            skip_space();
            if (peek() != '"') damaged("expected a name in quotes");
            std::string name = parse_string();
            if (!names.insert(name).second) damaged("a name stands twice in one object");
            skip_space();
            if (!take(':')) damaged("expected ':'");
            Json member = parse_value(depth + 1);
            value.members.push_back({std::move(name), std::move(member)});
            skip_space();
            if (take('}')) return;
            if (!take(',')) damaged("expected ',' or '}'");
        }
    }

    void parse_array(Json& value, int depth) {
        value.kind = Json::Kind::array;
        ++at_;
        skip_space();
        if (take(']')) return;
        for (;;) {
            value.items.push_back(parse_value(depth + 1));
            skip_space();
            if (take(']')) return;
            if (!take(',')) damaged("expected ',' or ']'");
        }
    }

    void digits() {
        if (!(peek() >= '0' && peek() <= '9')) damaged("expected a digit");
        while (peek() >= '0' && peek() <= '9') ++at_;
    }

    double parse_number() {
        const size_t start = at_;
        take('-');
        if (take('0')) {
            if (peek() >= '0' && peek() <= '9') damaged("a number starts with 0");
        } else {
            digits();
        }
        if (take('.')) digits();
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            if (!take('+')) take('-');
            digits();
        }
        // strtod with a fixed locale: std::from_chars for double is missing in the libc++ of older macOS.
        static const locale_t plain = newlocale(LC_ALL_MASK, "C", nullptr);
        const std::string word(text_.substr(start, at_ - start));
        const double number = strtod_l(word.c_str(), nullptr, plain);
        if (!std::isfinite(number)) damaged("a number out of range");
        return number;
    }

    uint32_t hex4() {
        uint32_t code = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            const char c = peek();
            code <<= 4;
            if (c >= '0' && c <= '9') code |= static_cast<uint32_t>(c - '0');
            else if (c >= 'a' && c <= 'f') code |= static_cast<uint32_t>(c - 'a' + 10);
            else if (c >= 'A' && c <= 'F') code |= static_cast<uint32_t>(c - 'A' + 10);
            else damaged("bad \\u escape");
        }
        return code;
    }

    void append_utf8(std::string& out, uint32_t code) {
        if (code < 0x80) {
            out += static_cast<char>(code);
        } else if (code < 0x800) {
            out += static_cast<char>(0xC0 | (code >> 6));
            out += static_cast<char>(0x80 | (code & 63));
        } else if (code < 0x10000) {
            out += static_cast<char>(0xE0 | (code >> 12));
            out += static_cast<char>(0x80 | ((code >> 6) & 63));
            out += static_cast<char>(0x80 | (code & 63));
        } else {
            out += static_cast<char>(0xF0 | (code >> 18));
            out += static_cast<char>(0x80 | ((code >> 12) & 63));
            out += static_cast<char>(0x80 | ((code >> 6) & 63));
            out += static_cast<char>(0x80 | (code & 63));
        }
    }

    void escape(std::string& out) {
        const char c = peek();
        ++at_;
        switch (c) {
        case '"': out += '"'; return;
        case '\\': out += '\\'; return;
        case '/': out += '/'; return;
        case 'b': out += '\b'; return;
        case 'f': out += '\f'; return;
        case 'n': out += '\n'; return;
        case 'r': out += '\r'; return;
        case 't': out += '\t'; return;
        case 'u': break;
        default: damaged("unknown escape");
        }
        uint32_t code = hex4();
        if (code >= 0xD800 && code < 0xDC00) {
            if (!take('\\') || !take('u')) damaged("half a surrogate pair");
            const uint32_t low = hex4();
            if (low < 0xDC00 || low > 0xDFFF) damaged("half a surrogate pair");
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        } else if (code >= 0xDC00 && code < 0xE000) {
            damaged("half a surrogate pair");
        }
        append_utf8(out, code);
    }

    /// Copies one well-formed multi-byte sequence (no overlong form, no surrogate).
    void utf8_sequence(std::string& out) {
        const auto lead = static_cast<unsigned char>(text_[at_]);
        const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
        if (lead < 0xC2 || lead > 0xF4 || at_ + length > text_.size()) damaged("not UTF-8");
        uint32_t code = lead & (0xFFu >> (length + 1));
        for (size_t i = 1; i < length; ++i) {
            const auto byte = static_cast<unsigned char>(text_[at_ + i]);
            if ((byte & 0xC0) != 0x80) damaged("not UTF-8");
            code = (code << 6) | (byte & 63u);
        }
        const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
        if (overlong || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) damaged("not UTF-8");
        out.append(text_.substr(at_, length));
        at_ += length;
    }

    std::string parse_string() {
        std::string out;
        ++at_;
        for (;;) {
            if (end()) damaged("a string has no end");
            const auto c = static_cast<unsigned char>(text_[at_]);
            if (c == '"') {
                ++at_;
                return out;
            }
            if (c < 0x20) damaged("a control character in a string");
            if (c == '\\') {
                ++at_;
                escape(out);
            } else if (c < 0x80) {
                out += static_cast<char>(c);
                ++at_;
            } else {
                utf8_sequence(out);
            }
        }
    }

    std::string_view text_;
    const std::string& file_;
    size_t at_ = 0;
    size_t values_ = 0;
};

} // namespace

const Json* Json::find(std::string_view name) const {
    for (const auto& [key, value] : members) {
        if (key == name) return &value;
    }
    return nullptr;
}

Json parse_json(std::string_view text, const std::string& file) { return Parser(text, file).document(); }

void Field::damaged(const std::string& what) const { fail(FM_MODEL_DAMAGED, path_, ": ", what); }

bool Field::has(std::string_view name) const {
    return value_->kind == Json::Kind::object && value_->find(name) != nullptr;
}

Field Field::at(std::string_view name) const {
    if (value_->kind != Json::Kind::object) damaged("expected an object");
    const Json* member = value_->find(name);
    // The root's path is the file name, so its members are set off by a space.
    const bool root = path_.ends_with(':');
    std::string path = path_ + (root ? " " : ".") + std::string(name);
    if (member == nullptr) fail(FM_MODEL_DAMAGED, path, ": missing");
    return Field(*member, std::move(path));
}

std::vector<Field> Field::items(size_t max_count) const {
    if (value_->kind != Json::Kind::array) damaged("expected an array");
    if (value_->items.size() > max_count) damaged("more than " + std::to_string(max_count) + " entries");
    std::vector<Field> fields;
    fields.reserve(value_->items.size());
    for (size_t i = 0; i < value_->items.size(); ++i) {
        fields.emplace_back(value_->items[i], path_ + "[" + std::to_string(i) + "]");
    }
    return fields;
}

std::vector<std::pair<std::string, Field>> Field::members(size_t max_count) const {
    if (value_->kind != Json::Kind::object) damaged("expected an object");
    if (value_->members.size() > max_count) damaged("more than " + std::to_string(max_count) + " entries");
    std::vector<std::pair<std::string, Field>> fields;
    fields.reserve(value_->members.size());
    for (const auto& [name, value] : value_->members) {
        fields.emplace_back(name, Field(value, path_ + "." + name));
    }
    return fields;
}

uint64_t Field::integer(uint64_t min, uint64_t max) const {
    const double number = value_->number;
    const bool whole = value_->kind == Json::Kind::number && number == std::floor(number);
    // 2^53: above it a double doesn't tell neighbouring integers apart.
    if (!whole || number < static_cast<double>(min) || number > static_cast<double>(max) || number > 9007199254740992.0) {
        damaged("expected an integer from " + std::to_string(min) + " to " + std::to_string(max));
    }
    return static_cast<uint64_t>(number);
}

double Field::number() const {
    if (value_->kind != Json::Kind::number) damaged("expected a number");
    return value_->number;
}

bool Field::boolean() const {
    if (value_->kind != Json::Kind::boolean) damaged("expected true or false");
    return value_->boolean;
}

const std::string& Field::string() const {
    const std::string& text = value_->string;
    if (value_->kind != Json::Kind::string || text.empty() || text.size() > 512 ||
        text.find('\0') != std::string::npos) {
        damaged("expected a text of 1 to 512 bytes");
    }
    return text;
}

} // namespace flashmoe
