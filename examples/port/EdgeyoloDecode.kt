// Raw head maps of one image -> detections, for the .tflite of a cpu-tflite-fp32 target (channels last). The steps and their order
// are those of examples/cpp/edgeyolo.hpp, which the tests run; sizes, strides and anchors stand in manifest.json.
import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min

data class Detection(val x1: Float, val y1: Float, val x2: Float, val y2: Float, val confidence: Float, val classId: Int)

/** `map`: one output of the Interpreter as floats, (rows, columns, anchors * (5 + classes)). */
class Level(val map: FloatArray, val rows: Int, val columns: Int, val stride: Int, val anchors: List<Pair<Float, Float>>)

fun sigmoid(x: Float) = 1f / (1f + exp(-x))

fun decode(levels: List<Level>, classes: Int, conf: Float): List<Detection> = buildList {
    for (level in levels) for (row in 0 until level.rows) for (column in 0 until level.columns)
        for ((a, anchor) in level.anchors.withIndex()) {
            val first = (row * level.columns + column) * level.anchors.size * (5 + classes) + a * (5 + classes)
            fun at(channel: Int) = level.map[first + channel]
            val objectness = sigmoid(at(4))
            if (objectness <= conf) continue
            val best = (0 until classes).maxByOrNull { at(5 + it) }!!
            val confidence = if (classes > 1) objectness * sigmoid(at(5 + best)) else objectness
            if (confidence <= conf) continue
            val x = (2 * sigmoid(at(0)) - 0.5f + column) * level.stride
            val y = (2 * sigmoid(at(1)) - 0.5f + row) * level.stride
            val w = (2 * sigmoid(at(2))).let { it * it } * anchor.first
            val h = (2 * sigmoid(at(3))).let { it * it } * anchor.second
            add(Detection(x - w / 2, y - h / 2, x + w / 2, y + h / 2, confidence, best))
        }
}

fun iou(a: Detection, b: Detection): Float {
    val both = max(min(a.x2, b.x2) - max(a.x1, b.x1), 0f) * max(min(a.y2, b.y2) - max(a.y1, b.y1), 0f)
    return if (both == 0f) 0f else both / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both)
}

fun suppress(found: List<Detection>, threshold: Float = 0.45f, most: Int = 300): List<Detection> {
    val kept = mutableListOf<Detection>()
    for (each in found.sortedByDescending { it.confidence }) {
        if (kept.size == most) break
        if (kept.none { it.classId == each.classId && iou(it, each) > threshold }) kept.add(each)
    }
    return kept
}

// Last, back to the image: (x - left) / ratio and (y - top) / ratio, cut at its edges; boxes without area then go.
