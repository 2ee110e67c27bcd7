// Raw head maps of one image -> detections, as edgeyolo's own runtime makes them. C++17, nothing but the standard library.
// Sizes, strides, anchors and the number of classes stand in the artifact's manifest.json under `input` and `output`.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace edgeyolo {

struct Size { int height, width; };

// Where the image lies in the network's input: scaled by `ratio`, `rows` x `columns` pixels from (left, top) on.
struct Letterbox {
    Size image;
    float ratio;
    int rows, columns, top, left;

    static Letterbox fit(Size image, Size input) {
        const double ratio = std::min(double(input.height) / image.height, double(input.width) / image.width);
        // nearbyint rounds halves to even, as the runtime does.
        const int rows = std::clamp(int(std::nearbyint(image.height * ratio)), 1, input.height);
        const int columns = std::clamp(int(std::nearbyint(image.width * ratio)), 1, input.width);
        const int top = int(std::nearbyint((input.height - rows) / 2.0 - 0.1));  // an odd line goes below
        const int left = int(std::nearbyint((input.width - columns) / 2.0 - 0.1));  // and to the right
        return {image, float(ratio), rows, columns, top, left};
    }
};

struct Level {
    const float* map;  // logits
    int rows, columns, stride;
    std::vector<std::array<float, 2>> anchors;  // width, height in pixels of the input
};

struct Detection {
    float x1, y1, x2, y2;  // pixels
    float confidence;
    int class_id;
};

inline float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// Candidates above `conf` in pixels of the input; `channels_last` is layout NHWC.
inline std::vector<Detection> decode(const std::vector<Level>& levels, int classes, bool channels_last, float conf) {
    std::vector<Detection> found;
    const float floor = std::log(conf / (1.0f - conf)) - 1e-3f;  // compare logits first: most cells are background
    for (const Level& level : levels) {
        const int each = 5 + classes, all = each * int(level.anchors.size()), cells = level.rows * level.columns;
        for (int a = 0; a < int(level.anchors.size()); ++a)
            for (int cell = 0; cell < cells; ++cell) {
                const auto at = [&](int channel) {
                    const int c = a * each + channel;
                    return level.map[channels_last ? cell * all + c : c * cells + cell];
                };
                if (at(4) <= floor) continue;
                int best = 0;
                for (int k = 1; k < classes; ++k)
                    if (at(5 + k) > at(5 + best)) best = k;
                const float confidence = sigmoid(at(4)) * (classes > 1 ? sigmoid(at(5 + best)) : 1.0f);
                if (confidence <= conf) continue;
                const float x = (2 * sigmoid(at(0)) - 0.5f + float(cell % level.columns)) * level.stride;
                const float y = (2 * sigmoid(at(1)) - 0.5f + float(cell / level.columns)) * level.stride;
                const float w = std::pow(2 * sigmoid(at(2)), 2.0f) * level.anchors[a][0];
                const float h = std::pow(2 * sigmoid(at(3)), 2.0f) * level.anchors[a][1];
                found.push_back({x - w / 2, y - h / 2, x + w / 2, y + h / 2, confidence, best});
            }
    }
    return found;
}

inline float iou(const Detection& a, const Detection& b) {
    const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
    const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
    const float both = std::max(width, 0.0f) * std::max(height, 0.0f);
    const float areas = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1);
    return both > 0 ? both / (areas - both) : 0.0f;
}

// Greedy suppression within each class, best first.
inline std::vector<Detection> suppress(std::vector<Detection> found, float threshold, std::size_t most) {
    std::stable_sort(found.begin(), found.end(), [](auto& a, auto& b) { return a.confidence > b.confidence; });
    std::vector<Detection> kept;
    for (const Detection& each : found) {
        if (kept.size() == most) break;
        const auto covers = [&](const Detection& k) { return k.class_id == each.class_id && iou(k, each) > threshold; };
        if (std::none_of(kept.begin(), kept.end(), covers)) kept.push_back(each);
    }
    return kept;
}

// Pixels of the input -> pixels of the image, cut at its edges; boxes that lay wholly in the padding go.
inline std::vector<Detection> to_image(const std::vector<Detection>& found, const Letterbox& box) {
    const auto back = [&](float value, int shift, int limit) {
        return std::clamp((value - shift) / box.ratio, 0.0f, float(limit));
    };
    std::vector<Detection> inside;
    for (Detection d : found) {
        d.x1 = back(d.x1, box.left, box.image.width), d.x2 = back(d.x2, box.left, box.image.width);
        d.y1 = back(d.y1, box.top, box.image.height), d.y2 = back(d.y2, box.top, box.image.height);
        if (d.x1 < d.x2 && d.y1 < d.y2) inside.push_back(d);
    }
    return inside;
}

}  // namespace edgeyolo
