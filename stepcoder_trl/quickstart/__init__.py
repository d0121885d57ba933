"""The whole method on an embedded default, in minutes on a laptop CPU and without a download."""
