// Reader of edgeyolo's artifacts in C++17: this header, edgeyolo_json.hpp and the standard library.
//
//     const edgeyolo::Manifest manifest = edgeyolo::read_manifest("cells-onnx/manifest.json");
//     const edgeyolo::Prepared prepared = edgeyolo::prepare({height, width, bgr}, manifest.input);
//     ... run the artifact's file: prepared.tensor.data() goes in under manifest.input.name, and the arrays of
//     manifest.output.names come out ...
//     for (const edgeyolo::Detection& each : edgeyolo::detect(arrays, manifest, prepared.box)) ...
//
// Every step is the one of edgeyolo's own runtime: docs/artifact-format.md has the formulas. What cannot be is a
// std::runtime_error with a sentence.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "edgeyolo_json.hpp"

namespace edgeyolo {

// ------------------------------------------------------------------------------------------------------ manifest

struct Size { int height, width; };

// The real value of an integer q: (q - zero_point) * scale.
struct Quantization { double scale; int zero_point; };

struct Input {
    Size size;
    int batch;
    std::string name, layout, dtype, color_order;  // NCHW or NHWC; float32, float16, uint8, int8; RGB or BGR
    double scale;
    int pad_value;
    std::optional<Quantization> quantization;
};

// `kind` is "raw maps", or "detections" of a graph that suppresses; only those that edgeyolo exports are read.
struct Output {
    std::string kind, layout, dtype;
    std::vector<std::string> names;
    std::vector<int> strides;
    std::vector<std::vector<std::array<float, 2>>> anchors;  // width, height in pixels of the input, by level
    int classes = 0, most = 300;
    std::vector<Quantization> quantization;  // by map, where the file gives integers
    float box_gain = 1;  // x, y, w, h are that many times what is decoded
};

struct Manifest {
    std::string model, target;
    Input input;
    Output output;
    std::vector<std::string> class_names;
};

inline Quantization read_quantization(const Json& said) { return {said["scale"].number(), said["zero_point"].integer()}; }

inline Input read_input(const Json& said) {
    Input input{{said["height"].integer(), said["width"].integer()}, said["batch"].integer(), said["name"].text(),
                said["layout"].text(), said["dtype"].text(), said["color_order"].text(), said["scale"].number(),
                said["pad_value"].integer(), {}};
    if (const Json* scale = said.find("quantization"); scale && !scale->is_null())
        input.quantization = read_quantization(*scale);
    return input;
}

inline Output read_output(const Json& said) {
    Output output;
    output.kind = said.find("kind") ? said["kind"].text() : "raw maps";
    output.classes = said["classes"].integer();
    for (const Json& name : said["names"].list()) output.names.push_back(name.text());
    if (output.kind == "detections") return output.most = said["max_det"].integer(), output;
    if (output.kind != "raw maps") throw std::runtime_error("output: " + output.kind + " are not read by this header");
    output.layout = said["layout"].text();
    output.dtype = said.find("dtype") ? said["dtype"].text() : "float32";
    for (const Json& stride : said["strides"].list()) output.strides.push_back(stride.integer());
    for (const Json& level : said["anchors"].list()) {
        auto& pairs = output.anchors.emplace_back();
        for (const Json& pair : level.list())
            pairs.push_back({float(pair.list().at(0).number()), float(pair.list().at(1).number())});
    }
    if (const Json* gain = said.find("box_gain")) output.box_gain = float(gain->number());
    if (const Json* scales = said.find("quantization"))
        for (const Json& each : scales->list()) output.quantization.push_back(read_quantization(each));
    return output;
}

inline std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": cannot be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

inline Manifest read_manifest(const std::string& path) {
    const Json said = Json::parse(read_file(path));
    if (said["schema"].text() != "edgeyolo-artifact/1")
        throw std::runtime_error(path + ": expected the schema edgeyolo-artifact/1, got " + said["schema"].text());
    Manifest manifest{said["model"].text(), said["target"].text(), read_input(said["input"]),
                      read_output(said["output"]), {}};
    for (const Json& name : said["class_names"].list()) manifest.class_names.push_back(name.text());
    return manifest;
}

// ----------------------------------------------------------------------------------------------------- letterbox

// (height, width, 3) bytes, BGR, row after row.
struct Image { int height, width; const std::uint8_t* bgr; };

// Bilinear, to the bit as OpenCV's INTER_LINEAR of bytes: weights of 11 bits, and the mean of four at half the size.
inline void resize(const Image& from, int rows, int columns, std::uint8_t* to) {
    struct Tap { int first, second, weight, other; };
    const auto taps = [](int size, int wanted, bool across) {
        std::vector<Tap> made(wanted);
        const double scale = 1.0 / (double(wanted) / size);
        for (int i = 0; i < wanted; ++i) {
            float at = float((i + 0.5) * scale - 0.5);
            const int low = int(std::floor(at));
            at -= float(low);
            if (across && (low < 0 || low >= size - 1)) at = 0;
            made[i] = {std::clamp(low, 0, size - 1), std::clamp(low + 1, 0, size - 1),
                       int(std::nearbyint((1 - at) * 2048)), int(std::nearbyint(at * 2048))};
        }
        return made;
    };
    const auto pixel = [&](int y, int x, int c) { return int(from.bgr[(std::size_t(y) * from.width + x) * 3 + c]); };
    if (from.height == 2 * rows && from.width == 2 * columns) {
        for (int y = 0; y < rows; ++y)
            for (int x = 0; x < columns; ++x)
                for (int c = 0; c < 3; ++c)
                    *to++ = std::uint8_t((pixel(2 * y, 2 * x, c) + pixel(2 * y, 2 * x + 1, c) +
                                          pixel(2 * y + 1, 2 * x, c) + pixel(2 * y + 1, 2 * x + 1, c) + 2) >> 2);
        return;
    }
    const auto across = taps(from.width, columns, true), down = taps(from.height, rows, false);
    std::vector<int> lines[2] = {std::vector<int>(columns * 3), std::vector<int>(columns * 3)};
    for (const Tap& row : down) {
        for (int line = 0; line < 2; ++line)
            for (int x = 0; x < columns; ++x)
                for (int c = 0; c < 3; ++c) {
                    const int y = line ? row.second : row.first;
                    lines[line][x * 3 + c] = pixel(y, across[x].first, c) * across[x].weight +
                                             pixel(y, across[x].second, c) * across[x].other;
                }
        for (int i = 0; i < columns * 3; ++i)
            *to++ = std::uint8_t(((row.weight * (lines[0][i] >> 4) >> 16) + (row.other * (lines[1][i] >> 4) >> 16) + 2) >> 2);
    }
}

// --8<-- [start:letterbox]
// Where the image lies in the network's input: scaled by `ratio`, `rows` x `columns` pixels from (left, top) on.
struct Letterbox {
    Size image;
    double ratio;
    int rows, columns, top, left;

