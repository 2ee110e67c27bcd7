"""Reports as terminal tables, Markdown, pictures and one HTML page."""
