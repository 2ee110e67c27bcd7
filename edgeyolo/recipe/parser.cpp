// DeepStream's nvinfer: what the network gives, as objects. Built on the device by build.sh.
//
// edgeyolo_contract.h holds the numbers of the artifact. Raw maps are decoded here and left to nvinfer's clustering
// (cluster-mode 2, within a class); an artifact that suppresses in its graph gives objects as they are.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "nvdsinfer_custom_impl.h"

#include "edgeyolo_contract.h"

namespace {

const NvDsInferLayerInfo* find(const std::vector<NvDsInferLayerInfo>& layers, const char* name) {
    for (const auto& layer : layers)
        if (std::strcmp(layer.layerName, name) == 0) return &layer;
    return nullptr;
}

void add(std::vector<NvDsInferObjectDetectionInfo>& objects, const NvDsInferNetworkInfo& network, float x1, float y1,
         float x2, float y2, float confidence, unsigned int label) {
    const float right = static_cast<float>(network.width), bottom = static_cast<float>(network.height);
    x1 = std::min(std::max(x1, 0.0f), right), x2 = std::min(std::max(x2, 0.0f), right);
    y1 = std::min(std::max(y1, 0.0f), bottom), y2 = std::min(std::max(y2, 0.0f), bottom);
    if (x2 - x1 < 1.0f || y2 - y1 < 1.0f) return;  // nvinfer refuses boxes without a pixel
    NvDsInferObjectDetectionInfo object{};
    object.classId = label;
    object.detectionConfidence = confidence;
    object.left = x1;
    object.top = y1;
    object.width = x2 - x1;
    object.height = y2 - y1;
    objects.push_back(object);
}

float threshold(const NvDsInferParseDetectionParams& params, unsigned int label) {
    const auto& own = params.perClassPreclusterThreshold;
    return label < own.size() ? own[label] : YOLO_CONF;
}

#if YOLO_RAW_MAPS

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// A map is (anchors * (5 + classes), rows, columns): x, y, w, h, objectness, classes, before the sigmoid.
void decode(const float* map, const EdgeyoloLevel& level, const NvDsInferNetworkInfo& network,
            const NvDsInferParseDetectionParams& params, std::vector<NvDsInferObjectDetectionInfo>& objects) {
    const int rows = static_cast<int>(network.height) / level.stride;
    const int columns = static_cast<int>(network.width) / level.stride;
    const int plane = rows * columns;
    for (int anchor = 0; anchor < YOLO_ANCHORS; ++anchor) {
        const float* first = map + static_cast<std::ptrdiff_t>(anchor) * (5 + YOLO_CLASSES) * plane;
        for (int cell = 0; cell < plane; ++cell) {
            const float* value = first + cell;
            const float* classes = value + 5 * plane;
            int best = 0;
            for (int label = 1; label < YOLO_CLASSES; ++label)
                if (classes[label * plane] > classes[best * plane]) best = label;
            float confidence = sigmoid(value[4 * plane]);
            if (YOLO_CLASSES > 1) confidence *= sigmoid(classes[best * plane]);
            if (!(confidence > threshold(params, best))) continue;
            const float x = (2.0f * sigmoid(value[0]) - 0.5f + cell % columns) * level.stride;
            const float y = (2.0f * sigmoid(value[plane]) - 0.5f + cell / columns) * level.stride;
            const float w = 2.0f * sigmoid(value[2 * plane]), h = 2.0f * sigmoid(value[3 * plane]);
            const float width = w * w * level.anchors[anchor][0], height = h * h * level.anchors[anchor][1];
            add(objects, network, x - width / 2, y - height / 2, x + width / 2, y + height / 2, confidence, best);
        }
    }
}

bool parse(const std::vector<NvDsInferLayerInfo>& layers, const NvDsInferNetworkInfo& network,
           const NvDsInferParseDetectionParams& params, std::vector<NvDsInferObjectDetectionInfo>& objects) {
    for (const auto& level : YOLO_LEVELS) {
        const auto* layer = find(layers, level.name);
        if (!layer) return false;
        decode(static_cast<const float*>(layer->buffer), level, network, params, objects);
    }
    return true;
}

#else

bool parse(const std::vector<NvDsInferLayerInfo>& layers, const NvDsInferNetworkInfo& network,
           const NvDsInferParseDetectionParams& params, std::vector<NvDsInferObjectDetectionInfo>& objects) {
    const auto *count = find(layers, "count"), *boxes = find(layers, "boxes");
    const auto *scores = find(layers, "scores"), *labels = find(layers, "labels");
    if (!count || !boxes || !scores || !labels) return false;
    const int kept = std::min(*static_cast<const std::int32_t*>(count->buffer), YOLO_MAX_DET);
    const auto* corner = static_cast<const float*>(boxes->buffer);
    for (int i = 0; i < kept; ++i, corner += 4) {
        const auto label = static_cast<unsigned int>(static_cast<const std::int32_t*>(labels->buffer)[i]);
        const float score = static_cast<const float*>(scores->buffer)[i];
        if (score > threshold(params, label))
            add(objects, network, corner[0], corner[1], corner[2], corner[3], score, label);
    }
    return true;
}

#endif

}  // namespace

extern "C" bool NvDsInferParseEdgeyolo(std::vector<NvDsInferLayerInfo> const& outputLayersInfo,
                                       NvDsInferNetworkInfo const& networkInfo,
                                       NvDsInferParseDetectionParams const& detectionParams,
                                       std::vector<NvDsInferObjectDetectionInfo>& objectList) {
    return parse(outputLayersInfo, networkInfo, detectionParams, objectList);
}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(NvDsInferParseEdgeyolo);
