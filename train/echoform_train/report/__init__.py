"""HTML pages of results, their templates and their charts."""
