// Raw head maps of one image -> detections, for the .mlpackage of an ane-coreml target. The steps and their order are those of
// examples/cpp/edgeyolo.hpp, which the tests run; sizes, strides and anchors stand in manifest.json.
import CoreML

struct Detection { var x1, y1, x2, y2, confidence: Float; var classID: Int }

struct Level { let name: String; let stride: Int; let anchors: [(Float, Float)] }

func sigmoid(_ x: Float) -> Float { 1 / (1 + exp(-x)) }

/// `prediction`: what MLModel.prediction gave for a letterboxed CVPixelBuffer (the scale 1/255 is inside the package).
func decode(_ prediction: MLFeatureProvider, _ levels: [Level], classes: Int, conf: Float) -> [Detection] {
    var found: [Detection] = []
    for level in levels {
        let map = prediction.featureValue(for: level.name)!.multiArrayValue!  // (1, anchors * (5 + classes), rows, columns)
        let rows = map.shape[2].intValue, columns = map.shape[3].intValue
        for (a, anchor) in level.anchors.enumerated() {
            for row in 0..<rows { for column in 0..<columns {
                func at(_ channel: Int) -> Float {
                    map[[0, a * (5 + classes) + channel, row, column] as [NSNumber]].floatValue
                }
                let objectness = sigmoid(at(4))
                if objectness <= conf { continue }
                let best = (0..<classes).max { at(5 + $0) < at(5 + $1) }!
                let confidence = classes > 1 ? objectness * sigmoid(at(5 + best)) : objectness
                if confidence <= conf { continue }
                let x = (2 * sigmoid(at(0)) - 0.5 + Float(column)) * Float(level.stride)
                let y = (2 * sigmoid(at(1)) - 0.5 + Float(row)) * Float(level.stride)
                let w = pow(2 * sigmoid(at(2)), 2) * anchor.0, h = pow(2 * sigmoid(at(3)), 2) * anchor.1
                found.append(Detection(x1: x - w / 2, y1: y - h / 2, x2: x + w / 2, y2: y + h / 2,
                                       confidence: confidence, classID: best))
            } }
        }
    }
    return found
}

func iou(_ a: Detection, _ b: Detection) -> Float {
    let both = max(min(a.x2, b.x2) - max(a.x1, b.x1), 0) * max(min(a.y2, b.y2) - max(a.y1, b.y1), 0)
    return both == 0 ? 0 : both / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both)
}

func suppress(_ found: [Detection], threshold: Float = 0.45, most: Int = 300) -> [Detection] {
    var kept: [Detection] = []
    for each in found.sorted(by: { $0.confidence > $1.confidence }) where kept.count < most {
        if !kept.contains(where: { $0.classID == each.classID && iou($0, each) > threshold }) { kept.append(each) }
    }
    return kept
}

// Last, back to the image: (x - left) / ratio and (y - top) / ratio, cut at its edges; boxes without area then go.
