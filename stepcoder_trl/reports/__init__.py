"""Pages, tables and plots of training results. Imports neither torch nor transformers."""
