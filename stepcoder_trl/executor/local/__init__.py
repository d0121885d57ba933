"""Run programs on this machine: the executor, its threads and its fork servers."""
