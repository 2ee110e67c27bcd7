"""A server: pictures come in over HTTP, detections go out.

Requests wait in a queue (`queue`), are collected into batches and run by workers (`worker`, `worker_process`), each
with a Detector of its own. `app` puts HTTP in front of that.
"""
