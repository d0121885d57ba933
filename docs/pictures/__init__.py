"""Pictures of the README and the documentation, drawn by the library itself."""
