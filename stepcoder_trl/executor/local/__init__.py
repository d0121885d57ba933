"""`CodeExecutor`: its threads and its handles of fork servers."""
