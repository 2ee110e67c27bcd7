// Both ends of a port whose middle is any runtime:
//
//     port prepare ARTIFACT photo.ppm input.bin             the input tensor's bytes
//     port detect ARTIFACT photo.ppm CONF p3.bin p4.bin ... what the runtime gave (float32, or int8), into boxes
//
// g++ -std=c++17 -O2 port.cpp -o port
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "ppm.hpp"

namespace {

// float32 values of a file with the array of output `index`.
std::vector<float> read_array(const std::string& path, const edgeyolo::Manifest& manifest, std::size_t index) {
    const std::string bytes = edgeyolo::read_file(path);
    const std::size_t count = edgeyolo::output_values(manifest, index);
    if (bytes.size() == count)
        return edgeyolo::real_values(reinterpret_cast<const std::int8_t*>(bytes.data()), count, manifest.output, index);
    if (bytes.size() != count * sizeof(float))
        throw std::runtime_error(path + ": expected " + std::to_string(count) + " values of float32 or int8");
    std::vector<float> values(count);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

int run(const std::vector<std::string>& words) {
    if (words.size() < 4 || (words[0] == "detect" ? words.size() < 5 : words[0] != "prepare")) {
        std::fprintf(stderr, "usage: port prepare ARTIFACT IMAGE.ppm OUT.bin | port detect ARTIFACT IMAGE.ppm CONF ARRAY.bin...\n");
        return 2;
    }
    const edgeyolo::Manifest manifest = edgeyolo::read_manifest(words[1] + "/manifest.json");
    const Picture picture = read_ppm(words[2]);
    if (words[0] == "prepare") {
        const edgeyolo::Prepared prepared = edgeyolo::prepare(picture.image(), manifest.input);
        std::ofstream out(words[3], std::ios::binary);
        out.write(reinterpret_cast<const char*>(prepared.tensor.data()), std::streamsize(prepared.tensor.size()));
        return out.flush() ? 0 : 1;
    }
    edgeyolo::Thresholds limits;
    limits.conf = std::strtod(words[3].c_str(), nullptr);
    std::vector<std::vector<float>> arrays;
    for (std::size_t i = 4; i < words.size(); ++i) arrays.push_back(read_array(words[i], manifest, i - 4));
    std::vector<const float*> pointers;
    for (const auto& each : arrays) pointers.push_back(each.data());
    const auto box = edgeyolo::Letterbox::fit({picture.height, picture.width}, manifest.input.size);
    for (const edgeyolo::Detection& d : edgeyolo::detect(pointers, manifest, box, limits))
        std::printf("%.9g %.9g %.9g %.9g %.9g %d %s\n", d.x1, d.y1, d.x2, d.y2, d.confidence, d.class_id,
                    manifest.class_names.at(std::size_t(d.class_id)).c_str());
    return 0;
}

}  // namespace

int main(int count, char** words) {
    try {
        return run({words + 1, words + count});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
}