    static Letterbox fit(Size image, Size input) {
        const double ratio = std::min(double(input.height) / image.height, double(input.width) / image.width);
        // nearbyint rounds halves to even, as the runtime does.
        const int rows = std::clamp(int(std::nearbyint(image.height * ratio)), 1, input.height);
        const int columns = std::clamp(int(std::nearbyint(image.width * ratio)), 1, input.width);
        const int top = int(std::nearbyint((input.height - rows) / 2.0 - 0.1));  // an odd line goes below
        const int left = int(std::nearbyint((input.width - columns) / 2.0 - 0.1));  // and to the right
        return {image, ratio, rows, columns, top, left};
    }
};
// --8<-- [end:letterbox]

// The letterboxed picture (height, width, 3) in the contract's colour order.
inline std::vector<std::uint8_t> letterboxed(const Image& image, const Input& input, const Letterbox& box) {
    std::vector<std::uint8_t> picture(std::size_t(input.size.height) * input.size.width * 3, std::uint8_t(input.pad_value));
    std::vector<std::uint8_t> scaled(std::size_t(box.rows) * box.columns * 3);
    if (box.rows == image.height && box.columns == image.width) std::copy_n(image.bgr, scaled.size(), scaled.begin());
    else resize(image, box.rows, box.columns, scaled.data());
    const bool swap = input.color_order == "RGB";
    for (int y = 0; y < box.rows; ++y)
        for (int x = 0; x < box.columns; ++x)
            for (int c = 0; c < 3; ++c)
                picture[(std::size_t(y + box.top) * input.size.width + x + box.left) * 3 + c] =
                    scaled[(std::size_t(y) * box.columns + x) * 3 + (swap ? 2 - c : c)];
    return picture;
}

// A float from 0 to 65504 as float16, to the nearest, halves to even.
inline std::uint16_t half(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (value < 6.103515625e-5f) return std::uint16_t(std::nearbyint(value * 16777216.0f));
    bits += 0xFFF + (bits >> 13 & 1);
    return std::uint16_t((bits >> 13) - (112 << 10));
}

// The input tensor's bytes of one image, and where the image lies in it.
struct Prepared { Letterbox box; std::vector<std::uint8_t> tensor; };

inline Prepared prepare(const Image& image, const Input& input) {
    if (image.height < 1 || image.width < 1) throw std::runtime_error("image: it has no pixels");
    if (input.dtype == "int8" && !input.quantization) throw std::runtime_error("input: int8 without its scale");
    const Letterbox box = Letterbox::fit({image.height, image.width}, input.size);
    const std::vector<std::uint8_t> picture = letterboxed(image, input, box);
    const std::size_t bytes = input.dtype == "float32" ? 4 : input.dtype == "float16" ? 2 : 1;
    std::array<std::array<std::uint8_t, 4>, 256> values{};  // what each pixel becomes
    for (int p = 0; p < 256; ++p) {
        const float real = float(p) * float(input.scale);
        const std::uint16_t small = half(real);
        values[p][0] = std::uint8_t(p);
        if (bytes == 4) std::memcpy(values[p].data(), &real, 4);
        if (bytes == 2) std::memcpy(values[p].data(), &small, 2);
        if (input.dtype == "int8") {
            const double q = std::nearbyint(p * input.scale / input.quantization->scale) + input.quantization->zero_point;
            values[p][0] = std::uint8_t(std::int8_t(std::clamp(q, -128.0, 127.0)));
        }
    }
    std::vector<std::uint8_t> tensor(picture.size() * bytes);
    const std::size_t cells = picture.size() / 3;
    const bool planes = input.layout == "NCHW";
    for (std::size_t cell = 0; cell < cells; ++cell)
        for (std::size_t c = 0; c < 3; ++c)
            std::memcpy(&tensor[(planes ? c * cells + cell : cell * 3 + c) * bytes], values[picture[cell * 3 + c]].data(), bytes);
    return {box, std::move(tensor)};
}

// ------------------------------------------------------------------------------------------------ decode, suppress

// --8<-- [start:decode]
struct Thresholds { double conf = 0.25, iou = 0.45; std::size_t most = 300, candidates = 30000; };

struct Level {
    const float* map;  // logits
    int rows, columns, stride;
    std::vector<std::array<float, 2>> anchors;  // width, height in pixels of the input
    float box_gain = 1;
};

struct Detection {
    float x1, y1, x2, y2;  // pixels
    float confidence;
    int class_id;
};

inline float sigmoid(float x) {
    const float tail = std::exp(-std::fabs(x));
    return (x >= 0 ? 1.0f : tail) / (1.0f + tail);
}

// The best candidates, of equal ones the first, in their order.
inline void keep_best(std::vector<Detection>& found, std::size_t most) {
    if (found.size() <= most) return;
    std::vector<float> scores;
    for (const Detection& each : found) scores.push_back(each.confidence);
    std::nth_element(scores.begin(), scores.begin() + most - 1, scores.end(), std::greater<float>());
    const float least = scores[most - 1];
    std::size_t equal = most;
    for (const Detection& each : found) equal -= each.confidence > least;
    const auto goes = [&](const Detection& each) {
        return each.confidence < least || (each.confidence == least && (equal == 0 || equal-- == 0));
    };
    found.erase(std::remove_if(found.begin(), found.end(), goes), found.end());
}

// Candidates above `conf` in pixels of the input; `channels_last` is layout NHWC.
inline std::vector<Detection> decode(const std::vector<Level>& levels, int classes, bool channels_last,
                                     const Thresholds& limits = {}) {
    std::vector<Detection> found;
    const double p = std::min(limits.conf, 1 - 1e-6);  // compare logits first: most cells are background
    const double floor = std::log(p) - std::log1p(-p) - (1e-3 + 2e-7 / (1 - p));
    for (const Level& level : levels) {
        const int each = 5 + classes, all = each * int(level.anchors.size()), cells = level.rows * level.columns;
        for (int a = 0; a < int(level.anchors.size()); ++a)
            for (int cell = 0; cell < cells; ++cell) {
                const auto at = [&](int channel) {
                    const int c = a * each + channel;
                    return level.map[channels_last ? cell * all + c : c * cells + cell];
                };
                if (std::isnan(at(4))) throw std::runtime_error("a raw map holds NaN");
                if (at(4) <= floor) continue;
                int best = 0;
                for (int k = 1; k < classes; ++k)
                    if (at(5 + k) > at(5 + best)) best = k;
                const float confidence = sigmoid(at(4)) * (classes > 1 ? sigmoid(at(5 + best)) : 1.0f);
                if (confidence <= limits.conf) continue;
                const auto stride = float(level.stride);
                const float gain = level.box_gain;
                const float x = (2 * sigmoid(at(0) / gain) - 0.5f) * stride + float(cell % level.columns) * stride;
                const float y = (2 * sigmoid(at(1) / gain) - 0.5f) * stride + float(cell / level.columns) * stride;
                const float w = 2 * sigmoid(at(2) / gain), half_width = w * w * level.anchors[a][0] * 0.5f;
                const float h = 2 * sigmoid(at(3) / gain), half_height = h * h * level.anchors[a][1] * 0.5f;
                found.push_back({x - half_width, y - half_height, x + half_width, y + half_height, confidence, best});
            }
    }
    return keep_best(found, limits.candidates), found;
}

inline float iou(const Detection& a, const Detection& b) {
    const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
    const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
    const float both = std::max(width, 0.0f) * std::max(height, 0.0f);
    const float areas = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1);
    return both > 0 ? both / (areas - both) : 0.0f;
}

