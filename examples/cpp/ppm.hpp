// Pictures for the examples: binary PPM (`convert photo.jpg photo.ppm`, `ffmpeg -i photo.jpg photo.ppm`).
#pragma once

#include <cctype>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "edgeyolo.hpp"

struct Picture {
    int height, width;
    std::vector<std::uint8_t> bgr;
    edgeyolo::Image image() const { return {height, width, bgr.data()}; }
};

inline Picture read_ppm(const std::string& path) {
    const std::string data = edgeyolo::read_file(path);
    std::size_t at = 2;
    const auto number = [&] {
        while (at < data.size() && (std::isspace(static_cast<unsigned char>(data[at])) || data[at] == '#'))
            if (data[at++] == '#') while (at < data.size() && data[at] != '\n') ++at;
        int value = 0;
        while (at < data.size() && data[at] >= '0' && data[at] <= '9' && value < 100000) value = value * 10 + data[at++] - '0';
        return value;
    };
    const int width = number(), height = number(), most = number();
    const std::size_t bytes = std::size_t(width) * height * 3;
    if (data.compare(0, 2, "P6") || !bytes || most != 255 || data.size() != ++at + bytes)
        throw std::runtime_error(path + ": expected a binary PPM (P6) of 8 bits");
    Picture picture{height, width, {data.begin() + std::ptrdiff_t(at), data.end()}};
    for (std::size_t i = 0; i < bytes; i += 3) std::swap(picture.bgr[i], picture.bgr[i + 2]);
    return picture;
}
