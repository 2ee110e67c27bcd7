// A small reader of JSON in C++17, nothing but the standard library.
#pragma once

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace edgeyolo {

// One value of a JSON document.
class Json {
public:
    enum class Kind { null, boolean, number, text, list, object };

    static Json parse(const std::string& text) {
        Reader reader{text, 0};
        Json value = reader.value(0);
        reader.blanks();
        if (reader.at != text.size()) reader.fail("more than one value");
        return value;
    }

    Kind kind() const { return kind_; }
    bool is_null() const { return kind_ == Kind::null; }
    bool boolean() const { return require(Kind::boolean, "true or false"), number_ != 0; }
    double number() const { return require(Kind::number, "a number"), number_; }
    const std::string& text() const { return require(Kind::text, "a text"), text_; }
    const std::vector<Json>& list() const { return require(Kind::list, "a list"), items_; }

    int integer() const {
        const double value = number();
        if (value != std::floor(value) || std::fabs(value) > std::numeric_limits<int>::max())
            throw std::runtime_error("JSON: expected a whole number");
        return int(value);
    }

    // A member of an object; `find` gives nullptr where there is none.
    const Json* find(const std::string& name) const {
        require(Kind::object, "an object");
        const auto found = members_.find(name);
        return found == members_.end() ? nullptr : &found->second;
    }
    const Json& operator[](const std::string& name) const {
        const Json* found = find(name);
        if (!found) throw std::runtime_error("JSON: no member \"" + name + "\"");
        return *found;
    }

private:
    struct Reader {
        const std::string& text;
        std::size_t at;

        [[noreturn]] void fail(const char* why) const {
            throw std::runtime_error("JSON: " + std::string(why) + " at byte " + std::to_string(at));
        }
        void blanks() {
            while (at < text.size() && std::strchr(" \t\r\n", text[at]) && text[at]) ++at;
        }
        char next() { return at < text.size() ? text[at] : '\0'; }
        bool take(char wanted) { return blanks(), next() == wanted && wanted ? ++at, true : false; }
        void expect(const char* word) {
            const std::size_t length = std::strlen(word);
            if (text.compare(at, length, word)) fail("an unknown word");
            at += length;
        }
        Json value(int depth) {
            if (depth > 64) fail("nested too deeply");
            blanks();
            Json made;
            switch (next()) {
                case '{': return object(depth);
                case '[': return list(depth);
                case '"': return made.kind_ = Kind::text, made.text_ = string(), made;
                case 't': return expect("true"), made.kind_ = Kind::boolean, made.number_ = 1, made;
                case 'f': return expect("false"), made.kind_ = Kind::boolean, made;
                case 'n': return expect("null"), made;
                default: return number();
            }
        }
        Json object(int depth) {
            Json made;
            made.kind_ = Kind::object, ++at;
            if (take('}')) return made;
            do {
                blanks();
                if (next() != '"') fail("expected a name");
                std::string name = string();
                if (!take(':')) fail("expected ':'");
                if (!made.members_.emplace(std::move(name), value(depth + 1)).second) fail("a name comes twice");
            } while (take(','));
            if (!take('}')) fail("expected '}'");
            return made;
        }
        Json list(int depth) {
            Json made;
            made.kind_ = Kind::list, ++at;
            if (take(']')) return made;
            do made.items_.push_back(value(depth + 1));
            while (take(','));
            if (!take(']')) fail("expected ']'");
            return made;
        }
        Json number() {
            const std::size_t first = at;
            while (at < text.size() && std::strchr("+-.0123456789eE", text[at]) && text[at]) ++at;
            const std::string word = text.substr(first, at - first);
            char* end = nullptr;
            Json made;
            made.kind_ = Kind::number, made.number_ = std::strtod(word.c_str(), &end);
            if (word.empty() || *end || !std::isfinite(made.number_)) fail("expected a value");
            return made;
        }
        unsigned hexadecimal() {
            const std::string digits = "0123456789abcdefABCDEF";
            unsigned value = 0;
            for (int digit = 0; digit < 4; ++digit, ++at) {
                const std::size_t found = digits.find(next());
                if (found == std::string::npos) fail("expected four hexadecimal digits");
                value = value * 16 + unsigned(found < 16 ? found : found - 6);
            }
            return value;
        }
        std::string string() {
            std::string made;
            for (++at; next() != '"'; ) {
                if (at >= text.size() || static_cast<unsigned char>(next()) < 32) fail("a text without an end");
                if (next() != '\\') { made += text[at++]; continue; }
                ++at;
                const char* known = "\"\\/bfnrt", *said = next() ? std::strchr(known, next()) : nullptr;
                if (said) { made += "\"\\/\b\f\n\r\t"[said - known], ++at; continue; }
                if (next() != 'u') fail("an unknown escape");
                ++at;
                unsigned point = hexadecimal();
                if (point >= 0xD800 && point < 0xDC00) {  // the first of a pair
                    expect("\\u");
                    point = 0x10000 + ((point - 0xD800) << 10) + (hexadecimal() - 0xDC00);
                }
                append(made, point);
            }
            ++at;
            return made;
        }
        static void append(std::string& out, unsigned point) {  // as UTF-8
            if (point < 0x80) { out += char(point); return; }
            const int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
            out += char((0xFF00 >> (more + 1) & 0xFF) | point >> 6 * more);
            for (int left = more - 1; left >= 0; --left) out += char(0x80 | (point >> 6 * left & 0x3F));
        }
    };

    void require(Kind wanted, const char* name) const {
        if (kind_ != wanted) throw std::runtime_error("JSON: expected " + std::string(name));
    }

    Kind kind_ = Kind::null;
    double number_ = 0;
    std::string text_;
    std::vector<Json> items_;
    std::map<std::string, Json> members_;
};

}  // namespace edgeyolo