// Greedy suppression within each class, best first.
inline std::vector<Detection> suppress(std::vector<Detection> found, const Thresholds& limits = {}) {
    const auto better = [](const Detection& a, const Detection& b) { return a.confidence > b.confidence; };
    std::stable_sort(found.begin(), found.end(), better);
    std::vector<Detection> kept;
    for (const Detection& each : found) {
        if (kept.size() == limits.most) break;
        const auto covers = [&](const Detection& k) {
            const double threshold = limits.iou;
            return k.class_id == each.class_id && iou(k, each) > threshold;
        };
        if (std::none_of(kept.begin(), kept.end(), covers)) kept.push_back(each);
    }
    return kept;
}

// Pixels of the input -> pixels of the image, cut at its edges; boxes that lay wholly in the padding go.
inline std::vector<Detection> to_image(const std::vector<Detection>& found, const Letterbox& box) {
    const auto back = [&](float value, int shift, int limit) {
        return std::clamp((value - float(shift)) / float(box.ratio), 0.0f, float(limit));
    };
    std::vector<Detection> inside;
    for (Detection d : found) {
        d.x1 = back(d.x1, box.left, box.image.width), d.x2 = back(d.x2, box.left, box.image.width);
        d.y1 = back(d.y1, box.top, box.image.height), d.y2 = back(d.y2, box.top, box.image.height);
        if (d.x1 < d.x2 && d.y1 < d.y2) inside.push_back(d);
    }
    return inside;
}
// --8<-- [end:decode]

