// Detects by an artifact of ONNX Runtime, in C++ from the picture to the boxes:
//
//     ./detect cells-onnx photo.ppm
//
// Float and uint8 inputs, one picture; see CMakeLists.txt for building.
#include <onnxruntime_cxx_api.h>

#include <cstdio>
#include <exception>

#include "ppm.hpp"

namespace {

ONNXTensorElementDataType element(const std::string& dtype) {
    if (dtype == "float32") return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    if (dtype == "float16") return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    if (dtype == "uint8") return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    if (dtype == "int8") return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
    throw std::runtime_error("input: " + dtype + " is not known");
}

// A graph that suppresses gives counts and labels as whole numbers.
std::vector<float> floats(const Ort::Value& value) {
    const auto info = value.GetTensorTypeAndShapeInfo();
    const std::size_t count = info.GetElementCount();
    switch (info.GetElementType()) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return {value.GetTensorData<float>(), value.GetTensorData<float>() + count};
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: {
            const std::int64_t* whole = value.GetTensorData<std::int64_t>();
            return {whole, whole + count};
        }
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: {
            const std::int32_t* whole = value.GetTensorData<std::int32_t>();
            return {whole, whole + count};
        }
        default: throw std::runtime_error("an output of a type that is not read here");
    }
}

// Without them (VNNI) ONNX Runtime on x86 cuts sums of INT8 graphs unless it is told not to; with them that setting
// would take their speed. Processors with AVX-VNNI alone are not told apart here: they get the setting, and lose speed.
bool has_integer_dot_products() {
#if defined(__GNUC__) && defined(__x86_64__)
    return __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}

int run(const std::string& artifact, const std::string& photo) {
    const edgeyolo::Manifest manifest = edgeyolo::read_manifest(artifact + "/manifest.json");
    const Picture picture = read_ppm(photo);
    edgeyolo::Prepared prepared = edgeyolo::prepare(picture.image(), manifest.input);

    Ort::Env environment(ORT_LOGGING_LEVEL_WARNING, "edgeyolo");
    Ort::SessionOptions options;
    if (!has_integer_dot_products()) options.AddConfigEntry("session.x64quantprecision", "1");
    Ort::Session session(environment, (artifact + "/model.onnx").c_str(), options);

    const edgeyolo::Size size = manifest.input.size;
    const bool planes = manifest.input.layout == "NCHW";
    const std::array<std::int64_t, 4> shape = {1, planes ? 3 : size.height, planes ? size.height : size.width,
                                               planes ? size.width : 3};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const Ort::Value input = Ort::Value::CreateTensor(memory, prepared.tensor.data(), prepared.tensor.size(), shape.data(),
                                                      shape.size(), element(manifest.input.dtype));
    const char* input_name = manifest.input.name.c_str();
    std::vector<const char*> names;
    for (const std::string& name : manifest.output.names) names.push_back(name.c_str());
    const auto outputs = session.Run(Ort::RunOptions{nullptr}, &input_name, &input, 1, names.data(), names.size());

    std::vector<std::vector<float>> arrays;
    for (const Ort::Value& output : outputs) arrays.push_back(floats(output));
    std::vector<const float*> pointers;
    for (const auto& each : arrays) pointers.push_back(each.data());
    for (const edgeyolo::Detection& d : edgeyolo::detect(pointers, manifest, prepared.box))
        std::printf("%s %.2f  %.1f %.1f %.1f %.1f\n", manifest.class_names.at(std::size_t(d.class_id)).c_str(), d.confidence,
                    d.x1, d.y1, d.x2, d.y2);
    return 0;
}

}  // namespace

int main(int count, char** words) {
    if (count != 3) return std::fprintf(stderr, "usage: detect ARTIFACT IMAGE.ppm\n"), 2;
    try {
        return run(words[1], words[2]);
    } catch (const std::exception& error) {
        return std::fprintf(stderr, "error: %s\n", error.what()), 1;
    }
}
