"""HTTP in front of the served models: `/detect`, KServe v2, metrics, pages."""