// The real values of map `index`, of the integers that the file gives.
inline std::vector<float> real_values(const std::int8_t* values, std::size_t count, const Output& output, std::size_t index) {
    const Quantization& q = output.quantization.at(index);
    std::vector<float> made(count);
    for (std::size_t i = 0; i < count; ++i)
        made[i] = (float(values[i]) - float(q.zero_point)) * float(q.scale);
    return made;
}

// Values that output `index` has for one image.
inline std::size_t output_values(const Manifest& manifest, std::size_t index) {
    const Output& output = manifest.output;
    if (output.kind == "detections") return std::array<std::size_t, 4>{1, 4u * output.most, std::size_t(output.most),
                                                                       std::size_t(output.most)}.at(index);
    const Size size = manifest.input.size;
    const std::size_t stride = output.strides.at(index);
    return (size.height / stride) * (size.width / stride) * output.anchors.at(index).size() * (5 + output.classes);
}

// Arrays of one image, in the order of output.names, as floats -> detections in pixels of the image, best first.
inline std::vector<Detection> detect(const std::vector<const float*>& arrays, const Manifest& manifest,
                                     const Letterbox& box, const Thresholds& limits = {}) {
    const Output& output = manifest.output;
    if (arrays.size() != output.names.size()) throw std::runtime_error("expected an array for each of output.names");
    if (output.kind == "detections") {  // count, boxes, scores, labels; suppressed by the thresholds of the export
        std::vector<Detection> found;
        for (int i = 0; i < int(arrays[0][0]) && found.size() < limits.most; ++i) {
            const float* corner = arrays[1] + 4 * i;
            if (arrays[2][i] > limits.conf)
                found.push_back({corner[0], corner[1], corner[2], corner[3], arrays[2][i], int(arrays[3][i])});
        }
        return to_image(found, box);
    }
    std::vector<Level> levels;
    for (std::size_t i = 0; i < arrays.size(); ++i) {
        const int stride = output.strides.at(i);
        levels.push_back({arrays[i], manifest.input.size.height / stride, manifest.input.size.width / stride, stride,
                          output.anchors.at(i), output.box_gain});
    }
    return to_image(suppress(decode(levels, output.classes, output.layout == "NHWC", limits), limits), box);
}

}  // namespace edgeyolo
