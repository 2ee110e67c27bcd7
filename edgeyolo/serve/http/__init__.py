"""HTTP in front of the served models: `/detect`, the KServe v2 protocol, metrics and pages."""
